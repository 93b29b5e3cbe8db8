"""Windowed co-occurrence counts of an encoded corpus (csrc/cooccurrence/cooccurrence.h).

Counts are whole numbers of units, so the results do not depend on threads, devices, or the way in
which a corpus is cut into chunks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lexforge.ops import _checks

__all__ = [
    "LARGEST_WEIGHTED_WINDOW",
    "LARGEST_WINDOW",
    "CooccurrenceIndex",
    "CountedRows",
    "cooccurrence_index",
    "cooccurrence_merge",
    "cooccurrence_rows",
    "cooccurrence_unit",
]

LARGEST_WEIGHTED_WINDOW = 42
LARGEST_WINDOW = 1000
_SATURATED = 2**63 - 1


class CooccurrenceIndex(NamedTuple):
    """A chunk of centres, by word: what :func:`cooccurrence_rows` reads.

    Attributes:
        padded: int32, the chunk's tokens and their neighbours with separators between sentences.
        starts: int64 [V + 1], where the centres of each word begin in ``positions``.
        positions: int32 [centres], indices into ``padded``, by word, ascending for each word.
    """

    padded: Tensor
    starts: Tensor
    positions: Tensor


class CountedRows(NamedTuple):
    """Rows of co-occurrence counts, compressed.

    Attributes:
        row_size: int64 [R], entries of each row.
        cols: int32 [n], columns, ascending within a row.
        counts: int64 [n], counts above 0 in units of 1 / :func:`cooccurrence_unit`.
    """

    row_size: Tensor
    cols: Tensor
    counts: Tensor


def cooccurrence_unit(window: int, distance_weighting: bool = True) -> int:
    """What a count is divided by to give a weight: lcm(1..window), or 1 without weighting.

    Args:
        window: largest distance, 1 to 42 with distance weighting, 1 to 1000 without.
        distance_weighting: a neighbour at distance d weighs 1 / d, else 1.

    Raises:
        TypeError: ``window`` is not an int.
        ValueError: ``window`` is out of range. lcm(1..43) is beyond 2^63, so that the weight of one
            neighbour would not fit.
    """
    return _checked_unit("cooccurrence_unit", window, distance_weighting)


def cooccurrence_index(
    tokens: Tensor,
    offsets: Tensor,
    *,
    first: int = 0,
    last: int | None = None,
    vocab_size: int,
    window: int,
    cross_sentences: bool = False,
    threads: int | None = None,
) -> CooccurrenceIndex:
    """Index a chunk of centres by word.

    Args:
        tokens: int32 [N], the encoded corpus, 0 <= id < V.
        offsets: int64 [S + 1], rising from 0 to N; sentence s is
            ``tokens[offsets[s]:offsets[s + 1]]``.
        first, last: the centres, a range of tokens that may begin and end within sentences; the
            last one is exclusive and defaults to N. Their neighbours on both sides are indexed
            along.
        vocab_size: V, 1 to 2^31 - 2.
        window: largest distance that rows will be counted with, 1 to 1000.
        cross_sentences: windows reach over the ends of sentences; ``offsets`` are not looked at.
        threads: CPU threads, at most and by default ``torch.get_num_threads()``.

    Returns:
        The index, on the device of ``tokens``.

    Raises:
        TypeError: a tensor of the wrong dtype, or a number that is not an int.
        ValueError: a wrong shape, device or range.
        RuntimeError: a token outside [0, V), offsets that do not rise, or a chunk of 2^31 tokens
            and separators (``window`` for each sentence).

    Notes:
        Takes ``4 * (tokens + window * sentences)`` bytes for ``padded``, 4 bytes for each centre,
        and ``8 V``.

    Example:
        >>> tokens = torch.tensor([0, 1, 0, 2], dtype=torch.int32)
        >>> index = cooccurrence_index(tokens, torch.tensor([0, 4]), vocab_size=3, window=2)
        >>> rows = cooccurrence_rows(index, window=2)
    """
    op = "cooccurrence_index"
    _checks.tensor(op, "tokens", tokens, torch.int32, ("N",), contiguous=True)
    _checks.tensor(op, "offsets", offsets, torch.int64, ("S + 1",), tokens, contiguous=True)
    last = tokens.shape[0] if last is None else last
    _checks.whole(op, "vocab_size", vocab_size, 1, 2**31 - 2)
    _checks.whole(op, "window", window, 1, LARGEST_WINDOW)
    _checks.span(op, "first and last", first, last, tokens.shape[0])
    if offsets.shape[0] == 0:
        raise ValueError(f"{op}: offsets must be [S + 1], got [0]")
    return CooccurrenceIndex(
        *torch.ops.lexforge.cooccurrence_index.default(
            tokens,
            offsets,
            first,
            last,
            vocab_size,
            window,
            bool(cross_sentences),
            _checks.threads(op, threads),
        )
    )


def cooccurrence_rows(
    index: CooccurrenceIndex,
    *,
    first_row: int = 0,
    last_row: int | None = None,
    window: int,
    symmetric: bool = True,
    distance_weighting: bool = True,
    threads: int | None = None,
) -> CountedRows:
    """Count the co-occurrences of a range of words with all words.

    Args:
        index: of :func:`cooccurrence_index`.
        first_row, last_row: the words; the last one is exclusive and defaults to V.
        window: largest distance, at most the index's; up to 42 with distance weighting.
        symmetric: count neighbours on both sides; else those to the right, so that the row is the
            left word.
        distance_weighting: a neighbour at distance d weighs 1 / d (Pennington et al. 2014, section
            4.2), else 1.
        threads: CPU threads, at most and by default ``torch.get_num_threads()``.

    Returns:
        The rows; ``counts / cooccurrence_unit(window, distance_weighting)`` are the weights.

    Raises:
        TypeError: a tensor of the wrong dtype, or a number that is not an int.
        ValueError: a wrong shape, device or range.
        OverflowError: a count is 2^63 or more.
        RuntimeError: an index that was not made for this window.

    Notes:
        Reserves 12 bytes for each of at most ``min(V, (1 or 2) * window * centres)`` entries a row,
        and takes up what there are; ``cols`` and ``counts`` may be views of larger storage.
    """
    op = "cooccurrence_rows"
    padded, starts, positions = index
    _checks.tensor(op, "padded", padded, torch.int32, ("n",), contiguous=True)
    _checks.tensor(op, "starts", starts, torch.int64, ("V + 1",), padded, contiguous=True)
    _checks.tensor(op, "positions", positions, torch.int32, ("centres",), padded, contiguous=True)
    vocab_size = starts.shape[0] - 1
    if not 1 <= vocab_size <= 2**31 - 2:
        raise ValueError(
            f"{op}: starts must be [V + 1] with 1 <= V < 2^31 - 1, got {[*starts.shape]}"
        )
    last_row = vocab_size if last_row is None else last_row
    _checks.span(op, "first_row and last_row", first_row, last_row, vocab_size)
    unit = _checked_unit(op, window, distance_weighting)
    rows = CountedRows(
        *torch.ops.lexforge.cooccurrence_rows.default(
            padded,
            starts,
            positions,
            first_row,
            last_row,
            window,
            bool(symmetric),
            bool(distance_weighting),
            _checks.threads(op, threads),
        )
    )
    units = (unit // d if distance_weighting else 1 for d in range(1, window + 1))
    if positions.shape[0] * (2 if symmetric else 1) * sum(units) >= _SATURATED:
        _check_saturation(op, rows, first_row)
    return rows


def cooccurrence_merge(
    parts: Sequence[CountedRows], *, vocab_size: int, threads: int | None = None
) -> CountedRows:
    """Add up counts of the same rows in several chunks.

    Args:
        parts: at least one; all have the same number of rows R and the same unit.
        vocab_size: V, 1 to 2^31 - 2; columns are below it.
        threads: CPU threads, at most and by default ``torch.get_num_threads()``.

    Returns:
        The sums, new tensors.

    Raises:
        TypeError: a tensor of the wrong dtype, or a number that is not an int.
        ValueError: no parts; wrong shapes or devices.
        OverflowError: a count is 2^63 or more.
        RuntimeError: columns outside [0, V) or row sizes that do not add up.

    Notes:
        Reserves 12 bytes for each of at most ``min(V, entries of the parts)`` entries a row, and
        takes up what there are; ``cols`` and ``counts`` may be views of larger storage.
    """
    op = "cooccurrence_merge"
    parts = list(parts)
    if not parts:
        raise ValueError(f"{op}: parts must have at least 1 element, got 0")
    _checks.whole(op, "vocab_size", vocab_size, 1, 2**31 - 2)
    _checks.tensor(op, "row_size", parts[0][0], shape=("R",))
    rows = parts[0][0].shape[0]
    for row_size, cols, counts in parts:
        _checks.tensor(op, "row_size", row_size, torch.int64, ("R",), parts[0][0], contiguous=True)
        _checks.tensor(op, "cols", cols, torch.int32, ("n",), row_size, contiguous=True)
        _checks.tensor(op, "counts", counts, torch.int64, cols.shape, row_size, contiguous=True)
        if row_size.shape[0] != rows:
            raise ValueError(f"{op}: parts must have {rows} rows, got {row_size.shape[0]}")
    row_sizes, all_cols, all_counts = (list(tensors) for tensors in zip(*parts, strict=True))
    merged = CountedRows(
        *torch.ops.lexforge.cooccurrence_merge.default(
            row_sizes, all_cols, all_counts, vocab_size, _checks.threads(op, threads)
        )
    )
    _check_saturation(op, merged, 0)
    return merged


def _checked_unit(op: str, window: int, distance_weighting: bool) -> int:
    if not distance_weighting:
        _checks.whole(op, "window", window, 1, LARGEST_WINDOW)
        return 1
    if isinstance(window, int) and window > LARGEST_WEIGHTED_WINDOW:
        raise ValueError(
            f"{op}: window must be at most {LARGEST_WEIGHTED_WINDOW} with distance weighting, "
            f"since whole units of 1/lcm(1..window) pass 2^63 beyond it, got {window}"
        )
    _checks.whole(op, "window", window, 1, LARGEST_WEIGHTED_WINDOW)
    return math.lcm(*range(1, window + 1))


def _check_saturation(op: str, rows: CountedRows, first_row: int) -> None:
    if len(rows.counts) == 0 or int(rows.counts.max()) < _SATURATED:
        return
    entry = int(rows.counts.argmax())
    row = int(torch.searchsorted(rows.row_size.cumsum(0), entry, right=True))
    raise OverflowError(
        f"{op}: the count of row {first_row + row}, column {int(rows.cols[entry])} "
        "is 2^63 units or more; a smaller window has larger units"
    )


@torch.library.register_fake("lexforge::cooccurrence_index")
def _(tokens, offsets, first, last, vocab_size, window, cross_sentences, threads):
    size = torch.library.get_ctx().new_dynamic_size()
    return (
        tokens.new_empty(size),
        offsets.new_empty(vocab_size + 1),
        tokens.new_empty(last - first),
    )


@torch.library.register_fake("lexforge::cooccurrence_rows")
def _(padded, starts, positions, first_row, last_row, *options):
    entries = torch.library.get_ctx().new_dynamic_size()
    return (
        starts.new_empty(last_row - first_row),
        padded.new_empty(entries),
        starts.new_empty(entries),
    )


@torch.library.register_fake("lexforge::cooccurrence_merge")
def _(row_sizes, cols, counts, vocab_size, threads):
    entries = torch.library.get_ctx().new_dynamic_size()
    return (
        torch.empty_like(row_sizes[0]),
        cols[0].new_empty(entries),
        counts[0].new_empty(entries),
    )
