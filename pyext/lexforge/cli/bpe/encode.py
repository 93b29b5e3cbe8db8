"""``lexforge bpe encode``: a text as ids."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lexforge._arguments import MAX_THREADS
from lexforge.cli._corpus import STANDARD_INPUT, refuse_overwriting
from lexforge.cli._options import check_files

Model = Annotated[
    Path,
    typer.Argument(help="Folder of `lexforge bpe train`, of GPT-2's files, or a tokenizer.json."),
]
_LINES = 1000  # encoded at a time


def encode(
    model: Model,
    text: Annotated[str, typer.Argument(help="Text file in UTF-8, or - for standard input.")] = "-",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File of npy for the ids of the whole text, int32."),
    ] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show tokens instead of ids.")] = False,
    ordinary: Annotated[
        bool, typer.Option("--ordinary", help="Special tokens are text as any other.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=MAX_THREADS, help="Threads.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")] = False,
) -> None:
    """Turn a text into the ids of its tokens.

    Without --out the ids of each line of text are written on a line, its end left out. With --out
    the text is one, ends of lines are tokens too, and its size is not limited by memory.

    Examples:

    - `echo "Hello world" | lexforge bpe encode tokens`
    - `lexforge bpe encode tokens corpus.txt --out ids.npy`
    """
    from lexforge.text.tokenizers.bpe import BPETokenizer
    from lexforge.training.progress import Progress, count

    check_files(out)
    refuse_overwriting(text, (out,))
    tokenizer = BPETokenizer.load(model)
    if out is None:
        _write_lines(tokenizer, text, tokens, not ordinary, workers)
        return
    if tokens:
        raise typer.BadParameter("--tokens: a file of npy holds ids; leave out --out")
    with Progress(not quiet) as progress:
        made = tokenizer.encode_file(
            sys.stdin.buffer if text == STANDARD_INPUT else text,
            out,
            special=not ordinary,
            workers=workers,
            progress=progress.phase("encoding"),
        )
        progress.say(f"{count(made)} ids")
        progress.say(f"  {out}")


def _write_lines(tokenizer, text: str, tokens: bool, special: bool, workers: int | None) -> None:
    import contextlib
    import itertools

    with contextlib.ExitStack() as stack:
        given = text == STANDARD_INPUT
        source = sys.stdin.buffer if given else stack.enter_context(open(text, "rb"))
        while lines := [line.rstrip(b"\r\n") for line in itertools.islice(source, _LINES)]:
            if tokens:
                shown = [
                    " ".join(tokenizer.tokenize(line.decode(errors="replace"))) for line in lines
                ]
            else:
                batch = tokenizer.encode_batch(lines, special=special, workers=workers)
                shown = [" ".join(map(str, ids.tolist())) for ids in batch]
            sys.stdout.buffer.write("".join(f"{line}\n" for line in shown).encode())
        sys.stdout.buffer.flush()
