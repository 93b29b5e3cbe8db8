"""What the commands that train word vectors share: checks, folders, signals, results."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import typer

from lexforge._display import shell_command
from lexforge.cli._messages import similar_hint, tell, warn

if TYPE_CHECKING:
    from lexforge.cli._options import Given
    from lexforge.models.glove.model import GloVe
    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.text import Vocabulary
    from lexforge.training.progress import Progress
    from lexforge.training.signals import StopRequest
    from lexforge.training.stream_job import StreamState
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
            f"{damaged:,} of {len(vocabulary):,} words hold bytes that are no text: "
            f"is {corpus} a text file, and in this encoding?"
        )


def leave_stopped(stop: StopRequest, out: Path | None, *again: object) -> NoReturn:
    """After a signal: tell how to go on, if anything was saved, and leave by its exit code.

    Args:
        again: the words after ``lexforge`` of the command that goes on.
    """
    tell(
        "stopped; without --out nothing is saved"
        if out is None
        else f"stopped and saved; continue with: {shell_command('lexforge', *again)}"
    )
    raise typer.Exit(stop.exit_code)


class Trained(NamedTuple):
    """What a model has once it has words and a run."""

    state: StreamState
    vocabulary: Vocabulary
    wv: KeyedVectors


def trained(model: Word2Vec | GloVe) -> Trained:
    """ValueError if it has not."""
    state, vocabulary, wv = model.state, model.vocabulary, model.wv
    if state is None or vocabulary is None or wv is None:
        raise ValueError("the model was never trained")
    return Trained(state, vocabulary, wv)


def run_of(model: Word2Vec | GloVe, folder: Path, given: Given) -> StreamState:
    """The run of a loaded model, to be resumed.

    Raises:
        ValueError: There is none, or what was given is not as it was.
    """
    model.settings.refuse_changes(given)
    if model.state is None:
        raise ValueError(f"{folder} holds a model that was never trained: no run to resume")
    return model.state


def write_vectors(vectors: KeyedVectors, path: Path, format: Format) -> None:
    """A file for other programs."""
    from lexforge.vectors import save_vectors

    save_vectors(vectors, path, format=format.value)


def tell_results(
    model: Word2Vec | GloVe, out: Path | None, files: list[Path], progress: Progress
) -> None:
    """How it went, where the results are, and what to do with them."""
    from lexforge.training.progress import clock, count

    state, _, wv = trained(model)
    loss = f"final loss {state.recent_loss:.4f}"
    if math.isnan(state.recent_loss):
        loss = "no pair of words was left to learn from (--sample 0 leaves out none)"
    progress.say(
        f"done in {clock(state.seconds)}: {count(state.done)} {state.unit}, "
        f"{count(state.per_second)} {state.unit}/s, {loss}"
    )
    places = [*([] if out is None else [out]), *files]
    for place in places:
        progress.say(f"  {place}")
    progress.say(similar_hint(places[0], wv.index_to_key))
