"""What the commands that train word vectors share: checks, folders, signals, results."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from lexforge.cli._messages import similar_hint, tell, warn

if TYPE_CHECKING:
    from lexforge.models.glove.model import GloVe
    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.text import Vocabulary
    from lexforge.training.progress import Progress
    from lexforge.vectors import KeyedVectors


class Format(str, Enum):
    """Of a vector file."""

    TEXT = "text"
    BINARY = "binary"
    GLOVE = "glove"
    SAFETENSORS = "safetensors"


FILE_NAMES = {
    Format.TEXT: "vectors.txt",
    Format.BINARY: "vectors.bin",
    Format.GLOVE: "vectors.glove.txt",
    Format.SAFETENSORS: "vectors.safetensors",
}


def warn_of_bytes(vocabulary: Vocabulary, corpus: str) -> None:
    """Tell when the corpus does not look like text."""
    damaged = sum("\N{REPLACEMENT CHARACTER}" in word for word in vocabulary.words)
    if damaged > len(vocabulary) // 10:
        warn(
            f"{damaged:,} of {len(vocabulary):,} words hold bytes that are not UTF-8: "
            f"is {corpus} a text file in that encoding?"
        )


def tell_of_stop(again: str | None) -> None:
    """After a signal: how to go on, if anything was saved."""
    tell(
        f"stopped and saved; continue with: {again}"
        if again
        else "stopped; without --out nothing is saved"
    )


def write_vectors(vectors: KeyedVectors, path: Path, format: Format) -> None:
    """A file for other programs."""
    from lexforge.vectors import save_vectors

    save_vectors(vectors, path, format=format.value)


def tell_results(
    model: Word2Vec | GloVe, out: Path | None, files: list[Path], progress: Progress
) -> None:
    """How it went, where the results are, and what to do with them."""
    from lexforge.training.progress import clock, count

    state = model.state
    progress.say(
        f"done in {clock(state.seconds)}: {count(state.done)} {state.unit}, "
        f"{count(state.per_second)} {state.unit}/s, final loss {state.recent_loss:.4f}"
    )
    places = [*([] if out is None else [out]), *files]
    for place in places:
        progress.say(f"  {place}")
    progress.say(similar_hint(places[0], model.wv.index_to_key))
