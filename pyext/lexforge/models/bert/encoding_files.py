"""Vector files that grow a window of texts at a time: .npy and .safetensors."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lexforge._files import replacing
from lexforge.models.bert.encoding import EncodedWindow, bounds

SUFFIXES = (".npy", ".safetensors")


def check_vector_file(path: str | os.PathLike, what: str) -> None:
    """Whether vectors of this kind can be written there.

    Raises:
        ValueError: the suffix is neither .npy nor .safetensors, or .npy for vectors of tokens,
            which need a second array.
    """
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise ValueError(f"encode: out must end in .npy or .safetensors, got {path}")
    if what == "tokens" and suffix == ".npy":
        raise ValueError(
            f"encode: out must end in .safetensors for the vectors of tokens, got {path}: they "
            f"come with the offsets of their texts"
        )


@contextmanager
def vector_file(path: str | os.PathLike, metadata: dict[str, str]) -> Iterator[VectorFile]:
    """A file that takes the windows of :func:`encode_stream`, and appears when it is complete.

    ``NAME.npy`` is the array [N, H] or [N, L, H]. ``NAME.safetensors`` has it as ``vectors`` with
    the metadata; for vectors of tokens :class:`TokenVectors`, by the names of its parts.

    Args:
        path: the file. metadata: strings by name: ``what`` (see :func:`encode`), and others.

    Raises:
        ValueError: as :func:`check_vector_file`. OSError: writing; what was there is intact.
    """
    check_vector_file(path, metadata["what"])
    kind = _NpyFile if Path(path).suffix == ".npy" else _SafetensorsFile
    with replacing(path) as file:
        growing = kind(file, metadata)
        yield growing
        growing.finish()


class VectorFile:
    """Rows that are appended behind a header, which is written once their number is known."""

    def __init__(self, file: BinaryIO, metadata: dict[str, str], header_size: int) -> None:
        self._file, self._metadata, self._header_size = file, metadata, header_size
        self._shape: tuple[int, ...] = (0,)
        file.write(bytes(header_size))

    def append(self, window: EncodedWindow) -> None:
        """Write the vectors of a window."""
        self._file.write(np.ascontiguousarray(window.vectors, "<f4").data)
        self._shape = (self._shape[0] + len(window.vectors), *window.vectors.shape[1:])


class _NpyFile(VectorFile):
    def __init__(self, file: BinaryIO, metadata: dict[str, str]) -> None:
        super().__init__(file, metadata, 128)  # a shape of any length fits

    def finish(self) -> None:
        """Write the header (version 1.0 of the format)."""
        text = repr({"descr": "<f4", "fortran_order": False, "shape": self._shape}).encode()
        size = self._header_size - 10
        self._file.seek(0)
        self._file.write(np.lib.format.magic(1, 0) + struct.pack("<H", size))
        self._file.write(text.ljust(size - 1) + b"\n")


class _SafetensorsFile(VectorFile):
    def __init__(self, file: BinaryIO, metadata: dict[str, str]) -> None:
        # A kilobyte for the tensors, and a multiple of 8 in all.
        super().__init__(file, metadata, 1024 + len(json.dumps(metadata)) // 8 * 8)
        self._lengths: list[np.ndarray] = []
        self._token_ids: list[np.ndarray] = []

    def append(self, window: EncodedWindow) -> None:
        """Write the vectors of a window, and remember what comes behind them."""
        super().append(window)
        if self._metadata["what"] == "tokens":
            self._lengths.append(window.lengths)
            self._token_ids.append(window.token_ids)

    def finish(self) -> None:
        """Write the arrays behind the vectors, and the header."""
        tensors = {"vectors": ("F32", self._shape, 4 * math.prod(self._shape))}
        if self._lengths:
            arrays = {
                "offsets": ("I64", bounds(np.concatenate(self._lengths)).astype("<i8")),
                "token_ids": ("I32", np.concatenate(self._token_ids).astype("<i4")),
            }
            for name, (dtype, array) in arrays.items():
                self._file.write(array.data)
                tensors[name] = (dtype, array.shape, array.nbytes)
        header: dict[str, object] = {"__metadata__": {"format": "pt", **self._metadata}}
        end = 0
        for name, (dtype, shape, size) in tensors.items():
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (end, end + size)}
            end += size
        size = self._header_size - 8
        self._file.seek(0)
        self._file.write(struct.pack("<Q", size) + json.dumps(header).encode().ljust(size))
