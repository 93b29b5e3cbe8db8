"""Data sets by name: where they lie, where they come from.

    pydocs       docstrings of the installed standard library, numpy and torch: 1.3 million words,
                 gathered without a network at first use (a quarter of a minute)
    ptb          Penn Treebank, Mikolov's preprocessing; splits train, valid, test
    wikitext-2   WikiText-2, word level; splits train, valid, test

A downloaded set is looked for in the folder named by LEXFORGE_DATA (<folder>/ptb/ptb.train.txt,
<folder>/wikitext-2/wiki.train.tokens), then in the cache, and is then downloaded into the cache,
checked by its SHA-1. The cache is the folder named by LEXFORGE_CACHE, else ~/.cache/lexforge.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import sysconfig
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lexforge._files import replacing


@dataclass(frozen=True)
class Archive:
    """A zip file whose members are laid out as under LEXFORGE_DATA."""

    url: str
    sha1: str
    splits: dict[str, str]


_ARCHIVES = {
    "ptb": Archive(
        "http://d2l-data.s3-accelerate.amazonaws.com/ptb.zip",
        "319d85e578af0cdc590547f26231e4e31cdf1e42",
        {split: f"ptb/ptb.{split}.txt" for split in ("train", "valid", "test")},
    ),
    "wikitext-2": Archive(
        "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",
        "3c914d17d80b1459be871a5039ac23e752a53cbe",
        {split: f"wikitext-2/wiki.{split}.tokens" for split in ("train", "valid", "test")},
    ),
}


def names() -> list[str]:
    """The data sets' names."""
    return ["pydocs", *_ARCHIVES]


def is_dataset(name: str) -> bool:
    """Whether `name` is "<data set>" or "<data set>:<split>"."""
    return name.partition(":")[0] in names()


def cache_folder() -> Path:
    """The folder named by LEXFORGE_CACHE, else ~/.cache/lexforge; made when missing."""
    folder = Path(os.environ.get("LEXFORGE_CACHE") or Path.home() / ".cache" / "lexforge")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def dataset_path(name: str, split: str | None = None) -> Path:
    """The file of a data set, made or downloaded when it is not there yet.

    Args:
        name: "<data set>" or "<data set>:<split>".
        split: "train" (default), "valid" or "test"; pydocs has "train" alone.

    Raises:
        ValueError: unknown name or split, or a download whose SHA-1 is not the expected one.
        ConnectionError: the download failed; says where to put the file by hand.
    """
    base, _, named_split = name.partition(":")
    split = split or named_split or "train"
    splits = _ARCHIVES[base].splits if base in _ARCHIVES else {"train": ""}
    if base not in names() or split not in splits:
        raise ValueError(
            f"dataset_path: name must be one of {', '.join(names())} and split one of "
            f"{', '.join(splits)}, got {base!r} and {split!r}"
        )
    if base == "pydocs":
        return _pydocs_path()
    member = _ARCHIVES[base].splits[split]
    folders = [cache_folder()]
    if data := os.environ.get("LEXFORGE_DATA"):
        folders.insert(0, Path(data))
    for folder in folders:
        if (folder / member).is_file():
            return folder / member
    _download(base)
    return cache_folder() / member


def _download(name: str) -> None:
    archive = _ARCHIVES[name]
    cache = cache_folder()
    with tempfile.TemporaryFile(dir=cache) as file:
        digest = hashlib.sha1()
        try:
            with urllib.request.urlopen(archive.url, timeout=30) as response:
                while block := response.read(1 << 20):
                    digest.update(block)
                    file.write(block)
        except (urllib.error.URLError, OSError) as error:
            first = next(iter(archive.splits.values()))
            raise ConnectionError(
                f"data set {name!r} is not here and {archive.url} cannot be downloaded ({error}). "
                f"Either set LEXFORGE_DATA to a folder that holds {first}, or put that file at "
                f"{cache / first}, or use the data set 'pydocs', which needs no download"
            ) from error
        if digest.hexdigest() != archive.sha1:
            raise ValueError(
                f"{archive.url}: sha1 must be {archive.sha1}, got {digest.hexdigest()}; "
                "the download is not used"
            )
        with zipfile.ZipFile(file) as content:
            # By their known names: whatever else the archive holds stays inside.
            for member in archive.splits.values():
                (cache / member).parent.mkdir(parents=True, exist_ok=True)
                with replacing(cache / member) as target:
                    target.write(content.read(member))


_PYDOCS_RULES = 1  # of extraction; part of the cached file's name


def _pydocs_path() -> Path:
    """One sentence per line, lower-case words, as the installed packages' sources give them."""
    versions = [f"python{platform.python_version()}"]
    versions += [f"{package}{importlib.metadata.version(package)}" for package in _PACKAGES]
    path = cache_folder() / f"pydocs-{_PYDOCS_RULES}-{'-'.join(versions)}.txt"
    if not path.exists():
        roots = [Path(sysconfig.get_path("stdlib"))]
        for package in _PACKAGES:
            spec = importlib.util.find_spec(package)
            roots += map(Path, (spec and spec.submodule_search_locations) or ())
        seen: set[str] = set()
        with replacing(path) as file:
            for root in roots:
                for source in _sources(root):
                    for docstring in _docstrings(source):
                        if docstring not in seen:  # sub-classes often repeat one word for word
                            seen.add(docstring)
                            file.writelines(f"{s}\n".encode() for s in _sentences(docstring))
    return path


_PACKAGES = ("numpy", "torch")
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
# Here documentation of compiled functions and of the language is kept in plain string constants.
_DOCUMENTATION_FILE = re.compile(r"(_docs|_add_newdocs|_add_newdocs_scalars|topics)\.py")


def _sources(root: Path) -> list[Path]:
    files = []
    for folder, subfolders, names_here in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - _SKIPPED_FOLDERS)
        files += [Path(folder, name) for name in names_here if name.endswith(".py")]
    return sorted(files, key=lambda file: file.relative_to(root).parts)


def _docstrings(source: Path) -> Iterator[str]:
    """Read from the syntax tree: nothing is imported or run."""
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError):
        return  # templates and test inputs are not always programs
    if _DOCUMENTATION_FILE.search(source.name):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
        return
    pending = [tree]
    while pending:  # statements alone: expressions, the bulk of a tree, hold no docstrings
        node = pending.pop()
        if isinstance(node, _DOCUMENTED) and (docstring := ast.get_docstring(node)):
            yield docstring
        blocks = [getattr(node, field, []) for field in _BLOCKS]
        pending += reversed([statement for block in blocks for statement in block])


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")


def _sentences(docstring: str) -> Iterator[str]:
    """Sentences of at least two lower-case words; examples at a prompt are left out."""
    lines = [
        "" if line.lstrip().startswith((">>>", "...")) else line for line in docstring.splitlines()
    ]
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        for sentence in re.split(r"[.!?:;]+(?=\s|$)", paragraph):
            words = re.findall(r"[a-z][a-z0-9_]*(?:'[a-z]+)?", sentence.lower())
            if len(words) >= 2:
                yield " ".join(words)
