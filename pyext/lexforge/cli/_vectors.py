"""What the commands on vector files share: loading, unknown words, tables."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lexforge._display import is_terminal, printable, printable_json
from lexforge.cli._messages import warn

if TYPE_CHECKING:
    from lexforge.vectors import KeyedVectors


Source = Annotated[
    str,
    typer.Argument(help="Vector file of any known format, checkpoint, or name of a data set."),
]
RestrictVocab = Annotated[
    int | None, typer.Option(min=1, help="Search only the first (most frequent) words.")
]
Encoding = Annotated[
    str, typer.Option(help="Of the words in text and binary files, for example latin-1.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextlib.contextmanager
def short_warnings() -> Iterator[None]:
    """Warnings as one line each, without the source line they come from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: warn(message)
        yield


def load(path: str, **options) -> KeyedVectors:
    """Vectors from a file the user named, or a data set of vectors."""
    from pathlib import Path

    from lexforge.text import datasets
    from lexforge.vectors import load_vectors

    named = path in datasets.names("vectors") and not Path(path).exists()
    with short_warnings():
        return load_vectors(datasets.dataset_path(path) if named else path, **options)


def unknown_words(kv: KeyedVectors, words: Sequence[str]) -> str:
    """What to say about the words that have no vector; empty when all have one."""
    from lexforge.vectors.similarity import unknown_word

    return "; ".join(
        unknown_word(word, kv.index_to_key, kv.key_to_index) for word in words if word not in kv
    )


def check_known(kv: KeyedVectors, words: Sequence[str]) -> None:
    """ValueError naming the words that have no vector, with close spellings."""
    if problems := unknown_words(kv, words):
        raise ValueError(problems)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, texts: int = 1
) -> None:
    """A table on a terminal, tab-separated lines without a heading elsewhere.

    The first `texts` columns begin at the left, the others are numbers.
    """
    if not is_terminal(sys.stdout):
        for row in rows:
            typer.echo("\t".join(_cell(value) for value in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(title)), title_justify="left")
    for number, column in enumerate(columns):
        # Words and names are never cut off.
        table.add_column(column, justify="left" if number < texts else "right", overflow="fold")
    for row in rows:
        table.add_row(
            *(Text(printable(_cell(value))) for value in row)
        )  # Text: words are not markup
    Console().print(table)


def print_json(value: object) -> None:
    """Indented, words in their own letters."""
    typer.echo(printable_json(json.dumps(value, ensure_ascii=False, indent=2)))


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
