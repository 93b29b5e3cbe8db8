"""noise_weights and keep_probability against their formulas and known figures."""

import math

import numpy as np
import pytest
import torch

from lexforge.ops.sampling.sampling import keep_probability, noise_weights
from lexforge.reference.sampling import sampling as reference

COUNTS = torch.tensor([50770, 1000, 45, 1, 0])


@pytest.mark.parametrize("power", [0.75, 1.0, 0.5, 0.0, -0.5])
def test_noise_weights(device, power):
    weights = noise_weights(COUNTS.to(device), power)
    assert weights.dtype == torch.float64
    expected = reference.noise_weights(COUNTS.tolist(), power)
    np.testing.assert_allclose(weights.cpu(), expected, rtol=1e-14)


@pytest.mark.parametrize("rule", ["sqrt", "word2vec"])
@pytest.mark.parametrize("threshold", [0.0, 1e-5, 1e-3, 0.5, 2.0])
def test_keep_probability(device, rule, threshold):
    keep = keep_probability(COUNTS.to(device), threshold, rule)
    assert keep.dtype == torch.float32
    expected = reference.keep_probability(COUNTS.tolist(), threshold, rule)
    np.testing.assert_allclose(keep.cpu(), expected, rtol=1e-7)


def test_keep_probability_of_a_frequent_word():
    """f = 0.01 and t = 1e-4: sqrt(0.01) = 0.1, and 0.01 more by the original tool's rule."""
    counts = torch.tensor([1, 99])
    assert keep_probability(counts, 1e-4, "sqrt")[0].item() == pytest.approx(0.1, rel=1e-6)
    assert keep_probability(counts, 1e-4)[0].item() == pytest.approx(0.11, rel=1e-6)


def test_large_counts_do_not_overflow():
    counts = torch.tensor([2**61, 2**61])
    expected = math.sqrt(2e-3) + 2e-3
    assert keep_probability(counts, 1e-3)[0].item() == pytest.approx(expected, rel=1e-6)
    assert noise_weights(counts)[0].item() == pytest.approx(2.0 ** (61 * 0.75))


@pytest.mark.parametrize("function", [noise_weights, lambda counts: keep_probability(counts, 1e-3)])
def test_wrong_counts_are_refused(device, function):
    with pytest.raises(ValueError, match="counts must not be negative, got -2"):
        function(torch.tensor([1, -2], device=device))
    with pytest.raises(ValueError, match=r"counts must be \[V\], got \[1, 1\]"):
        function(torch.tensor([[1]], device=device))
    with pytest.raises(ValueError, match=r"counts must add up to <= 2\^63 - 1, got 9.223e\+18"):
        function(torch.tensor([2**62, 2**62], device=device))
    for counts in (torch.tensor([1.0]), torch.tensor([True]), [1, 2]):
        with pytest.raises(TypeError, match=r"counts must be (an integer|a) tensor"):
            function(counts)


def test_empty_counts(device):
    none = torch.empty(0, dtype=torch.int64, device=device)
    assert len(noise_weights(none)) == len(keep_probability(none, 1e-3)) == 0


def test_wrong_parameters_are_refused():
    for power in (math.nan, math.inf):
        with pytest.raises(ValueError, match="power must be finite"):
            noise_weights(COUNTS, power)
    for threshold in (-1e-3, math.nan):
        with pytest.raises(ValueError, match="threshold must be at least 0"):
            keep_probability(COUNTS, threshold)
    with pytest.raises(ValueError, match="rule must be one of sqrt, word2vec, got 'root'"):
        keep_probability(COUNTS, 1e-3, "root")
