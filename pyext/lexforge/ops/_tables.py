"""Tables of vectors as the training kernels want them."""

from __future__ import annotations

import mmap

import torch
from torch import Tensor

from lexforge.ops import _checks

ROW_MULTIPLE = 16  # floats: rows start at cache lines


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
    pages = mmap.mmap(-1, vocab_size * stride * 4, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.float32).view(vocab_size, stride)
