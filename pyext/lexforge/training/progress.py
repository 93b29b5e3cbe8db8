"""Telling how training goes: a live line, a line now and then, or one JSON object per interval."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lexforge.training.loop import TrainerState

LIVE_SECONDS = 0.25
PLAIN_SECONDS = 10.0
JSON_SECONDS = 1.0


class Shown(Protocol):
    """One interval of training: what :class:`Progress` shows and logs of it."""

    title: str  # which part of the run it is: "epoch 2/5"

    def describe(self) -> str:
        """It in words: speed, loss, learning rate."""

    def record(self) -> dict[str, Any]:
        """It as plain values."""


class Intervals(Protocol):
    """Turns running totals into one reading per interval."""

    def seconds(self, state: Any) -> float:
        """Training time since the last reading."""

    def read(self, state: Any) -> Shown:
        """The interval since the last reading; the next one starts here."""


class Trained(Protocol):
    """Where a run stands, as far as :class:`Progress` is concerned."""

    seconds: float  # of training so far
    share: float  # of the run that is done, 0 to 1

    def meter(self) -> Intervals:
        """For intervals from here on."""


@dataclass
class Reading:
    """One interval of training, as it is shown and logged.

    ``done`` and ``per_second`` count units: words of the corpus after the vocabulary filter and
    before sub-sampling, or entries of a co-occurrence matrix. ``loss`` is the mean per (centre,
    context) pair over the interval.
    """

    unit: str
    time: float
    epoch: int
    epochs: int
    done: int
    per_second: float
    pairs_per_second: float
    loss: float | None
    lr: float

    @property
    def title(self) -> str:
        """The epoch, from 1, and how many there are."""
        return f"epoch {self.epoch}/{self.epochs}"

    def describe(self) -> str:
        """Speed, loss, learning rate."""
        loss = "-" if self.loss is None else f"{self.loss:.4f}"
        return f"{count(self.per_second)} {self.unit}/s  loss {loss}  lr {self.lr:.5f}"

    def record(self) -> dict[str, Any]:
        """As it is logged and kept, the unit in the names of what is counted in it."""
        return {
            "time": self.time,
            "epoch": self.epoch,
            self.unit: self.done,
            f"{self.unit}_per_second": self.per_second,
            "pairs_per_second": self.pairs_per_second,
            "loss": self.loss,
            "lr": self.lr,
        }


class Meter:
    """Turns the running totals of a :class:`TrainerState` into readings per interval."""

    def __init__(self, state: TrainerState) -> None:
        self._start(state)

    def _start(self, state: TrainerState) -> None:
        self._seconds, self._done = state.seconds, state.done
        self._loss, self._pairs = state.loss_sum, state.pairs

    def seconds(self, state: TrainerState) -> float:
        """Training time since the last reading."""
        return state.seconds - self._seconds

    def read(self, state: TrainerState) -> Reading:
        """The interval since the last reading; the next one starts here."""
        seconds = max(self.seconds(state), 1e-9)
        pairs = state.pairs - self._pairs
        reading = Reading(
            unit=state.unit,
            time=round(state.seconds, 3),
            epoch=min(state.epoch + 1, state.epochs),
            epochs=state.epochs,
            done=state.done,
            per_second=round((state.done - self._done) / seconds, 1),
            pairs_per_second=round(pairs / seconds, 1),
            loss=round((state.loss_sum - self._loss) / pairs, 6) if pairs else None,
            lr=state.learning_rate,
        )
        self._start(state)
        return reading


def count(number: float) -> str:
    """A number of things, short: 812, 45.3 k, 3.21 M."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.0f}"


def clock(seconds: float) -> str:
    """A duration: 0:07, 12:03, 1:02:03."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Progress:
    """Shows training on a stream and logs it to a file; silent unless told otherwise.

    Args:
        show: Show it: a live line when the stream is a terminal, else a plain line every
            ``every`` seconds.
        log_json: File that gets one JSON object per line and second of training. Of a streaming
            trainer: ``time`` (seconds of training), ``epoch`` (from 1), ``words`` and
            ``words_per_second`` (or what else is counted), ``pairs_per_second``, ``loss``, ``lr``.
        append: Keep what the log holds already (a resumed run).
        every: Seconds between plain lines.
        stream: Where to show it; standard error by default.
    """

    def __init__(
        self,
        show: bool = False,
        *,
        log_json: str | os.PathLike | None = None,
        append: bool = False,
        every: float = PLAIN_SECONDS,
        stream: IO[str] | None = None,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._show, self._every = show, every
        self._log: IO[str] | None = None
        if log_json is not None:
            self._log = open(log_json, "a" if append else "w", encoding="utf-8")  # noqa: SIM115
        self._live = self._task = None
        self._shown = self._logged = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_live()
        if self._log is not None:
            self._log.close()
            self._log = None

    @property
    def _terminal(self) -> bool:
        return self._show and self._stream.isatty()

    def say(self, text: str) -> None:
        """One line of text, when progress is shown at all; it ends a live line."""
        if self._show:
            self._end_live()
            print(text, file=self._stream, flush=True)

    def phase(self, name: str, unit: str | None = None) -> Callable[[int, int | None], None] | None:
        """A callback ``(done, total)`` for a phase other than training; None when nothing is shown.

        Without a ``unit`` they are bytes, or sentences when there is no total. With one they count
        that, and speed and, with a total, time left are shown, measured from the first call on:
        call it once before the work. A ``done`` that falls begins the phase anew.
        """
        if not self._show:
            return None
        self._end_live()
        due = LIVE_SECONDS if self._terminal else self._every
        last = time.monotonic()
        began = before = None

        def report(done: int, total: int | None) -> None:
            nonlocal last, began, before
            now = time.monotonic()
            if unit and (before is None or done < before):
                last, began, before = now, now, done
            complete = self._terminal and done == total
            if now - last < due and not complete:
                return
            last = now
            share = done / total if total else 0.0
            if unit:
                speed = (done - before) / max(now - began, 1e-9)
                detail = f"{count(done if total is None else total)} {unit}"
                detail += f"  {count(speed)} {unit}/s"
                if total is not None:
                    detail += f"  left {clock((total - done) / speed) if speed else '-'}"
            else:
                detail = f"{count(done)} sentences" if total is None else f"{count(total)}B"
            if self._terminal:
                self._update_live(name, share, detail)
            else:
                self.say(
                    f"{name}  {detail}" if total is None else f"{name}  {share:4.0%} of {detail}"
                )

        return report

    def begin(self, state: Trained) -> None:
        """Start of training: intervals are measured from here."""
        self._end_live()
        self._shown, self._logged = state.meter(), state.meter()
        if self._terminal:
            self._update_live("training", 0.0, "")

    def update(self, state: Trained) -> None:
        """Called after every kernel call; shows and logs when an interval is over."""
        if self._show:
            due = LIVE_SECONDS if self._terminal else self._every
            if self._shown.seconds(state) >= due:
                self._show_state(state)
        if self._log is not None and self._logged.seconds(state) >= JSON_SECONDS:
            self._log_state(state)

    def end(self, state: Trained) -> None:
        """End of training, complete or not: the last interval is shown and logged too."""
        if self._show and self._shown.seconds(state) > 0:
            self._show_state(state)
        if self._log is not None and self._logged.seconds(state) > 0:
            self._log_state(state)
        self._end_live()

    def _show_state(self, state: Trained) -> None:
        reading = self._shown.read(state)
        share = state.share
        left = state.seconds / share - state.seconds if share else 0.0
        detail = f"{reading.describe()}  left {clock(left)}"
        if self._terminal:
            self._update_live(reading.title, share, detail)
        else:
            self.say(f"{reading.title}  {share:4.0%}  {detail}")

    def _log_state(self, state: Trained) -> None:
        self._log.write(json.dumps(self._logged.read(state).record()) + "\n")
        self._log.flush()

    def _update_live(self, name: str, share: float, detail: str) -> None:
        if self._live is None:
            from rich import progress
            from rich.console import Console

            self._live = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(bar_width=24),
                progress.TaskProgressColumn(),
                progress.TextColumn("{task.fields[detail]}"),
                console=Console(file=self._stream),
                auto_refresh=False,  # a refreshing thread would take turns with the training calls
                redirect_stdout=False,
            )
            self._live.start()
            self._task = self._live.add_task(name, total=1.0, detail="")
        self._live.update(
            self._task, description=name, completed=share, detail=detail, refresh=True
        )

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = self._task = None
