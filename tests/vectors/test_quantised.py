"""Product quantisation: codes, centroids, the layout of files, the cut by length."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from lexforge.vectors.quantised import ProductQuantizer, QuantizedMatrix, longest_rows

SUB_DIMS = [1, 2, 3, 7, 8]  # of 7 columns: the last part is shorter, or the only one is


@pytest.fixture
def matrix():
    drawn = np.random.default_rng(0).standard_normal((700, 7)).astype(np.float32)
    drawn[5] = 0
    return drawn


def written(matrix: QuantizedMatrix) -> bytes:
    stream = io.BytesIO()
    matrix.write(stream)
    return stream.getvalue()


def coded(matrix: np.ndarray) -> QuantizedMatrix:
    quantizer = ProductQuantizer(np.zeros(7 * 256, np.float32), 2)
    return QuantizedMatrix(quantizer.codes(matrix), quantizer)


def by_hand(norms: bool) -> tuple[bytes, np.ndarray]:
    """A matrix [2, 3] in sub-vectors of 2 and 1 numbers, as bytes, and its rows."""
    centroids = np.arange(3 * 256, dtype="<f4")
    codes = [[7, 3], [0, 255]]
    rows = np.array([[14, 15, 512 + 3], [0, 1, 512 + 255]], np.float32)
    data = struct.pack("<?qqi", norms, 2, 3, 4) + bytes(np.array(codes, np.uint8))
    data += struct.pack("<4i", 3, 2, 2, 1) + centroids.tobytes()
    if norms:
        values = np.arange(256, dtype="<f4") / 2
        data += bytes([2, 9]) + struct.pack("<4i", 1, 1, 1, 1) + values.tobytes()
        rows *= np.array([[1], [4.5]], np.float32)
    return data, rows


@pytest.mark.parametrize("norms", [False, True])
def test_layout(norms):
    data, rows = by_hand(norms)
    stream = io.BytesIO(b"before" + data + b"behind")
    stream.seek(6)
    matrix = QuantizedMatrix.read(stream)
    assert stream.read() == b"behind"
    assert matrix.shape == (2, 3)
    np.testing.assert_array_equal(np.asarray(matrix), rows)
    assert written(matrix) == data


@pytest.mark.parametrize("norms", [False, True])
def test_every_cut_is_noticed(norms):
    data, _ = by_hand(norms)
    for size in [*range(64), *range(64, len(data), 97), len(data) - 1]:
        with pytest.raises(EOFError, match="end of file"):
            QuantizedMatrix.read(io.BytesIO(data[:size]))


# (offset, layout) of every number that tells a size, and values that cannot be.
@pytest.mark.parametrize(
    "at, layout, value",
    [
        (0, "B", 2),
        *[(1, "q", value) for value in (-1, 0, 1, 3, 2**40, -(2**63))],
        *[(9, "q", value) for value in (-3, 0, 2, 4, 2**40)],
        *[(17, "i", value) for value in (-4, 0, 3, 5, 2**31 - 1)],
        *[(25, "i", value) for value in (-3, 0, 2, 4, 2**31 - 1)],
        *[(29, "i", value) for value in (-2, 0, 1, 3, 2**31 - 1)],
        *[(33, "i", value) for value in (-2, 0, 1, 3, 2**31 - 1)],
        *[(37, "i", value) for value in (-1, 0, 2, 2**31 - 1)],
        *[(3115 + 4 * i, "i", value) for i in (0, 1, 3) for value in (-1, 0, 2, 2**30)],
        *[(3123, "i", value) for value in (-1, 0)],
    ],
)
def test_every_size_is_checked(at, layout, value):
    data = bytearray(by_hand(True)[0])
    struct.pack_into(f"<{layout}", data, at, value)
    with pytest.raises((ValueError, EOFError)):
        QuantizedMatrix.read(io.BytesIO(bytes(data)))


@pytest.mark.parametrize("sub_dim", SUB_DIMS)
def test_codes_are_of_the_nearest(matrix, sub_dim):
    quantizer = ProductQuantizer.train(matrix, sub_dim)
    codes = quantizer.codes(matrix)
    assert codes.shape == (700, quantizer.parts) == (700, -(-7 // sub_dim))
    assert codes.dtype == np.uint8
    for part in range(quantizer.parts):
        columns = matrix[:, part * sub_dim : (part + 1) * sub_dim].astype(np.float64)
        distances = np.square(columns[:, None] - quantizer.block(part)).sum(2)
        chosen = np.take_along_axis(distances, codes[:, part, None].astype(int), 1)[:, 0]
        np.testing.assert_allclose(chosen, distances.min(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("sub_dim", SUB_DIMS)
@pytest.mark.parametrize("norms", [False, True])
def test_rows_and_scores(matrix, sub_dim, norms):
    small = QuantizedMatrix.quantize(matrix, sub_dim, norms)
    desmall = np.asarray(small)
    assert desmall.shape == small.shape == matrix.shape
    assert desmall.dtype == small.dtype == np.float32
    # Sub-vectors of 7 numbers are too long for 256 centroids; of one they are all but the same.
    error = np.square(desmall - matrix).sum() / np.square(matrix).sum()
    assert error < {1: 1e-3, 2: 0.02, 3: 0.1}.get(sub_dim, 0.4)
    rows = [3, 699, 3, -1]
    np.testing.assert_array_equal(small.gather(rows), desmall[rows])
    np.testing.assert_array_equal(small[rows], desmall[rows])
    np.testing.assert_array_equal(small[2:9], desmall[2:9])
    np.testing.assert_array_equal(small.row(7), desmall[7])
    np.testing.assert_array_equal(small[np.int64(7)], desmall[7])
    assert small.gather([]).shape == (0, 7)
    np.testing.assert_allclose(small.scores(matrix[0]), desmall @ matrix[0], rtol=1e-4, atol=1e-5)
    some = small.scores(matrix[0], rows)
    np.testing.assert_allclose(some, desmall[rows] @ matrix[0], rtol=1e-4, atol=1e-5)
    again = QuantizedMatrix.read(io.BytesIO(written(small)))
    np.testing.assert_array_equal(np.asarray(again), desmall)
    assert again.nbytes == small.nbytes < matrix.nbytes


def test_a_row_of_zeros_stays_one_with_norms(matrix):
    matrix[5:300] = 0
    assert not QuantizedMatrix.quantize(matrix, 2, norms=True)[5].any()


@pytest.mark.parametrize("distinct", [1, 5, 255, 256])
def test_few_different_rows_are_kept_exactly(distinct):
    rows = np.random.default_rng(1).standard_normal((distinct, 3)).astype(np.float32)
    matrix = np.repeat(rows, 3, axis=0)
    np.testing.assert_allclose(QuantizedMatrix.quantize(matrix, 3), matrix, rtol=1e-6)


def test_a_rare_row_is_not_missed():
    """Ten rows that differ among twenty thousand zeros."""
    matrix = np.zeros((20001, 2), np.float32)
    matrix[1:20:2] = np.arange(1, 11)[:, None]
    np.testing.assert_array_equal(np.asarray(QuantizedMatrix.quantize(matrix)), matrix)


def test_k_means_is_better_than_a_draw(matrix):
    drawn = matrix[:256].copy()
    quantizer = ProductQuantizer(drawn.ravel(), 7)
    start = np.square(quantizer.decode(quantizer.codes(matrix)) - matrix).sum()
    trained = ProductQuantizer.train(matrix, 7)
    assert np.square(trained.decode(trained.codes(matrix)) - matrix).sum() < 0.8 * start


def test_same_seed_same_centroids(matrix):
    first, again, other = (ProductQuantizer.train(matrix, 2, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.centroids, again.centroids)
    assert (first.centroids != other.centroids).any()


def test_rows_are_sampled():
    """70,000 rows are more than training looks at."""
    matrix = np.random.default_rng(0).standard_normal((70_000, 1)).astype(np.float32)
    decoded = np.asarray(QuantizedMatrix.quantize(matrix, 1))
    assert np.square(decoded - matrix).mean() < 1e-3


@pytest.mark.parametrize("count", [1, 2, 3, 6, 9])
def test_longest_rows(count):
    matrix = np.array([1, 5, 3, 3, 2, 4], np.float32)[:, None] * [[0.6, 0.8]]
    # Rows by length, the one that stays first: 4; 1, 5, 2, 3, 0.
    kept = longest_rows(matrix, words=3, count=count, always=4)
    chosen = [4, 1, 5, 2, 3, 0][:count]
    assert kept.words.tolist() == sorted(row for row in chosen if row < 3)
    assert kept.buckets.tolist() == [row - 3 for row in chosen if row >= 3]


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda m: ProductQuantizer.train(m[0]), ValueError, r"matrix must be \[N, dim\]"),
        (lambda m: ProductQuantizer.train(m[:0]), ValueError, "must have rows"),
        (lambda m: ProductQuantizer.train(m, 0), ValueError, "sub_dim must be >= 1, got 0"),
        (lambda m: ProductQuantizer.train(m, 2.5), TypeError, "sub_dim must be an integer"),
        (lambda m: ProductQuantizer.train(m, 2, -1), ValueError, "seed must be >= 0"),
        (lambda m: ProductQuantizer.train(m.astype(int)), TypeError, "floats, got int64"),
        (lambda m: QuantizedMatrix.quantize(m / 0), ValueError, "row 0 is not"),
        (lambda m: QuantizedMatrix.quantize(m[0]), ValueError, "QuantizedMatrix: matrix must be"),
        (lambda m: ProductQuantizer(m, 2), ValueError, r"centroids must be \[256 \* dim\]"),
        (lambda m: coded(m).scores(m[0, :3]), ValueError, r"vector must be \[7\], got \[3\]"),
        (lambda m: coded(m).row(700), IndexError, "out of bounds"),
        (lambda m: coded(m).quantizer.codes(m[:, :6]), ValueError, r"must be \[N, 7\]"),
        (lambda m: np.array(coded(m), copy=False), ValueError, "no array without a copy"),
        (lambda m: longest_rows(m, 3, 0), ValueError, "count must be >= 1, got 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero|invalid value")
def test_errors(matrix, call, error, message):
    with pytest.raises(error, match=message):
        call(matrix)


def test_parts_must_go_together(matrix):
    whole = coded(matrix)
    codes, quantizer = whole.codes, whole.quantizer
    for arguments in (
        (codes[:, :2], quantizer),
        (codes, quantizer, codes[:, 0]),
        (codes, quantizer, codes[:3, 0], ProductQuantizer(np.zeros(256, np.float32), 1)),
        (codes, quantizer, codes[:, 0], quantizer),
    ):
        with pytest.raises(ValueError, match="QuantizedMatrix: "):
            QuantizedMatrix(*arguments)


def test_too_many_codes_for_a_file():
    quantizer = ProductQuantizer(np.zeros(2 * 256, np.float32), 1)
    many = np.broadcast_to(np.uint8(0), (2**30, 2))
    with pytest.raises(ValueError, match=r"2147483647 codes .* got 2147483648"):
        QuantizedMatrix(many, quantizer).write(io.BytesIO())
