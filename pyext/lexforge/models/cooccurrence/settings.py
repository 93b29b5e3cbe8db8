"""What co-occurrence counts depend on, beside their corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lexforge.models import settings as common
from lexforge.models.settings import corpus, counts
from lexforge.training.settings import Settings

LARGEST_WEIGHTED_WINDOW = 42


@dataclass(frozen=True)
class CooccurrenceSettings(Settings):
    """Those of :func:`~lexforge.cooccurrence`."""

    OWNER: ClassVar[str] = "cooccurrence"

    window: int = common.window()
    symmetric: bool = common.symmetric()
    distance_weighting: bool = common.distance_weighting()
    cross_sentences: bool = counts(False, "Windows reach over the ends of lines.")
    min_count: int = common.min_count()
    max_vocab_size: int | None = common.max_vocab_size()
    max_sentence_length: int | None = corpus(None, "Split longer lines; none by default.", low=1)
    lowercase: bool = common.lowercase()
    encoding: str = common.encoding()
    errors: str | None = common.errors()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_window(self.OWNER, self.window, self.distance_weighting)


def check_window(owner: str, window: int, distance_weighting: bool) -> None:
    """ValueError for a window that is too wide to be weighted."""
    if distance_weighting and window > LARGEST_WEIGHTED_WINDOW:
        raise ValueError(
            f"{owner}: window must be 1 to {LARGEST_WEIGHTED_WINDOW} with distance_weighting, "
            f"got {window}"
        )
