"""The loop around a streaming kernel: call sizes, accounting, stopping, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from typing import Any

import torch

from lexforge.training.progress import Meter, Progress
from lexforge.training.signals import StopRequest

CALL_SECONDS = 0.4  # of work per kernel call: long enough to cost nothing, short enough to stop
FIRST_CALL_UNITS = 20_000
LARGEST_GROWTH = 4.0  # of the call size from one call to the next
HISTORY_POINTS = 200  # of the loss curve kept in a checkpoint


class TrainingDivergedError(RuntimeError):
    """The loss is no longer a finite number."""


@dataclass
class TrainerState:
    """Where a run stands; together with the tables, all that a resume needs.

    An epoch is a walk over positions, which cannot be cut further (sentences of a corpus, rounds of
    co-occurrence tiles), and what it gets through is counted in units (words, entries).

    Every random decision is keyed by (seed, epoch, position) and the learning rate depends on the
    units done, so no generator state is kept.
    """

    epochs: int
    total: int  # units of all epochs
    alpha: float
    min_alpha: float
    unit: str = "words"
    first_epoch: int = 0  # key of this run's first epoch: the epochs of earlier runs come before
    epoch: int = 0
    position: int = 0  # next one to train in this epoch
    done: int = 0  # units
    seconds: float = 0.0  # in training, without preparation and saving
    loss_sum: float = 0.0
    pairs: int = 0  # of words: the losses that are summed
    centers: int = 0  # words that sub-sampling kept
    corpus: dict[str, Any] = field(default_factory=dict)  # what identifies it
    loss_history: list[dict[str, Any]] = field(default_factory=list)
    epoch_sums: list[list[float]] = field(default_factory=list)  # [loss_sum, pairs] at ends

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.epochs

    @property
    def share(self) -> float:
        """Of the run that is done."""
        return self.done / max(self.total, 1)

    @property
    def learning_rate(self) -> float:
        """At the position reached."""
        return self.alpha + (self.min_alpha - self.alpha) * self.share

    @property
    def mean_loss(self) -> float:
        """Per pair over the whole run; nan before the first pair."""
        return self.loss_sum / self.pairs if self.pairs else math.nan

    @property
    def recent_loss(self) -> float:
        """Per pair over the latest stretch of the loss history that had pairs; nan before."""
        losses = (point["loss"] for point in reversed(self.loss_history))
        return next((loss for loss in losses if loss is not None), math.nan)

    @property
    def epoch_losses(self) -> list[float]:
        """Per pair over each complete epoch; nan for one without pairs."""
        ends = [(0.0, 0), *self.epoch_sums]
        return [
            (loss - loss_before) / (pairs - pairs_before) if pairs > pairs_before else math.nan
            for (loss_before, pairs_before), (loss, pairs) in pairwise(ends)
        ]

    @property
    def per_second(self) -> float:
        """Units (of words: before sub-sampling) per second of training, over the whole run."""
        return self.done / self.seconds if self.seconds else 0.0

    def meter(self) -> Meter:
        """For intervals from here on."""
        return Meter(self)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> TrainerState:
        """The inverse of :meth:`to_json`; also reads the names that format version 1 began with.

        Raises:
            ValueError: A field is missing.
        """
        if "tokens_done" in content:
            content = _with_present_names(content)
        if missing := [f.name for f in fields(cls) if f.name not in content]:
            raise ValueError(f"trainer state must have {', '.join(missing)}")
        return cls(**{f.name: content[f.name] for f in fields(cls)})


def _with_present_names(content: dict[str, Any]) -> dict[str, Any]:
    """A state from when words were the only unit."""
    names = {"total_tokens": "total", "sentence": "position", "tokens_done": "done"}
    content = {names.get(name, name): value for name, value in content.items()}
    history = [
        {"words" if name == "tokens" else name: value for name, value in point.items()}
        for point in content.get("loss_history", [])
    ]
    return {"unit": "words", "epoch_sums": [], **content, "loss_history": history}


def train_stream(
    state: TrainerState,
    offsets: Callable[[int], torch.Tensor],
    step: Callable[[int, int, int], None],
    stats: torch.Tensor,
    *,
    progress: Progress,
    stop: StopRequest | None = None,
    save: Callable[[], None] | None = None,
    save_every: float | None = None,
    on_epoch_begin: Callable[[], None] | None = None,
    on_epoch_end: Callable[[], None] | None = None,
) -> None:
    """Train from where ``state`` stands to the end of its last epoch, or until asked to stop.

    Args:
        state: Advanced in place after every call.
        offsets: ``offsets(epoch)`` is int64 [S + 1], units before each position of that epoch.
        step: ``step(epoch, first, last)`` trains positions [first, last) of epoch
            ``state.first_epoch + epoch`` and adds to ``stats``.
        stats: float64 [3]: sums of loss, pairs and centres over this run; [2] where there are no
            centres. Overwritten with the state's own sums first.
        progress: Told of every call.
        stop: Looked at after every call; when requested the loop saves and returns.
        save: Writes a checkpoint of the present state.
        save_every: Seconds between checkpoints; None saves only when stopped.
        on_epoch_begin: Called before the first position of an epoch.
        on_epoch_end: Called after the last one.

    Raises:
        TrainingDivergedError: The loss became infinite or not a number. Nothing is saved.
    """
    sums = [state.loss_sum, state.pairs, state.centers][: stats.numel()]
    stats.copy_(torch.tensor(sums, dtype=torch.float64))
    history = Meter(state)
    history_units = max(state.total // HISTORY_POINTS, 1)
    call_units = float(FIRST_CALL_UNITS)
    progress.begin(state)
    saved_at = tick = time.perf_counter()
    try:
        while not state.finished:
            if state.position == 0 and on_epoch_begin is not None:
                on_epoch_begin()
            before = offsets(state.epoch)
            while state.position < before.numel() - 1:
                first = state.position
                last, units = _cut(before, first, int(call_units))
                step(state.epoch, first, last)
                loss_sum, *counts = stats.tolist()  # waits for the device
                now = time.perf_counter()
                call_seconds, tick = now - tick, now
                if not math.isfinite(loss_sum):
                    raise TrainingDivergedError(
                        f"the loss became {loss_sum} in epoch {state.epoch + 1}, after "
                        f"{state.done:,} {state.unit} at learning rate "
                        f"{state.learning_rate:.4g}: try a smaller one"
                    )
                points_before = state.done // history_units
                state.position = last
                state.done += units
                state.seconds += call_seconds
                state.loss_sum, state.pairs = loss_sum, int(counts[0])
                state.centers = int(counts[1]) if len(counts) > 1 else 0
                if state.done // history_units > points_before:
                    state.loss_history.append(history.read(state).record())
                progress.update(state)
                if 2 * units >= call_units:  # not cut short by the end of the epoch
                    wanted = units * CALL_SECONDS / max(call_seconds, 1e-6)
                    call_units = min(wanted, units * LARGEST_GROWTH)
                stopping = stop is not None and stop.requested
                due = save_every is not None and now - saved_at >= save_every
                if save is not None and (stopping or due):
                    save()
                    saved_at = tick = time.perf_counter()
                if stopping:
                    return
            state.epoch += 1
            state.position = 0
            state.epoch_sums.append([state.loss_sum, state.pairs])
            if on_epoch_end is not None:
                on_epoch_end()
            tick = time.perf_counter()
    finally:
        progress.end(state)


def _cut(offsets: torch.Tensor, first: int, units: int) -> tuple[int, int]:
    """Where to end a run of whole positions, one at least, with about that many units.

    Returns:
        The position after the last one, and the number of units in the run.
    """
    start = int(offsets[first])
    last = int(torch.searchsorted(offsets, start + units, right=True)) - 1
    last = min(max(last, first + 1), offsets.numel() - 1)
    return last, int(offsets[last]) - start
