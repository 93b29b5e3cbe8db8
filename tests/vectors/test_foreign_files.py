"""Files of vectors as other programs and people make them: the right words, or the right cause."""

from __future__ import annotations

import gzip
import json
import os
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lexforge.vectors import KeyedVectors, load_vectors, save_vectors, sniff_format
from lexforge.vectors.formats.arrays import read_npy

MARK = b"\xef\xbb\xbf"


def write(path, data: bytes):
    path.write_bytes(data)
    return path


def tagged(end: str) -> bytes:
    row = "0.1000 0.2000 0.3000 0.4000 0.5000 0.6000"
    return ("40 6\n" + "".join(f"term{i} {row}{end}\n" for i in range(40))).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tagged(" NOUN"), 'row 1: .*"NOUN" is not a number'),
        (tagged("]"), r'row 1: .*"0.6000\]" is not a number'),
        (tagged("f"), 'row 1: .*"0.6000f" is not a number'),
        (tagged(" 3:0.25"), 'row 1: .*"3:0.25" is not a number'),
        (b"2 2\n# made by\nred 1 2\nblue 3 4\n", 'row 1: .*"by" is not a number'),
        (b"2 2\nred,1,2\nblue,3,4\n", "row 1: fields must be separated by .* got ',' between"),
        (b"2 2\nred;1;2\nblue;3;4\n", "row 1: fields must be separated by .* got ';' between"),
        (b"2 2\nred 1,5 2,5\nblue 3,5 4,5\n", 'row 1: .*"2,5" is not a number'),
        ("2 2\ncaf\xe9 1 NOUN\nth\xe9 3 NOUN\n".encode("latin-1"), 'row 1: .*"NOUN" is not'),
        (b"red 0.1 0.2 NOUN\n", 'row 1: "NOUN" is not a number'),
        (b"red,0.1,0.2\n", "row 1: fields must be separated by spaces or tabs, got ','"),
        ("2 2\nred 1 2\nblue 3 4\n".encode("utf-16"), "UTF-16 text: convert it to UTF-8"),
        (b"99999999999999999999 2\nred 1 2\n", "the header promises 99999999999999999999 rows"),
    ],
)
@pytest.mark.parametrize("limit", [None, 5])
def test_text_that_is_not_understood_stays_text(tmp_path, data, message, limit):
    path = write(tmp_path / "v.vec", data)
    if limit and b"9999" in data:
        limit = None
    with pytest.raises(ValueError, match=rf"v\.vec: {message}"):
        load_vectors(path, limit=limit)


def test_the_wrong_kind_of_file(tmp_path):
    """gensim's `binary` given or forgotten."""
    text = write(tmp_path / "v.txt", b"2 3\nthe 1 -0.5 0.25\ncat 0 2 3\n")
    with pytest.raises(ValueError, match=r'the rows are text, not word2vec binary: format="text"'):
        KeyedVectors.load_word2vec_format(text, binary=True, limit=50)
    rows = b"".join(w + b" " + struct.pack("<2f", 1, 0.1) for w in (b"the", b"cat"))
    binary = write(tmp_path / "v.bin", b"2 2\n" + rows)
    with pytest.raises(ValueError, match=r'word2vec binary, not text: format="binary"'):
        KeyedVectors.load_word2vec_format(binary)
    assert load_vectors(binary).index_to_key == ["the", "cat"]


def test_binary_of_both_dialects():
    for end in (b"", b"\n"):
        rows = b"".join(w + b" " + struct.pack("<2f", 0.1, 1.1) + end for w in (b"w", b"\xe9t"))
        assert sniff_format(b"2 2\n" + rows) == "binary"
        assert sniff_format(b"2 2\n" + rows[:-7]) == "binary"
    with pytest.raises(ValueError, match="neither rows of text nor of 2 numbers"):
        sniff_format(b"2 2\n\0\0 \0\0\0\0\0\0\0\0\0\n")


@pytest.mark.parametrize("data", [b"red 1 2 3\nblue 3 2 1\n", b"2 3\nred 1 2 3\nblue 3 2 1\n"])
def test_byte_order_mark(tmp_path, data):
    path = write(tmp_path / "v.txt", MARK + data)
    kv = load_vectors(path)
    assert kv.index_to_key == ["red", "blue"] and kv.vectors.tolist() == [[1, 2, 3], [3, 2, 1]]
    mine = KeyedVectors(["\ufeffred", "blue"], kv.vectors)
    save_vectors(mine, tmp_path / "v.glove")
    assert load_vectors(tmp_path / "v.glove").index_to_key == mine.index_to_key


def test_encodings(tmp_path):
    path = write(tmp_path / "l1.txt", "2 2\ncaf\xe9 1 2\nth\xe9 3 4\n".encode("latin-1"))
    words = ["caf\xe9", "th\xe9"]
    for kv in (
        load_vectors(path, encoding="latin-1"),
        KeyedVectors.load_word2vec_format(path, encoding="latin-1"),
        KeyedVectors.load_word2vec_format(path, None, False, "latin-1"),
        KeyedVectors.load_word2vec_format(path, None, False, "latin-1", "strict", 2, np.float32),
    ):
        assert kv.index_to_key == words
    row = "caf\xe9 ".encode("latin-1") + struct.pack("<f", 0.5)
    binary = write(tmp_path / "v.bin", b"1 1\n" + row)
    assert load_vectors(binary, encoding="latin-1").index_to_key == words[:1]
    with pytest.raises(ValueError, match="is not UTF-8; encoding= names another"):
        load_vectors(path)
    for name, message in (("utf-16", "must write ASCII as it is"), ("none", "that Python knows")):
        with pytest.raises(ValueError, match=message):
            load_vectors(path, encoding=name)
    assert load_vectors(path, encoding="utf-8-sig", errors="replace").index_to_key[0] == "caf\ufffd"
    np.save(tmp_path / "v.npy", np.eye(2))
    write(tmp_path / "v.vocab.txt", "caf\xe9 2\nth\xe9 1\n".encode("latin-1"))
    assert load_vectors(tmp_path / "v.npy", encoding="latin-1").index_to_key == words


def test_vocabulary_beside_vectors(tmp_path):
    path = write(tmp_path / "v.txt", b"2 2\nred 1 2\nblue 3 4\n")
    for data in (b"red 9\r\nblue 4\r\n", MARK + b"red\t9\nblue   4 \n"):
        counts = write(tmp_path / "v.vocab", data)
        kv = KeyedVectors.load_word2vec_format(path, fvocab=counts)
        assert kv.expandos["count"].tolist() == [9, 4]
    path = write(tmp_path / "v.txt", b"2 2\nr\xe9d 1 2\nblue 3 4\n")
    counts = write(tmp_path / "v.vocab", b"r\xe9d 9\nblue 4\n")
    kv = KeyedVectors.load_word2vec_format(path, counts, unicode_errors="replace")
    assert kv.index_to_key == ["r\ufffdd", "blue"] and kv.expandos["count"].tolist() == [9, 4]
    kv = KeyedVectors.load_word2vec_format(path, counts, unicode_errors="ignore")
    assert kv.index_to_key == ["rd", "blue"] and kv.expandos["count"].tolist() == [9, 4]
    with pytest.warns(UserWarning, match="1 rows with a token that is not UTF-8 are left out"):
        kv = KeyedVectors.load_word2vec_format(path, counts, unicode_errors="skip")
    assert kv.index_to_key == ["blue"] and kv.expandos["count"].tolist() == [4]
    for fvocab in (None, counts):
        with pytest.raises(UnicodeDecodeError, match=r"v\.txt: row 1: token .* is not UTF-8"):
            KeyedVectors.load_word2vec_format(path, fvocab)
    path = write(tmp_path / "v.txt", b"2 2\nred 1 2\nblue 3 4\n")
    with pytest.raises(UnicodeDecodeError, match=r"v\.vocab: line 1 must be text in UTF-8"):
        KeyedVectors.load_word2vec_format(path, counts)


def test_compressed_arrays(tmp_path, kv):
    np.savez(tmp_path / "x.npz", np.eye(3))
    for name in ("v.npy", "v.safetensors"):
        save_vectors(kv, tmp_path / name)
        write(tmp_path / f"{name}.gz", gzip.compress((tmp_path / name).read_bytes()))
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.write(tmp_path / name, name)
    for path in (*tmp_path.glob("*.gz"), *tmp_path.glob("*.zip"), tmp_path / "x.npz"):
        for mmap in (False, True):
            with pytest.raises(ValueError, match=r"a compressed (npy|safetensors) file: unpack it"):
                load_vectors(path, mmap=mmap)


def test_damaged_zip_files(tmp_path):
    path = tmp_path / "v.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("v", b"2 2\nred 1 2\nblue 3 4\n")
    data = path.read_bytes()
    for at in range(4, len(data)):
        write(path, data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                load_vectors(path)
            except ValueError as error:
                assert str(error).startswith(str(path))
    for at in (data.rindex(b"PK\x01\x02") + 28, data.rindex(b"PK\x01\x02") + 42):
        # No name, so that what follows is not where it was; and a place far beyond the file.
        write(path, data[:at] + (b"\0" if data[at] else b"\xff" * 4) + data[at + 1 :])
        with pytest.raises(ValueError, match=r"v\.zip: damaged or truncated zip file"):
            load_vectors(path)


def test_damaged_npy_header(tmp_path):
    np.save(tmp_path / "v.npy", np.eye(2))
    data = (tmp_path / "v.npy").read_bytes()
    for at in range(10, 80):
        for byte in b"(['#":
            write(tmp_path / "v.npy", data[:at] + bytes([byte]) + data[at + 1 :])
            with pytest.raises(ValueError, match="v"):
                load_vectors(tmp_path / "v.npy")  # the words are missing at the latest
    for kind in (b"',f8'", b"'(3'", b"'1Z'", b"[[]]", b"(1, )"):
        write(tmp_path / "v.npy", data.replace(b"'<f8'", kind.ljust(5)))
        with pytest.raises(ValueError, match="v"):
            load_vectors(tmp_path / "v.npy", mmap=True)


@pytest.mark.parametrize(
    "words", ["[" * 100_000, '"ab"', "[1, 2]", '{"a": 0}', '[["a"], "b"]', '["a", "\\ud800"]', "["]
)
def test_words_that_are_no_strings(tmp_path, words):
    path = tmp_path / "v.safetensors"
    save_file({"vectors": torch.eye(2)}, path, metadata={"words": words})
    with pytest.raises(ValueError, match=r"v\.safetensors: the metadata 'words'"):
        load_vectors(path)
    if words != '{"a": 0}':
        save_file({"vectors": torch.eye(2)}, path)
        (tmp_path / "v.vocab.json").write_text(words)
        with pytest.raises(ValueError, match=r"v\.safetensors: .*vocab\.json"):
            load_vectors(path)


@pytest.mark.parametrize("counts", ['["1", 2]', "[-1, 2]", "[1.5, 2]", "[9223372036854775808, 1]"])
def test_counts_that_are_no_numbers(tmp_path, counts):
    path = tmp_path / "v.safetensors"
    metadata = {"words": json.dumps(["a", "b"]), "counts": counts}
    save_file({"vectors": torch.eye(2)}, path, metadata=metadata)
    with pytest.raises(ValueError, match=r"the metadata 'counts' must be whole numbers"):
        load_vectors(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".npy", ".bin", ".txt"])
def test_names_that_are_not_utf8(tmp_path, kv, suffix):
    path = tmp_path / (os.fsdecode(b"d\xe9p\xf4t") + suffix)
    save_vectors(kv, path)
    for mmap in {False, suffix in (".safetensors", ".npy")}:
        loaded = load_vectors(path, mmap=mmap)
        assert loaded.index_to_key == kv.index_to_key
        assert np.array_equal(loaded.vectors, kv.vectors)


def full_disk(monkeypatch, name):
    """Makes files of this name fail when they are complete, as on a full disk."""
    import lexforge._files as files

    flush = files.flush

    def fail(path):
        if name in str(path):
            raise OSError(28, "No space left on device")
        flush(path)

    monkeypatch.setattr(files, "flush", fail)


@pytest.mark.parametrize("fails", ["v.npy", "v.vocab.txt"])
def test_an_array_and_its_words_change_together(tmp_path, monkeypatch, fails):
    first = KeyedVectors(["a", "b"], np.eye(2, dtype=np.float32))
    save_vectors(first, tmp_path / "v.npy")
    full_disk(monkeypatch, fails)
    with pytest.raises(OSError, match="No space left") as caught:
        save_vectors(KeyedVectors(["c", "d"], 2 * first.vectors), tmp_path / "v.npy")
    assert caught.value.filename == str(tmp_path / "v.npy")
    kv = load_vectors(tmp_path / "v.npy")
    assert kv.index_to_key == ["a", "b"] and kv.vectors.tolist() == [[1, 0], [0, 1]]
    assert {path.name for path in tmp_path.iterdir()} == {"v.npy", "v.vocab.txt"}


@pytest.mark.parametrize("suffix", [".npy", ".tsv"])
def test_a_failed_pair_leaves_nothing(tmp_path, monkeypatch, kv, suffix):
    full_disk(monkeypatch, f"v{suffix}")
    with pytest.raises(OSError, match="No space left"):
        save_vectors(kv, tmp_path / f"v{suffix}")
    assert not list(tmp_path.iterdir())


def test_between_two_renames_there_are_no_wrong_words(tmp_path, monkeypatch):
    """Killed there, the array is new and has no words rather than old ones."""
    save_vectors(KeyedVectors(["a", "b"], np.eye(2)), tmp_path / "v.npy")
    replace = os.replace

    def killed(source, target):
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_vectors(KeyedVectors(["c", "d"], 2 * np.eye(2)), tmp_path / "v.npy")
    with pytest.raises(ValueError, match="the words are missing"):
        load_vectors(tmp_path / "v.npy")


def test_npy_equals_numpys(tmp_path, kv):
    for dtype in ("float32", "float16"):
        save_vectors(kv, tmp_path / "v.npy", dtype=dtype)
        np.save(tmp_path / "w.npy", kv.vectors.astype(dtype))
        assert (tmp_path / "v.npy").read_bytes() == (tmp_path / "w.npy").read_bytes()
    assert len(read_npy(tmp_path / "v.npy", limit=3, mmap=False).words) == 3


def checkpoint(folder, words, counts, **config):
    import hashlib

    text = "".join(f"{word} {count}\n" for word, count in zip(words, counts, strict=True))
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text(text)
    sha1 = hashlib.sha1(text.encode()).hexdigest()
    config = {"vector_size": 2, "vocabulary_sha1": sha1, **config}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"input": torch.eye(len(words), 2)}, folder / "model.safetensors")


def test_a_checkpoint_of_other_words_is_refused(tmp_path):
    checkpoint(tmp_path, ["a", "b"], [2, 1])
    assert load_vectors(tmp_path).index_to_key == ["a", "b"]
    (tmp_path / "vocab.txt").write_text("a 2\nc 1\n")
    with pytest.raises(ValueError, match=r"vocab\.txt is damaged: .* not those that config\.json"):
        load_vectors(tmp_path)


def test_other_unicode_forms(tmp_path):
    kv = KeyedVectors(["cafe\u0301", "chat"], np.eye(2, dtype=np.float32))
    with pytest.raises(KeyError, match=r"another Unicode form, 'cafe\\\\u0301'"):
        kv["caf\xe9"]
    path = tmp_path / "pairs.txt"
    path.write_bytes(MARK + "caf\xe9 chat 5\nchat chat 3\nchat cafe\u0301 1\n".encode())
    with pytest.warns(UserWarning, match="1 pairs count as unknown .* Unicode normal form") as seen:
        _, _, unknown = kv.evaluate_word_pairs(path)
    assert len(seen) == 1 and unknown == pytest.approx(100 / 3)


def test_gensims_arguments_for_saving(tmp_path):
    kv = KeyedVectors(["a", "b", "c"], np.arange(6, dtype=np.float32).reshape(3, 2), [1, 3, 2])
    path, vocab = tmp_path / "v.txt", tmp_path / "v.vocab"
    kv.save_word2vec_format(path, vocab, False, 6, prefix="x_")
    kv.save_word2vec_format(path, vocab, write_header=False, prefix="y_", append=True)
    rows = ["b 2 3", "c 4 5", "a 0 1"]
    wanted = ["6 2", *(f"x_{row}" for row in rows), *(f"y_{row}" for row in rows)]
    assert path.read_text().splitlines() == wanted
    counts = ["b 3", "c 2", "a 1"]
    assert vocab.read_text().splitlines() == [f"{p}_{line}" for p in "xy" for line in counts]
    assert load_vectors(path).index_to_key[3:] == ["y_b", "y_c", "y_a"]
    kv.save_word2vec_format(path, sort_attr="none")
    assert load_vectors(path).index_to_key == ["a", "b", "c"]
    with pytest.raises(ValueError, match="fvocab needs the attribute 'none' of words"):
        kv.save_word2vec_format(path, vocab, sort_attr="none")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="ends in a number"):
        KeyedVectors(["q", "fig 1"], np.eye(2)).save_word2vec_format(path, append=True)
    assert path.read_bytes() == before


@pytest.mark.interop
@pytest.mark.parametrize("binary", [False, True])
def test_saved_files_equal_gensims(tmp_path, binary):
    vectors = np.array([[0.5, -1.25], [2, 3], [0.125, 8]], np.float32)
    kv = KeyedVectors(["a", "b", "c"], vectors, [1, 3, 2])
    theirs = pytest.importorskip("gensim") and kv.to_gensim()
    for name, which in (("ours", kv), ("theirs", theirs)):
        path = str(tmp_path / name)
        which.save_word2vec_format(path, f"{path}.vocab", binary, total_vec=6, prefix="p")
        which.save_word2vec_format(
            path, f"{path}.vocab", binary, write_header=False, prefix="q", append=True
        )
    ours, other = (load_vectors(tmp_path / name) for name in ("ours", "theirs"))
    assert ours.index_to_key == other.index_to_key == ["pb", "pc", "pa", "qb", "qc", "qa"]
    assert np.array_equal(ours.vectors, other.vectors)
    assert (tmp_path / "ours.vocab").read_text() == (tmp_path / "theirs.vocab").read_text()
