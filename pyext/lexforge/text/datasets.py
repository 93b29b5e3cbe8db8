"""Data sets by name: what they are, where they lie, where they come from. `lexforge data list`.

A data set's files are looked for in the folder named by LEXFORGE_DATA (ptb/ptb.train.txt,
similarity/EN-MEN-TR-3k.txt, ...), then in the cache, and are then downloaded into the cache,
checked by size and checksum. The cache is the folder named by LEXFORGE_CACHE, else
~/.cache/lexforge.

The corpus ``pydocs`` is made rather than downloaded: docstrings of the installed standard library,
numpy and torch, 1.3 million words, gathered at first use (a quarter of a minute).
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import platform
import pwd
import re
import shutil
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lexforge._files import replacing
from lexforge.text.download import download


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set."""

    kind: str  # corpus, vectors, similarity, analogy or classification
    about: str
    licence: str
    urls: tuple[str, ...]  # of a zip file with the files, or of the one file; none: it is made
    digest: str  # of the download, SHA-1 or SHA-256
    size: int  # of the download in bytes
    files: dict[str, str]  # split -> below LEXFORGE_DATA and the cache, and in the zip file
    exact: bool = True  # False: the size is an upper bound
    # split -> what may lie in its place: a folder, a file of another form, or a part of it
    instead: dict[str, tuple[str, ...]] = field(default_factory=dict)


def _github(repository: str, commit: str, path: str) -> tuple[str, ...]:
    """A file as it was at a commit, and a mirror."""
    return (
        f"https://raw.githubusercontent.com/{repository}/{commit}/{path}",
        f"https://cdn.jsdelivr.net/gh/{repository}@{commit}/{path}",
    )


def _textbook(file: str) -> tuple[str, ...]:
    """A file of the textbook, and the same place without the accelerator."""
    return (
        f"https://d2l-data.s3-accelerate.amazonaws.com/{file}",
        f"https://d2l-data.s3.amazonaws.com/{file}",
    )


def _vectors(about: str, file: str, digest: str, size: int, licence: str) -> DataSet:
    files = {"all": f"{file}/vec.txt"}
    return DataSet(
        "vectors", about, licence, _textbook(f"{file}.zip"), digest, size, files, exact=False
    )


def _similarity(about: str, file: str, digest: str, size: int) -> DataSet:
    return DataSet(
        "similarity",
        about,
        "research use, cite the authors",
        _github(
            "mfaruqui/eval-word-vectors",
            "4d3201e2881a7315a62ab6e1fbef4496e647137c",
            f"data/word-sim/{file}",
        ),
        digest,
        size,
        {"all": f"similarity/{file}"},
    )


def _analogy(about: str, file: str, digest: str, size: int) -> DataSet:
    return DataSet(
        "analogy",
        about,
        "Apache-2.0",
        _github("tmikolov/word2vec", "20c129af10659f7c50e86e3be406df663beff438", file),
        digest,
        size,
        {"all": f"analogy/{file}"},
    )


_PDDL = "PDDL 1.0"
_WIKIPEDIA = "CC BY-SA 3.0 (Wikipedia)"

REGISTRY: dict[str, DataSet] = {
    "pydocs": DataSet(
        "corpus",
        "docstrings of this Python, numpy and torch; made here",
        "those of the three",
        (),
        "",
        0,
        {"train": ""},
    ),
    "ptb": DataSet(
        "corpus",
        "Penn Treebank, Mikolov's preprocessing; train, valid, test",
        "LDC99T42; in this form for research",
        (
            *_textbook("ptb.zip"),
            *_github("d2l-ai/d2l-zh", "13177e16f335fef0b47317f98e2705c2f69a3440", "data/ptb.zip"),
        ),
        "319d85e578af0cdc590547f26231e4e31cdf1e42",
        1_981_551,
        {split: f"ptb/ptb.{split}.txt" for split in ("train", "valid", "test")},
    ),
    "wikitext-2": DataSet(
        "corpus",
        "WikiText-2, word level; train, valid, test",
        _WIKIPEDIA,
        (  # the second is its first address, closed at times
            "https://wikitext.smerity.com/wikitext-2-v1.zip",
            "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",
        ),
        "3c914d17d80b1459be871a5039ac23e752a53cbe",
        4_500_000,
        {split: f"wikitext-2/wiki.{split}.tokens" for split in ("train", "valid", "test")},
        exact=False,
    ),
    "text8": DataSet(
        "corpus",
        "17 million words of Wikipedia in 2006, a-z on one line",
        _WIKIPEDIA,
        ("https://mattmahoney.net/dc/text8.zip", "https://data.deepai.org/text8.zip"),
        "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        31_344_016,
        {"train": "text8"},
    ),
    "time_machine": DataSet(
        "corpus",
        "H. G. Wells, The Time Machine: 32,000 words",
        "public domain",
        (
            *_textbook("timemachine.txt"),
            *_github(
                "d2l-ai/d2l-zh", "592fbef84a684e752393edbf267c07dbc53e082b", "data/timemachine.txt"
            ),
        ),
        "090b5e7e70c295757f55df93cb0a180b9691891a",
        178_979,
        {"train": "corpora/timemachine.txt"},
    ),
    "glove.6b.50d": _vectors(
        "GloVe of Wikipedia and Gigaword, 400,000 x 50",
        "glove.6B.50d",
        "0b8703943ccdb6eb788e6f091b8946e82231bc4d",
        100_000_000,
        _PDDL,
    ),
    "glove.6b.100d": _vectors(
        "the same, 400,000 x 100",
        "glove.6B.100d",
        "cd43bfb07e44e6f27cbcc7bc9ae3d80284fdaf5a",
        200_000_000,
        _PDDL,
    ),
    "glove.42b.300d": _vectors(
        "GloVe of a web crawl, 1.9 million x 300",
        "glove.42B.300d",
        "b5116e234e9eb9076672cfeabf5469f3eec904fa",
        2_500_000_000,
        _PDDL,
    ),
    "wiki.en": _vectors(
        "fastText of English Wikipedia, 2.5 million x 300",
        "wiki.en",
        "c1816da3821ae9f43899be655002f6c723e91b88",
        11_000_000_000,
        "CC BY-SA 3.0",
    ),
    "wordsim353": _similarity(
        "WordSim-353: 353 pairs",
        "EN-WS-353-ALL.txt",
        "ce12919b240af45bdf46d243601eaca2b6212b159b5e7e9b435ee7ee40c5619c",
        7_405,
    ),
    "wordsim353-sim": _similarity(
        "its pairs that are alike: 203",
        "EN-WS-353-SIM.txt",
        "f1da938998863c94e53f72f984a5c6e215f0b46c323aae8f0f4930703a339107",
        4_002,
    ),
    "wordsim353-rel": _similarity(
        "its pairs that are related: 252",
        "EN-WS-353-REL.txt",
        "66a7c88100624d0a391605ff61ce84e11d11ee620d51ec0298da49592838f8fa",
        5_134,
    ),
    "simlex999": _similarity(
        "SimLex-999: 999 pairs",
        "EN-SIMLEX-999.txt",
        "405394ffb7d25f6d0e3c041f87c9f27d29dc6b047506769953e85c4523b11685",
        18_024,
    ),
    "men": _similarity(
        "MEN: 3,000 pairs",
        "EN-MEN-TR-3k.txt",
        "888b13580faa362c7b11da0a670258cf1b1eb4bf0ecbcd418918729a3bd3f43a",
        53_593,
    ),
    "mturk287": _similarity(
        "MTurk-287: 287 pairs",
        "EN-MTurk-287.txt",
        "a9ae3a9decb75a9700fe0cf18b048c1344774d9f40e0196baf8e34d4cd9d1ce5",
        7_218,
    ),
    "rg65": _similarity(
        "Rubenstein and Goodenough: 65 pairs",
        "EN-RG-65.txt",
        "c243f3a91c3f5d8cf67f21a67f6fb80bde8b6bb060851a6a48e6f2d68ec98c9f",
        1_210,
    ),
    "mc30": _similarity(
        "Miller and Charles: 30 pairs",
        "EN-MC-30.txt",
        "33ee05911496ff83d95cac351d0746c6f63b9181b605cb7d307f4daa8864511b",
        543,
    ),
    "google": _analogy(
        "Google's analogies: 19,544 questions in 14 sections",
        "questions-words.txt",
        "8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36",
        603_955,
    ),
    "google-phrases": _analogy(
        "the same of phrases: 3,218 questions",
        "questions-phrases.txt",
        "55cfc0894d0fe6cf974d106da3e09b5fb2fa6125b6ddc633d06e298dc5aa7901",
        168_209,
    ),
    "imdb": DataSet(
        "classification",
        "IMDb: 50,000 film reviews, half positive, and 50,000 unlabelled; train, test, unsup",
        "research use, cite A. Maas et al. 2011",
        ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
        "01ada507287d82875905620988597833ad4e0903",
        84_125_825,
        {split: "imdb/aclImdb_v1.tar.gz" for split in ("train", "test", "unsup")},
        instead={
            "train": ("aclImdb", "imdb/aclImdb_labelled.tar.xz"),
            "test": ("aclImdb", "imdb/aclImdb_labelled.tar.xz"),
            "unsup": ("aclImdb", "imdb/unsup_reviews.txt.xz"),
        },
    ),
    "snli": DataSet(
        "classification",
        "SNLI: 570,000 pairs of captions, entailment, contradiction or neutral; train, dev, test",
        "CC BY-SA 4.0",
        ("https://nlp.stanford.edu/projects/snli/snli_1.0.zip",),
        "9fcde07509c7e87ec61c640c1b2753d9041758e4",
        100_000_000,
        {split: f"snli_1.0/snli_1.0_{split}.txt" for split in ("train", "dev", "test")},
        exact=False,
        instead={
            "train": ("snli/snli_train_18k.tsv",),
            "dev": ("snli/snli_dev.tsv",),
            "test": ("snli/snli_test.tsv",),
        },
    ),
    "mnli": DataSet(
        "classification",
        "MultiNLI: 410,000 pairs of ten genres, labels of SNLI; train, matched, mismatched",
        "OANC, CC BY and CC BY-SA by part",
        (
            "https://cims.nyu.edu/~sbowman/multinli/multinli_1.0.zip",
            "https://www.nyu.edu/projects/bowman/multinli/multinli_1.0.zip",
        ),
        "049f507b9e36b1fcb756cfd5aeb3b7a0cfcb84bf023793652987f7e7e0957822",
        240_000_000,
        {
            split: f"multinli_1.0/multinli_1.0_{part}.txt"
            for split, part in (
                ("train", "train"),
                ("matched", "dev_matched"),
                ("mismatched", "dev_mismatched"),
            )
        },
        exact=False,
        instead={"train": ("mnli/mnli_en_6870.tsv",)},
    ),
}


def names(*kinds: str) -> list[str]:
    """The data sets' names, of these kinds, or all."""
    return [name for name, known in REGISTRY.items() if not kinds or known.kind in kinds]


def is_dataset(name: str) -> bool:
    """Whether `name` is "<corpus>" or "<corpus>:<split>"."""
    return name.partition(":")[0] in names("corpus")


def cache_path() -> Path:
    """The folder named by LEXFORGE_CACHE, else ~/.cache/lexforge; it need not exist.

    Raises:
        OSError: Neither is set, and this user has no home.
    """
    if folder := os.environ.get("LEXFORGE_CACHE"):
        return Path(folder)
    try:
        home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise OSError("there is no home folder: set LEXFORGE_CACHE to a folder to write") from None
    return Path(home, ".cache", "lexforge")


def cache_folder() -> Path:
    """That folder, made when missing.

    Raises:
        OSError: It cannot be made, or not be written.
    """
    folder = cache_path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError("it may not be written")
    except OSError as error:
        raise OSError(
            f"{folder} cannot be the folder of downloads ({error.strerror or error}): "
            "set LEXFORGE_CACHE to a folder to write"
        ) from error
    return folder


def find(name: str, split: str | None = None) -> Path | None:
    """The file of a data set if it is here; None if it is not, or there is no such data set.

    What lies in its place, of another form, is as good: a folder, or a file with a part of it.

    Args:
        name: "<data set>" or "<data set>:<split>".
        split: As for :func:`dataset_path`.
    """
    base, _, named_split = name.partition(":")
    if base not in REGISTRY:
        return None
    files = REGISTRY[base].files
    split = split or named_split or next(iter(files))
    file = files.get(split)
    if base == "pydocs":
        found = [_pydocs_file()]
    else:
        data = os.environ.get("LEXFORGE_DATA")
        folders = [Path(data)] if data else []
        folders += [cache_path(), cache_path() / "d2l"]
        names = (file, *REGISTRY[base].instead.get(split, ())) if file else ()
        found = [folder / name for name in names for folder in folders]
    return next((path for path in found if path.is_file() or path.is_dir()), None)


def dataset_path(name: str, split: str | None = None) -> Path:
    """The file of a data set, made or downloaded when it is not there yet.

    Args:
        name: "<data set>" or "<data set>:<split>".
        split: The first one by default: "train", where there are "train", "valid" and "test".

    Raises:
        ValueError: unknown name or split, or a download that is not the expected one.
        ConnectionError: the download failed; says where to put the file by hand.
        OSError: there is no place for it; says how to name one.
    """
    base, _, named_split = name.partition(":")
    splits = REGISTRY[base].files if base in REGISTRY else {"train": ""}
    split = split or named_split or next(iter(splits))
    if base not in REGISTRY or split not in splits:
        raise ValueError(
            f"dataset_path: name must be one of {', '.join(names())} and split one of "
            f"{', '.join(splits)}, got {base!r} and {split!r}"
        )
    if base == "pydocs":
        return _pydocs_path()
    if (path := find(base, split)) is not None:
        return path
    _download(base)
    return cache_folder() / splits[split]


def _download(name: str) -> None:
    known = REGISTRY[name]
    cache = cache_folder()
    files = list(known.files.values())
    try:
        if not known.urls[0].endswith(".zip"):
            (cache / files[0]).parent.mkdir(parents=True, exist_ok=True)
            with replacing(cache / files[0]) as file:
                download(name, known.urls, file, digest=known.digest, size=known.size)
            return
        with tempfile.TemporaryFile(dir=cache) as archive:
            download(name, known.urls, archive, digest=known.digest, size=known.size)
            with zipfile.ZipFile(archive) as content:
                # By their known names: whatever else the archive holds stays inside.
                for member in files:
                    (cache / member).parent.mkdir(parents=True, exist_ok=True)
                    with replacing(cache / member) as target, content.open(member) as source:
                        shutil.copyfileobj(source, target)
    except ConnectionError as error:
        other = ", or use the data set 'pydocs', which needs no download"
        raise ConnectionError(
            f"data set {name!r} is not here and {error}. "
            f"Either set LEXFORGE_DATA to a folder that holds {files[0]}, or put that file at "
            f"{cache / files[0]}{other if known.kind == 'corpus' else ''}"
        ) from error


def _given(file: Path) -> bool:
    """Whether a file is below LEXFORGE_DATA, which is the user's own."""
    folder = os.environ.get("LEXFORGE_DATA") or None
    return folder is not None and file.resolve().is_relative_to(Path(folder).resolve())


def cached() -> dict[str, list[Path]]:
    """What the cache holds, by data set: the files that Lexforge puts there, and no others."""
    cache = cache_path()
    found = {}
    for name, known in REGISTRY.items():
        if name == "pydocs":
            files = sorted(cache.glob("pydocs-*.txt"))  # of other versions of the packages, too
        else:
            files = [cache / file for file in known.files.values()]
            inside = (*known.files.values(), Path(known.urls[0]).name)
            files += [cache / "d2l" / file for file in inside]
            for folder in {name for names in known.instead.values() for name in names}:
                files += sorted((cache / "d2l" / folder).rglob("*"))  # unpacked
            files = list(dict.fromkeys(files))  # of several splits
        found[name] = [file for file in files if file.is_file() and not _given(file)]
    return {name: files for name, files in found.items() if files}


_PYDOCS_RULES = 1  # of extraction; part of the cached file's name


def _pydocs_file() -> Path:
    """Where they are kept; other versions of the packages have other files."""
    versions = [f"python{platform.python_version()}"]
    versions += [f"{package}{importlib.metadata.version(package)}" for package in _PACKAGES]
    return cache_path() / f"pydocs-{_PYDOCS_RULES}-{'-'.join(versions)}.txt"


def _pydocs_path() -> Path:
    """One sentence per line, lower-case words, as the installed packages' sources give them."""
    path = _pydocs_file()
    if not path.exists():
        cache_folder()
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
