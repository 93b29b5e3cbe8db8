"""``lexforge fasttext quantize``."""

from __future__ import annotations

from typing import Annotated

import typer

from lexforge.cli._options import Given, check_files, options
from lexforge.cli.fasttext._verbs import QuantizeOptions, load, with_end


@options
def quantize(given: Annotated[Given, QuantizeOptions]) -> None:
    """Make NAME.ftz, a small model, of NAME.bin, that of a classifier.

    Examples:

    - `lexforge fasttext quantize -output model -qnorm -cutoff 100000`
    - `lexforge fasttext quantize -output model -input train.txt -retrain -cutoff 10000`
    """
    given = dict(given)
    base, source = given.pop("output", None), given.get("input")
    if base is None:
        raise typer.BadParameter("give -output NAME: NAME.bin is read, NAME.ftz written")
    if given.get("retrain") and source is None:
        raise typer.BadParameter("-retrain needs the training text: -input FILE")
    check_files(with_end(base, "ftz"))
    model = load(with_end(base, "bin"))
    if given.get("retrain"):
        given = {"epoch": 5, "lr": 0.05, **given}
    model.quantize(**given)
    model.save_model(with_end(base, "ftz"))
