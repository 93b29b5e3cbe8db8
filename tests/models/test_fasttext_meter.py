"""Precision, recall and their curves, on predictions that can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lexforge.models.fasttext.meter import Meter


def meter(missed: bool = False) -> Meter:
    """Of three labels, 2 of which nobody has and one line is taken for.

    true:       0      0 1    1
    predicted:  0 .9   1 .6   0 .9 2 .2
    """
    return Meter(
        3,
        np.array([0, 1, 3, 4]),
        np.array([0, 0, 1, 1]),
        np.array([0, 1, 2, 4]),
        np.array([0, 1, 0, 2]),
        np.array([0.9, 0.6, 0.9, 1.00001], np.float32),
        missed,
    )


def test_shares():
    found = meter()
    assert found.examples == 3
    assert (found.precision(), found.recall(), found.f1()) == (0.5, 0.5, 0.5)
    assert (found.precision(0), found.recall(0), found.f1(0)) == (0.5, 0.5, 0.5)
    assert (found.precision(1), found.recall(1)) == (1, 0.5)
    assert found.f1(1) == pytest.approx(2 / 3)
    assert found.precision(2) == 0 and math.isnan(found.recall(2)) and found.f1(2) == 0


def test_scores_by_label():
    scores, true = meter().scored(0)
    np.testing.assert_allclose(scores, [0.9, 0.9], rtol=1e-6)
    assert true.tolist() == [0, 1]
    scores, true = meter(missed=True).scored(0)
    assert scores[0] == -1 and true.tolist() == [1, 0, 1]
    scores, true = meter(missed=True).scored()
    np.testing.assert_allclose(scores, [-1, -1, 0.6, 0.9, 0.9, 1], rtol=1e-6)
    assert true.tolist() == [1, 1, 1, 0, 1, 0]


@pytest.mark.parametrize("missed", [False, True])
def test_curve(missed):
    """At thresholds 1, .9 and .6: one wrong; one more right and one more wrong; one more right."""
    precision, recall = meter(missed).curve()
    np.testing.assert_allclose(precision, [0, 1 / 3, 1 / 2, 1])
    np.testing.assert_allclose(recall, [0, 1 / 4, 1 / 2, 0])
    assert meter(missed).precision_at_recall(0.5) == 0.5
    assert meter(missed).precision_at_recall(0.6) == 0
    assert meter(missed).recall_at_precision(0.4) == 0.5
    assert meter(missed).recall_at_precision(0.9) == 0


def test_the_curve_ends_where_all_are_found():
    found = Meter(
        1,
        np.array([0, 1, 1]),
        np.array([0]),
        np.array([0, 1, 2]),
        np.array([0, 0]),
        np.array([0.9, 0.5]),
    )
    assert [each.tolist() for each in found.curve(0)] == [[1, 1], [1, 0]]


def test_nothing_predicted():
    none = np.array([], np.int64)
    found = Meter(2, np.array([0, 1]), np.array([0]), np.array([0, 0]), none, none)
    assert math.isnan(found.precision()) and found.recall() == 0
    assert [each.tolist() for each in found.curve()] == [[], []]
    assert found.precision_at_recall(0.1) == found.recall_at_precision(0.1, 1) == 0
