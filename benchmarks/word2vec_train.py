"""Speed of streaming word2vec, beside minibatches of skip-gram in plain PyTorch.

    python benchmarks/word2vec_train.py --device cpu --threads 1 2 --json results.json
    python benchmarks/word2vec_train.py --device cuda --dim 100 300 --json results.json
    python benchmarks/word2vec_train.py --models tree cbow cbow-tree --shard-tokens 0 65536
    python benchmarks/word2vec_train.py --models pair cbow --bags 20

The corpus is drawn from a Zipf distribution over V words in sentences of 24 tokens on average. A
figure is corpus tokens per second, tokens that sub-sampling drops included; `windows` counts those
that were kept. Plain PyTorch gets its pairs and noise words ready drawn and only trains: row
look-ups, products, and additions by index. `GB/s` is what a window's rows move, each read and
written once per window, without reuse between windows. With `--bags` a word's vector is the mean of
its own row and those of as many n-grams as it takes for the mean size given, of a Zipf distribution
over `--grams` rows; skip-gram then predicts the contexts from the centre.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import torch

from harness import Report, add_report_options, measure
from lexforge.models.word2vec.trainer import SHARDS
from lexforge.ops._tables import padded_table
from lexforge.ops.sampling.sampling import (
    alias_sample,
    build_alias,
    keep_probability,
    noise_weights,
)
from lexforge.ops.word2vec.word2vec_train import (
    Bags,
    HuffmanPaths,
    shard_rows,
    word2vec_train_,
)
from lexforge.text.huffman import huffman_tree

WINDOW, NEGATIVES = 5, 5
# Names in results, and options; a tree takes the place of noise words.
MODELS = {
    "pair": ("noise per pair", {}),
    "window": ("noise per window", {"negative_sharing": "window"}),
    "tree": ("tree", {}),
    "cbow": ("CBOW, noise", {"model": "cbow"}),
    "cbow-tree": ("CBOW, tree", {"model": "cbow"}),
}


class Corpus:
    """A random corpus on a device, with all that training needs."""

    def __init__(
        self,
        tokens: int,
        vocab_size: int,
        threshold: float,
        device: str,
        bags: int = 0,
        grams: int = 0,
    ):
        weights = 1.0 / torch.arange(1, vocab_size + 1, dtype=torch.float64)
        table = build_alias(weights)
        self.tokens = alias_sample(table, tokens, seed=1).to(torch.int32)
        counts = torch.bincount(self.tokens, minlength=vocab_size).clamp(min=1)
        random = torch.Generator().manual_seed(1)
        lengths = torch.randint(1, 48, (tokens // 24,), generator=random)
        ends = lengths.cumsum(0)
        ends = ends[ends < tokens]
        self.offsets = torch.cat([torch.tensor([0]), ends, torch.tensor([tokens])])
        self.keep = keep_probability(counts, threshold)
        self.noise = build_alias(noise_weights(counts))
        for name, tensor in vars(self).items():
            setattr(self, name, tensor.to(device))
        found = huffman_tree(counts.cpu().sort(descending=True).values.numpy())
        offsets, nodes = (torch.from_numpy(array).to(device) for array in found[:2])
        self.tree = HuffmanPaths(offsets, nodes, found.longest)
        self.path = float((offsets.diff()[self.tokens.long()]).double().mean())  # of a token
        self.bags, self.bag, self.grams = None, 1.0, grams if bags else 0
        if bags:
            sizes = torch.randint(1, 2 * bags, (vocab_size,), generator=random)
            ends = sizes.cumsum(0)
            weights = 1.0 / torch.arange(1, grams + 1, dtype=torch.float64)
            rows = vocab_size + alias_sample(build_alias(weights), int(ends[-1]), seed=3)
            rows[ends - sizes] = torch.arange(vocab_size, dtype=rows.dtype)
            offsets = torch.cat([torch.tensor([0]), ends]).to(device)
            self.bags = Bags(offsets, rows.to(torch.int32).to(device), int(sizes.max()))
            self.bag = float(sizes[self.tokens.cpu().long()].double().mean())  # of a token


def tables(
    vocab_size: int, dim: int, device: str, grams: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    in_table, out_table = padded_table(vocab_size + grams, dim), padded_table(vocab_size, dim)
    in_table[:, :dim].uniform_(-1 / dim, 1 / dim)
    return in_table.to(device), out_table.to(device)


def stream_case(
    corpus: Corpus, vocab_size: int, dim: int, model: str, device: str, shard_tokens: int = 0
):
    """The call to time, and what one call does: [loss, inputs, centres]."""
    in_table, other = tables(vocab_size, dim, device, corpus.grams)
    stats = torch.zeros(3, dtype=torch.float64, device=device)
    tree = "tree" in model
    rounds: dict[str, Any] = {}
    if tree:
        other = other[: vocab_size - 1]
    if shard_tokens and device == "cpu":
        kept = shard_rows(SHARDS, in_table, None if tree else other, other if tree else None)
        rounds = {"shards": SHARDS, "shard_tokens": shard_tokens, "shard_rows": kept}
    elif shard_tokens:
        rounds = {"windows_together": 1}

    def work():
        word2vec_train_(
            in_table,
            None if tree else other,
            other if tree else None,
            stats,
            *(corpus.tokens, corpus.offsets, corpus.keep),
            None if tree else corpus.noise,
            corpus.tree if tree else None,
            bags=corpus.bags,
            window=WINDOW,
            negatives=NEGATIVES,
            **rounds,
            **MODELS[model][1],
        )

    work()
    return work, stats.tolist()


def rows_moved(corpus: Corpus, model: str, pairs: float, centers: float) -> float:
    """That one call reads and writes."""
    cbow = "cbow" in model
    if corpus.bags is None and not cbow and model == "pair":
        return pairs * (1 + NEGATIVES) + centers
    each = corpus.path if "tree" in model else 1 + NEGATIVES  # targets
    if cbow or corpus.bags is None:
        return pairs * corpus.bag + centers * each
    targets = pairs + centers * NEGATIVES if model == "window" else pairs * each
    return targets + centers * corpus.bag


def torch_case(corpus: Corpus, vocab_size: int, dim: int, device: str, pairs: int):
    """One minibatch of skip-gram with negative sampling by look-ups and index_add_."""
    in_table, out_table = (table[:, :dim].contiguous() for table in tables(vocab_size, dim, device))
    center = corpus.tokens[:pairs].long()
    positive = corpus.tokens[1 : pairs + 1].long()
    noise = alias_sample(corpus.noise, (pairs, NEGATIVES), seed=2).long()
    target = torch.cat([positive[:, None], noise], dim=1)
    label = torch.zeros(1, 1 + NEGATIVES, device=device)
    label[0, 0] = 1

    def work():
        v, u = in_table[center], out_table[target]
        error = 0.025 * (label - torch.sigmoid(torch.einsum("pd,ptd->pt", v, u)))
        out_table.index_add_(0, target.flatten(), (error[:, :, None] * v[:, None]).flatten(0, 1))
        in_table.index_add_(0, center, torch.einsum("pt,ptd->pd", error, u))

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dim", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--vocab-size", type=int, nargs="+", default=[71_000])
    parser.add_argument("--tokens", type=int, help="default 1 million, on a GPU 17 million")
    parser.add_argument("--threshold", type=float, nargs="+", default=[0.0, 1e-4])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["pair", "window"])
    parser.add_argument(
        "--shard-tokens", type=int, nargs="+", default=[0], help="one result if not 0"
    )
    parser.add_argument("--bags", type=int, default=0, help="mean size of words' bags; 0: none")
    parser.add_argument("--grams", type=int, default=500_000, help="rows of n-grams")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each case")
    add_report_options(parser)
    arguments = parser.parse_args()
    device = arguments.device
    tokens = arguments.tokens or (17_000_000 if device == "cuda" else 1_000_000)

    figures = Report(arguments, device)
    print("| case | V | dim | threshold | threads | M tokens/s | M windows/s | GB/s |")
    print("|---|---|---|---|---|---|---|---|")

    def report(what: str, threads: int, work, call: dict, **shape) -> None:
        timing = measure(work, threads, arguments.seconds)
        rates = {f"{name}_per_s": count / timing["median_s"] for name, count in call.items()}
        cells = [rates["tokens_per_s"] / 1e6, rates["windows_per_s"] / 1e6]
        cells.append(rates["bytes_per_s"] / 1e9)
        columns = [what, *shape.values(), threads, *(f"{cell:.2f}" for cell in cells)]
        print("|", " | ".join(map(str, columns)), "|", flush=True)
        figures.add({"case": what, "threads": threads, **shape, **timing, **rates})

    for vocab_size in arguments.vocab_size:
        for threshold in arguments.threshold:
            bags = arguments.bags, arguments.grams
            corpus = Corpus(tokens, vocab_size, threshold, device, *bags)
            _, (_, pairs, centers) = stream_case(corpus, vocab_size, 16, "window", device)
            for dim in arguments.dim:
                shape = {"vocab_size": vocab_size, "dim": dim, "threshold": threshold}
                for threads in arguments.threads if device == "cpu" else [1]:
                    torch.set_num_threads(threads)
                    for model, size in itertools.product(arguments.models, arguments.shard_tokens):
                        work, _ = stream_case(corpus, vocab_size, dim, model, device, size)
                        rows = rows_moved(corpus, model, pairs, centers)
                        moved = 2 * 4 * dim * rows
                        call = {"tokens": tokens, "windows": centers, "bytes": moved}
                        what = f"lexforge, {MODELS[model][0]}"
                        if corpus.bags is not None:
                            what += f", bags of {arguments.bags}"
                        if size:
                            what += f", shards of {size}"
                        report(what, threads, work, call, **shape)
                    pairs_per_token, windows_per_token = pairs / tokens, centers / tokens
                    batch = 16_384 if device == "cpu" else 262_144
                    work = torch_case(corpus, vocab_size, dim, device, batch)
                    worth = batch / pairs_per_token
                    moved = 2 * 4 * dim * (batch * (1 + NEGATIVES) + batch)
                    call = {"tokens": worth, "windows": worth * windows_per_token, "bytes": moved}
                    report(f"torch, {batch} pairs a batch", threads, work, call, **shape)
    figures.close()


if __name__ == "__main__":
    main()
