"""FastText: learns from n-grams, resumes to the last bit, and has the rooms of Word2Vec."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import lexforge
from lexforge import FastText, KeyedVectors, Word2Vec, _library, load_vectors
from lexforge.models import fasttext
from lexforge.text.subwords import character_ngrams
from lexforge.training.checkpoint import CheckpointError
from lexforge.vectors.subword_vectors import SubwordVectors
from planted import planted_corpus, synonym_score

pytestmark = pytest.mark.skipif(
    _library.emulated(), reason="end-to-end training takes too long on the emulated device"
)

SMALL = {"vector_size": 12, "min_count": 1, "workers": 1, "epochs": 2, "device": "cpu", "sample": 0}
SENTENCES = [["sunny", "moonlit", "sea"], ["sunny", "moonlit", "land"], ["seas", "land"]] * 30
MODELS = [
    {"sg": 1},
    {"sg": 0},
    {"sg": 1, "hs": 1, "negative": 0},
    {"sg": 0, "hs": 1},
    {"sg": 1, "negative_sharing": "window", "composition": "sum"},
    {"sg": 0, "cbow_mean": 0, "subwords": "explicit"},
    {"sg": 1, "max_n": 0},
    {"sg": 1, "deterministic": True, "workers": 2},
    {"sg": 0, "precision": "bf16"},
]


@pytest.fixture(params=MODELS, ids=str)
def options(request):
    return {**SMALL, **request.param}


@pytest.fixture
def model():
    return FastText(SENTENCES, **SMALL)


def bits(model):
    """All that training changes."""
    views = model._views(model._built)
    return [views[name].numpy().tobytes() for name in sorted(views)]


# -- vectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("composition", ["mean", "sum"])
@pytest.mark.parametrize("subwords", ["hashed", "explicit"])
def test_a_vector_is_made_of_the_rows_of_its_ngrams(composition, subwords):
    model = FastText(SENTENCES, composition=composition, subwords=subwords, **SMALL)
    index, wv = model.wv.subwords, model.wv
    for word in ("sea", "moonlit", "moonsea"):
        rows = [wv.vectors_ngrams[row] for row in index.ngram_rows(word) if row >= 0]
        number = len(character_ngrams(word, 3, 6)) if subwords == "hashed" else len(rows)
        if word in wv.key_to_index:
            rows.append(wv.vectors_vocab[wv.get_index(word)])
            number += 1
        expected = np.sum(rows, axis=0) / (number if composition == "mean" else 1)
        np.testing.assert_allclose(wv[word], expected, rtol=1e-5, atol=1e-7)
    assert wv.vectors.dtype == np.float32 and wv.vectors.shape == (len(wv), 12)


def test_rows_are_views_of_one_table(model):
    table = model._views(model._built)["input"].numpy()
    assert model.wv.vectors_vocab.base is not None and len(table) == 5 + len(
        model.wv.vectors_ngrams
    )
    model.wv.vectors_vocab = np.ones((5, 12))
    model.wv.vectors_ngrams = np.full_like(model.wv.vectors_ngrams, 2)
    assert (table[:5] == 1).all() and (table[5:] == 2).all()
    assert 1 < model.wv["sea"][0] < 2 and model.wv["unseen"][0] < 2
    model.wv.vectors_vocab[:] = 2
    model.wv.refresh()
    assert (model.wv["sea"] == 2).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda wv: setattr(wv, "vectors", wv.vectors), "wv.vectors_vocab and wv.vectors_ngrams"),
        (lambda wv: wv.__setitem__("sea", np.ones(12)), "cannot be set"),
        (lambda wv: wv.__setitem__("new", np.ones(12)), "none of them: build_vocab"),
        (lambda wv: setattr(wv, "vectors_vocab", np.ones((4, 12))), r"must be \[5, 12\]"),
        (lambda wv: setattr(wv, "vectors_lockf", [1, 2]), r"must be \[5\] or \[1\]"),
        (lambda wv: setattr(wv, "vectors_lockf", -1), "finite and >= 0"),
    ],
)
def test_what_cannot_be_set(model, change, message):
    before = bits(model)
    with pytest.raises(ValueError, match=message):
        change(model.wv)
    assert bits(model) == before


def test_vectors_of_sentences_that_were_never_seen(model):
    assert "landsea" in model.wv and "landsea" not in model.wv.key_to_index
    assert model.wv.most_similar("moonlight", topn=1)[0][0] == "moonlit"
    assert model.predict_output_word(["sunlit", "moon"], topn=2)
    none = FastText(SENTENCES, max_n=0, **SMALL)
    with pytest.raises(KeyError, match="moonlight"):
        none.wv["moonlight"]
    assert none.predict_output_word(["sunlit"]) is None


# -- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sg", [1, 0])
def test_learns_synonyms(sg, device):
    """They have no n-grams in common but those of one letter and digits."""
    model = FastText(
        planted_corpus(), sg=sg, device=device, vector_size=32, min_count=1, epochs=20, sample=0,
        alpha=0.05, min_n=2, max_n=3,
    )  # fmt: skip
    assert synonym_score(model.wv) >= 0.9


def test_rare_words_learn_from_words_that_look_like_them():
    """A word seen once is near those of its stem; in Word2Vec it is near any."""
    rng, sentences = np.random.default_rng(5), []
    for topic in rng.integers(8, size=3000):
        stem = ["karton", "belmus", "firodo", "gantik", "hulpex", "jemaru", "nordiv", "opaqul"]
        ending = "abcdefgh"[rng.integers(8)]
        around = [f"{topic}{k}" for k in rng.integers(6, size=4)]
        sentences.append([*around[:2], stem[topic] + ending, *around[2:]])
    sentences.append(["kartonx", "other"])
    model = FastText(sentences, sg=1, vector_size=24, min_count=1, epochs=5, alpha=0.05, sample=0,
                     workers=1, device="cpu")  # fmt: skip
    for word in ("kartonx", "kartonyz"):
        nearest = [other for other, _ in model.wv.most_similar(word, topn=6)]
        assert all(other.startswith("karton") for other in nearest)


def test_the_same_bits(options):
    """Again, and with a second thread where that is promised."""
    one = FastText(SENTENCES, **options)
    assert bits(one) == bits(FastText(SENTENCES, **options))
    assert bits(one) != bits(FastText(SENTENCES, **{**options, "seed": 2}))
    if options.get("deterministic"):
        assert bits(one) == bits(FastText(SENTENCES, **{**options, "workers": 1}))


class Stopping:
    """Asks for a stop after so many looks."""

    def __init__(self, looks):
        self.looks = looks

    @property
    def requested(self):
        self.looks -= 1
        return self.looks < 0


def test_resumes_to_the_last_bit(options, tmp_path, monkeypatch):
    monkeypatch.setattr("lexforge.training.stream_job.FIRST_CALL_UNITS", 64)
    sentences = SENTENCES * 10
    whole = FastText(sentences, **options)
    model = FastText(**options)
    model.build_vocab(sentences)
    model.train(sentences, checkpoint_folder=tmp_path, stop=Stopping(1))
    assert not model.state.finished
    loaded = FastText.load(tmp_path, workers=options["workers"], device="cpu")
    assert bits(loaded) == bits(model)
    loaded.train(sentences, resume=True)
    assert bits(loaded) == bits(whole) and loaded.state.loss_sum == whole.state.loss_sum
    assert np.array_equal(loaded.wv.vectors, whole.wv.vectors)


def test_callbacks_see_vectors_of_the_moment():
    seen = []

    class Look(lexforge.CallbackAny2Vec):
        def on_epoch_end(self, model):
            seen.append(model.wv["moonlight"].copy())

    model = FastText(SENTENCES, callbacks=[Look()], **SMALL)
    assert len(seen) == 2 and not np.array_equal(*seen)
    assert np.array_equal(seen[-1], model.wv["moonlight"])


def test_locked_rows_keep_their_bits(options):
    model = FastText(**options)
    model.build_vocab(SENTENCES)
    own, ngrams = model.wv.vectors_vocab.copy(), model.wv.vectors_ngrams.copy()
    model.wv.vectors_vocab_lockf = [0, 1, 0.5, 0, 1]
    model.wv.vectors_ngrams_lockf = np.zeros(1)
    model.train(SENTENCES)
    changed = (model.wv.vectors_vocab != own).any(axis=1)
    assert changed.tolist() == [False, True, True, False, True]
    assert np.array_equal(model.wv.vectors_ngrams, ngrams)


def test_wrong_locks_are_told_of(model):
    model.wv.vectors_ngrams_lockf = np.zeros(3)
    with pytest.raises(ValueError, match="vectors_ngrams_lockf must be"):
        model.train(SENTENCES)


def test_probabilities_are_those_of_the_tree(model):
    model = FastText(SENTENCES, hs=1, negative=0, **SMALL)
    (total,) = model.score([["sunny", "moonlit", "sea"]])
    assert np.isfinite(total) and total < 0
    found = model.predict_output_word(["sunny", "sea"], topn=5)
    assert sum(value for _, value in found) == pytest.approx(1, abs=1e-5)
    # CBOW: of each word given the mean of all rows of the two others.
    expected = 0.0
    for word in ("sunny", "moonlit", "sea"):
        others = [each for each in ("sunny", "moonlit", "sea") if each != word]
        expected += np.log(dict(model.predict_output_word(others, topn=5))[word])
    assert total == pytest.approx(expected, rel=1e-5)


# -- vocabulary ---------------------------------------------------------------------------------


def test_more_words_bring_more_ngrams(options):
    model = FastText(SENTENCES, **options)
    wv, before = model.wv, {word: model.wv[word].copy() for word in model.wv.index_to_key}
    rows, held = model.wv.vectors_ngrams.copy(), model.wv.subwords.rows
    lockf = np.linspace(0, 1, held, dtype=np.float32) if held else np.ones(1, np.float32)
    model.wv.vectors_ngrams_lockf = lockf
    model.build_vocab([["moonlight", "sunny"]] * 200, update=True)
    assert model.wv is wv and len(wv) == 6 and wv.index_to_key[:2] == ["sunny", "moonlight"]
    assert np.array_equal(wv.vectors_ngrams[:held], rows)
    if held:
        assert len(wv.vectors_ngrams) > held
        assert np.array_equal(wv.vectors_ngrams_lockf[:held], lockf)
        assert (wv.vectors_ngrams_lockf[held:] == 1).all()
        assert np.ptp(wv.vectors_ngrams[held:]) > 0
    for word, vector in before.items():
        np.testing.assert_allclose(wv[word], vector, atol=1e-6)
    model.train([["moonlight", "sunny"]] * 20, epochs=1)
    assert not np.array_equal(wv["sunny"], before["sunny"])


def test_tables_that_the_settings_no_longer_fit(model):
    model.max_n = 4
    with pytest.raises(ValueError, match="max_n is 4, and was 6"):
        model.train(SENTENCES)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"min_n": 7}, "min_n must be <= max_n=6, got 7"),
        ({"bucket": 0}, "bucket must be >= 1"),
        ({"bucket": 2**31}, "bucket must be"),
        ({"max_n": -1}, "max_n must be"),
        ({"composition": "max"}, "composition must be one of mean, sum"),
        ({"subwords": "all"}, "subwords must be"),
        ({"hs": 0, "negative": 0}, "FastText: hs=0 with negative=0"),
        ({"sorted_vocab": 0}, "FastText: sorted_vocab"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        FastText(**options)


def test_word_ngrams_are_for_classifiers():
    with pytest.raises(NotImplementedError, match="word_ngrams must be 1"):
        FastText(word_ngrams=2)


def test_memory_is_told_and_refused(model, monkeypatch):
    report = model.estimate_memory()
    assert report["ngrams"] >= model.wv.vectors_ngrams.nbytes
    assert FastText(max_n=0).estimate_memory(1000)["total"] < report["total"] * 1000
    monkeypatch.setattr("lexforge.models.word2vec.parts.available_memory", lambda: 5_000)
    with pytest.raises(MemoryError, match="FastText: 5 words"):
        model.build_vocab(SENTENCES)


def test_starts_from_vectors(tmp_path):
    vectors = KeyedVectors(["sea", "absent"], np.ones((2, 12), np.float32))
    model = FastText(init=vectors, init_lockf=0, bucket=5000, **SMALL)
    model.build_vocab(SENTENCES)
    row = model.wv.get_index("sea")
    assert model.initialised == 1 and (model.wv.vectors_vocab[row] == 1).all()
    model.train(SENTENCES)
    assert (model.wv.vectors_vocab[row] == 1).all()
    # A model with the same kind of n-grams brings their rows too.
    path = tmp_path / "model.bin"
    fasttext.save_facebook_model(model, path)
    again = FastText(init=path, bucket=5000, **SMALL)
    again.build_vocab([["sea", "moonlit", "moonscape"]])
    assert again.initialised == 2
    rows = [index.ngram_rows("moonlit") for index in (again.wv.subwords, model.wv.subwords)]
    np.testing.assert_array_equal(
        again.wv.vectors_ngrams[rows[0]], model.wv.vectors_ngrams[rows[1]]
    )
    np.testing.assert_allclose(again.wv["moonlit"], model.wv["moonlit"], atol=1e-6)


# -- kept and exchanged ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_models_of_their_own(options, how):
    model = FastText(SENTENCES, **options)
    model.wv.vectors_lockf = [1, 1, 0.5, 1, 1]
    other = how(model)
    assert bits(other) == bits(model) and other.settings == model.settings
    assert np.array_equal(other.wv.vectors, model.wv.vectors)
    before = bits(model)
    other.train(SENTENCES)
    assert bits(model) == before and bits(other) != before
    model.train(SENTENCES)
    assert options["workers"] > 1 or bits(model) == bits(other)


def test_vectors_leave_the_model_as_copies(model):
    free = copy.copy(model.wv)
    assert type(free) is SubwordVectors
    np.testing.assert_allclose(free["moonlight"], model.wv["moonlight"], atol=1e-7)
    free["other"] = np.ones(12)
    assert "other" not in model.wv.key_to_index


def test_saved_and_loaded(options, tmp_path):
    model = FastText(SENTENCES, comment="c", **options)
    model.wv.vectors_lockf = [1, 1, 0.5, 1, 1]
    model.save(tmp_path)
    loaded = FastText.load(tmp_path, device="cpu")
    assert bits(loaded) == bits(model) and loaded.settings == model.settings
    assert loaded.wv.vectors_lockf.tolist() == [1, 1, 0.5, 1, 1] and loaded.comment == "c"
    assert np.array_equal(loaded.wv.vectors, model.wv.vectors)
    for mmap in (False, True):
        vectors = load_vectors(tmp_path, mmap=mmap)
        np.testing.assert_allclose(vectors["moonlit"], model.wv["moonlit"], rtol=1e-5)
        if options.get("max_n") != 0:
            np.testing.assert_allclose(vectors["moonsea"], model.wv["moonsea"], rtol=1e-5)


def test_other_models_are_told_apart(model, tmp_path):
    model.save(tmp_path)
    with pytest.raises(CheckpointError, match="model must be 'word2vec', got 'fasttext'"):
        Word2Vec.load(tmp_path)
    Word2Vec(SENTENCES, **SMALL).save(tmp_path)
    with pytest.raises(CheckpointError, match="model must be 'fasttext', got 'word2vec'"):
        FastText.load(tmp_path)


def test_a_damaged_index_is_told_of(model, tmp_path):
    model.save(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"kind": "held"', '"kind": "nothing"'))
    with pytest.raises(CheckpointError, match="kind must be one of"):
        FastText.load(tmp_path)
    with pytest.raises(ValueError, match="damaged"):
        load_vectors(tmp_path)
