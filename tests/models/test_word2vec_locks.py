"""Words of a Word2Vec whose vectors training changes less, or not at all."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import lexforge
from lexforge import KeyedVectors, Word2Vec

SENTENCES = [["sun", "moon", "sea"], ["sun", "moon", "land"], ["sea", "land", "sun"]] * 40
SMALL = {"vector_size": 12, "min_count": 1, "workers": 1, "device": "cpu"}
MODELS = [
    {"sg": 1},
    {"sg": 0},
    {"sg": 1, "hs": 1, "negative": 0},
    {"sg": 0, "hs": 1},
    {"sg": 1, "deterministic": True, "workers": 2},
    {"sg": 1, "precision": "bf16"},
]


@pytest.fixture
def start():
    vectors = np.random.default_rng(3).normal(size=(2, 12)).astype(np.float32)
    return KeyedVectors(["moon", "land"], vectors)


@pytest.mark.parametrize("options", MODELS, ids=str)
def test_locked_words_keep_their_bits(options):
    model = Word2Vec(**{**SMALL, **options})
    model.build_vocab(SENTENCES)
    before = model.wv.vectors.copy()
    model.wv.vectors_lockf = [0, 1, 0.5, 0]
    model.train(SENTENCES)
    changed = (model.wv.vectors != before).any(axis=1)
    assert changed.tolist() == [False, True, True, False]


def test_one_factor_holds_for_all_words():
    model = Word2Vec(**SMALL)
    model.build_vocab(SENTENCES)
    before = model.wv.vectors.copy()
    model.wv.vectors_lockf = 0
    model.train(SENTENCES)
    assert model.wv.vectors.tobytes() == before.tobytes()
    assert (model.syn1neg != 0).any()


def test_factors_of_one_change_nothing():
    plain, ones = (Word2Vec(**SMALL) for _ in range(2))
    for model in (plain, ones):
        model.build_vocab(SENTENCES)
    ones.wv.vectors_lockf = np.ones(4)
    for model in (plain, ones):
        model.train(SENTENCES)
    assert plain.wv.vectors.tobytes() == ones.wv.vectors.tobytes()


def test_vectors_to_start_from_may_stay(start):
    model = Word2Vec(SENTENCES, init=start, init_lockf=0, **SMALL)
    assert model.initialised == 2
    for word in start.index_to_key:
        assert model.wv[word].tobytes() == start[word].tobytes()
    free = Word2Vec(SENTENCES, init=start, **SMALL)
    assert (free.wv["moon"] != start["moon"]).any()
    for wrong in (-1, float("nan"), "no"):
        with pytest.raises((TypeError, ValueError), match="init_lockf must be"):
            Word2Vec(init=start, init_lockf=wrong, **SMALL)


def test_a_file_of_vectors_may_stay(start, tmp_path):
    start.save_word2vec_format(tmp_path / "v.bin", binary=True)
    model = Word2Vec(**SMALL)
    model.build_vocab(SENTENCES)
    assert model.wv.intersect_word2vec_format(tmp_path / "v.bin", binary=True) == 2
    model.train(SENTENCES)
    assert model.wv["moon"].tobytes() == start["moon"].tobytes()


def test_locks_are_kept(tmp_path):
    """In a checkpoint, in copies and pickles, in gensim's model, and when words are added."""
    model = Word2Vec(**SMALL)
    model.build_vocab(SENTENCES)
    model.wv.vectors_lockf = [1, 0, 1, 1]
    locked = model.wv.index_to_key[1]
    model.save(tmp_path / "m")
    others = {
        "loaded": Word2Vec.load(tmp_path / "m"),
        "copy": copy.deepcopy(model),
        "pickle": pickle.loads(pickle.dumps(model)),
        "gensim": Word2Vec.from_gensim(model.to_gensim()),
    }
    for name, other in others.items():
        assert other.wv.vectors_lockf[other.wv.key_to_index[locked]] == 0, name
        assert sorted(other.wv.vectors_lockf) == [0, 1, 1, 1], name
    model.build_vocab([["star"] * 500], update=True)
    assert model.wv.vectors_lockf.tolist() == [
        float(word != locked) for word in model.wv.index_to_key
    ]


class AfterOneEpoch:
    """A request to stop, made by a callback."""

    requested = False

    def on_epoch_end(self, model):
        self.requested = True


def test_a_resumed_run_goes_on_with_its_locks(tmp_path):
    corpus = tmp_path / "text.txt"
    corpus.write_text("\n".join(" ".join(sentence) for sentence in SENTENCES))

    def run(folder, stop=None):
        model = Word2Vec(epochs=4, **SMALL)
        model.build_vocab(corpus_file=corpus)
        model.wv.vectors_lockf = np.arange(len(model.wv)) % 3 / 2
        callbacks = [stop] if stop else []
        model.train(corpus_file=corpus, checkpoint_folder=folder, stop=stop, callbacks=callbacks)
        return model

    whole, part = run(tmp_path / "whole"), run(tmp_path / "part", AfterOneEpoch())
    assert not part.state.finished
    resumed = Word2Vec.load(tmp_path / "part", workers=1, device="cpu")
    resumed.train(corpus_file=corpus, resume=True)
    assert resumed.wv.vectors.tobytes() == whole.wv.vectors.tobytes()


class LockAfterOneEpoch:
    """A callback that locks all words."""

    def on_epoch_end(self, model):
        model.wv.vectors_lockf = 0
        self.vectors = getattr(self, "vectors", model.wv.vectors.copy())


@pytest.mark.parametrize("options", [{}, {"deterministic": True}], ids=str)
def test_locks_of_a_callback_hold_from_then_on(options):
    lock = LockAfterOneEpoch()
    model = Word2Vec(SENTENCES, epochs=4, callbacks=[lock], **SMALL, **options)
    assert model.wv.vectors.tobytes() == lock.vectors.tobytes()


def test_counts_of_vectors_are_not_the_vocabulary():
    model = Word2Vec(SENTENCES, **SMALL)
    model.wv.set_vecattr("moon", "count", 10_000)
    assert model.vocabulary.counts.max() < 10_000


def test_vectors_that_are_computed_have_no_locks():
    model = lexforge.GloVe(SENTENCES, vector_size=4, epochs=1, min_count=1, device="cpu")
    with pytest.raises(ValueError, match=r"wv is .*, and cannot be set"):
        model.wv.vectors_lockf = 0
