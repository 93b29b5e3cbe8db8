"""soft_align: values, gradients, empty texts, determinism, errors."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops.alignment.soft_align import soft_align
from lexforge.reference.alignment import soft_align as reference

DTYPES = (torch.float32, torch.bfloat16)
NAMES = ("beta", "alpha", "f_a", "f_b", "a", "b")


def bounds(lengths, device):
    return torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)


class Batch:
    """Pairs of random texts: what is aligned, and weights for the sum of the results."""

    def __init__(self, lengths_a, lengths_b, features, dim, device, dtype=torch.float32):
        generator = torch.Generator().manual_seed(0)
        a, b = sum(lengths_a), sum(lengths_b)
        shapes = [(a, features), (b, features), (a, dim), (b, dim), (a, dim), (b, dim)]
        drawn = [torch.randn(x, generator=generator, dtype=torch.float64) for x in shapes]
        drawn[0] *= features**-0.5
        self.texts = [x.to(device, dtype) for x in drawn[:4]]
        self.weights = [x.to(device, dtype) for x in drawn[4:]]
        self.bounds = [bounds(lengths_a, device), bounds(lengths_b, device)]
        self.longest = [max(lengths_a, default=0), max(lengths_b, default=0)]

    def ours(self):
        return gradients(soft_align, self.texts, self.weights, *self.bounds, *self.longest)

    def plain(self, dtype=None):
        texts = [x if dtype is None else x.to(dtype) for x in self.texts]
        return gradients(reference.soft_align, texts, self.weights, *self.bounds)

    def largest_product(self):
        """Of a gradient with what is aligned: gradients of scores are differences of such."""
        pairs = zip(self.weights, self.texts[:1:-1], strict=True)
        return max((float((g @ x.T).abs().max()) for g, x in pairs if len(g) and len(x)), default=0)


def gradients(function, texts, weights, *arguments):
    """beta, alpha and the gradients of the four texts."""
    leaves = [x.detach().clone().requires_grad_() for x in texts]
    results = function(*leaves, *arguments)
    weights = [x.to(y.dtype) for x, y in zip(weights, results, strict=True)]
    grads = torch.autograd.grad(results, leaves, weights, allow_unused=True)
    grads = [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True)]
    return [*(x.detach() for x in results), *grads]


def rms(x):
    return x.square().mean().sqrt()


def assert_as_good_as_plain(batch, dtype):
    """No further from the float64 oracle than twice plain torch of the same precision is.

    The allowance is of two roundings of the largest entry, which tiny problems need, and of the
    sums in float32 whose differences the gradients of scores are.
    """
    ours, plain, exact = batch.ours(), batch.plain(), batch.plain(torch.float64)
    largest = max((z.abs().max().item() for z in exact if z.numel()), default=0.0)
    rounding = 2 * torch.finfo(dtype).eps * largest
    rounding += 2 * torch.finfo(torch.float32).eps * batch.largest_product()
    for name, x, y, z in zip(NAMES, ours, plain, exact, strict=True):
        assert x.shape == z.shape and x.dtype == dtype
        if z.numel():
            error, plain_error = (x.double() - z).abs(), (y.double() - z).abs()
            assert rms(error) <= 2 * rms(plain_error) + rounding, name
            assert error.max() <= 4 * plain_error.max() + rounding, name


LENGTHS = [
    ([1], [1]),
    ([14, 1, 0, 7, 3], [8, 3, 4, 0, 17]),
    ([0], [0]),
    ([], []),
    ([65, 16], [33, 16]),  # blocks of 64 on the CPU, tiles of 16 on CUDA
    ([2, 150], [70, 5]),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("features", "dim"), [(1, 1), (200, 100), (33, 17)])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_values_and_gradients(lengths, features, dim, dtype, device):
    batch = Batch(*lengths, features, dim, device, dtype)
    assert_as_good_as_plain(batch, dtype)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_float64(lengths, device):
    batch = Batch(*lengths, 19, 24, device, torch.float64)
    for x, z in zip(batch.ours(), batch.plain(), strict=True):
        torch.testing.assert_close(x, z, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
@pytest.mark.parametrize("turned", [False, True])
def test_long_texts(turned, dtype, device):
    """Blocks of few tokens on CUDA, many blocks on the CPU; the largest scores come last."""
    lengths = ([2], [2100]) if not turned else ([2100], [2])
    batch = Batch(*lengths, 3, 2, device, dtype)
    for x in batch.texts[:2]:
        x *= torch.linspace(0.5, 2, len(x), device=device, dtype=torch.float64)[:, None].to(dtype)
    if dtype != torch.float64:
        return assert_as_good_as_plain(batch, dtype)
    for x, z in zip(batch.ours(), batch.plain(), strict=True):
        torch.testing.assert_close(x, z, rtol=0, atol=1e-11)


def test_the_texts_of_a_pair_take_turns(device):
    """Aligning the second texts with the first is the same thing, bit for bit on CUDA."""
    batch = Batch([5, 9], [3, 12], 24, 16, device)
    turned = Batch([3, 12], [5, 9], 24, 16, device)
    order = [1, 0, 3, 2]
    turned.texts = [batch.texts[i] for i in order]
    turned.weights = batch.weights[::-1]
    for x, y in zip(batch.ours(), [turned.ours()[i] for i in (1, 0, 3, 2, 5, 4)], strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_views_are_read_where_they_lie(dtype, device):
    """Columns and rows of larger tensors, at odd offsets, give what their copies give."""
    copies = Batch([9, 4], [5, 6], 37, 21, device, dtype)
    views = Batch([9, 4], [5, 6], 37, 21, device, dtype)
    for i, x in enumerate(views.texts):
        wide = torch.randn(len(x) + 1, 60, device=device).to(dtype)
        views.texts[i] = wide[1:, 3 : 3 + x.shape[1]]
        views.texts[i].copy_(x)
    expected = copies.ours()
    results = soft_align(*views.texts, *views.bounds, *views.longest)
    for x, y in zip(results, expected, strict=False):
        assert torch.equal(x, y)
    texts = [x.t().contiguous().t() for x in copies.texts]
    for x, y in zip(soft_align(*texts, *views.bounds, *views.longest), expected, strict=False):
        assert torch.equal(x, y)
    # A gradient of a sum has no strides at all.
    leaves = [x.clone().requires_grad_() for x in copies.texts]
    beta, alpha = soft_align(*leaves, *views.bounds, *views.longest)
    (beta.sum() + alpha.sum()).backward()
    copies.weights = [torch.ones_like(x) for x in copies.weights]
    for x, y in zip(leaves, copies.ours()[2:], strict=True):
        assert torch.equal(x.grad, y)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
def test_an_empty_text_aligns_with_zeros(dtype, device):
    batch = Batch([3, 0, 2], [0, 4, 5], 16, 8, device, dtype)
    beta, alpha, f_a, f_b, a, b = batch.ours()
    for x in (beta[:3], alpha[:4], f_a[:3], a[:3], f_b[:4], b[:4]):
        assert torch.equal(x, torch.zeros_like(x))
    for x in (beta[3:], alpha[4:], f_a[3:], f_b[4:], a[3:], b[4:]):
        assert (x != 0).any()
    _, _, stats_a, stats_b = torch.ops.lexforge.soft_align.default(
        *batch.texts, *batch.bounds, *batch.longest
    )
    for stats, nothing in ((stats_a, 3), (stats_b, 4)):
        assert (stats[0, :nothing] == -math.inf).all() and (stats[1, :nothing] == 0).all()
        assert stats[:, nothing:].isfinite().all()


def test_statistics_are_saved(device):
    batch = Batch([70], [5], 16, 8, device)
    results = torch.ops.lexforge.soft_align.default(*batch.texts, *batch.bounds, *batch.longest)
    scores = batch.texts[0] @ batch.texts[1].T
    for stats, dim in zip(results[2:], (1, 0), strict=True):
        assert stats.dtype == torch.float32
        top = scores.amax(dim, keepdim=True)
        torch.testing.assert_close(stats[0], top.flatten())
        torch.testing.assert_close(stats[1], (scores - top).exp().sum(dim))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_stays_in_its_pair(wrong, dtype, device):
    batch = Batch([3, 70, 2], [4, 5, 3], 16, 8, device, dtype)
    expected = batch.ours()
    batch.texts[0][40, 3] = batch.texts[3][5, 2] = wrong
    found = batch.ours()
    for x, y in zip(found, expected, strict=True):
        ends = (3, 2) if len(x) == 75 else (4, 3)
        assert torch.equal(x[: ends[0]], y[: ends[0]])
        assert torch.equal(x[-ends[1] :], y[-ends[1] :])
    assert found[0][43 - 3].isnan().any()


def test_large_scores(device):
    """Scores of +-10^4 neither overflow nor vanish; ties share."""
    f_a = torch.tensor([[100.0], [-100.0], [100.0]], device=device)
    f_b = torch.tensor([[100.0], [-100.0]], device=device)
    a, b = torch.tensor([[1.0], [2.0], [3.0]], device=device), torch.tensor([[5.0], [7.0]])
    cu_a, cu_b = bounds([3], device), bounds([2], device)
    beta, alpha = soft_align(f_a, f_b, a, b.to(device), cu_a, cu_b, 3, 2)
    torch.testing.assert_close(beta.flatten().tolist(), [5.0, 7.0, 5.0])
    torch.testing.assert_close(alpha.flatten().tolist(), [2.0, 2.0])


def test_gradcheck(device):
    batch = Batch([3, 1, 0, 2], [2, 0, 1, 4], 3, 2, device, torch.float64)
    leaves = [x.requires_grad_() for x in batch.texts]

    # The gradient of one weighted sum: of each output by itself would be as many backward passes.
    def weighted(*texts):
        results = soft_align(*texts, *batch.bounds, *batch.longest)
        return sum((x * y).sum() for x, y in zip(results, batch.weights, strict=True))

    assert torch.autograd.gradcheck(weighted, leaves)
    assert torch.autograd.gradcheck(
        lambda *texts: soft_align(*texts, *batch.bounds, *batch.longest)[1].sin().sum(), leaves
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype, device):
    batch = Batch([4, 3], [2, 5], 8, 6, device, dtype)
    rest = (*batch.bounds, *batch.longest)
    leaves = [x.clone().requires_grad_() for x in batch.texts]
    torch.library.opcheck(torch.ops.lexforge.soft_align.default, (*leaves, *rest))
    results = torch.ops.lexforge.soft_align.default(*batch.texts, *rest)
    torch.library.opcheck(
        torch.ops.lexforge.soft_align_backward.default,
        (*batch.weights, *batch.texts, *results, *rest),
    )


def test_compiles_without_graph_breaks(device):
    batch = Batch([4, 3], [2, 5], 8, 6, device)

    def step(f_a, f_b, a, b, *rest):
        beta, alpha = soft_align(f_a * 2, f_b, a, b, *rest)
        return beta.sin(), alpha

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    rest = (batch.texts, batch.weights, *batch.bounds, *batch.longest)
    for x, y in zip(gradients(compiled, *rest), gradients(step, *rest), strict=True):
        torch.testing.assert_close(x, y)


def test_autocast(device):
    """All in its dtype, as torch's products; float64 stays; gradients in that of the inputs."""
    batch = Batch([4, 3], [2, 5], 16, 6, device)
    half = [x.bfloat16() for x in batch.texts]
    with torch.autocast(device.type, torch.bfloat16):
        found = batch.ours()
        mixed = soft_align(*half[:2], *batch.texts[2:], *batch.bounds, *batch.longest)
        wide = [x.double() for x in batch.texts]
        assert soft_align(*wide, *batch.bounds, *batch.longest)[0].dtype == torch.float64
    expected = soft_align(*half, *batch.bounds, *batch.longest)
    for results in (found, mixed):
        for x, y in zip(results, expected, strict=False):
            assert torch.equal(x, y)
    assert {x.dtype for x in found[2:]} == {torch.float32}


@pytest.mark.parametrize("dtype", DTYPES)
def test_bit_identical_for_any_threads(dtype, device):
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(0, 20, (2, 12), generator=generator).tolist()
    batch = Batch(*lengths, 40, 24, device, dtype)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append(batch.ours())
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


ISA_SCRIPT = """
import torch, lexforge
from lexforge.ops.alignment.soft_align import soft_align
from lexforge.reference.alignment import soft_align as reference

cu_a, cu_b = torch.tensor([[0, 14, 84, 85], [0, 9, 30, 33]], dtype=torch.int32)
for features, dim in ((200, 100), (13, 5), (64, 16)):
    shapes = [(85, features), (33, features), (85, dim), (33, dim), (85, dim), (33, dim)]
    drawn = [torch.randn(shape) for shape in shapes]
    drawn[0] *= features**-0.5
    for dtype, bound in ((torch.float32, 4e-6), (torch.bfloat16, 3e-2)):
        results = []
        for to in (dtype, torch.float64):
            leaves = [x.to(dtype).to(to, copy=True).requires_grad_() for x in drawn[:4]]
            weights = [x.to(dtype).to(to) for x in drawn[4:]]
            if to == torch.float64:
                out = reference.soft_align(*leaves, cu_a, cu_b)
            else:
                out = soft_align(*leaves, cu_a, cu_b, 70, 21)
            results.append([*out, *torch.autograd.grad(out, leaves, weights)])
        for x, y in zip(*results):
            assert (x - y).abs().max() <= bound * y.abs().max(), (dtype, features)
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa):
    assert run_under(isa, ISA_SCRIPT).strip() == isa


ARGUMENTS = ("f_a", "f_b", "a", "b", "cu_a", "cu_b", "max_a", "max_b")


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "f_a must be float32", {"f_a": torch.Tensor.half}),
        (TypeError, "b must be float32, got float64", {"b": torch.Tensor.double}),
        (ValueError, r"f_a must be \[Ta, H\]", {"f_a": lambda x: x[0]}),
        (ValueError, r"f_b must be \[Tb, 8\], got \[7, 7\]", {"f_b": lambda x: x[:, :7]}),
        (ValueError, r"a must be \[9, D\], got \[8, 6\]", {"a": lambda x: x[:8]}),
        (ValueError, r"b must be \[7, 6\], got \[7, 5\]", {"b": lambda x: x[:, :5]}),
        (
            ValueError,
            "H and D must be at least 1, got 0 and 6",
            {"f_a": lambda x: x[:, :0], "f_b": lambda x: x[:, :0]},
        ),
        (
            ValueError,
            "H and D must be at least 1, got 8 and 0",
            {"a": lambda x: x[:, :0], "b": lambda x: x[:, :0]},
        ),
        (ValueError, "a must be on .*, got meta", {"a": lambda x: x.to("meta")}),
        (TypeError, "cu_a must be int32, got int64", {"cu_a": torch.Tensor.long}),
        (ValueError, r"cu_a must be \[N \+ 1\]", {"cu_a": lambda x: x[:0]}),
        (ValueError, r"cu_b must be \[3\], got \[2\]", {"cu_b": lambda x: x[:2]}),
        (ValueError, "cu_a must start at 0, got 1", {"cu_a": lambda x: x + 1}),
        (ValueError, "cu_b must end at Tb = 7, got 8", {"cu_b": lambda x: x + x.ne(0)}),
        (
            ValueError,
            "cu_a must ascend, got 10 before 9",
            {"cu_a": lambda x: x.new_tensor([0, 10, 9]), "max_a": lambda x: 10},
        ),
        (
            ValueError,
            "max_b must be at least 5, the length of sequence 1, got 4",
            {"max_b": lambda x: 4},
        ),
        (ValueError, "max_a must be in", {"max_a": lambda x: -1}),
        (TypeError, "max_a must be an int", {"max_a": lambda x: 5.0}),
    ],
)
def test_errors(error, match, changes, device):
    if device.type == "cuda" and error is ValueError and ("got" in match and "cu_" in match):
        pytest.skip("the content of cu_a and cu_b is not looked at on CUDA")
    batch = Batch([4, 5], [2, 5], 8, 6, device)
    given = (*batch.texts, *batch.bounds, *batch.longest)
    arguments = dict(zip(ARGUMENTS, given, strict=True))
    arguments |= {name: change(arguments[name]) for name, change in changes.items()}
    with pytest.raises(error, match=f"soft_align: {match}"):
        soft_align(**arguments)


def test_a_text_that_is_too_long_for_cuda(device):
    batch = Batch([4097], [1], 1, 1, device)
    if device.type == "cpu" and not _library.emulated():
        assert soft_align(*batch.texts, *batch.bounds, 4097, 1)[0].isfinite().all()
        return
    with pytest.raises((ValueError, RuntimeError), match=r"max_a must be .*4096"):
        soft_align(*batch.texts, *batch.bounds, 4097, 1)


FORGED = [[0, 4], [1, 9], [0, 12, 9], [0, -5, 9], [0, 2**31 - 1], [0, 9, 9, 100]]


@pytest.mark.parametrize("given", FORGED)
def test_forged_bounds_do_not_leave_the_tensors(given, device):
    """Callers of torch.ops directly get an error on the CPU; elsewhere bounds are clamped."""
    batch = Batch([9], [9], 8, 6, device)
    forged = torch.tensor(given, dtype=torch.int32, device=device)
    right = torch.tensor([0, *[9] * (len(given) - 1)], dtype=torch.int32, device=device)
    results = torch.ops.lexforge.soft_align.default(*batch.texts, *batch.bounds, 9, 9)
    for cu in ((forged, right), (right, forged)):
        calls = [
            lambda rest: torch.ops.lexforge.soft_align.default(*batch.texts, *rest),
            lambda rest: torch.ops.lexforge.soft_align_backward.default(
                *batch.weights, *batch.texts, *results, *rest
            ),
        ]
        for call in calls:
            if device.type == "cpu" and not _library.emulated():
                with pytest.raises(RuntimeError, match=r"(cu_[ab]|max_[ab]) must"):
                    call((*cu, 9, 9))
            else:
                call((*cu, 9, 9))


def test_op_itself_refuses_what_memory_safety_needs(device):
    batch = Batch([4, 5], [2, 5], 8, 6, device)
    right = dict(zip(ARGUMENTS, (*batch.texts, *batch.bounds, 5, 5), strict=True))
    results = torch.ops.lexforge.soft_align.default(**right)
    saved = ("beta", "alpha", "stats_a", "stats_b")
    saved = {**right, **dict(zip(saved, results, strict=True))}
    saved |= dict(zip(("grad_beta", "grad_alpha"), batch.weights, strict=True))
    for match, name, change in (
        ("f_b must have the columns of f_a, 8, got 7", "f_b", lambda x: x[:, :7]),
        ("b must have the columns of a, 6, got 5", "b", lambda x: x[:, :5]),
        ("a must have the rows of f_a, 9, got 8", "a", lambda x: x[:8]),
        ("b has the wrong dtype: must be float32, got float64", "b", torch.Tensor.double),
        ("f_a must have stride 1", "f_a", lambda x: x.t().contiguous().t()),
        ("f_a must have 2 dimensions", "f_a", lambda x: x[None]),
        ("cu_a has the wrong dtype", "cu_a", torch.Tensor.long),
        (r"cu_a must be \[N \+ 1\]", "cu_a", lambda x: x[:0]),
        ("cu_b must be as long as cu_a, 3, got 2", "cu_b", lambda x: x[:2]),
        ("max_b must be below 2", "max_b", lambda x: 2**27),
        ("max_a must be below 2", "max_a", lambda x: -1),
    ):
        for op, given in (("soft_align", right), ("soft_align_backward", saved)):
            with pytest.raises(RuntimeError, match=f"{op}: {match}"):
                getattr(torch.ops.lexforge, op).default(**{**given, name: change(given[name])})
    for match, name, change in (
        ("grad_beta must have the shape of a", "grad_beta", lambda x: x[:8]),
        ("alpha must have the shape of b", "alpha", lambda x: x[:, :5]),
        ("grad_alpha must have stride 1", "grad_alpha", lambda x: x.t().contiguous().t()),
        (r"stats_a must be \[2, 9\], got \[2, 8\]", "stats_a", lambda x: x[:, :8].contiguous()),
        ("stats_b has the wrong dtype", "stats_b", torch.Tensor.double),
    ):
        with pytest.raises(RuntimeError, match=match):
            torch.ops.lexforge.soft_align_backward.default(**{**saved, name: change(saved[name])})
