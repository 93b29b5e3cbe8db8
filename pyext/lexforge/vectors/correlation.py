"""Pearson and Spearman correlation with two-sided p-values."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Correlation(NamedTuple):
    """A correlation coefficient and its two-sided p-value."""

    statistic: float
    pvalue: float


def pearson(x, y) -> Correlation:
    """Pearson's r of two sequences of equal length >= 2; NaN when one of them is constant."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"pearson: x and y must be [N] and [N], got {x.shape} and {y.shape}")
    if len(x) < 2:
        return Correlation(math.nan, math.nan)
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt((x @ x) * (y @ y))
    if scale == 0:
        return Correlation(math.nan, math.nan)
    r = float(np.clip(x @ y / scale, -1.0, 1.0))
    return Correlation(r, _two_sided_p(r, len(x)))


def spearman(x, y) -> Correlation:
    """Spearman's rho: Pearson's r of the ranks, equal values sharing their mean rank."""
    return pearson(average_ranks(x), average_ranks(y))


def average_ranks(values) -> np.ndarray:
    """Ranks from 1, float64 [N]; equal values get the mean of the ranks they span."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _two_sided_p(r: float, n: int) -> float:
    """P(|R| >= |r|) for uncorrelated normal samples: t = r sqrt((n-2)/(1-r^2)), n-2 degrees."""
    if n == 2:
        return 1.0
    return _incomplete_beta((n - 2) / 2, 0.5, (1.0 - r) * (1.0 + r))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction.

    DLMF 8.17.22, evaluated with the modified Lentz method.
    """
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):  # the fraction converges quickly on the other side
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    tiny = 1e-300
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0) or tiny)
    fraction = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / (1.0 + term * d or tiny)
            c = 1.0 + term / c or tiny
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return math.exp(log_front) * fraction / a
