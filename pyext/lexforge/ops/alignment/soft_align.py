"""Soft alignment of pairs of texts, both directions at once (csrc/alignment/soft_align.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks

_OP = "soft_align"
_CUDA_LENGTH = 4096  # csrc/alignment/soft_align.h, kMaxAlignedLength


def soft_align(
    f_a: Tensor,
    f_b: Tensor,
    a: Tensor,
    b: Tensor,
    cu_a: Tensor,
    cu_b: Tensor,
    max_a: int,
    max_b: int,
) -> tuple[Tensor, Tensor]:
    """Align the tokens of two texts with each other, for every pair of a packed batch.

    With the scores ``e = f_a f_b^T`` of a pair, ``beta = softmax over its second text (e) b`` and
    ``alpha = softmax over its first text (e^T) a`` (Parikh et al. 2016, eq. 1 and 2). Both come
    from one matrix of scores, which exists for a pair at a time; padding does not exist.

    Args:
        f_a, f_b: [Ta, H] and [Tb, H], what tokens of the first and second texts are compared by;
            float32, bfloat16 or float64. All four of one dtype and device, with any strides; the
            last dimension is copied if it is not contiguous.
        a, b: [Ta, D] and [Tb, D], what is aligned.
        cu_a, cu_b: int32 [N + 1] on the device of ``f_a``: the texts of pair n are tokens
            ``cu_a[n]`` to ``cu_a[n + 1]`` and ``cu_b[n]`` to ``cu_b[n + 1]``. Each starts at 0,
            ascends, and ends at Ta or Tb.
        max_a, max_b: bounds of the lengths, below 2^27; at most 4096 on CUDA.

    Returns:
        beta [Ta, D], for each token of the first texts its mean of the second text, and
        alpha [Tb, D], the other way round; zeros where the other text is empty. Contiguous, of the
        dtype of ``f_a``; differentiable in f_a, f_b, a and b (once).

    Raises:
        TypeError: unsupported or differing dtypes. ValueError: shapes, devices, bounds or lengths
        that do not fit.

    Notes:
        With bfloat16, scores, softmax and sums are float32. Under ``torch.autocast`` everything is
        cast to its dtype first, as by torch's products. The backward computes the scores again;
        what is kept is the result, and two numbers for each token. Results and gradients are
        bit-identical for any number of threads and from run to run. On CUDA the content of
        ``cu_a`` and ``cu_b`` is not looked at, as in :func:`varlen_attention`.

    Example:
        >>> f_a, f_b = torch.randn(7, 16), torch.randn(4, 16)
        >>> a, b = torch.randn(7, 5), torch.randn(4, 5)
        >>> cu_a, cu_b = torch.tensor([[0, 4, 7], [0, 2, 4]], dtype=torch.int32)
        >>> beta, alpha = soft_align(f_a, f_b, a, b, cu_a, cu_b, 4, 2)
        >>> beta.shape, alpha.shape
        (torch.Size([7, 5]), torch.Size([4, 5]))
    """
    _checks.tensor(_OP, "f_a", f_a, _checks.FLOATS, ("Ta", "H"))
    if torch.is_autocast_enabled(f_a.device.type) and f_a.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(f_a.device.type)
        f_a, f_b, a, b = (_cast(x, dtype) for x in (f_a, f_b, a, b))
        _checks.tensor(_OP, "f_a", f_a, _checks.FLOATS)
    tokens_a, features = f_a.shape
    _checks.tensor(_OP, "f_b", f_b, f_a.dtype, ("Tb", features), f_a)
    _checks.tensor(_OP, "a", a, f_a.dtype, (tokens_a, "D"), f_a)
    dim = a.shape[1]
    tokens_b = f_b.shape[0]
    _checks.tensor(_OP, "b", b, f_a.dtype, (tokens_b, dim), f_a)
    if features == 0 or dim == 0:
        raise ValueError(f"{_OP}: H and D must be at least 1, got {features} and {dim}")
    _checks.tensor(_OP, "cu_a", cu_a, torch.int32, ("N + 1",), f_a)
    if cu_a.shape[0] < 1:
        raise ValueError(f"{_OP}: cu_a must be [N + 1], got [0]")
    _checks.tensor(_OP, "cu_b", cu_b, torch.int32, cu_a.shape, f_a)
    most = _CUDA_LENGTH if f_a.device.type == "cuda" else 2**27 - 1
    for name, cu, rows, longest in (("a", cu_a, tokens_a, max_a), ("b", cu_b, tokens_b, max_b)):
        _checks.whole(_OP, f"max_{name}", longest, 0, most)
        if _checks.readable(cu):
            names = {"rows_name": f"T{name}", "max_name": f"max_{name}"}
            _checks.packed(_OP, f"cu_{name}", cu, rows, longest, **names)
    beta, alpha, _, _ = torch.ops.lexforge.soft_align.default(
        *(_checks.unit_stride(x) for x in (f_a, f_b, a, b)),
        cu_a.contiguous(),
        cu_b.contiguous(),
        max_a,
        max_b,
    )
    return beta, alpha


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """As autocast does; what is no tensor of numbers is left to the checks."""
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


@torch.library.register_fake("lexforge::soft_align")
def _(f_a, f_b, a, b, cu_a, cu_b, max_a, max_b):
    stats = [x.new_empty(2, x.shape[0], dtype=_checks.stat_dtype(x)) for x in (a, b)]
    return a.new_empty(a.shape), b.new_empty(b.shape), *stats


@torch.library.register_fake("lexforge::soft_align_backward")
def _(grad_beta, grad_alpha, f_a, f_b, a, b, *rest):
    return tuple(x.new_empty(x.shape) for x in (f_a, f_b, a, b))


def _setup_context(ctx, inputs, output):
    f_a, f_b, a, b, cu_a, cu_b, *ctx.bounds = inputs
    ctx.save_for_backward(f_a, f_b, a, b, *output, cu_a, cu_b)
    ctx.mark_non_differentiable(*output[2:])


def _backward(ctx, grad_beta, grad_alpha, _grad_stats_a, _grad_stats_b):
    grads = torch.ops.lexforge.soft_align_backward.default(
        _checks.unit_stride(grad_beta),
        _checks.unit_stride(grad_alpha),
        *ctx.saved_tensors,
        *ctx.bounds,
    )
    return (*grads, *[None] * 4)


torch.library.register_autograd("lexforge::soft_align", _backward, setup_context=_setup_context)
