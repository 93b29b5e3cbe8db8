"""word2vec_train_ on tables of bfloat16, which only the CPU has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lexforge
from common.isa import ISAS, passed_again, run_under
from lexforge import _library
from lexforge.ops.word2vec.word2vec_train import word2vec_train_
from lexforge.reference.word2vec.word2vec_train import stored_as_bfloat16, windows
from word2vec.streaming import Case, aligned

VARIANTS = [
    {},
    {"negative_sharing": "window"},
    {"losses": "tree"},
    {"losses": "noise and tree", "negative_sharing": "window"},
    {"model": "cbow"},
    {"model": "cbow", "losses": "noise and tree", "cbow_mean": False},
    {"grams": 30},
    {"grams": 30, "negative_sharing": "window", "bag_mean": False},
    {"grams": 30, "model": "cbow"},  # whose sums of bags have a path of their own
    {"grams": 30, "model": "cbow", "losses": "tree", "in_scale": "random"},
]
each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)


@pytest.fixture
def cpu_kernels(device):
    if device.type != "cpu" or _library.emulated():
        pytest.skip("the CPU's tables")
    return device


def halved(lengths, **options):
    if options.get("in_scale") == "random":
        rows = options.get("vocab_size", 40) + options.get("grams", 0)
        options["in_scale"] = np.random.default_rng(8).uniform(0, 1, rows).astype("f4")
    return Case(lengths, stored=torch.bfloat16, **options)


def spacing(table):
    """Between a number and the next one of bfloat16."""
    return np.float32(2.0) ** (np.floor(np.log2(np.maximum(np.abs(table), 1e-30))) - 7)


def test_what_is_stored_of_a_number():
    """One of its two neighbours, each as often as the other is far; what is exact stays."""
    random = np.random.default_rng(1)
    exact = torch.tensor(random.normal(size=4096)).bfloat16().float().numpy()
    special = np.float32([0, -0.0, np.inf, -np.inf, 1e-40, -3e38])
    for stay in (exact, special[:4], -exact):
        assert (stored_as_bfloat16(stay) == stay).all()
    assert np.isnan(stored_as_bfloat16(np.float32([np.nan]))).all()
    for share in (0.002, 0.02, 0.25, 0.5, 0.9):
        step = np.float32(share) * spacing(exact)
        for between in (exact + np.sign(exact) * step, exact + np.sign(exact) * step * 0.97):
            stored = stored_as_bfloat16(between)
            far = np.abs(stored - exact) / spacing(exact)
            assert np.isin(far, [0, 1]).all()
            expected = (np.abs(between - exact) / spacing(exact)).mean()
            spread = (expected * (1 - expected) / len(exact)) ** 0.5
            assert abs(far.mean() - expected) < 4 * spread


@pytest.mark.parametrize(
    "variant", [{}, {"negative_sharing": "window"}, {"model": "cbow"}], ids=str
)
@pytest.mark.parametrize("dim", [4, 16, 50, 64, 100, 128, 200, 300, 336, 500])
def test_rows_that_are_trained_once(cpu_kernels, dim, variant):
    """What float32 makes of them is stored as the oracle has it.

    Dot products may add up in another order, which moves some numbers by a unit in their last
    place, and draws anew for these.
    """
    case = halved([2] * 40, vocab_size=6000, dim=dim, window=1, subsample=False, **variant)
    case.tokens = np.random.default_rng(9).permutation(6000)[:80].astype(np.int32)
    options = {name: case.options[name] for name in case.options if name != "model"}
    trained = np.array(  # by sentence
        [
            [*window.contexts, window.center, *window.noise[0]]
            for window in windows(case.tokens, case.offsets, case.keep, case.noise, **options)
        ]
    ).reshape(40, 2, -1)
    times = np.bincount(trained[:, :, 1:].ravel(), minlength=6000)
    alone = trained[(times[trained[:, :, 1:]] == 1).all((1, 2))]
    assert len(alone) >= 8
    found = case.run(cpu_kernels)
    case.stored = None
    expected = case.run(cpu_kernels)
    assert found[3] == pytest.approx(expected[3], rel=1e-3)
    rows = alone[:, :, :1], alone[:, :, 1:]
    for now, exact, once in zip(found[:2], expected[:2], rows, strict=True):
        wrong = now[once] != stored_as_bfloat16(exact[once])
        assert wrong.mean() < 0.06  # by chance 0.33
        far = np.abs(now - exact)[once] / spacing(np.maximum(np.abs(now), np.abs(exact))[once])
        assert (far <= 1).all()


@each_variant
@pytest.mark.parametrize("dim", [20, 100, 300])
def test_close_to_the_oracle(cpu_kernels, dim, variant):
    """Rounding is in both directions: what a row is off by grows with the root of its steps."""
    case = halved([60, 3, 40], dim=dim, scale=1 / dim**0.5, alpha=0.02, **variant)
    found, expected = case.run(cpu_kernels), case.expected()
    assert (found[3][1:] == expected[3][1:]).all()
    assert found[3][0] == pytest.approx(expected[3][0], rel=0.01)
    for now, exact, before in zip(found[:3], expected[:3], case.tables, strict=True):
        rows = (exact != before).any(1)
        if not rows.any():
            continue
        error = ((now - exact) / spacing(np.maximum(np.abs(exact), 0.1 * np.abs(exact).max())))[
            rows, :dim
        ]
        assert np.sqrt((error**2).mean()) < 8
        assert abs(error.mean()) < 0.6
        assert (now[:, dim:] == 0).all()


@pytest.mark.parametrize("isa", ISAS)
def test_small_steps_add_up(cpu_kernels, isa):
    """Steps of a hundredth of what lies between two numbers, which rounding to nearest loses."""
    code = (
        "from word2vec.test_word2vec_bfloat16 import share_of_small_steps as share\n"
        "print(share())\n"
    )
    share = (
        share_of_small_steps() if isa == lexforge.cpu_capability() else float(run_under(isa, code))
    )
    assert 0.9 < share < 1.1


def share_of_small_steps():
    """How much of their changes rows make."""
    options = {"vocab_size": 3000, "dim": 100, "window": 2, "negatives": 2, "subsample": False}
    case = halved([20] * 50, scale=0.1, alpha=3e-4, min_alpha=3e-4, **options)
    found, expected = case.run("cpu"), case.expected()
    wanted, made = ((tables[0] - case.tables[0]).ravel() for tables in (expected, found))
    moved = wanted != 0
    assert np.median(np.abs(wanted[moved]) / spacing(case.tables[0].ravel()[moved])) < 0.3
    return float(wanted @ made / (wanted @ wanted))


# ---- what is promised for float32 too


@each_variant
@pytest.mark.parametrize("dim", [20, 100])
def test_any_number_of_threads_gives_the_same_bits(cpu_kernels, dim, variant):
    lengths = np.random.default_rng(7).integers(0, 6, 600)
    options = {"shards": 5, "shard_tokens": 60, "scale": 2 / dim**0.5}
    case = halved(lengths, vocab_size=90, dim=dim, **options, **variant)
    first = case.run(cpu_kernels)
    assert (first[0] != case.tables[0]).any()
    one, two = np.searchsorted(case.offsets, [300, 900]).tolist()
    for threads, cuts, kept in ((2, (), False), (3, (one,), True), (8, (one, two), True)):
        again = case.run(cpu_kernels, threads, cuts, kept)
        for table in range(3):
            assert first[table].tobytes() == again[table].tobytes()


@each_variant
def test_one_thread_is_reproducible_and_one_shard_like_it(cpu_kernels, variant):
    lengths = np.random.default_rng(3).integers(0, 40, 30)
    case = halved(lengths, dim=100, **variant)
    first, cut = case.run(cpu_kernels), case.run(cpu_kernels, cuts=(1, 7, 20))
    case.options |= {"shards": 1, "shard_tokens": 50}
    shard = case.run(cpu_kernels, threads=2)
    for table in range(3):
        assert first[table].tobytes() == cut[table].tobytes() == shard[table].tobytes()


@each_variant
def test_threads_sample_the_same_stream(cpu_kernels, variant):
    lengths = np.random.default_rng(4).integers(0, 60, 600)
    slowly = {"alpha": 1e-3, "min_alpha": 1e-3}
    case = halved(lengths, vocab_size=500, dim=16, window=2, **slowly, **variant)
    one, two = case.run(cpu_kernels), case.run(cpu_kernels, threads=2)
    assert (one[3][1:] == two[3][1:]).all()
    assert one[3][0] == pytest.approx(two[3][0], rel=0.05)


def test_extreme_numbers(cpu_kernels):
    """Of both signs and far apart; none becomes infinite."""
    found = halved([40], dim=16, scale=30).run(cpu_kernels)
    assert all(np.isfinite(array).all() for array in found)


@pytest.mark.parametrize("isa", ISAS)
def test_other_instruction_sets(cpu_kernels, isa):
    """The numerical tests of this file again."""
    chosen = "cpu and (once or oracle or bits or reproducible)"
    assert passed_again(isa, __file__, chosen) > 80


# ---- what is refused


def test_tables_of_two_kinds(cpu_kernels):
    case = Case([10], dim=12)
    in_table = aligned(case.tables[0], cpu_kernels, torch.bfloat16)
    out_table = aligned(case.tables[1], cpu_kernels)
    stats = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(TypeError, match="word2vec_train_: out_table must be bfloat16, got"):
        word2vec_train_(in_table, out_table, None, stats, *case.corpus("cpu"), **case.options)


def test_a_gpu_has_none(device):
    if device.type == "cpu" and not _library.emulated():
        pytest.skip("the CPU has them")
    with pytest.raises(RuntimeError, match="in_table must be float32 on CUDA"):
        halved([10], dim=12).run(device)
