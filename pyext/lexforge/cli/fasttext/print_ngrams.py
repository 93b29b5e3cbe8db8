"""``lexforge fasttext print-ngrams``."""

from __future__ import annotations

from typing import Annotated

import typer

from lexforge.cli.fasttext._verbs import ModelFile, load, numbers, write


def print_ngrams(
    model: ModelFile, word: Annotated[str, typer.Argument(metavar="WORD", help="Any word.")]
) -> None:
    """A word's own vector and those of its n-grams.

    Examples:

    - `lexforge fasttext print-ngrams model.bin where`
    """
    for ngram, vector in load(model).ngram_vectors(word):
        write(ngram.encode(errors="surrogateescape") + b" " + numbers(vector) + b"\n")
