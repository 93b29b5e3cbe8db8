"""A linear layer for few rows (csrc/transformer/few_rows_linear.h)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from lexforge import _library
from lexforge.ops import _checks

# Up to here reading the weights takes longer than the products (benchmarks/decode_attention.py).
MOST_ROWS = 32
_HAS_KERNEL = not _library.emulated()


def few_rows_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias`` for as few rows as sequences that are generated together.

    On the CPU, up to 32 rows, the weights are read once, in one stream for each thread: the time is
    that of the memory. Everything else is ``torch.nn.functional.linear``. For inference alone.

    Args:
        x: [M, in], float32, bfloat16 or float64.
        weight: [out, in], of the dtype and on the device of ``x``. Fastest on huge pages.
        bias: [out], the same, or None.

    Returns:
        [M, out] of the dtype of ``x``; bfloat16 is summed in float32. On the CPU, up to 32 rows, a
        row's result has the same bits whatever the others are and for any number of threads.

    Raises:
        TypeError: unsupported or differing dtypes. ValueError: shapes or devices that do not fit;
        an argument that requires grad where gradients are recorded.

    Example:
        >>> few_rows_linear(torch.randn(2, 16), torch.randn(32, 16), torch.zeros(32)).shape
        torch.Size([2, 32])
    """
    op = "few_rows_linear"
    _checks.tensor(op, "x", x, _checks.FLOATS, ("M", "in"))
    _checks.tensor(op, "weight", weight, x.dtype, ("out", x.shape[1]), x)
    if bias is not None:
        _checks.tensor(op, "bias", bias, x.dtype, (weight.shape[0],), x)
    if torch.is_grad_enabled():
        for name, t in (("x", x), ("weight", weight), ("bias", bias)):
            if t is not None and t.requires_grad:
                raise ValueError(
                    f"{op}: {name} requires grad, and this has no gradient; use no_grad()"
                )
    return product(x, weight, bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same without the checks."""
    function = product_of(x.device, x.shape[0])
    if function is functional.linear:
        return function(x, weight, bias)
    bias = None if bias is None else bias.contiguous()
    return function(x.contiguous(), weight.contiguous(), bias)


def product_of(
    device: torch.device, rows: int
) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """What multiplies so many rows there: contiguous x, weight and bias (or None)."""
    if device.type != "cpu" or rows > MOST_ROWS or not _HAS_KERNEL:
        return functional.linear
    return torch.ops.lexforge.few_rows_linear.default


@torch.library.register_fake("lexforge::few_rows_linear")
def _(x, weight, bias):
    return x.new_empty(x.shape[0], weight.shape[0])
