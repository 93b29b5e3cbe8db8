"""add_layer_norm: values, gradients, dropout, determinism, errors."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch.nn.functional import layer_norm

from common.isa import ISAS, run_under
from lexforge.ops.transformer.add_layer_norm import add_layer_norm, add_layer_norm_sum
from lexforge.reference.transformer import add_layer_norm as reference

DTYPES = (torch.float32, torch.bfloat16)
NAMES = ("x", "residual", "weight", "bias", "x_bias")


def problem(shape, device, *, dtype=torch.float32, seed=0):
    """x, residual, weight, bias, x_bias, and weights for the sum of the results."""
    generator = torch.Generator().manual_seed(seed)
    stat = torch.float64 if dtype == torch.float64 else torch.float32

    def normal(shape, dtype):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)

    rows = [normal(shape, dtype) for _ in range(3)]
    vectors = [normal(shape[-1:], stat) for _ in range(3)]
    return [rows[0] + 1, rows[1], *vectors, rows[2]]


def gradients(function, tensors, **options):
    """The result and the gradients of what is given of x, residual, weight, bias and x_bias."""
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in tensors[:5]]
    y = function(*leaves[:4], x_bias=leaves[4], **options)
    y.backward(tensors[5])
    return [y.detach(), *(leaf.grad for leaf in leaves if leaf is not None)]


def in_dtype(function, dtype):
    """The function on arguments of one dtype, gradients in those of the arguments."""

    def call(*tensors, x_bias=None, **options):
        tensors = [None if t is None else t.to(dtype) for t in (*tensors, x_bias)]
        return function(*tensors[:4], x_bias=tensors[4], **options)

    return call


def plain(x, residual, weight, bias, *, eps=1e-5, dropout_p=0.0, seed=0, x_bias=None, keep=None):
    """What users write, with our mask."""
    h = x if x_bias is None else x + x_bias
    if dropout_p > 0:
        h = h * (keep * (1 / (1 - dropout_p))).to(h.dtype)
    return layer_norm(h if residual is None else residual + h, x.shape[-1:], weight, bias, eps)


def rms(x):
    return x.square().mean().sqrt()


def assert_as_good_as_plain(ours, plain, exact, dtype, terms=0.0):
    """No further from the float64 oracle than twice plain torch of the same precision is.

    That is the error's root mean square; the largest of an entry is more a matter of luck, so it
    may be eight times as large (a lane of AVX2 adds up 513 numbers of a row of 4,104). Tiny
    problems need the allowance of two roundings: of the largest result, or of what is added up to
    it, when `terms` tells how large that may be.
    """
    for i, (x, y, z) in enumerate(zip(ours, plain, exact, strict=True)):
        assert x.shape == z.shape
        if z.numel():
            rounding = 2 * torch.finfo(dtype).eps * max(z.abs().max(), terms)
            error, plain_error = (x.double() - z).abs(), (y.double() - z).abs()
            assert rms(error) <= 2 * rms(plain_error) + rounding, i
            assert error.max() <= 8 * plain_error.max() + rounding, i


SHAPES = [
    (1, 8),
    (7, 5),
    (3, 2, 128),
    (33, 16),
    (59, 97),
    (70, 256),
    (17, 512),
    (9, 768),
    (2, 1, 5, 1024),
    (5, 1999),
    (3, 2048),
    (3, 3072),
    (2, 4096),
    (2, 4104),
    (2, 4101),
]


@pytest.mark.parametrize("with_x_bias", [False, True])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("dropout_p", [0.0, 0.25])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(shape, dtype, dropout_p, with_residual, with_x_bias, device):
    tensors = problem(shape, device, dtype=dtype)
    if not with_residual:
        tensors[1] = None
    if not with_x_bias:
        tensors[4] = None
    keep = reference.dropout_keep(5, dropout_p, shape).to(device)
    options = {"eps": 1e-5, "dropout_p": dropout_p}
    ours = gradients(add_layer_norm, tensors, seed=5, **options)
    peer = gradients(in_dtype(plain, dtype), tensors, keep=keep, **options)
    wide = [None if t is None else t.double() for t in tensors]
    exact = gradients(reference.add_layer_norm, wide, keep=keep, **options)
    assert_as_good_as_plain(ours, peer, exact, dtype)


@pytest.mark.parametrize("with_x_bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_rows(dtype, with_x_bias, device):
    """More groups of rows than one step of their sum takes on CUDA, the last of them shorter."""
    tensors = problem((2123, 8), device, dtype=dtype)
    tensors[4] = tensors[4] if with_x_bias else None
    ours = gradients(add_layer_norm, tensors)
    exact = gradients(in_dtype(plain, torch.float64), tensors)
    if dtype == torch.float64:
        torch.testing.assert_close(ours, exact, rtol=0, atol=1e-11)
    else:
        assert_as_good_as_plain(ours, gradients(plain, tensors), exact, dtype)


@pytest.mark.parametrize("dropout_p", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(19, 31), (2061, 3)])  # few groups of rows, and many
def test_float64(shape, dropout_p, device):
    """With dropout's scale rounded to float32 (common/dropout.h)."""
    kept = 1 - int(dropout_p * 65536 + 0.5) / 65536
    rounding = float(torch.tensor(1 / kept)) * kept if kept > 0 else 1.0

    def rounded(x, *others, x_bias, **options):
        return reference.add_layer_norm(x * rounding, *others, x_bias=x_bias * rounding, **options)

    tensors = problem(shape, device, dtype=torch.float64)
    options = {"eps": 1e-3, "dropout_p": dropout_p, "seed": 2}
    ours = gradients(add_layer_norm, tensors, **options)
    exact = gradients(rounded, tensors, **options)
    # Of three numbers the variance may be next to nothing, and 1 / (variance + eps) a thousand.
    torch.testing.assert_close(ours, exact, rtol=0, atol=1e-11)


def test_by_hand(device):
    """h = (1, 2, 3, 6): mean 3, variance 3.5."""
    x = torch.tensor([[1.0, 1.0, 1.0, 1.0]], device=device)
    residual = torch.tensor([[0.0, 0.0, 1.0, 4.0]], device=device)
    x_bias = torch.tensor([0.0, 1.0, 1.0, 1.0], device=device)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0], device=device)
    bias = torch.tensor([0.5, 0.0, 0.0, -1.0], device=device)
    y = add_layer_norm(x, residual, weight, bias, eps=0.5, x_bias=x_bias)
    torch.testing.assert_close(y.cpu(), torch.tensor([[-0.5, -1.0, 0.0, 5.0]]))


def test_rows_with_a_large_mean(device):
    """The variance is that of the differences from the mean, whatever the mean is."""
    generator = torch.Generator().manual_seed(0)
    x = 3000 + torch.randn(6, 256, generator=generator, dtype=torch.float64)
    x = x.float().to(device)
    one, zero = torch.ones(256, device=device), torch.zeros(256, device=device)
    exact = layer_norm(x.double(), (256,))
    torch.testing.assert_close(
        add_layer_norm(x, None, one, zero, eps=0).double(), exact, rtol=0, atol=2e-3
    )
    same = torch.full((3, 256), 7.0, device=device)
    assert torch.equal(add_layer_norm(same, None, one, zero), torch.zeros_like(same))


@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("dim", [7, 16])
def test_gradcheck(dim, with_residual, device):
    tensors = problem((5, dim), device, dtype=torch.float64)
    leaves = [t.requires_grad_() for t in tensors[:5]]
    if not with_residual:
        leaves[1] = None
    for dropout_p in (0.0, 0.25):

        def call(x, residual, weight, bias, x_bias, dropout_p=dropout_p):
            options = {"dropout_p": dropout_p, "seed": 3, "x_bias": x_bias}
            return add_layer_norm(x, residual, weight, bias, **options)

        assert torch.autograd.gradcheck(call, leaves)


@pytest.mark.parametrize("given", [(), ("residual",), ("x_bias",), ("residual", "x_bias", "seed")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype, given, device):
    x, residual, weight, bias, x_bias, grad = problem((6, 24), device, dtype=dtype)
    residual = residual if "residual" in given else None
    x_bias = x_bias if "x_bias" in given else None
    seed = torch.tensor([7], device=device) if "seed" in given else None
    dropout_p = 0.1 if "seed" in given else 0.0
    arguments = (x, residual, x_bias, weight, bias)
    leaves = [None if t is None else t.clone().requires_grad_() for t in arguments]
    op, backward = (
        torch.ops.lexforge.add_layer_norm.default,
        torch.ops.lexforge.add_layer_norm_backward.default,
    )
    torch.library.opcheck(op, (*leaves, seed, 1e-5, dropout_p))
    _, mean, rstd = op(*arguments, seed, 1e-5, dropout_p)
    torch.library.opcheck(
        backward, (grad, x, residual, x_bias, weight, mean, rstd, seed, dropout_p)
    )


@pytest.mark.parametrize("seed", [None, 3])
def test_compiles_without_graph_breaks(seed, device):
    tensors = problem((4, 6, 16), device)

    def step(x, residual, weight, bias, x_bias=None):
        options = {"dropout_p": 0.25, "seed": seed, "x_bias": x_bias}
        return add_layer_norm(x * 2, residual, weight, bias, **options).sin()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    ours = gradients(compiled, tensors)
    assert [t.shape for t in ours[1:]] == [t.shape for t in tensors[:5]]
    if seed is not None:
        for x, y in zip(ours, gradients(step, tensors), strict=True):
            torch.testing.assert_close(x, y)


def test_differentiable_once(device):
    tensors = problem((4, 8), device)
    x = tensors[0].requires_grad_()
    y = add_layer_norm(x, *tensors[1:4])
    (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        grad.sum().backward()


@pytest.mark.parametrize("shape", [(0, 8), (3, 0, 8), (0, 5)])
def test_empty(shape, device):
    tensors = problem(shape, device)
    y, x, residual, weight, bias, x_bias = gradients(add_layer_norm, tensors, dropout_p=0.1, seed=1)
    assert y.shape == x.shape == residual.shape == shape
    for grad in (weight, bias, x_bias):
        assert torch.equal(grad, torch.zeros_like(tensors[2]))


def test_rows_of_one_number(device):
    """The variance of one number is 0: the result is the bias, the gradient of x a rounding."""
    tensors = problem((5, 1), device)
    y, x, *_ = gradients(add_layer_norm, tensors)
    assert torch.equal(y, tensors[3].expand(5, 1))
    product = tensors[2] * tensors[5]  # of weight and gradient, less the mean of these
    assert (x.abs() <= 1e-5**-0.5 * torch.finfo(x.dtype).eps * product.abs()).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_views(dtype, device):
    """Strided, transposed and unaligned tensors give what their contiguous copies give."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(2, 9, 66, generator=generator).to(device, dtype)
    vectors = torch.randn(3, 66, generator=generator).to(device)
    views = [*wide[:, :, 1:65].unbind(0), *vectors[:, 1:65].unbind(0)]
    flat = torch.randn(2, 9 * 64 + 1, generator=generator).to(device, dtype)[:, 1:]
    views.append(flat[0].view(9, 64))
    options = {"dropout_p": 0.2, "seed": 4}
    ours = gradients(add_layer_norm, views, **options)
    copies = gradients(add_layer_norm, [t.contiguous().clone() for t in views], **options)
    unaligned = [flat[1].view(9, 64), *views[1:]]
    assert_close = functools.partial(torch.testing.assert_close, rtol=0, atol=2e-6)
    if dtype == torch.bfloat16:
        assert_close = functools.partial(torch.testing.assert_close, rtol=1e-2, atol=1e-5)
    for x, y in zip(ours, copies, strict=True):
        assert_close(x, y)
    clones = [t.contiguous().clone() for t in unaligned]
    for x, y in zip(
        gradients(add_layer_norm, unaligned, **options),
        gradients(add_layer_norm, clones, **options),
        strict=True,
    ):
        assert_close(x, y)


@pytest.mark.parametrize("shape", [(4, 16), (2, 3, 16)])
def test_gradients_share_no_memory(shape, device):
    """Those of x and the residual are equal without dropout; adding to one leaves the other."""
    x, residual, weight, bias, _, grad = problem(shape, device)
    leaves = [x.requires_grad_(), residual.requires_grad_()]
    for _ in range(2):
        add_layer_norm(*leaves, weight, bias).backward(grad)
    alone = x.detach().clone().requires_grad_()
    add_layer_norm(alone, residual.detach(), weight, bias).backward(grad)
    torch.testing.assert_close(x.grad, 2 * alone.grad)
    torch.testing.assert_close(residual.grad, 2 * alone.grad)


# ---- With the sum --------------------------------------------------------------------------------


def sum_gradients(function, tensors, **options):
    """The sum, its norm, and the gradients of what is given."""
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in tensors[:5]]
    total, y = function(*leaves[:4], x_bias=leaves[4], **options)
    torch.autograd.backward([total, y], [tensors[5].flip(0), tensors[5]])
    return [total.detach(), y.detach(), *(leaf.grad for leaf in leaves if leaf is not None)]


def plain_sum(
    x, residual, weight, bias, *, eps=1e-5, dropout_p=0.0, seed=0, x_bias=None, keep=None
):
    """What users write, with our mask."""
    h = x if x_bias is None else x + x_bias
    if dropout_p > 0:
        h = h * (keep * (1 / (1 - dropout_p))).to(h.dtype)
    total = residual + h
    return total, layer_norm(total, x.shape[-1:], weight, bias, eps)


@pytest.mark.parametrize("given", [("bias", "x_bias"), ("bias",), ()])
@pytest.mark.parametrize("dropout_p", [0.0, 0.25])
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
@pytest.mark.parametrize("shape", [(7, 5), (3, 2, 128), (59, 97), (70, 256), (2, 1024), (2, 4104)])
def test_sum_and_norm(shape, dtype, dropout_p, given, device):
    tensors = problem(shape, device, dtype=dtype)
    for i, name in enumerate(NAMES[3:], 3):
        tensors[i] = tensors[i] if name in given else None
    keep = reference.dropout_keep(5, dropout_p, shape).to(device)
    options = {"eps": 1e-3, "dropout_p": dropout_p}
    ours = sum_gradients(add_layer_norm_sum, tensors, seed=5, **options)
    peer = sum_gradients(in_dtype(plain_sum, dtype), tensors, keep=keep, **options)
    wide = [None if t is None else t.double() for t in tensors]
    exact = sum_gradients(plain_sum, wide, keep=keep, **options)
    assert [t.dtype for t in ours] == [t.dtype for t in peer]
    assert_as_good_as_plain(ours, peer, exact, dtype if dtype in DTYPES else torch.float32)


def test_sum_is_what_is_normalised(device):
    """The norm is that of the rounded sum, bit for bit."""
    x, residual, weight, bias, x_bias, _ = problem((9, 64), device, dtype=torch.bfloat16)
    total, y = add_layer_norm_sum(x, residual, weight, bias, x_bias=x_bias)
    assert torch.equal(y, add_layer_norm(total, None, weight, bias))
    exact = x.double() + x_bias.double() + residual.double()
    torch.testing.assert_close(total.double(), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("dropout_p", [0.0, 0.25])
def test_sum_gradcheck(dropout_p, device):
    tensors = problem((5, 7), device, dtype=torch.float64)
    leaves = [t.requires_grad_() for t in tensors[:5]]

    def call(x, residual, weight, bias, x_bias):
        options = {"dropout_p": dropout_p, "seed": 3, "x_bias": x_bias}
        return add_layer_norm_sum(x, residual, weight, bias, **options)

    assert torch.autograd.gradcheck(call, leaves)


@pytest.mark.parametrize("used", [0, 1])
def test_only_the_sum_or_the_norm_is_used(used, device):
    tensors = problem((6, 24), device)
    leaves = [t.clone().requires_grad_() for t in tensors[:4]]
    add_layer_norm_sum(*leaves)[used].backward(tensors[5])
    others = [t.clone().requires_grad_() for t in tensors[:4]]
    plain_sum(*others)[used].backward(tensors[5])
    for leaf, other in zip(leaves, others, strict=True):
        expected = torch.zeros_like(other) if other.grad is None else other.grad
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dropout_p", [0.0, 0.1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_opcheck(dtype, dropout_p, device):
    x, residual, weight, bias, x_bias, grad = problem((6, 24), device, dtype=dtype)
    seed = torch.tensor([7], device=device) if dropout_p else None
    arguments = (x, residual, x_bias, weight, bias)
    op = torch.ops.lexforge.add_layer_norm_sum.default
    backward = torch.ops.lexforge.add_layer_norm_sum_backward.default
    leaves = [t.clone().requires_grad_() for t in arguments]
    torch.library.opcheck(op, (*leaves, seed, 1e-5, dropout_p))
    total, _, mean, rstd = op(*arguments, seed, 1e-5, dropout_p)
    for grad_sum, with_x_bias in ((grad, True), (None, False)):
        torch.library.opcheck(
            backward,
            (grad_sum, grad, total, with_x_bias, weight, mean, rstd, seed, dropout_p),
        )


@pytest.mark.parametrize("isa", ISAS)
def test_sum_on_every_instruction_set(isa):
    assert run_under(isa, SUM_ISA_SCRIPT).strip() == isa


SUM_ISA_SCRIPT = """
import torch, lexforge
from transformer import test_add_layer_norm as tests
given, cpu = ("bias", "x_bias"), torch.device("cpu")
for dtype in (torch.float32, torch.bfloat16, torch.float64):
    for dropout_p in (0.0, 0.25):
        tests.test_sum_and_norm((13, 37), dtype, dropout_p, given, cpu)
print(lexforge.cpu_capability())
"""


# ---- Dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 128), (11, 97), (3, 5000), (2, 3, 8), (64, 3)])
def test_what_is_dropped(shape, device):
    """The mask is the reference's: the gradient of x is that of the residual, or zero."""
    tensors = problem(shape, device)
    _, x, residual, *_ = gradients(add_layer_norm, tensors, dropout_p=0.3, seed=11)
    keep = reference.dropout_keep(11, 0.3, shape).to(device)
    scale = 65536 / (65536 - int(0.3 * 65536 + 0.5))
    torch.testing.assert_close(x, torch.where(keep, residual * scale, 0), rtol=1e-6, atol=0)
    assert torch.equal(x[~keep], torch.zeros_like(x[~keep]))


def test_the_mask_does_not_depend_on_the_rows(device):
    """It follows the flat index: other shapes of the same elements drop the same."""
    grads = {}
    for shape in ((6, 64), (48, 8), (2, 192), (128, 3)):
        *tensors, _ = problem(shape, device)
        tensors.append(torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(device))
        grads[shape] = gradients(add_layer_norm, tensors, dropout_p=0.5, seed=1)[1].flatten() == 0
    first, *others = grads.values()
    assert 120 < first.sum() < 260
    for other in others:
        assert torch.equal(first, other)


def test_dropout_keeps_its_share():
    """Kept elements are binomial, along rows and along columns; rows are not alike."""
    p, n = 0.1, 1024
    keep = reference.dropout_keep(1, p, (n, n)).double()
    for counts in (keep.sum(-1), keep.sum(0)):
        z = (counts - n * (1 - p)) / math.sqrt(n * p * (1 - p))
        assert 0.85 < z.square().mean() < 1.15
    for step in (1, 2, 7, 8):
        neighbours = (keep[:, step:] * keep[:, :-step]).mean()
        assert abs(neighbours - (1 - p) ** 2) < 0.002
    assert abs((keep[1:] * keep[:-1]).mean() - (1 - p) ** 2) < 0.002


@pytest.mark.parametrize("with_x_bias", [False, True])
def test_all_dropped(with_x_bias, device):
    x, residual, weight, bias, x_bias, grad = problem((5, 40), device)
    x_bias = x_bias if with_x_bias else None
    x[1] = math.inf
    tensors = [x, residual, weight, bias, x_bias, grad]
    y, grad_x, *_ = gradients(add_layer_norm, tensors, dropout_p=1.0, seed=1)
    assert torch.equal(y, add_layer_norm(residual, None, weight, bias))
    assert torch.equal(grad_x, torch.zeros_like(x))


def test_dropped_elements_may_hold_anything(device):
    x, residual, weight, bias, _, _ = problem((8, 48), device)
    keep = reference.dropout_keep(3, 0.5, (8, 48)).to(device)
    run = functools.partial(add_layer_norm, dropout_p=0.5, seed=3)
    expected = run(x, residual, weight, bias)
    assert torch.equal(run(x.masked_fill(~keep, math.nan), residual, weight, bias), expected)


def test_a_tiny_rate_is_none(device):
    """Below 2^-17 dropout_p rounds to zero."""
    tensors = problem((5, 24), device)
    for x, y in zip(
        gradients(add_layer_norm, tensors, dropout_p=1e-6, seed=1),
        gradients(add_layer_norm, tensors),
        strict=True,
    ):
        assert torch.equal(x, y)


def test_seeds(device):
    tensors = problem((20, 40), device)[:4]
    run = functools.partial(add_layer_norm, *tensors, dropout_p=0.5)
    assert torch.equal(run(seed=4), run(seed=4))
    assert not torch.equal(run(seed=4), run(seed=5))
    assert torch.equal(run(seed=4), run(seed=torch.tensor([4], device=device)))
    assert torch.equal(run(seed=2**64 - 1), run(seed=-1))
    generator = torch.Generator().manual_seed(1)
    assert not torch.equal(run(seed=generator), run(seed=generator))
    torch.manual_seed(1)
    first, second = run(), run()
    torch.manual_seed(1)
    assert torch.equal(run(), first)
    assert not torch.equal(first, second)


# ---- Determinism and instruction sets ------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1030, 40), (37, 1000)])
def test_bit_identical_for_any_threads(shape, dtype, device):
    tensors = problem(shape, device, dtype=dtype)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append(gradients(add_layer_norm, tensors, dropout_p=0.1, seed=1))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


ISA_SCRIPT = """
import torch, lexforge
from lexforge.ops.transformer.add_layer_norm import add_layer_norm
from lexforge.reference.transformer import add_layer_norm as reference
generator = torch.Generator().manual_seed(0)
for dtype in (torch.float32, torch.bfloat16):
    for shape in ((5, 1), (9, 8), (40, 33), (70, 128), (6, 4500)):
        rows = torch.randn(3, *shape, generator=generator).to(dtype)
        vectors = torch.randn(3, shape[-1], generator=generator)
        results = []
        for kind in (None, torch.float64):
            leaves = [t.to(kind or t.dtype).requires_grad_() for t in (*rows[:2], *vectors)]
            function = add_layer_norm if kind is None else reference.add_layer_norm
            y = function(*leaves[:4], x_bias=leaves[4], dropout_p=0.2, seed=8)
            y.backward(rows[2].to(y.dtype))
            results.append([y.detach(), *(leaf.grad for leaf in leaves)])
        for x, y in zip(*results):
            bound = 2e-6 if dtype == torch.float32 else 4e-3
            assert (x.double() - y).abs().max() <= bound * (1 + y.abs().max()), (dtype, shape)
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa):
    assert run_under(isa, ISA_SCRIPT).strip() == isa


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_stays(dtype, device):
    x, residual, weight, bias, _, _ = problem((4, 24), device, dtype=dtype)
    x[2, 5] = math.nan
    y = add_layer_norm(x, residual, weight, bias)
    assert y[2].isnan().all()
    assert y[[0, 1, 3]].isfinite().all()


# ---- Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "x must be float32, bfloat16 or float64", {"x": torch.Tensor.half}),
        (ValueError, r"x must be \[..., H\], got \[\]", {"x": torch.Tensor.sum}),
        (ValueError, r"H at least 1, got \[9, 0\]", {"x": lambda x: x[:, :0]}),
        (TypeError, "residual must be float32, got float64", {"residual": torch.Tensor.double}),
        (ValueError, r"residual must be \[9, 8\], got \[8, 8\]", {"residual": lambda x: x[1:]}),
        (ValueError, "residual must be on .* got meta", {"residual": lambda x: x.to("meta")}),
        (TypeError, "weight must be float32", {"weight": torch.Tensor.bfloat16}),
        (ValueError, r"weight must be \[8\], got \[7\]", {"weight": lambda x: x[1:]}),
        (ValueError, r"bias must be \[8\], got \[1, 8\]", {"bias": lambda x: x[None]}),
        (TypeError, "bias must be float32", {"bias": torch.Tensor.double}),
        (ValueError, r"x_bias must be \[8\]", {"x_bias": lambda x: x[1:]}),
        (ValueError, "x_bias must be on", {"x_bias": lambda x: x.to("meta")}),
        (ValueError, "eps must be finite and >= 0, got -1", {"eps": lambda x: -1.0}),
        (ValueError, "eps must be finite and >= 0, got nan", {"eps": lambda x: math.nan}),
        (ValueError, r"dropout_p must be in \[0, 1\], got 1.5", {"dropout_p": lambda x: 1.5}),
        (ValueError, "seed must be one int64", {"seed": lambda x: torch.zeros(2)}),
        (TypeError, "seed must be an int", {"seed": lambda x: "1"}),
    ],
)
def test_errors(error, match, changes, device):
    arguments = dict(zip(NAMES, problem((9, 8), device)[:5], strict=True))
    arguments |= {"eps": 1e-5, "dropout_p": 0.5, "seed": None}
    arguments |= {name: change(arguments[name]) for name, change in changes.items()}
    with pytest.raises(error, match=match):
        add_layer_norm(**arguments)


def test_op_itself_refuses_what_memory_safety_needs(device):
    x, residual, weight, bias, x_bias, grad = problem((9, 8), device)
    op = torch.ops.lexforge.add_layer_norm.default
    good = {"x": x, "residual": residual, "x_bias": x_bias, "weight": weight, "bias": bias}
    good |= {"seed": None, "eps": 1e-5, "dropout_p": 0.0}
    op(*good.values())
    for match, change in (
        ("x must have 2 dimensions", {"x": x[None]}),
        ("x must be contiguous", {"x": x.t().contiguous().t()}),
        ("x must be float32", {"x": x.half(), "residual": None}),
        ("residual must have the shape of x", {"residual": residual[1:]}),
        ("residual has the wrong dtype", {"residual": residual.bfloat16()}),
        (r"x_bias must be \[8\]", {"x_bias": x_bias[1:]}),
        ("weight has the wrong dtype", {"weight": weight.double()}),
        (r"bias must be \[8\]", {"bias": bias[1:]}),
        ("seed must be one int64", {"dropout_p": 0.5}),
        (r"dropout_p must be in \[0, 1\]", {"dropout_p": -0.5}),
        ("eps must be", {"eps": math.inf}),
        ("H must be at least 1", {"x": x[:, :0].contiguous(), "residual": None}),
    ):
        with pytest.raises(RuntimeError, match=match):
            op(*(good | change).values())
    _, mean, rstd = op(*good.values())
    backward = torch.ops.lexforge.add_layer_norm_backward.default
    for match, rows, stats in (
        ("grad_y must have the shape of x", grad[1:], mean),
        (r"mean must be \[9\]", grad, mean[1:]),
        ("mean has the wrong dtype", grad, mean.double()),
    ):
        with pytest.raises(RuntimeError, match=match):
            backward(rows, x, residual, x_bias, weight, stats, rstd, None, 0.0)
