"""sample_noise: bit-equality with the reference, no positives among the draws, edges."""

import numpy as np
import pytest
import torch

from lexforge import _library
from lexforge.ops.sampling.sampling import alias_sample, build_alias, sample_noise
from lexforge.reference.sampling import sampling as reference


def random_rows(size: int, rows: int, longest: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest + 1, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return rng.integers(0, size, offsets[-1]), offsets


def table_of(weights, device) -> torch.Tensor:
    return build_alias(torch.as_tensor(weights, dtype=torch.float64, device=device))


@pytest.mark.parametrize(
    ("size", "rows", "longest", "negatives"),
    [(1000, 60, 10, 5), (12, 40, 9, 5), (7, 30, 40, 1), (50, 1, 3, 20), (50, 20, 5, 0)],
)
def test_equals_the_reference(device, size, rows, longest, negatives):
    table = table_of(1.0 / np.arange(1, size + 1), device)
    positives, offsets = random_rows(size, rows, longest)
    noise, noise_offsets = sample_noise(
        table,
        torch.from_numpy(positives).to(device),
        torch.from_numpy(offsets).to(device),
        negatives,
        seed=6,
        epoch=2,
    )
    expected = reference.sample_noise(
        table.cpu().numpy(), positives, offsets, negatives, seed=6, epoch=2
    )
    assert noise.dtype == torch.int32
    np.testing.assert_array_equal(noise.cpu().numpy(), expected)
    np.testing.assert_array_equal(noise_offsets.cpu().numpy(), offsets * negatives)


def test_positives_are_avoided(device):
    table = table_of(np.ones(11), device)
    positives, offsets = random_rows(11, 500, 8)
    noise, noise_offsets = sample_noise(
        table,
        torch.from_numpy(positives).to(device),
        torch.from_numpy(offsets).to(device),
        5,
        seed=1,
    )
    noise, noise_offsets = noise.cpu().numpy(), noise_offsets.cpu().numpy()
    for row in range(500):
        own = positives[offsets[row] : offsets[row + 1]]
        assert not np.isin(noise[noise_offsets[row] : noise_offsets[row + 1]], own).any()


def test_other_words_keep_their_proportions(device):
    """Redrawing gives the distribution conditioned on not being a positive."""
    scipy_stats = pytest.importorskip("scipy.stats")
    weights = np.array([1.0, 2, 3, 4, 5])
    rows = 20_000
    positives = torch.tensor([4, 1], device=device).repeat(rows)
    offsets = torch.arange(0, 2 * rows + 1, 2, device=device)
    noise, _ = sample_noise(table_of(weights, device), positives, offsets, 5, seed=3)
    counts = np.bincount(noise.cpu().numpy(), minlength=5)
    assert counts[4] == counts[1] == 0
    left = weights[[0, 2, 3]]
    expected = left / left.sum() * counts.sum()
    assert scipy_stats.chisquare(counts[[0, 2, 3]], expected).pvalue > 1e-4


def test_a_word_too_rare_to_be_drawn_is_found_after_the_last_try(device):
    """Word 2 is the only one left, word 3 cannot be drawn; the search wraps around."""
    table = table_of([0.5, 0.5, 1e-9, 0.0, 0.5], device)
    positives = torch.tensor([4, 0, 1], device=device)
    noise, _ = sample_noise(table, positives, torch.tensor([0, 3], device=device), 4, seed=5)
    assert noise.tolist() == [2] * 12


def test_when_every_word_is_a_positive_the_draw_stays(device):
    table = table_of([1.0, 2.0, 0.0], device)
    positives = torch.tensor([0, 1], device=device)
    offsets = torch.tensor([0, 2], device=device)
    noise, _ = sample_noise(table, positives, offsets, 50, seed=5)
    assert set(noise.tolist()) == {0, 1}


def test_rows_are_keyed_by_their_positions(device):
    """Rows can be drawn in any order and company: their positions say which draws are theirs."""
    table = table_of(np.ones(100), device)
    positives, offsets = random_rows(100, 9, 6, seed=4)
    positives, offsets = torch.from_numpy(positives), torch.from_numpy(offsets)
    whole, whole_offsets = sample_noise(
        table, positives.to(device), offsets.to(device), 3, seed=2, positions=2**32 - 4
    )
    for row in (8, 0, 5):
        part, _ = sample_noise(
            table,
            positives[offsets[row] : offsets[row + 1]].to(device),
            torch.tensor([0, int(offsets[row + 1] - offsets[row])], device=device),
            3,
            seed=2,
            positions=torch.tensor([2**32 - 4 + row], device=device),
        )
        assert torch.equal(part, whole[whole_offsets[row] : whole_offsets[row + 1]])


def test_epochs_and_seeds_give_other_draws(device):
    table = table_of(np.ones(1000), device)
    positives = torch.zeros(50, dtype=torch.int64, device=device)
    offsets = torch.tensor([0, 50], device=device)
    draws = [
        tuple(sample_noise(table, positives, offsets, 2, seed=s, epoch=e)[0].tolist())
        for s, e in ((0, 0), (0, 1), (1, 0))
    ]
    assert len(set(draws)) == 3


def test_result_does_not_depend_on_threads(device):
    table = table_of(1.0 / np.arange(1, 301), device)
    positives, offsets = (torch.from_numpy(x).to(device) for x in random_rows(300, 3000, 7))
    before = torch.get_num_threads()
    try:
        draws = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            draws.append(sample_noise(table, positives, offsets, 5, seed=1)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("rows", [0, 3])
def test_empty_input(device, rows):
    table = table_of(np.ones(3), device)
    none = torch.empty(0, dtype=torch.int32, device=device)
    offsets = torch.zeros(rows + 1, dtype=torch.int64, device=device)
    noise, noise_offsets = sample_noise(table, none, offsets, 5, seed=0)
    assert (noise.tolist(), noise_offsets.tolist()) == ([], [0] * (rows + 1))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"positives": torch.zeros(3)}, TypeError, "positives must be int32 or int64"),
        (
            {"positives": torch.zeros(3, 1, dtype=torch.int32)},
            ValueError,
            r"positives must be \[P\]",
        ),
        ({"offsets": torch.zeros(0, dtype=torch.int64)}, ValueError, r"offsets must be \[R \+ 1\]"),
        ({"positions": torch.tensor([0])}, ValueError, r"positions must be \[2\], got \[1\]"),
        ({"positions": torch.tensor([0.0, 1])}, TypeError, "positions must be int32 or int64"),
        ({"negatives": -1}, ValueError, r"negatives must be in \[0, 2\^20\], got -1"),
        ({"negatives": 1.0}, TypeError, "negatives must be an int, got float"),
        ({"epoch": 2**32}, ValueError, r"epoch must be in \[0, 2\^32 - 1\]"),
        ({"epoch": -1}, ValueError, "epoch must be in"),
    ],
)
def test_wrong_arguments_are_refused(device, changes, error, message):
    arguments = {
        "positives": torch.tensor([0, 1, 2]),
        "offsets": torch.tensor([0, 1, 3]),
        "negatives": 2,
        "seed": 0,
        **changes,
    }
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor):
            arguments[name] = value.to(device)
    with pytest.raises(error, match=f"sample_noise: {message}"):
        sample_noise(table_of([1.0, 2, 3], device), **arguments)


@pytest.mark.parametrize("offsets", [[0, 2], [1, 3], [0, 2, 1, 3], [0, -5, 3], [0, 9, 3]])
def test_wrong_offsets_are_refused_on_the_cpu(offsets):
    table = table_of([1.0, 2, 3], "cpu")
    with pytest.raises(ValueError, match="offsets must ascend from 0 to P = 3"):
        sample_noise(table, torch.tensor([0, 1, 2]), torch.tensor(offsets), 2, seed=0)


def test_too_many_draws_for_a_row_are_refused_on_the_cpu():
    table = table_of([1.0, 2, 3], "cpu")
    with pytest.raises(ValueError, match="a row must have at most 2\\^20 draws, got 3145728"):
        sample_noise(table, torch.tensor([0, 1, 2]), torch.tensor([0, 3]), 2**20, seed=0)


@pytest.mark.parametrize("offsets", [[0, 2], [1, 3], [0, 9, 3], []])
def test_the_op_itself_checks_offsets_on_the_cpu(offsets):
    """torch.ops can be called without the wrapper, and must not read out of bounds either."""
    if _library.emulated():
        pytest.skip("CUDA kernels cut rows off instead")
    positives = torch.tensor([0, 1, 2], dtype=torch.int32)
    with pytest.raises(RuntimeError, match="sample_noise: offsets must"):
        torch.ops.lexforge.sample_noise(
            table_of([1.0, 2, 3], "cpu"),
            positives,
            torch.tensor(offsets, dtype=torch.int64),
            None,
            0,
            2,
            0,
            0,
        )


def test_a_table_of_wrong_aliases_is_read_within_bounds(device):
    """A damaged table gives wrong words, not a crash: its aliases are never followed."""
    if device.type == "cpu" and not _library.emulated():
        pytest.skip("the CPU looks at them")
    table = torch.tensor([[0, -1], [0, -7], [0, 2**30]], dtype=torch.int32, device=device)
    positives = torch.tensor([-1, -7, 2**30], dtype=torch.int32, device=device)
    offsets = torch.tensor([0, 3], device=device)
    noise, _ = sample_noise(table, positives, offsets, 4, seed=0)
    assert set(noise.tolist()) <= {-1, -7, 2**30}


@pytest.mark.parametrize("alias", [3, -1, 2**31 - 1])
def test_aliases_outside_the_table_are_refused_on_the_cpu(alias):
    if _library.emulated():
        pytest.skip("CUDA kernels do not look at them")
    table = table_of([1.0, 2, 3], "cpu")
    table[1, 1] = alias
    message = rf"table\[1\] must have an alias in \[0, 3\), got {alias}"
    with pytest.raises(RuntimeError, match=f"^sample_noise: {message}"):
        sample_noise(table, torch.tensor([0]), torch.tensor([0, 1]), 2, seed=0)
    with pytest.raises(RuntimeError, match=f"^alias_sample: {message}"):
        alias_sample(table, 3, seed=0)


def test_opcheck(device):
    table = table_of([1.0, 2, 3], device)
    positives = torch.tensor([0, 1, 2], dtype=torch.int32, device=device)
    offsets = torch.tensor([0, 1, 3], device=device)
    op = torch.ops.lexforge.sample_noise.default
    for positions in (None, torch.tensor([4, 9], device=device)):
        torch.library.opcheck(op, (table, positives, offsets, positions, 0, 2, 5, 1))
