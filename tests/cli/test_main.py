"""The command as a whole: help, version, errors."""

import importlib
import inspect
import itertools
import os
import signal
import subprocess
import sys
import time

import pytest
import typer
import typer.testing

from lexforge import __version__
from lexforge.cli import _help, main

GROUPS = {group.name: group.typer_instance for group in main.app.registered_groups}
# By what stands on the command line: "word2vec", "bert pretrain".
COMMANDS = {command.name: command for command in main.app.registered_commands} | {
    f"{name} {command.name}": command
    for name, group in GROUPS.items()
    for command in group.registered_commands
}


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(invoke, option):
    result = invoke(option)
    assert result.exit_code == 0 and result.stdout == f"lexforge {__version__}\n"


def test_without_arguments_shows_help(invoke):
    result = invoke()
    assert "Usage" in result.output
    assert all(name.split()[0] in result.output for name in COMMANDS)


def test_finds_the_commands_of_the_folder():
    assert {"demo", "info", "word2vec"} <= set(COMMANDS)
    assert "main" not in COMMANDS and "bert" in GROUPS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(invoke, name):
    result = invoke(*name.split(), "--help")
    assert result.exit_code == 0
    command = COMMANDS[name]
    summary = inspect.getdoc(command.callback).splitlines()[0]
    assert " ".join(summary.split())[:40] in " ".join(result.output.split())
    for parameter in inspect.signature(command.callback, eval_str=True).parameters.values():
        for note in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(note, typer.models.OptionInfo) and not note.hidden:
                # In an annotation the first name stands where else the default does.
                named = note.default is not ... and note.default
                first = named or f"--{parameter.name.replace('_', '-')}"
                assert first.split("/")[0] in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_and_fits(name):
    """At 80 columns: examples, explanations that have most of the width, no types."""
    runner = typer.testing.CliRunner()
    result = runner.invoke(main.app, [*name.split(), "--help"], env={"COLUMNS": "80"})
    lines = [line.rstrip() for line in result.output.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "Examples:" in lines and any(f"lexforge {name}" in line for line in lines)
    assert not any(word in result.output for word in ("<int", "<str", "<path", "<bool", "range>"))
    assert lines.index("Options") > lines.index("Examples:")


def test_help_groups_commands_by_purpose(invoke):
    lines = [line.split() for line in invoke("--help").output.splitlines()]
    titles = [lines.index([title]) for title in ("Train", "Look", "Convert", "System")]
    assert titles == sorted(titles)
    for name in {name.split()[0] for name in COMMANDS}:
        place = next(number for number, line in enumerate(lines) if line[:1] == [name])
        assert place > titles[0]
    assert {name.split()[0] for name in COMMANDS} <= {*itertools.chain(*_help.PANELS.values())}


def test_other_spellings_defaults_and_limits_are_in_the_help(invoke):
    text = " ".join(invoke("word2vec", "--help").output.split())
    assert "--window N Largest distance of context. Also -window, -window-size. " in text
    assert "[default: 5; 1 to 1000]" in text
    assert "--overwrite Replace what --out holds. --quiet" in text  # no default of a flag
    assert "One of text, binary, glove, safetensors." in text
    assert "Usage: lexforge similar VECTORS [WORD...] [OPTIONS]" in " ".join(
        spawned("similar", "--help").split()
    )


@pytest.mark.parametrize(
    "words, found",
    [
        (["wo"], ["word2vec"]),
        (["bert", "pre"], ["pretrain"]),
        (["word2vec", "--overw"], ["--overwrite"]),
        (["glove", "--optimizer", "ad"], ["adagrad", "adam"]),
    ],
)
def test_shell_completion(words, found):
    line = {"COMP_WORDS": " ".join(["lexforge", *words]), "COMP_CWORD": str(len(words))}
    assert spawned(_LEXFORGE_COMPLETE="complete_bash", **line).split() == found


def spawned(*arguments, **variables):
    """The output of a command that runs as the script does, under its own name."""
    code = f"import sys; sys.argv[1:] = {arguments!r}\nfrom lexforge.cli.main import main; main()"
    environment = {**os.environ, "COLUMNS": "80", **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_of_every_group(invoke, name, arguments):
    output = " ".join(invoke(name, *arguments).output.split())
    summary = GROUPS[name].info.help.splitlines()[0]
    assert summary[:40] in output
    assert all(command.name in output for command in GROUPS[name].registered_commands)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A command line of one folder: a command, and a group of two."""
    folder = tmp_path / "tools"
    (folder / "paint").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "sweep.py").write_text("def sweep():\n    print('swept')\n")
    (folder / "_brushes.py").write_text("raise AssertionError('not a command')\n")
    (folder / "paint" / "__init__.py").write_text('"""Paint `things`."""\n')
    (folder / "paint" / "one_wall.py").write_text("def one_wall(coats: int = 1):\n    1 / coats\n")
    (folder / "paint" / "main.py").write_text("def main():\n    print('painted')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    app = typer.Typer(cls=main.OneLineErrors, no_args_is_help=True)
    main._add_commands(app, importlib.import_module("tools"))
    yield lambda *arguments: typer.testing.CliRunner().invoke(app, list(arguments))
    for name in [name for name in sys.modules if name.split(".")[0] == "tools"]:
        del sys.modules[name]


def test_a_folder_is_a_group(tools):
    assert tools("sweep").stdout == "swept\n"
    assert tools("paint", "main").stdout == "painted\n"  # a name that is taken only at the top
    assert tools("paint", "one-wall").exit_code == 0
    for arguments in ((), ("--help",)):
        output = tools("paint", *arguments).output
        assert (
            "Paint" in output
            and "things" in output
            and "one-wall" in output
            and "sweep" not in output
        )


@pytest.mark.parametrize(
    "arguments, code, text",
    [
        (["one-wall", "--coats", "many"], 2, "got 'many' (see root paint one-wall --help)"),
        (["ceiling"], 2, "'ceiling' (see root paint --help)"),
        (["one-wall", "--coats", "0"], 1, "error: "),
    ],
)
def test_errors_in_a_group_are_one_line(tools, arguments, code, text):
    result = tools("paint", *arguments)
    assert result.exit_code == code and result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert text in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["word2vec", "--help"],
        ["bert", "--help"],
        ["bert", "pretrain", "--help"],
        ["--version"],
    ],
)
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


def test_of_repeated_options_the_last_one_counts(invoke):
    result = invoke("word2vec", "c.txt", "--out", "o", "--epochs", 1, "--epochs=0")
    assert "--epochs must be greater than or equal to 1, got '0'" in result.stderr


def test_wrong_values_are_repeated(invoke):
    for arguments in (["--window", "0"], ["--window=0"], ["-window", "0"]):
        result = invoke("word2vec", "corpus.txt", "--out", "out", *arguments)
        name = arguments[0].partition("=")[0]  # as the user typed it
        assert result.stderr.startswith(f"error: {name} must be") and "got '0'" in result.stderr


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


NAMES = {
    "window": "-window",
    "min_count": "--min-count",
    "alpha": "--lr",
    "init": "--init",
    "words": "--words",
}


@pytest.mark.parametrize(
    "error, text",
    [
        ("Word2Vec: window must be 1 to 9, got 0", "-window must be 1 to 9, got 0"),
        ("word2vec_train_: alpha must be finite", "--lr must be finite"),
        ("build_vocab: no word occurs min_count=5 times", "no word occurs --min-count 5 times"),
        ("Word2Vec: window must exceed min_count, got 3", "-window must exceed --min-count, got 3"),
        ("Word2Vec: init has none of the words", "--init has none of the words"),
        ("save: npy: window must be 7", "npy: -window must be 7"),
        (
            "cannot resume with other settings: alpha is 1, 2 in the run; window is 3, 4",
            "cannot resume with other settings: --lr is 1, 2 in the run; -window is 3, 4",
        ),
        ("run, /build/csrc/x_ops.cpp:62, word2vec_train_: window must be 1", "-window must be 1"),
        ("operator(), /build/csrc/x.h:1, tables overlap", "tables overlap"),
        (
            "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: not enough memory: you "
            "tried to allocate 40000 bytes. Buy new RAM!",
            "out of memory: 40,000 bytes more are not there",
        ),
        # What is no function's name, no option's, or somebody else's text stays.
        ("corpus: no files", "corpus: no files"),
        ("train: the words must be text", "the words must be text"),
        ("train: no min_count.txt, 'min_count' or /min_count", None),
        ("out/config.json: window must be 1", "out/config.json: window must be 1"),
    ],
)  # fmt: skip
def test_errors_have_the_names_of_options(error, text):
    text = error.removeprefix("train: ") if text is None else text
    assert main.describe_error(ValueError(error), NAMES, ["corpus", "-window", "0"]) == text


def test_failure_is_one_line_and_exit_code_1(spawn, tmp_path):
    missing = tmp_path / "nowhere" / "corpus.txt"
    process = spawn("word2vec", missing, "--out", tmp_path / "out")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert str(missing) in err


def test_debugging_shows_the_traceback(spawn, tmp_path):
    missing = tmp_path / "nowhere" / "corpus.txt"
    process = spawn("word2vec", missing, "--out", tmp_path / "out", env={"LEXFORGE_DEBUG": "1"})
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


# -- closed and broken streams --------------------------------------------------------------------


@pytest.mark.parametrize("redirected", ["<&- >&- 2>&-", "2>&1 | head -c 0"])
def test_training_goes_on_where_nobody_listens(corpus_file, tmp_path, redirected):
    command = f"{sys.executable} -m lexforge.cli.main word2vec {corpus_file} --vector-size 8"
    command += f" --epochs 1 --out {tmp_path}/out -save-vocab {tmp_path}/words {redirected}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], stdin=subprocess.DEVNULL)
    assert done.returncode == 0
    assert (tmp_path / "out" / "model.safetensors").stat().st_size > 1000
    assert "a1 " in (tmp_path / "words").read_text()


def test_closed_standard_output_is_no_error(tmp_path):
    (tmp_path / "v.txt").write_text("a 1 0\nb 1 1\n")
    command = f"{sys.executable} -m lexforge.cli.main similar {tmp_path}/v.txt a >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True)
    assert done.returncode == 0 and done.stderr == b""


def test_errors_command_no_terminal():
    """Neither values of files nor their names do."""
    error = OSError(2, "No such file", "\x1b]0;owned\x07.txt")
    assert main.describe_error(error) == r"\x1b]0;owned\x07.txt: No such file"
    assert main.describe_error(ValueError("got \x9b2J\n\u202eabc")) == r"got \x9b2J \u202eabc"
