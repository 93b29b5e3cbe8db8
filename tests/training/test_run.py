"""The loop around any job: when it looks, saves, stops, and what it tells."""

import pytest

from lexforge.training import run as loop
from lexforge.training.checkpoint import CheckpointError
from lexforge.training.events import Events
from lexforge.training.progress import Progress
from lexforge.training.run import Watch, run
from lexforge.training.state import Reading, RunState


class CountedState(RunState):
    """A state with a reading, which says no more than where it stands."""

    def reading(self, part):
        return Reading(f"{self.done}", "", {"done": self.done, "new": part.done})


class CountingJob:
    """Five units of one second each; notes when it is looked at."""

    def __init__(self, clock, patience=0.0, done=0):
        self.state, self.patience = CountedState(total=5, done=done), patience
        self.clock, self.looks = clock, []

    def advance(self, watch):
        self.clock[0] += 1.0
        self.state.done += 1

    def look(self, watch):
        self.looks.append(self.state.done)
        watch.lap()


class StopAt:
    """A stop request that comes with the n-th step."""

    def __init__(self, step):
        self.step = step

    @property
    def requested(self):
        self.step -= 1
        return self.step == 0


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize("patience, looks", [(0.0, [1, 2, 3, 4, 5]), (2.0, [2, 4, 5]), (60.0, [5])])
def test_looks_as_often_as_patience_asks(clock, patience, looks):
    job, told = CountingJob(clock, patience), []
    run(job, progress=Progress(), tell=told.append)
    assert job.looks == looks and job.state.finished and job.state.seconds == 5.0
    assert told == ["on_train_begin", "on_train_end"]


def test_saves_after_a_look(clock):
    """Every two seconds and at the end; the time it takes is not training."""
    job, saved = CountingJob(clock, patience=60.0), []

    def save():
        assert job.looks[-1] == job.state.done
        saved.append(job.state.done)
        clock[0] += 10.0

    run(job, progress=Progress(), save=save, save_every=2.0)
    assert saved == job.looks == [2, 4, 5]
    assert job.state.seconds == 5.0 and job.state.per_second == 1.0


def test_a_checkpoint_in_between_may_fail(clock, caplog):
    """It is told of and tried again; that of the end may not."""
    job, tried = CountingJob(clock), []

    def save():
        tried.append(job.state.done)
        if len(tried) == 1 or job.state.finished:
            raise CheckpointError("not written: disk full")

    with pytest.raises(CheckpointError, match="disk full"):
        run(job, progress=Progress(), save=save, save_every=2.0)
    assert tried == [2, 4, 5]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "warning: not written: disk full; training goes on, and saves again in 2 seconds"
    )


def test_the_checkpoint_of_a_stop_may_not_fail(clock):
    def save():
        raise CheckpointError("not written")

    with pytest.raises(CheckpointError, match="not written"):
        run(CountingJob(clock), progress=Progress(), save=save, stop=StopAt(2))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("done", "3", "done must be a whole number >= 0, got '3'"),
        ("done", 3.0, "done must be a whole number >= 0, got 3.0"),
        ("done", -1, "done must be a whole number >= 0, got -1"),
        ("done", True, "done must be a whole number >= 0, got True"),
        ("done", 6, "done must be at most total = 5, got 6"),
        ("total", 2**64, "total must be a whole number >= 0, got 1844"),
        ("seconds", float("nan"), "seconds must be a finite number, got nan"),
        ("seconds", None, "seconds must be a finite number, got None"),
        ("unit", 7, "unit must be a text, got 7"),
        ("sums", [], r"sums must be an object, got \[\]"),
        ("sums", {"loss": "x"}, r"sums\['loss'\] must be a finite number, got 'x'"),
        ("history", {}, "history must be an array, got {}"),
        ("history", [{}, 1], r"history\[1\] must be an object, got 1"),
    ],
)
def test_damaged_states(field, value, message):
    content = {**RunState(total=5, done=2).to_json(), field: value}
    with pytest.raises(ValueError, match=rf"trainer_state\.json: {message}"):
        RunState.from_json(content)


def test_stopped_and_continued(clock):
    job, saved, told = CountingJob(clock, patience=60.0), [], []
    options = {"progress": Progress(), "tell": told.append}
    run(job, stop=StopAt(3), save=lambda: saved.append(job.state.done), **options)
    assert job.looks == saved == [3] and told == ["on_train_begin"]
    run(job, stop=StopAt(2), save=lambda: saved.append(job.state.done), **options)
    # A stop with the last step ends a complete run.
    assert saved == [3, 5] and told == ["on_train_begin", "on_train_end"]
    run(job, save=lambda: saved.append("again"), **options)
    assert saved == [3, 5] and len(told) == 2  # nothing is left to do


def test_errors_leave_the_checkpoint(clock):
    job, saved = CountingJob(clock), []

    def fail(watch):
        raise ValueError("damaged data")

    job.look = fail
    with pytest.raises(ValueError, match="damaged data"):
        run(job, progress=Progress(), save=lambda: saved.append(1), save_every=0.0)
    assert saved == []


def test_watch(clock):
    state = CountedState(total=1)
    watch = Watch(state)
    clock[0] += 2.0
    with watch.paused():
        clock[0] += 30.0
    clock[0] += 0.5
    assert watch.lap() == 0.5 and state.seconds == 2.5


def test_events_call_the_methods_that_there_are():
    class Some:
        def on_epoch_end(self, model):
            calls.append(("end", model))

    calls = []
    tell = Events([Some(), object()], "model", lambda: calls.append("fetch"))
    tell("on_epoch_end")
    assert calls == ["fetch", ("end", "model")]
    Events([], "model", lambda: pytest.fail("nobody asked"))("on_epoch_end")


def test_state_as_plain_values():
    state = CountedState(total=7, done=3, sums={"loss": 1.5}, history=[{"loss": 0.5}])
    content = state.to_json()
    assert CountedState.from_json(content) == state and content["sums"] == {"loss": 1.5}
    del content["done"], content["seconds"]
    with pytest.raises(ValueError, match="trainer state must have done, seconds"):
        CountedState.from_json(content)


def test_meter_gives_one_reading_per_interval():
    state = CountedState(total=9)
    meter = state.meter()
    for done in (2, 5):
        state.done, state.seconds = done, float(done)
        assert meter.seconds(state) > 0
        assert meter.read(state).values == {"done": done, "new": 2 if done == 2 else 3}
        assert meter.seconds(state) == 0
