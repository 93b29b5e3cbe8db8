"""A run of a network, from settings and data to the folder: what all families of networks share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from lexforge._arguments import LARGEST, MAX_THREADS, real, whole
from lexforge._library import cpu_has_bf16, kernel_threads
from lexforge.training.checkpoint import CheckpointError, is_checkpoint
from lexforge.training.events import Events
from lexforge.training.lock import folder_of_run
from lexforge.training.network_checkpoint import BEST, OPTIMIZER, load_run, save_run
from lexforge.training.network_job import Drawn, Evaluation, NetworkJob, NetworkState
from lexforge.training.optimizer import NetworkOptimizer
from lexforge.training.progress import Progress
from lexforge.training.run import attempt, run
from lexforge.training.settings import Settings, changes, refuse
from lexforge.training.state import check_value
from lexforge.training.stepper import Stepper

if TYPE_CHECKING:
    from lexforge.training.schedules import Schedule
    from lexforge.training.signals import StopRequest

EVALUATIONS = 10  # of a run with held-out data, where nothing else is asked for
_Content = TypeVar("_Content")
_Settings = TypeVar("_Settings", bound=Settings)
_State = TypeVar("_State", bound=NetworkState)


class Recipe(Protocol):
    """What a run asks of its settings."""

    @property
    def optimizer(self) -> str: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def beta1(self) -> float: ...
    @property
    def beta2(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def rates(self) -> Schedule: ...

    def record(self) -> dict[str, Any]: ...


class Saved(NamedTuple, Generic[_Content, _Settings, _State]):
    """A run that was read."""

    content: _Content  # what the family's reader made of the folder
    settings: _Settings
    state: _State
    optimizer: dict[str, Tensor]
    evaluation: dict[str, Any] | None  # how it is evaluated, and on what
    record: dict[str, Any]  # everything of the trainer's state


def read_run(
    folder: str | os.PathLike,
    read: Callable[[Path], _Content],
    settings: type[_Settings],
    state: type[_State],
    parts: tuple[str, ...] = (),
) -> Saved[_Content, _Settings, _State]:
    """The run of a checkpoint.

    Args:
        read, parts: See :func:`~lexforge.training.network_checkpoint.load_run`.
        settings, state: Their classes.

    Raises:
        FileNotFoundError: There is none. CheckpointError: It is damaged.
    """
    saved = load_run(folder, read, parts)
    record, evaluation = saved.record, saved.record.get("evaluation")
    try:
        for name in ("settings", "state", *([] if evaluation is None else ["evaluation"])):
            check_value(name, record.get(name), dict[str, Any])
        found = settings.of(record["settings"]), state.from_json(record["state"])
        if evaluation is not None:
            check_value("evaluation['corpus']", evaluation.get("corpus"), dict[str, Any])
            for name, low in (("eval_every", 1), ("early_stopping", 0)):
                whole("evaluation", name, evaluation.get(name), low, LARGEST)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the trainer state in {folder} is damaged: {error}") from error
    return Saved(saved.content, *found, saved.optimizer, evaluation, record)


def evaluated_as(
    saved: dict[str, Any] | None,
    resumed: bool,
    given: Mapping[str, Any],
    length: int,
    data: Mapping[str, Any] | None,
    argument: str = "eval_file",
) -> dict[str, Any] | None:
    """How a run is evaluated: what its checkpoint says of that.

    Args:
        saved: Of the run that goes on; None without.
        resumed: Whether one goes on.
        given: Any of ``eval_every`` (steps; a tenth of the run by default) and ``early_stopping``
            (evaluations without a smaller loss; 0, the default, for never).
        length: Steps of the run.
        data: What identifies the held-out data; None for no evaluation.
        argument: Who brings the data, for messages.

    Raises:
        ValueError: The run was evaluated on other data, in another way, or not at all.
    """
    if data is None:
        if saved is not None:
            raise ValueError(f"cannot resume without the {argument} that the run began with")
        return None
    if resumed and saved is None:
        raise ValueError(f"cannot resume with {argument}: the run began without it")
    usual = {"eval_every": max(length // EVALUATIONS, 1), "early_stopping": 0, "corpus": dict(data)}
    if saved is None:
        return {**usual, **given}
    if saved["corpus"] != usual["corpus"]:
        raise ValueError(f"cannot resume with another {argument}: it is not the run's text")
    refuse(changes(saved, given))
    return saved


@dataclass
class RunArguments:
    """What a function that trains a network takes beside data, model and settings.

    Attributes:
        out: Folder of checkpoints: `checkpoint_every` so many seconds (None for none in between),
            when stopped, at the end. The best evaluated one is in ``out/best``, and `keep` earlier
            ones stay.
        resume: Go on with the run in `out`.
        workers: Threads of torch; None for its own number.
        progress: Where to show it.
        stop: When it is requested, training saves and returns.
        callbacks: See :class:`~lexforge.training.events.Events`.
    """

    out: str | os.PathLike | None
    resume: bool
    workers: int | None
    checkpoint_every: float | None
    keep: int
    progress: Progress | bool
    stop: StopRequest | None
    callbacks: Sequence[Any]

    @classmethod
    def of(cls, owner: str, given: Mapping[str, Any]) -> RunArguments:
        """Those of a call, with ``overwrite`` among them, and ``checkpoint_every`` in minutes.

        Raises:
            TypeError, ValueError: One of the wrong kind or out of range; nothing to resume.
            FileExistsError: A new run would write over another one.
        """
        found = cls(**{each.name: given[each.name] for each in fields(cls)})
        found.keep = whole(owner, "keep", found.keep, low=0)
        if found.checkpoint_every is not None:
            minutes = real(owner, "checkpoint_every", found.checkpoint_every)
            found.checkpoint_every = 60 * minutes
        if found.workers is not None:
            found.workers = whole(owner, "workers", found.workers, high=MAX_THREADS)
        if found.resume and found.out is None:
            raise ValueError(f"{owner}: out must be the folder of the run to resume, got None")
        if found.out is not None and not (found.resume or given["overwrite"]):
            for folder in (Path(found.out), Path(found.out) / BEST):
                if is_checkpoint(folder):
                    raise FileExistsError(
                        f"{folder} holds a run or a model: resume it, or overwrite it"
                    )
        return found

    @contextmanager
    def opened(self) -> Iterator[Progress]:
        """The folder is the run's alone, its threads are set, and what it says is shown."""
        with ExitStack() as stack:
            stack.enter_context(folder_of_run(self.out))
            if isinstance(self.progress, Progress):
                progress = self.progress
            else:
                progress = stack.enter_context(Progress(bool(self.progress)))
            stack.enter_context(cpu_threads(self.workers))
            yield progress


class NetworkResult:
    """What such a function returns; also that of a run that was stopped."""

    state: NetworkState

    @property
    def history(self) -> list[dict[str, Any]]:
        """Losses and what else is measured over stretches of the run, by ``step`` at their ends."""
        return self.state.history

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The same of held-out data, ``loss`` among it, by ``step``."""
        return self.state.evaluations


@dataclass
class NetworkRun:
    """What is trained, how, and where that stands.

    Attributes:
        network: On any device, with parameters that require gradients.
        settings: Their fields are recorded.
        state: Advanced in place.
        write: Writes the files of network and tokenizer into a folder.
        optimizer: Its tensors, of a run that goes on.
        evaluation: See :func:`evaluated_as`.
    """

    network: nn.Module
    settings: Recipe
    state: NetworkState
    write: Callable[[Path], None]
    optimizer: dict[str, Tensor] | None = None
    evaluation: dict[str, Any] | None = None

    def fit(
        self,
        device: torch.device,
        stepper: Callable[[NetworkOptimizer], Stepper],
        names: Sequence[str],
        steps: Generator[Drawn, None, None],
        *,
        measure: Callable[[Stepper], dict[str, float]] | None = None,
        describe: Callable[[Mapping[str, Any]], str] = lambda values: f"loss {values['loss']:.4f}",
        arguments: RunArguments,
        progress: Progress,
        subject: Any = None,
        save_evaluated: bool = False,
    ) -> None:
        """Train to the end, or until asked to stop; save what is to be saved.

        Args:
            device: Where the network goes, in training mode.
            stepper: Made for the optimiser, on the device.
            names: Of the stepper's sums.
            steps: Data of one step after another, from where the state stands. Closed at the end.
            measure: Values by name on held-out data, ``loss`` among them; where `evaluation` is.
            describe: Them in words.
            arguments, progress: As they were given, and what :meth:`RunArguments.opened` gave.
            subject: See :class:`~lexforge.training.events.Events`.
            save_evaluated: Also save after each evaluation, better or not.

        Raises:
            TrainingDivergedError, CheckpointError: See :func:`lexforge.training.run.run`.
        """
        settings, state, out, keep = self.settings, self.state, arguments.out, arguments.keep
        network = self.network.to(device).train()
        optimizer = NetworkOptimizer(
            network,
            settings.optimizer,
            weight_decay=settings.weight_decay,
            betas=(settings.beta1, settings.beta2),
            clip=settings.clip,
        )
        if self.optimizer is not None:
            try:
                optimizer.load_tensors(self.optimizer)
            except ValueError as error:
                raise CheckpointError(f"{OPTIMIZER} of the run is damaged: {error}") from error
        made = stepper(optimizer)

        def save(folder: str | os.PathLike, keep: int = 0) -> None:
            record = {"settings": settings.record(), "state": state.to_json()}
            if self.evaluation is not None:
                record["evaluation"] = self.evaluation
            save_run(
                folder,
                write=self.write,
                optimizer=optimizer.tensors(),
                record=record,
                step=state.done,
                keep=keep,
            )

        if out is not None and not state.done:
            shutil.rmtree(Path(out) / BEST, ignore_errors=True)  # that of a run before this one
        keep_best = None if out is None else partial(save, Path(out) / BEST)
        if keep_best is not None:
            keep_best = partial(attempt, keep_best, progress, "the next better one is kept again")

        def report(values: dict[str, Any]) -> None:
            best = ", the best so far" if state.evaluations_since_best == 0 else ""
            text = f"evaluation at step {values['step']}: {describe(values)}{best}"
            progress.evaluation(state, values, text)
            if save_evaluated and out is not None:
                attempt(partial(save, out, keep), progress, "the next evaluation is saved again")

        evaluation = None
        if self.evaluation is not None and measure is not None:
            every, patience = self.evaluation["eval_every"], self.evaluation["early_stopping"]
            evaluation = Evaluation(partial(measure, made), every, patience, report, keep_best)
        tell = Events(arguments.callbacks, subject)
        job = NetworkJob(
            state, steps, made, names, made.sums, settings.rates, evaluation=evaluation, tell=tell
        )
        with closing(steps), arguments.stop or nullcontext():
            run(
                job,
                progress=progress,
                tell=tell,
                stop=arguments.stop,
                save=None if out is None else partial(save, out, keep),
                save_every=arguments.checkpoint_every,
            )
        if state.stopped_early and (best := state.best_evaluation) is not None:
            progress.say(
                f"stopped at step {state.done}: no evaluation was better than that at step "
                f"{best['step']}, of loss {best['loss']:.4f}"
            )


@contextmanager
def cpu_threads(threads: int | None) -> Iterator[None]:
    """torch works with so many, until the block ends; None for its own number."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(kernel_threads(threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_precision(owner: str, precision: str, device: torch.device) -> None:
    """ValueError if the device does not compute in it."""
    if precision != "bf16":
        return
    if device.type == "cpu" and not cpu_has_bf16():
        raise ValueError(
            f"{owner}: precision must be float32 on a CPU without AVX512_BF16, got 'bf16'"
        )
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(
            f"{owner}: precision must be float32 on {torch.cuda.get_device_name(device)}, "
            "got 'bf16'"
        )
