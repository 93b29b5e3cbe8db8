"""GloVe trains the same entries to the same loss on every device."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from lexforge import Cooccurrence, GloVe, load_vectors
from planted import planted_corpus

OPTIONS = {"vector_size": 20, "epochs": 4, "parts": 4, "x_max": 10}
RATES = {"adagrad": 0.05, "rowwise": 0.05, "adam": 0.002}
ON_THE_CPU = """
import json, sys
from conftest import draw_others
from lexforge import GloVe, cooccurrence
draw_others()
counts = cooccurrence(json.load(sys.stdin), window=5, min_count=1, device="cpu", folder="counts")
for optimizer, rate in json.loads(sys.argv[2]).items():
    options = {**json.loads(sys.argv[1]), "optimizer": optimizer, "learning_rate": rate}
    GloVe(counts, device="cpu", **options).save(optimizer)
"""


@pytest.fixture(scope="module")
def on_the_cpu(tmp_path_factory):
    """A folder of counts and models, made by a process of its own.

    On the emulated device this one has no CPU kernels.
    """
    folder = tmp_path_factory.mktemp("cpu")
    environment = {k: v for k, v in os.environ.items() if k != "LEXFORGE_OPS_LIBRARY"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run(
        [sys.executable, "-c", ON_THE_CPU, json.dumps(OPTIONS), json.dumps(RATES)],
        input=json.dumps(planted_corpus(sentences=200)), cwd=folder, env=environment, text=True,
        check=True,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("optimizer", RATES)
def test_as_on_the_cpu(on_the_cpu, device, tmp_path, optimizer):
    """The same entries in the same order; sums in a row may be rounded otherwise."""
    counts = Cooccurrence.load(on_the_cpu / "counts")
    expected = json.loads((on_the_cpu / optimizer / "trainer_state.json").read_text())
    options = {**OPTIONS, "optimizer": optimizer, "learning_rate": RATES[optimizer]}
    model = GloVe(counts, device=device, **options)
    assert model.state.pairs == expected["pairs"] == 4 * counts.nnz
    assert model.state.loss_sum == pytest.approx(expected["loss_sum"], rel=1e-3)
    vectors = load_vectors(on_the_cpu / optimizer)
    assert np.abs(model.wv.vectors - vectors.vectors).max() < 0.01
    # Twice the same to the last bit, and so after a checkpoint.
    model.save(tmp_path)
    loaded = GloVe.load(tmp_path, device=device)
    model.train(counts, epochs=1)
    loaded.train(counts, epochs=1)
    assert np.array_equal(loaded.wv.vectors, model.wv.vectors)
    assert np.array_equal(loaded.context_biases, model.context_biases)
