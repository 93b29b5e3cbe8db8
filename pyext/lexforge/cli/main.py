"""The ``lexforge`` command: finds the commands in this folder and reports their errors.

A command is a module here with a function of its own name. Heavy imports stay inside that function,
so that help is instant.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lexforge import __version__, cli

app = typer.Typer(
    name="lexforge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
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


def describe_error(error: BaseException) -> str:
    """One line that says what went wrong."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # str(KeyError) is its argument in quotes
    elif isinstance(error, MemoryError):
        text = f"out of memory {error}".strip()
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def _reporting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with errors as one red line and exit code 1, and clean ends on signals."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            typer.secho("stopped", fg="red", err=True)
            raise typer.Exit(128 + signal.SIGINT) from None
        except Exception as error:
            if os.environ.get("LEXFORGE_DEBUG") == "1":
                raise
            typer.secho(f"error: {describe_error(error)}", fg="red", err=True)
            raise typer.Exit(1) from None

    return run


for _module in pkgutil.iter_modules(cli.__path__):
    if _module.name != "main" and not _module.name.startswith("_"):
        _command = getattr(importlib.import_module(f"lexforge.cli.{_module.name}"), _module.name)
        app.command(_module.name.replace("_", "-"))(_reporting(_command))


def _end_cleanly(signum: int, frame: object) -> None:
    sys.exit(128 + signum)  # unlike the default action this removes temporary folders


def main() -> None:
    """Entry point of the ``lexforge`` script."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end_cleanly)
    app()


if __name__ == "__main__":
    main()
