"""``lexforge data clean``: the cache's size, and its removal."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lexforge.cli.data._names import AnyNames, wanted


def clean(
    names: AnyNames = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Show what the cache holds and how large it is, and remove it, all or these data sets.

    Only files that Lexforge put there are removed; the folder LEXFORGE_DATA is never touched.
    Without a terminal nothing is removed unless --yes is given.

    Examples:

    - `lexforge data clean`
    - `lexforge data clean glove.42b.300d --yes`
    """
    from lexforge.text import datasets
    from lexforge.training.memory import show_bytes

    cached = datasets.cached()
    if names:
        cached = {name: cached[name] for name in wanted(names) if name in cached}
    if not cached:
        typer.echo(f"nothing to remove in {datasets.cache_path()}")
        return
    sizes = {name: sum(file.stat().st_size for file in files) for name, files in cached.items()}
    width = max(map(len, sizes))
    for name, size in sizes.items():
        typer.echo(f"{name:<{width}}  {show_bytes(size)}")
    total = f"{show_bytes(sum(sizes.values()))} in {datasets.cache_path()}"
    if not yes:
        if not sys.stdin.isatty():
            typer.echo(f"{total}; to remove it: --yes")
            return
        typer.confirm(f"{total}: remove it?", abort=True)
    for files in cached.values():
        for file in files:
            file.unlink()
            for folder in file.parents:  # that are empty now
                if folder == datasets.cache_path() or any(folder.iterdir()):
                    break
                folder.rmdir()
    typer.echo(f"removed {total}")
