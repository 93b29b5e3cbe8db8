"""One layer of an LSTM over packed texts (csrc/recurrent/lstm.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops.embedding.embedding_bag import lookup_gradient
from lexforge.ops.transformer.linear import weight_gradient

MAX_HIDDEN = 1024  # csrc/recurrent/lstm.h, kMaxLstmHidden
_OP = "lstm"
_GATES = 4


def lstm(
    gates: Tensor,
    w_hh: Tensor,
    cu_seqlens: Tensor,
    index: Tensor | None = None,
    *,
    check_indices: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """A long short-term memory over the texts of a packed batch, in one direction or both.

    What torch.nn.LSTM computes in one layer, but for the products with its inputs, which come
    ready (:class:`lexforge.nn.LSTM` is the layer). Each text starts from zeros at its own first
    token, in the backward direction at its last: padding does not exist.

    Args:
        gates: [T, D * 4 * H], float32 or float64: ``x w_ih^T + b_ih + b_hh`` of every token, for
            the gates i, f, g, o of D directions (1, or 2: forward and backward) and H units, H from
            1 to 1024. With ``index`` [R, D * 4 * H]: for every row that it names.
        w_hh: [D, 4 * H, H], of the dtype and device of ``gates``.
        cu_seqlens: int32 [B + 1] on that device: text b is tokens ``cu_seqlens[b]`` to
            ``cu_seqlens[b + 1]``. Starts at 0, ascends (empty texts are fine), ends at T.
        index: int32 or int64 [T], the row of ``gates`` of every token; by default its own. So a
            word that comes often is multiplied with ``w_ih`` once.
        check_indices: whether ``index`` is looked at on CUDA, which waits for the device. The CPU
            always looks.

    Returns:
        ``(out [T, D * H], h_n [B, D * H], c_n [B, D * H])``: h of every token, and h and c of every
        text after the last token that the direction reads; zeros of an empty text. Differentiable
        in ``gates`` and ``w_hh`` (once).

    Raises:
        TypeError: dtypes. IndexError: an index without a row. ValueError: shapes, devices or bounds
        that do not fit.

    Notes:
        Results and the gradient of ``gates`` are bit-identical for any number of threads and from
        run to run; that of ``w_hh`` is a product of torch's, whose bits depend on the number of
        threads with some libraries. In float32 sigmoid and tanh are within 3e-7. On the CPU numbers
        below the smallest normal one count as 0. Where a gradient is wanted, 5 D H numbers are kept
        for every token. On CUDA the content of ``cu_seqlens`` is not looked at: wrong bounds stay
        inside the tensors, and rows that no text covers hold anything. Weights of H up to 118
        (float32, 227 KB of shared memory) stay in a multiprocessor; larger ones are read again at
        every step, from the cache of the device, which is slower.

    Example:
        >>> bounds = torch.tensor([0, 3, 7], dtype=torch.int32)
        >>> out, h_n, c_n = lstm(torch.randn(7, 2 * 4 * 5), torch.randn(2, 20, 5), bounds)
        >>> out.shape, h_n.shape
        (torch.Size([7, 10]), torch.Size([2, 10]))
    """
    _checks.tensor(_OP, "gates", gates, _checks.WIDE, ("T" if index is None else "R", "D * 4 * H"))
    _checks.tensor(_OP, "w_hh", w_hh, gates.dtype, ("D", "4 * H", "H"), gates)
    directions, _, hidden = w_hh.shape
    _checks.whole(_OP, "directions", directions, 1, 2)
    _checks.whole(_OP, "hidden size", hidden, 1, MAX_HIDDEN)
    _checks.tensor(_OP, "w_hh", w_hh, shape=(directions, _GATES * hidden, hidden))
    rows = gates.shape[0]
    _checks.tensor(_OP, "gates", gates, shape=(rows, directions * _GATES * hidden))
    tokens = rows
    if index is not None:
        _checks.tensor(_OP, "index", index, _checks.IDS, ("T",), gates)
        tokens = index.shape[0]
        if check_indices if index.device.type == "cuda" else _checks.readable(index):
            _checks.ids(_OP, "index", index, rows)
        index = index.to(torch.int32).contiguous()
    _checks.tensor(_OP, "cu_seqlens", cu_seqlens, torch.int32, ("B + 1",), gates)
    if cu_seqlens.shape[0] < 1:
        raise ValueError(f"{_OP}: cu_seqlens must be [B + 1], got [0]")
    if _checks.readable(cu_seqlens):
        _checks.packed(_OP, "cu_seqlens", cu_seqlens, tokens, tokens)
    save = torch.is_grad_enabled() and (gates.requires_grad or w_hh.requires_grad)
    out, h_n, c_n, _, _ = torch.ops.lexforge.lstm.default(
        gates.contiguous(), index, w_hh.contiguous(), cu_seqlens.contiguous(), save
    )
    return out, h_n, c_n


@torch.library.register_fake("lexforge::lstm")
def _(gates, index, w_hh, cu_seqlens, save):
    tokens = gates.shape[0] if index is None else index.shape[0]
    width, texts = w_hh.shape[0] * w_hh.shape[2], cu_seqlens.shape[0] - 1
    saved = tokens if save else 0
    return (
        gates.new_empty(tokens, width),
        gates.new_empty(texts, width),
        gates.new_empty(texts, width),
        gates.new_empty(saved, _GATES * width),
        gates.new_empty(saved, width),
    )


@torch.library.register_fake("lexforge::lstm_backward")
def _(grad_out, grad_h, grad_c, w_hh, cu_seqlens, activated, cells):
    return activated.new_empty(activated.shape)


def _setup_context(ctx, inputs, output):
    gates, index, w_hh, cu_seqlens, ctx.save = inputs
    out, _, _, activated, cells = output
    ctx.rows = gates.shape[0]
    ctx.save_for_backward(index, w_hh, cu_seqlens, out, activated, cells)
    ctx.mark_non_differentiable(activated, cells)
    ctx.set_materialize_grads(False)


def _backward(ctx, *grads):
    index, w_hh, cu_seqlens, out, activated, cells = ctx.saved_tensors
    if not ctx.save:
        raise RuntimeError(f"{_OP}: a gradient is asked for of a call with save=False")
    of_results = [None if grad is None else grad.contiguous() for grad in grads[:3]]
    if not any(grad is not None for grad in of_results):
        return None, None, None, None, None
    of_tokens = torch.ops.lexforge.lstm_backward.default(
        *of_results, w_hh, cu_seqlens, activated, cells
    )
    grad_gates = grad_w_hh = None
    if ctx.needs_input_grad[0]:
        grad_gates = of_tokens if index is None else lookup_gradient(of_tokens, index, ctx.rows)
    if ctx.needs_input_grad[2]:
        directions, width, _ = w_hh.shape
        of_directions = of_tokens.split(width, 1)
        starts = (cu_seqlens[:-1], cu_seqlens[1:])
        grad_w_hh = torch.stack(
            [
                weight_gradient(of_directions[d], _before(out, w_hh, starts[d], d))
                for d in range(directions)
            ]
        )
    return grad_gates, None, grad_w_hh, None, None


def _before(out: Tensor, w_hh: Tensor, bounds: Tensor, direction: int) -> Tensor:
    """h [T, H] of the token before each one in a direction, zeros where a text begins."""
    hidden, tokens = w_hh.shape[2], out.shape[0]
    h = out[:, direction * hidden : (direction + 1) * hidden]
    nothing = out.new_zeros(1, hidden)
    rows = torch.cat([nothing, h] if direction == 0 else [h, nothing])
    # A text begins in the row of its first bound, or ends in the row before its last: one is left
    # over, for texts of no token at either end.
    rows.index_fill_(0, bounds.clamp(0, tokens).long(), 0)
    return rows[:-1] if direction == 0 else rows[1:]


torch.library.register_autograd("lexforge::lstm", _backward, setup_context=_setup_context)
_checks.differentiable_once(_OP, "lstm_backward")
