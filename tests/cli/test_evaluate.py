"""lexforge evaluate."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lexforge.cli.evaluate import evaluate
from lexforge.text import datasets
from lexforge.vectors import KeyedVectors, save_vectors

app = typer.Typer()
app.command()(evaluate)


@pytest.fixture
def path(tmp_path):
    """Words around a circle, and a second circle one step above it."""
    angles = np.linspace(0, np.pi / 2, 8)
    low = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    vectors = np.concatenate([low, low + np.array([0, 0, 1])])
    words = [f"a{i}" for i in range(8)] + [f"b{i}" for i in range(8)]
    save_vectors(KeyedVectors(words, vectors), tmp_path / "v.txt")
    return str(tmp_path / "v.txt")


@pytest.fixture
def pairs(tmp_path):
    rows = [f"a0\ta{i}\t{10 - i}" for i in range(1, 8)] + ["a0\tmissing\t5"]
    (tmp_path / "pairs.txt").write_text("\n".join(rows))
    return str(tmp_path / "pairs.txt")


@pytest.fixture
def questions(tmp_path):
    lines = [": family", "a1 b1 a2 b2", "a3 b3 A4 B4", "a1 b1 a2 missing"]
    lines += [": gram1", "a1 b1 a2 b7"]
    (tmp_path / "questions.txt").write_text("\n".join(lines))
    return str(tmp_path / "questions.txt")


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_figures(path, pairs, questions, tmp_path):
    out = tmp_path / "scores.json"
    result = run(path, "--similarity", pairs, "--analogy", questions, "--json", out)
    assert result.exit_code == 0, result.exception
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert lines[0][1] == "100.0" and lines[0][3:] == ["7", "8", "87.5"]
    assert lines[1:] == [
        ["family", "100.0", "2", "2", "3", "66.7"],
        ["gram1", "0.0", "0", "1", "1", "100.0"],
        ["semantic total", "100.0", "2", "2", "3", "66.7"],
        ["syntactic total", "0.0", "0", "1", "1", "100.0"],
        ["total", "66.7", "2", "3", "4", "75.0"],
    ]
    report = json.loads(out.read_text())
    assert report["words"] == 16 and report["dimensions"] == 3
    assert report["similarity"][pairs]["spearman"] == pytest.approx(1.0)
    assert report["similarity"][pairs]["coverage"] == 7 / 8
    assert report["analogy"][questions]["total"]["accuracy"] == 2 / 3


def test_options(path, questions, tmp_path):
    out = tmp_path / "scores.json"
    run(path, "--analogy", questions, "--unknown-as-zero", "--match-case", "--json", out)
    total = json.loads(out.read_text())["analogy"][questions]["total"]
    assert (total["correct"], total["used"], total["questions"]) == (1, 4, 4)


def test_named_sets(path, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    (folder / "similarity").mkdir(parents=True)
    names = datasets.names("similarity")
    for file in (datasets.REGISTRY[name].files["all"] for name in names):
        (folder / file).write_text("a0\ta1\t3\na0\ta3\t2\na0\ta6\t1\n")
    monkeypatch.setenv("LEXFORGE_DATA", str(folder))
    result = run(path, "--similarity", "all")
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == names
    result = run(path, "--analogy", "missing")
    assert result.exit_code == 1 and "not a set name (google" in str(result.exception)


def test_a_named_set_is_downloaded(path, tmp_path, monkeypatch):
    monkeypatch.setenv("LEXFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LEXFORGE_DATA", raising=False)

    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    result = run(path, "--analogy", "google")
    assert result.exit_code == 1 and "no network in this test" in str(result.exception)
    assert f"put that file at {tmp_path}/cache/analogy/questions-words.txt" in str(result.exception)


def test_sets_without_known_words_are_passed_over(path, pairs, tmp_path):
    (tmp_path / "foreign.txt").write_text("x y 1\nz u 2\n")
    result = run(path, "--similarity", tmp_path / "foreign.txt", "--similarity", pairs)
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 1
    assert "warning:" in result.stderr and "2 pairs found, 2 with unknown words" in result.stderr
    assert run(path, "--similarity", tmp_path / "foreign.txt").exit_code == 1


def test_something_must_be_asked_for(path):
    result = run(path)
    assert result.exit_code == 1 and "at least one --similarity or --analogy" in str(
        result.exception
    )


def test_a_file_without_questions(invoke, path, tmp_path):
    """Prose is not a set of questions of which none was right."""
    (tmp_path / "prose.txt").write_text("this is not it\n".replace("it", "it at all"))
    result = invoke("evaluate", path, "--analogy", tmp_path / "prose.txt")
    assert result.exit_code == 1 and result.stdout == ""
    assert "no question found" in result.stderr
