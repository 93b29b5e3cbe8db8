"""BERT beside transformers: the same weights give the same numbers, through files of either."""

from __future__ import annotations

import contextlib
import functools
import json
import os

import pytest
import torch

from lexforge.bert import BertConfig, BertModel
from lexforge.models.bert.files import HUGGING_FACE
from lexforge.models.bert.model import named_tensors
from models.bert_batches import padded_batch

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is to be asked of the network

pytestmark = pytest.mark.interop

TINY = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
}
CONFIGS = {
    "tiny": {},
    "odd heads": {"hidden_size": 39, "num_attention_heads": 3, "intermediate_size": 17},
    "one head": {"hidden_size": 20, "num_attention_heads": 1, "num_hidden_layers": 1},
    "relu, untied": {"hidden_act": "relu", "tie_word_embeddings": False},
    "segments, epsilon": {"type_vocab_size": 4, "layer_norm_eps": 1e-3, "num_hidden_layers": 3},
}
LENGTHS = [16, 1, 9, 5]


@pytest.fixture(scope="module")
def transformers():
    library = pytest.importorskip("transformers")
    library.utils.logging.disable_progress_bar()
    library.utils.logging.set_verbosity_error()
    return library


def make(transformers, **options):
    """A model of transformers in which no parameter is left at 0 or 1."""
    config = transformers.BertConfig(**{**TINY, **options})
    torch.manual_seed(1)
    model = transformers.BertForPreTraining(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        head = model.cls.predictions
        head.bias.copy_(head.decoder.bias)  # which is what is used
    return model


def batch_of(config):
    """A padded batch, its labels [B, S], and the same packed."""
    batch = padded_batch(config, [min(n, config.max_positions) for n in LENGTHS])
    labels = torch.full_like(batch.tokens, -100)
    wanted = batch.weights > 0
    rows = torch.arange(len(labels))[:, None].expand_as(wanted)[wanted]
    labels[rows, batch.positions[wanted]] = batch.labels[wanted]
    labels[0, 2] = 5
    packed_labels = labels[batch.mask]
    index = (packed_labels != -100).nonzero().squeeze(1)
    packed = batch.packed()._replace(prediction_index=index, labels=packed_labels[index])
    return batch, labels, packed


def compare(theirs, ours, tolerance):
    """All results and all gradients of one batch. The parameters of ours are lost."""
    batch, labels, packed = batch_of(ours.config)
    mask, size = batch.mask, ours.config.vocab_size
    wanted = labels != -100
    output = theirs(
        batch.tokens,
        attention_mask=mask.long(),
        token_type_ids=batch.segments,
        labels=labels,
        next_sentence_label=batch.next_labels,
        output_hidden_states=True,
    )
    hidden = theirs.bert(batch.tokens, attention_mask=mask.long(), token_type_ids=batch.segments)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = {
        "encoded": hidden.last_hidden_state[mask],
        "pooled": hidden.pooler_output,
        "mlm": output.prediction_logits[wanted],
        "nsp": output.seq_relationship_logits,
        "mlm loss": cross_entropy(output.prediction_logits.view(-1, size), labels.view(-1)),
        "nsp loss": cross_entropy(output.seq_relationship_logits, batch.next_labels),
    }
    expected |= {f"layer {i}": x[mask] for i, x in enumerate(output.hidden_states)}

    positions = torch.arange(labels.shape[1]).expand_as(labels).contiguous()
    positions = positions.minimum(batch.valid_lens[:, None] - 1)
    encoded, mlm, nsp = ours(batch.tokens, batch.segments, batch.valid_lens, positions)
    layers = ours.encode_packed(*packed[:5], all_layers=True)
    losses = ours.losses(packed)
    found = {
        "encoded": encoded[mask],
        "pooled": ours.pooled(encoded[:, 0]),
        "mlm": mlm[wanted],
        "nsp": nsp,
        "mlm loss": losses.mlm_loss,
        "nsp loss": losses.nsp_loss,
    }
    found |= {f"layer {i}": x for i, x in enumerate(layers)}
    assert not encoded[~mask].any()
    correct = output.prediction_logits.argmax(-1)[wanted] == labels[wanted]
    assert losses.mlm_correct == correct.sum() and losses.mlm_count == wanted.sum()

    theirs.zero_grad()
    output.loss.backward()
    ours.zero_grad()
    (losses.mlm_loss + losses.nsp_loss).backward()
    theirs_grads = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(parameter.grad)
    ours_grads = named_tensors(ours, HUGGING_FACE)
    if "cls.predictions.decoder.bias" in theirs_grads:
        theirs_grads["cls.predictions.bias"] = theirs_grads.pop("cls.predictions.decoder.bias")
    assert theirs_grads.keys() == ours_grads.keys()
    expected |= {f"gradient of {name}": gradient for name, gradient in theirs_grads.items()}
    found |= {f"gradient of {name}": gradient for name, gradient in ours_grads.items()}
    worst = {name: (expected[name] - found[name]).abs().max().item() for name in expected}
    assert {name: error for name, error in worst.items() if not error <= tolerance} == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CONFIGS)
def test_their_files_give_their_numbers(case, dtype, transformers, tmp_path):
    theirs = make(transformers, **CONFIGS[case])
    theirs.save_pretrained(tmp_path)
    ours = BertModel.from_pretrained(tmp_path)
    assert not ours.training
    compare(theirs.to(dtype), ours.to(dtype), 1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("case", CONFIGS)
def test_they_read_our_files(case, transformers, tmp_path):
    config = BertConfig.from_huggingface({**TINY, **CONFIGS[case]})
    ours = BertModel(config, seed=1).eval()
    ours.save_pretrained(tmp_path)
    theirs, info = transformers.BertForPreTraining.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(info.values()), info
    assert isinstance(transformers.AutoModelForPreTraining.from_pretrained(tmp_path), type(theirs))
    compare(theirs.eval(), ours, 1e-5)


def test_base_size(transformers, tmp_path):
    """Published BERT's size, both ways."""
    theirs = make(transformers, **transformers.BertConfig().to_dict())
    theirs.save_pretrained(tmp_path / "theirs")
    ours = BertModel.from_pretrained(tmp_path / "theirs")
    assert ours.config == BertConfig.standard()
    ours.save_pretrained(tmp_path / "ours")
    again = transformers.BertForPreTraining.from_pretrained(tmp_path / "ours")
    for (name, x), y in zip(again.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
    compare(theirs, ours, 1e-5)


def test_configurations_both_ways(transformers):
    config = transformers.BertConfig(**TINY, hidden_act="relu", pad_token_id=3)
    ours = BertConfig.from_huggingface(config.to_dict())
    theirs = transformers.BertConfig(**ours.to_huggingface()).to_dict()
    for key, value in ours.to_huggingface().items():
        if key != "architectures":
            assert theirs[key] == value == config.to_dict()[key], key
    assert BertConfig.from_huggingface(theirs) == ours


ENCODERS = {
    "BertModel": {},
    "no pooler": {"add_pooling_layer": False},
    "BertForMaskedLM": {},
    "BertForSequenceClassification": {"num_labels": 3},
    "BertForTokenClassification": {},
    "BertForQuestionAnswering": {},
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_models_of_other_tasks(kind, transformers, tmp_path):
    """What a file holds of BERT is read; what it does not, nobody makes up."""
    torch.manual_seed(0)
    options = dict(ENCODERS[kind])
    config = transformers.BertConfig(
        **TINY, **{k: options.pop(k) for k in ("num_labels",) if k in options}
    )
    name = "BertModel" if kind == "no pooler" else kind
    theirs = getattr(transformers, name)(config, **options).eval()
    theirs.save_pretrained(tmp_path)
    left_out = pytest.warns(UserWarning, match="of another task are left out")
    with left_out if "Classi" in kind or "Question" in kind else contextlib.nullcontext():
        ours = BertModel.from_pretrained(tmp_path)
    encoder = theirs if name == "BertModel" else theirs.bert
    pooled = encoder.pooler is not None
    mlm_there = kind == "BertForMaskedLM"
    lacking = ([] if pooled else ["pooler"]) + ([] if mlm_there else ["masked-LM head"])
    assert ours.missing_parts == [*lacking, "next-sentence head"]
    batch, _, _ = batch_of(ours.config)
    inputs = {"attention_mask": batch.mask.long(), "token_type_ids": batch.segments}
    with torch.no_grad():
        expected = encoder(batch.tokens, **inputs)
        positions = torch.zeros(4, 1, dtype=torch.int64) if mlm_there else None
        encoded, mlm, nsp = ours(batch.tokens, batch.segments, batch.valid_lens, positions)
        assert nsp is None
        close = functools.partial(torch.testing.assert_close, atol=1e-5, rtol=0)
        close(encoded[batch.mask], expected.last_hidden_state[batch.mask])
        if pooled:
            close(ours.pooled(encoded[:, 0]), expected.pooler_output)
        if mlm_there:
            close(mlm[:, 0], theirs(batch.tokens, **inputs).logits[:, 0])
    ours.save_pretrained(tmp_path / "back")
    again = type(theirs).from_pretrained(tmp_path / "back", **options)
    for (key, x), y in zip(
        again.bert.state_dict().items() if name != "BertModel" else again.state_dict().items(),
        encoder.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(x, y), key


@pytest.mark.parametrize(
    "activation", ["gelu_new", "gelu_pytorch_tanh", "gelu_fast", "silu", "gelu_python"]
)
def test_activations_of_the_family(activation, transformers, tmp_path):
    theirs = make(transformers, hidden_act=activation, num_hidden_layers=1)
    theirs.save_pretrained(tmp_path)
    ours = BertModel.from_pretrained(tmp_path)
    ours.save_pretrained(tmp_path / "back")
    again = transformers.BertForPreTraining.from_pretrained(tmp_path / "back").eval()
    compare(again, ours, 1e-5)
    compare(theirs, BertModel.from_pretrained(tmp_path), 1e-5)


def test_shards(transformers, tmp_path):
    theirs = make(transformers)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    compare(theirs, BertModel.from_pretrained(tmp_path), 1e-5)


def test_pickled_weights(transformers, tmp_path):
    """pytorch_model.bin, as older versions wrote it, tied weights and buffers included."""
    theirs = make(transformers)
    state = theirs.state_dict()
    state["bert.embeddings.position_ids"] = torch.arange(16)[None]
    torch.save(state, tmp_path / "pytorch_model.bin")
    theirs.config.save_pretrained(tmp_path)
    compare(theirs, BertModel.from_pretrained(tmp_path), 1e-5)


def test_transformers_refuses_what_it_would_misread(transformers, tmp_path):
    """The text's blocks have no norm of the embeddings; to guess one would go unnoticed.

    Their tokenizer is loaded.
    """
    model = BertModel(BertConfig.reference(31, max_len=16), seed=1)
    model.vocabulary = ["<unk>", "<pad>", "<mask>", "<cls>", "<sep>", "red"]
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "lexforge_bert"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("Red cat")["input_ids"] == [3, 5, 0, 4]
    for reader in (
        transformers.AutoConfig,
        transformers.AutoModel,
        transformers.BertModel,
        transformers.BertForPreTraining,
    ):
        with pytest.raises((KeyError, ValueError), match="lexforge_bert"):
            reader.from_pretrained(tmp_path)
