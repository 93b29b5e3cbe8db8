"""Files of BERT: folders in the layout of Hugging Face's transformers, and the text's archives.

    folder    config.json, model.safetensors and, optionally, vocab.txt: one token per line,
              numbered from 0, and what else its tokenizer has. Read only: pytorch_model.bin
              instead, and either of them in shards, which a file NAME.index.json lists:
              {"weight_map": {tensor: file, ...}, ...}
    archive   a zip (or what it unpacks to) of vocab.json, an array of tokens, and
              pretrained.params, a state dict

Nothing is unpickled but tensors. Here are names, shapes and bytes; what a configuration means is
:class:`lexforge.models.bert.config.BertConfig`'s.
"""

from __future__ import annotations

import io
import json
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lexforge._compressed import DAMAGED_ZIP, is_damage
from lexforge._files import replacing
from lexforge.text.lines import numbered_words, parse_json, read_lines
from lexforge.text.tokenizers.published import TOKENIZER, TOKENIZER_CONFIG, load_tokenizer
from lexforge.training.checkpoint import (
    CONFIG,
    TENSORS,
    VOCABULARY,
    CheckpointError,
    read_json,
    read_parts,
    read_tensors,
    replacing_parts,
    write_json,
    write_tensors,
)
from lexforge.training.memory import available_memory, show_bytes

if TYPE_CHECKING:
    from lexforge.text.tokenizers.base import Tokenizer

PICKLED = "pytorch_model.bin"
INDEX = ".index.json"  # after the name of a file: of the one that lists its shards
ARCHIVE_VOCABULARY, ARCHIVE_TENSORS = "vocab.json", "pretrained.params"


_Part = Callable[[str], Path]  # where a part of a folder is


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
# The parts of a model that a file may be without, by the names of their attributes: what the names
# of their tensors begin with, and what they are.
PARTS = {
    "hidden": ("bert.pooler.", "pooler"),
    "mlm": ("cls.predictions.", "masked-LM head"),
    "nsp": ("cls.seq_relationship.", "next-sentence head"),
}
# Of other tasks, which files of transformers hold beside an encoder.
TASK_HEADS = ("classifier.", "qa_outputs.")
# Of a classifier of texts: its output layer, and what transformers calls it.
CLASSIFIER, CLASSIFICATION = "classifier", "BertForSequenceClassification"
# What transformers calls a model with these parts, beside the pooler.
ARCHITECTURES = {
    ("mlm", "nsp"): "BertForPreTraining",
    ("mlm",): "BertForMaskedLM",
    ("nsp",): "BertForNextSentencePrediction",
    (): "BertModel",
}
# A member of an archive of that size that is so many times as long as it is packed holds nothing
# but the same byte over and over: tensors are at most twice as long, words four times.
_LONG_MEMBER, _LARGEST_RATIO = 10**8, 100
# Buffers that older files hold.
_BUFFERS = ("bert.embeddings.position_ids", "bert.embeddings.token_type_ids")


def read_folder(
    folder: str | os.PathLike,
) -> tuple[dict[str, Any], dict[str, Tensor], list[str] | None]:
    """The configuration, the tensors by their current names, and the tokens if there are any.

    Raises:
        FileNotFoundError: there is no model. CheckpointError: a part is missing or damaged.
    """
    folder = Path(folder)

    def read(part: _Part) -> tuple[dict[str, Any], dict[str, Tensor], list[str] | None]:
        tensors = _current_names(_read_weights(folder, part), folder)
        return read_json(part(CONFIG)), tensors, _read_words(part(VOCABULARY))

    return read_parts(folder, [CONFIG], read)


def _read_weights(folder: Path, part: _Part) -> dict[str, Tensor]:
    """The tensors of the first of the known files that is there."""
    for name, read in _WEIGHTS.items():
        if part(name).is_file():
            return read(part(name))
        if part(name + INDEX).is_file():
            return _read_shards(part, part(name + INDEX), read)
    raise CheckpointError(f"{folder} must hold {' or '.join(_WEIGHTS)}, and holds neither")


def _read_shards(part: _Part, index: Path, read: Callable[[Path], dict[str, Tensor]]) -> Any:
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


def write_folder(
    folder: str | os.PathLike,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    words: Sequence[str] | None,
    tokenizer: Tokenizer | None = None,
) -> None:
    """Write a folder's files, which take their places together; others stay.

    Raises:
        CheckpointError: the disk is full or refuses; what was there is intact.
    """
    with replacing_parts(folder) as partial:
        write_parts(partial, config, tensors, words)
        if tokenizer is not None:
            tokenizer.save(partial)


def write_parts(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    words: Sequence[str] | None,
) -> None:
    """The same, into the folder of a save that has other files too."""
    write_json(folder / CONFIG, config)
    # A token that is more than a line could not be read back; tokenizer.json has it then.
    if words is not None and not any("\n" in word or "\r" in word for word in words):
        (folder / VOCABULARY).write_bytes("".join(f"{word}\n" for word in words).encode())
    write_tensors(folder / TENSORS, {name: x.float() for name, x in tensors.items()})


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
                parts = [_member(path, archive, name) for name in _both(path, archive.namelist())]
        except CheckpointError:
            raise
        except DAMAGED_ZIP as error:
            if not is_damage(error):
                raise
            raise CheckpointError(f"{path} is no zip archive, or damaged: {error}") from error
    source = path / ARCHIVE_VOCABULARY
    try:
        words = numbered_words(parse_json(parts[0], source, list), source)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    tensors = _state_dict(path / ARCHIVE_TENSORS, io.BytesIO(parts[1]))
    return words, {_bare(name): tensor for name, tensor in tensors.items()}


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """What is packed under the name, no more than its size in the archive tells."""
    info = archive.getinfo(name)
    free = available_memory()
    if (info.file_size > _LONG_MEMBER and info.file_size > _LARGEST_RATIO * info.compress_size) or (
        free is not None and info.file_size > free
    ):
        raise CheckpointError(
            f"{path}: {name} would be {show_bytes(info.file_size)} unpacked, of "
            f"{show_bytes(info.compress_size)} in the archive"
        )
    return archive.read(name)


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

    def describe(self, source: str | os.PathLike, advice: str = "") -> str:
        """All of it, a line each, and what would help at the end."""
        lines = [f"{source} does not hold the tensors of its configuration"]
        for kind, names in zip(("missing", "unexpected", "unsuitable"), self, strict=True):
            lines += [f"  {kind}: {name}" for name in names]
        if advice:
            lines.append(f"  {advice}")
        return "\n".join(lines)


def classifier_tensors(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The output layer of a classifier of texts; none where a file has no such, or another task's.

    Classifiers of tokens and of choices have one of the same name: the architectures tell.
    """
    kinds = config.get("architectures")
    if kinds and CLASSIFICATION not in kinds:
        return {}
    pooled = f"{HUGGING_FACE.hidden}.weight" in tensors
    return {name: x for name, x in tensors.items() if pooled and name.startswith(f"{CLASSIFIER}.")}


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
            warnings.warn(f"the tokenizer is left out: {error}", stacklevel=4)
        return None


def check_layers(wanted: int, tensors: Mapping[str, Tensor], source: str | os.PathLike) -> None:
    """CheckpointError if more blocks are wanted than the tensors, by Hugging Face's names, have."""
    pattern = re.escape(HUGGING_FACE.block).replace(r"\{\}", r"(\d+)")
    found = 1 + max(map(int, _numbers(pattern, tensors)), default=-1)
    if wanted > found:
        raise CheckpointError(
            f"{source}: {CONFIG}: num_hidden_layers must be at most {found}, the layers that its "
            f"tensors are of, got {wanted}"
        )


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


def _state_dict(path: Path, file: Any = None) -> dict[str, Tensor]:
    """Of a file, or of what was read from it."""
    try:
        state = torch.load(path if file is None else file, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows in many ways
        reason = str(error).split("\n")[0]
        raise CheckpointError(f"{path} must be a state dict of tensors: {reason}") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise CheckpointError(f"{path} must be a state dict of tensors, got something else")
    return dict(state)


# How files of weights are read, by their names; the first one that is there counts.
_WEIGHTS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    TENSORS: read_tensors,
    PICKLED: _state_dict,
}


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
