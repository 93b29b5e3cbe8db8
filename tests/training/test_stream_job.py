"""A run covers every sentence once per epoch, whatever the sizes of its calls."""

import math

import pytest
import torch

from lexforge.text import EncodedCorpus
from lexforge.training import run as loop
from lexforge.training import stream_job
from lexforge.training.progress import Progress
from lexforge.training.state import HISTORY_POINTS, TrainingDivergedError
from lexforge.training.stream_job import StreamJob, StreamState

LENGTHS = [3, 1, 70_000, 2, 40_000, 5, 5, 1]


def corpus_of(lengths=LENGTHS):
    return EncodedCorpus.from_sentences([[0] * length for length in lengths])


def new_state(corpus, epochs=2):
    total = epochs * corpus.num_tokens
    return StreamState(epochs=epochs, total=total, alpha=0.1, min_alpha=0.0)


class Recorder:
    """A step that notes its ranges and counts one pair of loss 0.5 per token."""

    def __init__(self, corpus):
        self.corpus, self.calls = corpus, []
        self.stats = torch.zeros(3, dtype=torch.float64)

    def offsets(self, epoch):
        return self.corpus.offsets

    def __call__(self, epoch, first, last):
        tokens = int(self.corpus.offsets[last] - self.corpus.offsets[first])
        self.calls.append((epoch, first, last))
        self.stats += torch.tensor([0.5 * tokens, tokens, tokens], dtype=torch.float64)


class StopAfter:
    """Requests a stop at the n-th look."""

    def __init__(self, looks):
        self.looks = looks

    @property
    def requested(self):
        self.looks -= 1
        return self.looks < 0


def run(state, step, stats=None, offsets=None, tell=lambda event: None, **options):
    corpus_offsets, stats = offsets or step.offsets, step.stats if stats is None else stats
    job = StreamJob(state, corpus_offsets, step, stats, tell)
    loop.run(job, progress=Progress(), tell=tell, **options)


def check_complete(state, step):
    covered = [(epoch, s) for epoch, first, last in step.calls for s in range(first, last)]
    assert covered == [(e, s) for e in range(state.epochs) for s in range(len(LENGTHS))]
    assert state.finished and state.done == state.pairs == state.total
    assert state.mean_loss == 0.5 and state.learning_rate == pytest.approx(0.0)


def test_covers_everything_once():
    step = Recorder(corpus_of())
    state = new_state(step.corpus)
    events = []
    run(state, step, tell=events.append)
    check_complete(state, step)
    epoch = ["on_epoch_begin", "on_epoch_end"]
    assert events == ["on_train_begin", *epoch, *epoch, "on_train_end"]
    assert len(step.calls) == 2 * 2  # two calls an epoch: up to 20,000 tokens, and four times that
    assert 0 < len(state.loss_history) <= HISTORY_POINTS
    assert state.loss_history[-1]["words"] == state.total


@pytest.mark.parametrize("looks", range(4))
def test_stopped_saved_and_continued(looks):
    step = Recorder(corpus_of())
    state = new_state(step.corpus)
    saved = []
    run(state, step, stop=StopAfter(looks), save=lambda: saved.append(state.to_json()))
    assert not state.finished and len(saved) == 1
    resumed = StreamState.from_json(saved[0])
    step.stats = torch.zeros(3, dtype=torch.float64)  # as in a new process
    run(resumed, step)
    check_complete(resumed, step)


def test_saves_now_and_then():
    step = Recorder(corpus_of())
    saved = []
    run(new_state(step.corpus), step, save=lambda: saved.append(1), save_every=0.0)
    assert len(saved) == len(step.calls) + 1  # after every call, and at the end of the run


def test_call_size_follows_the_speed(monkeypatch):
    """Calls grow four-fold at most and settle at the asked for duration."""
    clock = [0.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    step = Recorder(corpus_of([10] * 100_000))
    tokens = []

    def timed(epoch, first, last):
        step(epoch, first, last)
        tokens.append(10 * (last - first))
        clock[0] += tokens[-1] / 500_000  # words per second

    run(new_state(step.corpus, epochs=3), timed, step.stats, step.offsets)
    assert tokens[:3] == [20_000, 80_000, 200_000]  # 0.4 s at 500,000 words/s
    assert max(tokens) == 200_000


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_diverged_loss_stops_without_saving(bad):
    step = Recorder(corpus_of())
    saved = []

    def diverge(epoch, first, last):
        step(epoch, first, last)
        if len(step.calls) == 2:
            step.stats[0] = bad

    with pytest.raises(
        TrainingDivergedError, match=r"loss became (nan|inf) in epoch 1, after 4 words"
    ):
        run(
            new_state(step.corpus),
            diverge,
            step.stats,
            step.offsets,
            save=lambda: saved.append(len(step.calls)),
            save_every=0.0,
        )
    assert saved == [1]


def test_recent_loss():
    state = new_state(corpus_of())
    assert math.isnan(state.recent_loss)
    state.history = [{"loss": 3.0}, {"loss": 2.0}, {"loss": None}]
    assert state.recent_loss == 2.0


def test_losses_of_epochs():
    state = new_state(corpus_of(), epochs=3)
    assert state.epoch_losses == []
    state.epoch_sums = [[6.0, 3], [6.0, 3], [10.0, 5]]
    first, second, third = state.epoch_losses
    assert (first, third) == (2.0, 2.0) and math.isnan(second)


def test_each_epoch_has_its_own_offsets(monkeypatch):
    """Rounds of co-occurrence tiles come in another order each time, and have other sizes then."""
    monkeypatch.setattr(stream_job, "FIRST_CALL_UNITS", 5)
    offsets = [torch.tensor([0, 4, 10]), torch.tensor([0, 6, 10])]
    stats = torch.zeros(2, dtype=torch.float64)
    state = StreamState(epochs=2, total=20, alpha=0.1, min_alpha=0.1, unit="entries")
    done = []

    def step(epoch, first, last):
        units = int(offsets[epoch][last] - offsets[epoch][first])
        stats.add_(torch.tensor([2.0 * units, units], dtype=torch.float64))
        done.append((state.position, state.done))

    stop = StopAfter(0)
    while not state.finished:  # one call at a time
        run(state, step, stats, lambda epoch: offsets[epoch], stop=stop)
    assert done == [(0, 0), (1, 4), (0, 10), (1, 16)]
    assert state.done == state.pairs == 20 and state.centers == 0
    assert state.epoch_losses == [2.0, 2.0]


def test_state_with_the_first_names():
    """Checkpoints from when words were the only unit can be resumed."""
    first = {
        "epochs": 2, "total_tokens": 100, "alpha": 0.1, "min_alpha": 0.0, "first_epoch": 3,
        "epoch": 1, "sentence": 7, "tokens_done": 60, "seconds": 1.5, "loss_sum": 12.0,
        "pairs": 6, "centers": 5, "corpus": {"sha1": "0"},
        "loss_history": [{"time": 1.0, "tokens": 60, "loss": 2.0}],
    }  # fmt: skip
    state = StreamState.from_json(first)
    assert (state.total, state.position, state.done, state.unit) == (100, 7, 60, "words")
    assert (state.first_epoch, state.epoch, state.pairs, state.centers) == (3, 1, 6, 5)
    assert state.loss_history == [{"time": 1.0, "words": 60, "loss": 2.0}]
    assert state.recent_loss == 2.0 and StreamState.from_json(state.to_json()) == state


def test_state_of_another_version():
    with pytest.raises(ValueError, match="trainer state must have total"):
        content = new_state(corpus_of()).to_json()
        del content["total"]
        StreamState.from_json(content)
