"""benchmarks/bert.py on a tiny corpus: the rivals do the same work, and a report comes out."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import random
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from lexforge.models.bert.config import BertConfig
from lexforge.models.bert.examples import padded
from lexforge.models.bert.model import BertModel
from lexforge.reference import bert as plain_bert

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name):
        spec = importlib.util.spec_from_file_location(f"{name}_benchmark", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def script(load):
    return load("bert")


@pytest.fixture
def corpus(tmp_path):
    """Paragraphs of random words; lines that are none between them."""
    rng = random.Random(0)
    path = tmp_path / "corpus.txt"
    with path.open("w") as file:
        for _ in range(60):
            sentences = (
                " ".join(f"W{rng.randrange(30)}" for _ in range(rng.randrange(2, 40)))
                for _ in range(rng.randrange(1, 6))
            )
            file.write(f" {' . '.join(sentences)} . \n = title = \n")
    return path


def archived(model, path):
    """What the text's archive of a model holds."""
    model.save_reference_archive(path, [str(i) for i in range(model.config.vocab_size)])
    with zipfile.ZipFile(path) as archive, archive.open("pretrained.params") as part:
        return torch.load(part, weights_only=True)


def archived_gradients(model, path):
    """The gradients of a model, by the names of the text's archive."""
    holder = BertModel(model.config)
    with torch.no_grad():
        for into, parameter in zip(holder.parameters(), model.parameters(), strict=True):
            into.copy_(parameter.grad)
    return archived(holder, path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plain_side_has_our_losses_and_gradients(script, load, corpus, tmp_path, dtype, device):
    """The same weights and pairs through both models, which share no code, without dropout."""
    reference = load("bert_reference")
    examples, vocab_size = script.packed_examples(corpus)
    model = BertModel(BertConfig.reference(vocab_size, 32, 48, 4, 2, dropout=0.0), seed=3)
    rival = plain_bert.BertModel(vocab_size, 32, 48, 4, 2, dropout=0.0)
    rival.load_state_dict(archived(model, tmp_path / "weights.zip"))
    model.to(device, dtype)
    rival.to(device, dtype)

    packed = next(examples.batches(0, 16)).to(device)
    batch = reference.Batch(*padded(packed, script.MAX_LEN))
    ours = model.losses(packed)
    mlm_loss, nsp_loss = plain_bert.losses(rival, *batch)
    tolerance = {"rtol": 2e-5, "atol": 2e-6} if dtype == torch.float32 else {}
    torch.testing.assert_close(ours.mlm_loss, mlm_loss, **tolerance)
    torch.testing.assert_close(ours.nsp_loss, nsp_loss, **tolerance)

    (ours.mlm_loss + ours.nsp_loss).backward()
    (mlm_loss + nsp_loss).backward()
    found = archived_gradients(model.float(), tmp_path / "gradients.zip")
    wanted = {name: parameter.grad for name, parameter in rival.named_parameters()}
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        # Archives are float32.
        torch.testing.assert_close(
            found[name].to(device),
            gradient.float(),
            rtol=1e-4 if dtype == torch.float32 else 1e-6,
            atol=2e-6 if dtype == torch.float32 else 1e-9,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def test_both_have_one_vocabulary(script, load, corpus):
    reference = load("bert_reference")
    paragraphs = reference.read_paragraphs(corpus)
    vocab = reference.make_vocab(paragraphs)
    ours = script.text.read_paragraphs(corpus)
    assert [[s.split() for s in paragraph] for paragraph in ours] == paragraphs
    assert script.WordTokenizer.build(ours).tokens == vocab.idx_to_token


def test_static_examples(script, load, corpus):
    """Pairs and masks follow the text's rules; the original words can be put back."""
    reference = load("bert_reference")
    paragraphs = reference.read_paragraphs(corpus)
    vocab = reference.make_vocab(paragraphs)
    examples = reference.static_examples(paragraphs, vocab, 64, 1)
    sentences = {tuple(vocab[s]): (i, j) for i, p in enumerate(paragraphs) for j, s in enumerate(p)}
    cls, sep, mask = (vocab[token] for token in ("<cls>", "<sep>", "<mask>"))
    masked = 0
    for row in zip(*examples, strict=True):
        tokens, segments, length, positions, weights, labels, is_next = (x.tolist() for x in row)
        assert set(tokens[length:]) <= {vocab["<pad>"]}
        count = int(sum(weights))
        assert count == max(1, round(0.15 * length))
        assert weights == [1] * count + [0] * (10 - count)
        for position, label in zip(positions[:count], labels, strict=False):
            assert tokens[position] not in (cls, sep)
            masked += tokens[position] == mask
            tokens[position] = label
        first, second = length - 1 - segments[:length].count(1), length - 1
        assert [tokens[0], tokens[first], tokens[second]] == [cls, sep, sep]
        a = sentences[tuple(tokens[1:first])]
        b = sentences[tuple(tokens[first + 1 : second])]
        assert is_next == (b == (a[0], a[1] + 1))
    assert 0.7 < masked / float(examples.mlm_weights.sum()) < 0.9
    assert 0.3 < float(examples.is_next.float().mean()) < 0.8  # long random pairs are dropped


@pytest.mark.interop
def test_huggingface_side_takes_the_same_predictions(script, load, corpus):
    pytest.importorskip("transformers")
    reference = load("bert_reference")
    packed = next(script.packed_examples(corpus)[0].batches(0, 16))
    batch = reference.Batch(*padded(packed, script.MAX_LEN))
    inputs = script.HuggingFace.inputs(batch)
    real = inputs["attention_mask"].bool()
    assert torch.equal(inputs["input_ids"][real], packed.tokens.long())
    labels = torch.full((len(packed.tokens),), -100)
    labels[packed.prediction_index] = packed.labels
    assert torch.equal(inputs["labels"][real], labels)
    assert (inputs["labels"][~real] == -100).all()
    assert torch.equal(inputs["next_sentence_label"], 1 - packed.next_labels)


def test_flops_of_a_step(script, corpus):
    """Against a count by hand of two sequences of 3 and 5 tokens with one prediction."""
    config = BertConfig.standard(11, 8, 1, 2, 16, 64)
    batch = script.text.PackedBatch(
        *(torch.zeros(8, dtype=torch.int32) for _ in range(3)),
        cu_seqlens=torch.tensor([0, 3, 8], dtype=torch.int32),
        max_seqlen=5,
        prediction_index=torch.tensor([1, 2]),
        labels=torch.tensor([4, -100]),
        next_labels=torch.tensor([0, 1]),
    )
    layer = 8 * 2 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 2 * 8 * (9 + 25)
    heads = 2 * 8 * (8 + 11) + 2 * 2 * 8 * 8
    assert script.step_flops(config, [batch]) == 3 * (layer + heads)


def arguments(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["bert.py", *map(str, words)])


@pytest.fixture
def keeps_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.interop
def test_report(script, corpus, monkeypatch, tmp_path, keeps_threads):
    pytest.importorskip("transformers")
    report = tmp_path / "report.json"
    parts = ["--only", "training", "data", "encoding", "--corpus", corpus, "--json", report]
    sizes = ["--steps", "5", "--rounds", "2", "--batch", "8", "--texts", "6", "--threads", "1"]
    arguments(monkeypatch, *parts, *sizes)
    small = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 8}
    monkeypatch.setattr(script, "ENCODER", small)
    # A process each; those of bfloat16 differ in their numbers alone, which have tests above.
    made = {name: made for name, made in script.sides().items() if "bf16" not in name}
    monkeypatch.setattr(script, "sides", lambda: made)
    script.main()
    cases = json.loads(report.read_text())["cases"]
    sides = {(x["side"], x["precision"]): x for x in cases if x["case"] == "training"}
    ours, plain = sides["lexforge", "float32"], sides["plain PyTorch", "float32"]
    assert ours["steps"] == plain["steps"] == 5
    assert len(ours["rates"]) == len(plain["rates"]) == 2
    assert ours["ratio_plain"] == pytest.approx(ours["pairs_per_s"] / plain["pairs_per_s"])
    for side in (ours, plain):
        assert all(0 < x < 20 for x in (*side["mean_losses"], *side["last_losses"]))
    hf = sides["Hugging Face", "float32"]
    assert ours["ratio_huggingface"] == pytest.approx(ours["pairs_per_s"] / hf["pairs_per_s"])
    (data,) = (x for x in cases if x["case"] == "data")
    assert data["tokens_per_s"] > 0
    encoding = [x for x in cases if x["case"] == "encoding" and x["precision"] == "float32"]
    assert {x["texts"] for x in encoding} == {6}
    assert all(x["largest_difference"] < 1e-5 for x in encoding)


def test_memory_of_a_process(script, corpus, monkeypatch, tmp_path, keeps_threads):
    report = tmp_path / "report.json"
    parts = ["--only", "memory", "--corpus", corpus, "--json", report]
    arguments(monkeypatch, *parts, "--batch", 8, "--threads", 1)
    monkeypatch.setattr(script, "sides", lambda: {"Ours float32": None})
    script.main()
    (case,) = json.loads(report.read_text())["cases"]
    assert (case["side"], case["precision"]) == ("lexforge", "float32")
    assert case["peak_bytes"] > case["step_bytes"] > 0


@pytest.mark.parametrize("real", [False, True])
def test_steps_of_a_device(script, corpus, monkeypatch, tmp_path, keeps_threads, real):
    """What runs on a GPU, here without one and without graphs."""
    torch.set_num_threads(1)
    monkeypatch.setattr(script, "MATMUL_SIZE", 64)
    monkeypatch.setattr(script, "VOCAB_SIZE", 200)
    monkeypatch.setattr(script, "PREPARED", 3)
    base = {"vocab_size": 300, "hidden_size": 16, "num_layers": 1, "num_heads": 2}
    monkeypatch.setattr(script, "BASE", {**base, "intermediate_size": 8})
    monkeypatch.setattr(script, "BASE_BATCHES", [(48, 8)])
    options = argparse.Namespace(
        device="cpu", seconds=600.0, batch=8, json=tmp_path / "report.json"
    )
    options.budget = math.inf
    monkeypatch.setattr(script, "SHARE", 1e-4)
    report = script.Report(options, "cpu")
    script.on_device(corpus if real else None, options, report)
    product, *cases = report.cases
    assert product["flops_per_s"] > 0
    assert [(x["case"], x["precision"]) for x in cases] == [
        ("small", "bf16"),
        ("base, 48 tokens", "bf16"),
        ("small", "float32"),
        ("small, plain PyTorch", "bf16"),
        ("small, plain PyTorch", "float32"),
    ]
    assert all(case["pairs_per_s"] > 0 for case in cases)
    for case in cases[:3]:
        share = case["flops_per_s"] / product["flops_per_s"]
        assert case["share_of_product"] == pytest.approx(share)
        assert case["pairs_per_s_drawn"] > 0
    saved = json.loads(options.json.read_text())["cases"]
    assert [x["case"] for x in saved] == [x["case"] for x in (product, *cases)]
