"""gensim's own tests of `Word2Vec`, on this package's class; and the names of the two, compared."""

from __future__ import annotations

import inspect

import pytest

import lexforge
from gensim_suite.suite import check

gensim = pytest.importorskip("gensim")
pytestmark = pytest.mark.interop

PICKLE = "reads a pickle, which may run code and is never opened here"
FOLDER = "puts vectors where the model is: a folder here, of which vectors alone are a part"
DOES_NOT_APPLY = {
    "test_load_old_model": PICKLE,
    "test_load_old_model_separates": PICKLE,
    "test_load_old_models_1_x": PICKLE,
    "test_load_old_models_2_x": PICKLE,
    "test_load_old_models_3_x": PICKLE,
    "test_persistence_backwards_compatible": PICKLE,
    "test_persistence": FOLDER,
    "test_persistence_from_file": FOLDER,
    "test_persistence_word2vec_format_combination_with_standard_persistence": (
        "a CheckpointError says what the file is, where gensim happens to miss an attribute"
    ),
    "test_build_vocab_warning": "a text as a sentence is refused, where gensim trains on letters",
    "test_prune_vocab": (
        "max_vocab_size=2 keeps 2 words, the most frequent; gensim prunes while it counts, and "
        "keeps 3"
    ),
    "test_train_with_explicit_param": (
        "train needs neither epochs, which are the model's, nor totals, which it counts"
    ),
    "test_predict_output_word": (
        "at its end a model of hs=1, negative=0 is to predict nothing, and here it does; what goes "
        "before is in tests/models"
    ),
}
# Their outcome is a matter of luck.
MAY_FAIL = {
    "test_cbow_fixedwindowsize": (
        "a rank that is to be below 50, after few steps of 0.1: those of CBOW's mean are shorter "
        "here, divided by the number of context words, and it comes to 49 to 58"
    ),
}
CLASS = "TestWord2VecModel."


def test_what_applies_passes():
    check(
        "test_word2vec.py",
        {CLASS + name: why for name, why in DOES_NOT_APPLY.items()},
        {CLASS + name: why for name, why in MAY_FAIL.items()},
    )


OLD = ["word2vec_old", "word2vec_old_sep", "word2vec_3.3", "model-from-gensim-3.8.0.w2v"]
VERSIONS = ["1.0.0", "1.0.1", "2.0.0", "2.3.0", "3.0.0", "3.4.0"]


@pytest.mark.parametrize("file", [*OLD, *(f"old_w2v_models/w2v_{v}.mdl" for v in VERSIONS)])
def test_what_gensim_pickled_comes_over_and_goes_on(file, tmp_path):
    """As the tests of its pickles do with what they read."""
    from gensim.test.utils import common_texts, datapath

    theirs = gensim.models.Word2Vec.load(datapath(file))
    model = lexforge.Word2Vec.from_gensim(theirs, workers=1)
    for word in theirs.wv.index_to_key:
        assert (model.wv[word] == theirs.wv[word]).all()
    for _ in range(2):
        model.build_vocab(common_texts * 5, update=True)
        model.train(common_texts * 5, total_examples=model.corpus_count, epochs=1)
        model.save(tmp_path / "model")
        model = lexforge.Word2Vec.load(tmp_path / "model")
    assert "graph" in model.wv and theirs.wv.index_to_key[0] in model.wv


# -- names ------------------------------------------------------------------------------------

DEPRECATED = {"seeded_vector"}
INTERNAL = "of how gensim keeps what it draws from; there is nothing to be called here"
MISSING = {"create_binary_tree": INTERNAL, "make_cum_table": INTERNAL}
OTHER_PARAMETERS = {
    "build_vocab": ({"kwargs"}, "are min_count and sample, by name"),
    "train": ({"kwargs"}, "gensim passes them on to its own subclasses"),
    "save": ({"args", "kwargs"}, "are named"),
    "load": ({"args", "rethrow", "kwargs"}, "are named: the folder, mmap, rethrow"),
    "make_cum_table": (set(), INTERNAL),
}
# What a script may look at, after training.
ATTRIBUTES = [
    "vector_size",
    "workers",
    "epochs",
    "train_count",
    "total_train_time",
    "batch_words",
    "sg",
    "alpha",
    "min_alpha",
    "window",
    "shrink_windows",
    "hs",
    "negative",
    "ns_exponent",
    "cbow_mean",
    "compute_loss",
    "running_training_loss",
    "min_alpha_yet_reached",
    "corpus_count",
    "corpus_total_words",
    "max_final_vocab",
    "max_vocab_size",
    "min_count",
    "sample",
    "sorted_vocab",
    "null_word",
    "raw_vocab",
    "wv",
    "hashfxn",
    "seed",
    "layer1_size",
    "comment",
    "syn1neg",
    "effective_min_count",
    "lifecycle_events",
]
NO_ATTRIBUTES = {
    "cum_table": "noise words come from a table of another kind",
    "random": "random numbers are counted out, and no generator is kept",
    "load": "is of the class",
}


def methods(kind):
    return {
        name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))
    }


def test_the_same_methods():
    theirs = methods(gensim.models.Word2Vec) - DEPRECATED
    assert theirs - methods(lexforge.Word2Vec) == set(MISSING)


def test_the_same_parameters_in_the_same_order():
    """As far as they can be given by position; others may follow."""
    for name in sorted(
        (methods(gensim.models.Word2Vec) - DEPRECATED - set(MISSING)) | {"__init__"}
    ):
        theirs, ours = (
            inspect.signature(getattr(kind, name)).parameters
            for kind in (gensim.models.Word2Vec, lexforge.Word2Vec)
        )
        left_out, _ = OTHER_PARAMETERS.get(name, (set(), ""))
        wanted = [each for each in theirs if each not in left_out]
        assert list(ours)[: len(wanted)] == wanted, name


def test_the_same_attributes():
    text = [["a", "b"], ["a", "c"]]
    theirs = vars(gensim.models.Word2Vec(text, min_count=1, max_final_vocab=9))
    assert {name for name in theirs if not name.startswith("_")} == {*ATTRIBUTES, *NO_ATTRIBUTES}
    ours = lexforge.Word2Vec(text, min_count=1, max_final_vocab=9)
    assert [name for name in ATTRIBUTES if not hasattr(ours, name)] == []
    assert [name for name in NO_ATTRIBUTES if hasattr(ours, name)] == []


@pytest.mark.parametrize(
    "name", ["LineSentence", "PathLineSentences", "Text8Corpus", "BrownCorpus"]
)
def test_the_same_sentences(name):
    from lexforge.models import word2vec

    theirs, ours = (
        list(inspect.signature(getattr(module, name)).parameters.values())
        for module in (gensim.models.word2vec, word2vec)
    )
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]
