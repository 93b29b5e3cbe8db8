"""``lexforge fasttext print-sentence-vectors``."""

from __future__ import annotations

from lexforge.cli.fasttext._verbs import ModelFile, blocks, load, numbers, standard_input, write


def print_sentence_vectors(model: ModelFile) -> None:
    """A vector for each line on standard input.

    Examples:

    - `lexforge fasttext print-sentence-vectors model.bin < lines.txt > vectors.txt`
    """
    loaded = load(model)
    for block in blocks(standard_input(), b"\n"):
        for vector in loaded.sentence_vectors(block):
            write(numbers(vector) + b"\n")
