"""Vector files that are one array with the words beside it: safetensors, numpy, our checkpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lexforge import _text
from lexforge._display import printable
from lexforge._files import replacement
from lexforge.vectors.formats.rows import check_text_word
from lexforge.vectors.formats.streams import open_for_writing

# What the matrix is called: by us, by sentence-transformers (both), in our checkpoints.
_TENSOR_NAMES = ("vectors", "embedding.weight", "embeddings", "input")
_SAFETENSORS_HEADER_LIMIT = 90_000_000
_BLOCK_ROWS = 65536


class Table(NamedTuple):
    """What a file holds: V words, vectors [V, D], counts int64 [V] or None."""

    words: list[str]
    vectors: np.ndarray
    counts: np.ndarray | None = None


def read_safetensors(path: Path, *, limit: int | None, mmap: bool) -> Table:
    """The matrix of a safetensors file; words from its metadata or from a file beside it."""
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            name = next((name for name in _TENSOR_NAMES if name in names), None)
            if name is None:
                raise ValueError(
                    f"no tensor is called {', '.join(_TENSOR_NAMES)}; the file holds {names}"
                )
            shape = file.get_slice(name).get_shape()
            if len(shape) != 2:
                raise ValueError(f"tensor {name!r} must be [V, D], got {shape}")
            tensor = file.get_tensor(name)[:limit]  # mapped, not read
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"not a whole safetensors file: {printable(error)}") from None
    if not tensor.is_floating_point():
        raise ValueError(f"tensor {name!r} must be floating, got {tensor.dtype}")
    if tensor.dtype not in (torch.float32, torch.float16):
        tensor = tensor.float()
    elif not mmap:
        tensor = tensor.clone()
    if "words" in metadata:
        words = json.loads(metadata["words"])
        counts = json.loads(metadata["counts"]) if "counts" in metadata else None
        counts = None if counts is None else np.array(counts, dtype=np.int64)
    else:
        words, counts = _words_beside(path)
    return _limited(Table(words, tensor.numpy(), counts), shape[0], limit)


def write_safetensors(path: Path, table: Table, dtype: str) -> None:
    """One file: tensor ``vectors``, words and counts as JSON in the metadata."""
    tensor = torch.from_numpy(np.ascontiguousarray(table.vectors)).to(getattr(torch, dtype))
    metadata = {"format": "pt", "words": json.dumps(table.words, ensure_ascii=False)}
    if table.counts is not None:
        metadata["counts"] = json.dumps(table.counts.tolist())
    if sum(len(value.encode()) for value in metadata.values()) > _SAFETENSORS_HEADER_LIMIT:
        raise ValueError("the words exceed the 100 MB header of safetensors; write .npy instead")
    with replacement(path) as temporary:
        save_file({"vectors": tensor}, temporary, metadata=metadata)


def read_npy(path: Path, *, limit: int | None, mmap: bool) -> Table:
    """A numpy array [V, D], words from the file beside it."""
    try:
        # Mapped copy-on-write: the array is writable, and the file is never changed. Mapping also
        # compares the shape with the size of the file before anything is allocated.
        vectors = np.lib.format.open_memmap(path, mode="c")
    except (EOFError, OverflowError) as error:
        raise ValueError(f"not a whole numpy file: {error}") from None
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise ValueError(f"the array must be floating [V, D], got {vectors.dtype} {vectors.shape}")
    words, counts = _words_beside(path)
    table = _limited(Table(words, vectors, counts), len(vectors), limit)
    return table._replace(vectors=np.asarray(table.vectors) if mmap else np.array(table.vectors))


def write_npy(path: Path, table: Table, dtype: str) -> None:
    """``NAME.npy`` and ``NAME.vocab.txt``."""
    write_vocabulary(path.with_suffix(".vocab.txt"), table.words, table.counts)
    with open_for_writing(path) as file:
        np.save(file, table.vectors.astype(dtype, copy=False))


def read_checkpoint(folder: Path, *, limit: int | None, mmap: bool) -> Table:
    """The vectors of one of our word-vector checkpoints, without the padding of its rows.

    They are the input table, but for GloVe what its ``vectors`` says: the sum of both by default.
    """
    config_path = folder / "config.json"
    if not config_path.exists():
        raise ValueError("a folder must be a checkpoint with config.json, and this one has none")
    try:
        config = json.loads(config_path.read_text(encoding="utf8"))
        dim = config.get("vector_size")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"config.json is truncated or damaged: {error}") from error
    if not isinstance(dim, int) or dim < 1:
        raise ValueError(f"config.json: vector_size must be a positive integer, got {dim!r}")
    table = read_safetensors(folder / "model.safetensors", limit=limit, mmap=mmap)
    if dim > table.vectors.shape[1]:
        raise ValueError(
            f"config.json: vector_size is {dim}, but rows of the table have "
            f"{table.vectors.shape[1]} numbers"
        )
    table = table._replace(vectors=table.vectors[:, :dim])
    wanted = config.get("vectors") if config.get("model") == "glove" else "word"
    if wanted == "word":
        return table
    with safe_open(folder / "model.safetensors", framework="np") as file:
        if "output" not in file.keys():  # noqa: SIM118  it is no dictionary
            raise ValueError("the tensor of the context vectors, 'output', is missing")
        contexts = file.get_slice("output")[:limit]
    if contexts.shape != table.vectors.shape:
        raise ValueError(f"'output' must be {table.vectors.shape}, got {contexts.shape}")
    return table._replace(vectors=contexts if wanted == "context" else table.vectors + contexts)


def write_projector(path: Path, table: Table, *, threads: int) -> None:
    """TensorBoard projector: tab-separated numbers, and the words (and counts) beside them.

    ``tensors.tsv`` gets ``metadata.tsv``, any other ``NAME.tsv`` gets ``NAME.metadata.tsv``.
    """
    name = "metadata.tsv" if path.stem == "tensors" else f"{path.stem}.metadata.tsv"
    # Only metadata of several columns has a heading.
    lines = [] if table.counts is None else ["token\tcount"]
    for row, word in enumerate(table.words):
        word = " ".join(word.split("\t")).replace("\n", " ").replace("\r", " ")
        lines.append(word if table.counts is None else f"{word}\t{table.counts[row]}")
    with open_for_writing(path.with_name(name)) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
    with open_for_writing(path) as file:
        for start in range(0, len(table.words), _BLOCK_ROWS):
            words = table.words[start : start + _BLOCK_ROWS]
            rows = np.ascontiguousarray(table.vectors[start : start + _BLOCK_ROWS], np.float32)
            for part in _text.format_text_rows(
                words, rows, separator="\t", with_words=False, threads=threads
            ):
                file.write(part)


def read_vocabulary(path: str | os.PathLike) -> tuple[list[str], np.ndarray | None]:
    """Words of a file of ``<word> <count>`` lines, or of ``<word>`` lines (counts are None)."""
    lines = Path(path).read_bytes().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    rows = [line.rpartition(b" ") for line in lines]
    with_counts = bool(rows) and all(space and count.isdigit() for _, space, count in rows)
    texts = [word for word, _, _ in rows] if with_counts else lines
    words = []
    for number, text in enumerate(texts, 1):
        try:
            words.append(text.decode("utf8"))
        except UnicodeDecodeError:
            raise ValueError(f"{path}: row {number}: {text[:60]!r} is not UTF-8") from None
    counts = np.array([int(count) for _, _, count in rows], dtype=np.int64) if with_counts else None
    return words, counts


def write_vocabulary(
    path: str | os.PathLike, words: list[str], counts: np.ndarray | None = None
) -> None:
    """Write ``<word> <count>`` lines, or ``<word>`` lines without counts."""
    for word in words:
        if counts is None:
            check_text_word(word)  # a number at its end would be taken for a count
        elif "\n" in word:
            raise ValueError(f"word {word!r} holds a line break, which text files cannot")
    lines = words if counts is None else [f"{w} {c}" for w, c in zip(words, counts, strict=True)]
    with open_for_writing(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def check_finite(vectors: np.ndarray) -> None:
    """ValueError naming the first row with a NaN or infinity."""
    for start in range(0, len(vectors), _BLOCK_ROWS):
        finite = np.isfinite(vectors[start : start + _BLOCK_ROWS]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite)) + 1
            raise ValueError(
                f"row {row}: holds NaN or infinity; allow_nonfinite=True reads it all the same"
            )


def _words_beside(path: Path) -> tuple[list[str], np.ndarray | None]:
    """Words (and counts) of an array file, from the vocabulary file next to it."""
    candidates = [
        path.with_suffix(".vocab.txt"),
        path.with_suffix(".vocab.json"),
        path.with_name("vocab.txt"),
        path.with_name("vocab.json"),
    ]
    found = next((candidate for candidate in candidates if candidate.exists()), None)
    if found is None:
        names = ", ".join(candidate.name for candidate in candidates)
        raise ValueError(f"the words are missing: none of {names} is beside it")
    if found.suffix == ".txt":
        return read_vocabulary(found)
    words = json.loads(found.read_text(encoding="utf8"))
    if isinstance(words, dict):  # token -> row
        if sorted(words.values()) != list(range(len(words))):
            raise ValueError(f"{found.name}: rows must be 0 to {len(words) - 1}, each once")
        words = sorted(words, key=words.__getitem__)
    return words, None


def _limited(table: Table, rows: int, limit: int | None) -> Table:
    """`table` cut to `limit` rows, after checking that the words fit the `rows` of the file."""
    if len(table.words) != rows:
        raise ValueError(f"{rows} rows of vectors, but {len(table.words)} words")
    if table.counts is not None and len(table.counts) != rows:
        raise ValueError(f"{rows} rows of vectors, but {len(table.counts)} counts")
    counts = None if table.counts is None else table.counts[:limit]
    return Table(table.words[:limit], table.vectors[:limit], counts)
