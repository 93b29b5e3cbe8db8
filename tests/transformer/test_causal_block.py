"""causal_block_: a block by rows has the numbers of its ops, and leaves the rest to them."""

from __future__ import annotations

import pytest
import torch

from lexforge import _library
from lexforge.layers import causal_step
from lexforge.layers.causal_step import Numbers, Parameters

pytestmark = pytest.mark.skipif(not _library.cpu_has_tiles(), reason="this CPU has no AMX")

CASES = {
    "plain": {},
    "no bias": {"bias": False},
    "dropout": {"dropout": 0.2},
    "ragged": {"lengths": (5, 0, 130, 64, 17)},
    "odd": {"width": 72, "inner": 250, "heads": 3, "activation": "gelu_tanh"},
    "bf16": {"dtype": torch.bfloat16, "lengths": (40, 33, 7)},
    "bf16 dropout": {"dtype": torch.bfloat16, "dropout": 0.1},
}


def run(
    monkeypatch,
    by_rows,
    *,
    width=64,
    inner=256,
    heads=2,
    lengths=(40, 24, 33, 40),
    dtype=torch.float32,
    bias=True,
    dropout=0.0,
    activation="gelu",
    odd=None,
):
    """Both results and all gradients, and whether the rows' own path made the forward."""
    generator = torch.Generator().manual_seed(1)
    rows = sum(lengths)

    def draw(*shape, scale=1.0, least=0.0):
        return (least + scale * torch.randn(*shape, generator=generator)).requires_grad_()

    def vector(n):
        return draw(n, scale=0.1) if bias else None

    parameters = Parameters(
        *(draw(3 * width, width, scale=0.1), vector(3 * width)),
        *(draw(width, width, scale=0.1), vector(width)),
        *(draw(width, scale=0.1, least=1.0), vector(width)),
        *(draw(inner, width, scale=0.1), vector(inner)),
        *(draw(width, inner, scale=0.1), vector(width)),
        *(draw(width, scale=0.1, least=1.0), vector(width)),
    )
    x, normed = (
        torch.randn(rows, width, generator=generator).to(dtype).requires_grad_() for _ in range(2)
    )
    grads = [1e-3 * torch.randn(rows, width, generator=generator).to(dtype) for _ in range(2)]
    if odd is not None:
        (normed if odd[0] == "forward" else grads[1]).data[3, 5] = odd[1]
    bounds = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    seeds = [torch.tensor([each]) for each in (5, 6, 7)] if dropout else [None] * 3
    numbers = Numbers(heads, max(lengths), activation, dropout, 1e-5, 1e-6)
    monkeypatch.setattr(causal_step, "_fits", lambda *_: by_rows)
    done = []
    for name in ("_by_rows", "_backward_by_rows"):
        own = getattr(causal_step, name)

        def watched(*given, own=own):
            found = own(*given)
            done.append(found is not None)
            return found

        monkeypatch.setattr(causal_step, name, watched)
    results = causal_step.causal_step(x, normed, bounds, tuple(seeds), numbers, parameters)
    torch.autograd.backward(results, grads)
    monkeypatch.undo()
    leaves = (x, normed, *(p for p in parameters if p is not None))
    return [*results, *(leaf.grad for leaf in leaves)], done


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_those_of_the_ops(case, monkeypatch):
    ours, done = run(monkeypatch, True, **CASES[case])
    expected, by_rows = run(monkeypatch, False, **CASES[case])
    assert done == [True, True] and by_rows == []
    bf16 = "dtype" in CASES[case]
    for a, b in zip(ours, expected, strict=True):
        size = b.float().norm()
        assert (a.float() - b.float()).norm() <= (3e-2 if bf16 else 2e-6) * size


def test_bits_are_the_same_from_run_to_run(monkeypatch):
    first, second = (run(monkeypatch, True, **CASES["ragged"])[0] for _ in range(2))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("odd", [("forward", float("inf")), ("backward", float("nan"))])
def test_what_tiles_would_lose_goes_through_the_ops(odd, dtype, monkeypatch):
    ours, done = run(monkeypatch, True, odd=odd, dtype=dtype)
    expected, _ = run(monkeypatch, False, odd=odd, dtype=dtype)
    assert done == ([False] if odd[0] == "forward" else [True, False])
    for a, b in zip(ours, expected, strict=True):
        assert torch.equal(a.isfinite(), b.isfinite())
        finite = b.isfinite()
        atol = 1e-6 if dtype == torch.float32 else 5e-2
        torch.testing.assert_close(a[finite], b[finite], rtol=1e-4, atol=atol)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads(threads, monkeypatch):
    before = torch.get_num_threads()
    expected, _ = run(monkeypatch, False)
    try:
        torch.set_num_threads(threads)
        ours, done = run(monkeypatch, True)
    finally:
        torch.set_num_threads(before)
    assert done == [True, True]
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_refuses():
    rows, width, inner = 8, 64, 128
    x = torch.zeros(rows, width)
    saved, statistics = torch.zeros(rows * (6 * width + inner)), torch.zeros(rows * 6)
    bounds = torch.tensor([0, 8], dtype=torch.int32)
    weights = [
        *(torch.zeros(3 * width, width), None, torch.zeros(width, width), None),
        *(torch.zeros(width), None, torch.zeros(inner, width), None),
        *(torch.zeros(width, inner), None, torch.zeros(width), None),
    ]
    given = [
        *(torch.zeros_like(x), torch.zeros_like(x), saved, statistics, x, x.clone(), bounds),
        *(None, None, None, *weights, 2, 8, 0, 0.0, 1e-5, 1e-5),
    ]
    assert torch.ops.lexforge.causal_block_.default(*given)
    for place, value, message in (
        (2, saved[1:], r"saved must be \[4096\], got \[4095\]"),
        (4, x[:, 1:], "x must have the shape of normed"),
        (6, torch.tensor([0, 7], dtype=torch.int32), "cu_seqlens must end at T = 8, got 7"),
        (10, torch.zeros(width, width), r"qkv must be \[192, 64\]"),
        (22, 3, "heads must divide the width 64"),
        (24, 4, "activation must be 0 to 3, got 4"),
        (25, 0.5, "seed must be one int64"),
        (26, -1.0, "eps must be finite"),
    ):
        with pytest.raises(RuntimeError, match=message):
            torch.ops.lexforge.causal_block_.default(*given[:place], value, *given[place + 1 :])
