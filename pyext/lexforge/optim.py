"""Optimisers of embedding tables with sparse gradients: ``import lexforge.optim``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.training.row_optimizers import SGD, Adagrad, Adam, RowwiseAdagrad

__all__ = ["SGD", "Adagrad", "Adam", "RowwiseAdagrad"]

# Where each public name lives; imported on first use.
_HOME = dict.fromkeys(__all__, "lexforge.training.row_optimizers")

__getattr__, __dir__ = attach(__name__, _HOME)
