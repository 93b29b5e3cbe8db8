"""Files of published networks: their weights, in one file or in shards, and their tokenizers.

    model.safetensors, or pytorch_model.bin instead, or either of them in shards, which a file
    NAME.index.json lists: {"weight_map": {tensor: file, ...}, ...}

Nothing is unpickled but tensors. What the tensors are called is the families' own.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lexforge.text.tokenizers.published import TOKENIZER, TOKENIZER_CONFIG, load_tokenizer
from lexforge.training.checkpoint import CONFIG, TENSORS, CheckpointError, read_json, read_tensors

if TYPE_CHECKING:
    from lexforge.text.tokenizers.base import Tokenizer

PICKLED = "pytorch_model.bin"
INDEX = ".index.json"  # after the name of a file: of the one that lists its shards

Part = Callable[[str], Path]  # where a part of a folder is


def read_weights(folder: Path, part: Part) -> dict[str, Tensor]:
    """The tensors of the first of the known files that is there."""
    for name, read in _WEIGHTS.items():
        if part(name).is_file():
            return read(part(name))
        if part(name + INDEX).is_file():
            return _read_shards(part, part(name + INDEX), read)
    raise CheckpointError(f"{folder} must hold {' or '.join(_WEIGHTS)}, and holds neither")


def _read_shards(part: Part, index: Path, read: Callable[[Path], dict[str, Tensor]]) -> Any:
    """The tensors that an index lists, from the files in which it says they are."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index}: weight_map must be an object of file names")
    tensors: dict[str, Tensor] = {}
    for name in dict.fromkeys(places.values()):
        if Path(name).name != name or name == "..":
            raise CheckpointError(f"{index}: shards must be files beside it, got {name!r}")
        if not os.path.isfile(part(name)):
            raise CheckpointError(f"{index}: the shard {name:.80} is missing")
        wanted, found = [key for key, place in places.items() if place == name], read(part(name))
        if missing := [key for key in wanted if key not in found]:
            raise CheckpointError(f"{part(name)} must hold {', '.join(missing)}, as {INDEX} says")
        tensors |= {key: found[key] for key in wanted}
    return tensors


class Differences(NamedTuple):
    """How tensors found in a file differ from those of a model."""

    missing: list[str]
    unexpected: list[str]
    unsuitable: list[str]  # with what is wrong: shape or dtype

    @classmethod
    def between(cls, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Differences:
        """Of the tensors expected and those found, by name."""
        unsuitable = []
        for name in expected.keys() & found.keys():
            want, have = expected[name], found[name]
            if have.shape != want.shape:
                unsuitable.append(f"{name} must be {list(want.shape)}, got {list(have.shape)}")
            elif not have.is_floating_point():
                unsuitable.append(f"{name} must be floating-point, got {have.dtype}")
        return cls(
            sorted(expected.keys() - found.keys()),
            sorted(found.keys() - expected.keys()),
            sorted(unsuitable),
        )

    def describe(self, source: str | os.PathLike, advice: str = "") -> str:
        """All of it, a line each, and what would help at the end."""
        lines = [f"{source} does not hold the tensors of its configuration"]
        for kind, names in zip(("missing", "unexpected", "unsuitable"), self, strict=True):
            lines += [f"  {kind}: {name}" for name in names]
        if advice:
            lines.append(f"  {advice}")
        return "\n".join(lines)


def read_tokenizer(folder: str | os.PathLike) -> Tokenizer | None:
    """The tokenizer of a folder; None where there is none that can be read.

    What is wrong with a tokenizer.json, or with what tokenizer_config.json names, is warned of; a
    vocab.txt without special tokens is a vocabulary and no tokenizer.
    """
    try:
        return load_tokenizer(folder)
    except FileNotFoundError:
        return None
    except ValueError as error:
        names = (TOKENIZER, TOKENIZER_CONFIG)
        if any(Path(folder, name).exists() for name in names):
            warnings.warn(f"the tokenizer is left out: {error}", stacklevel=3)
        return None


def fill(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Copy what is found to the tensors of its names."""
    for name in expected.keys() & found.keys():
        expected[name].copy_(found[name])


def bare_name(name: str) -> str:
    """Without what torch.compile and DistributedDataParallel put before names."""
    name = name.replace("_orig_mod.", "")
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def unpickled(path: Path, file: Any = None) -> Any:
    """What torch saved, in a file or in what was read from it: tensors and plain values alone."""
    try:
        return torch.load(path if file is None else file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # damage shows in many ways
        reason = str(error).split("\n")[0]
        raise CheckpointError(f"{path} must be a state dict of tensors: {reason}") from error


def check_tensors(state: Any, source: str | os.PathLike) -> dict[str, Tensor]:
    """The tensors by name; CheckpointError if it is anything else."""
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise CheckpointError(f"{source} must be a state dict of tensors, got something else")
    return dict(state)


def state_dict(path: Path, file: Any = None) -> dict[str, Tensor]:
    """Of a file, or of what was read from it."""
    return check_tensors(unpickled(path, file), path)


def bare_names(tensors: Mapping[str, Tensor], source: str | os.PathLike) -> dict[str, Tensor]:
    """By their bare names; CheckpointError if two have the same."""
    bare: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if bare_name(name) in bare:
            raise CheckpointError(f"{source} holds more than one tensor for {bare_name(name)}")
        bare[bare_name(name)] = tensor
    return bare


def check_layers(
    block: str, key: str, wanted: int, tensors: Mapping[str, Tensor], source: str | os.PathLike
) -> None:
    """CheckpointError if more blocks are wanted than the tensors have.

    Args:
        block: what names of a block's tensors begin with, with its number in place of {}.
        key: of the configuration, that says how many are wanted.
    """
    pattern = re.escape(block).replace(r"\{\}", r"(\d+)")
    found = 1 + max((int(m[1]) for name in tensors if (m := re.match(pattern, name))), default=-1)
    if wanted > found:
        raise CheckpointError(
            f"{source}: {CONFIG}: {key} must be at most {found}, the layers that its "
            f"tensors are of, got {wanted}"
        )


# How files of weights are read, by their names; the first one that is there counts.
_WEIGHTS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    TENSORS: read_tensors,
    PICKLED: state_dict,
}
