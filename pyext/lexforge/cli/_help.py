"""The help of the commands: one column of names, one of explanations, readable at 80 columns."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

WIDEST = 100  # columns; longer lines are hard to read
LONGEST_NAME = 26  # columns of names with their values
LONGEST_CHOICES = 14  # of all choices, to stand there instead of a name
LARGEST_TOLD = 2**24  # limits beyond are nobody's concern
PANELS = {
    "Train": (
        "demo",
        "phrases",
        "bpe",
        "word2vec",
        "fasttext",
        "glove",
        "cooccurrence",
        "bert",
        "sentiment",
        "nli",
        "gpt",
    ),
    "Look": ("similar", "analogy", "ratios", "evaluate", "plot"),
    "Convert": ("convert",),
    "System": ("data", "info"),
}
NAMES_OF_TYPES = {"int": "N", "float": "X", "path": "PATH", "file": "PATH", "directory": "PATH"}


def is_argument(parameter: Any) -> bool:
    """Whether it has a place on the command line rather than a name."""
    return parameter.param_type_name == "argument"


def argument_name(parameter: Any) -> str:
    """Of an argument, as usage lines and errors have it: ``VECTORS``, ``WORD...``."""
    name = re.sub(r"[\[\].]", "", parameter.metavar or parameter.name).upper()
    return f"{name}..." if parameter.nargs == -1 else name


def spellings(option: Any) -> list[str]:
    """Of an option, long ones first."""
    return sorted(option.opts, key=lambda name: not name.startswith("--"))


def choices(parameter: Any) -> list[str]:
    """All values of a parameter that has not just any."""
    kind = getattr(parameter, "type_descriptor", None) or parameter.type
    return [str(getattr(each, "value", each)) for each in getattr(kind, "choices", None) or ()]


def print_help(command: Any, context: Any) -> None:
    """Usage, explanation, arguments, options and commands."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.padding import Padding
    from rich.table import Table

    console = Console(highlight=False)
    console.width = min(console.width, WIDEST)
    parameters = [each for each in command.get_params(context) if not getattr(each, "hidden", 0)]
    console.print(f"\n[bold]Usage:[/] {_usage(command, context, parameters)}\n", soft_wrap=True)
    if command.help:
        console.print(Markdown(inspect.cleandoc(command.help).partition("\f")[0]))
        console.print()
    sections: dict[str, list[tuple[str, Text]]] = {}
    for each in parameters:
        title = getattr(each, "rich_help_panel", None)
        title = title or ("Arguments" if is_argument(each) else "Options")
        sections.setdefault(title, []).append((_name(each, context), _explained(each, context)))
    first = {title: sections.pop(title) for title in ("Arguments",) if title in sections}
    last = {title: sections.pop(title) for title in ("Options",) if title in sections}
    sections = first | _commands(command, context) | sections | last
    longest = max((len(name) for rows in sections.values() for name, _ in rows), default=0)
    for title, rows in sections.items():
        table = Table.grid(padding=(0, 2))
        table.add_column(width=min(longest, LONGEST_NAME), overflow="fold", style="cyan")
        table.add_column(ratio=1)
        for row in rows:
            table.add_row(*row)
        console.print(f"[bold]{title}[/]")
        console.print(Padding(table, (0, 0, 1, 2)))


def _usage(command: Any, context: Any, parameters: Iterable[Any]) -> str:
    pieces = [
        argument_name(each) if each.required else rf"\[{argument_name(each)}]"
        for each in parameters
        if is_argument(each)
    ]
    end = ["COMMAND ..."] if hasattr(command, "commands") else [r"\[OPTIONS]"]
    return " ".join([context.command_path, *pieces, *end])


def _commands(group: Any, context: Any) -> dict[str, list[tuple[str, Text]]]:
    """Those of a group in their panels, each with its first sentence."""
    known = getattr(group, "commands", {})
    panel = {name: title for title, names in PANELS.items() for name in names}
    order = {name: number for number, name in enumerate(panel)}
    sections: dict[str, list[tuple[str, Text]]] = {}
    for name in sorted(known, key=lambda name: order.get(name, len(order))):
        title = panel.get(name, "Commands") if context.parent is None else "Commands"
        first, *_ = inspect.cleandoc(known[name].help or "").split("\n\n")
        sections.setdefault(title, []).append((name, _styled(first.replace("\n", " "))))
    return sections


def _name(parameter: Any, context: Any) -> str:
    """The first spelling and what follows it."""
    if is_argument(parameter):
        return argument_name(parameter)
    return f"{spellings(parameter)[0]} {_value(parameter, context)}".strip()


def _value(parameter: Any, context: Any) -> str:
    """What follows an option, in a word."""
    if parameter.metavar or _is_flag(parameter):
        return parameter.metavar or ""
    if values := "|".join(choices(parameter)):
        return values if len(values) <= LONGEST_CHOICES else "NAME"
    return NAMES_OF_TYPES.get(_type(parameter, context), "TEXT")


def _type(parameter: Any, context: Any) -> str:
    """Its kind in a word; versions of typer differ in where they keep it."""
    if hasattr(parameter, "display_type"):
        label = parameter.display_type(context)
    else:
        label = parameter.type.name
    (word,) = re.findall(r"[a-z]+", re.sub(r"list|range|integer", _shorter, label.lower()))[:1]
    return word


def _shorter(found: re.Match[str]) -> str:
    return "int" if found[0] == "integer" else ""


def _is_flag(parameter: Any) -> bool:
    return bool(getattr(parameter, "is_flag", False) or getattr(parameter, "is_bool_flag", False))


def _explained(parameter: Any, context: Any) -> Text:
    """The help, other spellings, and what is the case without it."""
    parts = [getattr(parameter, "help", None) or ""]
    if not is_argument(parameter):
        values = choices(parameter)
        if len("|".join(values)) > LONGEST_CHOICES:
            parts.append(f"One of {', '.join(values)}.")
        if others := spellings(parameter)[1:]:
            parts.append(f"Also {', '.join(others)}.")
        if parameter.secondary_opts:
            parts.append(f"Off with {parameter.secondary_opts[0]}.")
    text = _styled(" ".join(filter(None, parts)))
    notes = list(_notes(parameter, context))
    if notes:
        text.append(f" [{'; '.join(notes)}]", style="dim")
    return text


def _notes(parameter: Any, context: Any) -> Iterable[str]:
    """Default and limits, where they say something."""
    default = parameter.show_default
    if not isinstance(default, str):
        default = parameter.get_default(context, call=False) if default else None
    if default not in (None, (), []) and not isinstance(default, bool):
        yield f"default: {default.value if isinstance(default, Enum) else default}"
    kind = parameter if hasattr(parameter, "min") else getattr(parameter, "type", None)
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    if low is not None and high is not None and high <= LARGEST_TOLD:
        yield f"{low} to {high}"
    if parameter.required and not is_argument(parameter):
        yield "required"


def _styled(text: str) -> Text:
    """Text with what stands between backticks, and the names of options, in the colour of names."""
    from rich.text import Text

    parts = text.split("`")
    styled = Text.assemble(
        *((part, "cyan" if number % 2 else "") for number, part in enumerate(parts))
    )
    styled.highlight_regex(r"(?<![\w-])--?[a-z][\w-]+", "cyan")
    return styled
