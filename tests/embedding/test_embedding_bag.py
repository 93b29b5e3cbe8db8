"""embedding, embedding_bag, embedding_renorm_: values, gradients, determinism, errors."""

from __future__ import annotations

import math

import pytest
import torch

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops import embedding, embedding_bag, embedding_renorm_
from lexforge.reference.embedding import embedding_bag as reference

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
# One rounding of the result, and those of sums of a few hundred numbers.
BOUNDS = {torch.float32: 2e-6, torch.bfloat16: 5e-3, torch.float64: 1e-14}
OPS = torch.ops.lexforge


def problem(count, dim, device, *, rows=23, bags=7, dtype=torch.float32, weights=False, seed=0):
    """(table, ids, offsets, weights): some bags empty, a third of the ids one row."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device, dtype)

    ids = torch.randint(0, rows, (count,), generator=generator)
    ids[torch.rand(count, generator=generator) < 1 / 3] = 5
    offsets = torch.randint(0, count + 1, (bags,), generator=generator).sort()[0]
    offsets[0] = 0
    given = normal(count) if weights else None
    return normal(rows, dim), ids.to(device), offsets.to(device), given


def results(function, ids, table, offsets=None, weights=None, **options):
    """The result and the gradients of the table and the weights, in float64."""
    leaves = [x.detach().clone().requires_grad_() for x in (table, weights) if x is not None]
    if weights is not None:
        options["per_sample_weights"] = leaves[1]
    if offsets is not None:
        options["offsets"] = offsets
    out = function(ids, leaves[0], **options)
    generator = torch.Generator().manual_seed(99)
    grad = torch.randn(out.shape, generator=generator, dtype=torch.float64).bfloat16()
    out.backward(grad.to(out.device, out.dtype))
    assert out.dtype == table.dtype
    return [x.detach().to_dense().double() for x in (out, *(leaf.grad for leaf in leaves))]


def assert_close(ours, exact, dtype):
    for x, y in zip(ours, exact, strict=True):
        scale = max(1.0, y.abs().max().item()) if y.numel() else 1.0
        torch.testing.assert_close(x, y, rtol=0, atol=BOUNDS[dtype] * scale)


def widened(x):
    return None if x is None else x.double()


@pytest.mark.parametrize("padding_idx", [None, 5, -1])
@pytest.mark.parametrize("by_frequency", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("count", "dim"), [(1, 1), (9, 3), (70, 24), (130, 100), (40, 131), (7, 0)]
)
def test_lookup(count, dim, dtype, by_frequency, padding_idx, device):
    table, ids, _, _ = problem(count, dim, device, dtype=dtype)
    options = {"padding_idx": padding_idx, "scale_grad_by_freq": by_frequency}
    ours = results(embedding, ids, table, **options)
    assert torch.equal(ours[0], table[ids].double())
    assert_close(ours, results(reference.embedding, ids, table.double(), **options), dtype)


@pytest.mark.parametrize(
    ("mode", "by_frequency", "weights"),
    [
        ("sum", False, False),
        ("sum", True, True),
        ("sum", False, True),
        ("mean", False, False),
        ("mean", True, False),
        ("max", False, False),
    ],
)
@pytest.mark.parametrize("padding_idx", [None, 5])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("count", "dim"), [(1, 1), (60, 3), (90, 24), (300, 100), (40, 131)])
def test_bags(count, dim, dtype, padding_idx, mode, by_frequency, weights, device):
    table, ids, offsets, given = problem(count, dim, device, dtype=dtype, weights=weights)
    options = {"mode": mode, "padding_idx": padding_idx, "scale_grad_by_freq": by_frequency}
    ours = results(embedding_bag, ids, table, offsets, given, **options)
    exact = results(
        reference.embedding_bag, ids, table.double(), offsets, widened(given), **options
    )
    assert_close(ours, exact, dtype)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("shape", [(5, 4), (3, 1), (0, 3), (3, 0)])
def test_bags_of_one_length(shape, mode, device):
    table = problem(1, 8, device)[0]
    ids = torch.randint(0, 23, shape).to(device)
    ours = results(embedding_bag, ids, table, mode=mode)
    assert_close(
        ours, results(reference.embedding_bag, ids, table.double(), mode=mode), table.dtype
    )
    assert ours[0].shape == (shape[0], 8)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("sparse", [False, True])
def test_ids_after_the_last_offset_are_in_no_bag(sparse, mode, device):
    if sparse and mode == "max":
        pytest.skip("max has no sparse gradient")
    table, ids, _, _ = problem(12, 5, device)
    offsets = torch.tensor([0, 3, 3, 8], device=device)
    options = {"mode": mode, "include_last_offset": True}
    ours = results(embedding_bag, ids, table, offsets, sparse=sparse, **options)
    exact = results(reference.embedding_bag, ids, table.double(), offsets, **options)
    assert_close(ours, exact, table.dtype)
    if not sparse:
        given = torch.ones(12, device=device)
        if mode == "sum":
            grad = results(embedding_bag, ids, table, offsets, given, **options)[2]
            assert not grad[8:].any() and grad[:8].all()


@pytest.mark.parametrize("ids_dtype", [torch.int32, torch.int64])
def test_any_shape_and_integers(ids_dtype, device):
    table, ids, offsets, _ = problem(24, 6, device)
    for shape in ((), (24,), (2, 3, 4), (0,), (2, 0, 3)):
        part = ids[: math.prod(shape)].reshape(shape).to(ids_dtype)
        assert torch.equal(embedding(part, table), table[part.long()])
    expected = embedding_bag(ids, table, offsets)
    assert torch.equal(embedding_bag(ids.to(ids_dtype), table, offsets.to(torch.int32)), expected)


def test_any_layout(device):
    """Transposed and unaligned tables and gradients, ids with strides."""
    table, ids, offsets, _ = problem(24, 8, device)
    expected = results(embedding, ids, table)
    shifted = table.new_zeros(1 + table.numel())[1:].view(table.shape).copy_(table)
    apart = torch.stack([ids, ids], 1)[:, 0]
    for other in (table.t().contiguous().t(), shifted):
        for x, y in zip(results(embedding, apart, other), expected, strict=True):
            assert torch.equal(x, y)
        assert torch.equal(embedding_bag(ids, other, offsets), embedding_bag(ids, table, offsets))
    leaf = table.clone().requires_grad_()
    embedding(ids, leaf).sum().backward()  # an expanded gradient
    counts = torch.bincount(ids, minlength=23).to(table.dtype)
    assert torch.equal(leaf.grad, counts[:, None].expand(-1, 8))


def test_maximum_as_torch(device):
    """The first of equals; a NaN only where it comes first."""
    table = torch.tensor([[1.0, math.nan], [1.0, 2.0], [0.0, 1.0]], device=device)
    ids = torch.tensor([1, 0, 2, 0, 1, 2], device=device)
    ours = results(embedding_bag, ids.view(2, 3), table, mode="max")
    assert torch.equal(ours[0][:, 0].cpu(), torch.ones(2).double())
    assert ours[0][0, 1] == 2 and ours[0][1, 1].isnan()
    leaf = table.clone().requires_grad_()
    embedding_bag(ids.view(2, 3), leaf, mode="max").sum().backward()
    assert leaf.grad.tolist() == [[1, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("count", [31, 32, 33, 512, 513, 1025, 3000])
@pytest.mark.parametrize("mode", ["lookup", "sum", "mean", "max"])
def test_skewed_ids(count, mode, device):
    """Runs that end in, at and beyond the bounds of parts; all ids one, or two."""
    if _library.emulated() and count > 1025:
        pytest.skip("the emulated device runs one block after another")
    for split in (0, 31, count // 2):
        ids = torch.where(torch.arange(count) >= split, 40, 3).to(device)
        table = problem(1, 5, device, rows=41)[0]
        options = {"scale_grad_by_freq": split == 31 and mode != "max"}
        ours, plain = embedding, reference.embedding
        if mode != "lookup":
            ours, plain = embedding_bag, reference.embedding_bag
            offsets = torch.arange(0, count, 7, device=device)
            options |= {"mode": mode, "offsets": offsets}
        exact = results(plain, ids, table.double(), **options)
        for x, y in zip(results(ours, ids, table, **options), exact, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bit_identical_for_any_threads(dtype, device):
    count = 900 if _library.emulated() else 20_000
    table, ids, offsets, _ = problem(count, 37, device, rows=300, bags=500, dtype=dtype)
    ids[: count // 2] = 7  # half of them the work of one row
    given = torch.randn(count, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    calls = [
        lambda: results(embedding, ids, table, scale_grad_by_freq=True),
        lambda: results(embedding_bag, ids, table, offsets, given, mode="sum"),
        lambda: results(embedding_bag, ids, table, offsets, mode="mean", padding_idx=3),
        lambda: results(embedding_bag, ids, table, offsets, mode="max"),
    ]
    threads = torch.get_num_threads()
    try:
        for call in calls:
            torch.set_num_threads(1)
            first = call()
            for number in (1, 2, 3, 8):
                torch.set_num_threads(number)
                assert all(torch.equal(x, y) for x, y in zip(call(), first, strict=True))
    finally:
        torch.set_num_threads(threads)


def test_large_gradients_are_zeros_where_no_row_is():
    """Beyond 32 MB the CPU's gradient is on pages that nothing has touched."""
    if _library.emulated():
        pytest.skip("the emulated device has no CPU kernels")
    rows, dim = 150_001, 61
    ids = torch.tensor([0, 75_000, 75_000, rows - 1])
    grad = torch.arange(1.0, 5.0)[:, None].expand(4, dim).contiguous()
    for _ in range(2):  # the second may get memory that the first has used
        none = torch.empty(0, dim, dtype=torch.int32), torch.empty(0)
        ours = OPS.embedding_bag_backward(
            grad, ids[:, None].int(), None, None, *none, "lookup", -1, False, rows
        )
        assert ours.sum(1).nonzero().flatten().tolist() == [0, 75_000, rows - 1]
        assert ours[ids].sum(1).tolist() == [dim, 5 * dim, 5 * dim, 4 * dim]
        ours.fill_(3.0)
        del ours


@pytest.mark.parametrize("mode", ["lookup", "sum", "mean"])
@pytest.mark.parametrize("padding_idx", [-1, 5])
def test_sparse_gradients(padding_idx, mode, device):
    table, ids, offsets, _ = problem(60, 9, device)
    given = torch.randn(60, device=device) if mode == "sum" else None
    padding = None if padding_idx < 0 else padding_idx
    options = {"padding_idx": padding}
    function = embedding
    if mode != "lookup":
        function, options = embedding_bag, options | {"mode": mode}
    bags = None if mode == "lookup" else offsets
    dense = results(function, ids, table, bags, given, **options)
    for x, y in zip(results(function, ids, table, bags, given, sparse=True, **options), dense,
                    strict=True):  # fmt: skip
        torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-5)
    leaf = table.clone().requires_grad_()
    if bags is not None:
        options["offsets"] = bags
    function(ids, leaf, sparse=True, **options).sum().backward()
    assert not leaf.grad.is_coalesced()
    kept = ids if padding is None else ids[ids != padding]
    assert torch.equal(leaf.grad._indices()[0], kept)


def test_a_sparse_gradient_is_not_copied(device):
    table, ids, _, _ = problem(10, 4, device)
    leaf = table.clone().requires_grad_()
    grad = torch.randn(10, 4, device=device)
    (sparse,) = torch.autograd.grad(embedding(ids, leaf, sparse=True), leaf, grad)
    assert sparse._values().data_ptr() == grad.data_ptr()


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, 0.5, math.inf])
@pytest.mark.parametrize("dim", [1, 5, 40, 131])
@pytest.mark.parametrize("dtype", DTYPES)
def test_renormalisation(dtype, dim, norm_type, device):
    table, ids, _, _ = problem(15, dim, device, dtype=dtype)
    ids[0] = 8
    table[8, dim // 2], table[2] = math.nan, 0
    norm = table[5].double().abs().pow(norm_type if norm_type != math.inf else 1).sum()
    max_norm = 0.7 * (table[5].abs().max() if norm_type == math.inf else norm ** (1 / norm_type))
    max_norm = float(max_norm)
    exact, before = table.double(), table.clone()
    reference.embedding_renorm_(exact, ids, max_norm, norm_type)
    assert embedding_renorm_(table, ids, max_norm, norm_type) is None
    bound = 5e-3 if dtype == torch.bfloat16 else 1e-5 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(table.double(), exact, rtol=bound, atol=bound, equal_nan=True)
    untouched = torch.ones(23, dtype=torch.bool, device=device)
    untouched[ids] = False
    assert torch.equal(table[untouched], before[untouched])


def test_renormalisation_is_before_the_lookup(device):
    table = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.3, 0.4]], device=device)
    ids = torch.tensor([1, 2, 1], device=device)
    before = table._version
    out = embedding(ids, table, max_norm=5)
    torch.testing.assert_close(out.cpu(), torch.tensor([[3.0, 4.0], [0.3, 0.4], [3.0, 4.0]]))
    assert torch.equal(table[:2][out.new_tensor([0, 1]).long()].cpu(), torch.cat(
        [torch.tensor([[3.0, 4.0]]), out[:1].cpu()]))  # fmt: skip
    assert table._version > before
    columns = torch.tensor([[3.0, 6.0], [4.0, 8.0]], device=device).t()
    embedding_renorm_(columns, ids[:1], 5)
    torch.testing.assert_close(columns.cpu(), torch.tensor([[3.0, 4.0], [3.0, 4.0]]))


def test_a_table_that_changes_before_the_backward(device):
    """A second call with max_norm, or a step of an optimiser, between forward and backward."""
    table = problem(1, 4, device)[0].requires_grad_()
    ids = torch.tensor([1, 2], device=device)
    first = embedding(ids, table, max_norm=1.0)
    second = embedding(ids + 1, table, max_norm=0.5)
    (first.sum() + second.sum()).backward()
    assert table.grad[:, 0].tolist()[:5] == [0, 1, 2, 1, 0]


@pytest.mark.parametrize("by_frequency", [False, True])
@pytest.mark.parametrize("mode", ["lookup", "sum", "mean", "max", "weighted"])
def test_gradcheck(mode, by_frequency, device):
    table, ids, offsets, _ = problem(9, 3, device, rows=6, bags=4, dtype=torch.float64)
    table.requires_grad_()
    if by_frequency:
        return  # not the gradient of the result: compared with the reference above
    if mode == "lookup":
        call = lambda table: embedding(ids, table).sin()  # noqa: E731
        assert torch.autograd.gradcheck(call, table)
        assert torch.autograd.gradgradcheck(call, table)
        return
    if mode == "weighted":
        weights = torch.randn(9, dtype=torch.float64).to(device).requires_grad_()
        call = lambda table, weights: embedding_bag(  # noqa: E731
            ids, table, offsets, mode="sum", per_sample_weights=weights, padding_idx=2
        )
        assert torch.autograd.gradcheck(call, (table, weights))
        return
    call = lambda table: embedding_bag(ids, table, offsets, mode=mode, padding_idx=2).sin()  # noqa: E731
    assert torch.autograd.gradcheck(call, table)
    if mode != "max":
        assert torch.autograd.gradgradcheck(call, table)


def test_padding_in_second_derivatives(device):
    table, ids, _, _ = problem(9, 3, device, rows=6, dtype=torch.float64)
    table.requires_grad_()
    call = lambda table: embedding(ids, table, padding_idx=5).square()  # noqa: E731
    (grad,) = torch.autograd.grad(call(table).sum(), table, create_graph=True)
    (again,) = torch.autograd.grad(grad.sum(), table)
    counts = 2.0 * torch.bincount(ids[ids != 5], minlength=6)
    assert torch.equal(again, counts.double()[:, None].expand(-1, 3))


@pytest.mark.parametrize("mode", ["max", "weighted", "frequency"])
def test_second_derivatives_are_refused(mode, device):
    table, ids, offsets, _ = problem(9, 3, device)
    table.requires_grad_()
    options = {"mode": mode if mode == "max" else "sum", "scale_grad_by_freq": mode == "frequency"}
    if mode == "weighted":
        options["per_sample_weights"] = torch.ones(9, device=device)
    out = embedding_bag(ids, table, offsets, **options)
    (grad,) = torch.autograd.grad(out.square().sum(), table, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        grad.sum().backward()


@pytest.mark.parametrize("mode", ["lookup", "sum", "mean", "max"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(dtype, mode, device):
    table, ids, offsets, _ = problem(9, 8, device, dtype=dtype)
    bounds = torch.nn.functional.pad(offsets, (0, 1), value=9)
    rows = (ids[:, None].int(), None) if mode == "lookup" else (ids.int(), bounds)
    weights = torch.rand(9, device=device).requires_grad_() if mode == "sum" else None
    leaf = table.clone().requires_grad_()
    arguments = (leaf, *rows, weights, mode, 5, False, False)
    torch.library.opcheck(OPS.embedding_bag.default, arguments)
    with torch.no_grad():
        out, choice, scale = OPS.embedding_bag(*arguments)
        grad = torch.ones_like(out)
        weights = None if weights is None else weights.detach()
        torch.library.opcheck(
            OPS.embedding_bag_backward.default,
            (grad, *rows, weights, choice, scale, mode, 5, False, 23),
        )
        torch.library.opcheck(OPS.embedding_bag_weights_backward.default, (grad, table, *rows, 5))
        torch.library.opcheck(OPS.embedding_renorm_.default, (table, ids.int(), 0.5, 2.0))


ISA_SCRIPT = """
import sys, torch, lexforge
sys.path.insert(0, sys.argv[1])
from embedding.test_embedding_bag import *
cpu = torch.device("cpu")
for dim in (1, 33, 130):
    for dtype in DTYPES:
        table, ids, offsets, weights = problem(150, dim, cpu, dtype=dtype, bags=3, weights=True)
        for mode in ("sum", "mean", "max"):
            given = weights if mode == "sum" else None
            options = {"mode": mode, "padding_idx": 2}
            ours = results(embedding_bag, ids, table, offsets, given, **options)
            wide = widened(given)
            exact = results(
                reference.embedding_bag, ids, table.double(), offsets, wide, **options)
            assert_close(ours, exact, dtype)
        assert_close(results(embedding, ids, table),
                     results(reference.embedding, ids, table.double()), dtype)
        for norm_type in (1.0, 2.0, 2.5, math.inf):
            test_renormalisation(dtype, dim, norm_type, cpu)
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa, request):
    tests = str(request.config.rootpath / "tests")
    assert run_under(isa, ISA_SCRIPT, tests).strip() == isa


@pytest.mark.parametrize("bad", [-1, 23, 2**32])
def test_ids_without_a_row(bad, device):
    table, ids, offsets, _ = problem(40, 8, device)
    ids[[17, 30]] = bad
    before = table.clone()
    match = rf"ids must be in \[0, 23\), got {bad} at position 17"
    for call in (
        lambda: embedding(ids.view(2, 20), table, max_norm=0.1),
        lambda: embedding_bag(ids, table, offsets, max_norm=0.1),
        lambda: embedding_renorm_(table, ids, 0.1),
    ):
        with pytest.raises(IndexError, match=match):
            call()
    assert torch.equal(table, before)


@pytest.mark.parametrize("dim", [5, 8])
@pytest.mark.parametrize("mode", ["lookup", "sum", "mean", "max"])
def test_ids_without_a_row_do_not_leave_the_table(mode, dim, device):
    """The op itself: an error on the CPU; on CUDA NaN, and no gradient from that id."""
    table, ids, _, _ = problem(40, dim, device)
    ids = ids.int().view(40, 1) if mode == "lookup" else ids.int().view(10, 4)
    ids.view(-1)[5], ids.view(-1)[6] = 23, -7
    arguments = (table.requires_grad_(), ids, None, None, mode, -1, False, False)
    if device.type == "cpu" and not _library.emulated():
        with pytest.raises(RuntimeError, match=r"ids must be in \[0, 23\), got 23 at position 5"):
            OPS.embedding_bag(*arguments)
        with pytest.raises(RuntimeError, match="got 23 at position 5"):
            OPS.embedding_renorm_(table.detach(), ids.view(-1), 1.0, 2.0)
        return
    out = OPS.embedding_bag(*arguments)[0]
    assert out.isnan().all(1).nonzero().flatten().tolist() == ([5, 6] if mode == "lookup" else [1])
    out.backward(torch.ones_like(out))
    assert table.grad.isfinite().all()
    if mode in ("lookup", "sum"):
        good = ids[(ids >= 0) & (ids < 23)].long()
        counts = torch.bincount(good, minlength=23).float()
        assert torch.equal(table.grad, counts[:, None].expand(-1, dim))
    before = table.detach().clone()
    OPS.embedding_renorm_(table.detach(), ids.view(-1)[5:7].contiguous(), 0.1, 2.0)
    assert torch.equal(table, before)


def test_offsets_of_any_kind_do_not_leave_the_ids(device):
    """The op itself on CUDA, whose offsets nobody reads."""
    table, ids, _, _ = problem(12, 8, device)
    table.requires_grad_()
    for offsets in ([5, 2, 9], [-3, 4, 99], [0, 2**40, 12], [12, 0, 0]):
        bounds = torch.tensor(offsets, device=device)
        for mode in ("sum", "mean", "max"):
            arguments = (table, ids.int(), bounds, None, mode, -1, False, False)
            if device.type == "cpu" and not _library.emulated():
                with pytest.raises(RuntimeError, match=r"offsets must (begin|ascend)"):
                    OPS.embedding_bag(*arguments)
                continue
            out = OPS.embedding_bag(*arguments)[0]
            out.sum().backward()
            assert out.isfinite().all() and table.grad.isfinite().all()


def call_of(**changes):
    arguments = {
        "ids": torch.tensor([1, 0, 2]),
        "table": torch.ones(4, 5),
        "offsets": torch.tensor([0, 2]),
    }
    return arguments | changes


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "table must be float32, bfloat16 or float64, got float16",
         {"table": torch.ones(4, 5).half()}),
        (TypeError, "ids must be int32 or int64, got int16", {"ids": torch.ones(3).short()}),
        (TypeError, "ids must be int32 or int64, got float32", {"ids": torch.ones(3)}),
        (TypeError, "offsets must be int32 or int64", {"offsets": torch.zeros(2)}),
        (ValueError, r"table must be \[V, D\], got \[5\]", {"table": torch.ones(5)}),
        (ValueError, r"ids must be \[N\] with offsets or \[B, L\]",
         {"ids": torch.ones(1, 1, 1).long()}),
        (ValueError, "offsets must be given with ids", {"offsets": None}),
        (ValueError, "offsets must be None with ids", {"ids": torch.ones(1, 3).long()}),
        (ValueError, r"offsets must be \[B\]", {"offsets": torch.zeros(1, 2).long()}),
        (ValueError, "offsets must begin with 0, got 1", {"offsets": torch.tensor([1, 2])}),
        (ValueError, "offsets must not decrease, got 1 after 2 at position 2",
         {"offsets": torch.tensor([0, 2, 1])}),
        (ValueError, "offsets must be at most 3, the number of ids, got 4",
         {"offsets": torch.tensor([0, 4])}),
        (ValueError, "offsets must not decrease, got -1", {"offsets": torch.tensor([0, -1])}),
        (ValueError, "offsets must not be empty", {"offsets": torch.tensor([]).long()}),
        (ValueError, "offsets must not be empty",
         {"ids": torch.tensor([]).long(), "offsets": torch.tensor([]).long(),
          "include_last_offset": True}),
        (ValueError, "mode must be one of sum, mean, max, got 'min'", {"mode": "min"}),
        (ValueError, "sparse goes with mode sum or mean", {"mode": "max", "sparse": True}),
        (ValueError, "scale_grad_by_freq goes with mode sum or mean",
         {"mode": "max", "scale_grad_by_freq": True}),
        (ValueError, "scale_grad_by_freq goes with dense gradients",
         {"sparse": True, "scale_grad_by_freq": True}),
        (ValueError, "per_sample_weights go with mode sum, got mean",
         {"per_sample_weights": torch.ones(3)}),
        (ValueError, "per_sample_weights go with mode sum, got max",
         {"per_sample_weights": torch.ones(3), "mode": "max"}),
        (ValueError, r"per_sample_weights must be \[3\], got \[2\]",
         {"per_sample_weights": torch.ones(2), "mode": "sum"}),
        (TypeError, "per_sample_weights must be float32, got float64",
         {"per_sample_weights": torch.ones(3).double(), "mode": "sum"}),
        (ValueError, r"padding_idx must be in \[-4, 3\], got 4", {"padding_idx": 4}),
        (ValueError, r"padding_idx must be in \[-4, 3\], got -5", {"padding_idx": -5}),
        (ValueError, "max_norm must be finite and > 0, got 0", {"max_norm": 0}),
        (ValueError, "max_norm must be finite and > 0, got -1", {"max_norm": -1.0}),
        (ValueError, "max_norm must be finite and > 0, got nan", {"max_norm": math.nan}),
        (ValueError, "norm_type must be finite and > 0, got 0", {"max_norm": 1, "norm_type": 0}),
        (ValueError, "ids must be on cpu, got meta", {"ids": torch.ones(3, device="meta").long()}),
    ],
)  # fmt: skip
def test_errors(error, match, changes):
    with pytest.raises(error, match=match):
        embedding_bag(**call_of(**changes))


def test_op_itself_refuses_what_memory_safety_needs(device):
    table, ids = torch.ones(4, 5, device=device), torch.zeros(6, dtype=torch.int32, device=device)
    bounds = torch.tensor([0, 2, 6], device=device)
    weights = torch.ones(6, device=device)
    good = [table, ids, bounds, weights, "sum", -1, False, False]
    for match, place, value in (
        ("table must have 2 dimensions", 0, table[0]),
        ("table must be contiguous", 0, torch.ones(5, 4, device=device).t()),
        ("table must be float32, bfloat16 or float64, got float16", 0, table.half()),
        ("ids has the wrong dtype", 1, ids.long()),
        ("ids must have 1 dimensions", 1, ids[:, None]),
        ("offsets has the wrong dtype", 2, bounds.int()),
        ("offsets must be", 2, bounds[:0]),
        ("ids must have 2 dimensions", 2, None),
        (r"per_sample_weights must be \[6\]", 3, weights[:5]),
        ("per_sample_weights has the wrong dtype", 3, weights.double()),
        ("per_sample_weights go with mode sum", 4, "mean"),
        ("mode must be lookup, sum, mean or max, got min", 4, "min"),
        ("ids of a lookup must be", 4, "lookup"),
        ("padding_idx must be -1 or a row, got 4", 5, 4),
    ):
        with pytest.raises(RuntimeError, match=match):
            OPS.embedding_bag(*good[:place], value, *good[place + 1 :])
    choice = torch.zeros(2, 5, dtype=torch.int32, device=device)
    grad, none = torch.ones(2, 5, device=device), torch.ones(0, device=device)
    backward = [grad, ids, bounds, None, choice, none, "max", -1, False, 4]
    for match, place, value in (
        (r"grad_out must be \[2, \*\]", 0, grad[:1]),
        (r"choice must be \[2, 5\]", 4, choice[:1]),
        (r"scale must be \[2\]", 6, "mean"),
        ("the table must have fewer than", 9, -1),
    ):
        given = [*backward[:place], value, *backward[place + 1 :]]
        if value == "mean":
            given[4] = choice[:0]
        with pytest.raises(RuntimeError, match=match):
            OPS.embedding_bag_backward(*given)
    with pytest.raises(RuntimeError, match=r"grad_out must be \[2, 5\]"):
        OPS.embedding_bag_weights_backward(grad[:1], table, ids, bounds, -1)
    with pytest.raises(RuntimeError, match="max_norm and norm_type must be above 0, got 0 and 2"):
        OPS.embedding_renorm_(table, ids, 0.0, 2.0)
