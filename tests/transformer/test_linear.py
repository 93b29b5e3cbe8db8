"""linear and weight_gradient_: values, gradients of both orders, sizes, errors."""

from __future__ import annotations

import sys

import pytest
import torch
from torch.nn import functional

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops.transformer.linear import linear

module = sys.modules["lexforge.ops.transformer.linear"]

SHAPES = [  # rows of x, in, out
    ((3, 5), 7, 2),
    ((1,), 300, 20000),
    ((2, 700), 64, 96),
    ((4099,), 59, 97),
    ((5000,), 128, 128),
    ((129,), 768, 257),
    ((0,), 16, 16),
    ((4, 0), 5, 3),
]


def operands(rows, inputs, outputs, *, dtype=torch.float32, device="cpu", seed=0):
    """x, weight, bias, and weights for the sum of the results."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((*rows, inputs), (outputs, inputs), (outputs,), (*rows, outputs))
    return [torch.randn(s, generator=generator).to(device, dtype) for s in shapes]


def run(function, x, weight, bias, weights):
    """The result and all gradients."""
    leaves = [y.detach().clone().requires_grad_() for y in (x, weight, bias)]
    out = function(*leaves)
    out.backward(weights)
    return [out.detach(), *(y.grad for y in leaves)]


def rms(x):
    return x.square().mean().sqrt() if x.numel() else torch.zeros((), dtype=x.dtype)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_values_and_gradients(rows, inputs, outputs, device):
    given = operands(rows, inputs, outputs, device=device)
    exact = run(functional.linear, *(x.double() for x in given))
    plain = run(functional.linear, *given)
    ours = run(linear, *given)
    for x, y, z in zip(ours, plain, exact, strict=True):
        assert x.shape == z.shape and x.dtype == torch.float32
        assert rms(x - z) <= 2 * rms(y - z) + 1e-7 * rms(z)


@pytest.mark.parametrize("layout", ["transposed", "columns", "expanded", "one row"])
def test_strides(layout, device):
    x, weight, bias, weights = operands((600,), 96, 112, device=device)
    if layout == "transposed":
        x, weight, weights = (y.t().contiguous().t() for y in (x, weight, weights))
    elif layout == "columns":
        x = torch.cat([x, x], 1)[:, :96]
        weights = torch.cat([weights, weights], 1)[:, 112:]
    elif layout == "expanded":
        weights = torch.ones((), device=device).expand(600, 112)
    else:
        x = x[:1].expand(600, 96)
        bias = bias[:1].expand(112)
    leaves = [y.detach().requires_grad_() for y in (x, weight, bias)]
    ours = torch.autograd.grad(linear(*leaves), leaves, weights)
    expected = torch.autograd.grad(functional.linear(*leaves), leaves, weights)
    for y, z in zip(ours, expected, strict=True):
        torch.testing.assert_close(y, z, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "needs", [(True, False, False), (False, True, False), (False, False, True)]
)
def test_only_the_gradients_that_are_wanted(needs, device):
    *given, weights = operands((600,), 96, 112, device=device)
    leaves = [y.requires_grad_(need) for y, need in zip(given, needs, strict=True)]
    linear(*leaves).backward(weights)
    expected = run(functional.linear, *given, weights)[1:]
    for leaf, need, z in zip(leaves, needs, expected, strict=True):
        assert (leaf.grad is not None) == need
        if need:
            torch.testing.assert_close(leaf.grad, z, rtol=1e-4, atol=1e-3)
    x, weight, _ = (y.detach() for y in leaves)
    torch.testing.assert_close(linear(x, weight), functional.linear(x, weight))


def test_gradcheck(device):
    *given, _ = operands((2, 5), 7, 3, dtype=torch.float64, device=device)
    leaves = [y.requires_grad_() for y in given]
    assert torch.autograd.gradcheck(linear, leaves)
    assert torch.autograd.gradgradcheck(linear, leaves)


def test_gradients_of_gradients(device):
    """Right, not merely refused, on the shapes that oneDNN gets."""
    *given, weights = operands((700,), 96, 112, device=device)

    def second(function, dtype):
        leaves = [y.detach().to(dtype).requires_grad_() for y in given]
        out = (function(*leaves) * weights.to(dtype)).square().sum()
        first = torch.autograd.grad(out, leaves, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), leaves)

    exact, plain = (
        second(functional.linear, torch.float64),
        second(functional.linear, torch.float32),
    )
    for x, y, z in zip(second(linear, torch.float32), plain, exact, strict=True):
        assert rms(x - z) <= 2 * rms(y - z) + 1e-6 * rms(z)


def test_compiles_without_graph_breaks(device):
    given = operands((3, 700), 64, 96, device=device)
    compiled = torch.compile(lambda *y: linear(*y).relu(), fullgraph=True, backend="aot_eager")
    for x, y in zip(run(compiled, *given), run(lambda *z: linear(*z).relu(), *given), strict=True):
        torch.testing.assert_close(x, y)


def test_opcheck(device):
    if device.type != "cpu":
        pytest.skip("lexforge::linear is for the CPU")
    x, weight, bias, grad_out = (y.requires_grad_() for y in operands((600,), 96, 112))
    # Sums of 600 terms of a graph that lays its operands out otherwise.
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.library.opcheck(torch.ops.lexforge.linear.default, (x, weight, bias), **close)
    torch.library.opcheck(torch.ops.lexforge.linear_gradients.default, (grad_out, x), **close)


@pytest.mark.parametrize("leaf_dtype", [torch.float32, torch.bfloat16])
def test_autocast(leaf_dtype, device):
    x, weight, bias, weights = operands((600,), 96, 112, device=device)
    x = x.to(leaf_dtype)
    with torch.autocast(device.type, torch.bfloat16):
        ours = run(linear, x, weight, bias, weights.bfloat16())
        expected = run(functional.linear, x, weight, bias, weights.bfloat16())
    assert ours[0].dtype == torch.bfloat16
    assert all(torch.equal(y, z) for y, z in zip(ours, expected, strict=True))


def test_errors(device):
    x, weight, bias, _ = operands((4,), 6, 5, device=device)
    for arguments, error, message in (
        ((x, weight[0]), ValueError, r"linear: weight must be \[out, in\], got \[6\]"),
        ((x[:, :5], weight), ValueError, r"linear: x must be \[..., 6\], got \[4, 5\]"),
        ((x[0, 0], weight), ValueError, r"linear: x must be \[..., 6\], got \[\]"),
        ((x, weight, bias[:4]), ValueError, r"linear: bias must be \[5\], got \[4\]"),
        ((x, weight.double()), TypeError, "linear: weight must be float32, got float64"),
        ((x, weight, bias.bfloat16()), TypeError, "linear: bias must be float32, got bfloat16"),
        ((x, weight.to("meta")), ValueError, "linear: weight must be on"),
    ):
        with pytest.raises(error, match=message):
            linear(*arguments)


cpu_kernel = pytest.mark.skipif(_library.emulated(), reason="the kernel is for the CPU")

GRADIENT_SHAPES = [  # T, out, in
    (0, 5, 3),
    (1, 1, 1),
    (7, 59, 5),
    (300, 101, 77),
    (129, 97, 200),
    (513, 6, 64),
    (1000, 384, 129),
    (4, 0, 3),
    (9, 4, 0),
]


@cpu_kernel
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(("rows", "outputs", "inputs"), GRADIENT_SHAPES)
def test_weight_gradient(rows, outputs, inputs, dtype, add):
    generator = torch.Generator().manual_seed(0)
    grad_out = torch.randn(rows, outputs + 3, generator=generator).to(dtype)[:, 1 : outputs + 1]
    x = torch.randn(rows, inputs, generator=generator).to(dtype)
    stat = torch.float64 if dtype == torch.float64 else torch.float32
    weight = torch.randn(outputs, inputs, generator=generator, dtype=stat)
    bias = torch.randn(outputs, generator=generator, dtype=stat)
    expected = grad_out.double().t() @ x.double() + (weight if add else 0)
    expected_bias = grad_out.double().sum(0) + (bias if add else 0)
    if not add:
        weight.fill_(torch.nan)
        bias.fill_(torch.nan)
    torch.ops.lexforge.weight_gradient_.default(weight, bias, grad_out, x, add)
    tolerance = {"rtol": 0, "atol": (1e-12 if dtype == torch.float64 else 5e-6) * (rows + 1) ** 0.5}
    torch.testing.assert_close(weight.double(), expected, **tolerance)
    torch.testing.assert_close(bias.double(), expected_bias, **tolerance)


@cpu_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weight_gradient_is_bit_identical_for_any_threads(dtype):
    generator = torch.Generator().manual_seed(0)
    grad_out = torch.randn(700, 150, generator=generator).to(dtype)
    x = torch.randn(700, 200, generator=generator).to(dtype)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 16):
            torch.set_num_threads(count)
            weight, bias = torch.empty(150, 200), torch.empty(150)
            torch.ops.lexforge.weight_gradient_.default(weight, bias, grad_out, x, False)
            results.append((weight, bias))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(y, z) for y, z in zip(result, results[0], strict=True))


@cpu_kernel
def test_weight_gradient_refuses(device):
    x, weight, bias = torch.zeros(4, 6), torch.zeros(5, 6), torch.zeros(5)
    grad_out = torch.zeros(4, 5)
    for arguments, message in (
        ((weight, bias, grad_out[:3], x), "the same rows"),
        ((weight.t(), bias, grad_out, x), "grad_weight must be contiguous"),
        ((weight[:4], bias, grad_out, x), r"grad_weight must be \[5, 6\], got \[4, 6\]"),
        ((weight, bias[:4], grad_out, x), r"grad_bias must be \[5\], got \[4\]"),
        ((weight, bias, grad_out.double(), x), "x has the wrong dtype"),
        ((weight, bias, grad_out, x.t().contiguous().t()), "x must have stride 1"),
        ((weight.bfloat16(), bias, grad_out, x), "grad_weight has the wrong dtype"),
    ):
        with pytest.raises(RuntimeError, match=message):
            torch.ops.lexforge.weight_gradient_.default(*arguments, False)


ISA_SCRIPT = """
import torch, lexforge
from lexforge.ops.transformer.linear import linear
for dtype in (torch.float32, torch.bfloat16):
    for rows, outputs, inputs in ((300, 101, 77), (129, 6, 200), (1, 1, 1)):
        g, x = torch.randn(rows, outputs).to(dtype), torch.randn(rows, inputs).to(dtype)
        weight, bias = torch.empty(outputs, inputs), torch.empty(outputs)
        torch.ops.lexforge.weight_gradient_.default(weight, bias, g, x, False)
        exact = g.double().t() @ x.double()
        assert (weight - exact).abs().max() < 1e-4, (dtype, rows)
        assert (bias - g.double().sum(0)).abs().max() < 1e-4, (dtype, rows)
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set(isa):
    assert run_under(isa, ISA_SCRIPT).strip() == isa


def test_without_onednn(monkeypatch, device):
    """A torch built without it, and a processor without wide registers, lose speed alone."""
    given = operands((700,), 96, 112, device=device)
    expected = run(functional.linear, *given)
    for name in ("_HAS_ONEDNN", "_HAS_WEIGHT_GRADIENT"):
        monkeypatch.setattr(module, name, False)
        for y, z in zip(run(linear, *given), expected, strict=True):
            torch.testing.assert_close(y, z, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("widens", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_products_of_bfloat16_are_summed_in_float32(bias, widens, monkeypatch):
    monkeypatch.setattr(module, "_WIDENS", widens)
    x, weight = (torch.randn(*size).bfloat16() for size in ((200, 64), (30, 64)))
    b = torch.randn(30).bfloat16() if bias else None
    y = module.product(x, weight, b)
    exact = x.double() @ weight.double().t() + (0 if b is None else b.double())
    assert y.dtype == torch.bfloat16
    assert (y.double() - exact).abs().max() <= 2**-8 * exact.abs().max()
