"""``lexforge fasttext nn``."""

from __future__ import annotations

from lexforge.cli.fasttext._verbs import ModelFile, Neighbours, load, prompt, tell_neighbours, words


def nn(model: ModelFile, k: Neighbours = 10) -> None:
    """The nearest words to those on standard input.

    Examples:

    - `echo where | lexforge fasttext nn model.bin 5`
    """
    loaded = load(model)
    prompt("Query word? ")
    for word in words():
        tell_neighbours(loaded.get_nearest_neighbors(word, k, "surrogateescape"))
        prompt("Query word? ")
