"""classify_train_ against its oracle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops._tables import ROW_MULTIPLE
from lexforge.ops.sampling.sampling import build_alias
from lexforge.ops.subword.classify_train import LOSSES, classify_train_
from lexforge.ops.word2vec.word2vec_train import HuffmanPaths
from lexforge.reference.subword.classify_train import classify_train, line_rows
from lexforge.text.huffman import huffman_tree

pytestmark = pytest.mark.skipif(_library.emulated(), reason="on the CPU only")


def aligned(table: np.ndarray, dtype=torch.float64) -> torch.Tensor:
    """The columns padded to a multiple of 16, at a 64-byte boundary."""
    rows, dim = table.shape
    stride = -(-dim // ROW_MULTIPLE) * ROW_MULTIPLE
    room = torch.zeros(rows * stride + 16, dtype=dtype)
    start = -(room.data_ptr() % 64) % 64 // room.itemsize
    whole = room[start : start + rows * stride].view(rows, stride)
    whole[:, :dim] = torch.from_numpy(table)
    return whole


@dataclass
class Case:
    """Lines of random words and labels, and tables."""

    lengths: list[int]
    dim: int = 6
    labels: int = 5
    words: int = 9
    unknown: int = 3
    bag: int = 1  # most rows of a word
    buckets: int = 20
    word_ngrams: int = 1
    mapped: bool = False
    loss: str = "softmax"
    negatives: int = 3
    most_labels: int = 1
    options: dict = field(default_factory=dict)

    def __post_init__(self):
        rng = np.random.default_rng(len(self.lengths) + self.dim)
        types = self.words + self.unknown
        rows = self.words + self.buckets
        self.tables = [rng.normal(size=(n, self.dim)) for n in (rows, self.labels)]
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        self.tokens = rng.integers(0, types, self.offsets[-1]).astype(np.int32)
        counts = rng.integers(0, self.most_labels + 1, len(self.lengths))
        counts[::2] = self.most_labels
        self.label_offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.label_ids = rng.integers(0, self.labels, counts.sum()).astype(np.int32)
        bags = [[t] * (t < self.words) for t in range(types)]
        for bag in bags:
            bag += rng.integers(self.words, rows, rng.integers(0, self.bag)).tolist()
        self.bag_offsets = np.cumsum([0, *map(len, bags)]).astype(np.int64)
        self.bag_rows = np.array([row for bag in bags for row in bag], np.int32)
        self.hashes = rng.integers(-(2**31), 2**31, types).astype(np.int32)
        self.features = {
            "words": self.words,
            "buckets": self.buckets,
            "word_ngrams": self.word_ngrams,
        }
        if self.mapped:
            bucket_rows = rng.permutation(self.buckets).astype(np.int32)
            bucket_rows[bucket_rows % 3 == 0] = -1
            self.features["bucket_rows"] = bucket_rows
        if self.loss == "ns":
            self.features["noise"] = build_alias(torch.rand(self.labels)).numpy()
            self.features["negatives"] = self.negatives
        if self.loss == "hs":
            tree = huffman_tree(np.sort(rng.integers(1, 99, self.labels))[::-1])
            self.features["tree"] = (tree.offsets, tree.nodes)
        self.options = {
            "alpha": 0.7,
            "min_alpha": 0.1,
            "tokens_before": 3,
            "total_tokens": 2 * max(1, int(self.offsets[-1])),
            "seed": 5,
            "epoch": 2,
            "first_line": 0,
            "last_line": len(self.lengths),
            **self.options,
        }
        self.data = (
            *(self.tokens, self.offsets, self.label_ids, self.label_offsets),
            *(self.bag_offsets, self.bag_rows, self.hashes),
        )

    def run(self, dtype=torch.float64, threads=1, tables=None, **changed):
        """The tables and sums after it."""
        tables = tables or [aligned(table, dtype) for table in self.tables]
        stats = torch.zeros(2, dtype=torch.float64)
        given = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in self.features.items()
        }
        if "tree" in given:
            given["tree"] = HuffmanPaths(*map(torch.from_numpy, self.features["tree"]), 9)
        classify_train_(
            *tables,
            stats,
            *map(torch.from_numpy, self.data),
            loss=self.loss,
            threads=threads,
            **{**given, **self.options, **changed},
        )
        return [*tables, stats]

    def check(self):
        """In float64 equal to the oracle but for rounding; float32 likewise."""
        wanted = [table.copy() for table in self.tables]
        sums = classify_train(*wanted, *self.data, loss=self.loss, **self.features, **self.options)
        for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 3e-4)):
            *tables, stats = self.run(dtype)
            for table, expected in zip(tables, wanted, strict=True):
                got = table[:, : self.dim].double().numpy()
                np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
                assert (table[:, self.dim :] == 0).all()
            np.testing.assert_allclose(stats.numpy(), sums, rtol=tolerance)


LENGTHS = [7, 1, 0, 30, 2, 5, 16, 3]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"word_ngrams": 3},
        {"word_ngrams": 2, "mapped": True},
        {"bag": 5},
        {"most_labels": 4, "labels": 17},
        {"labels": 2},
        {"options": {"first_line": 2, "last_line": 7, "seed": -1, "epoch": 2**32 - 1}},
    ],
    ids=str,
)
def test_options_equal_the_oracle(loss, options):
    Case(LENGTHS, loss=loss, **options).check()


@pytest.mark.parametrize("dim", [1, 16, 33, 100, 128, 300])
def test_dimensions_equal_the_oracle(dim):
    Case(LENGTHS, dim=dim, labels=11, word_ngrams=2).check()


@pytest.mark.parametrize("labels", [1, 7, 8, 9, 33])
@pytest.mark.parametrize("loss", ["softmax", "ova"])
def test_numbers_of_labels(loss, labels):
    Case(LENGTHS, labels=labels, loss=loss).check()


@pytest.mark.parametrize("loss", LOSSES)
def test_lines_cut_into_calls_give_the_same_bits(loss):
    case = Case(LENGTHS, loss=loss, word_ngrams=2, most_labels=3)
    whole = case.run(torch.float32)
    tables = None
    for first, last in ((0, 3), (3, 3), (3, 8)):
        *tables, _ = case.run(torch.float32, tables=tables, first_line=first, last_line=last)
    for one, other in zip(whole, tables, strict=False):
        assert (one == other).all()


def test_a_step_is_the_gradient_of_the_loss():
    """With lr = 1 what one line changes is what autograd says, for the softmax."""
    case = Case([12], bag=3, word_ngrams=2, options={"alpha": 1.0, "min_alpha": 1.0})
    in_table, out_table = (torch.from_numpy(t).requires_grad_() for t in case.tables)
    rows = line_rows(case.tokens.tolist(), *case.data[4:], **case.features)
    scores = out_table @ in_table[rows].mean(0)
    torch.nn.functional.cross_entropy(
        scores[None], torch.tensor(case.label_ids[:1]).long()
    ).backward()
    after = case.run()
    for table, new in zip((in_table, out_table), after, strict=False):
        torch.testing.assert_close(table.detach() - new[:, : case.dim], table.grad)


def test_threads_train_every_line_once():
    case = Case([40] * 300, dim=20, word_ngrams=2, options={"alpha": 0.01, "min_alpha": 0.01})
    one, two = case.run(torch.float32), case.run(torch.float32, threads=2)
    assert two[2][1] == one[2][1]
    torch.testing.assert_close(two[2][0], one[2][0], rtol=0.02, atol=0)


def test_lines_without_words_or_labels_train_nothing():
    case = Case([0, 4, 0])
    case.label_offsets[:] = [0, 1, 1, 1]
    *tables, stats = case.run()
    assert (stats == 0).all()
    for table, before in zip(tables, case.tables, strict=True):
        assert (table[:, : case.dim] == torch.from_numpy(before)).all()


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa):
    run_under(
        isa,
        "from subword.test_classify_train import Case, LENGTHS\n"
        "for loss in ('softmax', 'ova', 'ns', 'hs'):\n"
        "    for dim in (20, 100, 130):\n"
        "        Case(LENGTHS, loss=loss, dim=dim, labels=19, word_ngrams=2).check()",
    )


def test_opcheck():
    case = Case([5, 3], word_ngrams=2, loss="ns")
    given = list(map(torch.from_numpy, case.data))
    tables = [aligned(t, torch.float32) for t in case.tables]
    torch.library.opcheck(
        torch.ops.lexforge.classify_train_.default,
        (
            *tables,
            torch.zeros(2, dtype=torch.float64),
            *given,
            *(given[0][:0], torch.from_numpy(case.features["noise"]), given[1][:0], given[0][:0]),
            *(0, 2, case.words, case.buckets, 2, 2, 3, 0.1, 0.0, 0, 8, 1, 0, 1),
        ),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "hinge"}, "loss must be one of softmax, ova, ns, hs, got 'hinge'"),
        ({"word_ngrams": 2, "buckets": 0}, r"buckets must be in \[1, 2\^31 - 1\], got 0"),
        ({"word_ngrams": 2, "buckets": 21}, "in_table must have 30 rows, of words and buckets"),
        ({"alpha": float("nan")}, "alpha must be finite and >= 0, got nan"),
        ({"last_line": 9}, r"first_line and last_line must be a range within \[0, 8\]"),
        ({"words": 31}, r"words must be in \[0, 29\], got 31"),
        ({"total_tokens": 0}, r"total_tokens must be in \[1, 2\^62\], got 0"),
    ],
    ids=str,
)
def test_refuses(changes, message):
    changes = dict(changes)
    case = Case(LENGTHS)
    case.loss = changes.pop("loss", "softmax")
    with pytest.raises(ValueError, match=f"classify_train_: {message}"):
        case.run(**changes)


@pytest.mark.parametrize("loss", ["ns", "hs"])
def test_refuses_a_loss_without_what_it_needs(loss):
    name = {"ns": "noise", "hs": "tree"}[loss]
    with pytest.raises(ValueError, match=f"{name} must be given with loss '{loss}'"):
        case = Case(LENGTHS)
        case.loss = loss
        case.run()


@pytest.mark.parametrize(
    ("number", "value", "message"),
    [
        (0, 12, r"tokens must be in \[0, 12\), got 12"),
        (0, -1, r"tokens must be in \[0, 12\), got -1"),
        (1, 99, "offsets must rise from 0 to at most 64"),
        (2, 5, r"label_ids must be in \[0, 5\), got 5"),
        (3, -3, "label_offsets must rise"),
        (4, 99, "bag_offsets must rise"),
        (5, 29, r"bag_rows must be in \[0, 29\), got 29"),
    ],
)
def test_refuses_what_lies_outside(number, value, message):
    case = Case(LENGTHS)
    case.data[number][1] = value
    with pytest.raises(RuntimeError, match=f"classify_train_: {message}"):
        case.run()
