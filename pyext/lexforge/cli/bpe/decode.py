"""``lexforge bpe decode``: ids as text."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from lexforge._files import replacing
from lexforge.cli._corpus import STANDARD_INPUT, refuse_overwriting
from lexforge.cli._options import check_files
from lexforge.cli.bpe.encode import Model

_IDS = 1 << 20  # decoded at a time


def decode(
    model: Model,
    ids: Annotated[
        str,
        typer.Argument(help="File of npy, or of lines of ids; - for such lines on standard input."),
    ] = "-",
    out: Annotated[
        Path | None, typer.Option("--out", help="File for the text; standard output by default.")
    ] = None,
    skip_special: Annotated[
        bool, typer.Option("--skip-special", help="Leave out special tokens.")
    ] = False,
) -> None:
    """Turn ids back into text: a file of npy as a whole, else each line of ids as a line.

    Examples:

    - `lexforge bpe decode tokens ids.npy --out text.txt`
    - `echo "15496 995" | lexforge bpe decode gpt2`
    """
    from lexforge.text.tokenizers.bpe import BPETokenizer

    check_files(out)
    refuse_overwriting(ids, (out,))
    tokenizer = BPETokenizer.load(model)
    with contextlib.ExitStack() as stack:
        target = sys.stdout.buffer if out is None else stack.enter_context(replacing(out))
        for part in _parts(ids):
            numbers, end = part
            target.write(tokenizer.decode_bytes(numbers, skip_special_tokens=skip_special) + end)
        target.flush()


def _parts(source: str):
    """Ids, and what comes behind their text."""
    import numpy as np

    if source != STANDARD_INPUT:
        with open(source, "rb") as file:
            is_array = file.read(6) == b"\x93NUMPY"
        if is_array:
            try:
                numbers = np.load(source, mmap_mode="r")
            except ValueError as error:
                raise ValueError(f"{source}: is truncated or damaged: {error}") from error
            if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
                raise ValueError(
                    f"{source}: must be whole numbers [n], got {numbers.dtype} {numbers.shape}"
                )
            for begin in range(0, len(numbers), _IDS):
                yield np.asarray(numbers[begin : begin + _IDS]), b""
            return
    with contextlib.ExitStack() as stack:
        given = source == STANDARD_INPUT
        lines = sys.stdin.buffer if given else stack.enter_context(open(source, "rb"))
        for number, line in enumerate(lines, 1):
            try:
                yield [int(word) for word in line.split()], b"\n"
            except ValueError:
                name = "standard input" if given else source
                raise ValueError(
                    f"{name}: line {number} must be ids between spaces, got {line[:80]!r}"
                ) from None
