"""Any network on the loop: here a classifier, with evaluation and early stopping."""

import json
import math
from itertools import islice

import pytest
import torch
from torch import nn

from lexforge.training.events import Events
from lexforge.training.network_job import (
    Evaluation,
    NetworkJob,
    NetworkState,
    evaluating,
    minibatches,
)
from lexforge.training.optimizer import NetworkOptimizer
from lexforge.training.progress import Progress
from lexforge.training.run import run
from lexforge.training.schedules import Schedule
from lexforge.training.state import TrainingDivergedError

BATCHES = 4  # in an epoch


def points(seed, size=16):
    """Points of the plane, of class 1 above the diagonal."""
    found = torch.randn(size, 2, generator=torch.Generator().manual_seed(seed))
    return found, (found[:, 1] > found[:, 0]).long()


def epochs(number):
    return [points(BATCHES * number + batch) for batch in range(BATCHES)]


def count_examples(batch):
    return {"examples": len(batch[0])}


class Classifier:
    """A run of a logistic regression: what another family has to write."""

    def __init__(self, steps=20, rate=0.1, **evaluation):
        torch.manual_seed(0)
        self.network = nn.Linear(2, 2)
        self.optimizer = NetworkOptimizer(self.network, "adam")
        self.state = NetworkState(total=steps)
        self.events, self.best = [], []
        self.held_out = points(10_000, size=200)
        self.sums = torch.zeros(2, dtype=torch.float64)
        self.options = evaluation
        self.schedule = Schedule("constant", rate, steps)

    def step(self, batch, rate):
        self.optimizer.set_learning_rate(rate)
        self.optimizer.zero_grad()
        inputs, classes = batch.data
        logits = self.network(inputs)
        loss = nn.functional.cross_entropy(logits, classes)
        loss.backward()
        self.optimizer.step()
        correct = (logits.argmax(1) == classes).sum()
        self.sums += torch.stack((loss.detach().double(), correct.double()))

    def measure(self):
        with torch.no_grad(), evaluating(self.network):
            inputs, classes = self.held_out
            return {"loss": float(nn.functional.cross_entropy(self.network(inputs), classes))}

    def run(self, progress=None, **options):
        state, evaluation = self.state, None
        if self.options:
            keep = lambda: self.best.append(state.done)  # noqa: E731
            measure = self.options.pop("measure", self.measure)
            evaluation = Evaluation(measure, keep=keep, **self.options)
        tell = Events([self], self)
        job = NetworkJob(
            state,
            minibatches(epochs, count_examples, state.epoch, state.position),
            self.step,
            ("loss", "correct"),
            self.sums,
            self.schedule,
            evaluation=evaluation,
            tell=tell,
        )
        run(job, progress=progress or Progress(), tell=tell, **options)
        return self

    def __getattr__(self, name):
        if name.startswith("on_"):
            return lambda subject: self.events.append((name[3:], subject.state.done))
        raise AttributeError(name)


class StopAt:
    """A stop request that comes with the n-th step."""

    def __init__(self, step):
        self.step = step

    @property
    def requested(self):
        self.step -= 1
        return self.step <= 0


def losses_from(values):
    """A measure that gives these losses, one after the other."""
    values = iter(values)
    return lambda: {"loss": next(values)}


def test_learns_and_tells():
    result = Classifier(steps=10, every=4).run()
    state = result.state
    assert state.finished and (state.epoch, state.position) == (2, 2)
    assert state.sums["examples"] == 160
    assert [point["step"] for point in state.history] == list(range(1, 11))
    assert state.history[-1]["loss"] < state.history[0]["loss"]
    assert sum(point["correct"] for point in state.history) == state.sums["correct"]
    assert [(e["step"], e["epoch"]) for e in state.evaluations] == [(4, 1), (8, 2), (10, 3)]
    assert state.best_evaluation is state.evaluations[-1] and result.best == [4, 8, 10]
    assert result.events == [
        ("train_begin", 0), ("epoch_begin", 0), ("evaluate", 4), ("epoch_end", 4),
        ("epoch_begin", 4), ("evaluate", 8), ("epoch_end", 8),
        ("epoch_begin", 8), ("evaluate", 10), ("train_end", 10),
    ]  # fmt: skip


def test_evaluation_does_not_change_training():
    with_it, without = Classifier(every=3).run(), Classifier().run()
    assert torch.equal(with_it.network.weight, without.network.weight)
    assert with_it.state.sums == without.state.sums and without.state.evaluations == []


@pytest.mark.parametrize("stop", range(1, 12))
def test_resume_is_exact(stop):
    """Wherever it is stopped: weights, curve, evaluations, what was kept, and events."""
    whole = Classifier(steps=12, every=4, patience=2).run()
    saved = []
    first = Classifier(steps=12, every=4, patience=2)
    first.run(stop=StopAt(stop), save=lambda: saved.append(first.state.to_json()))
    (content,) = saved
    second = Classifier(steps=12, every=4, patience=2)
    second.state = NetworkState.from_json(json.loads(json.dumps(content)))
    second.network.load_state_dict(first.network.state_dict())
    second.optimizer.load_tensors(first.optimizer.tensors())
    second.run()
    assert torch.equal(second.network.weight, whole.network.weight)
    contents = [{**run.state.to_json(), "seconds": 0.0} for run in (whole, second)]
    assert contents[0] == contents[1]
    assert first.best + second.best == whole.best and first.events + second.events == whole.events


@pytest.mark.parametrize(
    "losses, patience, end, best",
    [
        ([3, 2, 1, 1, 1, 1], 2, 10, 6),  # as good is not better
        ([3, 2, 4, 1, 2, 0], 2, 12, 12),  # one bad evaluation is forgiven
        ([3, 4, 5, 0, 0, 0], 2, 6, 2),
        ([3, 4, 5, 6, 7, 8], 0, 12, 2),  # no early stopping
        ([math.nan, 2, math.nan, math.nan, 1, 1], 2, 8, 4),
        ([math.nan, math.inf, 2, 1, 1, 1], 3, 12, 8),
    ],
)
def test_early_stopping(losses, patience, end, best):
    run = Classifier(steps=12, every=2, patience=patience, measure=losses_from(losses)).run()
    state = run.state
    assert state.finished and state.done == end and state.stopped_early == (end < 12)
    assert state.best_evaluation["step"] == run.best[-1] == best
    assert state.history[-1]["step"] == end and run.events[-1] == ("train_end", end)
    again = NetworkState.from_json(state.to_json())
    assert again.finished and again.best_evaluation["step"] == best


def test_few_points_in_the_history():
    """A long run's curve has a bounded number of points; each covers the steps before it."""
    state = Classifier(steps=1000, rate=0.001).run().state
    assert [point["step"] for point in state.history] == list(range(5, 1001, 5))
    assert sum(5 * point["loss"] for point in state.history) == pytest.approx(
        state.sums["loss"], abs=1e-2
    )


def test_diverged():
    class Wild(Classifier):
        def step(self, batch, rate):
            super().step(batch, rate)
            if self.state.done == 6:
                self.sums[0] = math.inf

    saved = []
    with pytest.raises(TrainingDivergedError, match="loss became inf by step 7, at learning rate"):
        run = Wild()
        run.run(save=lambda: saved.append(run.state.done), save_every=0.0)
    assert saved == list(range(1, 7))


def test_shown_and_logged(tmp_path):
    with Progress(log_json=tmp_path / "log") as progress:
        Classifier(steps=8).run(progress)
    record = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert record["step"] == 8 and record["epoch"] == 2 and record["lr"] == 0.1
    assert record["steps_per_second"] > 0 and 0 < record["loss"] < 1
    state = NetworkState(total=4, done=2, learning_rate=0.5, sums={"loss": 3.0})
    reading = state.reading(state.amounts()._replace(seconds=0.5))
    assert reading.title == "step 2/4" and reading.detail == "loss 1.5000  4 steps/s  lr 0.5"


def test_minibatches():
    """An epoch's end is known where it has a length; a run may begin anywhere."""
    drawn = list(islice(minibatches(lambda number: "ab", lambda data: {data: 1}), 5))
    assert drawn[1] == ("b", 0, 2, True, {"b": 1})
    assert [batch.ends_epoch for batch in drawn] == [False, True, False, True, False]
    again = minibatches(lambda number: "ab", lambda data: {data: 1}, drawn[1].epoch, drawn[1].batch)
    assert list(islice(again, 3)) == drawn[2:]
    endless = minibatches(lambda number: (x for x in "ab"), lambda data: {})
    assert not any(batch.ends_epoch for batch in islice(endless, 4))
    with pytest.raises(ValueError, match="train_iter must have minibatches, got none"):
        next(minibatches(lambda number: [], lambda data: {}, what="train_iter"))


def test_modes_are_restored():
    network = nn.Sequential(nn.Dropout(), nn.Linear(2, 2))
    network[0].eval()
    with pytest.raises(KeyError), evaluating(network):
        assert not any(module.training for module in network.modules())
        raise KeyError
    assert [module.training for module in network.modules()] == [True, False, True]
