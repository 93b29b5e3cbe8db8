"""Fused attention beside torch's scaled_dot_product_attention, alternated call by call.

    python benchmarks/attention.py --json results.json
    python benchmarks/attention.py --lengths 128 --dtypes float32 --repeats 15

Dense batches hold B sequences of S tokens. Ragged ones hold lengths drawn uniformly from 20 to S:
packed for lexforge, padded to S with a mask for torch, which has no other way on a CPU. q, k and v
are the views of one packed projection on both sides. GFLOP/s count 4 D flops for each query and
visible key forward and 10 D backward, of lexforge, without padding.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import scaled_dot_product_attention

from harness import write_report
from lexforge.ops.attention import varlen_attention

SHORTEST = 20


def alternate(
    works: dict[str, Callable[[], object]], repeats: int, device: str
) -> dict[str, list[float]]:
    """Seconds of every call, one of each work in turn, after a round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for counted in range(-1, repeats):
        for name, work in works.items():
            if device == "cuda":
                torch.cuda.synchronize()
            begin = time.perf_counter()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            if counted >= 0:
                times[name].append(time.perf_counter() - begin)
    return times


class Case:
    """One batch, packed for lexforge and padded for torch."""

    def __init__(self, options: argparse.Namespace, length: int, ragged: bool, dtype: torch.dtype):
        generator = torch.Generator().manual_seed(0)
        batch, heads, dim = options.batch, options.heads, options.dim
        self.lengths = torch.full((batch,), length)
        if ragged:
            self.lengths = torch.randint(SHORTEST, length + 1, (batch,), generator=generator)
        bounds = torch.nn.functional.pad(self.lengths.cumsum(0), (1, 0))
        device = options.device
        self.length = length
        self.dropout_p = options.dropout
        self.bounds = bounds.int().to(device)
        tokens = int(bounds[-1])
        packed = torch.randn(tokens, 3, heads, dim, generator=generator).to(device, dtype)
        self.packed = [x.detach().requires_grad_() for x in packed.unbind(1)]
        self.packed_grad = torch.randn(tokens, heads, dim, generator=generator).to(device, dtype)
        padded = torch.randn(batch, length, 3, heads, dim, generator=generator).to(device, dtype)
        self.padded = [x.transpose(1, 2).detach().requires_grad_() for x in padded.unbind(2)]
        self.padded_grad = torch.randn_like(padded[:, :, 0]).transpose(1, 2)
        present = torch.arange(length) < self.lengths[:, None]
        self.mask = present[:, None, None, :].to(device) if ragged else None
        self.forward_flops = 4 * dim * heads * int(self.lengths.square().sum())

    def ours(self) -> torch.Tensor:
        return varlen_attention(
            *self.packed, self.bounds, self.length, dropout_p=self.dropout_p, seed=1
        )

    def peer(self) -> torch.Tensor:
        return scaled_dot_product_attention(
            *self.padded, attn_mask=self.mask, dropout_p=self.dropout_p
        )

    def works(self) -> dict[str, tuple[dict[str, Callable], float]]:
        """The works of each direction, and its flops."""

        def without_grad(function: Callable) -> Callable:
            return torch.no_grad()(function)

        return {
            "forward": (
                {"lexforge": without_grad(self.ours), "torch": without_grad(self.peer)},
                self.forward_flops,
            ),
            "forward+backward": (
                {
                    "lexforge": lambda: torch.autograd.grad(
                        self.ours(), self.packed, self.packed_grad
                    ),
                    "torch": lambda: torch.autograd.grad(
                        self.peer(), self.padded, self.padded_grad
                    ),
                },
                3.5 * self.forward_flops,
            ),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    records = []
    print("| S | batch | dtype | direction | lexforge ms | torch ms | ratio | GFLOP/s |")
    print("|---|---|---|---|---|---|---|---|")
    for dtype in options.dtypes:
        for length in options.lengths:
            for ragged in (False, True):
                case = Case(options, length, ragged, getattr(torch, dtype))
                for direction, (works, flops) in case.works().items():
                    times = alternate(works, options.repeats, options.device)
                    median = {name: statistics.median(x) for name, x in times.items()}
                    record = {
                        "case": direction,
                        "length": length,
                        "ragged": ragged,
                        "dtype": dtype,
                        "threads": options.threads,
                        "batch": options.batch,
                        "heads": options.heads,
                        "dim": options.dim,
                        "dropout": options.dropout,
                        "lexforge_s": median["lexforge"],
                        "torch_s": median["torch"],
                        "ratio": median["torch"] / median["lexforge"],
                        "flops_per_s": flops / median["lexforge"],
                        "times_s": times,
                    }
                    records.append(record)
                    print(
                        f"| {length} | {'ragged' if ragged else 'dense'} | {dtype} | {direction} "
                        f"| {1e3 * median['lexforge']:.1f} | {1e3 * median['torch']:.1f} "
                        f"| {record['ratio']:.2f} | {record['flops_per_s'] / 1e9:.0f} |",
                        flush=True,
                    )
    if options.json:
        write_report(options.json, options.device, records)


if __name__ == "__main__":
    main()
