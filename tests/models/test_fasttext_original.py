"""lexforge.fasttext: the fasttext package's names, arguments, types and answers."""

from __future__ import annotations

import gzip
import inspect
import math
import resource
from dataclasses import replace

import numpy as np
import pytest

import lexforge.fasttext as ours
from fasttext_models import quantised
from lexforge.models.fasttext import FastTextClassifier
from lexforge.models.fasttext.original import Model, ModelMeter
from lexforge.models.fasttext.original_training import THREADS
from lexforge.text.subwords import character_ngrams
from lexforge.training.signals import StopRequest
from lexforge.vectors.formats.fasttext import write_fasttext
from lexforge.vectors.quantised import QuantizedMatrix

# Arguments of the package's functions in their order, with its defaults; those of ours may go on.
COMMON = {
    "lr": 0.05, "dim": 100, "ws": 5, "epoch": 5, "minCount": 5, "minCountLabel": 0, "minn": 3,
    "maxn": 6, "neg": 5, "wordNgrams": 1, "loss": "ns", "bucket": 2000000, "thread": THREADS,
    "lrUpdateRate": 100, "t": 1e-4, "label": "__label__", "verbose": 2, "pretrainedVectors": "",
}  # fmt: skip
NONE = inspect.Parameter.empty
FUNCTIONS = {
    "tokenize": {"text": NONE},
    "load_model": {"path": NONE},
    "train_unsupervised": {"input": NONE, "model": "skipgram", **COMMON},
    "train_supervised": {
        "input": NONE,
        **COMMON,
        **{"lr": 0.1, "minCount": 1, "minn": 0, "maxn": 0, "loss": "softmax", "seed": 0},
        **{"autotuneValidationFile": "", "autotuneMetric": "f1", "autotunePredictions": 1},
        **{"autotuneDuration": 300, "autotuneModelSize": ""},
    },
}
ERRORS = {"on_unicode_error": "strict"}
METHODS = {
    "is_quantized": {},
    "get_dimension": {},
    "get_word_vector": {"word": NONE},
    "get_sentence_vector": {"text": NONE},
    "get_nearest_neighbors": {"word": NONE, "k": 10, **ERRORS},
    "get_analogies": {"wordA": NONE, "wordB": NONE, "wordC": NONE, "k": 10, **ERRORS},
    "get_word_id": {"word": NONE},
    "get_label_id": {"label": NONE},
    "get_subword_id": {"subword": NONE},
    "get_subwords": {"word": NONE, **ERRORS},
    "get_input_vector": {"ind": NONE},
    "predict": {"text": NONE, "k": 1, "threshold": 0.0, **ERRORS},
    "get_input_matrix": {},
    "get_output_matrix": {},
    "get_words": {"include_freq": False, **ERRORS},
    "get_labels": {"include_freq": False, **ERRORS},
    "get_line": {"text": NONE, **ERRORS},
    "save_model": {"path": NONE},
    "test": {"path": NONE, "k": 1, "threshold": 0.0},
    "test_label": {"path": NONE, "k": 1, "threshold": 0.0},
    "get_meter": {"path": NONE, "k": -1},
    "quantize": {
        **{"input": None, "qout": False, "cutoff": 0, "retrain": False, "epoch": None, "lr": None},
        **{"thread": None, "verbose": None, "dsub": 2, "qnorm": False},
    },
    "set_matrices": {"input_matrix": NONE, "output_matrix": NONE},
}
METER = {
    "score_vs_true": {"label": NONE},
    "precision_recall_curve": {"label": None},
    "precision_at_recall": {"recall": NONE, "label": None},
    "recall_at_precision": {"precision": NONE, "label": None},
}
LINES = ["w1 w3 w8", "", "unknown w2", "w2\tw3\x0bw1\0w0 __label__2 __label__none", "</s> w1"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Lines of words, most of which tell the label."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    lines = []
    for _ in range(400):
        label = random.integers(3)
        words = random.integers(10, size=random.integers(2, 7)) * 3 + label
        lines.append(f"__label__{label} " + " ".join(f"w{word}" for word in words) + "\n")
    lines[7] = "__label__1 __label__0 wéé 東京 w1\n"
    path.write_text("".join(lines))
    return path


TRAINED = {
    "softmax": {"wordNgrams": 2, "bucket": 300, "minn": 2, "maxn": 3},
    "hs": {"loss": "hs", "wordNgrams": 1},
    "ova": {"loss": "ova", "wordNgrams": 3, "bucket": 500},
    "ns": {"loss": "ns", "minn": 1, "maxn": 2, "bucket": 50},
}


@pytest.fixture(scope="module")
def supervised(text):
    """Classifiers by loss, and one that is cut and quantized."""
    found = {}
    for name, options in TRAINED.items():
        found[name] = ours.train_supervised(
            text, dim=6, epoch=15, lr=0.5, thread=1, verbose=0, **options
        )
    found["quantized"] = Model(found["softmax"].file)
    found["quantized"].quantize(cutoff=60, qnorm=True, qout=True)
    return found


@pytest.fixture(scope="module")
def unsupervised(text):
    return {
        model: ours.train_unsupervised(
            text, model, dim=6, minCount=1, bucket=500, thread=1, verbose=0, epoch=2, loss=loss
        )
        for model, loss in (("skipgram", "ns"), ("cbow", "hs"))
    }


@pytest.fixture(scope="module")
def models(supervised, unsupervised):
    return {**supervised, **unsupervised}


NAMES = [*TRAINED, "quantized", "skipgram", "cbow"]


def test_compressed_lines(supervised, text, tmp_path):
    """A file with labels is tested with as what it holds; what is no text is refused."""
    model, packed = supervised["ova"], tmp_path / "packed"
    packed.write_bytes(gzip.compress(text.read_bytes()))
    assert model.test(packed, 2) == model.test(text, 2)
    assert model.test_label(packed) == model.test_label(text)
    told = [model.get_meter(path).precision_at_recall(0.5) for path in (packed, text)]
    assert told[0] == told[1]
    packed.write_bytes(b"\x93NUMPY" + bytes(60))
    with pytest.raises(ValueError, match="packed: a numpy array: a corpus is text"):
        model.test(packed)


@pytest.mark.parametrize(
    "owner, known",
    [(ours, FUNCTIONS), (Model, METHODS), (ModelMeter, METER)],
    ids=["functions", "methods", "meter"],
)
def test_names_and_arguments(owner, known):
    for name, arguments in known.items():
        parameters = dict(inspect.signature(getattr(owner, name)).parameters)
        parameters.pop("self", None)
        found = {each: parameter.default for each, parameter in parameters.items()}
        assert dict(list(found.items())[: len(arguments)]) == arguments, name
        assert list(found)[: len(arguments)] == list(arguments), name
    assert (ours.EOS, ours.BOW, ours.EOW) == ("</s>", "<", ">")


def test_the_table_is_that_of_the_package():
    """Where it is installed."""
    package = pytest.importorskip("fasttext")
    for name in ("train_supervised", "train_unsupervised", "load_model", "tokenize"):
        assert callable(getattr(package, name))
    for name, arguments in METHODS.items():
        theirs = dict(inspect.signature(getattr(package.FastText._FastText, name)).parameters)
        theirs.pop("self")
        assert {each: parameter.default for each, parameter in theirs.items()} == arguments


def test_tokenize():
    assert ours.tokenize("a b\tc\x0bd\fe\rf\0g  é\n\nh\n") == [
        *"abcdefg", "é", "</s>", "</s>", "h", "</s>",
    ]  # fmt: skip
    assert ours.tokenize("") == ours.tokenize(" ") == []
    assert ours.tokenize("no\u00a0break") == ["no\u00a0break"]


def test_what_training_leaves(supervised, unsupervised):
    model = supervised["softmax"]
    assert (model.lr, model.dim, model.wordNgrams, model.loss) == (0.5, 6, 2, "softmax")
    assert (model.thread, model.label, model.verbose) == (1, "__label__", 0)
    assert repr(model) == "<fastText supervised, 33 words, 3 labels, dim 6>"
    assert sorted(model.labels) == ["__label__0", "__label__1", "__label__2"]
    assert set(model.words) >= {"</s>", "w0", "wéé", "東京"}
    assert repr(unsupervised["cbow"]) == "<fastText cbow, 32 words, dim 6>"
    assert not [word for word in unsupervised["cbow"].words if word.startswith("__label__")]
    assert unsupervised["skipgram"].labels == unsupervised["skipgram"].words
    with pytest.raises(AttributeError, match="'Model' object has no attribute 'rate'"):
        _ = model.rate


@pytest.mark.parametrize("name", NAMES)
def test_a_file_gives_the_same_answers(models, name, tmp_path, text):
    model = models[name]
    model.save_model(tmp_path / "m.bin")
    again = ours.load_model(tmp_path / "m.bin")
    compare(model, again, text)


@pytest.mark.parametrize("name", NAMES)
def test_the_package_gives_the_same_answers(models, name, tmp_path, text):
    package = pytest.importorskip("fasttext")
    models[name].save_model(tmp_path / "m.bin")
    theirs = package.load_model(str(tmp_path / "m.bin"))
    if not np.allclose(theirs["w1"], models[name]["w1"], atol=1e-5):
        pytest.skip("a build whose word vectors have length 1")
    compare(models[name], theirs, text)


def compare(model, other, text):
    """Both give the same, of the same types."""

    def same(name, *arguments, atol=2e-6):
        assert_alike(getattr(model, name)(*arguments), getattr(other, name)(*arguments), atol)

    for name in ("is_quantized", "get_dimension", "get_words", "get_labels"):
        same(name)
    same("get_words", True)
    same("get_labels", True)
    for word in ("w1", "w999", "wéé", "</s>", "東"):
        same("get_word_id", word)
        same("get_word_vector", word)
        assert (word in model) == (word in other)
        assert_alike(model[word], other[word], 2e-6)
        if model.bucket:
            same("get_subword_id", word)
        if len(model.get_subwords(word)[1]):  # the package has floats in an empty array
            same("get_subwords", word)
    for label in model.labels:
        assert model.get_label_id(label) in (other.get_label_id(label), -1)
    for line in LINES:
        same("get_line", line)
        same("get_sentence_vector", line)
    same("get_line", LINES)
    same("get_input_vector", 2)
    if not model.is_quantized():
        same("get_input_matrix")
        same("get_output_matrix")
    for k in (1, 5, 100):
        scores = [
            [score for score, _ in each.get_nearest_neighbors("w1", k)] for each in (model, other)
        ]
        assert_alike(*scores, 1e-5)
        scores = [
            [score for score, _ in each.get_analogies("w1", "w4", "x", k)]
            for each in (model, other)
        ]
        assert_alike(*scores, 1e-5)
    if not model.file.supervised:
        return
    for k, threshold in ((1, 0.0), (2, 0.3), (-1, 0.0)):
        for line in LINES:
            labels, scores = model.predict(line, k, threshold)
            expected, theirs = other.predict(line, k, threshold)
            assert_alike(scores, theirs, 1e-5)
            if len(set(np.round(scores, 3))) == len(scores):
                assert labels == expected
        _, scores = model.predict(LINES, k, threshold)
        assert_alike(scores, other.predict(LINES, k, threshold)[1], 1e-5)
        assert_alike(model.test(text, k, threshold), other.test(str(text), k, threshold), 0.02)
        of_labels = model.test_label(text, k, threshold), other.test_label(str(text), k, threshold)
        for label in model.labels:
            assert_alike(of_labels[0][label], of_labels[1][label], 0.02)
    meters = [each.get_meter(str(text)) for each in (model, other)]
    for label in (None, "__label__1"):
        for share in (0.2, 0.8):
            first, second = (each.precision_at_recall(share, label) for each in meters)
            assert first == pytest.approx(second, abs=0.02)
            first, second = (each.recall_at_precision(share, label) for each in meters)
            assert first == pytest.approx(second, abs=0.02)


def assert_alike(found, expected, atol):
    assert type(found) is type(expected)
    if isinstance(found, np.ndarray):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=atol)
    elif isinstance(found, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other, atol)
    elif isinstance(found, dict):
        assert found.keys() == expected.keys()
        assert_alike([*found.values()], [*expected.values()], atol)
    else:
        assert found == pytest.approx(expected, abs=atol, nan_ok=True)


def test_subwords_of_odd_words(supervised, unsupervised):
    """NULs, which no word of a text holds, and more n-grams than most words have."""
    for model in (unsupervised["skipgram"], supervised["softmax"], supervised["quantized"]):
        for word in ("a\0b", "\0", "w1" * 3000, "é" * 999, "", "</s>", "w1"):
            texts, rows = model.get_subwords(word)
            known = [word] if word in model else []
            lengths = model.file.subwords.min_n, model.file.subwords.max_n
            assert texts == known + (character_ngrams(word, *lengths) if word != "</s>" else [])
            of_ngrams = model.file.subwords.ngram_rows(word) + np.int64(len(model.words))
            own = [model.get_word_id(word)] if known else []
            assert rows.tolist() == own + of_ngrams.tolist()


def test_types(supervised):
    model = supervised["softmax"]
    labels, scores = model.predict("w1 w4 w7 w10")
    assert labels == ("__label__1",) and scores.dtype == np.float64 and 0.5 < scores[0] < 1.0001
    labels, scores = model.predict(["w1 w4 w7", "w0 w3"], k=2)
    assert [type(each) for each in labels] == [list, list] and scores[0].dtype == np.float32
    assert [each[0] for each in labels] == ["__label__1", "__label__0"]
    assert model.predict("w1", threshold=2.0)[0] == ()
    assert model.predict([]) == ([], [])
    assert model.get_word_vector("w1").dtype == np.float32
    score, word = model.get_nearest_neighbors("w1", 1)[0]
    assert isinstance(score, float) and isinstance(word, str)
    words, counts = model.get_words(include_freq=True)
    assert words == model.words and counts.dtype == np.int64
    assert model.get_subwords("w1")[1].dtype == model.get_subwords("")[1].dtype == np.int64


def test_classifiers_learn_and_stay_good_when_quantized(supervised, text):
    for name, model in supervised.items():
        examples, precision, recall = model.test(text)
        assert examples == 400 and precision > 0.95 and recall > 0.94, name
    assert supervised["quantized"].is_quantized()
    assert len(supervised["quantized"].file.input) == 60


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"qnorm": True, "dsub": 3},
        {"qout": True},
        {"cutoff": 20},
        {"cutoff": 1},
        {"cutoff": 10**6},
    ],
)
def test_quantize(supervised, text, tmp_path, options):
    model = Model(supervised["softmax"].file)
    before = model.get_input_matrix()
    model.quantize(**options)
    assert isinstance(model.file.input, QuantizedMatrix)
    assert isinstance(model.file.output, QuantizedMatrix) == options.get("qout", False)
    cut = options.get("cutoff", 0)
    if 0 < cut < len(before):
        lengths = np.linalg.norm(before, axis=1)
        lengths[model.file.row(b"</s>")] = np.inf
        kept = np.argsort(-lengths)[:cut]
        assert "</s>" in model.words and len(model.file.input) == cut
        assert len(model.words) == (kept < len(supervised["softmax"].words)).sum()
        words = set(supervised["softmax"].words[row] for row in kept if row < 33)
        assert set(model.words) == words
    else:
        assert model.words == supervised["softmax"].words
        error = np.square(np.asarray(model.file.input) - before).sum()
        assert error < 0.02 * np.square(before).sum()
    model.save_model(tmp_path / "m.ftz")
    again = ours.load_model(tmp_path / "m.ftz")
    assert again.predict(LINES, k=3)[0] == model.predict(LINES, k=3)[0]
    assert again.test(text)[1] > (0.9 if cut not in (1, 20) else 0.3)


def test_retraining_after_the_cut(supervised, text):
    plain, retrained = (Model(supervised["softmax"].file, lr=0.5) for _ in range(2))
    plain.quantize(cutoff=8)
    retrained.quantize(str(text), cutoff=8, retrain=True, epoch=5, thread=1, verbose=0)
    assert retrained.words == plain.words
    assert retrained.test(text)[1] > plain.test(text)[1]
    assert retrained.epoch == plain.epoch == 15


def test_other_matrices(supervised, unsupervised):
    model = Model(unsupervised["skipgram"].file)
    before = model.get_nearest_neighbors("w1", 3)
    rows, words = len(model.get_input_matrix()), len(model.words)
    random = np.random.default_rng(0)
    model.set_matrices(random.random((rows, 3)), random.random((words, 3)))
    assert model.get_dimension() == 3 and model["w1"].shape == (3,)
    assert model.get_nearest_neighbors("w1", 3) != before
    for shapes in (((rows - 1, 3), (words, 3)), ((rows, 3), (words, 4)), ((rows,), (words, 3))):
        with pytest.raises(ValueError, match=r"set_matrices: .*put_matrix must be"):
            model.set_matrices(*map(np.zeros, shapes))
    quantized = Model(supervised["quantized"].file)
    with pytest.raises(ValueError, match="pruned"):
        quantized.set_matrices(np.zeros((60, 6)), np.zeros((3, 6)))


def test_words_that_are_not_utf8(unsupervised, tmp_path):
    file = unsupervised["skipgram"].file
    data = bytearray(file.words.data.tobytes())
    data[0] = 0xFF
    write_fasttext(
        tmp_path / "m.bin",
        replace(file, words=replace(file.words, data=np.frombuffer(bytes(data), np.uint8))),
    )
    model = ours.load_model(tmp_path / "m.bin")
    with pytest.raises(UnicodeDecodeError):
        model.get_words()
    assert model.get_words(on_unicode_error="replace")[0].startswith("\ufffd")
    assert model.get_nearest_neighbors("w2", 100, "ignore")


@pytest.mark.parametrize("name, number", [("recall", 0.5), ("precision", 0.9)])
def test_meter(supervised, text, name, number):
    meter = supervised["softmax"].get_meter(text)
    scores, true = meter.score_vs_true("__label__0")
    assert scores.dtype == true.dtype == np.float64 and (np.diff(scores) >= 0).all()
    precision, recall = meter.precision_recall_curve("__label__0")
    assert (precision[-1], recall[-1]) == (1, 0) and len(precision) == len(recall)
    with pytest.raises(ValueError, match="no label '__label__9'"):
        meter.precision_at_recall(0.5, "__label__9")


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda m, u: m.predict("two\nlines"), ValueError, "predict processes one line at a time"),
        (lambda m, u: m.predict(["a", "b\n"]), ValueError, "predict processes one line at a time"),
        (lambda m, u: m.get_line("two\nlines"), ValueError, "get_line processes one line at a"),
        (lambda m, u: m.get_sentence_vector("\n"), ValueError, "one line at a time"),
        (lambda m, u: m.predict("a", k=-2), ValueError, "k must be"),
        (lambda m, u: m.predict("a", k=0), ValueError, "k must be -1 or at least 1, got 0"),
        (lambda m, u: m.predict([3]), TypeError, r"a str or a list of str, got \[3\]"),
        (lambda m, u: m.f, AttributeError, "'f': it wraps nothing"),
        (lambda m, u: m.predict("a", threshold="x"), TypeError, "threshold must be a number"),
        (lambda m, u: u.predict("a"), ValueError, "needs to be supervised"),
        (lambda m, u: u.test("nowhere"), FileNotFoundError, "nowhere"),
        (lambda m, u: u.quantize(), ValueError, "only support quantization of supervised"),
        (lambda m, u: m.quantize(retrain=True), ValueError, "Need input file path if retraining"),
        (lambda m, u: m.quantize(dsub=0), ValueError, "dsub must be"),
        (lambda m, u: m.quantize(cutoff=-1), ValueError, "cutoff must be"),
        (lambda m, u: m.get_input_vector(10**6), IndexError, "ind must be 0 to"),
        (lambda m, u: m.get_nearest_neighbors("a", 0), ValueError, "k must be"),
        (lambda m, u: m.get_word_vector(5), AttributeError, "encode"),
    ],
)
def test_errors(supervised, unsupervised, call, error, message):
    with pytest.raises(error, match=message):
        call(Model(supervised["softmax"].file), unsupervised["skipgram"])


def test_errors_of_quantized_models(supervised):
    model = supervised["quantized"]
    for matrix in (model.get_input_matrix, model.get_output_matrix):
        with pytest.raises(ValueError, match="Can't get quantized Matrix"):
            matrix()
    with pytest.raises(ValueError, match="quantized already"):
        model.quantize()
    with pytest.raises(ValueError, match="has no n-grams"):
        supervised["hs"].get_subword_id("x")


@pytest.mark.parametrize(
    "train, options, error, message",
    [
        ("supervised", {"autotuneDuration": 60}, ValueError, "no autotuning here"),
        ("supervised", {"autotuneValidationFile": "f"}, ValueError, "no autotuning here"),
        ("supervised", {"autotune": 1}, TypeError, "unexpected keyword argument 'autotune'"),
        ("unsupervised", {"autotuneMetric": "f1"}, TypeError, "unexpected keyword argument"),
        ("unsupervised", {"min_count": 1, "minCount": 1}, TypeError, "multiple values.*'minCount'"),
        ("unsupervised", {"model": "sg"}, ValueError, "model must be one of skipgram, cbow"),
        ("unsupervised", {"loss": "softmax"}, ValueError, "loss must be one of ns, hs"),
        ("unsupervised", {"minn": 4, "maxn": 3}, ValueError, "min_n must be <= max_n=3, got 4"),
        ("unsupervised", {"bucket": 0}, ValueError, "bucket must be >= 1"),
        ("supervised", {"loss": "hinge"}, ValueError, "loss must be one of"),
        ("supervised", {"wordNgrams": 2, "bucket": 0}, ValueError, "bucket must be >= 1"),
        ("supervised", {"pretrainedVectors": "nowhere.vec"}, FileNotFoundError, "nowhere.vec"),
    ],
)
def test_errors_of_training(text, train, options, error, message):
    with pytest.raises(error, match=message):
        getattr(ours, f"train_{train}")(text, verbose=0, **options)


def test_errors_of_input():
    for train in (ours.train_supervised, ours.train_unsupervised):
        with pytest.raises(FileNotFoundError, match="input: no such file or folder: nowhere"):
            train("nowhere")
        with pytest.raises(TypeError, match="input must be the path of a text file"):
            train(["a", "b"])
        with pytest.raises(ValueError, match="input must be a file"):
            train("-")


def test_other_names_of_arguments(text):
    model = ours.train_supervised(
        text, 0.5, 4, min_count=3, word_ngrams=2, label_prefix="__label__", lr_update_rate=7,
        bucket=100, thread=1, verbose=0, epoch=1, pretrained_vectors="",
    )  # fmt: skip
    assert (model.dim, model.minCount, model.wordNgrams, model.lrUpdateRate) == (4, 3, 2, 7)


def test_unsupervised_words_of_one_shape_are_near(tmp_path):
    """Trained on lines of two topics: a word's neighbours are of its own."""
    random = np.random.default_rng(0)
    topics = (["sun", "sunny", "sky"], ["snow", "cold", "ice"])
    lines = [" ".join(random.choice(topics[i % 2], 8)) for i in range(600)]
    (tmp_path / "t.txt").write_text("\n".join(lines))
    model = ours.train_unsupervised(
        tmp_path / "t.txt", dim=8, minCount=1, t=1.0, epoch=10, thread=1, verbose=0, bucket=1000
    )
    assert {word for _, word in model.get_nearest_neighbors("sun", 2)} == {"sunny", "sky"}
    assert math.isclose(np.linalg.norm(model.get_sentence_vector("sun")), 1, rel_tol=1e-5)


def test_a_pruned_model_takes_no_room_for_its_buckets(tmp_path):
    """Whatever their number in the file: rows are found for those that are kept."""
    kept = np.array([[1_999_999_999, 1], [7, 0]], np.int32)
    file = replace(quantised(rows=8, wordNgrams=2, pruneidx=kept), bucket=2_000_000_000)
    write_fasttext(tmp_path / "m.ftz", file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = ours.load_model(tmp_path / "m.ftz")
    assert len(loaded.predict("the cat", k=2)[0]) == 2
    mean = loaded.file.input[[0, 1, 4]].sum(0) / 3  # the, cat, </s>, and no n-gram that is kept
    np.testing.assert_allclose(loaded.get_sentence_vector("the cat"), mean, rtol=1e-5)
    FastTextClassifier.load(tmp_path / "m.ftz").predict("the cat")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


def test_runs_are_resumed_with_the_same_arguments(text, tmp_path):
    """Of Python, too: as they were, by a call that says so."""
    quick = {"dim": 4, "minCount": 1, "bucket": 50, "thread": 1, "verbose": 0}
    folder = tmp_path / "run"
    stop = StopRequest()
    stop.signum = 15  # it comes before the first step, after which the run is saved
    first = ours.train_supervised(text, **quick, checkpoint_folder=folder, stop=stop)
    assert not first.state.finished
    with pytest.raises(ValueError, match=r"cannot resume with other settings: lr is 0\.2, 0\.1 in"):
        ours.train_supervised(text, 0.2, **quick, checkpoint_folder=folder, resume=True)
    done = ours.train_supervised(text, **quick, checkpoint_folder=folder, resume=True)
    whole = ours.train_supervised(text, **quick)
    assert done.state.finished and (done.get_input_matrix() == whole.get_input_matrix()).all()
    with pytest.raises(ValueError, match="resume needs the checkpoint_folder"):
        ours.train_unsupervised(text, **quick, resume=True)
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        ours.train_unsupervised(text, checkpoint_folder=tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()
