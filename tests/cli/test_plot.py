"""``lexforge plot``: pictures, and what is refused before the work."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from lexforge.training.metrics import ClassScores
from lexforge.vectors import KeyedVectors, save_vectors

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture
def vectors(tmp_path):
    words = [f"w{number}" for number in range(40)]
    rows = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    save_vectors(KeyedVectors(words, rows), tmp_path / "v.txt")
    return tmp_path / "v.txt"


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    records = ({"step": n, "epoch": 1, "mlm_loss": 7 - n / 10} for n in range(1, 30))
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_vectors(invoke, vectors, tmp_path):
    out = tmp_path / "words.svg"
    result = invoke("plot", "vectors", vectors, "--out", out, "--topn", 20, "--clusters", 3)
    assert result.exit_code == 0 and result.stdout == f"{out}\n", result.output
    assert "20 words, first two principal components" in out.read_text()
    result = invoke("plot", "vectors", vectors, "w1", "w5", "w7", "--out", out)
    assert result.exit_code == 0 and "3 words" in out.read_text()
    for word in ("w1", "w5", "w7"):
        assert f"<!-- {word} -->" in out.read_text()


def test_loss(invoke, log, tmp_path):
    out = tmp_path / "loss.png"
    result = invoke("plot", "loss", log, "--out", out)
    assert result.exit_code == 0 and result.stdout == f"{out}\n", result.output
    assert out.read_bytes().startswith(b"\x89PNG")


def test_confusion(invoke, tmp_path):
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps(ClassScores.of([0, 1], [1, 1], ("no", "yes")).to_json()))
    out = tmp_path / "confusion.svg"
    result = invoke("plot", "confusion", scores, "--out", out)
    assert result.exit_code == 0 and result.stdout == f"{out}\n", result.output
    assert "<!-- yes -->" in out.read_text()


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (("vectors", "/nowhere", "--out", "x.doc"), 1, "x.doc: a picture must be one of"),
        (("loss", "/nowhere", "--out", "nowhere/x.png"), 2, "there is no folder nowhere"),
        (("attention", "/nowhere", "a", "--out", "x.doc"), 1, "x.doc: a picture must be one of"),
        (("vectors", "v.txt", "w1", "who", "w2", "--out", "x.png"), 1, "'who' is not among"),
        (("loss", "v.txt", "--out", "x.png"), 1, "v.txt: line 1 must be a JSON object"),
        (("vectors", "v.txt", "--out", "x.png", "--method", "x"), 2, "'x'"),
    ],
)
def test_what_is_refused(invoke, vectors, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    result = invoke("plot", *arguments)
    assert result.exit_code == code and message in result.stderr, result.output
    assert len(result.stderr.splitlines()) == 1 and list(tmp_path.iterdir()) == [vectors]


@pytest.mark.parametrize("command", ["vectors", "loss"])
def test_without_matplotlib(invoke, tmp_path, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = invoke("plot", command, "/nowhere", "--out", tmp_path / "x.png")
    assert result.exit_code == 1
    assert result.stderr == "error: plots need matplotlib: pip install lexforge[plot]\n"
