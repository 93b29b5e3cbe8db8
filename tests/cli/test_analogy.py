"""lexforge analogy."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from lexforge.cli.analogy import analogy
from lexforge.vectors import KeyedVectors, save_vectors

app = typer.Typer()
app.command()(analogy)


@pytest.fixture
def path(tmp_path):
    vectors = [[1, 0, 0.1], [1, 1, 0.1], [0.1, 0, 1], [0.1, 1, 1], [0, 0.1, -1]]
    kv = KeyedVectors(["man", "woman", "king", "queen", "pea"], vectors)
    save_vectors(kv, tmp_path / "v.bin")
    return str(tmp_path / "v.bin")


@pytest.mark.parametrize("options", [[], ["--multiply"]])
def test_answers(path, options):
    result = CliRunner().invoke(app, [path, "man", "woman", "king", "--topn", "1", *options])
    assert result.exit_code == 0
    assert result.stdout.startswith("queen\t") and len(result.stdout.splitlines()) == 1
    result = CliRunner().invoke(app, [path, "man", "woman", "king", "--json", *options])
    assert [hit["word"] for hit in json.loads(result.stdout)] == ["queen", "pea"]


def test_unknown_words_are_all_named(path):
    result = CliRunner().invoke(app, [path, "man", "womn", "kng"])
    assert result.exit_code == 1
    assert "'womn' is not among the 5 words (did you mean woman?)" in str(result.exception)
    assert "'kng' is not among the 5 words (did you mean king?)" in str(result.exception)
