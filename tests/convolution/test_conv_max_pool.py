"""conv_max_pool: values, gradients, determinism, errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops import conv_max_pool
from lexforge.reference.convolution import conv_max_pool as reference

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
# Of the largest number: a rounding of every tap and of the result, or those of sums.
BOUNDS = {torch.float32: 3e-6, torch.bfloat16: 8e-3, torch.float64: 1e-14}
OPS = torch.ops.lexforge


def problem(dim, channels, taps, device, *, lengths=(5, 0, 9, 1, 70), rows=31, dtype=torch.float32):
    """(x, cu_seqlens, weight, bias, index), of numbers that bfloat16 has."""
    generator = torch.Generator().manual_seed(dim + channels)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).bfloat16().to(device, dtype)

    bounds = functional.pad(torch.tensor(lengths, dtype=torch.int64).cumsum(0), (1, 0)).to(device)
    index = torch.randint(0, rows, (sum(lengths),), generator=generator).to(device)
    return normal(rows, dim), bounds, normal(channels, dim, taps), normal(channels), index


def results(function, x, bounds, weight, bias, index=None, **options):
    """The result and the gradients of x, weight and bias."""
    leaves = [t.detach().clone().requires_grad_() for t in (x, weight, bias) if t is not None]
    given = leaves[2] if bias is not None else None
    out = function(leaves[0], bounds, leaves[1], given, index, **options)
    generator = torch.Generator().manual_seed(99)
    grad = torch.randn(out.shape, generator=generator).bfloat16()
    out.backward(grad.to(out.device, out.dtype))
    assert out.dtype == x.dtype
    grads = (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves)
    return [out.detach(), *grads]


def doubles(tensors):
    return [t.double() if t is not None and t.is_floating_point() else t for t in tensors]


def assert_right(arguments, min_length=None, function=conv_max_pool):
    """Against float64: the greatest sums, and the gradients of the positions that were chosen.

    What is equal but for roundings may be chosen instead of the greatest.
    """
    x, bounds, weight, bias, index = arguments
    ours = results(function, *arguments, min_length=min_length)
    place = OPS.conv_max_pool(
        x.contiguous(),
        bounds.int(),
        weight.permute(2, 0, 1).contiguous(),
        None if bias is None else bias.to(torch.promote_types(x.dtype, torch.float32)),
        None if index is None else index.int(),
        min_length or weight.shape[2],
    )[1]
    wide = doubles(arguments)
    greatest = reference.conv_max_pool(*wide, min_length=min_length)
    exact = results(reference.conv_max_pool, *wide, min_length=min_length, place=place)
    for found, wanted in zip([ours[0], *ours], [greatest, *exact], strict=True):
        scale = max(1.0, wanted.abs().max().item()) if wanted.numel() else 1.0
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=BOUNDS[x.dtype] * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("dim", "channels", "taps"),
    [(1, 1, 1), (8, 5, 3), (24, 16, 2), (7, 17, 4), (72, 33, 1), (40, 70, 5), (130, 64, 3)],
)
@pytest.mark.parametrize("indexed", [False, True])
def test_values_and_gradients(indexed, dim, channels, taps, dtype, device):
    x, bounds, weight, bias, index = problem(dim, channels, taps, device, dtype=dtype)
    if not indexed:
        x, index = x[index], None
    arguments = (x, bounds, weight, bias, index)
    assert_right(arguments)
    arguments = (x, bounds.int(), weight, None, None if index is None else index.int())
    assert_right(arguments, min_length=8)


def test_products_in_blocks(device):
    """More rows than one product of bfloat16 takes, and no multiple of them."""
    assert_right(problem(4, 3, 2, device, lengths=(40, 60), rows=2500, dtype=torch.bfloat16))


def test_as_plain_torch_pads(device):
    """A text alone, padded by zeros to the widest filter: Conv1d and a maximum."""
    x, _, weight, bias, _ = problem(6, 4, 3, device)
    for length in range(8):
        bounds = torch.tensor([0, length], device=device)
        padded = functional.pad(x[:length], (0, 0, 0, max(0, 5 - length)))
        expected = functional.conv1d(padded.t()[None], weight, bias).amax(2)
        ours = conv_max_pool(x[:length], bounds, weight, bias, min_length=5)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_padding_is_no_maximum(device):
    """All sums are below zero: what follows a text of K tokens must not win."""
    x = torch.ones(7, 2, device=device)
    weight, bounds = -torch.ones(3, 2, 2, device=device), torch.tensor([0, 2, 3, 7], device=device)
    assert conv_max_pool(x, bounds, weight)[:, 0].tolist() == [-4, -2, -4]
    assert conv_max_pool(x, bounds, weight, min_length=3)[:, 0].tolist() == [-2, 0, -4]
    assert conv_max_pool(x, bounds, weight, min_length=2**31 - 1)[:, 0].tolist() == [0, 0, 0]


def test_the_first_of_equals(device):
    x = torch.tensor([[1.0], [3.0], [3.0], [0.0], [3.0]], device=device).requires_grad_()
    weight = torch.ones(2, 1, 1, device=device)
    conv_max_pool(x, torch.tensor([0, 5], device=device), weight).sum().backward()
    assert x.grad[:, 0].tolist() == [0, 2, 0, 0, 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 40])
def test_nan_and_infinity_stay_in_their_text(channels, dtype, device):
    x = torch.ones(90, 8, dtype=dtype, device=device)
    x[12], x[20], x[70] = math.nan, math.inf, math.nan
    bounds = torch.tensor([0, 10, 30, 40, 90], device=device)
    weight = torch.ones(channels, 8, 1, dtype=dtype, device=device)
    out, place = OPS.conv_max_pool(
        x, bounds.int(), weight.permute(2, 0, 1).contiguous(), None, None, 1
    )
    assert out.isnan().all(1).tolist() == [False, True, False, True]
    assert place.unique(dim=1)[:, 0].tolist() == [0, 2, 0, 30]
    x[12], x[70] = 1, -math.inf
    assert conv_max_pool(x, bounds, weight)[:, 0].tolist() == [8, math.inf, 8, 8]
    x[40:] = -math.inf
    assert conv_max_pool(x, bounds, weight)[3, 0] == -math.inf


@pytest.mark.parametrize("shape", ["no texts", "no tokens", "no channels", "no dimensions", "rows"])
def test_nothing(shape, device):
    sizes = {"no channels": (8, 0, 2), "no dimensions": (0, 3, 2)}.get(shape, (8, 3, 2))
    lengths = {"no texts": (), "no tokens": (0, 0)}.get(shape, (2, 3))
    arguments = problem(*sizes, device, lengths=lengths, rows=5)
    for given in (arguments, (arguments[0][arguments[4]], *arguments[1:4], None)):
        assert_right(given)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_layout(dtype, device):
    """Transposed and unaligned tensors, and a gradient that is expanded."""
    arguments = problem(24, 10, 3, device, dtype=dtype)
    x, bounds, weight, bias, index = arguments
    shifted = x.new_zeros(1 + x.numel())[1:].view(x.shape).copy_(x)
    taps_first = weight.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    expected = results(conv_max_pool, *arguments)
    for given in ((x.t().contiguous().t(), weight), (shifted, taps_first)):
        ours = results(conv_max_pool, given[0], bounds, given[1], bias, index)
        # The rows' bits are the same wherever they lie; the library's product may not be.
        bound = 1e-2 if dtype == torch.bfloat16 else 1e-5
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=bound, atol=bound)
    leaf = bias.clone().requires_grad_()
    conv_max_pool(x, bounds, weight, leaf, index).sum().backward()
    assert leaf.grad.tolist() == [5.0] * 10


def test_many_channels_are_worked_on_in_parts():
    """Products beyond 8 MB, on the CPU."""
    if _library.emulated():
        pytest.skip("the emulated device keeps no products")
    x, bounds, weight, bias, index = problem(5, 200, 3, torch.device("cpu"), rows=8000)
    ours = conv_max_pool(x, bounds, weight, bias, index)
    parts = [conv_max_pool(x, bounds, weight[c : c + 1], bias[c : c + 1], index) for c in (0, 63,
             64, 199)]  # fmt: skip
    torch.testing.assert_close(ours[:, [0, 63, 64, 199]], torch.cat(parts, 1))


def test_bit_identical():
    """Gradients for any number of threads, of the same maxima; all from run to run."""
    if _library.emulated():
        pytest.skip("a promise of threads")
    arguments = problem(37, 40, 3, torch.device("cpu"), lengths=[60] * 40, rows=50)
    threads = torch.get_num_threads()
    try:
        outs = []
        for number in (1, 2, 3, 8):
            torch.set_num_threads(number)
            first = results(conv_max_pool, *arguments)
            for _ in range(3):
                again = results(conv_max_pool, *arguments)
                assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
            outs.append(first)
        for other in outs[1:]:
            assert all(torch.equal(a, b) for a, b in zip(outs[0][1:], other[1:], strict=True))
    finally:
        torch.set_num_threads(threads)


def test_autocast(device):
    """Under autocast all is bfloat16; what needs no rounding has the same result."""
    x, bounds, weight, bias, index = problem(8, 5, 3, device)
    x, weight, bias = (torch.round(t) for t in (x, weight, bias))
    leaf = weight.clone().requires_grad_()
    with torch.autocast(device.type, torch.bfloat16):
        out = conv_max_pool(x, bounds, leaf, bias, index)
        assert conv_max_pool(x.double(), bounds, weight.double()[:1], index=index).dtype == (
            torch.float64
        )
        direct = OPS.conv_max_pool(
            x, bounds.int(), weight.permute(2, 0, 1).contiguous(), bias, index.int(), 3
        )[0]
    assert out.dtype == torch.bfloat16 and direct.dtype == torch.float32
    expected = conv_max_pool(x, bounds, weight, bias, index)
    torch.testing.assert_close(out.float(), expected, rtol=8e-3, atol=0)
    torch.testing.assert_close(direct, expected)
    out.sum().backward()
    assert leaf.grad.dtype == torch.float32


def test_gradcheck(device):
    x, bounds, weight, bias, index = problem(
        3, 2, 2, device, lengths=(4, 0, 1), rows=4, dtype=torch.float64
    )
    leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]

    def call(x, weight, bias):
        return conv_max_pool(x, bounds, weight, bias, index, min_length=3)

    assert torch.autograd.gradcheck(call, leaves)
    (grad,) = torch.autograd.grad(call(*leaves).square().sum(), leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        grad.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype, device):
    x, bounds, weight, bias, index = problem(8, 5, 2, device, lengths=(3, 0, 1), dtype=dtype)
    leaves = [t.requires_grad_() for t in (x, weight.permute(2, 0, 1).contiguous(), bias.float())]
    arguments = (leaves[0], bounds.int(), leaves[1], leaves[2], index.int(), 2)
    # With autograd in one dtype: it takes seconds.
    some = ("test_schema", "test_autograd_registration", "test_faketensor")
    every = (*some, "test_aot_dispatch_dynamic") if dtype == torch.float32 else some
    torch.library.opcheck(OPS.conv_max_pool.default, arguments, test_utils=every)
    with torch.no_grad():
        out, place = OPS.conv_max_pool(*arguments)
        grad = torch.ones_like(out, dtype=torch.float32)
        torch.library.opcheck(
            OPS.conv_max_pool_picks.default,
            (grad, place, bounds.int(), index.int(), 2),
            test_utils=some,
        )


def test_compiled(device):
    if _library.emulated():
        pytest.skip("torch.compile sees a CPU")
    arguments = problem(8, 5, 3, device)

    def call(*given):
        return functional.relu(conv_max_pool(*given, min_length=4))

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for ours, eager in zip(results(compiled, *arguments), results(call, *arguments), strict=True):
        torch.testing.assert_close(ours, eager)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_strange_numbers_on_the_device(dtype, device):
    """What CUDA does not look at stays inside the tensors; a wrong row spoils its text alone."""
    if device.type != "cuda" and not _library.emulated():
        pytest.skip("the CPU looks at them")
    x, bounds, weight, bias, index = problem(8, 5, 2, device, dtype=dtype)
    good = conv_max_pool(x, bounds, weight, bias, index)
    filters = weight.permute(2, 0, 1).contiguous()
    given = (bounds.int(), filters, bias.to(torch.float32), None, 2)
    for wrong in (-1, 31, 2**31 - 1):
        index[6] = wrong
        out = OPS.conv_max_pool(x, *given[:3], index.int(), 2)[0]
        assert out[2].isnan().all()
        torch.testing.assert_close(out[[0, 1, 3, 4]], good[[0, 1, 3, 4]])
    tokens = x[torch.arange(85, device=device) % 31]
    for wrong in ([0, -5, 9, 4, 2**31 - 1, 7], [3, 3, 99, 85, 1, 2]):
        strange = torch.tensor(wrong, dtype=torch.int32, device=device)
        out, place = OPS.conv_max_pool(tokens, strange, *given[1:])
        assert out.isfinite().all()
        grad = torch.ones_like(out, dtype=torch.float32)
        OPS.conv_max_pool_picks(grad, place - 2, strange, None, 2)


ISA_SCRIPT = """
import sys, torch, lexforge
sys.path.insert(0, sys.argv[1])
from convolution.test_conv_max_pool import *
cpu = torch.device("cpu")
for dtype in DTYPES:
    for dim, channels, taps in ((3, 1, 2), (9, 33, 3), (8, 70, 1)):
        assert_right(problem(dim, channels, taps, cpu, lengths=(9, 0, 1, 20), dtype=dtype))
    for channels in (1, 40):
        test_nan_and_infinity_stay_in_their_text(channels, dtype, cpu)
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa, request):
    assert run_under(isa, ISA_SCRIPT, str(request.config.rootpath / "tests")).strip() == isa


def test_errors(device):
    x, bounds, weight, bias, index = problem(8, 5, 3, device)

    def wrong(error, match, *changes, **options):
        given = [x, bounds, weight, bias, index]
        for place, value in changes:
            given[place] = value
        with pytest.raises(error, match=match):
            conv_max_pool(*given, **options)

    wrong(TypeError, "x must be float32, bfloat16 or float64, got float16", (0, x.half()))
    wrong(TypeError, "weight must be float32, got float64", (2, weight.double()))
    wrong(TypeError, "bias must be float32, got int64", (3, bias.long()))
    wrong(TypeError, "index must be int32 or int64, got float32", (4, index.float()))
    wrong(TypeError, "cu_seqlens must be int32 or int64, got float32", (1, bounds.float()))
    wrong(ValueError, r"x must be \[U, D\], got \[8\]", (0, x[0]))
    wrong(ValueError, r"weight must be \[C, 8, K\], got \[5, 7, 3\]", (2, weight[:, 1:]))
    wrong(ValueError, "with K >= 1, got", (2, weight[:, :, :0]))
    wrong(ValueError, r"bias must be \[5\], got \[4\]", (3, bias[1:]))
    wrong(ValueError, r"cu_seqlens must be \[B \+ 1\], got \[0\]", (1, bounds[:0]))
    wrong(ValueError, r"min_length must be in \[3, 2\^31 - 1\], got 2", min_length=2)
    wrong(TypeError, "min_length must be an int, got float", min_length=4.0)
    if device.type != "cuda":
        wrong(ValueError, "cu_seqlens must start at 0, got 5", (1, bounds[1:]))
        wrong(ValueError, "cu_seqlens must end at T = 85, got 15", (1, bounds[:-1]))
        falling = torch.tensor([0, 9, 4, 85])
        wrong(ValueError, "cu_seqlens must ascend, got 9 before 4", (1, falling))
    for row in (-1, 31):
        bad = index.clone()
        bad[7] = row
        wrong(IndexError, rf"index must be in \[0, 31\), got {row} at position 7", (4, bad))


@pytest.mark.skipif(_library.emulated(), reason="the device looks at less")
def test_bindings_look_for_themselves():
    x, bounds, weight, _, index = problem(8, 5, 3, torch.device("cpu"))
    filters = weight.permute(2, 0, 1).contiguous()

    bounds, index = bounds.int(), index.int()

    def wrong(match, bounds=bounds, index=index, min_length=3, filters=filters):
        with pytest.raises(RuntimeError, match=match):
            OPS.conv_max_pool(x, bounds, filters, None, index, min_length)

    wrong("cu_seqlens must begin with 0, got 5", bounds=bounds[1:])
    wrong("cu_seqlens must be at most 84, got 85", index=index[1:])
    wrong("cu_seqlens must ascend, got 4 after 9", bounds=torch.tensor([0, 9, 4]).int())
    wrong(r"index must be in \[0, 31\), got 99 at position 0", index=index * 0 + 99)
    wrong(r"min_length must be in \[3, 2\^31 - 1\], got 2", min_length=2)
    wrong("at least one tap", filters=filters[:0])
    with pytest.raises(RuntimeError, match="place must be"):
        OPS.conv_max_pool_picks(torch.ones(5, 5), index[:5, None], bounds, None, 3)
