"""Rows of uniform numbers, as tables begin."""

from __future__ import annotations

from ctypes import c_float, c_int, c_int64, c_void_p

import numpy as np

from lexforge._text.library import checked, thread_count, whole

_draw_rows = checked("draw_rows", c_void_p, *3 * (c_int64,), c_void_p, c_int64, c_float, c_int)


def draw_rows(
    values: np.ndarray, states: np.ndarray, part_rows: int, step: float, threads: int
) -> None:
    """Fill rows with numbers uniform in [-2^15, 2^15) * step (csrc/text/uniform_rows.h).

    The same ones for any number of threads.

    Args:
        values: float32 [rows, dim], written; rows may lie apart, numbers of a row may not.
        states: uint64 [ceil(rows / part_rows), 4], where the generator of each part begins: of
            ``numpy.random.SFC64``.
        part_rows: rows of a part, at least 1.

    Raises:
        ValueError: another dtype or shape, strides that are none of whole rows.
    """
    whole("part_rows", part_rows, 1)
    rows, dim = values.shape
    row_bytes, number_bytes = values.strides
    in_pieces = (dim > 1 and number_bytes != 4) or row_bytes % 4 or row_bytes < 4 * dim
    if values.dtype != np.float32 or not values.flags.writeable or (values.size and in_pieces):
        raise ValueError("values must be float32 [rows, dim], writeable, each row in one piece")
    shape = (-(-rows // part_rows), 4)
    if states.shape != shape or states.dtype != np.uint64:
        raise ValueError(f"states must be uint64 {[*shape]}, got {states.dtype} {[*states.shape]}")
    states = np.ascontiguousarray(states)
    _draw_rows(
        values.ctypes,
        *(rows, dim, row_bytes // 4),
        states.ctypes,
        part_rows,
        step,
        thread_count(threads),
    )
