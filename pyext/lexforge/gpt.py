"""Everything of GPT under one name: ``import lexforge.gpt``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.models.gpt.config import GPTConfig
    from lexforge.models.gpt.generation import Generator, generate
    from lexforge.models.gpt.model import GPT, GPTLoss

__all__ = ["GPT", "GPTConfig", "GPTLoss", "Generator", "generate"]

# Where each public name lives; imported on first use.
_HOME = {
    "GPT": "lexforge.models.gpt.model",
    "GPTConfig": "lexforge.models.gpt.config",
    "GPTLoss": "lexforge.models.gpt.model",
    "Generator": "lexforge.models.gpt.generation",
    "generate": "lexforge.models.gpt.generation",
}

__getattr__, __dir__ = attach(__name__, _HOME)
