"""y + a x in plain torch, in float64 (csrc/example/scale_add.h)."""

from __future__ import annotations

from torch import Tensor


def scale_add(y: Tensor, x: Tensor, a: float) -> Tensor:
    """What :func:`lexforge.ops.scale_add_` leaves in ``y``, as a new tensor."""
    return y.double() + a * x.double()
