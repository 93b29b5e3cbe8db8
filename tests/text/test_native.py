"""The border between Python and the text library: what crosses it, who owns it, what it refuses."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from lexforge import _text

READER = {"threads": 1, "chunk_bytes": 1 << 10, "errors": "replace", "lowercase": []}
# Longer than what is decoded at a time, and with the bytes that stand between words.
ODD_WORDS = ["a\nb", "c\0d", "\n", "\0", "é", "日本", "🙂", "x" * 100_000, "\x7f", "plain"]


def vector_rows(**options) -> _text.VectorRows:
    default = {"dim": 2, "binary": False, "max_rows": 2**60, "allow_nonfinite": False, "threads": 1}
    return _text.VectorRows(**default | options)


def counted(sentences) -> _text.WordCounter:
    counter = _text.WordCounter(**READER)
    counter.begin_document("sentences", framed=True)
    counter.feed_sentences(sentences)
    counter.end_document()
    counter.finish()
    return counter


def test_torch_is_not_needed():
    """The library knows no Python, so any that has numpy can load it."""
    program = """
import sys
sys.modules["torch"] = None
from lexforge import _text
counter = _text.WordCounter(threads=2, chunk_bytes=4, errors="replace", lowercase=[])
counter.begin_document("text")
counter.feed(b"b a b")
counter.end_document()
counter.finish()
print(counter.words(1, 9)[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"['b', 'a']\n"


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_words_may_hold_anything_but_surrogates(kind, tmp_path):
    words, counts = counted([kind(ODD_WORDS), kind([]), kind(["", "a\nb"])]).words(1, 100)
    assert words == ODD_WORDS
    assert np.frombuffer(counts, np.int64).tolist() == [2] + [1] * (len(ODD_WORDS) - 1)
    encoder = _text.CorpusEncoder(
        words=ODD_WORDS,
        max_sentence_length=100,
        tokens_path=tmp_path / "tokens",
        offsets_path=str(tmp_path / "offsets"),
        **READER,
    )
    encoder.begin_document("sentences", framed=True)
    encoder.feed_sentences([kind(ODD_WORDS[::-1]), kind(["a"]), kind(ODD_WORDS[:2])])
    encoder.end_document()
    encoder.finish()
    assert np.fromfile(tmp_path / "tokens", np.int32).tolist() == [*range(9, -1, -1), 0, 1]
    assert np.fromfile(tmp_path / "offsets", np.int64).tolist() == [0, 10, 12]
    assert (encoder.tokens, encoder.sentences, encoder.unknown) == (12, 2, 1)


def test_many_words_come_in_pieces():
    words = [f"w{i}" + "é" * (i % 7 == 0) for i in range(30_000)]
    assert counted([words]).words(1, 2**31)[0] == words


@pytest.mark.parametrize("word", ["\ud800", "\udcff", "a\udc0a"])
def test_lone_surrogates(word):
    zeros = np.zeros((1, 2), np.float32)
    for use in (
        lambda: counted([["a", word]]),
        lambda: _text.format_binary_rows([word], zeros),
        lambda: _text.format_text_rows([word], zeros),
    ):
        with pytest.raises(UnicodeEncodeError, match="surrogates not allowed") as caught:
            use()
        assert caught.value.object == word


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("errors", ["replace", "skip"])
def test_tokens_that_are_not_utf8(binary, errors):
    tokens = [b"w%d" % i for i in range(30_000)]
    tokens[11] = b"\xff"
    tokens[20_000] = b"\xe9t\xe9"
    tokens[25_000] = b"\xc3\xa9" * 50_000 if not binary else b"\xc3\xa9" * 20_000
    numbers = np.zeros(2, np.float32).tobytes() if binary else b"0 0"
    rows = vector_rows(binary=binary)
    block = b"".join(token + b" " + numbers + b"\n" for token in tokens)
    assert rows.feed(block, True) >= len(block) - 1
    with pytest.raises(ValueError, match=r"row 12: token b'\\xff' is not UTF-8"):
        rows.take_words("strict")

    def decoded(token):
        try:
            return token.decode()
        except UnicodeDecodeError:
            return None if errors == "skip" else token.decode(errors="replace")

    assert rows.take_words(errors) == [decoded(token) for token in tokens]


def test_messages_may_quote_bytes_that_are_not_utf8():
    with pytest.raises(ValueError, match=r'row 1: .*"\ufffd" is not a number'):
        vector_rows().feed(b"a 1 \xff\n", True)


def test_arrays_keep_the_rows_they_show():
    rows = vector_rows(max_rows=1000)
    rows.feed(b"".join(b"w %d %d\n" % (i, -i) for i in range(1000)), True)
    array = np.asarray(rows)
    assert array.ctypes.data == np.asarray(rows).ctypes.data and array.dtype == np.float32
    with pytest.raises(RuntimeError, match="after the rows were shown"):
        rows.feed(b"w 1 1\n", True)
    del rows
    gc.collect()
    others = [np.full(2000, 7, np.float32) for _ in range(100)]
    assert array.tolist() == [[i, -i] for i in range(1000)] and len(others) == 100
    assert np.asarray(vector_rows(dim=3)).shape == (0, 3)


def test_a_reader_that_is_dropped_takes_its_threads_along():
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    before = threads()
    counter = _text.WordCounter(**READER | {"threads": 4})
    counter.begin_document("text")
    counter.feed(b"word " * 10_000)
    assert threads() == before + 4
    del counter
    gc.collect()
    for _ in range(100):  # a joined thread leaves the list a moment later
        if threads() == before:
            break
        time.sleep(0.01)
    assert threads() == before


def test_one_reader_for_several_threads():
    """Calls take turns; without that, the blocks would be copied over each other."""
    counter = _text.WordCounter(**READER | {"threads": 2})
    counter.begin_document("text")
    feeders = [
        threading.Thread(
            target=lambda word: [counter.feed(word * 100) for _ in range(200)], args=(word,)
        )
        for word in (b"a ", b"bb ", b"ccc ", b"dddd ")
    ]
    for feeder in feeders:
        feeder.start()
    for feeder in feeders:
        feeder.join()
    counter.end_document()
    counter.finish()
    words, counts = counter.words(1, 9)
    assert sorted(words) == ["a", "bb", "ccc", "dddd"]
    assert set(np.frombuffer(counts, np.int64).tolist()) == {20_000}


def test_objects_are_neither_copied_nor_pickled():
    rows = vector_rows()
    for use in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot pickle or copy a VectorRows"):
            use(rows)


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: _text.WordCounter(**READER | {"threads": 0}), ValueError, "threads must be >= 1"),
        (
            lambda: _text.WordCounter(**READER | {"threads": 2**40}),
            ValueError,
            "threads must be <=",
        ),
        (lambda: _text.WordCounter(**READER | {"threads": 1.0}), TypeError, "float"),
        (lambda: _text.WordCounter(**READER | {"errors": "x"}), ValueError, "errors must be 'rep"),
        (lambda: _text.WordCounter(**READER | {"lowercase": [1.5]}), TypeError, "float"),
        (lambda: counted([["a"]]).words(-1, 1), ValueError, "min_count must be >= 0, got -1"),
        (lambda: counted([["a"], 5]), TypeError, "a sentence must be a list of str, got int"),
        (lambda: counted([["a", b"b"]]), TypeError, "got an element of type bytes"),
        (lambda: counted("a sentence"), TypeError, "split lines into words first"),
        (lambda: vector_rows().feed("text", True), TypeError, "bytes-like"),
        (lambda: vector_rows(dim=0), ValueError, "vector_size must be >= 1, got 0"),
        (lambda: _text.count_numbers("text"), TypeError, "bytes-like"),
        (
            lambda: _text.format_binary_rows(["a"], np.zeros((1, 2))),
            ValueError,
            "vectors must be contiguous float32",
        ),
        (
            lambda: _text.format_text_rows(["a"], np.zeros((2, 2), np.float32)),
            ValueError,
            "vectors must have 1 rows, got 2",
        ),
    ],
)
def test_what_is_refused(use, error, message):
    with pytest.raises(error, match=message):
        use()


def test_threads_that_cannot_be_started_are_an_error():
    """Each wants a stack; what was started before ends, and so does the call."""
    program = """
import resource
from lexforge import _text
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2)
options = dict(chunk_bytes=1 << 16, errors="replace", lowercase=[])
try:
    _text.WordCounter(threads=100, **options)
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no more threads can be started (Resource temporarily unavailab")


def test_ctypes_asks_no_array_for_its_address():
    """Ctrl-C while it did would be told as a wrong argument, and end the process with code 1."""
    ran = set()
    sys.setprofile(lambda frame, event, argument: ran.add(frame.f_code.co_name))
    try:
        counted([["a", "b"], ["a"]]).words(1, 9)
        vector_rows().feed(b"a 1 2\n", True)
        _text.huffman_tree(np.array([3, 2, 1]))
        _text.format_binary_rows(["a"], np.zeros((1, 2), np.float32))
    finally:
        sys.setprofile(None)
    assert "huffman_tree" in ran
    assert "_as_parameter_" not in ran
