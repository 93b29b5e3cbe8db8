"""Stopping a training run from outside without losing it."""

from __future__ import annotations

import signal
import threading
from typing import Any


class StopRequest:
    """Notes the first SIGINT or SIGTERM while active; a second one ends the process at once.

    A context manager for the main thread. A training loop looks at ``requested`` between kernel
    calls and stops there; nothing is interrupted half way.

    Attributes:
        signum: The signal that arrived, or None.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signum: int | None = None
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self.signum is not None

    @property
    def exit_code(self) -> int:
        """The shell's code for a process that this signal ended: 130 or 143; 0 without one."""
        return 0 if self.signum is None else 128 + self.signum

    def __enter__(self) -> StopRequest:
        # Python allows handlers in the main thread only; elsewhere signals are not ours to take.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in self._SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _note(self, signum: int, frame: object) -> None:
        self.signum = signum
        # The default action needs no interpreter, so the second signal also ends a long C call.
        for number in self._SIGNALS:
            signal.signal(number, signal.SIG_DFL)
