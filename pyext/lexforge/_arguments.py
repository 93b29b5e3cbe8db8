"""Arguments of models: plain values, refused with the name of the model."""

from __future__ import annotations

import codecs
import math
import operator
import os
from collections.abc import Sequence
from typing import Any

LARGEST = 2**63 - 1  # of what is only limited by the numbers of the machine
_SAME_ENCODING = {"utf-8-sig": "utf-8"}  # a mark is dropped anyway

MAX_THREADS = 1024  # kMaxThreads of csrc/common/binding.h


def whole(model: str, name: str, value: Any, low: int = 1, high: int = LARGEST) -> int:
    """The value as an int: numpy's integers would not go into a checkpoint.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is outside [low, high].
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{model}: {name} must be an integer, got {value!r}") from None
    if not low <= number <= high:
        expected = f">= {low}" if number < low else f"<= {high}"
        if high - low < 2**31 - 2:  # larger ones are limits of the machine
            expected = f"{low} to {high}"
        raise ValueError(f"{model}: {name} must be {expected}, got {number}")
    return number


def real(
    model: str,
    name: str,
    value: Any,
    low: float = 0.0,
    high: float = math.inf,
    above: float = -math.inf,
) -> float:
    """The value as a finite float in [low, high], and above `above`.

    Raises:
        TypeError: It is not a number.
        ValueError: It is infinite, not a number, outside [low, high], or not above `above`.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{model}: {name} must be a number, got {value!r}") from None
    except OverflowError:  # an int
        number = math.inf
    if not math.isfinite(number) or number < low:
        expected = "finite" if low == -math.inf else f"finite and >= {low:g}"
        raise ValueError(f"{model}: {name} must be {expected}, got {number}")
    if number > high:
        raise ValueError(f"{model}: {name} must be {low:g} to {high:g}, got {number}")
    if number <= above:
        raise ValueError(f"{model}: {name} must be above {above:g}, got {value!r}")
    return number


def one_of(model: str, name: str, value: Any, choices: Sequence[str]) -> str:
    """The value, which is one of the choices.

    Raises:
        ValueError: It is none of them.
    """
    if value not in choices:
        raise ValueError(f"{model}: {name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def either(function: str, value: Any, **earlier: Any) -> Any:
    """The value of an argument, or what was given by its earlier name.

    Raises:
        TypeError: Both are given.
    """
    ((name, other),) = earlier.items()
    if value is not None and other is not None:
        raise TypeError(f"{function}: {name} names an argument that is given already")
    return other if value is None else value


def existing(what: str, path: Any) -> Any:
    """The argument as it is; a path must be there, before the work that leads to it.

    Raises:
        FileNotFoundError: It is not there.
    """
    if isinstance(path, str | os.PathLike) and not os.path.exists(path):
        raise FileNotFoundError(f"{what}: no such file or folder: {os.fspath(path)}")
    return path


def encoding_name(owner: str, name: str, value: Any) -> str:
    """Python's name of a text encoding.

    Raises:
        TypeError, ValueError: It is none; `owner` and `name` are what the message calls it.
    """
    if not isinstance(value, str):
        raise TypeError(f"{owner}: {name} must be the name of an encoding, got {value!r}")
    try:
        "a".encode(value)  # not all codecs are of text
        codecs.getincrementaldecoder(value)
        found = codecs.lookup(value).name
    except (LookupError, UnicodeError, ValueError):
        raise ValueError(
            f"{owner}: {name} must be an encoding that Python knows, like 'utf-8', 'utf-16', "
            f"'latin-1' or 'gb18030', got {value!r}"
        ) from None
    return _SAME_ENCODING.get(found, found)
