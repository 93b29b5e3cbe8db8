"""What a screen is shown of words, names and values of files."""

import html
import io
import json
import subprocess

import pytest

from lexforge._display import (
    html_table,
    is_terminal,
    notebook,
    printable,
    printable_json,
    shell_command,
    write_line,
)

ATTACKS = {
    "\x1b]0;owned\x07": r"\x1b]0;owned\x07",
    "\x9b2J": r"\x9b2J",
    "a\u202eb\u2066c": r"a\u202eb\u2066c",
    "a\nb\tc\rd\x08": r"a\nb\tc\rd\x08",
    "\x7f\x85\u2028\u2029": r"\x7f\x85\u2028\u2029",
    "\ud800": r"\ud800",
}
HARMLESS = ["naïve", "שלום", "می‌خواهم", "日本", "👩‍💻", "a b", r"\x1b"]


@pytest.mark.parametrize("text, expected", ATTACKS.items())
def test_printable(text, expected):
    assert printable(text) == expected
    assert printable(printable(text)) == expected


@pytest.mark.parametrize("text", HARMLESS)
def test_words_of_all_writing_systems_stay(text):
    assert printable(text) == text and json.loads(printable_json(json.dumps(text))) == text


@pytest.mark.parametrize("text", ATTACKS)
def test_json_is_the_same_json(text):
    shown = printable_json(json.dumps({text: [text]}, ensure_ascii=False, indent=2))
    assert json.loads(shown) == {text: [text]}
    assert printable(shown.replace("\n", "")) == shown.replace("\n", "")


@pytest.mark.parametrize("word", ["the", "o p; rm x", "it's", "$(x)", "-x", "*", ""])
def test_commands_can_be_pasted(word):
    line = shell_command("printf", "%s|", word)
    assert subprocess.run(line, shell=True, capture_output=True, text=True).stdout == f"{word}|"


def test_lines_that_cannot_be_written():
    closed = io.StringIO()
    closed.close()
    assert not write_line(None, "x") and not write_line(closed, "x")
    assert not is_terminal(None) and not is_terminal(closed)
    stream = io.StringIO()
    assert write_line(stream, "x") and stream.getvalue() == "x\n"


def test_tables_show_and_do_not_obey():
    table = html_table([("<b>", 0.51234), ("\x1b", 2)], ["word", "a&b"], "<i>")
    assert table.startswith("<table><caption>&lt;i&gt;</caption><thead>")
    assert "<th>a&amp;b</th>" in table and "<td>&lt;b&gt;</td><td>0.5123</td>" in table
    assert r"<td>\x1b</td><td>2</td>" in table
    assert html_table([("speed", "fast")]) == (
        "<table><tbody><tr><th>speed</th><td>fast</td></tr></tbody></table>"
    )
    assert html.unescape(table).count("<b>") == 1


def test_no_notebook_here(fake_notebook, monkeypatch):
    assert notebook() is not None
    monkeypatch.setitem(__import__("sys").modules, "IPython", None)
    assert notebook() is None
