"""The README's snippets run, in their order and in one folder.

Python blocks run as they are. A shell block runs if each of its lines is a ``lexforge`` command or
an ``echo`` into a file: those that install, make or need a GPU have other lines, and are left out.
The data sets that snippets name are small stand-ins with the same words, long runs are cut short.
"""

from __future__ import annotations

import random
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lexforge import _library
from lexforge.cli.main import app
from lexforge.text import datasets

README = Path(__file__).resolve().parents[1] / "README.md"
SHORTER = {  # in the README -> here
    "steps=50": "steps=2, batch_size=16",
    "--steps 20000": "--steps 2 --batch-size 16",
    "--config standard --accumulation 8": "--layers 1 --accumulation 2 --batch-size 16 --steps 2",
    "--vector-size 300": "--vector-size 30",
    "epochs=25": "epochs=2",
    "glove pydocs --out glove/  ": "glove pydocs --out glove/ --epochs 2 ",
    "--vocab-file counts/vocab.txt": "--vocab-file counts/vocab.txt --epochs 2",
    "num_epochs=5": "num_epochs=1",
    "load_data_wiki(512,": "load_data_wiki(16,",
    "try_all_gpus(), 50)": "try_all_gpus(), 2)",
    '"steps": 200': '"steps": 2',
    "--max-iters 2000": "--max-iters 2",
    "randn(20_000, 768), torch.zeros(20_000)": "randn(2_000, 768), torch.zeros(2_000)",
}
WORDS = "tensor file shape path name thread list dict min max argmin argmax chip a crane is flying "
WORDS += "driver came he left"
pytestmark = pytest.mark.skipif(_library.emulated(), reason="too slow there")


def blocks() -> list[tuple[str, str]]:
    """Language and text of each."""
    text = README.read_text()
    for long, short in SHORTER.items():
        assert long in text, f"README.md has no {long!r} any more"
        text = text.replace(long, short)
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[str] | None:
    """The lines of a shell block; None if it is not to be run."""
    lines = [line for line in block.splitlines() if line.strip()]
    return lines if all(re.match(r"lexforge |echo .* > ", line) for line in lines) else None


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Someone in an empty folder, with data sets of a few kilobytes."""
    draw = random.Random(0)
    sentences = [" ".join(draw.choices(WORDS.split(), k=8)) for _ in range(600)]
    texts = {
        "docs.txt": "\n".join(sentences),
        "ptb/ptb.train.txt": "\n".join(sentences),
        "wikitext-2/wiki.train.tokens": "\n".join(
            map(" . ".join, zip(sentences[::2], sentences[1::2], strict=True))
        ),
    }
    for name in datasets.names("similarity"):
        texts[datasets.REGISTRY[name].files["all"]] = "tensor file 3\nlist dict 2\nmin max 1\n"
    for name in datasets.names("analogy"):
        texts[datasets.REGISTRY[name].files["all"]] = ": words\nmin max argmin argmax\n"
    for name, text in texts.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(text + "\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("LEXFORGE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LEXFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "_pydocs_path", lambda: tmp_path / "data" / "docs.txt")


def test_which_shell_blocks_run():
    told = [commands(text) for language, text in blocks() if language == "sh"]
    assert sum(lines is not None for lines in told) >= 4
    left_out = " ".join(
        text for language, text in blocks() if language == "sh" and not commands(text)
    )
    assert all(word in left_out for word in ("pip install", "make demo", "make test", "make gpu"))


def test_snippets_run(reader):
    pytest.importorskip("matplotlib")
    before = torch.get_num_threads()
    for language, text in blocks():
        if language == "python":
            exec(compile(text, f"README.md: {text.splitlines()[0]}", "exec"), {})
        for line in (commands(text) or []) if language == "sh" else []:
            if line.startswith("echo"):
                subprocess.run(line, shell=True, check=True)
                continue
            result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception}"
    torch.set_num_threads(before)
    for made in (
        "vectors.bin",
        "cooccurrence.bin",
        "texts.npy",
        "maps.png",
        "base/config.json",
        "small",
    ):
        assert Path(made).exists(), made
