"""Arguments of models: plain numbers and devices, refused with the name of the model."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch

from lexforge import _library


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


def resolve_device(model: str, device: str | torch.device) -> torch.device:
    """The device meant; "auto" is the GPU when it is usable.

    Raises:
        ValueError: Not auto, cpu or cuda; or a GPU that is not usable here.
    """
    if str(device) == "auto":
        return torch.device("cuda" if _library.cuda_usable else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError):
        resolved = None
    if resolved is None or resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"{model}: device must be auto, cpu or cuda, got {device!r}")
    if resolved.type == "cuda" and not _library.cuda_usable:
        raise ValueError(f"{model}: device 'cuda' is not usable here: {_library.cuda_state}")
    return resolved
