"""The sampling ops in plain numpy, draw for draw: the oracle of lexforge.ops.sampling.sampling."""

from __future__ import annotations

import numpy as np

# csrc/common/philox.h, RandomStream
ALIAS_SAMPLE, NOISE, SUBSAMPLE, WINDOW, NEGATIVE, INIT = range(6)

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(counters: np.ndarray, key0: int, key1: int) -> np.ndarray:
    """Philox4x32-10 (Salmon et al. 2011).

    Args:
        counters: unsigned integers [n, 4], each below 2^32.
        key0: first key word.
        key1: second key word.

    Returns:
        uint32 [n, 4].
    """
    a, b, c, d = np.asarray(counters).astype(np.uint64).T
    for round_ in range(10):
        round_key0 = np.uint64((key0 + round_ * 0x9E3779B9) & 0xFFFFFFFF)
        round_key1 = np.uint64((key1 + round_ * 0xBB67AE85) & 0xFFFFFFFF)
        product0 = a * np.uint64(0xD2511F53)
        product1 = c * np.uint64(0xCD9E8D57)
        a, b = (product1 >> _HALF) ^ b ^ round_key0, product1 & _LOW
        c, d = (product0 >> _HALF) ^ d ^ round_key1, product0 & _LOW
    return np.stack([a, b, c, d], axis=1).astype(np.uint32)


def philox_at(
    seed: int, epoch: int, positions: np.ndarray, stream: int, slots: np.ndarray | int
) -> np.ndarray:
    """The quads of the project's counters: uint32 [n, 4] for positions [n] and slots [n] or one."""
    seed &= (1 << 64) - 1
    positions = np.asarray(positions).astype(np.uint64)
    counters = np.empty((len(positions), 4), np.uint64)
    counters[:, 0] = positions & _LOW
    counters[:, 1] = positions >> _HALF
    counters[:, 2] = epoch
    counters[:, 3] = np.asarray(slots, np.uint64) | np.uint64(stream << 24)
    return philox4x32(counters, seed & 0xFFFFFFFF, seed >> 32)


_UNIT = 1 << 32
_TRIES = 32  # csrc/sampling/sampling.h, kNoiseTries


def build_alias(weights: np.ndarray) -> np.ndarray:
    """The alias table of csrc/sampling/sampling.h, found entry by entry: uint32 [V, 2]."""
    weights = np.asarray(weights, np.float64)
    size = len(weights)
    scaled = np.ldexp(weights, 62 - np.frexp(weights.max())[1])
    total = float(sum(int(x) for x in np.rint(scaled)))
    shares = [int(x) for x in np.rint(scaled / total * (float(size) * _UNIT))]
    shares[int(np.argmax(weights))] += size * _UNIT - sum(shares)

    lights = [i for i in range(size) if shares[i] < _UNIT]
    heavies = [i for i in range(size) if shares[i] >= _UNIT]
    lacking = np.cumsum([0] + [_UNIT - shares[i] for i in lights], dtype=np.int64)
    spare = np.cumsum([shares[j] - _UNIT for j in heavies], dtype=np.int64)
    table = np.empty((size, 2), np.uint32)
    for i, light in enumerate(lights):
        heavy = heavies[np.searchsorted(spare, lacking[i], side="right")]
        table[light] = shares[light], heavy
    for j, heavy in enumerate(heavies):
        threshold = _UNIT + spare[j] - lacking[np.searchsorted(lacking, spare[j], side="left")]
        table[heavy] = (_UNIT - 1, heavy) if threshold == _UNIT else (threshold, heavies[j + 1])
    return table


def implied_probabilities(table: np.ndarray) -> np.ndarray:
    """The exact distribution of a table's draws, but for float64 rounding: float64 [V]."""
    table = np.asarray(table).view(np.uint32).reshape(-1, 2).astype(np.int64)
    own = np.where(table[:, 1] == np.arange(len(table)), _UNIT, table[:, 0]).astype(np.float64)
    probability = own.copy()
    np.add.at(probability, table[:, 1], _UNIT - own)
    return probability / _UNIT / len(table)


def alias_draw(table: np.ndarray, word0: np.ndarray, word1: np.ndarray) -> np.ndarray:
    """The index for two words: int64, of the words' shape."""
    table = np.asarray(table).view(np.uint32).reshape(-1, 2)
    index = (word0.astype(np.uint64) * np.uint64(len(table))) >> _HALF
    threshold, alias = table[index.astype(np.int64)].T
    return np.where(word1 < threshold, index, alias).astype(np.int64)


def _draws(table, seed, epoch, positions, stream, indices) -> np.ndarray:
    """Draw `indices[i]` of the stream at `positions[i]`: two draws share a quad."""
    indices = np.asarray(indices, np.uint64)
    quads = philox_at(seed, epoch, positions, stream, indices >> np.uint64(1))
    pairs = quads.reshape(-1, 2, 2)[np.arange(len(indices)), (indices & np.uint64(1)).astype(int)]
    return alias_draw(table, pairs[:, 0], pairs[:, 1])


def alias_sample(table: np.ndarray, count: int, seed: int, offset: int = 0) -> np.ndarray:
    """Draws [count] of lexforge.ops.sampling.sampling.alias_sample."""
    c = np.uint64(offset) + np.arange(count, dtype=np.uint64)
    return _draws(table, seed, 0, c >> np.uint64(1), ALIAS_SAMPLE, c & np.uint64(1))


def sample_noise(
    table: np.ndarray,
    positives: np.ndarray,
    offsets: np.ndarray,
    negatives: int,
    seed: int,
    epoch: int = 0,
    positions: np.ndarray | None = None,
) -> np.ndarray:
    """Draws [K P] of lexforge.ops.sampling.sampling.sample_noise."""
    possible = np.flatnonzero(implied_probabilities(table) > 0)
    noise = []
    for row in range(len(offsets) - 1):
        own = set(np.asarray(positives[offsets[row] : offsets[row + 1]]).tolist())
        n = negatives * int(offsets[row + 1] - offsets[row])
        position = row if positions is None else positions[row]
        tries = np.arange(_TRIES * n)
        drawn = _draws(table, seed, epoch, np.full(len(tries), position), NOISE, tries)
        for of_one in drawn.reshape(_TRIES, n).T.tolist():
            good = [x for x in of_one if x not in own]
            last = of_one[-1]
            others = [x for x in possible.tolist() if x not in own]
            following = [x for x in others if x > last] + others
            noise.append(good[0] if good else following[0] if following else last)
    return np.array(noise, np.int64)


def noise_weights(counts: np.ndarray, power: float = 0.75) -> np.ndarray:
    """counts ** power, and 0 for words that do not occur."""
    return np.array([float(c) ** power if c > 0 else 0.0 for c in counts])


def keep_probability(counts: np.ndarray, threshold: float, rule: str) -> np.ndarray:
    """Keep probabilities of sub-sampling in float64, word by word."""
    total = sum(int(c) for c in counts)
    keep = []
    for count in counts:
        if count == 0 or threshold == 0:
            keep.append(1.0)
            continue
        ratio = threshold / (int(count) / total)
        keep.append(min(1.0, ratio**0.5 + (ratio if rule == "word2vec" else 0.0)))
    return np.array(keep)
