"""What the training of any network depends on, beside network and data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lexforge.models import settings as common
from lexforge.models.settings import evaluation, training
from lexforge.training.schedules import SCHEDULES, Schedule
from lexforge.training.settings import Settings

PRECISION_HELP = "bf16 is faster where processor or GPU have it."
CLIP_HELP = "Largest norm of a step's gradients; 0 for no limit."
PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class NetworkSettings(Settings):
    """Of a run of steps; families give them defaults and help of their own, and add theirs.

    ``steps`` may be None until the data tell how many make an epoch, and ``warmup_steps`` until
    they are known.
    """

    OWNER: ClassVar[str] = "train"

    batch_size: int = training(32, "Examples per step.", low=1)
    steps: int | None = training(None, "Length of the run.", low=1)
    optimizer: str = training("adam", "How steps are sized.", choices=("adam", "adamw"))
    learning_rate: float = common.learning_rate(1e-3, "At its highest.")
    weight_decay: float = training(0.0, "Of matrices, not of biases and norms.", low=0)
    beta1: float = training(0.9, low=0, high=1, later=True)
    beta2: float = training(0.999, low=0, high=1, later=True)
    warmup_steps: int | None = training(0, "Steps in which the rate rises.", low=0)
    schedule: str = training("constant", "The rate after the warm-up.", choices=SCHEDULES)
    min_learning_rate: float = training(
        0.0, "Where a falling rate ends.", low=0, later=True, names="-- --min-lr"
    )
    decay_steps: int | None = training(None, low=1, later=True)
    clip: float = training(0.0, CLIP_HELP, low=0, names="-- --grad-clip")
    accumulation: int = training(1, "Parts that a step is done in, to save memory.", low=1)
    precision: str = training("float32", PRECISION_HELP, choices=PRECISIONS)
    seed: int = common.seed()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"{self.OWNER}: accumulation must divide batch_size {self.batch_size}, "
                f"got {self.accumulation}"
            )

    @property
    def length(self) -> int:
        """``steps``, once the data have told them."""
        return self._told("steps", self.steps)

    @property
    def warmup(self) -> int:
        """``warmup_steps``, once the data have told them."""
        return self._told("warmup_steps", self.warmup_steps)

    @property
    def rates(self) -> Schedule:
        """The learning rate of every step."""
        return Schedule(
            self.schedule,
            self.learning_rate,
            self.length if self.decay_steps is None else self.decay_steps,
            self.warmup,
            self.min_learning_rate,
        )

    def _told(self, name: str, value: int | None) -> int:
        if value is None:
            raise ValueError(f"{self.OWNER}: {name} are not known before the data are read")
        return value


@dataclass(frozen=True)
class EvaluationSettings(Settings):
    """How a run is evaluated; ``eval_every`` is None until its length is known."""

    OWNER: ClassVar[str] = "train"

    eval_every: int | None = evaluation(None, "Steps between; a tenth of all by default.", low=1)
    early_stopping: int = evaluation(0, "End after so many without a smaller loss; 0 never.", low=0)
