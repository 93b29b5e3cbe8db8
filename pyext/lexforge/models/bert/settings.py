"""What the result of pretraining BERT depends on, beside model, tokenizer and corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lexforge.models import settings as common
from lexforge.models.settings import corpus, evaluation, training
from lexforge.training.settings import Settings

WARMUP_HELP = "Steps in which the rate rises; a tenth of all with another model."
SPLITS = ("auto", "spaced", "prose")  # how lines become sentences
WORDS_HELP = "Predict all pieces of a word, or none."
SENTENCES_HELP = 'End at " . " (spaced), as in prose, or as most lines have them.'
PRECISION_HELP = "bf16 is faster where processor or GPU have it."


@dataclass(frozen=True)
class PretrainingSettings(Settings):
    """Those of :func:`lexforge.bert.pretrain`.

    The defaults are the reference text's; :data:`STANDARD` is what published BERT was trained with,
    for a run of moderate length. There ``steps`` is None until the corpus tells how many make an
    epoch, and ``warmup_steps`` until they are known: a tenth of them.
    """

    OWNER: ClassVar[str] = "pretrain"

    max_len: int = corpus(64, "Longest pair in tokens, 3 special ones included.", low=5)
    batch_size: int = training(512, "Pairs per step.", low=1)
    steps: int | None = training(50, "Length of the run; an epoch with another model.", low=1)
    optimizer: str = training("adam", "How steps are sized.", choices=("adam", "adamw"))
    learning_rate: float = common.learning_rate(0.01, "At its highest.")
    weight_decay: float = training(0.0, "Of matrices, not of biases and norms.", low=0)
    warmup_steps: int | None = training(0, WARMUP_HELP, low=0)
    schedule: str = training(
        "constant", "The rate after the warm-up.", choices=("constant", "linear")
    )
    clip: float = training(0.0, "Largest norm of a step's gradients; 0 for no limit.", low=0)
    accumulation: int = training(1, "Parts that a step is done in, to save memory.", low=1)
    precision: str = training("float32", PRECISION_HELP, choices=("float32", "bf16"))
    static_masks: bool = corpus(False, "Draw pairs and masks once rather than in every epoch.")
    whole_words: bool = corpus(False, WORDS_HELP, later=True)
    sentences: str = corpus("auto", SENTENCES_HELP, choices=SPLITS, later=True)
    seed: int = common.seed()
    encoding: str = common.encoding()
    errors: str | None = common.errors()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"pretrain: accumulation must divide batch_size {self.batch_size}, "
                f"got {self.accumulation}"
            )

    @property
    def length(self) -> int:
        """``steps``, once the corpus has told them."""
        return _told("steps", self.steps)

    @property
    def warmup(self) -> int:
        """``warmup_steps``, once the corpus has told them."""
        return _told("warmup_steps", self.warmup_steps)


def _told(name: str, value: int | None) -> int:
    if value is None:
        raise ValueError(f"pretrain: {name} are not known before the corpus is read")
    return value


STANDARD = PretrainingSettings(
    max_len=128,
    batch_size=256,
    steps=None,
    optimizer="adamw",
    learning_rate=1e-4,
    weight_decay=0.01,
    warmup_steps=None,
    schedule="linear",
    clip=1.0,
)


@dataclass(frozen=True)
class EvaluationSettings(Settings):
    """How a run is evaluated; ``eval_every`` is None until its length is known."""

    OWNER: ClassVar[str] = "pretrain"

    eval_every: int | None = evaluation(None, "Steps between; a tenth of all by default.", low=1)
    early_stopping: int = evaluation(0, "End after so many without a smaller loss; 0 never.", low=0)
