"""How far float32 may be from an oracle in float64 where long sums run in order."""

from __future__ import annotations

import torch


def assert_sums_as_good(ours, plain, exact, terms: int = 0) -> None:
    """In norm no further from `exact` than twice `plain` is, and the rounding of up to `terms`.

    A sum in order is rounded at every term, and its partial sums may be larger than what remains:
    2^-24 times the root of `terms` is what its error comes to where they cancel. The largest error
    would be a poor measure: it is that of one sum, which may come out near 0.
    """
    for n, (x, y, z) in enumerate(zip(ours, plain, exact, strict=True)):
        assert x.shape == z.shape and x.dtype == torch.float32
        own, other = ((each.double() - z).norm() for each in (x, y))
        allowed = 2 * other + (1e-6 + 2**-24 * terms**0.5) * max(1, z.norm())
        assert own <= allowed, (n, own, allowed)
