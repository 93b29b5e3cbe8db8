"""Dropout that keeps no mask (csrc/transformer/dropout.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops._dropout import dropout_seed

_OP = "dropout"


def dropout(
    x: Tensor, dropout_p: float, *, seed: int | torch.Generator | Tensor | None = None
) -> Tensor:
    """Each element is 0 with probability ``dropout_p``, else divided by what is left of 1.

    One pass, forward and backward: the backward draws again what was kept, from the seed alone.

    Args:
        x: of any shape, float32, bfloat16 or float64. Copied if it is not contiguous.
        dropout_p: 0 to 1, in steps of 2^-16.
        seed: an integer or generator (see :func:`lexforge.ops.seed_from`), or an int64 tensor of
            one element on the device of ``x``. By default one is drawn from torch's generator of
            that device.

    Returns:
        The shape and dtype of ``x``, differentiable any number of times; ``x`` itself where
        ``dropout_p`` is 0.

    Raises:
        TypeError: an unsupported dtype. ValueError: ``dropout_p`` is not 0 to 1, or a seed of
        another kind.

    Notes:
        What is dropped depends on the seed and on the place in the flat tensor alone: the same on
        CPU and GPU, for any number of threads. It is 0 whatever it was.

    Example:
        >>> dropout(torch.ones(1000), 0.25, seed=1).unique()
        tensor([0.0000, 1.3333])
    """
    _checks.tensor(_OP, "x", x, _checks.FLOATS)
    seed = dropout_seed(_OP, dropout_p, seed, x.device)
    if seed is None or dropout_p < 2**-17:
        return x
    return torch.ops.lexforge.dropout.default(x.contiguous(), seed, dropout_p)


@torch.library.register_fake("lexforge::dropout")
def _(x, seed, dropout_p):
    return torch.empty_like(x)


def _setup_context(ctx, inputs, output):
    _, seed, ctx.dropout_p = inputs
    ctx.save_for_backward(seed)


def _backward(ctx, grad_out):
    (seed,) = ctx.saved_tensors
    grad_out = grad_out.contiguous()
    return torch.ops.lexforge.dropout.default(grad_out, seed, ctx.dropout_p), None, None


torch.library.register_autograd("lexforge::dropout", _backward, setup_context=_setup_context)
