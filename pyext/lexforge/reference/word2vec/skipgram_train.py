"""Streaming skip-gram in plain numpy, window by window (csrc/word2vec/skipgram_train.h)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lexforge.reference.sampling.sampling import NEGATIVE, SUBSAMPLE, WINDOW, alias_draw, philox_at


class Window(NamedTuple):
    """One kept token, the contexts that predict it, and the noise words of each context."""

    center: int
    contexts: list[int]
    noise: list[list[int]]  # [c][K], the same K everywhere with shared noise; none left out yet
    learning_rate: float


def words_at(seed: int, epoch: int, positions: np.ndarray, stream: int) -> np.ndarray:
    """The stream's word of each position, four positions to a quad: uint32 [n]."""
    quads = philox_at(seed, epoch, positions >> 2, stream, 0)
    return quads[np.arange(len(positions)), positions & 3]


def noise_words(table: np.ndarray, seed: int, epoch: int, position: int, count: int) -> list[int]:
    """Draws 0 .. count - 1 of the noise stream at a position, two draws to a quad."""
    slots = np.arange((count + 1) // 2)
    quads = philox_at(seed, epoch, np.full(len(slots), position), NEGATIVE, slots)
    first, second = quads.reshape(-1, 2)[:count].T
    return alias_draw(table, first, second).tolist()


def windows(
    tokens: np.ndarray,
    offsets: np.ndarray,
    keep: np.ndarray,
    noise: np.ndarray,
    *,
    first_sentence: int = 0,
    last_sentence: int | None = None,
    window: int,
    negatives: int,
    dynamic_window: bool,
    negative_sharing: str,
    alpha: float,
    min_alpha: float,
    tokens_before: int,
    total_tokens: int,
    seed: int,
    epoch: int,
) -> Iterator[Window]:
    """The windows of the sentences in order. Arguments as of ``skipgram_train_``."""
    last_sentence = len(offsets) - 1 if last_sentence is None else last_sentence
    for begin, end in zip(
        offsets[first_sentence:last_sentence].tolist(),
        offsets[first_sentence + 1 : last_sentence + 1].tolist(),
        strict=True,
    ):
        learning_rate = alpha + (min_alpha - alpha) * (tokens_before + begin) / total_tokens
        positions = np.arange(begin, end)
        chance = (words_at(seed, epoch, positions, SUBSAMPLE) >> 8) * np.float32(2.0**-24)
        kept = positions[chance < keep[tokens[begin:end]]]
        words = tokens[kept].tolist()
        reaches = [window] * len(kept)
        if dynamic_window:
            luck = words_at(seed, epoch, kept, WINDOW).astype(np.uint64)
            reaches = (1 + (luck * np.uint64(window) >> np.uint64(32))).tolist()
        for i, (position, reach) in enumerate(zip(kept.tolist(), reaches, strict=True)):
            contexts = words[max(0, i - reach) : i] + words[i + 1 : i + 1 + reach]
            each: list[list[int]]
            if negative_sharing == "window":
                drawn = noise_words(noise, seed, epoch, position, negatives)
                each = [drawn] * len(contexts)
            else:
                drawn = noise_words(noise, seed, epoch, position, len(contexts) * negatives)
                each = [drawn[j * negatives :][:negatives] for j in range(len(contexts))]
            yield Window(words[i], contexts, each, learning_rate)


def skipgram_train(in_table, out_table, tokens, offsets, keep, noise, **options) -> np.ndarray:
    """Trains float64 tables in place; returns float64 [loss, pairs, centres].

    Arguments as of :func:`lexforge.ops.skipgram_train_`, as arrays, ``noise`` as
    uint32 or int32 [V, 2]; every option of :func:`windows` must be given.
    """
    stats = np.zeros(3)
    for center, contexts, noise_of, learning_rate in windows(
        tokens, offsets, keep, noise, **options
    ):
        stats += [0, len(contexts), 1]
        targets = [[center] + [word for word in drawn if word != center] for drawn in noise_of]
        errors = []
        for context, rows in zip(contexts, targets, strict=True):
            label = np.arange(len(rows)) == 0
            x = out_table[rows] @ in_table[context]
            stats[0] += np.logaddexp(0, np.where(label, -x, x)).sum()
            errors.append(learning_rate * (label - 1 / (1 + np.exp(-x))))
        if options["negative_sharing"] == "window":
            into_in = [error @ out_table[rows] for error, rows in zip(errors, targets, strict=True)]
            into_out = [np.outer(e, in_table[o]) for e, o in zip(errors, contexts, strict=True)]
            for j, context in enumerate(contexts):
                in_table[context] += into_in[j]
                np.add.at(out_table, targets[j], into_out[j])
        else:
            for context, rows, error in zip(contexts, targets, errors, strict=True):
                v = in_table[context].copy()
                total = v.copy()
                for row, e in zip(rows, error, strict=True):
                    total += e * out_table[row]
                    out_table[row] += e * v
                in_table[context] = total
    return stats
