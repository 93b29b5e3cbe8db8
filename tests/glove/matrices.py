"""Random co-occurrence matrices and tables for the GloVe tests."""

from __future__ import annotations

import numpy as np
import torch

from lexforge.ops.glove.glove_tiles import GloveTiles, glove_deal_parts, glove_tiles
from lexforge.ops.glove.glove_train import glove_table


class Matrix:
    """Random counts in compressed rows; some rows have no entry, row 0 has many."""

    def __init__(self, vocab_size: int, density: float = 0.3, seed: int = 0):
        random = np.random.default_rng(seed)
        dense = random.random((vocab_size, vocab_size)) < density
        dense[0] |= random.random(vocab_size) < 0.9
        dense[vocab_size // 2 :: 5] = False
        rows, cols = np.nonzero(dense)
        self.vocab_size = vocab_size
        self.rows = rows
        self.row_begin = np.concatenate([[0], np.bincount(rows, minlength=vocab_size).cumsum()])
        self.cols = cols.astype(np.int32)
        self.values = random.exponential(40, len(rows)) + 0.05

    def tensors(self) -> list[torch.Tensor]:
        """row_begin, cols and values as the op takes them."""
        return [torch.from_numpy(array) for array in (self.row_begin, self.cols, self.values)]

    def parts(self, parts: int, seed: int = 3) -> torch.Tensor:
        """The part of each word."""
        return glove_deal_parts(torch.from_numpy(np.diff(self.row_begin)), parts, seed=seed)

    def tiles(self, parts: int, seed: int = 5, **options) -> GloveTiles:
        """The matrix in tiles."""
        return glove_tiles(*self.tensors(), self.parts(parts), parts=parts, seed=seed, **options)


def aligned(table: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on the device that starts at a cache line."""
    memory = torch.empty(table.numel() + 64, dtype=table.dtype)
    skip = -memory.data_ptr() % 64 // table.element_size()
    copy = memory[skip : skip + table.numel()].view(table.shape)
    return copy.copy_(table).to(device)


def random_tables(
    vocab_size: int, dim: int, optimizer: str, *, scale: float = 0.5, dtype=torch.float32, seed=1
) -> list[torch.Tensor]:
    """A word and a context table on the CPU with uniform vectors and biases."""
    generator = torch.Generator().manual_seed(seed)
    tables = []
    for _ in range(2):
        table = glove_table(vocab_size, dim, optimizer).to(dtype)
        values = torch.rand(vocab_size, dim + 1, generator=generator, dtype=torch.float64)
        table[:, 0, : dim + 1] = (2 * values - 1) * scale
        tables.append(table)
    return tables
