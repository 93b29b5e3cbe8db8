"""`KeyedVectors` beside gensim's class of that name: the same names, and the same answers."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest

from gensim_suite.compared import assert_same, assert_same_names
from lexforge import KeyedVectors
from lexforge.vectors.growing import moved

pytestmark = pytest.mark.interop

# (method, argument) -> what is not as in gensim, and why.
EXCEPTIONS = {
    ("__init__", "vector_size"): "by name it stands behind words and vectors, which may come first",
    ("__init__", "count"): "as vector_size; None says that it was not given",
    ("__init__", "dtype"): "as vector_size; None keeps what the vectors have",
    ("evaluate_word_pairs", "delimiter"): "None takes a tab where there is one, else white space",
}


@pytest.fixture
def gensims():
    return pytest.importorskip("gensim.models").KeyedVectors


def test_every_public_name_of_gensims_is_here_with_its_arguments(gensims):
    assert_same_names(KeyedVectors, gensims, EXCEPTIONS)


def test_attributes_are_those_of_gensims(gensims):
    for name in vars(gensims(3)):
        assert hasattr(KeyedVectors(3), name), name


# -- answers


@pytest.fixture
def both(gensims, tmp_path):
    """Both classes with what one file holds: 300 words in groups, with counts."""
    rng = np.random.default_rng(11)
    centres = rng.standard_normal((30, 16))
    vectors = (centres[:, None] + 0.6 * rng.standard_normal((30, 10, 16))).reshape(300, 16)
    words = [f"{'Ab' if i % 3 else 'ab'}{i}" for i in range(299)] + ["ab1"]
    counts = np.sort(rng.zipf(1.3, 300).clip(max=10**6))[::-1]
    made = KeyedVectors(words, vectors.astype(np.float32), counts)
    made.save_word2vec_format(tmp_path / "v.bin", tmp_path / "vocab", binary=True)
    found = [
        kind.load_word2vec_format(str(tmp_path / "v.bin"), str(tmp_path / "vocab"), binary=True)
        for kind in (KeyedVectors, gensims)
    ]
    assert found[0].index_to_key == found[1].index_to_key
    return found


A, B, C, FAR = "ab0", "Ab2", "Ab5", "Ab200"
VECTOR = np.linspace(-1, 1, 16, dtype=np.float32)
CALLS = [
    ("__getitem__", [A]),
    ("__getitem__", [7]),
    ("__getitem__", [[A, 7, FAR]]),
    ("__contains__", [A]),
    ("__contains__", ["nowhere"]),
    ("__contains__", [299]),
    ("__len__", []),
    ("__str__", []),
    ("has_index_for", [300]),
    ("get_index", [B]),
    ("get_index", ["nowhere", 5]),
    ("get_vector", [A]),
    ("get_vector", [A, True]),
    ("get_vecattr", [A, "count"]),
    ("get_normed_vectors", []),
    ("get_mean_vector", [[A, B, "nowhere"]]),
    ("get_mean_vector", [[A, 3, VECTOR], [1, 2.5, -3]]),
    ("get_mean_vector", [[A, B], None, False, True]),
    ("similarity", [A, FAR]),
    ("similarity", [0, 200]),
    ("distance", [A, B]),
    ("distances", [A]),
    ("distances", [VECTOR]),
    ("distances", [A, [B, 7, FAR]]),
    ("n_similarity", [[A, B], [C, FAR, "nowhere"]]),
    ("cosine_similarities", [VECTOR, np.eye(3, 16, dtype=np.float32)]),
    ("cosine_similarities", [VECTOR.astype(float), np.eye(3, 16)]),
    ("most_similar", [A]),
    ("most_similar", [[A, C], [B]]),
    ("most_similar", [[(A, 0.5), (B, 2.0)], [(C, -0.25)], 5]),
    ("most_similar", [[A, VECTOR, 9], None, 3]),
    ("most_similar", [VECTOR]),
    ("most_similar", [np.stack([VECTOR, VECTOR**2])]),
    ("most_similar", [A, None, 1000]),
    ("most_similar", [A, None, None]),
    ("most_similar", [A, None, 0]),
    ("most_similar", [A, None, 4, 100, 200]),
    ("most_similar", [A, None, None, 100]),
    ("most_similar", [A, None, 4, 100, 200, 50]),
    ("most_similar", [FAR, None, 4, 0, None, 50]),
    ("most_similar", [np.int64(3), None, np.uint8(2)]),
    ("similar_by_word", [A, 4]),
    ("similar_by_word", [A, None, 9]),
    ("similar_by_key", [FAR, 4, 100]),
    ("similar_by_vector", [VECTOR, 4, 100]),
    ("similar_by_vector", [VECTOR, None]),
    ("most_similar_cosmul", [A]),
    ("most_similar_cosmul", [[A, C], [B], 7]),
    ("most_similar_cosmul", [[A, C], B, None]),
    ("most_similar_cosmul", [A, None, 0]),
    ("relative_cosine_similarity", [A, B]),
    ("relative_cosine_similarity", [A, FAR, 4]),
    ("most_similar_to_given", [A, [FAR, B, C]]),
    ("rank_by_centrality", [[A, B, C, FAR]]),
    ("rank_by_centrality", [[A, B, C, FAR], False]),
    ("doesnt_match", [[A, "ab3", "ab6", FAR]]),
    ("closer_than", [A, C]),
    ("closer_than", [A, A]),
    ("rank", [A, FAR]),
    ("rank", [A, A]),
]


@pytest.mark.parametrize(("name", "given"), CALLS, ids=lambda value: str(value)[:40])
def test_answers_are_gensims(both, name, given):
    ours, theirs = (getattr(kv, name)(*given) for kv in both)
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    ("name", "given", "error"),
    [
        ("most_similar", ["nowhere"], KeyError),
        ("most_similar", [], ValueError),
        ("most_similar", [np.ones(5)], ValueError),
        ("most_similar_cosmul", [], ValueError),
        ("get_mean_vector", [[]], ValueError),
        ("get_mean_vector", [[A], [1, 2]], ValueError),
        ("get_mean_vector", [["nowhere"], None, True, False, False], KeyError),
        ("get_vector", ["nowhere"], KeyError),
        ("get_vecattr", [A, "colour"], KeyError),
        ("set_vecattr", [A, "count", 1.5], TypeError),
        ("n_similarity", [[], [A]], ZeroDivisionError),
        ("doesnt_match", [["nowhere"]], ValueError),
        ("relative_cosine_similarity", [A, B, 0], ValueError),
        ("similarity_unseen_docs", [[A], [B]], NotImplementedError),
        ("distances", [np.ones(5)], ValueError),
    ],
)
def test_errors_are_of_gensims_kinds(both, name, given, error):
    for kv in both:
        with pytest.raises(error):
            getattr(kv, name)(*given)


def test_evaluation_is_gensims(both, tmp_path):
    ours, theirs = both
    rng = np.random.default_rng(3)
    words = [*ours.index_to_key, "unknown"]
    pairs = [f"{rng.choice(words)}\t{rng.choice(words)}\t{i % 11}" for i in range(60)]
    (tmp_path / "pairs").write_text("# a comment\nword\tword\n" + "\n".join(pairs) + "\n")
    lines = [f"ab{10 * i} Ab{10 * i + 1} ab{10 * i + 20} Ab{10 * i + 21}" for i in range(0, 27, 3)]
    (tmp_path / "analogies").write_text(": one\n" + "\n".join(lines) + "\n: two\na b c d\n")
    for options in ({}, {"restrict_vocab": 200}, {"dummy4unknown": True}):
        for name in ("pairs", "analogies"):
            method = f"evaluate_word_{name}"
            ours_, theirs_ = (
                getattr(kv, method)(str(tmp_path / name), **options) for kv in (ours, theirs)
            )
            if name == "pairs":
                ours_, theirs_ = ([*x[0], *x[1], x[2]] for x in (ours_, theirs_))
            assert_same(ours_, theirs_)


def changed(kv) -> list:
    """What a table is after everything that changes one."""
    kv.set_vecattr(A, "colour", "red")
    kv.set_vecattr(3, "weight", 0.5)
    kv.allocate_vecattrs(["size", "count"], [int, np.int64])
    kv.add_vectors(["new1", A], np.ones((2, 16), dtype=np.float32))
    kv.add_vectors(["new2"], [np.full(16, 2.0)], replace=True)
    kv[["new3", B]] = np.full((2, 16), 3.0)
    kv["new4"] = np.arange(16.0)
    kv.allocate_vecattrs()
    kv.set_vecattr("new2", "count", 50)
    kv.norms = None
    before = [kv.get_vecattr(word, name) for word in ("new2", A) for name in kv.expandos]
    kv.sort_by_descending_frequency()
    kv.unit_normalize_all()
    # Not A: gensim fails on text after the 0 of a word without it.
    some = kv.vectors_for_all(["new3", "nowhere", C, FAR, "new3"], copy_vecattrs=True)
    others = kv.vectors_for_all(["new3", 4], allow_inference=False)
    kv.index_to_key += ["late1", "late2"]
    kv.resize_vectors(seed=5)
    return [
        *(before, kv.index_to_key, kv.key_to_index, kv.vectors, sorted(kv.expandos)),
        *([kv.expandos[name].tolist() for name in sorted(kv.expandos)], kv.norms),
        *(some.index_to_key, some.vectors, [some.get_vecattr(FAR, name) for name in kv.expandos]),
        *(others.index_to_key, others.vectors, others.get_vecattr("new3", "count")),
    ]


def test_changes_are_gensims(both):
    both[1].fill_norms()
    ours, theirs = map(changed, both)
    both[1].fill_norms()
    theirs[6] = both[1].norms
    assert_same(ours, theirs)


def test_rows_that_wait_for_their_words(gensims):
    found = []
    for kind in (KeyedVectors, gensims):
        kv = kind(4, 3, np.float64)
        rows = [kv.add_vector(word, np.full(4, 0.1)) for word in ("a", "b")]
        with_gap = (list(kv.index_to_key), kv.next_index, kv.vectors.copy(), len(kv))
        rows += [kv.add_vector("c", np.ones(4))]
        kv.add_vectors(["d"], np.ones((1, 4)))
        kv.set_vecattr("b", "x", 2)
        found.append([rows, *with_gap, kv.index_to_key, kv.key_to_index, kv.vectors, kv.expandos])
    assert_same(*found)
    with pytest.raises(ValueError, match=r"vector must be \[D=4\], got \(3,\)"):
        KeyedVectors(4, 1).add_vector("a", np.ones(3))
    kv = KeyedVectors(vector_size=4, count=2)
    kv.add_vector("a", np.ones(4))
    assert kv.most_similar("a", topn=5) == [(None, 0.0)]  # as in gensim, but for its NaN


def test_a_table_may_be_put_together_from_outside(both):
    for theirs in both:
        kv = KeyedVectors(16)
        kv.vectors = theirs.vectors
        kv.index_to_key, kv.key_to_index = theirs.index_to_key, theirs.key_to_index
        assert kv.most_similar(A) == both[0].most_similar(A)


def test_another_may_search(both):
    """Such as an index of neighbours; it is not asked for the cosines of all."""

    class Indexer:
        def most_similar(self, vector, topn):
            return [(vector, topn)]

    answers = [kv.most_similar([A, B], [C], topn=3, indexer=Indexer()) for kv in both]
    assert_same(*answers)
    assert_same(*(kv.most_similar(A, topn=None, indexer=Indexer()) for kv in both))
    with pytest.raises(TypeError, match="topn must be an integer or None, got 'ten'"):
        both[0].most_similar(A, topn="ten")


def test_deprecated_names_warn_and_go_on(both):
    for kv in both:
        with pytest.deprecated_call():
            kv.init_sims()
        with pytest.deprecated_call():
            np.testing.assert_array_equal(kv.word_vec(A, norm=True), kv.get_vector(A, norm=True))
        with pytest.deprecated_call():
            assert kv.words_closer_than(A, C) == kv.closer_than(A, C)
        with pytest.deprecated_call():
            kv.init_sims(replace=True)
        np.testing.assert_allclose(np.linalg.norm(kv.vectors, axis=1), 1, atol=1e-6)
        for gone in ("vocab", "index2word", "index2entity", "vectors_norm"):
            with pytest.raises(AttributeError, match=r"[gG]ensim 4"):
                getattr(kv, gone)


def test_lines_in_the_log(both, caplog):
    caplog.set_level(logging.INFO)
    for kv in both:
        caplog.clear()
        kv.log_accuracy({"section": "one", "correct": [1], "incorrect": [2, 3]})
        kv.log_evaluate_word_pairs((0.5, 0), (0.25, 0), 12.5, "pairs.tsv")
        assert [record.getMessage() for record in caplog.records] == [
            "one: 33.3% (1/3)",
            "Pearson correlation coefficient against pairs.tsv: 0.5000",
            "Spearman rank-order correlation coefficient against pairs.tsv: 0.2500",
            "Pairs with unknown words ratio: 12.5%",
        ]
        kv.add_lifecycle_event("seen", by="a test")
        event = kv.lifecycle_events[-1]
        assert (event["event"], event["by"]) == ("seen", "a test") and "datetime" in event


def test_counts_of_a_file_that_has_none_are_made_up(gensims, tmp_path):
    path = str(tmp_path / "v.txt")
    KeyedVectors(list("abc"), np.eye(3)).save_word2vec_format(path)
    for kv in (KeyedVectors.load_word2vec_format(path), gensims.load_word2vec_format(path)):
        assert [kv.get_vecattr(word, "count") for word in "abc"] == [3, 2, 1]
    assert "count" not in KeyedVectors.load_word2vec_format(path).expandos  # of ours none is saved


# -- what gensim does not say, or says wrongly


def test_attributes_have_one_type():
    kv = KeyedVectors(["a", "b"], np.eye(2))
    kv.set_vecattr("a", "rank", 3)
    with pytest.raises(TypeError, match="attribute 'rank' is int64, which cannot hold float64"):
        kv.set_vecattr("a", "rank", 3.5)
    with pytest.raises(TypeError, match="attribute 'rank' is int64, which cannot hold object"):
        kv.add_vectors(["c"], np.ones((1, 2)), extras={"rank": ["high"]})
    assert kv.index_to_key == ["a", "b"]
    kv.add_vectors(["c", "a"], np.ones((2, 2)), extras={"rank": np.array([7, 8])})
    assert kv.expandos["rank"].tolist() == [3, 0, 7]
    kv.add_vectors(["c", "a"], np.ones((2, 2)), extras={"rank": np.array([9, 8])}, replace=True)
    assert kv.expandos["rank"].tolist() == [8, 0, 9]
    with pytest.raises(ValueError, match=r"extras\['rank'\] must be \[N=1\], got \(2,\)"):
        kv.add_vectors(["d"], np.ones((1, 2)), extras={"rank": [1, 2]})


def test_factors_of_training_go_with_their_words():
    kv = KeyedVectors(["a", "b", "c"], np.eye(3), counts=[1, 2, 3])
    assert kv.vectors_lockf.tolist() == [1] and kv.vectors_lockf.dtype == np.float32
    kv.vectors_lockf = [0, 0.5, 1]
    kv.add_vectors(["d"], np.ones((1, 3)), extras={"count": [9]})
    assert kv.vectors_lockf.tolist() == [0, 0.5, 1, 1]
    kv.sort_by_descending_frequency()
    assert (kv.index_to_key, kv.vectors_lockf.tolist()) == (["d", "c", "b", "a"], [1, 1, 0.5, 0])
    kv.index_to_key = ["d", "c"]
    kv.vectors = kv.vectors[:2]
    kv.resize_vectors()
    assert kv.vectors_lockf.tolist() == [1, 1]
    for wrong in ([1, 2, 3], [-1], [math.nan]):
        with pytest.raises(ValueError, match=r"vectors_lockf must be"):
            kv.vectors_lockf = wrong


def test_queries_of_another_size_are_refused(random_vectors):
    kv = random_vectors(5, 3)
    for wrong in (np.ones(4), np.ones(1), np.float32(1)):
        for call in (
            lambda v: kv.most_similar([v]),
            lambda v: kv.most_similar_cosmul([v]),
            lambda v: kv.similar_by_vector(v),
            lambda v: kv.get_mean_vector([v]),
            lambda v: kv.distances(v),
        ):
            with pytest.raises(ValueError, match=r"a vector must be \[D=3\], got \("):
                call(np.asarray(wrong))
    with pytest.raises(ValueError, match=r"vector_1 must be \[D\] and vectors_all \[N, D\]"):
        KeyedVectors.cosine_similarities(np.ones(4), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"vectors must be \[V=5, D\]"):
        kv.vectors = np.ones((4, 3))


def test_rows_of_nan_come_last(random_vectors):
    kv = random_vectors(6, 3)
    kv.vectors[[1, 4]] = np.nan
    kv.norms = None
    found = kv.most_similar("w0", topn=9)
    assert len(found) == 5 and [word for word, _ in found][-2:] == ["w1", "w4"]
    assert np.isnan([cosine for _, cosine in found]).tolist() == [False] * 3 + [True] * 2
    assert {word for word, _ in kv.most_similar("w0", topn=3)} == {"w2", "w3", "w5"}
    assert math.isnan(kv.similarity("w0", "w1"))
    assert not {"w1", "w4"} & set(kv.closer_than("w0", found[2][0]))


def test_constructors_that_make_no_sense():
    with pytest.raises(TypeError, match="vector_size is of a table without words"):
        KeyedVectors(["a"], np.eye(1), vector_size=1)
    with pytest.raises(TypeError, match="count is of rows without words"):
        KeyedVectors(["a"], np.eye(1), count=1)
    with pytest.raises(ValueError, match="vector_size must be >= 1, got 0"):
        KeyedVectors(0)
    with pytest.raises(ValueError, match="dtype must be float32 or float16 or float64, got 'int8'"):
        KeyedVectors(3, dtype="int8")


def test_float64_is_kept(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("2 2\na 0.1234567890123456 1\n\nb -3e-5 1e39\n".replace("1e39", "7"))
    kv = KeyedVectors.load_word2vec_format(path, datatype=np.float64)
    np.testing.assert_array_equal(kv.vectors, [[0.1234567890123456, 1], [-3e-5, 7]])
    headless = tmp_path / "h.txt"
    headless.write_text("a 0.1234567890123456 1\nb -3e-5 7\n")
    again = KeyedVectors.load_word2vec_format(
        headless, datatype=np.float64, no_header=True, limit=1
    )
    np.testing.assert_array_equal(again.vectors, kv.vectors[:1])
    kv.add_vectors(["c"], [[1 / 3, 2]])
    kv.vectors = kv.vectors * 2
    assert kv.vectors.dtype == np.float64 and kv["c"][0] == 2 / 3
    assert kv.similarity("a", "a") == 1.0
    kv.save(tmp_path / "v.kv")
    assert KeyedVectors.load(tmp_path / "v.kv").vectors.dtype == np.float32
    with pytest.raises(NotImplementedError, match="no_header is of text files"):
        KeyedVectors.load_word2vec_format(path, binary=True, no_header=True)


def test_a_subclass_may_infer_vectors():
    """As gensim's FastText vectors do."""

    class Inferring(KeyedVectors):
        def __contains__(self, key):
            return True

        def get_vector(self, key, norm=False):
            return super().get_vector(key, norm) if self.has_index_for(key) else np.full(2, 0.5)

    kv = Inferring(["a", "b"], np.eye(2), counts=[3, 1])
    some = kv.vectors_for_all(["b", "new"], copy_vecattrs=True)
    assert some.index_to_key == ["b", "new"] and some["new"].tolist() == [0.5, 0.5]
    assert some.expandos["count"].tolist() == [1, 0]
    assert kv.vectors_for_all(["b", "new"], allow_inference=False).index_to_key == ["b"]
    empty = kv.vectors_for_all([])
    assert empty.vectors.shape == (0, 2)


def test_cosines_agree_to_the_last_bit(random_vectors):
    kv = random_vectors(40, 9)
    for one, other in np.random.default_rng(1).integers(0, 40, (50, 2)):
        assert kv.n_similarity([one], [other]) == kv.similarity(one, other)
        assert kv.distance(one, one) == 0


def test_moved():
    assert moved(np.array([5, 6, 7]), np.array([2, -1, 0])).tolist() == [7, 0, 5]
    assert moved(np.array(["a", "b"], object), np.array([-1, 1])).tolist() == [0, "b"]


# -- Word Mover's Distance


def test_word_movers_distance_needs_pot(random_vectors, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ot", None)
    with pytest.raises(ImportError, match=r"needs the optimal transport of POT: pip install"):
        random_vectors(3, 2).wmdistance(["w0"], ["w1"])


def test_word_movers_distance_is_gensims(both):
    pytest.importorskip("ot")
    rng = np.random.default_rng(5)
    words = [*both[0].index_to_key[:40], "nowhere"]
    for norm in (True, False):
        for _ in range(5):
            documents = [list(rng.choice(words, size)) for size in rng.integers(1, 12, 2)]
            ours, theirs = (kv.wmdistance(*documents, norm=norm) for kv in both)
            assert ours == pytest.approx(theirs, abs=1e-6)
    assert both[0].wmdistance([A, B], ["nowhere"]) == math.inf
    assert both[0].wmdistance([A, A], [A]) == 0
    with pytest.raises(TypeError, match="document1 must be a list of words, got 'a b'"):
        both[0].wmdistance("a b", [A])
