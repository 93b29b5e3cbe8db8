"""What the commands that take a corpus share: standard input, pipes, and folders with results."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import typer

STANDARD_INPUT = "-"
_BLOCK = 1 << 20


def refuse_overwriting(corpus: str | None, outputs: Iterable[Path | None]) -> None:
    """BadParameter if a CORPUS is itself written to; before anything is opened for writing."""
    if corpus is None or corpus == STANDARD_INPUT or not Path(corpus).exists():
        return
    path = Path(corpus).resolve()
    if any(output is not None and output.resolve() == path for output in outputs):
        raise typer.BadParameter(f"{corpus} is read, and cannot be written to: name another place")


def is_copied(corpus: str | None) -> bool:
    """Whether a CORPUS is read from a copy, which no later call would know again."""
    from lexforge.text.files import is_pipe

    if corpus is None or corpus == STANDARD_INPUT:
        return corpus is not None
    return Path(corpus).exists() and is_pipe(Path(corpus))


@contextmanager
def reading(
    corpus: str, outputs: Iterable[Path | None], say: Callable[[str], None]
) -> Iterator[str | Path | list[Path]]:
    """What is read for a CORPUS, as ``text.resolve_corpus`` takes it.

    Standard input and pipes are copied into a temporary file first, because a corpus is read more
    than once. Of a folder the files are taken that the command does not write itself.

    Args:
        corpus: As on the command line.
        outputs: Files and folders that the command writes.
        say: Tells in a line what was done.

    Raises:
        FileNotFoundError: There is no file in the folder.
    """
    from lexforge.text.corpus import files_below, tell_left_out
    from lexforge.text.datasets import is_dataset

    path, written = Path(corpus), [output for output in outputs if output is not None]
    if path.is_dir() and not is_dataset(corpus):
        files, left_out = files_below(path, written)
        if left_out:
            say(tell_left_out(left_out))
        if not files:
            raise FileNotFoundError(f"corpus: no files in folder {path}")
        yield files
    else:
        with reading_file(corpus, say) as file:
            yield file


@contextmanager
def reading_file(source: str, say: Callable[[str], None]) -> Iterator[str | Path]:
    """What is read for one file: itself, or a copy of standard input or of a pipe."""
    if source == STANDARD_INPUT:
        with _copied(sys.stdin.buffer, "standard input", say) as copy:
            yield copy
    elif is_copied(source):
        with open(source, "rb") as pipe, _copied(pipe, Path(source).name, say) as copy:
            yield copy
    else:
        yield source


@contextmanager
def _copied(source: BinaryIO, name: str, say: Callable[[str], None]) -> Iterator[Path]:
    """A file that goes away again, with what is left to read."""
    from lexforge.training.memory import show_bytes

    with tempfile.TemporaryDirectory(prefix="lexforge-") as folder:
        path = Path(folder) / name.replace(os.sep, "-")
        with open(path, "wb") as file:
            while block := source.read(_BLOCK):
                file.write(block)
        say(f"{name}: {show_bytes(path.stat().st_size)} read")
        yield path
