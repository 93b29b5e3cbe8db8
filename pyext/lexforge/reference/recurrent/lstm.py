"""One layer of an LSTM in plain torch (csrc/recurrent/lstm.h)."""

from __future__ import annotations

import torch
from torch import Tensor


def lstm(
    gates: Tensor, w_hh: Tensor, cu_seqlens: Tensor, index: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """A text at a time, a direction at a time, a token at a time.

    Arguments and results as of :func:`lexforge.ops.lstm`.
    """
    if index is not None:
        gates = gates[index.long()]
    directions, _, hidden = w_hh.shape
    bounds = cu_seqlens.tolist()
    nothing = gates.new_zeros(hidden)
    out = [[nothing] * len(gates) for _ in range(directions)]
    last_h = [[nothing] * (len(bounds) - 1) for _ in range(directions)]
    last_c = [[nothing] * (len(bounds) - 1) for _ in range(directions)]
    for d in range(directions):
        of_direction = gates[:, d * 4 * hidden : (d + 1) * 4 * hidden]
        for b, first in enumerate(bounds[:-1]):
            tokens = range(first, bounds[b + 1])
            h = c = nothing
            for t in tokens if d == 0 else reversed(tokens):
                i, f, g, o = (of_direction[t] + w_hh[d] @ h).chunk(4)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
                out[d][t] = h
            last_h[d][b], last_c[d][b] = h, c

    def rows(found: list[list[Tensor]]) -> Tensor:
        if not found[0]:
            return gates.new_zeros(0, directions * hidden)
        return torch.cat([torch.stack(of_direction) for of_direction in found], 1)

    return rows(out), rows(last_h), rows(last_c)
