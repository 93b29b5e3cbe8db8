"""The command as a whole: help, version, errors."""

import inspect
import os
import signal
import subprocess
import sys
import time

import pytest
import typer

from lexforge import __version__
from lexforge.cli import main

COMMANDS = [command.name for command in main.app.registered_commands]


def test_version(invoke):
    result = invoke("--version")
    assert result.exit_code == 0 and result.stdout == f"lexforge {__version__}\n"


def test_without_arguments_shows_help(invoke):
    result = invoke()
    assert "Usage" in result.output and all(name in result.output for name in COMMANDS)


def test_finds_the_commands_of_the_folder():
    assert {"demo", "info", "word2vec"} <= set(COMMANDS)
    assert "main" not in COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(invoke, name):
    result = invoke(name, "--help")
    assert result.exit_code == 0
    (command,) = (c for c in main.app.registered_commands if c.name == name)
    summary = inspect.getdoc(command.callback).splitlines()[0]
    assert " ".join(summary.split())[:40] in " ".join(result.output.split())
    for parameter in inspect.signature(command.callback).parameters.values():
        for note in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(note, typer.models.OptionInfo) and not note.hidden:
                names = note.param_decls or [f"--{parameter.name.replace('_', '-')}"]
                assert names[0].split("/")[0] in result.output


@pytest.mark.parametrize("arguments", [["--help"], ["word2vec", "--help"], ["--version"]])
def test_help_does_not_wait_for_torch(arguments):
    code = (
        "import sys\n"
        "from lexforge.cli.main import app\n"
        f"app({arguments!r}, standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["nonsense"], ["word2vec", "--window", "wide"], ["info", "extra"]]
)
def test_wrong_usage_exits_with_2(invoke, arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == "" and result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1 and "--help)" in result.stderr


def test_wrong_values_are_repeated(invoke):
    for arguments in (["--window", "0"], ["--window=0"], ["-window", "0"]):
        result = invoke("word2vec", "corpus.txt", "--out", "out", *arguments)
        assert "--window" in result.stderr and "got '0'" in result.stderr


@pytest.mark.parametrize(
    "error, text",
    [
        (ValueError("op: x must be\n  1"), "op: x must be 1"),
        (
            FileNotFoundError(2, "No such file or directory", "a.txt"),
            "a.txt: No such file or directory",
        ),
        (KeyError("word 'a' is unknown"), "word 'a' is unknown"),
        (MemoryError(), "out of memory"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_errors_in_one_line(error, text):
    assert main.describe_error(error) == text


def test_failure_is_one_line_and_exit_code_1(spawn):
    process = spawn("word2vec", "/nowhere/corpus.txt", "--out", "/nowhere/out")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert "/nowhere/corpus.txt" in err


def test_debugging_shows_the_traceback(spawn):
    process = spawn(
        "word2vec", "/nowhere/corpus.txt", "--out", "/nowhere/out", env={"LEXFORGE_DEBUG": "1"}
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" in err and "FileNotFoundError" in err


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_while_preparing(spawn, tmp_path, number, code):
    """Before training there is nothing to save: temporary folders go away, the exit code tells."""
    corpus, out, scratch = tmp_path / "corpus", tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    os.mkfifo(corpus)  # reading it waits for a writer that never comes
    process = spawn("word2vec", corpus, "--out", out, env={"TMPDIR": str(scratch)})
    deadline = time.monotonic() + 60
    while not any("wait_for_partner" in _wait_channel(process.pid) for _ in (0,)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert not out.exists() and not list(scratch.iterdir())


def _wait_channel(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/wchan") as file:
            return file.read()
    except OSError:
        return ""
