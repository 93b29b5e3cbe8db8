"""Loads and saves word vectors in everybody's formats, one entry point each."""

from __future__ import annotations

import codecs
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from lexforge._compressed import SUFFIXES
from lexforge._errors import prefixed
from lexforge.text.files import (
    FASTTEXT,
    NUMPY,
    PICKLE,
    SAFETENSORS,
    foreign_kind,
    gensim_advice,
)
from lexforge.text.lines import known_encoding, wide_encoding
from lexforge.vectors.formats import arrays as array_formats
from lexforge.vectors.formats import projector, stanford
from lexforge.vectors.formats import rows as row_formats
from lexforge.vectors.formats.arrays import Table
from lexforge.vectors.formats.fasttext import is_early_fasttext, read_fasttext_table
from lexforge.vectors.formats.streams import (
    is_compressed,
    open_for_reading,
    open_for_writing,
)
from lexforge.vectors.word_vectors import FLOATS, WordVectors, float_type, whole_counts

__all__ = [
    "FORMATS",
    "read_table",
    "save_vectors",
    "sniff_format",
]

#: Format names and what they mean.
FORMATS = {
    "text": "word2vec text with a header line (.txt, .vec)",
    "binary": "word2vec binary (.bin)",
    "glove": "GloVe text, no header line",
    "safetensors": "tensor `vectors`, words in the metadata or a vocab file beside it",
    "npy": "numpy array, words in a vocab file beside it",
    "projector": "TensorBoard projector, tensors.tsv and metadata.tsv",
    "checkpoint": "a folder of our own: config.json, vocab.txt, model.safetensors (read only)",
    "stanford": "GloVe's vectors.bin, words in vocab.txt beside it (read only)",
    "fasttext": "fastText model (.bin, .ftz), with vectors of any word (read only)",
}
_READ_ONLY = ("checkpoint", "stanford", "fasttext")
WRITABLE = tuple(name for name in FORMATS if name not in _READ_ONLY)

_SUFFIX_FORMATS = {
    ".txt": "text",
    ".vec": "text",
    ".bin": "binary",
    ".glove": "glove",
    ".safetensors": "safetensors",
    ".npy": "npy",
    ".tsv": "projector",
}
_ARRAYS = {
    **array_formats.READERS,
    "stanford": stanford.read_stanford,
    "fasttext": read_fasttext_table,
}
# In expandos, but counts, or what a model makes of them.
_NOT_ATTRIBUTES = ("count", "sample_int", "code", "point")
_HEAD_BYTES = 1 << 16


def read_table(
    path: str | os.PathLike,
    format: str = "auto",
    limit: int | None = None,
    dtype: str = "float32",
    errors: str = "strict",
    mmap: bool = False,
    *,
    encoding: str = "utf-8",
    allow_nonfinite: bool = False,
    threads: int | None = None,
) -> Table:
    """What a file holds, as :func:`lexforge.load_vectors` returns it; arguments and errors too."""
    if format != "auto" and format not in FORMATS:
        raise ValueError(f"load_vectors: format must be auto, {', '.join(FORMATS)}, got {format!r}")
    if limit is not None and limit < 0:
        raise ValueError(f"load_vectors: limit must be >= 0, got {limit}")
    dtype = float_type("load_vectors", dtype, FLOATS)
    if errors not in ("strict", "replace", "ignore", "skip"):
        raise ValueError(
            f"load_vectors: errors must be strict, replace, ignore or skip, got {errors!r}"
        )
    encoding = _checked_encoding(encoding)
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        if path.is_dir() or format == "checkpoint":
            format = "checkpoint"
            table = array_formats.read_checkpoint(path, limit=limit, mmap=mmap)
        else:
            with open_for_reading(path) as stream:
                head = _read_head(stream)
                if format == "auto" and projector.is_projector(path, head):
                    format = "projector"
                elif format == "auto" and is_early_fasttext(head):
                    format = "fasttext"
                elif format == "auto" and stanford.is_stanford(path, head):
                    format = "stanford"
                elif format == "auto":
                    format = sniff_format(head, name=str(path))
                if format in _ARRAYS:
                    if is_compressed(stream):
                        raise ValueError(f"a compressed {format} file: unpack it")
                    table = _ARRAYS[format](
                        path, limit=limit, mmap=mmap, encoding=encoding, errors=errors
                    )
                else:
                    if mmap:
                        raise ValueError(
                            f"mmap=True needs safetensors, npy or fasttext, this is {format}"
                        )
                    options: dict[str, Any] = {
                        "limit": limit,
                        "errors": errors,
                        "encoding": encoding,
                        "allow_nonfinite": allow_nonfinite,
                        "threads": row_formats.checked_threads("load_vectors", threads),
                    }
                    if format == "projector":
                        table = projector.read_projector(path, stream, head, **options)
                    else:
                        words, vectors = row_formats.read_rows(stream, head, format, **options)
                        table = Table(cast(list[str], words), vectors)
                    if dtype == "float64" and format != "binary":
                        with open_for_reading(path) as again:
                            doubles = row_formats.as_doubles(again, table.vectors)
                        table = table._replace(vectors=doubles)
                    table = _without_repeats(table, encoding)
        with np.errstate(over="ignore"):  # it becomes infinite, which is refused
            table = _converted(table, dtype)
        unchecked = format in (*_ARRAYS, "checkpoint") or dtype == "float16"
        if unchecked and not allow_nonfinite and not mmap:
            array_formats.check_finite(table.vectors)
            if table.ngrams is not None:
                array_formats.check_finite(table.ngrams.own)
                array_formats.check_finite(table.ngrams.rows)
        return table
    except ValueError as error:
        raise prefixed(path, error) from error


def save_vectors(
    kv: WordVectors,
    path: str | os.PathLike,
    format: str | None = None,
    *,
    dtype: str | None = None,
    threads: int | None = None,
) -> None:
    """Save word vectors; the file appears under its name once it is complete.

    Args:
        kv: what to save. Counts are kept by safetensors, npy and projector, other attributes of
            words by safetensors.
        path: the file. Further suffixes .gz, .bz2, .xz compress text and binary.
        format: one of `FORMATS`; default by suffix: .txt and .vec text, .bin binary, .glove glove,
            .safetensors, .npy (with NAME.vocab.txt), .tsv projector (with a metadata file).
        dtype: of the numbers in safetensors ("float32", "float16", "bfloat16", "float64") and npy
            ("float32", "float16", "float64"); default as in memory. The others are float32.
        threads: for formatting text; default those of torch, at most 8.

    Raises:
        ValueError: for an unknown suffix, or naming a word that the format cannot hold.
    """
    path = Path(path)
    compressed = path.suffix in SUFFIXES
    format = format or format_by_suffix(path)
    if format not in WRITABLE:
        raise ValueError(f"save_vectors: format must be {', '.join(WRITABLE)}, got {format!r}")
    if compressed and format not in ("text", "binary", "glove"):
        raise ValueError(f"save_vectors: {format} files cannot be compressed, got {path.name}")
    types = {
        "safetensors": ("float32", "float16", "bfloat16", "float64"),
        "npy": FLOATS,
    }.get(format, ("float32",))
    if dtype is None:
        dtype = kv.vectors.dtype.name if kv.vectors.dtype.name in types else "float32"
    dtype = float_type(f"save_vectors: {format}", dtype, types)
    threads = row_formats.checked_threads("save_vectors", threads)
    counts = kv.expandos.get("count")  # set_vecattr() takes anything
    counts = None if counts is None else whole_counts(counts)
    if None in kv.index_to_key:
        raise ValueError(f"save_vectors: row {kv.index_to_key.index(None)} has no word yet")  # type: ignore[arg-type]
    others = {name: kv.expandos[name] for name in kv.expandos if name not in _NOT_ATTRIBUTES}
    table = Table(kv.index_to_key, kv.vectors, counts, others, kv.ngrams)
    if format in ("text", "binary", "glove"):
        binary, total = format == "binary", None if format == "glove" else len(kv)
        save_rows(path, table.words, table.vectors, binary=binary, total=total, threads=threads)
        return
    try:
        if format == "safetensors":
            array_formats.write_safetensors(path, table, dtype)
        elif format == "npy":
            array_formats.write_npy(path, table, dtype)
        else:
            projector.write_projector(path, table, threads=threads)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def save_rows(
    path: str | os.PathLike,
    words: list[str],
    vectors: np.ndarray,
    *,
    binary: bool,
    total: int | None,
    append: bool = False,
    threads: int | None = None,
) -> None:
    """Save word2vec text or binary, compressed by suffix.

    Args:
        total: the number of rows for the header; None for no header, as GloVe files have none.
        append: to what the file holds, which stays as it was after an error.

    Raises:
        ValueError: naming the file and a word that the format cannot hold.
    """
    threads = threads or row_formats.default_threads()
    try:
        with open_for_writing(path, append=append) as file:
            row_formats.write_rows(
                file, words, vectors, binary=binary, total=total, threads=threads
            )
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


def format_by_suffix(path: str | os.PathLike) -> str:
    """The format that `save_vectors` writes to this name when it is not told one."""
    path = Path(path)
    suffix = Path(path.stem).suffix if path.suffix in SUFFIXES else path.suffix
    if suffix not in _SUFFIX_FORMATS:
        raise ValueError(
            f"save_vectors: format must be given for {path.name}, "
            f"one of {', '.join(WRITABLE)}; known suffixes are {', '.join(_SUFFIX_FORMATS)}"
        )
    return _SUFFIX_FORMATS[suffix]


def sniff_format(head: bytes, name: str = "FILE") -> str:
    """The format of a file that begins with `head` (two lines of text, where it is text).

    Args:
        head: Its first bytes.
        name: What the file is called in advice.

    Raises:
        ValueError: for formats that are recognised but not read, with advice.
    """
    head = head.removeprefix(codecs.BOM_UTF8)
    if not head:
        raise ValueError("the file is empty")
    if wide := wide_encoding(head):
        raise ValueError(f"{wide.upper()} text: convert it to UTF-8")
    foreign = foreign_kind(head)
    if foreign == FASTTEXT or is_early_fasttext(head):
        return "fasttext"
    if foreign == SAFETENSORS:
        return "safetensors"
    if advice := gensim_advice(head, name):
        raise ValueError(advice)
    if foreign == PICKLE:
        raise ValueError(
            "a Python pickle, which is never opened here because it can run code; load it with the "
            "program that wrote it and save word2vec format (gensim: kv.save_word2vec_format)"
        )
    if foreign == NUMPY:
        return "npy"
    first, _, rest = head.partition(b"\n")
    if header := row_formats.header_of(first):
        return row_formats.format_after_header(rest, header[1])
    if row_formats.is_text_row(first):
        return "glove"
    if head[:1] in b"{[":
        raise ValueError("a JSON file, not vectors")
    row_formats.check_first_row(first)
    raise ValueError(f"not a known vector format; it begins with {head[:40]!r}")


def _converted(table: Table, dtype: str) -> Table:
    """A table with numbers of another type."""
    vectors, ngrams = table.vectors.astype(dtype, copy=False), table.ngrams
    if ngrams is not None:
        own, rows = ngrams.own.astype(dtype, copy=False), ngrams.rows.astype(dtype, copy=False)
        ngrams = ngrams._replace(own=own, rows=rows)
    return table._replace(vectors=vectors, ngrams=ngrams)


def _read_head(stream) -> bytes:
    """The first bytes of a stream: two whole lines, or enough to see that there are none."""
    head = stream.read(_HEAD_BYTES)
    # Text rows of many dimensions are longer than the first read.
    while head.count(b"\n") < 2 and b"\0" not in head and len(head) < row_formats.MAX_FIRST_LINE:
        more = stream.read(len(head) or 1)
        if not more:
            break
        head += more
    return head.removeprefix(codecs.BOM_UTF8)


def _without_repeats(table: Table, encoding: str) -> Table:
    """Drops rows without a word (skipped), and all but the first row of each word."""
    words: Sequence[str | None] = table.words
    first_row: dict[str, int] = {}
    for row, word in enumerate(words):
        if word is not None:
            first_row.setdefault(word, row)
    if len(first_row) == len(words):
        return table
    repeats = len(words) - words.count(None) - len(first_row)
    if repeats:
        warnings.warn(
            f"{repeats} rows repeat the token of an earlier row and are left out", stacklevel=4
        )
    if skipped := words.count(None):
        warnings.warn(
            f"{skipped} rows with a token that is not {encoding.upper()} are left out",
            stacklevel=4,
        )
    return table.rows(list(first_row.values()))


def _checked_encoding(encoding: str) -> str:
    encoding = known_encoding(encoding)
    try:
        ascii = "0 \n".encode(encoding) == b"0 \n"
    except (LookupError, UnicodeError):  # no encoding of text
        ascii = False
    if not ascii:
        raise ValueError(
            f"load_vectors: encoding must write ASCII as it is, as UTF-8 and latin-1 do, got "
            f"{encoding!r}: convert the file to UTF-8"
        )
    return encoding
