"""``lexforge data fetch``: data sets, downloaded."""

from __future__ import annotations

from typing import Annotated

import typer

from lexforge.cli.data._names import Names, wanted


def fetch(
    names: Names,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the files.")] = False,
) -> None:
    """Download data sets that are not here yet, and print where they are.

    A download is checked by its size and checksum, and appears when it is whole. Each data set has
    its own terms: see `lexforge data list NAME`.

    Examples:

    - `lexforge data fetch text8`
    - `lexforge data fetch similarity analogy`
    """
    from lexforge.text import datasets

    for name in wanted(names):
        known = datasets.REGISTRY[name]
        if datasets.find(name) is None and not quiet:
            done = "downloading" if known.urls else "gathering"
            typer.echo(f"{done} {name}: {known.about}; licence: {known.licence}", err=True)
        typer.echo(datasets.dataset_path(name))
