"""Tables of vectors as the training kernels want them."""

from __future__ import annotations

import ctypes
import functools
import math
import mmap
import sys

import torch
from torch import Tensor

from lexforge.ops import _checks

ROW_MULTIPLE = 16  # floats: rows start at cache lines
_HUGE_PAGE = 2 << 20
_COLLAPSE = 25  # MADV_COLLAPSE, of Linux 6.1


def padded_table(vocab_size: int, dim: int) -> Tensor:
    """A zeroed float32 table on the CPU whose rows start at cache lines.

    Args:
        vocab_size: rows V, at least 1.
        dim: used columns D, at least 1; the row length is D rounded up to a multiple of 16.

    Returns:
        Tensor [V, stride]. Large tables ask for huge pages, which spares the training kernel most
        address-translation misses of its random row reads.

    Raises:
        ValueError: a size below 1.
    """
    _checks.whole("padded_table", "vocab_size", vocab_size, 1, 2**31 - 1)
    _checks.whole("padded_table", "dim", dim, 1, 2**31 - 1)
    stride = -(-dim // ROW_MULTIPLE) * ROW_MULTIPLE
    return own_pages(torch.float32, vocab_size, stride)


def own_pages(dtype: torch.dtype, *shape: int) -> Tensor:
    """Zeros on pages of their own, huge ones where the system has them."""
    size = math.prod(shape) * dtype.itemsize
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype).view(*shape)


def to_huge_pages(table: Tensor) -> bool:
    """Have the system put what lies here on huge pages, at the same addresses.

    A second call finds that done, and costs nothing.

    Returns:
        Whether all whole ones that the table covers now are; False where the system cannot, or has
        no memory for it.
    """
    advise = _madvise()
    first, last = table.data_ptr(), table.data_ptr() + table.numel() * table.element_size()
    if advise is None or not table.is_contiguous():
        return False
    # With what lies beside it, where that belongs to the process; else only what is inside.
    begin, end = first // _HUGE_PAGE, -(-last // _HUGE_PAGE)
    if advise(begin * _HUGE_PAGE, (end - begin) * _HUGE_PAGE, _COLLAPSE) == 0:
        return True
    begin, end = -(-first // _HUGE_PAGE), last // _HUGE_PAGE
    return end <= begin or advise(begin * _HUGE_PAGE, (end - begin) * _HUGE_PAGE, _COLLAPSE) == 0


@functools.cache
def _madvise():
    """The system's function, if it has one."""
    if not sys.platform.startswith("linux"):
        return None
    function = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function
