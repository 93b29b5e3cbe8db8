"""Minibatches of the reference recipe from an encoded corpus (csrc/word2vec/skipgram_batch.h)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops.word2vec.skipgram_step import SkipgramState


class Windows(NamedTuple):
    """Kept tokens and windows of one epoch, on the CPU."""

    kept_tokens: Tensor  # int32 [M]
    kept_positions: Tensor  # int64 [M] in the corpus
    centers: Tensor  # int32 [C, 3]: rank among the kept, first and last (exclusive) of the window


class Minibatch(NamedTuple):
    """A padded minibatch, on the CPU."""

    center: Tensor  # int32 [B]
    contexts_and_negatives: Tensor  # int32 [B, L], 0 where the mask is 0
    mask: Tensor  # uint8 [B, L]
    label: Tensor  # uint8 [B, L], 1 on contexts


@dataclass(frozen=True)
class Examples:
    """The examples of one epoch: windows, their order, and how noise words are drawn."""

    windows: Windows
    order: Tensor  # int64 [E] rows of windows.centers
    noise: Tensor  # int32 [V, 2] alias table (ops.sampling.build_alias)
    window: int
    negatives: int
    seed: int
    epoch: int

    def __len__(self) -> int:
        return self.order.shape[0]

    def arguments(self, first: int, last: int) -> tuple:
        """In the order of the ops' arguments."""
        return (
            *self.windows,
            self.order,
            self.noise,
            self.window,
            self.negatives,
            _checks.seed("skipgram_batch", self.seed),
            self.epoch,
            first,
            last,
        )


def _on_cpu(
    op: str, name: str, t: Tensor, dtype: torch.dtype, shape: tuple[int | str, ...]
) -> None:
    _checks.tensor(op, name, t, dtype, shape, torch.empty(0), contiguous=True)


def skipgram_windows(
    tokens: Tensor,
    offsets: Tensor,
    keep: Tensor,
    *,
    window: int = 5,
    dynamic_window: bool = True,
    seed: int = 1,
    epoch: int = 0,
) -> Windows:
    """Sub-sample a corpus and draw a window for every kept token.

    Args:
        tokens: int32 [N] word ids, 0 <= id < V.
        offsets: int64 [S + 1]; sentence s is ``tokens[offsets[s]:offsets[s + 1]]``.
        keep: float32 [V] probability of keeping a token (``ops.keep_probability``).
        window: largest distance between centre and context, in kept tokens, 1 to 1000.
        dynamic_window: draw the distance 1..window afresh for each centre.
        seed: any integer of 64 bits. epoch: 0 to 2^32 - 1. Draws are a function of (seed, epoch,
            position in the corpus).

    Returns:
        The kept tokens, and a centre for each of them that has a context.

    Raises:
        TypeError, ValueError: arguments that do not fit. IndexError: a token outside [0, V).
    """
    op = "skipgram_windows"
    _on_cpu(op, "tokens", tokens, torch.int32, ("N",))
    _on_cpu(op, "offsets", offsets, torch.int64, ("S + 1",))
    _on_cpu(op, "keep", keep, torch.float32, ("V",))
    _checks.whole(op, "window", window, 1, 1000)
    _checks.whole(op, "epoch", epoch, 0, 2**32 - 1)
    if offsets.numel() == 0 or offsets[0] < 0 or offsets[-1] > tokens.numel():
        raise ValueError(f"{op}: offsets must be [S + 1] within [0, {tokens.numel()}]")
    if (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"{op}: offsets must not fall")
    _checks.ids(op, "tokens", tokens, keep.shape[0])
    return Windows(
        *torch.ops.lexforge.skipgram_windows.default(
            tokens, offsets, keep, window, dynamic_window, _checks.seed(op, seed), epoch
        )
    )


def check_examples(op: str, examples: Examples, first: int, last: int) -> None:
    """Refuse wrong dtypes, shapes and settings, and a range beyond the order."""
    windows = examples.windows
    _on_cpu(op, "kept_tokens", windows.kept_tokens, torch.int32, ("M",))
    _on_cpu(op, "kept_positions", windows.kept_positions, torch.int64, ("M",))
    _on_cpu(op, "centers", windows.centers, torch.int32, ("C", 3))
    _on_cpu(op, "order", examples.order, torch.int64, ("E",))
    _on_cpu(op, "noise", examples.noise, torch.int32, ("V", 2))
    _checks.whole(op, "window", examples.window, 1, 1000)
    _checks.whole(op, "negatives", examples.negatives, 0, 1000)
    _checks.whole(op, "epoch", examples.epoch, 0, 2**32 - 1)
    _checks.span(op, "first and last", first, last, len(examples))


def skipgram_batch(
    examples: Examples, first: int, last: int, *, length: int | None = None
) -> Minibatch:
    """Examples [first, last) of an epoch as a padded minibatch.

    Args:
        examples: windows, order and noise table of the epoch.
        first, last: range within the order; the last one is exclusive.
        length: columns L; default those of the longest example. 2 window (1 + negatives) is always
            enough.

    Returns:
        Centres, contexts followed by K noise words for each of them (none of which is a context of
        its centre, unless all words of the table are), mask and label.

    Raises:
        TypeError, ValueError: arguments that do not fit; a length below the longest example.
        RuntimeError: windows or order that name tokens which are not there; a noise table with
            aliases outside [0, V).
    """
    op = "skipgram_batch"
    check_examples(op, examples, first, last)
    if length is not None and length < 1:
        raise ValueError(f"{op}: length must be >= 1, got {length}")
    return Minibatch(
        *torch.ops.lexforge.skipgram_batch.default(*examples.arguments(first, last), length or 0)
    )


def skipgram_epoch_(
    state: SkipgramState,
    stats: Tensor,
    examples: Examples,
    *,
    batch_size: int,
    lr: float,
    first: int = 0,
    last: int | None = None,
) -> None:
    """Train on examples [first, last) of an epoch, ``batch_size`` of them to a step.

    The same steps as :func:`skipgram_batch` followed by
    :func:`lexforge.ops.skipgram_step_`, bit for bit, in one call: no padded tensors,
    and minibatches are drawn on all threads while none waits for another.

    Args:
        state: tables and optimiser state on the CPU, updated in place; ``state.step`` grows by the
            number of minibatches. Tables hold at least the rows of the noise table.
        stats: float64 [3], to which (sum of the examples' losses, examples, contexts and negatives)
            are added.
        examples: windows, order and noise table of the epoch.
        batch_size: examples per step; the last step takes what is left.
        lr: learning rate.
        first, last: range within the order; by default all.

    Raises:
        TypeError, ValueError: arguments that do not fit.
        RuntimeError: windows or order that name tokens which are not there; a noise table with
            aliases outside [0, V).
    """
    op = "skipgram_epoch_"
    _checks.tensor(op, "order", examples.order, shape=("E",))
    last = len(examples) if last is None else last
    check_examples(op, examples, first, last)
    _on_cpu(op, "stats", stats, torch.float64, (3,))
    state.check_tables(op)
    _checks.number(op, "lr", lr)
    if state.in_table.device.type != "cpu":
        raise ValueError(f"{op}: tables must be on the CPU, got {state.in_table.device}")
    _checks.whole(op, "batch_size", batch_size, 1, 2**31 - 1)
    vocab_size = examples.noise.shape[0]
    rows, out_rows = state.in_table.shape[0], state.out_table.shape[0]
    if vocab_size > min(rows, out_rows):
        raise ValueError(
            f"{op}: tables must have at least {vocab_size} rows, got {min(rows, out_rows)}"
        )
    contexts = 2 * examples.window
    slots = batch_size * contexts * (1 + examples.negatives)
    if slots >= 2**31:
        raise ValueError(
            f"{op}: batch_size must be at most {batch_size * (2**31 - 1) // slots} with window "
            f"{examples.window} and negatives {examples.negatives}, got {batch_size}"
        )
    workspace = state.reserve(
        torch.ops.lexforge.skipgram_epoch_workspace.default(
            batch_size,
            slots,
            contexts,
            examples.negatives,
            rows,
            out_rows,
            state.in_table.shape[1],
        ),
    )
    torch.ops.lexforge.skipgram_epoch_.default(
        *state.tensors(),
        workspace,
        stats,
        *examples.arguments(first, last),
        batch_size,
        state.optimizer,
        state.step + 1,
        lr,
        *state.betas,
        state.eps,
    )
    state.step += -(-(last - first) // batch_size)
    torch.autograd.graph.increment_version([*state.tensors(), stats])


@torch.library.register_fake("lexforge::skipgram_windows")
def _(tokens, offsets, keep, window, dynamic_window, seed, epoch):
    kept, centers = (torch.library.get_ctx().new_dynamic_size() for _ in range(2))
    return tokens.new_empty(kept), offsets.new_empty(kept), tokens.new_empty(centers, 3)


@torch.library.register_fake("lexforge::skipgram_batch")
def _(kept_tokens, kept_positions, centers, order, noise, *numbers):
    *_, first, last, length = numbers
    length = length or torch.library.get_ctx().new_dynamic_size()
    slots = kept_tokens.new_empty(last - first, length)
    mask = torch.empty_like(slots, dtype=torch.uint8)
    return kept_tokens.new_empty(last - first), slots, mask, torch.empty_like(mask)


@torch.library.register_fake("lexforge::skipgram_epoch_")
def _(*arguments):
    return None
