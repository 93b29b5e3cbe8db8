"""``lexforge nli predict``: the classes of pairs of texts."""

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
        typer.Argument(
            metavar="[PREMISE HYPOTHESIS]...", help="Pairs; without any standard input is read."
        ),
    ] = None,
    *,
    file: common.File = None,
    columns: common.PairColumnOptions,
    how: common.PredictionOptions,
) -> None:
    """Classify pairs of texts: a JSON object a line, with the probability of each class.

    Pairs are the arguments, two by two; or lines of standard input with a tab between both texts,
    also JSON objects with `premise` and `hypothesis`; or those of --file: a table, JSON lines or
    data set as `train` reads them.

    Examples:

    - `lexforge nli predict nli/ "he is good ." "he is bad ."`
    - `lexforge nli predict nli/ < pairs.tsv > classes.jsonl`
    - `lexforge nli predict nli/ --file snli:test`
    """
    given = texts or []
    if len(given) % 2:
        raise typer.BadParameter("texts must come in pairs: PREMISE HYPOTHESIS")
    pairs = list(zip(given[::2], given[1::2], strict=True))
    common.predict("nli", model, pairs, file, columns, how)
