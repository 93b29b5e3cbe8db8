"""Compressed files: known by their first bytes, and read as what they hold."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, BinaryIO

from lexforge._display import printable
from lexforge._errors import CutShortError

_OPENERS: dict[str, Callable[..., Any]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
SUFFIXES: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_MAGIC = {
    "gzip": rb"\x1f\x8b\x08",
    "bzip2": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
    "xz": rb"\xfd7zXZ\0",
    "zip": rb"PK(\x03\x04|\x05\x06)",
}
_LONGEST_MAGIC = 16  # bytes, and more
_NAMED = 10  # files of an archive in a message

# What is raised while damaged data is read; of OSError not what a disk is to blame for.
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, struct.error, OSError)
# The same while an archive is opened, also of kinds that are not known.
DAMAGED_ZIP = (
    *(*_DAMAGED, IndexError, NotImplementedError, RuntimeError),
    *(OverflowError, ValueError, MemoryError),
)


def is_damage(error: BaseException) -> bool:
    """Whether the data is to blame for one of these errors, and not the disk."""
    return not isinstance(error, OSError) or error.errno in (None, errno.EINVAL)


def compression(head: bytes) -> str | None:
    """gzip, bzip2, xz or zip, when data that begins like this is compressed so."""
    return next((kind for kind, magic in _MAGIC.items() if re.match(magic, head)), None)


@contextmanager
def unpacked(file: BinaryIO, name: str = "") -> Iterator[BinaryIO]:
    """What a file holds, or the file itself if it is not compressed.

    Args:
        file: at its beginning, or a stream with a method peek.
        name: of the file, for messages that are to begin with it.

    Raises:
        ValueError: compressed data that is damaged or cut short, also while reading; a zip file
            that is encrypted, or of several files.
    """
    kind = compression(first_bytes(file, _LONGEST_MAGIC))
    if kind is None:
        yield file
        return
    prefix = f"{name}: " if name else ""
    try:
        with _content(file, kind, prefix) as inner:
            yield inner
    except CutShortError:  # what is in it, which it holds whole
        raise
    except _DAMAGED as error:
        if not is_damage(error):
            raise
        wrong = CutShortError if isinstance(error, EOFError) else ValueError
        raise wrong(f"{prefix}damaged or truncated {kind} file: {error}") from error


def first_bytes(file: Any, size: int, stream: bool = False) -> bytes:
    """What a file begins with, which stays to be read; of a stream what has come so far."""
    if stream or not file.seekable():
        return file.peek(size)[:size]
    head = file.read(size)
    file.seek(-len(head), 1)
    return head


@contextmanager
def _content(file: BinaryIO, kind: str, prefix: str) -> Iterator[BinaryIO]:
    with ExitStack() as opened:
        if kind != "zip":
            yield opened.enter_context(_OPENERS[kind](file))
            return
        if not file.seekable():  # the list of its files stands at the end
            copy = opened.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, copy)
            file = copy
        yield opened.enter_context(_only_member(file, prefix))  # type: ignore[misc]


def _only_member(file: BinaryIO, prefix: str) -> IO[bytes]:
    """The content of the one file in a zip archive."""
    with _opening():
        archive = zipfile.ZipFile(file)
        members = [info for info in archive.infolist() if not info.is_dir()]
    if any(info.filename.endswith("/data.pkl") for info in members):
        raise ValueError(
            f"{prefix}a torch checkpoint: load it with torch.load(path, weights_only=True) and "
            "pass the matrix to KeyedVectors(words, vectors)"
        )
    if len(members) != 1:
        names = ", ".join(printable(info.filename) for info in members[:_NAMED]) or "nothing"
        more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
        raise ValueError(
            f"{prefix}a zip file must hold one file, this one holds: {names}{more}; unpack it"
        )
    if members[0].flag_bits & 1:
        raise ValueError(f"{prefix}an encrypted zip file: unpack it")
    with _opening():
        return archive.open(members[0])


@contextmanager
def _opening() -> Iterator[None]:
    """One kind of error for all that damaged archives lead to."""
    try:
        yield
    except DAMAGED_ZIP as error:
        if not is_damage(error):
            raise
        raise zipfile.BadZipFile(str(error)) from error
