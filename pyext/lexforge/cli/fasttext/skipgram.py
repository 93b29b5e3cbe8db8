"""``lexforge fasttext skipgram``."""

from __future__ import annotations

from typing import Annotated

from lexforge.cli._options import Given, options
from lexforge.cli.fasttext._verbs import WordOptions, train


@options
def skipgram(given: Annotated[Given, WordOptions]) -> None:
    """Word vectors with sub-words, by skip-gram.

    Writes NAME.bin, from which training can continue, and NAME.vec, the words' vectors as text.
    `lexforge fasttext CORPUS --out FOLDER` trains the same model with more to choose: checkpoints,
    --resume, devices.

    Examples:

    - `lexforge fasttext skipgram -input wiki.txt -output wiki -dim 100 -minn 3 -maxn 6`
    """
    train("skipgram", given)
