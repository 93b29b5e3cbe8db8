"""Words, names and values of files on their way to the terminal."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import zipfile

import pytest

from lexforge import _display
from lexforge.cli import _vectors
from lexforge.vectors import load_vectors

similar = importlib.import_module("lexforge.cli.similar")
EVIL = "\x1b]0;owned\x07\x9b2J\u202ex"
SHOWN = r"\x1b]0;owned\x07\x9b2J\u202ex"


@pytest.fixture
def on_a_terminal(invoke, monkeypatch):
    """What a command writes there."""

    def run(*arguments):
        for module in (_vectors, similar, _display):
            monkeypatch.setattr(module, "is_terminal", lambda stream: True)
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text(f"king 1 0\n{EVIL} 1 0.1\nqueen 0.5 1\nman 1 0.5\n")
    return path


def harmless(text):
    """Whether it has none of what a terminal obeys but colours, and moves of the line's own."""
    return not re.search("\x1b\\]|\x1b\\[2J|[\x07\x80-\x9f\u202e]", text)


def test_words_on_a_terminal(on_a_terminal, vectors, tmp_path):
    questions = tmp_path / "questions.txt"
    questions.write_text(f": {EVIL}\nking queen man {EVIL}\n")
    for arguments in (
        ("similar", vectors, "king"),
        ("similar", vectors, EVIL),
        ("analogy", vectors, "king", "queen", "man"),
        ("evaluate", vectors, "--analogy", questions),
    ):
        text = on_a_terminal(*arguments)
        assert harmless(text) and SHOWN in text.replace("\n", "").replace(" ", ""), text


def test_words_for_other_programs(invoke, vectors):
    """In a pipe they are what they are; in JSON too, as escapes."""
    result = invoke("similar", vectors, "king", "--topn", 1)
    assert result.stdout.startswith(f"king\t{EVIL}\t")
    result = invoke("similar", vectors, "king", "--topn", 1, "--json")
    assert json.loads(result.stdout)["king"][0]["word"] == EVIL
    assert harmless(result.stdout) and "\x1b" not in result.stdout


def test_names_in_errors(invoke, tmp_path):
    path = tmp_path / "v.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (f"{EVIL}1", f"{EVIL}2"):
            archive.writestr(name, "a 1\n")
    result = invoke("similar", path, "a")
    assert result.exit_code == 1 and harmless(result.stderr) and f"{SHOWN}1" in result.stderr
    with pytest.raises(ValueError, match=re.escape(SHOWN)):
        load_vectors(path)


def test_resume_of_another_corpus(invoke, corpus_file, tmp_path):
    """Its error holds what a file says of the run."""
    run = ("word2vec", corpus_file, "--out", tmp_path / "out", "--vector-size", 8, "--epochs", 1)
    assert invoke(*run).exit_code == 0
    path = tmp_path / "out" / "trainer_state.json"
    state = json.loads(path.read_text())
    state["epoch"] = state["position"] = 0
    state["corpus"] = {name: EVIL for name in state["corpus"]}
    path.write_text(json.dumps(state))
    result = invoke(*run, "--resume")
    assert result.exit_code == 1 and harmless(result.stderr) and SHOWN in result.stderr


@pytest.mark.parametrize("command", ["word2vec", "fasttext", "glove", "cooccurrence"])
def test_hints_can_be_pasted(invoke, tmp_path, command):
    """No word is alphabetic here, so the hint has one that the shell would obey."""
    corpus, out = tmp_path / "corpus.txt", tmp_path / "o p; rm x"
    corpus.write_text("$(rm) `rm` a;b c|d\n" * 20)
    size = [] if command == "cooccurrence" else ["--vector-size", 4, "--epochs", 1]
    result = invoke(command, corpus, "--out", out, *size)
    assert result.exit_code == 0, result.output
    hints = [line.removeprefix("try: ") for line in result.stderr.splitlines() if "try: " in line]
    for hint in hints:
        words = shlex.split(hint)
        assert words[0] == "lexforge" and words[2] in (str(out), str(out / "counts"))
        assert set(words[3:]) <= {"$(rm)", "`rm`", "a;b", "c|d"} and shlex.join(words) == hint
    assert hints
