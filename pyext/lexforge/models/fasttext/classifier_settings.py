"""What the result of a FastTextClassifier run depends on, beside its corpus."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from lexforge.models import settings as common
from lexforge.models.settings import corpus, model, training
from lexforge.ops.subword.classify_train import LOSSES
from lexforge.text.labelled import LABEL
from lexforge.training.settings import Settings

LARGEST_BUCKET = 2**31 - 1


def _prefix(owner: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{owner}: {name} must be a str, got {type(value).__name__}")
    if not value or re.search("[\0\t\n\v\f\r ]", value):
        raise ValueError(f"{owner}: {name} must be a text without white space, got {value!r}")
    try:
        value.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise ValueError(f"{owner}: {name} must be text that UTF-8 has, got {value!r}") from error
    return value


@dataclass(frozen=True)
class ClassifierSettings(Settings):
    """Those of :class:`~lexforge.models.fasttext.FastTextClassifier`, by fastText's names.

    Raises:
        ValueError: ``minn`` above ``maxn``; n-grams without buckets.
    """

    OWNER: ClassVar[str] = "FastTextClassifier"

    lr: float = training(0.1, "First learning rate; it falls to 0.", low=0)
    dim: int = model(100, "Numbers per vector.", low=1, high=2**24)
    epoch: int = training(5, "Passes over the corpus.", low=1, high=2**31 - 1)
    min_count: int = corpus(1, "Leave out rarer words.", low=0)
    min_count_label: int = corpus(0, "Leave out rarer labels.", low=0)
    word_ngrams: int = model(1, "Longest n-gram of words.", low=1, high=1000)
    minn: int = model(0, "Shortest n-gram of characters.", low=0, high=2**31 - 1)
    maxn: int = model(0, "Longest n-gram of characters; 0: none.", low=0, high=2**31 - 1)
    bucket: int = model(2_000_000, "Rows for n-grams.", low=0, high=LARGEST_BUCKET)
    loss: str = model("softmax", "How labels are told apart.", choices=LOSSES)
    neg: int = model(5, "Noise labels, with loss ns.", low=1, high=1000)
    label: str = corpus(LABEL, "With which labels begin.", rule=_prefix)
    seed: int = common.seed()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.maxn and self.minn > self.maxn:
            raise ValueError(
                f"FastTextClassifier: minn must be <= maxn={self.maxn}, got {self.minn}"
            )
        if self.has_ngrams and self.bucket == 0:
            raise ValueError(
                "FastTextClassifier: bucket must be >= 1 where there are n-grams "
                f"(word_ngrams={self.word_ngrams}, maxn={self.maxn}), got 0"
            )

    @property
    def has_ngrams(self) -> bool:
        """Whether any row is a bucket's."""
        return self.word_ngrams > 1 or self.maxn > 0

    @property
    def buckets(self) -> int:
        """Rows for n-grams, where there are any."""
        return self.bucket if self.has_ngrams else 0
