"""IMDb as the text has it, beside the text's own steps."""

from __future__ import annotations

import os
import tarfile

import pytest
import torch

from lexforge import d2l


@pytest.fixture
def aclimdb(tmp_path, monkeypatch):
    """A data folder with an archive of IMDb: 30 reviews of each kind and split."""
    words = ["the", "film", "is", "so", "very", "great", "bad", "long", "short", "dull"]
    for split in ("train", "test"):
        for kind, folder in enumerate(("neg", "pos")):
            place = tmp_path / "made" / "aclImdb" / split / folder
            place.mkdir(parents=True)
            for number in range(30):
                text = [words[(number * (kind + 1) + n) % 10] for n in range(number % 7 + 1)]
                (place / f"{number}_{kind}.txt").write_text(f"{split} \n{' '.join(text)} é{kind}\n")
    (tmp_path / "data" / "imdb").mkdir(parents=True)
    with tarfile.open(tmp_path / "data" / "imdb" / "aclImdb_labelled.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "made" / "aclImdb", "aclImdb")
    monkeypatch.setenv("LEXFORGE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LEXFORGE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def text_reads(data_dir, is_train):
    """The text's function."""
    data, labels = [], []
    for label in ("pos", "neg"):
        folder_name = os.path.join(data_dir, "train" if is_train else "test", label)
        for file in sorted(os.listdir(folder_name)):  # in an order
            with open(os.path.join(folder_name, file), "rb") as f:
                data.append(f.read().decode("utf-8").replace("\n", ""))
                labels.append(1 if label == "pos" else 0)
    return data, labels


def test_read_imdb(aclimdb):
    data_dir = d2l.download_extract("aclImdb", "aclImdb")  # lies in LEXFORGE_DATA
    assert data_dir == aclimdb / "cache" / "d2l" / "aclImdb"
    for is_train in (True, False):
        expected = text_reads(data_dir, is_train)
        assert d2l.read_imdb(data_dir, is_train) == expected
        archive = aclimdb / "data" / "imdb" / "aclImdb_labelled.tar.xz"
        assert d2l.read_imdb(archive, is_train) == expected
    assert d2l.download_extract("aclImdb", "aclImdb") == data_dir  # not once more
    assert d2l.read_imdb(data_dir, True)[0][0].startswith("train the")


@pytest.mark.filterwarnings("ignore:imdb.* has 25,000 examples")
@pytest.mark.parametrize("compat", [False, True])
def test_load_data_imdb(aclimdb, compat):
    """The chapter's cells, and what the function makes of the same reviews."""
    train_iter, test_iter, vocab = d2l.load_data_imdb(8, num_steps=5, compat=compat)
    train_data = text_reads(aclimdb / "made" / "aclImdb", True)
    test_data = text_reads(aclimdb / "made" / "aclImdb", False)
    train_tokens = d2l.tokenize(train_data[0], token="word")
    expected = d2l.Vocab(train_tokens, min_freq=5, reserved_tokens=[] if compat else ["<pad>"])
    assert vocab.idx_to_token == expected.idx_to_token
    assert ("<pad>" in vocab.idx_to_token) != compat
    features = [
        d2l.truncate_pad(vocab[line], 5, vocab["<pad>"]) for line in d2l.tokenize(test_data[0])
    ]
    X, y = (torch.cat(parts) for parts in zip(*test_iter, strict=True))
    assert X.dtype == torch.int64 and torch.equal(X, torch.tensor(features))
    assert y.tolist() == test_data[1] and y.dtype == torch.int64
    X, y = (torch.cat(parts) for parts in zip(*train_iter, strict=True))
    assert X.shape == (60, 5) and y.sum() == 30 and len(train_iter) == len(test_iter) == 8
    assert y.tolist() != train_data[1]  # shuffled


@pytest.mark.slow
@pytest.mark.real_data
def test_real_imdb():
    train_iter, test_iter, vocab = d2l.load_data_imdb(64)
    assert len(vocab) == 49347 and vocab["<pad>"] == 1  # the text: 49346, without <pad>
    assert len(train_iter.dataset) == len(test_iter.dataset) == 25_000
    X, y = next(iter(train_iter))
    assert X.shape == (64, 500) and y.shape == (64,)
    labels = train_iter.dataset.tensors[1]
    assert labels.sum() == 12_500
