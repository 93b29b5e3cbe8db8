"""Word2Vec's four models, both losses at once, and what only hierarchical softmax has."""

import copy
import json
import pickle
from itertools import chain

import numpy as np
import pytest
import torch

from lexforge import Word2Vec, _library, load_vectors
from lexforge.models.word2vec.trainer import rounds_of
from lexforge.models.word2vec.tree import tree_of_paths
from lexforge.text.huffman import huffman_tree
from lexforge.training.checkpoint import CheckpointError
from planted import planted_corpus, synonym_score
from training_bits import StopAfter

pytestmark = pytest.mark.skipif(
    _library.emulated(), reason="end-to-end training takes too long on the emulated device"
)

MODELS = [
    pytest.param({"sg": sg, "hs": hs, "negative": negative}, id=f"{name} {hs} {negative}")
    for sg, name in enumerate(("cbow", "skipgram"))
    for hs, negative in ((0, 5), (1, 0), (1, 5))
]
TREES = [model for model in MODELS if model.values[0]["hs"]]
PLANTED = {"vector_size": 32, "min_count": 1, "epochs": 30, "alpha": 0.05, "sample": 0}
SMALL = {"vector_size": 20, "min_count": 1, "epochs": 3, "workers": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def corpus():
    return planted_corpus(sentences=1000)


def tables_of(model):
    found = {"input": model.wv.vectors}
    for name in ("syn1neg", "syn1"):
        if hasattr(model, name):
            found[name] = getattr(model, name)
    return {name: table.copy() for name, table in found.items()}


def same(a, b):
    a, b = tables_of(a), tables_of(b)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# -- learning ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_learns_synonyms(kind, device):
    model = Word2Vec(planted_corpus(), device=device, **PLANTED, **kind)
    assert synonym_score(model.wv) >= 0.95
    history = model.state.epoch_losses
    assert history[-1] < 0.85 * history[0]


@pytest.mark.interop
@pytest.mark.parametrize("kind", MODELS)
def test_quality_is_that_of_gensim(kind):
    gensim = pytest.importorskip("gensim.models")
    corpus = planted_corpus()
    theirs = synonym_score(gensim.Word2Vec(corpus, workers=1, **PLANTED, **kind).wv)
    ours = synonym_score(Word2Vec(corpus, workers=1, **PLANTED, **kind).wv)
    assert ours >= theirs - 0.05


@pytest.mark.parametrize("kind", MODELS)
def test_first_loss_is_that_of_zero_logits(corpus, kind):
    model = Word2Vec(**SMALL, **kind, sample=0)
    model.build_vocab(corpus)
    model.train(corpus, epochs=1, start_alpha=1e-9, end_alpha=1e-9)
    tree, counts = huffman_tree(model.vocabulary.counts), model.vocabulary.counts
    path = (
        np.diff(tree.offsets) * counts
    ).sum() / counts.sum()  # of a word of the text, on average
    decisions = kind["hs"] * path + (kind["negative"] > 0) * (1 + kind["negative"])
    assert model.state.mean_loss == pytest.approx(decisions * np.log(2), rel=0.02)
    words = sum(map(len, corpus))
    assert model.state.centers == words
    assert (model.state.pairs == words) is (kind["sg"] == 0)  # an input is a pair, or a window


def test_the_sum_of_the_contexts_is_another_model(corpus):
    mean, total = (Word2Vec(corpus, cbow_mean=mean, **SMALL) for mean in (1, 0))
    assert not same(mean, total) and mean.state.pairs == total.state.pairs
    for name in ("a3", "c3_1"):
        mean.cbow_mean = 0
        assert mean.predict_output_word([name, name]) != total.predict_output_word([name, name])


# -- tables -----------------------------------------------------------------------------------


def test_tables_that_there_are(corpus):
    for hs, negative, names in ((0, 5, {"syn1neg"}), (1, 0, {"syn1"}), (1, 5, {"syn1", "syn1neg"})):
        model = Word2Vec(hs=hs, negative=negative, **SMALL)
        with pytest.raises(AttributeError, match="build the vocabulary first"):
            _ = model.syn1
        model.build_vocab(corpus)
        assert {name for name in ("syn1", "syn1neg") if hasattr(model, name)} == names
        report, rows = model.estimate_memory(), len(model.wv)
        assert {"syn1", "syn1neg"} & report.keys() == names
        assert report["total"] == sum(report.values()) - report["total"]
        if hs:
            assert model.syn1.shape == (rows, 20) and not model.syn1.any()
            assert report["tree"] >= huffman_tree(model.vocabulary.counts).nodes.nbytes
    with pytest.raises(AttributeError, match="syn1: a model of hs=0 has none"):
        _ = Word2Vec(corpus, **SMALL).syn1
    with pytest.raises(AttributeError, match="syn1neg: a model of negative=0 has none"):
        _ = Word2Vec(corpus, hs=1, negative=0, **SMALL).syn1neg


@pytest.mark.parametrize("kind", MODELS)
def test_update_keeps_what_was_learned(corpus, kind):
    """But for the inner nodes, which are those of another tree."""
    model = Word2Vec(corpus, sample=0, **SMALL, **kind)
    words, before = list(model.wv.index_to_key), tables_of(model)
    model.build_vocab([["new", "a0"]] * 5000, update=True)
    assert model.wv.index_to_key[:2] == ["a0", "new"] and len(model.wv) == len(words) + 1
    after = tables_of(model)
    rows = [model.wv.key_to_index[word] for word in words]
    for name in before.keys() - {"syn1"}:
        assert np.array_equal(after[name][rows], before[name])
    if kind["hs"]:
        assert after["syn1"].shape == (len(words) + 1, 20) and not after["syn1"].any()
    model.train([["new", "a0"]] * 100, total_examples=100, epochs=1)
    now = tables_of(model)
    assert all(not np.array_equal(now[name], after[name]) for name in now)


@pytest.mark.parametrize("kind", MODELS)
def test_kept_and_copied(corpus, kind, tmp_path):
    model = Word2Vec(corpus, **SMALL, **kind)
    model.save(tmp_path)
    twins = [Word2Vec.load(tmp_path, workers=1, device="cpu"), copy.deepcopy(model)]
    twins.append(pickle.loads(pickle.dumps(model)))
    model.train(corpus, epochs=1)
    for twin in twins:
        assert not same(twin, model)
        twin.train(corpus, epochs=1)
        assert same(twin, model)


def test_settings_that_need_other_tables(corpus, tmp_path):
    model = Word2Vec(corpus, **SMALL)
    model.hs = 1
    for use in (lambda: model.train(corpus), lambda: model.save(tmp_path / "x"), model.to_gensim):
        with pytest.raises(ValueError, match="hs=1, negative=5 takes the tables input, output, tr"):
            use()
    assert not (tmp_path / "x").exists()
    assert copy.deepcopy(model)._built.tables.keys() == {"input", "output"}
    model.build_vocab(corpus, update=True)
    model.train(corpus)
    assert model.syn1.any()


# -- wrong input ------------------------------------------------------------------------------


def test_neither_loss():
    with pytest.raises(
        ValueError, match="hs=0 with negative=0 is neither hierarchical softmax nor"
    ):
        Word2Vec(negative=0)


def test_a_tree_of_one_word(tmp_path):
    model = Word2Vec(hs=1, **SMALL)
    with pytest.raises(ValueError, match=r"hs=1 needs a vocabulary of two .*, got \['a'\]"):
        model.build_vocab([["a", "a"]])
    model.hs = 0
    model.build_vocab([["a", "a"]])  # words can be told from noise, if there is any
    model.save(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hs": 1}))
    with pytest.raises(CheckpointError, match=r"is damaged: .* two words or more"):
        Word2Vec.load(tmp_path)


# -- checkpoints of earlier versions ------------------------------------------------------------

# Keys of config.json when there was skip-gram with negative sampling alone.
EARLIER = "format_version library_version vocabulary_size vocabulary_sha1 model vector_size alpha "
EARLIER += "min_alpha window shrink_windows negative negative_sharing ns_exponent sample min_count "
EARLIER += "max_vocab_size max_final_vocab max_sentence_length lowercase encoding errors epochs "
EARLIER += "seed sg hs cbow_mean corpus_count corpus_total_words comment"


def test_a_run_of_an_earlier_version_goes_on(corpus, tmp_path):
    whole = Word2Vec(corpus, sg=1, **SMALL)
    model = Word2Vec(sg=1, **SMALL)
    model.build_vocab(corpus)
    model.train(corpus, checkpoint_folder=tmp_path, stop=StopAfter(2))
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    assert config.keys() >= set(EARLIER.split())
    path.write_text(json.dumps({name: config[name] for name in EARLIER.split()}))
    assert (
        "windows_together"
        not in json.loads((tmp_path / "trainer_state.json").read_text())["corpus"]
    )
    resumed = Word2Vec.load(tmp_path, workers=1, device="cpu")
    resumed.train(corpus, resume=True)
    assert (resumed.sg, resumed.deterministic) == (1, False) and same(resumed, whole)


# -- the same bits with any number of threads ---------------------------------------------------

TEAM = {**SMALL, "epochs": 2, "deterministic": True}


@pytest.fixture(scope="module")
def long_sentences(corpus):
    """Of several groups of windows, and of other lengths than whole ones."""
    return [list(chain(*corpus[7 * i : 7 * i + 4 + i % 4])) for i in range(60)]


@pytest.mark.parametrize("kind", MODELS)
def test_any_number_of_workers_gives_the_same_bits(long_sentences, kind):
    one = Word2Vec(long_sentences, **TEAM, **kind)
    rounds = rounds_of(one.settings, sum(map(len, long_sentences)))
    assert one.state.corpus.items() >= rounds.items()
    for workers in (2, 3, 8):
        other = Word2Vec(long_sentences, **{**TEAM, "workers": workers}, **kind)
        assert same(one, other)
        assert one.state.loss_sum == pytest.approx(other.state.loss_sum, rel=1e-12)
        assert one.state.sums["pairs"] == other.state.sums["pairs"]
    assert not same(one, Word2Vec(long_sentences, **{**TEAM, "deterministic": False}, **kind))


@pytest.mark.parametrize("looks", [1, 7, 40])
@pytest.mark.parametrize("kind", MODELS)
def test_stopped_and_resumed_by_other_workers(long_sentences, kind, looks, tmp_path, monkeypatch):
    """Also within an epoch, of 31 rounds: calls are as short as can be."""
    sentences = [words[:5] for words in long_sentences * 13]
    whole = Word2Vec(sentences, **TEAM, **kind)
    for name in ("FIRST_CALL_UNITS", "CALL_SECONDS"):
        monkeypatch.setattr(f"lexforge.training.stream_job.{name}", 0)
    model = Word2Vec(**{**TEAM, "workers": 2}, **kind)
    model.build_vocab(sentences)
    model.train(sentences, checkpoint_folder=tmp_path, stop=StopAfter(looks))
    assert model.state.position == looks % 31
    resumed = Word2Vec.load(tmp_path, workers=3, device="cpu")
    resumed.train(sentences, resume=True)
    assert same(resumed, whole)


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_run_stays_what_it_is(corpus, deterministic, tmp_path):
    model = Word2Vec(**SMALL, deterministic=deterministic)
    model.build_vocab(corpus)
    model.train(corpus, checkpoint_folder=tmp_path, stop=StopAfter(1))
    loaded = Word2Vec.load(tmp_path)
    loaded.deterministic = not deterministic
    message = f"deterministic is {not deterministic} now, {deterministic} in the interrupted run"
    with pytest.raises(ValueError, match=message):
        loaded.train(corpus, resume=True)
    path = tmp_path / "trainer_state.json"
    state = json.loads(path.read_text())
    state["corpus"]["windows_together"] = "many"
    path.write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match=r"state\.json: windows_together must be an int"):
        Word2Vec.load(tmp_path)
    state["corpus"] |= {"windows_together": 2, "shards": 65}
    path.write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="shards must be 1 to 64, got 65"):
        Word2Vec.load(tmp_path)


def test_a_deterministic_run_of_an_earlier_version(corpus, tmp_path):
    """It had no shards."""
    model = Word2Vec(**SMALL, deterministic=True)
    model.build_vocab(corpus)
    model.train(corpus, checkpoint_folder=tmp_path, stop=StopAfter(1))
    path = tmp_path / "trainer_state.json"
    state = json.loads(path.read_text())
    del state["corpus"]["shards"], state["corpus"]["shard_tokens"]
    path.write_text(json.dumps(state))
    with pytest.raises(ValueError, match="is deterministic as an earlier version was"):
        Word2Vec.load(tmp_path, device="cpu").train(corpus, resume=True)


def test_rounds_are_those_of_the_run(long_sentences, tmp_path, monkeypatch):
    """Also where this version has other numbers."""
    whole = Word2Vec(long_sentences, **TEAM)
    model = Word2Vec(**TEAM)
    model.build_vocab(long_sentences)
    model.train(long_sentences, checkpoint_folder=tmp_path, stop=StopAfter(1))
    other = {"windows_together": 16, "shards": 3, "shard_tokens": 50}
    monkeypatch.setattr("lexforge.models.word2vec.model.rounds_of", lambda *_: other)
    resumed = Word2Vec.load(tmp_path, workers=1, device="cpu")
    resumed.train(long_sentences, resume=True)
    assert same(resumed, whole)
    assert not same(Word2Vec(long_sentences, **TEAM), whole)


# -- probabilities ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_predicted_words(corpus, kind):
    model = Word2Vec(corpus, **{**SMALL, "epochs": 30, "alpha": 0.05}, **kind)
    predicted = dict(model.predict_output_word(["a3", "c3_1", "unknown"], topn=7))
    assert sum(word.startswith(("c3_", "a3", "b3")) for word in predicted) >= 6
    every = dict(model.predict_output_word(["a3"], topn=1000))
    assert len(every) == len(model.wv) and sum(every.values()) == pytest.approx(1, abs=1e-6)
    assert model.predict_output_word(["unknown"]) is None


def gensims_log_sigmoid(x):
    """From its table; nothing beyond."""
    if abs(x) >= 6:
        return 0.0
    step = int((x + 6) * 83)  # 1000 / 6 / 2 in whole numbers
    return -np.log1p(np.exp(-(step / 1000 * 2 - 1) * 6))


def plain_score(model, sentence, log_sigmoid):
    """A sentence's log-likelihood, a decision at a time."""
    tree, vocabulary = huffman_tree(model.vocabulary.counts), model.vocabulary
    words = [vocabulary[word] for word in sentence if word in vocabulary]
    total = 0.0
    for i, word in enumerate(words):
        near = words[max(0, i - model.window) : i] + words[i + 1 :][: model.window]
        inputs = model.wv.vectors[near].astype(np.float64)
        if not model.sg:
            inputs = inputs.sum(0, keepdims=True)[: len(near)] / (len(near) or 1) ** model.cbow_mean
        for turn in tree.nodes[tree.offsets[word] : tree.offsets[word + 1]].tolist():
            for x in inputs:
                total += log_sigmoid((1 - 2 * (turn & 1)) * float(x @ model.syn1[turn >> 1]))
    return total


SENTENCES = [["a3", "c3_1", "unknown", "c3_2", "b3"], ["a1"], [], ["x1", "x1", "x2"], ["c1_1"] * 12]


@pytest.mark.parametrize("mean", [0, 1])
@pytest.mark.parametrize("kind", TREES)
def test_score(corpus, kind, mean):
    model = Word2Vec(corpus, **SMALL, **kind, window=3, cbow_mean=mean)
    sentences = SENTENCES + corpus[:300]
    found = model.score(sentences)
    assert found.dtype == np.float32 and found.shape == (305,) and (found[[1, 2]] == 0).all()
    expected = [plain_score(model, s, lambda x: -np.logaddexp(0, -x)) for s in sentences[:40]]
    np.testing.assert_allclose(found[:40], expected, rtol=1e-5, atol=1e-5)
    parts = model.score(iter(sentences), total_sentences=250, chunksize=7)
    np.testing.assert_allclose(parts, found[:250], rtol=1e-5, atol=1e-5)
    assert model.score([]).shape == (0,)
    # Sentences of the corpus are likelier than the same words in other company.
    rng = np.random.default_rng(1)
    words = [word for sentence in corpus[:300] for word in sentence]
    mixed = [list(rng.choice(words, 6)) for _ in range(300)]
    assert found[5:].mean() > model.score(mixed).mean()


def test_score_of_long_sentences_takes_little_memory(corpus, monkeypatch):
    model = Word2Vec(corpus, hs=1, **SMALL)
    long = [[word for sentence in corpus[:50] for word in sentence], ["a1", "c1_1"]]
    whole = model.score(long)
    monkeypatch.setattr("lexforge.models.word2vec.tree.BLOCK", 1000)
    np.testing.assert_allclose(model.score(long), whole, rtol=1e-5)


def test_score_without_a_tree(corpus):
    model = Word2Vec(corpus, **SMALL)
    with pytest.raises(ValueError, match="score: hs must be 1"):
        model.score(corpus)
    with pytest.raises(ValueError, match="score: build the vocabulary first"):
        Word2Vec(hs=1).score(corpus)
    model = Word2Vec(corpus, hs=1, lowercase=True, **SMALL)
    with pytest.raises(TypeError, match="sentences must be lists of words, got a str"):
        model.score(["a sentence"])
    assert model.score([["A1", "C1_1"]]) == model.score([["a1", "c1_1"]]) != 0


# -- gensim's models ----------------------------------------------------------------------------


def gensim_tables(model):
    found = {"input": model.wv.vectors}
    if model.negative:
        found["syn1neg"] = model.syn1neg
    if model.hs:
        found["syn1"] = model.syn1[:-1]
    return found


@pytest.mark.interop
@pytest.mark.parametrize("kind", MODELS)
def test_from_gensim_and_back(corpus, kind, tmp_path):
    gensim = pytest.importorskip("gensim.models")
    theirs = gensim.Word2Vec(
        corpus, **kind, vector_size=20, min_count=1, epochs=2, window=3, cbow_mean=0, workers=1
    )
    ours = Word2Vec.from_gensim(theirs, workers=1)
    assert (ours.sg, ours.hs, ours.negative) == (kind["sg"], kind["hs"], kind["negative"])
    assert ours.cbow_mean == 0
    ours.save(tmp_path)
    kept = [ours, Word2Vec.load(tmp_path, workers=1), pickle.loads(pickle.dumps(ours))]
    for model in kept:
        again = model.to_gensim()
        back = Word2Vec.from_gensim(again, workers=1)
        assert back.wv.index_to_key == again.wv.index_to_key
        rows = [again.wv.key_to_index[word] for word in theirs.wv.index_to_key]
        expected, found = gensim_tables(theirs), gensim_tables(again)
        assert expected.keys() == found.keys()
        for name, table in expected.items():
            same_rows = found[name] if name == "syn1" else found[name][rows]
            np.testing.assert_array_equal(same_rows, table)
        if kind["hs"]:
            for row, word in enumerate(theirs.wv.index_to_key):
                for name in ("code", "point"):
                    np.testing.assert_array_equal(
                        again.wv.get_vecattr(word, name), theirs.wv.get_vecattr(row, name)
                    )
            np.testing.assert_array_equal(again.score(SENTENCES, 5), theirs.score(SENTENCES, 5))
            np.testing.assert_allclose(model.score(SENTENCES), back.score(SENTENCES), rtol=1e-6)
        if kind["negative"]:
            predicted = dict(theirs.predict_output_word(["a3", "c3_1"], topn=500))
            for word, probability in model.predict_output_word(["a3", "c3_1"], topn=500):
                assert probability == pytest.approx(predicted[word], rel=1e-4)
        for one in (model, again):  # both go on with it
            before = one.wv["a0"].copy()
            one.train(corpus, total_examples=len(corpus), epochs=1)
            assert not np.array_equal(one.wv["a0"], before)
    kept[0].build_vocab([["new", "a0"]] * 20, update=True)  # a tree of our own from here on
    kept[0].train(corpus)
    kept[0].save(tmp_path / "grown")
    assert same(Word2Vec.load(tmp_path / "grown"), kept[0])


@pytest.mark.interop
@pytest.mark.parametrize("kind", [model for model in TREES if not model.values[0]["negative"]])
@pytest.mark.parametrize("mean", [0, 1])
def test_scores_are_those_of_gensim(corpus, kind, mean):
    """With its table of the logarithm to the last digits, and but for what that rounds."""
    pytest.importorskip("gensim.models")
    model = Word2Vec(corpus, **SMALL, **kind, window=3, cbow_mean=mean)
    sentences = [*corpus[:60], SENTENCES[0]]
    theirs = model.to_gensim().score(sentences, len(sentences))
    expected = [plain_score(model, sentence, gensims_log_sigmoid) for sentence in sentences]
    np.testing.assert_allclose(theirs, expected, rtol=1e-4, atol=1e-4)
    decisions = np.array([plain_score(model, sentence, lambda x: 1.0) for sentence in sentences])
    ours = model.score(sentences)
    # Its logits are up to 0.004 of the distance from -6 and a step of the table too small.
    assert (np.abs(ours - theirs) < 0.06 * decisions).all()
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999


# -- trees that are not of our making -------------------------------------------------------------

LENGTHS, NODES = [1, 2, 2], [3, 2, 0, 2, 1]  # right; left, left; left, right


def test_tree_of_paths():
    tree = tree_of_paths(np.array(LENGTHS), np.array(NODES))
    assert tree.offsets.tolist() == [0, 1, 3, 5] and tree.longest == 2
    assert tree.nodes.tolist() == NODES and tree.nodes.dtype == np.int32
    for counts in ([10, 5, 2, 1], [6, 5, 4, 3, 2], [1, 1], [3] * 50):
        ours = huffman_tree(counts)
        found = tree_of_paths(np.diff(ours.offsets), ours.nodes)
        assert all(np.array_equal(*pair) for pair in zip(found, ours, strict=True))


@pytest.mark.parametrize(
    "lengths, nodes",
    [
        ([], []),
        ([1], [0]),
        ([1, 0], [1]),
        ([1, 2, 2], [3, 2, 0, 2]),  # too few
        ([1, 2, 2], [3, 2, 0, 2, 0]),  # two words in one place
        ([1, 2, 2], [1, 2, 0, 2, 1]),  # paths from two roots
        ([1, 2, 2], [3, 2, 4, 2, 5]),  # no such node
        ([1, 2, 2], [3, 2, -1, 2, 1]),
        ([2, 2, 2], [3, 0, 2, 0, 2, 1]),  # two ways to a node
        ([97] * 2, [0] * 194),  # longer than the kernels take
    ],
)
def test_paths_that_are_no_tree(lengths, nodes):
    with pytest.raises(ValueError, match=r"a tree needs|not those of a binary tree"):
        tree_of_paths(np.array(lengths, dtype=np.int32), np.array(nodes, dtype=np.int32))


def test_damaged_trees_of_checkpoints(tmp_path):
    from lexforge.training.checkpoint import read_tensors, write_tensors

    model = Word2Vec([["a", "b", "c"]] * 5, hs=1, **SMALL)
    tree = tree_of_paths(np.array(LENGTHS), np.array(NODES))
    model._built = model._built_for(model.vocabulary, tree)
    model.save(tmp_path)
    assert Word2Vec.load(tmp_path)._built.tree.nodes.tolist() == NODES
    assert np.array_equal(load_vectors(tmp_path).vectors, model.wv.vectors)
    path = tmp_path / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in read_tensors(path).items()}  # unmapped
    paths, lengths = tensors["tree_paths"], tensors["tree_lengths"]
    balanced = huffman_tree([1, 1, 1, 1])
    four = [torch.tensor(x, dtype=torch.int32) for x in (np.diff(balanced.offsets), balanced.nodes)]
    for changed, message in (
        ({"tree_paths": paths + 1}, "not those of a binary tree"),
        ({"tree_paths": paths.float()}, "tree_paths must be int32, got torch.float32"),
        ({"tree_lengths": lengths[:2]}, "a tree needs"),
        ({"tree_lengths": four[0], "tree_paths": four[1]}, "the tree is not over 3 words"),
        ({"input": tensors["input"].int()}, "input must be float32, got torch.int32"),
    ):
        write_tensors(path, {**tensors, **changed})
        with pytest.raises(CheckpointError, match=f"is damaged: .*{message}"):
            Word2Vec.load(tmp_path)
    write_tensors(path, {name: t for name, t in tensors.items() if name != "tree_paths"})
    with pytest.raises(CheckpointError, match="is damaged"):
        Word2Vec.load(tmp_path)


# -- tables of bfloat16 -------------------------------------------------------------------------

HALVED = {**TEAM, "precision": "bf16"}


@pytest.mark.parametrize("kind", MODELS)
def test_bf16_learns_synonyms(kind):
    """In numbers that bfloat16 has."""
    model = Word2Vec(planted_corpus(), **{**PLANTED, "precision": "bf16"}, **kind)
    assert synonym_score(model.wv) >= 0.95
    for table in tables_of(model).values():
        numbers = torch.from_numpy(table)
        assert (numbers.bfloat16().float() == numbers).all()


@pytest.mark.parametrize("kind", [MODELS[0], MODELS[4], MODELS[5]])
def test_bf16_stopped_and_resumed_by_other_workers(long_sentences, kind, tmp_path, monkeypatch):
    sentences = [words[:5] for words in long_sentences * 13]
    whole = Word2Vec(sentences, **HALVED, **kind)
    assert not same(whole, Word2Vec(sentences, **TEAM, **kind))
    for name in ("FIRST_CALL_UNITS", "CALL_SECONDS"):
        monkeypatch.setattr(f"lexforge.training.stream_job.{name}", 0)
    model = Word2Vec(**{**HALVED, "workers": 2}, **kind)
    model.build_vocab(sentences)
    model.train(sentences, checkpoint_folder=tmp_path, stop=StopAfter(7))
    resumed = Word2Vec.load(tmp_path, workers=3)  # on the CPU, whatever there is
    assert (resumed.precision, resumed.device.type) == ("bf16", "cpu")
    resumed.train(sentences, resume=True)
    assert same(resumed, whole)


def test_precisions_that_are_none(corpus):
    with pytest.raises(ValueError, match="precision must be one of float32, bf16, got 'fp8'"):
        Word2Vec(corpus, **{**SMALL, "precision": "fp8"})
