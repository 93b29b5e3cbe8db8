"""``lexforge fasttext print-word-vectors``."""

from __future__ import annotations

from lexforge.cli.fasttext._verbs import ModelFile, load, numbers, word_bytes, write


def print_word_vectors(model: ModelFile) -> None:
    """The vector of each word on standard input.

    Words that the model does not have get the mean of their n-grams.

    Examples:

    - `echo "where whereever" | lexforge fasttext print-word-vectors model.bin`
    """
    loaded = load(model)
    for word in word_bytes():
        write(word + b" " + numbers(loaded.file.word_vector(word)) + b"\n")
