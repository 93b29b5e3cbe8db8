"""Streaming word2vec in plain numpy, window by window (csrc/word2vec/word2vec_train.h)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from lexforge.reference.sampling.sampling import NEGATIVE, SUBSAMPLE, WINDOW, alias_draw, philox_at

ROUNDING_FACTORS = 0x9E37, 0x6A95  # of the lower and the upper half of a number's bits
OFTEN = 1024  # times that a round's shards train a row before their changes are damped


class Window(NamedTuple):
    """One kept token, the contexts that predict it, and the noise words of each context."""

    center: int
    contexts: list[int]
    noise: list[list[int]]  # [c][K], the same K everywhere with shared noise; none left out yet
    learning_rate: float
    sentence: int


Target = tuple[np.ndarray, int, int, int]  # a table, a row of it, the label, and the weight


def words_at(seed: int, epoch: int, positions: np.ndarray, stream: int) -> np.ndarray:
    """The stream's word of each position, four positions to a quad: uint32 [n]."""
    quads = philox_at(seed, epoch, positions >> 2, stream, 0)
    return quads[np.arange(len(positions)), positions & 3]


def noise_words(table: np.ndarray, seed: int, epoch: int, position: int, count: int) -> list[int]:
    """Draws 0 .. count - 1 of the noise stream at a position, two draws to a quad."""
    if count == 0:
        return []
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
    """The windows of the sentences in order. Arguments as of ``word2vec_train_``."""
    last_sentence = len(offsets) - 1 if last_sentence is None else last_sentence
    for sentence in range(first_sentence, last_sentence):
        begin, end = offsets[sentence : sentence + 2].tolist()
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
            yield Window(words[i], contexts, each, learning_rate, sentence)


def stored_as_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """What tables of bfloat16 keep of float32 numbers: one of the two beside each, float32 again.

    Which one is drawn from a number's own bits, the nearer the more often.
    """
    word = np.asarray(numbers, np.float32).view(np.uint32)
    lower, upper = word & 0xFFFF, word >> 16
    chance = lower * np.uint32(ROUNDING_FACTORS[0]) + upper * np.uint32(ROUNDING_FACTORS[1])
    return (word + (chance & 0xFFFF) & 0xFFFF0000).view(np.float32)


def word2vec_train(
    in_table, out_table, tree_table, tokens, offsets, keep, noise, tree=None, **options
) -> np.ndarray:
    """Trains float64 tables in place; returns float64 [loss, inputs, centres].

    Arguments as of :func:`lexforge.ops.word2vec_train_`, as arrays, ``noise`` as uint32 or int32
    [V, 2], ``tree`` as (path_offsets, paths); every option of :func:`windows` must be given, and
    ``model``, ``cbow_mean``, ``in_scale``, ``shards``, ``shard_tokens`` and ``bags``, as (offsets,
    rows, longest, mean), may be.
    """
    model = options.pop("model", "skipgram")
    mean = options.pop("cbow_mean", True)
    shards, shard_tokens = options.pop("shards", 0), options.pop("shard_tokens", 1)
    scale = options.pop("in_scale", None)
    bags = options.pop("bags", None)
    if out_table is None:
        options["negatives"] = 0
    if model == "cbow":
        options["negative_sharing"] = "window"
    in_common = model == "skipgram" and options["negative_sharing"] == "window"
    one_input = model == "cbow" or bags is not None
    if bags is not None:
        mean = bags[3]

    def rows_of(window: Window) -> list[int]:
        """Of in_table: the inputs, or what the one input is made of."""
        if bags is None:
            return window.contexts
        words = window.contexts if model == "cbow" else [window.center]
        return [row for word in words for row in _slice(bags, word)]

    def inputs_of(window: Window) -> np.ndarray:
        rows = in_table[rows_of(window)]
        if not one_input:
            return rows
        return rows.mean(0, keepdims=True) if mean else rows.sum(0, keepdims=True)

    def change(rows: list[int], by: np.ndarray) -> None:
        if scale is not None:
            by = scale[rows][:, None] * by
        np.add.at(in_table, rows, by / len(rows) if one_input and mean and bags is None else by)

    def path_of(word: int) -> list[Target]:
        if tree_table is None:
            return []
        return [(tree_table, node >> 1, 1 - (node & 1), 1) for node in _slice(tree, word)]

    def words_of(positive: int, drawn: list[int]) -> list[Target]:
        if out_table is None:
            return []
        return [(out_table, positive, 1, 1)] + [
            (out_table, word, 0, 1) for word in drawn if word != positive
        ]

    def targets_of(window: Window) -> tuple[list[Target], list[list[Target]]]:
        """Those that all inputs have, and those of each."""
        if bags is not None and model == "skipgram":
            return [], [targets_of_bag(window)]
        path = path_of(window.center)
        of_input = [words_of(window.center, drawn) for drawn in window.noise]
        if model == "cbow":
            return [], [path + of_input[0]]
        return (path + of_input[0], [[] for _ in of_input]) if in_common else (path, of_input)

    def targets_of_bag(window: Window) -> list[Target]:
        """Skip-gram's from the centre: all contexts."""
        targets: list[Target] = []
        for context, drawn in zip(window.contexts, window.noise, strict=True):
            targets += path_of(context) + words_of(context, [] if in_common else drawn)
        if out_table is not None and in_common:
            for word in window.noise[0]:
                differing = sum(context != word for context in window.contexts)
                targets.append((out_table, word, 0, differing))
        return targets

    def errors(x: np.ndarray, targets: list[Target], learning_rate: float) -> np.ndarray:
        """Of one input; adds to the loss."""
        label = np.array([label for _, _, label, _ in targets])
        weight = np.array([weight for _, _, _, weight in targets])
        score = np.array([table[row] @ x for table, row, _, _ in targets])
        stats[0] += (weight * np.logaddexp(0, np.where(label, -score, score))).sum()
        return learning_rate * weight * (label - 1 / (1 + np.exp(-score)))

    def train(window: Window, of_all: np.ndarray, of_each: list[np.ndarray]) -> None:
        shared, own = targets_of(window)
        rows = rows_of(window)
        x = inputs_of(window)
        if shared:
            into_rows = of_all.T @ x
            change(rows, of_all @ np.array([table[row] for table, row, *_ in shared]))
            for (table, row, *_), by in zip(shared, into_rows, strict=True):
                table[row] += by
        for j, (targets, error) in enumerate(zip(own, of_each, strict=False)):
            v = inputs_of(window)[j].copy()
            total = np.zeros_like(v)
            for (table, row, *_), e in zip(targets, error, strict=True):
                total += e * table[row]
                table[row] += e * v
            change(rows if one_input else rows[j : j + 1], total[None])

    def train_all(found: Iterable[Window]) -> None:
        for window in found:
            stats[2] += 1
            if not window.contexts:
                continue
            x = inputs_of(window)
            stats[1] += 1 if model == "cbow" else len(window.contexts)
            shared, own = targets_of(window)
            of_all = np.array([errors(row, shared, window.learning_rate) for row in x])
            of_each = [errors(*pair, window.learning_rate) for pair in zip(x, own, strict=False)]
            train(window, of_all, of_each)

    def count(window: Window, times: list[np.ndarray]) -> None:
        """Of each row of the three tables, that the window trains it; words left out too."""
        contexts = window.contexts
        if not contexts:
            return
        np.add.at(times[0], rows_of(window), 1)
        positives = contexts if bags is not None and model == "skipgram" else [window.center]
        pairs = len(contexts) if len(positives) == 1 and not in_common and model != "cbow" else 1
        for positive in positives:
            for _ in range(pairs if out_table is not None else 0):
                times[1][positive] += 1
            for _, node, *_ in path_of(positive):
                times[2][node] += 1
        for drawn in window.noise if not in_common and model != "cbow" else window.noise[:1]:
            if out_table is not None:
                np.add.at(times[1], drawn, 1)

    stats = np.zeros(3)
    found = windows(tokens, offsets, keep, noise, **options)
    if shards == 0:
        train_all(found)
        return stats
    tables = [
        np.zeros((0, 1)) if table is None else table for table in (in_table, out_table, tree_table)
    ]
    for _, of_round in groupby(found, lambda w: offsets[w.sentence] // shard_tokens // shards):
        before = [table.copy() for table in tables]
        changed = []
        for _, of_shard in groupby(list(of_round), lambda w: offsets[w.sentence] // shard_tokens):
            seen = list(of_shard)
            train_all(seen)
            times = [np.zeros(len(table), int) for table in tables]
            for window in seen:
                count(window, times)
            changed.append(([t - b for t, b in zip(tables, before, strict=True)], times))
            for table, was in zip(tables, before, strict=True):
                table[:] = was
        for i, table in enumerate(tables):
            n = sum(times[i] for _, times in changed)
            c = sum((times[i] > 0).astype(int) for _, times in changed)
            share = np.clip(OFTEN / np.maximum(n, 1), 1 / np.maximum(c, 1), 1)
            table += share[:, None] * sum(change[i] for change, _ in changed)
    return stats


def _slice(lists: Sequence, word: int) -> list[int]:
    """The word's part of lists that begin with (offsets, elements)."""
    begin, end = lists[0][word : word + 2]
    return lists[1][begin:end].tolist()
