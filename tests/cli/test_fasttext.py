"""``lexforge fasttext``: training, its files, and the command that may be left out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lexforge import FastText, load_vectors
from lexforge.models.fasttext import load_facebook_model

QUICK = ("--min-count", 1, "--vector-size", 8, "--epochs", 1, "--workers", 1, "--device", "cpu")
FEW = ("--bucket", 500, *QUICK)


@pytest.mark.parametrize("command", [("fasttext",), ("fasttext", "train")])
def test_the_command_may_be_left_out(invoke, corpus_file, tmp_path, command):
    result = invoke(*command, corpus_file, "--out", tmp_path, *QUICK)
    assert result.exit_code == 0, result.output
    assert "210 words seen 1 times or more" in result.stderr
    model = FastText(corpus_file=corpus_file, min_count=1, vector_size=8, epochs=1, workers=1,
                     device="cpu")  # fmt: skip
    assert np.array_equal(FastText.load(tmp_path, device="cpu").wv.vectors, model.wv.vectors)


def test_options_may_come_first(invoke, corpus_file, tmp_path):
    result = invoke("fasttext", *QUICK, "--out", tmp_path, corpus_file)
    assert result.exit_code == 0, result.output


def test_files(invoke, corpus_file, tmp_path):
    out, model, text = tmp_path / "out", tmp_path / "m.bin", tmp_path / "m.vec"
    result = invoke(
        "fasttext", corpus_file, "--out", out, "--bin", model, "--vec", text, "--format", "binary",
        "--sg", 1, *FEW,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert all(str(path) in result.stderr for path in (out, model, text, out / "vectors.bin"))
    trained = FastText.load(out, device="cpu")
    for vectors in (load_facebook_model(model).wv, load_vectors(model), load_vectors(out)):
        np.testing.assert_allclose(vectors["a0"], trained.wv["a0"], atol=1e-6)
        np.testing.assert_allclose(vectors["a0c7"], trained.wv["a0c7"], atol=1e-6)
    for path in (text, out / "vectors.bin"):
        assert np.array_equal(load_vectors(path).vectors, trained.wv.vectors)
    assert text.read_text().startswith("210 8\n")
    lines = invoke("similar", out, "a0c7").stdout.splitlines()
    assert len(lines) == 10 and lines[0].startswith("a0c7\t")


def test_without_a_folder(invoke, corpus_file, tmp_path):
    result = invoke("fasttext", corpus_file, "--bin", tmp_path / "m.bin", *FEW)
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["m.bin"]


def test_resumes(invoke, corpus_file, tmp_path):
    command = ("fasttext", corpus_file, "--out", tmp_path)
    assert invoke(*command, *QUICK).exit_code == 0
    result = invoke(*command, "--resume", "--max-n", 5)
    assert result.exit_code == 1 and "--max-n is 5, 6 in the run" in result.stderr
    result = invoke(*command, "--resume")
    assert result.exit_code == 0 and "there is nothing to resume" in result.stderr


def test_options_reach_the_model(invoke, corpus_file, tmp_path):
    given = {"min_n": 2, "max_n": 4, "bucket": 77, "composition": "sum", "subwords": "hashed"}
    options = [x for name, v in given.items() for x in (f"--{name.replace('_', '-')}", v)]
    result = invoke("fasttext", corpus_file, "--out", tmp_path, *QUICK, *options)
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "config.json").read_text())
    assert {name: config[name] for name in given} == given and config["model"] == "fasttext"


def test_help_of_the_group(invoke):
    result = invoke("fasttext", "--help")
    assert result.exit_code == 0 and "train" in result.output
    assert "lexforge fasttext corpus.txt --out vectors/" in " ".join(result.output.split())
