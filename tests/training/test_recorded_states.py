"""Checkpoints of earlier versions: a run goes on from a state as it was written then.

The files in ``states`` are the ``trainer_state.json`` of runs that ``training_bits.py`` stopped, of
the version before all trainers had one loop. Weights differ from machine to machine, so they are
made anew by stopping at the same place.
"""

import json
from pathlib import Path

import pytest

from lexforge.models.bert.trainer import PretrainingState
from lexforge.training.stream_job import StreamState
from training_bits import bert, glove, word2vec

RUNS = {"word2vec": word2vec, "glove": glove, "bert": bert}
STATES = Path(__file__).parent / "states"
FREE = {"seconds", "loss_sum", "loss_history", "epoch_sums", "sums", "history", "history_sums"}
FREE |= {"learning_rate"}  # numbers that depend on the machine's arithmetic


def recorded(name):
    return json.loads((STATES / f"{name}.json").read_text())


@pytest.mark.parametrize("name", RUNS)
def test_layout_is_as_it_was(name):
    """Read and written again, nothing is lost, added or renamed."""
    if name == "bert":
        content = recorded(name)["state"]
        state = PretrainingState.from_json(content)
        assert (state.step, state.steps, state.batch) == (15, 24, 2)
        assert state.totals.mlm_count == content["sums"][1] and not state.finished
    else:
        content = recorded(name)
        state = StreamState.from_json(content)
        assert (state.epoch, state.epochs) == (1, 4) and state.mean_loss > 0
    assert state.to_json() == content


@pytest.fixture(params=RUNS)
def stopped(request, tmp_path):
    """A run that was stopped where the recorded one was, and its way on."""
    folder = tmp_path / request.param
    resume = RUNS[request.param](folder)
    return request.param, folder, resume


def test_goes_on_from_it(stopped):
    name, folder, resume = stopped
    path = folder / "trainer_state.json"
    now, then = json.loads(path.read_text()), recorded(name)
    states = [now, then] if name != "bert" else [now["state"], then["state"]]
    assert list(map(set, (now, then))) == [set(then)] * 2 and set(states[0]) == set(states[1])
    for key in states[1].keys() - FREE:
        assert states[0][key] == states[1][key], key
    path.write_text(json.dumps(then))
    result, undisturbed = resume(folder), RUNS[name](None)
    assert result[0] == undisturbed[0]  # the weights, to the last bit
