"""Small files of text: one set of rules for lines, counts and JSON, whoever reads them."""

from __future__ import annotations

import json

import pytest

from lexforge.text import EncodedCorpus, Vocabulary
from lexforge.text.lines import join_lines, parse_json, read_counts, read_lines, read_words
from lexforge.text.tokenizers.published import load_tokenizer
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.training.checkpoint import CheckpointError, read_json

MARK = b"\xef\xbb\xbf"  # the byte order mark of UTF-8
DEEP = "[" * 100_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.txt"


@pytest.mark.parametrize("mark", [b"", MARK])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_marks_and_line_ends(path, mark, end):
    path.write_bytes(mark + end.join([b"red", b"", "caf\xe9".encode(), b""]))
    assert read_lines(path) == ["red", "", "caf\xe9"]
    path.write_bytes(mark + b"red")
    assert read_lines(path) == ["red"]
    path.write_bytes(mark)
    assert read_lines(path) == []


@pytest.mark.parametrize("lines", [["a", "b\r"], ["\ufeffa", "b"], [], ["a\u2028b", " c "], [""]])
def test_lines_come_back(path, lines):
    path.write_bytes(join_lines(lines))
    assert read_lines(path) == lines


def test_encodings_and_errors(path):
    path.write_bytes("red\ncaf\xe9\n".encode("latin-1"))
    assert read_lines(path, encoding="latin-1") == ["red", "caf\xe9"]
    assert read_lines(path, errors="replace") == ["red", "caf\ufffd"]
    assert read_lines(path, errors="skip") == ["red"]
    with pytest.raises(ValueError, match=r"file.txt: line 2 must be text .* got b'caf\\xe9'"):
        read_lines(path)
    with pytest.raises(ValueError, match="encoding must be one that Python knows, got 'latin1000'"):
        read_lines(path, encoding="latin1000")
    path.write_bytes("red\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"must be UTF-8, and is UTF-16: convert it"):
        read_lines(path)
    assert read_lines(path, encoding="utf-16") == ["red"]


def test_words_and_counts(path):
    path.write_bytes(MARK + b"red\t9\r\nnew york 4 \r\n")
    assert read_counts(path) == read_words(path) == (["red", "new york"], [9, 4])
    assert Vocabulary.load(path) == Vocabulary(["red", "new york"], [9, 4])
    path.write_bytes(b"red 9\nblue\n")
    assert read_words(path) == (["red 9", "blue"], None)
    path.write_bytes(b"red  9\nblue 4\n")
    assert read_words(path)[0] == ["red ", "blue"]  # as we write it
    assert read_words(path, columns=True) == (["red", "blue"], [9, 4])


def test_counts_that_no_number_holds(path):
    path.write_bytes(b"red 5\nblue 9223372036854775808\n")
    with pytest.raises(ValueError, match=r"file.txt: line 2: counts must add up .* got 92233"):
        Vocabulary.load(path)
    path.write_bytes(b"red 4611686018427387904\nblue 4611686018427387904\n")
    with pytest.raises(ValueError, match=r"file.txt: line 2: counts must add up .* got 46116"):
        Vocabulary.load(path)
    with pytest.raises(ValueError, match=r"counts must be at most 2\^63 - 1"):
        Vocabulary(["a"], [2**63])


def test_a_word_that_begins_with_the_mark_comes_back(path):
    vocabulary = Vocabulary(["\ufeffred", "blue"], [2, 1])
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary


@pytest.mark.parametrize("content", [DEEP, '{"a":' * 100_000, "", "nul", "[1]", b"\xff"])
def test_json_that_is_none(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=r"file.txt is truncated or damaged"):
        read_json(path)
    (path.parent / "meta.json").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="damaged"):
        EncodedCorpus.open(path.parent)


def test_json_with_a_mark(path):
    path.write_bytes(MARK + b'{"a": 1}')
    assert read_json(path) == {"a": 1}
    assert parse_json(MARK + b"[1]", "it", list) == [1]


SPECIAL = ["<unk>", "<pad>", "<mask>", "<cls>", "<sep>"]


@pytest.mark.parametrize("mark", [b"", MARK])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_vocabularies_of_tokenizers(tmp_path, mark, end):
    words = [*SPECIAL, "red"]
    (tmp_path / "vocab.txt").write_bytes(mark + end.join(word.encode() for word in words) + end)
    assert WordTokenizer.load(tmp_path).tokens == load_tokenizer(tmp_path).tokens == words
    pieces = ["[CLS]", "[UNK]", "[SEP]", "##s"]
    (tmp_path / "vocab.txt").write_bytes(mark + end.join(word.encode() for word in pieces) + end)
    assert load_tokenizer(tmp_path).tokens == pieces
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "vocab.json").write_bytes(mark + json.dumps(words).encode())
    assert WordTokenizer.load(tmp_path).tokens == words
    model = {"type": "WordPiece", "vocab": {word: row for row, word in enumerate(pieces)}}
    (tmp_path / "tokenizer.json").write_bytes(mark + json.dumps({"model": model}).encode())
    assert load_tokenizer(tmp_path).tokens == pieces


@pytest.mark.parametrize(
    "vocab",
    [{"[CLS]": 0, "##s": 2}, {"[CLS]": 0, "##s": "1"}, "abc", ["a", 1], [["a"]], ["\ud800"], 5],
)
def test_pieces_that_are_not_numbered(tmp_path, vocab):
    content = json.dumps({"model": {"type": "WordPiece", "vocab": vocab}})
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json: (rows must|must be an array|.* half)"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", [DEEP, "[1, 2]", '"abc"', '[["a"]]'])
def test_words_that_are_no_strings(tmp_path, content):
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(ValueError, match=r"vocab\.json"):
        WordTokenizer.load(tmp_path)
