"""Word2Vec trains the same stream on every device."""

import json
import os
import subprocess
import sys

import pytest

from lexforge import Word2Vec
from planted import planted_corpus

OPTIONS = {"vector_size": 20, "min_count": 1, "epochs": 2}
ON_THE_CPU = """
import json, sys
from conftest import draw_others
from lexforge import Word2Vec
draw_others()
model = Word2Vec(json.load(sys.stdin), device="cpu", **json.loads(sys.argv[1]))
print(json.dumps(model.state.to_json()))
"""


@pytest.mark.parametrize(
    "kind",
    [
        {"sg": 1},
        {"sg": 1, "negative_sharing": "window"},
        {"sg": 1, "hs": 1, "negative": 0},
        {"sg": 0},
        {"sg": 0, "hs": 1, "negative": 2},
    ],
    ids=["pair", "window", "skipgram hs", "cbow", "cbow hs"],
)
def test_stream_is_that_of_the_cpu(device, kind, tmp_path):
    """Pairs and centres are equal, losses up to the order of lock-free updates."""
    corpus, options = planted_corpus(sentences=300), {**OPTIONS, **kind}
    # In a process of its own: on the emulated device this one has no CPU kernels.
    environment = {k: v for k, v in os.environ.items() if k != "LEXFORGE_OPS_LIBRARY"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", ON_THE_CPU, json.dumps(options)],
        input=json.dumps(corpus), env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = json.loads(done.stdout)
    model = Word2Vec(corpus, device=device, **options)
    state = model.state
    assert (state.pairs, state.centers) == (expected["pairs"], expected["centers"])
    assert state.loss_sum == pytest.approx(expected["loss_sum"], rel=0.02)
    model.save(tmp_path)
    loaded = Word2Vec.load(tmp_path, device=device)
    model.train(corpus)
    loaded.train(corpus)
    assert loaded.state.pairs == model.state.pairs


def test_bf16_is_of_the_cpu(device):
    assert Word2Vec(precision="bf16", **OPTIONS).device.type == "cpu"
    if device.type == "cuda":
        message = "precision must be 'float32' on CUDA, got 'bf16': device='cpu' has both"
        with pytest.raises(ValueError, match=message):
            Word2Vec(precision="bf16", device=device, **OPTIONS)


@pytest.mark.parametrize("kind", [{"sg": 1, "hs": 1}, {"sg": 0}], ids=["skipgram", "cbow"])
def test_deterministic_on_every_device(device, kind):
    """The same bits twice, and about the loss of training as fast as it goes."""
    options = {**OPTIONS, **kind}
    corpus = planted_corpus(sentences=300)
    one, other = (Word2Vec(corpus, device=device, deterministic=True, **options) for _ in range(2))
    assert one.wv.vectors.tobytes() == other.wv.vectors.tobytes()
    assert one.state.loss_sum == other.state.loss_sum
    fast = Word2Vec(corpus, device=device, **options)
    assert one.state.pairs == fast.state.pairs
    assert one.state.loss_sum == pytest.approx(fast.state.loss_sum, rel=0.05)
