"""Soft alignment of packed pairs beside plain torch on padded ones, alternated call by call.

    python benchmarks/soft_align.py --json results.json
    python benchmarks/soft_align.py --dtypes float32 --pairs 256 --repeats 15
    python benchmarks/soft_align.py --device cuda --json results.json

The lengths are drawn as those of SNLI's sentences are: 14 and 8 tokens in the mean, few beyond 30.
"padded" is the textbook's code: every text has --longest rows, all of which take part. "masked" is
torch's best: rows up to the longest text of the batch, padding masked, so that it computes what
lexforge does. GFLOP/s count what lexforge has to compute: 2 H + 4 D flops for each pair of tokens
forward, and 6 H + 12 D more backward, where the scores are computed again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from harness import Report, add_report_options, alternate
from lexforge.ops.alignment.soft_align import soft_align

# Means and deviations of the logarithms of the lengths.
LENGTHS = ((2.56, 0.40), (2.05, 0.35))


def padded_align(f_a: Tensor, f_b: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The textbook's: [N, S, H] and [N, S, D], padding as if it were text."""
    scores = torch.bmm(f_a, f_b.transpose(1, 2))
    beta = torch.bmm(torch.softmax(scores, -1), b)
    return beta, torch.bmm(torch.softmax(scores.transpose(1, 2), -1), a)


def masked_align(
    f_a: Tensor, f_b: Tensor, a: Tensor, b: Tensor, outside_a: Tensor, outside_b: Tensor
) -> tuple[Tensor, Tensor]:
    """The same without padding; outside_a and outside_b [N, S] are where it lies."""
    scores, least = torch.bmm(f_a, f_b.transpose(1, 2)), torch.finfo(f_a.dtype).min
    of_a = scores.masked_fill(outside_b[:, None], least)
    of_b = scores.masked_fill(outside_a[:, :, None], least).transpose(1, 2)
    return torch.bmm(torch.softmax(of_a, -1), b), torch.bmm(torch.softmax(of_b, -1), a)


class Case:
    """One batch, packed for lexforge and padded for torch."""

    def __init__(self, options: argparse.Namespace, dtype: torch.dtype):
        generator = torch.Generator().manual_seed(0)
        device, longest = options.device, options.longest
        drawn = [torch.randn(options.pairs, generator=generator) * s + m for m, s in LENGTHS]
        self.lengths = [x.exp().round().long().clamp(1, longest) for x in drawn]
        self.bounds = [
            torch.nn.functional.pad(x.cumsum(0), (1, 0)).int().to(device) for x in self.lengths
        ]
        self.most = [int(x.max()) for x in self.lengths]
        positions = torch.arange(longest)
        self.inside = [(positions < x[:, None]).to(device) for x in self.lengths]

        def rows(count: int, width: int, scale: float = 1.0) -> Tensor:
            x = torch.randn(options.pairs, count, width, generator=generator) * scale
            return x.to(device, dtype)

        widths = (options.features, options.features, options.dim, options.dim)
        scales = (options.features**-0.5, 1.0, 1.0, 1.0)
        self.padded = [rows(longest, *x) for x in zip(widths, scales, strict=True)]
        self.masked = [x[:, : self.most[i % 2]].contiguous() for i, x in enumerate(self.padded)]
        self.packed = [x[self.inside[i % 2]] for i, x in enumerate(self.padded)]
        for leaf in (*self.padded, *self.masked, *self.packed):
            leaf.requires_grad_()
        self.outside = [~x[:, :most] for x, most in zip(self.inside, self.most, strict=True)]
        products = int((self.lengths[0] * self.lengths[1]).sum())
        self.forward_flops = products * (2 * options.features + 4 * options.dim)

    def ours(self) -> tuple[Tensor, Tensor]:
        return soft_align(*self.packed, *self.bounds, *self.most)

    def rivals(self) -> dict[str, tuple[Callable, list[Tensor]]]:
        """Name, function and what it differentiates."""
        return {
            "lexforge": (self.ours, self.packed),
            "padded": (lambda: padded_align(*self.padded), self.padded),
            "masked": (lambda: masked_align(*self.masked, *self.outside), self.masked),
        }

    def works(self) -> dict[str, tuple[dict[str, Callable], float]]:
        """The works of each direction and its flops."""

        def both(function: Callable, leaves: list[Tensor], grads: list[Tensor]) -> Callable:
            return lambda: torch.autograd.grad(function(), leaves, grads)

        forward, training = {}, {}
        for name, (function, leaves) in self.rivals().items():
            forward[name] = torch.no_grad()(function)
            training[name] = both(function, leaves, [torch.randn_like(x) for x in leaves[2:]])
        return {
            "forward": (forward, self.forward_flops),
            "forward+backward": (training, 4 * self.forward_flops),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--longest", type=int, default=50, help="tokens of a padded text")
    parser.add_argument("--features", type=int, default=200, help="H")
    parser.add_argument("--dim", type=int, default=100, help="D")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=9)
    add_report_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    report = Report(options, options.device)
    print("| dtype | direction | lexforge ms | padded ms | masked ms | ratios | GFLOP/s |")
    print("|---|---|---|---|---|---|---|")
    for dtype in options.dtypes:
        for direction, (works, flops) in Case(options, getattr(torch, dtype)).works().items():
            times = alternate(works, options.repeats, options.device)
            median = {name: statistics.median(x) for name, x in times.items()}
            ours, padded, masked = (median[name] for name in ("lexforge", "padded", "masked"))
            record = {
                "case": direction,
                "dtype": dtype,
                "threads": options.threads,
                "pairs": options.pairs,
                "longest": options.longest,
                "features": options.features,
                "dim": options.dim,
                "lexforge_s": ours,
                "padded_s": padded,
                "masked_s": masked,
                "ratio": padded / ours,
                "masked_ratio": masked / ours,
                "flops_per_s": flops / ours,
                "times_s": times,
            }
            print(
                f"| {dtype} | {direction} | {1e3 * ours:.2f} | {1e3 * padded:.2f} "
                f"| {1e3 * masked:.2f} | {padded / ours:.1f}, {masked / ours:.1f} "
                f"| {flops / ours / 1e9:.0f} |",
                flush=True,
            )
            report.add(record)
    report.close()


if __name__ == "__main__":
    main()
