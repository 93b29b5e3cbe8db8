"""What the commands tell the user beside their results."""

from __future__ import annotations

import contextlib

import typer

from lexforge._display import printable


def tell(text: object, colour: str | None = None) -> None:
    """One line on standard error; nobody may be there to read it."""
    with contextlib.suppress(OSError, ValueError):
        typer.secho(printable(text), fg=colour, err=True)


def warn(message: object) -> None:
    """One yellow line on standard error."""
    tell(f"warning: {message}", "yellow")
