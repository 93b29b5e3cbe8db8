"""The checks of the ops' arguments: one wording for each thing that can be wrong with one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from numbers import Integral
from types import EllipsisType

import torch
from torch import Tensor

from lexforge._arguments import MAX_THREADS
from lexforge._library import kernel_threads

IDS = (torch.int32, torch.int64)
WIDE = (torch.float32, torch.float64)
FLOATS = (torch.float32, torch.bfloat16, torch.float64)


def tensor(
    op: str,
    name: str,
    t: Tensor,
    dtype: torch.dtype | tuple[torch.dtype, ...] | None = None,
    shape: Sequence[int | str | EllipsisType] | None = None,
    like: Tensor | None = None,
    *,
    contiguous: bool = False,
) -> None:
    """Refuse what is no tensor of a dtype, a shape, and the device of another tensor.

    Args:
        op, name: of the op and the argument, for the message.
        t: the argument.
        dtype: one, or those that will do.
        shape: its sizes; a letter stands for any, and a leading ``...`` for any number of them.
        like: whose device it must be on.
        contiguous: whether it must be.

    Raises:
        TypeError: no tensor, a sparse one, or of another dtype. ValueError: anything else.
    """
    if not isinstance(t, Tensor):
        raise TypeError(f"{op}: {name} must be a tensor, got {type(t).__name__}")
    if t.layout is not torch.strided:
        raise TypeError(f"{op}: {name} must be a dense tensor, got {spelt(t.layout)}")
    if dtype is not None and t.dtype is not dtype:
        dtypes = dtype if isinstance(dtype, tuple) else (dtype,)
        if t.dtype not in dtypes:
            raise TypeError(f"{op}: {name} must be {listed(dtypes)}, got {spelt(t.dtype)}")
    if shape is not None and t.shape != shape and not _fits(t.shape, shape):
        wanted = ", ".join("..." if size is ... else str(size) for size in shape)
        raise ValueError(f"{op}: {name} must be [{wanted}], got {[*t.shape]}")
    if like is not None and t.device != like.device:
        raise ValueError(f"{op}: {name} must be on {like.device}, got {t.device}")
    if contiguous and not t.is_contiguous():
        raise ValueError(f"{op}: {name} must be contiguous, got strides {t.stride()}")


def real(
    op: str, name: str, t: Tensor, shape: Sequence[int | str | EllipsisType], like: Tensor
) -> None:
    """Refuse what is no tensor of numbers of a shape, on the device of another: as above."""
    tensor(op, name, t, shape=shape, like=like)
    if t.dtype.is_complex:
        raise TypeError(f"{op}: {name} must be boolean, integer or float, got {spelt(t.dtype)}")


def _fits(shape: Sequence[int], wanted: Sequence[int | str | EllipsisType]) -> bool:
    before = len(shape) - len(wanted)
    if before < -1 or (before != 0 and (not wanted or wanted[0] is not ...)):
        return False
    for i, size in enumerate(wanted, before):
        if size is ... or size.__class__ is str:
            continue
        if shape[i] != size:
            return False
    return True


def spelt(dtype: torch.dtype | torch.layout) -> str:
    """``float32``."""
    return str(dtype).removeprefix("torch.")


def listed(dtypes: Sequence[torch.dtype]) -> str:
    """``float32, bfloat16 or float64``."""
    *others, last = (spelt(dtype) for dtype in dtypes)
    return f"{', '.join(others)} or {last}" if others else last


def stat_dtype(x: Tensor) -> torch.dtype:
    """What parameters and sums are kept in beside ``x``: float32, or float64 with float64."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def updated(op: str, name: str, table: Tensor, *, aligned: bool = True) -> None:
    """Refuse a table that cannot be updated in place: recorded, or not at a cache line."""
    if table.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{op}: {name} requires grad and is updated in place; use no_grad()")
    if aligned and table.data_ptr() % 64:
        raise ValueError(f"{op}: {name} must start at a 64-byte boundary; see padded_table()")


def apart(op: str, **tables: Tensor) -> None:
    """Refuse contiguous tables, updated in place, that share memory: ValueError."""
    spans = [(t.data_ptr(), t.numel() * t.element_size(), name) for name, t in tables.items()]
    for i, (start, size, name) in enumerate(spans):
        for other_start, other_size, other in spans[:i]:
            if start < other_start + other_size and other_start < start + size:
                raise ValueError(
                    f"{op}: {name} must be another tensor than {other}, without memory in common"
                )


def both_or_neither(op: str, **arguments: object) -> None:
    """Refuse one of two arguments without the other: ValueError."""
    if len({value is None for value in arguments.values()}) > 1:
        raise ValueError(f"{op}: {' and '.join(arguments)} must be given both or neither")


def whole(op: str, name: str, value: int, low: int, high: int) -> None:
    """Refuse what is no int (TypeError) or not in [low, high] (ValueError)."""
    if isinstance(value, bool) or not isinstance(value, (int, Integral)):
        raise TypeError(f"{op}: {name} must be an int, got {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{op}: {name} must be in [{_power(low)}, {_power(high)}], got {value}")


def _power(bound: int) -> str:
    """A bound in digits, or as the power of two that it is or is below."""
    size = abs(bound)
    if size >= 2**20 and size & (size - 1) == 0:
        return f"{'-' if bound < 0 else ''}2^{size.bit_length() - 1}"
    if size >= 2**20 and size & (size + 1) == 0:
        return f"2^{size.bit_length()} - 1"
    return str(bound)


def number(op: str, name: str, value: float, *, above: float | None = None) -> None:
    """Refuse what is not finite and at least 0, or above a number: ValueError."""
    # Comparisons alone, also for NaN: torch.compile traces them through numbers that vary.
    if not (value < math.inf and (value >= 0 if above is None else value > above)):
        wanted = ">= 0" if above is None else f"> {above}"
        raise ValueError(f"{op}: {name} must be finite and {wanted}, got {value}")


def span(op: str, names: str, first: int, last: int, size: int) -> None:
    """Refuse what is no range [first, last) within [0, size]: TypeError, ValueError."""
    for value in (first, last):
        if isinstance(value, bool) or not isinstance(value, (int, Integral)):
            raise TypeError(f"{op}: {names} must be ints, got {type(value).__name__}")
    if not 0 <= first <= last <= size:
        raise ValueError(f"{op}: {names} must be a range within [0, {size}], got [{first}, {last})")


def ids(op: str, name: str, rows: Tensor, size: int) -> None:
    """Refuse row numbers outside [0, size): IndexError. On CUDA this waits for the device."""
    if rows.numel() == 0:
        return
    low, high = (int(x) for x in torch.aminmax(rows))
    if low < 0 or high >= size:
        rows = rows.flatten()
        position = int(((rows < 0) | (rows >= size)).nonzero()[0])
        raise IndexError(
            f"{op}: {name} must be in [0, {size}), got {int(rows[position])} at position {position}"
        )


def packed(
    op: str,
    cu_name: str,
    cu: Tensor,
    rows: int,
    max_length: int,
    *,
    rows_name: str = "T",
    max_name: str = "max_seqlen",
) -> None:
    """Refuse what are no bounds [B + 1] of packed sequences: ValueError.

    They ascend from 0 to the number of rows, by at most ``max_length``.
    """
    bounds = cu.tolist()
    if bounds[0] != 0:
        raise ValueError(f"{op}: {cu_name} must start at 0, got {bounds[0]}")
    if bounds[-1] != rows:
        raise ValueError(f"{op}: {cu_name} must end at {rows_name} = {rows}, got {bounds[-1]}")
    for b, (first, last) in enumerate(itertools.pairwise(bounds)):
        if last < first:
            raise ValueError(f"{op}: {cu_name} must ascend, got {first} before {last}")
        if last - first > max_length:
            raise ValueError(
                f"{op}: {max_name} must be at least {last - first}, the length of sequence {b}, "
                f"got {max_length}"
            )


def unit_stride(x: Tensor) -> Tensor:
    """``x``, or a copy whose last dimension is contiguous."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def looked_at(ids: Tensor, check_indices: bool) -> bool:
    """Whether row numbers are: on CUDA only where asked, and where that breaks no graph."""
    if ids.device.type == "cuda":
        return (
            check_indices
            and not torch.compiler.is_compiling()
            and not torch.cuda.is_current_stream_capturing()
        )
    return readable(ids)


def readable(t: Tensor) -> bool:
    """Whether looking at the content neither waits for a GPU nor breaks a graph."""
    return t.device.type == "cpu" and not torch.compiler.is_compiling()


def choice(op: str, name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse what is none of the choices: ValueError."""
    if value not in choices:
        raise ValueError(f"{op}: {name} must be one of {', '.join(choices)}, got {value!r}")


def threads(op: str, count: int | None) -> int:
    """The number of CPU threads: by default torch's."""
    if count is not None:
        whole(op, "threads", count, 1, MAX_THREADS)
    return kernel_threads(count)


def seed(op: str, value: int | torch.Generator) -> int:
    """The 64-bit seed that the random ops take, as a signed integer; a generator is advanced.

    Raises:
        TypeError: neither an integer nor a generator. ValueError: more than 64 bits.
    """
    if isinstance(value, torch.Generator):
        return int(
            torch.randint(0, 2**63 - 1, (), generator=value, device=value.device, dtype=torch.int64)
        )
    if isinstance(value, bool) or not isinstance(value, (int, Integral)):
        got = type(value).__name__
        raise TypeError(f"{op}: seed must be an int or a torch.Generator, got {got}")
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"{op}: seed must have at most 64 bits, got {value}")
    return int(value) - 2**64 if value >= 2**63 else int(value)


def differentiable_once(op: str, backward: str) -> None:
    """Refuse second derivatives of ``lexforge::backward``: torch would warn and give wrong ones."""

    def refuse(ctx, *_):
        raise RuntimeError(f"{op}: differentiable once, a gradient of its gradient was asked for")

    torch.library.register_autograd(f"lexforge::{backward}", refuse)
