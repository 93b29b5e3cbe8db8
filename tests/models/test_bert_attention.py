"""Attention maps: agreement with the fused kernel and with transformers, and their picture."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from lexforge.bert import BertConfig, BertModel, attention_maps, plot_attention
from lexforge.ops.attention.attention import varlen_attention
from lexforge.text.tokenizers.words import WordTokenizer

TEXT, OTHER = "a crane driver came", "he just left"


@pytest.fixture(scope="module")
def tokenizer():
    return WordTokenizer([*WordTokenizer.SPECIAL_TOKENS, *f"{TEXT} {OTHER}".split()])


@pytest.fixture
def model(tokenizer, device):
    config = BertConfig.reference(
        len(tokenizer), num_hiddens=48, num_heads=3, ffn_num_hiddens=64, max_len=20
    )
    return BertModel(config, seed=2).to(device)


def test_shapes_and_tokens(model, tokenizer):
    model.train()
    maps = attention_maps(model, tokenizer, TEXT)
    assert maps.tokens == ["<cls>", *TEXT.split(), "<sep>"]
    assert maps.weights.shape == (2, 3, 6, 6) and maps.weights.dtype == np.float32
    np.testing.assert_allclose(maps.weights.sum(-1), 1, rtol=1e-6)
    assert model.training
    maps = attention_maps(model, tokenizer, TEXT.split(), tokenizer.encode(OTHER))
    assert maps.tokens == ["<cls>", *TEXT.split(), "<sep>", *OTHER.split(), "<sep>"]
    assert maps.weights.shape == (2, 3, 10, 10)


def test_agree_with_the_fused_kernel(model, tokenizer, device):
    """Weighing the values by the maps gives what the kernel computes without them."""
    maps = attention_maps(model, tokenizer, TEXT, OTHER)
    ids = torch.tensor(tokenizer.convert_tokens_to_ids(maps.tokens), device=device)
    segments = torch.tensor([0] * 6 + [1] * 4, device=device)
    bounds = torch.tensor([0, 10], dtype=torch.int32, device=device)
    model.eval()
    with torch.no_grad():
        packed = (ids, segments, torch.arange(10, device=device), bounds, 10)
        layers = model.encode_packed(*packed, all_layers=True)
        for block, x, weights in zip(model.encoder.blocks, layers, maps.weights, strict=False):
            qkv = functional.linear(x, block.qkv.weight, block.qkv.bias)
            q, k, v = qkv.view(10, 3, 3, 16).unbind(1)
            fused = varlen_attention(q, k, v, bounds, 10)
            plain = torch.einsum("hij,jhd->ihd", torch.from_numpy(weights).to(device), v)
            torch.testing.assert_close(plain, fused, rtol=1e-5, atol=1e-5)


@pytest.mark.interop
def test_transformers_agrees(tmp_path, tokenizer):
    transformers = pytest.importorskip("transformers")
    config = BertConfig.standard(
        len(tokenizer), hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64,
        max_positions=40, initializer_range=0.3,
    )  # fmt: skip
    model = BertModel(config, seed=7)
    model.save_pretrained(tmp_path)
    other = transformers.BertModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    maps = attention_maps(model, tokenizer, TEXT, OTHER)
    with torch.no_grad():
        expected = other(
            torch.tensor([tokenizer.convert_tokens_to_ids(maps.tokens)]),
            token_type_ids=torch.tensor([[0] * 6 + [1] * 4]),
            output_attentions=True,
        ).attentions
    np.testing.assert_allclose(maps.weights, torch.cat(expected), atol=1e-5)


def test_a_pair_is_no_list(model, tokenizer):
    expected = attention_maps(model, tokenizer, TEXT, OTHER)
    found = attention_maps(model, tokenizer, (TEXT, OTHER))
    np.testing.assert_array_equal(found.weights, expected.weights)
    for a, b in (([TEXT, OTHER], None), ((TEXT, OTHER), OTHER)):
        with pytest.raises(ValueError, match=r"a pair of texts as a tuple \(a, b\); got .* crane"):
            attention_maps(model, tokenizer, a, b)


def test_too_long(model, tokenizer):
    with pytest.raises(
        ValueError, match=r"^attention_maps: the text must be at most 20 tokens .* got 32"
    ):
        attention_maps(model, tokenizer, "crane " * 30)


@pytest.mark.parametrize(
    ("name", "start"), [("maps.png", b"\x89PNG"), ("maps.pdf", b"%PDF"), ("maps", b"\x89PNG")]
)
def test_picture(model, tokenizer, tmp_path, name, start):
    pytest.importorskip("matplotlib")
    maps = attention_maps(model, tokenizer, TEXT)
    plot_attention(maps, path=tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_picture_of_chosen_heads(model, tokenizer, tmp_path):
    """A head is titled by its number; tokens that look like formulas are plain text."""
    pytest.importorskip("matplotlib")
    maps = attention_maps(model, tokenizer, "a crane")._replace(tokens=["<cls>", "$x", "$", "_"])
    plot_attention(maps, path=tmp_path / "maps.svg", layer=0, heads=[2, 0])
    text = (tmp_path / "maps.svg").read_text()
    assert "head 2" in text and "head 0" in text and "head 1" not in text
    assert "layer 0" in text and "$x" in text
    plot_attention(maps, path=tmp_path / "maps.svg", layer=-1, heads=1)
    text = (tmp_path / "maps.svg").read_text()
    assert "head 1" in text and "head 2" not in text and "layer 1" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 2}, "layer must be -2 to 1, got 2"),
        ({"heads": [0, 3]}, "heads must be 0 to 2, got 3"),
        ({"heads": []}, "at least one head"),
        ({"path": "maps.xyz"}, "xyz"),
    ],
)
def test_what_is_not_drawn(model, tokenizer, tmp_path, options, message):
    pytest.importorskip("matplotlib")
    maps = attention_maps(model, tokenizer, TEXT)
    path = tmp_path / options.pop("path", "maps.png")
    with pytest.raises(ValueError, match=message):
        plot_attention(maps, path=path, **options)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(model, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    maps = attention_maps(model, tokenizer, TEXT)
    with pytest.raises(ImportError, match=r"pip install lexforge\[plot\]"):
        plot_attention(maps, path=tmp_path / "maps.png")
