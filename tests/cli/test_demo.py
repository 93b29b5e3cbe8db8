"""``lexforge demo``, from one end to the other."""

import sys

import pytest

from lexforge import Word2Vec, load_vectors


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The docstrings are collected once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("matplotlib", [True, False])
def test_demo(invoke, cache, tmp_path, monkeypatch, matplotlib):
    monkeypatch.setenv("LEXFORGE_CACHE", str(cache))
    if matplotlib:
        pytest.importorskip("matplotlib")
    else:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = invoke("demo", "--out", tmp_path / "out", "--epochs", 1)
    assert result.exit_code == 0, result.output
    assert "words/s" in result.stdout and "final loss" in result.stdout
    for word in ("tensor", "string", "file", "array", "thread"):
        assert f"  {word} " in result.stdout
    picture = tmp_path / "out" / "vectors.png"
    if matplotlib:
        assert picture.read_bytes().startswith(b"\x89PNG") and str(picture) in result.stdout
    else:
        assert not picture.exists() and "matplotlib is not installed" in result.stdout
    vectors = load_vectors(tmp_path / "out" / "vectors.txt")
    assert len(vectors) > 1000 and len(vectors) == len(Word2Vec.load(tmp_path / "out").wv)
