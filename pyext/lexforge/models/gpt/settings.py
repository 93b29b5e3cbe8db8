"""What the result of training a GPT depends on, beside model, tokenizer and text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lexforge._arguments import one_of
from lexforge.models import settings as common
from lexforge.models.network_settings import CLIP_HELP, PRECISION_HELP, PRECISIONS, NetworkSettings
from lexforge.models.settings import evaluation, model, training
from lexforge.training.schedules import SCHEDULES
from lexforge.training.settings import Settings

_DTYPES = {"bfloat16": "bf16"}  # as nanoGPT calls them


def _precision(owner: str, name: str, value: Any) -> str:
    return one_of(owner, name, _DTYPES.get(value, value), PRECISIONS)


@dataclass(frozen=True)
class GPTSettings(NetworkSettings):
    """Those of :func:`lexforge.gpt.train`, with nanoGPT's names as spellings of the options.

    A step has ``batch_size * gradient_accumulation_steps`` windows. The defaults are nanoGPT's for
    a small model of characters on a CPU, but for the learning rate, which is three times theirs: on
    War and Peace it ends 0.13 lower (benchmarks/NOTES.md).
    """

    OWNER: ClassVar[str] = "train"

    batch_size: int = training(12, "Windows that go through the model at once.", low=1)
    gradient_accumulation_steps: int = training(
        1, "So many of these make a step.", low=1, names="--accumulation --"
    )
    accumulation: int = training(1, low=1, high=1)  # NetworkSettings divides a batch by it
    steps: int = training(2000, "Length of the run.", low=1, names="--max-iters --")
    optimizer: str = training("adamw", "How steps are sized.", choices=("adam", "adamw"))
    learning_rate: float = common.learning_rate(3e-3, "At its highest.")
    weight_decay: float = training(0.1, "Of matrices, not of biases and norms.", low=0)
    beta1: float = training(0.9, "Of the optimiser's mean of gradients.", low=0, high=1)
    beta2: float = training(0.99, "Of its mean of their squares.", low=0, high=1)
    warmup_steps: int = training(
        100, "Steps in which the rate rises.", low=0, names="--warmup-iters --"
    )
    schedule: str = training("cosine", "The rate after the warm-up.", choices=SCHEDULES)
    min_learning_rate: float | None = training(  # type: ignore[assignment]
        None,
        "Where a falling rate ends; a tenth of the highest by default.",
        low=0,
        names="--min-lr --",
    )
    decay_steps: int | None = training(
        None, "Step at which it has; the last one by default.", low=1, names="--lr-decay-iters --"
    )
    clip: float = training(1.0, CLIP_HELP, low=0, names="--grad-clip --")
    precision: str = training("float32", PRECISION_HELP, rule=_precision, names="--dtype --")
    seed: int = common.seed()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_learning_rate is None:
            self._set("min_learning_rate", self.learning_rate / 10)

    @property
    def may_change(self) -> tuple[str, ...]:
        """Of a run that is resumed: what earlier steps do not depend on."""
        free = self.schedule == "constant" or self.decay_steps is not None
        return ("steps",) if free else ()


@dataclass(frozen=True)
class TuningSettings(GPTSettings):
    """Those of :func:`lexforge.gpt.finetune`: a batch is of pairs, and a run of epochs.

    ``steps`` is None until the pairs tell how many make the epochs, and ``warmup_steps`` until
    they are known: a twentieth of them.
    """

    OWNER: ClassVar[str] = "finetune"

    batch_size: int = training(16, "Pairs that go through the model at once.", low=1)
    steps: int | None = training(None, "Length of the run.", low=1, names="--max-iters --")  # type: ignore[assignment]
    learning_rate: float = common.learning_rate(3e-4, "At its highest.")
    weight_decay: float = training(0.0, "Of matrices, not of biases and norms.", low=0)
    warmup_steps: int | None = training(  # type: ignore[assignment]
        None,
        "Steps in which the rate rises; a twentieth by default.",
        low=0,
        names="--warmup-iters --",
    )
    min_learning_rate: float = training(
        0.0, "Where a falling rate ends.", low=0, names="--min-lr --"
    )


@dataclass(frozen=True)
class ShapeSettings(Settings):
    """Of the model: fields of :class:`GPTConfig`; the vocabulary is that of the text."""

    OWNER: ClassVar[str] = "train"

    n_layer: int = model(4, "Blocks.", low=1, names="-- --layers")
    n_head: int = model(4, "Attention heads; they divide the width.", low=1, names="-- --heads")
    n_embd: int = model(128, "Width: numbers per token.", low=1, names="-- --hidden-size")
    block_size: int = model(64, "Longest sequence in tokens.", low=1, names="-- --max-len")
    dropout: float = model(0.0, "Share of numbers dropped while training.", low=0, high=1)
    bias: bool = model(False, "Biases of layers and norms, as in GPT-2.", names="--bias/--no-bias")
    activation: str = model(
        "gelu", "gelu, or gelu_tanh as in GPT-2.", choices=("gelu", "gelu_tanh", "relu", "silu")
    )


@dataclass(frozen=True)
class GPTEvaluation(Settings):
    """How a run is evaluated; ``eval_every`` is None until its length is known."""

    OWNER: ClassVar[str] = "train"

    eval_every: int | None = evaluation(
        None, "Steps between; a tenth of all by default.", low=1, names="--eval-interval --"
    )
    eval_iters: int = evaluation(200, "Batches of held-out text that are measured.", low=1)
    early_stopping: int = evaluation(0, "End after so many without a smaller loss; 0 never.", low=0)


# Recipes by name: what differs from the defaults, which are "small".
RECIPES: dict[str, dict[str, Any]] = {
    "small": {},
    "char": {
        **{"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256, "dropout": 0.2},
        **{"batch_size": 64, "steps": 5000, "eval_every": 250},
        "learning_rate": 1e-3,
    },
    "gpt2": {
        **{"n_layer": 12, "n_head": 12, "n_embd": 768, "block_size": 1024},
        **{"batch_size": 12, "gradient_accumulation_steps": 40, "steps": 600_000},
        **{"learning_rate": 6e-4, "warmup_steps": 2000},
        **{"beta2": 0.95, "eval_every": 2000, "precision": "bf16"},
    },
}
