"""Vector files that are one array with the words beside it: safetensors, numpy, our checkpoints."""

from __future__ import annotations

import json
import os
import tokenize
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError

from lexforge._display import printable
from lexforge._files import replacements
from lexforge.text import Vocabulary
from lexforge.text.lines import join_lines, numbered_words, parse_json, read_json, read_words
from lexforge.text.subwords import SubwordIndex
from lexforge.training.checkpoint import (
    CONFIG,
    TENSORS,
    VOCABULARY,
    CheckpointError,
    is_checkpoint,
    open_tensors,
    read_parts,
    write_tensors,
)
from lexforge.vectors.formats.rows import check_text_word
from lexforge.vectors.formats.streams import open_for_writing

# What the matrix is called: by us, by sentence-transformers (both), in our checkpoints.
_TENSOR_NAMES = ("vectors", "embedding.weight", "embeddings", "input")
# Of attributes that a file holds.
_ATTRIBUTE_TYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "object"),
)
_SAFETENSORS_HEADER_LIMIT = 90_000_000
_BLOCK_ROWS = 65536
# What numpy raises for headers that are no Python, or not the one that it writes.
_DAMAGED_NPY = (
    *(EOFError, OverflowError, TypeError, RecursionError, tokenize.TokenError),
    *(SyntaxError, MemoryError, AttributeError, LookupError),
)


class Ngrams(NamedTuple):
    """The rows that vectors are composed of.

    Attributes:
        own: rows of words [V, D].
        rows: those of n-grams [n, D].
        subwords: which n-gram has which.
        composition: "mean" or "sum".
    """

    own: np.ndarray
    rows: np.ndarray
    subwords: SubwordIndex
    composition: str = "mean"


class Table(NamedTuple):
    """What a file holds: V words, vectors [V, D], counts int64 [V] or None, attributes by name.

    Where there are n-grams, it is them that vectors are composed of, and `vectors` may be the own
    rows of words.
    """

    words: list[str]
    vectors: np.ndarray
    counts: np.ndarray | None = None
    attributes: Mapping[str, np.ndarray] = MappingProxyType({})
    ngrams: Ngrams | None = None

    def rows(self, rows: slice | list[int]) -> Table:
        """Some of the rows."""
        numbers = range(len(self.words))[rows] if isinstance(rows, slice) else rows
        return Table(
            [self.words[row] for row in numbers],
            self.vectors[rows],
            None if self.counts is None else self.counts[rows],
            {name: values[rows] for name, values in self.attributes.items()},
            self.ngrams and self.ngrams._replace(own=self.ngrams.own[rows]),
        )


def read_safetensors(
    path: Path,
    *,
    limit: int | None,
    mmap: bool,
    encoding: str = "utf-8",
    errors: str = "strict",
    words: tuple[list[str], np.ndarray] | None = None,
) -> Table:
    """The matrix of a safetensors file; words from its metadata or from a file beside it.

    Args:
        encoding, errors: of the file beside it.
        words: words and counts, if they are known.
    """
    try:
        with open_tensors(path) as file:
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
            ngrams = _ngrams_of(file, metadata, mmap) if "subwords" in metadata else None
    except SafetensorError as error:
        raise ValueError(f"not a whole safetensors file: {printable(error)}") from None
    if not tensor.is_floating_point():
        raise ValueError(f"tensor {name!r} must be floating, got {tensor.dtype}")
    if tensor.dtype not in (torch.float32, torch.float16, torch.float64):
        tensor = tensor.float()
    elif not mmap:
        tensor = tensor.clone()
    if words is not None:
        table = Table(words[0], tensor.numpy(), words[1])
    elif "words" in metadata:
        source = "the metadata 'words'"
        strings = numbered_words(parse_json(metadata["words"], source, list), source)
        counts = _counts_of(metadata["counts"]) if "counts" in metadata else None
        attributes = _attributes_of(metadata["attributes"]) if "attributes" in metadata else {}
        table = Table(strings, tensor.numpy(), counts, attributes)
        if ngrams is not None:
            table = table._replace(ngrams=ngrams._replace(own=ngrams.own[:limit]))
    else:
        strings, counts = words_beside(path, encoding, errors)
        table = Table(strings, tensor.numpy(), counts)
    return _limited(table, shape[0], limit)


def write_safetensors(path: Path, table: Table, dtype: str) -> None:
    """One file: tensor ``vectors``; words, counts and attributes as JSON in the metadata.

    Of n-grams also ``vectors_vocab``, ``vectors_ngrams`` and ``subwords.*``.
    """
    tensors = {"vectors": _tensor_of(table.vectors, dtype)}
    metadata = {"format": "pt", "words": json.dumps(table.words, ensure_ascii=False)}
    if table.counts is not None:
        metadata["counts"] = json.dumps(table.counts.tolist())
    if table.attributes:
        metadata["attributes"] = _attributes_json(table.attributes)
    if table.ngrams is not None:
        index = table.ngrams.subwords
        tensors["vectors_vocab"] = _tensor_of(table.ngrams.own, dtype)
        tensors["vectors_ngrams"] = _tensor_of(table.ngrams.rows, dtype)
        for name, values in index.arrays().items():
            tensors[f"subwords.{name}"] = torch.from_numpy(values.copy())
        record = {**index.record(), "composition": table.ngrams.composition}
        metadata["subwords"] = json.dumps(record)
    if sum(len(value.encode()) for value in metadata.values()) > _SAFETENSORS_HEADER_LIMIT:
        raise ValueError("the words exceed the 100 MB header of safetensors; write .npy instead")
    with replacements(path) as (temporary,):
        write_tensors(temporary, tensors, metadata)


def _tensor_of(matrix: np.ndarray, dtype: str) -> torch.Tensor:
    matrix = np.require(matrix, requirements=["C", "W", "A"])
    return torch.from_numpy(matrix).to(getattr(torch, dtype))


def _ngrams_of(file: Any, metadata: Mapping[str, str], mmap: bool) -> Ngrams:
    source = "the metadata 'subwords'"
    record = parse_json(metadata["subwords"], source, dict)
    names = list(file.keys())
    try:
        arrays = {
            name.removeprefix("subwords."): file.get_tensor(name).numpy().copy()
            for name in names
            if name.startswith("subwords.")
        }
        index = SubwordIndex.restored(record, arrays)
        composition = record["composition"]
        own, rows = file.get_tensor("vectors_vocab"), file.get_tensor("vectors_ngrams")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{source}: {printable(error)}") from None
    shapes = list(own.shape), list(rows.shape)
    if (
        own.ndim != 2
        or shapes[1] != [index.rows, shapes[0][1]]
        or composition
        not in (
            "mean",
            "sum",
        )
    ):
        raise ValueError(f"{source}: n-grams {shapes} as {composition!r} do not fit {index}")
    matrices = [
        each.float() if each.dtype == torch.bfloat16 else each if mmap else each.clone()
        for each in (own, rows)
    ]
    return Ngrams(matrices[0].numpy(), matrices[1].numpy(), index, composition)


def read_npy(
    path: Path, *, limit: int | None, mmap: bool, encoding: str = "utf-8", errors: str = "strict"
) -> Table:
    """A numpy array [V, D], words from the file beside it."""
    try:
        # Mapped copy-on-write: the array is writable, and the file is never changed. Mapping also
        # compares the shape with the size of the file before anything is allocated.
        vectors = np.lib.format.open_memmap(path, mode="c")
    except _DAMAGED_NPY as error:
        reason = error.args[0] if error.args else type(error).__name__  # the rest are places
        raise ValueError(f"not a whole numpy file: {reason}") from None
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise ValueError(f"the array must be floating [V, D], got {vectors.dtype} {vectors.shape}")
    words, counts = words_beside(path, encoding, errors)
    table = _limited(Table(words, vectors, counts), len(vectors), limit)
    return table._replace(vectors=np.asarray(table.vectors) if mmap else np.array(table.vectors))


def write_npy(path: Path, table: Table, dtype: str) -> None:
    """``NAME.npy`` and ``NAME.vocab.txt``, which take their places together."""
    content = vocabulary_lines(table.words, table.counts)
    vectors = table.vectors
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": vectors.shape}
    with replacements(path, path.with_suffix(".vocab.txt")) as (array, words):
        words.write_bytes(content)
        with open(array, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(vectors), _BLOCK_ROWS):
                block = np.ascontiguousarray(vectors[start : start + _BLOCK_ROWS], dtype)
                file.write(block.data)


def read_checkpoint(folder: Path, *, limit: int | None, mmap: bool) -> Table:
    """The vectors of one of our word-vector checkpoints, without the padding of its rows.

    They are the input table, but for GloVe what its ``vectors`` says: the sum of both by default.
    """
    if not is_checkpoint(folder):
        raise ValueError("a folder must be a checkpoint with config.json, and this one has none")
    try:
        return read_parts(folder, (), lambda part: _read_parts(part, limit=limit, mmap=mmap))
    except CheckpointError as error:
        raise ValueError(str(error)) from error


def _read_parts(part: Callable[[str], Path], *, limit: int | None, mmap: bool) -> Table:
    config = read_json(part(CONFIG))
    dim = config.get("vector_size")
    if not isinstance(dim, int) or dim < 1:
        raise ValueError(f"{CONFIG}: vector_size must be a positive integer, got {dim!r}")
    if missing := [name for name in (VOCABULARY, TENSORS) if not part(name).is_file()]:
        raise ValueError(f"not a complete checkpoint: {missing[0]} is missing")
    vocabulary = Vocabulary.load(part(VOCABULARY), as_numbered=True)
    if "vocabulary_sha1" in config and vocabulary.sha1() != config["vocabulary_sha1"]:
        raise ValueError(
            f"{VOCABULARY} is damaged: its words and counts are not those that {CONFIG} names"
        )
    words = vocabulary.words, vocabulary.counts
    if "ngrams" in config:
        return _read_input(part, config, vocabulary, limit, mmap)
    table = read_safetensors(part(TENSORS), limit=limit, mmap=mmap, words=words)
    if dim > table.vectors.shape[1]:
        raise ValueError(
            f"config.json: vector_size is {dim}, but rows of the table have "
            f"{table.vectors.shape[1]} numbers"
        )
    table = table._replace(vectors=table.vectors[:, :dim])
    wanted = config.get("vectors") if config.get("model") == "glove" else "word"
    if wanted == "word":
        return table
    with open_tensors(part(TENSORS), "np") as file:
        if "output" not in file.keys():  # noqa: SIM118  it is no dictionary
            raise ValueError("the tensor of the context vectors, 'output', is missing")
        contexts = file.get_slice("output")[:limit]
    if contexts.shape != table.vectors.shape:
        raise ValueError(f"'output' must be {table.vectors.shape}, got {contexts.shape}")
    return table._replace(vectors=contexts if wanted == "context" else table.vectors + contexts)


def subwords_of(config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SubwordIndex | None:
    """The rows of n-grams of a checkpoint, of its config and tensors; None where there are none.

    Raises:
        KeyError, TypeError, ValueError: it is damaged.
    """
    if "ngrams" not in config:
        return None
    found = {
        name.removeprefix("subwords."): values
        for name, values in arrays.items()
        if name.startswith("subwords.")
    }
    if "ngrams" in found:  # bytes, as numbers
        found["ngrams"] = found["ngrams"].astype(np.uint8)
    return SubwordIndex.restored(config["ngrams"], found)


def _read_input(
    part: Callable[[str], Path],
    config: Mapping[str, Any],
    vocabulary: Vocabulary,
    limit: int | None,
    mmap: bool,
) -> Table:
    """The rows of words and n-grams in an input table."""
    dim, words, composition = config["vector_size"], len(vocabulary), config.get("composition")
    try:
        with open_tensors(part(TENSORS)) as file:
            rows = file.get_tensor("input")  # mapped, not read
            names = list(file.keys())
            arrays = {name: file.get_tensor(name).numpy() for name in names if "." in name}
            index = subwords_of(config, arrays)
        if index is None or rows.shape != (words + index.rows, dim) or rows.dtype != torch.float32:
            raise ValueError(f"'input' must be float32 [{words} + n, {dim}], got {[*rows.shape]}")
        if composition not in ("mean", "sum"):
            raise ValueError(f"{CONFIG}: composition must be mean or sum, got {composition!r}")
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{TENSORS} is damaged: {printable(error)}") from None
    rows = rows if mmap else rows.clone()
    own, ngrams = rows[:words].numpy()[:limit], rows[words:].numpy()
    table = Table(vocabulary.words[:limit], own, vocabulary.counts[:limit])
    return table._replace(ngrams=Ngrams(own, ngrams, index, composition))


READERS: dict[str, Callable[..., Table]] = {"safetensors": read_safetensors, "npy": read_npy}


def read_vocabulary(
    path: str | os.PathLike,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    columns: bool = False,
) -> tuple[list[str], np.ndarray | None]:
    """Words of a file of ``<word> <count>`` lines, or of ``<word>`` lines (counts are None)."""
    words, counts = read_words(path, encoding=encoding, errors=errors, columns=columns)
    return words, None if counts is None else np.array(counts, np.int64)


def write_vocabulary(
    path: str | os.PathLike,
    words: list[str],
    counts: np.ndarray | None = None,
    *,
    append: bool = False,
) -> None:
    """Write ``<word> <count>`` lines, or ``<word>`` lines without counts."""
    content = vocabulary_lines(words, counts)
    with open_for_writing(path, append=append) as file:
        file.write(content)


def vocabulary_lines(words: list[str], counts: np.ndarray | None = None) -> bytes:
    """What `write_vocabulary` writes.

    Raises:
        ValueError: naming a word that could not be read back.
    """
    for word in words:
        if counts is None:
            check_text_word(word)  # a number at its end would be taken for a count
        elif "\n" in word:
            raise ValueError(f"word {word!r} holds a line break, which text files cannot")
    lines = words if counts is None else [f"{w} {c}" for w, c in zip(words, counts, strict=True)]
    return join_lines(lines)


def check_finite(vectors: np.ndarray) -> None:
    """ValueError naming the first row with a NaN or infinity."""
    for start in range(0, len(vectors), _BLOCK_ROWS):
        finite = np.isfinite(vectors[start : start + _BLOCK_ROWS]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite)) + 1
            raise ValueError(
                f"row {row}: holds NaN or infinity; allow_nonfinite=True reads it all the same"
            )


def words_beside(path: Path, encoding: str, errors: str) -> tuple[list[str], np.ndarray | None]:
    """Words (and counts) of an array file, from the vocabulary file next to it."""
    found = words_place(path)
    if found is None:
        names = ", ".join(candidate.name for candidate in _word_places(path))
        raise ValueError(f"the words are missing: none of {names} is beside it")
    if found.suffix == ".txt":
        return read_vocabulary(found, encoding=encoding, errors=errors)
    return numbered_words(read_json(found, object), found.name), None


def words_place(path: Path) -> Path | None:
    """The vocabulary file next to an array file, if there is one."""
    return next((place for place in _word_places(path) if place.exists()), None)


def _word_places(path: Path) -> list[Path]:
    suffixes = [path.with_suffix(".vocab.txt"), path.with_suffix(".vocab.json")]
    return [*suffixes, path.with_name("vocab.txt"), path.with_name("vocab.json")]


def _counts_of(text: str) -> np.ndarray:
    counts = parse_json(text, "the metadata 'counts'", list)
    if not all(type(count) is int and 0 <= count < 1 << 63 for count in counts):
        raise ValueError("the metadata 'counts' must be whole numbers from 0 to 2^63 - 1")
    return np.array(counts, np.int64)


def _attributes_json(attributes: Mapping[str, np.ndarray]) -> str:
    """Type and values of each, as :func:`_attributes_of` reads them.

    Raises:
        ValueError: naming one whose values are neither numbers nor text.
    """
    found = {}
    for name, values in attributes.items():
        try:
            if values.dtype.name not in _ATTRIBUTE_TYPES:
                raise ValueError(f"values of type {values.dtype}")
            found[name] = [values.dtype.name, values.tolist()]
            json.dumps(found[name])
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the attribute {name!r} of words is not saved in files ({error}): delete it from "
                "expandos, or give numbers or text"
            ) from None
    return json.dumps(found, ensure_ascii=False)


def _attributes_of(text: str) -> dict[str, np.ndarray]:
    source = "the metadata 'attributes'"
    attributes = {}
    for name, found in parse_json(text, source, dict).items():
        try:
            kind, values = found
            if kind not in _ATTRIBUTE_TYPES or not isinstance(values, list):
                raise ValueError("must be a type and values of it")
            array = np.empty(len(values), dtype=kind)
            array[:] = values
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{source}: {name[:40]!r}: {printable(error)}") from None
        attributes[name] = array
    return attributes


def _limited(table: Table, rows: int, limit: int | None) -> Table:
    """`table` cut to `limit` rows, after checking that the words fit the `rows` of the file."""
    if len(table.words) != rows:
        raise ValueError(f"{rows} rows of vectors, but {len(table.words)} words")
    if table.counts is not None and len(table.counts) != rows:
        raise ValueError(f"{rows} rows of vectors, but {len(table.counts)} counts")
    if table.ngrams is not None and table.ngrams.own.shape != table.vectors.shape:
        shapes = table.ngrams.own.shape, table.vectors.shape
        raise ValueError(f"'vectors_vocab' is {shapes[0]}, and 'vectors' {shapes[1]}")
    for name, values in table.attributes.items():
        if len(values) != rows:
            raise ValueError(f"{rows} rows of vectors, but {len(values)} values of {name!r}")
    return table.rows(slice(limit))
