"""GloVe in plain numpy, entry by entry (csrc/glove/glove_train.h, glove_tiles.h)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lexforge.reference.sampling.sampling import philox_at

TILES = 6  # csrc/common/philox.h, RandomStream


def _words(seed: int, slot: int, positions: np.ndarray) -> np.ndarray:
    """The random word of each position, four positions to a quad: uint32 [n]."""
    positions = np.asarray(positions, np.int64)
    quads = philox_at(seed, 0, positions >> 2, TILES, slot)
    return quads[np.arange(len(positions)), positions & 3]


def deal_parts(row_sizes: np.ndarray, parts: int, *, seed: int) -> np.ndarray:
    """The part of each word: int32 [V]."""
    vocab_size = len(row_sizes)
    words = np.arange(vocab_size)
    order = np.lexsort((words, _words(seed, 0, words), -row_sizes))
    load = np.zeros(parts, np.int64)
    part = np.empty(vocab_size, np.int32)
    for first in range(0, vocab_size, parts):
        hand = order[first : first + parts]
        seats = np.arange(parts)
        luck = _words(seed, 1, first + seats)
        seats = np.lexsort((seats, luck, load))[: len(hand)]
        part[hand] = seats
        load[seats] += row_sizes[hand]
    return part


def tiles(
    row_begin: np.ndarray,
    cols: np.ndarray,
    values: np.ndarray,
    part: np.ndarray,
    *,
    parts: int,
    seed: int,
) -> list[np.ndarray]:
    """tile_begin, segment_row, segment_begin, column and log_count of all tiles."""
    rows = np.arange(len(part))
    row_order = np.lexsort((rows, _words(seed, 2, rows)))
    entries: list[list[tuple[int, int, float]]] = [[] for _ in range(parts * parts)]
    for row in row_order:
        begin, end = int(row_begin[row]), int(row_begin[row + 1])
        luck = _words(seed, 3, np.arange(begin, end)).astype(np.uint64)
        order = np.arange(begin, end)
        for k in range(end - begin):
            other = k + int(luck[k] * np.uint64(end - begin - k) >> np.uint64(32))
            order[k], order[other] = order[other], order[k]
        for e in order:
            p, q = int(part[row]), int(part[cols[e]])
            tile = entries[p * parts + (q - p) % parts]
            tile.append((int(row), int(cols[e]), float(np.log(values[e]))))
    tile_begin, segment_row, segment_begin = [0], [], []
    column: list[int] = []
    log_count: list[float] = []
    for tile in entries:
        last = -1
        for row, col, log_x in tile:
            if row != last:
                segment_row.append(row)
                segment_begin.append(len(column))
                last = row
            column.append(col)
            log_count.append(log_x)
        tile_begin.append(len(segment_row))
    segment_begin.append(len(column))
    return [
        np.array(tile_begin, np.int64),
        np.array(segment_row, np.int32),
        np.array(segment_begin, np.int64),
        np.array(column, np.int32),
        np.array(log_count, np.float32),
    ]


def in_order(tiles, first_round: int = 0, last_round: int | None = None) -> Iterator[tuple]:
    """(row, column, log x) of the entries of some rounds, in the order of the contract."""
    parts = tiles.parts
    for round_ in range(first_round, parts if last_round is None else last_round):
        for p in range(parts):
            tile = p * parts + round_
            for s in range(int(tiles.tile_begin[tile]), int(tiles.tile_begin[tile + 1])):
                row = int(tiles.segment_row[s])
                for e in range(int(tiles.segment_begin[s]), int(tiles.segment_begin[s + 1])):
                    yield row, int(tiles.column[e]), float(tiles.log_count[e])


def glove_train(
    word_table: np.ndarray,
    context_table: np.ndarray,
    entries: Iterator[tuple],
    *,
    dim: int,
    optimizer: str = "adagrad",
    learning_rate: float = 0.05,
    bias_rate: float = 1.0,
    x_max: float = 100.0,
    alpha: float = 0.75,
    clip: float = 100.0,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
) -> np.ndarray:
    """Trains tables [V, parts, stride] in place, entry by entry; returns [costs, entries].

    Computes in the tables' own dtype. ``entries`` are (row, column, log x), of :func:`in_order` for
    instance.
    """
    used = slice(0, dim + 1)
    dtype = word_table.dtype.type
    stats = np.zeros(2)
    for row, column, log_x in entries:
        w, c = word_table[row], context_table[column]
        vector_w, vector_c = w[0, used].copy(), c[0, used].copy()
        weight = dtype(min(1.0, np.exp(alpha * (log_x - np.log(x_max)))))
        error = vector_w[:dim] @ vector_c[:dim] + vector_w[dim] + vector_c[dim] - dtype(log_x)
        stats += [weight * error**2 / 2, 1]
        vector_w[dim] = vector_c[dim] = 1  # the derivative of the product by the other side's bias
        for record, other in ((w, vector_c), (c, vector_w)):
            g = np.clip(weight * error * other, -dtype(clip), dtype(clip))
            if optimizer == "adam":
                record[0, dim + 1] += 1
                t = float(record[0, dim + 1])
                record[1, used] = betas[0] * record[1, used] + (1 - betas[0]) * g
                record[2, used] = betas[1] * record[2, used] + (1 - betas[1]) * g * g
                first = record[1, used] / dtype(1 - betas[0] ** t)
                second = record[2, used] / dtype(1 - betas[1] ** t)
                step = dtype(learning_rate) * first / (np.sqrt(second) + dtype(epsilon))
                record[0, used] -= step
                continue
            g *= dtype(learning_rate)
            g[dim] *= dtype(bias_rate)
            if optimizer == "adagrad":
                record[0, used] -= g / np.sqrt(record[1, used])
                record[1, used] += g * g
            else:
                record[0, used] -= g / np.sqrt(record[0, dim + 1])
                record[0, dim + 1] += np.mean(g * g)
    return stats
