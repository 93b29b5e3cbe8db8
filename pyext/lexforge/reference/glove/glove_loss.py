"""The GloVe loss in plain torch (csrc/glove/glove_loss.h)."""

from __future__ import annotations

import torch
from torch import Tensor


def glove_weight(counts: Tensor, *, x_max: float = 100.0, alpha: float = 0.75) -> Tensor:
    """h(x) = min(1, (x / x_max) ** alpha) of each count."""
    return torch.clamp((counts / x_max) ** alpha, max=1.0)


def glove_loss(
    word: Tensor,
    context: Tensor,
    word_bias: Tensor,
    context_bias: Tensor,
    rows: Tensor,
    cols: Tensor,
    counts: Tensor,
    *,
    x_max: float = 100.0,
    alpha: float = 0.75,
) -> Tensor:
    """Loss [N] of each entry: h(x) times the squared error of its logarithm.

    Arguments as in :func:`lexforge.ops.glove_loss`; differentiable by autograd.
    """
    rows, cols, counts = rows.long(), cols.long(), counts.to(word.dtype)
    score = (word[rows] * context[cols]).sum(1) + word_bias[rows] + context_bias[cols]
    return glove_weight(counts, x_max=x_max, alpha=alpha) * (score - counts.log()) ** 2
