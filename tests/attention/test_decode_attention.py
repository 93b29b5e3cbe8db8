"""decode_attention_: values, the cache it writes, bits, errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops.attention.decode_attention import decode_attention_
from lexforge.reference.attention.decode_attention import decode_attention_ as reference

DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def problem(shape, lengths, device, dtype=torch.float32, seed=0):
    """Queries, caches, lengths, new keys and values; the caches hold NaN beyond the lengths."""
    batch, heads, capacity, dim = shape
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, batch, heads, dim, generator=generator, dtype=torch.float64)
    caches = torch.randn(2, batch, heads, capacity, dim, generator=generator, dtype=torch.float64)
    for b, length in enumerate(lengths):
        caches[:, b, :, length:] = math.nan
    rows = [x.to(device, dtype) for x in (q, *caches, k, v)]
    return rows[0], rows[1], rows[2], torch.tensor(lengths, dtype=torch.int32).to(device), rows[3:]


def assert_right(shape, lengths, device, dtype, *, new=True, **options):
    q, k_cache, v_cache, counts, rows = problem(shape, lengths, device, dtype)
    rows = rows if new else []
    exact_caches = [x.double() for x in (k_cache, v_cache)]
    exact = reference(q.double(), *exact_caches, counts, *(x.double() for x in rows), **options)
    plain = reference(q, k_cache.clone(), v_cache.clone(), counts, *rows, **options)
    out = decode_attention_(q, k_cache, v_cache, counts, *rows, **options)
    assert out.dtype == dtype and out.shape == q.shape and out.is_contiguous()
    rounding = (16 if dtype == torch.float64 else 2) * torch.finfo(dtype).eps
    if out.numel():
        error, plain_error = (out.double() - exact).abs(), (plain.double() - exact).abs()
        assert error.max() <= 2 * plain_error.max() + rounding
    for cache, expected in zip((k_cache, v_cache), exact_caches, strict=True):
        assert torch.equal(cache.double().nan_to_num(9), expected.nan_to_num(9))
    assert counts.tolist() == list(lengths)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "lengths"),  # B, H, C, D
    [
        ((1, 1, 1, 1), [0]),
        ((2, 3, 9, 16), [8, 0]),
        ((3, 2, 70, 64), [69, 63, 17]),
        ((2, 1, 300, 33), [256, 255]),
        ((1, 2, 601, 24), [600]),
        ((2, 2, 40, 80), [1, 39]),
        ((1, 1, 50, 256), [49]),
        ((2, 2, 35, 7), [34, 2]),
    ],
)
def test_values_and_caches(shape, lengths, dtype, new, device):
    assert_right(shape, lengths, device, dtype, new=new)


def test_sizes_of_nothing(device):
    assert_right((0, 2, 5, 8), [], device, torch.float32)
    assert_right((2, 0, 5, 8), [1, 2], device, torch.float32)
    assert_right((2, 1, 0, 8), [0, 0], device, torch.float32, new=False)
    q, k_cache, v_cache, lengths, _ = problem((2, 2, 4, 8), [0, 3], device)
    out = decode_attention_(q, k_cache, v_cache, lengths)
    assert not out[0].any() and out[1].isfinite().all() and out[1].any()


def test_scale_and_large_scores(device):
    assert_right((2, 2, 20, 16), [19, 4], device, torch.float32, scale=2.5)
    q, k_cache, v_cache, lengths, _ = problem((1, 1, 300, 8), [300], device)
    out = decode_attention_(1e4 * q, k_cache, v_cache, lengths, scale=1.0)
    best = (k_cache[0, 0] @ q[0, 0]).argmax()
    torch.testing.assert_close(out[0, 0], v_cache[0, 0, best])
    q[0, 0, 3] = math.nan
    assert decode_attention_(q, k_cache, v_cache, lengths).isnan().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_joint_projections_are_read_where_they_lie(dtype, device):
    """q, k, v as views of one [B, 3, H, D], odd offsets included, equal their copies."""
    wide = torch.randn(3, 3, 3, 21, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    views = wide[:, :, 1:, 2:19].unbind(1)
    results = []
    for q, k, v in (views, [x.contiguous() for x in views]):
        _, k_cache, v_cache, lengths, _ = problem((3, 2, 30, 17), [0, 29, 11], device, dtype)
        out = decode_attention_(q, k_cache, v_cache, lengths, k, v)
        results.append((out, k_cache.nan_to_num(9), v_cache.nan_to_num(9)))
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))
    q, k, v = views
    transposed = q.transpose(1, 2).contiguous().transpose(1, 2)
    _, k_cache, v_cache, lengths, _ = problem((3, 2, 30, 17), [0, 29, 11], device, dtype)
    assert torch.equal(
        decode_attention_(transposed, k_cache, v_cache, lengths, k, v), results[0][0]
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_threads_and_in_any_batch(dtype, device):
    lengths = [700, 0, 256, 3, 511]
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            *arguments, new = problem((5, 3, 701, 40), lengths, device, dtype)
            results.append(decode_attention_(*arguments, *new))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results[1:])
    q, *caches, counts, new = problem((5, 3, 701, 40), lengths, device, dtype)
    for b in range(5):
        one = [x[b : b + 1] for x in (q, *caches, counts, *new)]
        assert torch.equal(decode_attention_(*one), results[0][b : b + 1])


def test_a_step_equals_causal_attention(device):
    """Token by token through the cache, and all at once: the same rows."""
    q, k, v = torch.randn(3, 2, 3, 20, 16, generator=torch.Generator().manual_seed(3)).to(device)
    expected = scaled_dot_product_attention(q, k, v, is_causal=True)
    k_cache, v_cache = torch.full((2, 2, 3, 20, 16), math.nan, device=device)
    for i in range(20):
        lengths = torch.full((2,), i, dtype=torch.int32, device=device)
        rows = [x[:, :, i] for x in (q, k, v)]
        out = decode_attention_(rows[0], k_cache, v_cache, lengths, *rows[1:])
        torch.testing.assert_close(out, expected[:, :, i], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype, device):
    q, k_cache, v_cache, lengths, (k, v) = problem((2, 2, 5, 8), [4, 1], device, dtype)
    k_cache, v_cache = k_cache.nan_to_num(), v_cache.nan_to_num()
    op = torch.ops.lexforge.decode_attention_.default
    torch.library.opcheck(op, (q, k, v, k_cache, v_cache, lengths, 0.5))
    torch.library.opcheck(op, (q, None, None, k_cache, v_cache, lengths, 0.5))


def test_compiles_without_graph_breaks(device):
    def step(q, k_cache, v_cache, lengths, k, v):
        return decode_attention_(2 * q, k_cache, v_cache, lengths, k, v).sin()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    results = []
    for function in (step, compiled):
        q, k_cache, v_cache, lengths, (k, v) = problem((2, 2, 5, 8), [4, 1], device)
        out = function(q, k_cache, v_cache, lengths, k, v)
        results.append((out, k_cache.nan_to_num(9), v_cache.nan_to_num(9)))
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_lengths_that_do_not_fit_stay_inside_the_caches(device):
    """On CUDA, where nobody looks: the nearest that fits, and no new key without a place."""
    op = torch.ops.lexforge.decode_attention_.default
    q, k_cache, v_cache, lengths, (k, v) = problem((3, 1, 4, 8), [4, 4, 0], device)
    wrong = torch.tensor([9, 4, -5], dtype=torch.int32, device=device)
    if device.type == "cpu" and not _library.emulated():
        message = "lengths must be 0 to 3 for caches of 4 places, got 9 at position 0"
        with pytest.raises(RuntimeError, match=message):
            op(q, k, v, k_cache, v_cache, wrong, 1.0)
        return
    before = k_cache.clone()
    out = op(q, k, v, k_cache, v_cache, wrong, 1.0)
    assert torch.equal(out, op(q, None, None, k_cache, v_cache, lengths, 1.0))
    assert torch.equal(k_cache.nan_to_num(9), before.nan_to_num(9))


ISA_SCRIPT = """
import torch, lexforge
from lexforge.ops.attention.decode_attention import decode_attention_
from lexforge.reference.attention.decode_attention import decode_attention_ as reference
generator = torch.Generator().manual_seed(0)
for dtype in (torch.float32, torch.bfloat16, torch.float64):
    for dim in (1, 7, 16, 33, 64, 200):
        q, k, v = torch.randn(3, 3, 2, dim, generator=generator).to(dtype)
        caches = torch.randn(2, 3, 2, 300, dim, generator=generator).to(dtype)
        lengths = torch.tensor([299, 0, 40], dtype=torch.int32)
        exact = reference(q.double(), *caches.double(), lengths, k.double(), v.double())
        error = (decode_attention_(q, *caches, lengths, k, v).double() - exact).abs().max()
        bound = {torch.float32: 4e-6, torch.bfloat16: 1e-2, torch.float64: 1e-14}[dtype]
        assert error <= bound * exact.abs().max(), (dtype, dim, error)
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa):
    assert run_under(isa, ISA_SCRIPT).strip() == isa


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "q must be float32, bfloat16 or float64", {"q": torch.Tensor.half}),
        (ValueError, r"q must be \[B, H, D\]", {"q": lambda x: x[0]}),
        (ValueError, r"head_dim must be in \[1, 256\], got 0", {"q": lambda x: x[..., :0]}),
        (TypeError, "k_cache must be float32, got float64", {"k_cache": torch.Tensor.double}),
        (ValueError, r"k_cache must be \[2, 3, C, 8\]", {"k_cache": lambda x: x[:, :1]}),
        (ValueError, r"v_cache must be \[2, 3, 5, 8\], got \[2, 3, 4, 8\]",
         {"v_cache": lambda x: x[:, :, :4].contiguous()}),
        (ValueError, "k_cache must be contiguous",
         {"k_cache": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1)}),
        (TypeError, "lengths must be int32, got int64", {"lengths": torch.Tensor.long}),
        (ValueError, r"lengths must be \[2\], got \[1\]", {"lengths": lambda x: x[:1]}),
        (ValueError, "k and v must be given both or neither", {"k": lambda x: None}),
        (ValueError, r"v must be \[2, 3, 8\], got \[2, 2, 8\]", {"v": lambda x: x[:, :2]}),
        (ValueError, "scale must be finite and > 0, got 0", {"scale": lambda x: 0.0}),
        (ValueError, "q requires grad, and this has no gradient",
         {"q": lambda x: x.clone().requires_grad_()}),
    ],
)  # fmt: skip
def test_errors(error, match, changes, device):
    q, k_cache, v_cache, lengths, (k, v) = problem((2, 3, 5, 8), [4, 1], device)
    names = ("q", "k_cache", "v_cache", "lengths", "k", "v")
    given = dict(zip(names, (q, k_cache, v_cache, lengths, k, v), strict=True)) | {"scale": None}
    given |= {name: change(given[name]) for name, change in changes.items()}
    with pytest.raises(error, match=match):
        decode_attention_(**given)


@pytest.mark.parametrize(("lengths", "new", "got"), [([5, 1], True, 5), ([6, 1], False, 6),
                                                     ([-1, 1], True, -1)])  # fmt: skip
def test_lengths_are_looked_at_on_the_cpu(lengths, new, got):
    cpu = torch.device("cpu")
    q, k_cache, v_cache, _, rows = problem((2, 3, 5, 8), [4, 1], cpu)
    counts = torch.tensor(lengths, dtype=torch.int32)
    most = 4 if new else 5
    with pytest.raises(ValueError, match=f"lengths must be 0 to {most} .*, got {got}"):
        decode_attention_(q, k_cache, v_cache, counts, *(rows if new else []))
