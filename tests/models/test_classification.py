"""Classifiers: they learn what is planted, resume to the last bit, refuse what they must."""

from __future__ import annotations

import contextlib
import json
import shutil

import numpy as np
import pytest
import torch

from lexforge import FastText, KeyedVectors, Word2Vec
from lexforge._library import cpu_has_bf16
from lexforge.classification import (
    BiRNN,
    BiRNNConfig,
    DecomposableAttention,
    DecomposableConfig,
    LabelledTexts,
    TextClassifier,
    TextCNN,
    TextCNNConfig,
    train_classifier,
)
from lexforge.models.classification.files import read_contents
from lexforge.text.classification.batches import RaggedTexts
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.training.checkpoint import CheckpointError
from models import plain_classifiers
from planted_texts import NAMES, planted_texts

SMALL = {
    "min_count": 1,
    "batch_size": 16,
    "epochs": 3,
    "learning_rate": 0.01,
    "workers": 1,
    "device": "cpu",
}
SHAPES = {
    "textcnn": {"embed_size": 8, "num_channels": 8, "kernel_sizes": "2,3"},
    "birnn": {"embed_size": 8, "hidden_size": 8, "num_layers": 1},
    "decomposable": {"embed_size": 16, "hidden_size": 48, "dropout": 0.1},
}
KINDS = tuple(SHAPES)


class StopAt(contextlib.nullcontext):
    """A stop request that comes with an evaluation."""

    requested = False

    def on_evaluate(self, result):
        self.requested = True


def texts_for(kind, size=240, seed=0):
    return planted_texts(size, kind == "decomposable", seed=seed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of each network, and its folder."""
    found = {}

    def run(kind):
        if kind not in found:
            folder = tmp_path_factory.mktemp(kind)
            epochs = 10 if kind == "decomposable" else 5
            settings = {**SMALL, "epochs": epochs}
            result = train_classifier(
                texts_for(kind), model=kind, shape=SHAPES[kind], out=folder, **settings
            )
            found[kind] = result, folder
        return found[kind]

    return run


def parameters(network):
    return {name: x.detach() for name, x in network.named_parameters()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


# -- networks -------------------------------------------------------------------------------------


def ragged(*texts):
    bounds = np.cumsum([0, *(len(text) for text in texts)])
    tokens = torch.tensor([token for text in texts for token in text], dtype=torch.int64)
    return RaggedTexts(tokens, torch.tensor(bounds, dtype=torch.int32), max(map(len, texts)))


def network_of(kind, pool=None, **shape):
    shape = {"vocab_size": 9, "embed_size": 5, **shape, **({} if pool is None else {"pool": pool})}
    if kind == "birnn":
        return BiRNN(BiRNNConfig(hidden_size=4, **shape), seed=3).eval()
    if kind == "textcnn":
        return TextCNN(TextCNNConfig(kernel_sizes=[2, 4], num_channels=3, **shape), seed=3).eval()
    return DecomposableAttention(DecomposableConfig(hidden_size=4, **shape), seed=3).eval()


@pytest.mark.parametrize(
    "kind, pool",
    [
        *(("birnn", pool) for pool in ("final", "ends", "mean", "max")),
        *(("textcnn", pool) for pool in ("max", "avg")),
        ("decomposable", None),
    ],
)
def test_networks_compute_what_the_plain_ones_do_of_each_text(kind, pool, device):
    network = network_of(kind, pool)
    texts = [[1, 2, 3, 4, 5, 6], [7], [8, 1, 2], [], [3, 3]]
    others = [[5, 5], [1, 2, 3, 4], [], [6], [7, 8]]
    sides = [texts, others] if kind == "decomposable" else [texts]
    plain = getattr(plain_classifiers, kind)
    expected = torch.stack(
        [
            plain(network, *(torch.tensor(text, dtype=torch.int64) for text in row))
            for row in zip(*sides, strict=True)
        ]
    )
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    (expected * weights).sum().backward()
    gradients = {name: x.grad.clone() for name, x in network.named_parameters()}
    network.zero_grad()
    network.to(device)
    found = network(*(ragged(*each).to(device) for each in sides))
    (found * weights.to(device)).sum().backward()
    torch.testing.assert_close(found.cpu(), expected)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad.cpu(), gradients[name], msg=name)


def test_networks_have_the_printed_parameters():
    tables = ("embedding", "constant_embedding")
    expected = {
        BiRNN: (BiRNNConfig(pool="ends"), 403_200 + 802),
        TextCNN: (TextCNNConfig(), 240_300 + 602),
        DecomposableAttention: (DecomposableConfig(), 60_400 + 80_400 + 121_003),
    }
    for kind, (config, count) in expected.items():
        named = kind(config).named_parameters()
        assert sum(p.numel() for n, p in named if n.partition(".")[0] not in tables) == count


def test_a_seed_tells_the_first_values_and_leaves_the_generator_alone():
    before = torch.get_rng_state()
    first, second = (parameters(network_of("textcnn")) for _ in range(2))
    assert equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_first_values_are_those_of_the_text_page(kind):
    """By Xavier's rule on the pages of sentiment, torch's on that of inference."""
    for name, weight in parameters(network_of(kind)).items():
        if "weight" not in name or "embedding" in name:
            continue
        fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(weight)
        torchs, xaviers = fan_in**-0.5, (6 / (fan_in + fan_out)) ** 0.5
        bound = torchs if kind == "decomposable" else xaviers
        assert weight.abs().max() <= bound
        if weight.numel() > 30:
            assert weight.abs().max() > 0.8 * bound


def test_configurations_refuse_what_cannot_be():
    for shape, message in (
        ({"kernel_sizes": "3,x"}, "kernel_sizes must be whole numbers like 3,4,5, got '3,x'"),
        ({"kernel_sizes": [0]}, "kernel_sizes must be >= 1, got 0"),
        ({"kernel_sizes": []}, "kernel_sizes must be at least one number, got none"),
        ({"num_channels": "1,2"}, "num_channels must be one number or 3, as kernel_sizes 3,4,5"),
        ({"pool": "sum"}, "pool must be one of max, avg, got 'sum'"),
        ({"num_classes": 1}, "num_classes must be >= 2, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            TextCNNConfig(**shape)
    with pytest.raises(ValueError, match="second must be None"):
        network_of("birnn")(ragged([1]), ragged([1]))
    with pytest.raises(ValueError, match="second must be given"):
        network_of("decomposable")(ragged([1]))
    with pytest.raises(ValueError, match="second must be 1 texts like first, got 2"):
        network_of("decomposable")(ragged([1]), ragged([1], [2]))


# -- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_learns_what_is_planted(kind, trained):
    result, _ = trained(kind)
    scores = result.classifier.evaluate(texts_for(kind, 100, seed=1))
    assert scores.accuracy >= (0.9 if kind == "decomposable" else 0.97)
    assert [each["epoch"] for each in result.evaluations] == [
        *range(1, len(result.evaluations) + 1)
    ]
    assert {"loss", "accuracy", "macro_f1"} <= result.evaluations[0].keys()
    best = result.state.best_evaluation
    confusion = np.array(result.state.confusions[result.evaluations.index(best)])
    assert np.trace(confusion) / confusion.sum() == pytest.approx(best["accuracy"], abs=1e-6)
    assert "accuracy" in repr(result) and "macro-F1" in result._repr_html_()


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_resumed_it_ends_with_the_same_bits(kind, tmp_path):
    texts = texts_for(kind, 96)
    options = {**SMALL, "accumulation": 2, "class_weights": "1,2", "schedule": "linear"}
    options |= {"model": kind, "shape": SHAPES[kind], "warmup_steps": None}
    whole = train_classifier(texts, **options)
    stop = StopAt()
    part = train_classifier(texts, **options, out=tmp_path, stop=stop, callbacks=[stop])
    assert 0 < part.state.done < whole.state.total
    rest = train_classifier(texts, out=tmp_path, resume=True, workers=1, device="cpu")
    assert rest.evaluations == whole.evaluations
    assert rest.history == whole.history
    assert equal(parameters(rest.classifier.network), parameters(whole.classifier.network))
    assert rest.settings == whole.settings


def test_the_best_network_is_kept_and_loaded(tmp_path):
    texts = texts_for("textcnn", 96)
    options = {**SMALL, "learning_rate": 0.3, "epochs": 6, "shape": SHAPES["textcnn"]}
    result = train_classifier(texts, out=tmp_path, keep=2, **options)
    best, last = (read_contents(folder).network for folder in (tmp_path / "best", tmp_path))
    assert result.state.best_evaluation is not result.evaluations[-1]  # such a rate is too high
    assert equal(parameters(best), parameters(result.classifier.network))
    assert not equal(parameters(last), parameters(best))
    loaded = TextClassifier.load(tmp_path, "cpu")
    assert equal(parameters(loaded.network), parameters(best))
    assert len(list(tmp_path.glob("step-*"))) == 1  # a run of few minutes saves once


def test_early_stopping_ends_a_run_that_no_longer_gets_better():
    options = {**SMALL, "learning_rate": 0.3, "epochs": 30, "shape": SHAPES["textcnn"]}
    result = train_classifier(texts_for("textcnn", 96), early_stopping=2, **options)
    assert result.state.stopped_early
    assert result.state.evaluations_since_best == 2


def test_without_held_out_texts_the_last_network_is_the_result(tmp_path):
    options = {**SMALL, "epochs": 1, "shape": SHAPES["textcnn"]}
    result = train_classifier(texts_for("textcnn", 40), dev_share=0, out=tmp_path, **options)
    assert result.evaluations == [] and not (tmp_path / "best").exists()
    loaded = TextClassifier.load(tmp_path, "cpu")
    assert equal(parameters(loaded.network), parameters(result.classifier.network))
    assert "TrainingResult(step 3/3)" in repr(result)


def test_dev_texts_are_matched_by_the_names_of_their_classes():
    texts, dev = texts_for("textcnn", 96), texts_for("textcnn", 20, seed=1)
    turned = LabelledTexts(dev.first, None, 1 - dev.labels, NAMES[::-1])
    options = {**SMALL, "epochs": 1, "shape": SHAPES["textcnn"]}
    first, second = (train_classifier(texts, dev=each, **options) for each in (dev, turned))
    assert first.evaluations == second.evaluations


def test_class_weights_move_the_decision():
    texts = planted_texts(64)
    blank = LabelledTexts(["w1 w2"] * len(texts), None, texts.labels, NAMES)  # nothing to learn
    options = {**SMALL, "epochs": 8, "shape": SHAPES["textcnn"], "dev_share": 0}
    shares = {}
    for weights in (None, "1,9", [9, 1]):
        result = train_classifier(blank, class_weights=weights, **options)
        shares[str(weights)] = result.classifier.predict(["w1 w2"]).probabilities[0, 1]
    assert shares["[9, 1]"] < 0.3 < shares["None"] < 0.7 < shares["1,9"]
    rare = blank[np.flatnonzero((texts.labels == 0) | (np.arange(64) % 8 == 1))]
    for weights, low, high in ((None, 0, 0.35), ("balanced", 0.35, 0.65)):
        result = train_classifier(rare, class_weights=weights, **options)
        assert low <= result.classifier.predict(["w1 w2"]).probabilities[0, 1] <= high


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no AVX512_BF16")
@pytest.mark.parametrize("kind", KINDS)
def test_bf16_trains_too(kind, trained):
    options = {**SMALL, "model": kind, "shape": SHAPES[kind], "precision": "bf16"}
    result = train_classifier(texts_for(kind, 96), **options)
    assert all(x.dtype == torch.float32 for x in result.classifier.network.parameters())
    classifier, texts = trained(kind)[0].classifier, texts_for(kind, 40, seed=2)
    exact, near = (classifier.predict(texts, precision=p) for p in ("float32", "bf16"))
    np.testing.assert_allclose(near.probabilities, exact.probabilities, atol=0.1)


def test_callbacks_hear_of_epochs_and_evaluations():
    class Heard:
        events: list = []  # noqa: RUF012

        def __getattr__(self, name):
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda result: self.events.append((name, result.state.done))

    options = {**SMALL, "epochs": 2, "shape": SHAPES["textcnn"]}
    train_classifier(texts_for("textcnn", 40), callbacks=[Heard()], **options)
    names = [name for name, _ in Heard.events]
    assert names[0] == "on_train_begin" and names[-1] == "on_train_end"
    assert names.count("on_epoch_end") == names.count("on_evaluate") == 2


# -- pretrained vectors ---------------------------------------------------------------------------


def vectors_of(words, size=6):
    rng = np.random.default_rng(0)
    return KeyedVectors(words, rng.normal(size=(len(words), size)).astype(np.float32))


def start(kind, vectors, **settings):
    """A network after no step that changes anything."""
    options = {**SMALL, "epochs": 1, "learning_rate": 0.0, "dev_share": 0, "model": kind}
    return train_classifier(texts_for(kind, 40), vectors=vectors, **{**options, **settings})


def test_vectors_are_first_values_and_other_words_get_zeros(tmp_path):
    known = vectors_of(["great", "awful", "elsewhere"])
    known.save(tmp_path / "v.safetensors")
    for vectors in (known, tmp_path / "v.safetensors", str(tmp_path / "v.safetensors")):
        classifier = start("textcnn", vectors).classifier
        index = classifier.tokenizer.index
        for table in (classifier.network.embedding, classifier.network.constant_embedding):
            assert table.weight.shape == (len(classifier.tokenizer), 6)
            for word in ("great", "awful"):
                assert np.array_equal(table.weight[index[word]].detach(), known[word])
            assert not table.weight[[index["w1"], index["<unk>"], index["<pad>"]]].any()


def test_vectors_of_models_are_taken_and_fasttext_has_all_words():
    corpus = [text.split() for text in planted_texts(50).first]
    options = {"vector_size": 6, "min_count": 1, "epochs": 1, "workers": 1, "device": "cpu"}
    model = Word2Vec(corpus, **options)
    classifier = start("birnn", model).classifier
    row = classifier.network.embedding.weight[classifier.tokenizer.index["great"]]
    assert np.array_equal(row.detach(), model.wv["great"])
    subwords = FastText(corpus[:5], bucket=50, **options)
    classifier = start("birnn", subwords).classifier
    for word in classifier.tokenizer.tokens:
        row = classifier.network.embedding.weight[classifier.tokenizer.index[word]]
        np.testing.assert_allclose(row.detach(), subwords.wv[word], rtol=1e-6)


@pytest.mark.parametrize("tokenizer", ["words", "split"])
def test_vectors_are_trained_on_unlabelled_texts_too(tokenizer):
    more = LabelledTexts([*planted_texts(40, seed=9).first, "", "elsewhere"])
    options = {"unlabelled": more, "tokenizer": tokenizer, "shape": {"embed_size": 5}}
    first, second = (start("birnn", None, **options).classifier for _ in range(2))
    table = first.network.embedding.weight.detach()
    index = {token: row for row, token in enumerate(first.tokenizer.tokens)}
    assert table.shape == (len(index), 5)
    assert table[index["great"]].any() and not table[first.tokenizer.unk_id].any()
    assert "elsewhere" not in index
    assert torch.equal(table, second.network.embedding.weight.detach())
    with pytest.raises(ValueError, match="give vectors or unlabelled, got both"):
        start("birnn", vectors_of(["great"]), unlabelled=more)


@pytest.mark.parametrize(
    "kind, tune, moves",
    [
        ("birnn", None, False),
        ("birnn", True, True),
        ("textcnn", None, True),
        ("textcnn", False, False),
        ("decomposable", None, True),
    ],
)
def test_tables_are_trained_as_told(kind, tune, moves, tmp_path):
    known = vectors_of(["great", "awful"])
    shape = {name: value for name, value in SHAPES[kind].items() if name != "embed_size"}
    options = {"learning_rate": 0.01, "shape": shape, "tune": tune, "out": tmp_path}
    result = start(kind, known, **options)
    classifier, index = result.classifier, result.classifier.tokenizer.index
    rows = [index["great"], index["awful"]]
    same = np.array_equal(classifier.network.embedding.weight[rows].detach(), known.vectors)
    assert same == (not moves)
    if kind == "textcnn":
        constant = classifier.network.constant_embedding.weight[rows].detach()
        assert np.array_equal(constant, known.vectors)
    resumed = train_classifier(
        texts_for(kind, 40), out=tmp_path, resume=True, epochs=2, workers=1, device="cpu"
    )
    after = resumed.classifier.network.embedding.weight[rows].detach()
    assert np.array_equal(after, known.vectors) == (not moves)


def test_vectors_that_do_not_fit_are_refused(tmp_path):
    nan = vectors_of(["great", "awful"])
    nan.vectors[1, 2] = np.nan
    for vectors, message, shape in (
        (
            vectors_of(["great"]),
            "vectors must have embed_size = 8 numbers, got 6",
            {"embed_size": 8},
        ),
        (nan, "vectors must be finite, and that of 'awful' holds nan or infinity", None),
        (
            vectors_of(["elsewhere"]),
            "vectors must have words of the vocabulary, and have none",
            None,
        ),
        (KeyedVectors(6), "vectors must have words, got none", None),
    ):
        with pytest.raises(ValueError, match=message):
            start("textcnn", vectors, shape=shape)
    with pytest.raises(TypeError, match=r"vectors must be word vectors, a model .* got int"):
        start("textcnn", 3)
    (tmp_path / "v.txt").write_text("great 1 nan\nawful 1 2\n")
    with pytest.raises(ValueError, match=r"v\.txt"):
        start("textcnn", tmp_path / "v.txt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        start("textcnn", "nowhere.txt")


# -- what cannot be -------------------------------------------------------------------------------

ONE = LabelledTexts(["a b", "b"], labels=np.array([0, 0]), names=NAMES)
HOLES = LabelledTexts(["great", " "] * 20, labels=np.arange(40) % 2, names=NAMES)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"data": ONE}, "data must have texts of at least 2 classes, got 2 of 'bad' alone"),
        ({"data": planted_texts(0)}, "data must hold texts, and is empty"),
        ({"data": LabelledTexts(["a", "b"])}, "data must have labels, and has none"),
        ({"data": HOLES, "dev_share": 0}, r"data\[1\] must be a text with words, and has none"),
        ({"data": planted_texts(20, pairs=True), "model": "textcnn"}, "single texts for textcnn"),
        ({"model": "decomposable"}, "pairs for decomposable, got single texts"),
        ({"dev": planted_texts(0)}, "dev must hold texts, and is empty"),
        ({"dev": LabelledTexts.of(["a"], labels=["odd"])}, "dev must have labels of bad, good"),
        ({"dev": planted_texts(8), "dev_share": 0.1}, "give dev or dev_share, got both"),
        ({"dev_share": 1e-4}, "dev_share must leave texts to train on and .*, got 0.0001 of 20"),
        ({"dev_share": 0, "early_stopping": 2}, "early_stopping must come with dev"),
        ({"steps": 2, "epochs": 3}, "give steps or epochs, got 2 and 3"),
        ({"model": "lstm"}, "model must be one of birnn, textcnn, decomposable"),
        ({"shape": {"layers": 3}}, "shape must have fields of textcnn, .* got layers"),
        ({"class_weights": "1,2,3"}, "class_weights must be 2 numbers, for bad, good, got 3"),
        ({"class_weights": "heavy"}, "class_weights must be balanced or numbers like 1,2.5"),
        ({"class_weights": [1, 0]}, "class_weights must be above 0, got 0"),
        ({"min_count": 999}, "min_count 999: .* no word has min_freq=999"),
        ({"max_len": 0}, "max_len must be >= 1, got 0"),
        ({"tokenizer": "letters"}, "tokenizer must be words, split, wordpiece, a folder"),
        ({"resume": True}, "out must be the folder of the run to resume, got None"),
        ({"eval_every": 0}, "eval_every must be >= 1, got 0"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_in_one_line(options, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        train_classifier(**{"data": planted_texts(20), "min_count": 1, "device": "cpu", **options})
    assert "\n" not in str(error.value)


def test_wrong_kinds_of_arguments_are_refused():
    with pytest.raises(TypeError, match="there is no setting bach_size"):
        train_classifier(planted_texts(20), bach_size=3)
    with pytest.raises(TypeError, match="data must be LabelledTexts, a file, a folder or the name"):
        train_classifier(["a", "b"])
    with pytest.raises(ValueError, match="tokenizer must be that of the network, got None"):
        train_classifier(planted_texts(20), model=network_of("textcnn"))


def test_longer_texts_are_cut_and_told(tmp_path):
    from lexforge.training.progress import Progress

    said = []
    progress = Progress()
    progress.say = said.append
    options = {**SMALL, "epochs": 1, "shape": SHAPES["textcnn"], "progress": progress}
    result = train_classifier(planted_texts(40), max_len=4, dev_share=0, **options)
    assert any("texts have more than 4 tokens, and are cut" in line for line in said)
    classifier = result.classifier
    first, second = classifier.predict(["w1 w2 w3 w4 great", "w1 w2 w3 w4"]).probabilities
    assert np.array_equal(first, second)


OTHER = WordTokenizer([*WordTokenizer.SPECIAL_TOKENS, "a"])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 8}, "batch_size is 8, 16 in the run"),
        ({"model": "birnn"}, "another model: got birnn, textcnn in the run"),
        ({"shape": {"embed_size": 9}}, "embed_size is 9, 8 in the run"),
        ({"vectors": vectors_of(["great"], 8)}, "vectors: those of the run are in its network"),
        ({"data": planted_texts(240, seed=5)}, "other texts: got 228 of"),
        ({"data": LabelledTexts.of(["a", "b"], labels=["x", "y"])}, "must have labels of bad"),
        ({"dev": planted_texts(10)}, "cannot resume"),
        ({"dev_share": 0.2}, "dev_share is 0.2, 0.05 in the run"),
        ({"tokenizer": OTHER}, "tokenizer must be that of the run to resume, got another"),
    ],
)  # fmt: skip
def test_another_run_is_not_resumed(options, message, trained):
    _, folder = trained("textcnn")
    with pytest.raises(ValueError, match=message):
        train_classifier(**{"data": planted_texts(240), "out": folder, "resume": True, **options})


def test_a_run_is_not_written_over_unless_told(trained, tmp_path):
    _, folder = trained("textcnn")
    with pytest.raises(FileExistsError, match="resume it, or overwrite it"):
        train_classifier(planted_texts(40), out=folder)
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        train_classifier(planted_texts(40), out=tmp_path, resume=True)


# -- a saved classifier ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_is_saved_and_loaded(kind, trained, tmp_path):
    classifier = trained(kind)[0].classifier
    classifier.save(tmp_path)
    loaded, texts = TextClassifier.load(tmp_path, "cpu"), texts_for(kind, 30, seed=3)
    assert (loaded.names, loaded.max_len) == (classifier.names, classifier.max_len)
    expected = classifier.predict(texts)
    assert np.array_equal(loaded.predict(texts).probabilities, expected.probabilities)
    assert repr(loaded) == repr(classifier)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == kind
    assert config["id2label"] == {"0": "bad", "1": "good"}


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_keep_the_order_of_the_texts(kind, trained):
    classifier, texts = trained(kind)[0].classifier, texts_for(kind, 50, seed=4)
    found = classifier.predict(texts, batch_size=7)
    assert found.probabilities.shape == (50, 2)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-5)
    given = texts.first if texts.second is None else list(zip(texts.first, texts.second))  # noqa: B905
    for row in (0, 17, 49):
        alone = classifier.predict([given[row]])
        np.testing.assert_allclose(alone.probabilities[0], found.probabilities[row], rtol=1e-4)
        assert alone.labels[0] == found.labels[row] == NAMES[found.probabilities[row].argmax()]
    parts = list(classifier.predict_stream(iter(given), window=20))
    assert [len(part.labels) for part in parts] == [20, 20, 10]
    joined = np.concatenate([part.probabilities for part in parts])
    np.testing.assert_allclose(joined, found.probabilities, rtol=1e-4, atol=1e-6)
    assert classifier.predict([]).probabilities.shape == (0, 2)


def test_predict_and_evaluate_say_what_they_need(trained):
    single, pairs = (trained(kind)[0].classifier for kind in ("textcnn", "decomposable"))
    for texts, message in (
        (["great", " "], r"texts\[1\] must be a text with words, and has none"),
        ([("a", "b")], r"texts\[0\] must be of single texts for textcnn, got pairs"),
    ):
        with pytest.raises(ValueError, match=message):
            single.predict(texts)
    with pytest.raises(ValueError, match="pairs for decomposable, got single texts"):
        pairs.predict(["a"])
    with pytest.raises(ValueError, match=r"texts\[0\] must be a pair of texts with words"):
        pairs.predict([("a", "")])
    for texts, message in (
        ("great", "texts must be texts, or pairs of texts, got one text"),
        (["great", 3], r"texts\[1\] must be a text like the first, got 3"),
        ([("a", "b"), "c"], r"texts\[1\] must be a pair of texts like the first, got 'c'"),
    ):
        with pytest.raises(TypeError, match=message):
            single.predict(texts)
    with pytest.raises(ValueError, match="data must have labels of bad, good, got odd"):
        single.evaluate(LabelledTexts.of(["a"], labels=["odd"]))
    with pytest.raises(ValueError, match="data must have labels, and has none"):
        single.evaluate(LabelledTexts(["a"]))
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        single.predict(["a"], batch_size=0)
    with pytest.raises(ValueError, match="names must be 2 different ones"):
        TextClassifier(single.network, single.tokenizer, ["a", "a"])


def test_another_model_is_told_by_what_it_is(tmp_path, trained):
    model = Word2Vec([["a", "b"]] * 9, vector_size=4, min_count=1, epochs=1, workers=1)
    model.save(tmp_path / "words")
    with pytest.raises(ValueError, match="must hold a classifier, and holds a model of word2vec"):
        TextClassifier.load(tmp_path / "words")
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        TextClassifier.load(tmp_path / "nothing")
    folder = tmp_path / "other"
    shutil.copytree(trained("textcnn")[1] / "best", folder)
    config = json.loads((folder / "config.json").read_text())

    def load(**changes):
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        return TextClassifier.load(folder)

    with pytest.raises(ValueError, match="holds a GPT2LMHeadModel"):
        load(model_type="gpt2", architectures=["GPT2LMHeadModel"])
    for changes, message in (
        ({"id2label": {"0": "bad"}}, "id2label must name 2 classes"),
        ({"max_len": -1}, "max_len must be a whole number above 0, got -1"),
        ({"embed_size": 9}, r"embedding.weight must be \[\d+, 9\], got \[\d+, 8\]"),
        ({"pool": "sum"}, "pool must be one of max, avg"),
        ({"model_type": "birnn"}, "damaged"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load(**changes)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-9])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load()
