"""The streaming skip-gram contract (csrc/word2vec/skipgram_stream.h) in plain Python, float64."""

from __future__ import annotations

import math

import numpy as np

SUBSAMPLE, WINDOW, NEGATIVE = 2, 3, 4  # RandomStream of csrc/common/philox.h
WORD = 0xFFFFFFFF


def philox(seed: int, epoch: int, position: int, stream: int, slot: int) -> list[int]:
    key0, key1 = seed & WORD, seed >> 32 & WORD
    c0, c1, c2, c3 = position & WORD, position >> 32, epoch, stream << 24 | slot
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = p1 >> 32 ^ c1 ^ key0, p1 & WORD, p0 >> 32 ^ c3 ^ key1, p0 & WORD
        key0, key1 = key0 + 0x9E3779B9 & WORD, key1 + 0xBB67AE85 & WORD
    return [c0, c1, c2, c3]


def word_at(seed: int, epoch: int, position: int, stream: int) -> int:
    return philox(seed, epoch, position >> 2, stream, 0)[position & 3]


def noise_word(table: np.ndarray, seed: int, epoch: int, position: int, draw: int) -> int:
    quad = philox(seed, epoch, position, NEGATIVE, draw // 2)
    first, second = quad[2 * (draw % 2) : 2 * (draw % 2) + 2]
    index = first * len(table) >> 32
    return index if second < int(table[index, 0]) & WORD else int(table[index, 1]) & WORD


def train(
    in_table,
    out_table,
    tokens,
    offsets,
    keep,
    noise,
    *,
    window,
    negatives,
    dynamic_window,
    share_negatives,
    alpha,
    min_alpha,
    tokens_before,
    total_tokens,
    seed,
    epoch,
    first_sentence=0,
    last_sentence=None,
):
    """Trains float64 tables in place; returns [loss, pairs, centres]."""
    stats = np.zeros(3)
    last_sentence = len(offsets) - 1 if last_sentence is None else last_sentence
    for s in range(first_sentence, last_sentence):
        begin, end = int(offsets[s]), int(offsets[s + 1])
        progress = (tokens_before + begin) / total_tokens
        lr = alpha + (min_alpha - alpha) * progress
        kept = [
            p
            for p in range(begin, end)
            if np.float32((word_at(seed, epoch, p, SUBSAMPLE) >> 8) * 2.0**-24) < keep[tokens[p]]
        ]
        for i, p in enumerate(kept):
            reach = window
            if dynamic_window:
                reach = 1 + (word_at(seed, epoch, p, WINDOW) * window >> 32)
            contexts = [
                int(tokens[kept[r]])
                for r in range(max(0, i - reach), min(len(kept), i + reach + 1))
                if r != i
            ]
            stats += [0, len(contexts), 1]
            targets = []  # row, label, weight
            if share_negatives:
                targets += [(o, 1.0, 1) for o in contexts]
                for k in range(negatives if contexts else 0):
                    word = noise_word(noise, seed, epoch, p, k)
                    targets.append((word, 0.0, len(contexts) - contexts.count(word)))
            else:
                for j, o in enumerate(contexts):
                    targets.append((o, 1.0, 1))
                    for k in range(negatives):
                        word = noise_word(noise, seed, epoch, p, j * negatives + k)
                        targets.append((word, 0.0, int(word != o)))
            targets = [target for target in targets if target[2] > 0]
            v = in_table[tokens[p]].copy()
            logits = [float(v @ out_table[row]) for row, _, _ in targets]
            gradient = np.zeros_like(v)
            for x, (row, label, weight) in zip(logits, targets, strict=True):
                stats[0] += weight * math.log1p(math.exp(-x if label else x))
                error = lr * weight * (label - 1 / (1 + math.exp(-x)))
                gradient += error * out_table[row]
                out_table[row] += error * v
            in_table[tokens[p]] += gradient
    return stats
