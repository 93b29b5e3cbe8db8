"""Where a run stands, and what happened in a stretch of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, get_args, get_origin, get_type_hints

from lexforge._arguments import LARGEST
from lexforge.training.checkpoint import STATE
from lexforge.training.progress import count

if TYPE_CHECKING:
    from typing_extensions import Self

HISTORY_POINTS = 200  # of the loss curve kept in a checkpoint


class TrainingDivergedError(RuntimeError):
    """The loss is no longer a finite number."""


class Amounts(NamedTuple):
    """What a run took and gave: from its beginning, or over a stretch of it."""

    seconds: float
    done: int  # units
    sums: dict[str, float]


class Reading(NamedTuple):
    """A stretch of a run, as it is shown and logged."""

    title: str  # which part of the run it is: "epoch 2/5"
    detail: str  # in words: speed, loss, learning rate
    values: dict[str, Any]  # by the names of the log
    brief: Sequence[str] = ()  # what a live line has of the words, what matters first
    more: Sequence[str] = ()  # what follows there where the line is long enough


@dataclass(kw_only=True)
class RunState:
    """Where a run stands; together with what is trained, all that a resume needs.

    A run is so many units long: words of a corpus, entries of a matrix, steps. What adds up as it
    goes on (losses, predictions, hits, ...) stands in ``sums`` by name. Every random decision is
    a function of the seed and the place in the run, so no generator state is kept.

    Subclasses say in their words what a stretch of a run gave (:meth:`measures`, :meth:`reading`).
    """

    # Fields that a file has under another name, and those that it has only when they are used.
    NAMES_IN_FILE: ClassVar[Mapping[str, str]] = {}
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()

    total: int  # units of the whole run
    unit: str = "steps"
    done: int = 0  # units
    epoch: int = 0
    position: int = 0  # in the epoch
    seconds: float = 0.0  # in training, without preparation and saving
    sums: dict[str, float] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)  # what identifies it
    history: list[dict[str, Any]] = field(default_factory=list)  # the loss curve

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.done >= self.total

    @property
    def share(self) -> float:
        """Of the run that is done."""
        return self.done / max(self.total, 1)

    @property
    def per_second(self) -> float:
        """Units per second of training, over the whole run."""
        return self.done / self.seconds if self.seconds else 0.0

    def amounts(self) -> Amounts:
        """So far."""
        return Amounts(self.seconds, self.done, dict(self.sums))

    def measures(self, part: Amounts) -> dict[str, float]:
        """Losses and the like over a stretch of the run: here the mean of each sum per unit."""
        return {name: round(value / max(part.done, 1), 6) for name, value in part.sums.items()}

    def reading(self, part: Amounts) -> Reading:
        """The stretch of the run that ends here and in which this much was done."""
        one, measures = self.unit.removesuffix("s"), self.measures(part)
        words = [f"{name} {value:.4f}" for name, value in measures.items()]
        per_second = round(part.done / part.seconds, 1)
        words.append(f"{count(per_second)} {self.unit}/s")
        return Reading(
            f"{one} {self.done}/{self.total}",
            "  ".join(words),
            {
                "time": round(self.seconds, 3),
                one: self.done,
                "epoch": self.epoch + 1,
                **measures,
                f"{self.unit}_per_second": per_second,
            },
            words,
        )

    def meter(self) -> Meter:
        """For intervals from here on."""
        return Meter(self)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            self.NAMES_IN_FILE.get(name, name): value
            for name, value in asdict(self).items()
            if value or name not in self.OPTIONAL
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: A field is missing, of another type than it is declared, or out of range;
                named as in the file.
        """
        names = {f.name: cls.NAMES_IN_FILE.get(f.name, f.name) for f in fields(cls)}
        require(content, (names[name] for name in names if name not in cls.OPTIONAL))
        found = {name: content[in_file] for name, in_file in names.items() if in_file in content}
        hints = get_type_hints(cls)
        for name, value in found.items():
            check_value(names[name], value, hints[name])
        state = cls(**found)
        if state.done > state.total:
            raise ValueError(
                f"{STATE}: {names['done']} must be at most {names['total']} = {state.total}, "
                f"got {state.done}"
            )
        return state


def require(content: Mapping[str, Any], names: Iterable[str]) -> None:
    """ValueError naming what a state that was read does not have."""
    if missing := [name for name in names if name not in content]:
        raise ValueError(f"trainer state must have {', '.join(missing)}")


def require_numbers(
    name: str, points: Iterable[Mapping[str, Any]], names: Collection[str], *, null: bool = False
) -> None:
    """ValueError unless each object of an array has numbers of these names, or null if allowed.

    What else is in such an object must be a number or null.
    """
    for point in points:
        for each in {**dict.fromkeys(names), **point}:
            value, allowed = point.get(each, ""), null or each not in names
            if not (isinstance(value, int | float) or (allowed and value is None)):
                raise ValueError(
                    f"{STATE}: {name} must be objects with a number {each}, got {point!s:.80}"
                )


_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    Any: ("anything", lambda value: True),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: (
        "a whole number >= 0",
        lambda value: type(value) is int and 0 <= value <= LARGEST,
    ),
    float: (
        "a finite number",
        lambda value: (
            (type(value) is float and isfinite(value))
            or (type(value) is int and abs(value) <= LARGEST)
        ),
    ),
    str: ("a text", lambda value: isinstance(value, str)),
    list: ("an array", lambda value: isinstance(value, list)),
    dict: ("an object", lambda value: isinstance(value, dict)),
}


def check_value(name: str, value: Any, hint: Any) -> None:
    """ValueError unless a value that was read is of the type that its field is declared to have."""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    expected, fits = _KINDS[kind]
    if not fits(value):
        raise ValueError(f"{STATE}: {name} must be {expected}, got {value!r:.80}")
    parts = value.items() if kind is dict else enumerate(value) if kind is list else ()
    for key, each in parts:
        check_value(f"{name}[{key!r}]", each, arguments[-1])


class Meter:
    """Turns the running totals of a :class:`RunState` into one reading per interval."""

    def __init__(self, state: RunState) -> None:
        self._before = state.amounts()

    def seconds(self, state: RunState) -> float:
        """Training time since the last reading."""
        return state.seconds - self._before.seconds

    def read(self, state: RunState) -> Reading:
        """The interval since the last reading; the next one starts here."""
        before, self._before = self._before, state.amounts()
        sums = {name: now - before.sums.get(name, 0) for name, now in state.sums.items()}
        seconds = max(state.seconds - before.seconds, 1e-9)
        return state.reading(Amounts(seconds, state.done - before.done, sums))
