"""Byte pair encoding: the library tokenizers is the definition of right."""

from __future__ import annotations

import gc
import io
import itertools
import json
import lzma
import pickle
import string
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from lexforge import BPETokenizer, _text
from lexforge.text import resolve_corpus
from lexforge.text.tokenizers.bpe import BYTE_CHARACTERS, read_merges
from lexforge.text.tokenizers.published import load_tokenizer

TEXT = (
    "The lowest tower's lower rooms aren't low; they'll be lowered.\n\n"
    "  In 2024, 東京 and São Paulo — naïve cafés\u2003\u3000cost \t 12½ €…\n"
    "''s 'll'd don't''ve WE'LL it 's x\u00a0y \u00a0z 'sup\r\n"
    "low lower lowest newer newest wide wider widest " * 3
)
BYTES = BPETokenizer.train_from_iterator([TEXT], vocab_size=400, special_tokens=["<|end|>"])
WORDS = BPETokenizer.train_from_iterator(
    [TEXT], vocab_size=120, mode="words", unk_token="<unk>", end_of_word="</w>"
)


def theirs(tokenizer: BPETokenizer, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer.save(tmp_path)
    return tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))


def trained_by_them(texts: Iterable[str], level: bool = True, **options):
    tokenizers = pytest.importorskip("tokenizers")
    kinds = tokenizers.pre_tokenizers
    model = tokenizers.models.BPE(unk_token=None if level else "<unk>")
    other = tokenizers.Tokenizer(model)
    other.pre_tokenizer = (
        kinds.ByteLevel(add_prefix_space=False) if level else kinds.WhitespaceSplit()
    )
    trainer = tokenizers.trainers.BpeTrainer(show_progress=False, **options)
    other.train_from_iterator(texts, trainer)
    return json.loads(other.to_str())["model"]


def random_texts(seed: int, count: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    letters = list("aabbbccdet \n'é東1.")
    return ["".join(rng.choice(letters, rng.integers(0, 60))) for _ in range(count)]


# -- training


@pytest.mark.interop
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_frequency": 3},
        {"max_token_length": 5},
        {"special_tokens": ["<pad>", "ab"]},
        {"initial_alphabet": ["z", "Ġ"]},
    ],
)
def test_merges_are_those_of_tokenizers(options):
    texts = random_texts(0)
    mine = BPETokenizer.train_from_iterator(
        texts, 300, **{"initial_alphabet": [], "workers": 2, **options}
    )
    model = trained_by_them(texts, vocab_size=300, **options)
    assert mine.merges == [tuple(pair) for pair in model["merges"]]
    assert mine.index == model["vocab"]
    assert (np.diff(mine.merge_counts) <= 0).all()


@pytest.mark.interop
def test_words_are_those_of_tokenizers():
    texts = random_texts(1)
    mine = BPETokenizer.train_from_iterator(texts, 200, mode="words", unk_token="<unk>")
    model = trained_by_them(texts, level=False, vocab_size=200, special_tokens=["<unk>"])
    assert mine.merges == [tuple(pair) for pair in model["merges"]]
    assert mine.index == model["vocab"]


def plain_merges(words: dict[str, int], merges: int, ties: str) -> list[tuple[str, str]]:
    """All pairs counted anew for each merge."""
    parts = {word: list(word) for word in words}
    made = []
    for _ in range(merges):
        pairs: dict[tuple[str, str], int] = {}
        for word, count in words.items():
            symbols = parts[word]
            for pair in itertools.pairwise(symbols):
                pairs[pair] = pairs.get(pair, 0) + count
        if not pairs:
            break
        most = max(pairs.values())
        equal = [pair for pair, count in pairs.items() if count == most]
        best = {"first": lambda p: p[0], "lexical": min, "lexical_last": max}[ties](equal)
        made.append(best)
        for symbols in parts.values():
            at = 0
            while at + 1 < len(symbols):
                if (symbols[at], symbols[at + 1]) == best:
                    symbols[at : at + 2] = ["".join(best)]
                at += 1
    return made


@pytest.mark.parametrize("ties", ["first", "lexical", "lexical_last"])
@pytest.mark.parametrize("seed", range(4))
def test_ties(ties, seed):
    """Also where a symbol is made twice, as of few letters."""
    rng = np.random.default_rng(seed)
    words = {
        "".join(rng.choice(list("ab" if seed % 2 else "abcd"), rng.integers(1, 12))): int(count)
        for count in rng.integers(1, 5, 40)
    }
    mine = BPETokenizer.train_from_counts(words, 10_000, tie_break=ties)
    assert mine.merges == plain_merges(words, 10_000, ties)


def test_the_rarest_characters_are_left_out():
    counts = {"aab": 3, "abc": 1, "xyb": 1}
    mine = BPETokenizer.train_from_counts(
        counts, 100, unk_token="<unk>", limit_alphabet=3, initial_alphabet="z"
    )
    assert mine.tokens[:4] == ["<unk>", "a", "b", "z"]
    assert mine.merges == [("a", "b"), ("a", "ab")]
    assert mine.tokenize("abcx") == ["ab", "c", "x"]


def test_rare_pairs_are_counted_when_they_are_due():
    """One word is so frequent that at first all other pairs seem too rare to be kept."""
    rng = np.random.default_rng(0)
    words = {"".join(rng.choice(list("cdef"), 6)): int(n) for n in rng.integers(1, 3000, 60)}
    words = {"ab": 10**9, **words}
    mine = BPETokenizer.train_from_counts(words, 100, tie_break="first")
    assert mine.merges == plain_merges(words, len(mine.merges), "first") and len(mine) == 100


def test_counts_have_64_bits():
    mine = BPETokenizer.train_from_counts({"ab": 2**40, "abc": 2**40}, 100)
    assert mine.merge_counts.tolist() == [2**41, 2**40]


@pytest.mark.parametrize("chunk", [64, 200, 1 << 20])
def test_nothing_depends_on_threads_and_chunks(tmp_path, chunk, monkeypatch):
    lines = [*random_texts(2), "ab " * 300, "x" * 500, "\n \n  y", "東京" * 90]
    path = tmp_path / "text.txt"
    path.write_text("\n".join(lines))
    alone = BPETokenizer.train(path, 300, workers=1)
    monkeypatch.setattr("lexforge.text.corpus._CHUNK_BYTES", chunk)
    mine = BPETokenizer.train(path, 300, workers=3)
    assert (mine.tokens, mine.merges) == (alone.tokens, alone.merges)
    whole = BPETokenizer.train_from_iterator(path.read_text().splitlines(keepends=True), 300)
    assert whole.merges == alone.merges


def test_bad_bytes_are_replaced(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"ab \xff\xe4b ab\0ab\n" * 5)
    mine = BPETokenizer.train(resolve_corpus(path, errors="replace"), 300)
    with pytest.raises(ValueError, match=r"text\.txt: invalid UTF-8 at byte 3 \(line 1\)"):
        BPETokenizer.train(resolve_corpus(path, errors="strict"), 300)
    replaced = BPETokenizer.train_from_iterator(["ab \ufffd\ufffdb ab\0ab\n"] * 5, 300)
    assert mine.merges == replaced.merges


def test_bad_training():
    with pytest.raises(ValueError, match="vocab_size must be at least 256"):
        BPETokenizer.train_from_iterator(["ab"], 10)
    with pytest.raises(ValueError, match="special_tokens must be distinct"):
        BPETokenizer.train_from_iterator(["ab"], 300, special_tokens=["<a>", "<a>"])
    with pytest.raises(ValueError, match="tie_break must be one of"):
        BPETokenizer.train_from_iterator(["ab"], 300, tie_break="last")
    with pytest.raises(ValueError, match="mode='words'"):
        BPETokenizer.train([["a", "b"]], 300)
    with pytest.raises(TypeError, match="iterable of str"):
        BPETokenizer.train_from_iterator("ab", 300)
    with pytest.raises(ValueError, match="GPT-2's characters"):
        BPETokenizer.train_from_iterator(["ab"], 300, initial_alphabet=["東"])
    with pytest.raises(TypeError, match="unexpected"):
        BPETokenizer.train_from_iterator(["ab"], 300, vocabsize=3)
    assert len(BPETokenizer.train_from_iterator([], 300)) == 256


# -- encoding


@pytest.mark.interop
def test_ids_are_those_of_tokenizers(tmp_path):
    other = theirs(BYTES, tmp_path)
    for text in (TEXT, TEXT + "<|end|>" + TEXT[:50] + "<|end|><|end|> x", *random_texts(3)):
        assert BYTES.encode(text) == other.encode(text).ids
    other = theirs(WORDS, tmp_path)
    for text in (TEXT, "lowest é東 qqq", *random_texts(4)):
        assert WORDS.encode(text) == other.encode(text).ids


@pytest.mark.interop
def test_every_character_has_its_class(tmp_path):
    """Unicode's classes are those of tokenizers, about the places where blocks of bytes end too."""
    other = theirs(BYTES, tmp_path)
    points = [*range(0x20, 0x3100), *range(0xA000, 0xD800, 7), *range(0xE000, 0x20000, 5)]
    points += range(0x2E000, 0x110000, 997)
    text = "".join(f"a{chr(c)}1{chr(c)}.{chr(c)} {chr(c)}" for c in points)
    assert BYTES.encode(text) == other.encode(text).ids


ALPHABET = st.one_of(
    st.sampled_from(" \n\t'stlvedmr.aZ9é東\u3000\u2003\0"), st.characters(codec="utf-8")
)


@settings(max_examples=300, deadline=None)
@given(st.text(ALPHABET, max_size=150))
def test_texts_come_back(text):
    assert BYTES.decode(BYTES.encode(text)) == text
    ids, spans = BYTES.encode_with_offsets(text)
    assert ids.tolist() == BYTES.encode(text)
    assert spans[:, 1].max(initial=0) == len(text) and (np.diff(spans, axis=0) >= 0).all()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_come_back(data):
    assert BYTES.decode_bytes(BYTES.encode(data)) == data
    assert BYTES.decode(BYTES.encode(data)) == data.decode(errors="replace")


@pytest.mark.interop
@settings(max_examples=200, deadline=None)
@given(text=st.text(ALPHABET, max_size=150))
def test_parts_are_those_of_the_pattern(text):
    regex = pytest.importorskip("regex")
    pattern = regex.compile(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    )
    if any(regex.match(r"\p{Cn}", letter) or ord(letter) > 0x2FFF for letter in text):
        return  # of a newer Unicode there
    parts = [part.encode() for part in pattern.findall(text)]
    apart = np.concatenate([BYTES.encode_array(part) for part in parts] or [np.empty(0, np.int32)])
    assert BYTES.encode_array(text).tolist() == apart.tolist()


def test_long_lists_and_many_words():
    """More words than the memory holds at first, and a list of numbers that are made once."""
    words = ["".join(letters) for letters in itertools.product(string.ascii_lowercase, repeat=3)]
    text = " ".join(words * 2)
    ids = BYTES.encode_array(text)
    listed = BYTES.encode(text)
    assert len(ids) > len(BYTES) and listed == ids.tolist() and type(listed[-1]) is int
    assert BYTES.decode(listed) == text
    apart = [BYTES.encode_array(f" {word}") for word in words]
    assert np.array_equal(BYTES.encode_array(" " + text), np.concatenate(apart * 2))
    with pytest.raises(UnicodeEncodeError):
        BYTES.encode("\ud800")


@pytest.mark.parametrize("workers", [1, 3])
def test_long_lists_are_lists_as_any_other(workers):
    """Of each number as many references as there are; more items may come, and all may go."""
    text = "lower <|end|>newest wide東 " * 3000
    special = {"special_tokens": ["<|end|>"], "add_prefix_space": True}
    for tokenizer in (BYTES, WORDS, BPETokenizer(BYTES.tokens, BYTES.merges, **special)):
        listed = tokenizer.encode(text, workers=workers)
        assert listed == tokenizer.encode_array(text).tolist()
        assert gc.is_tracked(listed) and sys.getsizeof(listed) < 9 * len(listed)
    listed = BYTES.encode(text, workers=workers)
    number = max(listed)  # smaller ones may be kept for ever
    before, there = sys.getrefcount(number), listed.count(number)
    again = BYTES.encode(text, workers=workers)
    assert sys.getrefcount(number) == before + there > 3000
    again.append(number)
    assert sys.getrefcount(number) == before + there + 1 and again[:-1] == listed
    again.clear()
    assert sys.getrefcount(number) == before


def test_long_words_are_merged_as_short_ones(tmp_path):
    """By a heap: the same ids, and time that grows with the length only."""
    word = "lowestnewer" * 20
    tokenizers = pytest.importorskip("tokenizers")
    BYTES.save(tmp_path)
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert BYTES.encode(word) == other.encode(word).ids
    start = time.process_time()
    ids = BYTES.encode_array(word * 500)
    assert time.process_time() - start < 5
    assert BYTES.decode(ids) == word * 500


@pytest.mark.parametrize("workers", [1, 3])
def test_batches(workers):
    texts = [*random_texts(5), "", TEXT * 300, b"\xff\xfe", "<|end|>"]
    batch = BYTES.encode_batch(texts, workers=workers)
    assert [ids.tolist() for ids in batch] == [BYTES.encode(text) for text in texts]
    assert all(ids.dtype == np.int32 for ids in batch)
    large = TEXT * 2000 + "<|end|>" + TEXT * 2000
    assert np.array_equal(BYTES.encode_array(large, workers=workers), BYTES.encode_array(large))
    assert BYTES.encode_batch([]) == []
    with pytest.raises(TypeError, match="sequence of texts"):
        BYTES.encode_batch("ab")


def test_special_tokens():
    end = BYTES.index["<|end|>"]
    ids = BYTES.encode("low<|end|>low")
    assert ids.count(end) == 1
    assert BYTES.decode(ids) == "low<|end|>low"
    assert BYTES.decode(ids, skip_special_tokens=True) == "lowlow"
    assert end not in BYTES.encode("low<|end|>low", special=False)
    longer = BPETokenizer(
        [*BYTES.tokens, "<|end|>>"],
        BYTES.merges,
        special_tokens=["<|end|>", "<|end|>>"],
    )
    assert longer.tokenize("a<|end|>>b<|end|>") == ["a", "<|end|>>", "b", "<|end|>"]


@pytest.mark.interop
def test_offsets_are_those_of_tokenizers(tmp_path):
    other = theirs(BYTES, tmp_path)
    tokenizers = pytest.importorskip("tokenizers")
    other.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    for text in (TEXT, "<|end|>é東 x<|end|>"):
        assert BYTES.encode_with_offsets(text)[1].tolist() == [
            list(span) for span in other.encode(text).offsets
        ]


def test_dropout():
    tokenizer = BPETokenizer(BYTES.tokens, BYTES.merges, dropout=0.3)
    first = tokenizer.encode(TEXT, seed=1)
    assert first == tokenizer.encode(TEXT, seed=1)
    assert first != tokenizer.encode(TEXT, seed=2)
    assert tokenizer.decode(first) == TEXT and len(first) > len(BYTES.encode(TEXT))
    many = [TEXT] * 40
    one, three = (tokenizer.encode_flat(many, workers=n, seed=5)[0] for n in (1, 3))
    assert np.array_equal(one, three)
    none = BPETokenizer(BYTES.tokens, BYTES.merges, dropout=1.0)
    assert len(none.encode(TEXT)) == len(TEXT.encode())


@pytest.mark.interop
@pytest.mark.parametrize("change", ["add_prefix_space", "ignore_merges"])
def test_settings_are_those_of_tokenizers(tmp_path, change):
    merges = BYTES.merges[:80] if change == "ignore_merges" else BYTES.merges
    tokenizer = BPETokenizer(BYTES.tokens, merges, special_tokens=["<|end|>"], **{change: True})
    other = theirs(tokenizer, tmp_path)
    for text in (TEXT, "low<|end|>low <|end|> x", "", " a"):
        assert tokenizer.encode(text) == other.encode(text).ids
    assert BPETokenizer.load(tmp_path).encode(TEXT) == tokenizer.encode(TEXT)


def test_ids_out_of_range():
    for wrong in (-1, len(BYTES), 2**40):
        with pytest.raises(IndexError, match=rf"0\.\.{len(BYTES) - 1}, got {wrong}"):
            BYTES.decode([1, wrong])
    with pytest.raises(TypeError, match="whole numbers"):
        BYTES.decode([0.5])
    with pytest.raises(UnicodeEncodeError):
        BYTES.encode("\ud800")


# -- files


def test_files_keep_everything(tmp_path):
    for tokenizer in (BYTES, WORDS):
        tokenizer.save(tmp_path / "a")
        again = BPETokenizer.load(tmp_path / "a")
        assert again._state() == tokenizer._state()
        tokenizer.save(tmp_path / "b.json", legacy_merges=True)
        assert BPETokenizer.from_pretrained(tmp_path / "b.json")._state() == tokenizer._state()
    assert pickle.loads(pickle.dumps(WORDS)).encode(TEXT) == WORDS.encode(TEXT)
    BYTES.save_gpt2(tmp_path / "c")
    assert BPETokenizer.load(tmp_path / "c", special_tokens=["<|end|>"]).encode(TEXT) == (
        BYTES.encode(TEXT)
    )
    lines = (tmp_path / "c" / "merges.txt").read_text().split("\n")
    assert lines[0] == "#version: 0.2" and lines[-1] == ""


def test_what_a_file_has_no_place_for(tmp_path):
    greedy = BPETokenizer(WORDS.tokens, WORDS.merges, mode="words", algorithm="greedy")
    with pytest.raises(ValueError, match="no place for algorithm"):
        greedy.save(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()


@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("normalizer", {"type": "NFC"}, "normalizer .* 'NFC'"),
        ("pre_tokenizer", {"type": "Split"}, "pre_tokenizer .* 'Split'"),
        ("pre_tokenizer", {"type": "ByteLevel", "use_regex": False}, "use_regex"),
        ("decoder", {"type": "Metaspace"}, "decoder .* 'Metaspace'"),
        ("post_processor", {"type": "TemplateProcessing"}, "post_processor"),
        ("model", {"type": "WordPiece"}, "model's type .* 'WordPiece'"),
        ("model", {"type": "BPE", "byte_fallback": True}, "byte_fallback"),
        ("model", {"type": "BPE"}, "damaged.*vocab"),
        (
            "model",
            {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]},
            "needs the token 'b'",
        ),
        ("model", {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}, "merge 1 must be a pair"),
        ("model", {"type": "BPE", "vocab": {"a": 1}, "merges": []}, "rows must be 0 to 0"),
        ("added_tokens", [{"id": 9, "content": "x", "lstrip": True}], "lstrip of the added token"),
    ],
)
def test_parts_that_are_not_known(tmp_path, part, value, named):
    BYTES.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content[part] = value
    if part == "model":
        content["added_tokens"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"tokenizer\.json.*{named}"):
        BPETokenizer.load(tmp_path)


PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPLIT = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def with_parts(folder, *parts):
    """A tokenizer.json whose pre_tokenizer is a sequence."""
    BYTES.save(folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": list(parts)}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.interop
@pytest.mark.parametrize(
    "parts",
    [
        (SPLIT, LEVEL),
        ({**SPLIT, "behavior": "Removed", "invert": True}, LEVEL),
        ({**LEVEL, "use_regex": True},),
    ],
)
def test_the_pattern_in_parts(tmp_path, parts):
    tokenizers = pytest.importorskip("tokenizers")
    other = tokenizers.Tokenizer.from_file(str(with_parts(tmp_path, *parts)))
    mine = BPETokenizer.load(tmp_path)
    for text in (TEXT, *random_texts(6)):
        assert mine.encode(text) == other.encode(text).ids


@pytest.mark.interop
@pytest.mark.parametrize(
    ("parts", "named"),
    [
        (({**SPLIT, "pattern": {"Regex": CL100K}}, LEVEL), "pattern of the pre_tokenizer 'Split'"),
        (({**SPLIT, "pattern": {"String": " "}}, LEVEL), "pattern of the pre_tokenizer 'Split'"),
        (({**SPLIT, "behavior": "Removed"}, LEVEL), "behavior of the .* 'Removed'"),
        ((SPLIT, {**LEVEL, "add_prefix_space": True}), "add_prefix_space of the pre_tokenizer"),
        ((SPLIT, {**LEVEL, "use_regex": True}), "use_regex of the pre_tokenizer"),
        (({"type": "Digits", "individual_digits": True}, LEVEL), "'Digits' . 'ByteLevel'"),
    ],
)
def test_other_parts_are_published_tokenizers(tmp_path, parts, named):
    """They are told, and load as what tokenizers makes of them."""
    tokenizers = pytest.importorskip("tokenizers")
    path = with_parts(tmp_path, *parts)
    with pytest.raises(ValueError, match=rf"tokenizer\.json.*{named}"):
        BPETokenizer.load(tmp_path)
    other = tokenizers.Tokenizer.from_file(str(path))
    assert load_tokenizer(tmp_path).encode(TEXT) == other.encode(TEXT).ids


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds neither"):
        BPETokenizer.load(tmp_path)
    merges = tmp_path / "merges.txt"
    vocab = tmp_path / "vocab.json"
    vocab.write_text(json.dumps({"a": 0, "b": 1, "ab": 2}))
    merges.write_text("#version: 0.2\na b\nab c\n")
    with pytest.raises(ValueError, match=r"merges\.txt.*merge 2, 'ab' 'c', needs the token 'c'"):
        BPETokenizer.from_file(vocab, merges)
    merges.write_text("#version: 0.2\na b c\n")
    with pytest.raises(ValueError, match="line 2 must be '<left> <right>'"):
        read_merges(merges)
    with pytest.raises(ValueError, match="must be distinct, got 'a' twice"):
        BPETokenizer(["a", "a"], [])
    with pytest.raises(ValueError, match="special token 'x' must be one of the tokens"):
        BPETokenizer(["a"], [], special_tokens=["x"])


def test_a_file_becomes_a_file_of_ids(tmp_path, monkeypatch):
    monkeypatch.setattr("lexforge.text.tokenizers.bpe._FILE_BYTES", 1000)
    text = TEXT * 30 + "x" * 3000 + "<|end|>" + TEXT
    (tmp_path / "text.txt").write_text(text, newline="")
    seen = []
    count = BYTES.encode_file(
        tmp_path / "text.txt", tmp_path / "ids.npy", progress=lambda done, total: seen.append(done)
    )
    ids = np.load(tmp_path / "ids.npy", mmap_mode="r")
    assert ids.dtype == np.int32 and len(ids) == count and seen[-1] == len(text.encode())
    assert np.array_equal(ids, BYTES.encode_array(text))


def test_byte_characters():
    assert len(set(BYTE_CHARACTERS)) == 256
    assert BYTE_CHARACTERS[ord(" ")] == "Ġ" and BYTE_CHARACTERS[ord("\n")] == "Ċ"
    assert BYTE_CHARACTERS[255] == "ÿ" and BYTE_CHARACTERS[173] == "Ń"


def test_native_errors():
    with pytest.raises(ValueError, match="a merge has a number"):
        _text.BpeEncoder(
            flags=[False] * 5,
            unknown=-1,
            marks=[b""] * 3,
            tokens=[b"a"],
            merges=np.array([[0, 0, 1]]),
            special=[],
        )


# -- real files


@pytest.fixture
def gpt2(data_folder):
    """GPT-2's tokenizer here and there."""
    tokenizers = pytest.importorskip("tokenizers")
    files = [data_folder / "tokenizers" / name for name in ("gpt2-encoder.json", "gpt2-vocab.bpe")]
    other = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(*map(str, files)))
    other.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return BPETokenizer.from_file(*files), other


@pytest.mark.real_data
@pytest.mark.interop
def test_gpt2(data_folder, gpt2):
    mine, other = gpt2
    assert len(mine) == 50257 and mine.index["<|endoftext|>"] == 50256
    for name in ("tinyshakespeare.txt", "timemachine.txt"):
        text = (data_folder / "corpora" / name).read_text(errors="replace")[:200_000]
        assert mine.encode(text) == other.encode(text).ids


def real_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Every corpus of the folder in full, as names and blocks of a million characters."""
    kinds = {".txt", ".cor", ".tsv", ".jsonl", ".tokens", ".en", ".xz"}
    for path in sorted(folder.rglob("*")):
        if path.suffix not in kinds or path.is_relative_to(folder / "formats"):
            continue
        data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        if path.name.endswith(".tar.xz"):
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                members = [archive.extractfile(member) for member in archive]
                data = b"\n".join(member.read() for member in members if member is not None)
        text = data.decode(errors="replace")
        for begin in range(0, len(text), 1_000_000):
            yield str(path.relative_to(folder)), text[begin : begin + 1_000_000]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.interop
def test_gpt2_on_all_real_texts(data_folder, gpt2):
    """Some hundred million characters: the same ids, and the texts come back."""
    mine, other = gpt2
    told: Counter[str] = Counter()
    for name, text in real_texts(data_folder):
        ids = mine.encode_array(text, special=False)
        assert ids.tolist() == other.encode(text).ids, name
        assert mine.decode(ids) == text, name
        told[name] += len(ids)
    assert len(told) > 25
    for name, ids in told.items():
        print(f"{name}: {ids:,} ids")
    print(f"in all {told.total():,} ids")


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.interop
def test_merges_of_five_megabytes(data_folder):
    with lzma.open(data_folder / "corpora" / "enwiki_articles.txt.xz") as file:
        lines = file.read(5_000_000).decode(errors="ignore").splitlines(keepends=True)
    alphabet = sorted(BYTE_CHARACTERS)
    mine = BPETokenizer.train_from_iterator(lines, 20_000)
    model = trained_by_them(lines, vocab_size=20_000, initial_alphabet=alphabet)
    assert mine.merges == [tuple(pair) for pair in model["merges"]]
    assert mine.index == model["vocab"] and len(mine.merges) == 20_000 - 256


@pytest.mark.slow
@pytest.mark.real_data
def test_a_hundred_thousand_texts_come_back(gpt2):
    """Arbitrary Unicode, then arbitrary bytes, also about the ends of blocks."""
    mine, _ = gpt2
    many = settings(
        max_examples=50_000, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )

    @seed(0)
    @many
    @given(st.text(ALPHABET, max_size=150))
    def unicode_comes_back(text):
        assert mine.decode(mine.encode_array(text)) == text

    @seed(0)
    @many
    @given(st.binary(max_size=200))
    def bytes_come_back(data):
        assert mine.decode_bytes(mine.encode_array(data)) == data

    unicode_comes_back()
    bytes_come_back()


@pytest.mark.real_data
def test_subword_nmt(data_folder):
    """Its own codes and their result, and the codes learned anew."""
    folder = data_folder / "tokenizers" / "subword-nmt"
    mine = BPETokenizer.from_subword_nmt(folder / "bpe.ref")
    corpus = (folder / "corpus.en").read_text()
    expected = (folder / "corpus.bpe.ref.en").read_text().split("\n")
    for line, wanted in zip(corpus.split("\n"), expected, strict=True):
        spans = mine.encode_with_offsets(line)[1].tolist()
        shown = [
            line[begin:end] + "@@" * (line[end : end + 1] not in ("", " ")) for begin, end in spans
        ]
        assert " ".join(shown) == wanted
    learned = BPETokenizer.train(
        folder / "corpus.en",
        100_000,
        mode="words",
        end_of_word="</w>",
        min_frequency=2,
        tie_break="lexical_last",
    )
    codes = read_merges(folder / "bpe.ref")
    assert learned.merges[: len(codes)] == codes
