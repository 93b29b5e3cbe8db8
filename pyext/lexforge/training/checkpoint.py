"""Checkpoints: a folder whose parts change together, or not at all.

    config.json         format version, kind of model, every hyper-parameter, vocabulary hash
    vocab.txt           "<word> <count>" per row
    model.safetensors   the tables, without padding
    trainer_state.json  where training stands, and the loss so far

These are the parts that word vectors have; other models have others, and are saved and read by
:func:`replacing_parts` and :func:`read_parts` alike.

A save writes all of them into the folder ``.partial`` inside the checkpoint, renames it to
``.commit`` (the moment from which the new checkpoint counts), and then moves the files up. The next
save, which holds the lock of the folder, finishes the moves of one that was killed, and throws a
``.partial`` away. A reader changes nothing: a part that lies in ``.commit`` counts, and one that
moves while it is read is read again. So a process may be killed at any instant, and others may read
at any instant, also where they may not write; other files in the folder stay as they are, and the
folder itself may be a mount point or a link.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial as bound
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lexforge._display import printable
from lexforge._files import COMMIT, flush, part
from lexforge._version import __version__
from lexforge.text.files import gensim_advice
from lexforge.training.lock import FolderInUseError, folder_of_run

if TYPE_CHECKING:
    import torch

    from lexforge.text import Vocabulary

FORMAT_VERSION = 1
CONFIG, VOCABULARY, TENSORS, STATE = (
    "config.json",
    "vocab.txt",
    "model.safetensors",
    "trainer_state.json",
)
# What only checkpoints of networks have: word vectors that replace one leave none of it behind.
_OF_NETWORKS = (
    "optimizer.safetensors",
    "vocab.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
_ROWS = 4096  # of a tensor, written or looked at together
_PARTIAL = ".partial"
_HEAD = 4096  # bytes of a file that tell what it is
_T = TypeVar("_T")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, or cannot be read as what it claims to be."""


@dataclass
class Checkpoint:
    """What :func:`load_checkpoint` found."""

    folder: Path
    config: dict[str, Any]
    vocabulary: Vocabulary
    state: dict[str, Any]
    tensors: dict[str, torch.Tensor]


def is_checkpoint(folder: str | os.PathLike) -> bool:
    """Whether the folder holds a checkpoint (complete or waiting for its last renames)."""
    # In this order: it may be moved up in between.
    return Path(folder, COMMIT, CONFIG).is_file() or Path(folder, CONFIG).is_file()


def save_checkpoint(
    folder: str | os.PathLike,
    *,
    config: Mapping[str, Any],
    vocabulary: Vocabulary,
    tensors: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
) -> None:
    """Write a checkpoint in place of the one the folder may hold.

    Args:
        folder: Created when absent. Files of other names in it are left alone, but for those of a
            network whose place these vectors take.
        config: JSON-able; the format version, library version and vocabulary hash are added.
        vocabulary: Saved with its counts.
        tensors: By name, float32 or int32, at least one dimension. Written some rows at a time, so
            that tables with padded rows, or on a GPU, are never copied whole.
        state: JSON-able.

    Raises:
        CheckpointError: The disk is full or refuses, or another process is training there; the
            previous checkpoint is intact.
    """
    header = {
        "format_version": FORMAT_VERSION,
        "library_version": __version__,
        "vocabulary_size": len(vocabulary),
        "vocabulary_sha1": vocabulary.sha1(),
    }
    replaces_network = _is_network(folder)
    with replacing_parts(folder) as partial:
        write_json(partial / CONFIG, {**header, **config})
        vocabulary.save(partial / VOCABULARY)
        write_tensors(partial / TENSORS, tensors)
        write_json(partial / STATE, state)
    if replaces_network:
        for name in _OF_NETWORKS:
            Path(folder, name).unlink(missing_ok=True)


def _is_network(folder: str | os.PathLike) -> bool:
    """Whether the folder holds a checkpoint in the layout of networks."""
    with suppress(OSError, CheckpointError):
        return "model_type" in read_json(part(folder, CONFIG))
    return False


@contextmanager
def replacing_parts(folder: str | os.PathLike) -> Iterator[Path]:
    """An empty folder for the parts of a checkpoint, which take their places when the block ends.

    Args:
        folder: Of the checkpoint; created when absent. Files of other names in it are left alone.

    Raises:
        CheckpointError: The disk is full or refuses, or another process is training there; the
            previous checkpoint is intact, as it is after any other error in the block.
    """
    from safetensors import SafetensorError

    folder = Path(folder)
    partial = folder / _PARTIAL
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_of_run(folder))
        except (OSError, FolderInUseError) as error:
            raise CheckpointError(_why_not_written(folder, error)) from error
        try:
            _finish_interrupted_save(folder)
            partial.mkdir()
            yield partial
            for file in partial.iterdir():
                flush(file)
            flush(partial)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, (OSError, SafetensorError)):
                raise CheckpointError(_why_not_written(folder, error)) from error
            raise
        os.rename(partial, folder / COMMIT)
        _finish_interrupted_save(folder)


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """A safetensors file of float64, float32, float16, bfloat16 or int32 tensors, and of strings.

    The library's own writer would copy the tensors first, and takes no name that is not UTF-8.
    """
    import torch

    types = {
        torch.float64: "F64",
        torch.float32: "F32",
        torch.float16: "F16",
        torch.bfloat16: "BF16",
        torch.int32: "I32",
    }
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in types:
            raise TypeError(
                f"{name} must be float64, float32, float16, bfloat16 or int32, got {tensor.dtype}"
            )
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": types[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            for rows in tensor.detach().split(_ROWS):
                rows = rows.cpu().contiguous()
                # A stride along which there is one number is any; as bytes it would have to be 1.
                flat = rows.as_strided((rows.numel(),), (1,))
                file.write(flat.view(torch.uint8).numpy().data)


def check_savable(folder: str | os.PathLike, tensors: Mapping[str, torch.Tensor]) -> None:
    """CheckpointError naming the tensor, when one that is to be saved holds nan or infinity."""
    for name, tensor in tensors.items():
        # A part at a time: a reduction of a view with padded rows copies what it is given.
        if not all(part.abs().amax().isfinite() for part in tensor.split(_ROWS)):
            raise CheckpointError(
                f"checkpoint {folder} was not written: the {name} table holds nan or infinity"
            )


def fill_tensors(
    folder: str | os.PathLike,
    views: Mapping[str, torch.Tensor],
    found: Mapping[str, torch.Tensor],
) -> None:
    """Copy the tensors of a checkpoint into a model's own, by name.

    Raises:
        CheckpointError: One is missing, or of another shape.
    """
    for name, view in views.items():
        tensor = found.get(name)
        if tensor is None or tensor.shape != view.shape:
            actual = "nothing" if tensor is None else tuple(tensor.shape)
            raise CheckpointError(
                f"{folder} is damaged: {name} must be {tuple(view.shape)}, got {actual}"
            )
        view.copy_(tensor)


def load_checkpoint(
    folder: str | os.PathLike, *, model: str, integers: Collection[str] = ()
) -> Checkpoint:
    """Read a checkpoint and check that its parts belong together.

    Args:
        folder: Written by :func:`save_checkpoint`.
        model: The kind of model expected, ``config["model"]``.
        integers: Names of tensors that are int32, where they are there; others are float32.

    Raises:
        FileNotFoundError: There is no checkpoint there.
        CheckpointError: A part is missing, damaged, truncated, or of another model.
    """
    parts = (CONFIG, VOCABULARY, TENSORS, STATE)
    return read_parts(folder, parts, lambda part: _read(Path(folder), part, model, integers))


def _read(
    folder: Path, part: Callable[[str], Path], model: str, integers: Collection[str]
) -> Checkpoint:
    from lexforge.text import Vocabulary

    config, state = read_json(part(CONFIG)), read_json(part(STATE))
    if config.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{part(CONFIG)}: format_version must be {FORMAT_VERSION}, "
            f"got {config.get('format_version')!r}"
        )
    if config.get("model") != model:
        raise CheckpointError(
            f"{part(CONFIG)}: model must be {model!r}, got {config.get('model')!r}"
        )
    try:
        vocabulary = Vocabulary.load(part(VOCABULARY))
    except (ValueError, OverflowError) as error:
        raise CheckpointError(f"{part(VOCABULARY)} is damaged: {error}") from error
    if vocabulary.sha1() != config.get("vocabulary_sha1"):
        raise CheckpointError(
            f"{part(VOCABULARY)} is damaged: its words and counts are not those that "
            f"{CONFIG} names ({len(vocabulary)} words, {config.get('vocabulary_size')} expected)"
        )
    tensors = read_tensors(part(TENSORS))
    check_finite(tensors, part(TENSORS), integers)
    return Checkpoint(folder, config, vocabulary, state, tensors)


def read_parts(
    folder: str | os.PathLike, parts: Sequence[str], read: Callable[[Callable[[str], Path]], _T]
) -> _T:
    """What `read` makes of a complete checkpoint, whose parts are all of one save.

    Nothing is written, and a process that saves meanwhile is not disturbed.

    Args:
        folder: Written by :func:`replacing_parts`.
        parts: The names of files that must be there.
        read: Called with a function that tells where the part of a name is; again when a save took
            place meanwhile.

    Raises:
        FileNotFoundError: There is no checkpoint there.
        CheckpointError: A part is missing.
    """
    folder = Path(folder)
    if folder.is_file():
        with open(folder, "rb") as file:
            advice = gensim_advice(file.read(_HEAD), str(folder), model=True)
        if advice is not None:
            raise CheckpointError(f"{folder}: {advice}")
        raise CheckpointError(
            f"{folder} must be a folder that save made, and is a file (load_vectors reads vector "
            "files, and nothing reads pickles)"
        )
    while True:
        before = _moment(folder)
        try:
            if not is_checkpoint(folder):
                raise FileNotFoundError(f"{folder} holds no checkpoint (no {CONFIG})")
            for name in parts:
                if not part(folder, name).is_file():
                    raise CheckpointError(
                        f"{folder} is not a complete checkpoint: {name} is missing"
                    )
            found = read(bound(part, folder))
        except Exception:
            if _moment(folder) == before:
                raise
        else:
            if _moment(folder) == before:
                return found


def _moment(folder: Path) -> tuple[tuple[int, int, int] | None, list[str]]:
    """What changes with every save, and with every file that it moves up.

    In this order: whoever sees the configuration of a save sees all that waits after it.
    """
    config = None
    waiting: list[str] = []
    for path in (folder / COMMIT / CONFIG, folder / CONFIG):
        with suppress(OSError):
            found = path.stat()
            config = (found.st_dev, found.st_ino, found.st_mtime_ns)
            break
    with suppress(OSError):
        waiting = sorted(os.listdir(folder / COMMIT))
    return config, waiting


@contextmanager
def open_tensors(path: str | os.PathLike, framework: str = "pt") -> Iterator[Any]:
    """A safetensors file as the library opens it, whatever its name.

    Raises:
        SafetensorError: it is truncated or damaged. OSError: it cannot be read.
    """
    from safetensors import safe_open

    with open(path, "rb") as file:
        try:
            name = os.fspath(path)
            name.encode()
        except UnicodeEncodeError:  # the library knows names in UTF-8 only
            name = f"/dev/fd/{file.fileno()}"
        with safe_open(name, framework=framework) as tensors:
            yield tensors


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: It is truncated or damaged.
    """
    from safetensors import SafetensorError

    try:
        with open_tensors(path) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or damaged: {printable(error)}") from error


def check_finite(
    tensors: Mapping[str, torch.Tensor], path: str | os.PathLike, integers: Collection[str] = ()
) -> None:
    """CheckpointError naming the file, if a tensor is not float32 or holds infinities or nan.

    Those that `integers` names must be int32.
    """
    import torch

    for name, tensor in tensors.items():
        expected = torch.int32 if name in integers else torch.float32
        if tensor.dtype != expected:
            raise CheckpointError(
                f"{path} is damaged: {name} must be {str(expected)[6:]}, got {tensor.dtype}"
            )
        # A part at a time: a reduction of a view with padded rows copies what it is given.
        for rows in tensor.detach().split(_ROWS) if tensor.numel() and tensor.dim() else ():
            if not torch.stack(torch.aminmax(rows)).isfinite().all():
                raise CheckpointError(f"{path} is damaged: {name} holds nan or infinity")


def drop_checkpoint(folder: str | os.PathLike, parts: Sequence[str]) -> None:
    """Remove these files of a checkpoint, and what an interrupted save has left.

    Args:
        folder: Whose lock is held; files of other names in it are left alone.
        parts: After the first one has gone this is no checkpoint any more.
    """
    for name in parts:
        for place in (Path(folder, COMMIT), Path(folder)):
            (place / name).unlink(missing_ok=True)
    for name in (COMMIT, _PARTIAL):
        shutil.rmtree(Path(folder, name), ignore_errors=True)


def _finish_interrupted_save(folder: Path) -> None:
    """By a writer, who holds the lock."""
    shutil.rmtree(folder / _PARTIAL, ignore_errors=True)
    commit = folder / COMMIT
    if commit.is_dir():
        for file in commit.iterdir():
            os.replace(file, folder / file.name)
        commit.rmdir()
        flush(folder)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A JSON object, readable."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    # What is no Unicode, as parts of a file's name may be, becomes what JSON writes for it: \udcff.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path) -> dict[str, Any]:
    """The inverse of :func:`write_json`.

    Raises:
        CheckpointError: It is truncated or damaged.
    """
    from lexforge.text import lines

    try:
        return lines.read_json(path)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def _why_not_written(folder: Path, error: Exception) -> str:
    full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
    reason = "no space left on the disk" if full else str(error)
    kept = "; the previous checkpoint there is intact" if is_checkpoint(folder) else ""
    return f"checkpoint {folder} was not written: {reason}{kept}"
