"""Fused optimiser steps of skip-gram on minibatches (csrc/word2vec/skipgram_step.h)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops.word2vec.skipgram_loss import check_minibatch

OPTIMIZERS = ("adam", "lazy_adam", "sgd", "adagrad")
MAX_PENDING = 256  # steps that a row of dense Adam may lie behind
_MOMENT_ROWS = {"adam": 2, "lazy_adam": 2, "sgd": 0, "adagrad": 1}
_EPSILON = {"adam": 1e-8, "lazy_adam": 1e-8, "sgd": 0.0, "adagrad": 1e-10}


@dataclass
class SkipgramState:
    """Two tables under training and what their optimiser remembers; make it with :meth:`create`.

    With ``"adam"``, rows that the last steps left alone are behind: call :func:`skipgram_sync_`
    before reading the tables.
    """

    optimizer: str
    in_table: Tensor  # [V, stride] centre vectors
    out_table: Tensor  # [V', stride] context vectors
    in_moments: Tensor  # adam, lazy_adam: [V, 2, stride]; adagrad: [V, 1, stride]; sgd: [V, 0, ..]
    out_moments: Tensor
    in_last: Tensor  # adam: int32 [V], the step each row is at; else empty
    out_last: Tensor
    history: Tensor  # float64 [MAX_PENDING, 2]: what the last steps multiplied moments with
    betas: tuple[float, float]
    eps: float
    step: int = 0  # steps done
    workspace: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))

    @classmethod
    def create(
        cls,
        in_table: Tensor,
        out_table: Tensor,
        optimizer: str = "adam",
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | None = None,
        initial_accumulator_value: float = 0.0,
    ) -> SkipgramState:
        """Fresh optimiser state for two tables, which are updated in place from here on.

        Args:
            in_table, out_table: float32 [V, stride] and [V', stride], contiguous, stride a multiple
                of 16 (:func:`lexforge.ops.padded_table`); columns past the vector
                size must be zero and stay zero.
            optimizer: ``"adam"`` equals torch.optim.Adam on dense gradients (rows without a
                gradient go on moving along their first moment), ``"lazy_adam"`` equals
                torch.optim.SparseAdam (rows without a gradient, and their moments, stand still),
                ``"sgd"`` and ``"adagrad"`` equal torch.optim.SGD and Adagrad.
            betas: decay of the moments, 0 <= b1 < 1 and 0 < b2 < 1. eps: default 1e-8 (Adam) or
                1e-10 (AdaGrad), > 0. initial_accumulator_value: where AdaGrad's sums start.

        Raises:
            TypeError, ValueError: tables or settings that do not fit.
        """
        op = "SkipgramState"
        _checks.choice(op, "optimizer", optimizer, OPTIMIZERS)
        eps = _EPSILON[optimizer] if eps is None else eps
        if not (0 <= betas[0] < 1 and 0 < betas[1] < 1):
            raise ValueError(f"{op}: betas must be in [0, 1) and (0, 1), got {betas}")
        _checks.number(op, "eps", eps, above=None if optimizer == "sgd" else 0)
        _checks.number(op, "initial_accumulator_value", initial_accumulator_value)
        _check_tables(op, in_table, out_table)
        rows = _MOMENT_ROWS[optimizer]
        initial = initial_accumulator_value if optimizer == "adagrad" else 0.0
        device = in_table.device

        def moments(table: Tensor) -> Tensor:
            shape = (table.shape[0], rows, table.shape[1])
            return torch.full(shape, initial, dtype=torch.float32, device=device)

        def last(table: Tensor) -> Tensor:
            count = table.shape[0] if optimizer == "adam" else 0
            return torch.zeros(count, dtype=torch.int32, device=device)

        return cls(
            optimizer,
            in_table,
            out_table,
            moments(in_table),
            moments(out_table),
            last(in_table),
            last(out_table),
            torch.zeros(MAX_PENDING, 2, dtype=torch.float64),
            (float(betas[0]), float(betas[1])),
            float(eps),
        )

    def tensors(self) -> list[Tensor]:
        """Tables and state in the order of the ops' arguments."""
        return [
            self.in_table,
            self.out_table,
            self.in_moments,
            self.out_moments,
            self.in_last,
            self.out_last,
            self.history,
        ]

    def reserve(self, size: int) -> Tensor:
        """The workspace, grown to at least `size` bytes."""
        if self.workspace.numel() < size or self.workspace.device != self.in_table.device:
            self.workspace = torch.empty(size, dtype=torch.uint8, device=self.in_table.device)
        return self.workspace

    def check_tables(self, op: str) -> None:
        """Refuse tables that cannot be updated in place."""
        _check_tables(op, self.in_table, self.out_table)


def _check_tables(op: str, in_table: Tensor, out_table: Tensor) -> None:
    for name, table in (("in_table", in_table), ("out_table", out_table)):
        _checks.tensor(op, name, table, torch.float32, ("V", "stride"), in_table, contiguous=True)
        if table.shape[1] < 1 or table.shape[1] % 16:
            raise ValueError(f"{op}: {name} must be [V, a multiple of 16], got {[*table.shape]}")
        _checks.updated(op, name, table)
    _checks.tensor(op, "out_table", out_table, shape=("V", in_table.shape[1]))
    _checks.apart(op, in_table=in_table, out_table=out_table)


def skipgram_step_(
    state: SkipgramState,
    center: Tensor,
    contexts_and_negatives: Tensor,
    mask: Tensor,
    label: Tensor,
    *,
    lr: float,
    check_indices: bool = True,
) -> Tensor:
    """One optimiser step on a minibatch: forward, backward and update of the touched rows.

    The objective is the sum over the batch of
    :func:`lexforge.ops.skipgram_loss`. Work is in proportion to the rows that the
    batch touches, also for dense Adam: rows without a gradient catch up when they are next read
    (the bound of what that rounds away is in skipgram_step.h).

    Args:
        state: tables and optimiser state, updated in place; ``state.step`` grows by one.
        center, contexts_and_negatives, mask, label: as for ``skipgram_loss``.
        lr: learning rate of this step, >= 0.
        check_indices: on CUDA the check of the row numbers waits for the device; leave it out when
            they are known to be good. The CPU always checks.

    Returns:
        The losses [B] before the step, float32.

    Raises:
        TypeError, ValueError: arguments that do not fit. IndexError: a row number out of range;
        nothing has been changed then.

    Notes:
        Bit-identical for any number of CPU threads.
    """
    op = "skipgram_step_"
    state.check_tables(op)
    check_minibatch(op, center, contexts_and_negatives, mask, label, state.in_table)
    _checks.number(op, "lr", lr)
    device = state.in_table.device
    if check_indices or device.type == "cpu":
        _checks.ids(op, "center", center, state.in_table.shape[0])
        _checks.ids(op, "contexts_and_negatives", contexts_and_negatives, state.out_table.shape[0])
    batch, length = contexts_and_negatives.shape
    workspace = state.reserve(
        torch.ops.lexforge.skipgram_step_workspace.default(
            batch,
            batch * length,
            state.in_table.shape[0],
            state.out_table.shape[0],
            state.in_table.shape[1],
        ),
    )
    loss = torch.empty(batch, device=device)
    torch.ops.lexforge.skipgram_step_.default(
        *state.tensors(),
        workspace,
        loss,
        center.reshape(-1).to(torch.int32).contiguous(),
        contexts_and_negatives.to(torch.int32).contiguous(),
        mask.to(torch.float32).contiguous(),
        label.to(torch.float32).contiguous(),
        state.optimizer,
        state.step + 1,
        lr,
        *state.betas,
        state.eps,
    )
    state.step += 1
    torch.autograd.graph.increment_version(state.tensors())
    return loss


def skipgram_sync_(state: SkipgramState) -> None:
    """Bring all rows of both tables to the last step, so that they may be read.

    Only dense Adam (``"adam"``) ever leaves rows behind; for the others nothing happens.

    Args:
        state: tables and optimiser state, updated in place. Training may go on afterwards; calling
            this at any time changes later results by rounding only.
    """
    op = "skipgram_sync_"
    if state.optimizer != "adam" or state.step == 0:
        return
    state.check_tables(op)
    torch.ops.lexforge.skipgram_sync_.default(
        *state.tensors(), state.optimizer, state.step, 0.0, *state.betas, state.eps
    )
    torch.autograd.graph.increment_version(state.tensors())


@torch.library.register_fake("lexforge::skipgram_step_")
def _(*arguments):
    return None


@torch.library.register_fake("lexforge::skipgram_sync_")
def _(*arguments):
    return None
