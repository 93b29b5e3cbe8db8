"""``lexforge sentiment predict``: the classes of texts."""

from __future__ import annotations

from typing import Annotated

import typer

from lexforge.cli import _classification as common
from lexforge.cli._options import options


@options
def predict(
    model: common.Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="Texts; without any standard input is read."),
    ] = None,
    *,
    file: common.File = None,
    columns: common.ColumnOptions,
    how: common.PredictionOptions,
) -> None:
    """Classify texts: a JSON object a line, with the probability of each class.

    Texts are the arguments; or lines of standard input, also JSON objects with a `text`; or those
    of --file: a text a line, or a table, JSON lines or data set as `train` reads them.

    Examples:

    - `lexforge sentiment predict sentiment/ "this movie is so great" "this movie is so bad"`
    - `lexforge sentiment predict sentiment/ < reviews.txt > classes.jsonl`
    - `lexforge sentiment predict sentiment/ --file reviews.csv --text body`
    """
    common.predict("sentiment", model, texts or [], file, columns, how)
