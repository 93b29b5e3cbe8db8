"""``lexforge fasttext cbow``."""

from __future__ import annotations

from typing import Annotated

from lexforge.cli._options import Given, options
from lexforge.cli.fasttext._verbs import VerbRunOptions, WordOptions, train


@options
def cbow(given: Annotated[Given, WordOptions], run: VerbRunOptions) -> None:
    """Word vectors with sub-words, by CBOW.

    Writes NAME.bin, from which training can continue, and NAME.vec, the words' vectors as text. A
    run that is stopped lies in NAME.checkpoint until --resume ends it. With -thread 1 a run is the
    same to the last bit every time.

    Examples:

    - `lexforge fasttext cbow -input wiki.txt -output wiki`
    """
    train("cbow", given, run)
