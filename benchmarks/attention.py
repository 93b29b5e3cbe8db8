"""Fused attention beside torch's scaled_dot_product_attention, alternated call by call.

    python benchmarks/attention.py --json results.json
    python benchmarks/attention.py --lengths 128 --dtypes float32 --repeats 15
    python benchmarks/attention.py --device cuda --json results.json

Dense batches hold B sequences of S tokens. Ragged ones hold lengths drawn uniformly from 20 to S:
packed for lexforge, padded to S with a mask for torch. q, k and v are the views of one packed
projection on both sides. GFLOP/s count 4 D flops for each query and visible key forward and 10 D
backward, of lexforge, without padding; GB/s what has to be moved at least: q, k, v and the result
forward, twelve times as much as one of them with the backward pass.

On a GPU every backend of torch is a rival, and its packed attention where it has one; the figure of
torch is the best of them. Batches hold 131,072 tokens there: far more than its caches, and enough
work in a call that Python's share does not show.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from harness import Report, add_report_options, alternate
from lexforge.ops.attention.attention import varlen_attention

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None

SHORTEST = 20
BATCH, CUDA_TOKENS = 32, 131_072
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}


class Case:
    """One batch, packed for lexforge and padded for torch."""

    def __init__(
        self,
        options: argparse.Namespace,
        batch: int,
        length: int,
        ragged: bool,
        dtype: torch.dtype,
    ):
        generator = torch.Generator().manual_seed(0)
        heads, dim = options.heads, options.dim
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

    def packed_peer(self) -> torch.Tensor:
        bounds, length = self.bounds, self.length
        return varlen_attn(*self.packed, bounds, bounds, length, length)

    def peers(self) -> dict[str, tuple[Callable, list[torch.Tensor], torch.Tensor]]:
        """Name, function, what it differentiates and the gradient of its result."""
        if self.bounds.device.type == "cpu":
            return {"torch": (self.peer, self.padded, self.padded_grad)}

        def by(backend: SDPBackend) -> Callable[[], torch.Tensor]:
            def run() -> torch.Tensor:
                with sdpa_kernel(backend):
                    return self.peer()

            return run

        peers = {
            name: (by(backend), self.padded, self.padded_grad) for name, backend in BACKENDS.items()
        }
        if varlen_attn is not None and self.dropout_p == 0:
            peers["varlen"] = (self.packed_peer, self.packed, self.packed_grad)
        return peers

    def works(self) -> dict[str, tuple[dict[str, Callable], float, float]]:
        """The works of each direction, its flops and the bytes it moves at least."""
        rivals = {"lexforge": (self.ours, self.packed, self.packed_grad), **self.peers()}

        def both(function: Callable, leaves: list[torch.Tensor], grad: torch.Tensor) -> Callable:
            return lambda: torch.autograd.grad(function(), leaves, grad)

        rows = self.packed_grad.numel() * self.packed_grad.element_size()
        return {
            "forward": (
                {name: torch.no_grad()(function) for name, (function, _, _) in rivals.items()},
                self.forward_flops,
                4 * rows,
            ),
            "forward+backward": (
                {name: both(*rival) for name, rival in rivals.items()},
                3.5 * self.forward_flops,
                12 * rows,
            ),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--batch", type=int, help=f"sequences; {BATCH}, or {CUDA_TOKENS} tokens' worth on a GPU"
    )
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument(
        "--lengths", type=int, nargs="+", help="128 512; 64 128 256 512 1024 on a GPU"
    )
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--repeats", type=int, default=7)
    add_report_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    on_gpu = options.device == "cuda"
    lengths = options.lengths or ([64, 128, 256, 512, 1024] if on_gpu else [128, 512])

    report = Report(options, options.device)
    print("| S | batch | dtype | direction | lexforge ms | torch ms | ratio | GFLOP/s | GB/s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for dtype in options.dtypes:
        for length in lengths:
            batch = options.batch or (max(1, CUDA_TOKENS // length) if on_gpu else BATCH)
            for ragged in (False, True):
                case = Case(options, batch, length, ragged, getattr(torch, dtype))
                for direction, (works, flops, least_bytes) in case.works().items():
                    times = alternate(works, options.repeats, options.device)
                    median = {name: statistics.median(x) for name, x in times.items()}
                    ours = median.pop("lexforge")
                    best = min(median, key=median.__getitem__)
                    record = {
                        "case": direction,
                        "length": length,
                        "ragged": ragged,
                        "dtype": dtype,
                        "threads": options.threads,
                        "batch": batch,
                        "heads": options.heads,
                        "dim": options.dim,
                        "dropout": options.dropout,
                        "lexforge_s": ours,
                        "torch_s": median[best],
                        "torch_backend": best,
                        "ratio": median[best] / ours,
                        "flops_per_s": flops / ours,
                        "bytes_per_s": least_bytes / ours,
                        "times_s": times,
                    }
                    print(
                        f"| {length} | {'ragged' if ragged else 'dense'} | {dtype} | {direction} "
                        f"| {1e3 * ours:.2f} | {1e3 * median[best]:.2f} ({best}) "
                        f"| {record['ratio']:.2f} | {record['flops_per_s'] / 1e9:.0f} "
                        f"| {record['bytes_per_s'] / 1e9:.0f} |",
                        flush=True,
                    )
                    report.add(record)
    report.close()


if __name__ == "__main__":
    main()
