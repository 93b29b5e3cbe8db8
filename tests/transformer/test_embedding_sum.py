"""embedding_sum: values, gradients, dropout, determinism, errors."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops.transformer.embedding_sum import embedding_sum
from lexforge.reference.transformer import embedding_sum as reference
from transformer.test_add_layer_norm import assert_as_good_as_plain

IDS = ("tokens", "segments", "positions")
TABLES = ("token_table", "segment_table", "position_table")
NORM = ("norm_weight", "norm_bias")
ROWS = (50, 2, 40)
DTYPES = (torch.float32, torch.bfloat16)


def problem(
    count, width, device, *, dtype=torch.float32, segments=True, norm=True, rows=ROWS, seed=0
):
    """Arguments by name; a third of the tokens is one, as a frequent token is."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device, dtype)

    arguments = {}
    for name, table, size in zip(IDS, TABLES, rows, strict=True):
        ids = torch.randint(0, size, (count,), generator=generator)
        if name == "tokens":
            ids[torch.rand(count, generator=generator) < 1 / 3] = 7
        arguments[name] = ids.to(device)
        arguments[table] = normal(size, width)
    arguments |= {name: normal(width) for name in NORM}
    if not segments:
        arguments |= {"segments": None, "segment_table": None}
    if not norm:
        arguments |= dict.fromkeys(NORM)
    return arguments


def gradients(function, arguments, *, dtype=None, **options):
    """The result and the gradients of what is given of the tables and the norm."""
    names = [name for name in (*TABLES, *NORM) if arguments[name] is not None]
    leaves = {name: arguments[name].detach().clone().requires_grad_() for name in names}
    out = function(**arguments | leaves, dtype=dtype, **options)
    generator = torch.Generator().manual_seed(99)
    weights = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    # Weights that bfloat16 holds exactly, so that all precisions differentiate the same sum.
    out.backward(weights.bfloat16().to(out.device, out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves.values())]


def widened(arguments):
    return {
        name: x.double() if x is not None and x.is_floating_point() else x
        for name, x in arguments.items()
    }


SIZES = [
    (1, 1),
    (7, 5),
    (300, 8),
    (59, 97),
    (530, 128),
    (33, 256),
    (19, 512),
    (37, 768),
    (6, 1024),
    (5, 1999),
    (9, 2048),
    (3, 3072),
    (2, 4096),
    (2, 4104),
]


@pytest.mark.parametrize(
    ("segments", "norm", "dropout_p"),
    [(True, False, 0.0), (False, False, 0.25), (False, True, 0.0), (True, True, 0.25)],
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("count", "width"), SIZES)
def test_values_and_gradients(count, width, dtype, segments, norm, dropout_p, device):
    arguments = problem(count, width, device, segments=segments, norm=norm)
    options = {"dropout_p": dropout_p, "seed": 5, "eps": 1e-5}
    ours = gradients(embedding_sum, arguments, dtype=dtype, **options)
    plain = gradients(reference.embedding_sum, arguments, dtype=dtype, **options)
    exact = gradients(reference.embedding_sum, widened(arguments), **options)
    assert ours[0].dtype == dtype
    assert all(grad.dtype == torch.float32 for grad in ours[1:])
    assert_as_good_as_plain(ours[:1], plain[:1], exact[:1], dtype)
    # Gradients are float32 whatever the dtype of the result.
    assert_as_good_as_plain(ours[1:], plain[1:], exact[1:], torch.float32)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("dropout_p", [0.0, 0.25, 1.0])
def test_float64(dropout_p, norm, device):
    """To the rounding of dropout's scale, which is float32 (common/dropout.h)."""
    arguments = problem(130, 31, device, dtype=torch.float64, norm=norm)
    options = {"dropout_p": dropout_p, "seed": 2, "eps": 1e-3}
    ours = gradients(embedding_sum, arguments, **options)
    exact = gradients(reference.embedding_sum, arguments, **options)
    for x, z in zip(ours, exact, strict=True):
        torch.testing.assert_close(x, z, rtol=0, atol=1e-5 if dropout_p == 0.25 else 1e-12)


def test_by_hand(device):
    tables = {
        "token_table": torch.tensor([[0.0, 0.0], [1.0, 2.0], [5.0, -1.0]], device=device),
        "segment_table": torch.tensor([[0.0, 0.5], [0.25, 0.0]], device=device),
        "position_table": torch.tensor([[10.0, 20.0], [30.0, 40.0]], device=device),
    }
    ids = {"tokens": [2, 1, 2], "segments": [0, 1, 1], "positions": [0, 1, 1]}
    ids = {name: torch.tensor(x, device=device) for name, x in ids.items()}
    expected = torch.tensor([[15.0, 19.5], [31.25, 42.0], [35.25, 39.0]], device=device)
    assert torch.equal(embedding_sum(**ids, **tables), expected)
    weight, bias = torch.tensor([[2.0, 3.0], [0.5, -0.5]], device=device)
    # Of two numbers the larger is 1 and the smaller -1 standard deviation from the mean.
    normed = embedding_sum(**ids, **tables, norm_weight=weight, norm_bias=bias)
    torch.testing.assert_close(normed, torch.tensor([[-1.5, 2.5]], device=device).expand(3, 2))


@pytest.mark.parametrize("ids", [torch.int32, torch.int64])
def test_id_dtypes(ids, device):
    arguments = problem(20, 16, device)
    expected = embedding_sum(**arguments)
    arguments |= {name: arguments[name].to(ids) for name in IDS}
    assert torch.equal(embedding_sum(**arguments), expected)


def test_rows_without_a_token_have_no_gradient(device):
    arguments = problem(64, 24, device)
    arguments["tokens"].clamp_(max=20)
    arguments["positions"].fill_(3)
    _, tokens, _, positions, _, _ = gradients(embedding_sum, arguments)
    assert not tokens[21:].any()
    assert tokens[7].any()
    assert positions.any(1).nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize("count", [31, 32, 33, 64, 65, 1000, 4097])
def test_skewed_ids(count, device):
    """Runs that end in, at and beyond the bounds of parts; all tokens one, or two."""
    for split in (0, 1, 31, count // 2):
        arguments = problem(count, 40, device, norm=False)
        arguments["tokens"] = (torch.arange(count) >= split).long().to(device) * 49
        ours = gradients(embedding_sum, arguments)
        exact = gradients(reference.embedding_sum, widened(arguments))
        for x, z in zip(ours, exact, strict=True):
            torch.testing.assert_close(x.double(), z, rtol=1e-5, atol=1e-4)


def table_gradients(ids, rows, grad):
    """The op's gradients of the tables, without a norm and dropout."""
    tables = [torch.zeros(size, grad.shape[1], device=grad.device) for size in rows]
    none = torch.zeros(0, device=grad.device)
    ids = [x.to(grad.device, torch.int32) for x in ids]
    op = torch.ops.lexforge.embedding_sum_backward.default
    return op(grad, *ids, *tables, None, None, none, none, 0.0)[:3]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", ["one", "runs", "random"])
@pytest.mark.parametrize(
    ("count", "width", "rows"),
    [
        (1, 5, (1, 1, 1)),
        (64, 8, (3, 2, 512)),  # the longest table whose rows are summed without a sort on CUDA
        (65, 8, (3, 2, 513)),
        (700, 131, (3, 3, 7)),  # columns beyond one pass of a warp; ranges that differ
        (5000, 4, (600, 2, 130)),  # ranges of the longest
        (17000, 2, (600, 2, 1)),  # as many ranges as there may be
    ],
)
def test_tables_of_any_length(count, width, rows, spread, dtype, device):
    """Short tables and long ones: all of one row, runs of a row, rows without any."""
    generator = torch.Generator().manual_seed(count)
    spreads = {
        "one": lambda size: torch.full((count,), size - 1),
        "runs": lambda size: torch.arange(count) * size // count,
        "random": lambda size: torch.randint(0, size, (count,), generator=generator),
    }
    ids = [spreads[spread](size) for size in rows]
    grad = torch.randn(count, width, generator=generator).to(device, dtype)
    ours = table_gradients(ids, rows, grad)
    again = table_gradients(ids, rows, grad)
    for one, size, x, y in zip(ids, rows, ours, again, strict=True):
        assert torch.equal(x, y)
        exact = torch.zeros(size, width, dtype=torch.float64, device=device)
        exact.index_add_(0, one.to(device), grad.double())
        torch.testing.assert_close(x.double(), exact, rtol=1e-5, atol=1e-6 * count**0.5)


def test_many_rows_with_a_norm(device):
    """More groups of rows than one step of their sum takes on CUDA."""
    arguments = problem(3200, 8, device)
    ours = gradients(embedding_sum, arguments)
    exact = gradients(reference.embedding_sum, widened(arguments))
    plain = gradients(reference.embedding_sum, arguments)
    assert_as_good_as_plain(ours, plain, exact, torch.float32)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("segments", [False, True])
def test_gradcheck(segments, norm, device):
    options = {"segments": segments, "norm": norm, "rows": (9, 2, 3)}
    arguments = problem(70, 3, device, dtype=torch.float64, **options)
    names = [name for name in (*TABLES, *NORM) if arguments[name] is not None]
    leaves = [arguments[name].requires_grad_() for name in names]
    # The gradient of one weighted sum: of each output by itself would be as many backward passes.
    weights = torch.randn(70, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    weights = weights.to(device)
    for dropout_p in (0.0, 0.25):

        def call(*leaves, dropout_p=dropout_p):
            given = dict(zip(names, leaves, strict=True))
            out = embedding_sum(**arguments | given, dropout_p=dropout_p, seed=3, eps=0.1)
            return (out * weights).sum()

        assert torch.autograd.gradcheck(call, leaves)


def test_second_derivatives_are_refused(device):
    arguments = problem(4, 3, device)
    table = arguments["token_table"].requires_grad_()
    (grad,) = torch.autograd.grad(embedding_sum(**arguments).sum(), table, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        grad.sum().backward()


@pytest.mark.parametrize("given", [(), ("segments",), ("norm",), ("segments", "norm", "seed")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype, given, device):
    arguments = problem(6, 24, device, segments="segments" in given, norm="norm" in given)
    seed = torch.tensor([7], device=device) if "seed" in given else None
    dropout_p = 0.1 if "seed" in given else 0.0
    ids = [None if arguments[x] is None else arguments[x].int() for x in IDS]
    tables = [arguments[x] for x in TABLES]
    norm = [arguments[x] for x in NORM]
    leaves = [None if t is None else t.clone().requires_grad_() for t in (*tables, *norm)]
    op = torch.ops.lexforge.embedding_sum.default
    torch.library.opcheck(op, (*ids, *leaves, seed, 1e-5, dropout_p, dtype))
    out, mean, rstd = op(*ids, *tables, *norm, seed, 1e-5, dropout_p, dtype)
    torch.library.opcheck(
        torch.ops.lexforge.embedding_sum_backward.default,
        (torch.ones_like(out), *ids, *tables, norm[0], seed, mean, rstd, dropout_p),
    )


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("norm", [False, True])
def test_compiles_without_graph_breaks(norm, seed, device):
    arguments = problem(16, 8, device, norm=norm)

    def step(**arguments):
        return embedding_sum(**arguments, dropout_p=0.25).sin()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    ours = gradients(compiled, arguments, seed=seed, dtype=torch.bfloat16)
    if seed is not None:
        for x, y in zip(
            ours, gradients(step, arguments, seed=seed, dtype=torch.bfloat16), strict=True
        ):
            torch.testing.assert_close(x, y)


def test_dropout_keeps_the_elements_it_says(device):
    """Kept elements are scaled, others zero; the mask is the reference's."""
    for width in (5, 8, 24, 131):
        arguments = problem(40, width, device, norm=False)
        whole = embedding_sum(**arguments)
        part = embedding_sum(**arguments, dropout_p=0.3, seed=11)
        expected = reference.dropout_keep(11, 0.3, 40, width).to(device)
        assert torch.equal(part != 0, expected)
        torch.testing.assert_close(part[expected], whole[expected] / 0.7, rtol=1e-4, atol=1e-6)
        nothing = embedding_sum(**arguments, dropout_p=1.0, seed=1)
        assert torch.equal(nothing, torch.zeros_like(nothing))


def test_seeds(device):
    run = functools.partial(embedding_sum, **problem(20, 16, device), dropout_p=0.5)
    assert torch.equal(run(seed=4), run(seed=4))
    assert not torch.equal(run(seed=4), run(seed=5))
    assert torch.equal(run(seed=4), run(seed=torch.tensor([4], device=device)))
    torch.manual_seed(1)
    first, second = run(), run()
    torch.manual_seed(1)
    assert torch.equal(run(), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bit_identical_for_any_threads(dtype, norm, device):
    # The emulated device runs one block after another.
    arguments = problem(345 if _library.emulated() else 2345, 72, device, norm=norm)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            options = {"dtype": dtype, "dropout_p": 0.1 if norm else 0.0, "seed": 1}
            results.append(gradients(embedding_sum, arguments, **options))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


def test_any_layout(device):
    """Transposed and unaligned tables give what their copies give."""
    arguments = problem(50, 24, device)
    expected = embedding_sum(**arguments)
    for name in (*TABLES, *NORM):
        x = arguments[name]
        flat = x.new_zeros(1 + x.numel())
        flat[1:] = x.flatten()
        torch.testing.assert_close(
            embedding_sum(**arguments | {name: flat[1:].view(x.shape)}), expected
        )
        if x.dim() == 2:
            transposed = x.t().contiguous().t()
            assert torch.equal(embedding_sum(**arguments | {name: transposed}), expected)


def test_rows_with_a_large_mean(device):
    """The variance is that of the differences from the mean, whatever the mean is."""
    arguments = problem(6, 256, device)
    arguments["token_table"] += 3000
    exact = reference.embedding_sum(**widened(arguments))
    torch.testing.assert_close(embedding_sum(**arguments).double(), exact, rtol=0, atol=5e-3)


@pytest.mark.parametrize("width", [5, 8])
def test_empty(width, device):
    out, *grads = gradients(embedding_sum, problem(0, width, device))
    assert out.shape == (0, width)
    assert all(torch.equal(x, torch.zeros_like(x)) for x in grads)


ISA_SCRIPT = """
import sys, torch, lexforge
sys.path.insert(0, sys.argv[1])
from transformer.test_embedding_sum import gradients, problem, widened
from lexforge.ops.transformer.embedding_sum import embedding_sum
from lexforge.reference.transformer import embedding_sum as reference
for dtype in (torch.float32, torch.bfloat16):
    for width in (1, 3, 8, 33, 64, 136):
        for norm in (False, True):
            arguments = problem(70, width, "cpu", norm=norm)
            options = {"dropout_p": 0.2, "seed": 8, "eps": 1e-3}
            ours = gradients(embedding_sum, arguments, dtype=dtype, **options)
            exact = gradients(reference.embedding_sum, widened(arguments), **options)
            for i, (x, y) in enumerate(zip(ours, exact)):
                bound = 4e-3 if i == 0 and dtype == torch.bfloat16 else 1e-5
                worst = (x - y).abs().max() / y.abs().max().clamp(min=1)
                assert worst <= bound, (dtype, width, i, worst)
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa, request):
    tests = str(request.config.rootpath / "tests")
    assert run_under(isa, ISA_SCRIPT, tests).strip() == isa


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("bad", [-1, "rows", 2**32])
def test_ids_without_a_row(bad, name, device):
    if device.type == "cuda":
        pytest.skip("ids are not looked at on CUDA")
    arguments = problem(40, 8, device)
    rows = dict(zip(IDS, ROWS, strict=True))[name]
    bad = rows if bad == "rows" else bad
    arguments[name][[17, 30]] = bad
    with pytest.raises(
        IndexError, match=rf"{name} must be in \[0, {rows}\), got {bad} at position 17"
    ):
        embedding_sum(**arguments)


@pytest.mark.parametrize("width", [5, 8])
@pytest.mark.parametrize("norm", [False, True])
def test_ids_without_a_row_do_not_leave_the_tables(norm, width, device):
    """The op itself: an error on the CPU; on CUDA NaN, and no gradient from that id."""
    arguments = problem(100, width, device, norm=norm)
    ids = [arguments[x].int() for x in IDS]
    ids[0][5], ids[1][6], ids[2][7] = 50, -1, 2**31 - 1
    leaves = [arguments[x].requires_grad_() for x in (*TABLES, *NORM) if arguments[x] is not None]
    rest = [*leaves, *[None] * (5 - len(leaves))]
    op = torch.ops.lexforge.embedding_sum.default
    if device.type == "cpu" and not _library.emulated():
        with pytest.raises(RuntimeError, match=r"tokens must be in \[0, 50\), got 50 at"):
            op(*ids, *rest, None, 1e-5, 0.0, torch.float32)
        return
    out = op(*ids, *rest, None, 1e-5, 0.0, torch.float32)[0]
    assert out.isnan().all(1).nonzero().flatten().tolist() == [5, 6, 7]
    assert out.isnan().any(1).sum() == 3
    if not norm:
        out.backward(torch.ones_like(out))
        counts = torch.bincount(ids[0][ids[0] < 50], minlength=50).float()
        assert torch.equal(leaves[0].grad, counts[:, None].expand(-1, width))


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "token_table must be float32 or float64", {"token_table": torch.Tensor.half}),
        (TypeError, "position_table must be float32", {"position_table": torch.Tensor.half}),
        (TypeError, "norm_weight must be float32", {"norm_weight": torch.Tensor.double}),
        (TypeError, "tokens must be int32 or int64", {"tokens": torch.Tensor.float}),
        (TypeError, "segments must be int32 or int64", {"segments": torch.Tensor.short}),
        (ValueError, r"token_table must be \[V, H\]", {"token_table": lambda x: x[0]}),
        (ValueError, r"token_table must be \[V, H\]", {"token_table": lambda x: x[:, :0]}),
        (ValueError, r"position_table must be \[V, 8\]", {"position_table": lambda x: x[:, :7]}),
        (ValueError, r"segment_table must be \[V, 8\]", {"segment_table": lambda x: x[0]}),
        (ValueError, r"norm_bias must be \[8\]", {"norm_bias": lambda x: x[:7]}),
        (ValueError, r"tokens must be \[T\]", {"tokens": lambda x: x[None]}),
        (ValueError, r"positions must be \[40\], got \[39\]", {"positions": lambda x: x[1:]}),
        (ValueError, "segments and segment_table must be given both", {"segments": lambda x: None}),
        (ValueError, "norm_weight and norm_bias must be given both", {"norm_bias": lambda x: None}),
        (ValueError, "segments must be on", {"segments": lambda x: x.to("meta")}),
        (ValueError, "position_table must be on", {"position_table": lambda x: x.to("meta")}),
        (ValueError, "eps must be finite and >= 0, got -1", {"eps": lambda x: -1.0}),
        (ValueError, "eps must be finite and >= 0", {"eps": lambda x: math.nan}),
        (ValueError, r"dropout_p must be in \[0, 1\], got 1.5", {"dropout_p": lambda x: 1.5}),
        (ValueError, "seed must be one int64", {"seed": lambda x: torch.zeros(2)}),
        (TypeError, "dtype must be that of the tables", {"dtype": lambda x: torch.float64}),
        (TypeError, "dtype must be that of the tables", {"dtype": lambda x: torch.float16}),
    ],
)
def test_errors(error, match, changes, device):
    arguments = problem(40, 8, device)
    arguments |= {"eps": 1e-5, "dropout_p": 0.5, "seed": None, "dtype": None}
    arguments |= {name: change(arguments[name]) for name, change in changes.items()}
    with pytest.raises(error, match=match):
        embedding_sum(**arguments)


def test_op_itself_refuses_what_memory_safety_needs(device):
    arguments = problem(10, 8, device)
    good = [arguments[x].int() for x in IDS]
    good += [arguments[x] for x in (*TABLES, *NORM)]
    good += [None, 1e-5, 0.0, torch.float32]
    op = torch.ops.lexforge.embedding_sum.default
    for match, place, value in (
        ("tokens has the wrong dtype", 0, good[0].long()),
        ("segments go with segment_table", 1, None),
        ("positions must have the length of tokens", 2, good[2][:9]),
        ("token_table must be float32 or float64", 3, good[3].half()),
        ("segment_table must have 8 columns, got 7", 4, good[4][:, :7].contiguous()),
        ("position_table must be contiguous", 5, good[5].t().contiguous().t()),
        (r"norm_weight must be \[8\]", 6, good[6][:7]),
        ("norm_weight goes with norm_bias", 7, None),
        (r"dropout_p must be in \[0, 1\], got 2", 10, 2.0),
        ("seed must be one int64", 10, 0.5),
        ("dtype must be of the tables", 11, torch.float64),
    ):
        with pytest.raises(RuntimeError, match=match):
            op(*good[:place], value, *good[place + 1 :])
    _, mean, rstd = op(*good)
    backward = torch.ops.lexforge.embedding_sum_backward.default
    grad = torch.ones(10, 8, device=device)
    with pytest.raises(RuntimeError, match=r"grad_out must be \[10, 8\], got \[9, 8\]"):
        backward(grad[:9], *good[:7], None, mean, rstd, 0.0)
    with pytest.raises(RuntimeError, match=r"rstd must be \[10\]"):
        backward(grad, *good[:7], None, mean, rstd[:9], 0.0)
