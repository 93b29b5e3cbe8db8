"""Options from a TOML file, over which the command line goes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from lexforge.cli._options import Given
from lexforge.training.settings import Knob, knobs

ENDING = ".toml"
_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def split_sources(words: Sequence[str]) -> tuple[Path | None, str | None]:
    """The settings file and the other of the words before the options, where they are given.

    Raises:
        typer.BadParameter: two of a kind, or settings in Python, as nanoGPT has them.
    """
    for word in words:
        if word.endswith(".py"):
            raise typer.BadParameter(
                f"settings stand in a TOML file, of lines such as n_layer = 4, got {word}"
            )
    files = [word for word in words if word.endswith(ENDING)]
    others = [word for word in words if not word.endswith(ENDING)]
    for found in (files, others):
        if len(found) > 1:
            raise typer.BadParameter(f"there must be one of them, got {' '.join(found)}")
    return Path(files[0]) if files else None, others[0] if others else None


def add_settings(
    file: Path | None, groups: Mapping[type, Given], recipe: Mapping[str, Any] = {}
) -> None:
    """Put what a file says into what stands on the command line, which goes first.

    Args:
        file: TOML of options by their names, of any spelling, with dashes or underscores.
        groups: dataclasses of options, and what of them is given; added to.
        recipe: what goes behind both, by the names of fields.

    Raises:
        ValueError: a key that is no option (those of nearly its name are told), or a value of the
            wrong kind; names the file.
    """
    from lexforge.text.toml import read_toml

    known = {name: (group, knob) for group in groups for name, knob in _spelt(group)}
    if file is not None:
        for key, value in read_toml(file).items():
            name = key.replace("-", "_")
            if name not in known:
                near = difflib.get_close_matches(name, known, n=2)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise ValueError(f"{file}: there is no setting {key!r}{hint}")
            group, knob = known[name]
            groups[group].setdefault(knob.name, _plain(file, key, knob, value))
    for name, value in recipe.items():
        group, knob = known[name]
        groups[group].setdefault(knob.name, value)


def _spelt(group: type) -> Iterator[tuple[str, Knob]]:
    for knob in knobs(group).values():
        if knob.help:
            for spelling in (knob.name, *knob.spellings):
                yield spelling.partition("/")[0].lstrip("-").replace("-", "_"), knob


def _plain(file: Path, key: str, knob: Knob, value: Any) -> Any:
    kind = knob.kind
    fits = isinstance(value, bool) == (kind is bool) and isinstance(
        value, (int, float) if kind is float else kind if kind in _KINDS else str
    )
    if not fits:
        raise ValueError(f"{file}: {key} must be {_KINDS.get(kind, 'a text')}, got {value!r}")
    return Path(value) if issubclass(kind, Path) else knob.checked(str(file), value)
