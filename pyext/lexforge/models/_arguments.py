"""Arguments of models: plain numbers, refused with the name of the model."""

from __future__ import annotations

import math
import operator
from typing import Any


def whole(model: str, name: str, value: Any, low: int = 1, high: int = 2**63 - 1) -> int:
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
        raise ValueError(f"{model}: {name} must be {expected}, got {number}")
    return number


def real(model: str, name: str, value: Any, low: float = 0.0) -> float:
    """The value as a finite float from `low` on.

    Raises:
        TypeError: It is not a number.
        ValueError: It is infinite, not a number, or below `low`.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{model}: {name} must be a number, got {value!r}") from None
    if not math.isfinite(number) or number < low:
        expected = "finite" if low == -math.inf else f"finite and >= {low:g}"
        raise ValueError(f"{model}: {name} must be {expected}, got {number}")
    return number
