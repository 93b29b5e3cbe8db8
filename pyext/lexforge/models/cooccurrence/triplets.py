"""Triplet files: (row, column, value) records of 16 bytes, sorted by row and column.

    int32 row, int32 column, float64 value, little-endian

Ours count words from 0; the ``cooccurrence.bin`` of Stanford's GloVe is the same with words counted
from 1. A file is written, checked and converted some records at a time, whatever its size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
import torch

from lexforge._files import map_file
from lexforge.ops.cooccurrence.cooccurrence import CountedRows

TRIPLET = np.dtype([("row", "<i4"), ("col", "<i4"), ("value", "<f8")])
PIECE = 1 << 16  # records at a time: 1 MB
_OVERFLOW = np.iinfo(np.int64).max  # csrc/cooccurrence/cooccurrence.h, kCooccurrenceOverflow
_EXACT = 2**53  # integers up to here are float64 numbers


def ranges(sizes: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Cuts rows into ranges [first, last) with `sizes` of at most `limit`, or of one row."""
    ends = np.cumsum(sizes)
    first = 0
    while first < sizes.size:
        before = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, before + limit, side="right"))
        yield first, (last := max(last, first + 1))
        first = last


class TripletWriter:
    """Appends counted rows to a triplet file, each count divided by ``unit``.

    Args:
        path: File to write; not synchronised with the disk.
        vocab_size: Number of words V.
        unit: What a count of 1 stands for is 1 / unit.

    Attributes:
        row_begin: int64 [V + 1]; after :meth:`finish` the entries of row i are the records from
            row_begin[i] up to row_begin[i + 1].
        nnz: Records written so far.
    """

    def __init__(self, path: Path, vocab_size: int, unit: int) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        self._unit = unit
        self._buffer = np.empty(PIECE, TRIPLET)
        self.row_begin = np.zeros(vocab_size + 1, np.int64)
        self.nnz = 0

    def __enter__(self) -> TripletWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def bytes(self) -> int:
        """Written so far."""
        return self.nnz * TRIPLET.itemsize

    def write(self, first_row: int, rows: CountedRows) -> None:
        """Append rows [first_row, first_row + R); they come after those written before.

        Raises:
            OverflowError: A count is saturated.
            OSError: The disk is full.
        """
        sizes, cols, counts = (tensor.cpu().numpy() for tensor in rows)
        last_row = first_row + sizes.size
        self.row_begin[first_row + 1 : last_row + 1] = sizes
        row = np.repeat(np.arange(first_row, last_row, dtype=np.int32), sizes)
        for first in range(0, cols.size, PIECE):
            piece = slice(first, first + PIECE)
            records = self._buffer[: cols[piece].size]
            records["row"], records["col"] = row[piece], cols[piece]
            self._divide(counts[piece], records)
            write_all(self._file, records)
        self.nnz += cols.size

    def _divide(self, counts: np.ndarray, records: np.ndarray) -> None:
        largest = int(counts.max())
        if largest == _OVERFLOW:
            record = records[int(counts.argmax())]
            raise OverflowError(
                f"cooccurrence: the count of row {record['row']}, column {record['col']} exceeds "
                f"2^63 / {self._unit}: take a smaller window, or no distance weighting"
            )
        if max(largest, self._unit) <= _EXACT:
            np.divide(counts, float(self._unit), out=records["value"])
        else:  # Python rounds the quotient of whole numbers once, whatever their size
            records["value"] = [count / self._unit for count in counts.tolist()]

    def finish(self) -> None:
        """Turn the sizes of rows into where they begin."""
        np.cumsum(self.row_begin, out=self.row_begin)


def write_all(file: IO[bytes], array: np.ndarray) -> None:
    """Writes a contiguous array to an unbuffered file."""
    view = array.view("u1").data
    while view:
        view = view[file.write(view) :]


def read_records(file: IO[bytes], first: int, last: int) -> np.ndarray:
    """Records [first, last) of a file.

    Raises:
        ValueError: The file ends early.
    """
    records = np.empty(last - first, TRIPLET)
    _read_at(file, first, records, last)
    return records


def _read_at(file: IO[bytes], first: int, records: np.ndarray, total: int) -> None:
    """Fill from a place in the file; others may read it at the same time."""
    view, at = records.view("u1").data, first * TRIPLET.itemsize
    while view:
        got = os.preadv(file.fileno(), [view], at)
        if not got:
            raise ValueError(f"{file.name}: truncated: it must hold {total} records")
        view, at = view[got:], at + got


def map_triplets(path: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows, columns (int32) and values (float64) of a triplet file as views of the mapped file."""
    whole = torch.frombuffer(map_file(path), dtype=torch.int32).view(-1, 4)
    return whole[:, 0], whole[:, 1], whole.view(torch.float64)[:, 1]


def count_triplets(path: Path) -> int:
    """Number of records of a file, by its size.

    Raises:
        ValueError: The size is no multiple of 16, or 0.
    """
    size = os.stat(path).st_size
    if size % TRIPLET.itemsize or size == 0:
        raise ValueError(
            f"{path}: truncated or no triplet file: it must hold records of {TRIPLET.itemsize} "
            f"bytes, got {size} bytes"
        )
    return size // TRIPLET.itemsize


def read_triplets(file: IO[bytes], nnz: int) -> Iterator[np.ndarray]:
    """The records of a file from its start, some at a time; each piece overwrites the one before.

    Raises:
        ValueError: The file ends early.
    """
    buffer = np.empty(min(PIECE, nnz), TRIPLET)
    for first in range(0, nnz, PIECE):
        records = buffer[: nnz - first]
        _read_at(file, first, records, nnz)
        yield records


class TripletCheck:
    """Looks at the records of a file in their order, and learns where rows begin.

    Args:
        path: For messages.
        vocab_size: Number of words V.
        base: Number of the first word: 0, or 1 in files of the original tool.
        any_order: Records may come in any order.

    Attributes:
        ascending: Whether they came by row and column.
    """

    def __init__(
        self, path: Path, vocab_size: int, base: int = 0, *, any_order: bool = False
    ) -> None:
        self._path, self._vocab_size, self._base = path, vocab_size, base
        self._any_order, self.ascending = any_order, True
        self._sizes = np.zeros(vocab_size, np.int64)
        self._seen, self._last_key = 0, -1

    def look(self, records: np.ndarray) -> None:
        """Takes in the next records.

        Raises:
            ValueError: A word out of range, a value that is not finite or not above 0; a record
                that does not come after the one before, where the order matters.
        """
        words = np.stack([records["row"], records["col"]]) - np.int32(self._base)
        low, high = self._base, self._base + self._vocab_size - 1
        outside = ((words < 0) | (words >= self._vocab_size)).any(axis=0)
        self._refuse(
            records, outside, f"words must be {low} to {high}, those of the vocabulary of this file"
        )
        value = records["value"]
        self._refuse(records, ~((value > 0) & (value < np.inf)), "values must be finite and > 0")
        keys = words[0].astype(np.int64) * self._vocab_size + words[1]
        falling = np.diff(keys, prepend=self._last_key) <= 0
        self.ascending = self.ascending and not falling.any()
        if not self._any_order:
            self._refuse(records, falling, "records must ascend by row and column")
        starts = np.flatnonzero(np.diff(words[0], prepend=-1))
        np.add.at(self._sizes, words[0][starts], np.diff(starts, append=records.size))
        self._seen += records.size
        self._last_key = int(keys[-1])

    def _refuse(self, records: np.ndarray, wrong: np.ndarray, expected: str) -> None:
        if wrong.any():
            at = int(wrong.argmax())
            row, col, value = records[at].tolist()
            raise ValueError(
                f"{self._path}: {expected}, got row {row}, column {col}, value {value} in record "
                f"{self._seen + at}: damaged or unsorted"
            )

    @property
    def row_begin(self) -> np.ndarray:
        """int64 [V + 1] for the records seen."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self._sizes)])


SORTED_BYTES = 48  # of memory for each record that is sorted: twice itself, its key and its place
MOST_FILES = 256


def sort_triplets(
    file: IO[bytes], out: IO[bytes], row_begin: np.ndarray, folder: Path, memory: int, base: int = 0
) -> None:
    """Writes the records of a file by row and column, however many there are.

    They are dealt into files of neighbouring rows, each of which is then sorted in memory.

    Args:
        file: Records in any order.
        out: Where they go.
        row_begin: int64 [V + 1], where the rows are to begin.
        folder: For the files between; as large as `file` together.
        memory: Bytes.
        base: Number of the first word in `file`; in `out` it is 0.

    Raises:
        ValueError: A pair of words comes twice; the file ends early.
        OSError: The disk is full.
    """
    nnz = int(row_begin[-1])
    limit = max(memory // SORTED_BYTES, -(-nnz // MOST_FILES))
    groups = list(ranges(np.diff(row_begin), limit))
    starts = np.array([first for first, _ in groups])
    paths = [folder / f"{number:03}.unsorted" for number in range(len(groups))]
    with ExitStack() as stack:
        files = [stack.enter_context(open(path, "wb")) for path in paths]
        for records in read_triplets(file, nnz):
            records["row"] -= base
            records["col"] -= base
            group = np.searchsorted(starts, records["row"], side="right") - 1
            for number in np.unique(group):
                files[number].write(records[group == number].tobytes())
    for path in paths:
        records = np.fromfile(path, TRIPLET)
        path.unlink()
        records = records[np.lexsort((records["col"], records["row"]))]
        twice = (np.diff(records["row"]) == 0) & (np.diff(records["col"]) == 0)
        if twice.any():
            row, col, _ = records[int(twice.argmax())].tolist()
            raise ValueError(
                f"{file.name}: each pair of words must come once, got row {row + base}, column "
                f"{col + base} twice"
            )
        write_all(out, records)
