"""Byte streams behind vector files: decompressed when read, renamed into place when written."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from lexforge._compressed import SUFFIXES, unpacked
from lexforge._files import replacing


@contextmanager
def open_for_reading(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed when it begins like gzip, bzip2, xz or zip.

    Raises:
        ValueError: not naming the file; see :func:`lexforge._compressed.unpacked`.
    """
    with open(path, "rb") as file, unpacked(file) as stream:
        yield stream


def is_compressed(stream: IO[bytes]) -> bool:
    """Whether what `open_for_reading` gave is not the file itself."""
    return not isinstance(stream, io.BufferedReader)


@contextmanager
def open_for_writing(path: str | os.PathLike, *, append: bool = False) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` once it is complete; compressed by suffix.

    Args:
        append: to what is there.
    """
    opener = SUFFIXES.get(Path(path).suffix)
    with replacing(path) as file:
        if append and os.path.exists(path):
            with open(path, "rb") as before:
                shutil.copyfileobj(before, file)
        if opener is None:
            yield file
        else:
            with opener(file, "wb") as inner:
                yield inner
