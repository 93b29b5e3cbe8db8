"""Trainers that are killed, at any moment and also within a save, and resumed: the same bits."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lexforge._files import COMMIT, part
from lexforge._library import cpu_has_bf16
from lexforge.training.checkpoint import STATE, TENSORS, is_checkpoint

# Each trains into FOLDER, or goes on there, and says when it begins.
TRAINERS = {
    "word2vec": """
from lexforge import Word2Vec
from planted import planted_corpus
corpus = planted_corpus(sentences=6000)
if resume:
    model = Word2Vec.load(folder, workers=1)
else:
    model = Word2Vec(vector_size=96, negative=10, sg=1, min_count=1, epochs=20, workers=1)
    model.build_vocab(corpus)
print("training", flush=True)
model.train(corpus, checkpoint_folder=folder, checkpoint_every=1e-3, resume=resume)
""",
    # Both losses, on two threads, and on three after a resume.
    "deterministic": """
from lexforge import Word2Vec
from planted import planted_corpus
corpus = planted_corpus(sentences=1000)
if resume:
    model = Word2Vec.load(folder, workers=3)
else:
    model = Word2Vec(vector_size=96, hs=1, deterministic=True, min_count=1, epochs=20, workers=2)
    model.build_vocab(corpus)
print("training", flush=True)
model.train(corpus, checkpoint_folder=folder, checkpoint_every=1e-3, resume=resume)
""",
    "glove": """
from lexforge import GloVe, cooccurrence
from planted import planted_corpus
counts = cooccurrence(planted_corpus(), min_count=1, workers=2, device="cpu")
if resume:
    model = GloVe.load(folder, workers=2, device="cpu")
else:
    model = GloVe(vector_size=96, epochs=100, parts=8, workers=2, device="cpu")
print("training", flush=True)
model.train(counts, checkpoint_folder=folder, checkpoint_every=1e-3, resume=resume)
""",
    "bert": """
from lexforge.models.bert.trainer import pretrain
from planted_paragraphs import planted_paragraphs
shape = dict(hidden_size=32, intermediate_size=48, max_positions=20)
fresh = dict(shape=shape, min_count=1, max_len=16, batch_size=32, steps=40, precision=PRECISION)
print("training", flush=True)
pretrain(
    planted_paragraphs(topics=6), out=folder, workers=1, device="cpu", checkpoint_every=1e-4,
    **(dict(resume=True) if resume else fresh),
)
""",
}
HEAD = "import sys; folder, resume = sys.argv[1], sys.argv[2] == 'resume'\n"


class Trainer:
    """One of them: as a child process, which can be killed, or to its end in this one."""

    def __init__(self, kind: str) -> None:
        name, _, precision = kind.partition(" ")
        self.code = HEAD + TRAINERS[name].replace("PRECISION", repr(precision or "float32"))
        paths = [str(Path(__file__).parents[1]), *sys.path]
        self.environment = {**os.environ, "PYTHONPATH": ":".join(paths)}

    def finish(self, folder: Path) -> float:
        """Begin or go on, to the end; seconds of training."""
        started = []
        threads = torch.get_num_threads()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["-c", str(folder), self.mode(folder)])
            exec(self.code, {"print": lambda *_, **__: started.append(time.perf_counter())})
        torch.set_num_threads(threads)
        return time.perf_counter() - started[0]

    def kill(self, folder: Path, after: float) -> bool:
        """Begin or go on for so many seconds; whether it came to the end before."""
        command = [sys.executable, "-c", self.code, folder, self.mode(folder)]
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"training\n"
            time.sleep(after)
            process.kill()
        assert process.returncode in (0, -signal.SIGKILL)
        return process.returncode == 0

    @staticmethod
    def mode(folder: Path) -> str:
        return "resume" if is_checkpoint(folder) else "new"


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.suffix in (".safetensors", ".txt") or path.name == "config.json"
    }


def state(folder: Path) -> dict:
    """Where training stands, but for the time that it took."""
    found = json.loads(part(folder, STATE).read_text())
    timed = "seconds", "history", "loss_history"
    return {k: v for k, v in found.get("state", found).items() if k not in timed}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Folder and seconds of a run from beginning to end, by what it is of."""
    runs = {}

    def run(kind):
        if kind not in runs:
            folder = tmp_path_factory.mktemp("whole")
            runs[kind] = folder, Trainer(kind).finish(folder)
        return runs[kind]

    return run


KINDS = [
    *("word2vec", "deterministic", "glove", "bert"),
    pytest.param(
        "bert bf16", marks=pytest.mark.skipif(not cpu_has_bf16(), reason="no AVX512_BF16")
    ),
]
KILLS = [0, *(pytest.param(kill, marks=pytest.mark.slow) for kill in range(1, 20))]


@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed(undisturbed, tmp_path, kind, kill):
    whole, seconds = undisturbed(kind)
    rng = random.Random(f"{kind} {kill}")
    after, folder = rng.uniform(0.05, 0.8) * seconds, tmp_path / "killed"

    def complete() -> bool:
        return is_checkpoint(folder) and state(folder) == state(whole)

    while Trainer(kind).kill(folder, after) or complete():  # faster than the undisturbed run was
        shutil.rmtree(folder)
        after /= 2
    if rng.random() < 0.3:
        Trainer(kind).kill(folder, after / 2)
    if not complete():
        Trainer(kind).finish(folder)
    assert digests(folder) == digests(whole) and TENSORS in digests(folder)
    assert state(folder) == state(whole)
    assert not (folder / COMMIT).exists() and not (folder / ".partial").exists()
