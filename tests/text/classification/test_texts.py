"""LabelledTexts: what it holds and refuses, its parts."""

from __future__ import annotations

import numpy as np
import pytest

from lexforge.text.classification import LabelledTexts
from lexforge.text.classification.texts import INFERENCE, ordered_names, shuffled


def many(counts=(40, 10)):
    labels = np.repeat(np.arange(len(counts)), counts)
    names = tuple(f"c{row}" for row in range(len(counts)))
    return LabelledTexts([f"text {row}" for row in range(len(labels))], None, labels, names)


def test_of_names():
    texts = LabelledTexts.of(["a", "b", "c"], labels=["yes", "no", "yes"])
    assert texts.names == ("no", "yes") and texts.labels.tolist() == [1, 0, 1]
    assert texts.labels.dtype == np.int64 and texts.counts.tolist() == [1, 2]
    assert repr(texts) == "LabelledTexts(3 texts: 1 no, 2 yes)"
    pairs = LabelledTexts.of(["a"], ["b"], ["neutral"])
    assert pairs.names == INFERENCE and pairs.labels.tolist() == [2]
    assert LabelledTexts.of(["a", "b"], labels=[10, 9]).names == ("9", "10")
    assert LabelledTexts.of(["a"], labels=["x"], names=("y", "x")).labels.tolist() == [1]
    bare = LabelledTexts.of(["a", ""])
    assert bare.labels is None and bare.names == () and bare.counts.tolist() == []
    assert repr(bare) == "LabelledTexts(2 texts: unlabelled)"


@pytest.mark.parametrize(
    "labels, names",
    [
        (["pos", "neg"], ("neg", "pos")),
        (["neutral", "contradiction"], INFERENCE),
        (["neutral", "other"], ("neutral", "other")),
        (["10", "9", "010"], ("9", "010", "10")),
        (["-1", "1"], ("-1", "1")),
        ([], ()),
    ],
)
def test_order_of_names(labels, names):
    assert ordered_names(labels) == names


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (("one text",), TypeError, "first must be a sequence of texts, got one text"),
        ((["a", None],), TypeError, "first must hold str, got NoneType"),
        ((["a"], ["b", "c"]), ValueError, "second must hold 1 texts, as many as first, got 2"),
        ((["a"], None, np.array([0, 1]), ("x", "y")), ValueError, r"labels must be \[1\] whole"),
        ((["a"], None, np.array([0.5]), ("x", "y")), ValueError, "whole numbers, got .*float64"),
        ((["a"], None, np.array([2]), ("x", "y")), ValueError, "labels must be 0 to 1, .* got 2"),
        ((["a"], None, np.array([-1]), ("x", "y")), ValueError, "labels must be 0 to 1, .* got -1"),
        ((["a"], None, np.array([0]), ("x", "x")), ValueError, "names must be distinct, got 'x'"),
        ((["a"], None, np.array([0]), ("x", "")), ValueError, "names must not be empty"),
        ((["a"], None, np.array([0]), "xy"), TypeError, "names must be a sequence of str"),
    ],
)
def test_what_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        LabelledTexts(*arguments)


def test_unknown_label():
    with pytest.raises(ValueError, match="labels must be of x, y, got 'z' at 1"):
        LabelledTexts.of(["a", "b"], labels=["x", "z"], names=["x", "y"])


def test_parts():
    texts = LabelledTexts(["a", "b", "c"], ["d", "e", "f"], np.array([0, 1, 1]), ("x", "y"))
    part = texts[np.array([2, 0])]
    assert (part.first, part.second, part.labels.tolist()) == (["c", "a"], ["f", "d"], [1, 0])
    assert texts[1:].first == ["b", "c"] and texts[np.array([True, False, True])].labels.sum() == 1
    assert len(texts[:0]) == 0
    with pytest.raises(TypeError, match="index must be a slice or an array"):
        texts[1]
    with pytest.raises(IndexError):
        texts[[3]]


def test_split_takes_the_same_share_of_every_class():
    texts = many((40, 10))
    rest, part = texts.split(0.2, seed=3)
    assert rest.counts.tolist() == [32, 8] and part.counts.tolist() == [8, 2]
    assert sorted([*rest.first, *part.first]) == sorted(texts.first)
    assert part.first == texts.split(0.2, seed=3)[1].first != texts.split(0.2, seed=4)[1].first
    unlabelled = LabelledTexts(texts.first).split(0.1)
    assert (len(unlabelled[0]), len(unlabelled[1])) == (45, 5)


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, 0.001, float("nan")])
def test_split_leaves_no_part_empty(share):
    with pytest.raises(ValueError, match="share must"):
        many().split(share)


def test_what_cannot_train():
    with pytest.raises(ValueError, match=r"^dev must hold texts, and is empty"):
        many((0, 0)).require("dev")
    with pytest.raises(ValueError, match=r"^dev must have labels, and has none"):
        LabelledTexts(["a"]).require("dev")
    with pytest.raises(ValueError, match=r"^train must have texts of at least 2 .* 'c1' alone"):
        many((0, 5)).require("train", classes=2)
    many((0, 5)).require("dev")
    many((1, 5)).require("train", classes=2)


def test_shuffled_is_the_same_everywhere():
    """A generator of numpy's whose raw numbers are promised never to change."""
    assert shuffled(8, 1).tolist() == shuffled(8, 1, 0).tolist() != shuffled(8, 1, 1).tolist()
    assert sorted(shuffled(1000, 2**64 - 1)) == list(range(1000))
    assert shuffled(0, 5).tolist() == []
    assert shuffled(8, 7, 3).tolist() == [2, 5, 7, 3, 0, 6, 4, 1]
    with pytest.raises(ValueError, match="seed must be"):
        shuffled(8, 2**64)
