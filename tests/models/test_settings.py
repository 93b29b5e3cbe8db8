"""Settings of the families: the same thing has the same name, limits and default everywhere."""

from __future__ import annotations

from collections import defaultdict

import pytest
import torch

import lexforge.bert
from lexforge import GloVe, Word2Vec, cooccurrence
from lexforge.models.bert.settings import PretrainingSettings
from lexforge.models.cooccurrence.settings import LARGEST_WEIGHTED_WINDOW, CooccurrenceSettings
from lexforge.models.glove.settings import GloVeSettings
from lexforge.models.network_settings import EvaluationSettings
from lexforge.models.word2vec.settings import Word2VecSettings
from lexforge.ops.cooccurrence import cooccurrence as counting_ops
from lexforge.ops.glove.glove_tiles import OPTIMIZERS as GLOVE_OPTIMIZERS
from lexforge.ops.word2vec.word2vec_train import SHARING
from lexforge.training.optimizer import OPTIMIZERS
from lexforge.training.schedules import SCHEDULES
from lexforge.training.settings import knobs

FAMILIES = (Word2VecSettings, GloVeSettings, CooccurrenceSettings, PretrainingSettings)
# Keys of a checkpoint's record, as files have had them from the beginning.
RECORDS = {
    Word2VecSettings: "vector_size alpha min_alpha window shrink_windows negative negative_sharing "
    "ns_exponent sample min_count max_vocab_size max_final_vocab max_sentence_length lowercase "
    "epochs seed sg hs cbow_mean encoding errors precision deterministic",
    GloVeSettings: "vector_size window x_max alpha learning_rate bias_rate epochs min_count "
    "max_vocab_size symmetric distance_weighting optimizer grad_clip vectors parts seed lowercase "
    "encoding errors",
    PretrainingSettings: "max_len batch_size steps optimizer learning_rate weight_decay "
    "beta1 beta2 min_learning_rate decay_steps "
    "warmup_steps schedule clip accumulation precision static_masks whole_words sentences seed "
    "eval_share encoding errors",
    EvaluationSettings: "eval_every early_stopping",
}


@pytest.mark.parametrize("family", RECORDS)
def test_records_are_what_they_were(family):
    assert set(family().record()) == set(RECORDS[family].split())


def test_one_concept_is_the_same_everywhere():
    found = defaultdict(list)
    for family in FAMILIES:
        for name, knob in knobs(family).items():
            found[name].append(knob)
    # Passes and rates differ by method; GloVe's alpha is an exponent, its optimizers are its own.
    own = {"epochs", "alpha", "learning_rate", "optimizer"}
    shared = {name: same for name, same in found.items() if len(same) > 1 and name not in own}
    assert {"window", "min_count", "max_vocab_size", "vector_size", "seed"} <= shared.keys()
    for name, (first, *others) in shared.items():
        for other in others:
            assert (first.low, first.high) == (other.low, other.high), name
            assert first.spellings == other.spellings, name
            # Windows of a running text are 5, of counts 15, and counting splits no line.
            if name not in ("window", "max_sentence_length"):
                assert first.default == other.default, name
    windows = [family().window for family in FAMILIES[:3]]
    assert windows == [5, 15, 15]


def test_limits_are_those_of_the_kernels():
    assert LARGEST_WEIGHTED_WINDOW == counting_ops.LARGEST_WEIGHTED_WINDOW
    assert knobs(GloVeSettings)["window"].high == counting_ops.LARGEST_WINDOW
    assert knobs(Word2VecSettings)["negative_sharing"].choices == tuple(SHARING)
    assert set(knobs(GloVeSettings)["optimizer"].choices) == set(GLOVE_OPTIMIZERS)
    assert knobs(PretrainingSettings)["optimizer"].choices == OPTIMIZERS
    assert knobs(PretrainingSettings)["schedule"].choices == SCHEDULES


def test_a_changed_attribute_is_recorded_and_checked():
    model = Word2Vec(vector_size=8)
    model.window = 3
    assert model.settings == Word2VecSettings(vector_size=8, window=3)
    model.window = 2000
    with pytest.raises(ValueError, match="Word2Vec: window must be 1 to 1000, got 2000"):
        _ = model.settings


def test_names_of_the_other_models():
    sentences = [["blue", "sky"], ["grey", "sky"]] * 10
    options = {"vector_size": 8, "min_count": 1, "epochs": 1, "workers": 1, "device": "cpu"}
    model = Word2Vec(corpus=sentences, learning_rate=0.05, min_learning_rate=0.01, **options)
    assert (model.alpha, model.min_alpha) == (0.05, 0.01) and len(model.wv) == 3
    first, second = (
        cooccurrence(sentences, min_count=1, **{name: 1}) for name in ("workers", "threads")
    )
    assert first.values.equal(second.values)
    with pytest.raises(TypeError, match="threads names an argument that is given already"):
        cooccurrence(sentences, workers=1, threads=1)
    with pytest.raises(TypeError, match="corpus_file names an argument that is given already"):
        Word2Vec(corpus=sentences, corpus_file=sentences)


def test_vectors_that_are_too_long_for_the_gpu(monkeypatch):
    device = torch.device("cuda")
    monkeypatch.setattr("lexforge.models.word2vec.model.resolve_device", lambda *_: device)
    with pytest.raises(ValueError, match="vector_size must be 1 to 1024 on CUDA, got 1025"):
        Word2Vec(vector_size=1025)
    assert Word2Vec(vector_size=1024).device == device


NOWHERE = "/nowhere/corpus.txt"  # whoever opens it says so


@pytest.mark.parametrize(
    "call, options, message",
    [
        (Word2Vec, {"window": 2000}, "Word2Vec: window must be 1 to 1000, got 2000"),
        (Word2Vec, {"negative": 1001}, "Word2Vec: negative must be 0 to 1000, got 1001"),
        (Word2Vec, {"vector_size": 2**25}, "Word2Vec: vector_size must be 1 to 16777216"),
        (GloVe, {"window": 43}, "GloVe: window must be 1 to 42 with distance_weighting, got 43"),
        (GloVe, {"window": 2000}, "GloVe: window must be 1 to 1000, got 2000"),
        (cooccurrence, {"window": 43}, "cooccurrence: window must be 1 to 42 with distance_w"),
        (cooccurrence, {"memory": "1MB"}, r"memory must be at least \d+MB for any words, window"),
        (cooccurrence, {"max_vocab_size": 0}, "cooccurrence: max_vocab_size must be >= 1, got 0"),
        (lexforge.bert.pretrain, {"max_len": 1001}, "max_len must be at most max_positions = 1000"),
        (lexforge.bert.pretrain, {"shape": {"num_heads": 3}}, "num_heads must divide hidden_size"),
        (lexforge.bert.pretrain, {"epochs": 0}, "pretrain: epochs must be >= 1, got 0"),
        (lexforge.bert.pretrain, {"min_count": 0}, "pretrain: min_count must be >= 1, got 0"),
        (lexforge.bert.pretrain, {"eval_every": 5}, "eval_every must come with eval_file"),
    ],
)
def test_limits_are_told_before_the_corpus_is_read(call, options, message):
    with pytest.raises(ValueError, match=message):
        call(**{"corpus": NOWHERE, **options})


@pytest.mark.parametrize("workers", [0, 1025, 2**40])
@pytest.mark.parametrize(
    "use",
    [
        lambda **given: Word2Vec(**given),
        lambda **given: GloVe(**given),
        lambda **given: cooccurrence("/nowhere/corpus.txt", **given),
        lambda **given: lexforge.bert.pretrain("/nowhere/corpus.txt", **given),
    ],
    ids=["Word2Vec", "GloVe", "cooccurrence", "pretrain"],
)
def test_workers_have_one_limit(use, workers):
    """Told before the corpus is read."""
    with pytest.raises(ValueError, match=rf": workers must be 1 to 1024, got {workers}"):
        use(workers=workers)
