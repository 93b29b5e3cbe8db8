"""Everything of BERT under one name: ``import lexforge.bert``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lexforge.models.bert import (
        BertConfig,
        BertEncoder,
        BertLosses,
        BertModel,
        MaskLM,
        NextSentencePred,
    )

__all__ = ["BertConfig", "BertEncoder", "BertLosses", "BertModel", "MaskLM", "NextSentencePred"]

# Where each public name lives; imported on first use.
_HOME = {
    "BertConfig": "lexforge.models.bert",
    "BertEncoder": "lexforge.models.bert",
    "BertLosses": "lexforge.models.bert",
    "BertModel": "lexforge.models.bert",
    "MaskLM": "lexforge.models.bert",
    "NextSentencePred": "lexforge.models.bert",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'lexforge.bert' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
