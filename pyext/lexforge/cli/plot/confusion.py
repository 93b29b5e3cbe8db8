"""``lexforge plot confusion``: which classes are taken for which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lexforge._display import shown
from lexforge.cli.plot._picture import Picture, check_picture


def confusion(
    scores: Annotated[
        Path,
        typer.Argument(
            metavar="SCORES",
            help="JSON of an evaluation: classes and a confusion matrix.",
            show_default=False,
        ),
    ],
    out: Picture,
) -> None:
    """Draw which classes a classifier takes for which: a row per class, a column per prediction.

    Colours are shares of the row, numbers are counts.

    Examples:

    - `lexforge plot confusion scores.json --out confusion.svg`
    """
    check_picture(out)

    from lexforge._errors import prefixed
    from lexforge._plot import plot_confusion
    from lexforge.text.lines import read_json
    from lexforge.training.metrics import ClassScores

    found = read_json(scores)
    try:
        read = ClassScores.from_json(found)
    except ValueError as error:
        raise prefixed(scores, error) from None
    plot_confusion(read, path=out)
    typer.echo(shown(out))
