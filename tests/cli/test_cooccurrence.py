"""``lexforge cooccurrence``: counting, its files, going on, and the original tool's options."""

import json
import os
import signal
import time

import numpy as np
import pytest

import lexforge
from lexforge import Cooccurrence
from lexforge.models.cooccurrence.triplets import TRIPLET


def same(a, b):
    return (
        a.vocab == b.vocab
        and np.array_equal(a.rows, b.rows)
        and np.array_equal(a.cols, b.cols)
        and np.array_equal(a.values, b.values)
    )


def test_counts_and_tells(invoke, corpus_file, tmp_path):
    out = tmp_path / "out"
    result = invoke("cooccurrence", corpus_file, "--out", out, "--min-count", 1)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "210 words seen 1 times or more make up 24,000 of 24,000 words" in result.stderr
    assert "words/s" in result.stderr and f"lexforge ratios {out}" in result.stderr
    assert {path.name for path in out.iterdir()} == {"triplets.bin", "vocab.txt", "meta.json"}
    counts = Cooccurrence.load(out)
    assert same(counts, lexforge.cooccurrence(corpus_file, min_count=1))
    assert f"{counts.nnz:,} entries for 210 words" in result.stderr


def test_quiet(invoke, corpus_file, tmp_path):
    result = invoke("cooccurrence", corpus_file, "--out", tmp_path / "out", "--quiet")
    assert result.exit_code == 0 and result.output == ""


def test_options_reach_the_counts(invoke, corpus_file, tmp_path):
    result = invoke(
        "cooccurrence", corpus_file, "--out", tmp_path, "-window-size", 3, "-symmetric", 0,
        "-distance-weighting", 0, "-min-count", 2, "-max-vocab", 50, "--cross-sentences",
        "--max-sentence-length", 4, "--lowercase", "--memory", "64MB", "--workers", 1,
        "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    counts = Cooccurrence.load(tmp_path)
    assert (counts.window, counts.symmetric, counts.distance_weighting) == (3, False, False)
    assert counts.cross_sentences is True and len(counts.vocab) == 50
    expected = lexforge.cooccurrence(
        corpus_file, window=3, symmetric=False, distance_weighting=False, max_vocab_size=50,
        cross_sentences=True, max_sentence_length=4,
    )  # fmt: skip
    assert same(counts, expected)


def test_vocabulary_file(invoke, corpus_file, tmp_path):
    (tmp_path / "vocab.txt").write_text("a1 9\nb1 8\nc1_0 7\nc1_1 6\n")
    result = invoke(
        "cooccurrence", corpus_file, "--out", tmp_path / "out", "-vocab-file",
        tmp_path / "vocab.txt",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert Cooccurrence.load(tmp_path / "out").vocab.words == ["a1", "b1", "c1_0", "c1_1"]


def test_stanford_file(invoke, corpus_file, tmp_path):
    out, path = tmp_path / "out", tmp_path / "cooccurrence.bin"
    result = invoke("cooccurrence", corpus_file, "--out", out, "--stanford", path)
    assert result.exit_code == 0 and str(path) in result.stderr
    ours, theirs = np.fromfile(out / "triplets.bin", TRIPLET), np.fromfile(path, TRIPLET)
    assert np.array_equal(ours["row"] + 1, theirs["row"])
    assert np.array_equal(ours["value"], theirs["value"])
    assert same(Cooccurrence.load_stanford(path, out / "vocab.txt"), Cooccurrence.load(out))


def test_overwrite(invoke, corpus_file, tmp_path):
    arguments = ("cooccurrence", corpus_file, "--out", tmp_path)
    assert invoke(*arguments).exit_code == 0
    result = invoke(*arguments, "--window", 2)
    assert result.exit_code == 2 and "holds counts" in result.stderr
    assert Cooccurrence.load(tmp_path).window == 15
    assert invoke(*arguments, "--window", 2, "--overwrite").exit_code == 0
    assert Cooccurrence.load(tmp_path).window == 2


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--memory", "1KB"], 1, "memory must be at least"),
        (["--memory", "4 apples"], 1, "must be like '512MB' or '2GB', got '4 apples'"),
        (["--window", "0"], 2, "got '0'"),
        (["--window", "43"], 1, "window"),
        (["-symmetric", "2"], 2, "got '2'"),
        (["--min-count", "100000"], 1, "no word of"),
        (["--stanford", "absent/c.bin"], 2, "there is no folder absent for c.bin"),
        (["--vocab-file", "absent.txt"], 1, "absent.txt: No such file"),
    ],
)
def test_wrong_use(invoke, corpus_file, tmp_path, arguments, code, message):
    result = invoke("cooccurrence", corpus_file, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == code
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_goes_on_after_an_interrupt(spawn, invoke, tmp_path):
    corpus, out = tmp_path / "corpus.txt", tmp_path / "out"
    rng = np.random.default_rng(0)
    ids = (20_000 ** rng.random((60_000, 20))).astype(int)
    corpus.write_text("\n".join(" ".join(f"w{i}" for i in line) for line in ids))
    command = ("cooccurrence", corpus, "--out", out, "--memory", "25MB", "--workers", 1)
    process = spawn(*command, env={"OMP_NUM_THREADS": "1"})
    manifest = out / ".runs" / "manifest.json"
    deadline = time.monotonic() + 120
    while not manifest.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "give the same command again to go on" in err and "Traceback" not in err
    runs = json.loads(manifest.read_text())["runs"]
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    assert f"going on after {runs[-1]['last']:,} of" in result.stderr
    assert os.listdir(out) and not manifest.exists()
    assert same(Cooccurrence.load(out), lexforge.cooccurrence(corpus))
