"""Settings of a run, each told once: a field that knows its limits, its help and its spellings.

From the fields of a :class:`Settings` come its validation, the record in a checkpoint, the refusal
of a resume with other settings, and the options of the command line (``cli/_options.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, get_args, get_type_hints

from lexforge._arguments import LARGEST, one_of, real, whole
from lexforge._display import printable


@dataclass(frozen=True)
class Knob:
    """What is known of a field.

    Attributes:
        help: For the command line; without it the field is no option.
        panel: Of the help, in which the option stands.
        low, high, above: Limits of a number; it is above the last one rather than from there on.
        choices: All values of a text.
        rule: Called with owner, name and value; gives the plain value, or raises.
        later: Records of earlier versions lack it and mean the default.
        names: Spellings of the option, between spaces; ``--`` and ``-`` stand for the field's name
            after them.
        metavar, hidden: How the help shows its value, and whether it shows the option at all.
        name, kind, optional, default: Those of the field; optional ones may be None.
    """

    help: str = ""
    panel: str | None = None
    low: float | None = None
    high: float | None = None
    above: float = -math.inf
    choices: tuple[str, ...] = ()
    rule: Callable[[str, str, Any], Any] | None = None
    later: bool = False
    names: str = "--"
    metavar: str | None = None
    hidden: bool = False
    name: str = ""
    kind: type = str
    optional: bool = False
    default: Any = None

    @property
    def spellings(self) -> tuple[str, ...]:
        """Of the option, the first one first."""
        own = self.name.replace("_", "-")
        return tuple(f"{each}{own}" if each in ("--", "-") else each for each in self.names.split())

    def checked(self, owner: str, value: Any) -> Any:
        """The value as a plain one, which goes into a checkpoint.

        Raises:
            TypeError, ValueError: It is of the wrong kind or outside the limits.
        """
        if value is None and self.optional:
            return None
        if self.rule is not None:
            return self.rule(owner, self.name, value)
        if self.kind is int:
            low = 1 if self.low is None else int(self.low)
            high = LARGEST if self.high is None else int(self.high)
            return whole(owner, self.name, value, low, high)
        if self.kind is float:
            least = -math.inf if self.low is None else self.low
            most = math.inf if self.high is None else self.high
            return real(owner, self.name, value, least, most, self.above)
        if self.choices:
            return one_of(owner, self.name, value, self.choices)
        return self.kind(value)


def setting(default: Any, help: str = "", **known: Any) -> Any:
    """A field of settings or options; `known` are attributes of :class:`Knob`."""
    return field(default=default, metadata={"knob": Knob(help, **known)})


def knobs(group: type) -> dict[str, Knob]:
    """Those of a dataclass, by the names of its fields."""
    hints, found = get_type_hints(group), {}
    for each in fields(group):
        kind, *none = get_args(hints[each.name]) or (hints[each.name],)
        about = {"name": each.name, "kind": kind, "optional": bool(none), "default": each.default}
        found[each.name] = replace(each.metadata["knob"], **about)
    return found


@dataclass(frozen=True)
class Settings:
    """What the result of a run depends on, beside its data.

    Raises:
        TypeError, ValueError: A field of the wrong kind or out of range, named after ``OWNER``.
    """

    OWNER: ClassVar[str] = "settings"

    def __post_init__(self) -> None:
        for name, knob in knobs(type(self)).items():
            self._set(name, knob.checked(self.OWNER, getattr(self, name)))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def of(cls, kept: Any) -> Any:
        """Settings from the attributes of a model, or from a record or arguments by name.

        Raises:
            KeyError: One is missing there.
        """
        found = kept if isinstance(kept, Mapping) else vars(kept)
        known = knobs(cls).items()
        if missing := [n for n, knob in known if n not in found and not knob.later]:
            raise KeyError(f"{cls.OWNER}: {', '.join(missing)} must be given")
        return cls(**{name: found[name] for name, _ in known if name in found})

    def record(self) -> dict[str, Any]:
        """All of them by name, as plain values."""
        return {name: getattr(self, name) for name in knobs(type(self))}

    def refuse_changes(self, given: Mapping[str, Any], may_change: Collection[str] = ()) -> None:
        """ValueError naming what is given otherwise than in these settings, which a run has."""
        known = knobs(type(self))
        plain = {name: known[name].checked(self.OWNER, value) for name, value in given.items()}
        refuse(changes(self.record(), plain, may_change))


def changes(
    run: Mapping[str, Any], given: Mapping[str, Any], may_change: Collection[str] = ()
) -> list[str]:
    """What is given otherwise than in the run that is to be resumed, a phrase for each."""
    return [
        f"{name} is {printable(value)}, {printable(run[name])} in the run"
        for name, value in given.items()
        if value != run[name] and name not in may_change
    ]


def refuse(changed: Collection[str]) -> None:
    """ValueError if there are any changes."""
    if changed:
        raise ValueError("cannot resume with other settings: " + "; ".join(changed))
