"""Files that appear under their name when they are complete, or not at all."""

from __future__ import annotations

import errno
import mmap
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def replacement(path: str | os.PathLike, *, sync: bool = True) -> Iterator[Path]:
    """An empty file in the folder of `path` that is renamed to `path` when the block ends well.

    Args:
        path: The file to replace. Devices and pipes are handed out as they are: renaming would put
            an ordinary file in their place.
        sync: Wait until the content is on the disk, so that not even a power failure leaves a new
            name with old or missing content.

    Raises:
        OSError: Naming `path`; what was there before is intact.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        yield path
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            mode = os.fstat(file.fileno()).st_mode
        yield temporary
        os.chmod(temporary, mode)  # some libraries write files that only their owner may read
        if sync:
            flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary):  # not a name that the user has ever seen
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: str | os.PathLike, *, sync: bool = True) -> Iterator[BinaryIO]:
    """`replacement` as a binary file open for writing."""
    with replacement(path, sync=sync) as temporary, open(temporary, "wb") as file:
        yield file


def read_into(file: Any, array: Any) -> bool:
    """Fills a contiguous numpy array with the bytes of a binary file that come next.

    Returns:
        Whether there were enough.
    """
    view = memoryview(array.view("u1"))
    while view:
        got = file.readinto(view)  # at most 2 GiB at a time
        if not got:
            return False
        view = view[got:]
    return True


def map_file(path: str | os.PathLike) -> mmap.mmap:
    """A file that is not empty, as memory: pages are read when they are looked at.

    What is written there stays in this process; the file never changes. Nothing is reserved for
    such writes, or else the system would refuse to map a file larger than its memory.
    """
    no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python tells its value from 3.13 on
    with open(path, "rb") as file:
        return mmap.mmap(
            file.fileno(),
            0,
            flags=mmap.MAP_PRIVATE | no_reserve,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
        )


def flush(path: str | os.PathLike) -> None:
    """Wait until a file or folder is on the disk, so that a rename never outruns its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
