"""Named data sets: where they are looked for, and downloads that fail or lie."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import io
import os
import pwd
import urllib.error
import zipfile
from pathlib import Path

import pytest

from lexforge.text import build_vocabulary, dataset_path, datasets, resolve_corpus
from lexforge.text.download import has_digest

DATA = Path(os.environ.get("LEXFORGE_DATA", ""))


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
    serve_bytes(monkeypatch, name, content.getvalue(), honest=honest)


def serve_bytes(monkeypatch, name: str, data: bytes, *, honest: bool = True) -> None:
    known = datasets.REGISTRY[name]
    digest = hashlib.sha1(data).hexdigest() if honest else known.digest
    changed = dataclasses.replace(known, digest=digest)
    monkeypatch.setitem(datasets.REGISTRY, name, changed)
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
    splits = datasets.REGISTRY["wikitext-2"].files
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


def test_a_download_ends_at_its_registered_size(monkeypatch, empty_cache):
    """Whoever sits in between cannot fill the disk: no more is read than the set has."""

    class Endless:
        given = 0

        def read(self, count):
            self.given += count
            return bytes(count)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    responses = []

    def answer(request, timeout):
        responses.append(Endless())
        return responses[-1]

    monkeypatch.setattr("urllib.request.urlopen", answer)
    with pytest.raises(ValueError, match=r"must be 1,981,551 bytes, and more came"):
        dataset_path("ptb")
    assert len(responses) == len(datasets.REGISTRY["ptb"].urls)
    assert all(response.given < 4e6 for response in responses)
    assert not [path for path in empty_cache.rglob("*") if path.is_file()]


def test_the_next_address_is_tried(monkeypatch, empty_cache):
    """One is closed, the next sends something else, the third breaks off; the last one has it."""
    data = b"one two 3\n"
    known = datasets.REGISTRY["men"]
    urls = ("https://closed", "https://other", "https://broken", "https://good")
    changed = dataclasses.replace(known, urls=urls, digest=hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(datasets.REGISTRY, "men", changed)
    asked = []

    def answer(request, timeout):
        asked.append(request.full_url)
        if request.full_url == "https://closed":
            raise urllib.error.HTTPError(request.full_url, 403, "Forbidden", None, None)
        if request.full_url == "https://broken":
            raise http.client.IncompleteRead(b"one")
        return io.BytesIO(data if request.full_url == "https://good" else b"something else")

    monkeypatch.setattr("urllib.request.urlopen", answer)
    path = dataset_path("men")
    assert asked == list(urls) and path.read_bytes() == data
    assert [p for p in empty_cache.rglob("*") if p.is_file()] == [path]
    path.unlink()
    monkeypatch.setitem(datasets.REGISTRY, "men", dataclasses.replace(changed, urls=urls[:3]))
    with pytest.raises(
        ValueError,
        match=r"https://other: sha256 must be .* https://closed cannot be downloaded \(403 Forb",
    ):
        dataset_path("men")
    assert not [p for p in empty_cache.rglob("*") if p.is_file()]


def test_the_registry():
    """Every address is https, every sum whole."""
    for name, known in datasets.REGISTRY.items():
        assert known.about and known.licence and known.files, name
        if name != "pydocs":
            assert known.urls and all(url.startswith("https://") for url in known.urls), name
            assert len(known.digest) in (40, 64) and known.size > 0, name
            int(known.digest, 16)


@pytest.mark.real_data
def test_real_files_have_the_registered_sums():
    checked = 0
    for known in datasets.REGISTRY.values():
        path = DATA / known.files.get("all", known.files.get("train", ""))
        if known.urls and not known.urls[0].endswith(".zip") and path.is_file():
            assert path.stat().st_size == known.size
            assert has_digest(path, known.digest)
            checked += 1
    assert checked >= 10


def test_data_are_found_without_a_cache(tmp_path, monkeypatch, no_network):
    """Where home cannot be written, LEXFORGE_DATA is enough."""
    (tmp_path / "data" / "ptb").mkdir(parents=True)
    (tmp_path / "data" / "ptb" / "ptb.train.txt").write_text("text")
    (tmp_path / "file").touch()
    monkeypatch.setenv("LEXFORGE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("LEXFORGE_DATA", str(tmp_path / "data"))
    assert dataset_path("ptb").read_text() == "text"
    for name in ("ptb:valid", "pydocs", "men"):
        with pytest.raises(OSError, match=r"file/cache cannot be .*: set LEXFORGE_CACHE to a f"):
            dataset_path(name)


def test_the_cache_is_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("LEXFORGE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert datasets.cache_folder() == tmp_path / "home" / ".cache" / "lexforge"
    assert datasets.cache_path().is_dir()
    own = Path(pwd.getpwuid(os.getuid()).pw_dir, ".cache", "lexforge")
    for change in (lambda: monkeypatch.setenv("HOME", ""), lambda: monkeypatch.delenv("HOME")):
        change()
        assert datasets.cache_path() == own
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    with pytest.raises(OSError, match="no home folder: set LEXFORGE_CACHE"):
        datasets.cache_folder()


def test_what_may_lie_in_its_place(tmp_path, monkeypatch, no_network, empty_cache):
    """A folder or another file, after the one that a download would give."""
    data = tmp_path / "data"
    monkeypatch.setenv("LEXFORGE_DATA", str(data))
    (data / "imdb").mkdir(parents=True)
    (data / "imdb" / "unsup_reviews.txt.xz").touch()
    with pytest.raises(ConnectionError, match=r"folder that holds imdb/aclImdb_v1.tar.gz"):
        dataset_path("imdb")
    assert dataset_path("imdb:unsup") == data / "imdb" / "unsup_reviews.txt.xz"
    (empty_cache / "d2l" / "aclImdb" / "train").mkdir(parents=True)
    (empty_cache / "d2l" / "aclImdb" / "train" / "review.txt").touch()
    assert dataset_path("imdb", "train") == empty_cache / "d2l" / "aclImdb"
    assert datasets.cached() == {"imdb": [empty_cache / "d2l" / "aclImdb" / "train" / "review.txt"]}
    (empty_cache / "imdb").mkdir(exist_ok=True)
    (empty_cache / "imdb" / "aclImdb_v1.tar.gz").touch()
    assert dataset_path("imdb", "test") == empty_cache / "imdb" / "aclImdb_v1.tar.gz"
    assert len(datasets.cached()["imdb"]) == 2


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
        dataset_path("imdbs")


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
