"""Checkpoints change as a whole or not at all, and say what is wrong with damaged ones."""

import errno
import json
import os
import re
import subprocess
import sys
import threading
import time

import pytest
import torch
from safetensors.torch import load_file

from lexforge.text import Vocabulary
from lexforge.training import checkpoint
from lexforge.training.checkpoint import (
    CheckpointError,
    is_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from lexforge.training.lock import folder_of_run
from lexforge.vectors import load_vectors

FILES = {"config.json", "vocab.txt", "model.safetensors", "trainer_state.json"}


def save(folder, step):
    save_checkpoint(
        folder,
        config={"model": "test", "step": step},
        vocabulary=Vocabulary(["a", "b"], [step + 2, step + 1]),
        tensors={"input": torch.full((2, 3), float(step)), "output": torch.zeros(2, 3)},
        state={"step": step},
    )


def load(folder):
    return load_checkpoint(folder, model="test")


def check(folder, step, *, clean=True):
    before = tree(folder)
    found = load(folder)
    assert found.config["step"] == found.state["step"] == step
    assert found.vocabulary.counts.tolist() == [step + 2, step + 1]
    assert torch.equal(found.tensors["input"], torch.full((2, 3), float(step)))
    assert tree(folder) == before  # readers change nothing
    if clean:
        assert {path.name for path in folder.iterdir()} >= FILES
        assert not any((folder / name).exists() for name in (".partial", ".commit", ".lock"))


def tree(folder):
    """Every file in the folder, and its content."""
    paths = sorted(folder.rglob("*"))
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in paths}


def test_names_that_are_no_unicode(tmp_path):
    """Of files: Python makes half characters of their bytes."""
    name = os.fsdecode(b"corpus \xff\xe9 \xc3\xa9")
    checkpoint.write_json(tmp_path / "state.json", {"corpus": name})
    assert checkpoint.read_json(tmp_path / "state.json") == {"corpus": name}
    assert r'"corpus \udcff\udce9 é"' in (tmp_path / "state.json").read_text("utf-8")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_that_are_columns(tmp_path, dtype):
    """Also of one row, where the stride could be any."""
    table = torch.arange(48, dtype=dtype).view(3, 16)
    tensors = {
        "bias": table[:1, 5], "column": table[:, 5], "cell": table[1:2, 5:6],
        "row": table[1:2, 2:9], "turned": table.T, "none": table[:0, 3],
    }  # fmt: skip
    checkpoint.write_tensors(tmp_path / "model.safetensors", tensors)
    found = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_round_trip_and_replacement(tmp_path):
    folder = tmp_path / "deep" / "model"
    assert not is_checkpoint(folder)
    save(folder, 1)
    check(folder, 1)
    (folder / "notes.txt").write_text("mine")
    save(folder, 2)
    check(folder, 2)
    assert (folder / "notes.txt").read_text() == "mine"


def test_all_files_have_ordinary_permissions(tmp_path):
    """The tensor library writes files that only their owner may read."""
    save(tmp_path, 1)
    modes = {(tmp_path / name).stat().st_mode for name in FILES}
    assert len(modes) == 1


def test_a_file_is_not_a_checkpoint(tmp_path):
    """Such as gensim's own model files."""
    path = tmp_path / "model"
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="must be a folder that save made, and is a file"):
        load(path)
    path.write_bytes(b"\x80\x02cgensim.models.word2vec\nWord2Vec\nq\x00)")
    line = f"lexforge.Word2Vec.from_gensim(gensim.models.word2vec.Word2Vec.load({str(path)!r}))"
    with pytest.raises(CheckpointError, match=f"{re.escape(f'converts it: {line}')}$"):
        load(path)


@pytest.mark.parametrize("moment", range(6))
def test_killed_while_saving(tmp_path, moment):
    """Killed at any of these moments, the folder holds the old checkpoint or the new one."""
    save(tmp_path, 1)
    # The process ends at the n-th flush or rename, the steps between which a save is consistent.
    code = f"""
import os, sys
sys.path.insert(0, {str(os.path.dirname(__file__))!r})
import test_checkpoint as t
from pathlib import Path
left = [{moment} * 2]
def counted(function):
    def run(*args):
        if left[0] == 0:
            os._exit(9)
        left[0] -= 1
        return function(*args)
    return run
for name in ("rename", "replace", "fsync"):
    setattr(os, name, counted(getattr(os, name)))
t.save(Path({str(tmp_path)!r}), 2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    committed = (tmp_path / ".commit").exists() or load(tmp_path).state["step"] == 2
    check(tmp_path, 2 if committed else 1, clean=False)
    save(tmp_path, 3)
    check(tmp_path, 3)


@pytest.mark.parametrize("part", ["tensors", "vocabulary", "state"])
def test_disk_full_keeps_the_old_one(tmp_path, monkeypatch, part):
    save(tmp_path, 1)
    full = OSError(errno.ENOSPC, "No space left on device")

    def refuse(*args, **kwargs):
        raise full

    if part == "tensors":
        monkeypatch.setattr(checkpoint, "write_tensors", refuse)
    elif part == "vocabulary":
        monkeypatch.setattr(Vocabulary, "save", refuse)
    else:
        real = checkpoint.write_json
        monkeypatch.setattr(
            checkpoint,
            "write_json",
            lambda path, content: refuse() if "state" in path.name else real(path, content),
        )
    with pytest.raises(CheckpointError, match=r"no space left on the disk; the previous .* intact"):
        save(tmp_path, 2)
    monkeypatch.undo()
    check(tmp_path, 1)


def test_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("mounting a small disk needs more rights")
    try:
        save(disk / "model", 1)
        with pytest.raises(CheckpointError, match="no space left on the disk"):
            save_checkpoint(
                disk / "model",
                config={"model": "test"},
                vocabulary=Vocabulary(["a"], [1]),
                tensors={"input": torch.zeros(1, 100_000)},
                state={},
            )
        check(disk / "model", 1)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_folder_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="was not written"):
        save(tmp_path / "file", 1)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        load(tmp_path / "absent")


@pytest.mark.parametrize("name", sorted(FILES - {"config.json"}))
def test_missing_file(tmp_path, name):
    save(tmp_path, 1)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load(tmp_path)


@pytest.mark.parametrize("name", sorted(FILES))
def test_truncated_anywhere(tmp_path, name):
    save(tmp_path, 1)
    content = (tmp_path / name).read_bytes()
    # Without its final line feed a text file still says everything.
    for size in range(0, len(content) - 1, max(len(content) // 40, 1)):
        (tmp_path / name).write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            load(tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"format_version": 99}, "format_version must be 1, got 99"),
        ({"model": "other"}, "model must be 'test', got 'other'"),
        ({"vocabulary_sha1": "0"}, "vocab.txt is damaged"),
    ],
)
def test_config_of_something_else(tmp_path, changes, message):
    save(tmp_path, 1)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


def halfway(folder, moved):
    """Checkpoint 1, and one of the same words with other counts of which so many files moved up."""
    save(folder, 1)
    save(folder / "new", 2)
    os.rename(folder / "new", folder / ".commit")
    for name in sorted(FILES)[:moved]:
        os.replace(folder / ".commit" / name, folder / name)


@pytest.mark.parametrize("moved", range(5))
def test_readers_take_the_new_one_wherever_its_parts_are(tmp_path, moved):
    halfway(tmp_path, moved)
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "mine").touch()
    check(tmp_path, 2, clean=False)


@pytest.mark.parametrize("moved", range(5))
def test_vectors_go_with_their_words(tmp_path, moved):
    """Of a save that was killed on its way."""
    for folder, words, value in ((tmp_path, "ab", 1.0), (tmp_path / "new", "cd", 2.0)):
        save_checkpoint(
            folder,
            config={"model": "test", "vector_size": 3},
            vocabulary=Vocabulary(list(words), [2, 1]),
            tensors={"input": torch.full((2, 3), value), "output": torch.zeros(2, 3)},
            state={},
        )
    os.rename(tmp_path / "new", tmp_path / ".commit")
    for name in sorted(FILES)[::-1][:moved]:
        os.replace(tmp_path / ".commit" / name, tmp_path / name)
    found = load_vectors(tmp_path)
    assert found.index_to_key == ["c", "d"] and (found.vectors == 2.0).all()


def test_vectors_of_other_words(tmp_path):
    save_checkpoint(
        tmp_path,
        config={"model": "test", "vector_size": 3},
        vocabulary=Vocabulary(["a", "b"], [2, 1]),
        tensors={"input": torch.ones(2, 3)},
        state={},
    )
    (tmp_path / "vocab.txt").write_text("a 2\nc 1\n")
    with pytest.raises(ValueError, match=r"vocab\.txt is damaged: its words and counts"):
        load_vectors(tmp_path)


def test_reading_while_another_saves(tmp_path):
    """As often as both can, neither of them fails, and what is read is of one save."""
    save(tmp_path, 0)
    end, failures = time.monotonic() + 1.0, []

    def saver():
        step = 0
        while time.monotonic() < end:
            step += 1
            try:
                save(tmp_path, step)
            except Exception as error:
                failures.append(error)
                return

    thread = threading.Thread(target=saver)
    thread.start()
    steps = set()
    while thread.is_alive():
        found = load(tmp_path)
        step = found.state["step"]
        assert found.config["step"] == step and found.vocabulary.counts[0] == step + 2
        assert torch.equal(found.tensors["input"], torch.full((2, 3), float(step)))
        steps.add(step)
    thread.join()
    assert not failures and len(steps) > 2


def test_saving_where_another_trains(tmp_path):
    save(tmp_path, 1)
    failures = []

    def other():
        with pytest.raises(CheckpointError, match=r"not written: .*another process is training"):
            save(tmp_path, 2)
        failures.append(None)

    with folder_of_run(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert failures == [None]
        save(tmp_path, 3)  # by the one who trains
    check(tmp_path, 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(tmp_path, value):
    save_checkpoint(
        tmp_path,
        config={"model": "test"},
        vocabulary=Vocabulary(["a", "b"], [2, 1]),
        tensors={"input": torch.ones(2, 3), "output": torch.tensor([[1.0, value]])},
        state={},
    )
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged: output holds nan"):
        load(tmp_path)


def test_nested_without_an_end(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "trainer_state.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"trainer_state\.json is truncated or damaged"):
        load(tmp_path)


def test_words_in_place_of_a_network(tmp_path):
    """Nothing of it stays beside them, but for what is not of a checkpoint."""
    others = {"optimizer.safetensors", "vocab.json", "tokenizer_config.json", "mine.txt"}
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    save(tmp_path, 1)
    assert set(os.listdir(tmp_path)) == FILES | {"mine.txt"}
    (tmp_path / "vocab.json").touch()
    save(tmp_path, 2)  # now it is a file like others
    assert set(os.listdir(tmp_path)) == FILES | {"mine.txt", "vocab.json"}
