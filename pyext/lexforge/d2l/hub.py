"""Data sets of the text: names, addresses, checksums."""

from __future__ import annotations

import hashlib
import os
import tarfile
import urllib.request
import zipfile
from pathlib import Path

from lexforge.text.datasets import cache_folder

DATA_URL = "http://d2l-data.s3-accelerate.amazonaws.com/"


# name -> (url, sha1)
DATA_HUB: dict[str, tuple[str, str]] = {
    "ptb": (DATA_URL + "ptb.zip", "319d85e578af0cdc590547f26231e4e31cdf1e42"),
    "glove.6b.50d": (DATA_URL + "glove.6B.50d.zip", "0b8703943ccdb6eb788e6f091b8946e82231bc4d"),
    "glove.6b.100d": (DATA_URL + "glove.6B.100d.zip", "cd43bfb07e44e6f27cbcc7bc9ae3d80284fdaf5a"),
    "glove.42b.300d": (DATA_URL + "glove.42B.300d.zip", "b5116e234e9eb9076672cfeabf5469f3eec904fa"),
    "wiki.en": (DATA_URL + "wiki.en.zip", "c1816da3821ae9f43899be655002f6c723e91b88"),
    "wikitext-2": (
        "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",
        "3c914d17d80b1459be871a5039ac23e752a53cbe",
    ),
}


def download(name: str, folder: str | os.PathLike | None = None) -> Path:
    """The file of a data set named in ``DATA_HUB``, downloaded unless a good copy is there.

    Args:
        name: key of ``DATA_HUB``. folder: where to keep it; default lexforge's cache.

    Raises:
        KeyError: unknown name. ConnectionError: the download failed. ValueError: wrong SHA-1.
    """
    if name not in DATA_HUB:
        raise KeyError(f"download: name must be one of {', '.join(DATA_HUB)}, got {name!r}")
    url, sha1 = DATA_HUB[name]
    folder = cache_folder() / "d2l" if folder is None else Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / url.rsplit("/", 1)[-1]
    if target.exists() and _sha1(target) == sha1:
        return target
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(url, timeout=30) as response, open(partial, "wb") as file:
            while block := response.read(1 << 20):
                file.write(block)
        if _sha1(partial) != sha1:
            raise ValueError(f"download: {url} must have the SHA-1 {sha1}, got {_sha1(partial)}")
        partial.replace(target)
    except OSError as error:
        raise ConnectionError(
            f"download: {url} cannot be fetched ({error}); put the file at {target} by hand"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _sha1(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def download_extract(name: str, folder: str | None = None) -> Path:
    """Download and unpack a data set; the folder that its archive (or `folder` in it) became."""
    archive = download(name)
    stem = archive.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".zip")
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as file:
            file.extractall(archive.parent)
    elif archive.name.endswith((".tar", ".tar.gz")):
        with tarfile.open(archive) as file:
            file.extractall(archive.parent, filter="data")
    else:
        raise ValueError(f"download_extract: must be a zip or tar archive, got {archive.name}")
    return archive.parent / (folder or stem)
