"""A model and its ``wv`` are the same numbers, however either came to be and is changed."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch

from lexforge import GloVe, KeyedVectors, Word2Vec, cooccurrence

SENTENCES = [["tea", "cup"], ["milk", "cup"], ["tea", "pot"]] * 200


def torch_copy(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "torch": torch_copy,
}


@pytest.fixture
def word2vec():
    return Word2Vec(SENTENCES, vector_size=8, min_count=1, workers=1, device="cpu")


@pytest.fixture
def glove():
    return GloVe(SENTENCES, vector_size=8, min_count=1, epochs=3, workers=1)


def train(model):
    if isinstance(model, Word2Vec):
        model.train(SENTENCES, total_examples=len(SENTENCES), epochs=5)
    else:
        model.train(SENTENCES, epochs=5)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", ["word2vec", "glove"])
def test_a_copy_shows_trains_and_saves_its_own_numbers(kind, way, request, tmp_path):
    """What was trained and saved was another memory than what was shown."""
    model = request.getfixturevalue(kind)
    kept = model.wv.vectors.copy()
    twin = COPIES[way](model)
    np.testing.assert_array_equal(twin.wv.vectors, kept)
    train(twin)
    assert not np.array_equal(twin.wv["cup"], kept[model.wv.get_index("cup")])
    np.testing.assert_array_equal(model.wv.vectors, kept)  # the other is left alone
    twin.save(tmp_path / "m")
    saved = type(twin).load(tmp_path / "m")
    np.testing.assert_array_equal(saved.wv.vectors, twin.wv.vectors)
    twin.wv.save_word2vec_format(tmp_path / "v.bin", binary=True)
    shown = KeyedVectors.load_word2vec_format(tmp_path / "v.bin", binary=True)
    np.testing.assert_array_equal(shown.vectors, saved.wv.vectors)
    train(model)  # both go on in the same way
    np.testing.assert_array_equal(model.wv.vectors, twin.wv.vectors)


def test_a_copy_of_wv_belongs_to_no_model(word2vec):
    for way in COPIES.values():
        free = way(word2vec.wv)
        assert type(free) is KeyedVectors
        free["new"] = np.ones(8)
        free.vectors[:] = 0
        assert "new" not in word2vec.wv
        assert word2vec.wv.vectors.any()


def test_vectors_that_are_set_are_trained_and_saved(word2vec, tmp_path):
    pretrained = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    word2vec.wv.vectors = pretrained
    word2vec.wv["cup"] = np.full(8, 0.5)
    word2vec.save(tmp_path / "m")
    saved = Word2Vec.load(tmp_path / "m")
    expected = pretrained.copy()
    expected[word2vec.wv.get_index("cup")] = 0.5
    np.testing.assert_array_equal(saved.wv.vectors, expected)
    np.testing.assert_allclose(word2vec.wv.norms, np.linalg.norm(expected, axis=1), rtol=1e-6)
    for model in (word2vec, saved):
        train(model)
    np.testing.assert_array_equal(saved.wv.vectors, word2vec.wv.vectors)


def test_wv_cannot_come_loose(word2vec, glove):
    with pytest.raises(ValueError, match=r"wv.vectors must be \[4, 8\] .* got \[5, 8\]"):
        word2vec.wv.vectors = np.zeros((5, 8), dtype=np.float32)
    with pytest.raises(ValueError, match=r"'new' is none of them: build_vocab"):
        word2vec.wv["new"] = np.ones(8)
    with pytest.raises(AttributeError, match="wv cannot be replaced"):
        word2vec.wv = KeyedVectors(["a"], [[1.0]])
    with pytest.raises(AttributeError, match="wv cannot be replaced"):
        glove.wv = KeyedVectors(["a"], [[1.0]])
    for change in (
        lambda wv: setattr(wv, "vectors", np.zeros((4, 8))),
        lambda wv: wv.__setitem__("cup", np.ones(8)),
        lambda wv: wv.vectors.fill(1.0),
    ):
        with pytest.raises(ValueError, match=r"cannot be set|read-only"):
            change(glove.wv)


def test_who_holds_wv_goes_on_with_the_model(word2vec):
    wv = word2vec.wv
    wv.set_vecattr("cup", "kind", 7)
    word2vec.build_vocab([["saucer", "cup"]] * 9, update=True)
    assert wv is word2vec.wv
    assert wv.index_to_key[0] == "cup"
    assert "saucer" in wv
    assert wv.get_vecattr("cup", "kind") == 7
    train(word2vec)
    np.testing.assert_array_equal(wv.vectors, word2vec.wv.vectors)


def test_an_update_with_nothing_new_changes_nothing():
    """It was an error."""
    model = Word2Vec([["tea", "cup"]] * 50, vector_size=4, min_count=5, workers=1)
    before = model.wv.vectors.copy()
    model.build_vocab([["tea", "cup"]], update=True)
    model.build_vocab([["rare", "words"]], update=True)
    model.build_vocab_from_freq({"rare": 1}, update=True)
    np.testing.assert_array_equal(model.wv.vectors, before)
    assert model.train([["tea", "cup"]], total_examples=1, epochs=1)[1] == 2


@pytest.mark.parametrize("kind", [Word2Vec, GloVe])
def test_training_starts_from_given_vectors(kind, tmp_path):
    known = KeyedVectors(["cup", "pot", "sky"], np.random.default_rng(2).normal(size=(3, 8)))
    known.save_word2vec_format(tmp_path / "known.txt")
    for init in (known, tmp_path / "known.txt"):
        model = kind(vector_size=8, min_count=1, init=init)
        if kind is Word2Vec:
            model.build_vocab(SENTENCES)
        else:
            model.learning_rate = 0.0
            model.train(SENTENCES, epochs=1)
        assert model.initialised == 2
        np.testing.assert_allclose(model.wv["cup"], known["cup"], rtol=1e-5)
        assert not np.allclose(model.wv["tea"], 0)
    with pytest.raises(ValueError, match=r"init.*4.*8|init.*8"):
        kind(SENTENCES, vector_size=4, min_count=1, init=known)
    with pytest.raises(ValueError, match="none of the words"):
        kind([["no", "such"]] * 9, vector_size=8, min_count=1, init=known)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        kind(vector_size=8, init=tmp_path / "nowhere.txt")


def test_counts_say_that_they_are_a_file():
    counts = cooccurrence(SENTENCES, min_count=1)
    assert copy.deepcopy(counts) is counts
    with pytest.raises(TypeError, match=r"cannot be pickled: use save"):
        pickle.dumps(counts)


@pytest.mark.parametrize("kind", [Word2Vec, GloVe])
def test_copies_before_training_start_from_the_same_vectors(kind):
    """They began at random."""
    known = KeyedVectors(["cup", "pot"], np.random.default_rng(2).normal(size=(2, 8)))
    for way in (COPIES["pickle"], copy.copy, copy.deepcopy):
        model = way(kind(vector_size=8, min_count=1, init=known, epochs=1, device="cpu"))
        if kind is Word2Vec:
            model.build_vocab(SENTENCES)
            np.testing.assert_array_equal(model.wv["cup"], known["cup"])
        else:
            model.train(SENTENCES)
        assert model.initialised == 2


def test_vectors_that_do_not_fit_are_refused_every_time():
    """The second time it trained from random vectors."""
    model = GloVe(vector_size=4, min_count=1, init=KeyedVectors(["cup"], np.ones((1, 8))))
    for _ in range(2):
        with pytest.raises(ValueError, match="init must have vectors of vector_size=4, got 8"):
            model.train(SENTENCES)


def test_new_words_of_an_update_start_from_them_too():
    known = KeyedVectors(["saucer"], np.ones((1, 8)))
    model = Word2Vec(vector_size=8, min_count=1, init=known, device="cpu")
    with pytest.raises(ValueError, match="none of the words"):
        model.build_vocab(SENTENCES)
    model.build_vocab([["saucer", "plate"]] * 9)
    model.init = KeyedVectors(["cup", "plate"], np.full((2, 8), 2.0))
    before = model.wv["plate"].copy()
    model.build_vocab(SENTENCES, update=True)
    np.testing.assert_array_equal(model.wv["cup"], np.full(8, 2.0))
    np.testing.assert_array_equal(model.wv["plate"], before)  # it was there


def test_a_copy_of_a_glove_goes_on_with_the_same_counts(glove):
    for twin in (copy.copy(glove), copy.deepcopy(glove)):
        twin.train(epochs=2)
        assert len(twin.loss_history) == 5
    assert glove.wv.to_gensim().vectors.flags.writeable
