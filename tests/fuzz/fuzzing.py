"""One damaged input after the other for a reader, and what becomes of each."""

from __future__ import annotations

import json
import shutil
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from fuzz.mutations import mutate
from fuzz.targets import Target
from lexforge._errors import NotInEncodingError
from lexforge.training.checkpoint import CheckpointError
from lexforge.training.state import TrainingDivergedError

# What a reader may raise. The others are ValueErrors too, but name no file; one kind does.
CLEAR = (ValueError, CheckpointError, FileNotFoundError, TrainingDivergedError)
NOT_CLEAR = (UnicodeError, json.JSONDecodeError)
LONGEST = 5.0  # seconds that a reader may take for a file of a few hundred bytes


class Outcome(NamedTuple):
    """Of one input: accepted, clear error, or what else came of it."""

    kind: str
    detail: str = ""


def make(target: Target, folder: Path) -> dict[str, bytes]:
    """The files of a valid input, by their names."""
    folder.mkdir(parents=True, exist_ok=True)
    target.make(folder)
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
    shutil.rmtree(folder)
    return files


def damaged(target: Target, files: dict[str, bytes], key: str) -> dict[str, bytes]:
    """`files` with one of them damaged, or gone; the same for the same key."""
    rng = Random(key)
    name = rng.choice([name for name in files if name.endswith(tuple(target.files))])
    if len(files) > 1 and rng.random() < 0.01:
        return {other: content for other, content in files.items() if other != name}
    return {**files, name: mutate(rng, files[name])}


def write(files: dict[str, bytes], folder: Path) -> None:
    """In place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def attempt(target: Target, folder: Path) -> Outcome:
    """Reads what is in the folder."""
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(folder)
        found = Outcome("accepted")
    except Exception as error:
        unclear = isinstance(error, NOT_CLEAR) and not isinstance(error, NotInEncodingError)
        if isinstance(error, CLEAR) and not unclear and str(error):
            found = Outcome("clear error")
        elif isinstance(error, MemoryError) and "free" in str(error):
            found = Outcome("clear error")  # by our own reckoning, before anything was taken
        else:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            found = Outcome("other", f"{type(error).__name__} at {place}: {error!s:.200}")
    seconds = time.perf_counter() - started
    return Outcome("other", f"{seconds:.1f} s") if seconds > LONGEST else found


def inputs(
    target: Target, name: str, files: dict[str, bytes], folder: Path, *, seed: int, first: int = 0
) -> Iterator[tuple[int, Outcome]]:
    """Number and outcome of one input after the other, without end."""
    number = first
    while True:
        write(damaged(target, files, f"{name} {seed} {number}"), folder)
        yield number, attempt(target, folder)
        number += 1
