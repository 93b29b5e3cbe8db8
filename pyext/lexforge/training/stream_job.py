"""Training by a kernel that walks over positions: call sizes, accounting, epochs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch

from lexforge._display import html_table, printable
from lexforge.training.checkpoint import STATE
from lexforge.training.events import Events
from lexforge.training.progress import clock, count
from lexforge.training.run import Watch, run
from lexforge.training.state import (
    HISTORY_POINTS,
    Amounts,
    Reading,
    RunState,
    TrainingDivergedError,
    check_value,
    require,
    require_numbers,
)

if TYPE_CHECKING:
    from typing_extensions import Self

    from lexforge.training.progress import Progress
    from lexforge.training.signals import StopRequest

CALL_SECONDS = 0.4  # of work per kernel call: long enough to cost nothing, short enough to stop
FIRST_CALL_UNITS = 20_000
LARGEST_GROWTH = 4.0  # of the call size from one call to the next


@dataclass(kw_only=True)
class StreamState(RunState):
    """Where a run stands that goes through its data a number of times.

    An epoch is a walk over positions, which cannot be cut further (sentences of a corpus, rounds of
    co-occurrence tiles), and what it gets through is counted in units (words, entries). The
    learning rate depends on the units done.
    """

    NAMES_IN_FILE: ClassVar[Mapping[str, str]] = {"history": "loss_history"}
    # Of the losses, of what they are of, and of the words that sub-sampling kept.
    SUMS: ClassVar[tuple[str, ...]] = ("loss_sum", "pairs", "centers")

    epochs: int
    alpha: float
    min_alpha: float
    unit: str = "words"
    first_epoch: int = 0  # key of this run's first epoch: the epochs of earlier runs come before
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(StreamState.SUMS, 0))
    epoch_sums: list[list[float]] = field(default_factory=list)  # [loss_sum, pairs] at ends

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.epochs

    @property
    def learning_rate(self) -> float:
        """At the position reached."""
        return self.alpha + (self.min_alpha - self.alpha) * self.share

    @property
    def loss_sum(self) -> float:
        """Of all pairs of the run."""
        return self.sums["loss_sum"]

    @property
    def pairs(self) -> int:
        """The losses that are summed: of pairs of words, or of CBOW of words with a context."""
        return int(self.sums["pairs"])

    @property
    def centers(self) -> int:
        """Words that sub-sampling kept."""
        return int(self.sums["centers"])

    @property
    def loss_history(self) -> list[dict[str, Any]]:
        """Readings over stretches of the run."""
        return self.history

    @property
    def mean_loss(self) -> float:
        """Per pair over the whole run; nan before the first pair."""
        return self.loss_sum / self.pairs if self.pairs else math.nan

    @property
    def recent_loss(self) -> float:
        """Per pair over the latest stretch of the loss history that had pairs; nan before."""
        losses = (point["loss"] for point in reversed(self.history))
        return next((loss for loss in losses if loss is not None), math.nan)

    @property
    def epoch_losses(self) -> list[float]:
        """Per pair over each complete epoch; nan for one without pairs."""
        ends = [(0.0, 0), *self.epoch_sums]
        return [
            (loss - loss_before) / (pairs - pairs_before) if pairs > pairs_before else math.nan
            for (loss_before, pairs_before), (loss, pairs) in pairwise(ends)
        ]

    def reading(self, part: Amounts) -> Reading:
        """Speed, loss per pair, learning rate; the unit in the names of what is counted in it."""
        pairs = part.sums["pairs"]
        per_second = round(part.done / part.seconds, 1)
        loss = round(part.sums["loss_sum"] / pairs, 6) if pairs else None
        epoch, lr = min(self.epoch + 1, self.epochs), self.learning_rate
        speed, rate = f"{count(per_second)} {self.unit}/s", f"lr {lr:.5f}"
        shown = "loss -" if loss is None else f"loss {loss:.4f}"
        return Reading(
            f"epoch {epoch}/{self.epochs}",
            f"{speed}  {shown}  {rate}",
            {
                "time": round(self.seconds, 3),
                "epoch": epoch,
                self.unit: self.done,
                f"{self.unit}_per_second": per_second,
                "pairs_per_second": round(pairs / part.seconds, 1),
                "loss": loss,
                "lr": lr,
            },
            [shown, speed],
            [rate],
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values; the sums stand for themselves."""
        content = super().to_json()
        return {**content.pop("sums"), **content}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`; also reads the names that format version 1 began with.

        Raises:
            ValueError: A field is missing or damaged.
        """
        if "tokens_done" in content:
            content = _with_present_names(content)
        require(content, cls.SUMS)
        state = super().from_json({**content, "sums": {name: content[name] for name in cls.SUMS}})
        require_numbers("loss_history", state.history, ("loss",), null=True)
        if any(len(sums) != 2 for sums in state.epoch_sums):
            raise ValueError(f"{STATE}: epoch_sums must be pairs of numbers")
        return state


def _with_present_names(content: Mapping[str, Any]) -> dict[str, Any]:
    """A state from when words were the only unit."""
    names = {"total_tokens": "total", "sentence": "position", "tokens_done": "done"}
    content = {names.get(name, name): value for name, value in content.items()}
    check_value("loss_history", content.get("loss_history", []), list[dict[str, Any]])
    history = [
        {"words" if name == "tokens" else name: value for name, value in point.items()}
        for point in content.get("loss_history", [])
    ]
    return {"unit": "words", "epoch_sums": [], **content, "loss_history": history}


def model_html(name: str, model: Any) -> str:
    """What a notebook shows of a model that a stream trains."""
    words = 0 if model.vocabulary is None else len(model.vocabulary)
    rows = [("words", f"{words:,}"), ("vector size", model.vector_size)]
    state: StreamState | None = model.state
    if state is None:
        rows.append(("trained", "no"))
    else:
        speed = f"{count(state.per_second)} {state.unit}/s"
        rows += [
            ("epochs", f"{state.epoch} of {state.epochs}"),
            ("loss", f"{state.recent_loss:.4f}"),
            ("trained", f"{clock(state.seconds)}, {speed}"),
        ]
    return html_table(rows, caption=name)


def check_words(words: Sequence[str], folder: str | os.PathLike | None) -> None:
    """ValueError for words that a checkpoint cannot hold, if there will be one."""
    if folder is not None and any("\n" in word for word in words):
        raise ValueError("train: a checkpoint cannot hold words with line feeds; leave them out")


def check_resume(
    state: StreamState | None, given: Mapping[str, Any], what: str, identity: Mapping[str, Any]
) -> StreamState:
    """The state, if it is of an unfinished run, of these settings and on the same data.

    Args:
        given: Settings by name; None for that of the run.
        what: A name of the data.
        identity: What must be equal for the data to be the same.

    Raises:
        ValueError: Otherwise, naming what differs.
    """
    if state is None or state.finished:
        raise ValueError("train: there is nothing to resume, the last run is complete")
    pairs = [
        *((name, getattr(state, name), value) for name, value in given.items()),
        *((f"{what} {name}", state.corpus.get(name), value) for name, value in identity.items()),
    ]
    if differences := [
        f"{name} is {printable(now)} now, {printable(then)} in the interrupted run"
        for name, then, now in pairs
        if now is not None and now != then
    ]:
        raise ValueError("train: cannot resume: " + "; ".join(differences))
    return state


class StreamJob:
    """Calls of a kernel on ranges of positions, of about :data:`CALL_SECONDS` each.

    Args:
        state: Advanced in place after every call.
        offsets: ``offsets(epoch)`` is int64 [S + 1], units before each position of that epoch.
        step: ``step(epoch, first, last)`` trains positions [first, last) of epoch
            ``state.first_epoch + epoch`` and adds to ``stats``.
        stats: float64 [3] on the device: sums of loss, pairs and centres over this run; [2] where
            there are no centres. Overwritten with the state's own sums first.
        tell: Called with the events of epochs (:class:`~lexforge.training.events.Events`).
    """

    patience = 0.0  # a call is as long as one can be patient

    def __init__(
        self,
        state: StreamState,
        offsets: Callable[[int], torch.Tensor],
        step: Callable[[int, int, int], None],
        stats: torch.Tensor,
        tell: Callable[[str], None] = lambda event: None,
    ) -> None:
        self.state = state
        self._offsets, self._step, self._stats, self._tell = offsets, step, stats, tell
        sums = [state.sums[name] for name in state.SUMS[: stats.numel()]]
        stats.copy_(torch.tensor(sums, dtype=torch.float64))
        self._history, self._between = state.meter(), max(state.total // HISTORY_POINTS, 1)
        self._call_units = float(FIRST_CALL_UNITS)
        self._before: torch.Tensor | None = None  # offsets of the present epoch
        self._called: tuple[int, int] | None = None  # end of the latest call, and its units

    def advance(self, watch: Watch) -> None:
        """One call, where epochs are left."""
        state = self.state
        while not state.finished:
            if self._before is None:
                if state.position == 0:
                    with watch.paused():
                        self._tell("on_epoch_begin")
                self._before = self._offsets(state.epoch)
            if state.position < self._before.numel() - 1:
                self._called = _cut(self._before, state.position, int(self._call_units))
                self._step(state.epoch, state.position, self._called[0])
                return
            state.epoch += 1
            state.position = 0
            state.epoch_sums.append([state.loss_sum, state.pairs])
            self._before = None
            with watch.paused():
                self._tell("on_epoch_end")

    def look(self, watch: Watch) -> None:
        """Account for the latest call.

        Raises:
            TrainingDivergedError: The loss became infinite or not a number.
        """
        if self._called is None:
            return
        state, (last, units), self._called = self.state, self._called, None
        loss_sum, *counts = self._stats.tolist()  # waits for the device
        seconds = watch.lap()
        if not math.isfinite(loss_sum):
            raise TrainingDivergedError(
                f"the loss became {loss_sum} in epoch {state.epoch + 1}, after {state.done:,} "
                f"{state.unit} at learning rate {state.learning_rate:.4g}: try a smaller one"
            )
        points_before = state.done // self._between
        state.position = last
        state.done += units
        state.sums.update(zip(state.SUMS, [loss_sum, *map(int, counts)], strict=False))
        if state.done // self._between > points_before:
            state.history.append(self._history.read(state).values)
        if 2 * units >= self._call_units:  # not cut short by the end of the epoch
            wanted = units * CALL_SECONDS / max(seconds, 1e-6)
            self._call_units = min(wanted, units * LARGEST_GROWTH)


class Steps(NamedTuple):
    """What a kernel does for a model; the first three as :class:`StreamJob` takes them."""

    offsets: Callable[[int], torch.Tensor]
    step: Callable[[int, int, int], None]
    stats: torch.Tensor
    fetch: Callable[[], None]  # brings the model up to date, from a GPU if need be
    send: Callable[[], None]  # and the other way


def on_device(
    tables: Mapping[str, torch.Tensor],
    device: torch.device,
    refresh: Callable[[], None],
    dtype: torch.dtype | None = None,
    locked: Callable[[str], torch.Tensor | None] = lambda name: None,
) -> tuple[dict[str, torch.Tensor], Callable[[], None], Callable[[], None]]:
    """A model's tables on the device, by name; what brings the model up to date; and the device.

    On the CPU they are the model's own; on a GPU, or of another dtype, they are copies, to be
    fetched back, and to be sent again where the model was changed.

    Args:
        refresh: Called when the model's tables have changed.
        dtype: That they are trained in; by default the model's.
        locked: Of the table of that name, bool [rows], which rows training leaves alone: the
            model's keep their bits, also where they are rounded for training.
    """
    placed = {name: table.to(device, dtype) for name, table in tables.items()}

    def send() -> None:
        for name, table in tables.items():
            if placed[name] is not table:
                placed[name].copy_(table)

    def fetch() -> None:
        for name, table in tables.items():
            if placed[name] is not table:
                kept = locked(name)
                if kept is None:
                    table.copy_(placed[name])
                else:
                    trained = ~kept
                    table[trained.cpu()] = placed[name][trained].to(table.device, table.dtype)
        refresh()

    send()
    return placed, fetch, send


def run_steps(
    steps: Steps,
    state: StreamState,
    model: Any,
    *,
    callbacks: Sequence[Any],
    progress: Progress,
    checkpoint_folder: str | os.PathLike | None,
    checkpoint_every: float | None,
    stop: StopRequest | None,
    checkpoint_last: bool = True,
) -> None:
    """Train a model to the end of its run, or until stopped; it is up to date whatever happens.

    Args:
        model: What callbacks are called with, and whose ``save(folder)`` is.
        checkpoint_every: Minutes; None for no checkpoints in between.
        callbacks, progress, checkpoint_folder, checkpoint_last, stop: As of the model's ``train``.
    """

    def save() -> None:
        steps.fetch()
        model.save(checkpoint_folder)

    tell = Events(callbacks, model, steps.fetch, steps.send)
    try:
        run(
            StreamJob(state, steps.offsets, steps.step, steps.stats, tell),
            progress=progress,
            tell=tell,
            stop=stop,
            save=None if checkpoint_folder is None else save,
            save_every=None if checkpoint_every is None else 60.0 * checkpoint_every,
            save_last=checkpoint_last,
        )
    finally:
        steps.fetch()


def _cut(offsets: torch.Tensor, first: int, units: int) -> tuple[int, int]:
    """Where to end a run of whole positions, one at least, with about that many units.

    Returns:
        The position after the last one, and the number of units in the run.
    """
    start = int(offsets[first])
    last = int(torch.searchsorted(offsets, start + units, right=True)) - 1
    last = min(max(last, first + 1), offsets.numel() - 1)
    return last, int(offsets[last]) - start
