"""The reference text's skip-gram on the Penn Treebank: plain PyTorch against lexforge.

    python benchmarks/ptb_reference.py --threads 2 --json results.json
    python benchmarks/ptb_reference.py --plain-batches 100     # a sample of the plain side

Batch 512, window 5, 5 negatives, size 100, Adam with lr 0.002, 5 epochs. Both sides take turns, an
epoch each. Plain PyTorch is the text's recipe: examples drawn once into Python lists, a DataLoader
that pads them, nn.Embedding, batched products, masked cross-entropy, dense Adam. lexforge takes the
parts of lexforge.d2l, once with samples drawn once, as the text does, and once with fresh ones in
every epoch. Rates are centre words per second of training, with drawing and padding of minibatches;
losses are means over all examples of all epochs. With --plain-batches the plain side stops early in
each epoch: its rate is that of the part, and its loss is not given.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from harness import write_report
from lexforge import d2l
from lexforge.models.word2vec.textbook import padded_rows
from lexforge.ops.word2vec.skipgram_batch import skipgram_epoch_
from lexforge.ops.word2vec.skipgram_step import SkipgramState, skipgram_sync_

BATCH, WINDOW, NEGATIVES, DIM, LR = 512, 5, 5, 100, 0.002


def embeddings(vocab_size: int) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(vocab_size, DIM), nn.Embedding(vocab_size, DIM))
    for embedding in net:
        nn.init.xavier_uniform_(embedding.weight)
    return net


class Plain:
    """The text's recipe in plain PyTorch."""

    name = "plain PyTorch"

    def __init__(self, workers: int, batches: int | None):
        start = time.perf_counter()
        sentences = d2l.read_ptb()
        self.vocab = d2l.Vocab(sentences, min_freq=10)
        kept, counter = d2l.subsample(sentences, self.vocab, seed=0)
        corpus = [self.vocab[line] for line in kept]
        centers, contexts = d2l.get_centers_and_contexts(corpus, WINDOW, seed=0)
        negatives = d2l.get_negatives(contexts, self.vocab, counter, NEGATIVES, seed=0)
        examples = list(zip(centers, contexts, negatives, strict=True))
        self.preparation = time.perf_counter() - start
        self.loader = torch.utils.data.DataLoader(
            examples, BATCH, shuffle=True, collate_fn=d2l.batchify, num_workers=workers
        )
        self.batches = batches or len(self.loader)
        self.net = embeddings(len(self.vocab))
        self.loss = d2l.SigmoidBCELoss()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LR)

    def epoch(self) -> tuple[float, int]:
        """Sum of losses and number of examples."""
        total, count = 0.0, 0
        for number, (center, targets, mask, label) in enumerate(self.loader, 1):
            self.optimizer.zero_grad()
            scores = d2l.skip_gram(center, targets, *self.net).squeeze(1)
            loss = self.loss(scores, label, mask) / mask.sum(1) * mask.shape[1]
            loss.sum().backward()
            self.optimizer.step()
            total += float(loss.detach().sum())
            count += len(loss)
            if number >= self.batches:
                break
        return total, count

    def vectors(self) -> nn.Embedding:
        return self.net[0]


class Ours:
    """lexforge: the parts of d2l.train, an epoch at a time."""

    def __init__(self, static_samples: bool):
        self.name = f"lexforge, {'static' if static_samples else 'fresh'} samples"
        start = time.perf_counter()
        self.data, self.vocab = d2l.load_data_ptb(
            BATCH, WINDOW, NEGATIVES, static_samples=static_samples
        )
        self.preparation = time.perf_counter() - start
        self.net = embeddings(len(self.vocab))
        self.state = SkipgramState.create(*(padded_rows(e.weight) for e in self.net), "adam")

    def epoch(self) -> tuple[float, int]:
        stats = torch.zeros(3, dtype=torch.float64)
        skipgram_epoch_(self.state, stats, self.data.next_epoch(), batch_size=BATCH, lr=LR)
        skipgram_sync_(self.state)
        return float(stats[0]), int(stats[1])

    def vectors(self) -> nn.Embedding:
        return nn.Embedding.from_pretrained(self.state.in_table[:, :DIM])


def neighbours(side) -> list[str]:
    matrix = side.vectors().weight
    row = side.vocab["chip"]
    found, _ = d2l.knn(matrix, matrix[row], 5, exclude=[row])
    return side.vocab.to_tokens(found.tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=0, help="loader processes of plain PyTorch")
    parser.add_argument("--plain-batches", type=int, help="stop plain epochs after so many")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    sides = [Plain(arguments.workers, arguments.plain_batches), Ours(True), Ours(False)]
    sums = [[0.0, 0] for _ in sides]
    rates: list[list[float]] = [[] for _ in sides]
    cpu_rates: list[list[float]] = [[] for _ in sides]
    for _ in range(arguments.epochs):
        for side, total, rate, cpu_rate in zip(sides, sums, rates, cpu_rates, strict=True):
            start, cpu_start = time.perf_counter(), time.process_time()
            loss, count = side.epoch()
            rate.append(count / (time.perf_counter() - start))
            cpu_rate.append(count / (time.process_time() - cpu_start))
            total[0] += loss
            total[1] += count

    records = []
    print(
        "| side | centres/s, median | best | per CPU second | ratio | loss | s to prepare | chip |"
    )
    print("|---|---|---|---|---|---|---|---|")
    plain = statistics.median(rates[0])
    for side, (loss, count), rate, cpu_rate in zip(sides, sums, rates, cpu_rates, strict=True):
        sampled = side is sides[0] and arguments.plain_batches is not None
        record = {
            "case": side.name,
            "threads": arguments.threads,
            "epochs": arguments.epochs,
            "centers_per_s": statistics.median(rate),
            "best_centers_per_s": max(rate),
            "centers_per_cpu_s": statistics.median(cpu_rate),
            "ratio": statistics.median(rate) / plain,
            "loss": None if sampled else loss / count,
            "preparation_s": side.preparation,
            "neighbours_of_chip": None if sampled else neighbours(side),
        }
        records.append(record)
        print(
            f"| {side.name} | {record['centers_per_s']:,.0f} | {record['best_centers_per_s']:,.0f} "
            f"| {record['centers_per_cpu_s']:,.0f} | {record['ratio']:.1f} "
            f"| {'-' if sampled else format(record['loss'], '.3f')} | {side.preparation:.1f} "
            f"| {'-' if sampled else ', '.join(record['neighbours_of_chip'])} |"
        )
    if arguments.json:
        write_report(arguments.json, "cpu", records)


if __name__ == "__main__":
    main()
