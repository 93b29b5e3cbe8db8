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
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lexforge._compressed import DAMAGED_ZIP, is_damage
from lexforge._files import replacing
from lexforge.models import weights
from lexforge.models.weights import Differences as Differences
from lexforge.models.weights import Part, bare_name, read_weights, state_dict
from lexforge.models.weights import fill as fill
from lexforge.models.weights import read_tokenizer as read_tokenizer
from lexforge.text.lines import numbered_words, parse_json, read_lines
from lexforge.training.checkpoint import (
    CONFIG,
    TENSORS,
    VOCABULARY,
    CheckpointError,
    read_json,
    read_parts,
    replacing_parts,
    write_json,
    write_tensors,
)
from lexforge.training.memory import available_memory, show_bytes

if TYPE_CHECKING:
    from lexforge.text.tokenizers.base import Tokenizer

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

    def read(part: Part) -> tuple[dict[str, Any], dict[str, Tensor], list[str] | None]:
        tensors = _current_names(read_weights(folder, part), folder)
        return read_json(part(CONFIG)), tensors, _read_words(part(VOCABULARY))

    return read_parts(folder, [CONFIG], read)


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
    tensors = state_dict(path / ARCHIVE_TENSORS, io.BytesIO(parts[1]))
    return words, {bare_name(name): tensor for name, tensor in tensors.items()}


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


def check_layers(wanted: int, tensors: Mapping[str, Tensor], source: str | os.PathLike) -> None:
    """CheckpointError if more blocks are wanted than the tensors, by Hugging Face's names, have."""
    weights.check_layers(HUGGING_FACE.block, "num_hidden_layers", wanted, tensors, source)


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
    renamed = {name: bare_name(name) for name in tensors}
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
