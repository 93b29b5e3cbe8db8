"""Learning rates as a function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to `peak`, and from there constant, or down in a line or half a cosine.

    Args:
        kind: What follows the warm-up: ``"constant"``; ``"linear"`` (Devlin et al. 2019, appendix
            A.2) or ``"cosine"`` (Loshchilov and Hutter 2017), whose rate would be `lowest` in the
            step after the last one, and is from there on.
        peak: The highest learning rate.
        steps: In which it falls, the warm-up included; a constant one does not depend on them.
        warmup_steps: Step 0 has the rate ``peak / warmup_steps``, step ``warmup_steps - 1`` the
            peak. 0 for none.
        lowest: Where the fall ends.

    Raises:
        ValueError: Another kind.

    Example:
        >>> [round(Schedule("linear", 1.0, 6, warmup_steps=2)(step), 2) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """

    kind: str
    peak: float
    steps: int
    warmup_steps: int = 0
    lowest: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ValueError(
                f"Schedule: kind must be one of {', '.join(SCHEDULES)}, got {self.kind!r}"
            )

    def __call__(self, step: int) -> float:
        """The learning rate of a step, the first one being 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        if self.kind == "constant":
            return self.peak
        left = max(self.steps - step, 0) / max(self.steps - self.warmup_steps, 1)
        if self.kind == "cosine":
            left = (1 - math.cos(math.pi * left)) / 2
        return self.lowest + (self.peak - self.lowest) * left
