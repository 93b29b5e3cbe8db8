"""Lookup, backward and optimiser of an embedding table beside torch.optim, step by step in turns.

    python benchmarks/row_update.py --threads 2 --json results.json
    python benchmarks/row_update.py --device cuda --optimizers adam lazy_adam

A step looks up a batch of ids, drawn afresh from a Zipf distribution over the rows, sends a
gradient back and updates the table: lexforge.nn.Embedding and lexforge.optim beside
torch.nn.Embedding and torch.optim, with sparse=True but for torch.optim.Adam, which wants dense
gradients. lexforge's exact Adam costs what the rows do that ever had a gradient: "fresh" is from
the first step on, "all rows" after one that gave every row a gradient. `GB/s` counts what a step
has to read and write at least of these rows: the gradients, the table and the state.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Callable

import torch

from harness import Report, add_report_options, alternate
from lexforge import nn, optim

# Rivals by optimiser: what each is built by, and whether its gradients are sparse.
RIVALS: dict[str, dict[str, tuple[Callable, bool]]] = {
    "adam": {
        "lexforge, fresh": (optim.Adam, True),
        "lexforge, all rows": (optim.Adam, True),
        "torch": (torch.optim.Adam, False),
        "torch, foreach": (lambda p: torch.optim.Adam(p, foreach=True), False),
        "torch, fused": (lambda p: torch.optim.Adam(p, fused=True), False),
    },
    "lazy_adam": {
        "lexforge": (lambda p: optim.Adam(p, lazy=True), True),
        "torch, SparseAdam": (torch.optim.SparseAdam, True),
    },
    "adagrad": {
        "lexforge": (optim.Adagrad, True),
        "lexforge, row-wise": (optim.RowwiseAdagrad, True),
        "torch": (torch.optim.Adagrad, True),
    },
    "sgd": {
        "lexforge": (lambda p: optim.SGD(p, 0.1), True),
        "torch": (lambda p: torch.optim.SGD(p, 0.1), True),
    },
}
STATE = {"adam": 2, "lazy_adam": 2, "adagrad": 1, "sgd": 0}  # rows of it for a row of the table


def zipf(rows: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """Ids [count] whose probability falls as 1 / (id + 1), up to a constant."""
    return ((rows + 1) ** torch.rand(count, generator=generator, dtype=torch.float64) - 1).long()


class Training:
    """One table, its optimiser, and the batches that it is yet to see."""

    def __init__(self, options: argparse.Namespace, case: str, build: Callable, sparse: bool):
        ours = case.startswith("lexforge")
        rows, dim = options.rows, options.dim
        generator = torch.Generator().manual_seed(0)
        weight = torch.empty(rows, dim).normal_(generator=generator).to(options.device)
        layer = nn.Embedding if ours else torch.nn.Embedding
        self.embedding = layer.from_pretrained(weight, freeze=False, sparse=sparse)
        self.optimizer = build(list(self.embedding.parameters()))
        self.gradient = 1e-3 * torch.randn(options.ids, dim, generator=generator).to(options.device)
        batches = [zipf(rows, options.ids, generator) for _ in range(options.repeats + 1)]
        self.batches = itertools.cycle([ids.to(options.device) for ids in batches])
        if case == "lexforge, all rows":
            self.step(torch.arange(rows, device=options.device), weight.new_full((1,), 1e-3))

    def step(self, ids: torch.Tensor, gradient: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        out = self.embedding(ids)
        out.backward(gradient.expand_as(out))
        self.optimizer.step()

    def __call__(self) -> None:
        self.step(next(self.batches), self.gradient)


def least_bytes(options: argparse.Namespace, name: str, case: str) -> float:
    """What a step of lexforge moves at least, with a float32 table."""
    generator = torch.Generator().manual_seed(1)
    rows = options.rows
    if case != "lexforge, all rows":
        rows = zipf(rows, options.ids, generator).unique().numel()
    state = STATE[name] if case != "lexforge, row-wise" else 1 / options.dim
    return 4 * options.dim * (options.ids + 2 * rows * (1 + state))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--ids", type=int, default=65_536, help="of a batch")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=60.0, help="at most for an optimiser")
    parser.add_argument("--optimizers", nargs="+", choices=RIVALS, default=list(RIVALS))
    add_report_options(parser)
    options = parser.parse_args()

    report = Report(options, options.device)
    print("| optimiser | case | threads | ms a step | of lexforge's | GB/s |")
    print("|---|---|---|---|---|---|")
    for threads in options.threads if options.device == "cpu" else [1]:
        torch.set_num_threads(threads)
        for name in options.optimizers:
            works = {
                case: Training(options, case, build, sparse)
                for case, (build, sparse) in RIVALS[name].items()
            }
            times = alternate(works, options.repeats, options.device, options.seconds)
            del works
            medians = {case: statistics.median(seconds) for case, seconds in times.items()}
            for case, seconds in times.items():
                ours = case.startswith("lexforge")
                rate = least_bytes(options, name, case) / medians[case] / 1e9 if ours else None
                ratio = medians[case] / next(iter(medians.values()))
                cells = [name, case, threads, f"{1e3 * medians[case]:.1f}", f"{ratio:.2f}"]
                cells.append(f"{rate:.1f}" if ours and case != "lexforge, fresh" else "")
                print("|", " | ".join(map(str, cells)), "|", flush=True)
                report.add(
                    {
                        "case": case,
                        "optimizer": name,
                        "threads": threads,
                        **{key: getattr(options, key) for key in ("rows", "dim", "ids")},
                        "median_s": medians[case],
                        "best_s": min(seconds),
                        "repeats": len(seconds),
                    }
                )
    report.close()


if __name__ == "__main__":
    main()
