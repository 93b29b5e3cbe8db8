"""causal_block_: a block by rows has the numbers of its ops, and leaves to them what tiles lose."""

from __future__ import annotations

import pytest
import torch

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.layers import causal_step
from lexforge.layers.causal_step import Numbers, Parameters

pytestmark = pytest.mark.skipif(_library.emulated(), reason="the CPU's alone")
TILES = _library.cpu_has_tiles()

CASES = {
    "plain": {},
    "no bias": {"bias": False},
    "dropout": {"dropout": 0.2},
    "ragged": {"lengths": (5, 0, 130, 64, 17)},
    "ragged dropout": {"lengths": (5, 0, 130, 64, 17), "width": 72, "heads": 3, "dropout": 0.2},
    "odd": {"width": 72, "inner": 250, "heads": 3, "activation": "gelu_tanh"},
    "narrow": {"width": 1, "inner": 1, "heads": 1, "lengths": (3, 1)},
    "few": {"width": 6, "inner": 5, "heads": 2, "lengths": (1,), "activation": "relu"},
    "wide": {"width": 192, "inner": 768, "heads": 6, "lengths": (65, 3, 64)},
    "deep": {"width": 48, "inner": 300, "heads": 1, "lengths": (300, 1)},
    "odd bf16": {"width": 39, "inner": 150, "heads": 3, "dtype": torch.bfloat16},
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
    double=False,
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
    if double:
        parameters = Parameters(
            *(None if p is None else p.detach().double().requires_grad_() for p in parameters)
        )
        dtype = torch.float64
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


def assert_near(ours, expected, dtype):
    """In norm. In bfloat16 both are 0.7% away from float32, as what lies between is rounded to 8
    bits, and 0.6% from one another; float32 is 6e-7 apart."""
    allowed = 1e-2 if dtype == torch.bfloat16 else 2e-6
    assert (ours.float() - expected.float()).norm() <= allowed * expected.float().norm()


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_those_of_the_ops(case, monkeypatch):
    ours, done = run(monkeypatch, True, **CASES[case])
    expected, by_rows = run(monkeypatch, False, **CASES[case])
    assert done == [True, True] and by_rows == []
    for a, b in zip(ours, expected, strict=True):
        assert_near(a, b, CASES[case].get("dtype", torch.float32))


def test_bits_are_the_same_from_run_to_run(monkeypatch):
    first, second = (run(monkeypatch, True, **CASES["ragged"])[0] for _ in range(2))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("case", ["plain", "ragged dropout", "odd", "wide", "deep"])
def test_no_further_from_double_than_the_ops(case, monkeypatch):
    ours, by_ops, exact = (
        run(monkeypatch, by_rows, double=double, **CASES[case])[0]
        for by_rows, double in ((True, False), (False, False), (False, True))
    )
    for n, (a, b, double) in enumerate(zip(ours, by_ops, exact, strict=True)):
        own, other = ((each.double() - double).norm() for each in (a, b))
        # Gradients of parameters are sums over the rows, added in order; torch adds up halves.
        rounding = 1e-7 if n < 4 else 2**-25 * len(exact[0]) ** 0.5
        assert own <= 1.5 * other + rounding * double.norm(), n


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("bias", [True, False])
def test_gradcheck(bias, dropout, monkeypatch):
    """In float32, so to a hundredth: what gets no gradient, or another's, is far outside."""
    monkeypatch.setattr(causal_step, "_fits", lambda *_: True)
    generator = torch.Generator().manual_seed(2)
    width, inner = 8, 12

    def draw(*shape, least=0.0):
        return (least + 0.3 * torch.randn(*shape, generator=generator)).requires_grad_()

    def vector(n):
        return draw(n) if bias else None

    parameters = Parameters(
        *(draw(3 * width, width), vector(3 * width), draw(width, width), vector(width)),
        *(draw(width, least=1.0), vector(width), draw(inner, width), vector(inner)),
        *(draw(width, inner), vector(width), draw(width, least=1.0), vector(width)),
    )
    bounds = torch.tensor([0, 3, 5], dtype=torch.int32)
    seeds = tuple(torch.tensor([each]) if dropout else None for each in (5, 6, 7))
    numbers = Numbers(2, 3, "gelu", dropout, 1e-5, 1e-5)

    def block(x, normed, *given):
        return causal_step.causal_step(x, normed, bounds, seeds, numbers, Parameters(*given))

    rows = [draw(5, width, least=0.5) for _ in range(2)]
    with pytest.warns(UserWarning, match="not a double precision floating point"):
        torch.autograd.gradcheck(block, (*rows, *parameters), eps=1e-2, atol=1e-2, rtol=1e-2)


def several(count, *, width=64, inner=128, dropout=0.0, dtype=torch.float32, bias=True):
    """What :func:`causal_step.forward` takes of some blocks, and gradients of both results."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape, least=0.0):
        return least + 0.1 * torch.randn(*shape, generator=generator)

    def vector(n):
        return draw(n) if bias else None

    p = [
        Parameters(
            *(draw(3 * width, width), vector(3 * width), draw(width, width), vector(width)),
            *(draw(width, least=1.0), vector(width), draw(inner, width), vector(inner)),
            *(draw(width, inner), vector(width), draw(width, least=1.0), vector(width)),
        )
        for _ in range(count)
    ]
    lengths = (40, 64, 7, 33)
    bounds = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    seeds = [torch.tensor([each]) if dropout else None for each in range(3 * count)]
    numbers = [Numbers(2, 64, "gelu", dropout, 1e-5, 1e-6 + 1e-2 * i) for i in range(count)]
    rows = [torch.randn(sum(lengths), width, generator=generator).to(dtype) for _ in range(4)]
    return rows[:2], (bounds, seeds, numbers, p), rows[2:]


def there_and_back(rows, rest, grads):
    """Both results and all gradients, and how many blocks went together."""
    *results, passed = causal_step.forward(*rows, *rest)
    together = [each.blocks for each in passed]
    grad_x, grad_normed, gradients = causal_step.backward(*grads, passed, *rest)
    assert passed == []
    found = [*results, grad_x, grad_normed]
    for own, of_own in zip(rest[3], gradients, strict=True):
        found += [g for p, g in zip(own, of_own, strict=True) if p is not None]
    return found, together


SEVERAL = {
    "plain": {},
    "no bias": {"bias": False},
    "dropout": {"dropout": 0.2},
    "bf16": {"dtype": torch.bfloat16},
}


@pytest.mark.parametrize("case", SEVERAL)
def test_blocks_together_have_the_bits_of_one_after_another(case, monkeypatch):
    given = several(3, **SEVERAL[case])
    monkeypatch.setattr(causal_step, "_fits", lambda *_: True)
    found = {}
    for at_once in (1, 2, 3):
        monkeypatch.setattr(causal_step, "_at_once", lambda *_, n=at_once: n)
        found[at_once], together = there_and_back(*given)
        assert together == [min(at_once, 3 - first) for first in range(0, 3, at_once)]
    for at_once in (2, 3):
        assert all(map(torch.equal, found[at_once], found[1])), at_once


@pytest.mark.parametrize("lost", ["forward", "backward", "both"])
def test_what_several_blocks_lose_goes_block_by_block(lost, monkeypatch):
    """As on tiles: where one loses a number it goes through the ops, and the others by rows."""
    given = several(3)
    monkeypatch.setattr(causal_step, "_at_once", lambda *_: 0)
    expected, _ = there_and_back(*given)
    monkeypatch.setattr(causal_step, "_at_once", lambda *_: 3)
    odd = given[1][3][1].qkv  # of the block in the middle
    names = {"forward": "_by_rows", "backward": "_backward_by_rows"}
    calls = []
    for name in names.values() if lost == "both" else [names[lost]]:
        own = getattr(causal_step, name)

        def losing(*arguments, own=own):
            found, p = own(*arguments), arguments[-1]
            calls.append(len(p))
            return None if any(each.qkv is odd for each in p) else found

        monkeypatch.setattr(causal_step, name, losing)
    ours, together = there_and_back(*given)
    assert together == ([3] if lost == "backward" else [1, 1, 1])
    assert calls == {"forward": [3, 1, 1, 1], "backward": [3, 1, 1, 1],
                     "both": [3, 1, 1, 1, 1, 1]}[lost]  # fmt: skip
    for a, b in zip(ours, expected, strict=True):
        assert_near(a, b, torch.float32)


def test_how_many_go_together(monkeypatch):
    (x, _), (bounds, _, numbers, p), _ = several(2)
    pays = torch.float32 in causal_step._ROWS_PAY
    bounds = torch.arange(0, len(x) + 1, 9, dtype=torch.int32)
    kept = 4 * len(x) * (6 * 64 + 128)  # bytes of a block
    summed = 4 * sum(each.numel() for each in p[0])
    for threads, each in ((1, kept), (2, kept), (4, 3 * summed)):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        assert each == max(kept, (threads - 1) * summed)
        together = [
            causal_step._at_once(rows, bounds, numbers, p)
            for rows in (x, x.repeat(90, 1), x.double())
        ]
        assert together == ([24 * 2**20 // each, 1, 0] if pays else [0, 0, 0])
    others = [numbers[0], numbers[1]._replace(heads=4)]
    assert causal_step._at_once(x, bounds, others, p) == int(pays)
    assert causal_step._at_once(x, bounds, numbers, [p[0], p[1]._replace(norm=x[0].double())]) == 0


ISA_SCRIPT = """
import torch, lexforge
from lexforge.layers import causal_step
from lexforge.layers.causal_step import Numbers, Parameters
for dtype, allowed in ((torch.float32, 5e-6), (torch.bfloat16, 2e-2)):
    for width, inner, lengths in ((64, 256, (64, 7)), (33, 101, (5, 0, 130)), (6, 5, (1,))):
        def draw(*shape):
            return 0.1 * torch.randn(*shape)
        p = Parameters(draw(3 * width, width), draw(3 * width), draw(width, width), draw(width),
                       1 + draw(width), draw(width), draw(inner, width), draw(inner),
                       draw(width, inner), draw(width), 1 + draw(width), draw(width))
        x, normed, grad = (torch.randn(sum(lengths), width).to(dtype) for _ in range(3))
        bounds = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
        rest = bounds, [None] * 3, [Numbers(1, max(lengths), "gelu", 0.0, 1e-5, 1e-5)], [p]
        found = []
        for by_rows in (True, False):
            causal_step._fits = lambda *_: by_rows
            out, normed_out, kept = causal_step.forward(x, normed, *rest)
            assert kept[0].is_by_rows == by_rows
            gradients = causal_step.backward(grad, grad, kept, *rest)
            found.append((out, normed_out, *gradients[:2], *gradients[2][0]))
        for a, b in zip(*found, strict=True):
            near = (a.float() - b.float()).norm() <= allowed * b.float().norm() + 1e-6
            assert near, (dtype, width, a.shape, a.float() - b.float())
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set(isa):
    assert run_under(isa, ISA_SCRIPT).strip() == isa


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("width", [47, 48, 192, 193])
def test_chosen_where_it_pays(width, dtype):
    weight = torch.zeros(width, width)
    vector, bounds = torch.zeros(width), torch.arange(9, dtype=torch.int32)
    parameters = Parameters(
        *[weight, vector] * 2, vector, None, *[weight, vector] * 2, vector, None
    )
    if dtype == torch.float64:
        pays = False
    elif dtype == torch.bfloat16 and not TILES:
        pays = _library.cpu_capability() != "baseline" and not _library.cpu_has_bf16()
    else:
        pays = _library.cpu_capability() != "baseline"
    fits = causal_step._fits(torch.zeros(8, width, dtype=dtype), bounds, parameters)
    assert fits == (pays and 48 <= width <= 192)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("odd", [("forward", float("inf")), ("backward", float("nan"))])
def test_what_tiles_would_lose_goes_through_the_ops(odd, dtype, monkeypatch):
    ours, done = run(monkeypatch, True, odd=odd, dtype=dtype)
    expected, _ = run(monkeypatch, False, odd=odd, dtype=dtype)
    if TILES:
        assert done == ([False] if odd[0] == "forward" else [True, False])
    else:
        assert done == [True, True]
    for a, b in zip(ours, expected, strict=True):
        assert torch.equal(a.isfinite(), b.isfinite())
        finite = b.isfinite()
        assert_near(a[finite], b[finite], dtype)


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
        assert_near(a, b, torch.float32)


def arguments(backward=False):
    """Of the op or its backward, all zeros, for one block."""
    rows, width, inner = 8, 64, 128
    of_rows = [torch.zeros(rows, width) for _ in range(4)]
    of_blocks = [torch.zeros(1, rows, width) for _ in range(2)]
    saved, statistics = torch.zeros(1, rows * (6 * width + inner)), torch.zeros(1, rows * 6)
    bounds = torch.tensor([0, 8], dtype=torch.int32)
    qkv, projection = torch.zeros(3 * width, width), torch.zeros(width, width)
    expansion, contraction = torch.zeros(inner, width), torch.zeros(width, inner)
    norm, following = torch.zeros(width), torch.zeros(width)
    weights = (qkv, projection, norm, expansion, contraction, following)
    parameters = [each for weight in weights for each in (weight, None)]
    given = [bounds, [None] * 3, parameters, 2, 8, 0, 0.0]
    if backward:
        sizes = 4 * width * width + 2 * inner * width + 9 * width + inner
        return [
            *(of_rows[0], of_rows[1], torch.zeros(1, sizes), None, of_rows[2], *of_blocks),
            *(saved, statistics, of_rows[3], *given),
        ]
    return [*of_blocks, saved, statistics, *of_rows[:2], *given, [1e-5, 1e-5]]


OPS = {False: torch.ops.lexforge.causal_block_, True: torch.ops.lexforge.causal_block_backward_}


@pytest.mark.parametrize("backward", [False, True])
def test_opcheck(backward):
    given = tuple(arguments(backward))
    torch.library.opcheck(OPS[backward].default, given, test_utils=("test_schema",))


@pytest.mark.parametrize("backward", [False, True])
def test_refuses(backward):
    given, op = arguments(backward), OPS[backward]
    names = [each.name for each in op.default._schema.arguments]
    here = dict(zip(names, given, strict=True))
    assert op.default(*given)
    whole, both = torch.zeros(9, 64), torch.zeros(1, 8, 64)

    def other(place, tensor):
        own = list(here["parameters"])
        own[place] = tensor
        return {"parameters": own}

    wrong = [
        ({"saved": here["saved"][:, 1:]}, r"saved must be \[1, 4096\], got \[1, 4095\]"),
        ({"statistics": torch.zeros(1, 47)}, r"statistics must be \[1, 48\], got \[1, 47\]"),
        ({"statistics": torch.zeros(48)}, "statistics must have 2 dimensions, got 1"),
        ({"cu_seqlens": torch.tensor([0, 7], dtype=torch.int32)}, "must end at T = 8, got 7"),
        ({"cu_seqlens": torch.tensor([0, 8])}, "cu_seqlens has the wrong dtype: must be int32"),
        ({"normed": whole[:8, :63]}, "normed must be contiguous"),
        ({"normed": whole[:8].half()}, "saved has the wrong dtype: must be float16, got float32"),
        ({"seeds": [None] * 2}, "seeds must be 3 for each block, got 2"),
        ({"parameters": []}, "parameters must be 12 for each block, got 0"),
        ({"parameters": here["parameters"][:-1]}, "parameters must be 12 for each block, got 11"),
        ({"parameters": here["parameters"] * 2, "seeds": [None] * 6}, r"saved must be \[2, 4096\]"),
        (other(0, None), "qkv must be there"),
        (other(0, torch.zeros(64, 64)), r"qkv must be \[192, 64\]"),
        (other(1, torch.zeros(191)), r"qkv_bias must be \[192\]"),
        (other(6, torch.zeros(128, 65)), r"expansion must be \[\*, 64\], got \[128, 65\]"),
        (other(4, torch.zeros(64).bfloat16()), "norm has the wrong dtype: must be float32"),
        ({"heads": 3}, "heads must divide the width 64"),
        ({"activation": 4}, "activation must be 0 to 3, got 4"),
        ({"dropout_p": 0.5}, "seed must be one int64"),
        ({"dropout_p": 1.5}, r"dropout_p must be in \[0, 1\], got 1.5"),
        ({"out": both[:, 1:]}, r"out must be \[1, 8, 64\], got \[1, 7, 64\]"),
    ]
    if backward:
        wrong += [
            ({"grads": here["grads"][:, 1:]}, "grads must be"),
            ({"grad_out": whole}, r"grad_out must have the shape of normed, \[8, 64\]"),
            *(({"grad_x": whole[:8], each: whole[1:]}, f"{each} must not share memory with grad_x")
              for each in ("grad_normed", "grad_out", "grad_normed_out", "normed")),
            *(({"grad_x": both[0], each: both}, f"{each} must not share memory with grad_x")
              for each in ("out", "normed_out")),
        ]  # fmt: skip
    else:
        wrong += [
            ({"x": whole}, r"x must have the shape of normed, \[8, 64\], got \[9, 64\]"),
            ({"eps": [1e-5]}, "eps must be 2 for each block, got 1"),
            ({"eps": [-1.0, 0.0]}, "eps must be finite and >= 0, got -1"),
            ({"eps": [0.0, float("nan")]}, "eps must be finite and >= 0, got nan"),
            ({"out": both, "normed_out": both}, "normed_out must not share memory with out"),
            *(({"out": both, each: both[0]}, f"{each} must not share memory with out")
              for each in ("x", "normed")),
        ]  # fmt: skip
    for change, message in wrong:
        with pytest.raises(RuntimeError, match=f"{op.__name__}: .*{message}"):
            op.default(*{**here, **change}.values())
