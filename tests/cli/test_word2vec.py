"""``lexforge word2vec``: training, its files, resuming, and the original tool's options."""

import fcntl
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest

from lexforge import Word2Vec, load_vectors
from planted import synonym_score

QUICK = ("--min-count", 1, "--vector-size", 16, "--epochs", 2)


def test_learns_and_tells(invoke, corpus_file, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log.jsonl"
    result = invoke(
        "word2vec", corpus_file, "--out", out, "--min-count", 1, "--vector-size", 32,
        "--epochs", 30, "--alpha", 0.05, "--sample", 0, "--sg", 1, "--log-json", log,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout == ""  # everything told goes to standard error
    assert "210 words seen 1 times or more make up 24,000 of 24,000 words" in result.stderr
    assert "words/s" in result.stderr and f"lexforge similar {out}" in result.stderr
    assert {path.name for path in out.iterdir()} == {
        "config.json", "vocab.txt", "model.safetensors", "trainer_state.json",
    }  # fmt: skip
    assert synonym_score(Word2Vec.load(out).wv) >= 0.95
    assert synonym_score(load_vectors(out)) >= 0.95
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert records[-1]["words"] == 30 * 24_000 and records[-1]["loss"] < 1.5


def test_nothing_to_learn_from(invoke, tmp_path):
    """Sub-sampling leaves out nearly every word of so few."""
    (tmp_path / "c.txt").write_text("one two\n" * 20)
    arguments = ("word2vec", tmp_path / "c.txt", "--min-count", 1, "--epochs", 1)
    result = invoke(*arguments, "--vector-size", 4, "--sample", 1e-9, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "words/s, no pair of words was left to learn from (--sample 0" in result.stderr
    assert "nan" not in result.stderr


def test_quiet(invoke, corpus_file, tmp_path):
    result = invoke("word2vec", corpus_file, "--out", tmp_path / "out", "--quiet", *QUICK)
    assert result.exit_code == 0 and result.output == ""


def test_options_reach_the_model(invoke, corpus_file, tmp_path):
    result = invoke(
        "word2vec", corpus_file, "--out", tmp_path, "--vector-size", 10, "--window", 3,
        "--negative", 4, "--sample", 0.01, "--min-count", 2, "--epochs", 2, "--alpha", 0.03,
        "--min-alpha", 0.001, "--ns-exponent", 0.5, "--negative-sharing", "window", "--seed", 7,
        "--max-final-vocab", 150, "--max-vocab-size", 200, "--max-sentence-length", 4, "--workers",
        1, "--lowercase", "--device", "cpu", "--sg", 1, "--hs", 1, "--cbow-mean", 0,
        "--shrink-windows", 0, "--deterministic", "--precision", "bf16",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "config.json").read_text())
    expected = {
        "vector_size": 10, "window": 3, "negative": 4, "sample": 0.01, "min_count": 2, "epochs": 2,
        "alpha": 0.03, "min_alpha": 0.001, "ns_exponent": 0.5, "negative_sharing": "window",
        "seed": 7, "max_final_vocab": 150, "max_vocab_size": 200, "max_sentence_length": 4,
        "lowercase": True, "sg": 1, "hs": 1, "cbow_mean": 0, "shrink_windows": False,
        "deterministic": True, "precision": "bf16",
    }  # fmt: skip
    assert {name: config[name] for name in expected} == expected
    assert config["vocabulary_size"] <= 150


def test_same_result_as_the_library(invoke, corpus_file, tmp_path):
    invoke("word2vec", corpus_file, "--out", tmp_path, "--workers", 1, *QUICK)
    model = Word2Vec(corpus_file=corpus_file, min_count=1, vector_size=16, epochs=2, workers=1)
    assert np.array_equal(Word2Vec.load(tmp_path).wv.vectors, model.wv.vectors)


@pytest.mark.parametrize(
    "format, name",
    [
        ("text", "vectors.txt"),
        ("binary", "vectors.bin"),
        ("glove", "vectors.glove.txt"),
        ("safetensors", "vectors.safetensors"),
    ],
)
def test_vector_files(invoke, corpus_file, tmp_path, format, name):
    result = invoke("word2vec", corpus_file, "--out", tmp_path, "--format", format, *QUICK)
    assert result.exit_code == 0, result.output
    assert name in result.stderr
    vectors, model = load_vectors(tmp_path / name), Word2Vec.load(tmp_path)
    assert vectors.index_to_key == model.wv.index_to_key
    assert np.array_equal(vectors.vectors, model.wv.vectors)


@pytest.mark.parametrize("binary, cbow, hs", [(0, 0, 0), (1, 1, 1)])
def test_as_the_original_tool(invoke, corpus_file, tmp_path, binary, cbow, hs):
    output, vocabulary = tmp_path / "vec", tmp_path / "counts.txt"
    result = invoke(
        "word2vec", "-train", corpus_file, "-output", output, "-size", 20, "-window", 3, "-sample",
        "1e-3", "-negative", 4, "-threads", 1, "-iter", 2, "-min-count", 2, "-alpha", 0.03, "-cbow",
        cbow, "-hs", hs, "-binary", binary, "-save-vocab", vocabulary, "-debug", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    model = Word2Vec(
        corpus_file=corpus_file, vector_size=20, window=3, negative=4, workers=1, epochs=2,
        min_count=2, alpha=0.03, sg=1 - cbow, hs=hs,
    )  # fmt: skip
    content = output.read_bytes()
    assert content.startswith(f"{len(model.wv)} 20\n".encode())
    if not binary:
        assert len(content.splitlines()) == 1 + len(model.wv)
        assert content.split(b"\n")[1].split(b" ")[0].decode() == model.wv.index_to_key[0]
    assert np.array_equal(load_vectors(output).vectors, model.wv.vectors)
    word, count = vocabulary.read_text().splitlines()[0].split(" ")
    assert word == model.wv.index_to_key[0] and int(count) == model.wv.get_vecattr(word, "count")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["{corpus}"], "--out"),
        (["--out", "x"], "give a CORPUS"),
        (["{corpus}", "-train", "{corpus}", "--out", "x"], "give the corpus once"),
        (["{corpus}", "--out", "x", "-cbow", "1", "-sg", "1"], "-cbow 1 and --sg 1 are two models"),
        (["{corpus}", "--out", "x", "-cbow", "0", "--sg", "0"], "-cbow 0 and --sg 0 are two"),
        (["{corpus}", "--out", "x", "-hs", "2"], "-hs must be less than or equal to 1"),
        (["{corpus}", "-output", "x", "--resume"], "--resume needs --out"),
        (["{corpus}", "--out", "x", "--resume", "--overwrite"], "excludes --overwrite"),
        (["{corpus}", "--out", "{corpus}"], "--out must be a folder"),
        (["{corpus}", "-output", "absent/x"], "there is no folder absent for x"),
        (["{corpus}", "--out", "x", "--log-json", "absent/log"], "there is no folder absent"),
        (["{corpus}", "--out", "x", "--window", "0"], "window"),
        (["{corpus}", "--out", "x", "--format", "pickle"], "format"),
    ],
)
def test_wrong_usage(invoke, corpus_file, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = invoke("word2vec", *(a.format(corpus=corpus_file) for a in arguments))
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["/nowhere.txt", "--out", "{out}"], "nowhere.txt"),
        (["{corpus}", "--out", "{out}", "--min-count", "100000"], "--min-count 100000"),
        (["{corpus}", "--out", "{out}", "--resume"], "holds no checkpoint"),
        (["{corpus}", "--out", "{out}", "--device", "abacus"], "auto, cpu or cuda, got 'abacus'"),
        (["{corpus}", "--out", "{out}", "--alpha", "inf"], "alpha must be finite"),
        (
            ["{corpus}", "--out", "{out}", "-hs", "0", "--negative", "0"],
            "-hs 0 with --negative 0 is neither hierarchical softmax nor negative sampling",
        ),
        (["{corpus}", "--out", "{out}", "--seed", "9" * 20], "seed must be <="),
        (
            ["{corpus}", "--out", "{out}", "--vector-size", "9" * 20],
            "less than or equal to 16777216",
        ),
        (["{corpus}", "--out", "{out}", "--cache", "{corpus}"], "--cache must be a folder"),
        (["{corpus}", "--out", "{corpus}/out"], "--out must be a folder"),
        (["{corpus}", "-output", "/"], "/ must be a file, and is a folder"),
    ],
)
def test_failures(invoke, corpus_file, tmp_path, arguments, message):
    out = tmp_path / "out"
    result = invoke("word2vec", *(a.format(corpus=corpus_file, out=out) for a in arguments))
    assert result.exit_code in (1, 2)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not out.exists()


def test_more_than_fits_into_memory(invoke, corpus_file, tmp_path, monkeypatch):
    """Refused before it is allocated: the system grants it and kills whoever uses it."""
    monkeypatch.setattr("lexforge.models.word2vec.parts.available_memory", lambda: 1000)
    result = invoke("word2vec", corpus_file, "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 1 and "GB are free" in result.stderr
    assert not (tmp_path / "out").exists()


def test_binary_junk_is_noticed(invoke, tmp_path):
    junk = tmp_path / "junk"
    junk.write_bytes(bytes(range(256)) * 200)
    result = invoke("word2vec", junk, "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 1 and "junk: not UTF-8 text: " in result.stderr
    result = invoke("word2vec", junk, "--out", tmp_path / "out", "--errors", "replace", *QUICK)
    assert "bytes that are no text" in result.stderr


def test_file_names_that_are_not_utf8(invoke, corpus_file, tmp_path):
    """To the system names are bytes; such ones failed in the reader."""
    folder = tmp_path / os.fsdecode(b"caf\xe9 au lait")
    folder.mkdir()
    shutil.copy(corpus_file, folder / "corpus.txt")
    result = invoke("word2vec", folder / "corpus.txt", "--out", folder / "out", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert (folder / "out" / "model.safetensors").exists()


def test_another_run_is_not_overwritten(invoke, corpus_file, tmp_path):
    train = ("word2vec", corpus_file, "--out", tmp_path, *QUICK)
    assert invoke(*train).exit_code == 0
    before = (tmp_path / "model.safetensors").read_bytes()
    result = invoke(*train, "--seed", 2)
    assert result.exit_code == 2 and "--resume" in result.output and "--overwrite" in result.output
    assert (tmp_path / "model.safetensors").read_bytes() == before
    result = invoke(*train, "--resume", "--format", "text")
    assert result.exit_code == 0 and "nothing to resume" in result.stderr
    assert (tmp_path / "vectors.txt").exists()  # what a kill just before the end left undone
    assert invoke(*train, "--seed", 2, "--overwrite").exit_code == 0
    assert (tmp_path / "model.safetensors").read_bytes() != before


def test_another_process_trains_there(invoke, corpus_file, tmp_path):
    """A second run is refused before it reads the corpus, or changes what the first one has."""
    (tmp_path / ".encoded").mkdir()
    log = tmp_path / "log"
    log.write_text("{}\n")
    commands = (
        ("word2vec", "no-such-file"),
        ("glove", "no-such-file"),
        ("bert", "pretrain", "no-such-file"),
    )
    with open(tmp_path / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in commands:
            result = invoke(*command, "--out", tmp_path, "--overwrite", "--log-json", log)
            assert result.exit_code == 1, result.output
            assert f"error: {tmp_path}: another process is training there" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {".encoded", ".lock", "log"}
    assert log.read_text() == "{}\n"


LONG = ("--min-count", 1, "--vector-size", 64, "--epochs", 100, "--workers", 1, "--sg", 1)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_and_resumed(invoke, spawn, corpus_file, tmp_path, number, code):
    """A stopped run says how to go on, and the resumed one ends as if nothing had happened."""
    whole, out, log = tmp_path / "whole", tmp_path / "out", tmp_path / "log.jsonl"
    assert invoke("word2vec", corpus_file, "--out", whole, *LONG).exit_code == 0

    # Hundreds of checkpoints, so that the signal comes long before the end on any machine.
    often = ("--checkpoint-every", 1e-6)
    process = spawn("word2vec", corpus_file, "--out", out, "--log-json", log, *often, *LONG)
    deadline = time.monotonic() + 60
    while not (out / "trainer_state.json").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    command = f"lexforge word2vec {corpus_file} --out {out} --resume"
    assert err.splitlines()[-1] == f"stopped and saved; continue with: {command}"
    state = json.loads((out / "trainer_state.json").read_text())
    assert 0 < state["done"] < state["total"]

    for changes, message in (
        (("--window", 9), "window is 9, 5 in the run"),
        (("--negative-sharing", "window"), "--negative-sharing is window, pair in the run"),
        (("-cbow", 1), "--sg is 0, 1 in the run"),
        (("--deterministic",), "--deterministic is True, False in the run"),
    ):
        result = invoke("word2vec", corpus_file, "--out", out, "--resume", *changes)
        assert result.exit_code == 1 and message in result.stderr
    other = tmp_path / "other.txt"
    other.write_text(corpus_file.read_text() + "a0 b0\n")
    result = invoke("word2vec", other, "--out", out, "--resume")
    assert result.exit_code == 1 and "corpus tokens is 24002 now, 24000 in" in result.stderr

    # As printed: options that are not repeated are those of the run, the threads aside.
    resume = [*command.split()[1:], "--workers", 1, "--log-json", log]
    assert invoke(*resume).exit_code == 0
    for name in ("model.safetensors", "vocab.txt", "config.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert not (out / ".encoded").exists()
    words = [json.loads(line)["words"] for line in log.read_text().splitlines()]
    assert words == sorted(words) and words[-1] == state["total"]


def test_cache_is_kept(invoke, corpus_file, tmp_path):
    cache = tmp_path / "cache"
    for seed in (1, 2):
        out = tmp_path / f"out{seed}"
        arguments = ("--cache", cache, "--seed", seed)
        assert invoke("word2vec", corpus_file, "--out", out, *arguments, *QUICK).exit_code == 0
        assert (cache / "meta.json").exists()
        if seed == 1:
            written = (cache / "tokens.bin").stat().st_ino
    assert (cache / "tokens.bin").stat().st_ino == written


@pytest.mark.real_data
def test_data_set_by_name(invoke, tmp_path):
    result = invoke("word2vec", "ptb", "--out", tmp_path, "--epochs", 1, "--vector-size", 16)
    assert result.exit_code == 0, result.output
    assert "9,858 words seen 5 times or more" in result.stderr


def test_words_that_stay_as_they_were(invoke, tmp_path):
    corpus, vectors, out = tmp_path / "c.txt", tmp_path / "start.txt", tmp_path / "out"
    corpus.write_text("sun moon sea\nsun moon land\n" * 40)
    vectors.write_text("1 4\nmoon 1 2 3 4\n")
    start = ("--init", vectors, "--init-lockf", 0)
    given = ("--vector-size", 4, "--min-count", 1)
    result = invoke("word2vec", corpus, "--out", out, *given, *start)
    assert result.exit_code == 0, result.output
    assert load_vectors(out)["moon"].tolist() == [1, 2, 3, 4]
    alone = invoke("word2vec", corpus, "--out", tmp_path / "other", "--init-lockf", 0)
    assert alone.exit_code == 2 and "of the vectors of --init" in alone.output
