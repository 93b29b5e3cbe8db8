"""Names of data sets on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

_NAMES = typer.Argument(
    metavar="NAME...",
    help="Data sets, or all of a kind: corpus, vectors, similarity, analogy, classification.",
    show_default=False,
)
Names = Annotated[list[str], _NAMES]
AnyNames = Annotated[list[str] | None, _NAMES]  # some versions of typer want None for none


def check_known(name: str) -> None:
    """BadParameter for what is no data set."""
    from lexforge.text import datasets

    if name not in datasets.REGISTRY:
        raise typer.BadParameter(
            f"NAME must be one of {', '.join(datasets.names())}, or a kind where several may be "
            f"named, got {name!r}"
        )


def wanted(given: Sequence[str]) -> list[str]:
    """The data sets that are meant, each once. BadParameter for what is none."""
    from lexforge.text import datasets

    found: dict[str, None] = {}
    for name in given:
        if not (several := datasets.names(name)):
            check_known(name)
        found.update(dict.fromkeys(several or [name]))
    return list(found)
