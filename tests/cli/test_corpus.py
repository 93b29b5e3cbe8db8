"""What the commands that take a corpus do with standard input, pipes, encodings and results."""

from __future__ import annotations

import gzip
import json
import os
import threading

import numpy as np
import pytest

from lexforge import Cooccurrence, GloVe, Word2Vec, cooccurrence
from planted_paragraphs import planted_paragraphs

WORDS = ("--min-count", 1, "--vector-size", 8, "--epochs", 1, "--workers", 1, "--device", "cpu")
BERT = ("--layers", 1, "--hidden-size", 32, "--heads", 2, "--ffn-size", 48, "--max-len", 16,
        "--batch-size", 32, "--min-count", 1, "--workers", 1, "--device", "cpu", "--steps", 2,
        )  # fmt: skip
COUNT = ("--min-count", 1, "--workers", 1, "--device", "cpu")
COMMANDS = {
    "word2vec": ("word2vec", WORDS),
    "fasttext": ("fasttext", WORDS),
    "glove": ("glove", WORDS),
    "cooccurrence": ("cooccurrence", COUNT),
    "pretrain": ("bert pretrain", BERT),
}


class StopAfter:
    """A stop request that comes after some calls."""

    def __init__(self, calls):
        self.calls = calls

    @property
    def requested(self):
        self.calls -= 1
        return self.calls < 0


@pytest.fixture(scope="module")
def paragraphs():
    return "".join(" . ".join(p) + "\n" for p in planted_paragraphs()).encode()


@pytest.mark.parametrize("name", COMMANDS)
def test_standard_input_and_pipes(invoke, paragraphs, tmp_path, name):
    command, options = COMMANDS[name]
    path, pipe = tmp_path / "text", tmp_path / "pipe"
    path.write_bytes(paragraphs)
    os.mkfifo(pipe)
    results = []
    for number, corpus in enumerate((path, "-", pipe, "-")):
        out = tmp_path / f"{number}"
        data = gzip.compress(paragraphs) if number == 3 else paragraphs
        if corpus is pipe:
            threading.Thread(target=pipe.write_bytes, args=(data,), daemon=True).start()
        result = invoke(*command.split(), corpus, "--out", out, *options, input=data)
        assert result.exit_code == 0, result.output
        if corpus != path:
            told = {"-": "standard input"}.get(corpus, "pipe")
            assert f"{told}: " in result.stderr and "B read" in result.stderr
        file = out / ("triplets.bin" if name == "cooccurrence" else "model.safetensors")
        results.append(file.read_bytes())
    assert len(set(results)) == 1


def test_resumed_from_standard_input(invoke, paragraphs, tmp_path):
    """The same text goes on; another is refused."""
    path, out = tmp_path / "text", tmp_path / "out"
    path.write_bytes(paragraphs)
    options = {"min_count": 1, "vector_size": 8, "workers": 1, "device": "cpu"}
    model = Word2Vec(**options)
    model.build_vocab(corpus_file=path)
    model.train(corpus_file=path, checkpoint_folder=out, stop=StopAfter(1))
    assert not model.state.finished
    resume = ("word2vec", "-", "--out", out, "--resume", "--workers", 1, "--device", "cpu")
    result = invoke(*resume, input=paragraphs[:-100])
    assert result.exit_code == 1 and "cannot resume" in result.stderr
    assert invoke(*resume, input=paragraphs).exit_code == 0
    whole = Word2Vec(corpus_file=path, **options)
    assert np.array_equal(Word2Vec.load(out).wv.vectors, whole.wv.vectors)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_no_text(invoke, paragraphs, tmp_path, name):
    command, options = COMMANDS[name]
    path, out = tmp_path / "text", tmp_path / "out"
    for data, message in (
        (b"\x28\xb5\x2f\xfd" + bytes(range(99)), "a Zstandard file: unpack it"),
        (paragraphs.decode().encode("utf-16-le"), "UTF-16 without a byte order mark"),
    ):
        path.write_bytes(data)
        for corpus in (path, "-"):
            result = invoke(*command.split(), corpus, "--out", out, *options, input=data)
            assert result.exit_code == 1 and message in result.stderr
            assert not out.exists()
    result = invoke(*command.split(), path, "--out", out, "--encoding", "UTF-16LE", *options)
    assert result.exit_code == 0, result.output
    result = invoke(*command.split(), path, "--out", out, "--encoding", "klingon", *options)
    assert result.exit_code != 0


def test_another_encoding_is_another_run(invoke, paragraphs, tmp_path):
    path, out = tmp_path / "text", tmp_path / "out"
    path.write_bytes(paragraphs)
    assert invoke("word2vec", path, "--out", out, "--errors", "strict", *WORDS).exit_code == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["encoding"], config["errors"]) == ("utf-8", "strict")
    resume = ("word2vec", path, "--out", out, "--resume", "--encoding")
    result = invoke(*resume, "UTF8")
    assert result.exit_code == 0 and "nothing to resume" in result.stderr
    result = invoke(*resume, "latin-1")
    assert result.exit_code == 1 and "encoding is iso8859-1, utf-8 in the run" in result.stderr


@pytest.mark.parametrize("family", [Word2Vec, GloVe])
def test_results_in_the_folder_of_the_corpus(invoke, paragraphs, tmp_path, monkeypatch, family):
    """What a run writes there never becomes what it reads, whether it is resumed or begun anew."""
    command = family.__name__.lower()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_bytes(paragraphs)
    options = {"min_count": 1, "vector_size": 8, "workers": 1, "device": "cpu"}
    whole = family(corpus=[tmp_path / "a.txt"], **options)
    if family is Word2Vec:
        stopped = Word2Vec(**options)
        stopped.build_vocab(corpus_file="a.txt")
        stopped.train(corpus_file="a.txt", checkpoint_folder="vec", stop=StopAfter(1))
    else:
        stopped = GloVe(counts_folder="vec/counts", **options)
        stopped.train(["a.txt"], checkpoint_folder="vec", stop=StopAfter(1))
    assert not stopped.state.finished
    log = ("--log-json", "log.jsonl")
    machine = ("--workers", 1, "--device", "cpu")
    result = invoke(command, ".", "--out", "vec", "--resume", *log, *machine)
    assert result.exit_code == 0, result.output
    assert "results are left out: log.jsonl, vec" in result.stderr
    assert np.array_equal(family.load("vec").wv.vectors, whole.wv.vectors)
    again = ("--min-count", 1, "--vector-size", 8, "--overwrite", *log, *machine)
    result = invoke(command, ".", "--out", "vec", *again)
    assert result.exit_code == 0 and "left out: log.jsonl, vec" in result.stderr
    assert np.array_equal(family.load("vec").wv.vectors, whole.wv.vectors)
    result = invoke(command, ".", "--out", ".", "--overwrite", *WORDS)
    assert result.exit_code == 2 and "is read, and cannot be written to" in result.stderr


def test_nothing_to_train_on(invoke, tmp_path):
    (tmp_path / "c.txt").write_text("hello\n")
    result = invoke("word2vec", tmp_path / "c.txt", "--out", tmp_path / "out", *WORDS)
    assert result.exit_code == 1 and "no word has a context" in result.stderr
    assert not (tmp_path / "out").exists()


def test_word2vec_s_other_options(invoke, paragraphs, tmp_path):
    path, words = tmp_path / "text", tmp_path / "vocab.txt"
    path.write_bytes(paragraphs)
    train = ("word2vec", "-train", path, "-output", tmp_path / "v.txt", "-threads", 1, "-debug", 1)
    result = invoke(*train, "-save-vocab", words, *WORDS)
    assert result.exit_code == 0, result.output
    few = words.read_text().splitlines()[:9]
    words.write_text("\n".join(few) + "\n")
    result = invoke(*train, "-read-vocab", words, "-classes", 0, *WORDS)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "v.txt").read_text().startswith("9 8\n")
    result = invoke(*train, "-classes", 500)
    assert result.exit_code == 2 and "-classes: words are not put into classes" in result.stderr
    result = invoke(*train, "-read-vocab", tmp_path / "none")
    assert result.exit_code == 2 and "-read-vocab: there is no file" in result.stderr


def test_stanford_s_steps(invoke, paragraphs, tmp_path):
    """vocab_count, cooccur, shuffle and glove, by their options."""
    words, counts, shuffled = (tmp_path / n for n in ("vocab.txt", "co.bin", "co.shuf.bin"))
    result = invoke(
        "cooccurrence", "-", "--out", tmp_path / "out", "--stanford", counts, "-save-vocab", words,
        "-verbose", 2, "-min-count", 1, "-memory", "1.0", "-window-size", 5, "-symmetric", 1,
        "-max-product", 1000, "-overflow-length", 99, "-overflow-file", "x", "-array-size", 9,
        "-temp-file", "y", "-seed", 3, input=paragraphs,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (tmp_path / "text").write_bytes(paragraphs)
    expected = cooccurrence(tmp_path / "text", window=5, min_count=1)
    assert Cooccurrence.load_stanford(counts, words).values.equal(expected.values)
    records = np.fromfile(counts, "V16")
    np.random.default_rng(1).shuffle(records)
    records.tofile(shuffled)
    results = []
    for file in (counts, shuffled):
        result = invoke(
            "glove", "-input-file", file, "-vocab-file", words, "-save-file", tmp_path / "vectors",
            "-iter", 1, "-vector-size", 8, "-threads", 1, "-x-max", 10, "--device", "cpu",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        results.append((tmp_path / "vectors.txt").read_bytes())
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "command", [("word2vec",), ("fasttext",), ("glove",), ("bert", "pretrain")]
)
def test_a_corpus_is_not_emptied_by_its_own_log(invoke, tmp_path, command):
    """It was opened for writing before it was refused."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("the river runs deep\n" * 9)
    result = invoke(*command, corpus, "--out", tmp_path / "out", "--log-json", corpus)
    assert result.exit_code == 2, result.output
    assert "is read, and cannot be written to" in result.stderr
    assert corpus.read_text() == "the river runs deep\n" * 9
