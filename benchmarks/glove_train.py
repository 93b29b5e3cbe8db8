"""Speed of GloVe training, beside minibatches of the same work in plain PyTorch.

    python benchmarks/glove_train.py --device cpu --threads 1 2 --json results.json
    python benchmarks/glove_train.py --device cuda --dim 100 300 --json results.json

The co-occurrence matrix is drawn: pairs of words of a Zipf distribution each, every pair once, with
random counts. A figure is non-zero entries per second over whole passes, whatever their number of
rounds; building the tiles is timed apart, once. `GB/s` is what the entries' records move when each
is read and written for every entry: two records of 8 bytes for each of D + 2 elements, padded to
16. Plain PyTorch takes minibatches with AdaGrad: look-ups, products, additions by index.
"""

from __future__ import annotations

import argparse
import time

import torch

from harness import Report, add_report_options, measure
from lexforge.ops.glove.glove_tiles import glove_deal_parts, glove_default_parts, glove_tiles
from lexforge.ops.glove.glove_train import RECORD_PARTS, glove_table, glove_train_
from lexforge.ops.sampling.sampling import alias_sample, build_alias
from lexforge.reference.glove.glove_loss import glove_weight

LEARNING_RATE = 0.05


def random_matrix(entries: int, vocab_size: int, device: str) -> list[torch.Tensor]:
    """row_begin, cols and values of about `entries` different pairs, on the CPU."""
    words = build_alias(1.0 / torch.arange(1, vocab_size + 1, dtype=torch.float64)).to(device)
    keys = torch.empty(0, dtype=torch.int64, device=device)
    seed = 0
    while len(keys) < entries:
        rows, cols = (alias_sample(words, entries, seed=seed + side).long() for side in (1, 2))
        keys = torch.cat([keys, rows * vocab_size + cols]).unique()
        seed += 2
    keys = keys.cpu()
    borders = torch.arange(vocab_size + 1) * vocab_size
    counts = torch.rand(len(keys), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [torch.searchsorted(keys, borders), (keys % vocab_size).int(), torch.exp(6 * counts - 1)]


def tables(vocab_size: int, dim: int, optimizer: str, device: str) -> list[torch.Tensor]:
    pair = [glove_table(vocab_size, dim, optimizer) for _ in range(2)]
    for table in pair:
        table[:, 0, : dim + 1].uniform_(-0.5 / dim, 0.5 / dim)
    return [table.to(device) for table in pair]


def torch_case(matrix: list[torch.Tensor], dim: int, device: str, batch: int):
    """One minibatch with AdaGrad, the two sides and their biases in one row each."""
    row_begin, cols, values = matrix
    vocab_size = len(row_begin) - 1
    words, contexts = (
        torch.empty(vocab_size, dim + 1, device=device).uniform_(-0.5 / dim, 0.5 / dim)
        for _ in range(2)
    )
    squares = [torch.ones_like(words), torch.ones_like(contexts)]
    chosen = torch.randint(0, len(cols), (batch,), generator=torch.Generator().manual_seed(1))
    rows = (torch.searchsorted(row_begin, chosen, right=True) - 1).to(device)
    columns = cols[chosen].long().to(device)
    x = values[chosen].float().to(device)
    log_x, weight = x.log(), glove_weight(x)

    def work():
        w, c = words[rows], contexts[columns]
        score = (w[:, :dim] * c[:, :dim]).sum(1) + w[:, dim] + c[:, dim]
        g = (LEARNING_RATE * weight * (score - log_x))[:, None]
        w[:, dim] = c[:, dim] = 1
        for table, square, ids, gradient in (
            (words, squares[0], rows, g * c),
            (contexts, squares[1], columns, g * w),
        ):
            table.index_add_(0, ids, gradient * square[ids].rsqrt(), alpha=-1)
            square.index_add_(0, ids, gradient.square())

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dim", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--vocab-size", type=int, default=71_000)
    parser.add_argument("--entries", type=int, help="default 2 million, on a GPU 27 million")
    parser.add_argument("--optimizer", nargs="+", choices=RECORD_PARTS, default=["adagrad"])
    parser.add_argument("--parts", type=int, nargs="+", help="default glove_default_parts")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each case")
    add_report_options(parser)
    options = parser.parse_args()
    device, vocab_size = options.device, options.vocab_size
    matrix = random_matrix(
        options.entries or (27_000_000 if device == "cuda" else 2_000_000), vocab_size, device
    )
    entries = len(matrix[1])

    figures = Report(options, device)
    print("| trainer | dim | parts | threads | M entries/s | GB/s |")
    print("|---|---|---|---|---|---|")

    def report(name: str, dim: int, parts: int | None, threads: int, work, count: int, **more):
        timing = measure(work, threads, options.seconds)
        rate = count / timing["median_s"]
        padded = -(-(dim + 2) // 16) * 16
        record = {"case": name, "dim": dim, "parts": parts, "threads": threads}
        record |= {"vocab_size": vocab_size, "entries": entries, **more, **timing}
        moved = 4 * more.get("record_parts", 2) * 4 * padded * rate / 1e9
        cells = [name, dim, parts or "", threads, f"{rate / 1e6:.2f}", f"{moved:.1f}"]
        print("|", " | ".join(map(str, cells)), "|", flush=True)
        figures.add(record | {"entries_per_s": rate})

    threads_of = options.threads if device == "cpu" else [1]
    modes = {"": True} if device == "cpu" else {", deterministic": True, ", fast": False}
    for dim in options.dim:
        for optimizer in options.optimizer:
            default = glove_default_parts(vocab_size, dim, optimizer, device=device)
            for parts in options.parts or [default]:
                begin = time.perf_counter()
                part = glove_deal_parts(matrix[0].diff(), parts)
                tiles = glove_tiles(*matrix, part, parts=parts).to(device)
                tiling = time.perf_counter() - begin
                trained = tables(vocab_size, dim, optimizer, device)
                stats = torch.zeros(2, dtype=torch.float64, device=device)
                for threads in threads_of:
                    for mode, deterministic in modes.items():

                        def work(
                            trained=trained,
                            stats=stats,
                            tiles=tiles,
                            dim=dim,
                            optimizer=optimizer,
                            deterministic=deterministic,
                            threads=threads,
                        ):
                            glove_train_(
                                *trained,
                                stats,
                                tiles,
                                dim=dim,
                                optimizer=optimizer,
                                learning_rate=LEARNING_RATE,
                                deterministic=deterministic,
                                threads=threads,
                            )

                        more = {"record_parts": RECORD_PARTS[optimizer], "tiling_s": tiling}
                        report(
                            f"lexforge {optimizer}{mode}",
                            dim,
                            parts,
                            threads,
                            work,
                            entries,
                            **more,
                        )
        batch = 16_384 if device == "cpu" else 262_144
        for threads in threads_of:
            work = torch_case(matrix, dim, device, batch)
            report(f"torch, {batch} entries a batch", dim, None, threads, work, batch)
    figures.close()


if __name__ == "__main__":
    main()
