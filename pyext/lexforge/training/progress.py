"""Telling how training goes: a live line, a line now and then, or one JSON object per interval."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple, Protocol

LIVE_SECONDS = 0.25
PLAIN_SECONDS = 10.0
JSON_SECONDS = 1.0
_LOGGER = logging.getLogger("lexforge")


class Shown(Protocol):
    """One interval of training: what :class:`Progress` shows and logs of it."""

    @property
    def title(self) -> str:
        """Which part of the run it is: "epoch 2/5"."""

    @property
    def detail(self) -> str:
        """It in words: speed, loss, learning rate."""

    @property
    def values(self) -> Mapping[str, Any]:
        """It as plain values."""


class Intervals(Protocol):
    """Turns running totals into one reading per interval."""

    def seconds(self, state: Any) -> float:
        """Training time since the last reading."""

    def read(self, state: Any) -> Shown:
        """The interval since the last reading; the next one starts here."""


class _Meters(NamedTuple):
    """Each output has intervals of its own."""

    shown: Intervals  # on the live line
    said: Intervals  # as lines of text
    logged: Intervals


class Trained(Protocol):
    """Where a run stands, as far as :class:`Progress` is concerned."""

    seconds: float  # of training so far
    done: int  # units

    @property
    def share(self) -> float:
        """Of the run that is done, 0 to 1."""

    def meter(self) -> Intervals:
        """For intervals from here on."""


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

    What is said, shown or not, also goes to the logger ``lexforge``, at level INFO.

    Args:
        show: Show it: a live line when the stream is a terminal, else a plain line every
            ``every`` seconds.
        log_json: File that gets one JSON object per line and second of training. Of a streaming
            trainer: ``time`` (seconds of training), ``epoch`` (from 1), ``words`` and
            ``words_per_second`` (or what else is counted), ``pairs_per_second``, ``loss``, ``lr``.
        tensorboard: Folder for TensorBoard, which gets the same numbers over the units done.
        append: Keep what the log holds already (a resumed run).
        every: Seconds between plain lines.
        stream: Where to show it; standard error by default.

    Raises:
        ImportError: ``tensorboard`` without that package.
    """

    def __init__(
        self,
        show: bool = False,
        *,
        log_json: str | os.PathLike | None = None,
        tensorboard: str | os.PathLike | None = None,
        append: bool = False,
        every: float = PLAIN_SECONDS,
        stream: IO[str] | None = None,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._show, self._every = show, every
        self._log: IO[str] | None = None
        if log_json is not None:
            self._log = open(log_json, "a" if append else "w", encoding="utf-8")  # noqa: SIM115
        self._board = None if tensorboard is None else _tensorboard(tensorboard)
        self._live: Any = None  # rich's display, and its one task
        self._task: Any = None
        self._meters: _Meters | None = None  # from begin() on

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_live()
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._board is not None:
            self._board.close()
            self._board = None

    @property
    def _terminal(self) -> bool:
        return self._show and self._stream.isatty()

    def say(self, text: str) -> None:
        """One line of text, when progress is shown at all; it ends a live line."""
        _LOGGER.info("%s", text)
        if self._show:
            self._end_live()
            print(text, file=self._stream, flush=True)

    def warn(self, text: str) -> None:
        """A warning to the logger ``lexforge``, which Python prints where nobody else listens."""
        self._end_live()
        _LOGGER.warning("warning: %s", text)

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
        began, before = last, 0
        started = False

        def report(done: int, total: int | None) -> None:
            nonlocal last, began, before, started
            now = time.monotonic()
            if unit and (not started or done < before):
                last, began, before, started = now, now, done, True
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
        self._meters = _Meters(state.meter(), state.meter(), state.meter())
        if self._terminal:
            self._update_live("training", 0.0, "")

    def update(self, state: Trained) -> None:
        """Called when the state is up to date; shows and logs when an interval is over."""
        self._tell(state, LIVE_SECONDS, self._every, JSON_SECONDS)

    def end(self, state: Trained) -> None:
        """End of training, complete or not: the last interval is shown and logged too."""
        self._tell(state, 0.0, 0.0, 0.0)
        self._end_live()

    def evaluation(self, state: Trained, values: Mapping[str, Any], text: str) -> None:
        """What was measured on held-out data: `text` is said, the values logged as ``eval_*``."""
        self.say(text)
        places = ("step", "epoch")
        named = {name if name in places else f"eval_{name}": x for name, x in values.items()}
        self._record(state, {"time": round(state.seconds, 3), **named})

    def _tell(self, state: Trained, live: float, plain: float, log: float) -> None:
        """Whatever is due after so many seconds."""
        assert self._meters is not None, "begin() comes first"
        shown, said, logged = self._meters
        if self._terminal and _due(shown, state, live):
            self._update_live(*_line(state, shown.read(state)))
        lines = self._show and not self._terminal
        if (lines or _LOGGER.isEnabledFor(logging.INFO)) and _due(said, state, plain):
            title, share, detail = _line(state, said.read(state))
            text = f"{title}  {share:4.0%}  {detail}"
            if lines:
                self.say(text)
            else:
                _LOGGER.info("%s", text)
        if (self._log is not None or self._board is not None) and _due(logged, state, log):
            self._record(state, logged.read(state).values)

    def _record(self, state: Trained, values: Mapping[str, Any]) -> None:
        if self._log is not None:
            self._log.write(json.dumps(values) + "\n")
            self._log.flush()
        if self._board is not None:
            for name, value in values.items():
                if value is not None:
                    self._board.add_scalar(name, value, state.done)

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


def _due(meter: Intervals, state: Trained, seconds: float) -> bool:
    return meter.seconds(state) >= seconds and meter.seconds(state) > 0


def _line(state: Trained, reading: Shown) -> tuple[str, float, str]:
    """Title, share, and all the rest."""
    share = state.share
    left = state.seconds / share - state.seconds if share else 0.0
    return reading.title, share, f"{reading.detail}  left {clock(left)}"


def _tensorboard(folder: str | os.PathLike) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "writing for TensorBoard needs its package: pip install tensorboard"
        ) from error
    return SummaryWriter(os.fspath(folder))
