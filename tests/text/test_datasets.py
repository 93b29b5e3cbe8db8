"""Named data sets: where they are looked for, and downloads that fail or lie."""

from __future__ import annotations

import hashlib
import io
import urllib.error
import zipfile

import pytest

from lexforge.text import build_vocabulary, dataset_path, datasets, resolve_corpus


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LEXFORGE_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def serve(monkeypatch, name: str, members: dict[str, str], *, honest: bool = True) -> None:
    """Puts a zip file in the place of the data set's download."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
    data = content.getvalue()
    known = datasets._ARCHIVES[name]
    sha1 = hashlib.sha1(data).hexdigest() if honest else known.sha1
    monkeypatch.setitem(datasets._ARCHIVES, name, datasets.Archive(known.url, sha1, known.splits))
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: io.BytesIO(data))


def test_found_in_the_data_folder_then_in_the_cache(tmp_path, monkeypatch, no_network, empty_cache):
    data = tmp_path / "data"
    for folder, text in ((data, "from data"), (empty_cache, "from cache")):
        (folder / "ptb").mkdir(parents=True)
        (folder / "ptb" / "ptb.train.txt").write_text(text)
    (empty_cache / "ptb" / "ptb.test.txt").write_text("test split")
    assert dataset_path("ptb").read_text() == "from cache"
    monkeypatch.setenv("LEXFORGE_DATA", str(data))
    assert dataset_path("ptb").read_text() == "from data"
    assert dataset_path("ptb", "test").read_text() == "test split"
    assert resolve_corpus("ptb:test").paths == (empty_cache / "ptb" / "ptb.test.txt",)


def test_offline_says_what_to_do(no_network, empty_cache):
    with pytest.raises(ConnectionError) as caught:
        dataset_path("ptb")
    message = str(caught.value)
    assert "no network in this test" in message
    assert "set LEXFORGE_DATA to a folder that holds ptb/ptb.train.txt" in message
    assert f"put that file at {empty_cache / 'ptb' / 'ptb.train.txt'}" in message
    assert "'pydocs', which needs no download" in message
    assert not list(empty_cache.iterdir())


def test_download(monkeypatch, empty_cache, tmp_path):
    splits = datasets._ARCHIVES["wikitext-2"].splits
    members = {member: f"text of {split}" for split, member in splits.items()}
    serve(monkeypatch, "wikitext-2", {**members, "../../escaped.txt": "no", "/tmp/abs": "no"})
    assert dataset_path("wikitext-2:valid").read_text() == "text of valid"
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {f"cache/{member}" for member in members}


def test_download_with_a_wrong_sha1(monkeypatch, empty_cache):
    serve(monkeypatch, "ptb", {"ptb/ptb.train.txt": "something else"}, honest=False)
    with pytest.raises(ValueError, match=r"sha1 must be 319d85e5.*the download is not used"):
        dataset_path("ptb")
    assert not list(empty_cache.iterdir())


@pytest.mark.parametrize("name", ["ptb:dev", "pydocs:valid", "wikitext-2:"])
def test_unknown_names(name, no_network):
    if name.endswith(":"):
        with pytest.raises(ConnectionError):  # an empty split is the default one
            dataset_path(name)
        return
    with pytest.raises(ValueError, match="split one of train"):
        dataset_path(name)


def test_unknown_data_set():
    with pytest.raises(ValueError, match="name must be one of pydocs, ptb, wikitext-2"):
        dataset_path("imdb")


def test_docstrings_become_sentences(tmp_path, monkeypatch):
    source = tmp_path / "package" / "module.py"
    source.parent.mkdir()
    source.write_text(
        'raise SystemExit("is never run")\n'
        "class A:\n"
        '    """First sentence. Don\'t run:\n\n    >>> hidden prompt line\n    ... more of it\n'
        '\n    The LAST one uses float32 values."""\n'
        "    def f(self):\n        if True:\n            def g():\n"
        '                """Nested words here."""\n'
        "x = 'no docstring at all'\n"
    )
    (source.parent / "broken.py").write_text("def (")
    (source.parent / "tests").mkdir()
    (source.parent / "tests" / "test_a.py").write_text('"""Not a word of this."""')
    sources = datasets._sources(tmp_path)
    assert [path.name for path in sources] == ["broken.py", "module.py"]
    lines = [
        s for path in sources for d in datasets._docstrings(path) for s in datasets._sentences(d)
    ]
    assert lines == [
        "first sentence",
        "don't run",
        "the last one uses float32 values",
        "nested words here",
    ]


@pytest.mark.slow
def test_pydocs(no_network, empty_cache):
    path = dataset_path("pydocs")
    text = path.read_text()
    vocab = build_vocabulary("pydocs")
    assert vocab.total > 1_000_000 and {"tensor", "array", "string", "gradient"} <= set(vocab.words)
    path.unlink()
    assert dataset_path("pydocs").read_text() == text
    assert [file.name for file in empty_cache.iterdir()] == [path.name]
