"""What results look like at a prompt and in a notebook."""

from __future__ import annotations

import html.parser

import numpy as np
import pytest

import lexforge
from lexforge import Word2Vec, d2l
from lexforge.models.bert.attention_maps import AttentionMaps
from lexforge.models.bert.trainer import PretrainingResult, PretrainingState
from lexforge.vectors.correlation import Correlation
from lexforge.vectors.evaluation import AnalogySection, PairScores

SENTENCES = [["<b>", "sky"], ["grey", "sky"]] * 50


class Table(html.parser.HTMLParser):
    """The cells of a table by row, and its caption; every tag that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.caption, self.open = [], "", []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag in ("table", "caption", "thead", "tbody", "tr", "th", "td"), tag
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] == "caption":
            self.caption += data
        else:
            self.rows[-1][-1] += data


def face(result):
    return Table(result._repr_html_())


def test_models():
    model = Word2Vec(vector_size=8, min_count=1, epochs=2)
    assert face(model).rows == [["words", "0"], ["vector size", "8"], ["trained", "no"]]
    model.build_vocab(SENTENCES)
    model.train(SENTENCES)
    table = face(model)
    rows = dict(table.rows)
    assert table.caption == "Word2Vec" and rows["words"] == "3" and rows["epochs"] == "2 of 2"
    assert rows["loss"] == f"{model.state.recent_loss:.4f}" and "words/s" in rows["trained"]
    glove = lexforge.GloVe(SENTENCES, vector_size=8, min_count=1, epochs=2, x_max=10)
    rows = dict(face(glove).rows)
    assert rows["epochs"] == "2 of 2" and "entries/s" in rows["trained"]
    rows = dict(face(glove.counts).rows)
    assert rows["words"] == "3" and rows["entries"] == "4" and rows["symmetric"] == "True"
    table = face(glove.counts.ratio_table(["<b>", "grey"], ["sky"]))
    assert table.rows[0] == ["k", "P(k | <b>)", "P(k | grey)", "P(k | <b>) / P(k | grey)"]
    assert table.rows[1] == ["sky", "1", "1", "1"]


def test_evaluations():
    section = AnalogySection("gram1", [("a", "b", "c", "d")] * 3, [("a", "b", "c", "e")], 1, 5)
    assert repr(section) == (
        "AnalogySection('gram1', 3 of 4 right, 1 of 5 questions with unknown words)"
    )
    assert face(section).rows[1] == ["gram1", "3", "4", "75.0%", "5", "1"]
    scores = PairScores(Correlation(0.5, 0.01), Correlation(0.25, 1e-9), 10, 2, 8)
    table = face(scores)
    assert table.caption == "8 of 10 pairs, coverage 80.0%"
    assert table.rows[1:] == [["Spearman", "0.2500", "1e-09"], ["Pearson", "0.5000", "0.01"]]


def test_attention_maps():
    weights = np.zeros((2, 2, 3, 3), dtype=np.float32)
    weights[..., [0, 1, 2], [1, 2, 1]] = 1
    maps = AttentionMaps(weights, ["<cls>", "a", "<sep>"])
    assert repr(maps) == "AttentionMaps(2 layers, 2 heads, 3 tokens)"
    assert face(maps).rows[1:] == [
        ["<cls>", "a", "1.0000"], ["a", "<sep>", "1.0000"], ["<sep>", "a", "1.0000"],
    ]  # fmt: skip
    kept, tokens = maps
    assert kept is weights and tokens == ["<cls>", "a", "<sep>"]


@pytest.mark.parametrize("evaluated", [False, True])
def test_pretraining(evaluated):
    record = {"mlm_loss": 6.5, "nsp_loss": 0.7, "mlm_accuracy": 0.1, "nsp_accuracy": 0.55}
    state = PretrainingState(total=50, max_len=64, done=20, seconds=10.0)
    result = PretrainingResult(None, None, None, state)
    assert repr(result) == "PretrainingResult(step 20/50)"
    state.history = [{"step": 20, **record}]
    state.sums.update(sequences=100, mlm_count=10, mlm_loss_sum=70.0, nsp_count=10)
    if evaluated:
        state.evaluations = [{"step": 10, "epoch": 1, "loss": 7.2, **record}]
    assert repr(result) == ("PretrainingResult(step 20/50; MLM 6.5000 (10.0%)  NSP 0.7000 (55.0%))")
    table = face(result)
    assert table.caption == "BERT, step 20 of 50, 0:10, 10 pairs/s"
    assert table.rows[1] == ["at the end", "6.5000", "0.7000", "10.0%", "55.0%"]
    assert table.rows[2][:2] == ["over the run", "7.0000"]
    assert [row[0] for row in table.rows[3:]] == ["held out, step 10"] * evaluated


def test_results_of_the_text():
    animator = d2l.Animator()
    animator.add(1, (2, 3))
    trained = d2l.TrainResult(0.41, [0.5, 0.4], 1e6, 6e6, 61.0, animator)
    assert "animator=Animator(2 curves, 1 points)" in repr(trained)
    assert dict(face(trained).rows) == {
        "loss": "0.4100", "of the epochs": "0.5000, 0.4000", "tokens/s": "1,000,000",
        "pairs/s": "6,000,000", "time": "1:01",
    }  # fmt: skip
    pretrained = d2l.BertTrainResult(5.5, 0.7, 2256.0, 10.0, animator)
    assert dict(face(pretrained).rows)["pairs/s"] == "2,256.0"
