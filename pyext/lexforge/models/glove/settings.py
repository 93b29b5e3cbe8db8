"""What the result of a GloVe run depends on, beside its corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lexforge.models import settings as common
from lexforge.models.settings import model, output, setting, training
from lexforge.training.settings import Settings

VECTORS = ("sum", "word", "context")
OPTIMIZER_HELP = (
    "AdaGrad; with one sum per row (half the memory); or Adam, at a rate of 0.001 or so."
)
BIAS_RATES = {"adagrad": 20.0, "rowwise": 1.0, "adam": 1.0}  # by default


@dataclass(frozen=True)
class GloVeSettings(Settings):
    """Those of :class:`~lexforge.GloVe`; ``bias_rate`` is a number once they are made."""

    OWNER: ClassVar[str] = "GloVe"

    vector_size: int = common.vector_size()
    window: int = common.window()
    x_max: float = model(100.0, "Count from which weights are full.", low=0, above=0, names="-- -")
    alpha: float = model(0.75, "Exponent of the weight below --x-max.", low=0, names="-- -")
    learning_rate: float = training(0.05, "Learning rate.", low=0, names="-- --lr --eta -eta")
    bias_rate: float | None = training(
        None, "That of the biases in multiples of it; 20 with adagrad, else 1.", low=0
    )
    epochs: int = common.epochs(25, "Passes over the counts.")
    min_count: int = common.min_count()
    max_vocab_size: int | None = common.max_vocab_size()
    symmetric: bool = common.symmetric()
    distance_weighting: bool = common.distance_weighting()
    optimizer: str = training("adagrad", OPTIMIZER_HELP, choices=tuple(BIAS_RATES))
    grad_clip: float = training(100.0, "Limit of gradients.", low=0, above=0, names="-- - --clip")
    vectors: str = output("sum", "Kept: the word's, its context's, or the sum.", choices=VECTORS)
    parts: int | None = setting(None, low=1, high=2**31 - 1)
    seed: int = common.seed()
    lowercase: bool = common.lowercase()
    encoding: str = common.encoding()
    errors: str | None = common.errors()

    @property
    def bias_factor(self) -> float:
        """``bias_rate``, that of the optimizer by default."""
        return BIAS_RATES[self.optimizer] if self.bias_rate is None else self.bias_rate

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bias_rate is None:
            self._set("bias_rate", self.bias_factor)
        if self.optimizer == "adam" and self.bias_rate != 1:
            raise ValueError(f"GloVe: bias_rate must be 1 with adam, got {self.bias_rate}")
