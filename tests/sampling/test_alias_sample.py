"""alias_sample: bit-equality with the reference, distribution, independence of threads and cuts."""

import numpy as np
import pytest
import torch

from lexforge.ops.sampling.sampling import alias_sample, build_alias, seed_from
from lexforge.reference.sampling import sampling as reference

scipy_stats = pytest.importorskip("scipy.stats")

CHI_SQUARE_P = 1e-4  # seeds are fixed, so a test that passes once passes always


@pytest.fixture
def table(device):
    return build_alias((1.0 / torch.arange(1, 1010, dtype=torch.float64)).to(device))


def chi_square_p(draws: torch.Tensor, weights: np.ndarray) -> float:
    observed = torch.bincount(draws.cpu().flatten().long(), minlength=len(weights)).numpy()
    expected = weights / weights.sum() * draws.numel()
    return scipy_stats.chisquare(observed, expected).pvalue


@pytest.mark.parametrize("count", [0, 1, 2, 7, 31, 32, 33, 257, 5000])
@pytest.mark.parametrize("offset", [0, 1, 17, 2**33 - 5, 2**63 - 6000])
def test_equals_the_reference(table, count, offset):
    draws = alias_sample(table, count, seed=99, offset=offset)
    expected = reference.alias_sample(table.cpu().numpy(), count, 99, offset)
    np.testing.assert_array_equal(draws.cpu().numpy(), expected)


@pytest.mark.parametrize("seed", [0, 1, -1, 2**64 - 1, -(2**63)])
def test_all_64_bits_of_a_seed_count(table, seed):
    draws = alias_sample(table, 100, seed=seed)
    expected = reference.alias_sample(table.cpu().numpy(), 100, seed)
    np.testing.assert_array_equal(draws.cpu().numpy(), expected)


@pytest.mark.parametrize("shape", [(), (0,), 5, (3, 5), (2, 3, 4), torch.Size([6])])
def test_shapes_and_dtypes(table, shape):
    narrow = alias_sample(table, shape, seed=4)
    wide = alias_sample(table, shape, seed=4, dtype=torch.int64)
    assert narrow.shape == wide.shape == torch.Size([shape] if isinstance(shape, int) else shape)
    assert (narrow.dtype, wide.dtype) == (torch.int32, torch.int64)
    assert torch.equal(narrow.long(), wide)


@pytest.mark.parametrize("cut", [1, 2, 33, 1000])
def test_offsets_continue_a_sequence(table, cut):
    whole = alias_sample(table, 2000, seed=8, offset=3)
    parts = [
        alias_sample(table, cut, seed=8, offset=3),
        alias_sample(table, 2000 - cut, seed=8, offset=3 + cut),
    ]
    assert torch.equal(whole, torch.cat(parts))


def test_different_seeds_differ(table):
    assert not torch.equal(alias_sample(table, 100, seed=1), alias_sample(table, 100, seed=2))


def test_result_does_not_depend_on_threads(table):
    before = torch.get_num_threads()
    try:
        draws = []
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            draws.append(alias_sample(table, 300_001, seed=21, offset=1))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(draws[0], other) for other in draws[1:])


def test_frequencies_of_three_weights(device):
    table = build_alias(torch.tensor([2.0, 3.0, 4.0], device=device))
    draws = alias_sample(table, 200_000, seed=0)
    frequencies = torch.bincount(draws.cpu()).double() / 200_000
    np.testing.assert_allclose(frequencies, [2 / 9, 3 / 9, 4 / 9], atol=0.005)


def test_chi_square(device):
    weights = np.random.default_rng(3).random(1000)
    draws = alias_sample(build_alias(torch.from_numpy(weights).to(device)), 10**6, seed=11)
    assert CHI_SQUARE_P < chi_square_p(draws, weights) < 1 - CHI_SQUARE_P


def test_neighbouring_draws_are_independent(device):
    """The two draws of a quad, and draws of consecutive quads, over all pairs of values."""
    weights = np.array([1.0, 2, 3, 4, 5])
    draws = alias_sample(build_alias(torch.from_numpy(weights).to(device)), 10**6, seed=12)
    joint = np.outer(weights, weights).ravel()
    for first, second in ((draws[0::2], draws[1::2]), (draws[1::4], draws[2::4])):
        assert CHI_SQUARE_P < chi_square_p(first * 5 + second, joint) < 1 - CHI_SQUARE_P


@pytest.mark.slow
def test_chi_square_of_many_draws(device):
    weights = np.floor(1e7 / np.arange(1, 2001)) ** 0.75
    table = build_alias(torch.from_numpy(weights).to(device))
    counts = torch.zeros(len(weights), dtype=torch.int64)
    for part in range(10):
        draws = alias_sample(table, 10**7, seed=13, offset=part * 10**7)
        counts += torch.bincount(draws.cpu(), minlength=len(weights))
    p = scipy_stats.chisquare(counts.numpy(), weights / weights.sum() * 1e8).pvalue
    assert CHI_SQUARE_P < p < 1 - CHI_SQUARE_P


def test_a_generator_gives_the_seed(table):
    first = alias_sample(table, 50, seed=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(first, alias_sample(table, 50, seed=generator))
    assert not torch.equal(first, alias_sample(table, 50, seed=generator))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shape": (-1,)}, ValueError, "shape must not be negative"),
        ({"offset": -1}, ValueError, r"offset must be in \[0, 2\^63 - 1\], got -1"),
        ({"offset": 2**63}, ValueError, "offset must be in"),
        ({"offset": 1.5}, TypeError, "offset must be an int, got float"),
        ({"dtype": torch.float32}, TypeError, "dtype must be int32 or int64"),
        ({"seed": 1.0}, TypeError, "seed must be an int or a torch.Generator, got float"),
        ({"seed": True}, TypeError, "seed must be an int"),
        ({"seed": 2**64}, ValueError, "seed must have at most 64 bits"),
    ],
)
def test_wrong_arguments_are_refused(table, arguments, error, message):
    with pytest.raises(error, match=message):
        alias_sample(table, **{"shape": 3, "seed": 0, **arguments})


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (torch.zeros(3, dtype=torch.int32), ValueError),
        (torch.zeros(3, 3, dtype=torch.int32), ValueError),
        (torch.zeros(0, 2, dtype=torch.int32), ValueError),
        (torch.zeros(3, 2), TypeError),
        ("table", TypeError),
    ],
)
def test_wrong_tables_are_refused(device, bad, error):
    bad = bad.to(device) if isinstance(bad, torch.Tensor) else bad
    with pytest.raises(error, match="alias_sample: table must be"):
        alias_sample(bad, 3, seed=0)


def test_a_misaligned_table_is_refused(device):
    words = torch.zeros(7, dtype=torch.int32, device=device)
    with pytest.raises(RuntimeError, match="table must start at a multiple of 8 bytes"):
        alias_sample(words[1:].view(3, 2), 3, seed=0)


def test_seed_from_covers_64_bits():
    assert seed_from(2**64 - 1) == -1
    assert seed_from(-(2**63)) == -(2**63) == seed_from(2**63)


def test_opcheck(table):
    op = torch.ops.lexforge.alias_sample.default
    for dtype in (torch.int32, torch.int64):
        torch.library.opcheck(op, (table, 33, 5, 1, dtype))
