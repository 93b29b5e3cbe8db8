"""``lexforge demo``, from one end to the other."""

import sys

import numpy as np
import pytest

from lexforge import Word2Vec, load_vectors
from lexforge.cli.demo import SHOWN_WORDS
from planted import planted_corpus


@pytest.fixture
def few_docs(monkeypatch, tmp_path):
    """In place of the docstrings, whose collection takes a while: a planted corpus."""
    path = tmp_path / "docs.txt"
    names = {f"a{i}": word for i, word in enumerate(SHOWN_WORDS)}
    path.write_text(
        "".join(
            " ".join(names.get(word, word) for word in sentence) + "\n"
            for sentence in planted_corpus()
        )
    )
    monkeypatch.setattr("lexforge.text.datasets._pydocs_path", lambda: path)


@pytest.mark.parametrize("matplotlib", [True, False])
def test_demo(invoke, few_docs, tmp_path, monkeypatch, matplotlib):
    if matplotlib:
        pytest.importorskip("matplotlib")
    else:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = tmp_path / "out"
    result = invoke("demo", "--out", out, "--epochs", 3)
    assert result.exit_code == 0, result.output
    assert "words/s" in result.stdout and "final loss" in result.stdout
    assert all(f"  {word} " in result.stdout for word in SHOWN_WORDS)
    picture = out / "vectors.png"
    if matplotlib:
        assert picture.read_bytes().startswith(b"\x89PNG") and str(picture) in result.stdout
    else:
        assert (
            not picture.exists()
            and "skipped: plots need matplotlib: pip install lexforge[plot]" in result.stdout
        )
    vectors, model = load_vectors(out / "vectors.txt"), Word2Vec.load(out)
    assert vectors.index_to_key == model.wv.index_to_key
    assert np.array_equal(vectors.vectors, model.wv.vectors)


@pytest.mark.slow
def test_demo_on_the_real_docstrings(invoke, monkeypatch, tmp_path):
    monkeypatch.setenv("LEXFORGE_CACHE", str(tmp_path / "cache"))
    result = invoke("demo", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (thread,) = (line for line in result.stdout.splitlines() if line.startswith("  thread "))
    assert "threads" in thread
    (array,) = (line for line in result.stdout.splitlines() if line.startswith("  array "))
    assert "ndarray" in array
