"""Everything of GPT under one name: ``import lexforge.gpt``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.models.gpt.config import GPTConfig
    from lexforge.models.gpt.data import GPTData, prepare
    from lexforge.models.gpt.generation import Generator, generate
    from lexforge.models.gpt.model import GPT, GPTLoss
    from lexforge.models.gpt.template import Template
    from lexforge.models.gpt.trainer import GPTResult, finetune, train

__all__ = [
    "GPT",
    "GPTConfig",
    "GPTData",
    "GPTLoss",
    "GPTResult",
    "Generator",
    "Template",
    "finetune",
    "generate",
    "prepare",
    "train",
]

# Where each public name lives; imported on first use.
_HOME = {
    "GPT": "lexforge.models.gpt.model",
    "GPTConfig": "lexforge.models.gpt.config",
    "GPTData": "lexforge.models.gpt.data",
    "GPTLoss": "lexforge.models.gpt.model",
    "GPTResult": "lexforge.models.gpt.trainer",
    "Generator": "lexforge.models.gpt.generation",
    "Template": "lexforge.models.gpt.template",
    "finetune": "lexforge.models.gpt.trainer",
    "generate": "lexforge.models.gpt.generation",
    "prepare": "lexforge.models.gpt.data",
    "train": "lexforge.models.gpt.trainer",
}

__getattr__, __dir__ = attach(__name__, _HOME)
