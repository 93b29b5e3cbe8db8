"""Telling how training goes: a live line, a line now and then, or one JSON object per interval."""

from __future__ import annotations

import contextlib
import html
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple, Protocol

from lexforge._display import LiveOutput, is_terminal, notebook, printable, write_line

LIVE_SECONDS = 0.25
PLAIN_SECONDS = 10.0
JSON_SECONDS = 1.0
NOTEBOOK_WIDTH = 100  # characters
_BARS = (4, 8, 24)  # widths: the smallest, the smallest beside what may be left out, the largest
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
    def brief(self) -> Sequence[str]:
        """What a live line has of it, what matters first: loss, speed. Empty: the detail."""

    @property
    def more(self) -> Sequence[str]:
        """What follows there where the line is long enough."""

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

    What is said, shown or not, also goes to the logger ``lexforge``, at level INFO. Training never
    ends because of its display: when a stream is closed, its reader gone or its disk full, nothing
    more is shown there. A log whose disk is full ends too, which is said.

    Args:
        show: Show it: a live line when the stream is a terminal, or in a notebook; else a plain
            line every ``every`` seconds.
        log_json: File that gets one JSON object per line and second of training. Of a streaming
            trainer: ``time`` (seconds of training), ``epoch`` (from 1), ``words`` and
            ``words_per_second`` (or what else is counted), ``pairs_per_second``, ``loss``, ``lr``.
        tensorboard: Folder for TensorBoard, which gets the same numbers over the units done.
        append: Keep what the log holds already (a resumed run).
        every: Seconds between plain lines.
        stream: Where to show it; by default in the notebook that this runs in, or else on
            standard error.

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
        self._notebook = show and stream is None and notebook() is not None
        self._show, self._every = show, every
        self._log: IO[str] | None = None
        if log_json is not None:
            self._log = open(log_json, "a" if append else "w", encoding="utf-8")  # noqa: SIM115
        self._board = None if tensorboard is None else _tensorboard(tensorboard)
        self._line: _TerminalLine | _NotebookLine | None = None  # the live one
        self._meters: _Meters | None = None  # from begin() on

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_live()
        self._end_logs()

    @property
    def _is_live(self) -> bool:
        return self._show and (self._notebook or is_terminal(self._stream))

    def say(self, text: str) -> None:
        """One line of text, when progress is shown at all; it ends a live line.

        What a terminal would obey in it is shown as escapes.
        """
        text = printable(text)
        _LOGGER.info("%s", text)
        if self._show:
            self._end_live()
            self._show = self._show and write_line(self._stream, text)

    def warn(self, text: str) -> None:
        """A warning to the logger ``lexforge``, which Python prints where nobody else listens."""
        self._end_live()
        _LOGGER.warning("warning: %s", printable(text))

    def phase(self, name: str, unit: str | None = None) -> Callable[[int, int | None], None] | None:
        """A callback ``(done, total)`` for a phase other than training; None when nothing is shown.

        Without a ``unit`` they are bytes, or sentences when there is no total. With one they count
        that, and speed and, with a total, time left are shown, measured from the first call on:
        call it once before the work. A ``done`` that falls begins the phase anew.
        """
        if not self._show:
            return None
        self._end_live()
        due = LIVE_SECONDS if self._is_live else self._every
        last = time.monotonic()
        began, before = last, 0
        started = False

        def report(done: int, total: int | None) -> None:
            nonlocal last, began, before, started
            now = time.monotonic()
            if unit and (not started or done < before):
                last, began, before, started = now, now, done, True
            complete = self._is_live and done == total
            if not self._show or (now - last < due and not complete):
                return
            last = now
            share = done / total if total else 0.0
            if unit:
                speed = (done - before) / max(now - began, 1e-9)
                words = [f"{count(done if total is None else total)} {unit}"]
                words.append(f"{count(speed)} {unit}/s")
                if total is not None:
                    words.append(f"left {clock((total - done) / speed) if speed else '-'}")
            else:
                words = [f"{count(done)} sentences" if total is None else f"{count(total)}B"]
            if self._is_live:
                self._update_live(name, None if total is None else share, words)
            else:
                detail = "  ".join(words)
                self.say(
                    f"{name}  {detail}" if total is None else f"{name}  {share:4.0%} of {detail}"
                )

        return report

    def begin(self, state: Trained) -> None:
        """Start of training: intervals are measured from here."""
        self._end_live()
        self._meters = _Meters(state.meter(), state.meter(), state.meter())
        if self._is_live:
            self._update_live("training", 0.0)

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
        if self._is_live and _due(shown, state, live):
            now = shown.read(state)
            brief = [*(now.brief or [now.detail]), _left(state)]
            self._update_live(now.title, state.share, brief, now.more)
        lines = self._show and not self._is_live
        if (lines or _LOGGER.isEnabledFor(logging.INFO)) and _due(said, state, plain):
            now = said.read(state)
            text = f"{now.title}  {state.share:4.0%}  {now.detail}  {_left(state)}"
            if lines:
                self.say(text)
            else:
                _LOGGER.info("%s", text)
        if (self._log is not None or self._board is not None) and _due(logged, state, log):
            self._record(state, logged.read(state).values)

    def _record(self, state: Trained, values: Mapping[str, Any]) -> None:
        try:
            if self._log is not None:
                self._log.write(json.dumps(values) + "\n")
                self._log.flush()
            if self._board is not None:
                for name, value in values.items():
                    if value is not None:
                        self._board.add_scalar(name, value, state.done)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._end_logs()
            self.say(f"the log ends here: {error.strerror or error}")

    def _end_logs(self) -> None:
        (log, board), self._log, self._board = (self._log, self._board), None, None
        for each in (log, board):
            if each is not None:
                each.close()

    def _update_live(
        self,
        title: str,
        share: float | None,
        brief: Sequence[str] = (),
        more: Sequence[str] = (),
    ) -> None:
        with self._silent_when_lost():
            if self._line is None:
                self._line = _NotebookLine() if self._notebook else _TerminalLine(self._stream)
            self._line.show(share, *_fitting(self._line.width, title, share, brief, more))

    def _end_live(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            with self._silent_when_lost():
                line.stop()

    @contextlib.contextmanager
    def _silent_when_lost(self) -> Iterator[None]:
        """Nothing more is shown once it cannot be."""
        try:
            yield
        except OSError:
            self._show = False
            if self._line is not None:
                with contextlib.suppress(OSError):
                    self._line.stop()
                self._line = None


@contextlib.contextmanager
def shown_by(
    progress: Progress | bool | None, show: bool, every: float = PLAIN_SECONDS
) -> Iterator[Progress]:
    """The caller's progress, which stays open, or one of our own, which ends with the block.

    Args:
        progress: Also whether to show our own, instead of what `show` says.
    """
    if isinstance(progress, Progress):
        yield progress
        return
    with Progress(show if progress is None else progress, every=every) as own:
        yield own


class _TerminalLine:
    """The last line of a terminal, drawn by rich."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            console=Console(file=stream),
            auto_refresh=False,  # a refreshing thread would take turns with the training calls
            redirect_stdout=False,
        )
        self._live.start()

    @property
    def width(self) -> int:
        """Characters of the terminal, now."""
        return self._live.console.width

    def show(self, share: float | None, bar: int, text: str) -> None:
        """A bar so wide, and the text."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(padding=(0, 1))
        cells = [ProgressBar(1.0, share, width=bar)] if bar and share is not None else []
        line.add_row(*cells, Text(text, no_wrap=True, overflow="crop"))
        self._live.update(line, refresh=True)

    def stop(self) -> None:
        """It stays where it is, and what follows begins below it."""
        self._live.stop()


class _NotebookLine:
    """A line below the cell of a notebook."""

    width = NOTEBOOK_WIDTH

    def __init__(self) -> None:
        self._output = LiveOutput()

    def show(self, share: float | None, bar: int, text: str) -> None:
        """A bar, and the text."""
        code = f"<code>{html.escape(text)}</code>"
        if share is not None:
            code = f'<progress value="{share:.4f}" style="width: {bar}ch"></progress> {code}'
        self._output.show({"text/plain": text, "text/html": code})

    def stop(self) -> None:
        """It stays."""


def _fitting(
    width: int, title: str, share: float | None, brief: Sequence[str], more: Sequence[str]
) -> tuple[int, str]:
    """The width of the bar, and the text beside it: whole parts, as many as there is room for.

    The last part of `brief` stays to the end; before one of the others goes, the bar does.
    """
    smallest, comfortable, largest = _BARS
    parts = [*([] if share is None else [f"{share:4.0%}"]), title]
    *brief, last = brief or [""]

    def text(brief: Sequence[str], more: Sequence[str]) -> str:
        return printable("  ".join(filter(None, [*parts, *brief, *more, last])))

    def room(line: str) -> int:
        return width - 1 - len(line)

    for kept in range(len(more), 0, -1):
        line = text(brief, more[:kept])
        if room(line) >= comfortable:
            return min(room(line), largest), line
    for kept in range(len(brief), 0, -1):
        line = text(brief[:kept], [])
        if room(line) >= smallest:
            return min(room(line), largest), line
        if len(line) <= width:
            return 0, line
    line = text([], [])
    return max(0, min(room(line), largest)), line


def _due(meter: Intervals, state: Trained, seconds: float) -> bool:
    return meter.seconds(state) >= seconds and meter.seconds(state) > 0


def _left(state: Trained) -> str:
    """How long the rest will take, at the speed so far."""
    share = state.share
    return f"left {clock(state.seconds / share - state.seconds if share else 0.0)}"


def _tensorboard(folder: str | os.PathLike) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "writing for TensorBoard needs its package: pip install tensorboard"
        ) from error
    return SummaryWriter(os.fspath(folder))
