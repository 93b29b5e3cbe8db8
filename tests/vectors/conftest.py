"""Vectors that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lexforge.vectors import KeyedVectors


@pytest.fixture
def random_vectors() -> Callable[..., KeyedVectors]:
    """Makes `rows` words ``w0, w1, ...`` with normal vectors and descending counts."""

    def make(rows: int, dim: int, seed: int = 0) -> KeyedVectors:
        vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
        return KeyedVectors([f"w{i}" for i in range(rows)], vectors, np.arange(rows, 0, -1))

    return make


@pytest.fixture
def kv(random_vectors) -> KeyedVectors:
    return random_vectors(97, 13)
