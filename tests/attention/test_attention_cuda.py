"""The kernels on tensor cores: every tile width, every way to divide a sequence among blocks."""

from __future__ import annotations

import itertools

import pytest
import torch

from attention.test_attention import assert_as_good_as_plain, batch, gradients
from lexforge import _library
from lexforge.ops.attention import attention, varlen_attention
from lexforge.reference import attention as reference

# One block holds a head's keys up to 64, 128 and 256; from 129 on a warp has 32 queries.
LENGTHS = (64, 65, 129, 260)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dim", [8, 64, 72, 128])
def test_tile_widths_and_divisions(dim, length, device):
    heads = batch((1, 1, length, dim), device, dtype=torch.bfloat16)
    options = {"causal": dim == 72, "dropout_p": 0.1 if dim != 8 else 0.0, "seed": 3}
    exact = gradients(reference.attention, [x.double() for x in heads], **options)
    plain = gradients(reference.attention, heads, **options)
    ours = gradients(attention, heads, **options)
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


def test_rows_that_are_not_aligned(device):
    """Rows that begin between multiples of 16 bytes give what their aligned copies give."""
    wide = batch((150, 3, 2, 40), device, dtype=torch.bfloat16)
    bounds = torch.tensor([0, 70, 150], dtype=torch.int32, device=device)
    rest = (bounds, None, torch.tensor([1], device=device), 80, True, 0.2, 32**-0.5)
    odd = [x[:, 1, :, 3:35] for x in wide]
    results = []
    for q, k, v, grad in (odd, [x.contiguous() for x in odd]):
        out, lse = torch.ops.lexforge.attention.default(q, k, v, *rest)
        grads = torch.ops.lexforge.attention_backward.default(grad, q, k, v, out, lse, *rest)
        results.append((out, lse, *grads))
    for x, y in zip(*results, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("dim", [24, 160])
def test_rows_that_take_no_part_may_hold_anything(dim, device):
    """Queries without keys and their gradients, and keys that no query sees."""
    if device.type == "cpu" and not _library.emulated():
        pytest.skip("attention.h: on the CPU they must be finite")
    q, k, v, grad = batch((1, 2, 70, dim), device, dtype=torch.bfloat16)
    valid = torch.full((1, 70), 50, device=device)
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
