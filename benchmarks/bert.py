"""BERT pretraining beside plain PyTorch and Hugging Face: pairs per second, losses, memory.

    LEXFORGE_DATA=FOLDER python benchmarks/bert.py [--only training memory data encoding]
        [--threads 2] [--steps 50] [--rounds 5] [--json F]
    python benchmarks/bert.py --device cuda [--seconds 90] [--json F]

training  The text's small model and settings on WikiText-2: 2 layers, 128 hidden, 2 heads, batches
          of 512 pairs of at most 64 tokens, dropout 0.2, Adam at 0.01. Sides are processes that
          take turns, some steps each. Rates are pairs per second with the making of batches, but
          without what comes before the first step, which is not counted: reading the text, and
          plain PyTorch's examples. Losses are means over all steps, and over the last 10 of them;
          masked-LM losses are means over real predictions (the text divides by padded ones too,
          and prints less). Plain PyTorch is the text's recipe (bert_reference.py): examples drawn
          once, padded. Hugging Face is BertForPreTraining with sdpa attention on the same padded
          batches: logits for all positions are its way to take labels. It is slow, and does fewer
          steps. lexforge draws afresh, and packs. It also lets its process keep the memory that a
          step frees; plain PyTorch does not by itself, and is shown in both ways.
memory    Peak of a process that does three steps, everything in it counted.
data      Tokens per second that the examples of an epoch are drawn and packed with.
encoding  Vectors of <cls> of texts per second, a model of base size with the same weights on both
          sides; both sort the texts by length, Hugging Face pads each batch to its longest.

On a GPU the small model, with and without CUDA graphs, with the making of batches and without; and
base-size steps as a share of what an 8192^3 product in bfloat16 reaches. Model flops are those of
packed tokens: 2 per weight of a layer and token, 4 H per query and key, 2 (H + V) H per predicted
word; three times that with the backward pass. Where there is no WikiText-2, random words of its
number and lengths take its place there.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bert_reference import Batch, make_vocab, read_paragraphs, static_examples
from harness import Report, add_report_options, process_bytes
from lexforge._library import cpu_has_bf16
from lexforge.models.bert import examples as text
from lexforge.models.bert.capacity import BatchCapacity
from lexforge.models.bert.config import BertConfig
from lexforge.models.bert.model import BertModel
from lexforge.models.bert.steps import StepData, draw_steps, make_stepper
from lexforge.models.bert.trainer import STANDARD, PretrainingSettings
from lexforge.reference import bert as reference
from lexforge.text.datasets import dataset_path
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.training.memory import keep_freed_memory
from lexforge.training.optimizer import NetworkOptimizer

BATCH, MAX_LEN, LR, DROPOUT = 512, 64, 0.01, 0.2
VOCAB_SIZE = 20256  # of the text's WikiText-2
BASE: dict[str, int] = {}  # what differs from base size on a GPU
BASE_BATCHES = [(128, 512), (512, 128)]  # longest sequence, pairs
MATMUL_SIZE = 8192
PREPARED = 16  # batches of a pass on a GPU
SHARE = 1 / 40  # of the time there for each timing
LAST = 10  # steps whose losses are told apart
MEMORY_STEPS = 3
SEED = 1
ENCODER: dict[str, int] = {}  # what differs from base size in the encoding


# -- sides -------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def padded_examples(corpus: Path) -> tuple[Batch, int, int]:
    """All examples, size of the vocabulary, number of the padding token."""
    paragraphs = read_paragraphs(corpus)
    vocab = make_vocab(paragraphs)
    return static_examples(paragraphs, vocab, MAX_LEN, SEED), len(vocab), vocab["<pad>"]


@lru_cache(maxsize=1)
def packed_examples(corpus: Path) -> tuple[text.BertExamples, int]:
    """What draws examples, and the size of the vocabulary."""
    paragraphs = text.read_paragraphs(corpus)
    tokenizer = WordTokenizer.build(paragraphs)
    tokenized = text.tokenize_paragraphs(paragraphs, tokenizer)
    return text.BertExamples(tokenized, tokenizer, max_len=MAX_LEN, seed=SEED), len(tokenizer)


def shuffled(examples: Batch, size: int) -> Iterator[Batch]:
    """Batches of examples in random order, epoch after epoch."""
    generator = torch.Generator().manual_seed(SEED)
    while True:
        for rows in torch.randperm(len(examples.tokens), generator=generator).split(size):
            yield Batch(*(x[rows] for x in examples))


class Side:
    """A contestant: its losses of each step, and the rate of each of its turns."""

    share = 1.0  # of the steps of a turn that it does

    def __init__(self, name: str, precision: str):
        self.name, self.precision = name, precision
        self.losses: list[tuple[float, float]] = []
        self.rates: list[float] = []

    @classmethod
    def on(cls, corpus: Path, precision: str, batch: int) -> Side:
        """With the examples of a corpus."""
        raise NotImplementedError

    def steps(self, count: int) -> int:
        """Does so many steps; the number of pairs."""
        raise NotImplementedError

    def turn(self, count: int) -> None:
        begin = time.perf_counter()
        pairs = self.steps(max(1, round(self.share * count)))
        self.rates.append(pairs / (time.perf_counter() - begin))

    def record(self) -> dict:
        def mean(losses: list[tuple[float, float]]) -> tuple[float, ...]:
            return tuple(statistics.fmean(x) for x in zip(*losses, strict=True))

        return {
            "case": "training",
            "side": self.name,
            "precision": self.precision,
            "steps": len(self.losses),
            "pairs_per_s": statistics.median(self.rates),
            "rates": self.rates,
            "mean_losses": mean(self.losses),
            "last_losses": mean(self.losses[-LAST:]),
        }


class Plain(Side):
    """The text's recipe in plain PyTorch."""

    def __init__(
        self, precision: str, vocab_size: int, batches: Iterator[Batch], device: str = "cpu"
    ):
        super().__init__("plain PyTorch", precision)
        torch.manual_seed(SEED)
        self.device = device
        self.model = reference.BertModel(vocab_size, 128, 256, 2, 2, DROPOUT).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LR)
        self.batches = batches

    @classmethod
    def on(cls, corpus: Path, precision: str, batch: int) -> Plain:
        examples, vocab_size, _ = padded_examples(corpus)
        return cls(precision, vocab_size, shuffled(examples, batch))

    def steps(self, count: int) -> int:
        pairs, losses = 0, []
        for batch in itertools.islice(self.batches, count):
            with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
                mlm_loss, nsp_loss = reference.losses(self.model, *batch)
            self.optimizer.zero_grad()
            (mlm_loss + nsp_loss).backward()
            self.optimizer.step()
            losses.append(torch.stack([mlm_loss.detach(), nsp_loss.detach()]).float())
            pairs += len(batch.tokens)
        self.losses += [tuple(x.tolist()) for x in losses]
        return pairs


class Keeping(Plain):
    """The same in a process that keeps the memory it frees, as lexforge's does."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        keep_freed_memory()
        self.name += ", memory kept"


class HuggingFace(Side):
    """BertForPreTraining of the same size on the same batches."""

    share = 0.2

    def __init__(self, precision: str, vocab_size: int, batches: Iterator[Batch], padding: int):
        super().__init__("Hugging Face", precision)
        from transformers import BertConfig as TheirConfig
        from transformers import BertForPreTraining

        config = TheirConfig(
            vocab_size=vocab_size,
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=256,
            hidden_act="relu",
            hidden_dropout_prob=DROPOUT,
            attention_probs_dropout_prob=DROPOUT,
            max_position_embeddings=1000,
            pad_token_id=padding,
            attn_implementation="sdpa",
        )
        torch.manual_seed(SEED)
        self.model = BertForPreTraining(config).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LR)
        self.batches = batches

    @classmethod
    def on(cls, corpus: Path, precision: str, batch: int) -> HuggingFace:
        examples, vocab_size, padding = padded_examples(corpus)
        return cls(precision, vocab_size, shuffled(examples, batch), padding)

    def steps(self, count: int) -> int:
        pairs = 0
        for batch in itertools.islice(self.batches, count):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
                loss = self.model(**self.inputs(batch)).loss
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.losses.append((loss.item(), 0.0))  # their sum: not shown
            pairs += len(batch.tokens)
        return pairs

    @staticmethod
    def inputs(batch: Batch) -> dict[str, Tensor]:
        real = batch.mlm_weights > 0
        row = torch.arange(len(real))[:, None].expand_as(real)[real]
        labels = torch.full_like(batch.tokens, -100)
        labels[row, batch.pred_positions[real]] = batch.mlm_labels[real]
        at = torch.arange(batch.tokens.shape[1])
        return {
            "input_ids": batch.tokens,
            "token_type_ids": batch.segments,
            "attention_mask": (at < batch.valid_lens[:, None]).long(),
            "labels": labels,
            "next_sentence_label": 1 - batch.is_next,  # there 0 is the true successor
        }

    def record(self) -> dict:
        """Without losses: it does too few steps, and starts from other weights."""
        return {**super().record(), "mean_losses": None, "last_losses": None}


class Ours(Side):
    """The steps of lexforge.bert.pretrain."""

    def __init__(self, precision: str, vocab_size: int, examples: text.BertExamples, batch: int):
        super().__init__("lexforge", precision)
        self.examples, self.batch, self.place = examples, batch, (0, 0, 0)
        model = BertModel(BertConfig.reference(vocab_size, dropout=DROPOUT), seed=SEED)
        self.stepper = make_stepper(model, NetworkOptimizer(model, "adam"), precision)

    @classmethod
    def on(cls, corpus: Path, precision: str, batch: int) -> Ours:
        examples, vocab_size = packed_examples(corpus)
        return cls(precision, vocab_size, examples, batch)

    def steps(self, count: int) -> int:
        """The drawing ahead begins with the turn and ends with it."""
        pairs, step = 0, len(self.losses)
        with contextlib.closing(self.data()) as drawn:
            for data in itertools.islice(drawn, count):
                before = self.stepper.sums.clone()
                self.stepper(data, LR)
                mlm, mlm_count, _, nsp, nsp_count, _ = (self.stepper.sums - before).tolist()
                self.losses.append((mlm / mlm_count, nsp / nsp_count))
                pairs += data.sequences
                step += 1
                self.place = (step, data.epoch, data.batch)
        return pairs

    def data(self) -> Iterator[StepData]:
        step, epoch, batch = self.place
        return draw_steps(
            self.examples,
            batch_size=self.batch,
            accumulation=1,
            seed=SEED,
            step=step,
            epoch=epoch,
            batch=batch,
        )


def sides() -> dict[str, Callable[[Path, int], Side]]:
    """How to make the contestants, of a corpus and for batches of a size."""
    made: dict[str, Callable[[Path, int], Side]] = {}
    for precision in ["float32", "bf16"] if cpu_has_bf16() else ["float32"]:
        for kind in (Plain, Keeping, Ours):
            made[f"{kind.__name__} {precision}"] = lambda corpus, batch, kind=kind, p=precision: (
                kind.on(corpus, p, batch)
            )
    made["HuggingFace float32"] = lambda corpus, batch: HuggingFace.on(corpus, "float32", batch)
    return made


# -- on the CPU --------------------------------------------------------------------------------


class Contestant:
    """A side in a process of its own, which waits for its turns and sees no other's memory."""

    def __init__(self, name: str, corpus: Path, options: argparse.Namespace):
        self.process = subprocess.Popen(
            job("training", name, corpus, options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: int) -> dict:
        """A turn of so many steps: the side's record so far."""
        self.process.stdin.write(f"{request}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"a side ended early, with status {self.process.wait()}")
        return json.loads(answer)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def job(task: str, name: str, corpus: Path, options: argparse.Namespace) -> list[str]:
    """The command of a process that does a task for one side."""
    command = [sys.executable, __file__, "--job", task, "--side", name, "--corpus", str(corpus)]
    return [*command, "--threads", str(options.threads), "--batch", str(options.batch)]


def training_job(name: str, corpus: Path, batch: int) -> None:
    """Takes turns of as many steps as standard input says; the first one is not counted."""
    side = sides()[name](corpus, batch)
    for number, line in enumerate(sys.stdin):
        side.turn(int(line))
        print(json.dumps(side.record()), flush=True)
        if number == 0:
            side.rates.clear()


def training(corpus: Path, options: argparse.Namespace) -> list[dict]:
    """All sides in turns."""
    with contextlib.ExitStack() as stack:
        contestants = []
        for name in sides():
            contestants.append(Contestant(name, corpus, options))
            stack.callback(contestants[-1].end)
            contestants[-1].ask(1)  # allocates and sets up: trained, but not counted
        rest = options.steps - 1
        for number in range(options.rounds):
            count = rest * (number + 1) // options.rounds - rest * number // options.rounds
            records = [side.ask(count) for side in contestants]
    speed = {(x["side"], x["precision"]): x["pairs_per_s"] for x in records}
    print("| training | precision | steps | pairs/s | x plain | x HF | MLM, NSP | last 10 |")
    print("|---|---|---|---|---|---|---|---|")
    for record in records:
        rate = record["pairs_per_s"]
        record["ratio_plain"] = rate / speed["plain PyTorch", record["precision"]]
        record["ratio_plain_float32"] = rate / speed["plain PyTorch", "float32"]
        record["ratio_huggingface"] = rate / speed["Hugging Face", "float32"]
        losses = [
            "-" if x is None else f"{x[0]:.3f}, {x[1]:.3f}"
            for x in (record["mean_losses"], record["last_losses"])
        ]
        print(
            f"| {record['side']} | {record['precision']} | {record['steps']} | {rate:,.0f} "
            f"| {record['ratio_plain']:.2f} ({record['ratio_plain_float32']:.2f} of float32) "
            f"| {record['ratio_huggingface']:.1f} | {' | '.join(losses)} |",
            flush=True,
        )
    return records


def memory(corpus: Path, options: argparse.Namespace) -> list[dict]:
    """Each side in a process of its own."""
    records = []
    print("| memory | peak, GiB | of the steps, GiB |\n|---|---|---|")
    for name in sides():
        command = job("memory", name, corpus, options)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        record = {"case": "memory", **json.loads(done.stdout.splitlines()[-1])}
        records.append(record)
        print(
            f"| {record['side']}, {record['precision']} | {record['peak_bytes'] / 2**30:.2f} "
            f"| {record['step_bytes'] / 2**30:.2f} |",
            flush=True,
        )
    return records


def memory_job(name: str, corpus: Path, batch: int) -> dict:
    """Peak memory of this process; and what the steps added to what was there before them."""
    side = sides()[name](corpus, batch)
    before = process_bytes("VmRSS")
    side.steps(MEMORY_STEPS)
    peak = process_bytes("VmHWM")
    return {
        "side": side.name,
        "precision": side.precision,
        "peak_bytes": peak,
        "step_bytes": peak - before,
    }


def data(corpus: Path, options: argparse.Namespace) -> list[dict]:
    """Whole epochs of batches."""
    examples, _ = packed_examples(corpus)
    rates = []
    for epoch in range(1, 1 + options.rounds):
        begin = time.perf_counter()
        tokens = sum(len(x.tokens) for x in examples.batches(epoch, options.batch))
        rates.append(tokens / (time.perf_counter() - begin))
    rate = statistics.median(rates)
    print(f"| data | tokens/s |\n|---|---|\n| lexforge | {rate:,.0f} |", flush=True)
    return [{"case": "data", "tokens_per_s": rate, "rates": rates}]


def encoding(corpus: Path, options: argparse.Namespace) -> list[dict]:
    """Ours against Hugging Face's, on sentences of the corpus."""
    import transformers

    from lexforge.models.bert.encoding import encode

    transformers.logging.set_verbosity_error()  # the file has heads that an encoder does not take
    transformers.logging.disable_progress_bar()

    paragraphs = text.read_paragraphs(corpus)
    tokenizer = WordTokenizer.build(paragraphs)
    sentences = list(itertools.chain.from_iterable(paragraphs))
    texts = [s for s in sentences if 3 <= len(s.split()) <= 100][: options.texts]
    config = BertConfig.standard(len(tokenizer), **ENCODER, pad_token_id=tokenizer.pad_id)
    model = BertModel(config, seed=SEED).eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        theirs = transformers.BertModel.from_pretrained(folder, attn_implementation="sdpa").eval()

    @torch.no_grad()
    def plain(half: bool) -> np.ndarray:
        ids = [[tokenizer.cls_id, *tokenizer.encode(t), tokenizer.sep_id] for t in texts]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out = np.empty((len(ids), config.hidden_size), np.float32)
        for first in range(0, len(order), 64):
            rows = order[first : first + 64]
            batch = torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(ids[i]) for i in rows], True, tokenizer.pad_id
            )
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                result = theirs(batch, attention_mask=(batch != tokenizer.pad_id).long())
            out[rows] = result.last_hidden_state[:, 0].float().numpy()
        return out

    records = []
    print("| encoding | precision | texts/s | x | largest difference |\n|---|---|---|---|---|")
    for precision in ["float32", "bf16"] if cpu_has_bf16() else ["float32"]:
        works = {
            "lexforge": lambda p=precision: encode(
                model, tokenizer, texts, what="cls", precision=p
            ),
            "Hugging Face": lambda p=precision: plain(p == "bf16"),
        }
        results = {name: work() for name, work in works.items()}
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(options.rounds):
            for name, work in works.items():
                begin = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - begin)
        median = {name: statistics.median(x) for name, x in seconds.items()}
        difference = float(np.abs(results["lexforge"] - results["Hugging Face"]).max())
        for name in works:
            record = {
                "case": "encoding",
                "side": name,
                "precision": precision,
                "texts": len(texts),
                "texts_per_s": len(texts) / median[name],
                "ratio": median["Hugging Face"] / median[name],
                "largest_difference": difference,
                "times_s": seconds[name],
            }
            records.append(record)
            print(
                f"| {name} | {precision} | {record['texts_per_s']:.1f} | {record['ratio']:.2f} "
                f"| {difference:.1e} |",
                flush=True,
            )
    return records


# -- on a GPU ----------------------------------------------------------------------------------


def synthetic_examples(vocab_size: int, max_len: int, paragraphs: int = 4000) -> text.BertExamples:
    """Random words in paragraphs of eight sentences, their lengths such as to fill two thirds."""
    rng = np.random.default_rng(SEED)
    special = WordTokenizer.SPECIAL_TOKENS
    words = [str(i) for i in range(vocab_size - len(special))]
    tokenizer = WordTokenizer([*special, *words])
    lengths = rng.integers(max_len // 8, max_len // 2, (paragraphs, 8))
    return text.BertExamples(
        [[rng.integers(len(special), vocab_size, n) for n in row] for row in lengths],
        tokenizer,
        max_len=max_len,
        seed=SEED,
    )


def step_flops(config: BertConfig, batches: Iterable[text.PackedBatch]) -> float:
    """Of the products of steps with these batches, forward and backward."""
    hidden, inner = config.hidden_size, config.intermediate_size
    layer = 2 * (4 * hidden * hidden + 2 * hidden * inner)
    total = 0.0
    for batch in batches:
        lengths = batch.cu_seqlens.diff().double()
        predicted = int((batch.labels != -100).sum())
        total += config.num_layers * layer * len(batch.tokens)
        total += config.num_layers * 4 * hidden * float(lengths.square().sum())
        total += predicted * 2 * hidden * (hidden + config.vocab_size)
        total += batch.num_sequences * 2 * hidden * hidden
    return 3 * total


def matmul_peak(device: str, size: int, repeats: int = 200) -> float:
    """Flops per second of a bfloat16 product."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))

    def products(count: int) -> None:
        for _ in range(count):
            a @ b

    products(3)
    return 2 * size**3 * repeats / seconds_of(lambda: products(repeats), device)


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Of one call, until the device is done with it."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    begin = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - begin


class DeviceRun:
    """Steps of lexforge.bert.pretrain on batches that are drawn meanwhile, or on given ones."""

    def __init__(
        self,
        config: BertConfig,
        settings: PretrainingSettings,
        examples: text.BertExamples,
        device: str,
        graphs: bool,
    ):
        self.settings, self.examples, self.device = settings, examples, device
        self.capacity = None
        if graphs:
            sample = itertools.islice(examples.batches(0, settings.batch_size), PREPARED)
            self.capacity = BatchCapacity.of(sample, settings.batch_size, examples.max_len)
        model = BertModel(config, seed=SEED).to(device)
        optimizer = NetworkOptimizer(
            model, settings.optimizer, weight_decay=settings.weight_decay, clip=settings.clip
        )
        self.stepper = make_stepper(model, optimizer, settings.precision, self.capacity)
        with contextlib.closing(self.data()) as data:
            self.prepared = list(itertools.islice(data, PREPARED))

    def data(self) -> Iterator[StepData]:
        return draw_steps(
            self.examples,
            batch_size=self.settings.batch_size,
            accumulation=1,
            seed=SEED,
            step=0,
            epoch=0,
            batch=0,
            capacity=self.capacity,
            on_cuda=self.device == "cuda",
        )

    def steps(self, data: Iterable[StepData]) -> int:
        """The number of pairs."""
        pairs = 0
        for step in data:
            self.stepper(step, self.settings.learning_rate)
            pairs += step.sequences
        return pairs

    def given(self, seconds: float) -> tuple[float, float]:
        """Seconds of a pass over the prepared batches, and its pairs."""
        pairs = self.steps(self.prepared)  # sets up, and records the graph
        once = seconds_of(lambda: self.steps(self.prepared), self.device)
        passes = max(1, int(seconds / once))
        took = seconds_of(lambda: [self.steps(self.prepared) for _ in range(passes)], self.device)
        return took / passes, pairs

    def drawn(self, steps: int) -> float:
        """Pairs per second with the making of batches, which starts with the first step."""
        pairs = 0

        def work() -> None:
            nonlocal pairs
            with contextlib.closing(self.data()) as data:
                pairs = self.steps(itertools.islice(data, steps))

        return 1 / seconds_of(work, self.device) * pairs


def on_device(corpus: Path | None, options: argparse.Namespace, report: Report) -> None:
    """The small model, then base size, as far as the time allows."""
    device, cuda = options.device, options.device == "cuda"
    end = time.monotonic() + options.seconds
    each = options.seconds * SHARE
    peak = matmul_peak(device, MATMUL_SIZE)
    report.add({"case": "product", "dtype": "bfloat16", "flops_per_s": peak})
    print(f"bfloat16 product: {peak / 1e12:.1f} TFLOP/s\n")
    print("| GPU | precision | graphs | pairs/s | with drawing | TFLOP/s | of the product's |")
    print("|---|---|---|---|---|---|---|")

    def show(record: dict, *cells: str) -> None:
        graphs = "yes" if record["graphs"] else "no"
        first = [record["case"], record["precision"], graphs, f"{record['pairs_per_s']:,.0f}"]
        print(f"| {' | '.join([*first, *cells])} |", flush=True)
        report.add(record)

    def measure(
        case: str,
        config: BertConfig,
        settings: PretrainingSettings,
        examples: text.BertExamples,
        graphs: bool,
    ) -> None:
        if time.monotonic() > end:
            print(f"| {case} | {settings.precision} | out of time |", flush=True)
            return
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        run = DeviceRun(config, settings, examples, device, graphs)
        seconds, pairs = run.given(each)
        drawn = run.drawn(max(1, int(len(run.prepared) * each / seconds)))
        # Those of the prepared steps, without what fills them up for a graph.
        real = itertools.islice(
            itertools.chain.from_iterable(
                examples.batches(epoch, settings.batch_size) for epoch in itertools.count()
            ),
            len(run.prepared),
        )
        flops = step_flops(config, real) / seconds
        record = {
            "case": case,
            "precision": settings.precision,
            "graphs": graphs,
            "batch": settings.batch_size,
            "max_len": examples.max_len,
            "pairs_per_s": pairs / seconds,
            "pairs_per_s_drawn": drawn,
            "flops_per_s": flops,
            "share_of_product": flops / peak,
            "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        }
        show(record, f"{drawn:,.0f}", f"{flops / 1e12:.2f}", f"{flops / peak:.1%}")

    if corpus is None:
        examples, vocab_size = synthetic_examples(VOCAB_SIZE, MAX_LEN), VOCAB_SIZE
    else:
        examples, vocab_size = packed_examples(corpus)
    settings = PretrainingSettings(batch_size=options.batch)
    small = BertConfig.reference(vocab_size, dropout=DROPOUT)
    with_graphs = (True, False) if cuda else (False,)
    for graphs in with_graphs:
        measure("small", small, replace(settings, precision="bf16"), examples, graphs)
    for max_len, batch in BASE_BATCHES:
        base = BertConfig.standard(**BASE)
        words = synthetic_examples(base.vocab_size, max_len, PREPARED * batch // 4)
        recipe = replace(STANDARD, batch_size=batch, max_len=max_len, precision="bf16")
        for graphs in with_graphs:
            measure(f"base, {max_len} tokens", base, recipe, words, graphs)
    for graphs in with_graphs:
        measure("small", small, settings, examples, graphs)
    padded = [
        Batch(*(x.to(device) for x in text.padded(batch, MAX_LEN)))
        for batch in itertools.islice(examples.batches(0, options.batch), PREPARED)
    ]
    for precision in ("bf16", "float32"):
        side = Plain(precision, vocab_size, itertools.cycle(padded), device)
        side.turn(PREPARED)
        side.rates.clear()
        side.turn(PREPARED)
        show({**side.record(), "case": "small, plain PyTorch", "graphs": False}, "", "", "")


PARTS = {"training": training, "memory": memory, "data": data, "encoding": encoding}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--texts", type=int, default=128, help="to encode")
    parser.add_argument("--corpus", type=Path, help="instead of WikiText-2")
    parser.add_argument("--seconds", type=float, default=90, help="for everything on a GPU")
    add_report_options(parser)
    parser.add_argument("--job", choices=["training", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corpus = options.corpus
    if corpus is None and os.environ.get("LEXFORGE_DATA"):
        corpus = dataset_path("wikitext-2", "train")
    if options.job == "training":
        training_job(options.side, corpus, options.batch)
        return
    if options.job == "memory":
        print(json.dumps(memory_job(options.side, corpus, options.batch)))
        return
    report = Report(options, options.device)
    if options.device == "cuda":
        on_device(corpus, options, report)
    elif corpus is None:
        raise SystemExit("LEXFORGE_DATA must name the folder of real data sets")
    else:
        for part in options.only:
            report.add(*PARTS[part](corpus, options))
            print(flush=True)
    report.close()


if __name__ == "__main__":
    main()
