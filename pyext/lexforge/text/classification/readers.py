"""Labelled texts from files: folders of classes, tables, JSON lines, and data sets by name.

All give rows, one at a time, which `_gathered` turns into :class:`LabelledTexts`.
"""

from __future__ import annotations

import csv
import logging
import os
import re
import tarfile
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lexforge._arguments import one_of
from lexforge._compressed import unpacked
from lexforge.text import datasets
from lexforge.text.classification.texts import (
    INFERENCE,
    LabelledTexts,
    class_names,
    ordered_names,
)
from lexforge.text.corpus import Corpus
from lexforge.text.files import UTF8, check_text
from lexforge.text.lines import decode_text, parse_json

FORMS = ("csv", "tsv", "jsonl", "lines")
Column = str | int

_LOGGER = logging.getLogger("lexforge")
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv"} | dict.fromkeys(
    (".jsonl", ".ndjson", ".json"), "jsonl"
)
_PACKED = re.compile(r"\.(gz|bz2|xz|zip)$", re.IGNORECASE)
_ARCHIVE = re.compile(r"\.(tar(\.(gz|bz2|xz))?|tgz|tbz2?|txz)$", re.IGNORECASE)
# What columns are usually called, the likelier name first.
_TEXTS: tuple[tuple[str, str | None], ...] = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("text", None),
    ("sentence", None),
    ("review", None),
)
_LABELS = ("gold_label", "label", "sentiment", "class")
_GOLD, _UNDECIDED = "gold_label", "-"  # what the judges of a pair did not agree on
_PARSE = "_binary_parse"
_ORIGINAL = "sentence1_parse"  # a column that tells files of SNLI and MultiNLI in their first form
_IMDB = {"neg": "negative", "pos": "positive"}
_CLASSES = {"imdb": ("negative", "positive"), "snli": INFERENCE, "mnli": INFERENCE}
_UNLABELLED = "unsup"  # a folder of texts beside those of classes
# How many texts the data sets have; a file that stands in for one may hold fewer.
_SIZES = {
    "imdb": {"train": 25_000, "test": 25_000, "unsup": 50_000},
    "snli": {"train": 549_367, "dev": 9_842, "test": 9_824},
    "mnli": {"train": 392_702, "matched": 9_815, "mismatched": 9_832},
}
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


class _Row(NamedTuple):
    path: str
    line: int  # from 1; 0: the whole file
    first: str
    second: str | None
    label: str | None

    @property
    def place(self) -> str:
        return f"{self.path}: line {self.line}" if self.line else self.path


@dataclass(frozen=True)
class _Wanted:
    """What is to be read, and how; arguments of :func:`read_labelled`."""

    owner: str
    text: Column | None
    second: Column | None
    label: Column | None
    labelled: bool
    form: str | None
    quotes: bool | None
    encoding: str
    errors: Literal["strict", "replace"]


def read_labelled(
    source: str | os.PathLike | Sequence[str | os.PathLike],
    split: str | None = None,
    *,
    text: Column | None = None,
    second: Column | None = None,
    label: Column | None = None,
    names: Sequence[str] | None = None,
    empty: Literal["drop", "keep", "refuse"] = "drop",
    form: str | None = None,
    quotes: bool | None = None,
    encoding: str = UTF8,
    errors: Literal["strict", "replace"] = "strict",
) -> LabelledTexts:
    """Texts, or pairs of texts, and their classes.

    A source is one of these, or a list of them, which are read one after the other:

    - a data set, "imdb", "snli" or "mnli": found through LEXFORGE_DATA, in the cache, or
      downloaded; with a split, also as "imdb:test".
    - a folder with a folder per class, each of which holds a file per text, or the same below
      folders "train", "test" and so on, as IMDb has it ("neg" is the class negative, "pos"
      positive). Or such a tree in a tar archive, also compressed, which is read as it lies.
    - a table with a header, separated by commas (.csv) or tabs (.tsv); SNLI and MultiNLI as they
      are published, tab-separated or as JSON lines; any JSON lines (.jsonl), or one JSON array of
      objects. May be compressed; an archive of several files must be unpacked.

    Pairs that have no gold label ("-" in that column) are left out, and their number goes to the
    log. A column of parses (sentence1_binary_parse) gives its words without the parentheses.

    Args:
        source: see above.
        split: of a data set or folder; "train" by default where there are splits.
        text, second, label: columns, by their names in the header or keys of JSON; by numbers from
            0 where there is no header. By default those with a usual name: sentence1 and sentence2,
            premise and hypothesis, text, sentence or review; gold_label, label, sentiment or class.
            Without `second` a given `text` is no pair.
        names: of all classes in the order of their numbers. By default entailment, contradiction,
            neutral where there are no others; else those that are there, sorted, numbers by size.
        empty: what becomes of texts, also one of a pair, that are nothing but white space: "drop"
            leaves them out with a warning that tells how many, "refuse" raises.
        form: of files: "csv", "tsv" or "jsonl"; by default what the name says, else the first line.
        quotes: whether double quotes may be around columns. By default they may in CSV; in
            tab-separated files, of which there are both kinds, they belong to the text but around
            one with doubled quotes in it.
        encoding: of the text.
        errors: "replace" puts U+FFFD for bytes that are not in the encoding, "strict" raises.

    Returns:
        The texts; files are read once, as a stream.

    Raises:
        FileNotFoundError: no such source or split.
        ValueError: naming the file and the line: a column is not there (names those that are), a
            row has more or fewer columns than the header, a label is missing or none of `names`,
            text is not in the encoding, there is no text at all or one class alone.
        ConnectionError: a download failed.
    """
    wanted = _Wanted(
        "read_labelled", text, second, label, True, form, quotes, encoding, errors
    )  # fmt: skip
    one_of("read_labelled", "empty", empty, ("drop", "keep", "refuse"))
    return _gathered(source, split, wanted, names, empty)


def read_texts(
    source: str | os.PathLike | Sequence[str | os.PathLike],
    split: str | None = None,
    *,
    text: Column | None = None,
    second: Column | None = None,
    form: str | None = None,
    quotes: bool | None = None,
    encoding: str = UTF8,
    errors: Literal["strict", "replace"] = "strict",
) -> LabelledTexts:
    """Texts, or pairs of texts, without classes, such as are to be predicted.

    Sources and arguments are those of :func:`read_labelled`, and the form "lines" too: a text a
    line, as which files are read whose names and first lines say nothing else. "imdb:unsup" are
    the 50,000 unlabelled reviews. Labels need not be there and are not looked at; empty texts stay.
    """
    wanted = _Wanted("read_texts", text, second, None, False, form, quotes, encoding, errors)
    return _gathered(source, split, wanted, None, "keep")


# -- from rows to texts ---------------------------------------------------------------------------


def _gathered(
    source: Any,
    split: str | None,
    wanted: _Wanted,
    names: Sequence[str] | None,
    empty: str,
) -> LabelledTexts:
    if wanted.form is not None:
        one_of(wanted.owner, "form", wanted.form, FORMS[:-1] if wanted.labelled else FORMS)
    one_of(wanted.owner, "errors", wanted.errors, ("strict", "replace"))
    if names is None and wanted.labelled and isinstance(source, str):
        names = _CLASSES.get(source.partition(":")[0])
    if names is not None:
        names = class_names(wanted.owner, names)
        if len(names) < 2:
            raise ValueError(f"{wanted.owner}: names must be of at least 2 classes, got {names!r}")
    first: list[str] = []
    seconds: list[str] = []
    labels: list[str] = []
    said: dict[str, str] = {}  # each label once: not a str per text
    left_out, where, undecided, pairs = 0, "", 0, None
    for row in _rows(source, split, wanted):
        if pairs is None:
            pairs = row.second is not None
        elif pairs != (row.second is not None):
            raise ValueError(
                f"{row.place}: must hold {_kind(pairs)} as before, not {_kind(not pairs)}"
            )
        if wanted.labelled and row.label is not None:
            if row.label == _UNDECIDED and (names is None or _UNDECIDED not in names):
                undecided += 1
                continue
            if names is not None and row.label not in names:
                raise ValueError(
                    f"{row.place}: label must be one of {', '.join(names)}, got {row.label!r}"
                )
        if empty != "keep" and not (
            row.first.strip() and (row.second is None or row.second.strip())
        ):
            if empty == "refuse":
                raise ValueError(f"{row.place}: the text is empty")
            left_out, where = left_out + 1, where or row.place
            continue
        first.append(row.first)
        if row.second is not None:
            seconds.append(row.second)
        if wanted.labelled:
            labels.append(said.setdefault(str(row.label), str(row.label)))
    name = _shown(source)
    if left_out:
        warnings.warn(
            f"{name}: {left_out:,} empty texts are left out, the first one in {where}", stacklevel=3
        )
    if undecided:
        _LOGGER.info("%s: %s pairs without a gold label are left out", name, f"{undecided:,}")
    if not first:
        raise ValueError(f"{name}: holds no texts" + (" that have a label" if undecided else ""))
    held = seconds if pairs else None
    if not wanted.labelled:
        return LabelledTexts(first, held)
    if names is None:
        names = ordered_names(said)
        if len(said) == 1:
            raise ValueError(
                f"{name}: must hold at least 2 classes, got {len(first):,} texts of {labels[0]!r} "
                "alone (in Python names= tells of others)"
            )
    number = {label: row for row, label in enumerate(names)}
    numbers = np.fromiter((number[label] for label in labels), np.int64, len(labels))
    return LabelledTexts(first, held, numbers, tuple(names))


def _kind(pairs: bool) -> str:
    return "pairs" if pairs else "single texts"


def _shown(source: Any) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return ", ".join(os.fspath(each) for each in source)


# -- sources --------------------------------------------------------------------------------------


def _rows(source: Any, split: str | None, wanted: _Wanted) -> Iterator[_Row]:
    if not isinstance(source, (str, os.PathLike)):
        sources = list(source) if isinstance(source, Iterable) else [source]
        if not sources or not all(isinstance(each, (str, os.PathLike)) for each in sources):
            raise TypeError(
                f"{wanted.owner}: source must be a data set's name, a path or a list of them, "
                f"got {source!r:.80}"
            )
        for each in sources:
            yield from _rows(each, split, wanted)
        return
    if isinstance(source, str) and source.partition(":")[0] in datasets.names("classification"):
        yield from _named(source, split, wanted)
        return
    path = Path(source)
    if path.is_dir():
        yield from _folder(path, split, wanted)
    elif not path.exists():
        known = ", ".join(datasets.names("classification"))
        raise FileNotFoundError(
            f"{wanted.owner}: no such file or folder: {path} (data sets: {known})"
        )
    elif _ARCHIVE.search(path.name):
        yield from _archive(path, split, wanted)
    elif split is not None:
        raise ValueError(f"{wanted.owner}: split must be None for a file, got {split!r} for {path}")
    else:
        yield from _table(path, wanted)


def _named(source: str, split: str | None, wanted: _Wanted) -> Iterator[_Row]:
    """A data set; one that is not whole is told."""
    name, _, named = source.partition(":")
    split = split or named or next(iter(datasets.REGISTRY[name].files))
    if split == _UNLABELLED and wanted.labelled:
        raise ValueError(f"{wanted.owner}: {name}:{split} has no labels (read_texts reads it)")
    path = datasets.dataset_path(name, split)
    whole, count = _SIZES[name].get(split), 0
    inner = split if path.is_dir() or _ARCHIVE.search(path.name) else None
    for row in _rows(path, inner, wanted):
        count += 1
        yield row
    # Pairs without a gold label are not counted in `whole`, nor in files that lack them.
    if whole is not None and count < whole:
        warnings.warn(
            f"{name}:{split} has {whole:,} examples, and {path} holds {count:,} of them",
            stacklevel=4,
        )


def _folder(folder: Path, split: str | None, wanted: _Wanted) -> Iterator[_Row]:
    """A folder per class, below a split or at once; or a file per split."""
    if split is None and (folder / "train").is_dir():
        split = "train"
    inside = folder
    if split is not None:
        inside = folder / split
        if split == _UNLABELLED and not inside.is_dir():
            inside = folder / "train" / split
        if not inside.is_dir():
            yield from _table(_split_file(folder, split, wanted), wanted)
            return
    if split == _UNLABELLED and not wanted.labelled:
        yield from _files(inside, None, wanted)
        return
    classes = [path for path in _visible(inside) if path.is_dir() and path.name != _UNLABELLED]
    if not classes:
        file = _split_file(folder, "train", wanted) if split is None else None
        if file is None:
            raise ValueError(f"{inside}: must hold a folder per class, and holds none")
        yield from _table(file, wanted)
        return
    for path in classes:
        rows = _files(path, _class_of(path.name, [each.name for each in classes]), wanted)
        if (row := next(rows, None)) is None:
            raise ValueError(f"{path}: must hold the texts of a class, and holds no file")
        yield row
        yield from rows


def _files(folder: Path, label: str | None, wanted: _Wanted) -> Iterator[_Row]:
    for path in _visible(folder):
        if path.is_file():
            text = _decoded(str(path), path.read_bytes(), wanted)
            yield _Row(str(path), 0, text, None, label)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _class_of(folder: str, siblings: Collection[str]) -> str:
    """The class that a folder stands for."""
    return _IMDB[folder] if set(siblings) == set(_IMDB) else folder


def _decoded(path: str, data: bytes, wanted: _Wanted) -> str:
    return decode_text(data, path, encoding=wanted.encoding, errors=wanted.errors)


def _split_file(folder: Path, split: str, wanted: _Wanted) -> Path:
    """The table of a split: its name is the split, or ends with _split."""
    found: dict[str, Path] = {}
    for path in _visible(folder):
        stem, suffix = os.path.splitext(_PACKED.sub("", path.name))
        if path.is_file() and (stem == split or stem.endswith(f"_{split}")):
            found.setdefault(suffix, path)
    for suffix in (*_SUFFIXES, ".txt"):
        if suffix in found:
            return found[suffix]
    there = ", ".join(path.name for path in _visible(folder)[:10]) or "nothing"
    raise FileNotFoundError(
        f"{wanted.owner}: {folder} must hold a folder per class, or a folder or table "
        f"{split!r}; it holds {there}"
    )


def _archive(path: Path, split: str | None, wanted: _Wanted) -> Iterator[_Row]:
    """The texts of <split>/<class>/<file> in a tar archive, in the order of a folder's."""
    split = split or "train"
    unlabelled = split == _UNLABELLED and not wanted.labelled
    found: dict[str, list[tuple[str, str]]] = {}  # by class: name and text
    others: set[str] = set()
    with open(path, "rb") as raw, unpacked(raw, os.fspath(path)) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|") as archive:
                for member in archive:
                    *_, above, folder, name = (".", ".", *member.name.split("/"))
                    if not member.isfile() or name.startswith("."):
                        continue
                    unsup = folder == _UNLABELLED
                    if unsup if unlabelled else above == split and not unsup:
                        content = archive.extractfile(member)
                        assert content is not None  # it is a file
                        text = _decoded(f"{path}: {member.name}", content.read(), wanted)
                        found.setdefault(folder, []).append((member.name, text))
                    elif above != ".":
                        others.add(above)
        except (tarfile.TarError, OverflowError) as error:  # of a size that no file has
            raise ValueError(f"{path}: damaged or truncated tar file: {error}") from error
    if not found:
        there = ", ".join(sorted(others)[:10]) or "no such tree"
        raise ValueError(
            f"{path}: must hold {split}/<class>/<file>, and holds {there}; an archive of "
            "another kind must be unpacked"
        )
    for folder in sorted(found):
        label = None if unlabelled else _class_of(folder, found)
        for name, text in sorted(found[folder]):
            yield _Row(f"{path}: {name}", 0, text, None, label)


# -- tables ---------------------------------------------------------------------------------------


def _table(path: Path, wanted: _Wanted) -> Iterator[_Row]:
    if wanted.errors == "strict":
        check_text(path, wanted.encoding)  # which says more of what is no text at all
    corpus = Corpus(os.fspath(path), [path], encoding=wanted.encoding, errors=wanted.errors)
    with closing(corpus.lines()) as lines:  # type: ignore[type-var]  # a generator
        start = next(lines, None)
        if start is None:
            raise ValueError(f"{path}: the file is empty")
        form = wanted.form or _form(path, start, wanted)
        lines_again = chain([start], lines)
        if form == "lines":
            for number, line in enumerate(lines_again, 1):
                yield _Row(str(path), number, line.rstrip("\r\n"), None, None)
        elif form == "jsonl":
            array = start.lstrip().startswith("[")
            values = (_array_items if array else _line_items)(path, lines_again)
            yield from _objects(path, values, wanted)
        else:
            yield from _columns(path, form, lines_again, wanted)


def _form(path: Path, start: str, wanted: _Wanted) -> str:
    """What the name says, or else the first line."""
    suffix = os.path.splitext(_PACKED.sub("", path.name))[1].lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if start.lstrip().startswith(("{", "[{")) or start.strip() == "[":
        return "jsonl"
    columns = start.rstrip("\r\n").split("\t")
    asked = (wanted.text, wanted.second, wanted.label)
    if len(columns) > 1 and (wanted.labelled or asked != (None,) * 3 or _GOLD in columns):
        return "tsv"
    if not wanted.labelled and asked == (None,) * 3:
        return "lines"
    raise ValueError(
        f"{path}: must be a table or JSON lines; if it is one, form= is 'csv', 'tsv' or 'jsonl'"
    )


def _line_items(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, int, Any]]:
    """JSON lines: the place of each for messages, its line, and what it says."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"{path}: line {number}"
            yield place, number, parse_json(line, place)


def _array_items(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, int, Any]]:
    """One array of objects, which is read whole."""
    for number, found in enumerate(parse_json("".join(lines), path, list), 1):
        place = f"{path}: item {number}"
        if not isinstance(found, dict):
            raise ValueError(f"{place}: must be a JSON object, got {type(found).__name__}")
        yield place, 0, found


def _objects(path: Path, items: Iterable[tuple[str, int, Any]], wanted: _Wanted) -> Iterator[_Row]:
    """JSON, an object per text."""
    columns: list[Any] | None = None
    for place, number, found in items:
        if columns is None:
            columns = list(_chosen(place, list(found), wanted, "key"))
        values = []
        for column in columns:
            if column is not None and column not in found:
                raise ValueError(f"{place}: must have the key {column!r}, got {_listed(found)}")
            values.append(None if column is None else found[column])
        first, second, label = values
        for key, value in zip(columns[:2], (first, second), strict=True):
            if key is not None and not isinstance(value, str):
                raise ValueError(f"{place}: {key} must be a string, got {value!r:.60}")
        if wanted.labelled and (not isinstance(label, (str, int)) or label == ""):
            raise ValueError(f"{place}: label {columns[2]} is missing, got {label!r:.60}")
        yield _row(path, number, columns, (first, second, None if label is None else str(label)))


def _columns(path: Path, form: str, lines: Iterable[str], wanted: _Wanted) -> Iterator[_Row]:
    """A table."""
    records = _records(path, form, lines, wanted.quotes)
    given = [c for c in (wanted.text, wanted.second, wanted.label) if c is not None]
    by_number = bool(given) and all(isinstance(column, int) for column in given)
    header: list[str] = []
    chosen: tuple[Any, Any, Any] = wanted.text, wanted.second, wanted.label
    places: list[int | None] = []
    short = 0  # columns that a row must have
    for number, cells in records:
        place = f"{path}: line {number}"
        if not places:
            header = [cell.strip() for cell in cells]
            if by_number:
                header = [str(column) for column in range(len(cells))]
                chosen = tuple(None if c is None else str(c) for c in chosen)  # type: ignore[assignment]
                if wanted.text is None or (wanted.labelled and wanted.label is None):
                    missing = "text" if wanted.text is None else "label"
                    raise ValueError(f"{wanted.owner}: {missing} must be a column's number too")
            else:
                chosen = _chosen(place, header, wanted, "column")
            places = [None if c is None else _place(path, header, c) for c in chosen]
            # Those that SNLI and MultiNLI end with are missing in some rows.
            last = 1 + max(column for column in places if column is not None)
            short = last if _ORIGINAL in header else len(header)
            if not by_number:
                continue
        if not short <= len(cells) <= len(header):
            raise ValueError(
                f"{place} must have {len(header)} columns ({_listed(header)}), got {len(cells)}"
            )
        values = tuple(None if column is None else cells[column] for column in places)
        if wanted.labelled and not (values[2] or "").strip():
            raise ValueError(f"{place}: label is missing in column {chosen[2]}")
        yield _row(path, number, chosen, values)


def _row(path: Path, line: int, columns: Sequence[Any], values: Sequence[Any]) -> _Row:
    first, second, label = values
    texts = [
        without_parentheses(text) if str(column).endswith(_PARSE) else text
        for column, text in zip(columns[:2], (first, second), strict=True)
    ]
    return _Row(str(path), line, texts[0], texts[1], label and label.strip())


def without_parentheses(parse: str) -> str:
    """The words of a binary parse, a space between them."""
    return re.sub(r"\s{2,}", " ", parse.replace("(", "").replace(")", "")).strip()


def _records(
    path: Path, form: str, lines: Iterable[str], quotes: bool | None
) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row begins, and its columns."""
    if form == "tsv" and not quotes:
        for number, line in enumerate(lines, 1):
            if not (line := line.rstrip("\r\n")):
                continue
            cells = line.split("\t")
            yield number, cells if quotes is False or '""' not in line else [*map(_bare, cells)]
        return
    dialect: dict[str, Any] = {"delimiter": "\t" if form == "tsv" else ",", "strict": True}
    if quotes is False:
        dialect["quoting"] = csv.QUOTE_NONE
    reader = csv.reader(lines, **dialect)
    number = 1
    try:
        for cells in reader:
            if cells:
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}: line {number} must begin a row of {form.upper()}: {error}"
            + (" (csv.field_size_limit raises it)" if "field limit" in str(error) else "")
        ) from error


def _bare(cell: str) -> str:
    """A text without the quotes around it, if those inside it are doubled."""
    inside = _QUOTED.fullmatch(cell) if '""' in cell else None
    return inside[1].replace('""', '"') if inside else cell


def _chosen(place: str, header: Sequence[str], wanted: _Wanted, kind: str) -> tuple[Any, Any, Any]:
    """The columns of the texts and the label."""
    text, second, label = wanted.text, wanted.second, wanted.label
    for argument, column in (("text", text), ("second", second), ("label", label)):
        if column is not None and column not in header:
            raise ValueError(
                f"{place}: {argument} must be a {kind} of the file, got {column!r}; there are "
                f"{_listed(header)}"
            )
    if text is None:
        usual = ((a, b) for a, b in _TEXTS if a in header and (b is None or b in header))
        text, usual_second = next(usual, (None, None))
        if text is None:
            raise ValueError(
                f"{place}: no {kind} has a usual name of a text; name it (text=, --text) of "
                f"{_listed(header)}"
            )
        second = usual_second if second is None else second
    if label is None and wanted.labelled:
        label = next((name for name in _LABELS if name in header), None)
        if label is None:
            raise ValueError(
                f"{place}: no {kind} has a usual name of a label; name it (label=, --label) of "
                f"{_listed(header)}"
            )
    return text, second, label


def _place(path: Path, header: Sequence[str], column: str) -> int:
    if column not in header:  # a number
        raise ValueError(f"{path}: column {column} is not there: rows have {len(header)}, from 0")
    if header.count(column) > 1:
        raise ValueError(f"{path}: column {column!r} is there {header.count(column)} times")
    return header.index(column)


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 20} more" if len(listed) > 20 else ""
    return ", ".join(listed[:20]) + more
