"""benchmarks/sentiment.py and nli.py on tiny texts: rivals do the same work, a report comes out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lexforge.models.classification.files import NETWORKS
from planted_texts import planted_texts

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = {"textcnn": "sentiment", "birnn": "sentiment", "decomposable": "nli"}


@pytest.fixture
def load(monkeypatch):
    """A script as a module, with what the scripts share."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name):
        import importlib

        for module in (name, "sentiment", "classifiers", "harness"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        return importlib.import_module(name)

    return load


@pytest.mark.parametrize("kind", SCRIPTS)
def test_the_rivals_compute_the_same_where_nothing_is_padded(kind, load):
    script = load(SCRIPTS[kind])
    rival = {
        "textcnn": lambda ours: script.PlainTextCNN(ours),
        "birnn": lambda ours: script.PlainBiRNN(ours),
        "decomposable": lambda ours: script.PlainAttention(ours),
    }[kind]
    made = NETWORKS[kind]
    shape = {"pool": "ends"} if kind == "birnn" else {}
    ours = made(made.CONFIG(vocab_size=20, embed_size=6, **shape), seed=1).eval()
    if kind == "textcnn":  # both tables begin with the same vectors
        ours.constant_embedding.weight.data.copy_(ours.embedding.weight.detach())
    plain = rival(ours).eval()
    own = dict(ours.named_parameters())
    for name, parameter in plain.named_parameters():
        place = {"f.": "attend.f.", "g.": "compare.g.", "h.": "aggregate.h."}.get(name[:2])
        name = name if place is None else place + name[2:]
        name = f"aggregate.{name}" if name.startswith("linear.") else name
        parameter.data.copy_(own[name].detach())
    tokens = torch.randint(20, (3, 8))
    bounds = torch.arange(0, 25, 8, dtype=torch.int32)
    from lexforge.text.classification.batches import RaggedTexts

    texts = RaggedTexts(tokens.flatten(), bounds, 8)
    if kind == "decomposable":
        torch.testing.assert_close(ours(texts, texts), plain(tokens, tokens))
        plain.padding = 20
        ours.embedding.weight.data = plain.embedding.weight.data = torch.randn(21, 6)
        ragged = RaggedTexts(tokens.flatten()[:-2], bounds.clamp(max=22), 8)
        tokens[-1, -2:] = 20
        torch.testing.assert_close(ours(ragged, ragged), plain(tokens, tokens))
    else:
        torch.testing.assert_close(ours(texts), plain(tokens))


def test_time_to_quality(load, tmp_path, monkeypatch, capsys):
    pytest.importorskip("gensim")
    texts = planted_texts(80)
    names = [texts.names[label] for label in texts.labels]
    lines = ["\t".join(row) for row in zip(texts.first, names, strict=True)]
    path = tmp_path / "t.tsv"
    path.write_text("\n".join(["text\tlabel", *lines]) + "\n")
    given = [word for name in ("data", "unlabelled", "test") for word in (f"--{name}", str(path))]
    given += ["--threads", "1", "--epochs", "1", "--steps", "1", "--json", str(tmp_path / "r.json")]
    monkeypatch.setattr(sys, "argv", ["sentiment_time.py", *given])
    before = torch.get_num_threads()
    load("sentiment_time").main()
    torch.set_num_threads(before)
    plain, ours = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert set(plain["parts"]) == {"reading", "vectors", "network"}
    assert plain["seconds"] == pytest.approx(sum(plain["parts"].values()))
    assert ours["seconds"] > 0 and 0 <= ours["accuracy"] <= 1
    assert "| lexforge |" in capsys.readouterr().out


@pytest.mark.parametrize("script", ["sentiment", "nli"])
def test_a_report_comes_out(script, tmp_path):
    texts = planted_texts(60, pairs=script == "nli")
    names = [texts.names[label] for label in texts.labels]
    columns = [texts.first, *([] if texts.second is None else [texts.second]), names]
    header = ["text", "label"] if texts.second is None else ["premise", "hypothesis", "label"]
    lines = ["\t".join(row) for row in (header, *zip(*columns, strict=True))]
    (tmp_path / "t.tsv").write_text("\n".join(lines) + "\n")
    command = [sys.executable, FOLDER / f"{script}.py", "--data", tmp_path / "t.tsv", "--test"]
    command += [tmp_path / "t.tsv", "--steps", "1", "--rounds", "1", "--epochs", "1", "--seeds"]
    command += ["1", "--threads", "1", "--max-len", "20", "--batch", "16", "--trained"]
    compared = ["Plain float32"] if script == "nli" else []
    command += ["Ours float32", "--networks", {"nli": "decomposable"}.get(script, "textcnn")]
    command += ["--compared", *compared, "Ours float32", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*map(str, command), str(tmp_path / "r.json")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["complete"]
    speeds, (accuracy,) = report["cases"][:-1], report["cases"][-1:]
    assert len(speeds) == 1 + len(compared)
    assert all(case["examples_per_s"] > 0 for case in speeds)
    assert (speeds[-1]["ratio_plain"] is None) == (not compared)
    assert 0 <= accuracy["accuracy"] <= 1
    assert "| accuracy |" in result.stdout
