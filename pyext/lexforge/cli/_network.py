"""What the commands share that train a network: options, the run, and how its end is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lexforge._display import shell_command
from lexforge.cli._options import RunOptions, output
from lexforge.cli._training import leave_stopped

if TYPE_CHECKING:
    from lexforge.training.network_job import NetworkState
    from lexforge.training.progress import Progress


class _Result(Protocol):
    @property
    def state(self) -> NetworkState: ...


_R = TypeVar("_R", bound=_Result)


@dataclass(frozen=True)
class NetworkRunOptions(RunOptions):
    """What every training of a network has."""

    keep: int = output(0, "Keep so many of the last checkpoints, in `--out/step-<n>`.", low=0)
    tensorboard: Path | None = output(None, "Folder to log into (pip install tensorboard).")

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        """What other trainings write, and TensorBoard's folder."""
        return (*super().outputs, self.tensorboard)

    def check(self, *files: Path | None, folders: Mapping[str, Path | None] = {}) -> None:
        """As other trainings, and whether TensorBoard's folder can be one."""
        super().check(*files, folders={"--tensorboard": self.tensorboard, **folders})


@contextmanager
def displayed(run: NetworkRunOptions) -> Iterator[Progress]:
    """What is shown and logged of a run, whose folder no other process takes meanwhile."""
    from lexforge.training.lock import folder_of_run
    from lexforge.training.progress import Progress

    with (
        folder_of_run(run.out),
        Progress(
            not run.quiet, log_json=run.log_json, tensorboard=run.tensorboard, append=run.resume
        ) as progress,
    ):
        yield progress


def train_network(
    train: Callable[..., _R],
    source: object,
    run: NetworkRunOptions,
    progress: Progress,
    again: Sequence[object],
    held_out: Sequence[object] = (),
    **arguments: Any,
) -> _R:
    """Train to the end; a signal saves what there is and leaves by its exit code.

    Args:
        train: of `source` and `arguments`, and of what `run` says.
        again: the words after ``lexforge`` of a command that goes on.
        held_out: its words behind --resume.
    """
    from lexforge.training.signals import StopRequest

    stop = StopRequest()
    result = train(
        source,
        out=run.out,
        overwrite=run.overwrite,
        device=run.device,
        workers=run.workers,
        checkpoint_every=run.checkpoint_every or None,
        keep=run.keep,
        progress=progress,
        stop=stop,
        **arguments,
    )
    if not result.state.finished:
        leave_stopped(stop, run.out, *again, "--out", run.out, "--resume", *held_out)
    return result


def tell_end(
    progress: Progress,
    state: NetworkState,
    out: Path | None,
    done: str,
    told: Iterable[str],
    notes: Iterable[str],
    then: Sequence[object],
) -> None:
    """How it went, where the model is, and what to do with it.

    Args:
        done: what was done in the time it took.
        told: lines about the result. notes: about what is in the folder.
        then: the words after ``lexforge`` of a command for the model.
    """
    from lexforge.training.progress import clock

    progress.say(f"done in {clock(state.seconds)}: {done}")
    for line in told:
        progress.say(line)
    if out is not None:
        for line in (f"  {out}", *notes):
            progress.say(line)
        progress.say(f"try: {shell_command('lexforge', *then)}")
