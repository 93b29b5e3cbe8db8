"""Training of a classifier beside the reference text's code for it, in plain PyTorch.

What benchmarks/sentiment.py, nli.py and bert_finetune.py share. Both sides begin with the same
texts, the same vocabulary and the same word vectors or weights, and train as the text does: Adam,
the sum of the losses of a batch, its rates, batches and lengths. Plain PyTorch pads every text to
the same length, as the text's data sets do; lexforge does not pad.

speed     Sides are processes that take turns, some steps each; examples per second, with the making
          of batches. What comes before the first step, reading and numbering the texts, is not
          counted. lexforge lets its process keep the memory that a step frees; plain PyTorch does
          not by itself, and is shown in both ways.
accuracy  On the test split after so many epochs, of each seed, with the mean loss there, which
          varies less, and the seconds of training.
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
from torch.nn import functional

from harness import Contestant, Report, add_report_options, take_turns
from lexforge._library import cpu_has_bf16
from lexforge.models.classification.files import NETWORKS
from lexforge.models.classification.network import Network, WordNetwork
from lexforge.models.classification.settings import RECIPES, TrainingSettings
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


class Task:
    """What all sides begin with, and how they train.

    Attributes:
        train, test: the texts as numbers.
        rate, batch: of the text's recipe.
        sort_batches: in place of that setting of lexforge's.
    """

    train: EncodedTexts
    test: EncodedTexts
    rate: float
    batch: int
    sort_batches: int | None = None

    def arrays(self, texts: EncodedTexts) -> list[Tensor]:
        """What the text's data set has of them: what its network takes, padded, and the labels."""
        raise NotImplementedError

    def plain(self) -> nn.Module:
        """The text's network, of the same first values where they are given."""
        raise NotImplementedError

    def ours(self, seed: int) -> tuple[Network, TrainingSettings]:
        """A network of lexforge with the same, and how it draws its batches."""
        raise NotImplementedError


class WordTask(Task):
    """A network on words.

    Args:
        kind: of the network. plain: the text's, made of one of ours.
        read, test: texts. vectors: a file of word vectors, or None. max_len, batch: or the text's.
    """

    def __init__(
        self,
        kind: str,
        plain: Callable[[Any], nn.Module],
        read: LabelledTexts,
        test: LabelledTexts,
        vectors: str | None = None,
        max_len: int | None = None,
        batch: int | None = None,
    ):
        recipe, self._plain = RECIPES[kind], plain
        self.settings, self.rate = recipe, recipe.learning_rate
        self.batch = batch or recipe.batch_size
        sides = [read.first] if read.second is None else [read.first, read.second]
        tokenizer = WordTokenizer.build(sides, min_freq=5)
        self.padding, self.max_len = tokenizer.pad_id, max_len or recipe.max_len
        size = {"vocab_size": len(tokenizer), "num_classes": len(read.names)}
        found = None if vectors is None else read_word_vectors(vectors)
        if found is not None:
            size["embed_size"] = found.vector_size
        made = NETWORKS[kind]
        assert issubclass(made, WordNetwork)
        self.network = made(made.CONFIG(**size, **SHAPES[kind]), seed=1)
        if found is not None:
            fill_tables([table for table, _ in self.network.tables()], tokenizer.tokens, found)
        self.train, self.test = (
            self.network.encode(replace(texts, names=read.names), tokenizer, self.max_len)
            for texts in (read, test)
        )

    def arrays(self, texts: EncodedTexts) -> list[Tensor]:
        """Of tokens, one or two, and the labels."""
        arrays = []
        for side in (texts, texts.second):
            if side is not None:
                lengths = np.diff(side.offsets)
                rows = np.repeat(np.arange(len(lengths)), lengths)
                columns = np.arange(len(side.tokens)) - np.repeat(side.offsets[:-1], lengths)
                array = torch.full((len(lengths), self.max_len), self.padding)
                array[rows, columns] = torch.from_numpy(side.tokens).long()
                arrays.append(array)
        return [*arrays, torch.from_numpy(texts.labels)]

    def plain(self) -> nn.Module:
        """The text's network, with the vectors."""
        return self._plain(self.network)

    def ours(self, seed: int) -> tuple[Network, TrainingSettings]:
        """As lexforge sentiment train and nli train make it."""
        net = type(self.network)(self.network.config, seed=seed)
        for (table, trained), (filled, _) in zip(net.tables(), self.network.tables(), strict=True):
            table.weight.data.copy_(filled.weight.detach())
            table.weight.requires_grad_(trained)
            table.sparse = True
        return net, self.settings


class Side:
    """A contestant, and the rate of each of its turns."""

    name = ""

    def __init__(self, task: Task, precision: str, seed: int):
        self.precision, self.task, self.rates = precision, task, []
        self.steps_per_epoch = -(-len(task.train) // task.batch)

    def steps(self, count: int) -> int:
        """Does so many steps; the number of examples."""
        raise NotImplementedError

    def scored(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Logits and labels of the test split, by batches; nothing is learned."""
        raise NotImplementedError

    @torch.no_grad()
    def scores(self) -> dict[str, float]:
        """Mean loss and accuracy on the test split."""
        loss, hits = 0.0, 0
        for logits, labels in self.scored():
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            hits += int((logits.argmax(1) == labels).sum())
        return {"loss": loss / len(self.task.test), "accuracy": hits / len(self.task.test)}

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

    def __init__(self, task: Task, precision: str, seed: int):
        super().__init__(task, precision, seed)
        self.train, self.test = task.arrays(task.train), task.arrays(task.test)
        torch.manual_seed(seed)
        self.net = task.plain()
        self.loss = nn.CrossEntropyLoss(reduction="none")
        learned = [p for p in self.net.parameters() if p.requires_grad]
        self.trainer = torch.optim.Adam(learned, lr=task.rate)
        self.batches = self.shuffled(seed)

    def shuffled(self, seed: int) -> Iterator[list[Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(self.train[0]), generator=generator)
            for rows in order.split(self.task.batch):
                yield [x[rows] for x in self.train]

    def steps(self, count: int) -> int:
        examples = 0
        self.net.train()
        for *inputs, labels in itertools.islice(self.batches, count):
            self.trainer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
                predicted = self.net(*inputs)
            losses = self.loss(predicted.float(), labels)
            losses.sum().backward()
            self.trainer.step()
            losses.sum().item()
            (predicted.argmax(1) == labels).sum().item()  # the text's running figures
            examples += len(labels)
        return examples

    def scored(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.net.eval()
        for *inputs, labels in zip(*(x.split(self.task.batch) for x in self.test), strict=True):
            yield self.net(*inputs), labels


class Masked(Plain):
    """The same without its padding, where the network can be told which number that is."""

    name = "plain PyTorch, padding masked"

    def __init__(self, task: Task, precision: str, seed: int):
        super().__init__(task, precision, seed)
        if not (isinstance(task, WordTask) and hasattr(self.net, "padding")):
            raise SystemExit("Masked: the network must have a padding that can be left out")
        self.net.padding = task.padding


class Keeping(Plain):
    """The same in a process that keeps the memory it frees, as lexforge's does."""

    name = "plain PyTorch, memory kept"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        keep_freed_memory()


class Ours(Side):
    """The steps of lexforge sentiment train, nli train and bert finetune, by the text's recipe."""

    name = "lexforge"

    def __init__(self, task: Task, precision: str, seed: int):
        super().__init__(task, precision, seed)
        self.net, settings = task.ours(seed)
        self.net.train()
        settings = replace(settings, batch_size=task.batch, precision=precision, seed=seed)
        if task.sort_batches is not None:
            settings = replace(settings, sort_batches=task.sort_batches)
        weights = np.ones(self.net.num_classes)
        losses = Losses(self.net, weights, torch.device("cpu"))
        optimizer = NetworkOptimizer(self.net, "adam")
        self.stepper = Stepper(self.net, optimizer, losses, len(SUMS), precision)
        self.data = draw_steps(task.train, settings, weights, ClassifierState(total=1))

    def steps(self, count: int) -> int:
        examples = 0
        for data in itertools.islice(self.data, count):
            self.stepper(data, self.task.rate)
            examples += data.counts["examples"]
        self.stepper.sums.tolist()
        return examples

    def scored(self) -> Iterator[tuple[Tensor, Tensor]]:
        with evaluating(self.net):
            for rows in length_buckets(self.task.test.lengths, self.task.batch):
                batch = text_batch(self.task.test, rows)
                yield self.net(batch.first, batch.second), batch.labels


def sides() -> dict[str, tuple[type[Side], str]]:
    """The contestants by name: their kind, and the precision."""
    precisions = ["float32", "bf16"] if cpu_has_bf16() else ["float32"]
    kinds = Plain, Keeping, Masked, Ours
    return {f"{x.__name__} {p}": (x, p) for p in precisions for x in kinds}


class Setting(NamedTuple):
    """A script's networks, texts and options."""

    kinds: tuple[str, ...]
    data: str
    test: str
    task: Callable[[str, argparse.Namespace], Task]  # of one of the networks
    add_options: Callable[[argparse.ArgumentParser], None]


def word_setting(plain: dict[str, Callable[[Any], nn.Module]], data: str, test: str) -> Setting:
    """That of networks on words, by name what makes the text's of one of ours."""

    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--vectors", help="word vectors of all sides; else first values")

    @lru_cache(maxsize=1)
    def made(kind: str, data: str, test: str, texts: int | None, *others: Any) -> Task:
        return WordTask(kind, plain[kind], some_texts(data, texts), read_labelled(test), *others)

    def task(kind: str, options: argparse.Namespace) -> Task:
        sizes = (options.vectors, options.max_len, options.batch)
        return made(kind, options.data, options.test, options.texts, *sizes)

    return Setting(tuple(plain), data, test, task, add_options)


def some_texts(data: str, count: int | None) -> LabelledTexts:
    """No more than so many, drawn at random."""
    read = read_labelled(data)
    if count is None:
        return read
    return read[np.sort(np.random.default_rng(0).permutation(len(read))[:count])]


def made(name: str, options: argparse.Namespace, setting: Setting, kind: str, seed: int) -> Side:
    """A side by its name."""
    side, precision = sides()[name]
    task = setting.task(kind, options)
    task.sort_batches = options.sort_batches
    return side(task, precision, seed)


def speed(options: argparse.Namespace, setting: Setting, kind: str) -> Iterable[dict]:
    """All sides in turns."""
    with contextlib.ExitStack() as stack:
        contestants = []
        for name in options.compared:
            more = ["--side", name, "--networks", kind]
            contestants.append(Contestant([sys.executable, *options.command, *more]))
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
                "seconds": seconds,
                **side.scores(),
            }
            print(
                f"| {kind} | {side.name} | {side.precision} | {seed} | {record['accuracy']:.4f} "
                f"| {record['loss']:.4f} | {seconds / 60:.1f} |",
                flush=True,
            )
            yield record


PARTS = {"speed": speed, "accuracy": accuracy}
HEADS = {
    "speed": "| speed | side | precision | examples/s | x plain | x plain float32 |",
    "accuracy": "| accuracy | side | precision | seed | test | loss | minutes |",
}


def main(description: str, setting: Setting) -> None:
    """The script."""
    parser = argparse.ArgumentParser(
        description=f"{description}\n\n{__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    kinds = list(setting.kinds)
    parser.add_argument("--networks", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--data", default=setting.data, help="as lexforge takes it")
    parser.add_argument("--test", default=setting.test)
    parser.add_argument("--texts", type=int, help="no more of them than so many, drawn at random")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, help="the text's by default")
    parser.add_argument("--max-len", type=int, help="the text's by default")
    parser.add_argument(
        "--sort-batches", type=int, help="of lexforge's: sorted by length together; 1: random"
    )
    parser.add_argument("--steps", type=int, default=6, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="the text's by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    # Without its padding only some networks can be, and with its memory kept one computes the same.
    compared = [name for name in sides() if not name.startswith("Masked")]
    parser.add_argument("--compared", nargs="+", choices=sides(), default=compared)
    trained = [name for name in compared if not name.startswith("Keeping")]
    parser.add_argument("--trained", nargs="+", choices=sides(), default=trained)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    setting.add_options(parser)
    add_report_options(parser)
    options = parser.parse_args()
    options.command = sys.argv
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
