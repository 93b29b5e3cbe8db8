"""lstm: values, gradients, every kernel, determinism, errors."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops.recurrent.lstm import lstm
from lexforge.reference.recurrent import lstm as reference

LENGTHS = [[1], [3, 0, 5], [0], [7, 1, 2, 9, 4, 0, 9, 3, 1, 5, 2], []]


def bounds_of(lengths, device):
    return torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)


def case(lengths, directions, hidden, device, dtype=torch.float32, rows=None, seed=0):
    """gates, w_hh, weights of the sum of the results; and where the texts are."""
    generator = torch.Generator().manual_seed(seed)
    tokens, texts, width = sum(lengths), len(lengths), directions * hidden
    shapes = [(tokens if rows is None else rows, 4 * width), (directions, 4 * hidden, hidden)]
    shapes += [(tokens, width), (texts, width), (texts, width)]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    drawn[1] /= math.sqrt(hidden)
    bounds = bounds_of(lengths, device)
    index = None
    if rows is not None:
        index = torch.randint(0, rows, (tokens,), generator=generator).to(device)
    return [x.to(device, dtype) for x in drawn], bounds, index


def gradients(function, drawn, bounds, index):
    """The results, and the gradients of gates and w_hh."""
    leaves = [x.detach().clone().requires_grad_() for x in drawn[:2]]
    results = function(*leaves, bounds, index)
    loss = sum((x * y).sum() for x, y in zip(results, drawn[2:], strict=True))
    grads = [torch.zeros_like(x) for x in leaves]
    if loss.requires_grad:  # the reference of no token is not
        grads = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return [*(x.detach() for x in results), *grads]


def rms(x):
    return x.square().mean().sqrt()


def assert_as_good_as_plain(ours, plain, exact, roundings=4):
    """No further from float64 than twice plain torch is, and some roundings of the largest.

    These are for the sigmoid and the tangent, within 3e-7.
    """
    names = ("out", "h_n", "c_n", "gates", "w_hh")
    for name, x, y, z in zip(names, ours, plain, exact, strict=True):
        assert x.shape == z.shape and x.dtype == y.dtype, name
        if z.numel():
            allowed = roundings * torch.finfo(x.dtype).eps * max(1.0, z.abs().max().item())
            assert rms(x.double() - z) <= 2 * rms(y.double() - z) + allowed, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [None, 3])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_values_and_gradients(lengths, directions, rows, dtype, device):
    drawn, bounds, index = case(lengths, directions, 5, device, dtype, rows)
    plain = gradients(reference.lstm, drawn, bounds, index)
    exact = gradients(reference.lstm, [x.double() for x in drawn], bounds, index)
    assert_as_good_as_plain(gradients(lstm, drawn, bounds, index), plain, exact)


@pytest.mark.parametrize("hidden", [1, 16, 33, 68, 100, 130])
def test_hidden_sizes(hidden, device):
    """Whole registers and parts of them; on CUDA, weights in shared memory and beyond it."""
    drawn, bounds, _ = case([3, 1, 2], 2, hidden, device)
    plain = gradients(reference.lstm, drawn, bounds, None)
    exact = gradients(reference.lstm, [x.double() for x in drawn], bounds, None)
    assert_as_good_as_plain(gradients(lstm, drawn, bounds, None), plain, exact)


@pytest.mark.parametrize("hidden", [100, 130])
@pytest.mark.parametrize("texts", [1, 4, 5])
def test_texts_of_a_block(texts, hidden, device):
    """One, two and four (on the PTX device, of two multiprocessors): the same bits."""
    lengths = [2, 3, 1, 2, 3][:texts]
    drawn, bounds, _ = case(lengths, 1, hidden, device)
    together = lstm(*drawn[:2], bounds)
    leaves = [x.clone().requires_grad_() for x in drawn[:2]]
    grad = torch.autograd.grad(lstm(*leaves, bounds)[0], leaves[0], drawn[2])[0]
    for b, (first, last) in enumerate(itertools.pairwise(bounds.tolist())):
        gates = drawn[0][first:last].clone().requires_grad_()
        alone = lstm(gates, drawn[1], bounds_of([last - first], device))
        assert torch.equal(alone[0], together[0][first:last])
        for x, y in zip(alone[1:], together[1:], strict=True):
            assert torch.equal(x[0], y[b])
        alone[0].backward(drawn[2][first:last])
        assert torch.equal(gates.grad, grad[first:last])


@pytest.mark.parametrize("rows", [None, 4])
def test_gradcheck(rows, device):
    drawn, bounds, index = case([3, 0, 1], 2, 2, device, torch.float64, rows)
    leaves = [x.requires_grad_() for x in drawn[:2]]

    def weighted(gates, w_hh):
        results = lstm(gates, w_hh, bounds, index)
        return sum((x * y).sum() for x, y in zip(results, drawn[2:], strict=True))

    assert torch.autograd.gradcheck(weighted, leaves)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_each_result_alone(which, device):
    """A result that nobody uses has no gradient, and none is made up of zeros."""
    drawn, bounds, _ = case([3, 0, 5], 2, 5, device, torch.float64)
    for leaf in drawn[:2]:
        leaf.requires_grad_()
    found, exact = (
        torch.autograd.grad(function(*drawn[:2], bounds)[which], drawn[:2], drawn[2 + which])
        for function in (lstm, reference.lstm)
    )
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)


def test_one_gradient_alone(device):
    drawn, bounds, _ = case([3, 4], 2, 5, device)
    both = gradients(lstm, drawn, bounds, None)[3:]
    for i in (0, 1):
        leaves = [x.clone() for x in drawn[:2]]
        leaves[i].requires_grad_()
        results = lstm(*leaves, bounds)
        sum((x * y).sum() for x, y in zip(results, drawn[2:], strict=True)).backward()
        assert torch.equal(leaves[i].grad, both[i]) and leaves[1 - i].grad is None


def test_opcheck(device):
    drawn, bounds, index = case([2, 0, 3], 2, 3, device, rows=4)
    gates, w_hh = (x.clone().requires_grad_() for x in drawn[:2])
    index = index.int()
    op = torch.ops.lexforge.lstm.default
    torch.library.opcheck(op, (gates, index, w_hh, bounds, True))
    torch.library.opcheck(op, (drawn[0], None, drawn[1], bounds_of([4], device), False))
    activated, cells = op(*(drawn[0], index, drawn[1], bounds, True))[3:]
    for given in (drawn[2:], [None, drawn[3], None]):
        torch.library.opcheck(
            torch.ops.lexforge.lstm_backward.default, (*given, drawn[1], bounds, activated, cells)
        )


@pytest.mark.parametrize("rows", [None, 4])
def test_compiles_without_graph_breaks(rows, device):
    drawn, bounds, index = case([2, 0, 3], 2, 3, device, rows=rows)

    def step(gates, w_hh, bounds, index):
        return [x.sin() for x in lstm(gates * 2, w_hh, bounds, index)]

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    ours, plain = (gradients(f, drawn, bounds, index) for f in (compiled, step))
    for x, y in zip(ours, plain, strict=True):
        torch.testing.assert_close(x, y)


def test_nothing_is_kept_without_a_gradient(device):
    drawn, bounds, _ = case([3, 0, 5], 2, 5, device)
    kept = lstm(drawn[0].requires_grad_(), drawn[1], bounds)
    with torch.no_grad():
        for x, y in zip(lstm(*drawn[:2], bounds), kept, strict=True):
            assert torch.equal(x, y)
    saved = torch.ops.lexforge.lstm.default(drawn[0].detach(), None, drawn[1], bounds, False)[3:]
    assert [x.numel() for x in saved] == [0, 0]
    out = torch.ops.lexforge.lstm.default(drawn[0], None, drawn[1], bounds, False)[0]
    with pytest.raises(RuntimeError, match="of a call with save=False"):
        out.sum().backward()


def test_differentiable_once(device):
    drawn, bounds, _ = case([3], 1, 2, device, torch.float64)
    gates = drawn[0].requires_grad_()
    out = lstm(gates, drawn[1], bounds)[0]
    (grad,) = torch.autograd.grad(out.square().sum(), gates, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        grad.sum().backward()


@pytest.mark.parametrize("directions", [1, 2])
def test_bit_identical_for_any_threads(directions, device):
    lengths = [5, 1, 12, 0, 9, 2, 2, 7, 12, 3, 4, 4, 6, 1, 8, 2, 5]
    drawn, bounds, index = case(lengths, directions, 20, device, rows=9)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            results.append(gradients(lstm, drawn, bounds, index))
    finally:
        torch.set_num_threads(threads)
    for *result, grad_w_hh in results[1:]:
        assert all(map(torch.equal, result, results[0]))
        torch.testing.assert_close(grad_w_hh, results[0][-1])  # torch's product


def test_gates_of_any_size(device):
    """Saturated ones are 0 or 1, and only the text of a NaN is NaN, from there on."""
    gates = torch.zeros(8, 4, device=device)
    gates[0] = torch.tensor([1e30, -1e30, 1e4, 200.0])
    gates[1] = torch.tensor([-math.inf, math.inf, 3.0, 90.0])
    w_hh = torch.ones(1, 4, 1, device=device)
    bounds = bounds_of([2, 6], device)
    out, _, c_n = lstm(gates, w_hh, bounds)
    assert c_n[0] == 1
    torch.testing.assert_close(out[:2].cpu(), torch.full((2, 1), math.tanh(1)), rtol=0, atol=5e-7)
    gates[4, 1] = math.nan
    out = lstm(gates, w_hh, bounds)[0].isnan().flatten().tolist()
    assert out == [False] * 4 + [True] * 4


def test_sigmoid_and_tanh(device):
    """Within 3e-7, wherever they are not 0 or 1."""
    x = torch.linspace(-30, 30, 6001)
    gates = x[:, None].repeat(1, 4).to(device)
    bounds = torch.arange(len(x) + 1, dtype=torch.int32, device=device)
    w_hh = torch.zeros(1, 4, 1, device=device)
    found = torch.ops.lexforge.lstm.default(gates, None, w_hh, bounds, True)[3].cpu().double()
    for gate, exact in enumerate((torch.sigmoid, torch.sigmoid, torch.tanh, torch.sigmoid)):
        assert (found[:, gate] - exact(x.double())).abs().max() <= 3e-7


def test_gradients_that_fade_are_nothing(device):
    """They reach 0 at once: among numbers below the smallest normal one all would be slow."""
    if device.type == "cuda" or _library.emulated():
        pytest.skip("of the CPU, whose denormal numbers are slow")
    tokens = 200
    gates = torch.zeros(tokens, 4)
    gates[:, 1] = -3.0
    gates.requires_grad_()
    _, h_n, _ = lstm(gates, torch.zeros(1, 4, 1), bounds_of([tokens], device))
    h_n.sum().backward()
    found = gates.grad.abs().flatten()
    assert found[-4:].any() and not found[:40].any()
    assert not ((found > 0) & (found < torch.finfo().tiny)).any()


def test_every_order_in_memory(device):
    """What is not contiguous is copied; and int64 rows are those of int32."""
    drawn, bounds, index = case([2, 4], 2, 5, device, rows=7)
    expected = lstm(*drawn[:2], bounds, index)
    gates = drawn[0].t().contiguous().t()
    w_hh = drawn[1].transpose(0, 2).contiguous().transpose(0, 2)
    spread = torch.stack([bounds, bounds], 1)[:, 0]
    for x, y in zip(lstm(gates, w_hh, spread, index.int()), expected, strict=True):
        assert torch.equal(x, y)


def test_meta_tensors():
    gates, w_hh = torch.empty(5, 24, device="meta"), torch.empty(2, 12, 3, device="meta")
    bounds = torch.empty(4, dtype=torch.int32, device="meta")
    assert [x.shape for x in lstm(gates, w_hh, bounds)] == [(5, 6), (3, 6), (3, 6)]


SCRIPT = """
import sys, torch
sys.path.insert(0, "tests")
from recurrent import test_lstm as tests
device = torch.device("cpu")
for hidden in (3, 36):
    tests.test_hidden_sizes(hidden, device)
for dtype in (torch.float32, torch.float64):
    tests.test_values_and_gradients(tests.LENGTHS[3], 2, 3, dtype, device)
tests.test_gates_of_any_size(device)
tests.test_sigmoid_and_tanh(device)
tests.test_bit_identical_for_any_threads(2, device)
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa):
    run_under(isa, SCRIPT)


def test_a_row_that_is_not_there_makes_its_text_nan(device):
    """Where nobody looks at the index: on CUDA."""
    if not (device.type == "cuda" or _library.emulated()):
        pytest.skip("the CPU looks")
    drawn, bounds, index = case([3, 2], 1, 2, device, rows=4)
    for wrong in (-1, 4):
        index[1] = wrong
        op = torch.ops.lexforge.lstm.default
        out = op(drawn[0], index.int(), drawn[1], bounds, False)[0]
        assert out.isnan().all(1).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"gates": torch.zeros(5, 24).half()}, TypeError, "gates must be float32 or float64"),
        ({"gates": torch.zeros(5, 23)}, ValueError, r"gates must be \[5, 24\], got \[5, 23\]"),
        ({"gates": torch.zeros(24)}, ValueError, r"gates must be \[T, D \* 4 \* H\], got \[24\]"),
        ({"w_hh": torch.zeros(2, 12, 3).double()}, TypeError, "w_hh must be float32, got float64"),
        ({"w_hh": torch.zeros(2, 12)}, ValueError, r"w_hh must be \[D, 4 \* H, H\]"),
        ({"w_hh": torch.zeros(2, 11, 3)}, ValueError, r"w_hh must be \[2, 12, 3\]"),
        ({"w_hh": torch.zeros(3, 12, 3)}, ValueError, r"directions must be in \[1, 2\], got 3"),
        ({"w_hh": torch.zeros(2, 0, 0)}, ValueError, r"hidden size must be in \[1, 1024\], got 0"),
        (
            {"w_hh": torch.zeros(1, 1, 1025), "gates": torch.zeros(5, 4100)},
            ValueError,
            r"hidden size must be in \[1, 1024\], got 1025",
        ),
        ({"cu_seqlens": torch.tensor([0, 5])}, TypeError, "cu_seqlens must be int32, got int64"),
        ({"cu_seqlens": torch.zeros(0).int()}, ValueError, r"cu_seqlens must be \[B \+ 1\]"),
        ({"cu_seqlens": torch.tensor([1, 5]).int()}, ValueError, "start at 0, got 1"),
        ({"cu_seqlens": torch.tensor([0, 4]).int()}, ValueError, "end at T = 5, got 4"),
        ({"cu_seqlens": torch.tensor([0, 4, 3, 5]).int()}, ValueError, "ascend, got 4 before 3"),
        ({"index": torch.zeros(5)}, TypeError, "index must be int32 or int64, got float32"),
        ({"index": torch.zeros(5, 1).int()}, ValueError, r"index must be \[T\], got \[5, 1\]"),
        ({"index": torch.tensor([0, 1, 5, 0, 0])}, IndexError, r"index must be in \[0, 5\), got 5"),
        ({"index": torch.tensor([0, 1, 2, -1, 0])}, IndexError, "got -1 at position 3"),
        ({"index": torch.zeros(4).int()}, ValueError, "end at T = 4, got 5"),
    ],
)
def test_errors(change, error, message):
    given = {
        "gates": torch.zeros(5, 24),
        "w_hh": torch.zeros(2, 12, 3),
        "cu_seqlens": torch.tensor([0, 2, 5], dtype=torch.int32),
        "index": None,
    }
    with pytest.raises(error, match="^lstm: .*" + message):
        lstm(**{**given, **change})


def test_errors_of_the_binding(device):
    """For callers of torch.ops: what would leave the tensors."""
    drawn, bounds, index = case([2, 3], 2, 3, device, rows=4)
    op, index = torch.ops.lexforge.lstm.default, index.int()
    for given, message in [
        ((drawn[0], index, drawn[1][:1], bounds), r"gates must be \[4, 12\], got \[4, 24\]"),
        (
            (drawn[0], index, drawn[1][:, :9].contiguous(), bounds),
            r"w_hh must be \[2, 12, 3\], got \[2, 9, 3\]",
        ),
        ((drawn[0], index.long(), drawn[1], bounds), "index has the wrong dtype"),
        ((drawn[0], index, drawn[1].double(), bounds), "w_hh has the wrong dtype"),
        ((drawn[0].half(), index, drawn[1].half(), bounds), "must be float32 or float64"),
        ((drawn[0], index, drawn[1], bounds[:0]), r"cu_seqlens must be \[B \+ 1\]"),
    ]:
        with pytest.raises(RuntimeError, match=message):
            op(*given, True)
    activated, cells = op(drawn[0], index, drawn[1], bounds, True)[3:]
    backward = torch.ops.lexforge.lstm_backward.default
    for i, message in enumerate(("grad_out must be", "grad_h must be", "grad_c must be")):
        given = [x[:1] if i == k else x for k, x in enumerate(drawn[2:])]
        with pytest.raises(RuntimeError, match=message):
            backward(*given, drawn[1], bounds, activated, cells)
    with pytest.raises(RuntimeError, match="cells must be"):
        backward(*drawn[2:], drawn[1], bounds, activated, cells[:1])
    if device.type == "cpu" and not _library.emulated():
        wrong = bounds_of([2, 4], device)
        with pytest.raises(RuntimeError, match="cu_seqlens must end at T = 5, got 6"):
            op(drawn[0], index, drawn[1], wrong, True)
        with pytest.raises(RuntimeError, match=r"index must be in \[0, 4\)"):
            op(drawn[0], index + 4, drawn[1], bounds, True)
