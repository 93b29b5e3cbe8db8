"""SNLI as the text has it, beside the text's own steps."""

from __future__ import annotations

import re

import pytest
import torch

from lexforge import d2l
from lexforge.text import datasets

HEAD = (
    "gold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
    "\tsentence1\tsentence2\n"
)
ROWS = [
    ("neutral", "( ( A person ) ( ( sits  there ) . ) )", "( ( A man ) ( rests . ) )"),
    ("contradiction", "( ( A person ) ( stands . ) )", "( Nobody ( is ( there . ) ) )"),
    ("-", "( No one )", "( knows )"),
    ("entailment", "( ( The -LRB- -RRB- dog ) ( barks . ) )", "( ( A dog ) ( is ( loud . ) ) )"),
]  # fmt: skip


@pytest.fixture
def snli(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "snli_1.0"
    folder.mkdir(parents=True)
    for split, rows in (("train", ROWS * 5), ("test", ROWS)):
        lines = ["\t".join((*row, "(R)", "(R)", "raw", "raw")) + "\n" for row in rows]
        (folder / f"snli_1.0_{split}.txt").write_text(HEAD + "".join(lines))
    monkeypatch.setenv("LEXFORGE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LEXFORGE_CACHE", str(tmp_path / "cache"))
    return folder


def text_reads(file_name):
    """The text's function."""

    def extract_text(s):
        s = re.sub("\\(", "", s)
        s = re.sub("\\)", "", s)
        s = re.sub("\\s{2,}", " ", s)
        return s.strip()

    label_set = {"entailment": 0, "contradiction": 1, "neutral": 2}
    with open(file_name) as f:
        rows = [row.split("\t") for row in f.readlines()[1:]]
    premises = [extract_text(row[1]) for row in rows if row[0] in label_set]
    hypotheses = [extract_text(row[2]) for row in rows if row[0] in label_set]
    labels = [label_set[row[0]] for row in rows if row[0] in label_set]
    return premises, hypotheses, labels


def test_read_snli(snli):
    data_dir = d2l.download_extract("SNLI")
    assert data_dir == snli
    for split in ("train", "test"):
        found = d2l.read_snli(data_dir, split == "train")
        assert found == text_reads(snli / f"snli_1.0_{split}.txt")
    premises, hypotheses, labels = found
    assert premises[0] == "A person sits there ." and hypotheses[1] == "Nobody is there ."
    assert labels == [2, 1, 0]


def test_data_set_and_minibatches(snli, capsys):
    train_iter, test_iter, vocab = d2l.load_data_snli(4, num_steps=6)
    assert capsys.readouterr().out == "read 15 examples\nread 3 examples\n"
    train = text_reads(snli / "snli_1.0_train.txt")
    words = d2l.tokenize(train[0]) + d2l.tokenize(train[1])
    expected = d2l.Vocab(words, min_freq=5, reserved_tokens=["<pad>"])
    assert vocab.idx_to_token == expected.idx_to_token

    def padded(side):
        lines = d2l.tokenize(side)
        return torch.tensor([d2l.truncate_pad(vocab[line], 6, vocab["<pad>"]) for line in lines])

    dataset = d2l.SNLIDataset(train, 6, vocab)
    assert torch.equal(dataset.premises, padded(train[0]))
    assert torch.equal(dataset.hypotheses, padded(train[1]))
    assert len(dataset) == 15 and dataset.labels.tolist() == train[2]
    (premise, hypothesis), label = dataset[1]
    assert premise.shape == hypothesis.shape == (6,) and label == 1
    batches = list(train_iter)
    assert len(batches) == len(train_iter) == 4
    for X, Y in batches:
        assert X[0].shape == X[1].shape == (len(Y), 6) and X[0].dtype == Y.dtype == torch.int64
    assert sum(len(Y) for _, Y in batches) == 15
    assert [Y.tolist() for _, Y in test_iter] == [[2, 1, 0]]


def test_files_without_parses(tmp_path):
    """Marks are set apart from words, as parses have them."""
    text = "neutral\tA man's \"dog\", big.\tIt isn't (so) 3.5 big!\n"
    (tmp_path / "snli_test.tsv").write_text("gold_label\tsentence1\tsentence2\n" + text)
    assert d2l.read_snli(tmp_path, False) == (
        ["A man 's \" dog \" , big ."], ["It is n't ( so ) 3.5 big !"], [2],
    )  # fmt: skip
    with pytest.raises(FileNotFoundError, match=r"snli_1.0_train.txt"):
        d2l.read_snli(tmp_path, True)


def test_names_of_the_text():
    assert d2l.DATA_HUB["SNLI"][1] == "9fcde07509c7e87ec61c640c1b2753d9041758e4"
    assert d2l.DATA_HUB["aclImdb"][1] == "01ada507287d82875905620988597833ad4e0903"
    assert d2l.DATA_HUB["SNLI"][0] == datasets.REGISTRY["snli"].urls[0]


@pytest.mark.real_data
def test_real_snli():
    """The test split is whole, the training split a part."""
    train_iter, test_iter, vocab = d2l.load_data_snli(256)
    counts = torch.bincount(test_iter.dataset.labels).tolist()
    assert counts == [3368, 3237, 3219] and len(test_iter.dataset) == 9824
    assert 3_000 < len(vocab) < 20_000 and "." in vocab.token_to_idx
    X, Y = next(iter(train_iter))
    assert X[0].shape == X[1].shape == (256, 50) and Y.shape == (256,)
