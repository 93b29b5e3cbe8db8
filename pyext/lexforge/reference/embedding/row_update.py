"""An optimiser's step on a table with a sparse gradient, in plain torch (row_update.h)."""

from __future__ import annotations

import torch
from torch import Tensor

MOMENTUM = ("momentum", "nesterov", "adam")


def row_update(
    weight: Tensor,
    ids: Tensor,
    gradients: Tensor,
    rule: str,
    *,
    lr: float,
    first: Tensor | None = None,
    second: Tensor | None = None,
    touched: Tensor | None = None,
    weight_decay: float = 0.0,
    decay: tuple[float, float] = (0.0, 0.0),
    fresh: tuple[float, float] = (1.0, 1.0),
    eps: float = 0.0,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Nothing is changed: the table, its state and its flags after the step, in float64.

    Arguments as in :func:`lexforge.ops.row_update_`.
    """
    p = weight.double()
    occurs = torch.zeros(len(p), dtype=torch.bool, device=p.device)
    occurs[ids.long()] = True
    moves = occurs
    if touched is not None:
        moves = occurs | (touched != 0) | (weight_decay != 0)
        touched = moves.to(torch.uint8)
        if rule not in MOMENTUM and weight_decay == 0:
            moves = occurs
    g = torch.zeros_like(p).index_add(0, ids.long(), gradients.double()) + weight_decay * p
    m = torch.zeros_like(p) if first is None else first.double()
    v = torch.zeros_like(p) if second is None else second.double()
    if rule == "sgd":
        change = g
    elif rule in ("momentum", "nesterov"):
        m = decay[0] * m + fresh[0] * g
        change = g + decay[0] * m if rule == "nesterov" else m
    elif rule == "adagrad":
        m = m + g**2
        change = g / (m.sqrt() + eps)
    elif rule == "rowwise_adagrad":
        m = m + (g**2).mean(1)
        change = g / (m.sqrt() + eps)[:, None]
    else:
        m = decay[0] * m + fresh[0] * g
        v = decay[1] * v + fresh[1] * g**2
        change = m / (v.sqrt() + eps)
    p = torch.where(moves[:, None], p - lr * change, p)

    def where_moved(new: Tensor, old: Tensor | None) -> Tensor | None:
        if old is None:
            return None
        return torch.where(moves if new.dim() == 1 else moves[:, None], new, old.double())

    return p, where_moved(m, first), where_moved(v, second), touched
