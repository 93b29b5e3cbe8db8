"""Folders as transformers writes them: each is read to the same numbers, or refused with advice."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lexforge.bert import BertModel
from lexforge.training.checkpoint import CheckpointError

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is to be asked of the network

pytestmark = pytest.mark.interop

TINY = {
    "vocab_size": 31,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 8,
}
LENGTHS = [8, 5]


def changed_config(**changes: Any):
    """Of the folder; None takes a key away."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: x for key, x in config.items() if x is not None}))

    return change


def as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def sharded_pickle(folder: Path) -> None:
    """Two shards and their index, as transformers wrote them before it gave up pickles."""
    tensors = sorted(load_file(folder / "model.safetensors").items())
    (folder / "model.safetensors").unlink()
    places = {}
    for number, part in enumerate((tensors[::2], tensors[1::2]), 1):
        name = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save(dict(part), folder / name)
        places |= {key: name for key, _ in part}
    index = {"metadata": {}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def as_of_old(folder: Path) -> None:
    """Other names of the norms, and a buffer."""
    path = folder / "model.safetensors"
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in load_file(path).items()
    }
    tensors["bert.embeddings.position_ids"] = torch.arange(8)[None]
    save_file(tensors, path)


def with_another(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file(load_file(path) | {"bert.encoder.extra.weight": torch.ones(2)}, path)


PRETRAINING = "BertForPreTraining"
# What is saved: a class, what differs in its configuration, and what is done to the folder.
READ: dict[str, tuple[Any, ...]] = {
    "BertForPreTraining": (PRETRAINING,),
    "relu": (PRETRAINING, {"hidden_act": "relu"}),
    "one segment": (PRETRAINING, {"type_vocab_size": 1}),
    "three segments": (PRETRAINING, {"type_vocab_size": 3}),
    "untied": (PRETRAINING, {"tie_word_embeddings": False}),
    "epsilon": (PRETRAINING, {"layer_norm_eps": 1e-5}),
    "padding 5": (PRETRAINING, {"pad_token_id": 5}),
    "no padding": (PRETRAINING, {"pad_token_id": None}),
    "hidden 36": (PRETRAINING, {"hidden_size": 36, "num_attention_heads": 4}),
    "chunks": (PRETRAINING, {"chunk_size_feed_forward": 4}),
    "bfloat16": (PRETRAINING, {}, torch.bfloat16),
    "float16": (PRETRAINING, {}, torch.float16),
    "float64": (PRETRAINING, {}, torch.float64),
    "pickled": (PRETRAINING, {}, as_pickle),
    "names of old": (PRETRAINING, {}, as_of_old),
    "no model_type": (PRETRAINING, {}, changed_config(model_type=None)),
    "BertModel": ("BertModel",),
    "no pooler": ("BertModel", {"add_pooling_layer": False}),
    "two classes": ("BertForSequenceClassification", {"num_labels": 2}),
    "three classes": ("BertForSequenceClassification", {"num_labels": 3}),
    "masked words": ("BertForMaskedLM",),
    "masked words, untied": ("BertForMaskedLM", {"tie_word_embeddings": False}),
    "classes of tokens": ("BertForTokenClassification",),
    "answers": ("BertForQuestionAnswering",),
    "choices": ("BertForMultipleChoice",),
    "next sentences": ("BertForNextSentencePrediction",),
    "gelu_new": (PRETRAINING, {"hidden_act": "gelu_new"}),
    "gelu_pytorch_tanh": (PRETRAINING, {"hidden_act": "gelu_pytorch_tanh"}),
    "gelu_fast": (PRETRAINING, {"hidden_act": "gelu_fast"}),
    "gelu_python": (PRETRAINING, {"hidden_act": "gelu_python"}),
    "silu": (PRETRAINING, {"hidden_act": "silu"}),
    "shards": (PRETRAINING, {}, "20KB"),
    "pickled shards": (PRETRAINING, {}, sharded_pickle),
}
# What is done to a folder, and what the refusal says would help.
REFUSED = {
    "relative_key": (
        changed_config(position_embedding_type="relative_key"),
        "must be 'absolute', got 'relative_key': take a model of absolute positions",
    ),
    "relative_key_query": (
        changed_config(position_embedding_type="relative_key_query"),
        "got 'relative_key_query': take a model of absolute positions",
    ),
    "decoder": (
        changed_config(is_decoder=True),
        "is_decoder must be False, got True: set it to false to read",
    ),
    "cross-attention": (
        changed_config(add_cross_attention=True),
        "add_cross_attention must be False, got True: take a model without a decoder",
    ),
    "roberta": (
        changed_config(model_type="roberta"),
        "model_type must be bert or lexforge_bert, got 'roberta': take a model of that type",
    ),
    "another activation": (
        changed_config(hidden_act="mish"),
        "activation must be one of gelu, relu, gelu_tanh, silu, got 'mish'",
    ),
    "no max_position_embeddings": (
        changed_config(max_position_embeddings=None),
        "add what transformers leaves out, such as max_position_embeddings 512",
    ),
    "another tensor": (
        with_another,
        r"unexpected: bert\.encoder\.extra\.weight\n  strict=False leaves out what is unexpected",
    ),
}


@pytest.fixture(scope="module")
def transformers():
    library = pytest.importorskip("transformers")
    library.utils.logging.disable_progress_bar()
    library.utils.logging.set_verbosity_error()
    return library


def make(transformers, kind, folder, options=None, change=None):
    """A model of transformers with no parameter at 0 or 1, float32, and its folder."""
    options = dict(options or {})
    arguments = {k: options.pop(k) for k in ("add_pooling_layer",) if k in options}
    config = transformers.BertConfig(**{**TINY, **options})
    torch.manual_seed(1)
    model = getattr(transformers, kind)(config, **arguments).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        if (head := getattr(model, "cls", None)) is not None and hasattr(head, "predictions"):
            head.predictions.bias.copy_(head.predictions.decoder.bias)  # which is what is used
    dtype = change if isinstance(change, torch.dtype) else torch.float32
    size = {"max_shard_size": change} if isinstance(change, str) else {}
    model.to(dtype).save_pretrained(folder, **size)
    if callable(change):
        change(folder)
    return model.float()


@pytest.mark.parametrize("case", READ)
def test_read(case, transformers, tmp_path):
    theirs = make(transformers, READ[case][0], tmp_path, *READ[case][1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # heads of another task are left out
        ours = BertModel.from_pretrained(tmp_path)
    torch.manual_seed(2)
    tokens = torch.randint(1, 31, (2, 8))
    lengths = torch.tensor(LENGTHS)
    mask = torch.arange(8) < lengths[:, None]
    segments = ((torch.arange(8) >= 4).long() * (ours.config.type_vocab_size > 1)).expand(2, 8)
    inputs = {"attention_mask": mask.long(), "token_type_ids": segments}
    encoder = theirs if READ[case][0] == "BertModel" else theirs.bert
    with torch.no_grad():
        expected = encoder(tokens, **inputs)
        positions = torch.zeros(2, 1, dtype=torch.int64) if ours.mlm is not None else None
        encoded, mlm, nsp = ours(tokens, segments, lengths, positions)
        pairs = [(encoded[mask], expected.last_hidden_state[mask])]
        if encoder.pooler is not None:
            pairs.append((ours.pooled(encoded[:, 0]), expected.pooler_output))
        heads = None if READ[case][0] == "BertModel" else getattr(theirs, "cls", None)
        if hasattr(heads, "predictions"):
            pairs.append((mlm[:, 0], heads.predictions(expected.last_hidden_state)[:, 0]))
        if hasattr(heads, "seq_relationship"):
            pairs.append((nsp, heads.seq_relationship(expected.pooler_output)))
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, transformers, tmp_path):
    change, message = REFUSED[case]
    make(transformers, PRETRAINING, tmp_path, change=change)
    with pytest.raises(CheckpointError, match=message):
        BertModel.from_pretrained(tmp_path)
