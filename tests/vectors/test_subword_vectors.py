"""Vectors of words and n-grams: composed, of any word, and beside gensim's class of them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from gensim_suite.compared import assert_same, assert_same_names
from lexforge import KeyedVectors, load_vectors
from lexforge.reference.text import subwords as reference
from lexforge.text.subwords import SubwordIndex
from lexforge.vectors.evaluation import score_pairs
from lexforge.vectors.subword_vectors import SubwordVectors

# (method, argument) -> what is not as in gensim, and why.
EXCEPTIONS = {
    ("load", "fname_or_handle"): "fname, as in KeyedVectors",
    ("evaluate_word_pairs", "delimiter"): "None takes a tab where there is one, else white space",
}
WORDS = [f"{stem}{end}" for stem in ("alpha", "bet", "gämma", "delta") for end in ("", "s", "ed")]
DIM = 6


def rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def index_of(kind: str) -> SubwordIndex:
    counts = list(range(len(WORDS), 0, -1))
    if kind == "held":
        return SubwordIndex.of_vocabulary(WORDS, counts, 3, 5, 60)
    if kind == "explicit":
        return SubwordIndex.explicit(WORDS, counts, 3, 5)
    if kind == "pruned":
        return SubwordIndex.pruned(3, 5, 60, [[bucket, bucket // 2] for bucket in range(0, 60, 2)])
    return SubwordIndex.every(3, 5, 60)


def vectors(kind: str = "every", composition: str = "mean") -> SubwordVectors:
    index = index_of(kind)
    counts = np.arange(len(WORDS), 0, -1)
    own, ngrams = rows(len(WORDS), 1), rows(index.rows, 2)
    return SubwordVectors.of(WORDS, own, ngrams, index, counts, composition)


def expected(wv: SubwordVectors, word: str, composition: str = "mean") -> np.ndarray:
    """In plain Python; an n-gram without a row is a row of zeros, or none."""
    index, kind = wv.subwords, wv.subwords.kind
    found = [wv.vectors_vocab[WORDS.index(word)]] if word in WORDS else []
    if kind == "explicit":
        held = {ngram.encode(): row for row, ngram in enumerate(index.ngram_of_rows())}
        ngrams = dict.fromkeys(reference.ngrams(word.encode(), 3, 5))
        found += [wv.vectors_ngrams[held[n]] for n in ngrams if n in held]
    else:
        held = {bucket: row for row, bucket in enumerate(index.bucket_of_rows().tolist())}
        for ngram in reference.ngrams(word.encode(), 3, 5):
            row = held.get(reference.ngram_hash(ngram) % 60)
            if row is not None:
                found.append(wv.vectors_ngrams[row])
            elif kind == "held":
                found.append(np.zeros(DIM))
    total = np.sum(found, axis=0, dtype=np.float64) if found else np.zeros(DIM)
    return total / max(len(found), 1) if composition == "mean" else total


@pytest.mark.parametrize("composition", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["every", "held", "pruned", "explicit"])
def test_composition(kind, composition):
    wv = vectors(kind, composition)
    for word in [*WORDS, "alphabet", "ω", "", "</s>", "gämm"]:
        want = expected(wv, word, composition)
        np.testing.assert_allclose(wv[word], want, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(wv[[word]], want[None], rtol=1e-5, atol=1e-6)
    assert wv.vectors.dtype == np.float32
    for row, word in enumerate(WORDS):
        np.testing.assert_allclose(wv.vectors[row], expected(wv, word, composition), atol=1e-6)
        np.testing.assert_array_equal(wv[word], wv.vectors[row])
        np.testing.assert_array_equal(wv[row], wv.vectors[row])


def test_one_word_needs_no_others():
    """So that the first vector of a large mapped model comes at once."""
    wv = vectors()

    class Watched(np.ndarray):
        seen: set[int] = set()  # noqa: RUF012

        def __getitem__(self, key):
            Watched.seen |= set(np.atleast_1d(key).tolist())
            return np.asarray(self).__getitem__(key)

    wv.vectors_vocab, wv.vectors_ngrams = (
        each.view(Watched) for each in (wv.vectors_vocab, wv.vectors_ngrams)
    )
    wv["alpha"]
    assert Watched.seen == {0, *index_of("every").ngram_rows("alpha").tolist()}
    wv.get_vector("stranger", norm=True)
    assert len(Watched.seen) < 40


@pytest.mark.parametrize("kind", ["every", "explicit"])
def test_changed_rows_are_composed_anew(kind):
    wv = vectors(kind)
    wv.fill_norms()
    before = wv.vectors.copy()
    wv.vectors_ngrams *= 2
    wv.vectors_vocab *= 2
    np.testing.assert_array_equal(wv.vectors, before)
    wv.refresh()
    np.testing.assert_allclose(wv.vectors, 2 * before, rtol=1e-6)
    np.testing.assert_allclose(wv.norms, np.linalg.norm(2 * before, axis=1), rtol=1e-6)
    wv.vectors_vocab *= 0
    wv.adjust_vectors()
    assert not np.allclose(wv.vectors, 2 * before)


def test_what_is_set_is_what_rows_make():
    """A word's own row takes up the difference, and n-grams stay."""
    wv, ngrams = vectors(), rows(60, 2)
    wv["alpha"] = np.arange(6.0)
    wv.add_vectors(["new", "newer"], np.ones((2, DIM)), extras={"count": [30, 20]})
    assert wv.add_vector("newest", np.full(DIM, 2.0)) == len(WORDS) + 2
    np.testing.assert_array_equal(wv.vectors_ngrams, ngrams)
    for _ in range(2):
        np.testing.assert_allclose(wv["alpha"], np.arange(6.0), atol=1e-5)
        np.testing.assert_allclose(wv["new"], np.ones(DIM), atol=1e-5)
        np.testing.assert_allclose(wv["newest"], np.full(DIM, 2.0), atol=1e-5)
        wv.refresh()
    wv.sort_by_descending_frequency()
    assert wv.index_to_key[0] == "new"
    wv.refresh()
    np.testing.assert_allclose(wv["alpha"], np.arange(6.0), atol=1e-5)
    np.testing.assert_allclose(wv.vectors[0], np.ones(DIM), atol=1e-5)


def test_unknown_words_wherever_a_vector_is_asked_for():
    wv = vectors()
    assert "stranger" in wv and "stranger" not in wv.key_to_index and not wv.has_index_for("str")
    assert (0 in wv, 12 in wv) == (True, False)
    best = wv.most_similar("alphas!", topn=3)
    assert [word for word, _ in wv.most_similar_batch(["alphas!"], topn=3)[0]] == [
        w for w, _ in best
    ]
    assert wv.similarity("alpha", "alphabet") == pytest.approx(
        float(1 - wv.distances("alpha", ["alphabet", "bet"])[0]), abs=1e-6
    )
    some = wv.vectors_for_all(["alpha", "stranger"])
    np.testing.assert_array_equal(some["stranger"], wv["stranger"])
    assert list(wv.vectors_for_all(["alpha", "stranger"], False).key_to_index) == ["alpha"]
    closer = wv.closer_than("stranger", "newcomer")
    assert len(closer) + 1 == wv.rank("stranger", "newcomer")
    assert wv.get_sentence_vector(["alpha", "stranger"]).shape == (DIM,)
    with pytest.raises(KeyError, match="'stranger'"):
        wv.get_index("stranger")
    assert not wv["</s>"].any() and not wv.get_vector("", norm=True).any()  # without n-grams


def test_pairs_with_unknown_words_are_scored_where_asked_for(tmp_path):
    wv, lines = vectors(), ["Alpha bets 1", "alphabet bet 3", "gämmas zeta 2", "delta deltas 4"]
    (tmp_path / "pairs").write_text("\n".join(lines), encoding="utf-8")
    scores = score_pairs(wv, tmp_path / "pairs", infer_unknown=True)
    cosines = [wv.similarity(*line.split()[:2]) for line in ["alpha bets", *lines[1:]]]
    assert (scores.pairs, scores.unknown, scores.used) == (4, 0, 4)
    assert scores.pearson.statistic == pytest.approx(np.corrcoef([1, 3, 2, 4], cosines)[0, 1])
    assert wv.evaluate_word_pairs(tmp_path / "pairs")[2] == 50  # as gensim's
    assert wv.evaluate_word_pairs(tmp_path / "pairs", infer_unknown=True)[2] == 0


def test_without_ngrams_it_is_as_keyed_vectors():
    wv = SubwordVectors.of(
        ["a"], np.ones((1, 2), "f4"), np.zeros((0, 2), "f4"), SubwordIndex.every(0, 0, 0)
    )
    assert "b" not in wv and wv["a"].tolist() == [1, 1]
    for call in (lambda: wv["b"], lambda: wv[["b"]], lambda: wv.most_similar("b")):
        with pytest.raises(KeyError, match="'b'"):
            call()


@pytest.mark.parametrize("kind", ["every", "held", "pruned", "explicit"])
def test_files_copies_and_pickles(kind, tmp_path):
    wv = vectors(kind, "sum")
    path = tmp_path / "v.safetensors"
    wv.save(path)
    for again in (
        SubwordVectors.load(path),
        KeyedVectors.load(path, mmap="r"),
        copy.deepcopy(wv),
        pickle.loads(pickle.dumps(wv)),
    ):
        assert isinstance(again, SubwordVectors) and again.composition == "sum"
        np.testing.assert_array_equal(again.vectors, wv.vectors)
        np.testing.assert_array_equal(again["stranger"], wv["stranger"])
        assert again.get_vecattr("alpha", "count") == 12
    few = load_vectors(path, limit=3)
    assert len(few) == 3
    np.testing.assert_array_equal(few["stranger"], wv["stranger"])
    wv.save_word2vec_format(tmp_path / "v.vec")
    np.testing.assert_array_equal(KeyedVectors.load(tmp_path / "v.vec").vectors, wv.vectors)
    with pytest.raises(ValueError, match=r"v\.vec: has vectors of words, and none of n-grams"):
        SubwordVectors.load(tmp_path / "v.vec")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"composition": "max"}, "composition must be one of mean, sum, got 'max'"),
        ({"vectors_ngrams": rows(5, 1)}, r"vectors_ngrams must be \[60, 6\], got \[5, 6\]"),
        ({"vectors_vocab": rows(5, 1)}, r"vectors must be \[V=12, D\] for 12 words"),
        ({"words": ["a"] * 12}, "words must be different, got 'a' twice"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    given = {
        "words": WORDS,
        "vectors_vocab": rows(12, 1),
        "vectors_ngrams": rows(60, 2),
        "subwords": index_of("every"),
    }
    with pytest.raises(ValueError, match=message):
        SubwordVectors.of(**given | changed)
    with pytest.raises(ValueError, match="min_n must be <= max_n=2, got 3"):
        SubwordVectors(5, 3, 2, 10)


# -- beside gensim's


@pytest.fixture
def gensims():
    return pytest.importorskip("gensim.models.fasttext").FastTextKeyedVectors


@pytest.mark.interop
def test_every_public_name_of_gensims_is_here_with_its_arguments(gensims):
    assert_same_names(SubwordVectors, gensims, EXCEPTIONS)


@pytest.mark.interop
def test_attributes_are_those_of_gensims(gensims):
    for name in vars(gensims(3, 3, 6, 10)):
        assert hasattr(SubwordVectors(3, 3, 6, 10), name), name


@pytest.fixture
def both(gensims):
    ours = vectors()
    theirs = ours.to_gensim()
    theirs.adjust_vectors()
    return ours, theirs


A, B, FAR, NEW = "alpha", "bets", "deltaed", "alphabet"
CALLS = [
    ("__getitem__", [A]),
    ("__getitem__", [NEW]),
    ("__getitem__", [[A, NEW, B]]),
    ("__contains__", [NEW]),
    ("__len__", []),
    ("has_index_for", [NEW]),
    ("get_vector", [NEW]),
    ("get_vector", [NEW, True]),
    ("get_vector", [A, True]),
    ("get_mean_vector", [[A, NEW]]),
    ("get_sentence_vector", [[A, NEW]]),
    ("similarity", [A, NEW]),
    ("distance", [NEW, "newest"]),
    ("distances", [NEW]),
    ("distances", [NEW, [A, B]]),
    ("n_similarity", [[A, NEW], [B]]),
    ("most_similar", [NEW]),
    ("most_similar", [[NEW, A], [B], 4]),
    ("similar_by_word", [NEW, 3]),
    ("most_similar_cosmul", [[NEW, A], [B]]),
    ("doesnt_match", [[A, NEW, FAR]]),
    ("rank_by_centrality", [[A, NEW, FAR]]),
    ("buckets_word", None),
    ("get_normed_vectors", []),
]


@pytest.mark.interop
@pytest.mark.parametrize(("name", "given"), CALLS, ids=lambda value: str(value)[:40])
def test_answers_are_gensims(both, name, given):
    found = [getattr(kv, name) for kv in both]
    assert_same(*(found if given is None else [call(*given) for call in found]))


@pytest.mark.interop
def test_rows_are_drawn_and_taken_as_gensims_do(gensims):
    found = []
    for kind in (SubwordVectors, gensims):
        kv = kind(4, 3, 5, 20)
        kv.index_to_key = ["one", "two", "three"]
        kv.key_to_index = {word: row for row, word in enumerate(kv.index_to_key)}
        kv.resize_vectors(seed=3)
        drawn = [kv.vectors_vocab, kv.vectors_ngrams, kv.vectors, kv["four"]]
        kv.init_post_load(np.arange(4 * 23, dtype=np.float32).reshape(23, 4))
        found.append([*drawn, kv.vectors_vocab, kv.vectors_ngrams, kv.vectors, kv["four"]])
    assert_same(*found)
    with pytest.raises(ValueError, match=r"fb_vectors must be \[23, 4\], got \[3, 4\]"):
        kv = SubwordVectors(4, 3, 5, 20, count=3)
        kv.init_post_load(np.ones((3, 4)))


@pytest.mark.interop
def test_words_are_added_as_gensims(gensims):
    for kind in (SubwordVectors, gensims):
        kv = kind(2, 3, 6, 2_000_000)
        kv.add_vector("key", np.array([0, 1]))
        kv.add_vectors(["a", "b"], np.array([[2, 3], [4, 5]]))
        assert kv.index_to_key == ["key", "a", "b"]
        assert kv.vectors.tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.interop
def test_there_and_back(both):
    ours, theirs = both
    again = SubwordVectors.from_gensim(theirs)
    np.testing.assert_allclose(again.vectors, ours.vectors, atol=1e-6)
    np.testing.assert_array_equal(again[NEW], ours[NEW])
    held = vectors("held")
    np.testing.assert_allclose(held.to_gensim()[NEW], held[NEW], atol=1e-6)
    with pytest.raises(ValueError, match="means of hashed buckets, these are sum of every"):
        vectors("every", "sum").to_gensim()
