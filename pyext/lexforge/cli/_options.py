"""Options of commands, made from the fields of settings, and those that every run has."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass, make_dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast, get_args, get_type_hints

import typer

from lexforge._arguments import MAX_THREADS
from lexforge.training.settings import Knob, Settings, knobs, setting

LARGEST_SHOWN = 2**31  # limits beyond are those of the machine's numbers: the model tells of them


Given = dict[str, Any]  # what stands on the command line; defaults are the model's business
Corpus = Annotated[
    str | None,
    typer.Argument(
        help="Text file (compressed, too), folder of such files, data set name, or - for "
        "standard input. One sentence a line, words between spaces.",
        show_default=False,
    ),
]
output, resources, counting = (
    partial(setting, panel=panel) for panel in ("Output", "Resources", "Corpus and vocabulary")
)
tool = partial(setting, panel="As in the original tool", names="-")
FOLDER_HELP = "Folder for the results: model or counts, vocabulary, checkpoint."
# One option of many commands each.
quietly = partial(output, False, "Print nothing.", names="-- -q")
on_device = partial(resources, "auto", "auto, cpu or cuda.")
threads = partial(
    resources, None, "Threads; all by default.", low=1, high=MAX_THREADS, names="-- -threads"
)
MEMORY_HELP = "Cap for counting and training order: 512MB, 4 (GB); more goes to the disk."


@dataclass(frozen=True)
class WorkOptions:
    """What every command has that works on a corpus."""

    out: Path | None = output(None, FOLDER_HELP)
    overwrite: bool = output(False, "Replace what --out holds.")
    quiet: bool = quietly()
    workers: int | None = threads()
    device: str = on_device()
    verbose: int = tool(2, "Accepted; see --quiet.", low=0, names="- -debug", hidden=True)

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        """What is written; it never becomes corpus."""
        return (self.out,)

    def check(self, *files: Path | None, folders: Mapping[str, Path | None] = {}) -> None:
        """Before the work rather than after it: can there be these files and folders?"""
        check_files(*files)
        for name, folder in {"--out": self.out, **folders}.items():
            if folder is not None:
                check_folder(name, folder)


@dataclass(frozen=True)
class RunOptions(WorkOptions):
    """What every training has."""

    resume: bool = output(False, "Continue the interrupted run in --out.")
    checkpoint_every: float = output(
        10.0, "Save that often; 0 only at the end.", low=0, metavar="MINUTES"
    )
    log_json: Path | None = output(None, "Write losses and speed here, one JSON object per second.")

    @property
    def outputs(self) -> tuple[Path | None, ...]:
        """That, and the log."""
        return (self.out, self.log_json)

    def check(self, *files: Path | None, folders: Mapping[str, Path | None] = {}) -> None:
        """That, and whether --resume and --overwrite go with what is in the folder."""
        from lexforge.training.checkpoint import is_checkpoint

        if self.resume and (self.out is None or self.overwrite):
            raise typer.BadParameter("--resume needs --out, and excludes --overwrite")
        if self.out is not None and is_checkpoint(self.out) and not (self.resume or self.overwrite):
            raise typer.BadParameter(
                f"{self.out} holds a run or a model: continue it with --resume, or --overwrite it"
            )
        super().check(*files, self.log_json, folders=folders)


@dataclass(frozen=True)
class StartOptions:
    """What trainings of word vectors have that may start from others."""

    init: Path | None = setting(
        None, "Start from the vectors of this file, of words that it knows.", panel="Training"
    )

    def check(self, resume: bool) -> None:
        """BadParameter for a run that has started already."""
        if self.init is not None and resume:
            raise typer.BadParameter("--init starts a run, and --resume continues one")


@dataclass(frozen=True)
class CountingOptions:
    """What commands have that count co-occurrences."""

    memory: str = resources("2GB", MEMORY_HELP, names="-- -")
    vocab_file: Path | None = counting(
        None, "Use these words: lines of word and count.", names="-- -"
    )

    @property
    def cap(self) -> str:
        """The memory with its unit."""
        return f"{self.memory}GB" if self.memory[-1:].isdigit() else self.memory


@dataclass(frozen=True)
class Recipe:
    """Other defaults of the same settings, and when they hold."""

    settings: Settings
    when: str


def merged(*kinds: type[Settings]) -> type:
    """A dataclass of the fields of several kinds of settings, each None where it is not given."""
    found: dict[str, dict[str, Knob]] = {}
    for kind in kinds:
        for knob in knobs(kind).values():
            if knob.help:
                found.setdefault(knob.name, {})[kind.OWNER] = knob
    parts = []
    for name, known in found.items():
        first = next(iter(known.values()))
        told = {f"{owner} {knob.default}" for owner, knob in known.items()}
        if len({knob.default for knob in known.values()}) == 1 and len(known) == len(kinds):
            told = {str(first.default)}
        choices = dict.fromkeys(choice for knob in known.values() for choice in knob.choices)
        help = f"{first.help} Default: {', '.join(sorted(told))}."
        knob = replace(first, help=help, choices=tuple(choices), default=None, optional=True)
        parts.append((name, first.kind | None, field(default=None, metadata={"knob": knob})))
    return make_dataclass("Merged", parts, frozen=True)


def options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters of a dataclass are options, one for each field with a help.

    A parameter ``given: Annotated[Given, SomeSettings]`` gets what stands on the command line, one
    of a dataclass an instance of it. Instead of a class settings may stand there, whose values are
    the defaults. A :class:`Recipe` may follow, whose defaults are shown too.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: group for name, hint in hints.items() if (group := _group(hint)) is not None}
    parameters = [_parameter("ctx", typer.Context)]
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            known = [knob for knob in knobs(groups[name]).values() if knob.help]
            for each in get_args(hints[name]):
                if isinstance(each, Settings):
                    known = [replace(knob, default=getattr(each, knob.name)) for knob in known]
            recipes = [each for each in get_args(hints[name]) if isinstance(each, Recipe)]
            parameters += [_parameter(knob.name, *_option(knob, *recipes)) for knob in known]
        else:
            parameters.append(_parameter(name, hints[name], parameter.default))

    @functools.wraps(command)
    def run(ctx: typer.Context, **values: Any) -> None:
        for name, group in groups.items():
            found = {
                knob.name: _plain(knob, values.pop(knob.name))
                for knob in knobs(group).values()
                if knob.help
            }
            if hints[name] is group:
                values[name] = group(**found)
            else:
                values[name] = {each: value for each, value in found.items() if _stands(ctx, each)}
        command(**values)

    run.__dict__["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _group(hint: Any) -> Any:
    """The dataclass whose fields are meant, if any."""
    of_given = get_args(hint)[1:] if get_args(hint)[:1] == (Given,) else (hint,)
    kinds = (type(each) if isinstance(each, Settings) else each for each in of_given)
    return next((each for each in kinds if isinstance(each, type) and is_dataclass(each)), None)


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> Any:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _option(knob: Knob, *recipes: Recipe) -> tuple[Any, Any]:
    """Annotation and default; a bool that is on unless told otherwise takes 0 or 1."""
    default, low, high = knob.default, knob.low, knob.high
    kind: Any = knob.kind
    if knob.choices:
        choices = {choice: choice for choice in knob.choices}
        kind = cast(Any, Enum)(knob.name, choices, type=str)
        default = kind(default) if default is not None else None
    elif kind is bool and default and "/" not in knob.names:
        kind, default, low, high = int, 1, 0, 1
    low, high = (None if abs(limit or 0) > LARGEST_SHOWN else limit for limit in (low, high))
    others = [
        f"{knob.default}, or {other} {recipe.when}"
        for recipe in recipes
        if (other := getattr(recipe.settings, knob.name)) not in (None, knob.default)
    ]
    option = typer.Option(
        *knob.spellings,
        min=low,
        max=high,
        help=knob.help,
        rich_help_panel=knob.panel,
        metavar=knob.metavar,
        show_default=others[0] if others else True,
        hidden=knob.hidden,
    )
    return Annotated[kind | None if knob.optional else kind, option], default


def _plain(knob: Knob, value: Any) -> Any:
    if knob.kind is bool:
        return bool(value)
    return value.value if knob.choices and value is not None else value


def _stands(ctx: typer.Context, name: str) -> bool:
    """Whether the option stands on the command line (and is not a default)."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def check_folder(name: str, folder: Path) -> None:
    """BadParameter unless this can be a folder to write into."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise typer.BadParameter(f"{name} must be a folder, and {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"{name} must be a folder to write to, and {there} is not")


def check_files(*paths: Path | None) -> None:
    """BadParameter unless these can be files to write."""
    for path in filter(None, paths):
        if not path.parent.is_dir():
            raise typer.BadParameter(f"there is no folder {path.parent} for {path.name}")
        if path.is_dir():
            raise typer.BadParameter(f"{path} must be a file, and is a folder")
        # A file is replaced by a new one in its folder; devices and pipes are written to.
        replaced = path.is_file() or not path.exists()
        if not os.access(path.resolve().parent if replaced else path, os.W_OK):
            raise typer.BadParameter(f"{path} must be a file to write, and may not be written")
