"""Counting co-occurrences within a cap on memory.

The corpus is cut into chunks of centres. A chunk is indexed, and its rows are counted and written
in ranges, so what is held is one chunk's index and one range's entries. One chunk goes straight
into the triplet file. Several leave a run each, which a merge walks through together:

    run   row sizes int64 [V], columns int32, counts int64, each in a file of its own; a count is a
          whole number of units (csrc/cooccurrence/cooccurrence.h)

Counts are sums of integers, so the result is the same however the corpus is cut. A manifest lists
the runs that are complete: an interrupted count goes on after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lexforge.models.cooccurrence.runs import Report, RunStore, writing_behind
from lexforge.models.cooccurrence.triplets import TRIPLET, TripletWriter, ranges
from lexforge.ops.cooccurrence.cooccurrence import (
    CountedRows,
    cooccurrence_index,
    cooccurrence_rows,
    cooccurrence_unit,
)
from lexforge.training.disk import check_space, explaining_no_space
from lexforge.training.memory import show_bytes

if TYPE_CHECKING:
    from lexforge.text import EncodedCorpus

# What an entry of a range takes: 12 in the op's result, 12 in the one before, which is being
# written, 4 for the number of its row there; 12 in the parts of a merge.
ENTRY_BYTES = 40
FIXED_BYTES = 12 << 20  # buffers, stacks of threads, small things
LARGEST_RANGE = 1 << 22  # entries: larger ones gain nothing
SMALLEST_RANGE = 1 << 16
SMALLEST_CHUNK = 1 << 14  # words
LARGEST_INDEX = 2**33 - 1  # bytes: the index has fewer than 2^31 places
ENTRY_ON_DISK = 12  # bytes, in a run


@dataclass(frozen=True)
class CountSettings:
    """What is counted."""

    window: int
    symmetric: bool
    distance_weighting: bool
    cross_sentences: bool

    @cached_property
    def unit(self) -> int:
        """The whole number that stands for a count of 1."""
        return cooccurrence_unit(self.window, self.distance_weighting)


@dataclass(frozen=True)
class MemoryPlan:
    """How a cap on memory is spent."""

    chunk_bytes: int  # for the tokens and the index of a chunk
    range_entries: int  # counted or merged at a time: at least two full rows

    def on_device(self, free: int, vocab_size: int) -> MemoryPlan:
        """The same within `free` bytes of a GPU as well.

        Indexing takes up to four times the index there. Of a result there may be two copies, beside
        the memory that the op looks for itself.
        """
        return MemoryPlan(
            chunk_bytes=min(self.chunk_bytes, free // 8),
            range_entries=max(min(self.range_entries, free // 8 // ENTRY_ON_DISK), 2 * vocab_size),
        )


def chunk_bytes(centers: int, sentences: int, window: int) -> int:
    """Bytes of a chunk's tokens, offsets and index, with neighbours on both sides."""
    tokens = centers + 2 * window
    padded = tokens + (sentences + 1) * window
    return 4 * tokens + 8 * (sentences + 1) + 4 * padded + 4 * centers


def plan_memory(memory: int, *, vocab_size: int, window: int, threads: int) -> MemoryPlan:
    """Divides a cap between a chunk of the corpus and a range of rows.

    Args:
        memory: Bytes.
        vocab_size: V. Starts and bounds of rows take 64 bytes a word, accumulators 16 a thread.
        window, threads: Of the count.

    Raises:
        ValueError: The cap is too small, with the smallest that does.
    """
    fixed = FIXED_BYTES + vocab_size * (64 + 16 * threads)
    smallest_range = max(2 * vocab_size, SMALLEST_RANGE)
    # As many words as rows at least: a run has a size for each row.
    centers = max(vocab_size, SMALLEST_CHUNK)
    smallest_chunk = chunk_bytes(centers, centers // 8 + 2 * window, window)
    minimum = fixed + smallest_range * ENTRY_BYTES + smallest_chunk
    if memory < minimum:
        words = f"for {vocab_size:,} words" if vocab_size else "for any words"
        raise ValueError(
            f"cooccurrence: memory must be at least {-(-minimum // 10**6)}MB {words}, "
            f"window {window} and {threads} threads, got {show_bytes(memory)}"
        )
    left = memory - fixed
    entries = max(smallest_range, min(left // 3 // ENTRY_BYTES, LARGEST_RANGE))
    return MemoryPlan(chunk_bytes=left - entries * ENTRY_BYTES, range_entries=entries)


def chunk_end(offsets: np.ndarray, first: int, settings: CountSettings, limit: int) -> int:
    """Where the chunk of centres from `first` on ends: as late as `limit` bytes allow."""
    window, total = settings.window, int(offsets[-1])
    first_sentence = int(np.searchsorted(offsets, first, side="right"))

    def fits(last: int) -> bool:
        sentences = 1
        if not settings.cross_sentences:  # those of the neighbours too
            last_sentence = int(np.searchsorted(offsets, last, side="left"))
            sentences += last_sentence - first_sentence + 2 * window
        size = chunk_bytes(last - first, sentences, window)
        return size <= min(limit, LARGEST_INDEX)

    low, high = first + 1, total
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def count_chunk(
    corpus: EncodedCorpus,
    first: int,
    last: int,
    vocab_size: int,
    settings: CountSettings,
    range_entries: int,
    *,
    threads: int | None,
    device: torch.device,
    report: Report,
) -> Iterator[tuple[int, CountedRows]]:
    """The counts of centres [first, last): (first row, rows) for ranges of rows, all in order."""
    low = max(first - settings.window, 0)
    high = min(last + settings.window, corpus.num_tokens)
    tokens, offsets = corpus.piece(low, high)
    index = cooccurrence_index(
        tokens.to(device),
        offsets.to(device),
        first=first - low,
        last=last - low,
        vocab_size=vocab_size,
        window=settings.window,
        cross_sentences=settings.cross_sentences,
        threads=threads,
    )
    del tokens, offsets
    starts = index.starts.cpu().numpy()
    reach = settings.window * (2 if settings.symmetric else 1)
    bounds = np.minimum(np.diff(starts) * reach, vocab_size)
    for first_row, last_row in ranges(bounds, range_entries):
        yield (
            first_row,
            cooccurrence_rows(
                index,
                first_row=first_row,
                last_row=last_row,
                window=settings.window,
                symmetric=settings.symmetric,
                distance_weighting=settings.distance_weighting,
                threads=threads,
            ),
        )
        report(first + int(starts[last_row]), corpus.num_tokens)


def count_corpus(
    corpus: EncodedCorpus,
    path: Path,
    vocab_size: int,
    settings: CountSettings,
    plan: MemoryPlan,
    store: RunStore,
    *,
    threads: int | None,
    device: torch.device,
    counting: Report,
    merging: Report,
) -> np.ndarray:
    """Counts an encoded corpus into a triplet file.

    Args:
        corpus: N tokens below V.
        path: The file to write.
        vocab_size: V.
        plan: See :func:`plan_memory`.
        store: Where runs go, and may be from an interrupted count.
        threads, device: For the ops.
        counting, merging: Told how far the words and the entries of runs are done.

    Returns:
        int64 [V + 1], where the rows begin in the file.

    Raises:
        OverflowError: A count of 2^63 units.
        OSError: No space left; with what is needed.
    """
    total = corpus.num_tokens
    bounds = corpus.offsets.numpy()
    done = store.done

    def report(words: int, _: int) -> None:
        nonlocal done
        done = words
        counting(words, total)

    def chunk(first: int, last: int) -> Iterator[tuple[int, CountedRows]]:
        return count_chunk(
            corpus, first, last, vocab_size, settings, plan.range_entries,
            threads=threads, device=device, report=report,
        )  # fmt: skip

    def end(first: int) -> int:
        return chunk_end(bounds, first, settings, plan.chunk_bytes)

    counting(done, total)
    first = store.done
    in_one = first == 0 and end(0) == total

    def needed(used: int) -> int:
        """By what the words counted so far took; runs stay until the result is complete."""
        if done < total:
            used = used * total // done if done else 0
        elif not in_one:
            used = store.bytes
        return used if in_one else used + used * TRIPLET.itemsize // ENTRY_ON_DISK

    with (
        TripletWriter(path, vocab_size, settings.unit) as writer,
        explaining_no_space(path.parent, needed),
    ):
        if in_one:
            counted = chunk(0, total)
        else:
            while first < total:
                last = end(first)
                with store.new_run(first, last) as run, writing_behind(run.write) as write:
                    for _, rows in chunk(first, last):
                        write(rows)
                first = last
            store.reduce(plan.range_entries, threads, merging)
            check_space(path.parent, max(run.entries for run in store.runs) * TRIPLET.itemsize)
            counted = store.merge(store.runs, plan.range_entries, threads, merging)
        with writing_behind(writer.write) as write:
            for first_row, rows in counted:
                write(first_row, rows)
        writer.finish()
    return writer.row_begin
