"""GloVe over tiles of the co-occurrence matrix (csrc/glove/glove_train.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops._tables import ROW_MULTIPLE, padded_table
from lexforge.ops.glove.glove_tiles import OPTIMIZERS, GloveTiles, check_sizes

RECORD_PARTS = {"adagrad": 2, "rowwise": 1, "adam": 3}


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
    check_sizes("glove_table", vocab_size, dim, optimizer)
    parts, stride = RECORD_PARTS[optimizer], _stride(dim)
    table = padded_table(vocab_size, parts * stride).view(vocab_size, parts, stride)
    if optimizer == "adagrad":
        table[:, 1, : dim + 1] = 1
    elif optimizer == "rowwise":
        table[:, 0, dim + 1] = 1
    return table


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


@torch.library.register_fake("lexforge::glove_train_")
def _(*arguments) -> None:
    return None
