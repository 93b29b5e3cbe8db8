"""Files of TensorBoard's projector: rows of numbers, and the words (and more) in a file beside it.

tensors.tsv    numbers with tabs between them, a row for each word, no header
metadata.tsv   the words, one a line; or several columns with tabs between them, whose first
               line has their names
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np

from lexforge import _text
from lexforge._compressed import SUFFIXES
from lexforge._files import replacements
from lexforge.text.lines import join_lines, read_lines
from lexforge.vectors.formats.arrays import Table
from lexforge.vectors.formats.rows import NUMBER_CHARACTERS, read_rows

WORDS = ("token", "tokens", "word", "words", "label", "name")  # of the column with them
COUNTS = ("count", "counts")
_BLOCK_ROWS = 65536
_TOKEN = b"x\t"  # in front of each row, for the reader of rows with words


def write_projector(path: Path, table: Table, *, threads: int) -> None:
    """Write both files; ``tensors.tsv`` gets ``metadata.tsv``, ``NAME.tsv`` ``NAME.metadata.tsv``.

    Tabs and line breaks in words become spaces, and counts a second column.
    """
    words = [word.translate({9: " ", 10: " ", 13: " "}) for word in table.words]
    if table.counts is not None:
        counts = zip(words, table.counts.tolist(), strict=True)
        words = ["token\tcount", *(f"{word}\t{count}" for word, count in counts)]
    with (
        replacements(path, _metadata_places(path)[0]) as (numbers, metadata),
        open(numbers, "wb") as file,
    ):
        metadata.write_bytes(join_lines(words))
        for start in range(0, len(table.words), _BLOCK_ROWS):
            rows = np.ascontiguousarray(table.vectors[start : start + _BLOCK_ROWS], np.float32)
            some = table.words[start : start + _BLOCK_ROWS]
            for part in _text.format_text_rows(
                some, rows, separator="\t", with_words=False, threads=threads
            ):
                file.write(part)


def is_projector(path: Path, head: bytes) -> bool:
    """Whether a file that begins so has numbers alone in its first row, and words beside it."""
    fields = head.partition(b"\n")[0].rstrip(b"\r").split(b"\t")
    numbers = all(NUMBER_CHARACTERS.fullmatch(field) for field in fields)
    return numbers and any(place.is_file() for place in _metadata_places(path))


def read_projector(
    path: Path,
    stream: IO[bytes],
    head: bytes,
    *,
    limit: int | None,
    errors: str,
    encoding: str,
    allow_nonfinite: bool,
    threads: int,
) -> Table:
    """Both files; `stream` is ``tensors.tsv`` behind `head`, arguments as of ``read_rows``.

    The words are in a column of one of these names: `WORDS`, else in the first; `COUNTS` are taken
    from theirs. Other columns become attributes of the words, as text.

    Raises:
        ValueError: naming the file; a metadata file is missing or has another number of rows.
    """
    places = _metadata_places(path)
    beside = next((place for place in places if place.is_file()), None)
    if beside is None:
        names = ", ".join(place.name for place in places)
        raise ValueError(f"the words are missing: none of {names} is beside it")
    named = _Named(stream)
    _, vectors = read_rows(
        named,  # type: ignore[arg-type]  # it can be read
        named.with_tokens(head),
        "glove",
        limit=limit,
        errors=errors,
        encoding=encoding,
        allow_nonfinite=allow_nonfinite,
        threads=threads,
    )
    lines = read_lines(beside, encoding=encoding, errors=errors)
    columns = _columns(beside, lines)
    rows = len(vectors)
    found = len(next(iter(columns.values())))
    if found != rows and (limit is None or rows < limit or found < rows):
        raise ValueError(f"{rows} rows of vectors, but {found} words in {beside.name}")
    columns = {name: values[:rows] for name, values in columns.items()}
    first = next(iter(columns))
    words = columns.pop(next((name for name in columns if name.lower() in WORDS), first))
    counts = None
    for name in [name for name in columns if name.lower() in COUNTS]:
        if all(value.isascii() and value.isdigit() and len(value) < 19 for value in columns[name]):
            counts = np.array(columns.pop(name), dtype=np.int64)
            break
    attributes = {name: np.array(values, dtype=object) for name, values in columns.items()}
    return Table(words, vectors, counts, attributes)


def _columns(path: Path, lines: list[str]) -> dict[str, list[str]]:
    """The columns of a metadata file by name; one alone has none."""
    if not lines or "\t" not in lines[0]:
        return {"": lines}
    names = lines[0].split("\t")
    if len(set(names)) < len(names):
        raise ValueError(f"{path.name}: columns must have different names, got {names}")
    cells = [line.split("\t") for line in lines[1:]]
    for number, row in enumerate(cells, 2):
        if len(row) != len(names):
            raise ValueError(
                f"{path.name}: line {number} must have {len(names)} columns, got {len(row)}"
            )
    return {name: [row[place] for row in cells] for place, name in enumerate(names)}


def _metadata_places(path: Path) -> list[Path]:
    """Where the words of a file of numbers may be; they are written to the first."""
    stem = Path(path.stem).stem if path.suffix in SUFFIXES else path.stem
    alike = [f"{stem.replace(word, 'metadata')}.tsv" for word in ("tensors", "tensor", "vectors")]
    own = [] if stem == "tensors" else [f"{stem}.metadata.tsv"]
    names = [*own, *(name for name in alike if name != f"{stem}.tsv"), "metadata.tsv"]
    return [path.with_name(name) for name in dict.fromkeys(names) if name != path.name]


class _Named:
    """A stream of rows of numbers, with a token in front of each."""

    def __init__(self, stream: IO[bytes]):
        self._stream, self._at_start = stream, True

    def read(self, size: int = -1) -> bytes:
        return self.with_tokens(self._stream.read(size))

    def with_tokens(self, block: bytes) -> bytes:
        if not block:
            return block
        text = block.replace(b"\n", b"\n" + _TOKEN)
        text = _TOKEN + text if self._at_start else text
        self._at_start = block.endswith(b"\n")
        return text.removesuffix(_TOKEN) if self._at_start else text
