"""Projection to a vocabulary and cross-entropy, a chunk of rows at a time.

The softmax is csrc/transformer/softmax_cross_entropy.h; the products are the library's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops.transformer.linear import parameter_gradients_, product

_OP = "linear_cross_entropy"

# Bytes of the logits that exist at a time. CPU: they stay in a large last-level cache, and below
# the 32 MB from which on glibc returns memory after each use, to have each page faulted in anew.
_CHUNK_BYTES = {"cpu": 24 * 2**20}
_OTHER_CHUNK_BYTES = 256 * 2**20
_ROW_UNIT = 32  # rows of a chunk are a multiple: products in whole tiles


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    ignore_index: int = -100,
) -> tuple[Tensor, Tensor]:
    """Weighted mean cross-entropy of ``hidden weight^T + bias``, without the logits in memory.

    ``loss = sum_i w_i l_i / max(sum_i w_i, tiny)`` with ``l_i`` the cross-entropy of row i against
    ``labels[i]``: the head of a masked language model over the predicted positions. The logits
    exist for a chunk of rows at a time, forward and backward: where gradients are wanted, they are
    made in the forward, and the backward scales them.

    Args:
        hidden: [P, H], float32, float64 or bfloat16, any strides.
        weight: [V, H], of the dtype of ``hidden``; float32 goes with bfloat16 ``hidden`` too.
        bias: [V], the same, or None.
        labels: int64 [P], 0 to V - 1 or ``ignore_index``.
        weights: [P], floating, not negative, gets no gradient; all 1 by default.
        ignore_index: the label of rows that weigh nothing.

    Returns:
        (loss, correct): the loss, a float32 (float64 with float64) of no dimension, differentiable
        in ``hidden``, ``weight`` and ``bias`` (once); and, int64, how many rows that weigh
        something have their label as the first of their largest logits. No such row gives 0 and 0,
        and gradients of 0.

    Raises:
        TypeError: unsupported or differing dtypes. ValueError: shapes or devices that do not fit.
        IndexError: a label out of range. On CUDA, and under ``torch.compile``, labels are not
        looked at beforehand: there one out of range makes the loss NaN on CUDA and is a
        RuntimeError on the CPU.

    Notes:
        Under ``torch.autocast`` the products are in its dtype (bfloat16), sums over classes and
        rows in float32. Results are bit-identical from run to run, and the softmax for any number
        of threads; the products are the library's.

    Example:
        >>> hidden, weight = torch.randn(5, 16), torch.randn(100, 16)
        >>> loss, correct = linear_cross_entropy(hidden, weight, None, torch.arange(5))
    """
    _checks.tensor("linear_cross_entropy", "hidden", hidden)
    if torch.is_autocast_enabled(hidden.device.type) and hidden.dtype != torch.float64:
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    check(hidden, weight, bias, labels, weights, ignore_index)
    wanted = torch.is_grad_enabled()
    loss, correct, *_ = torch.ops.lexforge.linear_cross_entropy.default(
        hidden,
        weight,
        bias,
        labels,
        weights,
        ignore_index,
        wanted and hidden.requires_grad,
        wanted and weight.requires_grad,
        wanted and bias is not None and bias.requires_grad,
    )
    return loss, correct


def check(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    weights: Tensor | None,
    ignore_index: int,
) -> None:
    """Refuse what :func:`linear_cross_entropy` does."""
    _checks.tensor(_OP, "hidden", hidden, _checks.FLOATS, ("P", "H"))
    positions, width = hidden.shape
    allowed = (hidden.dtype, torch.float32) if hidden.dtype == torch.bfloat16 else hidden.dtype
    _checks.tensor(_OP, "weight", weight, allowed, ("V", width), hidden)
    if weight.shape[0] == 0:
        raise ValueError(f"{_OP}: weight must be [V, {width}], V at least 1, got {[*weight.shape]}")
    if bias is not None:
        _checks.tensor(_OP, "bias", bias, allowed, weight.shape[:1], hidden)
    _checks.tensor(_OP, "labels", labels, torch.int64, (positions,), hidden)
    if weights is not None:
        _checks.tensor(_OP, "weights", weights, shape=(positions,), like=hidden)
        if not weights.is_floating_point():
            raise TypeError(f"{_OP}: weights must be floating, got {_checks.spelt(weights.dtype)}")
    if hidden.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_labels(labels, weight.shape[0], ignore_index)


def _check_labels(labels: Tensor, classes: int, ignore_index: int) -> None:
    if labels.numel() > 0:
        low, high = labels.aminmax()
        if int(low) >= 0 and int(high) < classes:
            return
    bad = ((labels < 0) | (labels >= classes)) & (labels != ignore_index)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise IndexError(
            f"{_OP}: labels must be in [0, {classes}) or {ignore_index}, "
            f"got {int(labels[row])} in row {row}"
        )


def _chunk_rows(hidden: Tensor, classes: int) -> int:
    budget = _CHUNK_BYTES.get(hidden.device.type, _OTHER_CHUNK_BYTES)
    rows = budget // (classes * hidden.element_size())
    return max(_ROW_UNIT, rows - rows % _ROW_UNIT)


@torch.library.register_fake("lexforge::softmax_cross_entropy_")
def _(logits, bias, labels, scale, gradient):
    return torch.empty_like(scale), torch.empty_like(labels)


def loss_and_gradients(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    weights: Tensor | None,
    ignore_index: int,
    needs_hidden: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The loss, the hits, and the gradients that are needed; of others nothing. Not recorded."""
    stat = _checks.stat_dtype(hidden)
    positions, classes = hidden.shape[0], weight.shape[0]
    scale = (labels != ignore_index).to(stat)
    if weights is not None:
        scale *= weights
    scale /= scale.sum().clamp_(min=torch.finfo(stat).tiny)
    labels, hidden = labels.contiguous(), hidden.contiguous()
    classifier = weight.to(hidden.dtype).contiguous()
    bias_stat = None if bias is None else bias.to(stat).contiguous()

    wanted = needs_hidden or needs_weight or needs_bias
    loss: Any = None
    correct: Any = None
    nothing = hidden.new_empty(0)
    rows = _chunk_rows(hidden, classes)
    grad_hidden = torch.empty_like(hidden) if needs_hidden and positions > rows else nothing
    grad_weight = torch.empty_like(classifier, dtype=stat) if needs_weight else None
    grad_bias = scale.new_empty(classes) if needs_bias else None
    for first in range(0, max(positions, 1), rows):  # one chunk of nothing makes zeros
        one = positions <= rows
        chunk = slice(first, min(first + rows, positions))
        x, targets, shares = (y if one else y[chunk] for y in (hidden, labels, scale))
        logits = product(x, classifier)
        losses, hits = torch.ops.lexforge.softmax_cross_entropy_.default(
            logits, bias_stat, targets, shares, wanted
        )
        loss = losses.sum() if loss is None else loss + losses.sum()
        correct = hits.sum() if correct is None else correct + hits.sum()
        if needs_hidden and one:
            grad_hidden = product(logits, classifier.t())
        elif needs_hidden:
            grad_hidden[chunk] = product(logits, classifier.t())
        if needs_weight or needs_bias:
            parameter_gradients_(grad_weight, grad_bias, logits, x, add=first > 0)
        del logits  # so that the next chunk gets its memory
    return (
        loss,
        correct,
        grad_hidden,
        nothing.clone() if grad_weight is None else grad_weight.to(weight.dtype),
        nothing.clone() if bias is None or grad_bias is None else grad_bias.to(bias.dtype),
    )


_linear_cross_entropy = torch.library.custom_op(
    "lexforge::linear_cross_entropy", loss_and_gradients, mutates_args=()
)


@_linear_cross_entropy.register_fake
def _(hidden, weight, bias, labels, weights, ignore_index, needs_hidden, needs_weight, needs_bias):
    stat = _checks.stat_dtype(hidden)
    return (
        hidden.new_empty((), dtype=stat),
        labels.new_empty(()),
        hidden.new_empty(hidden.shape if needs_hidden else 0),
        weight.new_empty(weight.shape) if needs_weight else hidden.new_empty(0),
        bias.new_empty(bias.shape) if needs_bias else hidden.new_empty(0),
    )


def _setup_context(ctx, inputs, output):
    ctx.wanted = inputs[-3:]
    ctx.save_for_backward(*output[2:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # zeros as large as the weight


def _backward(ctx, grad_loss, *_):
    if grad_loss is None:
        return (None,) * 9
    if torch.is_grad_enabled():
        raise RuntimeError(f"{_OP}: differentiable once, a gradient of its gradient was asked for")
    if is_given_away(grad_loss):
        grads = ctx.saved_tensors
    else:
        grads = [(grad * grad_loss).to(grad.dtype) for grad in ctx.saved_tensors]
    wanted = (grad if needed else None for grad, needed in zip(grads, ctx.wanted, strict=True))
    return (*wanted, *[None] * 6)


def is_given_away(grad_loss: Tensor) -> bool:
    """Whether the saved gradients may be given away as they are: nobody needs them again."""
    return (
        type(grad_loss) is Tensor  # no stand-in of a compiler
        and grad_loss.device.type == "cpu"
        and not _graph_is_kept()
        and grad_loss.item() == 1
    )


def _graph_is_kept() -> bool:
    """Whether another backward may come; where this torch does not tell, it may."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return ask is None or ask()


_linear_cross_entropy.register_autograd(_backward, setup_context=_setup_context)
