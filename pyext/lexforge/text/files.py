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

from lexforge._compressed import compression, unpacked

UTF8 = "utf-8"
HEAD = 1 << 20  # bytes that are looked at
_BLOCK = 1 << 18  # decoded at a time
_FEW = 8  # odd bytes are no sign of anything
_UNPACK = "unpack it, or compress it as gzip, bzip2 or xz"
_FOLDER = "unpack it, and give the folder"
_TEXT_ALONE = "a corpus is text"
_FOREIGN = (
    (rb"\x28\xb5\x2f\xfd", "a Zstandard file", _UNPACK),
    (rb"\x04\x22\x4d\x18", "an LZ4 file", _UNPACK),
    (rb"LZIP\x01", "an lzip file", _UNPACK),
    (rb"\x1f\x9d", "a compress (.Z) file", _UNPACK),
    (rb"\x5d\0\0..\xff{8}", "an LZMA file", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _FOLDER),
    (rb"Rar!\x1a\x07", "a RAR archive", _FOLDER),
    (rb".{257}ustar", "a tar archive", _FOLDER),
    (rb"\x80[\x02-\x05][\x28\x4b-\x5d\x63\x7d\x80-\x95]", "a pickle", "save its words as text"),
    (rb"\x93NUMPY", "a numpy array", _TEXT_ALONE),
    (rb".{3}[\0-\x05]\0{4}\{[\s\"}]", "a safetensors file", _TEXT_ALONE),
    (rb"\d+ \d+\n\S+ [^\n]*[\0-\x08\x0e-\x1f]", "a word2vec binary file of vectors", _TEXT_ALONE),
    (rb"\xba\x16\x4f\x2f", "a fastText model", _TEXT_ALONE),
    (rb"%PDF-", "a PDF document", "extract its text, with pdftotext for one"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", "save it as text"),
    (rb"PAR1[\x15\x19\x1c]", "a Parquet file", "write its column of text into a text file"),
    (rb"ARROW1\0\0", "an Arrow file", "write its column of text into a text file"),
    (rb"Obj\x01", "an Avro file", "write its field of text into a text file"),
    (rb"\x89HDF\r\n", "an HDF5 file", _TEXT_ALONE),
    (rb"SQLite format 3\0", "an SQLite database", "export its text"),
    (rb"GGUF[\x01-\x09]\0", "a GGUF model", _TEXT_ALONE),
    (rb"\x7fELF", "a program", _TEXT_ALONE),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a", "a picture", _TEXT_ALONE),
)
_MARKS = (  # the longer ones first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = bytes({*range(1, 32), 127} - {*b"\t\n\v\f\r\x1b"})


@contextlib.contextmanager
def open_text(
    path: str | os.PathLike, encoding: str = UTF8, errors: str | None = None
) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The text of a file as bytes of UTF-8, and the file as it is on disk.

    What is compressed is known by its first bytes, whatever its name: gzip, bzip2, xz, and zip
    files of one member. A byte order mark of UTF-16 or UTF-32 goes before the default encoding.

    Args:
        path: The file.
        encoding: Of the text.
        errors: "replace" puts U+FFFD for bytes that do not fit another encoding than UTF-8 and
            "strict" raises; those of UTF-8 are left to the reader. With None files are refused that
            do not look like text.

    Raises:
        ValueError: The file is no text (see above), or its compressed data is damaged or cut short.
    """
    refuse_pipe(path)
    with open(path, "rb") as raw, unpacked(raw, os.fspath(path)) as file:
        head = file.read(HEAD)
        file.seek(0)
        found = _encoding(path, head, encoding, errors)
        if found == UTF8:
            yield file, raw
        else:
            decoded = _Decoded(path, file, found, errors or "replace")
            with io.BufferedReader(decoded, _BLOCK) as text:
                yield text, raw


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


def _encoding(path: str | os.PathLike, head: bytes, encoding: str, errors: str | None) -> str:
    """That of the text which begins like this."""
    if (kind := compression(head)) is not None:
        raise ValueError(f"{path}: {kind} data inside a compressed file: unpack it")
    for magic, what, advice in _FOREIGN:
        if re.match(magic, head[: 1 << 12], re.DOTALL):
            raise ValueError(f"{path}: {what}: {advice}")
    if encoding != UTF8:
        return encoding
    for mark, marked in _MARKS:
        if head.startswith(mark):
            with contextlib.suppress(UnicodeDecodeError):
                codecs.getincrementaldecoder(marked)().decode(head)
                return marked
    if errors is None and (wrong := _not_text(head)) is not None:
        raise ValueError(
            f"{path}: {wrong}. Name the encoding (encoding=, --encoding), or say what is to be "
            "done with such bytes (errors=, --errors)"
        )
    return encoding


def _not_text(head: bytes) -> str | None:
    """What speaks against UTF-8, if anything."""
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
    text = codecs.getincrementaldecoder(UTF8)("replace").decode(head)
    bad = text.count("\ufffd") - head.count(b"\xef\xbf\xbd")
    if bad > max(_FEW, 0.005 * size):
        return f"not UTF-8 text: {bad:,} places in its first {size:,} bytes are not"
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
