"""What the commands tell the user beside their results."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import typer

from lexforge._display import printable, shell_command


def tell(text: object, colour: str | None = None) -> None:
    """One line on standard error; nobody may be there to read it."""
    with contextlib.suppress(OSError, ValueError):
        typer.secho(printable(text), fg=colour, err=True)


def warn(message: object) -> None:
    """One yellow line on standard error."""
    tell(f"warning: {message}", "yellow")


def similar_hint(place: object, words: Sequence[str]) -> str:
    """What to do with vectors: look at the neighbours of a word that is common, but not the."""
    rest = words[len(words) // 20 :]
    word = next((word for word in rest if word.isalpha()), rest[0])
    return f"try: {shell_command('lexforge', 'similar', place, word)}"
