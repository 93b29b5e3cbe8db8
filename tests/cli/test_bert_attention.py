"""``lexforge bert attention``: the picture, and what is refused."""

from __future__ import annotations

import sys

import pytest

from lexforge.bert import BertConfig, BertModel
from lexforge.text.tokenizers.words import WordTokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = WordTokenizer([*WordTokenizer.SPECIAL_TOKENS, "a", "crane", "is", "flying"])
    config = BertConfig.reference(len(tokenizer), num_hiddens=16, ffn_num_hiddens=24, max_len=20)
    BertModel(config, seed=3).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


def test_picture(invoke, folder, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "maps.svg"
    result = invoke(
        "bert", "attention", folder, "a Crane is", "--pair", "flying", "--out", out,
        "--layer", 0, "--head", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    text = out.read_text()
    for shown in ("layer 0", "head 1", "crane", "flying", "&lt;sep&gt;"):
        assert shown in text
    assert "head 0" not in text
    result = invoke("bert", "attention", folder, "6 7", "--pair", "8", "--ids", "--out", out)
    assert result.exit_code == 0, result.output
    assert "head 0" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a " * 19,), "error: the text must be at most 20 tokens"),
        (("5 x", "--ids"), "TEXT must be token ids, got '5 x'"),
        (("5", "--ids", "--pair", "y"), "--pair must be token ids, got 'y'"),
        (("a", "--layer", 2), "layer must be -2 to 1, got 2"),
        (("a", "--head", 2), "heads must be 0 to 1, got 2"),
    ],
)
def test_what_is_refused(invoke, folder, tmp_path, arguments, message):
    pytest.importorskip("matplotlib")
    result = invoke("bert", "attention", folder, *arguments, "--out", tmp_path / "maps.png")
    assert result.exit_code == 1 and message in result.stderr
    assert len(result.stderr.splitlines()) == 1 and list(tmp_path.iterdir()) == []


def test_without_matplotlib(invoke, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = invoke("bert", "attention", folder, "a", "--out", tmp_path / "maps.png")
    assert result.exit_code == 1
    assert "plots need matplotlib: pip install lexforge[plot]" in result.stderr
