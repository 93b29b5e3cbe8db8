"""``lexforge data list``: the data sets, and where they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lexforge.cli import _vectors


def list(
    name: Annotated[
        str | None, typer.Argument(help="Tell all about this one.", show_default=False)
    ] = None,
) -> None:
    """Show the data sets: name, what it is, size of the download, and where it is.

    Examples:

    - `lexforge data list`
    - `lexforge data list text8`
    """
    from lexforge.text import datasets

    if name is not None:
        return _describe(name)
    rows = [
        (each, known.kind, known.about, _size(each), _place(datasets.find(each)))
        for each, known in datasets.REGISTRY.items()
    ]
    columns = ["name", "kind", "what it is", "download", "where"]
    _vectors.print_table("Data sets", columns, rows, texts=3)


def _describe(name: str) -> None:
    from lexforge.cli.data._names import check_known
    from lexforge.text import datasets

    check_known(name)
    known = datasets.REGISTRY[name]
    typer.echo(f"{name}: {known.about} ({known.kind})")
    typer.echo(f"  licence   {known.licence}")
    typer.echo(f"  download  {_size(name)}")
    for url in known.urls:
        typer.echo(f"            {url}")
    if known.digest:
        typer.echo(f"  checksum  {known.digest}")
    for split in known.files:
        typer.echo(f"  {split:<8}  {datasets.find(name, split) or 'not here'}")


def _size(name: str) -> str:
    from lexforge.text import datasets
    from lexforge.training.memory import show_bytes

    known = datasets.REGISTRY[name]
    if not known.urls:
        return "none"
    return show_bytes(known.size) if known.exact else f"under {show_bytes(known.size)}"


def _place(path: Path | None) -> str:
    from lexforge.text import datasets

    if path is None:
        return "not here"
    data = os.environ.get("LEXFORGE_DATA")
    inside = data and path.is_relative_to(data) and not path.is_relative_to(datasets.cache_path())
    return "LEXFORGE_DATA" if inside else "cache"
