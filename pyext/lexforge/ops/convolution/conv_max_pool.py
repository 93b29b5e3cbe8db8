"""Convolution and maximum over time of the texts of a batch (csrc/convolution/conv_max_pool.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks

_OP = "conv_max_pool"


def conv_max_pool(
    x: Tensor,
    cu_seqlens: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    index: Tensor | None = None,
    *,
    min_length: int | None = None,
    check_indices: bool = True,
) -> Tensor:
    """The greatest value over time of a convolution over each text's tokens.

    ``max over p of (bias[c] + sum over k, d of weight[c, d, k] token[p + k, d])``: textCNN's layer
    (Kim 2014, eq. 2 and 3) without a value for every position in memory, forward or backward. Its
    activation may follow, as long as it never falls: ``relu(max) = max(relu)``.

    Args:
        x: float32, bfloat16 or float64: the tokens [T, D] one after another, or with ``index`` the
            rows [U, D] that they have. On the CPU a row costs its product with the filters, and a
            token next to nothing: bring every word of the batch once.
        cu_seqlens: int32 or int64 [B + 1]: text b is tokens ``cu_seqlens[b]`` to
            ``cu_seqlens[b + 1]``. Starts at 0, ascends (empty texts are fine), ends at T.
        weight: [C, D, K] of the dtype of ``x`` (any under autocast), as of ``torch.nn.Conv1d``.
        bias: [C] of that dtype, or float32 with bfloat16; or None.
        index: int32 or int64 [T], the row of each token, or None.
        min_length: zeros follow shorter texts up to so many tokens; at least K, and K if None. With
            filters of several widths over one text, the greatest of them.
        check_indices: as of :func:`lexforge.ops.embedding`; on CUDA a text with a wrong row number
            that was not looked at is NaN. Nor is ``cu_seqlens`` looked at on CUDA.

    Returns:
        [B, C] of the dtype of ``x``; an empty text gives the bias. Differentiable in x, weight and
        bias, once: the first of equal maxima has the gradient, and the first NaN is the maximum.
        Under ``torch.autocast`` all is in its dtype.

    Raises:
        TypeError: unsupported or differing dtypes. ValueError: shapes, devices, bounds or numbers
        that do not fit. IndexError: a row number out of range.

    Notes:
        Gradients have one writer for each row, which adds in a fixed order: bit-identical from run
        to run, and for the same maxima for any number of threads. On the CPU the products are the
        library's: those of bfloat16 are rounded for each tap, and float32 may differ in the last
        bit between numbers of threads.

    Example:
        >>> words = torch.randn(50, 8)
        >>> tokens, bounds = torch.tensor([3, 4, 3, 7, 1]), torch.tensor([0, 2, 5])
        >>> rows, index = tokens.unique(return_inverse=True)
        >>> conv_max_pool(words[rows], bounds, torch.randn(6, 8, 3), index=index).shape
        torch.Size([2, 6])
    """
    _checks.tensor(_OP, "x", x)
    autocast = torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64
    if autocast:
        x = x.to(torch.get_autocast_dtype(x.device.type))
    _checks.tensor(_OP, "x", x, _checks.FLOATS, ("U", "D"))
    dim, stat = x.shape[1], _checks.stat_dtype(x)
    _checks.tensor(_OP, "weight", weight, None if autocast else x.dtype, ("C", dim, "K"), x)
    channels, _, taps = weight.shape
    if taps == 0:
        raise ValueError(f"{_OP}: weight must be [C, D, K] with K >= 1, got {[*weight.shape]}")
    if bias is not None:
        dtypes = x.dtype if x.dtype == stat else (x.dtype, stat)
        _checks.tensor(_OP, "bias", bias, None if autocast else dtypes, (channels,), x)
        bias = bias.to(stat).contiguous()
    tokens = x.shape[0]
    if index is not None:
        _checks.tensor(_OP, "index", index, _checks.IDS, ("T",), x)
        tokens = index.shape[0]
        if _checks.looked_at(index, check_indices):
            _checks.ids(_OP, "index", index, x.shape[0])
        index = index.to(torch.int32).contiguous()
    _checks.tensor(_OP, "cu_seqlens", cu_seqlens, _checks.IDS, ("B + 1",), x)
    if cu_seqlens.shape[0] < 1:
        raise ValueError(f"{_OP}: cu_seqlens must be [B + 1], got [0]")
    if _checks.readable(cu_seqlens):
        _checks.packed(_OP, "cu_seqlens", cu_seqlens, tokens, tokens)
    if min_length is None:
        min_length = taps
    _checks.whole(_OP, "min_length", min_length, taps, 2**31 - 1)
    return torch.ops.lexforge.conv_max_pool.default(
        x.contiguous(),
        cu_seqlens.to(torch.int32).contiguous(),
        weight.to(x.dtype).permute(2, 0, 1).contiguous(),
        bias,
        index,
        min_length,
    )[0]


@torch.library.register_fake("lexforge::conv_max_pool")
def _(x, cu_seqlens, weight, bias, index, min_length):
    shape = (cu_seqlens.shape[0] - 1, weight.shape[1])
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int32)


@torch.library.register_fake("lexforge::conv_max_pool_picks")
def _(grad_out, place, cu_seqlens, index, taps):
    shape = (taps, grad_out.shape[1], grad_out.shape[0])
    return place.new_empty(shape), grad_out.new_empty(shape)


def _setup_context(ctx, inputs, output):
    x, cu_seqlens, weight, bias, index, _ = inputs
    _, place = output
    ctx.has_bias = bias is not None
    ctx.save_for_backward(x, cu_seqlens, weight, index, place)
    ctx.mark_non_differentiable(place)


def _backward(ctx, grad_out, _):
    x, cu_seqlens, weight, index, place = ctx.saved_tensors
    taps, _, dim = weight.shape
    grad_x = grad_weight = grad_bias = None
    grad = grad_out.to(_checks.stat_dtype(x)).contiguous()
    if x.shape[0] == 0 or grad.numel() == 0:
        grad_x, grad_weight = torch.zeros_like(x), torch.zeros_like(weight)
    elif ctx.needs_input_grad[0] or ctx.needs_input_grad[2]:
        # A bag of x's rows for each tap of each channel: what it saw of every text.
        row, share = torch.ops.lexforge.conv_max_pool_picks.default(
            grad, place, cu_seqlens, index, taps
        )
        rows, shares = row.flatten(0, 1), share.view(-1)
        if ctx.needs_input_grad[0]:
            filters = weight.flatten(0, 1)
            grad_x = torch.ops.lexforge.embedding_bag_backward.default(
                filters,
                rows,
                None,
                shares,
                place.new_empty(0, dim),
                share.new_empty(0),
                "sum",
                -1,
                False,
                x.shape[0],
            )
        if ctx.needs_input_grad[2]:
            grad_weight = torch.ops.lexforge.embedding_bag.default(
                x, rows, None, shares, "sum", -1, False, False
            )[0].view(weight.shape)
    if ctx.has_bias and ctx.needs_input_grad[3]:
        grad_bias = grad.sum(0)
    return grad_x, None, grad_weight, grad_bias, None, None


torch.library.register_autograd("lexforge::conv_max_pool", _backward, setup_context=_setup_context)
_checks.differentiable_once(_OP, "conv_max_pool_picks")
