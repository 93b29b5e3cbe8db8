"""GloVe: learns planted structure, resumes to the last bit, shares files with the original tool."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from lexforge import Cooccurrence, GloVe, KeyedVectors, _library, cooccurrence, load_vectors
from lexforge.models.glove import tiles as glove_tiles
from lexforge.models.glove.trainer import first_round, rounds_between
from lexforge.text import Vocabulary
from lexforge.training import stream_job
from lexforge.training.checkpoint import CheckpointError
from lexforge.training.progress import Progress
from lexforge.training.state import TrainingDivergedError
from planted import planted_corpus, synonym_score

pytestmark = pytest.mark.skipif(
    _library.emulated(), reason="end-to-end training takes too long on the emulated device"
)

# Biases that learn as slowly as the rest: so small a corpus is over-learnt with quick ones.
PLANTED = {"vector_size": 32, "min_count": 1, "window": 5, "x_max": 10, "bias_rate": 1}
SMALL = {"vector_size": 20, "epochs": 3, "parts": 8}
# Learning rates at which each of them learns the planted corpus in 25 passes.
RATES = {"adagrad": 0.05, "rowwise": 0.05, "adam": 0.002}


@pytest.fixture(scope="module")
def corpus():
    return planted_corpus()


@pytest.fixture(scope="module")
def counts(corpus):
    return cooccurrence(corpus, window=5, min_count=1)


@pytest.fixture
def model(counts):
    return GloVe(counts, **SMALL)


@pytest.fixture
def short_calls(monkeypatch):
    """Calls of single rounds rather than of whole passes: the planted counts are few."""
    monkeypatch.setattr(stream_job, "FIRST_CALL_UNITS", 100)
    monkeypatch.setattr(stream_job, "LARGEST_GROWTH", 1.0)


def same_tables(a, b):
    tables = zip(a._stored().values(), b._stored().values(), strict=True)
    return all(torch.equal(one, other) for one, other in tables)


# -- learning ---------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", RATES)
def test_learns_synonyms(corpus, device, optimizer):
    model = GloVe(
        corpus, optimizer=optimizer, learning_rate=RATES[optimizer], device=device, **PLANTED
    )
    assert synonym_score(model.wv) >= 0.95
    assert synonym_score(model.keyed_vectors("word")) >= 0.95
    losses = model.loss_history
    assert len(losses) == 25 and losses[-1] < 0.15 * losses[0]
    assert losses == sorted(losses, reverse=True)


def test_loss_is_the_mean_cost(counts):
    """At a learning rate of 0: h(x) e^2 / 2 of the first values, averaged over the entries."""
    model = GloVe(counts, learning_rate=0.0, x_max=4.0, alpha=0.5, **SMALL)
    i, j, x = counts.rows.numpy(), counts.cols.numpy(), counts.values.numpy()
    words, contexts = model.word_vectors.astype(float), model.context_vectors.astype(float)
    fit = (words[i] * contexts[j]).sum(axis=1) + model.word_biases[i] + model.context_biases[j]
    cost = 0.5 * np.minimum((x / 4.0) ** 0.5, 1) * (fit - np.log(x)) ** 2
    assert model.loss_history == pytest.approx([cost.mean()] * 3, rel=1e-5)
    assert model.state.pairs == 3 * counts.nnz and model.state.unit == "entries"


def test_first_values(counts):
    """Uniform in [-0.5, 0.5] / size, biases too; all accumulators 1."""
    model = GloVe(counts, learning_rate=0.0, vector_size=50, epochs=1)
    for values in (
        model.word_vectors, model.context_vectors, model.word_biases, model.context_biases,
    ):  # fmt: skip
        assert np.abs(values).max() <= 0.01
        assert values.std() == pytest.approx(0.01 / np.sqrt(3), rel=0.1)
    assert not np.array_equal(model.word_vectors, model.context_vectors)
    for name, tensor in model._stored().items():
        assert not name.startswith("gradsq_") or (tensor == 1).all()


def test_seeds(counts, model):
    assert same_tables(GloVe(counts, **SMALL), model)
    assert not same_tables(GloVe(counts, seed=2, **SMALL), model)


def test_corpus_files_and_counts_give_the_same_model(corpus, counts, tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in corpus))
    models = [
        GloVe(source, window=5, min_count=1, **SMALL) for source in (corpus, path, [path], counts)
    ]
    assert all(same_tables(models[0], other) for other in models[1:])
    assert models[3].window == 5


@pytest.mark.parametrize("optimizer", RATES)
def test_threads_give_the_same_bits(counts, optimizer):
    options = {**SMALL, "optimizer": optimizer, "learning_rate": RATES[optimizer]}
    one = GloVe(counts, workers=1, **options)
    for workers in (2, 3):
        other = GloVe(counts, workers=workers, **options)
        assert same_tables(one, other)
        assert one.state.loss_sum == other.state.loss_sum


def test_call_sizes_give_the_same_bits(counts, model, short_calls):
    """The speed of a machine decides how many rounds make a call."""
    assert same_tables(GloVe(counts, **SMALL), model)


def test_more_passes_continue(counts):
    """3 passes, saved, and 2 more are 5 passes."""
    whole = GloVe(counts, **{**SMALL, "epochs": 5})
    model = GloVe(counts, **SMALL)
    model.train(epochs=2)
    assert same_tables(model, whole)
    assert model.loss_history == whole.loss_history and len(model.loss_history) == 5
    assert (model.state.epochs, model.state.done) == (5, 5 * counts.nnz)


def test_training_on_other_counts(corpus, counts, model):
    other = cooccurrence(corpus[::2], window=5, vocabulary=counts.vocab)
    before = model.word_vectors.copy()
    model.train(other, epochs=2)
    assert model.state.first_epoch == 3 and len(model.loss_history) == 2
    assert not np.array_equal(before, model.word_vectors)


def test_rounds_of_a_pass():
    """Each pass walks over all rounds in turn, and passes begin at spread-out ones."""
    begins = [first_round(10, 1, epoch) for epoch in range(25)]
    assert len(set(begins)) == 10 and begins != sorted(begins)
    assert [first_round(1, seed, 3) for seed in (-5, 0, 2**64 - 1)] == [0, 0, 0]
    for begin in begins:
        for cut in range(11):
            ranges = rounds_between(10, begin, begin + cut)
            ranges += rounds_between(10, begin + cut, begin + 10)
            covered = [number for first, last in ranges for number in range(first, last)]
            assert covered == [*range(begin, 10), *range(begin)]


def test_unknown_word_is_a_word_like_others():
    """The original tool refuses texts in which rare words were replaced by <unk>."""
    corpus = [["the", "<unk>", "sat"], ["the", "cat", "sat"]] * 20
    model = GloVe(corpus, min_count=1, **{**SMALL, "parts": None})
    assert "<unk>" in model.wv and len(model.wv) == 4
    without = Vocabulary(["the", "sat", "cat"], [40, 40, 20])
    counts = cooccurrence(corpus, vocabulary=without)
    assert "<unk>" not in GloVe(counts, **{**SMALL, "parts": None}).wv


# -- tiles on disk ----------------------------------------------------------------------------


def test_little_memory_gives_the_same_bits(counts, model, tmp_path, monkeypatch):
    """Tiles that do not fit are sorted some at a time into files, and these go away."""
    seen = []
    real = glove_tiles._in_files

    def spy(ranges, folder, parts, needed):
        ranges = list(ranges)
        seen.append(len(ranges))
        assert folder.parent == tmp_path
        tiles = real(iter(ranges), folder, parts, needed)
        assert (folder / "column.bin").stat().st_size == 4 * counts.nnz
        return tiles

    monkeypatch.setattr(glove_tiles, "_in_files", spy)
    (tmp_path / ".tiles").mkdir()
    (tmp_path / ".tiles" / "left by a killed process").write_text("")
    little = GloVe(memory="40KB", **SMALL)
    little.train(counts, checkpoint_folder=tmp_path)
    assert len(seen) == 1 and seen[0] > 2
    assert same_tables(little, model)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_no_room_for_tiles(counts, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    model = GloVe(memory="100KB", **SMALL)
    with pytest.raises(OSError, match=r"no space left: .* are needed and .* are free") as caught:
        model.train(counts, checkpoint_folder=tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_really_full_disk(counts, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("mounting a small disk needs more rights")
    usage = shutil.disk_usage("/")._replace(free=10**9)
    try:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(OSError, match="No space left on device") as caught:
            GloVe(memory="100KB", **SMALL).train(counts, checkpoint_folder=disk)
        assert caught.value.errno == errno.ENOSPC and caught.value.filename
        with pytest.raises(CheckpointError, match="no space left on the disk"):
            GloVe(**SMALL).train(counts, checkpoint_folder=disk)
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# -- vectors ----------------------------------------------------------------------------------


def test_sum_of_both_tables_by_default(counts, model):
    words, contexts = model.word_vectors, model.context_vectors
    expected = {"sum": words + contexts, "word": words, "context": contexts}
    assert np.array_equal(model.wv.vectors, expected["sum"])
    for name, vectors in expected.items():
        assert np.array_equal(GloVe(counts, vectors=name, **SMALL).wv.vectors, vectors)
        kv = model.keyed_vectors(name)
        assert isinstance(kv, KeyedVectors) and np.array_equal(kv.vectors, vectors)
        assert kv.get_vecattr("a0", "count") == counts.vocab.counts[counts.vocab["a0"]]


def test_vectors_follow_training(counts, model):
    """Cached norms of the vectors before training must not be used after it."""
    vectors = model.wv
    before = vectors.vectors.copy()
    vectors.most_similar("a0")
    model.train(epochs=3)
    assert model.wv is vectors and not np.array_equal(vectors.vectors, before)
    copy = KeyedVectors(vectors.index_to_key, vectors.vectors.copy())
    assert vectors.most_similar("a0") == copy.most_similar("a0")


def test_before_training():
    model = GloVe(**SMALL)
    assert model.wv is None and model.loss_history == [] and model.state is None
    assert str(model) == "GloVe<vocab=0, vector_size=20, learning_rate=0.05>"
    for what in ("word_vectors", "context_vectors", "word_biases", "context_biases"):
        with pytest.raises(ValueError, match=f"{what}: train the model first"):
            getattr(model, what)
    for call in (model.keyed_vectors, lambda: model.save("x"), lambda: model.save_stanford("x")):
        with pytest.raises(ValueError, match="train the model first"):
            call()


# -- wrong input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option, message",
    [
        ({"vector_size": 0}, "vector_size must be 1 to 16777216, got 0"),
        ({"window": 0}, "window must be 1 to 1000, got 0"),
        ({"window": 2000}, "window must be 1 to 1000, got 2000"),
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"workers": 0}, "workers must be 1 to 1024, got 0"),
        ({"parts": 0}, "parts must be >= 1, got 0"),
        ({"min_count": -1}, "min_count must be >= 0, got -1"),
        ({"max_vocab_size": 0}, "max_vocab_size must be >= 1, got 0"),
        ({"x_max": 0.0}, "x_max must be above 0, got 0.0"),
        ({"x_max": -1.0}, "x_max must be finite and >= 0, got -1"),
        ({"alpha": -1.0}, "alpha must be finite and >= 0, got -1"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite"),
        ({"grad_clip": 0.0}, "grad_clip must be above 0, got 0"),
        ({"optimizer": "sgd"}, "optimizer must be one of adagrad, rowwise, adam, got 'sgd'"),
        ({"vectors": "both"}, "vectors must be one of sum, word, context, got 'both'"),
        ({"memory": "much"}, "memory must be like '512MB' or '2GB', got 'much'"),
        ({"memory": 0}, "memory must be above 0, got 0"),
        ({"device": "meta"}, "device must be auto, cpu or cuda"),
    ],
)
def test_arguments_out_of_range(option, message):
    with pytest.raises(ValueError, match=message):
        GloVe(**option)


@pytest.mark.parametrize(
    "option, message",
    [
        ({"window": 2.5}, "window must be an integer, got 2.5"),
        ({"epochs": None}, "epochs must be an integer, got None"),
        ({"x_max": "much"}, "x_max must be a number, got 'much'"),
        ({"memory": None}, "memory must be a number of bytes or a text"),
    ],
)
def test_arguments_of_the_wrong_type(option, message):
    with pytest.raises(TypeError, match=message):
        GloVe(**option)


def test_numpy_numbers_as_arguments(counts, tmp_path):
    """They are accepted, and do not spoil the checkpoint."""
    options = {name: np.int64(value) for name, value in SMALL.items()}
    GloVe(counts, x_max=np.float32(10), seed=np.int32(1), **options).save(tmp_path)
    assert GloVe.load(tmp_path).x_max == 10


def test_corpora_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="give a corpus or counts; this model has none"):
        GloVe(**SMALL).train()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        GloVe("/nowhere/corpus.txt")
    with pytest.raises(TypeError, match="more than once"):
        GloVe(s for s in [["a", "b"]])
    with pytest.raises(ValueError, match="min_count=5"):
        GloVe([["a", "b"]])
    with pytest.raises(ValueError, match="nothing to count"):
        GloVe([["a"], ["b"]] * 10)


def test_counts_over_other_words(corpus, model):
    other = cooccurrence(corpus, window=5, min_count=100)
    with pytest.raises(ValueError, match=r"counts must be over the 210 words .* got .* over \d+"):
        model.train(other)


def test_more_than_fits_into_memory(counts, monkeypatch):
    """Refused before it is allocated: the system grants it and kills whoever uses it."""
    monkeypatch.setattr("lexforge.models.glove.model.available_memory", lambda: 1000)
    with pytest.raises(MemoryError, match=r"210 words x vector_size=20 .* GB are free"):
        GloVe(counts, **SMALL)


def test_estimate_memory(model, counts):
    report = model.estimate_memory()
    assert report["words"] == report["contexts"] == 210 * 2 * 32 * 4  # 20 + 2 padded to 32
    assert 8 * counts.nnz < report["tiles"] <= 20 * counts.nnz + 8 * 64
    assert report["total"] == sum(report.values()) - report["total"]
    large = GloVe(vector_size=100, memory="1GB").estimate_memory(1_000_000, 10**9)
    assert large["words"] == 896_000_000 and large["tiles"] == 10**9
    rowwise = GloVe(vector_size=100, optimizer="rowwise").estimate_memory(1_000_000, 10**9)
    assert rowwise["words"] == 448_000_000


def test_parts_beyond_the_words():
    model = GloVe([["a", "b"]] * 5, min_count=1, parts=100, vector_size=4)
    assert model.state.corpus["parts"] == 2 and model.state.finished


# -- storage and resuming ---------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", RATES)
def test_save_and_load(counts, tmp_path, optimizer):
    model = GloVe(counts, optimizer=optimizer, vectors="word", x_max=7, **SMALL)
    model.save(tmp_path)
    loaded = GloVe.load(tmp_path)
    assert same_tables(loaded, model) and loaded.state == model.state
    assert loaded.vocabulary == model.vocabulary
    assert (loaded.x_max, loaded.vectors, loaded.window) == (7, "word", 5)
    assert np.array_equal(loaded.wv.vectors, model.wv.vectors)
    for one in (model, loaded):
        one.train(counts, epochs=2)
    assert same_tables(loaded, model)


def test_tensors_of_a_checkpoint(model, counts, tmp_path):
    from safetensors.numpy import load_file

    model.save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tables, biases = {"input", "output"}, {"word_bias", "context_bias"}
    assert set(tensors) == {
        *tables, *biases, *(f"gradsq_{name}" for name in tables | biases)
    }  # fmt: skip
    assert np.array_equal(tensors["input"], model.word_vectors)
    assert np.array_equal(tensors["context_bias"], model.context_biases)
    assert tensors["gradsq_output"].shape == (210, 20) and tensors["gradsq_output"].min() >= 1
    for optimizer, kept in (
        ("rowwise", {"gradsq_input", "gradsq_output"}),
        ("adam", {"steps_input", "steps_output", *(
            f"{moment}_{name}" for moment in ("mean", "square") for name in tables | biases)}),
    ):  # fmt: skip
        GloVe(counts, optimizer=optimizer, **SMALL).save(tmp_path)
        assert set(load_file(tmp_path / "model.safetensors")) == tables | biases | kept


@pytest.mark.parametrize("vectors", ["sum", "word", "context"])
def test_checkpoint_as_vectors(counts, tmp_path, vectors):
    """Whoever reads vectors from the folder gets those that the model shows."""
    model = GloVe(counts, vectors=vectors, **SMALL)
    model.save(tmp_path)
    for limit in (None, 7):
        loaded = load_vectors(tmp_path, limit=limit)
        assert loaded.index_to_key == model.wv.index_to_key[:limit]
        assert np.array_equal(loaded.vectors, model.wv.vectors[:limit])
    assert np.array_equal(load_vectors(tmp_path, mmap=True).vectors, model.wv.vectors)


def test_line_feeds_are_refused_before_training(tmp_path):
    model = GloVe(vector_size=4, min_count=1)
    with pytest.raises(ValueError, match="cannot hold words with line feeds"):
        model.train([["a", "\n"]] * 5, checkpoint_folder=tmp_path)
    model.train([["a", "\n"]] * 5)
    assert "\n" in model.wv


def test_load_of_a_changed_folder(model, tmp_path):
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for changes, message in (
        ({"vector_size": 21}, r"input must be \(210, 21\), got \(210, 20\)"),
        ({"optimizer": "adam", "bias_rate": 1}, r"mean_input must be \(210, 20\), got nothing"),
        ({"window": "wide"}, "window must be an integer"),
        ({"x_max": -1}, "x_max must be finite and >= 0"),
        ({"model": "word2vec"}, "model must be 'glove', got 'word2vec'"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(CheckpointError, match=message):
            GloVe.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    for wrong in ([], "8", 0, 2**40, None):
        changed = {**state, "corpus": {**state["corpus"], "parts": wrong}}
        (tmp_path / "trainer_state.json").write_text(json.dumps(changed))
        with pytest.raises(CheckpointError, match="corpus: parts must be"):
            GloVe.load(tmp_path)
    del config["seed"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="seed"):
        GloVe.load(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "trainer_state.json"])
def test_truncated_checkpoint(model, tmp_path, name):
    model.save(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        GloVe.load(tmp_path)


def test_two_runs_of_one_folder(counts, model, tmp_path):
    """The second one is refused before it makes or saves anything."""
    model.save(tmp_path)
    before = sorted(tmp_path.iterdir())
    with open(tmp_path / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="another process is training there"):
            model.train(counts, checkpoint_folder=tmp_path)
    (tmp_path / ".lock").unlink()
    assert sorted(tmp_path.iterdir()) == before


def test_infinite_tables_are_not_saved(model, tmp_path):
    model.save(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model.context_biases[3] = np.inf
    with pytest.raises(CheckpointError, match="the context_bias table holds nan or infinity"):
        model.save(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_diverging_training_leaves_the_checkpoint(counts, model, tmp_path):
    model.save(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    model.word_vectors[:] = np.nan
    with pytest.raises(TrainingDivergedError, match=r"loss became nan in epoch 4, .* smaller one"):
        model.train(counts, checkpoint_folder=tmp_path, checkpoint_every=0.0)
    assert (tmp_path / "model.safetensors").read_bytes() == before


class StopAfter:
    """A stop request that comes after some calls."""

    def __init__(self, calls):
        self.calls = calls

    @property
    def requested(self):
        self.calls -= 1
        return self.calls < 0


@pytest.mark.parametrize("calls", [0, 1, 9, 20])
def test_resume_is_exact(counts, model, tmp_path, calls, short_calls):
    """8 rounds a pass, so the stop comes within passes; it goes on with other threads."""
    stopped = GloVe(workers=2, **SMALL)
    stopped.train(counts, checkpoint_folder=tmp_path, stop=StopAfter(calls))
    assert not stopped.state.finished
    assert (stopped.state.epoch, stopped.state.position) == divmod(calls + 1, 8)
    resumed = GloVe.load(tmp_path, workers=1)
    resumed.train(counts, checkpoint_folder=tmp_path, resume=True)
    assert same_tables(resumed, model)
    assert resumed.state.loss_sum == model.state.loss_sum
    assert resumed.loss_history == model.loss_history
    assert GloVe.load(tmp_path).state.finished


def test_resume_of_something_else(corpus, counts, model, tmp_path, short_calls):
    with pytest.raises(ValueError, match="nothing to resume"):
        model.train(counts, resume=True)
    GloVe(**SMALL).train(counts, checkpoint_folder=tmp_path, stop=StopAfter(1))
    other = cooccurrence(corpus, window=4, min_count=1)
    with pytest.raises(ValueError, match=r"counts entries is \d+ now, \d+ in the interrupted run"):
        GloVe.load(tmp_path).train(other, resume=True)
    with pytest.raises(ValueError, match="epochs is 7 now, 3 in"):
        GloVe.load(tmp_path).train(counts, resume=True, epochs=7)


def test_default_parts_of_another_machine(counts, tmp_path, monkeypatch, short_calls):
    """A run keeps the parts it began with."""
    whole = GloVe(counts, **{**SMALL, "parts": 5})
    monkeypatch.setattr("lexforge.models.glove.model.glove_default_parts", lambda *_: 5)
    GloVe(**{**SMALL, "parts": None}).train(counts, checkpoint_folder=tmp_path, stop=StopAfter(6))
    monkeypatch.setattr("lexforge.models.glove.model.glove_default_parts", lambda *_: 2)
    resumed = GloVe.load(tmp_path)
    resumed.train(counts, resume=True)
    assert same_tables(resumed, whole)


def test_callbacks_and_progress(counts, tmp_path, capfd):
    class Recorder:
        def __init__(self):
            self.events = []

        def on_train_begin(self, model):
            self.events.append("begin")

        def on_epoch_end(self, model):
            self.events.append(model.loss_history[-1])

        def on_train_end(self, model):
            self.events.append("end")

    recorder = Recorder()
    model = GloVe(**SMALL)
    with Progress(log_json=tmp_path / "log") as progress:
        model.train(counts, callbacks=[recorder], progress=progress)
    assert recorder.events == ["begin", *model.loss_history, "end"]
    record = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert record["entries"] == 3 * counts.nnz and record["entries_per_second"] > 0
    assert capfd.readouterr() == ("", "")
    GloVe(counts, progress=True, **SMALL)
    out, err = capfd.readouterr()
    assert out == "" and "entries/s" in err and "epoch 3/3" in err


def test_counts_folder_is_used_again(corpus, tmp_path):
    path, folder = tmp_path / "corpus.txt", tmp_path / "counts"
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in corpus))
    options = {"counts_folder": folder, "min_count": 1, "window": 5, **SMALL}
    first = GloVe(path, **options)
    written = (folder / "triplets.bin").stat().st_ino
    assert same_tables(GloVe(path, **{**options, "seed": first.seed}), first)
    assert (folder / "triplets.bin").stat().st_ino == written
    first.save(tmp_path / "model")
    GloVe.load(tmp_path / "model", counts_folder=folder).train(path)  # over the words it has
    assert (folder / "triplets.bin").stat().st_ino == written
    for changes in ({"window": 4}, {"symmetric": False}, {"min_count": 2}, {"lowercase": True}):
        GloVe(path, **{**options, **changes})
        assert (folder / "triplets.bin").stat().st_ino != written
        written = (folder / "triplets.bin").stat().st_ino
    with path.open("a") as file:
        file.write("a0 b0\n" * 10)
    GloVe(path, **options)
    assert (folder / "triplets.bin").stat().st_ino != written
    GloVe(corpus, **options)  # takes the place of the counts of a file
    assert not (folder / "request.json").exists()
    GloVe(path, **options)
    (folder / "triplets.bin").write_bytes(b"cut")
    with pytest.raises(ValueError, match="truncated"):
        GloVe(path, **options)


# -- files of the original tool ---------------------------------------------------------------


@pytest.fixture
def tiny():
    """Two words of two numbers, with tables that are easy to read in a dump."""
    model = GloVe([["a", "b"]] * 3, min_count=1, vector_size=2, epochs=1)
    for table, start in zip(model._parameters(), (1, 4), strict=True):
        table.copy_(torch.tensor([[start, start + 1, start + 2], [-start, 0.5, 8]]))
    return model


def test_bytes_of_the_binary_files(tiny, tmp_path):
    tiny.save_stanford_binary(tmp_path / "vectors.bin", tmp_path / "gradsq.bin")
    expected = "".join(
        [
            "000000000000f03f 0000000000000040 0000000000000840",  # word a: 1 2, bias 3
            "000000000000f0bf 000000000000e03f 0000000000002040",  # word b: -1 0.5, bias 8
            "0000000000001040 0000000000001440 0000000000001840",  # context a: 4 5, bias 6
            "00000000000010c0 000000000000e03f 0000000000002040",  # context b: -4 0.5, bias 8
        ]
    ).replace(" ", "")
    assert (tmp_path / "vectors.bin").read_bytes().hex() == expected
    sums = np.frombuffer((tmp_path / "gradsq.bin").read_bytes()).reshape(2, 2, 3)
    gradsq = [table.numpy().astype(float) for table in tiny._parameters(part=1)]
    assert np.array_equal(sums, gradsq) and sums.min() >= 1 and sums.max() > 1


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, "a 5 7\nb -5 1\n<unk> 0 4\n"),
        ({"model": 1}, "a 1 2\nb -1 0.5\n<unk> 0 1.25\n"),
        (
            {"model": 0},
            "a 1 2 3 4 5 6\nb -1 0.5 8 -4 0.5 8\n<unk> 0 1.25 5.5 0 2.75 7\n",
        ),
        ({"header": True}, "3 2\na 5 7\nb -5 1\n<unk> 0 4\n"),
        (
            {"model": 0, "header": True, "unknown": False},
            "2 6\na 1 2 3 4 5 6\nb -1 0.5 8 -4 0.5 8\n",
        ),
    ],
)  # fmt: skip
def test_bytes_of_the_text_file(tiny, tmp_path, options, expected):
    path = tmp_path / "vectors.txt"
    tiny.save_stanford(path, **options)
    assert path.read_text() == expected
    vectors = load_vectors(path)
    assert len(vectors) == expected.count("\n") - ("header" in options)
    assert vectors.index_to_key[:2] == ["a", "b"]


def test_header_of_the_original_is_read(tmp_path):
    """It counts V words, and V + 1 rows follow."""
    path = tmp_path / "vectors.txt"
    path.write_text("2 2\na 5 7\nb -5 1\n<unk> 0 4\n")
    assert load_vectors(path).index_to_key == ["a", "b", "<unk>"]


def test_unknown_row_is_the_mean_of_the_last_hundred(model, tmp_path):
    model.save_stanford(tmp_path / "vectors.txt")
    vectors = load_vectors(tmp_path / "vectors.txt", format="glove")
    assert len(vectors) == 211 and vectors.index_to_key[-1] == "<unk>"
    assert np.allclose(vectors["<unk>"], model.wv.vectors[-100:].mean(axis=0), atol=1e-7)


def test_no_second_row_of_unknown(tmp_path):
    model = GloVe([["a", "<unk>"]] * 3, min_count=1, vector_size=2, epochs=1)
    model.save_stanford(tmp_path / "vectors.txt", header=True)
    assert (tmp_path / "vectors.txt").read_text().startswith("2 2\n")
    assert load_vectors(tmp_path / "vectors.txt").index_to_key == ["a", "<unk>"]


def test_wrong_row_content(tiny, tmp_path):
    with pytest.raises(ValueError, match="model must be 0, 1 or 2, got 3"):
        tiny.save_stanford(tmp_path / "x", model=3)
    assert not (tmp_path / "x").exists()


def test_binary_files_both_ways(counts, model, tmp_path):
    """Going on from the files is going on: with the gradient sums, nothing is lost."""
    files = tmp_path / "vectors.bin", tmp_path / "gradsq.bin"
    model.save_stanford_binary(*files)
    counts.vocab.save(tmp_path / "vocab.txt")
    loaded = GloVe.load_stanford(files[0], tmp_path / "vocab.txt", files[1], parts=8)
    assert loaded.vector_size == 20 and same_tables(loaded, model)
    fresh = GloVe.load_stanford(files[0], counts.vocab, None)
    assert np.array_equal(fresh.wv.vectors, model.wv.vectors)
    assert (fresh._stored()["gradsq_input"] == 1).all()
    loaded.train(counts, epochs=1)
    fresh.train(counts, epochs=1)
    model.train(epochs=1)
    assert loaded.loss_history[0] == pytest.approx(model.loss_history[-1], rel=0.05)
    assert not same_tables(fresh, loaded)


def test_words_in_another_order(counts, model, tmp_path):
    """Rows of the binary file are numbered by the lines of vocab.txt."""
    model.save_stanford_binary(tmp_path / "vectors.bin")
    lines = [f"{w} {c}\n" for w, c in zip(counts.vocab.words, counts.vocab.counts, strict=True)]
    (tmp_path / "vocab.txt").write_text("".join(lines[::-1]))
    with pytest.raises(ValueError, match="counts must not ascend"):
        GloVe.load_stanford(tmp_path / "vectors.bin", tmp_path / "vocab.txt", None)


def test_binary_files_of_something_else(counts, model, tmp_path):
    path, sums = tmp_path / "vectors.bin", tmp_path / "gradsq.bin"
    model.save_stanford_binary(path, sums)
    good = path.read_bytes()
    fewer = Vocabulary(counts.vocab.words[:-1], counts.vocab.counts[:-1])
    with pytest.raises(ValueError, match="for the 209 words of the vocabulary, and has 70,560"):
        GloVe.load_stanford(path, fewer, sums)
    with pytest.raises(ValueError, match="vector size must be 30, got 20"):
        GloVe.load_stanford(path, counts.vocab, sums, vector_size=30)
    with pytest.raises(ValueError, match="gradient sums are those of optimizer='adagrad'"):
        GloVe.load_stanford(path, counts.vocab, sums, optimizer="adam")
    with pytest.raises(ValueError, match=r"gradsq.bin|vectors.bin.*must be finite and >= 1"):
        GloVe.load_stanford(path, counts.vocab, path)
    for size in (0, 1, 16 * 210, len(good) - 1, len(good) - 8):
        path.write_bytes(good[:size])
        with pytest.raises(ValueError, match="truncated, or of another vocabulary"):
            GloVe.load_stanford(path, counts.vocab, sums)
    for bad in (np.nan, np.inf, 1e300):
        numbers = np.frombuffer(good).copy()
        numbers[21 * (210 + 3) + 5] = bad
        path.write_bytes(numbers.tobytes())
        with pytest.raises(ValueError, match="context row 4: numbers must be finite"):
            GloVe.load_stanford(path, counts.vocab, sums)
    adam = GloVe(counts, optimizer="adam", **SMALL)
    with pytest.raises(ValueError, match="this model has 'adam'"):
        adam.save_stanford_binary(path, sums)
    with pytest.raises(FileNotFoundError):
        GloVe.load_stanford(tmp_path / "absent.bin", counts.vocab, None)


@pytest.fixture
def original():
    """Runs a program of the original tool."""
    folder = os.environ.get("LEXFORGE_GLOVE")
    if not folder:
        pytest.skip("LEXFORGE_GLOVE, the folder of the original tool's programs, is not set")

    def run(program, *args, **options):
        command = [Path(folder) / program, *args]
        return subprocess.run(
            list(map(str, command)), check=True, stderr=subprocess.PIPE, **options
        ).stderr.decode()

    return run


@pytest.mark.interop
def test_going_on_with_the_original_and_back(original, counts, tmp_path):
    """It continues our run from our files, and we continue its run from its files."""
    counts.save_stanford(tmp_path / "cooccurrence.bin")
    counts.vocab.save(tmp_path / "vocab.txt")
    with (
        open(tmp_path / "cooccurrence.bin", "rb") as sorted_file,
        open(tmp_path / "cooccurrence.shuf.bin", "wb") as shuffled,
    ):
        original(
            "shuffle", "-memory", 0.5, "-temp-file", tmp_path / "temp", stdin=sorted_file,
            stdout=shuffled,
        )  # fmt: skip

    def train(name, passes, *more):
        told = original(
            "glove", "-input-file", tmp_path / "cooccurrence.shuf.bin", "-vocab-file",
            tmp_path / "vocab.txt", "-vector-size", 32, "-threads", 1, "-x-max", 10, "-iter",
            passes, "-binary", 2, "-model", 0, "-save-file", tmp_path / name,
            "-gradsq-file", tmp_path / f"{name}_gradsq", *more,
        )  # fmt: skip
        return [float(line.rpartition("cost: ")[2]) for line in told.splitlines() if "cost" in line]

    def files(name):
        return tmp_path / f"{name}.bin", tmp_path / f"{name}_gradsq.bin"

    def ours_from(name, passes):
        vectors, sums = files(name)
        return GloVe.load_stanford(
            vectors, tmp_path / "vocab.txt", sums, x_max=10, epochs=passes, parts=4
        )

    # Its run, continued by us as it continues it itself.
    first = train("theirs", 10)
    ours = ours_from("theirs", 5)
    text = load_vectors(tmp_path / "theirs.txt")
    everything = [table.numpy() for table in ours._parameters()]
    assert np.allclose(text.vectors[:-1], np.concatenate(everything, axis=1), atol=1e-6)
    vectors, sums = files("theirs")
    theirs = train(
        "more", 5, "-load-init-param", 1, "-init-param-file", vectors, "-load-init-gradsq", 1,
        "-init-gradsq-file", sums,
    )  # fmt: skip
    ours.train(counts)
    assert theirs[0] < first[-1]
    assert ours.loss_history == pytest.approx(theirs, rel=0.1)

    # Ours, taken over to the last digit of our numbers, and continued by it.
    mine = GloVe(counts, vector_size=32, x_max=10, epochs=10, parts=4)
    vectors, sums = files("mine")
    mine.save_stanford_binary(vectors, sums)
    start = (
        "-load-init-param", 1, "-init-param-file", vectors, "-load-init-gradsq", 1,
        "-init-gradsq-file", sums,
    )  # fmt: skip
    train("same", 0, *start)
    assert [path.read_bytes() for path in files("same")] == [
        path.read_bytes() for path in (vectors, sums)
    ]
    theirs = train("back", 5, *start)
    assert theirs[-1] < theirs[0] < 1.1 * first[-1]
    mine.train(epochs=5)
    assert mine.loss_history[-5:] == pytest.approx(theirs, rel=0.1)


@pytest.mark.interop
def test_counts_of_the_original(original, corpus, tmp_path):
    """Training from its counts is training from ours, as far as theirs are the same."""
    text = tmp_path / "corpus.txt"
    text.write_text("".join(" ".join(sentence) + "\n" for sentence in corpus))
    with open(text, "rb") as source, open(tmp_path / "vocab.txt", "wb") as target:
        original("vocab_count", "-min-count", 1, stdin=source, stdout=target)
    with open(text, "rb") as source, open(tmp_path / "cooccurrence.bin", "wb") as target:
        original(
            "cooccur", "-vocab-file", tmp_path / "vocab.txt", "-window-size", 5, "-overflow-file",
            tmp_path / "overflow", stdin=source, stdout=target,
        )  # fmt: skip
    theirs = Cooccurrence.load_stanford(tmp_path / "cooccurrence.bin", tmp_path / "vocab.txt")
    model = GloVe(theirs, vector_size=32, x_max=10, bias_rate=1)
    assert synonym_score(model.wv) >= 0.95 and model.window == 15  # the file does not tell
