"""Matrices whose rows are kept as codes of a byte each: product quantisation (Jégou et al. 2011).

A row of D numbers is cut into sub-vectors of `sub_dim` numbers (the last one may be shorter), and
of each only the nearest of 256 centroids is kept, which k-means found for that place. Length and
direction may be told apart (`norms`): then directions are coded, and lengths with 256 values of
their own. fastText keeps its small models so ("Compressing text classification models", Joulin et
al. 2016), and `read` and `write` have the layout of its files.
"""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from lexforge._arguments import whole
from lexforge._errors import CutShortError
from lexforge._files import read_into
from lexforge._text import MatrixRows
from lexforge.vectors.similarity import row_norms

CENTROIDS = 256  # of each sub-vector: a code is a byte
_ROUNDS = 25
_TRAINED_ON = 256 * CENTROIDS  # rows, drawn where there are more
_BEGUN_ON = 8192  # rows, about, from which the first centroids are drawn
_BLOCK_ROWS = 512  # their distances to all centroids stay in the cache
_DECODED_ROWS = 65536
_LARGEST_DIM = 1 << 24


class ProductQuantizer:
    """The centroids of a matrix with `dim` columns.

    Args:
        centroids: float32 [256 * dim], block after block: that of sub-vector s is [256, d] and
            begins at ``256 * sub_dim * s``.
        sub_dim: numbers in a sub-vector; the last has ``dim - sub_dim * (parts - 1)``.

    Attributes:
        dim, sub_dim, centroids: as above.
        parts: how many sub-vectors there are.

    Raises:
        ValueError: The sizes do not go together.
    """

    def __init__(self, centroids: np.ndarray, sub_dim: int):
        self.centroids = np.ascontiguousarray(centroids, dtype=np.float32)
        self.dim = self.centroids.size // CENTROIDS
        if self.centroids.shape != (CENTROIDS * self.dim,) or not self.dim:
            raise ValueError(
                f"ProductQuantizer: centroids must be [256 * dim], got {[*centroids.shape]}"
            )
        self.sub_dim = whole("ProductQuantizer", "sub_dim", sub_dim)
        self.parts = -(-self.dim // self.sub_dim)

    @classmethod
    def train(cls, matrix: np.ndarray, sub_dim: int = 2, seed: int = 1) -> ProductQuantizer:
        """The centroids that k-means finds, in 25 rounds on at most 65,536 rows.

        Where a place has fewer than 256 different sub-vectors, these are its centroids.

        Args:
            matrix: float [N, dim], N >= 1, finite.
            sub_dim: numbers in a sub-vector, 1 or more.
            seed: of the rows drawn, and of where k-means begins.

        Raises:
            ValueError: Another shape, no rows, numbers that are not finite, `sub_dim` below 1.

        Notes:
            A tenth of a microsecond for a sub-vector and round, on one thread.
        """
        _check_matrix("ProductQuantizer", matrix)
        sub_dim = whole("ProductQuantizer", "sub_dim", sub_dim)
        dim = matrix.shape[1]
        random = np.random.default_rng(whole("ProductQuantizer", "seed", seed, 0))
        blocks = []
        for start in range(0, dim, sub_dim):
            rows: Any = slice(None)
            if len(matrix) > _TRAINED_ON:
                rows = np.sort(random.choice(len(matrix), _TRAINED_ON, replace=False))
            blocks.append(_k_means(matrix[rows, start : start + sub_dim], random).ravel())
        return cls(np.concatenate(blocks), sub_dim)

    def block(self, part: int) -> np.ndarray:
        """The centroids of sub-vector `part`, float32 [256, d], a view."""
        start = CENTROIDS * self.sub_dim * part
        return self.centroids[start : start + CENTROIDS * self.sub_dim].reshape(CENTROIDS, -1)

    def codes(self, matrix: np.ndarray) -> np.ndarray:
        """The nearest centroids of all sub-vectors of `matrix` [N, dim]: uint8 [N, parts].

        Of two that are as near, the first.

        Raises:
            ValueError: Another shape, or numbers that are not finite.
        """
        _check_matrix("ProductQuantizer", matrix, self.dim)
        codes = np.empty((len(matrix), self.parts), np.uint8)
        for part in range(self.parts):
            columns = slice(part * self.sub_dim, (part + 1) * self.sub_dim)
            codes[:, part] = _nearest(matrix[:, columns], self.block(part))
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The rows that have these codes, uint8 [N, parts] -> float32 [N, dim]."""
        rows = np.empty((len(codes), self.dim), np.float32)
        for part in range(self.parts):
            start = part * self.sub_dim
            rows[:, start : start + self.sub_dim] = self.block(part)[codes[:, part]]
        return rows

    def scores(self, codes: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Dot products of the rows that have these codes with `vector` [dim]: float32 [N]."""
        scores = np.zeros(len(codes), np.float32)
        for part in range(self.parts):
            start = part * self.sub_dim
            scores += (self.block(part) @ vector[start : start + self.sub_dim])[codes[:, part]]
        return scores

    @classmethod
    def read(cls, stream: BinaryIO) -> ProductQuantizer:
        """From a file that can be sought in, where its sizes begin.

        Raises:
            CutShortError: The file ends before the centroids do.
            ValueError: The sizes cannot be.
        """
        dim, parts, sub_dim, last = _numbers(stream, "<4i", "the sizes of a product quantiser")
        if not (1 <= dim <= _LARGEST_DIM and sub_dim >= 1 and parts == -(-dim // sub_dim)) or (
            last != dim - sub_dim * (parts - 1)
        ):
            raise ValueError(
                f"a product quantiser of {dim} numbers cannot have {parts} sub-vectors of "
                f"{sub_dim}, the last of {last}"
            )
        centroids = _array(stream, CENTROIDS * dim, "<f4", "the centroids of a product quantiser")
        return cls(centroids, sub_dim)

    def write(self, stream: BinaryIO) -> None:
        """What `read` reads."""
        last = self.dim - self.sub_dim * (self.parts - 1)
        stream.write(struct.pack("<4i", self.dim, self.parts, self.sub_dim, last))
        stream.write(self.centroids.astype("<f4", copy=False).data)


class QuantizedMatrix:
    """A matrix [M, dim] of float32 whose rows are codes; made by :meth:`quantize` or :meth:`read`.

    ``matrix[5]``, ``matrix[2:9]`` and ``matrix[[3, 1]]`` decode rows, as `row` and `gather` do, and
    ``numpy.asarray(matrix)`` all of them. Rows cannot be changed.

    Args:
        codes: uint8 [M, parts].
        quantizer: their centroids.
        norm_codes: uint8 [M], or None where codes tell lengths, too.
        norm_quantizer: the values of the lengths, for `norm_codes`.

    Attributes:
        shape: (M, dim).
        dtype: float32, that of rows.
        nbytes: bytes of codes and centroids.

    Raises:
        ValueError: The shapes do not go together.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(
        self,
        codes: np.ndarray,
        quantizer: ProductQuantizer,
        norm_codes: np.ndarray | None = None,
        norm_quantizer: ProductQuantizer | None = None,
    ):
        if codes.ndim != 2 or codes.shape[1] != quantizer.parts:
            raise ValueError(
                f"QuantizedMatrix: codes must be [M, {quantizer.parts}], got {[*codes.shape]}"
            )
        if (norm_codes is None) != (norm_quantizer is None):
            raise ValueError("QuantizedMatrix: norm_codes go with a norm_quantizer")
        if norm_codes is not None and norm_codes.shape != (len(codes),):
            raise ValueError(
                f"QuantizedMatrix: norm_codes must be [{len(codes)}], got {[*norm_codes.shape]}"
            )
        if norm_quantizer is not None and norm_quantizer.dim != 1:
            raise ValueError(
                f"QuantizedMatrix: norm_quantizer must have dim 1, got {norm_quantizer.dim}"
            )
        self.codes, self.quantizer = codes, quantizer
        self.norm_codes, self.norm_quantizer = norm_codes, norm_quantizer

    @classmethod
    def quantize(
        cls, matrix: np.ndarray, sub_dim: int = 2, norms: bool = False, seed: int = 1
    ) -> QuantizedMatrix:
        """The codes of a matrix, by centroids trained on it.

        Args:
            matrix: float [M, dim], M >= 1, finite; read block by block, so it may be mapped.
            sub_dim: numbers in a sub-vector; fewer are nearer to the matrix, and take more room.
            norms: code lengths apart from directions.
            seed: of what training draws.

        Raises:
            ValueError: Another shape, no rows, numbers that are not finite, `sub_dim` below 1.
        """
        _check_matrix("QuantizedMatrix", matrix)
        norm_codes = norm_quantizer = None
        if norms:
            lengths = row_norms(matrix)[:, None]
            matrix = matrix / np.where(lengths == 0, np.float32(1), lengths)
            norm_quantizer = ProductQuantizer.train(lengths, 1, seed)
            norm_codes = norm_quantizer.codes(lengths)[:, 0].copy()
        quantizer = ProductQuantizer.train(matrix, sub_dim, seed)
        return cls(quantizer.codes(matrix), quantizer, norm_codes, norm_quantizer)

    @property
    def shape(self) -> tuple[int, int]:
        """(M, dim)."""
        return len(self.codes), self.quantizer.dim

    @property
    def nbytes(self) -> int:
        """Bytes of codes and centroids."""
        coded = self.codes.nbytes + self.quantizer.centroids.nbytes
        if self.norm_codes is not None and self.norm_quantizer is not None:
            coded += self.norm_codes.nbytes + self.norm_quantizer.centroids.nbytes
        return coded

    def __len__(self) -> int:
        return len(self.codes)

    def gather(self, rows: Any) -> np.ndarray:
        """The rows with these numbers (a slice, or ints [N]): float32 [N, dim].

        Raises:
            IndexError: There is no such row.
        """
        found = self.quantizer.decode(self.codes[rows])
        norms = self._norms(rows)
        return found if norms is None else found * norms[:, None]

    def row(self, row: int) -> np.ndarray:
        """Row `row`, float32 [dim]. IndexError where there is none."""
        return self.gather([row])[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.row(int(rows)) if isinstance(rows, int | np.integer) else self.gather(rows)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("QuantizedMatrix: rows are decoded, there is no array without a copy")
        whole_matrix = np.empty(self.shape, np.float32)
        for start in range(0, len(self), _DECODED_ROWS):
            block = slice(start, start + _DECODED_ROWS)
            whole_matrix[block] = self.gather(block)
        return whole_matrix if dtype is None else whole_matrix.astype(dtype, copy=False)

    def scores(self, vector: npt.ArrayLike, rows: Any = slice(None)) -> np.ndarray:
        """Dot products of rows with `vector` [dim], without decoding them: float32 [N].

        Raises:
            ValueError: The vector has another shape. IndexError: there is no such row.
        """
        vector = np.asarray(vector, dtype=np.float32)
        if vector.shape != (self.quantizer.dim,):
            raise ValueError(
                f"QuantizedMatrix: vector must be [{self.quantizer.dim}], got {[*vector.shape]}"
            )
        found = self.quantizer.scores(self.codes[rows], vector)
        norms = self._norms(rows)
        return found if norms is None else found * norms

    @property
    def native(self) -> MatrixRows:
        """For functions of the text library."""
        quantizer, norms = self.quantizer, self.norm_quantizer
        return MatrixRows.of_codes(
            self.codes,
            quantizer.centroids,
            quantizer.sub_dim,
            self.norm_codes,
            None if norms is None else norms.centroids,
        )

    def _norms(self, rows: Any) -> np.ndarray | None:
        if self.norm_codes is None or self.norm_quantizer is None:
            return None
        return self.norm_quantizer.centroids[self.norm_codes[rows]]

    @classmethod
    def read(cls, stream: BinaryIO) -> QuantizedMatrix:
        """From a file of fastText that can be sought in, where the matrix begins.

        Raises:
            CutShortError: The file ends before the matrix does.
            ValueError: The sizes cannot be.
        """
        what = "the sizes of a quantised matrix"
        norms, rows, dim, size = _numbers(stream, "<B2qi", what)
        if norms > 1:
            raise ValueError(f"the first byte of a quantised matrix must be 0 or 1, got {norms}")
        if rows < 0 or size < 0 or not 1 <= dim <= _LARGEST_DIM:
            raise ValueError(f"a quantised matrix cannot be [{rows}, {dim}] with {size} codes")
        codes = _array(stream, size, np.uint8, "the codes of a quantised matrix")
        quantizer = ProductQuantizer.read(stream)
        if quantizer.dim != dim or size != rows * quantizer.parts:
            raise ValueError(
                f"a quantised matrix [{rows}, {dim}] with {size} codes cannot have a quantiser of "
                f"{quantizer.dim} numbers in {quantizer.parts} sub-vectors"
            )
        codes = codes.reshape(rows, quantizer.parts)
        if not norms:
            return cls(codes, quantizer)
        norm_codes = _array(stream, rows, np.uint8, "the lengths of a quantised matrix")
        norm_quantizer = ProductQuantizer.read(stream)
        if norm_quantizer.dim != 1:
            raise ValueError(
                f"the quantiser of lengths must have 1 number, got {norm_quantizer.dim}"
            )
        return cls(codes, quantizer, norm_codes, norm_quantizer)

    def write(self, stream: BinaryIO) -> None:
        """What `read` reads.

        Raises:
            ValueError: More than 2^31 - 1 codes, which the layout cannot tell.
        """
        if self.codes.size >= 2**31:
            raise ValueError(
                f"a file can hold 2147483647 codes of a quantised matrix, got {self.codes.size}: "
                "cut it to fewer rows (cutoff), or take longer sub-vectors (dsub)"
            )
        stream.write(
            struct.pack("<B2qi", self.norm_codes is not None, *self.shape, self.codes.size)
        )
        stream.write(np.ascontiguousarray(self.codes).data)
        self.quantizer.write(stream)
        if self.norm_codes is not None and self.norm_quantizer is not None:
            stream.write(np.ascontiguousarray(self.norm_codes).data)
            self.norm_quantizer.write(stream)


def native_rows(matrix: np.ndarray | QuantizedMatrix) -> MatrixRows:
    """A matrix [N, D] for functions of the text library; quantised, or of numbers."""
    return matrix.native if isinstance(matrix, QuantizedMatrix) else MatrixRows.of(matrix)


class Kept(NamedTuple):
    """The rows that a cut keeps.

    Attributes:
        words: int64 [W], rows of words, ascending.
        buckets: int64 [B], buckets of n-grams (row minus the number of words), longest first.
    """

    words: np.ndarray
    buckets: np.ndarray


def longest_rows(matrix: np.ndarray, words: int, count: int, always: int | None = None) -> Kept:
    """The `count` longest rows of a matrix whose first `words` rows are words, the others n-grams.

    Args:
        matrix: float [M, dim]; read block by block, so it may be mapped.
        words: 0 to M.
        count: 1 or more.
        always: a row that is kept whatever its length: that of the end of the line.

    Of equal lengths the first rows are kept.

    Raises:
        ValueError: `count` below 1.
    """
    count = whole("longest_rows", "count", count)
    lengths = row_norms(matrix)
    if always is not None:
        lengths[always] = np.inf
    rows = np.argsort(-lengths, kind="stable")[:count]
    return Kept(np.sort(rows[rows < words]), rows[rows >= words] - words)


def _k_means(points: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Centroids float32 [256, d] of points [N, d] (Lloyd 1982).

    A centroid that is nearest to none goes to the point that is farthest from its own.
    """
    points = np.ascontiguousarray(points, np.float32)
    centroids = _first_centroids(points[:: 1 + len(points) // _BEGUN_ON], random)
    if len(centroids) < CENTROIDS:
        centroids = _first_centroids(points, random)
    if len(centroids) < CENTROIDS:  # all that there are
        return centroids[np.minimum(np.arange(CENTROIDS), len(centroids) - 1)]
    for _ in range(_ROUNDS):
        codes = _nearest(points, centroids)
        counts = np.bincount(codes, minlength=CENTROIDS)
        sums = np.stack([np.bincount(codes, column, CENTROIDS) for column in points.T], 1)
        used = counts > 0
        moved = centroids.copy()
        moved[used] = sums[used] / counts[used, None]
        if empty := CENTROIDS - int(used.sum()):
            distances = np.square(points - centroids[codes]).sum(1)
            moved[~used] = points[np.argsort(-distances, kind="stable")[:empty]]
        centroids = moved
    return centroids


def _first_centroids(points: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Up to 256 different points, each drawn by its squared distance from those before it.

    ("k-means++", Arthur and Vassilvitskii 2007.) Fewer than 256 are all that there are.
    """
    chosen = [points[random.integers(len(points))]]
    distances = np.full(len(points), np.inf, np.float32)
    while len(chosen) < CENTROIDS:
        np.minimum(distances, np.square(points - chosen[-1]).sum(1), out=distances)
        sums = np.cumsum(distances, dtype=np.float64)
        if not sums[-1]:
            break
        drawn = np.searchsorted(sums, random.random() * sums[-1], side="right")
        chosen.append(points[min(drawn, np.flatnonzero(distances)[-1])])
    return np.stack(chosen)


def _nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The nearest of centroids [256, d] to points [N, d]: uint8 [N].

    |x - c|^2 without the |x|^2 that all have, one matrix product for a block of points.
    """
    centre = centroids.mean(0)  # the numbers are then small, and keep their last digits
    centroids = centroids - centre
    factors = np.concatenate((-2 * centroids.T, np.square(centroids).sum(1)[None]))
    ones = np.ones((min(_BLOCK_ROWS, len(points)), points.shape[1] + 1), np.float32)
    codes = np.empty(len(points), np.uint8)
    for start in range(0, len(points), _BLOCK_ROWS):
        some = points[start : start + _BLOCK_ROWS]
        ones[: len(some), :-1] = some - centre
        codes[start : start + len(some)] = (ones[: len(some)] @ factors).argmin(1)
    return codes


def _check_matrix(owner: str, matrix: np.ndarray, dim: int | None = None) -> None:
    if matrix.ndim != 2 or not matrix.shape[1] or (dim is not None and matrix.shape[1] != dim):
        expected = f"[N, {dim or 'dim'}]"
        raise ValueError(f"{owner}: matrix must be {expected}, got {[*matrix.shape]}")
    if dim is None and not len(matrix):
        raise ValueError(f"{owner}: matrix must have rows, got {[*matrix.shape]}")
    if matrix.dtype.kind != "f":
        raise TypeError(f"{owner}: matrix must be of floats, got {matrix.dtype}")
    for start in range(0, len(matrix), _DECODED_ROWS):
        block = matrix[start : start + _DECODED_ROWS]
        if not np.isfinite(block).all():
            row = start + int(np.flatnonzero(~np.isfinite(block).all(1))[0])
            raise ValueError(f"{owner}: matrix must be finite, and row {row} is not")


def _left(stream: BinaryIO) -> int:
    """How many bytes of a file come after the place where it is."""
    here = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    stream.seek(here)
    return end - here


def _numbers(stream: BinaryIO, layout: str, what: str) -> tuple[int, ...]:
    size = struct.calcsize(layout)
    if len(data := stream.read(size)) < size:
        raise CutShortError(f"unexpected end of file in {what}")
    return struct.unpack(layout, data)


def _array(stream: BinaryIO, count: int, dtype: npt.DTypeLike, what: str) -> np.ndarray:
    """So many numbers that come next; memory is only asked for what the file can hold."""
    size = count * np.dtype(dtype).itemsize
    if size > (left := _left(stream)):
        raise CutShortError(
            f"unexpected end of file: {what} take {size} bytes, and {left} are left"
        )
    array = np.empty(count, dtype)
    if not read_into(stream, array):
        raise CutShortError(f"unexpected end of file in {what}")
    return array
