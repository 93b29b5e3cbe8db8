"""The seeds of the dropouts of a network's layers, from one for the whole pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lexforge.ops.sampling.sampling import seed_from

# Offsets between the seeds of the dropouts of one step: multiples of 2^64 / golden ratio, so that
# steps whose seeds are neighbours share none.
_GOLDEN = 0x9E3779B97F4A7C15


def seed_offsets(layers: int) -> Tensor:
    """int64 [layers]: what is added to a pass's seed for each of them; a buffer of the network."""
    return torch.tensor([seed_from(i * _GOLDEN % 2**64) for i in range(layers)])


def layer_seeds(owner: str, seed: int | Tensor | None, offsets: Tensor) -> Sequence[Tensor]:
    """An int64 [1] for each layer, on the device of the offsets.

    Args:
        owner: whom messages name.
        seed: an integer, or int64 [1] on that device; by default one is drawn there.

    Raises:
        ValueError: a tensor that is not one int64 on that device.
    """
    device = offsets.device
    if seed is None:
        seed = torch.randint(0, 2**63 - 1, (1,), dtype=torch.int64, device=device)
    elif not isinstance(seed, Tensor):
        seed = seed_from(seed)
    elif seed.dtype != torch.int64 or seed.numel() != 1 or seed.device != device:
        raise ValueError(
            f"{owner}: seed must be one int64 on {device}, "
            f"got {seed.dtype} {tuple(seed.shape)} on {seed.device}"
        )
    return (seed + offsets).split(1)
