"""KeyedVectors: lookup and similarity, by definition and against gensim."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lexforge
from lexforge.vectors import KeyedVectors, knn, load_vectors
from lexforge.vectors.formats import files as kv_files
from lexforge.vectors.similarity import close_spellings, top_k


@pytest.fixture
def oracle(kv):
    pytest.importorskip("gensim")
    return kv.to_gensim()


def assert_same_neighbours(ours, theirs):
    assert [word for word, _ in ours] == [word for word, _ in theirs]
    np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], atol=1e-6)


def test_lookup_by_word_row_and_list(kv):
    np.testing.assert_array_equal(kv["w5"], kv.vectors[5])
    np.testing.assert_array_equal(kv[5], kv.vectors[5])
    np.testing.assert_array_equal(kv[["w5", 0, "w96"]], kv.vectors[[5, 0, 96]])
    assert len(kv) == 97 and kv.vector_size == 13
    assert "w96" in kv and 96 in kv and "w97" not in kv and 97 not in kv and -1 not in kv
    assert kv.get_index("w3") == 3 and kv.get_index("nowhere", -1) == -1


def test_unknown_words_are_named(kv):
    for call in (
        lambda: kv["nowhere"],
        lambda: kv[["w1", "nowhere"]],
        lambda: kv.most_similar("nowhere"),
        lambda: kv.similarity("w1", "nowhere"),
        lambda: kv.analogy("w1", "w2", "nowhere"),
    ):
        with pytest.raises(KeyError, match="key 'nowhere' not present"):
            call()
    with pytest.raises(KeyError, match="97"):
        kv[97]


def test_a_vector_handed_out_cannot_be_changed(kv):
    with pytest.raises(ValueError, match="read-only"):
        kv["w1"][0] = 1.0


def test_norms_follow_changes(kv):
    np.testing.assert_allclose(np.linalg.norm(kv.get_normed_vectors(), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(kv.get_vector("w1", norm=True)), 1, atol=1e-6)
    before = kv.norms.copy()
    kv.vectors[:] *= 2
    np.testing.assert_array_equal(kv.norms, before)  # nobody looks into the matrix
    kv.fill_norms(force=True)
    np.testing.assert_allclose(kv.norms, 2 * before, rtol=1e-6)
    kv.vectors *= 2  # an assignment
    np.testing.assert_allclose(kv.norms, 4 * before, rtol=1e-6)


@pytest.mark.parametrize(
    ("words", "vectors", "counts", "message"),
    [
        (["a", "b", "a"], np.zeros((3, 2)), None, "words must be different, got 'a' twice"),
        (["a", "b"], np.zeros((3, 2)), None, r"vectors must be \[V=2, D\] for 2 words, got \(3, 2"),
        (["a"], np.zeros(3), None, r"vectors must be \[V, D\] with D >= 1, got \(3,\)"),
        (["a"], np.zeros((1, 0)), None, r"vectors must be \[V, D\] with D >= 1, got \(1, 0\)"),
        (["a"], np.zeros((1, 3)), [1, 2], r"counts must be \[V=1\], got \(2,\)"),
        (["a"], np.zeros((1, 3)), [-1], "counts must be whole numbers of 0 to 2.63 - 1, got -1"),
        (["a"], np.zeros((1, 3)), [1.5], "counts must be whole numbers of .*, got 1.5"),
        (["a"], np.zeros((1, 3)), [np.nan], "counts must be whole numbers of .*, got nan"),
        (["a"], np.zeros((1, 3)), [2**63], "counts must be whole numbers of .*, got 9223372036"),
        (["a"], np.zeros((1, 3)), [2**64], "counts must be whole numbers of .*, got 1844674407"),
        (["a"], np.zeros((1, 3)), [1e19], r"counts must be whole numbers of .*, got 1e\+19"),
        (
            *(["a", "b"], np.zeros((2, 3)), [2**62, 2**62]),
            r"counts must add up to <= 2\^63 - 1, got 9.223e\+18",
        ),
    ],
)
def test_what_does_not_fit_is_refused(words, vectors, counts, message):
    with pytest.raises(ValueError, match=message):
        KeyedVectors(words, vectors, counts)


@pytest.mark.parametrize("counts", [[3, 2**62], [3.0, 2.0**62], np.uint64([3, 2**62])])
def test_counts_are_whole_numbers(counts):
    found = KeyedVectors(["a", "b"], np.zeros((2, 3)), counts).expandos["count"]
    assert found.dtype == np.int64 and found.tolist() == [3, 2**62]


@pytest.mark.parametrize("suffix", ["npy", "safetensors", "tsv", "txt"])
@pytest.mark.parametrize("count", [-1, 1.5])
def test_counts_that_are_none_are_not_saved(tmp_path, suffix, count):
    """They would be read as parts of words."""
    kv = KeyedVectors(["a", "b"], np.zeros((2, 3)))
    kv.set_vecattr("a", "count", count)
    with pytest.raises(ValueError, match=f"counts must be whole numbers of .*, got {count}"):
        kv_files.save_vectors(kv, tmp_path / f"v.{suffix}")
    assert not list(tmp_path.iterdir())


def test_the_matrix_is_not_copied():
    matrix = np.zeros((3, 4), dtype=np.float32)
    assert KeyedVectors(["a", "b", "c"], matrix).vectors is matrix
    tensor = torch.zeros(3, 4)
    KeyedVectors(["a", "b", "c"], tensor).vectors[1, 2] = 7
    assert tensor[1, 2] == 7
    half = KeyedVectors(["a", "b", "c"], torch.ones(3, 4, dtype=torch.bfloat16))
    assert half.vectors.dtype == np.float32


@pytest.mark.interop
def test_most_similar_equals_gensim(kv, oracle):
    cases = [
        dict(positive="w1"),
        dict(positive=["w1", "w2"], negative=["w3"], topn=20),
        dict(positive=["w1", ("w2", 0.25)], negative=[("w3", -2.0)]),
        dict(positive=["w1"], restrict_vocab=30),
        dict(positive=["w50"], restrict_vocab=30),
        dict(positive=["w1", "w30"], clip_start=20, clip_end=60),
        dict(positive=[kv.vectors[7], "w8"], negative=kv.vectors[9]),
        dict(negative="w1", topn=3),
        dict(positive=[4, 5]),
        dict(positive="w1", topn=0),
        dict(positive="w1", topn=1000),
    ]
    for case in cases:
        assert_same_neighbours(kv.most_similar(**case), oracle.most_similar(**case))
    np.testing.assert_allclose(
        kv.most_similar("w1", topn=None), oracle.most_similar("w1", topn=None), atol=1e-6
    )
    assert_same_neighbours(kv.similar_by_word("w4"), oracle.similar_by_word("w4"))
    vector = kv.vectors[4] * 3
    assert_same_neighbours(kv.similar_by_vector(vector), oracle.similar_by_vector(vector))
    assert_same_neighbours(
        kv.analogy("w1", "w2", "w3", topn=5), oracle.most_similar(["w2", "w3"], ["w1"], topn=5)
    )


@pytest.mark.interop
def test_cosmul_equals_gensim(kv, oracle):
    for case in (dict(positive="w1"), dict(positive=["w1", "w2"], negative=["w3"], topn=50)):
        assert_same_neighbours(kv.most_similar_cosmul(**case), oracle.most_similar_cosmul(**case))


@pytest.mark.interop
def test_scalar_measures_equal_gensim(kv, oracle):
    lists = ["w1", "w2"], ["w3", "w4", "w5"]
    pairs = [
        (kv.similarity("w1", "w2"), oracle.similarity("w1", "w2")),
        (kv.distance("w1", "w2"), oracle.distance("w1", "w2")),
        (kv.n_similarity(*lists), oracle.n_similarity(*lists)),
        (kv.distances("w1"), oracle.distances("w1")),
        (kv.distances("w1", ["w2", "w9"]), oracle.distances("w1", ["w2", "w9"])),
        (kv.distances(kv.vectors[3]), oracle.distances(kv.vectors[3])),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for options in (dict(), dict(pre_normalize=False), dict(post_normalize=True)):
        keys = ["w1", kv.vectors[2], 3, "nowhere"]
        np.testing.assert_allclose(
            kv.get_mean_vector(keys, [1, -2, 0.5, 9], **options),
            oracle.get_mean_vector(keys, [1, -2, 0.5, 9], **options),
            atol=1e-6,
        )
    words = [f"w{i}" for i in range(10)]
    assert kv.doesnt_match(words) == oracle.doesnt_match(words)
    ranked, expected = kv.rank_by_centrality(words), oracle.rank_by_centrality(words)
    assert_same_neighbours([r[::-1] for r in ranked], [r[::-1] for r in expected])
    assert kv.rank("w1", "w2") == oracle.rank("w1", "w2")
    assert kv.closer_than("w1", "w2") == oracle.closer_than("w1", "w2")
    assert kv.most_similar_to_given("w1", words[2:]) == oracle.most_similar_to_given(
        "w1", words[2:]
    )


def test_empty_input_is_refused(kv):
    with pytest.raises(ValueError, match="must hold a key, got none"):
        kv.most_similar()
    with pytest.raises(ValueError, match="positive must hold a key"):
        kv.most_similar_cosmul(negative="w1")
    with pytest.raises(ZeroDivisionError):
        kv.n_similarity([], ["w1"])
    with pytest.raises(KeyError, match="nowhere"):
        kv.n_similarity(["nowhere"], ["w1"])
    with pytest.warns(UserWarning, match="nowhere"), pytest.raises(ValueError, match="known word"):
        kv.doesnt_match(["nowhere"])
    with pytest.raises(ValueError, match=r"weights must be \[N=1\], got \(2,\)"):
        kv.get_mean_vector(["w1"], [1, 2])


def test_zero_and_duplicate_vectors():
    """Queries are excluded by row: a duplicate of the query is its nearest neighbour."""
    kv = KeyedVectors(["zero", "a", "twin", "b"], [[0, 0], [1, 2], [1, 2], [2, -1]])
    assert kv.most_similar("a", topn=2) == [("twin", pytest.approx(1.0)), ("zero", 0.0)]
    assert kv.similarity("zero", "a") == 0.0
    assert [score for _, score in kv.most_similar("zero")] == [0.0, 0.0, 0.0]
    assert [word for word, _ in kv.most_similar("zero")] == ["a", "twin", "b"]


def test_half_precision_matrices(kv):
    half = KeyedVectors(kv.index_to_key, kv.vectors.astype(np.float16))
    assert half.vectors.dtype == np.float16
    for (_, ours), (_, theirs) in zip(half.most_similar("w1"), kv.most_similar("w1"), strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3)
    assert half.get_vector("w1", norm=True).dtype == np.float32


def test_attributes(kv):
    assert kv.get_vecattr("w0", "count") == 97
    kv.set_vecattr("w1", "note", "a long remark")
    kv.set_vecattr("w2", "note", "a much longer remark than the first")
    assert kv.get_vecattr("w2", "note") == "a much longer remark than the first"
    with pytest.raises(KeyError, match="'weight' not present"):
        kv.get_vecattr("w1", "weight")


def test_adding_vectors(kv):
    before = kv.similarity("w1", "w2")
    kv.add_vectors(["new", "w1"], np.ones((2, 13)), extras={"count": [5, 6]})
    assert len(kv) == 98 and kv.get_vecattr("new", "count") == 5 and kv.get_vecattr("w0", "count")
    assert kv.similarity("w1", "w2") == before  # known words keep their vector
    kv["w1"] = np.ones(13)
    assert kv.similarity("w1", "new") == pytest.approx(1.0)
    assert kv.add_vector("one", np.zeros(13)) == 98
    assert kv.get_vecattr("one", "count") == 0
    with pytest.raises(ValueError, match=r"weights must be \[N=1, D=13\], got \(1, 4\)"):
        kv.add_vectors("short", np.ones(4))
    with pytest.raises(ValueError, match="keys must be different"):
        kv.add_vectors(["x", "x"], np.ones((2, 13)))


@pytest.mark.interop
def test_gensim_both_ways(kv, oracle):
    assert oracle.vectors is kv.vectors
    assert oracle.get_vecattr("w3", "count") == kv.get_vecattr("w3", "count")
    oracle.add_vector("extra", np.ones(13, dtype=np.float32))  # its side stays usable
    assert len(oracle) == 98 and len(kv) == 97
    back = KeyedVectors.from_gensim(oracle)
    assert back.index_to_key == oracle.index_to_key and back.vectors is oracle.vectors
    assert back.get_vecattr("w0", "count") == 97


def test_embedding_layer(kv):
    frozen = kv.to_embedding()
    assert not frozen.weight.requires_grad
    assert frozen.weight.data_ptr() == kv.vectors.ctypes.data
    np.testing.assert_array_equal(frozen(torch.tensor([3, 1])).numpy(), kv.vectors[[3, 1]])
    assert isinstance(frozen, lexforge.nn.Embedding)
    trained = kv.to_embedding(freeze=False, padding_idx=0)
    assert trained.weight.requires_grad and trained.padding_idx == 0
    assert trained.weight.data_ptr() != kv.vectors.ctypes.data


def test_top_k_orders_ties_by_row():
    scores = np.array([1, 3, 2, 3, np.nan, 2, 3], dtype=np.float32)
    assert top_k(scores, 5).tolist() == [1, 3, 6, 2, 5]
    assert top_k(scores, 2).tolist() == [1, 3]
    assert top_k(scores, 100).tolist() == [1, 3, 6, 2, 5, 0, 4]
    assert top_k(scores, 0).tolist() == [] and top_k(scores[:0], 3).tolist() == []


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_knn(kv, kind):
    matrix = kv.vectors.copy()
    matrix[5] = 0
    cosine = (
        matrix
        @ matrix[7]
        / np.maximum(np.linalg.norm(matrix, axis=1) * np.linalg.norm(matrix[7]), 1e-12)
    )
    expected = [row for row in np.argsort(-cosine) if row not in (7, 9)][:6]
    rows, scores = knn(kind(matrix), kind(matrix[7]), 6, exclude=[7, 9])
    assert rows.tolist() == expected
    np.testing.assert_allclose(scores, cosine[expected], atol=1e-6)
    assert len(knn(kind(matrix), kind(matrix[7]), 1000)[0]) == 97
    _, zeros = knn(kind(matrix), kind(matrix[5]), 3)
    assert zeros.tolist() == [0, 0, 0]


def test_knn_of_many_queries(kv):
    queries = kv.vectors[:5]
    rows, scores = knn(kv.vectors, queries, 4, exclude=[[0], [], [2, 7], [3], [4, 1000]])
    assert rows.shape == scores.shape == (5, 4)
    for q, exclude in enumerate(([0], [], [2, 7], [3], [4])):
        one_rows, one_scores = knn(kv.vectors, queries[q], 4, exclude)
        assert rows[q].tolist() == one_rows.tolist()
        assert scores[q].tolist() == one_scores.tolist()
    rows, scores = knn(kv.vectors[:3], queries, 9, exclude=[[0, 1]] * 5)
    assert rows.tolist() == [[2, -1, -1]] * 5
    assert (scores[:, 1:] == -np.inf).all()
    assert knn(kv.vectors, queries[:0], 4)[0].shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_knn_reads_tensors_of_all_floats(kv, dtype):
    weight = torch.nn.Parameter(torch.from_numpy(kv.vectors).to(dtype))
    rows, scores = knn(weight, weight[7], 5)
    expected_rows, expected = knn(weight.detach().float().numpy(), weight[7], 5)
    assert rows.tolist() == expected_rows.tolist() and rows[0] == 7
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_knn_of_arrays_that_torch_does_not_take(kv, recwarn):
    """Read-only, of another byte order, backwards."""
    fixed = kv.vectors.copy()
    fixed.flags.writeable = False
    expected = knn(kv.vectors, kv.vectors[7], 5)
    for matrix in (
        fixed,
        kv.vectors.astype(">f4"),
        kv.vectors[:, ::-1],
        kv.vectors[:, ::-1].copy(),
    ):
        query = matrix[7]
        for found, wanted in zip(knn(matrix, query, 5), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert not recwarn.list


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_most_similar_batch(kv, dtype):
    kv = KeyedVectors(kv.index_to_key, kv.vectors.astype(dtype))
    word = kv.index_to_key[3]
    for options in (
        {},
        {"topn": 3},
        {"restrict_vocab": 20},
        {"clip_start": 10, "clip_end": 30},
        {"clip_start": -5},
        {"topn": 200},
    ):
        keys = [word, 5, np.arange(13.0), word]
        answers = kv.most_similar_batch(keys, **options)
        assert answers == [kv.most_similar([key], **options) for key in keys]
    assert kv.most_similar_batch(kv.vectors[:2], topn=1) == [
        [(kv.index_to_key[row], pytest.approx(1, abs=1e-6))] for row in (0, 1)
    ]
    assert kv.most_similar_batch(word) == [kv.most_similar(word)]
    assert kv.most_similar_batch([]) == [] and kv.most_similar_batch([word], topn=0) == [[]]
    with pytest.raises(KeyError, match="'nonsense' not present"):
        kv.most_similar_batch([word, "nonsense"])


def test_knn_refuses_wrong_shapes(kv):
    with pytest.raises(ValueError, match=r"query must be \[D=13\] or \[Q, D=13\], got \(4,\)"):
        knn(kv.vectors, np.ones(4), 3)
    with pytest.raises(ValueError, match=r"query must be .*, got \(1, 2, 13\)"):
        knn(kv.vectors, np.ones((1, 2, 13)), 3)
    with pytest.raises(ValueError, match="exclude must be 2 lists, one for each query"):
        knn(kv.vectors, np.ones((2, 13)), 3, exclude=[[1]])
    with pytest.raises(ValueError, match=r"must be a range within \[0, 97\], got \[3, 98\)"):
        knn(kv.vectors, np.ones(13), 3, first=3, last=98)
    with pytest.raises(ValueError, match=r"matrix must be \[V, D\], got \(13,\)"):
        knn(np.ones(13), np.ones(13), 3)
    with pytest.raises(ValueError, match="k must be >= 0, got -1"):
        knn(kv.vectors, np.ones(13), -1)


def test_close_spellings():
    words = ["Beijing", "being", "begin", "berlin", "paris"]
    assert close_spellings("beijng", words)[0] == "Beijing"
    assert close_spellings("PARIS", words) == ["paris"]
    assert close_spellings("qqq", words) == []


@pytest.mark.real_data
def test_neighbours_of_the_reference_text(data_folder):
    """The figures printed for 50-d GloVe, as far as its first 2,445 words reach."""
    kv = load_vectors(data_folder / "formats/glove.6B.50d.head.txt")
    assert kv.similarity("baby", "boy") == pytest.approx(0.800, abs=5e-4)
    assert kv.similarity("baby", "girl") == pytest.approx(0.792, abs=5e-4)
    assert kv.analogy("man", "woman", "son")[0][0] == "daughter"
    assert kv.analogy("beijing", "china", "tokyo")[0][0] == "japan"
    assert kv.analogy("bad", "worst", "big")[0][0] == "biggest"
    assert kv.analogy("do", "did", "go")[0][0] == "went"


def test_vectors_of_a_size_without_words_yet():
    kv = KeyedVectors(3)
    assert (len(kv), kv.vector_size) == (0, 3)
    kv.add_vectors(["tea", "cup"], np.eye(2, 3))
    kv["pot"] = np.ones(3)
    assert kv.most_similar("tea", topn=1)[0][0] == "pot"
    with pytest.raises(TypeError, match="give words and their vectors"):
        KeyedVectors(["tea"])


def letters() -> KeyedVectors:
    words = ["cat", "dog", "c", "a", "t", "d", "o", "g"]
    return KeyedVectors(words, np.random.default_rng(0).normal(size=(8, 4)))


def test_a_word_where_a_list_belongs_is_a_list_of_one():
    """Its letters were taken for words, which they are in real vocabularies."""
    kv = letters()
    assert kv.n_similarity("cat", "dog") == kv.similarity("cat", "dog")
    assert kv.n_similarity("cat", ["dog", "a"]) == kv.n_similarity(["cat"], ["dog", "a"])
    np.testing.assert_array_equal(kv.get_mean_vector("cat"), kv.get_mean_vector(["cat"]))
    np.testing.assert_array_equal(kv.distances("cat", "dog"), kv.distances("cat", ["dog"]))
    assert kv.most_similar_to_given("cat", "dog") == "dog"
    assert kv.vectors_for_all("cat").index_to_key == ["cat"]
    for outlier in (kv.doesnt_match, kv.rank_by_centrality):
        with pytest.raises(TypeError, match=r"must be a list of words, got 'cat dog'"):
            outlier("cat dog")


def test_a_word_and_its_weight_may_be_a_list():
    kv = letters()
    pair = kv.most_similar([("cat", 0.5), ("dog", 2.0)])
    assert kv.most_similar([["cat", 0.5], ["dog", 2.0]]) == pair  # as JSON has it


@pytest.mark.interop
def test_further_methods_are_those_of_gensim(tmp_path):
    gensim = pytest.importorskip("gensim.models")
    kv = letters()
    kv.expandos["count"] = np.array([1, 5, 5, 2, 9, 2, 1, 3])
    theirs = kv.to_gensim()
    ours_all, theirs_all = (x.vectors_for_all(["dog", "no", "cat", "dog"]) for x in (kv, theirs))
    assert ours_all.index_to_key == theirs_all.index_to_key
    np.testing.assert_array_equal(ours_all.vectors, theirs_all.vectors)
    relative = [x.relative_cosine_similarity("cat", "dog", 3) for x in (kv, theirs)]
    assert relative[0] == pytest.approx(relative[1], abs=1e-6)
    assert [kv.similar_by_word(word="cat", topn=2)[0][0]] == [theirs.similar_by_word("cat")[0][0]]
    theirs.sort_by_descending_frequency()
    kv.sort_by_descending_frequency()
    assert kv.index_to_key == theirs.index_to_key
    np.testing.assert_array_equal(kv.vectors, theirs.vectors)
    other = gensim.KeyedVectors(4)
    other.add_vectors(["dog", "cow"], np.ones((2, 4), dtype=np.float32))
    other.save_word2vec_format(str(tmp_path / "other.txt"))
    theirs.vectors_lockf = np.ones(8, dtype=np.float32)
    theirs.intersect_word2vec_format(str(tmp_path / "other.txt"), lockf=0.25)
    assert kv.intersect_word2vec_format(tmp_path / "other.txt", lockf=0.25) == 1
    np.testing.assert_array_equal(kv["dog"], np.ones(4))
    np.testing.assert_array_equal(kv.vectors_lockf, theirs.vectors_lockf)
    kv.intersect_word2vec_format(tmp_path / "other.txt")
    assert kv.vectors_lockf[kv.get_index("dog")] == 0 and kv.vectors_lockf.sum() == 7
    with pytest.raises(ValueError, match="lockf must be finite and >= 0, got -1"):
        kv.intersect_word2vec_format(tmp_path / "other.txt", lockf=-1)
    kv.unit_normalize_all()
    np.testing.assert_allclose(kv.norms, 1, atol=1e-6)
