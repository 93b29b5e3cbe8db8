"""The loop of every trainer: time, display, stopping, checkpoints and events around its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from lexforge.training.checkpoint import CheckpointError

if TYPE_CHECKING:
    from lexforge.training.progress import Progress
    from lexforge.training.signals import StopRequest
    from lexforge.training.state import RunState


def attempt(save: Callable[[], None], progress: Progress, then: str) -> None:
    """Save, where a failure is no reason to end the run: it is told, with what happens then."""
    try:
        save()
    except (CheckpointError, OSError) as error:
        progress.warn(f"{error}; training goes on, and {then}")


class Watch:
    """Adds the time of training to a state."""

    def __init__(self, state: RunState) -> None:
        self._state, self._tick = state, time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap; from here on they are in the state."""
        before, self._tick = self._tick, time.perf_counter()
        self._state.seconds += self._tick - before
        return self._tick - before

    @contextmanager
    def paused(self) -> Iterator[None]:
        """For what is no training: saving, callbacks, evaluation."""
        self.lap()
        yield
        self._tick = time.perf_counter()


class Job(Protocol):
    """What :func:`run` needs to know of a trainer."""

    @property
    def state(self) -> RunState:
        """Where it stands."""

    @property
    def patience(self) -> float:
        """Seconds that may go by between two looks; 0 for a look every time."""

    def advance(self, watch: Watch) -> None:
        """One kernel call or one step; never waits for the device."""

    def look(self, watch: Watch) -> None:
        """Bring the sums to the host, which waits for the device, and the state up to date.

        Raises:
            TrainingDivergedError: The loss is no longer finite.
        """


def run(
    job: Job,
    *,
    progress: Progress,
    tell: Callable[[str], None] = lambda event: None,
    stop: StopRequest | None = None,
    save: Callable[[], None] | None = None,
    save_every: float | None = None,
    save_last: bool = True,
) -> None:
    """Train from where the job stands to its end, or until asked to stop.

    Args:
        job: Advanced in place. A finished one is left as it is.
        progress: Told of every look.
        tell: Called with the events ``on_train_begin`` and ``on_train_end``.
        stop: Looked at after every advance; when requested the loop saves and returns.
        save: Writes a checkpoint of the present state: when stopped, and at the end.
        save_every: Seconds between checkpoints; None for none in between. One of these that cannot
            be written is told of, and tried again after as long.
        save_last: Whether to save at the end, too.

    Raises:
        CheckpointError: The last checkpoint could not be written.
        TrainingDivergedError: The loss is no longer finite. Nothing is saved.
    """
    state = job.state
    if state.finished:
        return
    if state.done == 0:
        tell("on_train_begin")
    progress.begin(state)
    watch = Watch(state)
    looked_at = saved_at = time.perf_counter()
    try:
        while not state.finished:
            job.advance(watch)
            now = time.perf_counter()
            stopping = stop is not None and stop.requested
            due = save_every is not None and now - saved_at >= save_every
            if stopping or due or state.finished or now - looked_at >= job.patience:
                job.look(watch)
                looked_at = time.perf_counter()
                progress.update(state)
            if save is not None and (stopping or due) and not state.finished:
                with watch.paused():
                    if stopping:
                        save()
                    else:
                        attempt(save, progress, f"saves again in {save_every:g} seconds")
                saved_at = time.perf_counter()
            if stopping and not state.finished:
                return
    finally:
        progress.end(state)
    tell("on_train_end")
    if save is not None and save_last:
        save()
