"""lexforge data."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import zipfile

import pytest

from lexforge.text import datasets


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """A data folder and a cache, no network."""
    monkeypatch.setenv("LEXFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LEXFORGE_DATA", str(tmp_path / "data"))

    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return tmp_path


@pytest.fixture
def vectors(monkeypatch):
    """glove.6b.50d is two words there."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("glove.6B.50d/vec.txt", "good 1 2\nbad 2 1\n")
    data = content.getvalue()
    known = datasets.REGISTRY["glove.6b.50d"]
    changed = dataclasses.replace(known, digest=hashlib.sha1(data).hexdigest())
    monkeypatch.setitem(datasets.REGISTRY, "glove.6b.50d", changed)
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: io.BytesIO(data))


def put(path, text="text"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_list(invoke, folders):
    put(folders / "data" / "ptb" / "ptb.train.txt")
    put(folders / "cache" / "text8")
    result = invoke("data", "list")
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in result.stdout.splitlines()}
    assert list(rows) == datasets.names()
    assert rows["ptb"][0] == "corpus" and rows["ptb"][2:] == ["1.98MB", "LEXFORGE_DATA"]
    assert rows["text8"][2:] == ["31.3MB", "cache"] and rows["men"][2:] == ["53.6KB", "not here"]
    result = invoke("data", "list", "ptb")
    for part in ("LDC99T42", "https://", "319d85e578af", str(folders / "data"), "not here"):
        assert part in result.stdout


def test_path(invoke, folders):
    assert invoke("data", "path").stdout == f"{folders}/cache\n"
    assert not (folders / "cache").exists()
    valid = put(folders / "data" / "ptb" / "ptb.valid.txt")
    assert invoke("data", "path", "ptb:valid").stdout == f"{valid}\n"
    result = invoke("data", "path", "ptb")
    assert result.exit_code == 1 and "lexforge data fetch ptb" in result.stderr
    result = invoke("data", "path", "ptb:middle")
    assert result.exit_code == 2 and "ptb has train, valid, test, got 'middle'" in result.stderr


def test_fetch(invoke, folders, vectors):
    here = put(folders / "data" / "similarity" / "EN-MEN-TR-3k.txt")
    result = invoke("data", "fetch", "glove.6b.50d", "men")
    got = folders / "cache" / "glove.6B.50d" / "vec.txt"
    assert result.exit_code == 0 and result.stdout == f"{got}\n{here}\n"
    assert "licence: PDDL 1.0" in result.stderr
    assert invoke("data", "fetch", "-q", "glove.6b.50d").stderr == ""
    assert "bad\t0.8" in invoke("similar", "glove.6b.50d", "good").stdout


def test_the_textbooks_vectors_are_found(invoke, folders, vectors):
    from lexforge import d2l

    invoke("data", "fetch", "glove.6b.50d")
    assert d2l.TokenEmbedding("glove.6b.50d")["bad"].tolist() == [[2, 1]]
    assert not (folders / "cache" / "d2l").exists()


def test_clean(invoke, folders):
    assert invoke("data", "clean").stdout == f"nothing to remove in {folders}/cache\n"
    cache = folders / "cache"
    ours = [cache / "ptb" / "ptb.train.txt", cache / "pydocs-1-old.txt", cache / "d2l" / "ptb.zip"]
    for path in ours:
        put(path, 1000 * "x")
    other = put(cache / "d2l" / "thesis.txt")
    data = put(folders / "data" / "ptb" / "ptb.train.txt")
    result = invoke("data", "clean")
    assert result.stdout.splitlines()[:2] == ["pydocs  1KB", "ptb     2KB"]
    assert "3KB in" in result.stdout and "--yes" in result.stdout and all(p.exists() for p in ours)
    invoke("data", "clean", "ptb", "--yes")
    assert [path.exists() for path in ours] == [False, True, False]
    assert "removed 1KB" in invoke("data", "clean", "--yes").stdout
    assert sorted(cache.rglob("*")) == [cache / "d2l", other] and data.exists()


@pytest.mark.parametrize("command", ["list", "path", "fetch", "clean"])
def test_unknown_names(invoke, command):
    result = invoke("data", command, "imdbs")
    assert result.exit_code == 2 and "NAME must be one of pydocs, ptb" in result.stderr
