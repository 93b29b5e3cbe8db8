"""``lexforge fasttext dump``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lexforge.cli.fasttext._verbs import ModelFile, load, say, write

if TYPE_CHECKING:
    from lexforge.models.fasttext.original import Model


def dump(
    model: ModelFile,
    what: Annotated[str, typer.Argument(metavar="WHAT", help="args, dict, input or output.")],
) -> None:
    """What a model file is made of, as text.

    Examples:

    - `lexforge fasttext dump model.bin args`
    """
    parts: dict[str, Callable[[Model], None]] = {
        "args": _dump_args,
        "dict": _dump_words,
        "input": lambda loaded: _dump_matrix(loaded.file.input),
        "output": lambda loaded: _dump_matrix(loaded.file.output),
    }
    if what not in parts:
        raise typer.BadParameter(f"WHAT must be one of {', '.join(parts)}, got {what!r}")
    parts[what](load(model))


def _dump_args(model: Model) -> None:
    told = {"ova": "one-vs-all"}.get(model.loss, model.loss)
    kind = ("cbow", "sg", "sup")[model.file.model - 1]
    for name in ("dim", "ws", "epoch", "minCount", "neg", "wordNgrams"):
        say(f"{name} {getattr(model, name)}")
    say(f"loss {told}", f"model {kind}")
    for name in ("bucket", "minn", "maxn", "lrUpdateRate"):
        say(f"{name} {getattr(model, name)}")
    say(f"t {model.t:.6g}")


def _dump_words(model: Model) -> None:
    file = model.file
    say(str(len(file.words) + len(file.labels)))
    for words, counts, kind in (
        (file.words, file.counts, b"word"),
        (file.labels, file.label_counts, b"label"),
    ):
        for number, count in enumerate(counts.tolist()):
            write(b"%b %d %b\n" % (words[number], count, kind))


def _dump_matrix(matrix: Any) -> None:
    from lexforge.vectors.quantised import QuantizedMatrix

    if isinstance(matrix, QuantizedMatrix):
        raise ValueError("dump: a quantized model's matrices are codes, not numbers")
    say(f"{matrix.shape[0]} {matrix.shape[1]}")
    row_format = " ".join(["%.6g"] * matrix.shape[1]) + "\n"
    for row in matrix:
        write((row_format % tuple(row.tolist())).encode())
