"""What the result of a Word2Vec run depends on, beside its corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lexforge.models import settings as common
from lexforge.models.settings import corpus, model, setting, training
from lexforge.training.settings import Settings

SHARING = ("pair", "window")
NOISE_HELP = "Noise words are drawn by count to this power."
STEEPEST = 16  # the largest count, 2^63 - 1, to this power is still a double
SAMPLE_HELP = "Thin out words above this share; 0: none."
RATE, LAST_RATE = "--learning-rate -- - --lr", "--min-learning-rate --"  # gensim's names last


@dataclass(frozen=True)
class Word2VecSettings(Settings):
    """Those of :class:`~lexforge.Word2Vec`, by gensim's names.

    Raises:
        NotImplementedError: ``sg=0`` or ``hs=1``.
    """

    OWNER: ClassVar[str] = "Word2Vec"

    vector_size: int = common.vector_size()
    alpha: float = training(0.025, "First learning rate.", low=0, names=RATE)
    min_alpha: float = training(1e-4, "Last learning rate.", low=0, names=LAST_RATE)
    window: int = common.distance(5, "Largest distance of context.", panel="Model")
    shrink_windows: bool = setting(True)
    negative: int = model(5, "Noise words per pair.", low=1, high=1000, names="-- -")
    negative_sharing: str = model("pair", "Noise per pair, or window (faster).", choices=SHARING)
    ns_exponent: float = model(0.75, NOISE_HELP, low=-STEEPEST, high=STEEPEST)
    sample: float = corpus(1e-3, SAMPLE_HELP, low=0, high=1e18, names="-- -")
    min_count: int = common.min_count()
    max_vocab_size: int | None = common.max_vocab_size()
    max_final_vocab: int | None = corpus(None, "Raise --min-count until so few are left.", low=1)
    max_sentence_length: int = common.max_sentence_length()
    lowercase: bool = common.lowercase()
    encoding: str = common.encoding()
    errors: str | None = common.errors()
    epochs: int = common.epochs(5, "Passes over the corpus.")
    seed: int = common.seed()
    sg: int = setting(1, low=0)
    hs: int = setting(0, low=0)
    cbow_mean: int = setting(1, low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sg or self.hs:
            raise NotImplementedError(
                "Word2Vec: skip-gram with negative sampling (sg=1, hs=0) is what exists, "
                f"got sg={self.sg}, hs={self.hs}"
            )
