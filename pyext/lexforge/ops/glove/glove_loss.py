"""The GloVe loss of chosen co-occurrence counts (csrc/glove/glove_loss.h)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lexforge.ops import _checks

_OP = "glove_loss"


def _check_entries(rows: Tensor, cols: Tensor, counts: Tensor, vocab_size: int) -> None:
    """Refuse rows out of range and counts without a logarithm; waits for the device on CUDA."""
    if rows.numel() == 0:
        return
    _checks.ids(_OP, "rows", rows, vocab_size)
    _checks.ids(_OP, "cols", cols, vocab_size)
    least, largest = (float(x) for x in torch.aminmax(counts))
    if not (least > 0 and largest < math.inf):
        raise ValueError(
            f"{_OP}: counts must be finite and > 0, got {largest if least > 0 else least}"
        )


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
    check_entries: bool = True,
) -> Tensor:
    """Weighted squared error of the logarithms of co-occurrence counts (Pennington et al. 2014).

    ``loss[n] = h(x) * (word[i] . context[j] + word_bias[i] + context_bias[j] - log x) ** 2`` with
    ``i, j, x = rows[n], cols[n], counts[n]`` and ``h(x) = min(1, (x / x_max) ** alpha)``: the terms
    of equation 8, each computed in one pass over its two rows. No tensor of N x D elements exists,
    forward or backward.

    Args:
        word, context: float32 or float64 tables [V, D], any D.
        word_bias, context_bias: [V], of the tables' dtype.
        rows, cols: int32 or int64 [N], rows of ``word`` and ``context``; any order, repeats
            allowed.
        counts: float32 or float64 [N], positive and finite; gets no gradient.
        x_max: the count from which on all weigh the same, > 0.
        alpha: the exponent of the weight, >= 0.
        check_entries: on CUDA, the check of ``rows``, ``cols`` and ``counts`` waits for the
            device; leave it out when they are known to be good: a row out of range makes its loss
            NaN, a bad count one that is not finite. The CPU always checks.

    Returns:
        Tensor [N] of the tables' dtype, differentiable with respect to the tables and the biases
        (once).

    Raises:
        TypeError: a wrong dtype. ValueError: shapes or devices that do not fit, x_max, alpha or a
        count out of range. IndexError: a row number out of range. All before anything is computed;
        under ``torch.compile`` the values of ``rows``, ``cols`` and ``counts`` are not looked at
        beforehand: on the CPU a row out of range is a RuntimeError, the rest as without the check.

    Notes:
        Gradient rows are summed in the order of the entries: bit-identical for any number of
        threads and from run to run. The gradients are dense, [V, D].

    Example:
        >>> word, context = (torch.nn.Parameter(torch.randn(9, 4)) for _ in range(2))
        >>> biases = [torch.nn.Parameter(torch.zeros(9)) for _ in range(2)]
        >>> rows, cols = torch.tensor([[0, 1, 1], [2, 0, 8]])
        >>> loss = glove_loss(word, context, *biases, rows, cols, torch.tensor([1.0, 2.5, 300.0]))
        >>> loss.sum().backward()
    """
    _checks.tensor(_OP, "word", word, _checks.WIDE, ("V", "D"))
    vocab_size = word.shape[0]
    _checks.tensor(_OP, "context", context, word.dtype, word.shape, word)
    _checks.tensor(_OP, "word_bias", word_bias, word.dtype, (vocab_size,), word)
    _checks.tensor(_OP, "context_bias", context_bias, word.dtype, (vocab_size,), word)
    _checks.tensor(_OP, "rows", rows, _checks.IDS, ("N",), word)
    _checks.tensor(_OP, "cols", cols, _checks.IDS, rows.shape, word)
    _checks.tensor(_OP, "counts", counts, _checks.WIDE, rows.shape, word)
    _checks.number(_OP, "x_max", x_max, above=0)
    _checks.number(_OP, "alpha", alpha)
    counts = counts.detach().to(word.dtype)
    # What a graph is compiled from has no values, and looking at them would break the graph.
    if not torch.compiler.is_compiling() and (check_entries or word.device.type == "cpu"):
        _check_entries(rows, cols, counts, vocab_size)
    return torch.ops.lexforge.glove_loss.default(
        word.contiguous(),
        context.contiguous(),
        word_bias.contiguous(),
        context_bias.contiguous(),
        rows.to(torch.int32).contiguous(),
        cols.to(torch.int32).contiguous(),
        counts.contiguous(),
        x_max,
        alpha,
    )[0]


@torch.library.register_fake("lexforge::glove_loss")
def _(word, context, word_bias, context_bias, rows, cols, counts, x_max, alpha):
    return word.new_empty(rows.shape), word.new_empty(rows.shape)


@torch.library.register_fake("lexforge::glove_loss_backward")
def _(grad_loss, slope, word, context, rows, cols):
    bias = word.new_empty(word.shape[0])
    return torch.empty_like(word), torch.empty_like(context), bias, torch.empty_like(bias)


def _setup_context(ctx, inputs, output):
    word, context, _, _, rows, cols, *_ = inputs
    ctx.save_for_backward(output[1], word, context, rows, cols)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad_loss, _grad_slope):
    gradients = torch.ops.lexforge.glove_loss_backward.default(
        grad_loss.contiguous(), *ctx.saved_tensors
    )
    return *gradients, None, None, None, None, None


torch.library.register_autograd("lexforge::glove_loss", _backward, setup_context=_setup_context)
_checks.differentiable_once(_OP, "glove_loss_backward")
