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

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lexforge._files import flush, read_into, replacing
from lexforge.models.triplets import TRIPLET, TripletWriter, write_all
from lexforge.ops.cooccurrence import (
    CountedRows,
    cooccurrence_index,
    cooccurrence_merge,
    cooccurrence_rows,
    cooccurrence_unit,
)
from lexforge.training.memory import show_bytes

if TYPE_CHECKING:
    from lexforge.text import EncodedCorpus

Report = Callable[[int, int], None]  # done, total

# What an entry of a range takes: 12 in the op's result, 12 in the one before, which is being
# written, 4 for the number of its row there; 12 in the parts of a merge.
ENTRY_BYTES = 40
FIXED_BYTES = 12 << 20  # buffers, stacks of threads, small things
LARGEST_RANGE = 1 << 22  # entries: larger ones gain nothing
SMALLEST_RANGE = 1 << 16
SMALLEST_CHUNK = 1 << 14  # words
LARGEST_INDEX = 2**33 - 1  # bytes: the index has fewer than 2^31 places
LARGEST_FAN_IN = 64  # runs merged at a time, with three open files each
ENTRY_ON_DISK = 12  # bytes, in a run
SIZES_HELD = 1 << 20  # sizes of rows held while merging
RUNS_VERSION = 1
MANIFEST = "manifest.json"


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


def ranges(sizes: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Cuts rows into ranges [first, last) with `sizes` of at most `limit`, or of one row."""
    ends = np.cumsum(sizes)
    first = 0
    while first < sizes.size:
        before = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, before + limit, side="right"))
        yield first, (last := max(last, first + 1))
        first = last


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


@dataclass(frozen=True)
class Run:
    """The counts of the centres [first, last), on disk."""

    number: int
    first: int
    last: int
    entries: int = 0
    largest_row: int = 0  # entries


class RunFiles:
    """The files of a run: row sizes, columns, counts."""

    def __init__(self, paths: Sequence[Path], mode: str) -> None:
        with ExitStack() as stack:
            self._files = [stack.enter_context(open(path, mode, buffering=0)) for path in paths]
            self.close = stack.pop_all().close


class RunWriter(RunFiles):
    """Writes a run; rows come in order."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(paths, "wb")
        self.entries = self.largest_row = 0

    def write(self, rows: CountedRows) -> None:
        """Append rows."""
        for file, tensor in zip(self._files, rows, strict=True):
            write_all(file, tensor.cpu().numpy())
        self.entries += rows.cols.numel()
        self.largest_row = max(self.largest_row, int(rows.row_size.max()))


class RunReader(RunFiles):
    """Reads a run, in the order in which it was written."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(paths, "rb")

    def row_sizes(self, rows: int) -> torch.Tensor:
        """Sizes of the next rows."""
        return self._next(0, rows, torch.int64)

    def entries(self, row_size: torch.Tensor) -> CountedRows:
        """The next rows, whose sizes are known."""
        size = int(row_size.sum())
        cols, counts = self._next(1, size, torch.int32), self._next(2, size, torch.int64)
        return CountedRows(row_size, cols, counts)

    def _next(self, file: int, size: int, dtype: torch.dtype) -> torch.Tensor:
        piece = torch.empty(size, dtype=dtype)
        if not read_into(self._files[file], piece.numpy()):
            raise ValueError(f"{self._files[file].name} was cut short: count again")
        return piece


class RunStore:
    """The runs of an unfinished count in a folder, and a manifest of those that are complete.

    Args:
        folder: Exists.
        vocab_size: Number of words V.
        key: JSON-able; runs found in the folder are used again when theirs is equal.
        sync: Wait for the disk, so that runs survive a power failure.

    Attributes:
        runs: In the order of their centres, without gaps, from 0.
    """

    def __init__(self, folder: Path, vocab_size: int, key: dict[str, Any], *, sync: bool) -> None:
        self._folder, self._vocab_size, self._key, self._sync = folder, vocab_size, key, sync
        self.runs = self._find()

    @property
    def bytes(self) -> int:
        """Of all runs."""
        return sum(sum(self._sizes(run)) for run in self.runs)

    @property
    def done(self) -> int:
        """Centres counted."""
        return self.runs[-1].last if self.runs else 0

    @contextmanager
    def new_run(self, first: int, last: int, merged: Sequence[Run] = ()) -> Iterator[RunWriter]:
        """Writes a run that counts when the block ends well, instead of those merged in it."""
        run = Run(1 + max((run.number for run in self.runs), default=0), first, last)
        paths = self._paths(run)
        with closing(RunWriter(paths)) as writer:
            yield writer
        if self._sync:
            for path in paths:
                flush(path)
        run = replace(run, entries=writer.entries, largest_row=writer.largest_row)
        kept = [other for other in self.runs if other not in merged]
        self._write_manifest(sorted([*kept, run], key=lambda run: run.first))
        for other in merged:
            self._remove(other)

    def merge(
        self, runs: Sequence[Run], range_entries: int, threads: int | None, report: Report
    ) -> Iterator[tuple[int, CountedRows]]:
        """The sums of runs: (first row, rows) for ranges of rows, all in order."""
        done, total = 0, sum(run.entries for run in runs)
        report(done, total)
        block = max(SIZES_HELD // len(runs), 1)
        with ExitStack() as stack:
            readers = [stack.enter_context(closing(RunReader(self._paths(run)))) for run in runs]
            for first in range(0, self._vocab_size, block):
                rows = min(block, self._vocab_size - first)
                sizes = torch.stack([reader.row_sizes(rows) for reader in readers])
                for a, b in ranges(sizes.sum(dim=0).numpy(), range_entries):
                    parts = [
                        reader.entries(row_size[a:b])
                        for reader, row_size in zip(readers, sizes, strict=True)
                    ]
                    done += sum(part.cols.numel() for part in parts)
                    merged = cooccurrence_merge(parts, vocab_size=self._vocab_size, threads=threads)
                    del parts  # they would stay while the result is written
                    yield first + a, merged
                    report(done, total)

    def reduce(self, range_entries: int, threads: int | None, report: Report) -> None:
        """Merges neighbouring runs until the rest can be merged at once."""
        while len(groups := self._groups(range_entries)) > 1:
            for group in groups:
                if len(group) == 1:
                    continue
                with self.new_run(group[0].first, group[-1].last, group) as writer:
                    merged = self.merge(group, range_entries, threads, report)
                    with writing_behind(writer.write) as write:
                        for _, rows in merged:
                            write(rows)

    def _groups(self, range_entries: int) -> list[list[Run]]:
        """Neighbouring runs whose largest rows fit into a range together; two always do."""
        groups: list[list[Run]] = []
        for run in self.runs:
            if groups and len(groups[-1]) < LARGEST_FAN_IN:
                together = sum(other.largest_row for other in groups[-1]) + run.largest_row
                if together <= range_entries:
                    groups[-1].append(run)
                    continue
            groups.append([run])
        return groups

    def _paths(self, run: Run) -> list[Path]:
        return [self._folder / f"{run.number:06}.{name}" for name in ("sizes", "cols", "counts")]

    def _sizes(self, run: Run) -> list[int]:
        return [8 * self._vocab_size, 4 * run.entries, 8 * run.entries]

    def _remove(self, run: Run) -> None:
        for path in self._paths(run):
            path.unlink(missing_ok=True)

    def _find(self) -> list[Run]:
        try:
            manifest = json.loads((self._folder / MANIFEST).read_bytes())
            runs = [Run(**run) for run in manifest["runs"]]
            same = manifest["version"] == RUNS_VERSION and manifest["key"] == self._key
            whole = all(
                path.stat().st_size == size
                for run in runs
                for path, size in zip(self._paths(run), self._sizes(run), strict=True)
            )
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return runs if same and whole else []

    def _write_manifest(self, runs: list[Run]) -> None:
        with replacing(self._folder / MANIFEST, sync=self._sync) as file:
            content = {
                "version": RUNS_VERSION,
                "key": self._key,
                "runs": [asdict(run) for run in runs],
            }
            file.write(json.dumps(content, indent=2).encode())
        self.runs = runs


@contextmanager
def writing_behind(write: Callable[..., None]) -> Iterator[Callable[..., None]]:
    """`write`, done by another thread while the caller goes on, at most one call at a time."""
    with ThreadPoolExecutor(1) as pool:
        pending: Future | None = None

        def submit(*arguments: Any) -> None:
            nonlocal pending
            if pending is not None:
                pending.result()
            pending = pool.submit(write, *arguments)

        yield submit
        if pending is not None:
            pending.result()


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


def check_space(folder: Path, needed: int) -> None:
    """Raises OSError unless `needed` bytes are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"no space left: {show_bytes(needed)} are needed and {show_bytes(free)} are free",
            str(folder),
        )


@contextmanager
def explaining_no_space(folder: Path, needed: Callable[[int], int]) -> Iterator[None]:
    """Adds to errors about a full disk what is there and what is needed.

    Args:
        folder: Of the files.
        needed: Bytes in all by the bytes written so far; 0 when that cannot be told.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        used = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        free = shutil.disk_usage(folder).free
        text = (
            f"{os.strerror(error.errno)}: {show_bytes(used)} of counts are written and "
            f"{show_bytes(free)} are free"
        )
        if whole := needed(used):
            text += f"; about {show_bytes(whole)} are needed"
        raise OSError(error.errno, text, str(folder)) from error
