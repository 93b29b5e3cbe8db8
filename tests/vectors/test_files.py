"""Vector files: round trips, the byte strings of the formats, damaged files, peers."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import pickle
import re
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lexforge._errors import CutShortError, NotInEncodingError, prefixed
from lexforge.vectors import KeyedVectors, load_vectors, save_vectors, sniff_format
from lexforge.vectors.formats.arrays import read_vocabulary, write_vocabulary
from lexforge.vectors.formats.files import FORMATS

BINARY_EXAMPLE = bytes.fromhex(
    "32 20 33 0a 74 68 65 20 00 00 80 3f 00 00 00 bf 00 00 80 3e 0a"
    "63 61 74 20 00 00 00 00 00 00 00 40 00 00 40 40 0a"
)
TEXT_EXAMPLE = b"2 3\nthe 1 -0.5 0.25\ncat 0 2 3\n"
VECTORS_EXAMPLE = np.array([[1, -0.5, 0.25], [0, 2, 3]], dtype=np.float32)

ROUND_TRIPS = {
    "text": ".txt",
    "binary": ".bin",
    "glove": ".glove",
    "safetensors": ".safetensors",
    "npy": ".npy",
    "text.gz": ".vec.gz",
    "text.bz2": ".vec.bz2",
    "binary.xz": ".bin.xz",
}

EXTREMES = [0.0, -0.0, 1e-45, -1.1754942e-38, 3.4028235e38, -3.4028235e38, 1 / 3, 1e-5, 16777216.0]
ODD_WORDS = [
    "naïve", "мир", "词", "👩‍🚀", "a\u00a0b", "line\u2028separator", "next\u0085line", "#tag", "7",
    "-1.5", "nan", "1e5", "car\r", "\u3000", "</s>", "", '"quoted"', "\\", "{", "[0]", "0x10", "+",
]  # fmt: skip
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def write(path, data: bytes):
    path.write_bytes(data)
    return path


def assert_equal(ours: KeyedVectors, theirs: KeyedVectors):
    assert ours.index_to_key == theirs.index_to_key
    assert ours.vectors.dtype == theirs.vectors.dtype
    assert ours.vectors.shape == theirs.vectors.shape
    assert ours.vectors.tobytes() == theirs.vectors.tobytes()  # also the sign of zero


@st.composite
def tables(draw) -> KeyedVectors:
    word = st.one_of(
        st.sampled_from(ODD_WORDS),
        st.text(
            st.characters(blacklist_categories=["Cs"], blacklist_characters=" \t\n\0"), max_size=6
        ),
    )
    words = draw(st.lists(word, max_size=8, unique=True))
    dim = draw(st.integers(1, 5))
    values = st.one_of(finite, st.sampled_from(EXTREMES))
    rows = draw(st.lists(values, min_size=len(words) * dim, max_size=len(words) * dim))
    counts = draw(st.none() | st.just(np.arange(len(words), 0, -1)))
    return KeyedVectors(words, np.array(rows, np.float32).reshape(len(words), dim), counts)


@pytest.mark.parametrize("name", ROUND_TRIPS)
@settings(deadline=None, max_examples=60)
@given(table=tables())
@example(table=KeyedVectors(["x"], np.array([[0.5]], np.float32)))
def test_round_trip(tmp_path_factory, name, table):
    path = tmp_path_factory.mktemp("trip") / f"vectors{ROUND_TRIPS[name]}"
    if len(table) == 0 and name == "glove":
        save_vectors(table, path)
        with pytest.raises(ValueError, match="is empty"):  # nothing tells the dimensions
            load_vectors(path)
        return
    save_vectors(table, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_vectors(path, format=name.split(".")[0])
    assert_equal(loaded, table)
    if name in ("safetensors", "npy") and len(table):
        assert ("count" in loaded.expandos) == ("count" in table.expandos)
        assert_equal(load_vectors(path, mmap=True), table)


@pytest.mark.parametrize("name", ["text", "binary", "glove"])
@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 1000, 65536])
def test_sizes_and_recognition(tmp_path, random_vectors, name, rows):
    """Files are recognised without being told the format, and threads agree."""
    kv = random_vectors(rows, 3)
    path = tmp_path / f"vectors{ROUND_TRIPS[name]}"
    save_vectors(kv, path, threads=3)
    assert_equal(load_vectors(path, threads=1), kv)
    assert_equal(load_vectors(path, threads=5), kv)
    half = load_vectors(path, limit=rows // 2)
    assert half.index_to_key == kv.index_to_key[: rows // 2]
    assert_equal(load_vectors(path, limit=rows), kv)
    assert_equal(load_vectors(path, limit=rows + 7), kv)


@pytest.mark.parametrize("name", ["text", "binary", "glove"])
def test_blocks_smaller_than_a_row(tmp_path, random_vectors, name, monkeypatch):
    monkeypatch.setattr("lexforge.vectors.formats.rows._BLOCK_BYTES", 7)
    monkeypatch.setattr("lexforge.vectors.formats.rows._BLOCK_NUMBERS", 7)
    monkeypatch.setattr("lexforge.vectors.formats.files._HEAD_BYTES", 5)
    kv = random_vectors(29, 5)
    path = tmp_path / f"vectors{ROUND_TRIPS[name]}"
    save_vectors(kv, path)
    assert_equal(load_vectors(path), kv)


def test_the_byte_strings(tmp_path):
    kv = KeyedVectors(["the", "cat"], VECTORS_EXAMPLE)
    for suffix, data in ((".bin", BINARY_EXAMPLE), (".txt", TEXT_EXAMPLE)):
        save_vectors(kv, tmp_path / f"v{suffix}")
        assert (tmp_path / f"v{suffix}").read_bytes() == data
        assert_equal(load_vectors(tmp_path / f"v{suffix}"), kv)
    gensim_style = BINARY_EXAMPLE.replace(b"\x3e\n", b"\x3e").removesuffix(b"\n")
    assert_equal(load_vectors(write(tmp_path / "gensim.bin", gensim_style)), kv)


@pytest.mark.parametrize(
    "data",
    [
        b"2 3\nthe 1 -0.5 0.25 \ncat 0 2 3 \n",  # word2vec.c and fastText
        b"2 3\r\nthe 1 -0.5 0.25\r\ncat 0 2 3\r\n",
        b"2\t3\nthe\t1\t-0.5\t0.25\ncat\t0\t2\t3\n",
        b"2 3\nthe 1.0 -5e-1 +.25\ncat 0.000000 2e0 3.\n\n",
        b"the 1 -0.5 0.25\ncat 0 2 3\n",
        b"2 3\nthe 1  -0.5 0.25\n\n \ncat 0 2 3\n",
    ],
)
def test_dialects_of_text(tmp_path, data):
    kv = load_vectors(write(tmp_path / "v.txt", data))
    assert_equal(kv, KeyedVectors(["the", "cat"], VECTORS_EXAMPLE))


def test_tokens_with_spaces(tmp_path):
    """Rows of public GloVe files have tokens such as ". . ." and "at name@domain.com"."""
    rows = b". . . 1 2\nat name@domain.com 3 4\nthe 5 6\n  7 8\n"
    words = [". . .", "at name@domain.com", "the", " "]
    for data in (rows, b"4 2\n" + rows):
        kv = load_vectors(write(tmp_path / "v.txt", data))
        assert kv.index_to_key == words
        np.testing.assert_array_equal(kv.vectors, np.arange(1, 9).reshape(4, 2))
    save_vectors(kv, tmp_path / "again.txt")
    assert_equal(load_vectors(tmp_path / "again.txt"), kv)


@pytest.mark.parametrize("header", [b"", b"3 2\n", b"  3 2\n", b"\t3\t 2 \n"])
def test_aligned_columns(tmp_path, header):
    """Spaces around a token are those between columns."""
    rows = b"look    0.5 -1.0\n  see  -0.5  1.0\n at first \t 3   4 \n"
    kv = load_vectors(write(tmp_path / "v.txt", header + rows))
    assert kv.index_to_key == ["look", "see", "at first"]
    assert kv.vectors.tolist() == [[0.5, -1], [-0.5, 1], [3, 4]]


def test_numbers_as_tokens_where_a_header_tells_the_dimensions(tmp_path):
    """ "1 000" is a word of public files; one more number after a word is a row that is damaged."""
    rows = b"mil 1 2 3\n1 000 4 5 6\n  7 8 9 1\n1 2 3 7 8 9\n"
    for format in ("auto", "text", "glove"):
        kv = load_vectors(write(tmp_path / "v.vec", b"4 3\n" + rows), format=format)
        assert kv.index_to_key == ["mil", "1 000", "7", "1 2 3"]
        assert kv.vectors.tolist() == [[1, 2, 3], [4, 5, 6], [8, 9, 1], [7, 8, 9]]
    with pytest.raises(ValueError, match="row 2: expected 3 numbers after the token, got 4"):
        load_vectors(write(tmp_path / "v.txt", rows))
    with pytest.raises(ValueError, match="row 1: expected 3 numbers after the token, got 4"):
        load_vectors(write(tmp_path / "v.txt", b"1 3\nfig 1 2 3 4\n"))


def test_glove_file_with_header_and_unknown_row(tmp_path):
    """The GloVe tool's header does not count its last row, <unk>."""
    data = b"2 3\nthe 1 -0.5 0.25\ncat 0 2 3\n<unk> 0.5 0.75 1.625\n"
    for format in ("auto", "text", "glove"):
        kv = load_vectors(write(tmp_path / "v.txt", data), format=format)
        assert kv.index_to_key == ["the", "cat", "<unk>"]
    assert load_vectors(tmp_path / "v.txt", limit=2).index_to_key == ["the", "cat"]


def test_numeric_tokens_without_header(tmp_path):
    kv = KeyedVectors(["7", "3"], np.array([[3.0], [4.0]], np.float32))
    save_vectors(kv, tmp_path / "v.glove")
    assert_equal(load_vectors(tmp_path / "v.glove", format="glove"), kv)


def test_repeated_tokens_keep_the_first(tmp_path):
    rows = "".join(f"w{i % 5} {i}\n" for i in range(12))
    path = write(tmp_path / "v.txt", f"12 1\n{rows}".encode())
    with pytest.warns(UserWarning, match="7 rows repeat the token") as caught:
        kv = load_vectors(path)
    assert len(caught) == 1
    assert kv.index_to_key == ["w0", "w1", "w2", "w3", "w4"]
    assert kv.vectors.ravel().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("binary", [False, True])
def test_tokens_cut_inside_a_character(tmp_path, binary):
    """word2vec.c cuts tokens at 98 bytes, wherever that is."""
    cut = "é".encode()[:1]
    rows = [(b"ok", 1.0), (b"caf" + cut, 2.0), (b"end", 3.0)]
    if binary:
        data = b"3 1\n" + b"".join(t + b" " + struct.pack("<f", x) + b"\n" for t, x in rows)
    else:
        data = b"3 1\n" + b"".join(t + b" %g\n" % x for t, x in rows)
    path = write(tmp_path / "v.bin", data)
    with pytest.raises(ValueError, match=r"v\.bin: row 2: token b'caf\\xc3' is not UTF-8"):
        load_vectors(path)
    assert load_vectors(path, errors="replace").index_to_key == ["ok", "caf\ufffd", "end"]
    with pytest.warns(UserWarning, match="1 rows with a token that is not UTF-8"):
        kv = load_vectors(path, errors="skip")
    assert kv.index_to_key == ["ok", "end"] and kv.vectors.ravel().tolist() == [1, 3]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"2 3\nthe 1 2 3\ncat 1 2\n", "row 2: expected 3 numbers after the token, got 2"),
        (b"2 3\nthe 1 2 3\ncat 1 2 3 4\n", "row 2: expected 3 numbers after the token, got 4"),
        (b"the 1 2 3\ncat 1 2\n", "row 2: expected 3 numbers after the token, got 2"),
        (b"the 1 2 3\ncat 1 2 3 4\n", "row 2: expected 3 numbers after the token, got 4"),
        (b"2 3\nthe 1 x 3\ncat 1 2 3\n", 'row 1: .*"x" is not a number'),
        (b"2 3\nthe 1 2 3\ncat 1 2 0x1\n", 'row 2: .*"0x1" is not a number'),
        (b"2 3\nthe 1 2 3\ncat 1 2 3\0x\n", r'row 2: .*"3\\0x" is not a number'),
        (b"2 3\nthe 1 2 3\ncat 1 nan 3\n", "row 2: number 2 is NaN; allow_nonfinite=True"),
        (b"2 3\nthe 1 2 -inf\ncat 1 2 3\n", "row 1: number 3 is infinite"),
        (b"2 3\nthe 1 2 1e39\ncat 1 2 3\n", "row 1: number 3 is infinite"),
        (b"3 3\nthe 1 2 3\ncat 1 2 3\n", "unexpected end of file at row 3 of 3"),
        (b"9999999999 3\nthe 1 2 3\n", "unexpected end of file at row 2 of 9999999999"),
        (b"2 3\nthe 1 2 3\ncat 1 2", "unexpected end of file at row 2 of 2: expected 3 numbers"),
        (b"the 1 2 3\ncat 1 2", "unexpected end of file at row 2: expected 3 numbers"),
        (b"1 3\n" + b"".join(b"w%d 1 2 3\n" % i for i in range(3)), "promises 1 rows"),
        (b"2 99999999999\nthe 1 2 3\ncat 1 2 3\n", "dimensions must be 1 to 16777216"),
        (b"9223372036854775808 3\nthe 1 2 3\n", "promises 9223372036854775808 rows, more than"),
        (b"1" + b"0" * 40 + b" 3\n" + BINARY_EXAMPLE[4:], "more than a file can hold"),
        (b"2 3\nthe 1 2 3\n" + b"x" * (1 << 21), "row 2: no end of the line in the next 1049344 b"),
        (b"2 0\nthe\ncat\n", "dimensions must be 1 to"),
        (b"2 1000000\nthe 1 2 3\ncat 1 2 3\n", "row 1: expected 1000000 numbers .* got 3"),
        (b"2 3\n", "unexpected end of file at row 1 of 2"),
        (b"", "the file is empty"),
        (b"just some words\n", "not a known vector format"),
        (b'{"the": [1, 2]}', "a JSON file"),
        (BINARY_EXAMPLE.replace(b"\0\0\x80\x3f", b"\0\0\xc0\x7f"), "row 1: number 1 is NaN"),
        (BINARY_EXAMPLE + b"dog ", "promises 2 rows and the file goes on"),
        (b"3" + BINARY_EXAMPLE[1:], "unexpected end of file at row 3 of 3"),
        (b"1 70000\n" + b"\x01" * 80000, "row 1: no token in the next 65536 bytes"),
        (bytes.fromhex("ba164f2f0c000000"), "the file ends in the settings"),
        (pickle.dumps([1, 2]), "a Python pickle, which is never opened"),
    ],
)
def test_damaged_and_foreign_files(tmp_path, data, message):
    path = write(tmp_path / "v.any", data)
    with pytest.raises(ValueError, match=message) as caught:
        load_vectors(path)
    assert str(caught.value).startswith(str(path))


def test_nonfinite_on_request(tmp_path):
    for name in ("v.txt", "v.bin", "v.safetensors", "v.npy"):
        kv = KeyedVectors(["a", "b"], np.array([[1, 2], [np.nan, -np.inf]], np.float32))
        save_vectors(kv, tmp_path / name)
        with pytest.raises(ValueError, match="row 2: "):
            load_vectors(tmp_path / name)
        loaded = load_vectors(tmp_path / name, allow_nonfinite=True)
        np.testing.assert_array_equal(loaded.vectors, kv.vectors)


def test_numbers_beyond_float32(tmp_path):
    """Too small for float32 is zero, as everywhere else."""
    kv = load_vectors(write(tmp_path / "v.txt", b"w 1e-60 -1e-400 0.1000000000000000055511\n"))
    assert kv.vectors.tobytes() == np.array([0.0, -0.0, 0.1], np.float32).tobytes()


def test_text_cut_at_every_byte(tmp_path):
    """A cut file never passes for a whole one: an error, or a warning about the last row."""
    for length in range(len(TEXT_EXAMPLE)):
        path = write(tmp_path / "v.txt", TEXT_EXAMPLE[:length])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                load_vectors(path, format="text")
            except ValueError as error:
                assert str(path) in str(error)
            else:
                assert ["may be cut short" in str(w.message) for w in caught] == [True]


@pytest.mark.parametrize(
    "name", ["binary", "safetensors", "npy", "text.gz", "text.bz2", "binary.xz"]
)
def test_cut_at_every_byte(tmp_path, name):
    kv = KeyedVectors(["the", "cat"], VECTORS_EXAMPLE)
    whole = tmp_path / f"v{ROUND_TRIPS[name]}"
    save_vectors(kv, whole)
    data = whole.read_bytes()
    last = len(data) - (name == "binary")  # the last line break of binary files is optional
    for length in range(last):
        write(whole, data[:length])
        with pytest.raises(ValueError, match="v") as caught:
            load_vectors(whole, format=name.split(".")[0])
        assert str(caught.value).startswith(str(whole))


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=60), start=st.sampled_from([b"", b"2 3\n", b"2 3\nthe ", b"the 1 "]))
def test_arbitrary_bytes_never_crash(tmp_path_factory, data, start):
    path = write(tmp_path_factory.mktemp("any") / "v.any", start + data)
    for format in ("auto", "text", "binary", "glove", "npy", "safetensors"):
        with warnings.catch_warnings(), contextlib.suppress(ValueError):
            warnings.simplefilter("ignore")
            load_vectors(path, format=format)


def test_words_that_a_format_cannot_hold(tmp_path):
    for word, format, message in [
        ("new york", "binary", "word 'new york' holds a space"),
        ("a\nb", "binary", "line break"),
        ("a\nb", "text", "line break"),
        ("fig 1", "text", "word 'fig 1' ends in a number"),
        ("fig 1", "npy", "word 'fig 1' ends in a number"),
        ("fig ", "text", "word 'fig ' begins or ends in a space"),
        ("\tfig", "glove", "word .* begins or ends in a space"),
    ]:
        path = tmp_path / "v.any"
        with pytest.raises(ValueError, match=message):
            save_vectors(KeyedVectors([word], np.ones((1, 2))), path, format=format)
        assert list(tmp_path.iterdir()) == []  # nothing half-written is left
    kv = KeyedVectors(["fig 1", "a\nb", "new york"], np.ones((3, 2), np.float32))
    save_vectors(kv, tmp_path / "v.safetensors")
    assert_equal(load_vectors(tmp_path / "v.safetensors"), kv)


def test_saving_replaces_only_when_complete(tmp_path):
    path = write(tmp_path / "v.txt", TEXT_EXAMPLE)
    rows = [f"w{i}" for i in range(3000)] + ["fig 1"]
    with pytest.raises(ValueError, match="fig 1"):
        save_vectors(KeyedVectors(rows, np.ones((3001, 500), np.float32)), path)
    assert path.read_bytes() == TEXT_EXAMPLE


def test_compressed_by_content(tmp_path):
    kv = KeyedVectors(["the", "cat"], VECTORS_EXAMPLE)
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        assert_equal(load_vectors(write(tmp_path / "v.any", compress(BINARY_EXAMPLE))), kv)
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr("v.txt", TEXT_EXAMPLE)
    assert_equal(load_vectors(tmp_path / "v.zip"), kv)
    with zipfile.ZipFile(tmp_path / "v.zip", "a") as archive:
        archive.writestr("w.txt", TEXT_EXAMPLE)
    with pytest.raises(ValueError, match=r"this one holds: v\.txt, w\.txt"):
        load_vectors(tmp_path / "v.zip")
    torch.save({"x": torch.ones(2)}, tmp_path / "v.pt")
    with pytest.raises(ValueError, match="a torch checkpoint: load it with"):
        load_vectors(tmp_path / "v.pt")


def test_types_in_memory_and_on_disk(tmp_path, kv):
    save_vectors(kv, tmp_path / "v.txt")
    half = load_vectors(tmp_path / "v.txt", dtype="float16")
    assert half.vectors.dtype == np.float16
    save_vectors(half, tmp_path / "half.npy")
    assert np.load(tmp_path / "half.npy").dtype == np.float16
    assert_equal(load_vectors(tmp_path / "half.npy", dtype=np.float16), half)
    save_vectors(kv, tmp_path / "b.safetensors", dtype="bfloat16")
    brain = load_vectors(tmp_path / "b.safetensors")
    assert brain.vectors.dtype == np.float32
    rounded = torch.from_numpy(kv.vectors).bfloat16().float().numpy()
    np.testing.assert_array_equal(brain.vectors, rounded)


def test_mapped_vectors(tmp_path, kv):
    for name in ("v.safetensors", "v.npy"):
        save_vectors(kv, tmp_path / name)
        mapped = load_vectors(tmp_path / name, mmap=True)
        assert_equal(mapped, kv)
        assert mapped.most_similar("w1") == kv.most_similar("w1")
        mapped["w1"] = np.zeros(13)  # private to this process
        assert_equal(load_vectors(tmp_path / name), kv)
    save_vectors(kv, tmp_path / "v.txt")
    with pytest.raises(ValueError, match=r"mmap=True needs .* npy or fasttext, this is text"):
        load_vectors(tmp_path / "v.txt", mmap=True)


def test_words_beside_an_array(tmp_path, kv):
    """Arrays of other programs: the vocabulary lies beside them in one of several forms."""
    np.save(tmp_path / "vectors.npy", kv.vectors)
    with pytest.raises(ValueError, match=r"the words are missing: none of vectors\.vocab\.txt"):
        load_vectors(tmp_path / "vectors.npy")
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in kv.index_to_key))
    assert_equal(load_vectors(tmp_path / "vectors.npy"), kv)
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps(kv.key_to_index))
    save_file({"embedding.weight": torch.from_numpy(kv.vectors)}, tmp_path / "m.safetensors")
    assert_equal(load_vectors(tmp_path / "m.safetensors"), kv)
    assert_equal(load_vectors(tmp_path / "m.safetensors", limit=97), kv)
    (tmp_path / "vocab.json").write_text(json.dumps(kv.index_to_key[1:]))
    with pytest.raises(ValueError, match="97 rows of vectors, but 96 words"):
        load_vectors(tmp_path / "vectors.npy", limit=5)
    save_file({"other": torch.ones(2, 2)}, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"the file holds \['other'\]"):
        load_vectors(tmp_path / "m.safetensors")


def test_checkpoint_folder(tmp_path, kv):
    """Rows of trained tables are padded; the padding is not part of the vectors."""
    padded = torch.zeros(97, 16)
    padded[:, :13] = torch.from_numpy(kv.vectors)
    save_file({"input": padded, "output": torch.zeros(97, 16)}, tmp_path / "model.safetensors")
    write_vocabulary(tmp_path / "vocab.txt", kv.index_to_key, kv.expandos["count"])
    with pytest.raises(ValueError, match=r"must be a checkpoint with config\.json"):
        load_vectors(tmp_path)
    (tmp_path / "config.json").write_text('{"vector_size": 13}')
    for options in ({}, {"mmap": True}):
        loaded = load_vectors(tmp_path, **options)
        assert_equal(loaded, kv)
        assert loaded.get_vecattr("w1", "count") == 96
        assert loaded.most_similar("w1") == kv.most_similar("w1")
    (tmp_path / "config.json").write_text('{"vector_size": 17}')
    with pytest.raises(ValueError, match="vector_size is 17, but rows of the table have 16"):
        load_vectors(tmp_path)


def test_projector_files(tmp_path):
    kv = KeyedVectors(["a\tb", "c\nd", "e"], VECTORS_EXAMPLE[[0, 1, 0]], [3, 2, 1])
    save_vectors(kv, tmp_path / "tensors.tsv")
    table = np.loadtxt(tmp_path / "tensors.tsv", delimiter="\t", dtype=np.float32)
    np.testing.assert_array_equal(table, kv.vectors)
    assert (tmp_path / "metadata.tsv").read_text() == "token\tcount\na b\t3\nc d\t2\ne\t1\n"
    del kv.expandos["count"]
    save_vectors(kv, tmp_path / "v.tsv")
    assert (tmp_path / "v.metadata.tsv").read_text() == "a b\nc d\ne\n"
    read = load_vectors(tmp_path / "v.tsv", dtype="float64", limit=2)
    assert (read.index_to_key, read.expandos) == (["a b", "c d"], {})
    np.testing.assert_array_equal(read.vectors, kv.vectors[:2])


def test_projector_both_ways(tmp_path, random_vectors):
    """Sizes, kinds of words, with and without counts, by content whatever the suffix."""
    words = ["é", "#", "", "\ufeffmark", "a\u2028b", "12.5", "'", "\u6771\u4eac", "x y", "e"]
    for rows, dim in ((1, 1), (10, 1), (10, 2), (9, 7)):
        kv = random_vectors(rows, dim)
        kv = KeyedVectors(words[-rows:], np.round(kv.vectors), np.arange(rows, 0, -1))
        save_vectors(kv, tmp_path / "v", format="projector")
        assert_equal(load_vectors(tmp_path / "v"), kv)
        del kv.expandos["count"]
        save_vectors(kv, tmp_path / "tensors.tsv")
        for threads in (1, 3):
            assert_equal(load_vectors(tmp_path / "tensors.tsv", threads=threads), kv)
    (tmp_path / "tensors.tsv.gz").write_bytes(
        gzip.compress((tmp_path / "tensors.tsv").read_bytes())
    )
    assert_equal(load_vectors(tmp_path / "tensors.tsv.gz"), kv)


@pytest.mark.parametrize("names", [("x_tensor.tsv", "x_metadata.tsv"), ("v.tsv", "metadata.tsv")])
def test_projector_files_of_others(tmp_path, names):
    """Several columns, CRLF, no last line break; the words are where their column is."""
    numbers, metadata = (tmp_path / name for name in names)
    numbers.write_bytes(b"1\t2\r\n3\t-4e-1")
    metadata.write_bytes(b"count\tWord\tkind\r\n7\tred\tcolour\r\n5\tsea\tplace\r\n")
    with pytest.warns(UserWarning, match="row 2, the last one, does not end in a line break"):
        kv = load_vectors(numbers)
    assert kv.index_to_key == ["red", "sea"]
    np.testing.assert_array_equal(kv.vectors, np.float32([[1, 2], [3, -0.4]]))
    assert {name: values.tolist() for name, values in kv.expandos.items()} == {
        "count": [7, 5],
        "kind": ["colour", "place"],
    }


@pytest.mark.parametrize(
    ("numbers", "metadata", "message"),
    [
        (b"1\t2\n3\t4\n", b"a\n", r"2 rows of vectors, but 1 words in metadata\.tsv"),
        (b"1\t2\n", b"token\na\n", r"1 rows of vectors, but 2 words in metadata\.tsv"),
        (b"1\t2\n3\n", b"a\nb\n", "row 2: expected 2 numbers after the token, got 1"),
        (b"1\t2\n3\tnan\n", b"a\nb\n", "row 2: number 2 is NaN"),
        (b"1\t2\n", b"a\tb\nc\n", "metadata.tsv: line 2 must have 2 columns, got 1"),
        (b"1\t2\n", b"a\ta\nb\tc\n", "columns must have different names"),
        (b"1\t2\n", b"\xff\n", r"metadata\.tsv: line 1 must be text in UTF-8"),
    ],
)
def test_damaged_projector_files(tmp_path, numbers, metadata, message):
    (tmp_path / "metadata.tsv").write_bytes(metadata)
    path = write(tmp_path / "tensors.tsv", numbers)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}"):
        load_vectors(path)


def test_binary_files_of_stanfords_glove(tmp_path):
    """The sum of both tables, as the tool writes text; the file is known by what is beside it."""
    rng = np.random.default_rng(4)
    tables = rng.standard_normal((2, 5, 4))
    path = write(tmp_path / "vectors.bin", tables.tobytes())
    with pytest.raises(ValueError, match="not a known vector format"):
        load_vectors(path)
    with pytest.raises(ValueError, match=r"the words are missing: none of vectors\.vocab\.txt"):
        load_vectors(path, format="stanford")
    (tmp_path / "vocab.txt").write_text("the 9\ncat 5\nsat 5\non 2\nmat 1\n")
    kv = load_vectors(path, dtype="float64")
    np.testing.assert_array_equal(kv.vectors, tables.sum(axis=0)[:, :3])
    assert kv.index_to_key == ["the", "cat", "sat", "on", "mat"]
    assert kv.expandos["count"].tolist() == [9, 5, 5, 2, 1]
    some = load_vectors(path, limit=2)
    assert (some.vectors.dtype, some.index_to_key) == (np.float32, ["the", "cat"])
    with pytest.raises(ValueError, match=r"mmap=True needs .*, this is stanford"):
        load_vectors(path, mmap=True)
    tables[1, 2, 0] = 1e300
    with pytest.raises(ValueError, match="row 3: holds NaN or infinity"):
        load_vectors(write(path, tables.tobytes()))
    with pytest.raises(ValueError, match=r"vectors\.bin: must hold 2 x 5 rows of vector size"):
        load_vectors(write(path, tables.tobytes()[:-8]))
    with pytest.raises(ValueError, match=r"format must be text, .*, got 'stanford'"):
        save_vectors(kv, path, format="stanford")


def test_attributes_of_words_are_saved(tmp_path, kv):
    kv.set_vecattr("w1", "colour", "réd")
    kv.set_vecattr("w2", "weight", 0.1)
    kv.set_vecattr("w3", "small", np.uint8(7))
    kv.expandos["code"] = np.array([np.zeros(2)] * len(kv) + [None], dtype=object)[:-1]  # a model's
    kv.save(tmp_path / "v.kv")
    for options in ({}, {"limit": 4}, {"mmap": True}):
        read = load_vectors(tmp_path / "v.kv", **options)
        assert sorted(read.expandos) == ["colour", "count", "small", "weight"]
        for name, values in read.expandos.items():
            assert values.dtype == kv.expandos[name].dtype
            assert values.tolist() == kv.expandos[name][: options.get("limit")].tolist()
    kv.set_vecattr("w4", "colour", object())
    with pytest.raises(ValueError, match="the attribute 'colour' of words is not saved in files"):
        kv.save(tmp_path / "v.kv")
    assert load_vectors(tmp_path / "v.kv").get_vecattr("w1", "colour") == "réd"
    metadata = {"words": '["a"]', "attributes": '{"x": ["int64", [1, 2]]}'}
    for attributes, message in (
        ('{"x": ["int64", [1, 2]]}', "1 rows of vectors, but 2 values of 'x'"),
        ('{"x": ["int64", ["a"]]}', "the metadata 'attributes': 'x': invalid literal"),
        ('{"x": ["V8", [1]]}', "the metadata 'attributes': 'x': must be a type and values"),
        ('{"x": 1}', "the metadata 'attributes': 'x': cannot unpack"),
        ("[]", "must be a JSON object"),
    ):
        save_file(
            {"vectors": torch.ones(1, 2)},
            tmp_path / "x.safetensors",
            {**metadata, "attributes": attributes},
        )
        with pytest.raises(ValueError, match=message):
            load_vectors(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v.txt.gz", "v.glove"])
def test_files_cut_short_are_eof_errors(tmp_path, kv, name):
    """Also where a compressed file is whole, and what is in it is not."""
    path = tmp_path / name
    save_vectors(kv, path)
    data = path.read_bytes()
    if name.endswith(".gz"):
        write(path, gzip.compress(gzip.decompress(data)[:-40]))
    else:
        write(path, data[: -len(data) // 3 - 1])
    with pytest.raises(EOFError, match=f"^{re.escape(str(path))}: unexpected end of file at row"):
        load_vectors(path)
    if name.endswith(".gz"):
        with pytest.raises(EOFError, match="damaged or truncated gzip file"):
            load_vectors(write(path, data[:-20]))


def test_errors_of_files_can_be_copied():
    """As those of a process in a pool are."""
    for error in (NotInEncodingError("x: not text", "utf-8", b"\xff"), CutShortError("x: short")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
        placed = prefixed("y", again)
        assert (type(placed), str(placed)) == (type(error), f"y: {error}")


def test_rows_without_words_are_not_saved(tmp_path):
    kv = KeyedVectors(2, 3)
    kv.add_vector("a", np.ones(2))
    for save in (kv.save, kv.save_word2vec_format):
        with pytest.raises(ValueError, match="row 1 has no word yet"):
            save(tmp_path / "v")
    assert not (tmp_path / "v").exists()


@pytest.mark.interop
def test_gensims_own_files_are_refused_with_what_converts_them(tmp_path):
    models = pytest.importorskip("gensim.models")
    texts, options = [["a", "b", "c"]] * 5, {"min_count": 1, "vector_size": 4, "workers": 1}
    word2vec = models.Word2Vec(texts, **options)
    tagged = [models.doc2vec.TaggedDocument(text, [i]) for i, text in enumerate(texts)]
    for saved, name, line in (
        (word2vec, "w.model", "gensim.models.word2vec.Word2Vec.load({}).wv"),
        (word2vec.wv, "w.kv", "gensim.models.keyedvectors.KeyedVectors.load({})"),
        (models.FastText(texts, **options), "f", "gensim.models.fasttext.FastText.load({}).wv"),
        (models.Doc2Vec(tagged, **options), "d", "gensim.models.doc2vec.Doc2Vec.load({}).wv"),
    ):
        kind = line.split(".load")[0].rpartition(".")[2]
        for protocol in (2, 4):
            path = tmp_path / name
            saved.save(str(path), pickle_protocol=protocol)
            for load in (load_vectors, KeyedVectors.load):
                with pytest.raises(ValueError) as caught:
                    load(path)
                line_ = line.format(repr(str(path)))
                assert str(caught.value) == (
                    f"{path}: gensim's own file (a {kind}), a Python pickle, which is never opened "
                    "here because it can run code. If you trust it, this line of gensim converts "
                    f'it: {line_}.save_word2vec_format("vectors.bin", binary=True)'
                )
    import gensim

    converted = tmp_path / "vectors.bin"
    code = str(caught.value).partition("converts it: ")[2].replace("vectors.bin", str(converted))
    eval(code, {"gensim": gensim})
    assert sorted(load_vectors(converted).index_to_key) == ["a", "b", "c"]


def test_vocabulary_files(tmp_path):
    path = tmp_path / "vocab.txt"
    write_vocabulary(path, ["a b", "c"], np.array([7, 3]))
    assert path.read_bytes() == b"a b 7\nc 3\n"
    words, counts = read_vocabulary(path)
    assert words == ["a b", "c"] and counts.tolist() == [7, 3]
    write_vocabulary(path, ["a\u2028b", "c"])
    words, counts = read_vocabulary(path)
    assert words == ["a\u2028b", "c"] and counts is None
    path.write_text(f"a 7\nb {2**63 - 7}\n")
    with pytest.raises(ValueError, match=r"vocab.txt: line 2: counts must add up to <= 2\^63 - 1"):
        read_vocabulary(path)


def test_arguments_are_checked(tmp_path, kv):
    path = write(tmp_path / "v.txt", TEXT_EXAMPLE)
    for options, message in [
        (dict(format="word"), "format must be auto, text, .* got 'word'"),
        (dict(format="projector"), "the words are missing: none of v.metadata.tsv, metadata.tsv"),
        (dict(limit=-1), "limit must be >= 0, got -1"),
        (dict(dtype="int8"), "dtype must be float32 or float16 or float64, got 'int8'"),
        (dict(errors="drop"), "errors must be strict, replace, ignore or skip, got 'drop'"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_vectors(path, **options)
    with pytest.raises(FileNotFoundError, match="absent: no such file"):
        load_vectors(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"format must be given for v\.any, one of text"):
        save_vectors(kv, tmp_path / "v.any")
    with pytest.raises(ValueError, match="binary: dtype must be float32, got 'float16'"):
        save_vectors(kv, tmp_path / "v.bin", dtype="float16")
    with pytest.raises(ValueError, match=r"cannot be compressed, got v\.npy\.gz"):
        save_vectors(kv, tmp_path / "v.npy.gz")
    with pytest.raises(ValueError, match='format="glove" reads text without that line'):
        load_vectors(write(path, b"the 1 2\n"), format="text")


def test_save_and_load(tmp_path, kv):
    """The most used names of gensim, whatever the suffix; with counts."""
    kv.save(tmp_path / "vectors.kv")
    for mmap in (None, "r"):
        loaded = KeyedVectors.load(tmp_path / "vectors.kv", mmap=mmap)
        assert loaded.index_to_key == kv.index_to_key
        assert np.array_equal(loaded.vectors, kv.vectors)
        assert loaded.get_vecattr("w3", "count") == kv.get_vecattr("w3", "count")


@pytest.mark.parametrize("config", ["[]", "{", ""])
def test_checkpoint_with_damaged_config(tmp_path, config):
    for name in ("vocab.txt", "model.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=r"config\.json is truncated or damaged"):
        load_vectors(tmp_path)


def test_gensim_names_for_files(tmp_path, kv):
    kv.save_word2vec_format(tmp_path / "v.txt", fvocab=tmp_path / "v.vocab")
    loaded = KeyedVectors.load_word2vec_format(tmp_path / "v.txt", fvocab=tmp_path / "v.vocab")
    assert_equal(loaded, kv)
    assert loaded.get_vecattr("w1", "count") == kv.get_vecattr("w1", "count")
    kv.save_word2vec_format(tmp_path / "v.bin", binary=True)
    assert_equal(KeyedVectors.load_word2vec_format(tmp_path / "v.bin", binary=True), kv)
    kv.save_word2vec_format(tmp_path / "g.txt", write_header=False)
    assert_equal(KeyedVectors.load_word2vec_format(tmp_path / "g.txt", no_header=True), kv)


@pytest.mark.interop
@pytest.mark.parametrize("binary", [False, True])
def test_gensim_reads_ours_and_we_read_gensims(tmp_path, random_vectors, binary):
    gensim = pytest.importorskip("gensim.models").KeyedVectors
    kv = random_vectors(257, 31)
    kv.index_to_key[:5] = ["naïve", "👩‍🚀", "#tag", "7", "a\u2028b"]
    kv = KeyedVectors(kv.index_to_key, kv.vectors, kv.expandos["count"])
    ours = tmp_path / "ours"
    save_vectors(kv, ours, format="binary" if binary else "text")
    read = gensim.load_word2vec_format(str(ours), binary=binary)
    assert read.index_to_key == kv.index_to_key
    np.testing.assert_array_equal(read.vectors, kv.vectors)
    theirs = tmp_path / "theirs"
    read.save_word2vec_format(str(theirs), binary=binary)
    assert_equal(load_vectors(theirs), kv)
    headless = tmp_path / "headless"
    if not binary:
        save_vectors(kv, headless, format="glove")
        assert_equal(load_vectors(headless), kv)
        read = gensim.load_word2vec_format(str(headless), no_header=True)
        np.testing.assert_array_equal(read.vectors, kv.vectors)


REAL_FILES = {
    "glove.6B.50d.head.txt": ("glove", 2445, 50),
    "glove.6B.100d.sample.txt.gz": ("glove", 100, 100),
    "gensim/test_glove.txt": ("glove", 76, 50),
    "gensim/crime-and-punishment.vec": ("text", 291, 5),
    "gensim/lee_fasttext.vec": ("text", 1762, 10),
    "gensim/toy-model.vec": ("text", 22, 5),
    "gensim/high_precision.kv.txt": ("text", 2, 2),
    "gensim/high_precision.kv.bin": ("binary", 2, 2),
    "gensim/euclidean_vectors.bin": ("binary", 2747, 10),
    "gensim/EN.1-10.cbow1_wind5_hs0_neg10_size300_smpl1e-05.txt": ("text", 20, 300),
    "gensim/word2vec_pre_kv_c": ("text", 1750, 10),
}


@pytest.mark.real_data
@pytest.mark.interop
@pytest.mark.parametrize("name", REAL_FILES)
def test_real_files_equal_gensim(data_folder, name):
    gensim = pytest.importorskip("gensim.models").KeyedVectors
    format, rows, dim = REAL_FILES[name]
    path = data_folder / "formats" / name
    kv = load_vectors(path)
    assert kv.vectors.shape == (rows, dim)
    oracle = gensim.load_word2vec_format(
        str(path), binary=format == "binary", no_header=format == "glove"
    )
    assert kv.index_to_key == oracle.index_to_key
    np.testing.assert_array_equal(kv.vectors, oracle.vectors)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["crime-and-punishment.bin", "lee_fasttext_new.bin"])
def test_fasttext_models_are_recognised(data_folder, name):
    vectors = load_vectors(data_folder / "formats/gensim" / name)
    assert vectors.ngrams is not None and "neverseen" not in vectors.key_to_index
    assert vectors["neverseen"].any()


def test_sniffing():
    assert sniff_format(TEXT_EXAMPLE) == "text"
    assert sniff_format(BINARY_EXAMPLE) == "binary"
    assert sniff_format(b"the 1 2\n") == "glove"
    assert sniff_format(b"[ 1 2\n") == "glove"
    assert sniff_format(b"1 1\n7 " + struct.pack("<f", 1e-38) + b"\n") == "binary"
    assert sniff_format(b"1 1\nw \xcd\xcc\x8c\x3f\n") == "binary"  # 1.1: no control characters
    assert sniff_format(b"\x93NUMPY\x01\x00") == "npy"
    assert set(FORMATS) >= {"text", "binary", "glove", "npy", "safetensors"}


def test_what_float16_cannot_hold_is_refused(tmp_path):
    path = write(tmp_path / "v.txt", b"2 2\na 1 2\nb 1e5 3\n")
    with pytest.raises(ValueError, match="row 2: holds NaN or infinity"):
        load_vectors(path, dtype="float16")
    assert np.isinf(load_vectors(path, dtype="float16", allow_nonfinite=True)["b"][0])
