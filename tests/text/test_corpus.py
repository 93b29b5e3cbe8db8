"""The corpus reader against a few lines of plain Python, and what it promises about odd input."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lexforge import _text
from lexforge.text import EncodedCorpus, Vocabulary, build_vocabulary, encode_corpus, resolve_corpus
from lexforge.text import corpus as corpus_module
from lexforge.text.files import open_text


def plain_lines(data: bytes, errors: str = "replace") -> list[list[str]]:
    """The oracle: words of each line."""
    lines = []
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        words = [word for word in re.split(rb"[\0\t\v\f\r ]+", line) if word]
        if errors == "skip":
            words = [word for word in words if "\ufffd" not in word.decode(errors="replace")]
        lines.append([word.decode(errors="replace") for word in words])
    return lines


def plain_vocabulary(documents: list[list[list[str]]]) -> list[tuple[str, int]]:
    counts = Counter(word for lines in documents for line in lines for word in line)
    return sorted(counts.items(), key=lambda item: -item[1])  # stable: ties by first appearance


def plain_encoding(documents, vocab: Vocabulary, limit: int) -> list[list[int]]:
    sentences = []
    for lines in documents:
        for line in lines:
            ids = [vocab[word] for word in line if word in vocab]
            sentences += [ids[i : i + limit] for i in range(0, len(ids), limit)]
    return sentences


def sentences_of(encoded: EncodedCorpus) -> list[list[int]]:
    bounds = encoded.offsets.tolist()
    return [encoded.tokens[a:b].tolist() for a, b in itertools.pairwise(bounds)]


def is_plain(path: Path) -> bool:
    """Neither an archive nor marked as another encoding."""
    try:
        with open_text(path, errors="replace") as (file, raw):
            return file is raw
    except ValueError:
        return False


def write(folder: Path, documents: list[bytes]) -> list[Path]:
    paths = [folder / f"{i:03}.txt" for i in range(len(documents))]
    for path, document in zip(paths, documents, strict=True):
        path.write_bytes(document)
    return paths


@pytest.fixture
def tiny_chunks(monkeypatch):
    """Chunks of a few bytes, so that small inputs meet every boundary."""
    monkeypatch.setattr(corpus_module, "_CHUNK_BYTES", 7)
    monkeypatch.setattr(corpus_module, "_BLOCK_BYTES", 5)


pieces = st.sampled_from(
    b"a|b|cat|\xc3\xa9|\xe2\x82\xac|\xf0\x9f\x98\x80|averyverylongword| |\n|\r\n|\t|\0".split(b"|")
    + b"\v|\f|  \n\n|\xff|\xfe|\xe2\x82|\xed\xa0\x80|\xf0\x90|\xc0\x80|\xef\xbb\xbf".split(b"|")
)
texts = st.lists(pieces | st.binary(max_size=3), max_size=60).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(
    documents=st.lists(texts, min_size=1, max_size=3),
    chunk_bytes=st.integers(1, 40),
    threads=st.integers(1, 3),
    limit=st.integers(1, 5),
    errors=st.sampled_from(["replace", "skip"]),
)
def test_against_plain_python(documents, chunk_bytes, threads, limit, errors):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "_CHUNK_BYTES", chunk_bytes)
        patch.setattr(corpus_module, "_BLOCK_BYTES", 11)
        paths = write(Path(folder), documents)
        assume(all(is_plain(path) for path in paths))
        lines = [plain_lines(document, errors) for document in documents]
        expected = plain_vocabulary(lines)
        options = {"threads": threads, "errors": errors}
        if not expected:
            with pytest.raises(ValueError, match="no word of"):
                build_vocabulary(paths, min_count=1, **options)
            return
        vocab = build_vocabulary(paths, min_count=1, **options)
        assert list(zip(vocab.words, vocab.counts.tolist(), strict=True)) == expected
        assert vocab.tokens_read == vocab.total == sum(count for _, count in expected)

        kept = vocab.trim(max_size=max(1, len(vocab) // 2))  # some words become unknown
        encoded = encode_corpus(
            paths, kept, Path(folder, "encoded"), max_sentence_length=limit, **options
        )
        assert sentences_of(encoded) == plain_encoding(lines, kept, limit)
        assert encoded.meta["num_unknown"] == vocab.total - encoded.num_tokens
        encoded.check(len(kept))


@settings(max_examples=60, deadline=None)
@given(
    sentences=st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))),
    threads=st.integers(1, 3),
)
def test_sentences_against_plain_python(sentences, threads):
    """Words of an iterable may hold anything, white space too."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "_CHUNK_BYTES", 9)
        patch.setattr(corpus_module, "_BATCH_SENTENCES", 2)
        expected = plain_vocabulary([sentences])
        if not expected:
            return
        vocab = build_vocabulary(sentences, min_count=1, threads=threads)
        assert list(zip(vocab.words, vocab.counts.tolist(), strict=True)) == expected
        encoded = encode_corpus(sentences, vocab, folder, threads=threads)
        assert sentences_of(encoded) == [[vocab[w] for w in s] for s in sentences if s]


def random_text(words: int) -> bytes:
    generator = np.random.default_rng(7)
    ids = generator.zipf(1.3, words) % 20_000
    breaks = generator.random(words) < 0.05
    return "".join(
        f"w{i}{chr(10) if b else ' '}" for i, b in zip(ids, breaks, strict=True)
    ).encode()


def test_independent_of_threads(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_bytes(random_text(100_000))
    monkeypatch.setattr(corpus_module, "_CHUNK_BYTES", 10_000)
    results = []
    for threads in (1, 2, 5, 16):
        vocab = build_vocabulary(path, min_count=2, threads=threads)
        encode_corpus(path, vocab, tmp_path / f"{threads}", max_sentence_length=30, threads=threads)
        files = [(tmp_path / f"{threads}" / f"{n}.bin").read_bytes() for n in ("tokens", "offsets")]
        results.append((vocab.words, vocab.counts.tolist(), *files))
    assert all(result == results[0] for result in results[1:])


def test_corpus_iterates_as_it_is_counted(tmp_path):
    data = b"\xef\xbb\xbfOne two\r\n\n\xc3\x89 \xff\0x\nlast"
    paths = write(tmp_path, [data, data])
    assert list(resolve_corpus(paths)) == plain_lines(data) * 2
    assert next(iter(resolve_corpus(paths, lowercase=True))) == ["one", "two"]


# Bad UTF-8


def test_bad_utf8_is_replaced_as_python_does(tmp_path):
    (path,) = write(tmp_path, [b"good b\xe2\x82d \xff\xff \xed\xa0\x80 cut\xf0\x9f\x98\n"])
    assert build_vocabulary(path, min_count=1).words == [
        "good",
        "b\ufffdd",
        "\ufffd\ufffd",
        "\ufffd\ufffd\ufffd",
        "cut\ufffd",
    ]


def test_bad_utf8_is_skipped(tmp_path):
    (path,) = write(tmp_path, [b"good b\xe2\x82d \xff fine\xc3\xa9"])
    assert build_vocabulary(path, min_count=1, errors="skip").words == ["good", "fine\xe9"]


@pytest.mark.parametrize("threads", [1, 3])
def test_bad_utf8_strict_names_the_first_place(tmp_path, tiny_chunks, threads):
    good = b"one two three\n" * 20
    paths = write(tmp_path, [good, good + b"four f\xc3ve\n" + b"\xff\n" * 40])
    at = len(good) + len(b"four f")
    message = f"001.txt: invalid UTF-8 at byte {at} \\(line 21\\)"
    with pytest.raises(ValueError, match=message):
        build_vocabulary(paths, errors="strict", threads=threads)
    vocab = Vocabulary(["one"], [1])
    with pytest.raises(ValueError, match=message):
        encode_corpus(paths, vocab, tmp_path / "new", errors="strict", threads=threads)
    assert not (tmp_path / "new").exists()
    assert build_vocabulary(paths[0], errors="strict").total == 60


def test_errors_must_be_a_known_policy(tmp_path):
    (path,) = write(tmp_path, [b"a"])
    with pytest.raises(ValueError, match="errors must be 'replace', 'strict' or 'skip', got 'no'"):
        build_vocabulary(path, errors="no")


# Lower case


def test_lowercase_is_str_lower_bar_two_letters(tmp_path):
    """Bar İ, which would become two, and Σ, whose lower case depends on its place."""
    letters = [chr(c) for c in range(0x21, 0x110000) if not 0xD800 <= c < 0xE000]
    (path,) = write(tmp_path, ["\n".join(letters).encode()])
    vocab = build_vocabulary(resolve_corpus(path, lowercase=True), min_count=1)
    expected = Counter("i" if letter == "İ" else letter.lower() for letter in letters)
    assert dict(zip(vocab.words, vocab.counts.tolist(), strict=True)) == expected
    (path,) = write(tmp_path, ["ὈΔΥΣΣΕΎΣ ŁÓDŹ Ёлка".encode()])
    vocab = build_vocabulary(resolve_corpus(path, lowercase=True), min_count=1)
    assert vocab.words == ["ὀδυσσεύσ", "łódź", "ёлка"]


# Odd files


def test_empty_files(tmp_path):
    paths = write(tmp_path, [b"", b"\n\n", b"\xef\xbb\xbf", b" "])
    with pytest.raises(ValueError, match=r"min_count=5 .* largest count seen is 0"):
        build_vocabulary(paths)
    encoded = encode_corpus(paths, Vocabulary(["a"], [1]), tmp_path / "new")
    assert (encoded.num_tokens, encoded.num_sentences) == (0, 0)
    assert encoded.offsets.tolist() == [0]
    encoded.check(1)


def test_file_ends_are_line_ends(tmp_path):
    paths = write(tmp_path, [b"a b", b"b a\n", b"a"])
    encoded = encode_corpus(paths, Vocabulary(["a", "b"], [3, 2]), tmp_path / "new")
    assert sentences_of(encoded) == [[0, 1], [1, 0], [0]]


def test_long_line_and_long_word(tmp_path):
    """One line longer than many chunks; one word longer than a chunk."""
    word = "x" * 3_000_000
    text = f"{'a b c ' * 500_000}{word} d {word}"
    (path,) = write(tmp_path, [text.encode()])
    vocab = build_vocabulary(path, min_count=1, threads=2)
    assert vocab.words == ["a", "b", "c", word, "d"]
    assert vocab.counts.tolist() == [500_000] * 3 + [2, 1]
    encoded = encode_corpus(path, vocab, tmp_path / "new", max_sentence_length=1_000_000)
    assert encoded.offsets.tolist() == [0, 1_000_000, 1_500_003]
    assert encoded.tokens[-3:].tolist() == [3, 4, 3]


def test_endless_words_are_refused(tmp_path):
    """A run of bytes without a space ends as an error, and does not fill the memory."""
    (path,) = write(tmp_path, [b"a b\nc " + b"x" * (1 << 25) + b" d"])
    for threads in (1, 2):
        with pytest.raises(ValueError, match=r"a word of more than 16777216 bytes at byte 6 \(lin"):
            build_vocabulary(path, min_count=1, threads=threads)
        with pytest.raises(ValueError, match=r"a word of more than .* at byte 6 \(line 2\)"):
            encode_corpus(path, Vocabulary(["a"], [1]), tmp_path / "new", threads=threads)
    with pytest.raises(ValueError, match=r"a word of more than .* at byte 5 \(line 2\)"):
        build_vocabulary([["a"], ["b", "x" * ((1 << 24) + 1)]], min_count=1)


# Compressed files


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2"])
def test_compressed_files(tmp_path, suffix):
    compress = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}[suffix]
    kind = {"gz": "gzip", "xz": "xz", "bz2": "bzip2"}[suffix]
    text = random_text(300_000)
    (plain,) = write(tmp_path, [text])
    packed = tmp_path / f"text.{suffix}"
    packed.write_bytes(compress(text))
    vocab = build_vocabulary(plain)
    assert build_vocabulary(packed, threads=2) == vocab
    calls = []
    a = encode_corpus(plain, vocab, tmp_path / "a")
    b = encode_corpus(packed, vocab, tmp_path / "b", progress=lambda *call: calls.append(call))
    assert torch.equal(a.tokens, b.tokens) and torch.equal(a.offsets, b.offsets)
    assert calls[-1] == (packed.stat().st_size, packed.stat().st_size)

    packed.write_bytes(packed.read_bytes()[:-100])
    for read in (
        lambda: build_vocabulary(packed),
        lambda: encode_corpus(packed, vocab, tmp_path / "c"),
    ):
        with pytest.raises(ValueError, match=f"text.{suffix}: damaged or truncated {kind} file"):
            read()
    assert not (tmp_path / "c").exists()
    packed.write_bytes(b"not compressed at all, whatever the name says")
    assert build_vocabulary(packed, min_count=1).words[0] == "not"


# Encoded corpora on disk


def test_open_refuses_damaged_folders(tmp_path):
    (path,) = write(tmp_path, [b"a b\nb"])
    vocab = Vocabulary(["b", "a"], [2, 1])
    folder = tmp_path / "encoded"
    with pytest.raises(FileNotFoundError, match=r"no encoded corpus \(meta.json is missing\)"):
        EncodedCorpus.open(folder)
    encoded = encode_corpus(path, vocab, folder)
    assert encoded.meta["vocabulary_sha1"] == vocab.sha1()
    assert sentences_of(EncodedCorpus.open(folder)) == [[1, 0], [0]]
    assert encoded.tokens.dtype == torch.int32 and encoded.offsets.dtype == torch.int64
    assert sorted(p.name for p in folder.iterdir()) == ["meta.json", "offsets.bin", "tokens.bin"]

    tokens = (folder / "tokens.bin").read_bytes()
    (folder / "tokens.bin").write_bytes(tokens[:-1])
    with pytest.raises(ValueError, match=r"tokens.bin must hold 12 bytes, got 11: it was cut"):
        EncodedCorpus.open(folder)
    (folder / "tokens.bin").write_bytes(np.array([1, 0, 2], np.int32).tobytes())
    with pytest.raises(ValueError, match=r"check: tokens must be in 0\.\.1"):
        EncodedCorpus.open(folder).check(2)
    (folder / "offsets.bin").write_bytes(np.array([0, 2, 2], np.int64).tobytes())
    with pytest.raises(ValueError, match=r"offsets.bin does not fit"):
        EncodedCorpus.open(folder)
    (folder / "offsets.bin").unlink()
    with pytest.raises(ValueError, match=r"offsets.bin is missing"):
        EncodedCorpus.open(folder)
    meta = (folder / "meta.json").read_text()
    (folder / "meta.json").write_text(meta.replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(ValueError, match="format version must be 1, got 9"):
        EncodedCorpus.open(folder)
    (folder / "meta.json").write_text(meta[:20])
    with pytest.raises(ValueError, match=r"meta.json is damaged"):
        EncodedCorpus.open(folder)
    for wrong in ("Infinity", "1.5", "-1", "1e400", '"3"', "null", "9" * 30):
        (folder / "meta.json").write_text(meta.replace('"num_tokens": 3', f'"num_tokens": {wrong}'))
        with pytest.raises(ValueError, match=r"meta.json is damaged"):
            EncodedCorpus.open(folder)
    encode_corpus(path, vocab, folder).check(2)  # replaces the damaged one


def test_failed_encoding_leaves_the_old_one(tmp_path):
    good, bad = write(tmp_path, [b"a a", b"\xff"])
    vocab = Vocabulary(["a"], [2])
    encode_corpus(good, vocab, tmp_path / "encoded")
    with pytest.raises(ValueError, match="invalid UTF-8"):
        encode_corpus([good, bad], vocab, tmp_path / "encoded", errors="strict")
    assert EncodedCorpus.open(tmp_path / "encoded").tokens.tolist() == [0, 0]
    assert len(list((tmp_path / "encoded").iterdir())) == 3


def test_interrupt_leaves_nothing(tmp_path, monkeypatch):
    (path,) = write(tmp_path, [random_text(200_000)])
    monkeypatch.setattr(corpus_module, "_BLOCK_BYTES", 100_000)
    calls = []

    def interrupt(done, total):
        calls.append(done)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        encode_corpus(path, Vocabulary(["w1"], [1]), tmp_path / "new", progress=interrupt)
    assert not (tmp_path / "new").exists() and len(calls) == 3


def test_full_disk_is_an_oserror(tmp_path):
    """/dev/full refuses every write; the error comes from a worker thread."""
    encoder = _text.CorpusEncoder(
        words=["a"],
        max_sentence_length=10,
        tokens_path="/dev/full",
        offsets_path=str(tmp_path / "offsets"),
        threads=2,
        chunk_bytes=1 << 16,
        errors="replace",
        lowercase=[],
    )
    encoder.begin_document("text")
    with pytest.raises(OSError, match="No space left on device") as caught:
        for _ in range(100):
            encoder.feed(b"a " * 50_000)
        encoder.end_document()
        encoder.finish()
    assert caught.value.errno == 28 and caught.value.filename == "/dev/full"


def test_full_disk_names_the_file_that_was_asked_for(tmp_path):
    """And not the one that would have taken its place."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            encode_corpus([["a"] * 1000], Vocabulary(["a"], [1000]), tmp_path / "encoded")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert Path(caught.value.filename).name in ("tokens.bin", "offsets.bin")
    assert "tmp" not in str(caught.value).replace(str(tmp_path), "")


def test_reader_refuses_calls_out_of_order():
    counter = _text.WordCounter(threads=1, chunk_bytes=10, errors="replace", lowercase=[])
    with pytest.raises(RuntimeError, match="no document has begun"):
        counter.feed(b"a")
    counter.begin_document("text")
    with pytest.raises(RuntimeError, match="can begin only after"):
        counter.begin_document("text")
    with pytest.raises(RuntimeError, match="after the last document has ended"):
        counter.finish()
    counter.end_document()
    counter.finish()
    with pytest.raises(RuntimeError, match="comes once"):
        counter.finish()
    with pytest.raises(RuntimeError, match="before finish"):
        counter.begin_document("text")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Counts and encodes 100 MB on one line in a process of its own; both grow by a few MB."""
    (path,) = write(tmp_path, [(random_text(1_000_000).replace(b"\n", b" ") * 20)[:100_000_000]])
    program = f"""
import resource
from lexforge.text import Vocabulary, build_vocabulary, encode_corpus
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
vocab = build_vocabulary({str(path)!r}, threads=2)
encode_corpus({str(path)!r}, vocab, {str(tmp_path / "new")!r}, threads=2)
print(peak() - before)
"""
    grown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    assert int(grown) < 60


# What a corpus may be


def test_folders_and_lists_of_paths(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "sub" / "a.txt").write_text("a")
    (tmp_path / ".hidden").write_text("no")
    folder = resolve_corpus(tmp_path)
    assert [path.name for path in folder.paths] == ["b.txt", "a.txt"]
    assert resolve_corpus(folder) is folder
    both = resolve_corpus([str(tmp_path / "sub"), tmp_path / "b.txt"])
    assert [path.name for path in both.paths] == ["a.txt", "b.txt"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no files in folder"):
        resolve_corpus(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"no such file.*pydocs, ptb, wikitext-2"):
        resolve_corpus("nowhere.txt")


def test_wrong_kinds_of_corpus():
    with pytest.raises(TypeError, match=r"more than once, got a generator: counting and training"):
        resolve_corpus([word] for word in "ab")
    with pytest.raises(TypeError, match="got int"):
        resolve_corpus(3)
    with pytest.raises(TypeError, match="got a mixture"):
        resolve_corpus(["a.txt", ["word"]])
    for sentences in ({"one sentence": 1}, [["a"], 5]):
        with pytest.raises(TypeError, match="a sentence must be a list of str, got"):
            build_vocabulary(sentences, min_count=1)
    with pytest.raises(TypeError, match="an element of type int"):
        build_vocabulary([["a", 5]], min_count=1)
    with pytest.raises(ValueError, match="surrogates"):
        build_vocabulary([["\ud800"]], min_count=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_count": 0}, "min_count must be >= 1, got 0"),
        ({"max_vocab_size": 0}, "max_vocab_size must be >= 1, got 0"),
        ({"threads": 0}, "threads must be 1 to 1024, got 0"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        build_vocabulary([["a"]], **options)
    if "threads" not in options:
        with pytest.raises(ValueError, match="max_sentence_length must be >= 1, got 0"):
            encode_corpus([["a"]], Vocabulary(["a"], [1]), "unused", max_sentence_length=0)


def test_from_sentences():
    encoded = EncodedCorpus.from_sentences([[1, 2], [], [3]])
    assert encoded.tokens.tolist() == [1, 2, 3] and encoded.offsets.tolist() == [0, 2, 3]
    assert encoded.tokens.dtype == torch.int32 and encoded.offsets.dtype == torch.int64
    assert EncodedCorpus.from_sentences([]).num_sentences == 0


# Real data


@pytest.mark.real_data
def test_known_figures_of_ptb(tmp_path):
    vocab = build_vocabulary("ptb", min_count=1)
    assert (len(vocab), vocab.total) == (9_999, 887_521)
    assert len(vocab.trim(min_count=10)) == 6_719
    encoded = encode_corpus("ptb", vocab, tmp_path)
    assert (encoded.num_tokens, encoded.num_sentences) == (887_521, 42_068)
    assert vocab.counts[vocab["the"]] == 50_770
    assert len(list(resolve_corpus("ptb"))) == 42_068
    assert build_vocabulary("ptb:valid", min_count=1).total < 100_000


@pytest.mark.real_data
def test_known_figures_of_wikitext(tmp_path):
    vocab = build_vocabulary("wikitext-2", min_count=1)
    lines = 36_718  # each counts one <eos> in the published figures
    assert (len(vocab) + 1, vocab.total + lines) == (33_278, 2_088_628)
    encoded = encode_corpus("wikitext-2", vocab, tmp_path)
    assert encoded.num_tokens == vocab.total


@pytest.mark.parametrize("on_disk", [True, False])
def test_pieces(tmp_path, on_disk):
    """A piece is a corpus of its own, in memory of its own when the corpus is on disk."""
    sentences = [[0, 1, 2], [3], [4, 5], [0, 1, 2, 3, 4]]
    encoded = EncodedCorpus.from_sentences(sentences)
    if on_disk:
        words = [f"w{i}" for i in range(6)]
        text = [[words[i] for i in sentence] for sentence in sentences]
        encoded = encode_corpus(text, Vocabulary(words, [1] * 6), tmp_path)
    flat = list(itertools.chain(*sentences))
    for first in range(len(flat)):
        for last in range(first + 1, len(flat) + 1):
            tokens, offsets = encoded.piece(first, last)
            assert tokens.tolist() == flat[first:last]
            bounds = encoded.offsets.tolist()
            assert offsets.tolist() == [
                0,
                *(b - first for b in bounds if first < b < last),
                last - first,
            ]
    assert encoded.offsets.tolist() == [0, 3, 4, 6, 11]  # still
    tokens, _ = encoded.piece(2, 9)
    assert encoded.read("tokens", 2, 9).tolist() == flat[2:9]
    if on_disk:
        tokens.zero_()
        assert encoded.tokens.tolist() == flat
        (tmp_path / "tokens.bin").write_bytes(b"")
        with pytest.raises(ValueError, match=r"tokens\.bin was cut short"):
            encoded.piece(0, 5)


def test_a_file_that_is_cut_while_it_is_used(tmp_path):
    """What fits is held in memory; the rest is an error before it is looked at, and no signal 7."""
    vocab = Vocabulary(["a", "b"], [30_000, 30_000])
    encoded = encode_corpus([["a", "b"] * 30_000], vocab, tmp_path, max_sentence_length=100)
    held, mapped = encoded.held(1 << 20), encoded.held(1 << 10)
    assert held.folder is None and mapped is encoded
    os.truncate(tmp_path / "tokens.bin", 4096)
    held.refuse_cut()
    assert held.tokens.tolist() == [0, 1] * 30_000 and held.num_sentences == 600
    for use in (mapped.refuse_cut, lambda: encoded.held(1 << 20), lambda: encoded.identity("")):
        with pytest.raises(ValueError, match=r"tokens.bin was cut short: encode the corpus again"):
            use()


def test_words_that_are_skipped_are_skipped_by_all_who_read(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"good b\xffd caf\xc3\xa9 \xef\xbf\xbd\n")
    corpus = resolve_corpus(tmp_path / "t.txt", errors="skip")
    counted = build_vocabulary(corpus, min_count=1)
    assert list(corpus) == [["good", "café", "\ufffd"]]
    assert sorted(counted.words) == sorted(["good", "café", "\ufffd"])
    with pytest.raises(ValueError, match="must be 'replace' or 'strict' with encoding 'cp1252'"):
        resolve_corpus(tmp_path / "t.txt", encoding="cp1252", errors="skip")


@pytest.mark.parametrize("errors", ["strict", "replace"])
def test_wide_text_without_its_mark_names_the_file(tmp_path, errors):
    (tmp_path / "t.txt").write_bytes("the river\n".encode("utf-16-le") * 9)
    with pytest.raises(ValueError, match=r"t\.txt: .*utf-16-le or utf-16-be"):
        build_vocabulary(resolve_corpus(tmp_path / "t.txt", encoding="utf-16", errors=errors))
