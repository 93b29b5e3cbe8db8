"""Data sets of the text: names, addresses, checksums."""

from __future__ import annotations

import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

from lexforge._files import replacing
from lexforge.text import datasets
from lexforge.text.download import download as _download
from lexforge.text.download import has_digest

DATA_URL = "https://d2l-data.s3-accelerate.amazonaws.com/"


# The text's names of data sets that are called otherwise here.
_NAMES = {"aclImdb": "imdb", "SNLI": "snli"}

# name -> (url, sha1); entries of one's own are welcome
DATA_HUB: dict[str, tuple[str, str]] = {
    name: (datasets.REGISTRY[known].urls[0], datasets.REGISTRY[known].digest)
    for name, known in [*zip(datasets.REGISTRY, datasets.REGISTRY, strict=True), *_NAMES.items()]
    if len(datasets.REGISTRY[known].digest) == 40
}
# Pretrained BERT, for load_pretrained_model.
DATA_HUB["bert.base"] = (
    f"{DATA_URL}bert.base.torch.zip",
    "225d66f04cae318b841a13d32af3acc165f253ac",
)
DATA_HUB["bert.small"] = (
    f"{DATA_URL}bert.small.torch.zip",
    "c72329e68a732bef0452e4b96a1c341c8910f81f",
)


def download(name: str, folder: str | os.PathLike | None = None) -> Path:
    """The file of a data set named in ``DATA_HUB``, downloaded unless a good copy is there.

    Args:
        name: key of ``DATA_HUB``. folder: where to keep it; default lexforge's cache.

    Raises:
        KeyError: unknown name. ConnectionError: the download failed. ValueError: wrong SHA-1, or
        more bytes than expected. OSError: no place for it.
    """
    if name not in DATA_HUB:
        raise KeyError(f"download: name must be one of {', '.join(DATA_HUB)}, got {name!r}")
    url, sha1 = DATA_HUB[name]
    folder = datasets.cache_folder() / "d2l" if folder is None else Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / url.rsplit("/", 1)[-1]
    if target.exists() and has_digest(target, sha1):
        return target
    known = datasets.REGISTRY.get(_NAMES.get(name, name))
    same = known is not None and known.digest == sha1
    urls, size = (known.urls, known.size) if known and same else ((url,), None)
    try:
        with replacing(target) as file:
            _download(name, urls, file, digest=sha1, size=size)
    except ConnectionError as error:
        raise ConnectionError(f"download: {error}; put the file at {target} by hand") from error
    return target


def download_extract(name: str, folder: str | None = None) -> Path:
    """Download and unpack a data set; the folder that its archive (or `folder` in it) became.

    IMDb ("aclImdb") and SNLI ("SNLI") are not downloaded where they are already, in LEXFORGE_DATA
    or the cache; an archive of IMDb there is unpacked into the cache once.
    """
    if (here := _lying(name)) is not None:
        return here
    archive = download(name)
    stem = archive.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".zip")
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as file:
            file.extractall(archive.parent)
    elif archive.name.endswith((".tar", ".tar.gz")):
        with tarfile.open(archive) as file:
            # The first releases of 3.10 and 3.11 have no filters, and no such argument.
            file.extraction_filter = getattr(tarfile, "data_filter", None)
            file.extractall(archive.parent)
    else:
        raise ValueError(f"download_extract: must be a zip or tar archive, got {archive.name}")
    return archive.parent / (folder or stem)


def _lying(name: str) -> Path | None:
    """The folder of a data set of the text that need not be downloaded."""
    known = _NAMES.get(name)
    if known is None or DATA_HUB.get(name, ("", ""))[1] != datasets.REGISTRY[known].digest:
        return None
    path = datasets.find(known, "train")
    if path is None or path.is_dir():
        return path
    if known == "snli":
        return path.parent
    target = datasets.cache_folder() / "d2l" / name
    if not target.is_dir():
        target.parent.mkdir(exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=target.parent) as unpacked,
            tarfile.open(path) as archive,
        ):
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(unpacked)
            os.rename(Path(unpacked, name), target)
    return target
