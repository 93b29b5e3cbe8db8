"""bias_activation: values, gradients, limits, determinism, errors."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from common.isa import ISAS, run_under
from lexforge.ops.transformer.bias_activation import bias_activation
from lexforge.reference.transformer.bias_activation import ACTIVATIONS
from lexforge.reference.transformer.bias_activation import bias_activation as reference
from transformer.test_add_layer_norm import assert_as_good_as_plain

DTYPES = (torch.float32, torch.bfloat16)


def problem(shape, device, *, dtype=torch.float32, seed=0):
    """x, bias, and weights for the sum of the results."""
    generator = torch.Generator().manual_seed(seed)

    def normal(shape, dtype):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)

    stat = torch.float64 if dtype == torch.float64 else torch.float32
    return [2 * normal(shape, dtype), normal(shape[-1:], stat), normal(shape, dtype)]


def gradients(function, tensors, **options):
    """The result and the gradients of x and, if there is one, the bias."""
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in tensors[:2]]
    out = function(*leaves, **options)
    out.backward(tensors[2].to(out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf is not None)]


SHAPES = [(1, 1), (7, 5), (3, 2, 128), (59, 97), (130, 256), (9, 768), (3, 3072), (200, 33)]


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(shape, dtype, activation, with_bias, device):
    tensors = problem(shape, device, dtype=dtype)
    if not with_bias:
        tensors[1] = None
    ours = gradients(bias_activation, tensors, activation=activation)
    plain = gradients(reference, tensors, activation=activation)
    wide = [None if t is None else t.double() for t in tensors]
    exact = gradients(reference, wide, activation=activation)
    assert [x.dtype for x in ours] == [dtype, dtype, torch.float32][: len(ours)]
    # gelu.h: values are right to 5e-7 of themselves, 2.1 times two roundings, slopes to 3e-7, 1.3
    # times. The derivative may be a difference of two terms, as that of gelu is near -0.75.
    values, terms = exact[0].abs().max(), tensors[2].double().abs().max()
    assert_as_good_as_plain(ours[:1], plain[:1], exact[:1], dtype, 2.1 * values)
    assert_as_good_as_plain(ours[1:], plain[1:], exact[1:], dtype, 1.3 * terms)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float64(activation, device):
    tensors = problem((70, 31), device, dtype=torch.float64)
    ours = gradients(bias_activation, tensors, activation=activation)
    exact = gradients(reference, tensors, activation=activation)
    for x, z in zip(ours, exact, strict=True):
        torch.testing.assert_close(x, z, rtol=1e-12, atol=1e-12)


def grid(device):
    """Every float32 exponent, all of [-20, 20] finely, both signs, odd in number."""
    powers = torch.arange(-149, 128, dtype=torch.float64).exp2() * 1.37
    fine = torch.linspace(0, 20, 40_001, dtype=torch.float64)
    x = torch.cat([powers, fine, torch.tensor([3.4e38])]).float()
    return torch.cat([x, -x, x.new_zeros(1)]).to(device)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "tanh"])
def test_whole_range(activation, device):
    """Against float64: no further off than torch anywhere, in roundings of max(1, |z|)."""
    x = grid(device)[:, None]
    ones = torch.ones_like(x)
    ours = gradients(bias_activation, [x, None, ones], activation=activation)
    plain = gradients(reference, [x, None, ones], activation=activation)
    exact = gradients(reference, [x.double(), None, ones], activation=activation)
    if activation == "gelu":
        exact[0] = torch.where(x < -40, 0.0, exact[0])
        exact[1] = torch.where(x.abs() > 40, (x > 0).double(), exact[1])
    scale = exact[0].abs().clamp(min=1)
    for y, other, z in zip(ours, plain, exact, strict=True):
        assert y.isfinite().all()
        bound = max(((other.double() - z) / scale).abs().nan_to_num().max().item(), 1.2e-7)
        assert ((y.double() - z) / scale).abs().max() <= 2 * bound


def test_gelu_far_into_the_negative(device):
    """z Phi(z) keeps its relative accuracy where 1 + erf has none left."""
    x = torch.linspace(-9, -0.01, 5000, device=device)
    exact = 0.5 * x.double() * torch.special.erfc(-x.double() / math.sqrt(2))
    error = (bias_activation(x, None).double() - exact).abs() / exact.abs()
    assert error.max() <= 2e-5


def test_gelu_tanh_far_into_the_negative(device):
    """z S(2 u) keeps its relative accuracy where 1 + tanh has none left."""
    x = torch.linspace(-9, -0.01, 5000, device=device)
    wide = x.double()
    exact = wide * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3))
    error = (bias_activation(x, None, activation="gelu_tanh").double() - exact).abs() / exact.abs()
    assert error.max() <= 2e-5


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_gelu_error_bounds(tmp_path):
    """Those that csrc/transformer/gelu.h states, over a dense sweep; limits, zeros and NaN."""
    here = Path(__file__).resolve().parent
    program = tmp_path / "gelu"
    flags = ["-std=c++20", "-O2", "-ffp-contract=off", f"-I{here.parents[1] / 'csrc'}"]
    subprocess.run(["g++", *flags, str(here / "gelu.cpp"), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
@pytest.mark.parametrize("width", [1, 5, 8, 16, 24])
def test_limits_and_nan(width, dtype, device):
    """At infinity the limits; NaN stays, in its own place only."""
    x = torch.tensor([math.inf, -math.inf, math.nan, 1.0], device=device, dtype=dtype)
    x = x.repeat(width)[: 4 * width].view(-1, width)
    ones = torch.ones_like(x)
    expected = {
        "gelu": ((math.inf, 0.0), (1.0, 0.0)),
        "gelu_tanh": ((math.inf, 0.0), (1.0, 0.0)),
        "relu": ((math.inf, 0.0), (1.0, 0.0)),
        "tanh": ((1.0, -1.0), (0.0, 0.0)),
    }
    for activation, (values, slopes) in expected.items():
        out, grad = gradients(bias_activation, [x, None, ones], activation=activation)
        for result, limits in ((out, values), (grad, slopes)):
            for infinite, limit in zip((math.inf, -math.inf), limits, strict=True):
                reached = result[x == infinite]
                wanted = torch.full_like(reached, limit)
                near = 2e-36 if limit == 0 else torch.finfo(dtype).eps / 2  # the number before 1
                torch.testing.assert_close(reached, wanted, rtol=0, atol=near)
            assert result[x == 1.0].isfinite().all(), activation
        assert out[x.isnan()].isnan().all(), activation


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradcheck(activation, with_bias, device):
    x, bias, _ = problem((70, 3), device, dtype=torch.float64)
    leaves = [x.requires_grad_(), bias.requires_grad_() if with_bias else None]
    assert torch.autograd.gradcheck(lambda *t: bias_activation(*t, activation=activation), leaves)


def test_second_derivatives_are_refused(device):
    x, bias, _ = problem((4, 3), device)
    x.requires_grad_()
    (grad,) = torch.autograd.grad(bias_activation(x, bias).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        grad.sum().backward()


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype, with_bias, device):
    x, bias, grad = problem((6, 24), device, dtype=dtype)
    bias = bias if with_bias else None
    leaves = [None if t is None else t.clone().requires_grad_() for t in (x, bias)]
    torch.library.opcheck(torch.ops.lexforge.bias_activation.default, (*leaves, 0))
    torch.library.opcheck(torch.ops.lexforge.bias_activation_backward.default, (grad, x, bias, 2))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_compiles_without_graph_breaks(activation, device):
    tensors = problem((4, 6, 16), device)

    def step(x, bias):
        return bias_activation(x * 2, bias, activation=activation).sin()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for x, y in zip(gradients(compiled, tensors), gradients(step, tensors), strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bit_identical_for_any_threads(dtype, device):
    tensors = problem((1234, 130), device, dtype=dtype)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append(gradients(bias_activation, tensors))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_layout(dtype, device):
    """Transposed, strided and unaligned inputs give what their copies give."""
    x, bias, grad = problem((40, 24), device, dtype=dtype)
    expected = gradients(bias_activation, [x, bias, grad])
    wide = torch.zeros(40, 27, device=device, dtype=dtype)
    wide[:, 3:] = x
    flat = torch.zeros(1 + x.numel(), device=device, dtype=dtype)
    flat[1:] = x.flatten()
    for other in (x.t().contiguous().t(), wide[:, 3:], flat[1:].view(40, 24)):
        leaves = [other.detach().requires_grad_(), bias.clone().requires_grad_()]
        out = bias_activation(*leaves)
        out.backward(grad.t().contiguous().t())
        for y, z in zip((out, *(leaf.grad for leaf in leaves)), expected, strict=True):
            torch.testing.assert_close(y, z)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0), (2, 0, 8)])
def test_empty(shape, device):
    out, grad_x, grad_bias = gradients(bias_activation, problem(shape, device))
    assert out.shape == grad_x.shape == shape
    assert torch.equal(grad_bias, torch.zeros(shape[-1], device=device))


def test_vector(device):
    x, bias, _ = problem((6,), device)
    torch.testing.assert_close(bias_activation(x, bias), functional.gelu(x + bias))


ISA_SCRIPT = """
import torch, lexforge
from lexforge.ops.transformer.bias_activation import bias_activation
from lexforge.reference.transformer.bias_activation import ACTIVATIONS, bias_activation as reference
generator = torch.Generator().manual_seed(0)
for dtype in (torch.float32, torch.bfloat16, torch.float64):
    for activation in ACTIVATIONS:
        for width in (1, 3, 8, 33, 64):
            x = (4 * torch.randn(150, width, generator=generator)).to(dtype)
            bias = torch.randn(width, generator=generator)
            results = []
            for kind, to in ((bias_activation, dtype), (reference, torch.float64)):
                stat = torch.float64 if to == torch.float64 else torch.float32
                leaves = [x.to(to, copy=True).requires_grad_()]
                leaves.append(bias.to(stat, copy=True).requires_grad_())
                out = kind(*leaves, activation=activation)
                out.backward(torch.ones_like(out))
                results.append([t.double() for t in (out, leaves[0].grad, leaves[1].grad)])
            bound = {torch.float32: 4e-7, torch.bfloat16: 4e-3, torch.float64: 1e-14}[dtype]
            for i, (y, z) in enumerate(zip(*results)):
                worst = (y - z).abs().max() / z.abs().max().clamp(min=1)
                assert worst <= bound * (1 if i < 2 else 20), (dtype, activation, width, i, worst)
infinite = torch.tensor([float("inf"), -float("inf"), float("nan")])
assert bias_activation(infinite, None).tolist()[:2] == [float("inf"), 0.0]
assert bias_activation(infinite, None)[2].isnan()
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa):
    assert run_under(isa, ISA_SCRIPT).strip() == isa


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "x must be float32, bfloat16 or float64, got", {"x": torch.Tensor.half}),
        (TypeError, "bias must be float32, got float16", {"bias": torch.Tensor.half}),
        (TypeError, "bias must be float64, got float32", {"x": torch.Tensor.double}),
        (ValueError, r"bias must be \[8\], got \[7\]", {"bias": lambda b: b[:7]}),
        (ValueError, r"bias must be \[8\], got \[1, 8\]", {"bias": lambda b: b[None]}),
        (ValueError, r"x must be \[..., H\]", {"x": lambda x: x[0, 0]}),
        (ValueError, "bias must be on", {"bias": lambda b: b.to("meta")}),
        (
            ValueError,
            "activation must be one of gelu, relu, tanh, gelu_tanh, got 'selu'",
            {"activation": "selu"},
        ),
    ],
)
def test_errors(error, match, changes, device):
    x, bias, _ = problem((3, 8), device)
    arguments = {"x": x, "bias": bias, "activation": "gelu"}
    for name, change in changes.items():
        arguments[name] = change if isinstance(change, str) else change(arguments[name])
    with pytest.raises(error, match=match):
        bias_activation(arguments["x"], arguments["bias"], activation=arguments["activation"])


def test_op_itself_refuses_what_memory_safety_needs(device):
    x, bias, grad = problem((3, 8), device)
    op = torch.ops.lexforge.bias_activation.default
    for match, arguments in (
        ("x must have 2 dimensions", (x[0], bias, 0)),
        ("x must be contiguous", (x.t(), bias, 0)),
        ("bias has the wrong dtype", (x, bias.double(), 0)),
        (r"bias must be \[8\]", (x, bias[:7].contiguous(), 0)),
        ("activation must be 0 to 3, got 4", (x, bias, 4)),
        ("x must be float32", (x.half(), bias, 0)),
    ):
        with pytest.raises(RuntimeError, match=match):
            op(*arguments)
    with pytest.raises(RuntimeError, match="grad_out must have the shape of x"):
        torch.ops.lexforge.bias_activation_backward.default(grad[:2], x, bias, 0)
