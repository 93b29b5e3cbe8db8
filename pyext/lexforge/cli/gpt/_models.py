"""What the commands that use a GPT share: its folder, and options."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lexforge._arguments import MAX_THREADS
from lexforge._display import is_terminal, readable
from lexforge.training.settings import setting

if TYPE_CHECKING:
    from lexforge.models.gpt.generation import Generator
    from lexforge.text.tokenizers.base import Tokenizer


Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="Folder of the model and its tokenizer, or nanoGPT's ckpt.pt.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class UseOptions:
    """What every use of a model has; another use may have another `max_new_tokens`."""

    max_new_tokens: int = setting(200, "Most tokens to generate.", low=1)
    temperature: float = setting(
        0.8, "Below 1 likely tokens become likelier; 0 takes the likeliest.", low=0
    )
    top_k: int = setting(200, "Draw from the so many likeliest; 0 for all.", low=0)
    top_p: float = setting(
        1.0, "Draw from the fewest likeliest whose probabilities add up to this.", low=0, high=1
    )
    seed: int = setting(1337, "Of the draws.")
    tokenizer: Path | None = setting(None, "Folder of the tokenizer, if MODEL has none.")
    precision: str = setting(
        "float32", "bf16 is faster where the processor has it.", choices=("float32", "bf16")
    )
    device: str = setting("auto", "auto, cpu or cuda.")
    workers: int | None = setting(None, "Threads; all by default.", low=1, high=MAX_THREADS)

    def check(self) -> None:
        """BadParameter for what the limits do not say."""
        if self.top_p == 0:
            raise typer.BadParameter("--top-p must be above 0, got 0")

    @property
    def draws(self) -> dict[str, Any]:
        """How tokens are drawn, as :func:`lexforge.gpt.generate` takes it."""
        top_k = self.top_k or None
        return {"temperature": self.temperature, "top_k": top_k, "top_p": self.top_p}


def load(model: Path, use: UseOptions) -> tuple[Generator, Tokenizer]:
    """The model of a folder, ready to generate, and its tokenizer.

    Raises:
        ValueError, OSError: what is missing or does not fit.
    """
    import torch

    from lexforge._library import kernel_threads, resolve_device
    from lexforge.models.gpt.files import read_tokenizer
    from lexforge.models.gpt.generation import Generator
    from lexforge.models.gpt.model import GPT

    place = resolve_device("gpt", use.device)
    if use.workers is not None:
        torch.set_num_threads(kernel_threads(use.workers))
    gpt = GPT.from_pretrained(model)
    if use.tokenizer is not None:
        gpt.tokenizer = read_tokenizer(use.tokenizer)
    if gpt.tokenizer is None:
        raise ValueError(
            f"{use.tokenizer or model} has no tokenizer: say where one is, --tokenizer FOLDER"
        )
    dtype = torch.bfloat16 if use.precision == "bf16" else torch.float32
    return Generator(gpt.to(place), dtype=dtype), gpt.tokenizer


def write(text: str) -> None:
    """On standard output, at once; a terminal does not obey it."""
    sys.stdout.write(readable(text) if is_terminal(sys.stdout) else text)
    sys.stdout.flush()
