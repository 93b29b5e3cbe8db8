"""Speed of textCNN's convolution and maximum over time, beside torch.nn.functional.conv1d's.

    python benchmarks/conv_max_pool.py --device cpu --threads 1 2 --json results.json
    python benchmarks/conv_max_pool.py --device cuda --dtype bfloat16 --json results.json

The layer of Kim (2014) as a batch of reviews meets it: filters of widths 3, 4 and 5, 100 of each,
over words of 200 numbers. Lengths are log-normal around 200 words, cut to 500; words come from a
Zipf distribution over 50,000. Plain torch pads each text to 500, as a batch of one shape must, and
has all sums in memory; lexforge gets the words that occur once each, and where. Filters, biases and
words have gradients. A figure is texts per second.
"""

from __future__ import annotations

import argparse
import functools
import statistics

import torch
from torch import Tensor
from torch.nn import functional

from harness import Report, add_report_options, alternate
from lexforge.ops.convolution.conv_max_pool import conv_max_pool
from lexforge.ops.sampling.sampling import alias_sample, build_alias

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def texts(count: int, length: int, vocab_size: int) -> list[Tensor]:
    """Word numbers of texts."""
    generator = torch.Generator().manual_seed(1)
    lengths = (torch.randn(count, generator=generator) * 0.6 + 5.3).exp().clamp(8, length).int()
    table = build_alias(1.0 / torch.arange(1, vocab_size + 1, dtype=torch.float64))
    words = alias_sample(table, int(lengths.sum()), seed=1).long()
    return list(words.split(lengths.tolist()))


def ours(x: Tensor, bounds: Tensor, index: Tensor, filters: list[Tensor]) -> Tensor:
    widest = max(weight.shape[2] for weight in filters[::2])
    pairs = zip(filters[::2], filters[1::2], strict=True)
    return torch.cat(
        [conv_max_pool(x, bounds, *pair, index, min_length=widest, check_indices=False)
         for pair in pairs], 1,
    )  # fmt: skip


def plain(x: Tensor, filters: list[Tensor]) -> Tensor:
    channels_first = x.permute(0, 2, 1)
    pairs = zip(filters[::2], filters[1::2], strict=True)
    return torch.cat([functional.conv1d(channels_first, *pair).amax(2) for pair in pairs], 1)


def forward(layer, x: Tensor, filters: list[Tensor]) -> None:
    with torch.no_grad():
        layer(x, filters)


def both(layer, x: Tensor, filters: list[Tensor]) -> None:
    layer(x, filters).sum().backward()
    for leaf in (x, *filters):
        leaf.grad = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=list(DTYPES))
    parser.add_argument("--texts", type=int, default=64, help="of a batch")
    parser.add_argument("--length", type=int, default=500, help="to which texts are cut")
    parser.add_argument("--vocab-size", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=200)
    parser.add_argument("--channels", type=int, default=100, help="of each width")
    parser.add_argument("--widths", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=10.0, help="at most, for each figure")
    add_report_options(parser)
    options = parser.parse_args()

    report = Report(options, options.device)
    batch = texts(options.texts, options.length, options.vocab_size)
    lengths = torch.tensor([text.shape[0] for text in batch])
    bounds = functional.pad(lengths.cumsum(0), (1, 0)).int().to(options.device)
    words, index = torch.cat(batch).unique(return_inverse=True)
    index = index.int().to(options.device)
    print(f"{options.texts} texts, {len(index)} tokens, {len(words)} words")
    print("| dtype | threads | layer | forward, texts/s | with backward |")
    print("|---|---|---|---|---|")
    for name in options.dtype:

        def normal(*shape: int, dtype: torch.dtype = DTYPES[name]) -> Tensor:
            return (torch.randn(shape) / 10).to(options.device, dtype).requires_grad_()

        rows = normal(words.shape[0], options.dim)
        padded = rows.new_zeros(options.texts, options.length, options.dim)
        for b, (first, last) in enumerate(zip(bounds.tolist(), bounds.tolist()[1:], strict=False)):
            padded[b, : last - first] = rows.detach()[index[first:last].long()]
        filters = []
        for width in options.widths:
            filters += [normal(options.channels, options.dim, width), normal(options.channels)]
        layers = {
            "lexforge": (lambda x, given: ours(x, bounds, index, given), rows),
            "torch": (plain, padded.requires_grad_()),
        }
        for threads in options.threads if options.device == "cpu" else [1]:
            torch.set_num_threads(threads)
            times = {}
            for what, work in (("forward", forward), ("both", both)):
                works = {
                    name: functools.partial(work, layer, x, filters)
                    for name, (layer, x) in layers.items()
                }
                times[what] = alternate(works, options.repeats, options.device, options.seconds)
            for layer in layers:
                shape = {"layer": layer, "dtype": name, "threads": threads, "texts": options.texts}
                shape |= {"tokens": len(index), "words": len(words), "dim": options.dim}
                shape |= {"channels": options.channels, "widths": options.widths}
                seconds = {what: statistics.median(of[layer]) for what, of in times.items()}
                rates = [f"{options.texts / seconds[what]:.0f}" for what in ("forward", "both")]
                print("|", " | ".join([name, str(threads), layer, *rates]), "|", flush=True)
                report.add(
                    *(
                        {**shape, "what": what, "median_s": seconds[what],
                         "best_s": min(times[what][layer]),
                         "texts_per_s": options.texts / seconds[what]}
                        for what in times
                    )
                )  # fmt: skip
    report.close()


if __name__ == "__main__":
    main()
