"""The ``lexforge`` command: finds the commands in this folder and reports their errors.

A command is a module here with a function of its own name. A folder here is a group: its modules
are the commands after its name, its docstring is their common help; the one that it names as
``USUAL`` gets what begins with none of their names. Heavy imports stay inside the functions, so
that help is instant.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import pkgutil
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import typer
from typer.core import TyperCommand, TyperGroup

from lexforge import __version__, cli
from lexforge._display import printable
from lexforge.cli._help import argument_name, choices, is_argument, print_help, spellings
from lexforge.cli._messages import tell

# Some versions of typer carry a copy of click instead of needing it; both have this base class.
if TYPE_CHECKING:
    from click import UsageError
else:
    (UsageError,) = typer.BadParameter.__bases__


if TYPE_CHECKING:
    _Parser = TyperCommand  # what it is mixed into
else:
    _Parser = object


class _Parsing(_Parser):
    """What commands and groups have in common: their help, and options that do not exist."""

    def format_help(self, ctx, formatter):
        """Prints it, as typer does."""
        print_help(self, ctx)

    def parse_args(self, ctx, args):
        """An option that does not exist is named whole, with those of nearly its name."""
        given = list(args)
        try:
            return super().parse_args(ctx, _as_spelt_here(args, self.get_params(ctx)))
        except UsageError as error:
            error.ctx = error.ctx or ctx
            if type(error).__name__ != "NoSuchOption":
                raise
            known = [name for each in self.get_params(ctx) for name in _names(each)]
            unknown = _unknown_option(getattr(error, "option_name", ""), given, known)
            near = difflib.get_close_matches(unknown, known, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(f"there is no option {unknown}{hint}", ctx=ctx) from None


class Command(_Parsing, TyperCommand):
    """A command that tells its errors in one line, with exit code 1, and ends well on signals."""

    def parse_args(self, ctx, args):
        """Where there are no options, a negative number is an argument."""
        options = {name for each in self.get_params(ctx) for name in _names(each)}
        if options <= {*ctx.help_option_names} and "--" not in args:
            first = next((i for i, word in enumerate(args) if re.match(r"-\d", word)), len(args))
            args = [*args[:first], *["--"] * (first < len(args)), *args[first:]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx):
        """Runs it."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, UsageError, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            tell("stopped", "red")
            raise typer.Exit(128 + signal.SIGINT) from None
        except Exception as error:
            if os.environ.get("LEXFORGE_DEBUG") == "1":
                raise
            given = ctx.meta.get("lexforge.given", ())[len(ctx.command_path.split()) - 1 :]
            names = {each.name: _called(each, given) for each in self.params if _names(each)}
            tell(f"error: {describe_error(error, names, given)}", "red")
            raise typer.Exit(1) from None


class Group(_Parsing, TyperGroup):
    """Commands after a common name; `usual` may be left out."""

    usual: ClassVar[str | None] = None

    def parse_args(self, ctx, args):
        """Where the first word is no command, nor a wish for help, that of `usual` goes first."""
        if self.usual and args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [self.usual, *args]
            if given := ctx.meta.get("lexforge.given"):
                given.insert(len(ctx.command_path.split()) - 1, self.usual)
        return super().parse_args(ctx, args)


class OneLineErrors(Group):
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
        helper = f"{error.ctx.command_path} --help" if error.ctx else "lexforge --help"
        tell(f"error: {_wrong_use(error, given)} (see {helper})", "red")
        raise typer.Exit(2) from None


def _wrong_use(error: Any, given: Sequence[str]) -> str:
    """What is wrong, with the option's name first and its value last."""
    parameter = getattr(error, "param", None)
    if type(error).__name__ == "BadOptionUsage" and "requires" in error.message:
        return f"{error.option_name} needs a value"
    if parameter is None:
        return describe_error(error.message).rstrip(".")
    name = _called(parameter, given)
    if type(error).__name__ == "MissingParameter":
        about = (getattr(parameter, "help", None) or "").rstrip(".")
        return f"{name} is missing: {about}" if about else f"{name} is missing"
    text = describe_error(error.message).rstrip(".")
    before, _, expected = text.partition("Input should be ")
    if values := choices(parameter):
        text = f"{name} must be one of {', '.join(values)}"
    elif expected and not before:
        text = f"{name} must be {expected.partition(', unable to')[0]}"
    else:
        text = f"{name}: {text}"
    value = _value_given(parameter.opts, given)
    return text if value is None or repr(value) in text else f"{text}, got {value!r}"


def _names(parameter: Any) -> list[str]:
    """All spellings of an option; an argument has none."""
    return [] if is_argument(parameter) else [*parameter.opts, *parameter.secondary_opts]


def _dashed(word: str) -> str:
    """``--n-layer`` of ``--n_layer``: no option has an underscore."""
    return word.replace("_", "-") if word[:2] == "--" else word


_TRUE, _FALSE = ("true", "1"), ("false", "0")


def _as_spelt_here(args: Sequence[str], parameters: Sequence[Any]) -> list[str]:
    """Arguments with ``--n_layer`` as ``--n-layer``, and ``--bias=True`` as ``--bias``."""
    known = {name: each for each in parameters for name in _names(each)}
    found: list[str] = []
    for number, word in enumerate(args):
        if word == "--":
            return [*found, *args[number:]]
        name, equals, value = word.partition("=")
        name = _dashed(name) if _dashed(name) in known else name
        option = known.get(name)
        if equals and option is not None and getattr(option, "is_flag", False):
            if value.lower() in _TRUE:
                found.append(name)
                continue
            if value.lower() in _FALSE:
                found += option.secondary_opts[:1]
                continue
        found.append(f"{name}{equals}{value}")
    return found


def _called(parameter: Any, given: Sequence[str]) -> str:
    """What the user calls it: as it stands on the command line, or else its first name."""
    if is_argument(parameter):
        return argument_name(parameter)
    typed = (word.partition("=")[0] for word in given)
    known = _names(parameter)
    return next((word for word in typed if _dashed(word) in known), spellings(parameter)[0])


def _unknown_option(name: str, given: Sequence[str], known: Sequence[str]) -> str:
    """What stands there: of ``-foo`` the parser tells ``-f``, as if it were ``-f -o -o``."""
    words = (word.partition("=")[0] for word in given if word[:1] == "-" != word[1:2])
    whole = (word for word in words if word not in known and name[1:2] in word)
    return name if name[:2] == "--" else next(whole, name)


def _value_given(names: Sequence[str], given: Sequence[str]) -> str | None:
    """What the command line says for the option of these names."""
    found = None
    for argument, following in zip_longest(given, given[1:]):
        name, equals, value = argument.partition("=")
        if _dashed(name) in names:
            found = value if equals else following  # the last one counts
    return found


# Where a check in the C++ sources stands: "run, /build/path/x.cpp:62, ".
_PLACE_IN_SOURCES = re.compile(r"^[\w~()]+, \S+\.(?:cpp|cc|cu|cuh|h|hpp):\d+, ")
_NO_MEMORY = re.compile(r"DefaultCPUAllocator.*tried to allocate (\d+) bytes")
_CHANGED = "cannot resume with other settings: "


def describe_error(
    error: BaseException | str, names: Mapping[str, str] = {}, given: Sequence[str] = ()
) -> str:
    """One line that says what went wrong.

    Args:
        error: What was raised, or its text.
        names: How the user calls what functions take: options by the names of parameters.
        given: The words of the command line, none of which is the name of a function of ours.
    """
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # str(KeyError) is its argument in quotes
    elif isinstance(error, MemoryError):
        text = f"out of memory {error}".strip()
    else:
        text = str(error) or type(error).__name__
        text = _with_names_of_options(" ".join(text.split()), names, given)
    return printable(" ".join(text.split()))


def _with_names_of_options(text: str, names: Mapping[str, str], given: Sequence[str]) -> str:
    """``--window must be ...`` for ``Word2Vec: window must be ...``."""
    text = _PLACE_IN_SOURCES.sub("", text)
    if found := _NO_MEMORY.search(text):
        return f"out of memory: {int(found[1]):,} bytes more are not there"
    owner, _, rest = text.partition(": ")
    changed = text.startswith(_CHANGED)
    if not names or not (changed or (rest and owner.isidentifier() and owner not in given)):
        return text

    def called(found: re.Match[str]) -> str:
        name, equals = found.groups()
        begins = found.start() == 0 or rest[: found.start()].endswith(("; ", ": "))
        speaks = rest[found.end() :].startswith((" must ", " has ", " is ", ": "))
        if "_" in name or equals or (begins and speaks):
            return names[name] + (" " if equals else "")
        return found[0]

    fields = "|".join(sorted(names, key=len, reverse=True))
    # Neither a part of a path or of another word, nor between quotes.
    rest = re.sub(rf"(?<![\w./'\"-])({fields})(?:(=)(?=\w)|(?![\w/'\"=-]|\.\w))", called, rest)
    return f"{_CHANGED}{rest}" if changed else rest


MARKUP: Final = "markdown"  # of docstrings

app = typer.Typer(
    name="lexforge",
    cls=OneLineErrors,
    no_args_is_help=True,
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
            "--version", "-V", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Word vectors and small language models, trained by hand-written C++ and CUDA kernels.

    Start with `lexforge demo`, then train your own: `lexforge word2vec corpus.txt --out vectors/`.
    Each command explains itself: `lexforge word2vec --help`.
    """


def _add_commands(app: typer.Typer, folder: ModuleType) -> None:
    """Make the modules of a folder commands of `app`, and the folders in it groups."""
    for found in pkgutil.iter_modules(folder.__path__):
        if found.name.startswith("_") or (folder is cli and found.name == "main"):
            continue
        module = importlib.import_module(f"{folder.__name__}.{found.name}")
        name = found.name.replace("_", "-")
        if found.ispkg:
            usual = getattr(module, "USUAL", None)
            group = typer.Typer(
                cls=type("UsualGroup", (Group,), {"usual": usual}) if usual else Group,
                no_args_is_help=True,
                help=inspect.getdoc(module),
                rich_markup_mode=MARKUP,
            )
            _add_commands(group, module)
            app.add_typer(group, name=name)
        else:
            app.command(name, cls=Command)(getattr(module, found.name))


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
