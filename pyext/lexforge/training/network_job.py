"""Training a network by an optimiser: steps, the loss curve, evaluation on what is held out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import length_hint
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lexforge.training.run import Watch
from lexforge.training.state import (
    HISTORY_POINTS,
    Amounts,
    Reading,
    RunState,
    TrainingDivergedError,
    require_numbers,
)

if TYPE_CHECKING:
    from typing_extensions import Self

LOOK_SECONDS = 0.25  # between looks at the losses, for which a GPU is waited


class Drawn(Protocol):
    """The data of a step, and where the data go on after it."""

    @property
    def epoch(self) -> int:
        """That they are of."""

    @property
    def batch(self) -> int:
        """Next one of the epoch."""

    @property
    def ends_epoch(self) -> bool:
        """Whether there is none."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What is known on the host and adds up: examples, tokens."""


class Minibatch(NamedTuple):
    """Any data of a step, as :func:`minibatches` draws them."""

    data: Any
    epoch: int
    batch: int
    ends_epoch: bool
    counts: Mapping[str, int]


def minibatches(
    epochs: Callable[[int], Iterable[Any]],
    counts: Callable[[Any], Mapping[str, int]],
    epoch: int = 0,
    batch: int = 0,
    what: str = "epochs",
) -> Generator[Minibatch, None, None]:
    """The minibatches of one epoch after another, without an end.

    Args:
        epochs: ``epochs(number)`` iterates over the minibatches of an epoch. Its end can be told
            (``ends_epoch``) where it has a length.
        counts: Of a minibatch, e.g. its examples.
        epoch, batch: Where to begin; minibatches before that are drawn and dropped.
        what: What an error calls them.

    Raises:
        ValueError: An epoch without minibatches.
    """
    for number in itertools.count(epoch):
        drawn = epochs(number)
        size, index = length_hint(drawn, -1), 0
        for index, data in enumerate(drawn, 1):
            if index > batch:
                yield Minibatch(data, number, index, index == size, counts(data))
        if index == 0:
            raise ValueError(f"{what} must have minibatches, got none")
        batch = 0


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

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """As :meth:`RunState.from_json`."""
        state = super().from_json(content)
        require_numbers("history", state.history, ("step",))
        require_numbers("evaluations", state.evaluations, ("step", "loss"))
        return state

    @property
    def best_evaluation(self) -> dict[str, Any] | None:
        """The first one with the lowest loss; None before any."""
        return min(self.evaluations, key=_loss, default=None)

    @property
    def evaluations_since_best(self) -> int:
        """How many came after it."""
        best = self.best_evaluation
        return 0 if best is None else len(self.evaluations) - 1 - self.evaluations.index(best)

    def reading(self, part: Amounts) -> Reading:
        """The learning rate too."""
        plain, rate = super().reading(part), f"lr {self.learning_rate:.3g}"
        return plain._replace(
            detail=f"{plain.detail}  {rate}",
            values={**plain.values, "lr": self.learning_rate},
            more=[rate],
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
        tell: Called with the events of evaluations and of epochs, whose end is told where the data
            tell it (:class:`~lexforge.training.events.Events`).
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
        state.sums = {**dict.fromkeys(names, 0.0), **state.sums}
        sums.copy_(torch.tensor([state.sums[name] for name in names], dtype=torch.float64))
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
            if self._evaluate and self._evaluation is not None:
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
