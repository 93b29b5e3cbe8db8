"""The ops of a tree that has the example alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge import _library as _library
from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.ops.example.scale_add import scale_add_

# Where each op lives, and the types of its arguments and results.
_NAMES = {"example.scale_add": ("scale_add_",)}

__all__ = ["scale_add_"]

__getattr__, __dir__ = attach(
    __name__,
    {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names},
)
