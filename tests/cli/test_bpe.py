"""``lexforge bpe``: tokens learned, text to ids and back."""

from __future__ import annotations

import numpy as np
import pytest

from lexforge import BPETokenizer

TEXT = "the lowest tower's lower rooms\n\n  aren't low — 東京\n" * 9


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def model(invoke, corpus, tmp_path):
    folder = tmp_path / "tokens"
    result = invoke("bpe", "train", corpus, "--out", folder, "--vocab-size", 280)
    assert result.exit_code == 0, result.output
    assert "280 tokens of 24 merges" in result.stderr and result.stdout == ""
    return folder


def test_train(invoke, corpus, model, tmp_path):
    made = BPETokenizer.load(model)
    assert made.merges == BPETokenizer.train(corpus, 280).merges
    assert BPETokenizer.from_file(model / "vocab.json", model / "merges.txt").merges == made.merges
    again = invoke("bpe", "train", corpus, "--out", model, "--vocab-size", 300)
    assert again.exit_code == 2 and "--overwrite" in again.output
    words = invoke(
        "bpe", "train", "-", "--out", tmp_path / "words", "--mode", "words",
        "--end-of-word", "</w>", "--unk-token", "<unk>", "--special-tokens",
        "<pad>", "--tie-break",
        "first", "-q",
        "--vocab-size", 60, input=TEXT.encode(),
    )  # fmt: skip
    assert words.exit_code == 0 and words.output == ""
    made = BPETokenizer.load(tmp_path / "words")
    assert made.tokens[:2] == ["<unk>", "<pad>"] and made.end_of_word == "</w>"


def test_lines(invoke, model):
    made = BPETokenizer.load(model)
    result = invoke("bpe", "encode", model, input="the lowest\n\n東京 low".encode())
    lines = result.stdout.split("\n")
    assert result.exit_code == 0 and lines[-1] == ""
    wanted = [made.encode(line) for line in ("the lowest", "", "東京 low")]
    assert [[*map(int, line.split())] for line in lines[:-1]] == wanted
    back = invoke("bpe", "decode", model, input=result.stdout.encode())
    assert back.stdout == "the lowest\n\n東京 low\n"
    shown = invoke("bpe", "encode", model, "--tokens", input=b"the lowest\n")
    assert shown.stdout.split() == made.tokenize("the lowest")


def test_files(invoke, corpus, model, tmp_path):
    ids, text = tmp_path / "ids.npy", tmp_path / "text.txt"
    result = invoke("bpe", "encode", model, corpus, "--out", ids)
    assert result.exit_code == 0 and str(ids) in result.stderr
    assert np.load(ids).tolist() == BPETokenizer.load(model).encode(TEXT)
    assert invoke("bpe", "decode", model, ids, "--out", text).exit_code == 0
    assert text.read_text() == TEXT


def test_what_is_wrong(invoke, corpus, model, tmp_path):
    for arguments, code, told in [
        (("train", corpus), 2, "--out FOLDER"),
        (("train", "--out", tmp_path / "x"), 2, "give a CORPUS"),
        (("train", corpus, "--out", tmp_path / "x", "--vocab-size", 9), 1, "at least 256"),
        (("encode", tmp_path), 1, "holds neither"),
        (("encode", model, corpus, "--out", corpus), 2, "cannot be written"),
        (("encode", model, corpus, "--out", tmp_path / "i", "--tokens"), 2, "--tokens"),
        (("decode", model, corpus), 1, "line 1 must be ids"),
    ]:
        result = invoke("bpe", *arguments)
        assert result.exit_code == code and told in result.output, (arguments, result.output)
    result = invoke("bpe", "decode", model, input=b"1\n999\n")
    assert result.exit_code == 1 and "0..279, got 999" in result.output
    np.save(tmp_path / "bad.npy", np.zeros((2, 2)))
    result = invoke("bpe", "decode", model, tmp_path / "bad.npy")
    assert result.exit_code == 1 and "whole numbers [n]" in result.output
