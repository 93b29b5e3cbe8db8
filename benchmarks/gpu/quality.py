"""Trains small models on both devices, on the same text, and compares their losses.

    python benchmarks/gpu/quality.py [--device cpu] [--small] [--json LINES]

The text is drawn: sentences of 20 words about one of many topics. Word2vec trains without locks, or
in rounds on the device, so its losses differ by the order of updates: within 2 %. GloVe trains the
same entries in the same order: within 0.1 %, and 3 % where several warps share a tile.
Co-occurrences are equal to the bit.
BERT's steps are the same to rounding, which many steps of Adam amplify: within 1 % of the mean loss
of the last steps in float32, and 3 % in bfloat16 with a CUDA graph. A line of JSON for each model
is written as soon as it is trained; the exit status is 1 where one is not as said.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lexforge.ops._tables import padded_table
from lexforge.ops.cooccurrence.cooccurrence import (
    cooccurrence_index,
    cooccurrence_rows,
    cooccurrence_unit,
)
from lexforge.ops.glove.glove_tiles import glove_deal_parts, glove_tiles
from lexforge.ops.glove.glove_train import glove_table, glove_train_
from lexforge.ops.sampling.sampling import build_alias, keep_probability, noise_weights
from lexforge.ops.word2vec.word2vec_train import Bags, HuffmanPaths, word2vec_train_
from lexforge.text.huffman import huffman_tree

LENGTH, WINDOW, DIM = 20, 5, 100
WORD2VEC, GLOVE, GLOVE_WARPS, BERT, BERT_HALF = 0.02, 0.001, 0.03, 0.01, 0.03  # allowed
MODELS = {  # model, whether by a tree, whose noise, whether words share rows
    "skip-gram, noise per pair": ("skipgram", False, "pair", False),
    "skip-gram, noise per window": ("skipgram", False, "window", False),
    "skip-gram, tree": ("skipgram", True, "pair", False),
    "skip-gram, bags": ("skipgram", False, "pair", True),
    "CBOW": ("cbow", False, "pair", False),
    "CBOW, tree": ("cbow", True, "pair", False),
    "CBOW, bags": ("cbow", False, "pair", True),
}


class Text:
    """Sentences of word numbers, each about one topic.

    Args:
        sentences, topics, words: how many; words are those of one topic.
    """

    def __init__(self, sentences: int, topics: int, words: int):
        random = np.random.default_rng(1)
        topic = random.integers(0, topics, (sentences, 1))
        rank = (words ** random.random((sentences, LENGTH))).astype(np.int64) - 1  # as Zipf's law
        stray = random.random((sentences, LENGTH)) < 0.2
        other = random.integers(0, topics, (sentences, LENGTH))
        self.words = np.where(stray, other, topic) * words + rank
        self.vocab_size = topics * words
        self.tokens = torch.from_numpy(self.words.reshape(-1).astype(np.int32))
        self.offsets = torch.arange(sentences + 1) * LENGTH


def word2vec(text: Text, device: str, kind: str, together: int = 0, epochs: int = 3) -> float:
    """The mean loss of an input in the last epoch, of one of MODELS."""
    model, tree, sharing, shared_rows = MODELS[kind]
    counts = torch.bincount(text.tokens, minlength=text.vocab_size)
    data = [text.tokens, text.offsets, keep_probability(counts, 1e-3)]
    data = [x.to(device) for x in (*data, build_alias(noise_weights(counts)))]
    generator = torch.Generator().manual_seed(1)
    rows, bags = text.vocab_size, None
    if shared_rows:  # a word's own row, and 9 of as many as there are words
        members = torch.randint(rows, 2 * rows, (rows, 10), generator=generator)
        members[:, 0] = torch.arange(rows)
        starts = 10 * torch.arange(rows + 1)
        bags = Bags(starts.to(device), members.flatten().to(device, torch.int32), 10)
        rows *= 2
    first = padded_table(rows, DIM)
    first[:, :DIM] = (torch.rand(rows, DIM, generator=generator) - 0.5) / DIM
    other = padded_table(text.vocab_size, DIM).to(device)
    tables = [first.to(device), None, other[:-1]] if tree else [first.to(device), other, None]
    if tree:
        found = huffman_tree(counts.sort(descending=True).values.numpy())  # any tree will do
        paths = (torch.from_numpy(x).to(device) for x in found[:2])
        data[3:] = [None, HuffmanPaths(*paths, found.longest)]
    stats = torch.zeros(3, dtype=torch.float64, device=device)
    for epoch in range(epochs):
        stats.zero_()
        word2vec_train_(
            *tables,
            stats,
            *data,
            bags=bags,
            window=WINDOW,
            negatives=5,
            model=model,
            negative_sharing=sharing,
            windows_together=together,
            alpha=0.05,
            tokens_before=epoch * len(text.tokens),
            total_tokens=epochs * len(text.tokens),
            epoch=epoch,
        )
    return float(stats[0] / stats[1])


def counted(text: Text, device: str):
    """Its co-occurrences, on the CPU."""
    tokens, offsets = text.tokens.to(device), text.offsets.to(device)
    index = cooccurrence_index(tokens, offsets, vocab_size=text.vocab_size, window=WINDOW)
    return [x.cpu() for x in cooccurrence_rows(index, window=WINDOW)]


def glove(text: Text, device: str, deterministic: bool, passes: int = 5) -> float:
    """The mean cost of an entry in the last pass."""
    row_size, cols, units = counted(text, "cpu")
    row_begin = torch.nn.functional.pad(row_size.cumsum(0), (1, 0))
    part = glove_deal_parts(row_size, 4)
    values = units.double() / cooccurrence_unit(WINDOW)
    tiles = glove_tiles(row_begin, cols, values, part, parts=4).to(device)
    generator = torch.Generator().manual_seed(1)
    tables = [glove_table(text.vocab_size, DIM) for _ in range(2)]
    for table in tables:
        drawn = torch.rand(text.vocab_size, DIM + 1, generator=generator)
        table[:, 0, : DIM + 1] = (drawn - 0.5) / DIM
    tables = [table.to(device) for table in tables]
    stats = torch.zeros(2, dtype=torch.float64, device=device)
    for _ in range(passes):
        stats.zero_()
        options = {"dim": DIM, "x_max": 10.0, "deterministic": deterministic}
        glove_train_(*tables, stats, tiles, **options)
    return float(stats[0] / stats[1])


def bert(text: Text, device: str, precision: str, steps: int, last: int = 10) -> float:
    """The mean masked-word loss of the last steps; with a graph in bfloat16 on a GPU."""
    from lexforge.models.bert.capacity import BatchCapacity
    from lexforge.models.bert.config import BertConfig
    from lexforge.models.bert.examples import BertExamples
    from lexforge.models.bert.model import BertModel
    from lexforge.models.bert.steps import draw_steps, make_stepper
    from lexforge.text.tokenizers.words import WordTokenizer
    from lexforge.training.optimizer import NetworkOptimizer

    special = WordTokenizer.SPECIAL_TOKENS
    tokenizer = WordTokenizer([*special, *(f"w{i}" for i in range(text.vocab_size))])
    paragraphs = [list(text.words[i : i + 8] + len(special)) for i in range(0, len(text.words), 8)]
    batch = min(64, len(text.words) // 4)
    examples = BertExamples(paragraphs, tokenizer, max_len=64, seed=1)
    capacity = None
    if precision == "bf16" and device == "cuda":
        sample = itertools.islice(examples.batches(0, batch), 8)
        capacity = BatchCapacity.of(sample, batch, examples.max_len)
    model = BertModel(BertConfig.reference(len(tokenizer), dropout=0.1), seed=1).to(device)
    stepper = make_stepper(model, NetworkOptimizer(model, "adam"), precision, capacity)
    data = draw_steps(
        examples,
        batch_size=batch,
        accumulation=1,
        seed=1,
        step=0,
        epoch=0,
        batch=0,
        capacity=capacity,
        on_cuda=device == "cuda",
    )
    for number, step in enumerate(itertools.islice(data, steps)):
        if number == max(0, steps - last):
            before = stepper.sums.clone()
        stepper(step, 0.003)
    data.close()
    loss, count = (stepper.sums - before)[:2].tolist()
    return loss / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes of no interest, for a test")
    parser.add_argument("--json", type=Path, help="file for the lines")
    options = parser.parse_args()
    text = Text(200, 5, 8) if options.small else Text(20_000, 50, 80)
    short = text if options.small else Text(4000, 10, 40)
    steps = 2 if options.small else 30
    here: dict[tuple, float] = {}  # losses on the CPU
    failed = 0

    def tell(model: str, line: dict) -> None:
        nonlocal failed
        failed += not line["passed"]
        line = {"model": model, **line}
        print(json.dumps(line), flush=True)
        if options.json:
            with options.json.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def compare(
        model: str, loss: Callable[..., float], text: Text, allowed: float, *ours, exact=None
    ) -> None:
        """Trains with these arguments on the device, and so, or with others, on the CPU."""
        begin = time.perf_counter()
        exact = ours if exact is None else exact
        try:
            there = loss(text, options.device, *ours)
            if (key := (loss, *exact)) not in here:
                here[key] = loss(text, "cpu", *exact)
        except Exception:  # the others are worth their time all the same
            tell(model, {"passed": False, "message": traceback.format_exc()[-1500:]})
            return
        expected = here[key]
        difference = abs(there / expected - 1)
        line = {"gpu": there, "cpu": expected, "difference": difference, "allowed": allowed}
        line["seconds"] = round(time.perf_counter() - begin, 2)
        tell(model, {"passed": difference <= allowed, **line})

    for kind in MODELS:
        compare(kind, word2vec, text, WORD2VEC, kind)
    for kind in MODELS:
        compare(f"{kind}, in rounds", word2vec, text, WORD2VEC, kind, 16, exact=(kind,))
    equal = all(map(torch.equal, counted(text, options.device), counted(text, "cpu")))
    tell("co-occurrences", {"passed": equal})
    compare("GloVe", glove, text, GLOVE, True)
    compare("GloVe, several warps a tile", glove, text, GLOVE_WARPS, False, exact=(True,))
    compare("BERT, float32", bert, short, BERT, "float32", steps)
    compare("BERT, bfloat16", bert, short, BERT_HALF, "bf16", steps, exact=("float32", steps))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
