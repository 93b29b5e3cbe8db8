"""``lexforge fasttext cbow``."""

from __future__ import annotations

from typing import Annotated

from lexforge.cli._options import Given, options
from lexforge.cli.fasttext._verbs import WordOptions, train


@options
def cbow(given: Annotated[Given, WordOptions]) -> None:
    """Word vectors with sub-words, by CBOW.

    Writes NAME.bin, from which training can continue, and NAME.vec, the words' vectors as text.

    Examples:

    - `lexforge fasttext cbow -input wiki.txt -output wiki`
    """
    train("cbow", given)
