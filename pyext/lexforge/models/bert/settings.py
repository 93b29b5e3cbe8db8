"""What the result of pretraining BERT depends on, beside model, tokenizer and corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lexforge.models import settings as common
from lexforge.models.network_settings import NetworkSettings
from lexforge.models.settings import corpus, evaluation, training

WARMUP_HELP = "Steps in which the rate rises; a tenth of all with another model."
SPLITS = ("auto", "spaced", "prose")  # how lines become sentences
WORDS_HELP = "Predict all pieces of a word, or none."
SHARE_HELP = "Or the share of CORPUS, at its end, that is held out."
SENTENCES_HELP = 'End at " . " (spaced), as in prose, or as most lines have them.'


@dataclass(frozen=True)
class PretrainingSettings(NetworkSettings):
    """Those of :func:`lexforge.bert.pretrain`.

    The defaults are the reference text's; :data:`STANDARD` is what published BERT was trained with,
    for a run of moderate length. There ``steps`` is None until the corpus tells how many make an
    epoch, and ``warmup_steps`` until they are known: a tenth of them.
    """

    OWNER: ClassVar[str] = "pretrain"

    batch_size: int = training(512, "Pairs per step.", low=1)
    steps: int | None = training(50, "Length of the run; an epoch with another model.", low=1)
    learning_rate: float = common.learning_rate(0.01, "At its highest.")
    warmup_steps: int | None = training(0, WARMUP_HELP, low=0)
    max_len: int = corpus(64, "Longest pair in tokens, 3 special ones included.", low=5)
    static_masks: bool = corpus(False, "Draw pairs and masks once rather than in every epoch.")
    whole_words: bool = corpus(False, WORDS_HELP, later=True)
    sentences: str = corpus("auto", SENTENCES_HELP, choices=SPLITS, later=True)
    eval_share: float = evaluation(0.0, SHARE_HELP, low=0, high=0.9, later=True)
    encoding: str = common.encoding()
    errors: str | None = common.errors()


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
