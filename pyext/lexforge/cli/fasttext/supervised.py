"""``lexforge fasttext supervised``."""

from __future__ import annotations

from typing import Annotated

from lexforge.cli._options import Given, options
from lexforge.cli.fasttext._verbs import LabelOptions, train


@options
def supervised(given: Annotated[Given, LabelOptions]) -> None:
    """A classifier of lines.

    Each line of the text has words and, between them or before, one or more labels, words that
    begin with __label__. Writes NAME.bin and NAME.vec.

    Examples:

    - `lexforge fasttext supervised -input train.txt -output model -wordNgrams 2 -epoch 10`
    - `lexforge fasttext test model.bin test.txt`
    """
    train("supervised", given)
