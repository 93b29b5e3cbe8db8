"""Padded batches without their padding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class PaddedBatch(NamedTuple):
    """A padded batch without its padding."""

    caller: str  # whom messages name
    tokens: Tensor  # [T]
    segments: Tensor  # [T]
    positions: Tensor  # [T]
    cu_seqlens: Tensor  # int32 [B + 1]
    shape: tuple[int, int]  # B, S
    place: Tensor | None  # int64 [T]: where each token was in the flat batch; None: all were valid

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        """What encode_packed takes."""
        return self.tokens, self.segments, self.positions, self.cu_seqlens, self.shape[1]

    def unpack(self, x: Tensor) -> Tensor:
        """[T, H] as [B, S, H], zeros where there is padding."""
        if self.place is not None:
            batch, length = self.shape
            x = x.new_zeros(batch * length, x.shape[1]).index_copy(0, self.place, x)
        return x.unflatten(0, self.shape)

    def index_of(self, pred_positions: Tensor | None) -> Tensor | None:
        """Rows [B * P] of the packed batch that positions [B, P] stand for."""
        if pred_positions is None:
            return None
        if pred_positions.dim() != 2 or len(pred_positions) != self.shape[0]:
            raise ValueError(
                f"{self.caller}: pred_positions must be [{self.shape[0]}, P], "
                f"got {tuple(pred_positions.shape)}"
            )
        _check_ids(self.caller, "pred_positions", pred_positions, self.tokens.device)
        if pred_positions.numel() and (self.place is not None or readable(pred_positions)):
            lens = self.cu_seqlens.diff()
            wrong = (pred_positions < 0) | (pred_positions >= lens[:, None])
            if wrong.any():
                b, p = (int(x) for x in wrong.nonzero()[0])
                raise IndexError(
                    f"{self.caller}: pred_positions must be 0 to {int(lens[b]) - 1} "
                    f"for sequence {b}, got {int(pred_positions[b, p])}"
                )
        return (self.cu_seqlens[:-1, None] + pred_positions).flatten()


def pack_padded(
    caller: str,
    max_positions: int,
    tokens: Tensor,
    segments: Tensor | None,
    valid_lens: Tensor | None,
    longest: str = "max_positions",
) -> PaddedBatch:
    """Drop the padding of a batch [B, S]; arguments and errors as in :meth:`BertModel.forward`.

    Args:
        caller, longest: whom and what messages name.
    """
    _check_ids(caller, "tokens", tokens, tokens.device)
    if tokens.dim() != 2 or not tokens.numel():
        raise ValueError(
            f"{caller}: tokens must be [B, S] with B, S >= 1, got {tuple(tokens.shape)}"
        )
    batch, length = tokens.shape
    if length > max_positions:
        raise ValueError(f"{caller}: S must be at most {longest} = {max_positions}, got {length}")
    if segments is None:
        segments = torch.zeros_like(tokens)
    _check_ids(caller, "segments", segments, tokens.device)
    if segments.shape != tokens.shape:
        raise ValueError(
            f"{caller}: segments must be {tuple(tokens.shape)} like tokens, "
            f"got {tuple(segments.shape)}"
        )
    device = tokens.device
    positions = torch.arange(length, device=device, dtype=torch.int32)
    positions = positions.expand(batch, length)
    ids, kinds, places = (x.reshape(-1) for x in (tokens, segments, positions))
    if valid_lens is None:
        bounds = torch.arange(0, batch * length + 1, length, device=device, dtype=torch.int32)
        return PaddedBatch(caller, ids, kinds, places, bounds, (batch, length), None)
    _check_ids(caller, "valid_lens", valid_lens, device)
    if valid_lens.shape != (batch,):
        raise ValueError(f"{caller}: valid_lens must be [{batch}], got {tuple(valid_lens.shape)}")
    low, high = (int(x) for x in torch.aminmax(valid_lens))
    if low < 1 or high > length:
        raise ValueError(
            f"{caller}: valid_lens must be 1 to {length}, got {low if low < 1 else high}"
        )
    index = (positions < valid_lens[:, None]).flatten().nonzero().squeeze(1)
    bounds = functional.pad(valid_lens.cumsum(0), (1, 0)).to(torch.int32)
    return PaddedBatch(
        caller, ids[index], kinds[index], places[index], bounds, (batch, length), index
    )


def reduce_rows(x: Tensor, cu_seqlens: Tensor, how: str) -> Tensor:
    """The sum, mean or maximum of the rows of each sequence; zeros of an empty one.

    Args:
        x: [T, H]; sequence b is ``x[cu_seqlens[b]:cu_seqlens[b + 1]]``.
        cu_seqlens: int32 [B + 1].
        how: ``"sum"``, ``"mean"`` or ``"max"``.

    Returns:
        [B, H], float32 at least; the same bits from run to run.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    lengths = cu_seqlens.diff()
    if how == "max":
        largest = torch.segment_reduce(x, "max", offsets=cu_seqlens.long())
        return largest.masked_fill(lengths[:, None] == 0, 0)
    if x.device.type == "cpu":
        numbers = torch.arange(len(lengths)).repeat_interleave(lengths, output_size=len(x))
        sums = x.new_zeros(len(lengths), x.shape[1]).index_add(0, numbers, x)
    else:  # where adding would have no order
        sums = torch.segment_reduce(x, "sum", offsets=cu_seqlens.long())
    return sums / lengths.clamp(min=1)[:, None] if how == "mean" else sums


def _check_ids(caller: str, name: str, ids: Tensor, device: torch.device) -> None:
    if ids.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{caller}: {name} must be int32 or int64, got {ids.dtype}")
    if ids.device != device:
        raise ValueError(f"{caller}: {name} must be on {device} like tokens, got {ids.device}")


def readable(x: Tensor) -> bool:
    """Whether looking at the content neither waits for a GPU nor breaks a graph."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def compute_dtype(parameter: Tensor) -> torch.dtype:
    """The dtype of activations: that of autocast where it is on, which leaves float64 alone."""
    device = parameter.device.type
    if parameter.dtype == torch.float32 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return parameter.dtype
