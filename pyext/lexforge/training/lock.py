"""One process at a time works in the folder of a run."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

LOCK = ".lock"  # file in the folder, there as long as somebody works in it
# File systems without locks say so in these ways: there nothing is locked.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_held = threading.local()  # .folders: what this thread has locked


class FolderInUseError(RuntimeError):
    """Another process works in the folder."""


@contextmanager
def folder_of_run(
    folder: str | os.PathLike | None, doing: str = "training"
) -> Iterator[Path | None]:
    """A folder that only this thread writes to, until the block ends.

    Args:
        folder: Made when missing, with those above it, and gone again when nothing was kept in it.
            None for no folder.
            Blocks may be nested: the outermost one holds the lock.
        doing: What goes on in it, for the message to others.

    Raises:
        FolderInUseError: Another process, or thread, holds the lock. Nothing was changed.
        OSError: The folder cannot be made, or not be written to.
    """
    if folder is None:
        yield None
        return
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(folder, doing):
            yield folder
    finally:
        with suppress(OSError):  # it is not empty when there is something to go on with
            for path in made:
                path.rmdir()


@contextmanager
def _locked(folder: Path, doing: str) -> Iterator[None]:
    held: set[str] = _held.__dict__.setdefault("folders", set())
    name = os.path.realpath(folder)
    if name in held:
        yield
        return
    with _lock(folder, doing):
        held.add(name)
        try:
            yield
        finally:
            held.remove(name)
            # Before it is unlocked: who has opened it meanwhile finds that it is gone.
            with suppress(OSError):
                (folder / LOCK).unlink()


def _lock(folder: Path, doing: str) -> IO[bytes]:
    """The locked file."""
    path = folder / LOCK
    while True:
        try:
            file = open(path, "ab")  # noqa: SIM115  it is closed by the caller
        except FileNotFoundError:  # who worked here has kept nothing, and removed the folder
            folder.mkdir(parents=True, exist_ok=True)
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise FolderInUseError(f"{folder}: another process is {doing} there") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()  # whoever had locked it has removed it
