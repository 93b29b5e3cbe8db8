"""Byte streams behind vector files: decompressed when read, renamed into place when written."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from lexforge._display import printable
from lexforge._files import DAMAGED_ZIP, replacing

_Opener = Callable[..., Any]
_OPENERS: dict[bytes, _Opener] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
COMPRESSION_SUFFIXES: dict[str, _Opener] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@contextmanager
def open_for_reading(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed when it begins like gzip, bzip2, xz or zip.

    Raises:
        ValueError: for compressed data that is damaged or cut short, also while reading; for a
            zip file with several members.
    """
    with open(path, "rb") as file:
        magic = file.read(6)
        file.seek(0)
        try:
            if magic.startswith(b"PK\x03\x04"):
                with _only_member(file) as inner:
                    yield inner
                return
            for start, opener in _OPENERS.items():
                if magic.startswith(start):
                    with opener(file, "rb") as inner:
                        yield inner
                    return
        except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise  # the disk, not the data
            raise ValueError(f"compressed data is damaged or cut short: {error}") from error
        yield file


def _only_member(file: BinaryIO) -> IO[bytes]:
    """The content of the one file in a zip archive."""
    try:
        archive = zipfile.ZipFile(file)
        members = [info for info in archive.infolist() if not info.is_dir()]
    except DAMAGED_ZIP as error:
        raise ValueError(f"compressed data is damaged or cut short: {error}") from error
    if any(info.filename.endswith("/data.pkl") for info in members):
        raise ValueError(
            "a torch checkpoint: load it with torch.load(path, weights_only=True) and pass the "
            "matrix to KeyedVectors(words, vectors)"
        )
    if len(members) != 1:
        names = ", ".join(printable(info.filename) for info in members) or "nothing"
        raise ValueError(
            f"a zip file must hold one vector file, this one holds: {names}; unpack it"
        )
    try:
        return archive.open(members[0])
    except DAMAGED_ZIP as error:
        raise ValueError(f"a zip file that cannot be unpacked: {error}") from error


def is_compressed(stream: IO[bytes]) -> bool:
    """Whether what `open_for_reading` gave is not the file itself."""
    return not isinstance(stream, io.BufferedReader)


@contextmanager
def open_for_writing(path: str | os.PathLike, *, append: bool = False) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` once it is complete; compressed by suffix.

    Args:
        append: to what is there.
    """
    opener = COMPRESSION_SUFFIXES.get(Path(path).suffix)
    with replacing(path) as file:
        if append and os.path.exists(path):
            with open(path, "rb") as before:
                shutil.copyfileobj(before, file)
        if opener is None:
            yield file
        else:
            with opener(file, "wb") as inner:
                yield inner
