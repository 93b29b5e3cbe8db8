"""lexforge similar."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import fasttext_models
from lexforge._text import WordBytes
from lexforge.cli import _vectors
from lexforge.cli.similar import similar
from lexforge.vectors import KeyedVectors, save_vectors
from lexforge.vectors.formats.fasttext import write_fasttext

app = typer.Typer()
app.command()(similar)


@pytest.fixture
def path(tmp_path):
    angles = np.deg2rad([0, 10, 25, 90, 180])
    words = ["north", "northish", "northeast", "east", "[south]"]
    save_vectors(
        KeyedVectors(words, np.stack([np.cos(angles), np.sin(angles)], axis=1)), tmp_path / "v.txt"
    )
    return str(tmp_path / "v.txt")


def run(*arguments, **options):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def test_neighbours_as_tabs(path):
    result = run(path, "north", "east", "--topn", 2)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "north\tnorthish\t0.9848",
        "north\tnortheast\t0.9063",
        "east\tnortheast\t0.4226",
        "east\tnorthish\t0.1736",
    ]


def test_any_word_of_a_fasttext_model(tmp_path):
    path = tmp_path / "model.bin"
    write_fasttext(path, fasttext_models.model(words=WordBytes.of([b"north", b"south", b"east"])))
    wv = KeyedVectors.load(path)
    result = run(path, "northern", "--without", "eastern", "--topn", 1)
    ((word, score),) = wv.most_similar("northern", "eastern", topn=1)
    assert result.stdout == f"northern - eastern\t{word}\t{score:.4f}\n"


def test_combined_queries_as_json(path):
    result = run(path, "north", "east", "--without", "northish", "--json", "--topn", 1)
    answer = json.loads(result.stdout)
    assert list(answer) == ["north + east - northish"]
    assert answer["north + east - northish"][0]["word"] == "northeast"
    together = json.loads(run(path, "north", "east", "--together", "--json").stdout)
    assert [hit["word"] for hit in together["north + east"]] == ["northeast", "northish", "[south]"]


def test_restricted_vocabulary(path):
    result = run(path, "[south]", "--restrict-vocab", 2)
    assert [line.split("\t")[1] for line in result.stdout.splitlines()] == ["northish", "north"]


def test_unknown_word_suggests_spellings(path):
    result = run(path, "northest", "zebra")
    assert result.exit_code == 1
    message = str(result.exception)
    assert "'northest' is not among the 5 words (did you mean northeast" in message
    assert "'zebra' is not among the 5 words" in message


def test_prompt_reads_lines_until_an_empty_one(path):
    result = run(path, "--topn", 1, input="north\nnowhere\nnorth east\n\nnorth\n")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "north\tnorthish\t0.9848",
        "north + east\tnortheast\t0.9397",
    ]
    assert "'nowhere' is not among" in result.stderr
    assert run(path, input="EXIT\n").exit_code == 0
    assert run(path, input="").exit_code == 0
    with pytest.raises(ValueError, match="need at least one WORD"):
        run(path, "--json", catch_exceptions=False)


def test_table_on_a_terminal(path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    _vectors.print_table("Nearest to [bold]x", ["word", "cosine"], [("[red]w", 0.5)])
    output = capsys.readouterr().out
    assert "Nearest to [bold]x" in output and "[red]w" in output and "0.5000" in output


def test_warnings_are_one_line(tmp_path):
    (tmp_path / "v.txt").write_text("3 1\na 1\na 2\nb 2\n")
    result = run(tmp_path / "v.txt", "a")
    assert result.stdout == "a\tb\t1.0000\n"
    assert result.stderr.splitlines() == [
        "warning: 1 rows repeat the token of an earlier row and are left out"
    ]


def test_a_word_in_another_unicode_form(tmp_path):
    (tmp_path / "v.txt").write_bytes("2 2\ncafe\u0301 1 0\nchat 0 1\n".encode())
    problem = str(run(tmp_path / "v.txt", "caf\xe9").exception)
    assert r"it is there in another Unicode form, 'cafe\u0301'; this is 'caf\xe9'" in problem


def test_encoding(tmp_path):
    (tmp_path / "v.txt").write_bytes("2 2\ncaf\xe9 1 0\nth\xe9 0 1\n".encode("latin-1"))
    result = run(tmp_path / "v.txt", "caf\xe9", "--encoding", "latin-1")
    assert result.stdout == "caf\xe9\tth\xe9\t0.0000\n"
