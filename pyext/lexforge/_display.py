"""What reaches a screen: words that cannot command it, lines that may fail, tables in notebooks."""

from __future__ import annotations

import html
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

# What terminals obey from C1 on, breaks of lines, marks that turn the direction of writing
# (embeddings, overrides, isolates), and halves of characters, which cannot be written at all.
_UNSAFE = "\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROLS = re.compile(f"[\x00-\x1f{_UNSAFE}]")
_CONTROLS_IN_JSON = re.compile(f"[{_UNSAFE}]")  # which has escapes for the others


def printable(value: object) -> str:
    """The text of a value on one line, what a terminal would obey in it as Python's escapes."""
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], str(value))


def readable(value: object) -> str:
    """The same of a text of several lines: breaks of lines and tabs stay."""
    return _CONTROLS.sub(
        lambda found: found[0] if found[0] in "\n\t" else printable(found[0]), str(value)
    )


def printable_json(text: str) -> str:
    """The same JSON, what a terminal would obey in it as JSON's escapes."""
    return _CONTROLS_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shell_command(*words: object) -> str:
    """A command line to be shown, and pasted: each word is one word of the shell."""
    return printable(shlex.join(map(str, words)))


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether someone may be looking at it; a closed stream is none."""
    return stream is not None and not stream.closed and stream.isatty()


def shown(value: object) -> str:
    """For standard output: as it is for other programs, :func:`printable` on a terminal."""
    return printable(value) if is_terminal(sys.stdout) else str(value)


def write_line(stream: IO[str] | None, text: str) -> bool:
    """One line, at once; whether it was written: the stream may be closed, or its disk full."""
    if stream is None:
        return False
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):
        return False
    return True


# -- notebooks ------------------------------------------------------------------------------------


def notebook() -> Any:
    """IPython's shell where it serves a notebook, else None; IPython is never imported."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return None if getattr(shell, "kernel", None) is None else shell


class LiveOutput:
    """A place in a notebook's output whose content changes."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, content: Mapping[str, str]) -> None:
        """Put this there: by MIME type, the notebook takes what it shows best."""
        if self._handle is None:
            from IPython.display import display

            self._handle = display(dict(content), raw=True, display_id=True)
        else:
            self._handle.update(dict(content), raw=True)


def html_table(
    rows: Iterable[Sequence[object]], columns: Sequence[str] = (), caption: str = ""
) -> str:
    """A table for ``_repr_html_``; whatever its cells hold is shown, not obeyed.

    Args:
        rows: Of cells; floats are shown with 4 digits after the point.
        columns: Their headings; none for rows that begin with their own.
    """
    heading = "".join(f"<th>{_cell(column)}</th>" for column in columns)
    tag = "td" if columns else "th"
    lines = [
        f"<tr><{tag}>{_cell(first)}</{tag}>{''.join(f'<td>{_cell(x)}</td>' for x in rest)}</tr>"
        for first, *rest in rows
    ]
    return "".join(
        [
            "<table>",
            f"<caption>{_cell(caption)}</caption>" if caption else "",
            f"<thead><tr>{heading}</tr></thead>" if heading else "",
            f"<tbody>{''.join(lines)}</tbody></table>",
        ]
    )


def _cell(value: object) -> str:
    return html.escape(printable(f"{value:.4f}" if isinstance(value, float) else value))
