"""An optimiser's step on a table with a sparse gradient, fused (csrc/embedding/row_update.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks

RULES = ("sgd", "momentum", "nesterov", "adagrad", "rowwise_adagrad", "adam")


def row_update_(
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
    check_indices: bool = True,
) -> None:
    """One step of an optimiser on the rows that a sparse gradient touches, in one pass.

    The gradients of a row are summed and go, with ``weight_decay`` times the row added, through one
    of these rules, element by element::

        sgd              p -= lr g
        momentum         m = decay[0] m + fresh[0] g;  p -= lr m
        nesterov         m = decay[0] m + fresh[0] g;  p -= lr (g + decay[0] m)
        adagrad          s = s + g^2;  p -= lr g / (sqrt(s) + eps)
        rowwise_adagrad  s = s + mean over the row of g^2, one number for a row; p as in adagrad
        adam             m = decay[0] m + fresh[0] g;  v = decay[1] v + fresh[1] g^2
                         p -= lr m / (sqrt(v) + eps)

    Corrections of Adam's bias are the caller's part, in ``lr`` and ``eps``;
    :mod:`lexforge.optim` has the optimisers.

    Args:
        weight: float32, bfloat16 or float64 [V, D], contiguous, updated in place.
        ids: int32 or int64 [N], rows of the table, with any repeats. gradients: [N, D] of the
            table's dtype; the parts of a sparse tensor that is not coalesced.
        rule: one of the above.
        lr: learning rate of this step, >= 0.
        first: float32 (float64 with a float64 table) [V, D], m or s; [V] of ``rowwise_adagrad``;
            None of ``sgd``. second: the same, v of ``adam``. Contiguous, updated in place.
        touched: None: rows without a gradient stand still, with their state. Else uint8 [V]: all
            rows make the step, as with a dense gradient, but those whose flag is 0, which must
            have nothing but zeros in their state, and do not move without a gradient and weight
            decay. Flags of rows that make the step become 1; all zeros to begin with.
        weight_decay, decay, fresh: >= 0. eps: > 0 where it is used.
        check_indices: on CUDA the check of the ids waits for the device; leave it out when they are
            known to be good: those outside are then left out. The CPU always checks.

    Raises:
        TypeError, ValueError: arguments that do not fit. IndexError: a row number out of range.
        Nothing has been changed then.

    Notes:
        Bit-identical for any number of threads, and from run to run. Work in proportion to the ids,
        with ``touched`` to the rows that were ever touched. A bfloat16 table is rounded once.

    >>> table = torch.zeros(4, 2)
    >>> row_update_(table, torch.tensor([1, 3, 1]), torch.ones(3, 2), "sgd", lr=0.5)
    >>> table[:, 0].tolist()
    [0.0, -1.0, 0.0, -0.5]
    """
    op = "row_update_"
    _checks.choice(op, "rule", rule, RULES)
    _checks.tensor(op, "weight", weight, _checks.FLOATS, ("V", "D"), contiguous=True)
    _checks.updated(op, "weight", weight, aligned=False)
    _checks.tensor(op, "ids", ids, _checks.IDS, ("N",), weight)
    shape = (ids.shape[0], weight.shape[1])
    _checks.tensor(op, "gradients", gradients, weight.dtype, shape, weight)
    stat = _checks.stat_dtype(weight)
    rows = weight.shape[:1] if rule == "rowwise_adagrad" else weight.shape
    for name, state, wanted in (
        ("first", first, rule != "sgd"),
        ("second", second, rule == "adam"),
    ):
        if (state is not None) != wanted:
            raise ValueError(
                f"{op}: {name} {'is needed' if wanted else 'has no use'} with rule {rule!r}"
            )
        if state is not None:
            _checks.tensor(op, name, state, stat, rows, weight, contiguous=True)
    if touched is not None:
        _checks.tensor(
            op, "touched", touched, torch.uint8, weight.shape[:1], weight, contiguous=True
        )
    for name, value in (
        ("lr", lr),
        ("weight_decay", weight_decay),
        ("decay[0]", decay[0]),
        ("decay[1]", decay[1]),
        ("fresh[0]", fresh[0]),
        ("fresh[1]", fresh[1]),
    ):
        _checks.number(op, name, value)
    _checks.number(op, "eps", eps, above=0 if rule.endswith(("adagrad", "adam")) else None)
    written = {"weight": weight, "first": first, "second": second, "touched": touched}
    changed = {name: tensor for name, tensor in written.items() if tensor is not None}
    _checks.apart(op, **changed)
    if check_indices or weight.device.type == "cpu":
        _checks.ids(op, "ids", ids, weight.shape[0])
    torch.ops.lexforge.row_update_.default(
        weight.detach(),
        first,
        second,
        touched,
        ids.to(torch.int32).contiguous(),
        gradients.detach().contiguous(),
        rule,
        lr,
        weight_decay,
        decay[0],
        fresh[0],
        decay[1],
        fresh[1],
        eps,
    )
    torch.autograd.graph.increment_version(list(changed.values()))


@torch.library.register_fake("lexforge::row_update_")
def _(*arguments):
    return None
