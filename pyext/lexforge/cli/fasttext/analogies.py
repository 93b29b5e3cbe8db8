"""``lexforge fasttext analogies``."""

from __future__ import annotations

from lexforge.cli.fasttext._verbs import (
    ModelFile,
    Neighbours,
    load,
    prompt,
    say,
    tell_neighbours,
    words,
)


def analogies(model: ModelFile, k: Neighbours = 10) -> None:
    """The words nearest to A - B + C, of three on standard input.

    Examples:

    - `echo "king man woman" | lexforge fasttext analogies model.bin`
    """
    loaded = load(model)
    say(f"Loading model {model}")
    prompt(question := "Query triplet (A - B + C)? ")
    asked = words()
    for first, second, third in zip(asked, asked, asked, strict=False):
        tell_neighbours(loaded.get_analogies(first, second, third, k, "surrogateescape"))
        prompt(question)
