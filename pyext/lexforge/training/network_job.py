"""Training a network by an optimiser: steps, the loss curve, evaluation on what is held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lexforge.training.progress import count
from lexforge.training.run import Watch
from lexforge.training.state import (
    HISTORY_POINTS,
    Amounts,
    Reading,
    RunState,
    TrainingDivergedError,
)

LOOK_SECONDS = 0.25  # between looks at the losses, for which a GPU is waited


class Drawn(Protocol):
    """The data of a step, and where the data go on after it."""

    epoch: int
    batch: int  # next one of the epoch
    ends_epoch: bool
    counts: Mapping[str, int]  # what is known on the host and adds up: examples, tokens


@dataclass(kw_only=True)
class NetworkState(RunState):
    """Where a run of steps stands.

    ``epoch`` is that of the latest step's data, from 0, and ``position`` its next batch.
    """

    OPTIONAL: ClassVar[frozenset[str]] = frozenset({"evaluations", "stopped_early"})

    learning_rate: float = 0.0  # of the latest step
    noted: dict[str, float] = field(default_factory=dict)  # sums at the history's last point
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    stopped_early: bool = False  # by evaluations that did not get better

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or evaluations said that it is enough."""
        return self.stopped_early or super().finished

    @property
    def best_evaluation(self) -> dict[str, Any] | None:
        """The first one with the lowest loss; None before any."""
        return min(self.evaluations, key=_loss, default=None)

    @property
    def evaluations_since_best(self) -> int:
        """How many came after it."""
        if not self.evaluations:
            return 0
        return len(self.evaluations) - 1 - self.evaluations.index(self.best_evaluation)

    def measures(self, part: Amounts) -> dict[str, float]:
        """Losses and the like over a stretch of the run: here each sum's mean per step."""
        return {name: round(value / max(part.done, 1), 6) for name, value in part.sums.items()}

    def reading(self, part: Amounts) -> Reading:
        """Measures, speed, learning rate."""
        measures, per_second = self.measures(part), round(part.done / part.seconds, 1)
        words = "  ".join(f"{name} {value:.4f}" for name, value in measures.items())
        return Reading(
            f"step {self.done}/{self.total}",
            f"{words}  {count(per_second)} steps/s  lr {self.learning_rate:.3g}",
            {
                "time": round(self.seconds, 3),
                "step": self.done,
                "epoch": self.epoch + 1,
                **measures,
                "steps_per_second": per_second,
                "lr": self.learning_rate,
            },
        )


def _loss(evaluation: Mapping[str, Any]) -> float:
    """What evaluations are compared by; one that is not a number is worse than all others."""
    return math.inf if math.isnan(evaluation["loss"]) else evaluation["loss"]


class Evaluation(NamedTuple):
    """Of a network in training, on data that are held out."""

    measure: Callable[[], dict[str, float]]  # values by name; "loss" is what should get smaller
    every: int  # steps; also after the last one
    patience: int = 0  # evaluations without a smaller loss that end the run; 0: it goes on
    report: Callable[[dict[str, Any]], None] | None = None  # called with each, and its step
    keep: Callable[[], None] | None = None  # after an evaluation that is the best so far


class NetworkJob:
    """Steps on minibatches; any network, any losses.

    Losses are summed up on the device and looked at now and then, those of the history's points
    too. An evaluation comes after the step that it is due at, before any checkpoint of that step,
    so a run that is stopped and resumed is evaluated as one that is not.

    Args:
        state: Advanced in place after every step.
        steps: The data of one step after another, from where the state stands.
        step: ``step(data, learning_rate)`` changes the network and adds to ``sums``. It should not
            wait for the device.
        names: Of the sums.
        sums: float64 [len(names)], on the device. Overwritten with the state's own first.
        schedule: The learning rate of a step, the first one being 0.
        patience: Seconds between looks.
        evaluation: What to evaluate, how often, and what follows from it.
        tell: Called with the events of epochs and evaluations
            (:class:`~lexforge.training.run.Events`). An epoch's end is that of data that tell it.
    """

    def __init__(
        self,
        state: NetworkState,
        steps: Iterator[Drawn],
        step: Callable[[Any, float], None],
        names: Sequence[str],
        sums: Tensor,
        schedule: Callable[[int], float],
        *,
        patience: float = LOOK_SECONDS,
        evaluation: Evaluation | None = None,
        tell: Callable[[str], None] = lambda event: None,
    ) -> None:
        self.state = state
        self._steps, self._step, self._schedule = steps, step, schedule
        self._names, self._sums = names, sums
        self._patience, self._evaluation, self._tell = patience, evaluation, tell
        sums.copy_(torch.tensor([state.sums.get(n, 0.0) for n in names], dtype=torch.float64))
        self._every = max(state.total // HISTORY_POINTS, 1)
        self._points: list[tuple[dict[str, Any], Tensor]] = []
        self._epoch_ends = self._evaluate = False  # after the latest step

    @property
    def patience(self) -> float:
        """None after a step that others must hear of."""
        return 0.0 if self._epoch_ends or self._evaluate else self._patience

    def advance(self, watch: Watch) -> None:
        """One step."""
        state, data = self.state, next(self._steps)
        if state.done == 0 or data.epoch != state.epoch:
            state.epoch, state.position = data.epoch, 0
            with watch.paused():
                self._tell("on_epoch_begin")
        state.learning_rate = self._schedule(state.done)
        self._step(data, state.learning_rate)
        state.done += 1
        state.epoch, state.position = data.epoch, data.batch
        for name, number in data.counts.items():
            state.sums[name] = state.sums.get(name, 0) + number
        self._epoch_ends = data.ends_epoch
        self._evaluate = self._evaluation is not None and (
            state.done % self._evaluation.every == 0 or state.finished
        )
        if state.done % self._every == 0 or state.finished or self._evaluate:
            about = {"step": state.done, "epoch": state.epoch + 1, "lr": state.learning_rate}
            self._points.append((about, self._sums.clone()))

    def look(self, watch: Watch) -> None:
        """Bring sums and history up to date, and evaluate where that is due.

        Raises:
            TrainingDivergedError: A sum became infinite or not a number.
        """
        state = self.state
        latest = torch.stack([*(sums for _, sums in self._points), self._sums]).tolist()
        for (about, _), values in zip(self._points, latest[:-1], strict=True):
            sums = dict(zip(self._names, values, strict=True))
            since = {name: value - state.noted.get(name, 0.0) for name, value in sums.items()}
            steps = about["step"] - (state.history[-1]["step"] if state.history else 0)
            state.history.append({**about, **state.measures(Amounts(0.0, steps, since))})
            state.noted = sums
        self._points = []
        state.sums.update(zip(self._names, latest[-1], strict=True))
        watch.lap()
        if not math.isfinite(total := sum(latest[-1])):
            raise TrainingDivergedError(
                f"the loss became {total} by step {state.done}, at learning rate "
                f"{state.learning_rate:.4g}: try a smaller one, or --clip"
            )
        with watch.paused():
            if self._evaluate:
                self._evaluate_now(self._evaluation)
            if self._epoch_ends:
                self._tell("on_epoch_end")
        self._evaluate = self._epoch_ends = False

    def _evaluate_now(self, evaluation: Evaluation) -> None:
        state = self.state
        about = {"step": state.done, "epoch": state.epoch + 1}
        state.evaluations.append({**about, **evaluation.measure()})
        if evaluation.report is not None:
            evaluation.report(state.evaluations[-1])
        if state.evaluations_since_best == 0:
            if evaluation.keep is not None:
                evaluation.keep()
        elif evaluation.patience and state.evaluations_since_best >= evaluation.patience:
            state.stopped_early = True
        self._tell("on_evaluate")


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode; each part's mode is restored afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
