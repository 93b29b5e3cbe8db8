"""The entries of a co-occurrence matrix in training order (csrc/glove/glove_tiles.h)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexforge.ops import _checks

OPTIMIZERS = ("adagrad", "rowwise", "adam")

# Parts are what threads share a round by, and nothing is gained by more of them: real counts are so
# sparse that a tile small enough for a cache has fewer entries than rows. A thread trains 31.6 M
# entries of 83,000 words at D = 100 at 29 M/s in 8 parts, 26 in 64, 25 in 128 and 18 in 256, as
# segments shorten from 47 entries to 7, 5 and 3; D = 300 falls alike.
MOST_PARTS = 64
WORDS_PER_PART = 512

# Parts on a GPU. A warp takes about 0.15 to 0.3 us for an entry (reasoned from latencies), so some
# hundred warps are needed for 5e8 entries/s; 1024 hide what the slowest tile and the reads of
# memory cost. More gain nothing: a pass trains the fullest row, which lies in one part, entry by
# entry, and each of its P rounds costs a launch. Below 32 words a part, tiles hold few entries.
CUDA_MOST_PARTS = 1024
CUDA_WORDS_PER_PART = 32


class GloveTiles(NamedTuple):
    """The entries of a co-occurrence matrix in training order.

    Tile (p, q), number ``p * parts + (q - p) % parts``, holds the entries whose row is in part p
    and whose column is in part q, as segments: runs of entries of one row.
    """

    parts: int  # P
    tile_begin: Tensor  # int64 [P^2 + 1]: the first segment of each tile
    segment_row: Tensor  # int32 [U]
    segment_begin: Tensor  # int64 [U + 1]: the first entry of each segment
    column: Tensor  # int32 [nnz]
    log_count: Tensor  # float32 [nnz]: log x

    def to(self, device: torch.device | str) -> GloveTiles:
        """The tiles with their tensors on a device."""
        return GloveTiles(self.parts, *(tensor.to(device) for tensor in self[1:]))


def check_sizes(op: str, vocab_size: int, dim: int, optimizer: str) -> None:
    """ValueError unless tables of these sizes can be."""
    _checks.choice(op, "optimizer", optimizer, OPTIMIZERS)
    _checks.whole(op, "vocab_size", vocab_size, 1, 2**31 - 1)
    _checks.whole(op, "dim", dim, 1, 2**31 - 1)


def glove_default_parts(
    vocab_size: int, dim: int, optimizer: str = "adagrad", *, device: torch.device | str = "cpu"
) -> int:
    """The number of parts P to deal words into, whatever the machine, so that results are the same.

    Args:
        vocab_size: V, at least 1. dim: D, at least 1. optimizer: as of :func:`glove_table`.
        device: where to train: the CPU or CUDA, whose warps train a tile each.

    Returns:
        P in [1, V]: a part for 512 words, 64 at most; on CUDA for 32, 1024 at most. Sizes of rows
        make no difference.

    Raises:
        ValueError: a size below 1 or an unknown optimizer.
    """
    check_sizes("glove_default_parts", vocab_size, dim, optimizer)
    if torch.device(device).type == "cuda":
        return max(1, min(CUDA_MOST_PARTS, vocab_size // CUDA_WORDS_PER_PART))
    return max(1, min(MOST_PARTS, vocab_size // WORDS_PER_PART))


def glove_deal_parts(row_sizes: Tensor, parts: int, *, seed: int = 1) -> Tensor:
    """Deal words into parts of about equal numbers of words and of entries, at random.

    Args:
        row_sizes: int64 [V], entries of each word's row, >= 0.
        parts: P, 1 to 2^16.
        seed: any integer of 64 bits.

    Returns:
        int32 [V], the part of each word, in [0, P). Parts differ by at most one word.

    Raises:
        TypeError, ValueError: arguments that do not fit.
    """
    op = "glove_deal_parts"
    _checks.tensor(op, "row_sizes", row_sizes, torch.int64, ("V",))
    _checks.whole(op, "parts", parts, 1, 2**16)
    if row_sizes.numel() and int(row_sizes.min()) < 0:
        raise ValueError(f"{op}: row_sizes must be >= 0, got {int(row_sizes.min())}")
    sizes = row_sizes.cpu().contiguous()
    return torch.ops.lexforge.glove_deal_parts.default(sizes, parts, _checks.seed(op, seed))


def glove_tiles(
    row_begin: Tensor,
    cols: Tensor,
    values: Tensor,
    part: Tensor,
    *,
    parts: int,
    seed: int = 1,
    first_part: int = 0,
    last_part: int | None = None,
    threads: int | None = None,
) -> GloveTiles:
    """Sort the entries of a co-occurrence matrix into tiles, in random training order.

    Args:
        row_begin: int64 [V + 1]; row i has the entries ``row_begin[i] .. row_begin[i + 1]``.
        cols: int32 [nnz], columns in [0, V). values: float64 [nnz], counts x > 0 and finite. Both
            may be strided views, of 16-byte records for instance, and memory-mapped.
        part: int32 [V], the part of each word (:func:`glove_deal_parts`).
        parts: P, in [1, V].
        seed: any integer of 64 bits.
        first_part, last_part: row parts to sort, by default all. A caller with little memory sorts
            some at a time: the tiles of all, one range after another, are those of one call, with
            what came before added to ``tile_begin`` (segments) and ``segment_begin`` (entries).
        threads: default ``torch.get_num_threads()``; the result does not depend on it.

    Returns:
        Tiles on the CPU; ``tile_begin`` is [(last_part - first_part) * P + 1] and starts from 0.
        They take 8 bytes per entry and 12 per segment; a segment has at least one entry.

    Raises:
        TypeError: a tensor of the wrong dtype.
        ValueError: a wrong shape or range, row_begin that does not rise, a count that is not > 0
            and finite. IndexError: a column or part out of range. Both name the entry.
    """
    op = "glove_tiles"
    cpu = torch.empty(0)
    _checks.tensor(op, "part", part, torch.int32, ("V",), cpu)
    _checks.tensor(op, "cols", cols, torch.int32, ("nnz",), cpu)
    vocab_size, entries = part.shape[0], cols.shape[0]
    _checks.tensor(op, "row_begin", row_begin, torch.int64, (vocab_size + 1,), cpu)
    _checks.tensor(op, "values", values, torch.float64, cols.shape, cpu)
    _checks.whole(op, "parts", parts, 1, max(1, vocab_size))
    last_part = parts if last_part is None else last_part
    _checks.span(op, "first_part and last_part", first_part, last_part, parts)
    threads = _checks.threads(op, threads)
    row_begin, part = row_begin.contiguous(), part.contiguous()
    sizes = row_begin.diff()
    if row_begin[0] != 0 or row_begin[-1] != entries or (vocab_size and int(sizes.min()) < 0):
        raise ValueError(f"{op}: row_begin must rise from 0 to {entries}")
    if vocab_size and not 0 <= int(part.min()) <= int(part.max()) < parts:
        raise IndexError(
            f"{op}: part must be in [0, {parts}), got {int(part.min())} to {int(part.max())}"
        )
    *tiles, problem, entry = torch.ops.lexforge.glove_tiles.default(
        row_begin, cols, values, part, parts, first_part, last_part, _checks.seed(op, seed), threads
    )
    if problem:
        row = int(torch.searchsorted(row_begin, entry, right=True)) - 1
        place = f"at entry {entry} (row {row})"
        if problem == 1:
            raise IndexError(
                f"{op}: cols must be in [0, {vocab_size}), got {int(cols[entry])} {place}"
            )
        raise ValueError(f"{op}: values must be > 0 and finite, got {float(values[entry])} {place}")
    return GloveTiles(parts, *tiles)


@torch.library.register_fake("lexforge::glove_deal_parts")
def _(row_sizes, parts, seed):
    return row_sizes.new_empty(row_sizes.shape, dtype=torch.int32)
