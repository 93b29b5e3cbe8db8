"""lexforge convert."""

from __future__ import annotations

import itertools
import shlex
import sys

import numpy as np
import pytest
import typer
from safetensors.torch import save_file
from typer.testing import CliRunner

import fasttext_models
from lexforge import Word2Vec
from lexforge._text import WordBytes
from lexforge.cli.convert import convert
from lexforge.vectors import KeyedVectors, load_vectors, save_vectors
from lexforge.vectors.formats.fasttext import write_fasttext

app = typer.Typer()
app.command()(convert)


@pytest.fixture
def kv():
    vectors = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    return KeyedVectors([f"w{i}" for i in range(20)], vectors, np.arange(20, 0, -1))


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_through_all_formats(tmp_path, kv):
    """What comes out at the end of a chain of conversions is what went in."""
    names = ["v.npy", "v.safetensors", "v.bin", "v.vec.gz", "v.glove", "v.bin.xz", "v.txt"]
    save_vectors(kv, tmp_path / names[0])
    for source, target in itertools.pairwise(names):
        result = run(tmp_path / source, tmp_path / target)
        assert result.exit_code == 0, result.exception
        assert "20 words, 4 dimensions" in result.stderr
        assert ("word counts" in result.stderr) == (target == "v.bin")
    last = load_vectors(tmp_path / names[-1])
    assert last.index_to_key == kv.index_to_key
    np.testing.assert_array_equal(last.vectors, kv.vectors)


def test_from_a_fasttext_model(tmp_path):
    words = WordBytes.of([b"the", "naïve".encode(), b"cat"])
    write_fasttext(tmp_path / "m.bin", fasttext_models.model(words=words))
    wv = load_vectors(tmp_path / "m.bin")
    result = run(tmp_path / "m.bin", tmp_path / "m.vec")
    assert result.exit_code == 0, result.exception
    assert "not in the new file: the n-grams, so that words it does not hold" in result.stderr
    found = load_vectors(tmp_path / "m.vec")
    assert found.index_to_key == ["the", "naïve", "cat"]
    np.testing.assert_array_equal(found.vectors, wv.vectors)
    result = run(tmp_path / "m.bin", tmp_path / "m.safetensors")
    assert "n-grams" not in result.stderr
    found = load_vectors(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(found["stranger"], wv["stranger"])


def test_options(tmp_path, kv):
    save_vectors(kv, tmp_path / "v.any", format="glove")
    result = run(
        tmp_path / "v.any", tmp_path / "o.any", "--from", "glove", "--to", "safetensors",
        "--limit", 7, "--dtype", "float16",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "not in the new file: precision beyond float16" in result.stderr
    out = load_vectors(tmp_path / "o.any", dtype="float16")
    assert len(out) == 7
    np.testing.assert_array_equal(out.vectors, kv.vectors[:7].astype(np.float16))


def test_checkpoint_loses_its_training_state(tmp_path, kv):
    import torch

    save_file({"input": torch.from_numpy(kv.vectors)}, tmp_path / "model.safetensors")
    (tmp_path / "vocab.txt").write_text("".join(f"w{i} {20 - i}\n" for i in range(20)))
    (tmp_path / "config.json").write_text('{"vector_size": 4}')
    result = run(tmp_path, tmp_path / "v.txt")
    assert result.exit_code == 0
    assert "training cannot go on" in result.stderr and "word counts" in result.stderr


def test_errors_leave_no_file(tmp_path):
    (tmp_path / "v.txt").write_text("2 2\na 1 2\nb 1\n")
    result = run(tmp_path / "v.txt", tmp_path / "v.bin")
    assert result.exit_code == 1
    assert "row 2: expected 2 numbers after the token, got 1" in str(result.exception)
    assert not (tmp_path / "v.bin").exists()
    (tmp_path / "v.txt").write_text("1 2\na 1 2\n")
    assert "format must be given for v.xyz" in str(
        run(tmp_path / "v.txt", tmp_path / "v.xyz").exception
    )


def test_encoding(tmp_path):
    (tmp_path / "v.txt").write_bytes("1 2\ncaf\xe9 1 2\n".encode("latin-1"))
    assert run(tmp_path / "v.txt", tmp_path / "o.txt", "--encoding", "latin-1").exit_code == 0
    assert (tmp_path / "o.txt").read_text("utf-8") == "1 2\ncaf\xe9 1 2\n"


@pytest.mark.interop
def test_files_of_gensim(tmp_path, kv, monkeypatch):
    """They are loaded by gensim, and only when that is asked for."""
    gensim = pytest.importorskip("gensim.models")
    model = gensim.Word2Vec([["a", "b", "b"]] * 3, sg=1, vector_size=4, min_count=1)
    fast = gensim.FastText([["a", "b", "b"]] * 3, vector_size=4, min_count=1, bucket=10)
    for name, saved, wv in (
        ("model", model, model.wv), ("wv", model.wv, model.wv), ("fast", fast, fast.wv),
    ):  # fmt: skip
        source, target = tmp_path / f"{name}.gensim", tmp_path / f"{name}.safetensors"
        saved.save(str(source))
        assert "pickle" in str(run(source, target).exception) and not target.exists()
        result = run(source, target, "--from", "gensim")
        assert result.exit_code == 0, result.exception
        last = result.stderr.splitlines()[-1]
        assert last.startswith(f"try: lexforge similar {target} ")
        assert ("not in the new file: the output table" in result.stderr) == (name != "wv")
        found = load_vectors(target)
        assert found.index_to_key == ["b", "a"] and found.get_vecattr("b", "count") == 6
        np.testing.assert_array_equal(found.vectors, wv.vectors)
    assert run(source, tmp_path / "one.bin", "--from", "gensim", "--limit", 1).exit_code == 0
    assert load_vectors(tmp_path / "one.bin").index_to_key == ["b"]

    source, target = tmp_path / "model.gensim", tmp_path / "ours"
    to = ("--from", "gensim", "--to", "checkpoint")
    assert run(source, target, *to).exit_code == 0
    np.testing.assert_array_equal(Word2Vec.load(target).syn1neg, model.syn1neg)
    assert run(source, target, *to).exit_code == 2  # it holds a model
    assert "FastText" in str(run(tmp_path / "fast.gensim", tmp_path / "x", *to).exception)
    assert not (tmp_path / "x").exists()

    (tmp_path / "text").write_text("1 2\na 1 2\n")
    broken = run(tmp_path / "text", tmp_path / "x.bin", "--from", "gensim")
    assert f"{tmp_path / 'text'}: gensim cannot load it" in str(broken.exception)
    monkeypatch.setitem(sys.modules, "gensim.utils", None)
    assert "pip install gensim" in str(run(source, tmp_path / "x.bin", *to[:2]).exception)
    assert not (tmp_path / "x.bin").exists()


def test_projector_and_what_it_holds_besides(tmp_path, kv):
    save_vectors(kv, tmp_path / "tensors.tsv")
    lines = (tmp_path / "metadata.tsv").read_text().splitlines()
    (tmp_path / "metadata.tsv").write_text("".join(f"{line}\tkind\n" for line in lines))
    result = run(tmp_path / "tensors.tsv", tmp_path / "v.bin")
    assert result.exit_code == 0 and "20 words, 4 dimensions" in result.stderr
    lost = "not in the new file: attributes of words (safetensors keeps them): kind"
    assert lost in result.stderr and "word counts" in result.stderr
    np.testing.assert_array_equal(load_vectors(tmp_path / "v.bin").vectors, kv.vectors)
    assert lost not in run(tmp_path / "tensors.tsv", tmp_path / "v.safetensors").stderr
    assert load_vectors(tmp_path / "v.safetensors").get_vecattr("w3", "kind") == "kind"


def test_the_last_line_is_what_to_do_next(tmp_path, kv):
    save_vectors(kv, tmp_path / "v.txt")
    target = tmp_path / "o p.bin"
    words = shlex.split(run(tmp_path / "v.txt", target).stderr.splitlines()[-1])
    assert words[:4] == ["try:", "lexforge", "similar", str(target)] and words[4] in kv
    assert "projector" in run(tmp_path / "v.txt", tmp_path / "t.tsv").stderr.splitlines()[-1]
