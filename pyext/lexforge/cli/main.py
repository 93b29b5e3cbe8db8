"""The ``lexforge`` command: finds the commands in this folder and reports their errors.

A command is a module here with a function of its own name. A folder here is a group: its modules
are the commands after its name, its docstring is their common help. Heavy imports stay inside the
functions, so that help is instant.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lexforge import __version__, cli
from lexforge._display import printable
from lexforge.cli._messages import tell

# Some versions of typer carry a copy of click instead of needing it; both have this base class.
(UsageError,) = typer.BadParameter.__bases__


class OneLineErrors(TyperGroup):
    """Commands whose wrong use is told in one line, like all other errors, with exit code 2."""

    def make_context(self, info_name, args, parent=None, **extra):
        """Parses what stands before the command, and keeps the whole line for messages."""
        given = list(args)
        with _telling_wrong_use(given):
            context = super().make_context(info_name, args, parent=parent, **extra)
            context.meta["lexforge.given"] = given
            return context

    def invoke(self, ctx):
        """Parses the command's own arguments and runs it."""
        with _telling_wrong_use(ctx.meta["lexforge.given"]):
            return super().invoke(ctx)


@contextlib.contextmanager
def _telling_wrong_use(given: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        text = describe_error(error.format_message()).rstrip(".")
        value = _value_given(getattr(getattr(error, "param", None), "opts", ()), given)
        if value is not None and repr(value) not in text:
            text += f", got {value!r}"
        helper = f"{error.ctx.command_path} --help" if error.ctx else "lexforge --help"
        tell(f"error: {text} (see {helper})", "red")
        raise typer.Exit(2) from None


def _value_given(names: Sequence[str], given: Sequence[str]) -> str | None:
    """What the command line says for the option of these names."""
    for argument, following in zip_longest(given, given[1:]):
        name, equals, value = argument.partition("=")
        if name in names:
            return value if equals else following
    return None


MARKUP = "markdown"  # of docstrings

app = typer.Typer(
    name="lexforge",
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=MARKUP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lexforge {__version__}")
        raise typer.Exit


@app.callback()
def _lexforge(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Word vectors and small language models, trained by hand-written C++ and CUDA kernels.

    Start with `lexforge demo`, then train your own: `lexforge word2vec corpus.txt --out vectors/`.
    Each command explains itself: `lexforge word2vec --help`.
    """


def describe_error(error: BaseException | str) -> str:
    """One line that says what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # str(KeyError) is its argument in quotes
    elif isinstance(error, MemoryError):
        text = f"out of memory {error}".strip()
    else:
        text = str(error) or type(error).__name__
    return printable(" ".join(text.split()))


def _reporting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with errors as one red line and exit code 1, and clean ends on signals."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            tell("stopped", "red")
            raise typer.Exit(128 + signal.SIGINT) from None
        except Exception as error:
            if os.environ.get("LEXFORGE_DEBUG") == "1":
                raise
            tell(f"error: {describe_error(error)}", "red")
            raise typer.Exit(1) from None

    return run


def _add_commands(app: typer.Typer, folder: ModuleType) -> None:
    """Make the modules of a folder commands of `app`, and the folders in it groups."""
    for found in pkgutil.iter_modules(folder.__path__):
        if found.name.startswith("_") or (folder is cli and found.name == "main"):
            continue
        module = importlib.import_module(f"{folder.__name__}.{found.name}")
        name = found.name.replace("_", "-")
        if found.ispkg:
            group = typer.Typer(
                no_args_is_help=True, help=inspect.getdoc(module), rich_markup_mode=MARKUP
            )
            _add_commands(group, module)
            app.add_typer(group, name=name)
        else:
            app.command(name)(_reporting(getattr(module, found.name)))


_add_commands(app, cli)


def _end_cleanly(signum: int, frame: object) -> None:
    sys.exit(128 + signum)  # unlike the default action this removes temporary folders


def _replace_closed_streams() -> None:
    """Nothing comes of what is written to a stream that the caller closed (``2>&-``).

    Else the next file that is opened gets its number, and whatever the system's libraries have to
    say goes into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def main() -> None:
    """Entry point of the ``lexforge`` script."""
    _replace_closed_streams()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end_cleanly)
    app(prog_name="lexforge")


if __name__ == "__main__":
    main()
