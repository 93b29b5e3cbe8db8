"""The linear layer's three matrix products, by the fastest library at hand."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lexforge import _library
from lexforge.ops import _checks
from lexforge.ops.transformer import few_rows_linear

# From here on preparations cost less than they save (multiply-adds of one product).
_LEAST_WORK = 2**22
_LEAST_SIDE = 16
# A call of oneDNN takes 0.1 ms more than one of MKL (Zen 3), which that much work makes up for.
_LEAST_ONEDNN = 2**23

# oneDNN's float32 product: torch itself has F.linear call MKL, which is slower on many processors.
_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(
    torch.ops.mkldnn, "_linear_pointwise"
)
# On an x86 processor that does not multiply bfloat16, oneDNN's product of it takes over ten times
# as long as that of what it is widened to; not worth the memory for the largest weights.
_WIDENS = (
    getattr(torch.cpu, "_is_avx2_supported", lambda: False)()
    and not getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)()
)
_MOST_WIDENED = 2**20
# csrc/transformer/weight_gradient.h exists for the CPU, and pays with the wider registers.
_HAS_WEIGHT_GRADIENT = not _library.emulated() and _library.cpu_capability() != "baseline"
# A processor that multiplies tiles of bfloat16 takes a quarter of that kernel's time.
_HAS_BF16_TILES = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
# csrc/transformer/split_product.h: float32 products on those tiles. Smaller matrices cost more to
# prepare than they save, and over shorter sums a float32 product is as exact.
HAS_SPLIT_PRODUCT = _library.cpu_has_tiles()
_LEAST_SPLIT = (64, 48, 32)  # rows and columns of the result, and what is summed over


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias``, as :func:`torch.nn.functional.linear` gives it, in less time.

    On the CPU in float32, where the sizes make it worth while, all three products go to tiles of
    bfloat16, should the processor have them, to no less than a float32 product's exactness
    (csrc/transformer/split_product.h). Where it has none, and for infinities, NaN and numbers so
    small or large that tiles would lose them, the products with the weight go to oneDNN and the
    gradients of weight and bias to csrc/transformer/weight_gradient.h. Up to 32 rows without a
    gradient are :func:`lexforge.ops.few_rows_linear`. Everything else, and all there is under
    ``torch.autocast``, is ``torch.nn.functional.linear`` itself.

    Args:
        x: [..., in], any floating dtype and device.
        weight: [out, in], of the dtype of ``x`` (any under autocast).
        bias: [out], or None.

    Returns:
        [..., out], differentiable in all three, any number of times; under autocast of its dtype.

    Raises:
        TypeError: differing dtypes. ValueError: shapes or devices that do not fit.

    Example:
        >>> linear(torch.randn(5, 7, 16), torch.randn(32, 16), torch.zeros(32)).shape
        torch.Size([5, 7, 32])
    """
    _checks.tensor("linear", "x", x)
    autocast = torch.is_autocast_enabled(x.device.type)
    dtype = None if autocast else x.dtype
    _checks.tensor("linear", "weight", weight, dtype, ("out", "in"), x)
    outputs, inputs = weight.shape
    _checks.tensor("linear", "x", x, shape=(..., inputs))
    if bias is not None:
        _checks.tensor("linear", "bias", bias, dtype, (outputs,), x)
    if not autocast and _few(x, weight, bias):
        rows = few_rows_linear.product(x.reshape(-1, inputs), weight, bias)
        return rows.reshape(*x.shape[:-1], outputs)
    if autocast or not _pays(x, outputs):
        return functional.linear(x, weight, bias)
    rows = torch.ops.lexforge.linear.default(x.reshape(-1, inputs), weight, bias)
    return rows.reshape(*x.shape[:-1], outputs)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias`` for [T, in] and [out, in] by the fastest library; not recorded."""
    if _widens(x, weight):
        wide = (None if y is None else y.float() for y in (x, weight, bias))
        return product(*wide).to(torch.bfloat16)  # type: ignore[arg-type]  # x and weight are there
    if not _pays(x, weight.shape[0]):
        return functional.linear(x, weight, bias)
    x, weight = (y if _plain(y) or _plain(y.t()) else y.contiguous() for y in (x, weight))
    bias = None if bias is None else bias.contiguous()
    if _pays_split(len(x), weight.shape[0], weight.shape[1]):
        y = x.new_empty(len(x), weight.shape[0])
        if torch.ops.lexforge.split_product_.default(y, None, x, weight.t(), bias, False):
            return y
    if x.numel() * weight.shape[0] < _LEAST_ONEDNN:
        return functional.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


def parameter_gradients_(
    grad_weight: Tensor | None,
    grad_bias: Tensor | None,
    grad_out: Tensor,
    x: Tensor,
    *,
    add: bool = False,
) -> None:
    """Write ``grad_out^T x`` and the column sums of ``grad_out``, or add them; not recorded.

    Args:
        grad_weight: [out, in], float32 (float64 with float64), contiguous, or None.
        grad_bias: [out], the same, or None.
        grad_out, x: [T, out] and [T, in], float32, bfloat16 or float64.
        add: to what the gradients hold; else that means nothing.
    """
    if grad_weight is not None and _pays_own(x, grad_out.shape[1]):
        grad_out, x = (y if _plain(y) else y.contiguous() for y in (grad_out, x))
        split = x.dtype == torch.float32 and _pays_split(grad_out.shape[1], x.shape[1], len(x))
        if split and torch.ops.lexforge.split_product_.default(
            grad_weight, grad_bias, grad_out.t(), x, None, add
        ):
            return
        torch.ops.lexforge.weight_gradient_.default(grad_weight, grad_bias, grad_out, x, add)
        return
    if grad_weight is not None:
        if grad_weight.dtype == x.dtype:
            grad_weight.addmm_(grad_out.t(), x, beta=int(add))
        elif add:
            grad_weight += grad_out.t() @ x
        else:
            grad_weight.copy_(grad_out.t() @ x)
    if grad_bias is not None:
        sums = grad_out.sum(0, dtype=grad_bias.dtype)
        grad_bias.copy_(grad_bias + sums if add else sums)


def weight_gradient(grad_out: Tensor, x: Tensor) -> Tensor:
    """``grad_out^T x`` [out, in] of [T, out] and [T, in] by the fastest library."""
    if x.device.type != "cpu":
        return grad_out.t() @ x
    return torch.ops.lexforge.linear_gradients.default(grad_out, x)[0]


def _few(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether nothing is recorded, and reading the weight is most of the work."""
    if x.device.type != "cpu" or x.numel() > few_rows_linear.MOST_ROWS * weight.shape[1]:
        return False
    recorded = torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    )
    return not recorded and x.dtype in _checks.FLOATS


def _large(x: Tensor, outputs: int) -> bool:
    return (
        x.device.type == "cpu"
        and min(x.shape[-1], outputs) >= _LEAST_SIDE
        and x.numel() * outputs >= _LEAST_WORK
    )


def _widens(x: Tensor, weight: Tensor) -> bool:
    known = x.device.type == "cpu" and x.dtype == torch.bfloat16
    return _WIDENS and known and weight.numel() <= _MOST_WIDENED


def _pays(x: Tensor, outputs: int) -> bool:
    return _HAS_ONEDNN and x.dtype == torch.float32 and _large(x, outputs)


def _pays_own(x: Tensor, outputs: int) -> bool:
    known = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and not _HAS_BF16_TILES)
    return _HAS_WEIGHT_GRADIENT and known and _large(x, outputs)


def _pays_split(rows: int, columns: int, depth: int) -> bool:
    sizes = zip((rows, columns, depth), _LEAST_SPLIT, strict=True)
    return HAS_SPLIT_PRODUCT and all(size >= least for size, least in sizes)


def _plain(x: Tensor) -> bool:
    """Whether the rows of a matrix lie one after another, or further apart."""
    return x.stride(1) == 1 and x.stride(0) >= x.shape[1]


@torch.library.custom_op("lexforge::linear", mutates_args=(), device_types="cpu")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return product(x, weight, bias)


@torch.library.custom_op("lexforge::linear_gradients", mutates_args=(), device_types="cpu")
def _gradients(grad_out: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """``grad_out^T x`` and the column sums of ``grad_out``."""
    grad_weight = x.new_empty(grad_out.shape[1], x.shape[1])
    grad_bias = x.new_empty(grad_out.shape[1])
    parameter_gradients_(grad_weight, grad_bias, grad_out, x)
    return grad_weight, grad_bias


@_linear.register_fake
def _(x, weight, bias):
    return x.new_empty(x.shape[0], weight.shape[0])


@_gradients.register_fake
def _(grad_out, x):
    return x.new_empty(grad_out.shape[1], x.shape[1]), x.new_empty(grad_out.shape[1])


def _setup(ctx, inputs, output):
    x, weight, _bias = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx, grad_out):
    x, weight = ctx.saved_tensors
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad
    grad_x = grad_weight = grad_bias = None
    if needs_x:
        grad_x = torch.ops.lexforge.linear.default(grad_out, weight.t(), None)
    if needs_weight:
        grad_weight, grad_bias = torch.ops.lexforge.linear_gradients.default(grad_out, x)
    elif needs_bias:
        grad_bias = grad_out.sum(0)
    return grad_x, grad_weight, grad_bias if needs_bias else None


def _setup_gradients(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward_of_gradients(ctx, grad_weight, grad_bias):
    grad_out, x = ctx.saved_tensors
    product = torch.ops.lexforge.linear.default
    return product(x, grad_weight, grad_bias), product(grad_out, grad_weight.t(), None)


_linear.register_autograd(_backward, setup_context=_setup)
_gradients.register_autograd(_backward_of_gradients, setup_context=_setup_gradients)
