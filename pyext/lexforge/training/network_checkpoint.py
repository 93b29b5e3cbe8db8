"""The folder of a network's run: what others can read, and what a resume needs.

config.json, model.safetensors  and more: as the network's family writes them, with a tokenizer
optimizer.safetensors           :meth:`NetworkOptimizer.tensors`
trainer_state.json              settings, and where training stands
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from lexforge._version import __version__
from lexforge.training.checkpoint import (
    CONFIG,
    FORMAT_VERSION,
    STATE,
    TENSORS,
    CheckpointError,
    check_finite,
    read_json,
    read_parts,
    read_tensors,
    replacing_parts,
    write_json,
    write_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor

OPTIMIZER = "optimizer.safetensors"
BEST = "best"  # folder of the checkpoint with the lowest loss on held-out data
KEPT = "step-"  # and the step: folders of earlier checkpoints
_Content = TypeVar("_Content")


class SavedRun(NamedTuple, Generic[_Content]):
    """What :func:`load_run` found."""

    content: _Content  # what the family's reader made of it
    optimizer: dict[str, Tensor]
    record: dict[str, Any]


def save_run(
    folder: str | os.PathLike,
    *,
    write: Callable[[Path], None],
    optimizer: Mapping[str, Tensor],
    record: Mapping[str, Any],
    step: int,
    keep: int = 0,
) -> None:
    """Write a checkpoint in place of the one the folder may hold.

    Args:
        folder: created when absent.
        write: writes the files of the network, and what goes with it, into the folder it is given.
        record: JSON-able; format and library version are added.
        step, keep: the checkpoint also goes to ``step-<step>`` in the folder, where the last `keep`
            of them stay.

    Raises:
        CheckpointError: the disk is full or refuses; the previous checkpoint is intact.
    """
    folder = Path(folder)
    with replacing_parts(folder) as partial:
        write(partial)
        write_tensors(partial / OPTIMIZER, optimizer)
        header = {"format_version": FORMAT_VERSION, "library_version": __version__}
        write_json(partial / STATE, {**header, **record})
        names = [file.name for file in partial.iterdir()]
    if keep:
        with replacing_parts(folder / f"{KEPT}{step:08}") as partial:
            for name in names:
                _same_file(folder / name, partial / name)
        _forget(folder, step, keep)


def _forget(folder: Path, step: int, keep: int) -> None:
    """Remove all but the last checkpoints; those of later steps are of a run before this one."""
    found = {
        int(path.name.removeprefix(KEPT)): path
        for path in folder.glob(f"{KEPT}*")
        if path.name.removeprefix(KEPT).isdecimal()
    }
    stay = sorted(number for number in found if number <= step)[-keep:]
    for number in found.keys() - set(stay):
        shutil.rmtree(found[number])


def _same_file(source: Path, target: Path) -> None:
    """A second name where the file system has them: checkpoints replace files, and change none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def load_run(
    folder: str | os.PathLike, read: Callable[[Path], _Content], parts: tuple[str, ...] = ()
) -> SavedRun[_Content]:
    """Read what :func:`save_run` wrote.

    Args:
        read: reads what `write` wrote; its parameters are looked at by itself.
        parts: names of files, besides ``config.json`` and ``model.safetensors``, that it needs.

    Raises:
        FileNotFoundError: there is no checkpoint there.
        CheckpointError: a part is missing, damaged or truncated, holds numbers that are not finite,
            or there is a model alone.
    """
    needed = (CONFIG, TENSORS, *parts, OPTIMIZER, STATE)
    return read_parts(folder, needed, lambda part: _read(Path(folder), part, read))


def _read(
    folder: Path, part: Callable[[str], Path], read: Callable[[Path], _Content]
) -> SavedRun[_Content]:
    record = read_json(part(STATE))
    if record.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{part(STATE)}: format_version must be {FORMAT_VERSION}, "
            f"got {record.get('format_version')!r}"
        )
    try:
        content = read(folder)
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{folder} is damaged: {error}") from error
    optimizer = read_tensors(part(OPTIMIZER))
    check_finite(optimizer, part(OPTIMIZER))
    return SavedRun(content, optimizer, record)
