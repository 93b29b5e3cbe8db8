"""Text files: what their first bytes say they are, and their text as UTF-8."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

from lexforge._compressed import compression, first_bytes, unpacked
from lexforge.text.lines import wide_encoding

UTF8 = "utf-8"
BYTES = "bytes"  # of errors: words are bytes, whatever they mean
HEAD = 1 << 20  # bytes that are looked at
_BLOCK = 1 << 18  # decoded at a time
_FEW = 8  # odd bytes are no sign of anything
_UNPACK = "unpack it, or compress it as gzip, bzip2 or xz"
_FOLDER = "unpack it, and give the folder"
_TEXT_ALONE = "a corpus is text"
PICKLE, NUMPY = "a pickle", "a numpy array"
SAFETENSORS, FASTTEXT = "a safetensors file", "a fastText model"
# What is not text: how it begins, and what to do with it.
_FOREIGN = {
    "a Zstandard file": (rb"\x28\xb5\x2f\xfd", _UNPACK),
    "an LZ4 file": (rb"\x04\x22\x4d\x18", _UNPACK),
    "an lzip file": (rb"LZIP\x01", _UNPACK),
    "a compress (.Z) file": (rb"\x1f\x9d", _UNPACK),
    "an LZMA file": (rb"\x5d\0\0..\xff{8}", _UNPACK),
    "a 7z archive": (rb"7z\xbc\xaf\x27\x1c", _FOLDER),
    "a RAR archive": (rb"Rar!\x1a\x07", _FOLDER),
    "a tar archive": (rb".{257}ustar", _FOLDER),
    PICKLE: (rb"\x80[\x02-\x05][\x28\x4b-\x5d\x63\x7d\x80-\x95]", "save its words as text"),
    NUMPY: (rb"\x93NUMPY", _TEXT_ALONE),
    SAFETENSORS: (rb".{3}[\0-\x05]\0{4}\{", _TEXT_ALONE),
    "a word2vec binary file of vectors": (rb"\d+ \d+\n\S+ [^\n]*[\0-\x08\x0e-\x1f]", _TEXT_ALONE),
    FASTTEXT: (rb"\xba\x16\x4f\x2f", _TEXT_ALONE),
    "a PDF document": (rb"%PDF-", "extract its text, with pdftotext for one"),
    "an old Office document": (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "save it as text"),
    "a Parquet file": (rb"PAR1[\x15\x19\x1c]", "write its column of text into a text file"),
    "an Arrow file": (rb"ARROW1\0\0", "write its column of text into a text file"),
    "an Avro file": (rb"Obj\x01", "write its field of text into a text file"),
    "an HDF5 file": (rb"\x89HDF\r\n", _TEXT_ALONE),
    "an SQLite database": (rb"SQLite format 3\0", "export its text"),
    "a GGUF model": (rb"GGUF[\x01-\x09]\0", _TEXT_ALONE),
    "a program": (rb"\x7fELF", _TEXT_ALONE),
    "a picture": (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a", _TEXT_ALONE),
}
# The class that a pickle of gensim's begins with, of any protocol.
_GENSIM = re.compile(rb"gensim\.models\.(\w+)(?:\n|\x94?\x8c.|\x94)+(\w+)", re.DOTALL)
_CONTROLS = bytes({*range(1, 32), 127} - {*b"\t\n\v\f\r\x1b"})


@contextlib.contextmanager
def open_text(
    path: str | os.PathLike, encoding: str = UTF8, errors: str | None = None
) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The text of a file as bytes of UTF-8, and the file as it is on disk.

    What is compressed is known by its first bytes, whatever its name: gzip, bzip2, xz, and zip
    files of one member. A byte order mark of UTF-16 or UTF-32 goes before the default encoding, and
    no mark is part of the text.

    Args:
        path: The file.
        encoding: Of the text.
        errors: "replace" puts U+FFFD for bytes that do not fit another encoding than UTF-8 and
            "strict" raises; those of UTF-8 are left to the reader. With None files are refused that
            do not look like text, with `BYTES` those that look like none in any encoding.

    Raises:
        ValueError: The file is no text (see above), or its compressed data is damaged or cut short.
    """
    refuse_pipe(path)
    with open(path, "rb") as raw, text_of(raw, path, encoding, errors) as file:
        yield file, raw


@contextlib.contextmanager
def text_of(
    raw: BinaryIO, name: str | os.PathLike, encoding: str = UTF8, errors: str | None = None
) -> Iterator[BinaryIO]:
    """The same of what is open: a file at its beginning, or a stream with a method peek.

    Of a stream, standard input for one, only what has come first is looked at.
    """
    with unpacked(raw, os.fspath(name)) as file:
        head = first_bytes(file, HEAD, stream=not raw.seekable())
        found = _encoding(name, head, encoding, errors)
        if found == UTF8:
            if head.startswith(codecs.BOM_UTF8):
                file.read(len(codecs.BOM_UTF8))
            yield file
        else:
            decoded = _Decoded(name, file, found, "replace" if errors in (None, BYTES) else errors)
            with io.BufferedReader(decoded, _BLOCK) as text:
                yield text


def check_text(path: str | os.PathLike, encoding: str = UTF8, errors: str | None = None) -> None:
    """Raises what :func:`open_text` would."""
    with open_text(path, encoding, errors):
        pass


def refuse_pipe(path: str | os.PathLike) -> None:
    """ValueError for what can be read only once."""
    if not is_pipe(path):
        return
    raise ValueError(
        f"{path} is a pipe, which can be read once, and a corpus is read more than once: save it "
        "as a file (commands read pipes and - for standard input)"
    )


def is_pipe(path: str | os.PathLike) -> bool:
    """Whether this is a pipe or a socket."""
    mode = os.stat(path).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def foreign_kind(head: bytes) -> str | None:
    """What a file that begins like this is, when it is known, and neither text nor compressed."""
    start = head[: 1 << 12]
    kinds = (kind for kind, (magic, _) in _FOREIGN.items() if re.match(magic, start, re.DOTALL))
    return next(kinds, None)


def gensim_advice(head: bytes, name: str, *, model: bool = False) -> str | None:
    """What to say of a file that a class of gensim has saved: the line that converts it.

    Args:
        head: Its first bytes.
        name: What the file is called in that line.
        model: Whether a model is wanted, and not word vectors.
    """
    found = _GENSIM.search(head[: 1 << 12])
    if found is None or foreign_kind(head) != PICKLE:
        return None
    module, kind = found[1].decode(), found[2].decode()
    line = f"gensim.models.{module}.{kind}.load({name!r})"
    if model and kind == "Word2Vec":
        line = f"lexforge.Word2Vec.from_gensim({line})"
    else:
        vectors = "" if kind.endswith("KeyedVectors") else ".wv"
        line += f'{vectors}.save_word2vec_format("vectors.bin", binary=True)'
    return (
        f"gensim's own file (a {kind}), a Python pickle, which is never opened here because it can "
        f"run code. If you trust it, this line of gensim converts it: {line}"
    )


def _encoding(path: str | os.PathLike, head: bytes, encoding: str, errors: str | None) -> str:
    """That of the text which begins like this."""
    if (kind := compression(head)) is not None:
        raise ValueError(f"{path}: {kind} data inside a compressed file: unpack it")
    if (foreign := foreign_kind(head)) is not None:
        raise ValueError(f"{path}: {foreign}: {_FOREIGN[foreign][1]}")
    if encoding != UTF8:
        return encoding
    if marked := wide_encoding(head):
        with contextlib.suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder(marked)().decode(head)
            return marked
    if errors == BYTES and (wrong := _binary(head)) is not None:
        raise ValueError(f"{path}: {wrong}: convert it to UTF-8")
    if errors is None and (wrong := _not_text(head)) is not None:
        raise ValueError(
            f"{path}: {wrong}. Name the encoding (encoding=, --encoding), or say what is to be "
            "done with such bytes (errors=, --errors)"
        )
    return encoding


def _not_text(head: bytes) -> str | None:
    """What speaks against UTF-8, if anything."""
    if (wrong := _binary(head)) is not None:
        return wrong
    text = codecs.getincrementaldecoder(UTF8)("replace").decode(head)
    bad = text.count("\ufffd") - head.count(b"\xef\xbf\xbd")
    if bad > max(_FEW, 0.005 * len(head)):
        return f"not UTF-8 text: {bad:,} places in its first {len(head):,} bytes are not"
    return None


def _binary(head: bytes) -> str | None:
    """What speaks against any encoding in which line feeds are single bytes, if anything."""
    size, zeros = len(head), head.count(0)
    if zeros > max(_FEW, 0.3 * size):
        at = [head[i::4].count(0) > 0.8 * size / 4 for i in range(4)]
        even, odd = head[::2].count(0), head[1::2].count(0)
        guess = None
        if at in ([False, True, True, True], [True, True, True, False]):
            guess = "utf-32-be" if at[0] else "utf-32-le"
        elif min(even, odd) < 0.1 * max(even, odd):
            guess = "utf-16-be" if even > odd else "utf-16-le"
        share = f"{zeros / size:.0%} of its first bytes are NUL"
        if guess is None:
            return f"not text: {share}"
        name = guess[:6].upper()
        return f"{name} without a byte order mark ({share}), encoding {guess!r}?"
    controls = size - len(head.translate(None, _CONTROLS))
    if controls > max(_FEW, 0.1 * size):
        return (
            f"not UTF-8 text: {controls / size:.0%} of its first bytes are control characters, as "
            "in UTF-16 without a byte order mark"
        )
    return None


class _Decoded(io.RawIOBase):
    """The text of a file in another encoding, as UTF-8."""

    def __init__(self, path: str | os.PathLike, file: BinaryIO, encoding: str, errors: str) -> None:
        if errors == "skip":  # its words are not known here
            raise ValueError(
                f"{path}: {encoding}: errors must be 'replace' or 'strict', got 'skip'"
            )
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._path, self._file, self._encoding = path, file, encoding
        self._pending, self._read, self._ended = b"", 0, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending and not self._ended:
            block = self._file.read(_BLOCK)
            self._ended = not block
            try:
                text = self._decoder.decode(block, self._ended)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{self._path}: not {self._encoding} near byte {self._read + error.start}: "
                    f'{error.reason}; errors="replace" puts U+FFFD there'
                ) from None
            except UnicodeError as error:  # of UTF-16 and UTF-32 without their mark
                raise ValueError(
                    f"{self._path}: {error}; name the order of its bytes: "
                    f"{self._encoding}-le or {self._encoding}-be"
                ) from None
            self._read += len(block)
            self._pending = text.encode(UTF8, "replace")
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size
