"""Running commands: in this process, or as a user would."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import typer.main
from typer.testing import CliRunner

from lexforge import _library
from lexforge.cli.main import app
from planted import planted_corpus

collect_ignore_glob = ["test_*.py"] if _library.emulated() else []  # too slow there


@pytest.fixture(scope="session", autouse=True)
def commands_made_once():
    """Making them takes longer than most of the commands that are tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture
def invoke() -> Callable:
    """Run a command in this process; the result has exit_code, stdout, stderr, output."""

    def run(*args: object, input: bytes | None = None):
        return CliRunner().invoke(
            app, [str(arg) for arg in args], input, env={"TERM": "dumb", "COLUMNS": "200"}
        )

    return run


@pytest.fixture
def spawn() -> Callable[..., subprocess.Popen]:
    """Start a command as a process of its own."""

    def start(*args: object, **options: object) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "lexforge.cli.main", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **options.pop("env", {})},
            **{"text": True, **options},
        )

    return start


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory):
    """The planted corpus as text, 4000 lines."""
    path = tmp_path_factory.mktemp("corpus") / "planted.txt"
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in planted_corpus()))
    return path
