"""Files of BERT: folders in the layout of Hugging Face's transformers, and the text's archives.

    folder    config.json, model.safetensors (or pytorch_model.bin, which is read only) and,
              optionally, vocab.txt: one token per line, numbered from 0
    archive   a zip (or what it unpacks to) of vocab.json, an array of tokens, and
              pretrained.params, a state dict

Nothing is unpickled but tensors. Here are names, shapes and bytes; what a configuration means is
:class:`lexforge.models.bert.model.BertConfig`'s.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lexforge._files import DAMAGED_ZIP, replacing
from lexforge.text.lines import numbered_words, parse_json, read_lines
from lexforge.training.checkpoint import (
    CONFIG,
    TENSORS,
    VOCABULARY,
    CheckpointError,
    open_parts,
    read_json,
    read_tensors,
    replacing_parts,
    write_json,
    write_tensors,
)

PICKLED = "pytorch_model.bin"
ARCHIVE_VOCABULARY, ARCHIVE_TENSORS = "vocab.json", "pretrained.params"


class Names(NamedTuple):
    """What a layout calls the tensors; layers without the ending .weight or .bias."""

    token: str  # table
    segment: str  # table
    position: str  # table
    embedding_norm: str | None
    block: str  # before the names of the next nine, with the block's number in it
    query: str
    key: str
    value: str
    projection: str
    attention_norm: str
    expansion: str
    contraction: str
    output_norm: str
    hidden: str
    head_dense: str
    head_norm: str
    head_weight: str  # tensor
    head_bias: str  # tensor
    nsp: str


HUGGING_FACE = Names(
    token="bert.embeddings.word_embeddings.weight",
    segment="bert.embeddings.token_type_embeddings.weight",
    position="bert.embeddings.position_embeddings.weight",
    embedding_norm="bert.embeddings.LayerNorm",
    block="bert.encoder.layer.{}.",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    projection="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    expansion="intermediate.dense",
    contraction="output.dense",
    output_norm="output.LayerNorm",
    hidden="bert.pooler.dense",
    head_dense="cls.predictions.transform.dense",
    head_norm="cls.predictions.transform.LayerNorm",
    head_weight="cls.predictions.decoder.weight",
    head_bias="cls.predictions.bias",
    nsp="cls.seq_relationship",
)
DECODER_BIAS = "cls.predictions.decoder.bias"  # what transformers adds; the same as head_bias
ARCHIVE = Names(
    token="encoder.token_embedding.weight",
    segment="encoder.segment_embedding.weight",
    position="encoder.pos_embedding",  # [1, P, H]
    embedding_norm=None,
    block="encoder.blks.{}.",
    query="attention.W_q",
    key="attention.W_k",
    value="attention.W_v",
    projection="attention.W_o",
    attention_norm="addnorm1.ln",
    expansion="ffn.dense1",
    contraction="ffn.dense2",
    output_norm="addnorm2.ln",
    hidden="hidden.0",
    head_dense="mlm.mlp.0",
    head_norm="mlm.mlp.2",
    head_weight="mlm.mlp.3.weight",
    head_bias="mlm.mlp.3.bias",
    nsp="nsp.output",
)
# Buffers that older files hold.
_BUFFERS = ("bert.embeddings.position_ids", "bert.embeddings.token_type_ids")


def read_folder(
    folder: str | os.PathLike,
) -> tuple[dict[str, Any], dict[str, Tensor], list[str] | None]:
    """The configuration, the tensors by their current names, and the tokens if there are any.

    Raises:
        FileNotFoundError: there is no model. CheckpointError: a part is missing or damaged.
    """
    folder = open_parts(folder, [CONFIG])
    config = read_json(folder / CONFIG)
    if (folder / TENSORS).is_file():
        tensors = read_tensors(folder / TENSORS)
    elif (folder / PICKLED).is_file():
        tensors = _state_dict(folder / PICKLED, folder / PICKLED)
    else:
        raise CheckpointError(f"{folder} must hold {TENSORS} or {PICKLED}, and holds neither")
    return config, _current_names(tensors, folder), _read_words(folder / VOCABULARY)


def write_folder(
    folder: str | os.PathLike,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    words: Sequence[str] | None,
) -> None:
    """Write a folder's files, which take their places together; others stay.

    Raises:
        CheckpointError: the disk is full or refuses; what was there is intact.
    """
    with replacing_parts(folder) as partial:
        write_json(partial / CONFIG, config)
        if words is not None:
            (partial / VOCABULARY).write_bytes("".join(f"{word}\n" for word in words).encode())
        write_tensors(partial / TENSORS, {name: x.float() for name, x in tensors.items()})


def read_archive(path: str | os.PathLike) -> tuple[list[str], dict[str, Tensor]]:
    """The tokens and the tensors of a text archive, a zip or the folder that it unpacks to.

    Raises:
        FileNotFoundError: there is nothing. CheckpointError: a part is missing or damaged.
    """
    path = Path(path)
    if path.is_dir():
        parts = [
            (path / name).read_bytes()
            for name in _both(path, [file.name for file in path.iterdir()])
        ]
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                parts = [archive.read(name) for name in _both(path, archive.namelist())]
        except CheckpointError:
            raise
        except DAMAGED_ZIP as error:
            raise CheckpointError(f"{path} is no zip archive, or damaged: {error}") from error
    source = path / ARCHIVE_VOCABULARY
    try:
        words = numbered_words(parse_json(parts[0], source, list), source)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    tensors = _state_dict(path / ARCHIVE_TENSORS, io.BytesIO(parts[1]))
    return words, {_bare(name): tensor for name, tensor in tensors.items()}


def write_archive(
    path: str | os.PathLike, words: Sequence[str], tensors: Mapping[str, Tensor]
) -> None:
    """Write a text archive; the tensors are copied, so that none brings its neighbours along."""
    state = {name: tensor.float().cpu().clone() for name, tensor in tensors.items()}
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(ARCHIVE_VOCABULARY, json.dumps(list(words)))
        with archive.open(ARCHIVE_TENSORS, "w", force_zip64=True) as part:
            torch.save(state, part)


def unite_head(
    tensors: dict[str, Tensor], *, tied: bool, source: str | os.PathLike
) -> dict[str, Tensor]:
    """Tensors under Hugging Face's names, with the output layer as :func:`named_tensors` has it.

    Files may hold its bias under either or both names, and the tied weight once more.

    Raises:
        CheckpointError: what should be tied differs.
    """
    tensors = dict(tensors)
    names = HUGGING_FACE
    same = [(names.token, names.head_weight), (names.head_bias, DECODER_BIAS)] if tied else []
    differing = [
        f"{second} differs from {first}"
        for first, second in same
        if first in tensors
        and second in tensors
        and not torch.equal(tensors[first], tensors[second])
    ]
    if differing:
        raise CheckpointError(f"{source}: its head must be tied, but {' and '.join(differing)}")
    if DECODER_BIAS in tensors:
        tensors[names.head_bias] = tensors.pop(DECODER_BIAS)
    if tied:
        tensors.pop(names.head_weight, None)
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

    def describe(self, source: str | os.PathLike) -> str:
        """All of it, a line each."""
        lines = [f"{source} does not hold the tensors of its configuration"]
        for kind, names in zip(("missing", "unexpected", "unsuitable"), self, strict=True):
            lines += [f"  {kind}: {name}" for name in names]
        return "\n".join(lines)


def fill(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Copy what is found to the tensors of its names."""
    for name in expected.keys() & found.keys():
        expected[name].copy_(found[name])


def archive_sizes(tensors: Mapping[str, Tensor], path: str | os.PathLike) -> dict[str, int]:
    """What the shapes in an archive tell, as arguments of ``BertConfig.reference``.

    Raises:
        CheckpointError: a tensor that tells a size is missing or has too few dimensions.
    """
    blocks = {int(i) for i in _numbers(r"encoder\.blks\.(\d+)\.", tensors)}
    telling: dict[str, Callable[[Tensor], dict[str, int]]] = {
        ARCHIVE.token: lambda x: {"vocab_size": x.shape[0], "num_hiddens": x.shape[1]},
        ARCHIVE.position: lambda x: {"max_len": x.shape[1]},
    }
    if blocks:
        name = f"{ARCHIVE.block.format(min(blocks))}{ARCHIVE.expansion}.weight"
        telling[name] = lambda x: {"ffn_num_hiddens": x.shape[0]}
    if missing := [name for name in telling if name not in tensors or tensors[name].dim() < 2]:
        raise CheckpointError(f"{path} must hold the matrices {', '.join(missing)}")
    sizes = {"num_blks": max(blocks, default=-1) + 1, "ffn_num_hiddens": 1}
    for name, tell in telling.items():
        sizes |= tell(tensors[name])
    return sizes


def _numbers(pattern: str, names: Iterable[str]) -> list[str]:
    return [match[1] for name in names if (match := re.match(pattern, name))]


def _current_names(tensors: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Tensors by the names of current files, from those of older and wrapped models."""
    renamed = {name: _bare(name) for name in tensors}
    if not any(name.startswith("bert.") for name in renamed.values()):  # of an encoder alone
        for old, name in renamed.items():
            if name.startswith(("embeddings.", "encoder.", "pooler.")):
                renamed[old] = f"bert.{name}"
    current: dict[str, Tensor] = {}
    twice = []
    for old, name in renamed.items():
        name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
        name = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
        if name in current:
            twice.append(name)
        if name not in _BUFFERS:
            current[name] = tensors[old]
    if twice:
        raise CheckpointError(f"{source} holds more than one tensor for {', '.join(twice)}")
    return current


def _bare(name: str) -> str:
    """Without what torch.compile and DistributedDataParallel put before names."""
    name = name.replace("_orig_mod.", "")
    while name.startswith("module."):
        name = name.removeprefix("module.")
    return name


def _state_dict(path: Path, file: Any) -> dict[str, Tensor]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows in many ways
        reason = str(error).split("\n")[0]
        raise CheckpointError(f"{path} must be a state dict of tensors: {reason}") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise CheckpointError(f"{path} must be a state dict of tensors, got something else")
    return dict(state)


def _read_words(path: Path) -> list[str] | None:
    if not path.is_file():
        return None
    try:
        return read_lines(path)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def _both(path: Path, names: Iterable[str]) -> list[str]:
    """Where an archive has its two parts, which may lie in a folder."""
    names = list(names)
    found = []
    for part in (ARCHIVE_VOCABULARY, ARCHIVE_TENSORS):
        members = [name for name in names if name.rsplit("/", 1)[-1] == part]
        if len(members) != 1:
            raise CheckpointError(f"{path} must hold one {part}, got {len(members)}")
        found += members
    return found
