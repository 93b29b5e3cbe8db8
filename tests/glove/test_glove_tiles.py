"""Dealing of words and sorting of entries into tiles, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats as statistics

from glove.matrices import Matrix
from lexforge.ops.glove.glove_tiles import glove_deal_parts, glove_default_parts, glove_tiles
from lexforge.reference.glove import glove_train as reference


@pytest.mark.parametrize("parts", [1, 3, 37])
@pytest.mark.parametrize("seed", [0, 2**64 - 1, -(2**63)])
def test_equals_the_reference(parts, seed):
    matrix = Matrix(37)
    part = matrix.parts(parts, seed)
    sizes = np.diff(matrix.row_begin)
    assert (part.numpy() == reference.deal_parts(sizes, parts, seed=seed)).all()
    tiles = matrix.tiles(parts, seed)
    part = matrix.parts(parts).numpy()
    expected = reference.tiles(
        matrix.row_begin, matrix.cols, matrix.values, part, parts=parts, seed=seed
    )
    assert tiles.parts == parts
    for actual, wanted in zip(tiles[1:], expected, strict=True):
        assert actual.numpy().dtype == wanted.dtype and np.array_equal(actual.numpy(), wanted)


def test_holds_every_entry_once_and_in_its_tile():
    matrix, parts = Matrix(60), 7
    tiles, part = matrix.tiles(parts), matrix.parts(parts).numpy()
    assert (tiles.segment_begin.diff() > 0).all() and tiles.tile_begin[-1] == len(tiles.segment_row)
    row = tiles.segment_row.repeat_interleave(tiles.segment_begin.diff()).numpy()
    column = tiles.column.numpy()
    tile_of_segment = torch.arange(parts * parts).repeat_interleave(tiles.tile_begin.diff())
    tile = tile_of_segment.repeat_interleave(tiles.segment_begin.diff()).numpy()
    p, s = np.divmod(tile, parts)
    assert (part[row] == p).all() and (part[column] == (p + s) % parts).all()
    order = np.lexsort((column, row))
    assert (row[order] == matrix.rows).all() and (column[order] == matrix.cols).all()
    expected = np.log(matrix.values).astype(np.float32)
    assert (tiles.log_count.numpy()[order] == expected).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_does_not_depend_on_threads(threads):
    matrix = Matrix(80)
    for one, many in zip(matrix.tiles(9, threads=1), matrix.tiles(9, threads=threads), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(many))


@pytest.mark.parametrize("cuts", [[3], [1, 2, 8], [0, 9], []])
def test_ranges_of_row_parts_append(cuts):
    matrix, parts = Matrix(80), 9
    whole = matrix.tiles(parts)
    lists = [[] for _ in range(5)]
    segments = entries = 0
    for first, last in zip([0, *cuts], [*cuts, parts], strict=True):
        piece = matrix.tiles(parts, first_part=first, last_part=last)
        assert len(piece.tile_begin) == (last - first) * parts + 1
        lists[0].append(piece.tile_begin[:-1] + segments)
        lists[1].append(piece.segment_row)
        lists[2].append(piece.segment_begin[:-1] + entries)
        lists[3].append(piece.column)
        lists[4].append(piece.log_count)
        segments += len(piece.segment_row)
        entries += len(piece.column)
    lists[0].append(torch.tensor([segments]))
    lists[2].append(torch.tensor([entries]))
    for pieces, expected in zip(lists, whole[1:], strict=True):
        assert torch.equal(torch.cat(pieces), expected)


def test_takes_the_columns_of_records(tmp_path):
    """Strided views of mapped 16-byte records, without a copy of them."""
    matrix = Matrix(50)
    records = np.zeros(len(matrix.cols), [("row", "<i4"), ("col", "<i4"), ("x", "<f8")])
    records["row"], records["col"], records["x"] = matrix.rows, matrix.cols, matrix.values
    records.tofile(tmp_path / "counts.bin")
    mapped = np.memmap(tmp_path / "counts.bin", records.dtype, mode="c")
    views = torch.from_numpy(mapped["col"]), torch.from_numpy(mapped["x"])
    assert views[0].stride() == (4,) and views[1].stride() == (2,)
    tiles = glove_tiles(
        torch.from_numpy(matrix.row_begin), *views, matrix.parts(4), parts=4, seed=5
    )
    for actual, expected in zip(tiles[1:], matrix.tiles(4)[1:], strict=True):
        assert torch.equal(actual, expected)


def test_order_is_uniform():
    """Chi-square of where each entry of a row comes, and of which of two rows comes first."""
    n, trials = 6, 1500
    row_begin = torch.tensor([0, n, n + 1] + [n + 1] * (n - 2))
    cols = torch.tensor([*range(n), 0], dtype=torch.int32)
    values = torch.ones(n + 1, dtype=torch.float64)
    part = torch.zeros(n, dtype=torch.int32)
    place = np.zeros((n, n))
    first = np.zeros(2)
    for seed in range(trials):
        tiles = glove_tiles(row_begin, cols, values, part, parts=1, seed=seed, threads=1)
        first[tiles.segment_row[0]] += 1
        begin = int(tiles.segment_begin[tiles.segment_row.tolist().index(0)])
        place[np.arange(n), tiles.column[begin : begin + n].numpy()] += 1
    chi = ((place - trials / n) ** 2 / (trials / n)).sum()
    assert 0.001 < statistics.chi2.sf(chi, (n - 1) ** 2) < 0.999
    assert statistics.chisquare(first).pvalue > 0.001


@pytest.mark.parametrize(("vocab_size", "parts"), [(1000, 7), (1000, 64), (5, 5), (3, 8), (0, 2)])
def test_parts_are_balanced(vocab_size, parts):
    """By words to one, by entries to the largest row of a later hand."""
    sizes = (1e5 / torch.arange(1, vocab_size + 1)).long()
    part = glove_deal_parts(sizes, parts, seed=1)
    words = torch.bincount(part, minlength=parts)
    assert words.max() - words.min() <= 1
    entries = torch.zeros(parts, dtype=torch.int64).index_add_(0, part.long(), sizes)
    if vocab_size >= 10 * parts:
        assert entries.max() - entries.min() <= max(sizes[0] - sizes[parts], sizes[parts])
        assert (glove_deal_parts(sizes, parts, seed=2) != part).any()
    assert torch.equal(glove_deal_parts(sizes, parts, seed=1), part)


def test_a_matrix_without_entries():
    tiles = glove_tiles(
        torch.zeros(4, dtype=torch.int64),
        torch.zeros(0, dtype=torch.int32),
        torch.zeros(0, dtype=torch.float64),
        torch.tensor([0, 1, 0], dtype=torch.int32),
        parts=2,
    )
    assert tiles.tile_begin.tolist() == [0] * 5 and tiles.segment_begin.tolist() == [0]
    assert len(tiles.column) == len(tiles.log_count) == 0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_counts_must_be_positive(value):
    matrix = Matrix(20)
    matrix.values[[17, 30]] = value
    row = matrix.rows[17]
    with pytest.raises(
        ValueError,
        match=rf"values must be > 0 and finite, got {value} at entry 17 \(row {row}\)",
    ):
        matrix.tiles(4)


@pytest.mark.parametrize("column", [-1, 20, 2**31 - 1])
def test_columns_must_be_in_range(column):
    matrix = Matrix(20)
    matrix.cols[5] = column
    with pytest.raises(IndexError, match=rf"cols must be in \[0, 20\), got {column} at entry 5"):
        matrix.tiles(4)


@pytest.mark.parametrize(
    ("error", "match", "change"),
    [
        (TypeError, "row_begin must be int64", {"row_begin": torch.zeros(4)}),
        (TypeError, "cols must be int32", {"cols": torch.zeros(3, dtype=torch.int64)}),
        (TypeError, "values must be float64", {"values": torch.ones(3)}),
        (ValueError, r"values must be \[3\], got \[2\]", {"values": torch.ones(2).double()}),
        (ValueError, r"row_begin must be \[4\], got \[3\]", {"row_begin": torch.arange(3)}),
        (ValueError, "row_begin must rise", {"row_begin": torch.tensor([0, 2, 1, 3])}),
        (ValueError, "row_begin must rise from 0", {"row_begin": torch.tensor([1, 2, 2, 3])}),
        (ValueError, "row_begin must rise from 0 to 3", {"row_begin": torch.arange(4) * 2}),
        (IndexError, r"part must be in \[0, 2\)", {"part": torch.tensor([0, 1, 2]).int()}),
        (ValueError, r"parts must be in \[1, 3\], got 4", {"parts": 4}),
        (ValueError, "must be a range", {"first_part": 2, "last_part": 1}),
        (ValueError, "seed must have at most 64 bits", {"seed": 2**64}),
        (ValueError, "threads must be", {"threads": 0}),
    ],
    ids=str,
)
def test_errors(error, match, change):
    arguments = {
        "row_begin": torch.arange(4),
        "cols": torch.zeros(3, dtype=torch.int32),
        "values": torch.ones(3, dtype=torch.float64),
        "part": torch.zeros(3, dtype=torch.int32),
        "parts": 2,
    } | change
    with pytest.raises(error, match=match):
        glove_tiles(**arguments)


def test_errors_of_the_op_itself():
    """Callers of torch.ops directly get RuntimeError, not a crash."""
    op = torch.ops.lexforge.glove_tiles.default
    row_begin, part = torch.arange(4), torch.zeros(3, dtype=torch.int32)
    cols, values = torch.zeros(3, dtype=torch.int32), torch.ones(3, dtype=torch.float64)
    options = (1, 0, 1, 1, 1)
    with pytest.raises(RuntimeError, match="row_begin must rise"):
        op(row_begin.flip(0), cols, values, part, *options)
    with pytest.raises(RuntimeError, match=r"part must be in \[0, 1\)"):
        op(row_begin, cols, values, part + 1, *options)
    with pytest.raises(RuntimeError, match=r"^glove_deal_parts: parts must be in \[1, 65536\]"):
        torch.ops.lexforge.glove_deal_parts.default(row_begin, 2**31 - 1, 1)
    with pytest.raises(RuntimeError, match=r"^glove_tiles: threads must be 1 to 1024, got 0"):
        op(row_begin, cols, values, part, *options[:-1], 0)
    with pytest.raises(RuntimeError, match="values must be float64"):
        op(row_begin, cols, values[1:], part, *options)


@pytest.mark.parametrize(
    ("match", "arguments"),
    [
        ("row_sizes must be >= 0, got -1", (torch.tensor([3, -1]), 2)),
        ("parts must be in", (torch.tensor([3, 1]), 0)),
        (r"parts must be in \[1, 65536\], got 2147483647", (torch.tensor([3, 1]), 2**31 - 1)),
        (r"row_sizes must be \[V\]", (torch.ones(2, 2, dtype=torch.int64), 2)),
    ],
)
def test_errors_of_dealing(match, arguments):
    with pytest.raises(ValueError, match=match):
        glove_deal_parts(*arguments, seed=1)
    with pytest.raises(TypeError, match=r"row_sizes must be int64"):
        glove_deal_parts(torch.ones(2), 1, seed=1)


def test_default_parts():
    """A function of the sizes alone, within [1, V]."""
    assert glove_default_parts(1, 300) == 1
    for vocab_size in (1, 10, 1000, 100_000, 10_000_000):
        for optimizer in ("adagrad", "rowwise", "adam"):
            assert 1 <= glove_default_parts(vocab_size, 100, optimizer) <= vocab_size
    with pytest.raises(ValueError, match="optimizer must be one of"):
        glove_default_parts(10, 10, "sgd")
    with pytest.raises(ValueError, match=r"(vocab_size|dim) must be in"):
        glove_default_parts(0, 10)


def test_opcheck():
    matrix = Matrix(10)
    sizes = torch.from_numpy(np.diff(matrix.row_begin))
    torch.library.opcheck(torch.ops.lexforge.glove_deal_parts.default, (sizes, 3, 1))
    torch.library.opcheck(
        torch.ops.lexforge.glove_tiles.default,
        (*matrix.tensors(), matrix.parts(3), 3, 0, 3, 1, 1),
        test_utils=("test_schema",),
    )
