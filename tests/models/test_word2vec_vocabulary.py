"""How Word2Vec gets its words: rules, counts, updates, and what gensim's scripts do around them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from lexforge import RULE_DEFAULT, RULE_DISCARD, RULE_KEEP, CallbackAny2Vec, KeyedVectors, Word2Vec
from lexforge._errors import NotReadyError
from lexforge.training.checkpoint import CheckpointError

TEXT = [["a", "b", "c"], ["a", "b", "d"], ["a", "b", "e"], ["a", "c"]]  # a 4, b 3, c 2, d 1, e 1
SMALL = {"vector_size": 4, "workers": 1}


def rule(word, count, min_count):
    """c goes and d stays, whatever their counts."""
    return {"c": RULE_DISCARD, "d": RULE_KEEP}.get(word, RULE_DEFAULT)


def counts(model):
    return {word: int(model.wv.get_vecattr(word, "count")) for word in model.wv.index_to_key}


# -- rules ------------------------------------------------------------------------------------


def test_rules_have_the_numbers_of_gensim():
    assert (RULE_DEFAULT, RULE_DISCARD, RULE_KEEP) == (0, 1, 2)


@pytest.mark.parametrize("entrance", ["constructor", "build_vocab", "file", "counts", "prepare"])
def test_a_rule_at_every_entrance(entrance, tmp_path):
    path = tmp_path / "text"
    path.write_text("".join(" ".join(line) + "\n" for line in TEXT))
    if entrance == "constructor":
        model = Word2Vec(TEXT, min_count=3, trim_rule=rule, **SMALL)
    else:
        model = Word2Vec(min_count=3, **SMALL)
        if entrance == "build_vocab":
            model.build_vocab(TEXT, trim_rule=rule)
        elif entrance == "file":
            model.build_vocab(corpus_file=path, trim_rule=rule)
        elif entrance == "counts":
            model.build_vocab_from_freq({"d": 1, "b": 3, "a": 4, "c": 2, "e": 1}, trim_rule=rule)
        else:
            model.scan_vocab(TEXT)
            model.prepare_vocab(trim_rule=rule)
    assert counts(model) == {"a": 4, "b": 3, "d": 1}
    assert model.corpus_total_words == 11


def test_what_a_rule_is_asked():
    asked = []
    model = Word2Vec(min_count=1, max_final_vocab=2, **SMALL)
    model.build_vocab(TEXT, trim_rule=lambda *each: asked.append(each))
    assert asked == [("a", 4, 3), ("b", 3, 3), ("c", 2, 3), ("d", 1, 3), ("e", 1, 3)]
    assert list(counts(model)) == ["a", "b"] and model.effective_min_count == 3


def test_a_rule_and_the_largest_size():
    model = Word2Vec(min_count=1, max_vocab_size=2, **SMALL)
    model.build_vocab(TEXT, trim_rule=rule)
    assert counts(model) == {"a": 4, "d": 1}
    with pytest.raises(ValueError, match="trim_rule keeps 5 words, of 2 at most"):
        model.build_vocab(TEXT, trim_rule=lambda *_: RULE_KEEP)


def test_a_rule_that_says_something_else():
    with pytest.raises(ValueError, match=r"trim_rule must give .* \(0, 1, 2\), got 'no' for 'a'"):
        Word2Vec(TEXT, trim_rule=lambda *_: "no", **SMALL)
    with pytest.raises(NotReadyError, match=r"no word occurs .*, or trim_rule leaves it out"):
        Word2Vec(TEXT, min_count=1, trim_rule=lambda *_: RULE_DISCARD, **SMALL)


# -- step by step -----------------------------------------------------------------------------


def test_counting_and_choosing_are_building():
    model, whole = Word2Vec(min_count=2, **SMALL), Word2Vec(min_count=2, **SMALL)
    assert model.scan_vocab(TEXT) == (11, 4)
    assert model.raw_vocab == {"a": 4, "b": 3, "c": 2, "d": 1, "e": 1}
    report = model.prepare_vocab(dry_run=True, min_count=4)
    assert report["num_retained_words"] == 1 and len(model.wv) == 0 and model.raw_vocab
    report = model.prepare_vocab()
    assert report["drop_unique"] == 2 and report["retain_total"] == 9 and not model.raw_vocab
    model.prepare_weights()
    whole.build_vocab(TEXT)
    assert whole.corpus_count == 4 and model.vocabulary == whole.vocabulary
    np.testing.assert_array_equal(model.wv.vectors, whole.wv.vectors)
    with pytest.raises(NotReadyError, match="count words first, with scan_vocab"):
        model.prepare_vocab()


def test_raw_counts_are_kept_when_asked():
    model = Word2Vec(min_count=3, **SMALL)
    model.build_vocab(TEXT)
    assert model.raw_vocab == {}
    model.build_vocab(TEXT, keep_raw_vocab=True)
    assert model.raw_vocab == {"a": 4, "b": 3, "c": 2, "d": 1, "e": 1}
    assert list(counts(model)) == ["a", "b"]


def test_other_settings_for_a_vocabulary():
    model = Word2Vec(min_count=1, **SMALL)
    model.build_vocab(TEXT, min_count=3, sample=0.5)
    assert list(counts(model)) == ["a", "b"]
    assert (model.min_count, model.sample, model.effective_min_count) == (3, 0.5, 3)


def test_starting_afresh():
    model = Word2Vec(TEXT, min_count=1, hs=1, **SMALL)
    fresh = Word2Vec(min_count=1, hs=1, **SMALL)
    fresh.build_vocab(TEXT)
    wv = model.wv
    model.init_weights()
    assert model.wv is wv and model.state is None
    for name in ("syn1", "syn1neg"):
        assert not getattr(model, name).any()
    np.testing.assert_array_equal(wv.vectors, fresh.wv.vectors)
    np.testing.assert_allclose(wv.norms, np.linalg.norm(wv.vectors, axis=1), rtol=1e-6)
    other = Word2Vec(TEXT * 3, min_count=5, **SMALL)
    model.reset_from(other)
    assert counts(model) == counts(other) == {"a": 12, "b": 9, "c": 6}
    assert model.corpus_count == 12
    with pytest.raises(RuntimeError, match="reset_from: build the vocabulary first"):
        model.reset_from(Word2Vec(**SMALL))


def test_the_null_word():
    model = Word2Vec(TEXT, min_count=2, null_word=1, **SMALL)
    assert counts(model) == {"a": 4, "b": 3, "c": 2, "\0": 1}
    model.build_vocab([["a", "f", "f"]], update=True)
    assert counts(model) == {"a": 5, "b": 3, "c": 2, "f": 2, "\0": 1}
    plain = Word2Vec(TEXT, min_count=2, **SMALL)
    before = {word: plain.wv[word].copy() for word in plain.wv.index_to_key}
    plain.add_null_word()
    assert "\0" in plain.wv
    for word, vector in before.items():
        np.testing.assert_array_equal(plain.wv[word], vector)


# -- updates ----------------------------------------------------------------------------------


def test_an_update_counts_known_words_however_rare():
    model = Word2Vec(TEXT, min_count=3, **SMALL)
    model.build_vocab([["a", "x", "y"], ["x", "y"], ["x"]], update=True)
    assert counts(model) == {"a": 5, "b": 3, "x": 3}
    model.build_vocab_from_freq({"b": 1, "z": 9}, update=True, trim_rule=lambda *_: RULE_DISCARD)
    assert counts(model) == {"a": 5, "b": 4, "x": 3}


def test_inner_nodes_stay_with_their_tree():
    model = Word2Vec(TEXT, min_count=1, hs=1, sample=0, **SMALL)
    before = model.syn1.copy()
    model.build_vocab([["a"]], update=True)
    assert before.any()
    np.testing.assert_array_equal(model.syn1, before)
    model.build_vocab([["new", "e", "e", "e", "e"]], update=True)
    assert not model.syn1.any()


# -- generators -------------------------------------------------------------------------------


def test_a_generator_where_one_reading_is_enough():
    model, other = Word2Vec(min_count=1, **SMALL), Word2Vec(TEXT, min_count=1, **SMALL)
    model.build_vocab(line for line in TEXT)
    assert model.corpus_count == 4
    model.train((line for line in TEXT), total_examples=4, epochs=5)
    np.testing.assert_array_equal(model.wv.vectors, other.wv.vectors)
    with pytest.raises(TypeError, match="read only once"):
        Word2Vec((line for line in TEXT), min_count=1, **SMALL)


# -- before there are words -------------------------------------------------------------------


def test_wv_before_there_are_words():
    model = Word2Vec(min_count=1, **SMALL)
    wv = model.wv
    assert len(wv) == 0 and wv.vector_size == 4 and model.wv is wv and model.vocabulary is None
    model.build_vocab(TEXT)
    assert model.wv is wv and len(wv) == 5


def test_vectors_that_are_only_looked_at():
    model, kv = Word2Vec(min_count=1, **SMALL), KeyedVectors(["a"], [[1.0, 2.0]])
    model.wv = kv
    assert model.wv is kv
    for use in (lambda: model.train(TEXT), lambda: model.predict_output_word(["a"])):
        for error in (RuntimeError, ValueError):
            with pytest.raises(error, match="build the vocabulary first"):
                use()
    with pytest.raises(TypeError, match="wv must be KeyedVectors, got list"):
        model.wv = [[1.0, 2.0]]
    model.build_vocab(TEXT)
    assert model.wv is not kv and len(model.wv) == 5


@pytest.mark.parametrize("corpus, options", [([], {}), (TEXT, {"min_count": 9})])
def test_no_words_are_an_error_of_two_kinds(corpus, options):
    for error in (RuntimeError, ValueError):
        with pytest.raises(error, match="no word occurs"):
            Word2Vec(corpus, **options, **SMALL)


# -- what else gensim's scripts use -----------------------------------------------------------


def test_paths_of_words_through_the_tree():
    model = Word2Vec(TEXT, min_count=1, hs=1, **SMALL)
    assert model.wv.get_vecattr("a", "code").dtype == np.uint8
    points = [model.wv.get_vecattr(word, "point") for word in model.wv.index_to_key]
    assert {point[0] for point in points} == {3} and points[0].dtype == np.uint32
    codes = {tuple(model.wv.get_vecattr(word, "code")) for word in model.wv.index_to_key}
    assert len(codes) == 5
    with pytest.raises(KeyError, match="code"):
        Word2Vec(TEXT, min_count=1, **SMALL).wv.get_vecattr("a", "code")


def test_tables_that_are_set():
    model = Word2Vec(TEXT, min_count=1, hs=1, **SMALL)
    for name in ("syn1", "syn1neg"):
        matrix = np.arange(20, dtype=np.float64).reshape(5, 4)
        setattr(model, name, matrix)
        np.testing.assert_array_equal(getattr(model, name), matrix)
        with pytest.raises(ValueError, match=rf"{name} must be \[5, 4\], got \[4, 4\]"):
            setattr(model, name, matrix[1:])
    np.testing.assert_array_equal(copy.deepcopy(model).syn1neg, matrix)


def test_warnings(caplog):
    def warned():
        found = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        caplog.clear()
        return found

    model = Word2Vec(TEXT, min_count=1, **SMALL)
    assert warned() == []
    model.train(TEXT, epochs=1)
    assert [m[:32] for m in warned()] == ["Effective 'alpha' higher than pr"]
    model.train(TEXT, epochs=1, start_alpha=1e-4)
    assert warned() == []
    Word2Vec(TEXT, min_count=1, hs=1, **SMALL)
    assert [m[:54] for m in warned()] == ["Both hierarchical softmax and negative sampling are ac"]
    Word2Vec(trim_rule=rule, callbacks=[CallbackAny2Vec()], **SMALL)
    assert [m.partition(" without ")[0] for m in warned()] == [
        "Word2Vec: trim_rule", "Word2Vec: callbacks",
    ]  # fmt: skip


def test_attributes(tmp_path):
    model = Word2Vec(min_count=1, **SMALL, hashfxn=len, batch_words=7)
    assert (model.layer1_size, model.train_count, model.min_alpha_yet_reached) == (4, 0, 0.075)
    assert (model.hashfxn, model.batch_words, model.null_word, model.sorted_vocab) == (len, 7, 0, 1)
    model.build_vocab(TEXT)
    for _ in range(2):
        model.train(TEXT, epochs=1, compute_loss=True)
    assert model.train_count == 2 and model.compute_loss is True
    assert model.min_alpha_yet_reached == pytest.approx(1e-4)
    model.save(
        tmp_path / "model", sep_limit=0, separately=[], ignore=frozenset(), pickle_protocol=4
    )
    for twin in (Word2Vec.load(tmp_path / "model", "r"), copy.copy(model), copy.deepcopy(model)):
        assert twin.train_count == 2
        assert twin.min_alpha_yet_reached == pytest.approx(1e-4)
    with pytest.raises(AttributeError, match=r"call Word2Vec.load\(\.\.\.\)"):
        model.load(tmp_path / "model")
    assert model.estimate_memory(10, {"mine": 5})["total"] == model.estimate_memory(10)["total"] + 5


def test_context_of_rows_and_words(caplog):
    model = Word2Vec(TEXT * 9, min_count=1, **SMALL)
    expected = model.predict_output_word(["a", "c"], topn=3)
    row = model.wv.get_index("c")
    for other in (row, np.int64(row)):
        assert model.predict_output_word(["a", other, "unheard", 99, -1], topn=3) == expected
    assert model.predict_output_word(["unheard", 99]) is None
    assert "none of the context words is in the vocabulary" in caplog.text


def test_old_scripts_scale_vectors():
    model = Word2Vec(TEXT, min_count=1, **SMALL)
    before = model.wv.vectors.copy()
    with pytest.warns(DeprecationWarning, match="init_sims is not needed"):
        model.init_sims()
    np.testing.assert_array_equal(model.wv.vectors, before)
    with pytest.warns(DeprecationWarning, match="init_sims"):
        model.init_sims(replace=True)
    np.testing.assert_allclose(np.linalg.norm(model.wv.vectors, axis=1), 1, rtol=1e-6)


def test_files_of_gensim_are_told_how_to_convert(tmp_path):
    path = tmp_path / "gensim.model"
    for protocol in (2, 4, 5):
        path.write_bytes(pickle.dumps({"wv": [1.0] * 9}, protocol))
        with pytest.raises(CheckpointError, match=r"never opened .* Word2Vec.from_gensim\(gensim"):
            Word2Vec.load(path)
    path.write_text("2 3\n")
    with pytest.raises(CheckpointError, match="must be a folder that save made"):
        Word2Vec.load(path)


def test_events_of_a_model():
    model = Word2Vec(TEXT, min_count=1, **SMALL)
    twin = pickle.loads(pickle.dumps(model))
    model.add_lifecycle_event("published", where="here")
    assert [event["event"] for event in model.lifecycle_events] == ["created", "train", "published"]
    assert model.lifecycle_events[-1]["where"] == "here"
    assert len(twin.lifecycle_events) == 2
    model.lifecycle_events = None
    model.add_lifecycle_event("unseen")
    assert model.lifecycle_events is None


@pytest.mark.parametrize("base", ["ours", "gensim"])
def test_callbacks_made_for_gensim(base):
    if base == "gensim":
        parent = pytest.importorskip("gensim.models.callbacks").CallbackAny2Vec
    else:
        from lexforge.models.callbacks import CallbackAny2Vec as parent  # noqa: N813

    class Losses(parent):
        def __init__(self):
            self.losses, self.vectors = [], []

        def on_epoch_end(self, model):
            self.losses.append(model.get_latest_training_loss())
            self.vectors.append(model.wv["a"].copy())

    told = Losses()
    Word2Vec(TEXT, min_count=1, sample=0, epochs=3, callbacks=[told], **SMALL)
    assert len(told.losses) == 3 and told.losses == sorted(told.losses)
    assert not np.array_equal(told.vectors[0], told.vectors[2])


@pytest.mark.interop
@pytest.mark.parametrize(
    "options",
    [
        {"min_count": 2},
        {"min_count": 1, "max_final_vocab": 3},
        {"min_count": 4, "max_final_vocab": 3},
        {"min_count": 1, "sample": 2},
        {"min_count": 1, "sample": 0},
        {"min_count": 1, "sample": 0.05},
    ],
)
def test_reports_and_counts_are_those_of_gensim(options):
    gensim = pytest.importorskip("gensim.models.word2vec")
    ours, theirs = Word2Vec(**options, **SMALL), gensim.Word2Vec(**options, **SMALL)
    text, more = TEXT * 3, [["a", "e", "x"]] * 2 + [["x", "y"]]
    for corpus, update, chosen in ((text, False, rule), (more, True, None), (more, True, rule)):
        found = []
        for model in (ours, theirs):
            words, sentences = model.scan_vocab(corpus)
            report = model.prepare_vocab(update=update, trim_rule=chosen)
            model.prepare_weights(update=update)
            attributes = (words, sentences, model.effective_min_count, len(model.raw_vocab))
            found.append((counts(model), report, attributes))
        assert found[0] == found[1]
