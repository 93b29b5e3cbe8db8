"""Items of the smoke program: the convolution and maximum over time of texts."""

from __future__ import annotations

import torch
from smoke_items import Items, differentiate, near
from torch.nn import functional

from lexforge.ops.convolution.conv_max_pool import conv_max_pool
from lexforge.reference.convolution import conv_max_pool as reference

ITEMS = Items()
# Of the largest number: a rounding of the result, or those of sums of some hundred products.
_ALLOWED = {torch.float32: 3e-6, torch.bfloat16: 8e-3, torch.float64: 1e-14}


def pooled(device, dtype, dim, channels, taps, indexed=True):
    """Texts of many lengths: the greatest sums, and the gradients of the positions chosen."""
    random = torch.Generator().manual_seed(8)
    lengths = torch.tensor([5, 0, 64, 1, 65, 300])
    bounds = functional.pad(lengths.cumsum(0), (1, 0)).int().to(device)
    index = torch.randint(0, 90, (int(lengths.sum()),), generator=random).int().to(device)
    shapes = ((90, dim), (channels, dim, taps), (channels,))
    leaves = [torch.randn(s, generator=random).bfloat16().to(device, dtype) for s in shapes]
    if not indexed:
        leaves[0], index = leaves[0][index.long()], None
    grad = torch.randn(6, channels, generator=random).bfloat16().to(device)

    def ours(x, weight, bias):
        return conv_max_pool(x, bounds, weight, bias, index, min_length=taps + 1)

    place = torch.ops.lexforge.conv_max_pool(
        leaves[0],
        bounds,
        leaves[1].permute(2, 0, 1).contiguous(),
        leaves[2].to(torch.promote_types(dtype, torch.float32)),
        index,
        taps + 1,
    )[1]

    def plain(x, weight, bias, place=place):
        return reference.conv_max_pool(
            x, bounds, weight, bias, index, min_length=taps + 1, place=place
        )

    wide = [leaf.double() for leaf in leaves]
    found = differentiate(ours, leaves, grad)
    exact = [plain(*wide, place=None), *differentiate(plain, wide, grad)]
    figures = [
        near(x, z, _ALLOWED[dtype] * max(1.0, float(z.abs().max())), f"result {number}")
        for number, (x, z) in enumerate(zip([found[0], *found], exact, strict=True))
    ]
    return max(figures, key=lambda figure: figure["error"] / figure["allowed"])


for _dtype, _dim, _channels, _taps, _indexed in [
    (torch.bfloat16, 200, 100, 5, True),
    (torch.bfloat16, 64, 65, 1, False),
    (torch.bfloat16, 25, 7, 3, True),
    (torch.float32, 200, 100, 3, True),
    (torch.float64, 17, 30, 4, False),
]:
    _name = f"conv_max_pool, {str(_dtype).removeprefix('torch.')}, {_dim} x {_taps}"
    _of = {"dtype": _dtype, "dim": _dim, "channels": _channels, "taps": _taps}
    ITEMS.add(_name, pooled, "conv_max_pool", "conv_max_pool_picks", **_of, indexed=_indexed)
