"""Speed of co-occurrence counting, beside the same counts by plain numpy and torch.

    python benchmarks/cooccurrence.py --threads 1 2 --json results.json
    python benchmarks/cooccurrence.py --corpus wiki.txt --windows 10 15

Without --corpus the text is Zipf words in sentences of 5 to 55 tokens. Counts are symmetric and
weighted by distance; words per second are centres of the index and all rows together, in memory.
The peers write down every pair and sort: `numpy unique` and `torch coalesce`, on fewer tokens.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import torch

from harness import Report, add_report_options, measure
from lexforge.ops.cooccurrence.cooccurrence import (
    cooccurrence_index,
    cooccurrence_merge,
    cooccurrence_rows,
    cooccurrence_unit,
)
from lexforge.ops.sampling.sampling import alias_sample, build_alias

# A GPU is busy with more.
TOKENS = {"cpu": 4_000_000, "cuda": 16_000_000}
PEER_TOKENS = {"cpu": 200_000, "cuda": 2_000_000}


def zipf_corpus(vocab_size: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens, offsets) of random words."""
    table = build_alias(1.0 / torch.arange(1, vocab_size + 1, dtype=torch.float64))
    lengths = np.random.default_rng(1).integers(5, 56, size // 5)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    offsets = np.append(offsets[offsets < size], size)
    return alias_sample(table, size, seed=1), torch.from_numpy(offsets)


def read_corpus(corpus: str) -> tuple[int, torch.Tensor, torch.Tensor]:
    """(V, tokens, offsets) of a text, words that occur five times or more."""
    from lexforge.text import build_vocabulary, encode_corpus

    vocabulary = build_vocabulary(corpus)
    with tempfile.TemporaryDirectory() as folder:
        encoded = encode_corpus(corpus, vocabulary, folder)
        return len(vocabulary), encoded.tokens.clone(), encoded.offsets.clone()


def pairs(tokens: torch.Tensor, offsets: torch.Tensor, window: int) -> Iterator[tuple]:
    """(left words, right words, units) at every distance."""
    sentence = torch.repeat_interleave(offsets.diff())
    for d in range(1, window + 1):
        same = sentence[d:] == sentence[:-d]
        yield tokens[:-d][same], tokens[d:][same], cooccurrence_unit(window) // d


def sort_by_numpy(tokens, offsets, vocab_size: int, window: int) -> int:
    keys, weights = [], []
    for left, right, units in pairs(tokens, offsets, window):
        left, right = left.numpy().astype(np.int64), right.numpy().astype(np.int64)
        keys += [left * vocab_size + right, right * vocab_size + left]
        weights.append(np.full(2 * len(left), units, np.float64))
    unique, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    return len(np.bincount(inverse, np.concatenate(weights), len(unique)))


def sort_by_torch(tokens, offsets, vocab_size: int, window: int) -> int:
    rows, cols, weights = [], [], []
    for left, right, units in pairs(tokens, offsets, window):
        rows += [left, right]
        cols += [right, left]
        weights.append(torch.full((2 * len(left),), units, device=tokens.device))
    counts = torch.sparse_coo_tensor(
        torch.stack((torch.cat(rows), torch.cat(cols))),
        torch.cat(weights),
        (vocab_size, vocab_size),
        check_invariants=False,
    )
    return counts.coalesce().values().shape[0]


def cases(tokens, offsets, vocab_size: int, window: int) -> Iterator[tuple[str, int, Callable]]:
    """(what, words or entries per call, function) of every case."""
    n = tokens.shape[0]
    options = {"vocab_size": vocab_size, "window": window}

    def index():
        return cooccurrence_index(tokens, offsets, **options)

    whole = index()
    yield "index (words)", n, index
    yield "rows (words)", n, lambda: cooccurrence_rows(whole, window=window)
    yield "index and rows (words)", n, lambda: cooccurrence_rows(index(), window=window)

    halves = [
        cooccurrence_rows(
            cooccurrence_index(tokens, offsets, first=first, last=last, **options), window=window
        )
        for first, last in ((0, n // 2), (n // 2, n))
    ]
    entries = sum(len(half.cols) for half in halves)
    yield "merge (entries)", entries, lambda: cooccurrence_merge(halves, vocab_size=vocab_size)

    few = min(n, PEER_TOKENS[tokens.device.type])
    cut = torch.clamp(offsets, max=few)
    if tokens.device.type == "cpu":
        yield (
            "numpy unique (words)",
            few,
            lambda: sort_by_numpy(tokens[:few], cut, vocab_size, window),
        )
    yield (
        "torch coalesce (words)",
        few,
        lambda: sort_by_torch(tokens[:few], cut, vocab_size, window),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--vocab-size", type=int, default=80_000)
    parser.add_argument("--tokens", type=int, help="default 4 million, on a GPU 16 million")
    parser.add_argument("--corpus", help="a text to count instead: data set, file or folder")
    parser.add_argument("--windows", type=int, nargs="+", default=[10])
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each case")
    add_report_options(parser)
    arguments = parser.parse_args()

    if arguments.corpus:
        vocab_size, tokens, offsets = read_corpus(arguments.corpus)
    else:
        vocab_size = arguments.vocab_size
        tokens, offsets = zipf_corpus(vocab_size, arguments.tokens or TOKENS[arguments.device])
    tokens, offsets = tokens.to(arguments.device), offsets.to(arguments.device)
    text = {"corpus": arguments.corpus or "zipf", "vocab_size": vocab_size, "tokens": len(tokens)}
    print(f"{text['corpus']}: {len(tokens)} words, vocabulary {vocab_size}\n")
    print("| case | window | threads | million per second | best |\n|---|---|---|---|---|")
    report = Report(arguments, arguments.device)
    for window in arguments.windows:
        for what, count, work in cases(tokens, offsets, vocab_size, window):
            for threads in arguments.threads:
                record = text | {"case": what, "window": window, "threads": threads, "count": count}
                record |= measure(work, threads, arguments.seconds)
                record["per_s"] = count / record["median_s"]
                median, best = (count / record[key] / 1e6 for key in ("median_s", "best_s"))
                print(f"| {what} | {window} | {threads} | {median:.2f} | {best:.2f} |", flush=True)
                report.add(record)
    report.close()


if __name__ == "__main__":
    main()
