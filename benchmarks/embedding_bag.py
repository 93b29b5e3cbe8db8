"""Speed of lexforge.nn.Embedding and EmbeddingBag beside torch.nn's: forward, and with backward.

    python benchmarks/embedding_bag.py --device cpu --threads 1 2 --json results.json
    python benchmarks/embedding_bag.py --device cuda --dim 100 300 --json results.json

Ids are drawn from a Zipf distribution over V words in random order, as words come: about 40 of 100
are distinct in a batch of 65,536 over a million. Bags have 16 ids each. A figure is ids per second.
`GB/s` is what the rows move without any reuse: read and written forward, read and added backward.
A dense gradient has V rows whatever the batch is: of a million of 100 float32 it is 400 MB of
zeros, which takes most of the time of both. A sparse one has a row for each id, and no sums.
"""

from __future__ import annotations

import argparse
import functools
import statistics

import torch
from torch import Tensor, nn

import lexforge
from harness import Report, add_report_options, alternate
from lexforge.ops.sampling.sampling import alias_sample, build_alias

BAG = 16
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# What is measured: the layer, its mode, and whether the gradient is sparse.
CASES = {
    "lookup": ("Embedding", None, False),
    "lookup, sparse": ("Embedding", None, True),
    "sum": ("EmbeddingBag", "sum", False),
    "mean": ("EmbeddingBag", "mean", False),
    "max": ("EmbeddingBag", "max", False),
}


def zipf_ids(count: int, vocab_size: int) -> Tensor:
    table = build_alias(1.0 / torch.arange(1, vocab_size + 1, dtype=torch.float64))
    order = torch.randperm(vocab_size, generator=torch.Generator().manual_seed(1))
    return order[alias_sample(table, count, seed=1).long()]


def forward(layer: nn.Module, ids: Tensor) -> None:
    with torch.no_grad():
        layer(ids)


def both(layer: nn.Module, ids: Tensor, grad: Tensor) -> None:
    layer.weight.grad = None
    layer(ids).backward(grad)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dim", type=int, nargs="+", default=[100])
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=["float32"])
    parser.add_argument("--vocab-size", type=int, default=1_000_000)
    parser.add_argument("--ids", type=int, default=65_536, help="of a batch")
    parser.add_argument("--cases", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=5.0, help="at most, for each figure")
    add_report_options(parser)
    options = parser.parse_args()

    report = Report(options, options.device)
    ids = zipf_ids(options.ids // BAG * BAG, options.vocab_size).to(options.device)
    print("| case | dtype | dim | threads | layer | forward, M ids/s | with backward | GB/s |")
    print("|---|---|---|---|---|---|---|---|")
    for dim in options.dim:
        for dtype in options.dtype:
            table = torch.randn(options.vocab_size, dim, dtype=DTYPES[dtype], device=options.device)
            for case in options.cases:
                kind, mode, sparse = CASES[case]
                given = {"freeze": False, "sparse": sparse} | ({"mode": mode} if mode else {})
                layers = {
                    name: getattr(home, kind).from_pretrained(table, **given)
                    for name, home in (("lexforge", lexforge.nn), ("torch", nn))
                }
                batch = ids if mode is None else ids.view(-1, BAG)
                grad = torch.randn(batch.shape[0], dim, device=table.device).to(table.dtype)
                for threads in options.threads if options.device == "cpu" else [1]:
                    torch.set_num_threads(threads)
                    times = {}
                    for what, work in (("forward", forward), ("both", both)):
                        rest = (batch,) if what == "forward" else (batch, grad)
                        works = {
                            name: functools.partial(work, layer, *rest)
                            for name, layer in layers.items()
                        }
                        times[what] = alternate(
                            works, options.repeats, options.device, options.seconds
                        )
                    for name in layers:
                        shape = {"case": case, "layer": name, "dtype": dtype, "dim": dim}
                        shape |= {"threads": threads, "ids": ids.numel()}
                        shape |= {"vocab_size": options.vocab_size}
                        seconds = {what: statistics.median(of[name]) for what, of in times.items()}
                        rates = [ids.numel() / seconds[what] for what in ("forward", "both")]
                        moved = 4 * dim * table.element_size() * rates[1] / 1e9
                        cells = [case, dtype, dim, threads, name]
                        cells += [f"{rate / 1e6:.2f}" for rate in rates] + [f"{moved:.2f}"]
                        print("|", " | ".join(map(str, cells)), "|", flush=True)
                        report.add(
                            *(
                                {**shape, "what": what, "median_s": seconds[what],
                                 "best_s": min(times[what][name]),
                                 "ids_per_s": ids.numel() / seconds[what]}
                                for what in times
                            )
                        )  # fmt: skip
                for layer in layers.values():
                    layer.weight.grad = None
    report.close()


if __name__ == "__main__":
    main()
