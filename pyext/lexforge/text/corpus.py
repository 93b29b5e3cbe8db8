"""Corpora: where text comes from."""

from __future__ import annotations

import functools
import itertools
import os
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from lexforge._arguments import MAX_THREADS, encoding_name, whole
from lexforge.text import datasets
from lexforge.text.files import UTF8, check_text, open_text, refuse_pipe

Progress = Callable[[int, "int | None"], None]

_BLOCK_BYTES = 1 << 20  # read from a file at a time
_CHUNK_BYTES = 1 << 20  # scanned by one thread at a time
_BATCH_SENTENCES = 1000  # taken from an iterable at a time
_ESCAPED = re.compile("[\udc80-\udcff]")


class Corpus:
    """Text files, or sentences held by Python, in a fixed order; made by `resolve_corpus`.

    Files are read as lines of words: a line feed, or the end of a file, ends a sentence; NUL, tab,
    carriage return, vertical tab, form feed and space separate words. A UTF-8 byte order mark at
    the start of a file is dropped. What is compressed or in another encoding is decompressed and
    decoded on the way, and what is no text refused (`lexforge.text.files.open_text`).

    Iterating gives lists of str, one per line, empty ones too: convenient, and slow. Counting and
    encoding are done by `build_vocabulary` and `encode_corpus`.

    Attributes:
        name: for messages.
        paths: the files, none for sentences.
        sentences: an iterable of lists of str, or None for files.
        lowercase: whether words are turned to lower case.
        encoding: of the files.
        errors: "replace", "skip" or "strict"; None is "replace" in files that look like text.
    """

    def __init__(
        self,
        name: str,
        paths: Iterable[Path] = (),
        *,
        sentences: Iterable[list[str]] | None = None,
        lowercase: bool = False,
        encoding: str = UTF8,
        errors: str | None = None,
    ):
        self.name = name
        self.paths = tuple(paths)
        self.sentences = sentences
        self.lowercase = lowercase
        self.encoding = encoding_name("Corpus", "encoding", encoding)
        if errors not in (None, "replace", "strict", "skip"):
            raise ValueError(f"errors must be 'replace', 'strict' or 'skip', got {errors!r}")
        if errors == "skip" and self.encoding != UTF8:
            raise ValueError(
                f"errors must be 'replace' or 'strict' with encoding {self.encoding!r}, got 'skip'"
            )
        self.errors = errors
        self._checked = False

    def __repr__(self) -> str:
        return f"Corpus({self.name!r})"

    def __iter__(self) -> Iterator[list[str]]:
        table = lowercase_table() if self.lowercase else ()
        mapping = {c: lower for c, lower in enumerate(table) if c != lower}
        for sentence in self._sentences():
            yield [word.translate(mapping) for word in sentence] if mapping else sentence

    def _sentences(self) -> Iterator[list[str]]:
        if self.sentences is not None:
            yield from self.sentences
            return
        skip = self.errors == "skip"
        for line in self._decoded("surrogateescape" if skip else self.errors):
            words = re.split("[\0\t\n\v\f\r ]+", line)
            # Escaped bytes stand for what is not valid.
            yield [word for word in words if word and not (skip and _ESCAPED.search(word))]

    def lines(self) -> Iterator[str]:
        """Those of the files, with their line feeds.

        Raises:
            ValueError: one is not valid under "strict", a file is no text.
        """
        return self._decoded("strict" if self.errors == "strict" else "replace")

    def _decoded(self, errors: str | None) -> Iterator[str]:
        self.check()
        errors = errors or "replace"
        for path in self.paths:
            with open_text(path, self.encoding, self.errors) as (file, _):
                for number, line in enumerate(file, 1):
                    try:
                        yield line.decode(errors=errors)
                    except UnicodeDecodeError as error:
                        raise ValueError(
                            f"{path}: invalid UTF-8 in line {number}: {error.reason}"
                        ) from None

    def with_errors(self, errors: str | None) -> Corpus:
        """The same corpus with another such setting."""
        return Corpus(
            self.name,
            self.paths,
            sentences=self.sentences,
            lowercase=self.lowercase,
            encoding=self.encoding,
            errors=errors,
        )

    @property
    def reading(self) -> dict[str, Any]:
        """How the files are read: what is equal for two corpora with the same words."""
        others = {} if self.encoding == UTF8 else {"encoding": self.encoding}
        if self.errors not in (None, "replace"):
            others["errors"] = self.errors
        return {"lowercase": self.lowercase, **others}

    def check(self) -> None:
        """Looks once at the beginning of each file, before any work is done.

        Raises:
            ValueError: one is no text, or not in the encoding it should have.
        """
        if not self._checked:
            for path in self.paths:
                check_text(path, self.encoding, self.errors)
            self._checked = True

    def sources(self) -> list[dict[str, str | int]]:
        """Path, size in bytes and time of change of each file, to notice other content later."""
        return [
            {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
            for path in self.paths
            for status in [path.stat()]
        ]

    def feed(self, reader, progress: Progress | None = None) -> None:
        """Feeds everything to a reader of lexforge._text and finishes it."""
        progress = progress or (lambda done, total: None)
        self.check()
        if self.sentences is not None:
            self._feed_sentences(reader, progress)
        else:
            self._feed_files(reader, progress)
        reader.finish()

    def _feed_sentences(self, reader, progress: Progress) -> None:
        reader.begin_document(self.name, framed=True)
        assert self.sentences is not None
        sentences, done = iter(self.sentences), 0
        while batch := list(itertools.islice(sentences, _BATCH_SENTENCES)):
            reader.feed_sentences(batch)
            done += len(batch)
            progress(done, None)
        reader.end_document()

    def _feed_files(self, reader, progress: Progress) -> None:
        total = sum(path.stat().st_size for path in self.paths)
        before = 0
        for path in self.paths:
            # A name is bytes to the system; what messages show of it has to be text.
            reader.begin_document(os.fsencode(path).decode(errors="replace"))
            with open_text(path, self.encoding, self.errors) as (file, raw):
                for block in self._blocks(file):
                    reader.feed(block)
                    progress(before + raw.tell(), total)
                before += raw.tell()
            reader.end_document()

    def _blocks(self, file) -> Iterator[bytes | memoryview]:
        """The text of a file; a block is gone when the next one comes."""
        buffer = memoryview(bytearray(_BLOCK_BYTES))
        while size := file.readinto(buffer):
            yield buffer[:size]


@functools.cache
def lowercase_table() -> list[int]:
    """Unicode's simple lower-case mapping as this Python knows it, by code point.

    One code point becomes one: a Σ becomes σ also at the end of a word, İ becomes i. Everywhere
    else this is what str.lower() does.
    """
    return [ord(chr(c).lower()[0]) for c in range(0x1E944)]  # the last cased letter is U+1E943


def reader_threads(function: str, threads: int | None) -> int:
    """The number of threads, by default torch's."""
    if threads is None:
        return min(torch.get_num_threads(), MAX_THREADS)
    return whole(function, "threads", threads, high=MAX_THREADS)


def reader_options(corpus: Corpus, threads: int | None) -> dict:
    """What both readers of lexforge._text are made with."""
    return {
        "threads": reader_threads("corpus", threads),
        "chunk_bytes": _CHUNK_BYTES,
        "errors": corpus.errors or "replace",
        "lowercase": lowercase_table() if corpus.lowercase else [],
    }


def resolve_corpus(
    corpus,
    *,
    lowercase: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
) -> Corpus:
    """Finds out what is meant by a corpus.

    Args:
        corpus: a data set's name ("pydocs", "ptb", "wikitext-2:valid", see `datasets`); the path of
            a file; the path of a folder, meaning the files that `files_below` finds in it; a list
            of paths; an iterable of sentences, each a list of str, that can be iterated more than
            once; or a Corpus.
        lowercase: turn words to lower case (see `lowercase_table`); for a Corpus its own setting
            stays.
        encoding: of files, UTF-8 by default; for a Corpus its own setting stays.
        errors: what to do with bytes that are not valid in it: "replace" puts U+FFFD for each
            ill-formed part, as bytes.decode does; "skip" leaves the word out; "strict" raises. By
            default they are replaced where they are few, and files that do not look like text are
            refused; a Corpus has its own by default.

    Raises:
        FileNotFoundError: no such file.
        TypeError: none of the above; a generator, because training reads a corpus several times.
        ValueError: unknown encoding or errors; a pipe.
    """
    if isinstance(corpus, Corpus):
        return corpus if errors in (None, corpus.errors) else corpus.with_errors(errors)
    made = functools.partial(Corpus, lowercase=lowercase, encoding=encoding or UTF8, errors=errors)
    if isinstance(corpus, str) and datasets.is_dataset(corpus):
        return made(corpus, [datasets.dataset_path(corpus)])
    if isinstance(corpus, (str, os.PathLike)):
        return made(os.fspath(corpus), _files_of(Path(corpus)))
    if not isinstance(corpus, Iterable):
        raise TypeError(
            "corpus must be a data set's name, a path, a list of paths or an iterable of lists of "
            f"str, got {type(corpus).__name__}"
        )
    if iter(corpus) is corpus:
        raise TypeError(
            f"corpus must be iterable more than once, got a {type(corpus).__name__}: counting and "
            "training each read it from the start. Pass a list, or an object whose __iter__ "
            "starts anew"
        )
    if isinstance(corpus, (list, tuple)) and any(isinstance(c, (str, os.PathLike)) for c in corpus):
        if not all(isinstance(c, (str, os.PathLike)) for c in corpus):
            raise TypeError("corpus must be a list of paths or a list of sentences, got a mixture")
        paths = [path for c in corpus for path in _files_of(Path(c))]
        return made(f"{len(paths)} files", paths)
    return made("sentences", sentences=corpus)


def files_below(folder: Path, leave_out: Collection[Path] = ()) -> tuple[list[Path], list[Path]]:
    """The files of a corpus in a folder, and what of it is none.

    Args:
        folder: hidden files and folders in it do not count.
        leave_out: files and folders that are to be left out.

    Returns:
        Files below the folder in the order of their names, and what was left out: `leave_out` as
        far as it is there, and folders with results (checkpoints, counts, encoded corpora).
    """
    unwanted = {path.resolve() for path in leave_out}
    files, left_out = [], []
    pending = [folder]
    while pending:
        for path in pending.pop().iterdir():
            if path.name.startswith("."):
                continue
            if path.resolve() in unwanted or (path.is_dir() and _holds_results(path)):
                left_out.append(path)
            elif path.is_file():
                files.append(path)
            elif path.is_dir() and not path.is_symlink():
                pending.append(path)
    return sorted(files), sorted(left_out)


def _holds_results(folder: Path) -> bool:
    names = {entry.name for entry in os.scandir(folder)}
    return (
        {"triplets.bin", "meta.json"} <= names
        or {"tokens.bin", "meta.json"} <= names
        or ".commit" in names  # a checkpoint, waiting for its last renames
        or any(name.endswith(".safetensors") for name in names)
    )


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        files, left_out = files_below(path)
        if left_out:
            warnings.warn(f"corpus: {tell_left_out(left_out)}", stacklevel=3)
        if not files:
            raise FileNotFoundError(f"corpus: no files in folder {path}")
        return files
    if not path.exists():
        known = ", ".join(datasets.names("corpus"))
        raise FileNotFoundError(
            f"corpus: no such file or folder: {path} (data sets: {known}; "
            "a list of str is a list of paths, a sentence is a list of words)"
        )
    refuse_pipe(path)
    return [path]


def tell_left_out(paths: Collection[Path]) -> str:
    """One line that names what `files_below` left out."""
    shown = ", ".join(str(path) for path in list(paths)[:3])
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"results are left out: {shown}{more}"
