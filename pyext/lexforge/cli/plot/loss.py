"""``lexforge plot loss``: how a training went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lexforge._display import shown
from lexforge.cli.plot._picture import Picture, check_picture


def loss(
    log: Annotated[
        Path, typer.Argument(metavar="LOG", help="What --log-json wrote.", show_default=False)
    ],
    out: Picture,
    smoothing: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the curve that its running mean spans.")
    ] = 0.05,
) -> None:
    """Draw the losses of a training: each with its running mean, and where epochs begin.

    Evaluations on held-out text are dots. Of a classifier, accuracies are drawn beside them. The
    log of a run that goes on can be drawn at any time.

    Examples:

    - `lexforge plot loss log.jsonl --out loss.svg`
    - `lexforge plot loss log.jsonl --out loss.png --smoothing 0`
    """
    check_picture(out)

    from lexforge._plot import plot_loss

    plot_loss(log, path=out, smoothing=smoothing)
    typer.echo(shown(out))
