"""Training of a classifier beside the reference text's code for it, in plain PyTorch.

What benchmarks/sentiment.py and benchmarks/nli.py share. Both sides begin with the same texts, the
same vocabulary and the same word vectors, and train as the text does: Adam, the sum of the losses
of a batch, its rates, batches and lengths. Plain PyTorch pads every text to the same length;
lexforge does not pad.

speed     Sides are processes that take turns, some steps each; examples per second, with the making
          of batches. What comes before the first step, reading and numbering the texts, is not
          counted. lexforge lets its process keep the memory that a step frees; plain PyTorch does
          not by itself, and is shown in both ways.
accuracy  On the test split after so many epochs, of each seed, with the seconds of training.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from harness import Contestant, Report, add_report_options, take_turns
from lexforge._library import cpu_has_bf16
from lexforge.models.classification.files import NETWORKS
from lexforge.models.classification.network import WordNetwork
from lexforge.models.classification.settings import RECIPES
from lexforge.models.classification.trainer import SUMS, ClassifierState, Losses, draw_steps
from lexforge.models.classification.vectors import fill_tables, read_word_vectors
from lexforge.text.classification import LabelledTexts, read_labelled
from lexforge.text.classification.batches import length_buckets, text_batch
from lexforge.text.classification.encoded import EncodedTexts
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.training.memory import keep_freed_memory
from lexforge.training.network_job import evaluating
from lexforge.training.optimizer import NetworkOptimizer
from lexforge.training.stepper import Stepper

SHAPES: dict[str, dict[str, Any]] = {"birnn": {"pool": "ends"}, "textcnn": {}, "decomposable": {}}


class Task(NamedTuple):
    """What all sides begin with."""

    kind: str
    train: EncodedTexts
    test: EncodedTexts
    network: WordNetwork  # with its first values
    max_len: int
    padding: int


@lru_cache(maxsize=1)
def task(
    kind: str, data: str, test: str, texts: int | None, vectors: str | None, max_len: int | None
) -> Task:
    """The texts as numbers, and a network with the vectors."""
    read = read_labelled(data)
    if texts is not None:
        read = read[np.sort(np.random.default_rng(0).permutation(len(read))[:texts])]
    sides = [read.first] if read.second is None else [read.first, read.second]
    tokenizer = WordTokenizer.build(sides, min_freq=5)
    max_len = RECIPES[kind].max_len if max_len is None else max_len
    size = {"vocab_size": len(tokenizer), "num_classes": len(read.names)}
    found = None if vectors is None else read_word_vectors(vectors)
    if found is not None:
        size["embed_size"] = found.vector_size
    made = NETWORKS[kind]
    assert issubclass(made, WordNetwork)
    network = made(made.CONFIG(**size, **SHAPES[kind]), seed=1)
    if found is not None:
        fill_tables([table for table, _ in network.tables()], tokenizer.tokens, found)

    def numbered(some: LabelledTexts) -> EncodedTexts:
        return network.encode(some, tokenizer, max_len)

    held_out = replace(read_labelled(test), names=read.names)
    return Task(kind, numbered(read), numbered(held_out), network, max_len, tokenizer.pad_id)


def padded(texts: EncodedTexts, length: int, padding: int) -> list[Tensor]:
    """The arrays of the text's data set: one of tokens, or two, and the labels."""
    arrays = []
    for side in (texts, texts.second):
        if side is not None:
            lengths = np.diff(side.offsets)
            rows = np.repeat(np.arange(len(lengths)), lengths)
            columns = np.arange(len(side.tokens)) - np.repeat(side.offsets[:-1], lengths)
            array = torch.full((len(lengths), length), padding)
            array[rows, columns] = torch.from_numpy(side.tokens).long()
            arrays.append(array)
    return [*arrays, torch.from_numpy(texts.labels)]


class Side:
    """A contestant, and the rate of each of its turns."""

    name = ""

    def __init__(self, task: Task, precision: str, plain: Any, batch: int, seed: int):
        self.precision, self.batch, self.rates = precision, batch, []
        self.steps_per_epoch = -(-len(task.train) // batch)
        self.rate = RECIPES[task.kind].learning_rate

    def steps(self, count: int) -> int:
        """Does so many steps; the number of examples."""
        raise NotImplementedError

    def accuracy(self) -> float:
        """On the test split."""
        raise NotImplementedError

    def turn(self, count: int) -> None:
        begin = time.perf_counter()
        examples = self.steps(count)
        self.rates.append(examples / (time.perf_counter() - begin))

    def record(self) -> dict:
        return {
            "case": "speed",
            "side": self.name,
            "precision": self.precision,
            "examples_per_s": statistics.median(self.rates),
            "rates": self.rates,
        }


class Plain(Side):
    """The text's code in plain PyTorch."""

    name = "plain PyTorch"

    def __init__(self, task: Task, precision: str, plain: Any, batch: int, seed: int):
        super().__init__(task, precision, plain, batch, seed)
        self.train, self.test = (
            padded(x, task.max_len, task.padding) for x in (task.train, task.test)
        )
        torch.manual_seed(seed)
        self.net = plain(task.network)
        self.loss = nn.CrossEntropyLoss(reduction="none")
        learned = [p for p in self.net.parameters() if p.requires_grad]
        self.trainer = torch.optim.Adam(learned, lr=self.rate)
        self.batches = self.shuffled(seed)

    def shuffled(self, seed: int) -> Iterator[list[Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            for rows in torch.randperm(len(self.train[0]), generator=generator).split(self.batch):
                yield [x[rows] for x in self.train]

    def steps(self, count: int) -> int:
        examples = 0
        self.net.train()
        for *inputs, labels in itertools.islice(self.batches, count):
            self.trainer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
                predicted = self.net(inputs if len(inputs) > 1 else inputs[0])
            losses = self.loss(predicted.float(), labels)
            losses.sum().backward()
            self.trainer.step()
            losses.sum().item()
            (predicted.argmax(1) == labels).sum().item()  # the text's running figures
            examples += len(labels)
        return examples

    @torch.no_grad()
    def accuracy(self) -> float:
        self.net.eval()
        hits = 0
        for *inputs, labels in zip(*(x.split(self.batch) for x in self.test), strict=True):
            found = self.net(inputs if len(inputs) > 1 else inputs[0]).argmax(1)
            hits += int((found == labels).sum())
        return hits / len(self.test[0])


class Keeping(Plain):
    """The same in a process that keeps the memory it frees, as lexforge's does."""

    name = "plain PyTorch, memory kept"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        keep_freed_memory()


class Ours(Side):
    """The steps of lexforge sentiment train and nli train."""

    name = "lexforge"

    def __init__(self, task: Task, precision: str, plain: Any, batch: int, seed: int):
        super().__init__(task, precision, plain, batch, seed)
        self.test = task.test
        made = type(task.network)
        self.net = made(task.network.config, seed=seed).train()
        for (table, trained), (filled, _) in zip(
            self.net.tables(), task.network.tables(), strict=True
        ):
            table.weight.data.copy_(filled.weight.detach())
            table.weight.requires_grad_(trained)
            table.sparse = True
        settings = replace(RECIPES[task.kind], batch_size=batch, precision=precision, seed=seed)
        weights = np.ones(self.net.num_classes)
        losses = Losses(self.net, weights, torch.device("cpu"))
        optimizer = NetworkOptimizer(self.net, "adam")
        self.stepper = Stepper(self.net, optimizer, losses, len(SUMS), precision)
        self.data = draw_steps(task.train, settings, weights, ClassifierState(total=1))

    def steps(self, count: int) -> int:
        examples = 0
        for data in itertools.islice(self.data, count):
            self.stepper(data, self.rate)
            examples += data.counts["examples"]
        self.stepper.sums.tolist()
        return examples

    @torch.no_grad()
    def accuracy(self) -> float:
        hits = 0
        with evaluating(self.net):
            for rows in length_buckets(self.test.lengths, self.batch):
                batch = text_batch(self.test, rows)
                found = self.net(batch.first, batch.second).argmax(1)
                hits += int((found == batch.labels).sum())
        return hits / len(self.test)


def sides() -> dict[str, tuple[type[Side], str]]:
    """The contestants by name: their kind, and the precision."""
    precisions = ["float32", "bf16"] if cpu_has_bf16() else ["float32"]
    return {f"{x.__name__} {p}": (x, p) for p in precisions for x in (Plain, Keeping, Ours)}


class Setting(NamedTuple):
    """A script's networks and data."""

    plain: dict[str, Callable[[Any], nn.Module]]  # the text's, of one of ours with first values
    data: str
    test: str


def made(name: str, options: argparse.Namespace, setting: Setting, kind: str, seed: int) -> Side:
    side, precision = sides()[name]
    found = task(kind, options.data, options.test, options.texts, options.vectors, options.max_len)
    batch = options.batch or RECIPES[kind].batch_size
    return side(found, precision, setting.plain[kind], batch, seed)


def speed(options: argparse.Namespace, setting: Setting, kind: str) -> Iterable[dict]:
    """All sides in turns."""
    with contextlib.ExitStack() as stack:
        contestants = []
        for name in options.compared:
            more = ["--side", name, "--networks", kind]
            contestants.append(Contestant([sys.executable, *sys.argv, *more]))
            stack.callback(contestants[-1].end)
            contestants[-1].ask(1)  # allocates and sets up: trained, but not counted
        for _ in range(options.rounds):
            records = [side.ask(options.steps) for side in contestants]
    rates = {(x["side"], x["precision"]): x["examples_per_s"] for x in records}
    for record in records:
        rate, plain = record["examples_per_s"], rates.get((Plain.name, record["precision"]))
        record |= {"network": kind, "ratio_plain": rate / plain if plain else None}
        first = rates.get((Plain.name, "float32"))
        record["ratio_plain_float32"] = rate / first if first else None
        told = [
            f"{x:.2f}" if x else "-"
            for x in (record["ratio_plain"], rate / first if first else None)
        ]
        print(
            f"| {kind} | {record['side']} | {record['precision']} | {rate:,.0f} "
            f"| {' | '.join(told)} |",
            flush=True,
        )
    return records


def accuracy(options: argparse.Namespace, setting: Setting, kind: str) -> Iterator[dict]:
    """Whole trainings, one after another."""
    for seed in options.seeds:
        for name in options.trained:
            side = made(name, options, setting, kind, seed)
            epochs = options.epochs or RECIPES[kind].epochs
            begin = time.perf_counter()
            side.steps(epochs * side.steps_per_epoch)
            seconds = time.perf_counter() - begin
            record = {
                "case": "accuracy",
                "network": kind,
                "side": side.name,
                "precision": side.precision,
                "seed": seed,
                "epochs": epochs,
                "accuracy": side.accuracy(),
                "seconds": seconds,
            }
            print(
                f"| {kind} | {side.name} | {side.precision} | {seed} | {record['accuracy']:.4f} "
                f"| {seconds / 60:.1f} |",
                flush=True,
            )
            yield record


PARTS = {"speed": speed, "accuracy": accuracy}
HEADS = {
    "speed": "| speed | side | precision | examples/s | x plain | x plain float32 |",
    "accuracy": "| accuracy | side | precision | seed | test | minutes |",
}


def main(description: str, setting: Setting) -> None:
    """The script."""
    parser = argparse.ArgumentParser(
        description=f"{description}\n\n{__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--networks", nargs="+", choices=setting.plain, default=list(setting.plain))
    parser.add_argument("--data", default=setting.data, help="as lexforge takes it")
    parser.add_argument("--test", default=setting.test)
    parser.add_argument("--vectors", help="word vectors of all sides; else first values")
    parser.add_argument("--texts", type=int, help="no more of them than so many, drawn at random")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, help="the text's by default")
    parser.add_argument("--max-len", type=int, help="the text's by default")
    parser.add_argument("--steps", type=int, default=6, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="the text's by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--compared", nargs="+", choices=sides(), default=list(sides()))
    # With its memory kept plain PyTorch computes the same.
    trained = [name for name in sides() if not name.startswith("Keeping")]
    parser.add_argument("--trained", nargs="+", choices=sides(), default=trained)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    add_report_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.side:
        seed = options.seeds[0]
        take_turns(made(options.side, options, setting, options.networks[-1], seed))
        return
    report = Report(options, "cpu")
    for part in options.only:
        print(HEADS[part] + "\n" + "|---" * (HEADS[part].count("|") - 1) + "|", flush=True)
        for kind in options.networks:
            for record in PARTS[part](options, setting, kind):
                report.add(record)
        print(flush=True)
    report.close()
