"""The tiles that GloVe trains on, in memory or, where that is short, in mapped files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lexforge._files import map_file
from lexforge.ops.glove.glove_tiles import GloveTiles, glove_deal_parts, glove_tiles
from lexforge.training.disk import check_space

if TYPE_CHECKING:
    from lexforge.models.cooccurrence.counts import Cooccurrence

ENTRY_BYTES = 8  # its column and the logarithm of its count
SEGMENT_BYTES = 12  # its row and its begin
_TYPES = {
    "segment_row": torch.int32,
    "segment_begin": torch.int64,
    "column": torch.int32,
    "log_count": torch.float32,
}


def tile_bytes(nnz: int, vocab_size: int, parts: int) -> int:
    """The most that tiles take: no row has more segments than parts, or than entries."""
    return nnz * ENTRY_BYTES + min(nnz, vocab_size * parts) * SEGMENT_BYTES + parts * parts * 8


def build_tiles(
    counts: Cooccurrence,
    folder: Path,
    *,
    parts: int,
    seed: int,
    memory: int,
    threads: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> GloveTiles:
    """Bring counts into training order.

    Args:
        counts: nnz entries over V words.
        folder: For the files of tiles that exceed `memory`.
        parts: Into which the words are dealt; the tiles are their square.
        seed: Of the dealing and of the order within tiles.
        memory: Bytes.
        threads: For the sorting.
        report: Called with (entries done, entries in all).

    Raises:
        OSError: The disk cannot hold them; nothing is left in the folder.
    """
    row_sizes = counts.row_begin.diff()
    part = glove_deal_parts(row_sizes, parts, seed=seed)
    entries = np.bincount(part.numpy(), row_sizes.numpy(), parts).astype(np.int64)
    needed = tile_bytes(counts.nnz, len(row_sizes), parts)

    def some(first: int, last: int) -> GloveTiles:
        counts.refuse_cut()
        tiles = glove_tiles(
            counts.row_begin,
            counts.cols,
            counts.values,
            part,
            parts=parts,
            seed=seed,
            first_part=first,
            last_part=last,
            threads=threads,
        )
        if report is not None:
            report(int(entries[:last].sum()), counts.nnz)
        return tiles

    if report is not None:
        report(0, counts.nnz)
    if needed <= memory:
        return some(0, parts)
    ranges = _ranges(entries, memory // (ENTRY_BYTES + SEGMENT_BYTES))
    return _in_files((some(first, last) for first, last in ranges), folder, parts, needed)


def _ranges(entries: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Cuts row parts into runs of at most `limit` entries, of one part at least."""
    first = held = 0
    for part, size in enumerate(entries.tolist()):
        if part > first and held + size > limit:
            yield first, part
            first, held = part, 0
        held += size
    yield first, len(entries)


def _in_files(ranges: Iterator[GloveTiles], folder: Path, parts: int, needed: int) -> GloveTiles:
    """Append the tiles of ranges of row parts to one file per array, and map these."""
    paths = {name: folder / f"{name}.bin" for name in _TYPES}
    tile_begin = [np.zeros(1, np.int64)]
    segments = entries = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_space(folder, needed)
        with ExitStack() as stack:
            files = {name: stack.enter_context(open(path, "wb")) for name, path in paths.items()}
            for tiles in ranges:
                tile_begin.append(tiles.tile_begin[1:].numpy() + segments)
                files["segment_row"].write(tiles.segment_row.numpy().data)
                # The last begin is where the next range starts.
                files["segment_begin"].write((tiles.segment_begin[:-1].numpy() + entries).data)
                files["column"].write(tiles.column.numpy().data)
                files["log_count"].write(tiles.log_count.numpy().data)
                segments += tiles.segment_row.numel()
                entries += tiles.column.numel()
            files["segment_begin"].write(np.array([entries], np.int64).data)
    except OSError as error:
        for path in paths.values():
            path.unlink(missing_ok=True)
        if error.errno == errno.ENOSPC and error.filename is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise
    mapped = {
        name: torch.frombuffer(map_file(path), dtype=_TYPES[name]) for name, path in paths.items()
    }
    return GloveTiles(parts, torch.from_numpy(np.concatenate(tile_begin)), **mapped)


def round_sizes(tiles: GloveTiles) -> torch.Tensor:
    """Entries of each round of a pass, int64 [parts]."""
    tile_entries = tiles.segment_begin[tiles.tile_begin].diff()
    return tile_entries.view(tiles.parts, tiles.parts).sum(dim=0)
