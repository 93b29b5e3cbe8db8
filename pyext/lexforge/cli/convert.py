"""lexforge convert: vectors from one file format to another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from lexforge.cli import _vectors
from lexforge.cli._messages import tell
from lexforge.cli._options import check_files


def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="Vector file, or checkpoint folder.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="File to write.")],
    from_format: Annotated[
        str, typer.Option("--from", help="Format of IN; auto recognises it from the content.")
    ] = "auto",
    to_format: Annotated[
        str | None, typer.Option("--to", help="Format of OUT; by its suffix when not given.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Convert the first rows only.")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, float16 or bfloat16 (safetensors); float32, float16 (npy)."),
    ] = None,
    errors: Annotated[
        str, typer.Option(help="Tokens that are not in the encoding: strict, replace or skip.")
    ] = "strict",
    encoding: _vectors.Encoding = "utf-8",
) -> None:
    """Convert word vectors between formats, and tell what the new file does not hold.

    Formats and their suffixes: text (.txt, .vec: word2vec and fastText text), binary (.bin:
    word2vec), glove (.glove: text without a header), safetensors, npy (words in NAME.vocab.txt
    beside it), projector (.tsv: TensorBoard, write only), checkpoint (a folder, read only).
    Text and binary files may be compressed: .gz, .bz2, .xz.

    Examples:

    - `lexforge convert glove.6B.50d.txt glove.bin`
    - `lexforge convert vectors.bin vectors.vec.gz --limit 100000`
    - `lexforge convert vectors.txt small.safetensors --dtype float16`
    - `lexforge convert vectors.bin tensors.tsv`
    """
    check_files(Path(target))

    from lexforge.vectors import save_vectors
    from lexforge.vectors.formats.files import format_by_suffix

    start = time.perf_counter()
    to_format = to_format or format_by_suffix(target)
    kv = _vectors.load(source, format=from_format, limit=limit, errors=errors, encoding=encoding)
    save_vectors(kv, target, to_format, dtype=dtype)
    seconds = time.perf_counter() - start
    size = f"{len(kv):,} words, {kv.vector_size} dimensions"
    tell(f"{target}: {size}, {seconds:.1f} s")
    for loss in _losses(kv, source, to_format, dtype):
        tell(f"not in the new file: {loss}")


def _losses(kv, source, format, dtype) -> list[str]:
    """What a file of that format leaves out of `source`, in words."""
    from pathlib import Path

    losses = []
    if Path(source).is_dir():
        losses.append("the output table and the training state, so training cannot go on from it")
    if "count" in kv.expandos and format in ("text", "binary", "glove"):
        losses.append("word counts (safetensors and npy keep them)")
    if dtype in ("float16", "bfloat16"):
        losses.append(f"precision beyond {dtype}")
    if Path(source).suffix == ".vec":
        losses.append("sub-word vectors, if this is a fastText file: already absent from a .vec")
    return losses
