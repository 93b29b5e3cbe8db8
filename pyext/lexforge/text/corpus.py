"""Corpora: where text comes from."""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import itertools
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from lexforge._arguments import MAX_THREADS, whole
from lexforge.text import datasets

Progress = Callable[[int, "int | None"], None]

_DECOMPRESSORS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
}
_BLOCK_BYTES = 1 << 20  # read from a file at a time
_CHUNK_BYTES = 1 << 20  # scanned by one thread at a time
_BATCH_SENTENCES = 1000  # taken from an iterable at a time


class Corpus:
    """Text files, or sentences held by Python, in a fixed order; made by `resolve_corpus`.

    Files are read as lines of words: a line feed, or the end of a file, ends a sentence; NUL, tab,
    carriage return, vertical tab, form feed and space separate words. A UTF-8 byte order mark at
    the start of a file is dropped. Names ending in .gz, .xz and .bz2 are decompressed on the way.

    Iterating gives lists of str, one per line, empty ones too: convenient, and slow. Counting and
    encoding are done by `build_vocabulary` and `encode_corpus`.

    Attributes:
        name: for messages.
        paths: the files, none for sentences.
        sentences: an iterable of lists of str, or None for files.
        lowercase: whether words are turned to lower case.
    """

    def __init__(
        self,
        name: str,
        paths: Iterable[Path] = (),
        *,
        sentences: Iterable[list[str]] | None = None,
        lowercase: bool = False,
    ):
        self.name = name
        self.paths = tuple(paths)
        self.sentences = sentences
        self.lowercase = lowercase

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
        for path in self.paths:
            with open_text(path) as (file, _):
                for number, line in enumerate(file):
                    if number == 0:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                    words = re.split(rb"[\0\t\n\v\f\r ]+", line)
                    yield [word.decode(errors="replace") for word in words if word]

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
        if self.sentences is not None:
            self._feed_sentences(reader, progress)
        else:
            self._feed_files(reader, progress)
        reader.finish()

    def _feed_sentences(self, reader, progress: Progress) -> None:
        reader.begin_document(self.name, framed=True)
        sentences, done = iter(self.sentences or ()), 0
        while batch := list(itertools.islice(sentences, _BATCH_SENTENCES)):
            reader.feed_sentences(batch)
            done += len(batch)
            progress(done, None)
        reader.end_document()

    def _feed_files(self, reader, progress: Progress) -> None:
        total = sum(path.stat().st_size for path in self.paths)
        buffer = memoryview(bytearray(_BLOCK_BYTES))
        before = 0
        for path in self.paths:
            # A name is bytes to the system; what messages show of it has to be text.
            reader.begin_document(os.fsencode(path).decode(errors="replace"))
            with open_text(path) as (file, raw):
                while size := file.readinto(buffer):  # type: ignore[attr-defined]
                    reader.feed(buffer[:size])
                    progress(before + raw.tell(), total)
                before += raw.tell()
            reader.end_document()


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The file's text as bytes, decompressed by its suffix, and the file as it is on disk.

    Raises:
        ValueError: the compressed data is damaged or cut short.
    """
    with open(path, "rb") as raw:
        decompressor = _DECOMPRESSORS.get(path.suffix)
        if decompressor is None:
            yield raw, raw
            return
        try:
            with decompressor(raw) as file:
                yield file, raw
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise  # the disk's fault, not the data's
            raise ValueError(f"{path}: damaged or truncated {path.suffix} file: {error}") from error


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


def reader_options(corpus: Corpus, threads: int | None, errors: str) -> dict:
    """What both readers of lexforge._text are made with."""
    return {
        "threads": reader_threads("corpus", threads),
        "chunk_bytes": _CHUNK_BYTES,
        "errors": errors,
        "lowercase": lowercase_table() if corpus.lowercase else [],
    }


def resolve_corpus(corpus, *, lowercase: bool = False) -> Corpus:
    """Finds out what is meant by a corpus.

    Args:
        corpus: a data set's name ("pydocs", "ptb", "wikitext-2:valid", see `datasets`); the path of
            a file; the path of a folder, meaning all files below it in the order of their names,
            hidden ones left out; a list of paths; an iterable of sentences, each a list of str,
            that can be iterated more than once; or a Corpus, returned as it is.
        lowercase: turn words to lower case (see `lowercase_table`); for a Corpus its own setting
            stays.

    Raises:
        FileNotFoundError: no such file.
        TypeError: none of the above; a generator, because training reads a corpus several times.
    """
    if isinstance(corpus, Corpus):
        return corpus
    if isinstance(corpus, str) and datasets.is_dataset(corpus):
        return Corpus(corpus, [datasets.dataset_path(corpus)], lowercase=lowercase)
    if isinstance(corpus, (str, os.PathLike)):
        return Corpus(os.fspath(corpus), _files_of(Path(corpus)), lowercase=lowercase)
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
        return Corpus(f"{len(paths)} files", paths, lowercase=lowercase)
    return Corpus("sentences", sentences=corpus, lowercase=lowercase)


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        if not files:
            raise FileNotFoundError(f"corpus: no files in folder {path}")
        return files
    if not path.exists():
        known = ", ".join(datasets.names("corpus"))
        raise FileNotFoundError(
            f"corpus: no such file or folder: {path} (data sets: {known}; "
            "a list of str is a list of paths, a sentence is a list of words)"
        )
    return [path]
