"""``lexforge fasttext print-sentence-vectors``."""

from __future__ import annotations

from lexforge.cli._corpus import STANDARD_INPUT
from lexforge.cli.fasttext._verbs import ModelFile, blocks, load, numbers, opened, write


def print_sentence_vectors(model: ModelFile) -> None:
    """A vector for each line on standard input.

    Examples:

    - `lexforge fasttext print-sentence-vectors model.bin < lines.txt > vectors.txt`
    """
    loaded = load(model)
    with opened(STANDARD_INPUT) as stream:
        for block in blocks(stream, b"\n"):
            for vector in loaded.sentence_vectors(block):
                write(numbers(vector) + b"\n")
