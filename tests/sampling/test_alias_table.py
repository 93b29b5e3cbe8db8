"""build_alias: the table's exact probabilities, bit-equality with the reference, refusals."""

import numpy as np
import pytest
import torch

from lexforge.ops.sampling.sampling import alias_sample, build_alias, noise_weights
from lexforge.reference.sampling import sampling as reference

ENTRY_TOLERANCE = 2.0**-31


def weight_sets() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    zipf = 1e9 / np.arange(1, 5001)
    with_zeros = rng.random(997)
    with_zeros[rng.random(997) < 0.4] = 0
    return {
        "one": np.array([0.3]),
        "two": np.array([1.0, 3.0]),
        "uniform": np.full(59, 0.1),
        "reference text": np.array([2.0, 3.0, 4.0]),
        "zipf": np.floor(zipf) ** 0.75,
        "zipf ascending": np.floor(zipf[::-1]) ** 0.75,
        "random": rng.random(1025),
        "zeros": with_zeros,
        "zeros first and last": np.array([0.0, 0, 1, 0, 2, 0]),
        "single heavy": np.concatenate([np.full(300, 1e-12), [1.0], np.full(300, 1e-12)]),
        "one possible": np.array([0.0, 0, 0, 5, 0]),
        "huge": np.array([1e308, 1e308, 5e307]),
        "subnormal": np.array([5e-324, 1e-323, 0.0]),
        "wide range": 10.0 ** rng.uniform(-300, 300, 257),
        "multiples": np.repeat([1.0, 2.0, 4.0], 41),
    }


@pytest.mark.parametrize("name", weight_sets())
def test_probabilities_sum_back(device, name):
    weights = weight_sets()[name]
    table = build_alias(torch.from_numpy(weights).to(device)).cpu().numpy()
    scaled = weights / weights.max()
    expected = scaled / scaled.sum()
    implied = reference.implied_probabilities(table)
    np.testing.assert_allclose(implied, expected, rtol=0, atol=ENTRY_TOLERANCE)
    assert (implied[weights == 0] == 0).all()
    assert implied.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", weight_sets())
def test_equals_the_reference_bit_for_bit(device, name):
    weights = weight_sets()[name]
    table = build_alias(torch.from_numpy(weights).to(device)).cpu().numpy()
    np.testing.assert_array_equal(table.view(np.uint32), reference.build_alias(weights))


def test_float32_weights_equal_their_float64_values(device):
    weights = torch.rand(333, generator=torch.Generator().manual_seed(1)).to(device)
    assert torch.equal(build_alias(weights), build_alias(weights.double()))


def test_scaling_by_a_power_of_two_changes_nothing(device):
    weights = torch.from_numpy(weight_sets()["zipf"]).to(device)
    assert torch.equal(build_alias(weights), build_alias(weights * 2.0**-40))


def test_golden_noise_distribution(device):
    """Counts 10, 5, 2, 1 to the power 0.75."""
    counts = torch.tensor([10, 5, 2, 1], device=device)
    implied = reference.implied_probabilities(build_alias(noise_weights(counts)).cpu().numpy())
    np.testing.assert_allclose(implied, [0.482742, 0.287040, 0.144373, 0.085845], atol=5e-7)


def test_non_contiguous_weights_are_copied(device):
    weights = torch.arange(1.0, 41.0, device=device)
    assert torch.equal(build_alias(weights[::2]), build_alias(weights[::2].clone()))


def test_one_weight_is_always_drawn(device):
    table = build_alias(torch.tensor([0.25], device=device))
    assert alias_sample(table, 1000, seed=0).unique().tolist() == [0]


def test_zero_weights_are_never_drawn(device):
    weights = torch.tensor([0.0, 1e-9, 0, 1, 0], device=device)
    draws = alias_sample(build_alias(weights), 200_000, seed=5)
    assert set(draws.unique().tolist()) <= {1, 3}


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1.0, -1.0], ValueError, "be finite and not negative, got -1.0 at index 1"),
        ([float("nan"), 1.0], ValueError, "be finite and not negative, got nan at index 0"),
        ([1.0, float("inf")], ValueError, "be finite and not negative, got inf at index 1"),
        ([0.0, 0.0], ValueError, "not be all zero"),
        ([], ValueError, "have 1 to 2\\^31 - 1 elements, got 0"),
        ([[1.0]], ValueError, r"be \[V\], got \[1, 1\]"),
        ([1, 2], TypeError, "be float32 or float64, got int64"),
    ],
)
def test_wrong_weights_are_refused(device, weights, error, message):
    with pytest.raises(error, match=f"build_alias: weights must {message}"):
        build_alias(torch.tensor(weights, device=device))


def test_too_many_weights_are_refused():
    """A view of one element stands in for 16 GiB of weights."""
    with pytest.raises(ValueError, match="1 to 2\\^31 - 1 elements, got 2147483648"):
        build_alias(torch.ones(1, dtype=torch.float64).expand(2**31))


def test_the_op_itself_checks_what_memory_safety_needs(device):
    for weights in (torch.ones(2, 2), torch.ones(0), torch.ones(3, dtype=torch.int32)):
        with pytest.raises(RuntimeError, match="build_alias: weights must"):
            torch.ops.lexforge.build_alias(weights.to(device))


def test_opcheck(device):
    weights = torch.rand(17, dtype=torch.float64, device=device)
    torch.library.opcheck(torch.ops.lexforge.build_alias.default, (weights,))
