"""Fine-tuning BERT on pairs of texts beside the reference text's way of it, in plain PyTorch.

    LEXFORGE_DATA=FOLDER python benchmarks/bert_finetune.py [--only speed accuracy] [--threads 2]
        [--model FOLDER] [--data snli] [--test snli:test] [--texts N] [--batch 512] [--max-len 128]
        [--steps 6] [--rounds 5] [--epochs 3] [--seeds 1 2 3] [--json F]

The text's recipe: its small model (2 blocks of 256, 4 heads, feed-forward layers of 512), Adam at
1e-4, batches of 512 pairs of at most 128 tokens, the sum of the losses of a batch. Plain PyTorch
pads each pair to 128, as the text's data set does; lexforge does not pad. Both begin with the same
weights: those of --model, a folder that `lexforge bert pretrain` made of the text's kind, with its
tokenizer; without it first values, words of the pairs, and a token table as large as that of the
text's archive (60,005 rows).

speed     Sides are processes that take turns, some steps each; pairs per second, with the making of
          batches. What comes before the first step, reading and numbering the pairs, is not
          counted. lexforge lets its process keep the memory that a step frees; plain PyTorch does
          not by itself, and is shown in both ways.
accuracy  On the test split after so many epochs, of each seed (order of the pairs, dropout, the new
          layer), with the seconds of training.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from harness import Contestant, Report, add_report_options, take_turns
from lexforge._library import cpu_has_bf16
from lexforge.models.bert.config import BertConfig
from lexforge.models.bert.files import ARCHIVE
from lexforge.models.bert.model import BertModel, named_tensors
from lexforge.models.bert.sequences import joined
from lexforge.models.classification.bert import BertClassifier
from lexforge.models.classification.settings import FinetuningSettings
from lexforge.models.classification.trainer import SUMS, ClassifierState, Losses, draw_steps
from lexforge.reference import bert as reference
from lexforge.text.classification import LabelledTexts, read_labelled
from lexforge.text.classification.batches import length_buckets, text_batch
from lexforge.text.classification.encoded import EncodedTexts
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.training.memory import keep_freed_memory
from lexforge.training.network_job import evaluating
from lexforge.training.optimizer import NetworkOptimizer
from lexforge.training.stepper import Stepper

LR, DROPOUT = 1e-4, 0.1
SMALL = {"num_hiddens": 256, "ffn_num_hiddens": 512, "num_heads": 4, "num_blks": 2}
POSITIONS, ARCHIVE_TOKENS = 512, 60_005


class Task(NamedTuple):
    """What all sides begin with."""

    bert: BertModel
    names: tuple[str, ...]
    train: EncodedTexts
    test: EncodedTexts


@lru_cache(maxsize=1)
def task(
    model: Path | None, data: str, test: str, texts: int | None, max_len: int, rows: int
) -> Task:
    """The model, and the pairs as numbers."""
    pairs = read_labelled(data)
    if texts is not None:
        pairs = pairs[np.arange(min(texts, len(pairs)))]
    if model is not None:
        bert = BertModel.from_pretrained(model, heads=False)
        if bert.config.embedding_norm:
            raise SystemExit(f"{model} must be of the text's kind, as the plain model is")
        bert = copied(bert, replace(bert.config, dropout=DROPOUT, attention_dropout=DROPOUT))
    else:
        tokenizer = WordTokenizer.build([pairs.first, pairs.second], min_freq=1)
        size = max(rows, len(tokenizer))
        config = BertConfig.reference(size, **SMALL, dropout=DROPOUT, max_len=POSITIONS)
        bert = BertModel(config, seed=1)
        bert.tokenizer, bert.mlm, bert.nsp = tokenizer, None, None
    net = BertClassifier(bert, pairs.names, seed=1)

    def numbered(pairs: LabelledTexts) -> EncodedTexts:
        return net.encode(pairs, net.tokenizer, max_len)

    return Task(bert, pairs.names, numbered(pairs), numbered(read_labelled(test)))


# -- sides -------------------------------------------------------------------------------------


class TextsClassifier(nn.Module):
    """The text's BERTClassifier, on its encoder."""

    def __init__(self, config: BertConfig, classes: int):
        super().__init__()
        self.encoder = reference.BertEncoder(
            config.vocab_size,
            config.hidden_size,
            config.intermediate_size,
            config.num_heads,
            config.num_layers,
            config.dropout,
            config.max_positions,
        )
        self.hidden = nn.Sequential(nn.Linear(config.hidden_size, config.hidden_size), nn.Tanh())
        self.output = nn.Linear(config.hidden_size, classes)

    def forward(self, tokens: Tensor, segments: Tensor, valid_lens: Tensor) -> Tensor:
        encoded = self.encoder(tokens, segments, valid_lens)
        return self.output(self.hidden(encoded[:, 0]))


def padded(texts: EncodedTexts, tokenizer: WordTokenizer, max_len: int) -> tuple[Tensor, ...]:
    """The arrays of the text's data set: tokens, segments, valid lengths, labels."""
    batch = text_batch(texts, np.arange(len(texts)))
    found = joined(batch.first, batch.second, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id)
    lengths = found.cu_seqlens.long().diff()
    place = torch.arange(len(texts)).repeat_interleave(lengths), found.positions.long()
    tokens = torch.full((len(texts), max_len), tokenizer.pad_id)
    segments = torch.zeros_like(tokens)
    tokens[place], segments[place] = found.tokens.long(), found.segments.long()
    return tokens, segments, lengths, batch.labels


class Side:
    """A contestant, and the rate of each of its turns."""

    name = ""

    def __init__(self, task: Task, precision: str, batch: int, max_len: int, seed: int):
        self.precision, self.batch, self.rates = precision, batch, []
        self.steps_per_epoch = -(-len(task.train) // batch)

    def steps(self, count: int) -> int:
        """Does so many steps; the number of pairs."""
        raise NotImplementedError

    def accuracy(self) -> float:
        """On the test split."""
        raise NotImplementedError

    def turn(self, count: int) -> None:
        begin = time.perf_counter()
        pairs = self.steps(count)
        self.rates.append(pairs / (time.perf_counter() - begin))

    def record(self) -> dict:
        return {
            "case": "speed",
            "side": self.name,
            "precision": self.precision,
            "pairs_per_s": statistics.median(self.rates),
            "rates": self.rates,
        }


class Plain(Side):
    """The text's recipe in plain PyTorch."""

    name = "plain PyTorch"

    def __init__(self, task: Task, precision: str, batch: int, max_len: int, seed: int):
        super().__init__(task, precision, batch, max_len, seed)
        tokenizer = task.bert.tokenizer
        self.train, self.test = (padded(x, tokenizer, max_len) for x in (task.train, task.test))
        torch.manual_seed(seed)
        self.net = TextsClassifier(task.bert.config, len(task.names))
        state = named_tensors(task.bert, ARCHIVE)
        self.net.load_state_dict({k: x for k, x in state.items() if k[:4] != "mlm."}, strict=False)
        self.loss = nn.CrossEntropyLoss(reduction="none")
        self.trainer = torch.optim.Adam(self.net.parameters(), lr=LR)
        self.batches = self.shuffled(seed)

    def shuffled(self, seed: int) -> Iterator[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            for rows in torch.randperm(len(self.train[0]), generator=generator).split(self.batch):
                yield tuple(x[rows] for x in self.train)

    def steps(self, count: int) -> int:
        pairs = 0
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
            pairs += len(labels)
        return pairs

    @torch.no_grad()
    def accuracy(self) -> float:
        self.net.eval()
        hits = 0
        for *inputs, labels in zip(*(x.split(self.batch) for x in self.test), strict=True):
            hits += int((self.net(*inputs).argmax(1) == labels).sum())
        return hits / len(self.test[0])


class Keeping(Plain):
    """The same in a process that keeps the memory it frees, as lexforge's does."""

    name = "plain PyTorch, memory kept"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        keep_freed_memory()


class Ours(Side):
    """The steps of lexforge bert finetune, with the text's recipe."""

    name = "lexforge"

    def __init__(self, task: Task, precision: str, batch: int, max_len: int, seed: int):
        super().__init__(task, precision, batch, max_len, seed)
        self.test = task.test
        self.net = BertClassifier(task.bert, task.names, dropout=0.0, seed=seed).train()
        self.settings = FinetuningSettings(
            batch_size=batch, optimizer="adam", learning_rate=LR, weight_decay=0, clip=0,
            precision=precision, seed=seed,
        )  # fmt: skip
        optimizer = NetworkOptimizer(self.net, "adam")
        weights = np.ones(len(task.names))
        losses = Losses(self.net, weights, torch.device("cpu"))
        self.stepper = Stepper(self.net, optimizer, losses, len(SUMS), precision)
        self.data = draw_steps(task.train, self.settings, weights, ClassifierState(total=1))

    def steps(self, count: int) -> int:
        pairs = 0
        for data in itertools.islice(self.data, count):
            self.stepper(data, LR)
            pairs += data.counts["examples"]
        self.stepper.sums.tolist()
        return pairs

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


def made(name: str, options: argparse.Namespace, seed: int) -> Side:
    kind, precision = sides()[name]
    given = (options.model, options.data, options.test, options.texts)
    found = task(*given, options.max_len, options.rows)
    if kind is Ours:  # its parts learn; the others have copies
        found = found._replace(bert=copied(found.bert, found.bert.config))
    return kind(found, precision, options.batch, options.max_len, seed)


def copied(bert: BertModel, config: BertConfig) -> BertModel:
    """The same weights once more, with the tokenizer; no heads."""
    other = BertModel(config, seed=1)
    other.tokenizer, other.mlm, other.nsp = bert.tokenizer, None, None
    other.load_state_dict(bert.state_dict())
    return other


# -- parts -------------------------------------------------------------------------------------


def speed(options: argparse.Namespace) -> Iterable[dict]:
    """All sides in turns."""
    with contextlib.ExitStack() as stack:
        contestants = []
        for name in sides():
            command = [sys.executable, __file__, *options.arguments, "--side", name]
            contestants.append(Contestant(command))
            stack.callback(contestants[-1].end)
            contestants[-1].ask(1)  # allocates and sets up: trained, but not counted
        for _ in range(options.rounds):
            records = [side.ask(options.steps) for side in contestants]
    rates = {(x["side"], x["precision"]): x["pairs_per_s"] for x in records}
    print("| speed | precision | pairs/s | x plain | x plain float32 |\n|---|---|---|---|---|")
    for record in records:
        rate = record["pairs_per_s"]
        record["ratio_plain"] = rate / rates[Plain.name, record["precision"]]
        record["ratio_plain_float32"] = rate / rates[Plain.name, "float32"]
        print(
            f"| {record['side']} | {record['precision']} | {rate:,.0f} "
            f"| {record['ratio_plain']:.2f} | {record['ratio_plain_float32']:.2f} |",
            flush=True,
        )
    return records


def accuracy(options: argparse.Namespace) -> Iterator[dict]:
    """Whole trainings, one after another."""
    print("| accuracy | precision | seed | test | minutes |\n|---|---|---|---|---|")
    for seed in options.seeds:
        for name in sides():
            if name not in options.trained:
                continue
            side = made(name, options, seed)
            begin = time.perf_counter()
            side.steps(options.epochs * side.steps_per_epoch)
            seconds = time.perf_counter() - begin
            record = {
                "case": "accuracy",
                "side": side.name,
                "precision": side.precision,
                "seed": seed,
                "epochs": options.epochs,
                "accuracy": side.accuracy(),
                "seconds": seconds,
            }
            print(
                f"| {side.name} | {side.precision} | {seed} | {record['accuracy']:.4f} "
                f"| {seconds / 60:.1f} |",
                flush=True,
            )
            yield record


PARTS = {"speed": speed, "accuracy": accuracy}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--model", type=Path, help="folder with a BERT of the text's kind")
    parser.add_argument(
        "--data", default="snli", help="pairs, as lexforge bert finetune takes them"
    )
    parser.add_argument("--test", default="snli:test")
    parser.add_argument("--texts", type=int, help="no more pairs than so many")
    parser.add_argument("--rows", type=int, default=ARCHIVE_TOKENS, help="of the token table")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--max-len", type=int, default=128)
    parser.add_argument("--steps", type=int, default=6, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    # With its memory kept plain PyTorch computes the same.
    trained = [name for name in sides() if not name.startswith("Keeping")]
    parser.add_argument("--trained", nargs="+", choices=sides(), default=trained)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    add_report_options(parser)
    options = parser.parse_args()
    options.arguments = sys.argv[1:]
    torch.set_num_threads(options.threads)
    if options.side:
        take_turns(made(options.side, options, options.seeds[0]))
        return
    report = Report(options, "cpu")
    for part in options.only:
        for record in PARTS[part](options):
            report.add(record)
        print(flush=True)
    report.close()


if __name__ == "__main__":
    main()
