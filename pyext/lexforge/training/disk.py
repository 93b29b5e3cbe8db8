"""Room on the disk: asked for before the work, explained when it runs out."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lexforge.training.memory import show_bytes


def check_space(folder: Path, needed: int) -> None:
    """Raises OSError unless `needed` bytes are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"no space left: {show_bytes(needed)} are needed and {show_bytes(free)} are free",
            str(folder),
        )


@contextmanager
def explaining_no_space(folder: Path, needed: Callable[[int], int]) -> Iterator[None]:
    """Adds to errors about a full disk what is there and what is needed.

    Args:
        folder: Of the files.
        needed: Bytes in all by the bytes written so far; 0 when that cannot be told.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        used = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        free = shutil.disk_usage(folder).free
        text = (
            f"{os.strerror(error.errno)}: {show_bytes(used)} of counts are written and "
            f"{show_bytes(free)} are free"
        )
        if whole := needed(used):
            text += f"; about {show_bytes(whole)} are needed"
        raise OSError(error.errno, text, str(folder)) from error
