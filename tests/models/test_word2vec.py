"""Word2Vec: learns planted structure, resumes to the last bit, and behaves as gensim's."""

import fcntl
import json

import numpy as np
import pytest

from lexforge import KeyedVectors, Word2Vec, _library
from lexforge.training.checkpoint import CheckpointError
from lexforge.training.progress import Progress
from lexforge.training.state import TrainingDivergedError
from planted import planted_corpus, synonym_score

pytestmark = pytest.mark.skipif(
    _library.emulated(), reason="end-to-end training takes too long on the emulated device"
)

PLANTED = {"vector_size": 32, "min_count": 1, "epochs": 30, "alpha": 0.05, "sample": 0}
SMALL = {"vector_size": 20, "min_count": 1, "epochs": 3, "workers": 1}


@pytest.fixture(scope="module")
def corpus():
    return planted_corpus()


@pytest.fixture
def model(corpus):
    return Word2Vec(corpus, **SMALL)


def same_tables(a, b):
    return np.array_equal(a.wv.vectors, b.wv.vectors) and np.array_equal(a.syn1neg, b.syn1neg)


# -- learning ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", ["pair", "window"])
def test_learns_synonyms(corpus, sharing, device):
    model = Word2Vec(corpus, sg=1, negative_sharing=sharing, device=device, **PLANTED)
    assert synonym_score(model.wv) >= 0.95
    # It starts at 6 log 2 = 4.16: logits 0 for one context word and five noise words.
    assert 0.5 < model.state.recent_loss < 1.3


def test_first_loss_is_that_of_zero_logits(corpus):
    model = Word2Vec(**SMALL)
    model.build_vocab(corpus)
    model.train(corpus[:20], epochs=1, start_alpha=1e-9, end_alpha=1e-9)
    assert model.state.mean_loss == pytest.approx(6 * np.log(2), rel=0.02)


def test_files_and_lists_give_the_same_model(corpus, model, tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in corpus))
    assert same_tables(Word2Vec(corpus_file=path, **SMALL), model)
    assert same_tables(Word2Vec(corpus_file=[path], **SMALL), model)


def test_seeds(corpus, model):
    assert same_tables(Word2Vec(corpus, **SMALL), model)
    assert not same_tables(Word2Vec(corpus, seed=2, **SMALL), model)


def test_threads_sample_the_same_stream(corpus, model):
    """More threads round differently, and train exactly the same pairs."""
    other = Word2Vec(corpus, **{**SMALL, "workers": 2})
    assert other.state.pairs == model.state.pairs
    assert other.state.centers == model.state.centers


def test_second_training_samples_anew(corpus):
    """Epochs of a later train() have keys of their own."""
    model = Word2Vec(corpus, **SMALL)
    pairs = model.state.pairs
    result = model.train(corpus, total_examples=model.corpus_count, epochs=model.epochs)
    assert model.state.first_epoch == 3
    assert model.state.pairs != pairs
    assert result == (model.state.centers, 3 * sum(map(len, corpus)))


def test_lowercase(corpus):
    shouted = [[word.upper() for word in sentence] for sentence in corpus]
    model = Word2Vec(shouted, lowercase=True, **SMALL)
    assert model.wv.index_to_key == Word2Vec(corpus, **SMALL).wv.index_to_key


# -- vocabulary -------------------------------------------------------------------------------


def test_vocabulary_order_and_counts():
    sentences = [["b", "a", "a"], ["b", "a", "c"]]
    model = Word2Vec(vector_size=4, min_count=1)
    model.build_vocab(sentences)
    assert model.wv.index_to_key == ["a", "b", "c"]
    assert [model.wv.get_vecattr(word, "count") for word in "abc"] == [3, 2, 1]
    assert model.corpus_count == 2 and model.corpus_total_words == 6
    assert model.wv.vectors.shape == model.syn1neg.shape == (3, 4)
    assert np.abs(model.wv.vectors).max() <= 1 / 4 and np.ptp(model.wv.vectors) > 0.1
    assert not model.syn1neg.any()


def test_max_final_vocab_keeps_or_drops_ties_together():
    frequencies = {"a": 9, "b": 5, "c": 5, "d": 5, "e": 1}
    for limit, kept in ((5, "abcde"), (4, "abcd"), (3, "a"), (1, "a")):
        model = Word2Vec(vector_size=4, min_count=1, max_final_vocab=limit)
        model.build_vocab_from_freq(frequencies)
        assert model.wv.index_to_key == list(kept)


def test_update_keeps_what_was_learned(corpus, model):
    model.sample = 0
    before = {word: model.wv[word].copy() for word in model.wv.index_to_key}
    context = dict(zip(model.wv.index_to_key, model.syn1neg.copy(), strict=True))
    model.build_vocab([["new", "a0"]] * 5000, update=True)
    assert len(model.wv) == len(before) + 1
    assert model.wv.index_to_key[:2] == ["a0", "new"]
    for row, word in enumerate(model.wv.index_to_key):
        if word != "new":
            assert np.array_equal(model.wv[word], before[word])
            assert np.array_equal(model.syn1neg[row], context[word])
    model.train([["new", "a0"]] * 100, total_examples=100, epochs=1)
    assert not np.array_equal(model.wv["a0"], before["a0"])


def test_vectors_share_memory_with_the_table(corpus):
    model = Word2Vec(**SMALL)
    model.build_vocab(corpus)
    vectors, before = model.wv.vectors, model.wv.vectors.copy()
    model.train(corpus, epochs=1)
    assert model.wv.vectors is vectors
    assert not np.array_equal(vectors, before)


def test_neighbours_follow_training(corpus):
    """Cached norms of the vectors before training must not be used after it."""
    model = Word2Vec(**PLANTED)
    model.build_vocab(corpus)
    model.wv.most_similar("a0")
    model.train(corpus)
    copy = KeyedVectors(model.wv.index_to_key, model.wv.vectors.copy())
    assert model.wv.most_similar("a0") == copy.most_similar("a0")


# -- wrong input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option, message",
    [
        ({"vector_size": 0}, "vector_size must be 1 to 16777216, got 0"),
        ({"window": 0}, "window must be 1 to 1000, got 0"),
        ({"window": 2000}, "window must be 1 to 1000, got 2000"),
        ({"negative": -1}, "negative must be 0 to 1000, got -1"),
        ({"negative": 1001}, "negative must be 0 to 1000, got 1001"),
        ({"sg": 2}, "sg must be 0 to 1, got 2"),
        ({"hs": -1}, "hs must be 0 to 1, got -1"),
        ({"cbow_mean": 2}, "cbow_mean must be 0 to 1, got 2"),
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"workers": 0}, "workers must be 1 to 1024, got 0"),
        ({"alpha": -1.0}, "alpha must be finite and >= 0, got -1"),
        ({"alpha": float("nan")}, "alpha must be finite"),
        ({"sample": -1}, "sample must be finite and >= 0"),
        ({"ns_exponent": float("inf")}, "ns_exponent must be finite"),
        (
            {"negative_sharing": "batch"},
            "negative_sharing must be one of pair, window, got 'batch'",
        ),
        ({"null_word": 2}, "null_word must be 0 to 1, got 2"),
        ({"sorted_vocab": 0}, "sorted_vocab must be 1"),
        ({"device": "meta"}, "device must be auto, cpu or cuda"),
    ],
)
def test_arguments_out_of_range(option, message):
    with pytest.raises(ValueError, match=message):
        Word2Vec(**option)


@pytest.mark.parametrize(
    "option, message",
    [
        ({"window": 2.5}, "window must be an integer, got 2.5"),
        ({"epochs": None}, "epochs must be an integer, got None"),
        ({"alpha": "fast"}, "alpha must be a number, got 'fast'"),
    ],
)
def test_arguments_of_the_wrong_type(option, message):
    with pytest.raises(TypeError, match=message):
        Word2Vec(**option)


def test_numpy_numbers_as_arguments(corpus, tmp_path):
    """They are accepted, and do not spoil the checkpoint."""
    options = {name: np.int64(value) for name, value in SMALL.items()}
    model = Word2Vec(corpus, alpha=np.float32(0.025), seed=np.int32(1), **options)
    model.save(tmp_path)
    assert Word2Vec.load(tmp_path).window == 5


def test_epochs_of_a_later_training(corpus, model):
    with pytest.raises(ValueError, match="epochs must be >= 1, got 0"):
        model.train(corpus, epochs=0)
    with pytest.raises(ValueError, match="start_alpha must be finite and >= 0, got nan"):
        model.train(corpus, start_alpha=float("nan"))


@pytest.mark.parametrize(
    "sentences, message",
    [
        ((s for s in [["a"]]), "a generator can be read only once"),
        (iter([["a"]]), "read only once"),
        ("corpus.txt", "a path goes into corpus_file"),
        (["a sentence", "another"], "split each sentence"),
        (5, "not iterable|got int"),
    ],
)
def test_corpora_of_the_wrong_kind(sentences, message):
    with pytest.raises(TypeError, match=message):
        Word2Vec(sentences, **SMALL)


def test_no_corpus_or_two():
    model = Word2Vec(**SMALL)
    with pytest.raises(TypeError, match="give either corpus_iterable or corpus_file"):
        model.build_vocab()
    with pytest.raises(TypeError, match="give either corpus_iterable or corpus_file"):
        model.build_vocab([["a"]], "file")


def test_missing_file():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Word2Vec(corpus_file="/nowhere/corpus.txt")


def test_no_frequent_word():
    with pytest.raises(ValueError, match="min_count=5"):
        Word2Vec([["a", "b"]])


def test_train_without_vocabulary_or_known_words(model):
    with pytest.raises(ValueError, match="build the vocabulary first"):
        Word2Vec(**SMALL).train([["a", "b"]])
    with pytest.raises(ValueError, match="no word of the corpus is in the vocabulary"):
        model.train([["unheard", "of"]])
    with pytest.raises(ValueError, match="update=True needs a vocabulary"):
        Word2Vec(**SMALL).build_vocab([["a"]], update=True)


def test_sentences_of_one_word_are_refused():
    """They trained nothing, and the loss was nan."""
    with pytest.raises(ValueError, match="no word has a context: each of the 20 sentences has one"):
        Word2Vec([["a"], ["b"]] * 10, **SMALL)


# -- storage and resuming ---------------------------------------------------------------------


def test_save_and_load(corpus, model, tmp_path):
    model.save(tmp_path / "model")
    loaded = Word2Vec.load(tmp_path / "model", workers=1)
    assert same_tables(loaded, model)
    assert loaded.wv.index_to_key == model.wv.index_to_key
    assert loaded.state == model.state
    assert str(loaded) == str(model) == "Word2Vec<vocab=210, vector_size=20, alpha=0.075>"
    for one in (model, loaded):
        one.train(corpus, total_examples=one.corpus_count, epochs=2)
    assert same_tables(loaded, model)


def test_words_of_all_kinds(tmp_path):
    words = ["New York", "naïve", "\u2028", "a\tb", "日本", "5"]
    model = Word2Vec([words] * 5, **SMALL)
    model.save(tmp_path)
    assert Word2Vec.load(tmp_path).wv.index_to_key == model.wv.index_to_key == words


def test_line_feeds_are_refused_before_training(tmp_path):
    model = Word2Vec(**SMALL)
    model.build_vocab([["a", "\n"]] * 5)
    with pytest.raises(ValueError, match="cannot hold words with line feeds"):
        model.train([["a", "\n"]], checkpoint_folder=tmp_path)
    model.train([["a", "\n"]] * 5)
    assert "\n" in model.wv


def test_tables_without_padding_are_stored(model, tmp_path):
    from safetensors.numpy import load_file

    model.save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert set(tensors) == {"input", "output"}
    assert np.array_equal(tensors["input"], model.wv.vectors)
    assert np.array_equal(tensors["output"], model.syn1neg)


def test_load_of_a_changed_folder(model, tmp_path):
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for changes, message in (
        ({"vector_size": 21}, r"input must be \(210, 21\), got \(210, 20\)"),
        ({"window": "wide"}, "window must be an integer"),
        ({"window": -1}, "window must be 1 to 1000, got -1"),
        ({"hs": 7}, r"is damaged: .* hs must be 0 to 1, got 7"),
        ({"hs": 1}, r"is damaged: tree must be \(209, 20\), got nothing"),
        ({"corpus_count": "many"}, r"config\.json: corpus_count must be an integer, got 'many'"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(CheckpointError, match=message):
            Word2Vec.load(tmp_path)
    del config["seed"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="seed"):
        Word2Vec.load(tmp_path)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("done", "7", "done must be a whole number >= 0, got '7'"),
        ("pairs", None, r"sums\['pairs'\] must be a finite number, got None"),
        ("alpha", "x", "alpha must be a finite number, got 'x'"),
        ("epoch_sums", [1.0], r"epoch_sums\[0\] must be an array, got 1\.0"),
        ("epoch_sums", [[1.0]], "epoch_sums must be pairs of numbers"),
        ("loss_history", [{}], "loss_history must be objects with a number loss, got {}"),
        (
            "loss_history",
            [{"loss": 1.0, "alpha": "\ud800"}],
            "loss_history must be objects with a number alpha, got",
        ),
    ],
)
def test_damaged_state(model, tmp_path, field, value, message):
    model.save(tmp_path)
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(CheckpointError, match=rf"is damaged: trainer_state\.json: {message}"):
        Word2Vec.load(tmp_path)


@pytest.mark.parametrize("name, value", [("hs", 7), ("window", [1]), ("sample", 1e308)])
def test_damaged_settings(model, tmp_path, name, value):
    model.save(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(CheckpointError, match=f"is damaged: Word2Vec: .*{name}"):
        Word2Vec.load(tmp_path)


def test_two_runs_of_one_folder(corpus, model, tmp_path):
    """The second one is refused before it encodes or saves anything."""
    model.save(tmp_path)
    before = sorted(tmp_path.iterdir())
    model.encoded_folder = tmp_path / ".encoded"
    with open(tmp_path / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="another process is training there"):
            model.train(corpus, checkpoint_folder=tmp_path)
    (tmp_path / ".lock").unlink()
    assert sorted(tmp_path.iterdir()) == before


def test_infinite_tables_are_not_saved(model, tmp_path):
    model.save(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model.wv.vectors[3, 3] = np.inf
    with pytest.raises(CheckpointError, match="the input table holds nan or infinity"):
        model.save(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_diverging_training_leaves_the_checkpoint(corpus, model, tmp_path):
    model.save(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model.wv.vectors[:] = np.nan
    with pytest.raises(TrainingDivergedError, match="loss became nan in epoch 1"):
        model.train(corpus, checkpoint_folder=tmp_path, checkpoint_every=0.0)
    assert (tmp_path / "model.safetensors").read_bytes() == before


class StopAfter:
    """A stop request that comes after some calls."""

    def __init__(self, calls):
        self.calls = calls

    @property
    def requested(self):
        self.calls -= 1
        return self.calls < 0


LONG = {"vector_size": 20, "min_count": 1, "epochs": 6, "workers": 1}


@pytest.mark.parametrize("calls", [0, 1, 3, 6])
def test_resume_is_exact(corpus, tmp_path, calls):
    whole = Word2Vec(corpus, **LONG)
    model = Word2Vec(**LONG)
    model.build_vocab(corpus)
    model.train(corpus, checkpoint_folder=tmp_path, stop=StopAfter(calls))
    assert not model.state.finished
    resumed = Word2Vec.load(tmp_path, workers=1)
    resumed.train(corpus, checkpoint_folder=tmp_path, resume=True)
    assert same_tables(resumed, whole)
    assert resumed.state.loss_sum == pytest.approx(whole.state.loss_sum, rel=1e-12)
    assert (resumed.state.pairs, resumed.state.centers) == (whole.state.pairs, whole.state.centers)
    assert Word2Vec.load(tmp_path).state.finished


def test_resume_of_something_else(corpus, model, tmp_path):
    with pytest.raises(ValueError, match="nothing to resume"):
        model.train(corpus, resume=True)
    model = Word2Vec(**LONG)
    model.build_vocab(corpus)
    model.train(corpus, checkpoint_folder=tmp_path, stop=StopAfter(1))
    for other, options, message in (
        (corpus[:-1], {}, r"corpus tokens is \d+ now, \d+ in the interrupted run"),
        (corpus[::-1], {}, "corpus sha1 is"),
        (corpus, {"epochs": 7}, "epochs is 7 now, 6 in"),
        (corpus, {"start_alpha": 0.5}, "alpha is 0.5 now, 0.075 in"),
        (corpus, {"end_alpha": 0.5}, "min_alpha is 0.5 now, 0.0001 in"),
    ):
        with pytest.raises(ValueError, match=message):
            Word2Vec.load(tmp_path).train(other, resume=True, **options)


def test_encoded_folder_is_used_again(corpus, tmp_path):
    path, folder = tmp_path / "corpus.txt", tmp_path / "encoded"
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in corpus))
    first = Word2Vec(corpus_file=path, encoded_folder=folder, **SMALL)
    written = (folder / "tokens.bin").stat()
    again = Word2Vec(corpus_file=path, encoded_folder=folder, **SMALL)
    assert (folder / "tokens.bin").stat().st_mtime_ns == written.st_mtime_ns
    assert (folder / "tokens.bin").stat().st_ino == written.st_ino
    assert same_tables(first, again)
    with path.open("a") as file:
        file.write("a0 b0\n" * 10)
    Word2Vec(corpus_file=path, encoded_folder=folder, **SMALL)
    assert (folder / "tokens.bin").stat().st_ino != written.st_ino


# -- gensim's habits --------------------------------------------------------------------------


def test_callbacks(corpus):
    class Recorder:
        def __init__(self):
            self.events = []

        def on_train_begin(self, model):
            self.events.append("train begin")

        def on_epoch_end(self, model):
            self.events.append(model.get_latest_training_loss())

        def on_train_end(self, model):
            self.events.append("train end")

    recorder = Recorder()
    model = Word2Vec(corpus, callbacks=[recorder], compute_loss=True, **SMALL)
    begin, *losses, end = recorder.events
    assert (begin, end) == ("train begin", "train end")
    assert len(losses) == 3 and 0 < losses[0] < losses[1] < losses[2]
    assert losses[2] == model.running_training_loss == model.state.loss_sum


def test_silent_unless_asked(corpus, capfd):
    Word2Vec(corpus, **SMALL)
    assert capfd.readouterr() == ("", "")
    Word2Vec(corpus, progress=True, **SMALL)
    out, err = capfd.readouterr()
    assert out == "" and "words/s" in err


def test_progress_of_the_caller_stays_open(corpus, tmp_path):
    model = Word2Vec(**SMALL)
    with Progress(log_json=tmp_path / "log") as progress:
        model.build_vocab(corpus, progress=progress)
        for _ in range(2):
            model.train(corpus, progress=progress)
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [record["words"] for record in records] == [model.state.total] * 2


def test_estimate_memory(model):
    report = model.estimate_memory()
    assert report["vectors"] == report["syn1neg"] == 210 * 32 * 4  # 20 padded to 32
    assert report["total"] == sum(report.values()) - report["total"]
    assert Word2Vec(vector_size=100).estimate_memory(1_000_000)["vectors"] == 448_000_000


@pytest.mark.interop
def test_progress_of_a_call_may_be_a_truth_value(corpus, capsys):
    model = Word2Vec(vector_size=8, min_count=1, workers=1, epochs=1, progress=True)
    model.build_vocab(corpus, progress=False)
    model.train(corpus, progress=False)
    assert capsys.readouterr().err == ""
    model.train(corpus, progress=True)
    assert "words" in capsys.readouterr().err


def test_same_calls_as_gensim(corpus):
    gensim = pytest.importorskip("gensim.models")
    results = []
    for kind in (gensim.Word2Vec, Word2Vec):
        model = kind(
            sentences=corpus,
            vector_size=24,
            window=3,
            min_count=2,
            workers=1,
            alpha=0.025,
            epochs=4,
            seed=3,
        )
        model.build_vocab([["brand", "new", "a0"]] * 3, update=True)
        trained = model.train(corpus, total_examples=model.corpus_count, epochs=model.epochs)
        name, cosine = model.wv.most_similar("a0", topn=3)[0]
        results.append(
            {
                "size": (len(model.wv), model.vector_size, model.wv.vector_size),
                "keys": set(model.wv.index_to_key),
                "first": model.wv.index_to_key[0],
                "count": int(model.wv.get_vecattr("brand", "count")),
                "vector": (model.wv["a0"].shape, model.wv["a0"].dtype),
                "tables": (model.wv.vectors.shape, model.syn1neg.shape, model.syn1neg.dtype),
                "raw words": trained[1],
                "similar": (type(name), type(cosine)),
                "in": ("a0" in model.wv, "nothing" in model.wv),
                "predicted": len(model.predict_output_word(["a0", "c0_1"], topn=4)),
                "loss": type(model.get_latest_training_loss()),
                "settings": (model.window, model.negative, model.alpha, model.min_count),
            }
        )
    assert results[0] == results[1]


@pytest.mark.interop
def test_from_gensim_and_back(corpus, tmp_path):
    gensim = pytest.importorskip("gensim.models")
    theirs = gensim.Word2Vec(
        corpus, sg=1, vector_size=24, window=3, min_count=2, negative=7, sample=1e-2, epochs=2,
        alpha=0.03, ns_exponent=0.5, seed=9, shrink_windows=False, comment="by hand", workers=1,
    )  # fmt: skip
    ours = Word2Vec.from_gensim(theirs, workers=1)
    assert (ours.vector_size, ours.window, ours.negative, ours.sample) == (24, 3, 7, 1e-2)
    assert (ours.alpha, ours.ns_exponent, ours.seed, ours.min_count) == (0.03, 0.5, 9, 2)
    assert (ours.shrink_windows, ours.epochs, ours.comment) == (False, 2, "by hand")
    assert (ours.corpus_count, ours.corpus_total_words) == (
        theirs.corpus_count,
        theirs.corpus_total_words,
    )
    again = ours.to_gensim()
    assert set(ours.wv.index_to_key) == set(theirs.wv.index_to_key)
    for word in ours.wv.index_to_key:
        row, theirs_row = ours.wv.key_to_index[word], theirs.wv.key_to_index[word]
        np.testing.assert_array_equal(ours.wv[word], theirs.wv[word])
        np.testing.assert_array_equal(again.wv[word], theirs.wv[word])
        np.testing.assert_array_equal(ours.syn1neg[row], theirs.syn1neg[theirs_row])
        np.testing.assert_array_equal(
            again.syn1neg[again.wv.key_to_index[word]], theirs.syn1neg[theirs_row]
        )
        count = theirs.wv.get_vecattr(word, "count")
        assert ours.wv.get_vecattr(word, "count") == again.wv.get_vecattr(word, "count") == count
    assert (again.window, again.min_count, again.seed, again.sg) == (3, 2, 9, 1)
    for model in (ours, again):  # both go on with it
        before = model.wv["a0"].copy()
        model.train(corpus, total_examples=model.corpus_count, epochs=1)
        assert not np.array_equal(model.wv["a0"], before)
    ours.save(tmp_path / "ours")
    np.testing.assert_array_equal(Word2Vec.load(tmp_path / "ours").wv.vectors, ours.wv.vectors)


@pytest.mark.interop
def test_models_of_gensim_of_another_kind():
    gensim = pytest.importorskip("gensim.models")
    sentences, small = [["a", "b"], ["b", "c"]], {"vector_size": 4, "min_count": 1}
    alone = gensim.Word2Vec(hs=1, **small)
    alone.build_vocab([["a", "a"]])
    with pytest.raises(ValueError, match="hs=1 needs a vocabulary of two words or more"):
        Word2Vec.from_gensim(alone)
    untrainable = gensim.Word2Vec(sentences, **small)
    untrainable.negative = 0
    with pytest.raises(ValueError, match="is neither hierarchical softmax nor negative sampling"):
        Word2Vec.from_gensim(untrainable)
    with pytest.raises(ValueError, match="no vocabulary yet"):
        Word2Vec.from_gensim(gensim.Word2Vec(sg=1))
    for other in (gensim.FastText(sentences, sg=1, bucket=10, **small), Word2Vec(), None):
        with pytest.raises(TypeError, match=r"must be a gensim.models.Word2Vec, got "):
            Word2Vec.from_gensim(other)
    with pytest.raises(ValueError, match="build the vocabulary first"):
        Word2Vec().to_gensim()


@pytest.mark.interop
def test_gensim_words_in_any_order():
    """Ours are by count, with their rows; no sub-sampling or seed of 64 bits is in the way."""
    gensim = pytest.importorskip("gensim.models")
    theirs = gensim.Word2Vec(vector_size=4, hs=1, min_count=1, sorted_vocab=0)
    theirs.build_vocab([["rare", "often", "often", "some", "some", "often"]])
    theirs.syn1neg[:] = np.arange(12).reshape(3, 4)
    theirs.syn1[:2] = np.arange(8).reshape(2, 4)
    ours = Word2Vec.from_gensim(theirs)
    text = [["often", "rare"], ["some", "often"]]
    np.testing.assert_allclose(ours.score(text), theirs.score(text, 2), rtol=0.05)
    assert ours.wv.index_to_key == ["often", "some", "rare"]
    for row, word in enumerate(ours.wv.index_to_key):
        np.testing.assert_array_equal(ours.wv[word], theirs.wv[word])
        np.testing.assert_array_equal(
            ours.syn1neg[row], theirs.syn1neg[theirs.wv.key_to_index[word]]
        )
    ours.seed = -1
    assert ours.to_gensim().seed == 2**32 - 1
