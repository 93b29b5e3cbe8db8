"""FastTextClassifier: learning, predictions, files, resuming, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import fasttext_models
from lexforge import _library
from lexforge._text import WordBytes
from lexforge.models.fasttext import FastTextClassifier
from lexforge.models.fasttext.classifier import Scores
from lexforge.text.huffman import huffman_tree
from lexforge.training.checkpoint import CheckpointError
from lexforge.training.signals import StopRequest
from lexforge.vectors.formats.fasttext import read_fasttext, write_fasttext
from lexforge.vectors.quantised import QuantizedMatrix

pytestmark = pytest.mark.skipif(_library.emulated(), reason="on the CPU only")

ANIMALS = {"dog": "barks growls bone", "cat": "purrs mews fish", "cow": "moos grass milk"}


def lines(count: int = 300, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        animal = rng.choice(list(ANIMALS))
        words = (
            rng.choice(ANIMALS[animal].split(), 3).tolist()
            + rng.choice(["the", "a", "it"], 2).tolist()
        )
        rng.shuffle(words)
        found.append(" ".join([f"__label__{animal}", *words]))
    return found


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join([*lines(), ""]))
    return path


def model(**settings) -> FastTextClassifier:
    return FastTextClassifier(**{"dim": 10, "epoch": 5, "lr": 0.5, "workers": 1, **settings})


@pytest.mark.parametrize("loss", ["softmax", "hs", "ns", "ova"])
@pytest.mark.parametrize("features", [{}, {"word_ngrams": 2, "minn": 2, "maxn": 3, "bucket": 500}])
def test_learns_and_predicts(corpus, tmp_path, loss, features):
    trained = model(loss=loss, **features).train(corpus)
    assert trained.state.finished and trained.state.pairs == 5 * 300
    held_out = tmp_path / "test.txt"
    held_out.write_text("\n".join(["no labels", "", *lines(60, seed=1), ""]))
    assert trained.test(held_out) == (60, 1.0, 1.0)
    assert trained.test(held_out, k=2)[1:] == (0.5, 1.0)
    labels, probabilities = trained.predict("the bone growls", k=-1)
    assert labels[0] == "__label__dog" and set(labels) == set(trained.labels)
    assert (np.diff(probabilities) <= 0).all()
    if loss in ("softmax", "hs"):
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    many = trained.predict(["the bone growls", "purrs"], k=3)
    assert many[0][0] == labels
    np.testing.assert_allclose(many[1][0], probabilities, rtol=1e-6)
    assert trained.predict("moos", threshold=1.1)[0] == ()
    per_label = trained.test_label(held_out)
    assert per_label["__label__cow"] == Scores(1, 1, 1)


def test_predictions_of_a_tree_are_products_along_its_paths(corpus):
    trained = model(loss="hs").train(corpus)
    parts, text = trained.parts, "the milk mews"
    x = torch.from_numpy(trained.get_sentence_vector(text)).double()
    expected = {}
    for label in range(3):
        begin, end = parts.tree.offsets[label : label + 2]
        path = parts.tree.nodes[begin:end]
        scores = parts.output[path >> 1, :10].double() @ x
        turns = torch.from_numpy(2.0 * (path & 1) - 1)
        expected[trained.labels[label]] = float(torch.sigmoid(turns * scores).prod())
    got = dict(zip(*trained.predict(text, k=3), strict=True))
    assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dim", [3, 50])
def test_tables_begin_uniform_and_the_same_for_any_number_of_threads(corpus, dim):
    options = {"dim": dim, "bucket": 9001, "maxn": 3, "lr": 0.0, "epoch": 1}
    tables = [
        model(**options, seed=seed, workers=threads).train(corpus).parts.input.numpy()[:, :dim]
        for seed, threads in ((1, 1), (1, 3), (2, 1))
    ]
    assert (tables[0] == tables[1]).all() and (tables[0] != tables[2]).mean() > 0.99
    scaled = tables[0].astype(np.float64) * dim
    assert -1 <= scaled.min() < -0.999 and 0.999 < scaled.max() < 1
    assert abs(scaled.mean()) < 0.02 and scaled.std() == pytest.approx(1 / math.sqrt(3), rel=0.02)
    rows = np.unique(tables[0], axis=0)
    assert len(rows) == len(tables[0])  # no part is drawn as another


def test_several_labels_of_a_line():
    both = [["__label__a", "__label__b", "x"], ["__label__c", "y"]] * 50
    trained = model(loss="ova", epoch=20).train(both)
    labels, probabilities = trained.predict("x", k=-1, threshold=0.5)
    assert set(labels) == {"__label__a", "__label__b"} and (probabilities > 0.5).all()
    lines, precision, recall = trained.test(both, k=1)
    assert (lines, precision) == (100, 1.0) and recall == pytest.approx(100 / 150)


def test_a_line_is_the_mean_of_its_features(corpus):
    trained = model(word_ngrams=2, minn=3, maxn=4, bucket=99).train(corpus)
    found = trained.parts.features.read(b"dog bone\n", whole=True, threads=1)
    table = trained.parts.input[:, :10]
    mean = table[torch.from_numpy(found.rows).long()].mean(0).numpy()
    np.testing.assert_allclose(trained.get_sentence_vector("dog bone"), mean, rtol=1e-5, atol=1e-7)
    rows = trained.parts.subwords.ngram_rows("blorg").astype(np.int64) + len(trained.words)
    mean = table[torch.from_numpy(rows)].mean(0).numpy()
    np.testing.assert_allclose(trained.get_word_vector("blorg"), mean, rtol=1e-5, atol=1e-7)
    assert (model().train(corpus).get_word_vector("blorg") == 0).all()
    own = model().train(corpus)
    row = own.words.index("milk")
    assert (own.get_word_vector("milk") == own.parts.input[row, :10].numpy()).all()


def test_one_thread_gives_the_same_bits_and_threads_begin_alike(corpus):
    one, again = (model(word_ngrams=2, bucket=99).train(corpus) for _ in range(2))
    assert (one.parts.input == again.parts.input).all()
    assert (one.parts.output == again.parts.output).all()
    other = model(seed=2).train(corpus)
    assert not torch.equal(other.parts.input, model().train(corpus).parts.input)


class StopAfter:
    """Asks for a stop after so many epochs."""

    def __init__(self, stop: StopRequest, epochs: int):
        self.stop, self.left = stop, epochs

    def on_epoch_end(self, model):
        self.left -= 1
        if self.left == 0:
            self.stop.signum = 2


@pytest.mark.parametrize("loss", ["softmax", "ns"])
def test_a_run_that_is_resumed_ends_with_the_same_bits(corpus, tmp_path, loss):
    settings = {"loss": loss, "word_ngrams": 2, "bucket": 99, "min_count": 2, "maxn": 3}
    whole = model(**settings).train(corpus)
    stop = StopRequest()
    first = model(**settings)
    callbacks = [StopAfter(stop, 2)]
    folder = tmp_path / "run"
    first.train(corpus, stop=stop, callbacks=callbacks, checkpoint_folder=folder)
    assert not first.state.finished
    resumed = FastTextClassifier.load(folder, workers=1)
    assert resumed.settings == first.settings
    resumed.train(corpus, resume=True, checkpoint_folder=folder)
    assert (resumed.parts.input == whole.parts.input).all()
    assert (resumed.parts.output == whole.parts.output).all()
    assert resumed.state.loss_sum == whole.state.loss_sum
    with pytest.raises(ValueError, match="nothing to resume"):
        FastTextClassifier.load(folder).train(corpus, resume=True)
    (tmp_path / "other.txt").write_text("__label__dog moos\n")
    with pytest.raises(ValueError, match="cannot resume: corpus tokens is 2 now"):
        first.train(tmp_path / "other.txt", resume=True)


def test_files_hold_the_model(corpus, tmp_path):
    trained = model(word_ngrams=2, minn=2, maxn=3, bucket=50, loss="hs").train(corpus)
    trained.save(tmp_path / "model.bin")
    file = read_fasttext(tmp_path / "model.bin")
    assert (file.model, file.loss, file.wordNgrams, file.bucket, file.maxn) == (3, 1, 2, 50, 3)
    assert file.ntokens == 300 * 7
    loaded = FastTextClassifier.load(tmp_path / "model.bin")
    assert (loaded.words, loaded.labels) == (trained.words, trained.labels)
    assert (loaded.parts.input == trained.parts.input).all()
    for text in ("the bone growls", "unknown moos", ""):
        assert loaded.predict(text, k=3)[0] == trained.predict(text, k=3)[0]
    loaded.train(corpus)  # on from there, with its words
    assert loaded.words == trained.words and loaded.state.finished


def test_quantised_models_are_asked_and_not_trained(corpus, tmp_path):
    trained = model(dim=4, word_ngrams=2, bucket=300).train(corpus)
    trained.save(tmp_path / "model.bin")
    file = read_fasttext(tmp_path / "model.bin")
    file.input = QuantizedMatrix.quantize(np.array(file.input), 2, norms=True)
    write_fasttext(tmp_path / "model.ftz", file)
    loaded = FastTextClassifier.load(tmp_path / "model.ftz")
    assert loaded.quantised
    assert loaded.test(corpus)[1] > 0.95
    assert loaded.predict(["moos", ""])[0][0] == ("__label__cow",)
    with pytest.raises(ValueError, match="a quantised model cannot be trained"):
        loaded.train(corpus)


def test_pretrained_vectors(corpus, tmp_path):
    (tmp_path / "vectors.vec").write_text("2 3\nbone 1 2 3\nnew 4 5 6\n")
    trained = model(dim=3, lr=0.0).train(corpus, pretrained_vectors=tmp_path / "vectors.vec")
    assert trained.get_word_vector("bone").tolist() == [1, 2, 3]
    assert trained.get_word_vector("new").tolist() == [4, 5, 6]
    with pytest.raises(ValueError, match="must have dim=10 numbers each, got 3"):
        model().train(corpus, pretrained_vectors=tmp_path / "vectors.vec")
    with pytest.raises(ValueError, match="pretrained_vectors are for a first run"):
        trained.train(corpus, pretrained_vectors=tmp_path / "vectors.vec")


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("", {}, "is empty"),
        ("words alone\n", {}, "has no labels: none of its words begins with '__label__'"),
        ("__label__a", {}, "no line of the corpus .* has a label and a word"),
        ("__label__a x\n", {"loss": "hs"}, "loss 'hs' needs two labels or more"),
        ("__label__a x\n", {"loss": "ns"}, "loss 'ns' needs two labels or more"),
        ("__label__a x\n", {"min_count": 9}, "no word comes min_count=9 times"),
        ("__label__a x\n", {"min_count_label": 2}, "has no labels"),
    ],
)
def test_refuses_corpora(tmp_path, text, settings, message):
    (tmp_path / "text").write_text(text)
    with pytest.raises(ValueError, match=message):
        model(**settings).train(tmp_path / "text")


@pytest.mark.parametrize("loss", ["softmax", "ova"])
def test_one_label(tmp_path, loss):
    (tmp_path / "text").write_text("__label__a x\n" * 20)
    trained = model(loss=loss).train(tmp_path / "text")
    assert trained.predict("x")[0] == ("__label__a",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minn": 4, "maxn": 3}, "minn must be <= maxn=3, got 4"),
        ({"word_ngrams": 2, "bucket": 0}, "bucket must be >= 1 where there are n-grams"),
        ({"loss": "hinge"}, "loss"),
        ({"label": "a b"}, "label must be a text without white space"),
        ({"label": ""}, "label must be a text"),
        ({"label": "\ud800"}, "label must be text that UTF-8 has"),
        ({"device": "cuda"}, "device must be 'cpu' or 'auto', got 'cuda'"),
        ({"dim": 0}, "dim"),
    ],
)
def test_refuses_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        model(**settings)


def test_refuses_questions(corpus, tmp_path):
    with pytest.raises(ValueError, match="train it first"):
        model().predict("x")
    trained = model().train(corpus)
    with pytest.raises(ValueError, match="one line at a time"):
        trained.predict("x\ny")
    with pytest.raises(ValueError, match="k must be -1 or at least 1, got 0"):
        trained.predict("x", k=0)
    with pytest.raises(TypeError, match="text must be str, got int"):
        trained.predict([3])
    (tmp_path / "none.txt").write_text("no label here\n")
    lines, precision, recall = trained.test(tmp_path / "none.txt")
    assert lines == 0 and math.isnan(precision) and math.isnan(recall)
    assert trained.predict([]) == ([], [])


def test_refuses_other_folders(corpus, tmp_path):
    folder = tmp_path / "model"
    model(word_ngrams=2, bucket=20).train(corpus).save(folder)
    config = (folder / "config.json").read_text()
    for change, message in (
        (("softmax", "hs"), "loss must be hs in model.bin, as config.json says, got softmax"),
        (('"bucket": 20', '"bucket": 30'), "buckets must be 30 in model.bin"),
        (("fasttext_classifier", "glove"), "model must be 'fasttext_classifier'"),
    ):
        (folder / "config.json").write_text(config.replace(*change))
        with pytest.raises(CheckpointError, match=message):
            FastTextClassifier.load(folder)
    with pytest.raises(FileNotFoundError):
        FastTextClassifier.load(tmp_path / "nothing")


@pytest.mark.parametrize("loss", ["softmax", "hs", "ns", "ova"])
@pytest.mark.parametrize("features", [{}, {"wordNgrams": 3, "minn": 2, "maxn": 4, "bucket": 500}])
def test_its_own_package_predicts_the_same(corpus, tmp_path, loss, features):
    """Models of either are the same to both. It looks sigmoids up in a table of steps of 1/32."""
    fasttext = pytest.importorskip("fasttext")
    paths = [tmp_path / "ours.bin"]
    try:
        theirs = fasttext.train_supervised(
            str(corpus), dim=8, epoch=3, lr=0.5, loss=loss, thread=1, verbose=0, **features
        )
    except RuntimeError as error:  # its releases give up on some small texts
        assert "NaN" in str(error)
    else:
        paths.append(tmp_path / "theirs.bin")
        theirs.save_model(str(paths[1]))
    names = {"word_ngrams" if k == "wordNgrams" else k: v for k, v in features.items()}
    model(loss=loss, **names).train(corpus).save(paths[0])
    texts = [line.split(" ", 1)[1] for line in lines(40, seed=3)] + ["unseen mooses", ""]
    near = 4e-5 if loss in ("softmax", "hs") else 0.009
    for path in paths:
        theirs, ours = fasttext.load_model(str(path)), FastTextClassifier.load(path)
        assert ours.words == theirs.words and ours.labels == theirs.labels
        assert ours.test(corpus)[0] == theirs.test(str(corpus))[0]
        for text in texts:
            expected = dict(zip(*theirs.predict(text, k=3), strict=True))
            assert dict(zip(*ours.predict(text, k=3), strict=True)) == pytest.approx(
                expected, abs=near
            )
            np.testing.assert_allclose(
                ours.get_sentence_vector(text), theirs.get_sentence_vector(text), atol=1e-6
            )
        if loss == "softmax":
            assert ours.test(corpus, k=2) == pytest.approx(theirs.test(str(corpus), k=2))


@pytest.mark.parametrize("loss", [1, 2, 3])
@pytest.mark.parametrize("labels", [1, 3, 30])
@pytest.mark.parametrize("quantise", [False, True])
def test_a_line_alone_and_among_many(monkeypatch, loss, labels, quantise):
    """Against the formulas, by each of the ways that an answer can take."""
    from lexforge.models.fasttext import prediction
    from lexforge.models.fasttext.original import Model

    rng = np.random.default_rng(labels)
    file = fasttext_models.model(
        **{"model": 3, "loss": loss, "wordNgrams": 2, "bucket": 30},
        labels=WordBytes.of([b"__label__%d" % i for i in range(labels)]),
        label_counts=np.arange(labels, 0, -1) * 7,
        output=rng.standard_normal((labels, 4)).astype("f4"),
    )
    if quantise:
        file.input = QuantizedMatrix.quantize(file.input, 3, norms=True)
        file.output = QuantizedMatrix.quantize(file.output, 2, norms=True)
    texts = ["the cat", "", "strange 東京 the the", "cat"]
    table, output = np.asarray(file.input, np.float64), np.asarray(file.output, np.float64)
    predictor = Model(file)._predictor
    found = predictor.lines("".join(f"{text}\n" for text in texts).encode(), True)
    x = np.stack([table[rows].mean(0) for rows in np.split(found.rows, found.row_ends[1:-1])])
    scores = x @ output.T
    if loss == 3:
        expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    elif loss == 2:
        expected = 1 / (1 + np.exp(-np.floor((scores + 8) * 32) / 32 + 8))
    elif labels == 1:
        expected = np.ones((len(texts), 1))
    else:
        tree = huffman_tree(file.label_counts)
        paths = np.split(tree.nodes, tree.offsets[1:-1])
        turns = [(path >> 1, 2.0 * (path & 1) - 1) for path in paths]
        each = [1 / (1 + np.exp(-scores[:, nodes] * signs)) + 1e-5 for nodes, signs in turns]
        expected = np.stack([shares.prod(1) for shares in each], 1)
    if loss != 1:
        expected += 1e-5
    for many, cached in ((1 << 12, 1 << 18), (0, 1 << 18), (0, 0)):
        monkeypatch.setattr(prediction, "_MANY", many)
        monkeypatch.setattr(prediction, "_CACHED", cached)
        model = Model(file)
        together = model.predict(texts, k=-1)
        for row, text in enumerate(texts):
            for names, shares in (model.predict(text, k=-1), [of[row] for of in together]):
                order = [int(name.removeprefix("__label__")) for name in names]
                assert sorted(order) == list(range(labels))
                np.testing.assert_allclose(shares, expected[row][order], rtol=2e-5)
                assert (np.diff(shares) <= 0).all()
            names, shares = model.predict(text, k=2)
            kept = int((shares >= 0.1 + 1e-5).sum())
            assert model.predict(text, k=2, threshold=0.1)[0] == names[:kept]


def test_word_ngrams_without_buckets():
    """A file may say so: there are none then."""
    from lexforge.models.fasttext.original import Model

    file = fasttext_models.supervised(wordNgrams=3, bucket=0, maxn=0)
    assert len(Model(file).predict("the cat the")[0]) == 1
