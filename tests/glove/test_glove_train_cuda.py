"""What only the CUDA kernels of glove_train_ promise; the rest is in test_glove_train.py."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from glove.matrices import Matrix, aligned, random_tables
from glove.test_glove_train import FORGERIES, check, counted, loss_curve, tiled, train
from lexforge import _library
from lexforge.ops.glove.glove_tiles import OPTIMIZERS, GloveTiles, glove_default_parts
from lexforge.ops.glove.glove_train import glove_train_
from planted import planted_corpus


@pytest.fixture
def cuda_kernels(device):
    if device.type == "cpu" and not _library.emulated():
        pytest.skip("a promise of the CUDA kernels")
    return device


def one_tile(entries: list[tuple[int, int, float]]) -> GloveTiles:
    """A tile of (row, column, count) in this order; neighbours of one row share a segment."""
    rows = [row for row, *_ in entries]
    begins = [i for i, row in enumerate(rows) if i == 0 or row != rows[i - 1]]
    return GloveTiles(
        1,
        torch.tensor([0, len(begins)]),
        torch.tensor([rows[i] for i in begins], dtype=torch.int32),
        torch.tensor([*begins, len(entries)]),
        torch.tensor([col for _, col, _ in entries], dtype=torch.int32),
        torch.tensor([x for *_, x in entries]).log().float(),
    )


# Bytes of a record in registers: one, two and three packs of 128 floats, and beyond.
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dim", [126, 128, 254, 255, 382, 383, 600])
def test_every_size_of_a_record(optimizer, dim, cuda_kernels):
    """Where a record just fits, the bias and the number after it lie in its last elements."""
    tables = random_tables(9, dim, optimizer, scale=2 / dim**0.5)
    check(tables, Matrix(9).tiles(2), cuda_kernels, passes=1, dim=dim, optimizer=optimizer)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dim", [1, 16, 33, 100])
def test_equals_the_oracle_in_double(optimizer, dim, cuda_kernels):
    tables = random_tables(37, dim, optimizer, dtype=torch.float64)
    check(tables, Matrix(37).tiles(4), cuda_kernels, dim=dim, optimizer=optimizer)


@pytest.mark.parametrize("length", [1, 2, 31, 32, 33, 64, 65, 100])
def test_rows_that_come_again_at_once(length, cuda_kernels):
    """What is read ahead is out of date when the entry before changes the same row."""
    random = np.random.default_rng(length)
    entries = [
        (int(random.integers(2)), int(random.integers(2)), float(random.exponential(20)) + 0.1)
        for _ in range(length)
    ]
    check(random_tables(2, 10, "adagrad"), one_tile(entries), cuda_kernels, dim=10)


@pytest.mark.parametrize(
    "lengths", [[40], [8, 24, 32], [31, 1, 31, 2], [1] * 70, [64, 64], [100, 3]]
)
def test_segments_against_batches(lengths, cuda_kernels):
    """Segments begin and end anywhere against the 32 entries that are read together."""
    columns = iter(np.random.default_rng(1).integers(0, 100, sum(lengths)))
    entries = [
        (row, int(next(columns)), 5.0 + row) for row, n in enumerate(lengths) for _ in range(n)
    ]
    check(random_tables(100, 10, "adam"), one_tile(entries), cuda_kernels, dim=10, optimizer="adam")


def test_stats_of_many_rounds(cuda_kernels):
    """More rounds than are added up at once, more parts than threads that add; any cuts."""
    tiles, rounds = Matrix(260, 0.02).tiles(260).to(cuda_kernels), 67
    begins = tiles.segment_begin[tiles.tile_begin].diff().view(260, 260)
    results = []
    for cuts in ([0, rounds], [0, 1, 65, rounds]):
        tables = [aligned(t, cuda_kernels) for t in random_tables(260, 6, "adagrad")]
        stats = torch.zeros(2, dtype=torch.float64, device=cuda_kernels)
        for first, last in itertools.pairwise(cuts):
            glove_train_(*tables, stats, tiles, dim=6, first_round=first, last_round=last)
        assert stats[1] == begins[:, :rounds].sum()
        results.append([*tables, stats])
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def dense(vocab_size: int = 60) -> tuple[Matrix, GloveTiles]:
    """Tiles of some 400 entries: enough for several warps each."""
    matrix = Matrix(vocab_size, 0.9)
    return matrix, matrix.tiles(2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [10, 200, 300])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_warps_of_a_tile_lose_nothing(optimizer, dim, dtype, cuda_kernels):
    """Every entry is trained once and no update of a row is lost: adam counts them.

    The accumulators of the others grow by squares of slopes. Steps as small as these hardly change
    the slopes: the order of the entries does not matter, and a lost update does.
    """
    matrix, tiles = dense()
    tables = random_tables(60, dim, optimizer, scale=1 / dim**0.5, dtype=dtype)
    rate, tolerance = (0.005, 0.15) if dtype == torch.float32 else (1e-5, 1e-3)
    options = {"dim": dim, "optimizer": optimizer, "learning_rate": rate}
    word, context, stats = train(tables, tiles, cuda_kernels, deterministic=False, **options)
    assert stats[1] == len(matrix.cols)
    if optimizer == "adam":
        assert word[:, 0, dim + 1].tolist() == np.bincount(matrix.rows, minlength=60).tolist()
        assert context[:, 0, dim + 1].tolist() == np.bincount(matrix.cols, minlength=60).tolist()
    else:
        exact = train(tables, tiles, cuda_kernels, **options)
        if optimizer == "adagrad":
            part, columns = 1, slice(0, dim + 1)
        else:
            part, columns = 0, slice(dim + 1, dim + 2)
        for table, wanted in ((word, exact[0]), (context, exact[1])):
            growth, expected = ((t[:, part, columns].double() - 1).sum(1) for t in (table, wanted))
            torch.testing.assert_close(growth, expected, rtol=tolerance, atol=(0.005 * rate) ** 2)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_warps_of_a_tile_see_the_same_cost(optimizer, cuda_kernels):
    """Without a step all orders are equal, and the tables stay."""
    _, tiles = dense()
    tables = random_tables(60, 10, optimizer)
    results = [
        train(
            tables,
            tiles,
            cuda_kernels,
            deterministic=deterministic,
            dim=10,
            optimizer=optimizer,
            learning_rate=0.0,
        )
        for deterministic in (False, True)
    ]
    torch.testing.assert_close(results[0][2], results[1][2], rtol=1e-12, atol=0)
    for before, after in zip(tables, results[0][:2], strict=True):
        assert torch.equal(before[:, 0, :11], after[:, 0, :11])


def test_loss_curve_of_warps_is_that_of_one(cuda_kernels):
    """Within 3 % in each of five passes."""
    corpus = planted_corpus(sentences=200)
    words = {word: i for i, word in enumerate(dict.fromkeys(w for s in corpus for w in s))}
    counts = counted([[words[word] for word in s] for s in corpus], len(words), 5)
    tiles = tiled(counts, 2)
    assert len(tiles.column) / 4 > 64
    curves = [
        loss_curve(counts, tiles, cuda_kernels, 20, 5, x_max=10.0, deterministic=deterministic)
        for deterministic in (False, True)
    ]
    np.testing.assert_allclose(*curves, rtol=0.03)


FORGED_TILES = {
    **FORGERIES,
    "tile_begin": [(0, -1), (0, 100), (-1, 10**6), (1, 2**62), (1, -(2**62))],
}


@pytest.mark.parametrize(("dim", "deterministic"), [(4, True), (4, False), (600, True)])
@pytest.mark.parametrize(
    ("name", "index", "value"),
    [(name, *change) for name, changes in FORGED_TILES.items() for change in changes],
)
def test_forged_tiles_make_stats_nan(name, index, value, dim, deterministic, cuda_kernels):
    """And nothing outside the tables is touched, as the sanitizers of the emulated device see."""
    tables = random_tables(30, dim, "adagrad")
    tiles = Matrix(30, 0.8).tiles(3 if deterministic else 2)
    forged = getattr(tiles, name).clone()
    forged[index] = 30 if value == 10 else value
    *_, stats = train(
        tables,
        tiles._replace(**{name: forged}),
        cuda_kernels,
        dim=dim,
        deterministic=deterministic,
    )
    assert math.isnan(stats[0])


@pytest.mark.parametrize(
    ("vocab_size", "parts"), [(1, 1), (31, 1), (320, 10), (71_000, 1024), (10**7, 1024)]
)
def test_default_parts(vocab_size, parts):
    assert glove_default_parts(vocab_size, 100, device="cuda") == parts
    assert glove_default_parts(vocab_size, 100, device=torch.device("cuda", 1)) == parts
    assert glove_default_parts(vocab_size, 100, device="cpu") == glove_default_parts(
        vocab_size, 100
    )
