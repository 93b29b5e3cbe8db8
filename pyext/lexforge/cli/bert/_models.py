"""What the commands that use a model share: its folder, and options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lexforge.models.bert.model import BertModel
    from lexforge.text.tokenizers.base import Encoder

Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="Folder with config.json, model.safetensors and its tokenizer.",
        show_default=False,
    ),
]
Ids = Annotated[
    bool,
    typer.Option(
        "--ids",
        help="Texts are token ids, without `<cls>` and `<sep>` (with them, if the folder has no "
        "tokenizer).",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


def load(folder: Path, device: str, ids: bool) -> tuple[BertModel, Encoder | None]:
    """The model of a folder on a device, and its tokenizer, which may be missing for ids.

    Raises:
        ValueError, OSError: what is missing or does not fit.
    """
    from lexforge._library import resolve_device
    from lexforge.models.bert.model import BertModel
    from lexforge.text.tokenizers.published import load_tokenizer
    from lexforge.training.checkpoint import read_parts

    if not folder.is_dir():
        raise typer.BadParameter(f"MODEL must be a folder, and {folder} is none")

    def tokenizer_of() -> Encoder | None:
        try:
            return load_tokenizer(folder)
        except FileNotFoundError as error:
            if ids:
                return None
            raise FileNotFoundError(f"{error}: give token ids (--ids)") from error

    tokenizer, model = read_parts(
        folder,
        (),
        lambda part: (tokenizer_of(), BertModel.from_pretrained(folder, heads=False)),
    )
    return model.to(resolve_device("bert", device)), tokenizer


def parse_ids(text: str, name: str) -> list[int]:
    """Token ids between spaces.

    Raises:
        ValueError: naming the text.
    """
    try:
        return [int(token) for token in text.split()]
    except ValueError:
        raise ValueError(f"{name} must be token ids, got {text!r}") from None
