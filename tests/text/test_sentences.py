"""Sentences from files, one at a time."""

from __future__ import annotations

import bz2
import gzip
import io
import random

import pytest

from lexforge import LineSentence, PathLineSentences, Text8Corpus, Word2Vec
from lexforge.models.word2vec import BrownCorpus
from lexforge.text import Vocabulary, encode_corpus
from lexforge.text.corpus import Corpus
from lexforge.text.sentences import FileSentences, _with_plain_spaces

TEXT = "the sky is blue\n\n  \nso\u00a0it\u3000is \tand stays\r\nthe end"
SENTENCES = [["the", "sky", "is", "blue"], ["so", "it", "is", "and", "stays"], ["the", "end"]]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(TEXT.encode())
    return path


def test_a_line_is_a_sentence(file):
    sentences = LineSentence(str(file))
    assert list(sentences) == SENTENCES == list(sentences)
    assert list(LineSentence(file, max_sentence_length=3)) == [
        ["the", "sky", "is"], ["blue"], ["so", "it", "is"], ["and", "stays"], ["the", "end"],
    ]  # fmt: skip
    assert list(LineSentence(file, limit=3)) == SENTENCES[:1]
    assert list(LineSentence(file, limit=0)) == []


@pytest.mark.parametrize("pack", [bz2.compress, gzip.compress])
def test_compressed_files_whatever_their_names(tmp_path, pack):
    path = tmp_path / "text"
    path.write_bytes(pack(TEXT.encode()))
    assert list(LineSentence(path)) == SENTENCES


def test_open_files_begin_anew(file):
    with open(file, "rb") as binary, open(file, encoding="utf-8", newline="\n") as text:
        binary.read(5)
        for opened in (binary, text, io.StringIO(TEXT)):
            sentences = LineSentence(opened)
            assert list(sentences) == SENTENCES == list(sentences)


def test_the_files_of_a_folder_by_name(tmp_path):
    for name, text in (("b.txt", "second\n"), ("a.txt", "first one\nand\nmore\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "c.bz2").write_bytes(bz2.compress(b"third\n"))
    (tmp_path / "folder").mkdir()
    assert list(PathLineSentences(tmp_path)) == [
        ["first", "one"], ["and"], ["more"], ["second"], ["third"],
    ]  # fmt: skip
    limited = PathLineSentences(str(tmp_path), limit=1)
    assert list(limited) == [["first", "one"], ["second"], ["third"]]
    assert len(limited.input_files) == 3
    assert list(PathLineSentences(tmp_path / "b.txt", 1)) == [["second"]]


def test_pieces_of_a_text_without_lines(tmp_path, monkeypatch):
    """However the blocks fall that it is read in."""
    words = [f"w\u00e4{i}" for i in range(50)]
    path = tmp_path / "text8"
    path.write_text(" " + " ".join(words) + "\n", encoding="utf-8")
    for block in (1, 2, 7, 1000):
        monkeypatch.setattr("lexforge.text.sentences._BLOCK_BYTES", block)
        pieces = list(Text8Corpus(path, 20))
        assert [len(piece) for piece in pieces] == [20, 20, 10]
        assert [word for piece in pieces for word in piece] == words


def test_tagged_words(tmp_path):
    (tmp_path / "ca01").write_text(
        "\tThe/at Fulton/np-tl said/vbd ``/`` no/at evidence/nn ./.\n\n./.\n"
    )
    assert list(BrownCorpus(tmp_path)) == [
        ["the/at", "fulton/np", "said/vb", "no/at", "evidence/nn"]
    ]


def test_what_cannot_be_read(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"good\nb\xffd\n")
    with pytest.raises(ValueError, match="text: invalid UTF-8 in line 2"):
        list(LineSentence(path))
    with pytest.raises(FileNotFoundError):
        list(LineSentence(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"source must be a folder or a file, got .*nowhere"):
        PathLineSentences(tmp_path / "nowhere")
    with pytest.raises(TypeError, match=r"source must be a path or an open file .*, got list"):
        list(LineSentence(["a sentence"]))
    with pytest.raises(ValueError, match="max_sentence_length must be >= 1, got 0"):
        LineSentence(path, max_sentence_length=0)
    with pytest.raises(ValueError, match="limit must be >= 0, got -1"):
        PathLineSentences(tmp_path, limit=-1)


# -- as a corpus ------------------------------------------------------------------------------


def test_white_space_that_is_not_of_ascii():
    for c in map(chr, range(0x3100)):
        plain = c.isspace() and c not in " \t\n\r\v\f"
        assert _with_plain_spaces(c.encode()) == (b" " if plain else c.encode())
    others = "".join(map(chr, [*range(0x3100, 0xD800), *range(0xE000, 0x110000)]))
    assert _with_plain_spaces(others.encode()) == others.encode()
    assert not any(map(str.isspace, others))


@pytest.mark.parametrize("options", [{}, {"max_sentence_length": 3}, {"limit": 4}, {"limit": 0}])
def test_a_corpus_of_the_same_sentences(tmp_path, options, monkeypatch):
    """However the blocks fall that it is read in."""
    rng = random.Random(2)
    for name in ("b", "a", "c"):
        text = "".join(rng.choices("ab\u00e4\u4e2d  \t\r\v\f\x1c\x85\u2003\n", k=600))
        (tmp_path / name).write_bytes(bz2.compress(text.encode()) if name == "c" else text.encode())
    for sentences in (
        LineSentence(tmp_path / "a", **options),
        LineSentence(str(tmp_path / "c"), **options),
        PathLineSentences(tmp_path, **options),
    ):
        expected = list(sentences)
        words = sorted({word for sentence in expected for word in sentence})
        known = Vocabulary(words[1:], [1] * len(words[1:]))
        slow = encode_corpus(Corpus("", sentences=expected), known, tmp_path / "slow")
        for block in (1, 7, 1 << 18):
            monkeypatch.setattr("lexforge.text.sentences._BLOCK_BYTES", block)
            corpus = FileSentences.of(sentences)
            fast = encode_corpus(corpus, known, tmp_path / "fast")
            assert corpus.number == len(expected) and list(corpus) == expected
            assert fast.tokens.tolist() == slow.tokens.tolist()
            assert fast.offsets.tolist() == slow.offsets.tolist()


def test_what_is_no_corpus_of_files(file):
    class Mine(LineSentence):
        pass

    with open(file, "rb") as opened:
        for sentences in (LineSentence(opened), Mine(file), Text8Corpus(file), SENTENCES):
            assert FileSentences.of(sentences) is None


@pytest.mark.parametrize("whose", ["ours", "gensim"])
def test_training_is_that_on_the_sentences(file, whose):
    kind = LineSentence
    if whose == "gensim":
        kind = pytest.importorskip("gensim.models.word2vec").LineSentence
    file.write_bytes((TEXT + "\n").encode() * 20)
    options = {"vector_size": 4, "min_count": 1, "sample": 0, "workers": 1, "lowercase": True}
    model, other = Word2Vec(kind(str(file)), **options), Word2Vec(SENTENCES * 20, **options)
    assert model.corpus_count == other.corpus_count == 60
    assert model.vocabulary == other.vocabulary
    assert (model.wv.vectors == other.wv.vectors).all()
    file.write_bytes(b"b\xffd\n")
    with pytest.raises(ValueError, match="text"):
        model.train(kind(str(file)), epochs=1)


def test_an_encoded_corpus_is_of_its_limit(file, tmp_path):
    file.write_bytes((TEXT + "\n").encode() * 20)
    model = Word2Vec(
        vector_size=4, min_count=1, sample=0, workers=1, encoded_folder=tmp_path / "encoded"
    )
    model.build_vocab(LineSentence(file))
    read = [model.train(LineSentence(file, limit=n), epochs=1)[1] for n in (None, 5, 5)]
    assert read == [220, 11, 11]


@pytest.mark.interop
@pytest.mark.parametrize("options", [{}, {"max_sentence_length": 7}, {"limit": 20}])
def test_the_same_as_gensim(tmp_path, options):
    theirs = pytest.importorskip("gensim.models.word2vec")
    rng = random.Random(1)
    letters = "ab\u00e4\u4e2d  \t\r\v\f\x1c\x85\u2003\n\n"
    for name in ("b", "a", "c.bz2"):
        text = "".join(rng.choices(letters, k=3000)).encode()
        (tmp_path / name).write_bytes(bz2.compress(text) if name == "c.bz2" else text)
    for ours, other, source in (
        (LineSentence, theirs.LineSentence, tmp_path / "a"),
        (LineSentence, theirs.LineSentence, str(tmp_path / "c.bz2")),
        (PathLineSentences, theirs.PathLineSentences, str(tmp_path)),
    ):
        expected = list(other(source, **options))
        assert len(expected) > 10 and list(ours(source, **options)) == expected
