"""ClassScores beside figures worked out by hand and by a loop."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lexforge.training.metrics import ClassScores

NAMES = ("negative", "neutral", "positive")


@pytest.fixture
def scores():
    #          said: negative, neutral, positive
    return ClassScores(np.array([[4, 1, 0], [0, 0, 0], [2, 1, 2]]), NAMES)


def test_by_hand(scores):
    assert len(scores) == 10 and scores.accuracy == 0.6
    assert scores.support.tolist() == [5, 0, 5]
    assert scores.precision == pytest.approx([4 / 6, 0, 1])
    assert scores.recall == pytest.approx([0.8, 0, 0.4])
    f1 = [2 * 4 / (6 + 5), 0, 2 * 2 / (2 + 5)]
    assert scores.f1 == pytest.approx(f1)
    assert scores.macro_f1 == pytest.approx(sum(f1) / 3)


def test_a_class_that_is_nowhere_does_not_count():
    scores = ClassScores.of([0, 0, 2], [0, 0, 2], NAMES)
    assert scores.macro_f1 == 1 and scores.f1.tolist() == [1, 0, 1]


def test_beside_a_loop():
    rng = np.random.default_rng(0)
    labels, said = rng.integers(0, 5, (2, 200))
    scores = ClassScores.of(labels, torch.from_numpy(said), [*"abcde"])
    assert scores.accuracy == np.mean(labels == said)
    for row in range(5):
        right = sum((labels == row) & (said == row))
        assert scores.precision[row] == pytest.approx(right / sum(said == row))
        assert scores.recall[row] == pytest.approx(right / sum(labels == row))
        f1 = 2 / (1 / scores.precision[row] + 1 / scores.recall[row])
        assert scores.f1[row] == pytest.approx(f1)
    half = [
        ClassScores.of(labels[part], said[part], [*"abcde"])
        for part in (slice(90), slice(90, None))
    ]
    assert (half[0] + half[1]).confusion.tolist() == scores.confusion.tolist()


def test_nothing():
    scores = ClassScores.of([], [], NAMES)
    assert (len(scores), scores.accuracy, scores.macro_f1) == (0, 0.0, 0.0)
    assert scores.precision.tolist() == [0, 0, 0] and "0.0000" in str(scores)


def test_table(scores):
    assert scores.table().split("\n") == [
        "class       precision  recall      f1  examples",
        "negative       0.6667  0.8000  0.7273         5",
        "neutral        0.0000  0.0000  0.0000         0",
        "positive       1.0000  0.4000  0.5714         5",
        "macro mean                     0.4329",
        "accuracy                       0.6000        10",
    ]
    odd = ClassScores(np.ones((1, 1), int), ("a\x1b[2J",))
    assert "\x1b" not in odd.table()


def test_json(scores):
    found = json.loads(json.dumps(scores.to_json()))
    assert found["accuracy"] == 0.6 and found["examples"] == 10
    assert found["classes"]["positive"] == {
        "precision": 1.0, "recall": 0.4, "f1": pytest.approx(4 / 7), "support": 5,
    }  # fmt: skip
    again = ClassScores.from_json(found)
    assert again.names == NAMES and again.confusion.tolist() == scores.confusion.tolist()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ClassScores.of([0, 1], [0], "ab"), r"must be \[N\], got \[2\] and \[1\]"),
        (lambda: ClassScores.of([0, 2], [0, 1], "ab"), "labels must be 0 to 1, got 2"),
        (lambda: ClassScores.of([0, 1], [0, -1], "ab"), "predictions must be 0 to 1, got -1"),
        (
            lambda: ClassScores(np.ones((2, 3), int), ("a", "b")),
            r"must be \[2, 2\], .*\[2, 3\]",
        ),
        (lambda: ClassScores(np.ones((1, 1)), ("a",)), "whole numbers, none negative, got float64"),
        (lambda: ClassScores(-np.ones((1, 1), int), ("a",)), "none negative, got int64 with a min"),
        (lambda: ClassScores.from_json({"classes": {"a": 1}}), 'must hold "classes" by name and'),
        (lambda: ClassScores.from_json({"classes": 5, "confusion": []}), 'must hold "classes"'),
        (
            lambda: ClassScores.from_json({"classes": {"a": 1}, "confusion": [[1, 2]]}),
            r"\[1, 1\]",
        ),
        (lambda: ClassScores.from_json({"classes": {"a": 1}, "confusion": [["x"]]}), "must hold"),
        (
            lambda: ClassScores.of([], [], "ab") + ClassScores.of([], [], "ac"),
            "names must be equal",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
