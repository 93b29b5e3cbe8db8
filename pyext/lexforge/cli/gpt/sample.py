"""``lexforge gpt sample``: text that a GPT continues."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lexforge._display import is_terminal
from lexforge.cli._corpus import STANDARD_INPUT
from lexforge.cli._options import options
from lexforge.cli._vectors import short_warnings
from lexforge.cli.gpt._models import Model, UseOptions, load, write
from lexforge.training.settings import setting

SEPARATOR = "-" * 15  # nanoGPT's


@dataclass(frozen=True)
class SampleOptions(UseOptions):
    """Those of longer texts."""

    max_new_tokens: int = setting(500, "Most tokens to generate.", low=1)


@options
def sample(
    use: SampleOptions,
    model: Model,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT",
            help="Text to continue, or - for standard input, which is read without it, too.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="File of the text to continue.")
    ] = None,
    num_samples: Annotated[
        int, typer.Option("--num-samples", min=1, help="Texts to generate.")
    ] = 1,
) -> None:
    """Continue a text: it is written to standard output, and goes on as the tokens come.

    A text ends after --max-new-tokens, or where the model ends it. Of a file, or of standard input,
    a last line break is dropped. Without any text the model begins one. Several samples are
    generated together, and written one after the other.

    Examples:

    - `lexforge gpt sample model/ "To be, or not"`
    - `lexforge gpt sample model/ --num-samples 3 --max-new-tokens 100 --temperature 1`
    - `cat letter.txt | lexforge gpt sample model/ --top-p 0.9 --seed 1`
    """
    if prompt is not None and file is not None:
        raise typer.BadParameter("give PROMPT or --file, not both")
    use.check()
    text = _text(prompt, file)

    from lexforge.models.gpt.conversation import TextStream
    from lexforge.models.gpt.data import encode_text, end_id

    generator, known = load(model, use)
    end = end_id(known)
    begin = [] if text or end is None else [end]
    tokens = begin or encode_text(known, text or "\n").tolist()
    streams = [TextStream(known) for _ in range(num_samples)]
    later = [text] * num_samples  # of all but the first, which is written as it comes
    with short_warnings():
        steps = generator.steps(
            [tokens] * num_samples,
            use.max_new_tokens,
            seed=use.seed,
            **use.draws,
            stop=[] if end is None else [end],
        )
    write(text)
    for step in steps:
        for number, token in step:
            piece = "" if token == end else streams[number].push(token)
            if number == 0:
                write(piece)
            else:
                later[number] += piece
    write(f"{streams[0].finish()}\n")
    for stream, sampled in zip(streams[1:], later[1:], strict=True):
        write(f"{SEPARATOR}\n{sampled}{stream.finish()}\n")


def _text(prompt: str | None, file: Path | None) -> str:
    """What is to be continued; none at a terminal where nothing is given."""
    if file is not None:
        found = file.read_bytes()
    elif prompt == STANDARD_INPUT or (prompt is None and not is_terminal(sys.stdin)):
        found = sys.stdin.buffer.read()
    else:
        return prompt or ""
    try:
        text = found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file or 'standard input'}: must be UTF-8, got byte {found[error.start]:#x} "
            f"at {error.start + 1}"
        ) from None
    return text.replace("\r\n", "\n").removesuffix("\n")
