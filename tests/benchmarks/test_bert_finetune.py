"""benchmarks/bert_finetune.py on few pairs: the sides do the same work, and a report comes out."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from lexforge.bert import BertConfig, BertModel
from lexforge.models.bert.files import ARCHIVE
from lexforge.models.bert.model import encoder_tensors
from lexforge.text.classification import length_buckets
from lexforge.text.tokenizers.words import WordTokenizer
from planted_texts import planted_texts

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    for module in ("bert_finetune", "classifiers", "harness"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield importlib.import_module("bert_finetune")
    torch.set_num_threads(before)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    texts = planted_texts(24, pairs=True)
    keys = ("premise", "hypothesis", "label")
    rows = zip(texts.first, texts.second, texts.labels.tolist(), strict=True)
    path.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows))
    return path


@pytest.fixture
def model(tmp_path):
    return saved(tmp_path / "bert", 16)


def saved(folder, width):
    """The folder of a BERT of the text's kind."""
    words = ["great", "awful", *(f"w{number}" for number in range(12))]
    tokens = [*WordTokenizer.SPECIAL_TOKENS, *words]
    config = BertConfig.reference(len(tokens), width, 2 * width, 2, 1, max_len=24)
    bert = BertModel(config, seed=1)
    bert.tokenizer = WordTokenizer(tokens)
    bert.save_pretrained(folder)
    return folder


def made(script, name, pairs, seed, model=None, **others):
    """A side, and what it begins with."""
    given = {
        "model": model, "data": str(pairs), "test": str(pairs), "texts": None, "max_len": 18,
        "rows": 40, "batch": 8, "sort_batches": None, **others,
    }  # fmt: skip
    options, setting = argparse.Namespace(**given), script.setting()
    return script.classifiers.made(f"{name} float32", options, setting, "bert", seed)


@pytest.mark.parametrize("pretrained", [False, True])
def test_sides_have_the_same_logits(script, pairs, model, pretrained):
    """The same weights and pairs through both networks, which share no code."""
    given = model if pretrained else None
    ours, plain = (made(script, name, pairs, 3, given) for name in ("Ours", "Plain"))
    plain.net.output.load_state_dict(ours.net.output.state_dict())
    *inputs, labels = plain.test
    batch = script.text_batch(ours.task.test, torch.arange(len(labels)).numpy())
    with torch.no_grad():
        expected = plain.net.eval()(*inputs)
        torch.testing.assert_close(
            ours.net.eval()(batch.first, batch.second), expected, atol=1e-5, rtol=1e-4
        )
    loss = torch.nn.functional.cross_entropy(expected, labels).item()
    accuracy = (expected.argmax(1) == labels).double().mean().item()
    for side in (ours, plain):
        assert side.scores() == {"loss": pytest.approx(loss, rel=1e-4), "accuracy": accuracy}
    assert inputs[0].shape == (24, 18) and ours.net.training is False


def with_equal_weights(script, pairs, model):
    """Both sides, ours first, of the same weights."""
    ours, plain = (made(script, name, pairs, 3, model) for name in ("Ours", "Plain"))
    plain.net.output.load_state_dict(ours.net.output.state_dict())
    return ours, plain


def weights(side):
    """Copies by the names of the text's classifier."""
    if side.name != "lexforge":
        return {name: x.clone() for name, x in side.net.state_dict().items()}
    found = encoder_tensors(side.net.encoder, side.net.hidden, ARCHIVE)
    found |= {f"output.{name}": x.detach() for name, x in side.net.output.named_parameters()}
    return {name: x.clone() for name, x in found.items()}


@pytest.mark.parametrize("width", [16, 256])  # the text's, at which other products pay
def test_sides_take_the_same_steps(script, pairs, width, monkeypatch, tmp_path):
    """Twenty steps on the same batches without dropout: equal losses, and equal changes."""
    monkeypatch.setattr(script, "DROPOUT", 0.0)
    model = saved(tmp_path / "bert", width)
    ours, plain = with_equal_weights(script, pairs, model)
    before, losses = weights(plain), []
    for step in range(20):
        data = next(ours.data)
        rows = torch.from_numpy(data.parts[0].batch.rows)
        *inputs, labels = batch = [x[rows] for x in plain.train]
        with torch.no_grad():
            losses.append(float(plain.loss(plain.net(*inputs), labels).sum()))
        ours.stepper.sums.zero_()
        ours.stepper(data, ours.task.rate)
        assert float(ours.stepper.sums[0]) == pytest.approx(losses[-1], rel=1e-4), step
        plain.batches = iter([batch])
        assert plain.steps(1) == data.counts["examples"] == len(rows)
    assert sum(losses[-3:]) < sum(losses[:3])  # an epoch each
    after, expected = weights(ours), weights(plain)
    assert after.keys() == expected.keys() == before.keys()
    for name, x in expected.items():
        if name.endswith("W_k.bias"):  # its gradient is zero, and Adam makes steps of its rounding
            continue
        change = (x - before[name]).norm()
        assert change > 0 and (after[name] - x).norm() < 0.01 * change, name


def test_sides_drop_the_same_shares(script, pairs, model, monkeypatch):
    """Over many draws the logits have the same mean and the same variance."""
    monkeypatch.setattr(script, "DROPOUT", 0.2)
    ours, plain = with_equal_weights(script, pairs, model)
    *inputs, labels = plain.train
    batch = script.text_batch(ours.task.train, torch.arange(len(labels)).numpy())
    with torch.no_grad():
        found = torch.stack([ours.net.train()(batch.first, batch.second) for _ in range(300)])
        expected = torch.stack([plain.net.train()(*inputs) for _ in range(300)])
    errors = (found.mean(0) - expected.mean(0)) / ((found.var(0) + expected.var(0)) / 300).sqrt()
    assert float(errors.square().mean().sqrt()) < 1.5  # 1 where they are equal
    assert float(found.var(0).mean() / expected.var(0).mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("told, pool", [(None, 1), (1, 1), (2, 2)])
def test_batches_are_random_unless_told(script, pairs, model, told, pool):
    side = made(script, "Ours", pairs, 2, model, sort_batches=told)
    lengths = side.task.train.lengths
    for epoch in range(2):
        for rows in length_buckets(lengths, 8, 2, epoch, pool=pool):
            assert next(side.data).parts[0].batch.rows.tolist() == rows.tolist()


def test_sides_learn(script, pairs, model):
    for name in ("Ours", "Plain"):
        side = made(script, name, pairs, 1, model)
        before = [x.clone() for x in side.net.parameters()]
        side.turn(2)
        assert side.steps_per_epoch == 3 and side.record()["examples_per_s"] > 0
        after = zip(side.net.named_parameters(), before, strict=True)
        assert not any(torch.equal(x, y) for (name, x), y in after if "weight" in name)


def test_a_report_comes_out(script, pairs, model, monkeypatch, tmp_path, capsys):
    """Of whole trainings, and of sides as processes, of which one is enough here."""
    report = tmp_path / "report.json"
    small = ("--batch", "8", "--max-len", "18", "--threads", "1", "--epochs", "2", "--seeds", "4")
    arguments = ["--data", str(pairs), "--test", str(pairs), "--model", str(model), *small]
    arguments += ["--steps", "1", "--rounds", "1", "--compared", "Plain float32"]
    arguments += ["--trained", "Plain float32", "Ours float32", "--json", str(report)]
    monkeypatch.setattr(sys, "argv", [str(FOLDER / "bert_finetune.py"), *arguments])
    script.classifiers.main("", script.setting())
    speed, *cases = json.loads(report.read_text())["cases"]
    assert speed["case"] == "speed" and speed["ratio_plain"] == 1 and len(speed["rates"]) == 1
    assert [(x["case"], x["side"], x["precision"], x["seed"]) for x in cases] == [
        ("accuracy", "plain PyTorch", "float32", 4),
        ("accuracy", "lexforge", "float32", 4),
    ]
    assert all(0 <= x["accuracy"] <= 1 and x["loss"] > 0 and x["seconds"] > 0 for x in cases)
    assert "| bert | lexforge | float32 | 4 |" in capsys.readouterr().out
