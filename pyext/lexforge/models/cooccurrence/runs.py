"""The counts of parts of a corpus on disk, and their sums (layout in counting.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lexforge._files import flush, read_into, replacing
from lexforge.models.cooccurrence.triplets import ranges, write_all
from lexforge.ops.cooccurrence.cooccurrence import CountedRows, cooccurrence_merge
from lexforge.text.lines import read_json

Report = Callable[[int, int], None]  # done, total

LARGEST_FAN_IN = 64  # runs merged at a time, with three open files each
SIZES_HELD = 1 << 20  # sizes of rows held while merging
RUNS_VERSION = 1
MANIFEST = "manifest.json"


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
            manifest = read_json(self._folder / MANIFEST)
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
