"""What the result of a Word2Vec run depends on, beside its corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lexforge.models import settings as common
from lexforge.models.settings import corpus, model, training
from lexforge.training.settings import Settings

SHARING = ("pair", "window")
SHARING_HELP = "Skip-gram: noise per pair, or per window (faster)."
CBOW_HELP = "CBOW: 1: the mean of the context's vectors; 0: their sum."
PRECISIONS = ("float32", "bf16")
PRECISION_HELP = "Of numbers in tables; bf16 is faster for many words (CPU)."
DETERMINISTIC_HELP = "The same bits with any number of --workers."
# gensim's; and for CBOW's mean, whose gradient is divided by the number of context words too.
ALPHA, ALPHA_OF_MEANS = 0.025, 0.075
ALPHA_HELP = f"First learning rate; {ALPHA}, or {ALPHA_OF_MEANS} for CBOW's mean."
NOISE_HELP = "Noise words are drawn by count to this power."
STEEPEST = 16  # the largest count, 2^63 - 1, to this power is still a double
SAMPLE_HELP = "Thin out words above this share; 0: none."
RATE, LAST_RATE = "--learning-rate -- - --lr", "--min-learning-rate --"  # gensim's names last


@dataclass(frozen=True)
class Word2VecSettings(Settings):
    """Those of :class:`~lexforge.Word2Vec`, by gensim's names; a base of FastText's.

    Raises:
        ValueError: ``hs=0`` and ``negative=0``.
    """

    OWNER: ClassVar[str] = "Word2Vec"

    vector_size: int = common.vector_size()
    sg: int = model(0, "1: skip-gram; 0: CBOW.", low=0, high=1, names="-- -")
    cbow_mean: int = model(1, CBOW_HELP, low=0, high=1)
    hs: int = model(0, "1: hierarchical softmax.", low=0, high=1, names="-- -")
    negative: int = model(5, "Noise words; 0: none, with --hs 1.", low=0, high=1000, names="-- -")
    negative_sharing: str = model("pair", SHARING_HELP, choices=SHARING)
    ns_exponent: float = model(0.75, NOISE_HELP, low=-STEEPEST, high=STEEPEST)
    window: int = common.distance(5, "Largest distance of context.", panel="Model")
    shrink_windows: bool = model(True, "1: draw each word's window; 0: always the largest.")
    alpha: float | None = training(None, ALPHA_HELP, low=0, names=RATE)
    min_alpha: float = training(1e-4, "Last learning rate.", low=0, names=LAST_RATE)
    precision: str = training("float32", PRECISION_HELP, choices=PRECISIONS, later=True)
    deterministic: bool = training(False, DETERMINISTIC_HELP, later=True)
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is None:
            self._set("alpha", self.usual_alpha)
        if not self.hs and not self.negative:
            raise ValueError(
                f"{self.OWNER}: hs=0 with negative=0 is neither hierarchical softmax nor negative "
                "sampling: one of them is needed"
            )

    @property
    def usual_alpha(self) -> float:
        """The first learning rate where none is given."""
        return ALPHA if self.sg or not self.cbow_mean else ALPHA_OF_MEANS

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that are trained, as in a checkpoint."""
        return "input", *["output"] * (self.negative > 0), *["tree"] * self.hs
