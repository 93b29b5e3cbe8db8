"""Programs that end in time: each has a deadline, is asked to stop, and then is stopped."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

GRACE = 3.0  # seconds between the request to stop and the end
TURN = 0.1  # seconds between two looks at what runs
_KEPT = 4000  # characters of a failed program's output
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Clock:
    """What is left of the time."""

    def __init__(self, seconds: float, begin: float | None = None):
        self.end = (time.monotonic() if begin is None else begin) + seconds

    def left(self, most: float = float("inf")) -> float:
        """Seconds that a program may take: `most`, or less if less is left."""
        return max(0.0, min(most, self.end - time.monotonic()))


def _die_with_parent() -> None:
    """Linux kills this process when its parent dies, however that dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A program that runs beside this one until it ends or its time is over.

    Args:
        command: with its arguments.
        seconds: how long it may run.
        output: file that its output is appended to, as it comes.
        folder: where it runs.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        command: list[str],
        seconds: float,
        output: Path,
        folder: Path,
        environment: dict[str, str],
    ):
        self.begin = time.monotonic()
        self._deadline = self.begin + seconds
        self._asked: float | None = None
        self._output = output
        with output.open("ab") as file:
            self._offset = file.tell()
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def ended(self) -> bool:
        """Whether it is over; asks it to stop when its time is."""
        if self._process.poll() is not None:
            return True
        now = time.monotonic()
        if self._asked is None and now >= self._deadline:
            self.stop()
        elif self._asked is not None and now >= self._asked + GRACE:
            self.kill()
        return False

    def stop(self) -> None:
        """Asks it and its children to stop; `ended` sees to it that they do."""
        self._asked = time.monotonic()
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """At once, its children too."""
        self._asked = self._asked or time.monotonic()
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it may have ended meanwhile
            os.killpg(self._process.pid, number)

    @property
    def status(self) -> int:
        """As of subprocess: negative where a signal ended it."""
        return self._process.returncode

    def text(self) -> str:
        """All of its output so far."""
        with self._output.open("rb") as file:
            file.seek(self._offset)
            return file.read().decode(errors="replace")

    def result(self) -> dict:
        """Outcome and seconds; of one that did not pass also the end of its output."""
        outcome = "passed" if self.status == 0 else "failed"
        if self._asked is not None:
            outcome = "out of time"
        result = {"outcome": outcome, "seconds": round(time.monotonic() - self.begin, 1)}
        if outcome != "passed":
            result |= {"status": self.status, "output": self.text()[-_KEPT:]}
        return result


def wait_for(child: Child, each_turn: Callable[[], object] = lambda: None) -> dict:
    """Its result when it is over; `each_turn` is called meanwhile, and once more after it."""
    try:
        while not child.ended():
            each_turn()
            time.sleep(TURN)
    except BaseException:
        child.kill()
        raise
    each_turn()
    return child.result()
