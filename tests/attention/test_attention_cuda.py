"""The kernels on tensor cores: every tile width, every way to divide a sequence among blocks."""

from __future__ import annotations

import itertools

import pytest
import torch

from attention.test_attention import assert_as_good_as_plain, batch, gradients
from lexforge import _library
from lexforge.ops.attention.attention import attention, varlen_attention
from lexforge.reference.attention import attention as reference

# One block holds a head's keys up to 64, 128 and, for head_dim up to 64, 256; up to 1024 several
# blocks leave shares of dq; beyond, dq has a kernel of its own. From 129 on a forward warp has 32
# queries.
LENGTHS = (64, 65, 129, 260, 1025)


# The bound of the lengths decides: a short sequence goes every way, and its reference is cheap.
@pytest.mark.parametrize(
    ("length", "longest"), [(64, 64), (65, 128), (129, 256), (260, 260), (150, 1025)]
)
@pytest.mark.parametrize("dim", [8, 64, 72, 128])
def test_tile_widths_and_divisions(dim, length, longest, device):
    bounds = torch.tensor([0, length], dtype=torch.int32, device=device)
    heads = batch((length, 1, dim), device, dtype=torch.bfloat16)
    options = {"causal": dim == 72, "dropout_p": 0.1 if dim != 8 else 0.0, "seed": 3}
    exact = gradients(reference.varlen_attention, [x.double() for x in heads], bounds, **options)
    plain = gradients(reference.varlen_attention, heads, bounds, **options)
    ours = gradients(varlen_attention, heads, bounds, longest, **options)
    assert_as_good_as_plain(ours, plain, exact, torch.bfloat16)


SHARES = [  # S, D, causal, lengths; blocks of keys end at multiples of 256, above D = 64 of 128
    (257, 16, False, "full"),
    (300, 64, False, "query"),
    (300, 100, True, "query"),
    (511, 40, True, "full"),
    (512, 33, False, "batch"),
    (513, 96, True, "batch"),
    (1023, 24, True, "batch"),
    (1024, 128, False, "full"),
    (1024, 64, True, "full"),
    (1025, 64, False, "full"),  # one beyond
]


@pytest.mark.parametrize(("length", "dim", "causal", "lens"), SHARES)
def test_shares_of_dq(length, dim, causal, lens, device):
    """Several blocks of keys, some of which whole rows of queries do not see; twice the same."""
    heads = batch((2 if lens == "batch" else 1, 1, length, dim), device, dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(4)
    valid = {
        "full": None,
        "batch": torch.tensor([256, length - 1]),
        "query": torch.randint(0, length + 1, (1, length), generator=generator),
    }[lens]
    valid = None if valid is None else valid.to(device)
    options = {"causal": causal, "dropout_p": 0.1 if length < 400 else 0.0, "seed": 3}
    exact = gradients(reference.attention, [x.double() for x in heads], valid, **options)
    plain = gradients(reference.attention, heads, valid, **options)
    ours = gradients(attention, heads, valid, **options)
    assert_as_good_as_plain(ours, plain, exact, torch.bfloat16)
    for x, y in zip(ours, gradients(attention, heads, valid, **options), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("causal", [False, True])
def test_shares_of_dq_of_packed_sequences(causal, device):
    """Sequences with one, two and three blocks of keys, one that ends with a block, and none."""
    lengths = [1, 256, 0, 257, 530]
    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)
    heads = batch((sum(lengths), 2, 24), device, dtype=torch.bfloat16)
    options = {"causal": causal}
    exact = gradients(reference.varlen_attention, [x.double() for x in heads], bounds, **options)
    plain = gradients(reference.varlen_attention, heads, bounds, **options)
    ours = gradients(varlen_attention, heads, bounds, 700, **options)
    assert_as_good_as_plain(ours, plain, exact, torch.bfloat16)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_padded_and_packed_agree_in_bfloat16(length, causal, device):
    """Bit for bit, gradients included, though packed sequences end where padded ones are masked."""
    lengths = torch.tensor([length, 1, length // 2 + 3])
    q, k, v, grad = batch((3, 1, length, 24), device, dtype=torch.bfloat16)
    present = (torch.arange(length) < lengths[:, None]).to(device)
    grad = grad * present[:, None, :, None]
    options = {"causal": causal, "dropout_p": 0.3, "seed": 3}
    padded = gradients(attention, [q, k, v, grad], lengths.to(device), **options)
    bounds = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int().to(device)
    packed = [x.transpose(1, 2)[present] for x in (q, k, v, grad)]
    packed = gradients(varlen_attention, packed, bounds, length, **options)
    for x, y in zip(packed, padded, strict=True):
        assert torch.equal(x, y.transpose(1, 2)[present])


@pytest.mark.parametrize(
    ("dim", "longest"), [(32, 80), (32, 270), (32, 1030), (27, 80), (27, 270), (91, 270)]
)
def test_rows_that_are_not_aligned(dim, longest, device):
    """Rows that begin between multiples of 16 bytes give what their aligned copies give."""
    wide = batch((longest + 70, 3, 2, 100), device, dtype=torch.bfloat16)
    bounds = torch.tensor([0, 70, longest + 70], dtype=torch.int32, device=device)
    rest = (bounds, None, torch.tensor([1], device=device), longest, True, 0.2, 32**-0.5)
    odd = [x[:, 1, :, 3 : dim + 3] for x in wide]
    # Columns of zeros change nothing.
    aligned = [torch.nn.functional.pad(x, (0, -dim % 8)).contiguous() for x in odd]
    results = []
    for q, k, v, grad in (odd, aligned):
        out, lse = torch.ops.lexforge.attention.default(q, k, v, *rest)
        grads = torch.ops.lexforge.attention_backward.default(grad, q, k, v, out, lse, *rest)
        results.append((lse, *(x[..., :dim] for x in (out, *grads))))
    for x, y in zip(*results, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize(("dim", "length"), [(24, 70), (160, 70), (24, 300)])
def test_rows_that_take_no_part_may_hold_anything(dim, length, device):
    """Queries without keys and their gradients, and keys that no query sees."""
    if device.type == "cpu" and not _library.emulated():
        pytest.skip("attention.h: on the CPU they must be finite")
    q, k, v, grad = batch((1, 2, length, dim), device, dtype=torch.bfloat16)
    valid = torch.full((1, length), 50, device=device)
    valid[0, [3, 69]] = 0
    expected = gradients(attention, [q, k, v, grad], valid)
    k[:, :, 50:] = v[:, :, 50:] = torch.nan
    q[:, :, [3, 69]] = torch.nan
    grad[:, :, [3, 69]] = torch.inf
    for x, y in zip(gradients(attention, [q, k, v, grad], valid), expected, strict=True):
        assert torch.equal(x, y)


def test_many_short_sequences(device):
    """Lengths around the sizes of strips and tiles."""
    lengths = [1, 15, 16, 17, 31, 32, 33, 63, 64]
    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)
    heads = batch((sum(lengths), 2, 32), device, dtype=torch.bfloat16)
    options = {"dropout_p": 0.1, "seed": 2}
    exact = gradients(reference.varlen_attention, [x.double() for x in heads], bounds, **options)
    plain = gradients(reference.varlen_attention, heads, bounds, **options)
    ours = gradients(varlen_attention, heads, bounds, 64, **options)
    assert_as_good_as_plain(ours, plain, exact, torch.bfloat16)
