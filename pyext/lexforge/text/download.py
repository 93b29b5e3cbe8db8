"""Downloads: bounded, checked, from the first address that has what is wanted.

`torch.hub.download_url_to_file` would do it with SHA-256 alone (the textbook's sums are SHA-1),
from one address, for as long and as much as the other side likes to send. So it is urllib here.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from lexforge._display import is_terminal
from lexforge._version import __version__

BLOCK_BYTES = 1 << 20
TIMEOUT = 30  # seconds without an answer
_LOGGER = logging.getLogger("lexforge")


def download(
    name: str, urls: Sequence[str], file: BinaryIO, *, digest: str, size: int | None = None
) -> None:
    """Downloads into a file that is open for writing, with a progress bar on a terminal.

    Args:
        name: Of what it is, for the display.
        urls: Addresses of the same bytes; the next one is tried where one fails.
        file: Gets the bytes; what it held is gone.
        digest: SHA-1 or SHA-256 of the bytes, in hexadecimal.
        size: No more bytes than that are read from an address.

    Raises:
        ConnectionError: No address can be read.
        ValueError: None has the right bytes, and one had others.
        OSError: The file cannot be written.
    """
    unread: dict[str, list[str]] = {}  # reason -> addresses
    others = []
    for url in urls:
        file.seek(0)
        file.truncate()
        hasher = _hasher(digest)
        try:
            with _display(name, url, size) as show:
                for block in _blocks(url, size):
                    hasher.update(block)
                    file.write(block)
                    show(len(block))
            _check(url, hasher, digest)
            return
        except ConnectionError as error:
            unread.setdefault(str(error), []).append(url)
        except ValueError as error:
            others.append(str(error))
    reasons = [
        f"{', '.join(urls)} cannot be downloaded ({reason})" for reason, urls in unread.items()
    ]
    raise (ValueError if others else ConnectionError)("; ".join(others + reasons))


def has_digest(path: Path, digest: str) -> bool:
    """Whether these are the SHA-1 or SHA-256 of a file."""
    hasher = _hasher(digest)
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            hasher.update(block)
    return hasher.hexdigest() == digest


def _hasher(digest: str) -> hashlib._Hash:
    return hashlib.new("sha1" if len(digest) == 40 else "sha256", usedforsecurity=False)


def _check(url: str, hasher: hashlib._Hash, digest: str) -> None:
    if hasher.hexdigest() != digest:
        raise ValueError(
            f"{url}: {hasher.name} must be {digest}, got {hasher.hexdigest()}; "
            "the download is not used"
        )


def _blocks(url: str, size: int | None) -> Iterator[bytes]:
    """What an address sends. ConnectionError if it cannot be read, ValueError beyond `size`."""
    request = urllib.request.Request(url, headers={"User-Agent": f"lexforge/{__version__}"})
    done = 0
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            while block := response.read(BLOCK_BYTES):
                done += len(block)
                if size is not None and done > size:
                    raise ValueError(
                        f"{url}: must be {size:,} bytes, and more came; the download is not used"
                    )
                yield block
    except urllib.error.HTTPError as error:
        raise ConnectionError(f"{error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise ConnectionError(getattr(error, "reason", error)) from error


@contextlib.contextmanager
def _display(name: str, url: str, size: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; the log is told in any case."""
    _LOGGER.info("downloading %s from %s", name, url)
    if not is_terminal(sys.stderr):
        yield lambda count: None
        return
    from rich import progress
    from rich.console import Console

    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(f"downloading {name}", total=size)
        yield lambda count: bar.advance(task, count)
