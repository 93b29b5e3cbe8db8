"""Files of GPT: folders in the layout of Hugging Face's transformers, and nanoGPT's checkpoints.

    folder    config.json, model.safetensors and what the tokenizer saves itself as. Read only:
              pytorch_model.bin, shards (lexforge/models/weights.py), GPT-2's vocab.json and
              merges.txt
    ckpt.pt   {"model": tensors, "model_args": {n_layer, n_head, ...}, ...}, in a file by torch

The layers that transformers calls Conv1D have their weights the other way round: [in, out].
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from lexforge._files import part as part_of
from lexforge.models import weights
from lexforge.models.gpt.config import GPTConfig
from lexforge.text.lines import read_json as read_settings
from lexforge.text.tokenizers.bpe import BPETokenizer
from lexforge.text.tokenizers.published import TOKENIZER_CONFIG
from lexforge.text.tokenizers.words import CLASS_KEY, FAST
from lexforge.training.checkpoint import (
    CONFIG,
    TENSORS,
    CheckpointError,
    read_json,
    read_parts,
    write_json,
    write_tensors,
)

if TYPE_CHECKING:
    from lexforge.layers.block import CausalBlock
    from lexforge.text.tokenizers.base import Tokenizer

CHECKPOINT = "ckpt.pt"  # nanoGPT's
BLOCK = "transformer.h.{}."
_TABLE, _HEAD = "transformer.wte.weight", "lm_head.weight"
_BUFFERS = re.compile(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)$")


class Model(Protocol):
    """What is read of a GPT, and written."""

    config: GPTConfig
    tokenizer: Tokenizer | None
    token_embedding: nn.Embedding
    position_embedding: nn.Embedding
    blocks: Sequence[CausalBlock]
    final_norm: nn.LayerNorm


def named_tensors(model: Model, *, conv1d: bool = True) -> dict[str, Tensor]:
    """A model's tensors by their names in files: views, to be written or filled.

    Args:
        conv1d: whether the weights of blocks are [in, out], as in transformers' files.
    """
    tensors = {
        _TABLE: model.token_embedding.weight,
        "transformer.wpe.weight": model.position_embedding.weight,
    }

    def add(name: str, layer: nn.Linear | nn.LayerNorm) -> None:
        turned = conv1d and isinstance(layer, nn.Linear)
        tensors[f"{name}.weight"] = layer.weight.t() if turned else layer.weight
        if layer.bias is not None:
            tensors[f"{name}.bias"] = layer.bias

    for i, block in enumerate(model.blocks):
        prefix = BLOCK.format(i)
        add(prefix + "ln_1", block.attention_norm)
        add(prefix + "attn.c_attn", block.qkv)
        add(prefix + "attn.c_proj", block.projection)
        add(prefix + "ln_2", block.output_norm)
        add(prefix + "mlp.c_fc", block.expansion)
        add(prefix + "mlp.c_proj", block.contraction)
    add("transformer.ln_f", model.final_norm)
    return {name: tensor.detach() for name, tensor in tensors.items()}


def read_folder(folder: str | os.PathLike) -> tuple[GPTConfig, dict[str, Tensor]]:
    """The shape and the tensors, by their names in full.

    Raises:
        FileNotFoundError: there is no model. CheckpointError: a part is missing, damaged, or of
        another kind of model.
    """
    folder = Path(folder)

    def read(part: weights.Part) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return read_json(part(CONFIG)), weights.read_weights(folder, part)

    written, tensors = read_parts(folder, [CONFIG], read)
    try:
        config = GPTConfig.from_huggingface(written)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: {CONFIG}: {error}") from error
    found = weights.bare_names(tensors, folder)
    if not any(name.startswith("transformer.") for name in found):  # of GPT2Model
        found = {name if name == _HEAD else f"transformer.{name}": x for name, x in found.items()}
    found = _own_tensors(found, folder)
    weights.check_layers(BLOCK, "n_layer", config.n_layer, found, folder)
    return config, found


def read_nanogpt(path: str | os.PathLike) -> tuple[GPTConfig, dict[str, Tensor]]:
    """The same of nanoGPT's checkpoint, whose weights are all [out, in].

    Raises:
        FileNotFoundError: there is none. CheckpointError: it is damaged, or something else.
    """
    path = Path(path)
    content = weights.unpickled(path)
    if not isinstance(content, Mapping) or not {"model", "model_args"} <= content.keys():
        raise CheckpointError(f"{path} must hold model and model_args, as nanoGPT's {CHECKPOINT}")
    try:
        config = GPTConfig.from_nanogpt(content["model_args"])
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    tensors = weights.bare_names(weights.check_tensors(content["model"], path), path)
    return config, _own_tensors(tensors, path)


def _own_tensors(tensors: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Without buffers, and without the head, which is the token table once more."""
    head, table = tensors.pop(_HEAD, None), tensors.get(_TABLE)
    if head is not None and table is not None and not torch.equal(head, table):
        raise CheckpointError(f"{source}: its head must be tied, but {_HEAD} differs from {_TABLE}")
    return {name: tensor for name, tensor in tensors.items() if not _BUFFERS.match(name)}


def read_tokenizer(folder: str | os.PathLike) -> Tokenizer | None:
    """The tokenizer of a folder; None where there is none that can be read.

    Byte pair encoding of bytes is :class:`~lexforge.text.tokenizers.bpe.BPETokenizer`'s, which
    gives bytes back as they come.
    """
    path = part_of(folder, TOKENIZER_CONFIG)
    try:
        if path.is_file() and CLASS_KEY in read_settings(path):
            return weights.read_tokenizer(folder)
        return BPETokenizer.load(folder)
    except (FileNotFoundError, ValueError):
        return weights.read_tokenizer(folder)


def write_parts(folder: Path, model: Model) -> None:
    """The files of a model, into a folder that is there."""
    write_json(folder / CONFIG, model.config.to_huggingface())
    tensors = named_tensors(model)
    write_tensors(folder / TENSORS, {name: x.float().contiguous() for name, x in tensors.items()})
    if model.tokenizer is not None:
        write_tokenizer(folder, model.tokenizer)


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """What a tokenizer saves itself as, and a tokenizer_config.json in place of any other's."""
    tokenizer.save(folder)
    path = folder / TOKENIZER_CONFIG
    settings = read_json(path) if path.is_file() else {**FAST}
    if CLASS_KEY not in settings:
        # A segment would be added to the embeddings.
        settings["model_input_names"] = ["input_ids", "attention_mask"]
        write_json(path, settings)
