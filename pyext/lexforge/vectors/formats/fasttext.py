"""Models of fastText, .bin and .ftz, byte by byte: versions 11 and 12, and what came before."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from lexforge import _text
from lexforge._compressed import compression
from lexforge._errors import CutShortError, prefixed
from lexforge._files import map_file, read_into, replacing
from lexforge._text import SubwordRows, WordBytes
from lexforge.text.subwords import SubwordIndex, pruned_rows
from lexforge.vectors.formats.arrays import Ngrams, Table
from lexforge.vectors.quantised import QuantizedMatrix, native_rows

MAGIC, VERSION = 793712314, 12
LOSSES = {1: "hs", 2: "ns", 3: "softmax", 4: "ova"}
MODELS = {1: "cbow", 2: "sg", 3: "sup"}
_INTEGERS = (
    *("dim", "ws", "epoch", "minCount", "neg", "wordNgrams", "loss", "model", "bucket"),
    *("minn", "maxn", "lrUpdateRate"),
)
_SETTINGS = struct.Struct(f"<{len(_INTEGERS)}id")
_ENTRY_BYTES = 10  # of an empty token
_LARGEST = 2**31 - 1
_LARGEST_DIM = 1 << 24
_BLOCK_ROWS = 1 << 16


def _no_words() -> WordBytes:
    return WordBytes.of([])


@dataclass(eq=False)
class FastTextFile:
    """What a model file of fastText holds; the first fields have the names that it has there.

    Attributes:
        dim: D, numbers in a vector.
        ws, epoch, minCount, neg, wordNgrams, lrUpdateRate, t: settings of its training.
        loss: 1 hierarchical softmax, 2 negative sampling, 3 softmax, 4 one-vs-all (`LOSSES`).
        model: 1 CBOW, 2 skip-gram, 3 supervised (`MODELS`).
        bucket, minn, maxn: of n-grams; without any, `maxn` is 0.
        words: V words, as bytes.
        counts: their occurrences, int64 [V].
        labels, label_counts: L of them; an unsupervised model may have some, of
            its text, and uses none.
        ntokens: words read in training.
        pruneidx: None, or int32 [n, 2] of a model whose n-grams were pruned: buckets, and the rows
            behind those of words where their vectors are.
        input: float32 [V + bucket, D], rows of words and then of buckets ([V + n, D] of a pruned
            one), or a QuantizedMatrix. Mapped arrays may be written to; the file stays as it is.
        output: float32 or quantised, [V, D], of a supervised model [L, D].
        version: of the layout; 0 for what came before versions.
        encoding: of words that are asked for as str.
    """

    dim: int
    ws: int
    epoch: int
    minCount: int  # noqa: N815
    neg: int
    wordNgrams: int  # noqa: N815
    loss: int
    model: int
    bucket: int
    minn: int
    maxn: int
    lrUpdateRate: int  # noqa: N815
    t: float
    words: WordBytes
    counts: np.ndarray
    ntokens: int
    input: np.ndarray | QuantizedMatrix
    output: np.ndarray | QuantizedMatrix
    labels: WordBytes = field(default_factory=_no_words)
    label_counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    pruneidx: np.ndarray | None = None
    version: int = VERSION
    encoding: str = "utf-8"
    _composer: tuple[Any, _text.WordComposer] | None = field(default=None, init=False, repr=False)

    @property
    def supervised(self) -> bool:
        return self.model == 3

    @property
    def quantised(self) -> bool:
        """Whether `input` is; `output` may then be, too."""
        return isinstance(self.input, QuantizedMatrix)

    @cached_property
    def index(self) -> _text.WordIndex:
        """Finds words by their bytes."""
        return _text.WordIndex(self.words)

    @cached_property
    def subwords(self) -> SubwordIndex:
        """Which rows behind those of words are those of a word's n-grams."""
        maxn = self.maxn if self.minn <= self.maxn else 0
        if maxn <= 0 or self.bucket == 0:
            return SubwordIndex.every(0, 0, 0, self.encoding)
        lengths = max(self.minn, 0), maxn, self.bucket
        if self.pruneidx is None:
            return SubwordIndex.every(*lengths, self.encoding)
        return SubwordIndex.pruned(*lengths, self.pruneidx, self.encoding)

    def row(self, word: str | bytes) -> int:
        """The row of a word, -1 for one that the vocabulary does not have."""
        return self.index.find(self._encoded(word))

    def word_vector(self, word: str | bytes) -> np.ndarray:
        """The vector of any word, float32 [D]: the mean of its own row and those of its n-grams.

        Of a word that is not in the vocabulary, of its n-grams; zeros where it has none. No other
        rows are looked at.
        """
        return self._composed().word(self._encoded(word))

    def line_vector(self, line: bytes) -> np.ndarray:
        """The mean of the vectors of a line's words, each at length 1: float32 [D].

        Zeros are left out.
        """
        return self._composed().line(line)

    def _composed(self) -> _text.WordComposer:
        if self._composer is None or self._composer[0] is not self.input:
            table, subwords = self.input, self.subwords
            if not isinstance(table, np.ndarray | QuantizedMatrix):  # made of a model's table
                table, subwords = table.rows, table.subwords
            rows = native_rows(table)
            self._composer = (
                self.input,
                _text.WordComposer(
                    *(self.index, subwords.native, rows, rows), first=len(self.words)
                ),
            )
        return self._composer[1]

    @cached_property
    def pruned(self) -> SubwordRows | None:
        """The rows of buckets behind those of words, in a model whose n-grams were pruned."""
        return None if self.pruneidx is None else pruned_rows(self.bucket, self.pruneidx)

    def decoded(self, errors: str = "strict") -> list[str]:
        """The words as str.

        Args:
            errors: as of ``bytes.decode``, for bytes that are not in the encoding.

        Raises:
            UnicodeDecodeError: naming a word that is not in it, if errors is "strict".
        """
        return cast(list[str], self.words.decoded(self.encoding, errors))

    def _encoded(self, word: str | bytes) -> bytes:
        return word if isinstance(word, bytes) else word.encode(self.encoding, "surrogateescape")


def read_fasttext(
    path: str | os.PathLike, mmap: bool = True, *, encoding: str = "utf-8"
) -> FastTextFile:
    """Read a model file of fastText: .bin or .ftz, of version 12, 11, or from before versions.

    Args:
        path: the file.
        mmap: map the matrices instead of reading them. A file that is cut short while it is mapped
            ends the process when what is gone is looked at.
        encoding: of words that are asked for as str.

    Raises:
        ValueError: with the path, and what is wrong with the file; it is an EOFError too where the
            file is cut short. FileNotFoundError: when there is no such file.
    """
    try:
        return _read(Path(path), mmap, encoding)
    except ValueError as error:
        raise prefixed(path, error) from error


def _read(path: Path, mmap: bool, encoding: str) -> FastTextFile:
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    with open(path, "rb") as stream:
        if kind := compression(stream.read(16)):
            raise ValueError(f"a file packed by {kind}: unpack it first, for models are mapped")
        stream.seek(0)
        return _Reader(stream, np.frombuffer(map_file(path), np.uint8), mmap).file(encoding)


class _Reader:
    """Walks through a file, of which no length is believed."""

    def __init__(self, stream: BinaryIO, block: np.ndarray, mmap: bool):
        self.stream, self.block, self.mmap = stream, block, mmap
        self.at = 0

    @property
    def left(self) -> int:
        return self.block.size - self.at

    def need(self, size: int, what: str) -> None:
        """CutShortError where the file ends before so many more bytes."""
        if size > self.left:
            raise CutShortError(
                f"the file ends in {what}: {size:,} bytes from byte {self.at:,} on, and there are "
                f"{self.left:,}"
            )

    def numbers(self, layout: str | struct.Struct, what: str) -> tuple:
        layout = struct.Struct(layout) if isinstance(layout, str) else layout
        self.need(layout.size, what)
        found = layout.unpack_from(self.block.data, self.at)
        self.at += layout.size
        return found

    def file(self, encoding: str) -> FastTextFile:
        (magic,) = self.numbers("<i", "the magic number")
        version = 0
        if magic == MAGIC:
            (version,) = self.numbers("<i", "the version")
            if not 11 <= version <= VERSION:
                raise ValueError(f"a fastText model of version {version}, known are 11 and 12")
        else:
            self.at = 0
        settings = dict(
            zip((*_INTEGERS, "t"), self.numbers(_SETTINGS, "the settings"), strict=True)
        )
        _check_settings(settings, version)
        if (version == 11 and settings["model"] == 3) or settings["bucket"] == 0:
            settings["maxn"] = 0  # such models have no n-grams, whatever they say
        size, nwords, nlabels, ntokens = self.numbers("<3iq", "the sizes of the dictionary")
        (pruned,) = self.numbers("<q", "the sizes of the dictionary") if version else (-1,)
        if min(nwords, nlabels) < 0 or size != nwords + nlabels:
            raise ValueError(
                f"the dictionary cannot have {size} entries, {nwords} words and {nlabels} labels"
            )
        if ntokens < 0 or pruned < -1:
            raise ValueError(f"the dictionary cannot have {ntokens} tokens, {pruned} n-grams kept")
        self.need(_ENTRY_BYTES * size, f"the {size:,} entries of the dictionary")
        entries, counts, words, used = _text.read_entries(self.block[self.at :], size)
        self.at += used
        if words != nwords:
            raise ValueError(f"{words} of the entries are words, where {nwords} were told")
        pruneidx = self.pruneidx(pruned, settings["bucket"]) if pruned >= 0 else None
        behind = settings["bucket"] if pruneidx is None else len(pruneidx)
        outputs = nlabels if settings["model"] == 3 else nwords
        quantised = self.flag("quantised") if version else False
        input = self.matrix("input", nwords + behind, settings["dim"], quantised)
        if pruneidx is not None and not quantised:
            raise ValueError("n-grams were pruned, but the input matrix is not quantised")
        qout = self.flag("output quantised") if version else False
        output = self.matrix("output", outputs, settings["dim"], quantised and qout)
        if self.left:
            raise ValueError(f"{self.left:,} bytes behind the output matrix, where the file ends")
        file = FastTextFile(
            **settings,
            words=entries.part(0, nwords) if nlabels else entries,
            counts=counts[:nwords],
            ntokens=ntokens,
            input=input,
            output=output,
            labels=entries.part(nwords, size) if nlabels else _no_words(),
            label_counts=counts[nwords:],
            pruneidx=pruneidx,
            version=version,
            encoding=encoding,
        )
        _ = file.index  # no word comes twice
        return file

    def pruneidx(self, count: int, bucket: int) -> np.ndarray:
        self.need(8 * count, f"the {count:,} n-grams that are kept")
        pairs = self.block[self.at : self.at + 8 * count].view("<i4").reshape(-1, 2)
        self.at += 8 * count
        buckets, rows = pairs.T
        for name, values, limit in (("bucket", buckets, bucket), ("row", rows, count)):
            if (outside := (values < 0) | (values >= limit)).any():
                wrong = values[outside][0]
                raise ValueError(f"the n-grams kept have {name} {wrong}, of {limit}")
            if len(np.unique(values)) != count:
                raise ValueError(f"the n-grams kept have a {name} twice")
        return pairs.astype(np.int32)

    def flag(self, what: str) -> bool:
        (value,) = self.numbers("<B", f"whether it is {what}")
        if value > 1:
            raise ValueError(f"whether it is {what} must be 0 or 1, got {value}")
        return bool(value)

    def matrix(
        self, name: str, rows: int, dim: int, quantised: bool
    ) -> np.ndarray | QuantizedMatrix:
        if quantised:
            self.stream.seek(self.at)
            try:
                found = QuantizedMatrix.read(self.stream)
            except ValueError as error:
                raise prefixed(f"the {name} matrix", error) from error
            self.at = self.stream.tell()
            _check_shape(name, found.shape, rows, dim)
            return found
        shape = self.numbers("<2q", f"the sizes of the {name} matrix")
        _check_shape(name, shape, rows, dim)
        self.need(4 * rows * dim, f"the {name} matrix [{rows}, {dim}]")
        begin, self.at = self.at, self.at + 4 * rows * dim
        if not self.mmap:
            values = np.empty((rows, dim), "<f4")
            self.stream.seek(begin)
            if not read_into(self.stream, values):
                raise CutShortError(f"the file ends in the {name} matrix")
            return values
        # Rows begin where tokens end, at any byte: numpy copies what it looks at.
        return self.block[begin : self.at].view("<f4").reshape(rows, dim)


def _check_settings(settings: dict, version: int) -> None:
    what = f"a fastText model of version {version}" if version else "a fastText model"
    limits = {
        "dim": (1, _LARGEST_DIM),
        "loss": (1, 4),
        "model": (1, 3),
        "bucket": (0, _LARGEST),
        "minn": (0, _LARGEST),
        "maxn": (0, _LARGEST),
    }
    for name, (low, high) in limits.items():
        if not low <= settings[name] <= high:
            raise ValueError(f"not {what}: {name} is {settings[name]}, of {low} to {high}")


def _check_shape(name: str, shape: tuple, rows: int, dim: int) -> None:
    if shape != (rows, dim):
        raise ValueError(f"the {name} matrix must be [{rows}, {dim}], got [{shape[0]}, {shape[1]}]")


def is_early_fasttext(head: bytes) -> bool:
    """Whether a file that begins so can be a model from before versions: settings and sizes."""
    if len(head) < _SETTINGS.size + 20:
        return False
    settings = dict(zip((*_INTEGERS, "t"), _SETTINGS.unpack_from(head), strict=True))
    size, nwords, nlabels, ntokens = struct.unpack_from("<3iq", head, _SETTINGS.size)
    try:
        _check_settings(settings, 0)
    except ValueError:
        return False
    sizes = min(nwords, nlabels, ntokens) >= 0 and size == nwords + nlabels
    return sizes and 0 <= settings["t"] <= 1 and min(settings[name] for name in _INTEGERS) >= 0


def read_fasttext_table(
    path: Path, *, limit: int | None, mmap: bool, encoding: str = "utf-8", errors: str = "strict"
) -> Table:
    """The words of a model, their own rows, and those of n-grams."""
    file = _read(path, mmap, encoding)
    rows = slice(limit)
    words = file.words.decoded(file.encoding, errors)[rows]
    counts, vocabulary = file.counts[rows], len(file.words)
    if file.quantised:
        own, ngrams = np.asarray(file.input[:vocabulary]), np.asarray(file.input[vocabulary:])
    else:
        own, ngrams = file.input[:vocabulary], file.input[vocabulary:]
    own, index = own[rows], file.subwords
    table = Table(cast(list[str], words), own, counts)
    if index.rows:
        table = table._replace(ngrams=Ngrams(own, ngrams, index))
    if None in words:
        table = table.rows([row for row, word in enumerate(words) if word is not None])
    return table


def write_fasttext(path: str | os.PathLike, file: FastTextFile) -> None:
    """Write a model file of fastText, version 12; it appears under its name once it is complete.

    What is mapped is written block by block.

    Args:
        path: the file; it may be the one that `file` was read from.
        file: the model. Its matrices may have any floating dtype, and are float32 in the file.

    Raises:
        ValueError: what does not fit together, or a word that the file cannot hold: one with a NUL.
    """
    try:
        _check_file(file)
        with replacing(path) as stream:
            _write(stream, file)
    except ValueError as error:
        raise prefixed(path, error) from error


def _check_file(file: FastTextFile) -> None:
    settings = {name: getattr(file, name) for name in (*_INTEGERS, "t")}
    _check_settings(settings, VERSION)
    if file.maxn and not file.bucket:
        raise ValueError(f"maxn is {file.maxn}, but bucket is 0")
    for words, counts, name in (
        (file.words, file.counts, "words"),
        (file.labels, file.label_counts, "labels"),
    ):
        if counts.shape != (len(words),):
            raise ValueError(f"counts of {name} must be [{len(words)}], got {[*counts.shape]}")
        if (words.data == 0).any():
            row = int(np.searchsorted(words.offsets, np.argmax(words.data == 0), "right")) - 1
            raise ValueError(f"{name} {row + 1} holds a NUL: {words[row]!r}")
    if len(file.words) + len(file.labels) > _LARGEST:
        raise ValueError("more than 2^31 - 1 words and labels")
    _ = file.index
    behind = file.bucket if file.pruneidx is None else len(file.pruneidx)
    if file.pruneidx is not None:
        if not file.quantised:
            raise ValueError("pruned n-grams need a quantised input matrix")
        _ = file.subwords
    _check_shape("input", file.input.shape, len(file.words) + behind, file.dim)
    outputs = len(file.labels if file.supervised else file.words)
    _check_shape("output", file.output.shape, outputs, file.dim)
    if isinstance(file.output, QuantizedMatrix) and not file.quantised:
        raise ValueError("a quantised output matrix needs a quantised input matrix")


def _write(stream: BinaryIO, file: FastTextFile) -> None:
    stream.write(struct.pack("<2i", MAGIC, VERSION))
    stream.write(_SETTINGS.pack(*(getattr(file, name) for name in (*_INTEGERS, "t"))))
    nwords, nlabels = len(file.words), len(file.labels)
    stream.write(struct.pack("<3iq", nwords + nlabels, nwords, nlabels, file.ntokens))
    stream.write(struct.pack("<q", -1 if file.pruneidx is None else len(file.pruneidx)))
    for words, counts, kind in (
        (file.words, file.counts, 0),
        (file.labels, file.label_counts, 1),
    ):
        for block in _entries(words, counts, kind):
            stream.write(block)
    if file.pruneidx is not None:
        stream.write(np.ascontiguousarray(file.pruneidx, "<i4").data)
    stream.write(struct.pack("<B", file.quantised))
    _write_matrix(stream, file.input)
    stream.write(struct.pack("<B", isinstance(file.output, QuantizedMatrix)))
    _write_matrix(stream, file.output)


def _entries(words: WordBytes, counts: np.ndarray, kind: int) -> Iterator[bytes]:
    pack = struct.Struct("<xqb").pack
    for start in range(0, len(words), _BLOCK_ROWS):
        block = words.part(start, min(start + _BLOCK_ROWS, len(words)))
        data, spans = block.data.tobytes(), pairwise(block.offsets.tolist())
        values = counts[start : start + len(block)].tolist()
        yield b"".join(
            part
            for (begin, end), count in zip(spans, values, strict=True)
            for part in (data[begin:end], pack(count, kind))
        )


def _write_matrix(stream: BinaryIO, matrix: np.ndarray | QuantizedMatrix) -> None:
    if isinstance(matrix, QuantizedMatrix):
        matrix.write(stream)
        return
    stream.write(struct.pack("<2q", *matrix.shape))
    for start in range(0, len(matrix), _BLOCK_ROWS):
        stream.write(np.ascontiguousarray(matrix[start : start + _BLOCK_ROWS], "<f4").data)
