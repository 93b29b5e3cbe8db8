"""What the result of a FastText run depends on, beside its corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lexforge.models.settings import model, training
from lexforge.models.word2vec.settings import RATE, Word2VecSettings

COMPOSITIONS = ("mean", "sum")
SUBWORDS = ("hashed", "explicit")
# The original's, which gensim has at half of it; CBOW wants more, sums of many rows less.
ALPHA, ALPHA_OF_CBOW, ALPHA_OF_SUMS = 0.05, 0.1, 0.01
ALPHA_HELP = f"First learning rate; {ALPHA}, {ALPHA_OF_CBOW} for CBOW, {ALPHA_OF_SUMS} for sums."
CBOW_HELP = "CBOW: 1: the mean of all rows of the context; 0: their sum."
MIN_N_HELP = "Characters of the shortest n-gram."
MAX_N_HELP = "Characters of the longest; 0: no n-grams."
BUCKET_HELP = "N-grams share so many rows, by their hashes."
COMPOSITION_HELP = "A word's vector is the mean or the sum of its own row and its n-grams'."
SUBWORDS_HELP = "N-grams share rows by hash, or (explicit) each has its own."
LARGEST_BUCKET = 2**31 - 1


@dataclass(frozen=True)
class FastTextSettings(Word2VecSettings):
    """Those of :class:`~lexforge.FastText`, by gensim's names.

    Raises:
        ValueError: ``min_n`` above ``max_n``, or ``bucket=0`` where n-grams are to share rows.
    """

    OWNER: ClassVar[str] = "FastText"

    cbow_mean: int = model(1, CBOW_HELP, low=0, high=1)
    alpha: float | None = training(None, ALPHA_HELP, low=0, names=RATE)
    min_n: int = model(3, MIN_N_HELP, low=0, high=1000, names="-- -minn")
    max_n: int = model(6, MAX_N_HELP, low=0, high=1000, names="-- -maxn")
    bucket: int = model(2_000_000, BUCKET_HELP, low=0, high=LARGEST_BUCKET, names="-- -")
    subwords: str = model("hashed", SUBWORDS_HELP, choices=SUBWORDS)
    composition: str = model("mean", COMPOSITION_HELP, choices=COMPOSITIONS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.max_n:
            return
        if self.min_n > self.max_n:
            raise ValueError(
                f"{self.OWNER}: min_n must be <= max_n={self.max_n}, got {self.min_n}; max_n=0 "
                "asks for no n-grams"
            )
        if not self.bucket and self.subwords == "hashed":
            raise ValueError(
                f"{self.OWNER}: bucket must be >= 1 where n-grams share rows, got 0; max_n=0 asks "
                "for no n-grams"
            )

    @property
    def usual_alpha(self) -> float:
        """The first learning rate where none is given."""
        if not self.pooled_mean:
            return ALPHA_OF_SUMS
        return ALPHA if self.sg else ALPHA_OF_CBOW

    @property
    def pooled_mean(self) -> bool:
        """Whether an input is the mean of its rows: those of a word, or of CBOW's context."""
        return self.composition == "mean" and (self.sg == 1 or self.cbow_mean == 1)
