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

# What a write without a file name in its error ran into.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacement(path: str | os.PathLike, *, sync: bool = True) -> Iterator[Path]:
    """An empty file in the folder of `path` that is renamed to `path` when the block ends well.

    Args:
        path: The file to replace; a link stays one, and the file it names is replaced. Devices and
            pipes are handed out as they are: renaming would put an ordinary file in their place.
        sync: Wait until the content is on the disk, so that not even a power failure leaves a new
            name with old or missing content.

    Raises:
        OSError: Naming `path`; what was there before is intact.
    """
    with replacements(path, sync=sync) as (temporary,):
        yield temporary


@contextmanager
def replacements(*paths: str | os.PathLike, sync: bool = True) -> Iterator[list[Path]]:
    """`replacement` for files that belong together: none is renamed before all are complete.

    The further ones are removed before the first is renamed, so that whatever happens in between
    the first never lies beside others that are not its own.

    Raises:
        OSError: Naming the path.
    """
    temporaries: dict[Path, tuple[Path, Path]] = {}  # temporary -> its target, and how it was named
    handed_out = []
    try:
        for path in map(Path, paths):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            if path.exists() and not path.is_file():  # links to pipes lead nowhere by name
                handed_out.append(path)
                continue
            target = Path(os.path.realpath(path)) if path.is_symlink() else path
            temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
            temporaries[temporary] = target, path
            with open(temporary, "xb") as file:
                mode = os.fstat(file.fileno()).st_mode
            handed_out.append(temporary)
        yield handed_out
        for temporary in temporaries:
            os.chmod(temporary, mode)  # some libraries write files that only their owner may read
            if sync:
                flush(temporary)
        for target, _ in list(temporaries.values())[1:]:
            target.unlink(missing_ok=True)
        for temporary, (target, _) in temporaries.items():
            os.replace(temporary, target)
    except OSError as error:
        name = error.filename
        if name is None and error.errno in _FULL:
            raise type(error)(error.errno, error.strerror, str(Path(paths[0]))) from error
        for temporary, (_, path) in temporaries.items():
            if name is not None and os.fsdecode(name) == str(temporary):
                # Not a name that the user has ever seen.
                raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        for temporary in temporaries:
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


COMMIT = ".commit"  # folder, in that of a checkpoint, of files that are yet to be moved up


def part(folder: str | os.PathLike, name: str) -> Path:
    """Where a file of a checkpoint is, while its save may still be moving files up.

    The next moment it may be elsewhere: ``training.checkpoint.read_parts`` repeats what fails.
    """
    committed = Path(folder, COMMIT, name)
    # Unlike Path.is_file this takes any name, also one too long for the system.
    return committed if os.path.isfile(committed) else Path(folder, name)


def flush(path: str | os.PathLike) -> None:
    """Wait until a file or folder is on the disk, so that a rename never outruns its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
