"""``lexforge bert finetune``: runs, resumes, and what predicts with what it made."""

from __future__ import annotations

import json

import pytest
import torch

from lexforge.bert import BertConfig, BertModel
from lexforge.text.tokenizers.words import WordTokenizer
from planted_texts import planted_texts

WORDS = ["great", "awful", *(f"w{number}" for number in range(12))]
RUN = ("--lr", 0.01, "--batch-size", 16, "--workers", 1, "--device", "cpu", "--dev-share", 0.2)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A folder with a BERT that was not trained, of the kind that transformers reads."""
    folder = tmp_path_factory.mktemp("bert")
    tokens = [*WordTokenizer.SPECIAL_TOKENS, *WORDS]
    model = BertModel(BertConfig.standard(len(tokens), 24, 2, 2, 48, 32, dropout=0.0), seed=1)
    model.tokenizer = WordTokenizer(tokens)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def texts_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    texts = planted_texts(160)
    rows = [f"{text},{texts.names[n]}" for text, n in zip(texts.first, texts.labels, strict=True)]
    path.write_text("\n".join(["body,mark", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    texts = planted_texts(24, pairs=True)
    rows = zip(texts.first, texts.second, texts.labels, strict=True)
    keys = ("premise", "hypothesis", "label")
    path.write_text(
        "".join(
            json.dumps(dict(zip(keys, (a, b, texts.names[n]), strict=True))) + "\n"
            for a, b, n in rows
        )
    )
    return path


def test_single_texts(invoke, bert, texts_file, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log.jsonl"
    columns = ("--text", "body", "--label", "mark")
    result = invoke(
        "bert", "finetune", texts_file, "--model", bert, "--out", out, *columns, *RUN,
        "--epochs", 24, "--log-json", log,
    )  # fmt: skip
    assert result.exit_code == 0 and result.stdout == "", result.output
    lines = result.stderr.splitlines()
    assert f"{bert}: no output layer of a classifier there: from first values" in lines
    assert f"transformers loads {out}/best: AutoTokenizer, AutoModelForSequence" in result.stderr
    assert lines[-1].startswith(f"try: lexforge sentiment predict {out} ")
    assert json.loads(log.read_text().splitlines()[0])
    result = invoke("sentiment", "predict", out, "w3 great w4", "awful w1")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["label"] for each in found] == ["good", "bad"], result.output
    assert set(found[0]["probabilities"]) == {"good", "bad"}
    result = invoke("sentiment", "evaluate", out, texts_file, *columns, "--json", tmp_path / "e")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "e").read_text())["accuracy"] > 0.9
    # A folder with a classifier is one to go on from.
    again = (*columns, *RUN, "--steps", 1, "-q")
    result = invoke(
        "bert", "finetune", texts_file, "--model", out / "best", "--out", tmp_path / "2", *again
    )
    assert result.exit_code == 0 and result.output == "", result.output


def test_pairs_that_resume(invoke, bert, pairs_file, tmp_path):
    out = tmp_path / "out"
    start = ("bert", "finetune", pairs_file, "--model", bert, "--out", out, *RUN, "--epochs", 1)
    result = invoke(*start, "--schedule", "constant", "--max-len", 20)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[-1].startswith(f"try: lexforge nli predict {out} ")
    config = json.loads((out / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"} and config["max_len"] == 20
    result = invoke(*start)
    assert result.exit_code == 2 and "--resume" in result.stderr
    result = invoke("nli", "predict", out, "w1 great", "w2 great")
    assert json.loads(result.stdout)["label"] in ("bad", "good"), result.output
    changed = ("bert", "finetune", pairs_file, "--out", out, "--resume", "--lr", 0.5)
    result = invoke(*changed)
    assert result.exit_code == 1 and "--lr" in result.stderr, result.output


def test_a_model_without_classes_does_not_predict(invoke, bert):
    result = invoke("sentiment", "predict", bert, "w1")
    assert result.exit_code == 1
    message = f"{bert} must hold a classifier of texts, and holds BertForPreTraining"
    assert message in result.stderr and "Traceback" not in result.output


@pytest.mark.interop
def test_transformers_predicts_the_same(invoke, bert, texts_file, tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    columns = ("--text", "body", "--label", "mark")
    out = tmp_path / "out"
    steps = ("--steps", 3, "-q")
    invoke("bert", "finetune", texts_file, "--model", bert, "--out", out, *columns, *RUN, *steps)
    result = invoke("sentiment", "predict", out, "w3 great w4", "awful w1")
    found = [json.loads(line)["probabilities"] for line in result.stdout.splitlines()]
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(out / "best").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out / "best")
    for text, shares in zip(["w3 great w4", "awful w1"], found, strict=True):
        with torch.no_grad():
            logits = theirs(**tokenizer(text, return_tensors="pt")).logits
        expected = dict(
            zip(theirs.config.id2label.values(), logits.softmax(1)[0].tolist(), strict=True)
        )
        assert shares == pytest.approx(expected, abs=2e-6)
