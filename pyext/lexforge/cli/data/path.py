"""``lexforge data path``: where data sets lie."""

from __future__ import annotations

from typing import Annotated

import typer


def path(
    name: Annotated[
        str | None,
        typer.Argument(help="Data set, or data set:split.", show_default=False),
    ] = None,
) -> None:
    """Print the folder of what is downloaded, or the file of a data set that is here.

    Examples:

    - `lexforge data path`
    - `lexforge data path ptb:valid`
    """
    from lexforge.cli.data._names import check_known
    from lexforge.text import datasets

    if name is None:
        typer.echo(datasets.cache_path())
        return
    base, _, split = name.partition(":")
    check_known(base)
    files = datasets.REGISTRY[base].files
    if split and split not in files:
        raise typer.BadParameter(f"NAME: {base} has {', '.join(files)}, got {split!r}")
    found = datasets.find(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not here: lexforge data fetch {base}")
    typer.echo(found)
