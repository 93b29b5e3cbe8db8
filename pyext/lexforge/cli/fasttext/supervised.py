"""``lexforge fasttext supervised``."""

from __future__ import annotations

from typing import Annotated

from lexforge.cli._options import Given, options
from lexforge.cli.fasttext._verbs import LabelOptions, VerbRunOptions, train


@options
def supervised(given: Annotated[Given, LabelOptions], run: VerbRunOptions) -> None:
    """A classifier of lines.

    Each line of the text has words and, between them or before, one or more labels, words that
    begin with __label__. Writes NAME.bin and NAME.vec. A run that is stopped lies in
    NAME.checkpoint until --resume ends it. With -thread 1 a run is the same to the last bit every
    time; several threads change rows without locks, and runs of them differ a little.

    Examples:

    - `lexforge fasttext supervised -input train.txt -output model -wordNgrams 2 -epoch 10`
    - `lexforge fasttext test model.bin test.txt`
    """
    train("supervised", given, run)
