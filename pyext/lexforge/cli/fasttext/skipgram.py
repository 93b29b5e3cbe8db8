"""``lexforge fasttext skipgram``."""

from __future__ import annotations

from typing import Annotated

from lexforge.cli._options import Given, options
from lexforge.cli.fasttext._verbs import VerbRunOptions, WordOptions, train


@options
def skipgram(given: Annotated[Given, WordOptions], run: VerbRunOptions) -> None:
    """Word vectors with sub-words, by skip-gram.

    Writes NAME.bin, from which training can continue, and NAME.vec, the words' vectors as text. A
    run that is stopped lies in NAME.checkpoint until --resume ends it. With -thread 1 a run is the
    same to the last bit every time. `lexforge fasttext CORPUS --out FOLDER` trains the same model
    with more to choose: devices, --deterministic.

    Examples:

    - `lexforge fasttext skipgram -input wiki.txt -output wiki -dim 100 -minn 3 -maxn 6`
    """
    train("skipgram", given, run)
