"""Training of GloVe: the counts in training order, and the kernel over their tiles."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from lexforge.models.cooccurrence.counts import Cooccurrence
from lexforge.models.glove.settings import GloVeSettings
from lexforge.models.glove.tiles import build_tiles, round_sizes
from lexforge.ops.glove.glove_tiles import GloveTiles
from lexforge.ops.glove.glove_train import glove_train_
from lexforge.training.progress import Progress
from lexforge.training.stream_job import Steps, StreamState, on_device

SCRATCH = ".tiles"  # folder, in that of a run, of the training order


@contextmanager
def tiles_of(
    counts: Cooccurrence,
    folder: str | os.PathLike | None,
    *,
    parts: int,
    seed: int,
    memory: int,
    threads: int | None,
    progress: Progress,
) -> Iterator[GloveTiles]:
    """The counts in training order; files that hold them go away again."""
    scratch = (
        tempfile.TemporaryDirectory(prefix="lexforge-")
        if folder is None
        else _emptied(Path(folder) / SCRATCH)
    )
    with scratch as files:
        yield build_tiles(
            counts,
            Path(files),
            parts=parts,
            seed=seed,
            memory=memory,
            threads=threads,
            report=progress.phase("sorting", "entries"),
        )


def glove_steps(
    tiles: GloveTiles,
    settings: GloVeSettings,
    state: StreamState,
    tables: Mapping[str, torch.Tensor],
    *,
    device: torch.device,
    threads: int | None,
    refresh: Callable[[], None],
) -> Steps:
    """Weighted least squares; positions are rounds of tiles that share no row.

    Args:
        tables: The model's, ``word`` and ``context``, on the CPU (``ops.glove_table``).
        refresh: Called when the tables have changed.
    """
    parts, sizes = tiles.parts, round_sizes(tiles)
    tiles = tiles.to(device)
    stats = torch.zeros(2, dtype=torch.float64, device=device)
    placed, fetch, send = on_device(tables, device, refresh)

    def begin_of(epoch: int) -> int:
        return first_round(parts, settings.seed, state.first_epoch + epoch)

    def offsets(epoch: int) -> torch.Tensor:
        before = sizes.roll(-begin_of(epoch)).cumsum(dim=0)
        return torch.cat([torch.zeros(1, dtype=torch.int64), before])

    def step(epoch: int, first: int, last: int) -> None:
        begin = begin_of(epoch)
        for first_of_call, last_of_call in rounds_between(parts, begin + first, begin + last):
            glove_train_(
                placed["word"],
                placed["context"],
                stats,
                tiles,
                first_round=first_of_call,
                last_round=last_of_call,
                dim=settings.vector_size,
                optimizer=settings.optimizer,
                learning_rate=settings.learning_rate,
                bias_rate=settings.bias_factor,
                x_max=settings.x_max,
                alpha=settings.alpha,
                clip=settings.grad_clip,
                threads=threads,
            )

    return Steps(offsets, step, stats, fetch, send)


def first_round(parts: int, seed: int, epoch: int) -> int:
    """The round that a pass begins with; the others follow in turn, past the last one from 0 on.

    Multiples of the golden ratio spread the beginnings of passes evenly, and need no state.
    """
    return ((seed + epoch) * 0x9E3779B97F4A7C15 % 2**64) * parts >> 64


def rounds_between(parts: int, first: int, last: int) -> list[tuple[int, int]]:
    """Rounds [first, last) of at most two turns, as ranges within one."""
    if last <= parts:
        return [(first, last)]
    if first >= parts:
        return [(first - parts, last - parts)]
    return [(first, parts), (0, last - parts)]


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """A folder for the time being, without what a process that was killed left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
