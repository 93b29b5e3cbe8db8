"""What the commands that draw share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lexforge.cli._options import check_files

Picture = Annotated[
    Path,
    typer.Option("--out", help="Picture to write: .png, .svg or .pdf.", show_default=False),
]


def check_picture(out: Path) -> None:
    """Before the work rather than after it: can there be this picture?"""
    check_files(out)

    from lexforge._plot import picture_format

    picture_format(out)
