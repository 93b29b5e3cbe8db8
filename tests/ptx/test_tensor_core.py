"""The instructions of common/tensor_core.cuh, and the tiles of attention that feed them."""

from __future__ import annotations

import numpy as np
import pytest
import torch


def checked(entries):
    """Calls an entry, which must raise no error."""

    def call(name, *arguments):
        assert (message := entries(name, *arguments)) is None, message

    return call


@pytest.fixture(scope="module")
def call(kernels):
    """Calls an entry of tensor_core_kernels.cu."""
    return checked(kernels("tensor_core_kernels.cu"))


def bf16_bits(values: np.ndarray) -> np.ndarray:
    return torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16)


def integers(*shape: int, seed: int = 0) -> np.ndarray:
    """Small integers: exact in bfloat16, and so are their sums of products in float32."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float32)


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins at a multiple of 16 bytes."""
    memory = np.empty(array.nbytes + 16, np.uint8)
    start = -memory.ctypes.data % 16
    view = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[:] = array
    return view


@pytest.mark.parametrize("order", [None, "1"])
def test_product(call, monkeypatch, order):
    if order is not None:
        monkeypatch.setenv("LEXFORGE_PTX_ORDER", order)
    a, b, d = integers(16, 16), integers(16, 8, seed=1), integers(16, 8, seed=2)
    expected = d + a @ b
    call("product", bf16_bits(a), bf16_bits(b), d)
    assert (d == expected).all()


@pytest.mark.parametrize("transposed", [0, 1])
def test_matrices(call, transposed):
    values = np.arange(256, dtype=np.uint16).reshape(4, 8, 8)
    words = np.zeros((32, 4), np.uint32)
    call("matrices", values, transposed, words)
    seen = values.transpose(0, 2, 1) if transposed else values
    for lane in range(32):
        for matrix in range(4):
            row, column = lane // 4, lane % 4 * 2
            low, high = (int(x) for x in seen[matrix, row, column : column + 2])
            assert words[lane, matrix] == low | high << 16


@pytest.mark.parametrize("a_transposed", [0, 1])
@pytest.mark.parametrize("b_transposed", [0, 1])
def test_tile_product(call, a_transposed, b_transposed):
    a, b = integers(32, 32), integers(32, 32, seed=1)
    d = np.zeros((32, 32), np.float32)
    stored = [
        aligned(bf16_bits(np.ascontiguousarray(x.T if transposed else x)))
        for x, transposed in ((a, a_transposed), (b, b_transposed))
    ]
    call("tile_product", *stored, a_transposed, b_transposed, d)
    assert (d == a @ b).all()


@pytest.mark.parametrize("columns", [32, 64, 96, 128])
def test_tiles_have_no_bank_conflicts(call, columns):
    """Chunks fill the tile once; eight rows' chunks of one number cover all 32 banks."""
    offsets = np.zeros((16, columns // 8), np.int32)
    call("offsets", columns, offsets)
    assert sorted(offsets.flat) == list(range(0, 16 * columns, 8))
    for first in range(0, 16, 8):
        for chunk in range(columns // 8):
            banks = offsets[first : first + 8, chunk] // 2 % 32 // 4
            assert sorted(banks) == list(range(8))


@pytest.mark.parametrize("wanted", [0, 1])
def test_copies_arrive_when_they_are_waited_for(call, wanted):
    found = np.zeros(2, np.float32)
    call("copy", aligned(np.arange(1, 5, dtype=np.float32)), wanted, found)
    assert found.tolist() == [-1.0, 4.0 if wanted else 0.0]


def test_rounding_to_bfloat16(call):
    bits = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint32)
    halfway = np.uint32(0x3F800000) + np.arange(64, dtype=np.uint32) * np.uint32(0x8000)
    values = np.concatenate([bits, halfway]).view(np.float32)
    rounded = np.zeros(len(values), np.uint16)
    call("rounding", values, len(values), rounded)
    expected = bf16_bits(values)
    number = ~np.isnan(values)
    assert (rounded[number] == expected[number]).all()
    assert np.isnan((rounded[~number].astype(np.uint32) << 16).view(np.float32)).all()
