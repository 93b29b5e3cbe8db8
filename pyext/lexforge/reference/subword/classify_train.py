"""Classification of lines in plain numpy, line by line (csrc/subword/classify_train.h)."""

from __future__ import annotations

import numpy as np

from lexforge.reference.sampling.sampling import alias_draw, philox_at

LINE_LABEL, NOISE_LABEL = 12, 13  # csrc/common/philox.h, RandomStream
DRAWS_PER_NEGATIVE = 64


def line_rows(
    types, bag_offsets, bag_rows, hashes, *, words, buckets, word_ngrams, bucket_rows=None
) -> list[int]:
    """The rows of a line's features."""
    rows: list[int] = []
    for t in types:
        rows += bag_rows[bag_offsets[t] : bag_offsets[t + 1]].tolist()
    for i in range(len(types)):
        h = int(hashes[types[i]])
        for t in types[i + 1 : i + word_ngrams]:
            h = (h * 116049371 + int(hashes[t])) % 2**64
            row = h % buckets if bucket_rows is None else int(bucket_rows[h % buckets])
            rows += [words + row] * (row >= 0)
    return rows


def noise_labels(noise, chosen: int, negatives: int, *, seed: int, epoch: int, line: int):
    """The noise labels of a line."""
    slots = np.arange(DRAWS_PER_NEGATIVE * negatives // 2)
    quads = philox_at(seed, epoch, np.full(len(slots), line), NOISE_LABEL, slots).reshape(-1, 2)
    drawn = alias_draw(noise, quads[:, 0], quads[:, 1])
    return drawn[drawn != chosen][:negatives].tolist()


def classify_train(
    in_table,
    out_table,
    tokens,
    offsets,
    label_ids,
    label_offsets,
    bag_offsets,
    bag_rows,
    hashes,
    *,
    loss: str,
    first_line: int,
    last_line: int,
    alpha: float,
    min_alpha: float,
    tokens_before: int,
    total_tokens: int,
    seed: int,
    epoch: int,
    noise=None,
    negatives: int = 0,
    tree=None,
    **features,
) -> np.ndarray:
    """Trains float64 tables in place; returns float64 [loss, lines].

    Arguments as of :func:`lexforge.ops.classify_train_`, as arrays, ``noise`` as uint32 or int32
    [L, 2], ``tree`` as (path_offsets, paths); ``features`` are those of :func:`line_rows`.
    """
    stats = np.zeros(2)
    for line in range(first_line, last_line):
        labels = label_ids[label_offsets[line] : label_offsets[line + 1]].tolist()
        types = tokens[offsets[line] : offsets[line + 1]].tolist()
        rows = line_rows(types, bag_offsets, bag_rows, hashes, **features)
        if not rows or not labels:
            continue
        x = in_table[rows].mean(0)
        lr = alpha + (min_alpha - alpha) * (tokens_before + offsets[line]) / total_tokens
        word = philox_at(seed, epoch, np.array([line >> 2]), LINE_LABEL, 0)[0, line & 3]
        chosen = labels[int(word) * len(labels) >> 32]
        if loss in ("softmax", "ova"):
            targets = list(range(len(out_table)))
            picked = labels if loss == "ova" else [chosen]
            y = np.isin(targets, picked).astype(float)
        elif loss == "ns":
            targets = [chosen]
            targets += noise_labels(noise, chosen, negatives, seed=seed, epoch=epoch, line=line)
            y = np.array([1.0] + [0.0] * (len(targets) - 1))
        else:
            path = tree[1][tree[0][chosen] : tree[0][chosen + 1]]
            targets, y = (path >> 1).tolist(), (path & 1).astype(float)
        score = out_table[targets] @ x
        if loss == "softmax":
            likely = np.exp(score - score.max())
            likely /= likely.sum()
            stats[0] -= np.log(likely[chosen])
        else:
            likely = 1 / (1 + np.exp(-score))
            stats[0] += np.logaddexp(0, np.where(y > 0, -score, score)).sum()
        stats[1] += 1
        error = lr * (y - likely)
        gradient = error @ out_table[targets]
        np.add.at(out_table, targets, np.outer(error, x))
        np.add.at(in_table, rows, gradient / len(rows))
    return stats
