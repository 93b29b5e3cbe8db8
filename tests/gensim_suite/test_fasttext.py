"""gensim's own tests of `FastText`, on this package's class; and the names of the two, compared."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import lexforge
from gensim_suite.suite import check
from gensim_suite.test_word2vec import DEPRECATED, MISSING, OTHER_PARAMETERS, methods
from lexforge.models import fasttext

gensim = pytest.importorskip("gensim")
pytestmark = pytest.mark.interop

FOLDER = "puts vectors where the model is: a folder here, of which vectors alone are a part"
NO_BUCKETS = "bucket=0 with n-grams asked for is refused: max_n=0 asks for none"
ONE_MATRIX = (
    "of hs=1 with negative=5 the file holds the matrix of hs alone, and so does what is loaded"
)
DOES_NOT_APPLY = {
    "TestFastTextModel.test_persistence": FOLDER,
    "TestFastTextModel.test_persistence_fromfile": FOLDER,
    "TestFastTextModel.test_estimate_memory": "bytes of gensim's objects",
    "TestFastTextModel.test_fast_text_train_parameters": (
        "a list of lists of words as corpus_file is taken for sentences, and trained on"
    ),
    "NativeTrainingContinuationTest.test_sanity": (
        "looks at cum_table: noise words come from a table of another kind"
    ),
    "HashCompatibilityTest.test_compatibility_true": (
        "reads a pickle, which may run code and is never opened here"
    ),
    "ZeroBucketTest.test_in_vocab": NO_BUCKETS,
    "ZeroBucketTest.test_out_of_vocab": NO_BUCKETS,
    "SaveFacebookFormatModelTest.test_cbow": ONE_MATRIX,
    "SaveFacebookFormatModelTest.test_skipgram": ONE_MATRIX,
}


@pytest.mark.slow
def test_what_applies_passes():
    """Those of `Word2Vec`, which the file imports, are run by test_word2vec.py."""
    check("test_fasttext.py", DOES_NOT_APPLY, without="TestWord2VecModel")


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"sg": 1}, {"hs": 1, "negative": 0}, {"max_n": 0}], ids=str)
def test_models_go_over_and_come_back(options, tmp_path):
    """Vectors of all words, known or not, and the matrix that training goes on with."""
    from gensim.test.utils import common_texts

    model = lexforge.FastText(
        common_texts * 5, vector_size=8, min_count=1, bucket=500, epochs=1, device="cpu", **options
    )
    path, again = tmp_path / "ours.bin", tmp_path / "again.bin"
    fasttext.save_facebook_model(model, path)
    theirs = gensim.models.fasttext.load_facebook_model(str(path))
    assert theirs.wv.index_to_key == model.wv.index_to_key
    words = ["human", "trees", *(["humanity", "treetops"] * (options.get("max_n") != 0))]
    for word in words:
        np.testing.assert_allclose(theirs.wv[word], model.wv[word], atol=1e-6)
    ours = fasttext.load_facebook_model(path)
    output = "syn1" if options.get("hs") else "syn1neg"
    assert np.array_equal(getattr(ours, output), getattr(model, output))
    for word in words:
        np.testing.assert_allclose(ours.wv[word], model.wv[word], atol=1e-6)
    fasttext.save_facebook_model(ours, again)
    assert again.read_bytes() == path.read_bytes()
    ours.build_vocab([["humanity", "trees"]] * 9, update=True)
    ours.train([["humanity", "trees"]] * 9, epochs=1)
    assert len(ours.wv) == 13 and ours.train_count == 1


@pytest.mark.parametrize(
    "file, encoding, known",
    [
        ("lee_fasttext.bin", "utf-8", "night"),
        ("lee_fasttext_new.bin", "utf-8", "night"),
        ("non_ascii_fasttext.bin", "utf-8", "který"),
        ("cp852_fasttext.bin", "cp852", "který"),
    ],
)
def test_its_test_models(file, encoding, known, tmp_path):
    """Those before versions, too; what is written is the latest version, of the same numbers."""
    from gensim.test.utils import datapath

    model = fasttext.load_facebook_model(datapath(file), encoding)
    theirs = gensim.models.fasttext.load_facebook_model(datapath(file), encoding)
    assert model.wv.index_to_key == theirs.wv.index_to_key
    if encoding == "utf-8":  # gensim's n-grams are of UTF-8 whatever the file is in
        np.testing.assert_allclose(model.wv[known], theirs.wv[known], atol=1e-6)
    assert np.array_equal(model.syn1neg, theirs.syn1neg)
    vectors = fasttext.load_facebook_vectors(datapath(file), encoding)
    np.testing.assert_allclose(vectors["unknown"], model.wv["unknown"], atol=1e-6)
    path = tmp_path / "model.bin"
    if encoding != "utf-8":
        with pytest.raises(ValueError, match="encoding must be 'cp852'"):
            fasttext.save_facebook_model(model, path)
    fasttext.save_facebook_model(model, path, encoding)
    again = fasttext.load_facebook_model(path, encoding)
    assert np.array_equal(again.wv.vectors, model.wv.vectors)


def test_classifiers_and_other_losses_are_refused(tmp_path):
    from gensim.test.utils import datapath

    with pytest.raises(NotImplementedError, match="a classifier"):
        fasttext.load_facebook_model(datapath("pang_lee_polarity_fasttext.bin"))
    content = bytearray(Path(datapath("lee_fasttext_new.bin")).read_bytes())
    content[32] = 3  # the loss
    (tmp_path / "softmax.bin").write_bytes(content)
    with pytest.raises(NotImplementedError, match="the loss softmax cannot be trained on"):
        fasttext.load_facebook_model(tmp_path / "softmax.bin")
    assert "night" in fasttext.load_facebook_vectors(tmp_path / "softmax.bin")


@pytest.mark.parametrize("options", [{"composition": "sum"}, {"subwords": "explicit"}], ids=str)
def test_what_such_files_do_not_know(options, tmp_path):
    model = lexforge.FastText([["one", "two"]] * 9, vector_size=4, min_count=1, **options)
    with pytest.raises(ValueError, match="such files hold means of hashed n-grams"):
        fasttext.save_facebook_model(model, tmp_path / "model.bin")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"sg": 1}, {"hs": 1, "negative": 0}, {"max_n": 0}], ids=str)
def test_gensim_s_objects_come_over_and_go_back(options):
    from gensim.test.utils import common_texts

    settings = {"vector_size": 8, "min_count": 1, "bucket": 500, "epochs": 1, **options}
    theirs = gensim.models.FastText(common_texts * 5, **settings)
    ours = lexforge.FastText.from_gensim(theirs, workers=1, device="cpu")
    words = ["human", "trees", *(["humanity"] * (options.get("max_n") != 0))]
    for word in words:
        np.testing.assert_allclose(ours.wv[word], theirs.wv[word], atol=1e-6)
    output = "syn1" if options.get("hs") else "syn1neg"
    ours = lexforge.FastText(common_texts * 5, **settings, workers=1, device="cpu")
    ours.wv.vectors_lockf = np.linspace(0, 1, len(ours.wv))
    back = ours.to_gensim()
    for word in words:
        np.testing.assert_allclose(back.wv[word], ours.wv[word], atol=1e-6)
    again = lexforge.FastText.from_gensim(back, device="cpu")
    for word in ours.wv.index_to_key:  # those of equal counts may change places
        row, other = ours.wv.get_index(word), again.wv.get_index(word)
        assert np.array_equal(again.wv.vectors_vocab[other], ours.wv.vectors_vocab[row])
        assert again.wv.vectors_lockf[other] == ours.wv.vectors_lockf[row]
    assert getattr(again, output).shape == getattr(ours, output).shape
    back.train(common_texts, total_examples=9, epochs=1)
    again.train(common_texts, epochs=1)


# -- names ------------------------------------------------------------------------------------


def test_the_same_methods():
    theirs = methods(gensim.models.FastText) - {*DEPRECATED, "load_binary_data"}
    assert theirs - methods(lexforge.FastText) == {*MISSING, "load_fasttext_format"}


def test_the_same_parameters_in_the_same_order():
    """As far as they can be given by position; others may follow."""
    for name in sorted(methods(lexforge.FastText) & methods(gensim.models.FastText)):
        if name in MISSING or name in ("save", "load"):
            continue
        theirs, ours = (
            inspect.signature(getattr(kind, name)).parameters
            for kind in (gensim.models.FastText, lexforge.FastText)
        )
        left_out, _ = OTHER_PARAMETERS.get(name, (set(), ""))
        wanted = [each for each in theirs if each not in left_out]
        assert list(ours)[: len(wanted)] == wanted, name
    theirs, ours = (
        list(inspect.signature(kind.__init__).parameters)
        for kind in (gensim.models.FastText, lexforge.FastText)
    )
    assert ours[: len(theirs)] == theirs
    for name in ("load_facebook_model", "load_facebook_vectors", "save_facebook_model"):
        theirs, ours = (
            list(inspect.signature(getattr(module, name)).parameters.values())
            for module in (gensim.models.fasttext, fasttext)
        )
        assert [(p.name, p.default) for p in ours[: len(theirs)]] == [
            (p.name, p.default) for p in theirs
        ]


def test_the_same_attributes():
    text = [["abc", "bcd"], ["abc", "cde"]]
    theirs = vars(gensim.models.FastText(text, min_count=1, max_final_vocab=9, bucket=100))
    ours = lexforge.FastText(text, min_count=1, max_final_vocab=9, bucket=100)
    missing = {name for name in theirs if not (name.startswith("_") or hasattr(ours, name))}
    assert missing == {"cum_table", "random", "load", "load_fasttext_format"}
    for name in ("vectors", "vectors_vocab", "vectors_ngrams", "vectors_vocab_lockf", "bucket"):
        assert hasattr(ours.wv, name)
