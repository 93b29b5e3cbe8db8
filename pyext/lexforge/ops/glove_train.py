"""GloVe over tiles of the co-occurrence matrix (csrc/glove/glove_train.h, glove_tiles.h)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops.skipgram_stream import ROW_MULTIPLE, padded_table

OPTIMIZERS = ("adagrad", "rowwise", "adam")
RECORD_PARTS = {"adagrad": 2, "rowwise": 1, "adam": 3}

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


def _check_sizes(op: str, vocab_size: int, dim: int, optimizer: str) -> None:
    _checks.choice(op, "optimizer", optimizer, OPTIMIZERS)
    _checks.whole(op, "vocab_size", vocab_size, 1, 2**31 - 1)
    _checks.whole(op, "dim", dim, 1, 2**31 - 1)


def _stride(dim: int) -> int:
    return -(-(dim + 2) // ROW_MULTIPLE) * ROW_MULTIPLE


def glove_table(vocab_size: int, dim: int, optimizer: str = "adagrad") -> Tensor:
    """A table of V untrained rows with their optimiser state, on the CPU.

    Args:
        vocab_size: rows V, at least 1.
        dim: vector size D, at least 1.
        optimizer: ``"adagrad"``, ``"rowwise"`` or ``"adam"``.

    Returns:
        float32 [V, parts, stride], 64-byte aligned, stride the multiple of 16 at or above D + 2:
        ``table[:, 0, :D]`` are the vectors and ``table[:, 0, D]`` the biases, all zero, to be
        initialised by the caller. With adagrad ``table[:, 1, :D + 1]`` are the accumulators, with
        rowwise ``table[:, 0, D + 1]``; they are 1. With adam parts 1 and 2 are the moments and
        ``table[:, 0, D + 1]`` counts the row's entries. The rest stays zero.

    Raises:
        ValueError: a size below 1 or an unknown optimizer.
    """
    _check_sizes("glove_table", vocab_size, dim, optimizer)
    parts, stride = RECORD_PARTS[optimizer], _stride(dim)
    table = padded_table(vocab_size, parts * stride).view(vocab_size, parts, stride)
    if optimizer == "adagrad":
        table[:, 1, : dim + 1] = 1
    elif optimizer == "rowwise":
        table[:, 0, dim + 1] = 1
    return table


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
    _check_sizes("glove_default_parts", vocab_size, dim, optimizer)
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


def glove_train_(
    word_table: Tensor,
    context_table: Tensor,
    stats: Tensor,
    tiles: GloveTiles,
    *,
    dim: int,
    first_round: int = 0,
    last_round: int | None = None,
    optimizer: str = "adagrad",
    learning_rate: float = 0.05,
    bias_rate: float = 1.0,
    x_max: float = 100.0,
    alpha: float = 0.75,
    clip: float = 100.0,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    deterministic: bool = True,
    threads: int | None = None,
) -> None:
    """Train GloVe on rounds of a pass over the tiles, in place (Pennington et al. 2014, eq. 8).

    An entry (i, j) with count x costs ``h(x) / 2 * (w_i . c_j + b_i + b_j - log x) ** 2``, with
    ``h(x) = min(1, (x / x_max) ** alpha)``; its gradients are clipped and go into both rows at
    once. The exact rule is in glove_train.h.

    Args:
        word_table, context_table: float32 [V, parts of a record, stride] (:func:`glove_table`),
            rows of words and of contexts with their optimiser state; updated. float64 is
            accepted too, for gradient checks.
        stats: float64 [2], to which (sum of costs, entries) are added. It becomes infinite or NaN
            once a row is no longer finite, and NaN on CUDA where the tiles are not valid.
        tiles: :func:`glove_tiles`, on the device of the tables.
        dim: vector size D.
        first_round, last_round: the rounds of a pass to train, by default all P; the tiles of a
            round run at the same time. Rounds in several calls give the result of one.
        optimizer: ``"adagrad"``, ``"rowwise"`` (one accumulator per row) or ``"adam"``, as the
            tables were made for.
        learning_rate: finite, >= 0.
        bias_rate: the learning rate of biases as a multiple of `learning_rate`, finite, >= 0; 1
            with adam.
        x_max: count from which entries weigh 1, > 0. alpha: exponent below it, >= 0.
        clip: largest gradient of an element, > 0, may be infinite.
        betas, epsilon: of adam; 0 <= beta < 1 and epsilon > 0.
        deterministic: on CUDA, whether the result must be the same every time: one warp trains a
            tile. Otherwise several do where tiles are large (from 64 entries on average); no update
            is lost, but an entry may miss those that other warps make at the same time. On the CPU
            the result is always the same, whatever the number of threads.
        threads: CPU threads, default ``torch.get_num_threads()``.

    Raises:
        TypeError: a tensor of the wrong dtype.
        ValueError: a wrong shape, device, alignment or range; a table that requires grad.
        RuntimeError: on the CPU, tiles whose rows or columns are out of range or whose begins do
            not rise; some of their tiles have been trained then.
    """
    op = "glove_train_"
    _checks.choice(op, "optimizer", optimizer, OPTIMIZERS)
    parts = tiles.parts
    _checks.whole(op, "tiles.parts", parts, 1, 2**31 - 1)
    _checks.tensor(op, "word_table", word_table)
    _checks.tensor(op, "tiles.segment_row", tiles.segment_row, shape=("U",))
    _checks.tensor(op, "tiles.column", tiles.column, shape=("nnz",))
    record = ("V", RECORD_PARTS[optimizer], "stride")
    for name, t, dtype, shape in (
        ("word_table", word_table, _checks.WIDE, record),
        ("context_table", context_table, word_table.dtype, word_table.shape),
        ("stats", stats, torch.float64, (2,)),
        ("tiles.tile_begin", tiles.tile_begin, torch.int64, (parts * parts + 1,)),
        ("tiles.segment_row", tiles.segment_row, torch.int32, ("U",)),
        ("tiles.segment_begin", tiles.segment_begin, torch.int64, (len(tiles.segment_row) + 1,)),
        ("tiles.column", tiles.column, torch.int32, ("nnz",)),
        ("tiles.log_count", tiles.log_count, torch.float32, tiles.column.shape),
    ):
        _checks.tensor(op, name, t, dtype, shape, word_table, contiguous=True)
    stride = word_table.shape[2]
    if dim < 1 or stride % ROW_MULTIPLE or dim + 2 > stride:
        raise ValueError(
            f"{op}: word_table must have a stride of a multiple of {ROW_MULTIPLE}, at least "
            f"dim + 2 = {dim + 2}, got {stride}"
        )
    _checks.updated(op, "word_table", word_table)
    _checks.updated(op, "context_table", context_table)
    _checks.apart(op, word_table=word_table, context_table=context_table)
    last_round = parts if last_round is None else last_round
    _checks.span(op, "first_round and last_round", first_round, last_round, parts)
    _checks.number(op, "learning_rate", learning_rate)
    _checks.number(op, "bias_rate", bias_rate)
    _checks.number(op, "alpha", alpha)
    _checks.number(op, "x_max", x_max, above=0)
    _checks.number(op, "epsilon", epsilon, above=0)
    if optimizer == "adam" and bias_rate != 1:
        raise ValueError(f"{op}: bias_rate must be 1 with adam, got {bias_rate}")
    if not clip > 0:
        raise ValueError(f"{op}: clip must be > 0, got {clip}")
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"{op}: betas must be in [0, 1), got {betas}")
    threads = _checks.threads(op, threads)
    torch.ops.lexforge.glove_train_.default(
        word_table,
        context_table,
        stats,
        *tiles,
        first_round,
        last_round,
        dim,
        optimizer,
        learning_rate,
        bias_rate,
        x_max,
        alpha,
        clip,
        *betas,
        epsilon,
        deterministic,
        threads,
    )
    torch.autograd.graph.increment_version([word_table, context_table, stats])


@torch.library.register_fake("lexforge::glove_deal_parts")
def _(row_sizes, parts, seed):
    return row_sizes.new_empty(row_sizes.shape, dtype=torch.int32)


@torch.library.register_fake("lexforge::glove_train_")
def _(*arguments) -> None:
    return None
