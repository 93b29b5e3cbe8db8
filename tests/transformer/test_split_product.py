"""split_product_: exactness, bits, sizes, strides, and what it leaves to others."""

from __future__ import annotations

import sys

import pytest
import torch

from lexforge import _library
from lexforge.ops.transformer.linear import linear, parameter_gradients_, product

module = sys.modules["lexforge.ops.transformer.linear"]
pytestmark = pytest.mark.skipif(not _library.cpu_has_tiles(), reason="this CPU has no AMX")

SHAPES = [  # M, K, N
    (768, 128, 384),
    (65, 768, 128),
    (33, 1100, 530),
    (1, 40, 1),
    (17, 129, 15),
    (64, 33, 49),
    (300, 32, 16),
]
ORDERS = ["kk", "mk", "kn", "mn"]  # along memory: of left and of right


def operands(m, k, n, order="kn", *, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    left = scale * torch.randn(m, k, generator=generator)
    right = torch.randn(k, n, generator=generator)
    left = left.t().contiguous().t() if order[0] == "m" else left
    return left, (right.t().contiguous().t() if order[1] == "k" else right)


def split(left, right, *, bias=None, sums=None, y=None, add=False):
    """y, or None where it is not to be had."""
    y = torch.full((len(left), right.shape[1]), torch.nan) if y is None else y
    done = torch.ops.lexforge.split_product_.default(y, sums, left, right, bias, add)
    return y if done else None


def errors(y, left, right, bias=0.0):
    """The largest and the root mean square, in units of the sum of magnitudes."""
    exact = left.double() @ right.double() + bias
    size = left.double().abs() @ right.double().abs() + abs(bias)
    relative = ((y.double() - exact) / size).abs()
    return relative.max().item(), relative.square().mean().sqrt().item()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_error_is_at_most_that_of_a_float32_product(m, k, n, order):
    left, right = operands(m, k, n, order)
    ours, plain = errors(split(left, right), left, right), errors(left @ right, left, right)
    assert ours[0] <= max(plain[0], 2**-24) and ours[1] <= max(plain[1], 2**-26)


@pytest.mark.parametrize("kind", ["rows", "terms", "positive", "cancelling", "few bits"])
def test_error_on_badly_scaled_matrices(kind):
    generator = torch.Generator().manual_seed(1)
    left, right = operands(96, 200, 80)
    if kind == "rows":
        left *= torch.exp2(torch.randint(-40, 40, (96, 1), generator=generator).float())
        right *= torch.exp2(torch.randint(-20, 20, (80,), generator=generator).float())
    elif kind == "terms":
        left *= torch.exp2(torch.randint(-25, 25, (96, 200), generator=generator).float())
        right *= torch.exp2(torch.randint(-25, 25, (200, 80), generator=generator).float())
    elif kind == "positive":
        left, right = left.abs(), right.abs()
    elif kind == "cancelling":
        left[:, 100:], right[100:] = left[:, :100], -right[:100] * (1 + 2**-20)
    else:
        left, right = left.bfloat16().float(), right.bfloat16().float()
    ours, plain = errors(split(left, right), left, right), errors(left @ right, left, right)
    assert ours[0] <= max(plain[0], 2**-24) and ours[1] <= max(plain[1], 2**-26)


def test_bias_and_sums():
    left, right = operands(200, 300, 70, "mn")
    bias, sums = torch.randn(70), torch.full((200,), torch.nan)
    y = split(left, right, bias=bias, sums=sums)
    assert errors(y, left, right, bias.double())[0] < 2**-23
    torch.testing.assert_close(sums.double(), left.double().sum(1), rtol=0, atol=2e-5)
    again, of_both = y.clone(), sums.clone()
    split(left, right, y=again, sums=of_both, add=True)
    expected = y.double() + left.double() @ right.double()
    torch.testing.assert_close(again.double(), expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(of_both, 2 * sums, rtol=0, atol=2e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_bits_are_those_of_any_threads_and_sizes(order):
    left, right = operands(231, 1500, 600, order)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            sums = torch.zeros(231) if order[0] == "m" else None
            results.append((split(left, right, sums=sums), sums))
    finally:
        torch.set_num_threads(threads)
    for y, sums in results[1:]:
        assert torch.equal(y, results[0][0])
        assert sums is None or torch.equal(sums, results[0][1])
    part = split(left[40:117], right[:, 3:50])
    assert torch.equal(part, results[0][0][40:117, 3:50])


@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), 3e38, -(2.0**120), 1e-40, 2.0**-101, -(2.0**-90)]
)
@pytest.mark.parametrize("side", [0, 1])
def test_values_that_tiles_would_lose_go_to_the_library(side, value, monkeypatch):
    given = operands(100, 64, 80)
    given[side][7, 33] = value
    given[1 - side][3, 3] = 2.0**-7
    given[1 - side][4, 4] = 2.0**10
    assert split(*given) is None
    # With `add` nothing is written.
    y, sums = torch.ones(100, 80), torch.ones(100)
    left = given[0].t().contiguous().t()
    assert split(left, given[1], y=y, sums=sums, add=True) is None
    assert torch.equal(y, torch.ones(100, 80)) and torch.equal(sums, torch.ones(100))
    # And the layer's results are those of a machine without tiles.
    x, weight = given[0].repeat(20, 1), given[1].t().contiguous()
    gradients = torch.zeros(80, 64), torch.zeros(80)
    ours = product(x, weight)
    parameter_gradients_(*gradients, x[:, :1].expand(-1, 80), x)
    monkeypatch.setattr(module, "HAS_SPLIT_PRODUCT", False)
    assert torch.equal(ours.nan_to_num(5.0), product(x, weight).nan_to_num(5.0))


def test_zeros_and_the_least_that_tiles_keep():
    left, right = operands(100, 64, 80)
    left[:, ::2] = 0
    left[5, 7] = 2.0**-80
    assert errors(split(left, right), left, right)[0] < 2**-23
    assert torch.equal(split(torch.zeros(100, 64), right), torch.zeros(100, 80))
    assert split(torch.zeros(100, 64), right * torch.inf) is None


def test_linear_takes_it_where_it_pays(monkeypatch):
    """Forward and both gradients; the bits of a product's rows do not depend on the others."""
    calls = []
    op = torch.ops.lexforge.split_product_.default

    def counted(*arguments):
        calls.append(tuple(arguments[0].shape))
        return op(*arguments)

    monkeypatch.setattr(torch.ops.lexforge.split_product_, "default", counted)
    x = torch.randn(768, 96, requires_grad=True)
    weight = torch.randn(112, 96, requires_grad=True)
    bias = torch.randn(112, requires_grad=True)
    linear(x, weight, bias).square().sum().backward()
    assert calls == [(768, 112), (768, 96), (112, 96)]
    linear(x[:60].repeat(1, 1), torch.randn(1000, 96))
    assert len(calls) == 3


def test_refuses():
    y, left, right = torch.zeros(4, 6), torch.zeros(4, 5), torch.zeros(5, 6)
    for arguments, message in (
        ((y, None, left, right[:4], None, False), "right must have 5 rows, got 4"),
        ((y[:, :5], None, left, right, None, False), "y must be contiguous"),
        ((y, None, left.double(), right, None, False), "left has the wrong dtype"),
        ((y, None, left[:, ::2], right[::2], None, False), "one dimension along memory"),
        ((y, None, left, right, torch.zeros(5), False), r"bias must be \[6\], got \[5\]"),
        ((y, torch.zeros(4), left, right, None, False), "sums needs"),
        ((y, None, left, right, torch.zeros(6), True), "bias must be None with add"),
        ((y, None, left, right[:, :3].clone(), None, False), r"y must be \[4, 3\], got \[4, 6\]"),
    ):
        with pytest.raises(RuntimeError, match=message):
            torch.ops.lexforge.split_product_.default(*arguments)
