"""Corpora: where text comes from, and text as numbers on disk."""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import itertools
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch

from lexforge import _text
from lexforge._files import map_file, read_into, replacement, replacing
from lexforge.text import datasets

if TYPE_CHECKING:
    from lexforge.text.vocabulary import Vocabulary

Progress = Callable[[int, "int | None"], None]

_DECOMPRESSORS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
}
_BLOCK_BYTES = 1 << 20  # read from a file at a time
_CHUNK_BYTES = 1 << 20  # scanned by one thread at a time
_BATCH_SENTENCES = 1000  # taken from an iterable at a time
_FORMAT_VERSION = 1


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


def reader_options(corpus: Corpus, threads: int | None, errors: str) -> dict:
    """What both readers of lexforge._text are made with."""
    return {
        "threads": torch.get_num_threads() if threads is None else threads,
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


class EncodedCorpus:
    """A corpus as word numbers.

    Sentence s is tokens[offsets[s]:offsets[s + 1]], never empty.

    Attributes:
        tokens: int32 [N]; memory-mapped when opened from a folder.
        offsets: int64 [S + 1], ascending, from 0 to N.
        num_tokens, num_sentences: N and S.
        meta: the contents of meta.json, empty when made in memory.
        folder: where it was opened, None when made in memory.
    """

    def __init__(
        self,
        tokens: torch.Tensor,
        offsets: torch.Tensor,
        meta: dict | None = None,
        folder: Path | None = None,
    ):
        self.tokens = tokens
        self.offsets = offsets
        self.num_tokens = tokens.numel()
        self.num_sentences = offsets.numel() - 1
        self.meta = meta or {}
        self.folder = folder

    def __repr__(self) -> str:
        return f"EncodedCorpus({self.num_tokens:,} tokens, {self.num_sentences:,} sentences)"

    @classmethod
    def open(cls, folder: str | os.PathLike) -> EncodedCorpus:
        """Maps what `encode_corpus` wrote; nothing is read before it is used.

        Raises:
            FileNotFoundError: the folder holds no encoded corpus.
            ValueError: it was written by another version, or its files are cut short.
        """
        folder = Path(folder)
        try:
            meta = json.loads((folder / "meta.json").read_bytes())
            version = meta["format_version"]
            num_tokens, num_sentences = int(meta["num_tokens"]), int(meta["num_sentences"])
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{folder}: no encoded corpus (meta.json is missing)"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder}: meta.json is damaged: encode the corpus again") from error
        if version != _FORMAT_VERSION:
            raise ValueError(
                f"{folder}: format version must be {_FORMAT_VERSION}, got {version}: "
                "encode the corpus again"
            )
        tokens = _map_file(folder / "tokens.bin", torch.int32, num_tokens)
        offsets = _map_file(folder / "offsets.bin", torch.int64, num_sentences + 1)
        if offsets[0] != 0 or offsets[-1] != num_tokens:
            raise ValueError(f"{folder}: offsets.bin does not fit tokens.bin: encode again")
        return cls(tokens, offsets, meta, folder)

    @classmethod
    def from_sentences(cls, sentences: Iterable[Iterable[int]]) -> EncodedCorpus:
        """Holds lists of word numbers in memory; empty ones leave no sentence."""
        arrays = [np.asarray(list(sentence), dtype=np.int32) for sentence in sentences]
        arrays = [array for array in arrays if array.size]
        offsets = np.cumsum([0, *(array.size for array in arrays)], dtype=np.int64)
        tokens = np.concatenate([np.empty(0, np.int32), *arrays])
        return cls(torch.from_numpy(tokens), torch.from_numpy(offsets))

    def read(self, name: str, first: int, last: int) -> torch.Tensor:
        """Elements [first, last) of "tokens" or "offsets", in memory of their own when on disk.

        The pages of a mapped file stay in memory once they were looked at; these go with the
        tensor.

        Raises:
            ValueError: the file was cut short since it was opened.
        """
        whole = getattr(self, name)
        if self.folder is None:
            return whole[first:last]
        piece = torch.empty(last - first, dtype=whole.dtype)
        with open(self.folder / f"{name}.bin", "rb", buffering=0) as file:
            file.seek(first * whole.itemsize)
            if not read_into(file, piece.numpy()):
                raise ValueError(f"{file.name} was cut short: encode the corpus again")
        return piece

    def piece(self, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens [first, last) as a corpus of their own, read by `read`.

        Returns:
            int32 [last - first] tokens and int64 offsets of the sentences they are in, counted from
            `first`; a sentence that reaches beyond is cut there.
        """
        bounds = self.offsets.numpy()
        first_sentence = int(np.searchsorted(bounds, first, side="right")) - 1
        last_sentence = int(np.searchsorted(bounds, last, side="left"))
        offsets = self.read("offsets", first_sentence, last_sentence + 1).clone()
        return self.read("tokens", first, last), offsets.clamp_(first, last).sub_(first)

    def check(self, vocab_size: int) -> None:
        """Reads everything and raises ValueError unless ids and offsets are in order.

        open() looks at sizes only; this finds damage inside the files.
        """
        if self.num_tokens and not (
            int(self.tokens.min()) >= 0 and int(self.tokens.max()) < vocab_size
        ):
            raise ValueError(f"check: tokens must be in 0..{vocab_size - 1}")
        if not bool((self.offsets[1:] > self.offsets[:-1]).all()):
            raise ValueError("check: offsets must ascend")


def _map_file(path: Path, dtype: torch.dtype, count: int) -> torch.Tensor:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: encode the corpus again") from error
    if size != count * dtype.itemsize:
        raise ValueError(
            f"{path} must hold {count * dtype.itemsize} bytes, got {size}: it was cut short or "
            "overwritten; encode the corpus again"
        )
    if count == 0:
        return torch.empty(0, dtype=dtype)  # nothing can be mapped
    return torch.frombuffer(map_file(path), dtype=dtype)


def encode_corpus(
    corpus,
    vocab: Vocabulary,
    folder: str | os.PathLike,
    *,
    max_sentence_length: int = 10_000,
    threads: int | None = None,
    errors: str = "replace",
    progress: Progress | None = None,
) -> EncodedCorpus:
    """Writes a corpus as word numbers into a folder, replacing an earlier one.

    Words that are not in the vocabulary are dropped; longer lines are cut into sentences of
    `max_sentence_length` words; lines without known words leave no sentence. The result does not
    depend on the number of threads, and memory not on the size of the corpus. An interrupted or
    failed call leaves no new files.

    Files: tokens.bin (int32, little-endian), offsets.bin (int64) and meta.json: format version,
    vocabulary sha1 and size, what was asked for, counts, and the source files' sizes and times.

    Args:
        corpus, threads, errors, progress: as for `build_vocabulary`.
        vocab: the words to keep.
        folder: made when missing.
        max_sentence_length: in words.

    Raises:
        ValueError: bad UTF-8 under errors="strict", a damaged compressed file.
        OSError: the disk is full, or a file cannot be read.
    """
    if max_sentence_length < 1:
        raise ValueError(
            f"encode_corpus: max_sentence_length must be >= 1, got {max_sentence_length}"
        )
    corpus = resolve_corpus(corpus)
    options = reader_options(corpus, threads, errors)
    folder = Path(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            replacement(folder / "tokens.bin", sync=False) as tokens_path,
            replacement(folder / "offsets.bin", sync=False) as offsets_path,
        ):
            encoder = _text.CorpusEncoder(
                words=vocab.words,
                max_sentence_length=max_sentence_length,
                tokens_path=os.fsencode(tokens_path),
                offsets_path=os.fsencode(offsets_path),
                **options,
            )
            corpus.feed(encoder, progress)
            # meta.json goes first and comes back last: a folder that has one is complete.
            (folder / "meta.json").unlink(missing_ok=True)
        meta = {
            "format_version": _FORMAT_VERSION,
            "vocabulary_sha1": vocab.sha1(),
            "vocabulary_size": len(vocab),
            "max_sentence_length": max_sentence_length,
            "lowercase": corpus.lowercase,
            "errors": errors,
            "num_tokens": encoder.tokens,
            "num_sentences": encoder.sentences,
            "num_unknown": encoder.unknown,
            "sources": corpus.sources(),
        }
        with replacing(folder / "meta.json", sync=False) as file:
            file.write(json.dumps(meta, indent=2).encode() + b"\n")
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    return EncodedCorpus.open(folder)
