"""Model files of fastText: its bytes, gensim's and its own answers, and damaged ones."""

from __future__ import annotations

import dataclasses
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from fasttext_models import WORDS, model, quantised, supervised
from lexforge import KeyedVectors, load_vectors
from lexforge._text import WordBytes
from lexforge.reference.text import subwords as reference
from lexforge.vectors.formats.fasttext import FastTextFile, read_fasttext, write_fasttext
from lexforge.vectors.quantised import QuantizedMatrix
from lexforge.vectors.subword_vectors import SubwordVectors

# Of gensim's tests: version, dim, words, n-grams.
PUBLISHED = {
    "crime-and-punishment.bin": (12, 5, 291, 100),
    "lee_fasttext.bin": (0, 10, 1762, 1000),
    "lee_fasttext_new.bin": (11, 10, 1763, 1000),
    "non_ascii_fasttext.bin": (0, 2, 171, 10000),
    "toy-model.bin": (12, 5, 22, 100),
    "toy-model-pretrained.bin": (12, 5, 24, 100),
}


PRUNED = np.array([[7, 1], [29, 0], [3, 2]], np.int32)
MODELS = {
    "skipgram": model,
    "without n-grams": lambda: model(bucket=0, minn=0, maxn=0),
    "no words": lambda: model(words=WordBytes.of([])),
    "supervised": supervised,
    "quantised": quantised,
    "quantised output": lambda: quantised(
        output=QuantizedMatrix.quantize(np.eye(2, 4, dtype="f4"), sub_dim=3)
    ),
    "pruned": lambda: quantised(rows=9, pruneidx=PRUNED),
}


def written(path: Path, file: FastTextFile) -> bytes:
    write_fasttext(path, file)
    return path.read_bytes()


def expected_vector(file: FastTextFile, word: bytes) -> np.ndarray:
    """In plain Python: the mean of the word's row and of its n-grams'."""
    words = [file.words[row] for row in range(len(file.words))]
    rows = [words.index(word)] if word in words else []
    pruned = None if file.pruneidx is None else dict(file.pruneidx.tolist())
    for ngram in reference.ngrams(word, file.minn, file.maxn) if file.bucket else []:
        bucket = reference.ngram_hash(ngram) % file.bucket
        if pruned is None:
            rows.append(len(words) + bucket)
        elif bucket in pruned:
            rows.append(len(words) + pruned[bucket])
    if not rows:
        return np.zeros(file.dim)
    return np.asarray(file.input, np.float64)[rows].mean(0)


def assert_same(one: FastTextFile, other: FastTextFile) -> None:
    for field in dataclasses.fields(one):
        mine, others = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, WordBytes):
            mine, others = ([w[i] for i in range(len(w))] for w in (mine, others))
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(others), field.name)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_is_read(tmp_path, name, mmap):
    file = MODELS[name]()
    content = written(tmp_path / "m.bin", file)
    again = read_fasttext(tmp_path / "m.bin", mmap=mmap)
    assert_same(file, again)
    assert written(tmp_path / "again.bin", again) == content
    for word in [*WORDS, b"stranger", b"", "日本".encode()]:
        expected = expected_vector(file, word)
        np.testing.assert_allclose(again.word_vector(word), expected, rtol=1e-5, atol=1e-6)
    assert again.row("cat") == (1 if len(file.words) else -1) and again.row("stranger") == -1


def test_the_bytes(tmp_path):
    rows = [b"the", *[b"w%d" % row for row in range(9)]]
    counts = np.array([200] + [1] * 9)
    file = model(
        **{"dim": 16, "bucket": 100, "minn": 3, "maxn": 6, "t": 1.0},
        **{"words": WordBytes.of(rows), "counts": counts},
        input=np.zeros((110, 16), "f4"),
        output=np.zeros((10, 16), "f4"),
    )
    content = written(tmp_path / "m.bin", file)
    assert content.startswith(
        bytes.fromhex(
            """
            ba16 4f2f 0c00 0000 1000 0000 0500 0000 0300 0000 0100 0000 0500 0000 0100 0000
            0200 0000 0200 0000 6400 0000 0300 0000 0600 0000 6400 0000 0000 0000 0000 f03f
            0a00 0000 0a00 0000 0000 0000 8403 0000 0000 0000 ffff ffff ffff ffff
            7468 6500 c800 0000 0000 0000 00
            """
        )
    )
    tokens = sum(len(word) + 10 for word in rows)
    assert len(content) == 92 + tokens + 2 + 32 + 4 * 16 * (10 + 100 + 10)


def test_a_file_may_be_written_onto_itself(tmp_path):
    path = tmp_path / "m.bin"
    content = written(path, model())
    write_fasttext(path, read_fasttext(path))
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


def test_mapped_matrices_may_be_changed_and_the_file_stays(tmp_path):
    content = written(tmp_path / "m.bin", model())
    read_fasttext(tmp_path / "m.bin").input[:] = 0
    assert (tmp_path / "m.bin").read_bytes() == content


def early(file: FastTextFile) -> bytes:
    """The layout before versions."""
    names = "dim ws epoch minCount neg wordNgrams loss model bucket minn maxn lrUpdateRate t"
    settings = struct.pack("<12id", *(getattr(file, name) for name in names.split()))
    size = len(file.words)
    entries = b"".join(
        file.words[row] + struct.pack("<xqb", count, 0)
        for row, count in enumerate(file.counts.tolist())
    )
    matrices = b"".join(
        struct.pack("<2q", *matrix.shape) + matrix.tobytes() for matrix in (file.input, file.output)
    )
    return settings + struct.pack("<3iq", size, size, 0, file.ntokens) + entries + matrices


def test_versions(tmp_path):
    path, file = tmp_path / "m.bin", supervised(minn=2)
    content = written(path, file)
    path.write_bytes(content[:4] + b"\x0b" + content[5:])
    assert (read_fasttext(path).version, read_fasttext(path).maxn) == (11, 0)
    path.write_bytes(early(model()))
    assert_same(read_fasttext(path), model(version=0))
    np.testing.assert_array_equal(
        load_vectors(path, errors="replace").vectors_vocab, model().input[:6]
    )
    (tmp_path / "vocab.txt").write_text("a 1\n")  # as beside a binary file of GloVe
    assert len(load_vectors(path, errors="replace")) == 6
    for version in (10, 13, -1):
        path.write_bytes(content[:4] + struct.pack("<i", version) + content[8:])
        with pytest.raises(
            ValueError, match=rf"m.bin: a fastText model of version {version}, known"
        ):
            read_fasttext(path)


# -- damage


@pytest.mark.parametrize("name", ["skipgram", "supervised", "pruned"])
def test_a_file_that_is_cut_short(tmp_path, name):
    path = tmp_path / "m.bin"
    content = written(path, MODELS[name]())
    for size in {*range(0, 120, 3), *range(120, len(content), 41)}:
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"m\.bin: "):
            read_fasttext(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match=r"m\.bin: 1 bytes behind the output matrix"):
        read_fasttext(path)


EXTREMES = (0, 1, 127, 2**31 - 1, 2**31, 2**32 - 1)


@pytest.mark.parametrize("name", ["skipgram", "pruned"])
def test_any_field_may_hold_anything(tmp_path, name):
    """A ValueError that names the file, or a model that answers."""
    path = tmp_path / "m.bin"
    content = written(path, MODELS[name]())
    changes = [
        *((at, struct.pack("<I", value)) for at in range(0, 100, 4) for value in EXTREMES),
        *((at, struct.pack("<Q", 2**62 + 1)) for at in range(64, 300)),
    ]
    for at, changed in changes:
        path.write_bytes(content[:at] + changed + content[at + len(changed) :])
        try:
            file = read_fasttext(path)
        except ValueError as error:
            assert str(error).startswith(str(path)), error
            continue
        file.word_vector(b"stranger")
        for row in range(len(file.words)):
            assert file.row(file.words[row]) == row


def test_an_early_file_of_anything(tmp_path):
    path, content = tmp_path / "m.bin", early(model())
    for at in range(0, 100, 4):
        for value in EXTREMES:
            path.write_bytes(content[:at] + struct.pack("<Q", value)[:4] + content[at + 4 :])
            try:
                read_fasttext(path).word_vector("stranger")
            except ValueError as error:
                assert str(error).startswith(str(path)), error


def field(offset: int, layout: str, *values) -> dict:
    return {"at": offset, "bytes": struct.pack(f"<{layout}", *values)}


def test_a_packed_file(tmp_path):
    write_fasttext(tmp_path / "m.bin", model())
    (tmp_path / "m.bin.gz").write_bytes(gzip.compress((tmp_path / "m.bin").read_bytes()))
    with pytest.raises(ValueError, match=r"m.bin.gz: a file packed by gzip: unpack it first"):
        read_fasttext(tmp_path / "m.bin.gz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (field(8, "i", 0), "dim is 0, of 1 to 16777216"),
        (field(32, "i", 9), "loss is 9, of 1 to 4"),
        (field(36, "i", 0), "model is 0, of 1 to 3"),
        (field(40, "i", -1), "bucket is -1, of 0 to 2147483647"),
        (field(40, "i", 0), r"the input matrix must be \[6, 4\], got \[36, 4\]"),
        (field(40, "i", 31), r"the input matrix must be \[37, 4\], got \[36, 4\]"),
        (field(44, "i", -1), "minn is -1, of 0 to"),
        (field(48, "i", -1), "maxn is -1, of 0 to"),
        (field(64, "3i", 7, 6, 0), "cannot have 7 entries, 6 words and 0 labels"),
        (field(64, "3i", 0, 1, -1), "cannot have 0 entries, 1 words and -1 labels"),
        (field(64, "3i", 6, 5, 1), "6 of the entries are words, where 5 were told"),
        (field(64, "3i", 2**31 - 1, 2**31 - 1, 0), "the file ends in the 2,147,483,647 entries"),
        (field(76, "q", -1), "the dictionary cannot have -1 tokens"),
        (field(84, "q", -2), "the dictionary cannot have .* -2 n-grams kept"),
        (field(84, "q", 2**62), "the file ends in the 4,611,686,018,427,387,904 n-grams"),
        (field(96, "q", -3), "entry 1 of 6 has a count of -3"),
        (field(104, "b", 1), "entry 2 of 6 is a word behind a label"),
        (field(104, "b", 2), "entry 1 of 6 must be of type 0 or 1, and is of 2"),
        (field(105, "3s", b"the"), "entry 2 is entry 1 again"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, change, message):
    path = tmp_path / "m.bin"
    content = bytearray(written(path, model()))
    content[change["at"] : change["at"] + len(change["bytes"])] = change["bytes"]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"m\.bin: .*{message}"):
        read_fasttext(path)


@pytest.mark.parametrize(
    ("pruneidx", "message"),
    [
        ([[30, 0]], "the n-grams kept have bucket 30, of 30"),
        ([[-1, 0]], "the n-grams kept have bucket -1, of 30"),
        ([[3, 1]], "the n-grams kept have row 1, of 1"),
        ([[3, 0], [3, 1]], "the n-grams kept have a bucket twice"),
        ([[3, 0], [4, 0]], "the n-grams kept have a row twice"),
    ],
)
def test_pruned_ngrams_out_of_range(tmp_path, pruneidx, message):
    path, good = tmp_path / "m.bin", np.array([[9, 0], [8, 1]][: len(pruneidx)], np.int32)
    content = written(path, quantised(rows=6 + len(good), pruneidx=good))
    path.write_bytes(content.replace(good.tobytes(), np.array(pruneidx, np.int32).tobytes()))
    with pytest.raises(ValueError, match=rf"m\.bin: {message}"):
        read_fasttext(path)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (lambda: model(words=WordBytes.of([b"a\0b"])), "words 1 holds a NUL: b'a.x00b'"),
        (lambda: model(words=WordBytes.of([b"a", b"a"])), "entry 2 is entry 1 again"),
        (lambda: model(counts=np.ones(2, int)), r"counts of words must be \[6\], got \[2\]"),
        (lambda: model(input=np.zeros((3, 4), "f4")), r"the input matrix must be \[36, 4\]"),
        (lambda: model(output=np.zeros((6, 5), "f4")), r"the output matrix must be \[6, 4\]"),
        (lambda: model(bucket=0), "maxn is 4, but bucket is 0"),
        (lambda: model(dim=0), "dim is 0, of 1 to"),
        (lambda: supervised(pruneidx=PRUNED), "pruned n-grams need a quantised input"),
        (
            lambda: supervised(output=QuantizedMatrix.quantize(np.eye(2, 4, dtype="f4"))),
            "a quantised output matrix needs a quantised input",
        ),
    ],
)
def test_what_is_not_written(tmp_path, file, message):
    path = tmp_path / "m.bin"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match=rf"m\.bin: .*{message}"):
        write_fasttext(path, file())
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


# -- the door


def test_load_vectors_knows_it(tmp_path):
    path = tmp_path / "m.bin"
    file = model(words=WordBytes.of(WORDS[:5]))
    write_fasttext(path, file)
    found = KeyedVectors.load(path, mmap="r")
    assert isinstance(found, SubwordVectors) and found.index_to_key[2:4] == ["é", "東京"]
    assert found.expandos["count"].tolist() == [200, 90, 40, 40, 7]
    for word in ["cat", "</s>", "stranger"]:
        expected = expected_vector(file, word.encode())
        np.testing.assert_allclose(found[word], expected, rtol=1e-5, atol=1e-6)
    first = load_vectors(path, limit=2)
    assert first.index_to_key == ["the", "cat"]
    np.testing.assert_allclose(first["stranger"], found["stranger"], rtol=1e-6)
    write_fasttext(path, model(bucket=0, minn=0, maxn=0, words=WordBytes.of(WORDS[:5])))
    assert type(load_vectors(path)) is KeyedVectors
    write_fasttext(path, model())
    with pytest.raises(UnicodeDecodeError, match=rf"{path}: row 6: token .* is not UTF-8"):
        load_vectors(path)
    assert len(load_vectors(path, errors="skip")) == 5
    assert load_vectors(path, errors="replace").index_to_key[5] == "\ufffd\ufffdbad"


# -- gensim


@pytest.fixture
def gensims():
    return pytest.importorskip("gensim.models.fasttext")


def data(name: str) -> Path:
    import gensim.test.utils

    return Path(gensim.test.utils.datapath(name))


@pytest.mark.interop
@pytest.mark.parametrize("name", PUBLISHED)
def test_gensims_data(gensims, tmp_path, name):
    version, dim, count, bucket = PUBLISHED[name]
    file, theirs = read_fasttext(data(name)), gensims.load_facebook_vectors(str(data(name)))
    assert (file.version, file.dim, len(file.words), file.bucket) == (version, dim, count, bucket)
    assert file.decoded() == theirs.index_to_key
    words = [word for word in theirs.index_to_key[:200] if word != "</s>"]  # which they cut up
    for word in [*words, "landlord", "é🙂", "a"]:
        np.testing.assert_allclose(file.word_vector(word), theirs[word], rtol=1e-5, atol=1e-6)
    content = written(tmp_path / "m.bin", file)
    if version == 12:
        assert content == data(name).read_bytes()
    again = gensims.load_facebook_model(str(tmp_path / "m.bin"))
    assert np.array_equal(again.wv.vectors_ngrams, theirs.vectors_ngrams)
    assert np.array_equal(again.wv["landlord"], theirs["landlord"])


@pytest.mark.interop
def test_words_of_gensims_data_that_are_no_utf8(gensims):
    """Asked for in the file's encoding, n-grams are those of its bytes, as in fastText."""
    path = data("cp852_fasttext.bin")
    with pytest.raises(UnicodeDecodeError, match=r"cp852_fasttext\.bin: row 2: token .* UTF-8"):
        load_vectors(path)
    file, found = read_fasttext(path, encoding="cp852"), load_vectors(path, encoding="cp852")
    assert found.index_to_key[1] == "kterě" or "který" in found
    for row, word in enumerate(found.index_to_key):
        expected = expected_vector(file, file.words[row])
        np.testing.assert_allclose(found[word], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.interop
@pytest.mark.parametrize("options", [{"sg": 1}, {"sg": 0, "hs": 1, "negative": 0}, {"bucket": 0}])
def test_models_that_gensim_trained(gensims, tmp_path, options):
    sentences = [["hello", "wörld", "of", "n-grams"], ["hello", "again", "日本"]] * 5
    theirs = gensims.FastText(
        sentences, vector_size=6, min_count=1, workers=1, epochs=1, **{"bucket": 50} | options
    )
    gensims.save_facebook_model(theirs, str(tmp_path / "theirs.bin"))
    file = read_fasttext(tmp_path / "theirs.bin")
    if theirs.wv.bucket:  # or it says max_n = 6 of n-grams that it does not have
        assert written(tmp_path / "ours.bin", file) == (tmp_path / "theirs.bin").read_bytes()
    for word in [*theirs.wv.index_to_key, *(["stranger"] if theirs.wv.bucket else [])]:
        np.testing.assert_allclose(file.word_vector(word), theirs.wv[word], rtol=1e-5, atol=1e-7)


# -- fastText itself


def assert_close(vector: np.ndarray, theirs, word: str) -> None:
    """That a model of the fasttext package has this vector.

    Some builds scale what get_word_vector gives to length 1, so that it tells the direction only;
    the length is that of the mean of its rows.
    """
    given, (_, rows) = theirs.get_word_vector(word), theirs.get_subwords(word)
    mean = np.mean([theirs.get_input_vector(row) for row in rows], 0) if len(rows) else 0 * given
    np.testing.assert_allclose(vector, mean, rtol=1e-4, atol=1e-7)
    length = np.linalg.norm(vector)
    np.testing.assert_allclose(
        vector, given * (length / max(np.linalg.norm(given), 1e-9)), atol=1e-6
    )


@pytest.mark.interop
def test_fasttext_reads_what_is_written_and_writes_what_is_read(tmp_path):
    fasttext = pytest.importorskip("fasttext")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("the cat sat on the mat with a naïve 日本 dog\n" * 30, encoding="utf-8")
    theirs = fasttext.train_unsupervised(
        str(corpus), dim=5, minCount=1, bucket=300, epoch=1, thread=1, verbose=0
    )
    theirs.save_model(str(tmp_path / "theirs.bin"))
    file = read_fasttext(tmp_path / "theirs.bin")
    assert file.decoded() == theirs.get_words()
    for word in [*theirs.get_words(), "stranger", "日本語", "b", ""]:
        assert_close(file.word_vector(word), theirs, word)
    write_fasttext(tmp_path / "ours.bin", dataclasses.replace(file, input=file.input * 2))
    again = fasttext.load_model(str(tmp_path / "ours.bin"))
    for word in [*theirs.get_words(), "stranger"]:
        assert_close(2 * file.word_vector(word), again, word)


@pytest.mark.interop
def test_words_that_are_no_utf8_in_fasttext(tmp_path):
    """Bytes that go on with a character belong to what is before them, whatever it is."""
    fasttext = pytest.importorskip("fasttext")
    file = model()
    write_fasttext(tmp_path / "m.bin", file)
    theirs, found = (
        fasttext.load_model(str(tmp_path / "m.bin")),
        fasttext.FastText.fasttext.Vector(4),
    )
    for word in [*WORDS, b"\x80\xbf", b"a\x80\xc3", b"\xc3", b"stranger\xe9", b""]:
        theirs.f.getWordVector(found, word)
        given, ours = np.array(found), file.word_vector(word)
        scale = np.linalg.norm(ours) / max(np.linalg.norm(given), 1e-9)
        np.testing.assert_allclose(ours, scale * given, rtol=1e-5, atol=1e-6)


@pytest.mark.interop
@pytest.mark.parametrize("cutoff", [0, 300])
@pytest.mark.parametrize("norms", [False, True])
def test_classifiers_of_fasttext(tmp_path, cutoff, norms):
    fasttext = pytest.importorskip("fasttext")
    rng = np.random.default_rng(1)
    lines = [
        f"__label__{label} " + " ".join(f"{'ab'[label]}{word}" for word in rng.integers(0, 150, 9))
        for label in rng.integers(0, 2, 200)
    ]
    corpus, path = tmp_path / "corpus.txt", tmp_path / "m.bin"
    corpus.write_text("\n".join(lines) + "\n")
    theirs = fasttext.train_supervised(
        str(corpus), dim=6, minn=2, maxn=3, bucket=400, epoch=1, thread=1, verbose=0
    )
    if cutoff or norms:
        theirs.quantize(cutoff=cutoff, qnorm=norms)
    theirs.save_model(str(path))
    file = read_fasttext(path)
    assert file.supervised and file.quantised == bool(cutoff or norms)
    assert (file.pruneidx is not None) == bool(cutoff)
    assert file.labels.decoded("utf-8") == theirs.get_labels()
    assert file.decoded() == theirs.get_words()
    assert written(tmp_path / "again.bin", file) == path.read_bytes()
    for word in [*file.decoded()[:20], "a9b8"]:
        assert_close(file.word_vector(word), theirs, word)
