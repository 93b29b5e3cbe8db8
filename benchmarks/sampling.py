"""Speed of drawing from a word distribution, beside torch.multinomial and a cumulative table.

    python benchmarks/sampling.py --threads 1 2 --json results.json
    python benchmarks/sampling.py --philox

The weights are Zipf counts to the power 0.75. `numpy searchsorted` is what gensim does for its
noise words: random integers looked up in the cumulative table. The ceiling of a draw is its two
random words: --philox measures the generator alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import torch

from harness import Report, add_report_options, measure
from lexforge.ops.sampling.sampling import alias_sample, build_alias, noise_weights, sample_noise


def zipf_weights(vocab_size: int, device: str) -> torch.Tensor:
    counts = (1e9 / torch.arange(1, vocab_size + 1, dtype=torch.float64)).long()
    return noise_weights(counts.to(device))


def cases(vocab_size: int, draws: int, device: str) -> Iterator[tuple[str, int, Callable]]:
    """(what, draws per call, function) of every case; the slow peers draw fewer per call."""
    weights = zipf_weights(vocab_size, device)
    table = build_alias(weights)
    yield "alias_sample int32", draws, lambda: alias_sample(table, draws, seed=1)
    yield (
        "alias_sample int64",
        draws,
        lambda: alias_sample(table, draws, seed=1, dtype=torch.int64),
    )

    contexts, negatives = 6, 5
    rows = draws // (contexts * negatives)
    positives = alias_sample(table, rows * contexts, seed=2)
    offsets = torch.arange(0, rows * contexts + 1, contexts, device=device)
    yield (
        f"sample_noise, {contexts} positives, {negatives} draws each",
        rows * contexts * negatives,
        lambda: sample_noise(table, positives, offsets, negatives, seed=1),
    )

    few = draws // 8
    yield "torch.multinomial", few, lambda: torch.multinomial(weights, few, replacement=True)
    if device == "cpu":
        shares = weights.numpy() / weights.sum().item()
        cumulative = np.cumsum(shares * (2**31 - 1)).astype(np.int64)
        rng = np.random.default_rng(1)
        yield (
            "numpy searchsorted",
            few,
            lambda: cumulative.searchsorted(rng.integers(0, cumulative[-1], few)),
        )
    yield "build_alias (entries)", vocab_size, lambda: build_alias(weights)


def philox_cases(quads: int) -> Iterator[tuple[str, int, Callable]]:
    yield "philox words", 4 * quads, lambda: torch.ops.lexforge._philox_xor(1, quads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--vocab-size", type=int, nargs="+", default=[71_000, 1_000_000])
    parser.add_argument("--draws", type=int, default=4_000_000, help="draws per call")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each case")
    parser.add_argument("--philox", action="store_true", help="the generator alone, one thread")
    add_report_options(parser)
    arguments = parser.parse_args()

    report = Report(arguments, arguments.device)
    print("| case | V | threads | million per second | best |\n|---|---|---|---|---|")

    def run(what: str, vocab_size: int, threads: int, count: int, work: Callable) -> None:
        record = {"case": what, "vocab_size": vocab_size, "threads": threads, "count": count}
        record |= measure(work, threads, arguments.seconds)
        record["per_s"] = count / record["median_s"]
        median, best = (count / record[key] / 1e6 for key in ("median_s", "best_s"))
        print(f"| {what} | {vocab_size} | {threads} | {median:.1f} | {best:.1f} |", flush=True)
        report.add(record)

    if arguments.philox:
        for what, count, work in philox_cases(1_000_000):
            run(what, 0, 1, count, work)
    else:
        for vocab_size in arguments.vocab_size:
            for what, count, work in cases(vocab_size, arguments.draws, arguments.device):
                for threads in arguments.threads:
                    run(what, vocab_size, threads, count, work)
    report.close()


if __name__ == "__main__":
    main()
