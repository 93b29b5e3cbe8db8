"""What the commands that use a GPT share: its folder, and options."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexforge._arguments import MAX_THREADS
from lexforge._display import is_terminal, readable

if TYPE_CHECKING:
    from lexforge.models.gpt.generation import Generator
    from lexforge.text.tokenizers.base import Tokenizer


class Precision(str, Enum):
    """Of weights and activations."""

    FLOAT32 = "float32"
    BF16 = "bf16"


Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="Folder of the model and its tokenizer, or nanoGPT's ckpt.pt.",
        show_default=False,
    ),
]
TokenizerFolder = Annotated[
    Path | None,
    typer.Option("--tokenizer", help="Folder of the tokenizer, if MODEL has none."),
]
MaxNewTokens = Annotated[
    int,
    typer.Option("--max-new-tokens", min=1, help="Most tokens to generate."),
]
Temperature = Annotated[
    float,
    typer.Option(
        "--temperature", min=0, help="Below 1 likely tokens become likelier; 0 takes the likeliest."
    ),
]
TopK = Annotated[
    int,
    typer.Option("--top-k", min=0, help="Draw from the so many likeliest; 0 for all."),
]
TopP = Annotated[
    float,
    typer.Option(
        "--top-p",
        min=0,
        max=1,
        help="Draw from the fewest likeliest whose probabilities add up to this.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of the draws.")]
PrecisionOption = Annotated[
    Precision,
    typer.Option("--precision", help="bf16 is faster where the processor has it."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=MAX_THREADS, help="Threads; all by default."),
]


def load(
    model: Path, tokenizer: Path | None, precision: Precision, device: str, workers: int | None
) -> tuple[Generator, Tokenizer]:
    """The model of a folder, ready to generate, and its tokenizer.

    Raises:
        ValueError, OSError: what is missing or does not fit.
    """
    import torch

    from lexforge._library import kernel_threads, resolve_device
    from lexforge.models.gpt.files import read_tokenizer
    from lexforge.models.gpt.generation import Generator
    from lexforge.models.gpt.model import GPT

    place = resolve_device("gpt", device)
    if workers is not None:
        torch.set_num_threads(kernel_threads(workers))
    gpt = GPT.from_pretrained(model)
    if tokenizer is not None:
        gpt.tokenizer = read_tokenizer(tokenizer)
    if gpt.tokenizer is None:
        raise ValueError(
            f"{tokenizer or model} has no tokenizer: say where one is, --tokenizer FOLDER"
        )
    dtype = torch.bfloat16 if precision is Precision.BF16 else torch.float32
    return Generator(gpt.to(place), dtype=dtype), gpt.tokenizer


def write(text: str) -> None:
    """On standard output, at once; a terminal does not obey it."""
    sys.stdout.write(readable(text) if is_terminal(sys.stdout) else text)
    sys.stdout.flush()
