"""What files of a corpus are taken for: by their first bytes, whatever their names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save

from lexforge import GloVe, Word2Vec, bert, cooccurrence
from lexforge.models.bert.examples import read_paragraphs
from lexforge.text import Corpus, Vocabulary, build_vocabulary, encode_corpus, resolve_corpus
from lexforge.text.corpus import files_below
from lexforge.text.files import open_text

RIVER = "the river runs deep\n" * 60
WORDS = ["the", "river", "runs", "deep"]
PARAGRAPHS = "the river runs deep . the sea is wide\n" * 20


def words_of(path, **options) -> list[str]:
    return build_vocabulary(path, min_count=1, **options).words


def zipped(*names: str, data: bytes = RIVER.encode()) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return file.getvalue()


def tarred(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        info = tarfile.TarInfo("river.txt")
        info.size = len(RIVER)
        archive.addfile(info, io.BytesIO(RIVER.encode()))
    return file.getvalue()


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("name", ["text", "text.GZ", "text.xz", "text.txt"])
@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress, bytes])
def test_compressed_by_content(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(RIVER.encode()))
    assert words_of(tmp_path / name) == WORDS
    assert list(resolve_corpus(tmp_path / name)) == [WORDS] * 60


def test_a_zip_file_of_one_text(tmp_path):
    path = tmp_path / "river"
    path.write_bytes(zipped("river.txt"))
    assert words_of(path) == WORDS
    path.write_bytes(zipped("a.txt", "b.txt"))
    with pytest.raises(
        ValueError, match=r"river: a zip file must .* one file, this one holds: a\.txt, b\.txt"
    ):
        words_of(path)


FOREIGN = {
    "a Zstandard file": b"\x28\xb5\x2f\xfd" + b"\x04" * 40,
    "a 7z archive": b"7z\xbc\xaf\x27\x1c" + b"\x04" * 40,
    "a tar archive": tarred("w"),
    "a tar archive: unpack it": tarred("w:gz"),
    "gzip data inside a compressed file": gzip.compress(gzip.compress(RIVER.encode())),
    "a pickle": pickle.dumps([WORDS] * 9),
    "a pickle: save its words": pickle.dumps({"words": WORDS}, protocol=2),
    "a numpy array": saved(np.eye(3)),
    "a numpy array: a corpus": zipped("arr_0.npy", data=saved(np.eye(3))),
    "a safetensors file": save({"x": torch.eye(3)}),
    "a word2vec binary file": b"2 4\nred " + np.arange(4, dtype="f4").tobytes() + b"\n",
    "a PDF document": b"%PDF-1.7\n1 0 obj",
    "a Parquet file": b"PAR1\x15\x04\x15",
    "an old Office document": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40),
    "UTF-16 without a byte order mark .* 'utf-16-le'": RIVER.encode("utf-16-le"),
    "UTF-16 without a byte order mark .* 'utf-16-be'": RIVER.encode("utf-16-be"),
    "UTF-32 without a byte order mark .* 'utf-32-le'": RIVER.encode("utf-32-le"),
    "control characters, as in UTF-16": ("рекаглубока " * 40).encode("utf-16-le"),
    "not UTF-8 text: 60 places": ("été rivière\n" * 20).encode("latin-1"),
    "not text: ": bytes(1000) + b"a",
}


@pytest.mark.parametrize("message", FOREIGN)
def test_refused_before_anything_is_written(tmp_path, message):
    (tmp_path / "a.txt").write_text(RIVER)
    path = tmp_path / "b.txt"
    path.write_bytes(FOREIGN[message])
    both = [tmp_path / "a.txt", path]
    match = f"b.txt: .*{message}"
    out = tmp_path / "out"
    options = {"min_count": 1, "vector_size": 4, "device": "cpu"}
    for read in (
        lambda: words_of(both),
        lambda: encode_corpus(both, Vocabulary(["the"], [1]), out),
        lambda: list(resolve_corpus(both)),
        lambda: Word2Vec(corpus_file=both, **options),
        lambda: GloVe(both, counts_folder=out, **options),
        lambda: cooccurrence(both, min_count=1, folder=out),
        lambda: bert.pretrain(both, out=out, device="cpu"),
    ):
        with pytest.raises(ValueError, match=match):
            read()
        assert not out.exists()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_byte_order_marks(tmp_path, encoding):
    path = tmp_path / "u.txt"
    path.write_text(RIVER, encoding=encoding)
    assert words_of(path) == WORDS
    big = b"\xfe\xff" + RIVER.encode("utf-16-be")
    path.write_bytes(gzip.compress(big))
    assert words_of(path) == WORDS
    path.write_text(PARAGRAPHS, encoding=encoding)
    assert read_paragraphs(path)[0] == ["the river runs deep", "the sea is wide"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32-be", "latin-1", "cp1252", "shift_jis"])
def test_encoding(tmp_path, encoding):
    text = (
        "川は深い 海\n" * 300 if encoding == "shift_jis" else "l'été à Łódź\n".replace("Łódź", "y")
    )
    expected = text.split()[: len(set(text.split()))]
    path = tmp_path / "text"
    path.write_bytes(text.encode(encoding) * 40)
    assert words_of(path, encoding=encoding.upper()) == expected
    options = {"min_count": 1, "encoding": encoding}
    model = Word2Vec(corpus_file=path, vector_size=4, epochs=1, **options)
    assert model.wv.index_to_key == expected
    model.save(tmp_path / "model")
    assert Word2Vec.load(tmp_path / "model").encoding == model.encoding == model.settings.encoding
    assert cooccurrence(path, **options).vocab.words == expected
    with pytest.raises(ValueError, match="Word2Vec: encoding must be an encoding that Python"):
        Word2Vec(encoding="klingon")
    with pytest.raises(ValueError, match="must be an encoding"):
        build_vocabulary(path, encoding="hex")


def test_long_text_is_decoded_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("lexforge.text.files._BLOCK", 7)
    text = "".join(f"größe{i} 海\n" for i in range(300))
    (tmp_path / "t").write_text(text, encoding="utf-16")
    with open_text(tmp_path / "t") as (file, _):
        assert file.read().decode() == text
    assert [" ".join(words) + "\n" for words in resolve_corpus(tmp_path / "t")] == text.splitlines(
        keepends=True
    )


def test_errors_say_what_to_do_with_other_bytes(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("été rivière\n".encode("latin-1") * 20)
    assert words_of(path, errors="replace") == ["\ufffdt\ufffd", "rivi\ufffdre"]
    with pytest.raises(ValueError, match=r"invalid UTF-8 at byte 0 \(line 1\)"):
        words_of(path, errors="strict")
    path.write_bytes("a".encode("utf-16") + b"\x00\xd8a\x00")
    assert words_of(path, encoding="utf-16", errors="replace")
    with pytest.raises(ValueError, match=r"text: not utf-16 near byte 4: .*illegal"):
        words_of(path, encoding="utf-16", errors="strict")
    # A few such bytes in a text are what they were.
    path.write_bytes(b"fine \xff " * 3)
    assert words_of(path) == ["fine", "\ufffd"]


def test_a_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a pipe, which can be read once"):
        resolve_corpus(tmp_path / "pipe")


def test_a_corpus_has_settings_of_its_own(tmp_path):
    (tmp_path / "t").write_bytes(RIVER.encode("utf-16-le"))
    corpus = Corpus("t", [tmp_path / "t"], encoding="utf-16-le")
    assert words_of(corpus) == WORDS
    assert words_of(corpus, errors="strict") == WORDS
    assert Word2Vec(corpus_file=corpus, vector_size=4).wv.index_to_key == WORDS


def test_results_in_the_folder_are_no_corpus(tmp_path):
    (tmp_path / "texts" / "more").mkdir(parents=True)
    first, second = tmp_path / "texts" / "a.txt", tmp_path / "texts" / "more" / "b.txt"
    for path in (first, second):
        path.write_text(RIVER)
    model = Word2Vec(corpus_file=first, vector_size=4)
    model.save(tmp_path / "texts" / "model")
    GloVe(first, 4, counts_folder=tmp_path / "texts" / "run" / "counts")
    encode_corpus(first, model.vocabulary, tmp_path / "texts" / "encoded")
    files, left_out = files_below(tmp_path / "texts", [tmp_path / "texts" / "nowhere"])
    assert files == [first, second]
    assert [path.name for path in left_out] == ["encoded", "model", "counts"]
    with pytest.warns(UserWarning, match="results are left out: .*encoded, .*model, .*counts"):
        assert resolve_corpus(tmp_path / "texts").paths == (first, second)
    assert files_below(tmp_path / "texts", [second.parent])[0] == [first]


def test_nothing_to_train_on(tmp_path):
    """Words without any context: an error before training, and no loss of nan after it."""
    (tmp_path / "c.txt").write_text("hello\n\nhello\n")
    with pytest.raises(ValueError, match="no word has a context: each of the 2 sentences has one"):
        Word2Vec(corpus_file=tmp_path / "c.txt", min_count=1, vector_size=4)


def test_words_of_wide_text_cannot_be_skipped(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("the river\n" * 9, encoding="utf-16")
    with pytest.raises(ValueError, match=r"t\.txt: .*errors must be 'replace' or 'strict'"):
        build_vocabulary(resolve_corpus(path, errors="skip"))
