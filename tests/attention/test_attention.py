"""attention and varlen_attention: values, gradients, dropout, determinism, errors."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops.attention.attention import attention, varlen_attention
from lexforge.reference.attention import attention as reference

DTYPES = (torch.float32, torch.bfloat16)


def batch(shape, device, *, dtype=torch.float32, seed=0):
    """q, k, v and weights for the sum of the results."""
    generator = torch.Generator().manual_seed(seed)
    heads = torch.randn(4, *shape, generator=generator, dtype=torch.float64)
    return list(heads.to(device, dtype).unbind(0))


def gradients(function, heads, *arguments, **options):
    """The result and the gradients of q, k and v (zeros where a batch of nothing leaves none)."""
    leaves = [x.detach().clone().requires_grad_() for x in heads[:3]]
    out = function(*leaves, *arguments, **options)
    out.backward(heads[3])
    grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves]
    return [out.detach(), *grads]


def rms(x):
    return x.square().mean().sqrt()


def assert_as_good_as_plain(ours, plain, exact, dtype):
    """No further from the float64 oracle than twice plain torch of the same precision is.

    That is the error's root mean square; the largest of an entry is more a matter of luck, so it
    may be four times as large. Gradients are differences of numbers of the size of the largest
    entry: hence the allowance of two of its roundings, which tiny problems need.
    """
    largest = max((z.abs().max().item() for z in exact if z.numel()), default=0.0)
    rounding = 2 * torch.finfo(dtype).eps * largest
    for name, x, y, z in zip(("out", "q", "k", "v"), ours, plain, exact, strict=True):
        assert x.shape == z.shape
        if z.numel():
            error, plain_error = (x.double() - z).abs(), (y.double() - z).abs()
            assert rms(error) <= 2 * rms(plain_error) + rounding, name
            assert error.max() <= 4 * plain_error.max() + rounding, name


SHAPES = [  # B, H, S, D
    (1, 1, 1, 1),
    (2, 3, 17, 16),
    (1, 2, 59, 33),
    (3, 2, 64, 64),
    (2, 1, 97, 128),
    (1, 2, 130, 40),
    (1, 1, 257, 24),
    (1, 1, 33, 256),
    (2, 2, 49, 7),
]


@pytest.mark.parametrize("lens", ["full", "batch", "query"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(shape, dtype, causal, lens, device):
    heads = batch(shape, device, dtype=dtype)
    size = {"full": None, "batch": (shape[0],), "query": (shape[0], shape[2])}[lens]
    generator = torch.Generator().manual_seed(1)
    valid = None
    if size is not None:
        valid = torch.randint(0, shape[2] + 1, size, generator=generator).to(device)
    options = {"valid_lens": valid, "causal": causal, "dropout_p": 0.2, "seed": 5}
    exact = gradients(reference.attention, [x.double() for x in heads], **options)
    plain = gradients(reference.attention, heads, **options)
    ours = gradients(attention, heads, **options)
    assert_as_good_as_plain(ours, plain, exact, dtype)


LENGTHS = [[1], [3, 0, 5], [0], [17, 64, 1, 130], [200, 2], []]


@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_packed(lengths, dtype, causal, dropout_p, device):
    """Sequences of a packed batch, empty ones among them, do not see each other."""
    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)
    heads = batch((sum(lengths), 2, 24), device, dtype=dtype)
    options = {"causal": causal, "dropout_p": dropout_p, "seed": 9}
    exact = gradients(reference.varlen_attention, [x.double() for x in heads], bounds, **options)
    plain = gradients(reference.varlen_attention, heads, bounds, **options)
    ours = gradients(varlen_attention, heads, bounds, max(lengths, default=0), **options)
    assert_as_good_as_plain(ours, plain, exact, dtype)


@pytest.mark.parametrize("dropout_p", [0.0, 0.2])
@pytest.mark.parametrize("dim", [24, 96, 200])
def test_float64(dim, dropout_p, device):
    """To the rounding of dropout's scale, which is float32 (common/dropout.h)."""
    heads = batch((1, 2, 37, dim), device, dtype=torch.float64)
    options = {"causal": True, "dropout_p": dropout_p, "seed": 4}
    exact = gradients(reference.attention, heads, **options)
    ours = gradients(attention, heads, **options)
    for x, z in zip(ours, exact, strict=True):
        torch.testing.assert_close(x, z, rtol=0, atol=1e-5 if dropout_p else 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_as_good_as_scaled_dot_product_attention(dtype, device):
    """Root mean square errors at BERT's shape, against torch's own fused kernel."""
    heads = batch((4, 4, 128, 64), device, dtype=dtype)
    exact = gradients(scaled_dot_product_attention, [x.double() for x in heads])
    peer = gradients(scaled_dot_product_attention, heads)
    ours = gradients(attention, heads)
    for x, y, z in zip(ours, peer, exact, strict=True):
        assert (x - z).square().mean() <= 4 * (y - z).square().mean()


@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_projection_is_read_where_it_lies(dtype, device):
    """q, k, v as strided views of one [T, 3, H, D], odd offsets included, equal their copies."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(70, 3, 4, 37, generator=generator).to(device, dtype)
    qkv = wide[1:, :, 1:, 2:35]
    bounds = torch.tensor([0, 30, 69], dtype=torch.int32, device=device)
    weights = torch.randn(69, 3, 33, generator=generator).to(device, dtype)
    views = gradients(varlen_attention, [*qkv.unbind(1), weights], bounds, 39)
    copies = [x.contiguous() for x in qkv.unbind(1)]
    out = varlen_attention(*qkv.unbind(1), bounds, 39)
    assert torch.equal(out, varlen_attention(*copies, bounds, 39))
    for x, y in zip(
        views, gradients(varlen_attention, [*copies, weights], bounds, 39), strict=True
    ):
        assert torch.equal(x, y)
    padded = [x.transpose(1, 2) for x in qkv[:68].unflatten(0, (2, 34)).unbind(2)]
    assert torch.equal(attention(*padded), attention(*(x.contiguous() for x in padded)))
    transposed = [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in copies]
    assert torch.equal(varlen_attention(*transposed, bounds, 39), out)


@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
@pytest.mark.parametrize("causal", [False, True])
def test_padded_and_packed_agree(causal, dropout_p, device):
    """The same sequences, with the same seed, padded and packed: bit for bit."""
    lengths = torch.tensor([31, 1, 64, 50])
    heads = batch((4, 3, 64, 32), device)[:3]
    options = {"causal": causal, "dropout_p": dropout_p, "seed": 3}
    padded = attention(*heads, lengths.to(device), **options).transpose(1, 2)
    present = (torch.arange(64) < lengths[:, None]).to(device)
    packed = [x.transpose(1, 2)[present] for x in heads]
    bounds = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int().to(device)
    assert torch.equal(varlen_attention(*packed, bounds, 64, **options), padded[present])


def test_gradcheck(device):
    # The gradient of one weighted sum: of each output by itself would be as many backward passes.
    *heads, weights = batch((2, 2, 6, 3), device, dtype=torch.float64)
    heads = [x.requires_grad_() for x in heads]
    valid = torch.tensor([6, 3], device=device)
    options = {"causal": True, "dropout_p": 0.25, "seed": 2}

    def padded(*heads):
        return (attention(*heads, valid, **options) * weights).sum()

    assert torch.autograd.gradcheck(padded, heads)
    *heads, weights = batch((7, 2, 3), device, dtype=torch.float64)
    heads = [x.requires_grad_() for x in heads]
    bounds = torch.tensor([0, 3, 3, 7], dtype=torch.int32, device=device)

    def packed(*heads):
        return (varlen_attention(*heads, bounds, 4, scale=0.9) * weights).sum()

    assert torch.autograd.gradcheck(packed, heads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype, device):
    bounds = torch.tensor([0, 4, 9], dtype=torch.int32, device=device)
    seed = torch.tensor([7], device=device)
    valid = torch.tensor([5, 3], dtype=torch.int32, device=device)
    for shape, lengths in (((9, 2, 8), (bounds, None)), ((2, 5, 3, 8), (None, valid))):
        *heads, weights = batch(shape, device, dtype=dtype)
        rest = (*lengths, seed, 5, True, 0.1, 0.5)
        leaves = [x.clone().requires_grad_() for x in heads]
        torch.library.opcheck(torch.ops.lexforge.attention.default, (*leaves, *rest))
        out, lse = torch.ops.lexforge.attention.default(*heads, *rest)
        torch.library.opcheck(
            torch.ops.lexforge.attention_backward.default, (weights, *heads, out, lse, *rest)
        )


@pytest.mark.parametrize("seed", [None, 3])
def test_compiles_without_graph_breaks(seed, device):
    heads = batch((2, 3, 16, 8), device)
    lengths = torch.tensor([16, 9], device=device)

    def step(q, k, v, valid):
        return attention(q * 2, k, v, valid, dropout_p=0.25, seed=seed).sin()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    ours = gradients(compiled, heads, lengths)
    if seed is not None:
        for x, y in zip(ours, gradients(step, heads, lengths), strict=True):
            torch.testing.assert_close(x, y)
    bounds = torch.tensor([0, 16, 32], dtype=torch.int32, device=device)
    packed = [x.transpose(1, 2).flatten(0, 1) for x in heads[:3]]
    varlen = torch.compile(varlen_attention, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(varlen(*packed, bounds, 16), varlen_attention(*packed, bounds, 16))


def test_log_sum_exp_is_saved(device):
    q, k, v, _ = batch((10, 2, 8), device)
    bounds = torch.tensor([0, 10], dtype=torch.int32, device=device)
    _, lse = torch.ops.lexforge.attention.default(q, k, v, bounds, None, None, 10, False, 0.0, 0.5)
    expected = torch.logsumexp(0.5 * torch.einsum("ihd,jhd->ihj", q, k), -1)
    assert lse.dtype == torch.float32
    torch.testing.assert_close(lse, expected)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
def test_rows_that_see_nothing(dtype, device):
    """Zeros, not NaN, and no gradient from them or to the keys that no query sees."""
    heads = batch((2, 2, 20, 16), device, dtype=dtype)
    valid = torch.tensor([0, 7], device=device)
    out, q, k, v = gradients(attention, heads, valid)
    for x in (out[0], q[0], k[0], v[0], k[1, :, 7:], v[1, :, 7:]):
        assert torch.equal(x, torch.zeros_like(x))
    assert (q[1] != 0).any()
    per_query = torch.full((2, 20), 7, device=device)
    per_query[1, 3] = 0
    out, q, _, _ = gradients(attention, heads, per_query)
    for x in (out[1, :, 3], q[1, :, 3]):
        assert torch.equal(x, torch.zeros_like(x))
    _, lse = torch.ops.lexforge.attention.default(
        *(x.transpose(1, 2) for x in heads[:3]), None, valid.int(), None, 20, False, 0.0, 1.0
    )
    assert (lse[0] == -math.inf).all() and lse[1].isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_keys_may_hold_anything(dtype, device):
    q, k, v, _ = batch((2, 2, 20, 16), device, dtype=dtype)
    valid = torch.tensor([13, 20], device=device)
    expected = attention(q, k, v, valid)
    k[0, :, 13:] = math.nan
    v[0, :, 13:] = math.inf
    assert torch.equal(attention(q, k, v, valid), expected)


def test_large_scores(device):
    """Scores of +-10^4 neither overflow nor vanish."""
    q = torch.tensor([100.0, -100.0], device=device).reshape(1, 1, 2, 1)
    k = torch.tensor([100.0, -100.0], device=device).reshape(1, 1, 2, 1)
    v = torch.tensor([1.0, 2.0], device=device).reshape(1, 1, 2, 1)
    assert attention(q, k, v, scale=1.0).flatten().tolist() == [1.0, 2.0]
    q[:] = math.nan
    assert attention(q, k, v).isnan().all()


def test_dropout_of_an_identity_value(device):
    """With v the identity the result shows the probabilities: dropped, or divided by 1 - p."""
    q, k, _, _ = batch((2, 2, 96, 96), device)
    v = torch.eye(96, device=device).expand(2, 2, 96, 96)
    whole = attention(q, k, v)
    part = attention(q, k, v, dropout_p=0.3, seed=11)
    kept = part != 0
    expected = reference.dropout_keep(11, 0.3, 2, 2, 96, 96).to(device)
    assert torch.equal(kept, expected)
    torch.testing.assert_close(part[kept], whole[kept] / 0.7, rtol=1e-4, atol=1e-9)
    assert torch.equal(attention(q, k, v, dropout_p=1.0, seed=1), torch.zeros_like(v))


def test_dropout_keeps_its_share():
    """Kept entries are binomial, along rows and along columns."""
    p, n = 0.1, 512
    keep = reference.dropout_keep(1, p, 1, 2, n, n).double()
    for counts in (keep.sum(-1), keep.sum(-2)):
        z = (counts - n * (1 - p)) / math.sqrt(n * p * (1 - p))
        assert 0.85 < z.square().mean() < 1.15
    neighbours = (keep[..., 1:] * keep[..., :-1]).mean()
    assert abs(neighbours - (1 - p) ** 2) < 0.003
    assert keep[0, 0].ne(keep[0, 1]).any()


def test_seeds(device):
    heads = batch((1, 2, 40, 16), device)[:3]
    run = functools.partial(attention, *heads, dropout_p=0.5)
    assert torch.equal(run(seed=4), run(seed=4))
    assert not torch.equal(run(seed=4), run(seed=5))
    assert torch.equal(run(seed=4), run(seed=torch.tensor([4], device=device)))
    assert torch.equal(run(seed=2**64 - 1), run(seed=-1))
    generator = torch.Generator().manual_seed(1)
    first, second = run(seed=generator), run(seed=generator)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    first, second = run(), run()
    torch.manual_seed(1)
    assert torch.equal(run(), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("causal", [False, True])
def test_bit_identical_for_any_threads(causal, dtype, device):
    lengths = [5, 130, 64, 0, 99, 200]
    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)
    heads = batch((sum(lengths), 3, 40), device, dtype=dtype)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            options = {"causal": causal, "dropout_p": 0.1, "seed": 1}
            results.append(gradients(varlen_attention, heads, bounds, 200, **options))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


ISA_SCRIPT = """
import sys, torch, lexforge
from lexforge.ops.attention.attention import varlen_attention
from lexforge.reference.attention import attention as reference
generator = torch.Generator().manual_seed(0)
for dtype in (torch.float32, torch.bfloat16):
    for dim in (1, 8, 33, 64):
        qkv = torch.randn(160, 3, 2, dim, generator=generator)
        weights = torch.randn(160, 2, dim, generator=generator)
        bounds = torch.tensor([0, 1, 18, 160], dtype=torch.int32)
        results = []
        for kind, to in ((varlen_attention, dtype), (reference.varlen_attention, torch.float64)):
            leaf = qkv.to(dtype).to(to, copy=True).requires_grad_()
            size = (142,) if kind is varlen_attention else ()
            out = kind(*leaf.unbind(1), bounds, *size, causal=True, dropout_p=0.2, seed=8)
            out.backward(weights.to(dtype).to(to))
            results.append((out.double(), leaf.grad.double()))
        for x, y in zip(*results):
            bound = 4e-6 if dtype == torch.float32 else 3e-2
            assert (x - y).abs().max() <= bound * y.abs().max(), (dtype, dim)
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa):
    assert run_under(isa, ISA_SCRIPT).strip() == isa


VARLEN = ("q", "k", "v", "cu_seqlens", "max_seqlen")


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "q must be float32", {"q": torch.Tensor.half}),
        (TypeError, "k must be float32, got float64", {"k": torch.Tensor.double}),
        (ValueError, r"q must be \[T, H, D\]", {"q": lambda x: x[0]}),
        (ValueError, r"v must be \[9, 2, 8\], got \[9, 2, 7\]", {"v": lambda x: x[..., :7]}),
        (ValueError, r"k must be \[9, 2, 8\], got \[9, 1, 8\]", {"k": lambda x: x[:, :1]}),
        (ValueError, r"head_dim must be in \[1, 256\], got 0", {"q": lambda x: x[..., :0]}),
        (
            ValueError,
            r"head_dim must be in \[1, 256\], got 264",
            {"q": lambda x: x.repeat(1, 1, 33)},
        ),
        (TypeError, "cu_seqlens must be int32", {"cu_seqlens": torch.Tensor.long}),
        (ValueError, r"cu_seqlens must be \[B \+ 1\]", {"cu_seqlens": lambda x: x[:0]}),
        (ValueError, "cu_seqlens must start at 0, got 1", {"cu_seqlens": lambda x: x + 1}),
        (ValueError, "cu_seqlens must end at T = 9, got 4", {"cu_seqlens": lambda x: x[:2]}),
        (
            ValueError,
            "cu_seqlens must ascend, got 5 before 3",
            {"cu_seqlens": lambda x: x.new_tensor([0, 5, 3, 8, 9])},
        ),
        (
            ValueError,
            "max_seqlen must be at least 5, the length of sequence 1, got 4",
            {"max_seqlen": lambda x: 4},
        ),
        (ValueError, "max_seqlen must be in", {"max_seqlen": lambda x: -1}),
        (ValueError, r"dropout_p must be in \[0, 1\], got 1.5", {"dropout_p": lambda x: 1.5}),
        (ValueError, "scale must be finite and > 0", {"scale": lambda x: 0.0}),
        (ValueError, "seed must be one int64", {"seed": lambda x: torch.zeros(2)}),
        (TypeError, "seed must be an int", {"seed": lambda x: "1"}),
    ],
)
def test_errors(error, match, changes, device):
    if device.type == "cuda" and "cu_seqlens must" in match and error is ValueError:
        pytest.skip("the content of cu_seqlens is not looked at on CUDA")
    bounds = torch.tensor([0, 4, 9], dtype=torch.int32, device=device)
    arguments = dict(zip(VARLEN, (*batch((9, 2, 8), device)[:3], bounds, 5), strict=True))
    arguments |= {"dropout_p": 0.5, "scale": None, "seed": None}
    arguments |= {name: change(arguments[name]) for name, change in changes.items()}
    with pytest.raises(error, match=match):
        varlen_attention(**arguments)


@pytest.mark.parametrize(
    ("error", "match", "valid"),
    [
        (TypeError, "valid_lens must be int32 or int64", torch.tensor([1.0, 2.0])),
        (ValueError, r"valid_lens must be \[2\] or \[2, 5\], got \[3\]", torch.tensor([1, 2, 3])),
        (ValueError, "valid_lens must be 0 to 5, got 6", torch.tensor([6, 2])),
        (ValueError, "valid_lens must be 0 to 5, got -1", torch.tensor([3, -1])),
        (ValueError, "got 4294967297", torch.tensor([3, 2**32 + 1])),
    ],
)
def test_errors_of_valid_lens(error, match, valid, device):
    if device.type == "cuda" and "got" in match and "got \\(" not in match:
        pytest.skip("the content of valid_lens is not looked at on CUDA")
    q, k, v, _ = batch((2, 3, 5, 8), device)
    with pytest.raises(error, match=match):
        attention(q, k, v, valid.to(device))


def test_padded_errors(device):
    q, k, v, _ = batch((2, 3, 5, 8), device)
    with pytest.raises(ValueError, match=r"q must be \[B, H, S, D\]"):
        attention(q[0], k, v)
    with pytest.raises(ValueError, match=r"k must be on .*, got meta"):
        attention(q, k.to("meta"), v)


FORGED = [[0, 4], [1, 9], [0, 12, 9], [0, -5, 9], [0, 2**31 - 1], [0, 9, 9, 100]]


@pytest.mark.parametrize(("dtype", "longest"), [(torch.float32, 9), (torch.bfloat16, 300)])
@pytest.mark.parametrize("bounds", FORGED)
def test_forged_bounds_do_not_leave_the_tensors(bounds, dtype, longest, device):
    """Callers of torch.ops directly get an error on the CPU; elsewhere bounds are clamped."""
    q, k, v, weights = batch((9, 2, 8), device, dtype=dtype)
    forged = torch.tensor(bounds, dtype=torch.int32, device=device)
    rest = (forged, None, None, longest, False, 0.0, 1.0)
    lse = torch.zeros(9, 2, device=device)
    calls = [
        lambda: torch.ops.lexforge.attention.default(q, k, v, *rest),
        lambda: torch.ops.lexforge.attention_backward.default(weights, q, k, v, q, lse, *rest),
    ]
    for call in calls:
        if device.type == "cpu" and not _library.emulated():
            with pytest.raises(RuntimeError, match=r"(cu_seqlens|max_seqlen) must"):
                call()
        else:
            call()


@pytest.mark.parametrize("valid", [[-1, 5], [5, 6], [2**31 - 1, -(2**31)]])
def test_forged_valid_lens_do_not_leave_the_tensors(valid, device):
    q, k, v, _ = batch((2, 5, 3, 8), device)
    forged = torch.tensor(valid, dtype=torch.int32, device=device)
    rest = (None, forged, None, 5, False, 0.0, 1.0)
    if device.type == "cpu" and not _library.emulated():
        with pytest.raises(RuntimeError, match="valid_lens must be 0 to S = 5"):
            torch.ops.lexforge.attention.default(q, k, v, *rest)
    else:
        torch.ops.lexforge.attention.default(q, k, v, *rest)


def test_op_itself_refuses_what_memory_safety_needs(device):
    q, k, v, _ = batch((9, 2, 8), device)
    bounds = torch.tensor([0, 9], dtype=torch.int32, device=device)
    op = torch.ops.lexforge.attention.default
    rest = (None, 9, False, 0.0, 1.0)
    for match, arguments in (
        ("k must have the shape of q", (q, k[:8], v, bounds, None, *rest)),
        (
            "v has the wrong dtype: must be float32, got float64",
            (q, k, v.double(), bounds, None, *rest),
        ),
        ("must have stride 1", (q, k.transpose(1, 2).contiguous().transpose(1, 2), v, bounds)),
        ("cu_seqlens has the wrong dtype", (q, k, v, bounds.long(), None, *rest)),
        (r"q must be \[B, S, H, D\]", (q, k, v, None, None, *rest)),
        ("valid_lens goes with padded", (q, k, v, bounds, bounds, *rest)),
        ("seed must be one int64", (q, k, v, bounds, None, None, 9, False, 0.5, 1.0)),
        ("scale must be", (q, k, v, bounds, None, None, 9, False, 0.0, math.nan)),
    ):
        if len(arguments) == 4:
            arguments = (*arguments, None, *rest)
        with pytest.raises(RuntimeError, match=match):
            op(*arguments)
    with pytest.raises(RuntimeError, match="lse must be"):
        lse = torch.zeros(8, 2, device=device)
        torch.ops.lexforge.attention_backward.default(q, q, k, v, q, lse, bounds, None, *rest)


def test_empty_batches(device):
    out = attention(*batch((0, 2, 5, 8), device)[:3], torch.empty(0, dtype=int, device=device))
    assert out.shape == (0, 2, 5, 8)
    assert gradients(attention, batch((2, 0, 5, 8), device))[1].shape == (2, 0, 5, 8)
    assert gradients(attention, batch((2, 3, 0, 8), device))[1].shape == (2, 3, 0, 8)
