"""dropout: what is kept, gradients, layouts, errors."""

from __future__ import annotations

import math

import pytest
import torch

from common.isa import ISAS, run_under
from lexforge.layers.dropout import Dropout
from lexforge.ops.transformer.dropout import dropout
from lexforge.reference.transformer.dropout import dropout as reference

DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def normal(shape, device, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.2, 1.0])
@pytest.mark.parametrize("shape", [(), (1,), (7, 5), (64, 128), (3, 41, 97), (0, 4)])
def test_values_and_gradients(shape, p, dtype, device):
    """Bit for bit the reference's; the gradient is dropped likewise."""
    x = normal(shape, device, dtype).requires_grad_()
    out = dropout(x, p, seed=5)
    assert torch.equal(out, reference(x, p, seed=5))
    grad = normal(shape, device, dtype)
    (found,) = torch.autograd.grad(out, x, grad)
    assert torch.equal(found, reference(grad, p, seed=5))


def test_share_and_scale(device):
    out = dropout(torch.ones(50_000, device=device), 0.3, seed=2)
    kept = out != 0
    assert abs(kept.double().mean() - 0.7) < 5 * math.sqrt(0.21 / 50_000)
    torch.testing.assert_close(out[kept].unique(), torch.tensor([1 / 0.7], device=device))


def test_seeds(device):
    x = torch.ones(4000, device=device)
    assert torch.equal(dropout(x, 0.5, seed=4), dropout(x, 0.5, seed=4))
    assert not torch.equal(dropout(x, 0.5, seed=4), dropout(x, 0.5, seed=5))
    seed = torch.tensor([4], device=device)
    assert torch.equal(dropout(x, 0.5, seed=4), dropout(x, 0.5, seed=seed))
    torch.manual_seed(1)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(dropout(x, 0.5), first)
    assert dropout(x, 0.0) is x


def test_what_is_dropped_is_zero(device):
    x = torch.full((300,), math.nan, device=device)
    out = dropout(x, 0.5, seed=1)
    kept = dropout(torch.ones_like(x), 0.5, seed=1) != 0
    assert out[kept].isnan().all() and (out[~kept] == 0).all()


def test_any_layout(device):
    """The place in the flat tensor decides, wherever its elements lie."""
    x = normal((40, 24), device)
    expected = dropout(x, 0.4, seed=3)
    flat = torch.zeros(961, device=device)
    flat[1:] = x.flatten()
    for other in (x.t().contiguous().t(), flat[1:].view(40, 24)):
        leaf = other.detach().requires_grad_()
        out = dropout(leaf, 0.4, seed=3)
        assert torch.equal(out, expected)
        (grad,) = torch.autograd.grad(out, leaf, x.t().contiguous().t())
        assert torch.equal(grad, expected)


def test_gradcheck(device):
    x = normal((5, 7), device, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: dropout(x, 0.3, seed=1), x)
    assert torch.autograd.gradgradcheck(lambda x: dropout(x.sin(), 0.3, seed=1), x)


@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_opcheck(dtype, device):
    x, seed = normal((6, 24), device, dtype).requires_grad_(), torch.tensor([3], device=device)
    torch.library.opcheck(torch.ops.lexforge.dropout.default, (x, seed, 0.25))


def test_compiles_without_graph_breaks(device):
    x = normal((6, 16), device)
    step = torch.compile(lambda x: dropout(x * 2, 0.5, seed=1), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(step(x), dropout(x * 2, 0.5, seed=1))


def test_bit_identical_for_any_threads(device):
    x = normal((1234, 130), device)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(dropout(x, 0.2, seed=7))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(x, results[0]) for x in results)


def test_layer(device):
    layer, x = Dropout(0.2), torch.ones(1000, device=device)
    torch.manual_seed(3)
    found = layer(x)
    torch.manual_seed(3)
    assert torch.equal(found, dropout(x, 0.2))
    assert layer.eval()(x) is x
    assert isinstance(layer, torch.nn.Dropout) and not layer.state_dict()
    with pytest.raises(ValueError, match=r"between 0 and 1, but got 1.5"):
        Dropout(1.5)


ISA_SCRIPT = """
import torch, lexforge
from lexforge.ops.transformer.dropout import dropout
from lexforge.reference.transformer.dropout import dropout as reference
for dtype in (torch.float32, torch.bfloat16, torch.float64):
    for shape in ((1,), (33,), (5000,)):
        x = torch.randn(shape).to(dtype)
        assert torch.equal(dropout(x, 0.3, seed=9), reference(x, 0.3, seed=9)), (dtype, shape)
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa):
    assert run_under(isa, ISA_SCRIPT).strip() == isa


def test_errors(device):
    x = torch.ones(3, device=device)
    for error, match, arguments in (
        (TypeError, "x must be float32, bfloat16 or float64, got", {"x": x.half()}),
        (TypeError, "x must be a tensor, got list", {"x": [1.0]}),
        (ValueError, r"dropout_p must be in \[0, 1\], got 1.5", {"dropout_p": 1.5}),
        (ValueError, r"dropout_p must be in \[0, 1\], got nan", {"dropout_p": math.nan}),
        (ValueError, "seed must be one int64", {"seed": torch.zeros(2)}),
        (TypeError, "seed must be an int", {"seed": "1"}),
    ):
        with pytest.raises(error, match=f"dropout: {match}"):
            dropout(**{"x": x, "dropout_p": 0.5, "seed": 1, **arguments})
    op, seed = torch.ops.lexforge.dropout.default, torch.tensor([1], device=device)
    for match, arguments in (
        ("x must be contiguous", (torch.ones(4, 3, device=device).t(), seed, 0.5)),
        ("x must be float32", (x.half(), seed, 0.5)),
        ("seed must be one int64", (x, seed.int(), 0.5)),
        ("dropout_p must be at least", (x, seed, 0.0)),
        (r"dropout_p must be in \[0, 1\]", (x, seed, -0.5)),
    ):
        with pytest.raises(RuntimeError, match=f"dropout: {match}"):
            op(*arguments)
