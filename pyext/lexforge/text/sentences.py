"""Sentences from files, one at a time, under the names of gensim's classes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from lexforge._arguments import whole
from lexforge.text.corpus import Corpus, Progress
from lexforge.text.files import open_text

MAX_SENTENCE_LENGTH = 10_000
# What else str.split() takes for white space, in UTF-8; looking for one after the other is fast.
_SPACES = [bytes([c]) for c in range(0x1C, 0x20)]
_WIDE_SPACES = [c.encode() for c in "\x85\xa0\u1680\u205f\u3000"]
_GENERAL_PUNCTUATION = re.compile(rb"\xe2\x80[\x80-\x8a\xa8\xa9\xaf]")
_BLANK = re.compile(rb"\n[\0\t\v\f\r ]*(?=\n)")
_BLOCK_BYTES = 1 << 18  # read at a time


class LineSentence:
    """The sentences of a file with one a line, as lists of words, which white space separates.

    Longer ones come in pieces, and empty lines not at all. It can be gone through again and again.
    ``Word2Vec(corpus_file=...)`` reads the same files faster.

    Args:
        source: A path, or an open file that can ``seek(0)``, of bytes in UTF-8 or of text. Files
            may be compressed (gzip, bzip2, xz, zip), whatever they are called.
        max_sentence_length: In words.
        limit: Read the first lines only; all by default.

    Raises:
        ValueError: While reading: the file is no text, or not UTF-8.
        FileNotFoundError: While reading: there is no such file.

    Example:
        >>> import io
        >>> list(LineSentence(io.StringIO("the sky is blue\\n\\nso it is"), max_sentence_length=3))
        [['the', 'sky', 'is'], ['blue'], ['so', 'it', 'is']]
    """

    def __init__(
        self, source: Any, max_sentence_length: int = MAX_SENTENCE_LENGTH, limit: int | None = None
    ) -> None:
        self.source, self.limit = source, _limit("LineSentence", limit)
        self.max_sentence_length = whole("LineSentence", "max_sentence_length", max_sentence_length)

    def __iter__(self) -> Iterator[list[str]]:
        if isinstance(self.source, str | os.PathLike):
            lines: Iterable[str | bytes] = _lines(self.source)
        elif hasattr(self.source, "seek"):
            self.source.seek(0)
            lines = self.source
        else:
            raise TypeError(
                "LineSentence: source must be a path or an open file that can seek, got "
                f"{type(self.source).__name__}"
            )
        yield from _pieces(lines, self.max_sentence_length, self.limit)


class PathLineSentences:
    """The sentences of the files of a folder, in the order of their names; see `LineSentence`.

    Args:
        source: Path of a folder, of which the folders in it are no part, or of one file.
        max_sentence_length, limit: As of `LineSentence`, for each file.

    Attributes:
        input_files: Paths of the files.

    Raises:
        ValueError: There is neither a folder nor a file.
    """

    def __init__(
        self,
        source: str | os.PathLike,
        max_sentence_length: int = MAX_SENTENCE_LENGTH,
        limit: int | None = None,
    ) -> None:
        owner, self.source = "PathLineSentences", os.fspath(source)
        self.max_sentence_length = whole(owner, "max_sentence_length", max_sentence_length)
        self.limit = _limit(owner, limit)
        if os.path.isdir(source):
            inside = sorted(os.path.join(source, name) for name in os.listdir(source))
            self.input_files = [path for path in inside if os.path.isfile(path)]
        elif os.path.isfile(source):
            self.input_files = [self.source]
        else:
            raise ValueError(f"{owner}: source must be a folder or a file, got {self.source!r}")

    def __iter__(self) -> Iterator[list[str]]:
        for path in self.input_files:
            yield from _pieces(_lines(path), self.max_sentence_length, self.limit)


class Text8Corpus:
    """Pieces of a text without lines, such as text8, as lists of words; a line ends nothing.

    Args:
        fname: Path of the text, in UTF-8; it may be compressed, and be larger than the memory.
        max_sentence_length: Words of a piece; the last one may have fewer.
    """

    def __init__(
        self, fname: str | os.PathLike, max_sentence_length: int = MAX_SENTENCE_LENGTH
    ) -> None:
        self.fname = fname
        self.max_sentence_length = whole("Text8Corpus", "max_sentence_length", max_sentence_length)

    def __iter__(self) -> Iterator[list[str]]:
        size, words, rest = self.max_sentence_length, [], b""
        with open_text(self.fname) as (file, _):
            while block := file.read(_BLOCK_BYTES):
                text, space, rest = (rest + block).rpartition(b" ")
                words += (text + space).decode().split()
                full = len(words) - len(words) % size
                yield from (words[first : first + size] for first in range(0, full, size))
                del words[:full]
        words += rest.decode().split()
        yield from (words[first : first + size] for first in range(0, len(words), size))


class BrownCorpus:
    """The sentences of NLTK's copy of the Brown corpus, as lists of ``word/tag``.

    Words are in lower case, of tags the first two letters are left, and what is tagged otherwise
    (punctuation) is left out.

    Args:
        dirname: Path of the folder.
    """

    def __init__(self, dirname: str | os.PathLike) -> None:
        self.dirname = dirname

    def __iter__(self) -> Iterator[list[str]]:
        for sentence in PathLineSentences(self.dirname):
            pairs = [token.split("/") for token in sentence if token.count("/") == 1]
            words = [f"{word.lower()}/{tag[:2]}" for word, tag in pairs if tag[:2].isalpha()]
            if words:
                yield words


class FileSentences(Corpus):
    """The files of a `LineSentence` or `PathLineSentences` as a corpus of the same sentences.

    It is read in blocks, in native code, instead of a list of words at a time.

    Args:
        paths: Of the files.
        max_sentence_length, limit: As of `LineSentence`.
        lowercase: As of `Corpus`.

    Attributes:
        number: Sentences, once it was read.
    """

    def __init__(
        self,
        paths: Iterable[str | os.PathLike],
        max_sentence_length: int,
        limit: int | None,
        *,
        lowercase: bool = False,
    ) -> None:
        super().__init__("sentences", map(Path, paths), lowercase=lowercase, errors="strict")
        self._size, self._limit, self.number = max_sentence_length, limit, 0

    @classmethod
    def of(cls, sentences: Any, *, lowercase: bool = False) -> FileSentences | None:
        """That of an object of ours or gensim's, if it is of files and of no class of one's own."""
        kind = type(sentences)
        if kind.__module__ not in (__name__, "gensim.models.word2vec"):
            return None
        if kind.__name__ == "PathLineSentences":
            paths = sentences.input_files
        elif kind.__name__ == "LineSentence" and isinstance(sentences.source, str | os.PathLike):
            paths = [sentences.source]
        else:
            return None
        return cls(paths, sentences.max_sentence_length, sentences.limit, lowercase=lowercase)

    def _sentences(self) -> Iterator[list[str]]:
        for path in self.paths:
            yield from _pieces(_lines(path), self._size, self._limit)

    def sources(self) -> list[dict[str, str | int]]:
        """As of `Corpus`; what else decides which sentences there are belongs to it."""
        parts = {
            "max_sentence_length": self._size,
            "limit": -1 if self._limit is None else self._limit,
        }
        return [{**source, **parts} for source in super().sources()]

    def feed(self, reader: Any, progress: Progress | None = None) -> None:
        """As of `Corpus`."""
        self.number = 0
        super().feed(reader, progress)

    def _blocks(self, file: Any) -> Iterator[bytes]:
        """Whole lines, none too long, with no other white space than ASCII's."""
        left = self._limit
        while left != 0 and (block := b"\n" + file.read(_BLOCK_BYTES) + file.readline()) != b"\n":
            block = _with_plain_spaces(block.removesuffix(b"\n")) + b"\n"
            lines = block.count(b"\n") - 1
            if left is not None:
                if lines > left:
                    block = b"\n".join([*block.split(b"\n", left + 1)[: left + 1], b""])
                left -= min(lines, left)
            if _longest_may_have(block, 2 * self._size):
                pieces = chain.from_iterable(map(self._cut, block.split(b"\n")))
                block = b"\n".join([b"", *pieces, b""])
            self.number += block.count(b"\n") - 1 - len(_BLANK.findall(block))
            yield block

    def _cut(self, line: bytes) -> Iterator[bytes]:
        """A line in pieces of so many words."""
        words = line.split()
        for first in range(0, len(words), self._size):
            yield b" ".join(words[first : first + self._size])


def _with_plain_spaces(text: bytes) -> bytes:
    wide = not text.isascii()
    for space in [*_SPACES, *_WIDE_SPACES] if wide else _SPACES:
        if space in text:
            text = text.replace(space, b" ")
    return _GENERAL_PUNCTUATION.sub(b" ", text) if wide else text


def _longest_may_have(text: bytes, size: int) -> bool:
    """Whether there are so many bytes between two line feeds."""
    place = 0
    while len(text) - place > size:
        place = text.rfind(b"\n", place, place + size) + 1
        if place == 0:
            return True
    return False


def _limit(owner: str, limit: int | None) -> int | None:
    return None if limit is None else whole(owner, "limit", limit, low=0)


def _lines(path: str | os.PathLike) -> Iterator[str]:
    return Corpus(os.fspath(path), [Path(path)], errors="strict").lines()


def _pieces(lines: Iterable[str | bytes], size: int, limit: int | None) -> Iterator[list[str]]:
    """Words of the first lines, at most so many at a time."""
    for line in islice(lines, limit):
        words = (line if isinstance(line, str) else line.decode()).split()
        for first in range(0, len(words), size):
            yield words[first : first + size]
