"""Adding a multiple in place (csrc/example/scale_add.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks

_OP = "scale_add_"


def scale_add_(y: Tensor, x: Tensor, a: float) -> None:
    """``y += a * x`` in place.

    Args:
        y: float32 [N], contiguous; updated.
        x: float32 [N], contiguous, in memory of its own.
        a: a finite number, at least 0.

    Raises:
        TypeError: a tensor of the wrong dtype. ValueError: a wrong shape or device, a tensor that
        is not contiguous or requires grad, memory in common, ``a`` out of range.
    """
    _checks.tensor(_OP, "y", y, torch.float32, ("N",), contiguous=True)
    _checks.tensor(_OP, "x", x, torch.float32, y.shape, y, contiguous=True)
    _checks.number(_OP, "a", a)
    _checks.updated(_OP, "y", y)
    _checks.apart(_OP, y=y, x=x)
    torch.ops.lexforge.scale_add_.default(y, x, a)
    torch.autograd.graph.increment_version([y])


@torch.library.register_fake("lexforge::scale_add_")
def _(y, x, a):
    return None
