"""Items of the smoke program: recurrent layers."""

from __future__ import annotations

import torch
from smoke_items import Items, as_good_as_plain, differentiate
from torch import Tensor
from torch.nn import functional

from lexforge.ops.recurrent.lstm import lstm
from lexforge.reference.recurrent import lstm as reference

ITEMS = Items()
FLOAT, DOUBLE = torch.float32, torch.float64


def recurrent(device, dtype, texts, hidden, directions=2, indexed=False):
    """Texts of many lengths; all three results, side by side."""
    random = torch.Generator().manual_seed(3)
    lengths = torch.arange(texts) * 2 % 3
    bounds = functional.pad(lengths.cumsum(0), (1, 0)).int().to(device)
    rows = 7 if indexed else int(lengths.sum())
    index = torch.randint(0, rows, (int(lengths.sum()),), generator=random).to(device)
    gates = torch.randn(rows, directions * 4 * hidden, generator=random)
    w_hh = torch.randn(directions, 4 * hidden, hidden, generator=random) / hidden**0.5
    leaves = [x.to(device, dtype) for x in (gates, w_hh)]

    def of(function):
        def call(*given: Tensor) -> Tensor:
            return torch.cat(function(*given, bounds, index if indexed else None))

        return call

    ours, plain = of(lstm), of(reference.lstm)
    grad = torch.randn(ours(*leaves).shape, generator=random).to(device)
    exact = differentiate(plain, [x.double() for x in leaves], grad)
    return as_good_as_plain(
        differentiate(ours, leaves, grad), differentiate(plain, leaves, grad), exact, dtype
    )


# One, two and four texts to a block of an H200's 132; weights in shared memory and beyond it.
for _dtype, _texts, _hidden, _indexed in [
    (FLOAT, 5, 100, False),
    (FLOAT, 70, 20, True),
    (FLOAT, 140, 20, False),
    (FLOAT, 5, 130, True),
    (FLOAT, 70, 130, False),
    (FLOAT, 140, 130, False),
    (DOUBLE, 5, 33, True),
]:
    _name = f"lstm, {str(_dtype).removeprefix('torch.')}, {_texts} texts, {_hidden} units"
    _options = {"texts": _texts, "hidden": _hidden, "indexed": _indexed}
    ITEMS.add(_name, recurrent, "lstm", "lstm_backward", dtype=_dtype, **_options)
