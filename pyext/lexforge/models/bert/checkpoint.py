"""What a pretraining run keeps of its model, in its folder (training/network_checkpoint.py)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lexforge.models.bert.files import write_parts
from lexforge.models.bert.model import BertModel, contents
from lexforge.text.tokenizers.published import load_tokenizer
from lexforge.training.checkpoint import TENSORS, check_finite

if TYPE_CHECKING:
    from lexforge.text.tokenizers.base import Tokenizer


class Pretrained(NamedTuple):
    """A model that others can read, and its tokenizer."""

    model: BertModel
    tokenizer: Tokenizer

    def write(self, folder: Path) -> None:
        """As :meth:`BertModel.save_pretrained`, and what the tokenizer saves itself as."""
        write_parts(folder, *contents(self.model))
        self.tokenizer.save(folder)


def read_pretrained(folder: Path) -> Pretrained:
    """What :meth:`Pretrained.write` wrote.

    Raises:
        CheckpointError: numbers that are not finite, and all else that is damaged.
    """
    model, tokenizer = BertModel.from_pretrained(folder, heads=True), load_tokenizer(folder)
    check_finite(dict(model.named_parameters()), folder / TENSORS)
    return Pretrained(model, tokenizer)
