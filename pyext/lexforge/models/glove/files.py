"""Files of Stanford's GloVe: parameters, gradient sums and vectors, both ways.

    vectors.bin  float64, little-endian: V rows of words, then V rows of contexts, each D weights
                 and the bias; no header
    gradsq.bin   the same shape: AdaGrad's sum of squares of each parameter, 1 at first
    vectors.txt  "<word> <number> ...", words as they are numbered; optionally a header, and at the
                 end a row <unk>, the mean of the last min(100, V) rows

A table here is float32 [V, D + 1], a row's weights and its bias, and may be a strided view.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from lexforge._files import replacing
from lexforge.vectors.formats.files import save_rows
from lexforge.vectors.formats.stanford import NUMBER, vector_size_of

UNKNOWN = "<unk>"
RARE_WORDS = 100  # whose mean stands for an unknown word
# What a row of vectors.txt holds, by the tool's -model.
EVERYTHING, WORD, SUM = 0, 1, 2
_BLOCK_ROWS = 4096


def read_tables(path: str | os.PathLike, words: Tensor, contexts: Tensor, *, least: float) -> None:
    """Fill two tables [V, D + 1] from a ``vectors.bin`` or ``gradsq.bin``.

    Args:
        least: No number may be below: 1 for gradient sums, -inf for parameters.

    Raises:
        ValueError: The file is of another size, or holds a number that is not finite or too small.
    """
    vocab_size, columns = words.shape
    dim = vector_size_of(path, vocab_size)
    if dim != columns - 1:
        raise ValueError(f"{path}: vector size must be {columns - 1}, got {dim}")
    numbers = np.memmap(path, NUMBER, mode="r", shape=(2, vocab_size, columns))
    for table, stored, kind in zip((words, contexts), numbers, ("word", "context"), strict=True):
        for first in range(0, vocab_size, _BLOCK_ROWS):
            with np.errstate(over="ignore"):  # it becomes infinite, which is refused
                block = stored[first : first + _BLOCK_ROWS].astype(np.float32)
            wrong = ~(np.isfinite(block) & (block >= least)).all(axis=1)
            if wrong.any():
                row = first + int(wrong.argmax())
                expected = "finite" if least == -np.inf else f"finite and >= {least:g}"
                raise ValueError(f"{path}: {kind} row {row + 1}: numbers must be {expected}")
            table[first : first + _BLOCK_ROWS].numpy()[...] = block


def write_tables(path: str | os.PathLike, words: Tensor, contexts: Tensor) -> None:
    """Write two tables [V, D + 1] as a ``vectors.bin`` or ``gradsq.bin``."""
    with replacing(path) as file:
        for table in (words, contexts):
            for rows in table.split(_BLOCK_ROWS):
                file.write(rows.numpy().astype(NUMBER).data)


def write_vectors(
    path: str | os.PathLike,
    names: Sequence[str],
    words: Tensor,
    contexts: Tensor,
    *,
    model: int,
    header: bool,
    unknown: bool,
) -> None:
    """Write a ``vectors.txt`` from two tables [V, D + 1].

    Args:
        path: The suffixes .gz, .bz2 and .xz compress it.
        names: V words.
        model: What a row holds: 0 word, bias, context, context bias; 1 word; 2 word + context.
        header: Begin with the numbers of rows and columns. The tool counts neither the last row nor
            the biases there; these are the true ones.
        unknown: End with a row <unk>, unless that is one of the words.

    Raises:
        ValueError: ``model`` is another number; a word that text cannot hold.
    """
    if model not in (EVERYTHING, WORD, SUM):
        raise ValueError(f"save_stanford: model must be 0, 1 or 2, got {model!r}")
    ours, theirs = words.numpy(), contexts.numpy()
    if model == EVERYTHING:
        rows = np.concatenate([ours, theirs], axis=1)
    else:
        rows = ours[:, :-1] if model == WORD else ours[:, :-1] + theirs[:, :-1]
    names = list(names)
    if unknown and UNKNOWN not in names:
        mean = rows[-RARE_WORDS:].mean(axis=0, keepdims=True, dtype=np.float64)
        rows, names = np.concatenate([rows, mean.astype(np.float32)]), [*names, UNKNOWN]
    save_rows(path, names, rows, binary=False, total=len(names) if header else None)
