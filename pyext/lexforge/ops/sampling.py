"""Alias tables and the draws from them; noise weights and sub-sampling probabilities.

Every draw is a pure function of a seed and a position (csrc/sampling/sampling.h), so the results
are the same on CPU and GPU and for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

__all__ = [
    "alias_sample",
    "build_alias",
    "keep_probability",
    "noise_weights",
    "sample_noise",
    "seed_from",
]

_MAX_NOISE_PER_ROW = 1 << 20  # csrc/sampling/sampling.h, kMaxNoisePerRow


def seed_from(seed: int | torch.Generator) -> int:
    """The 64-bit seed that the random ops take, as a signed integer.

    Args:
        seed: any integer of 64 bits, signed or unsigned; or a generator, which is advanced by one
            draw of 63 bits.

    Raises:
        TypeError: neither an integer nor a generator.
        ValueError: more than 64 bits.
    """
    if isinstance(seed, torch.Generator):
        return int(
            torch.randint(0, 2**63 - 1, (), generator=seed, device=seed.device, dtype=torch.int64)
        )
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an int or a torch.Generator, got {type(seed).__name__}")
    if not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed must have at most 64 bits, got {seed}")
    return seed - 2**64 if seed >= 2**63 else seed


def build_alias(weights: torch.Tensor) -> torch.Tensor:
    """Build the alias table of a discrete distribution in O(V).

    Walker 1977, built in the order of Vose 1991 with exact integer shares: index i is drawn with
    probability ``weights[i] / weights.sum()`` to within 2^-31, an index of weight 0 never. The
    same weights give the same table on every device.

    Args:
        weights: [V], float32 or float64, not negative, finite, not all zero; need not sum to 1.
            1 <= V < 2^31. Copied when not contiguous.

    Returns:
        int32 [V, 2] on the device of ``weights``: the threshold's 32 bits, then the alias.

    Raises:
        TypeError: ``weights`` is not a float32 or float64 tensor.
        ValueError: not of shape [V], no or too many elements, or an element is negative or not
            finite, or all are zero.

    Notes:
        Looking at the elements for errors waits for the GPU.

    Example:
        >>> table = build_alias(torch.tensor([2.0, 3.0, 4.0]))
        >>> draws = alias_sample(table, (1000,), seed=1)
    """
    if not isinstance(weights, torch.Tensor) or weights.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"build_alias: weights must be a float32 or float64 tensor, got {_kind(weights)}"
        )
    if weights.dim() != 1:
        raise ValueError(f"build_alias: weights must be [V], got {list(weights.shape)}")
    if not 1 <= len(weights) < 2**31:
        raise ValueError(
            f"build_alias: weights must have 1 to 2^31 - 1 elements, got {len(weights)}"
        )
    weights = weights.detach()
    low, high = (float(x) for x in torch.aminmax(weights))  # a NaN anywhere shows in both
    if not (low >= 0 and math.isfinite(high)):
        bad = int(torch.nonzero(~((weights >= 0) & weights.isfinite()))[0])
        raise ValueError(
            "build_alias: weights must be finite and not negative, "
            f"got {float(weights[bad])} at index {bad}"
        )
    if high == 0:
        raise ValueError("build_alias: weights must not be all zero")
    return torch.ops.lexforge.build_alias.default(weights.contiguous())


def alias_sample(
    table: torch.Tensor,
    shape: int | Sequence[int],
    *,
    seed: int | torch.Generator,
    offset: int = 0,
    dtype: torch.dtype = torch.int32,
) -> torch.Tensor:
    """Draw indices from an alias table, with replacement.

    Element e of the flattened result depends on ``(seed, offset + e)`` alone: a call that starts at
    the offset where another ended continues it.

    Args:
        table: int32 [V, 2] of :func:`build_alias`.
        shape: shape of the result.
        seed: see :func:`seed_from`.
        offset: position of the first draw in the seed's sequence, 0 <= offset < 2^63.
        dtype: torch.int32 or torch.int64.

    Returns:
        Tensor of ``shape`` and ``dtype`` on the device of ``table``, values in [0, V).

    Raises:
        TypeError: wrong type or dtype of an argument.
        ValueError: ``table`` is not [V, 2], a negative size or offset.
    """
    _check_table("alias_sample", table)
    sizes = [shape] if isinstance(shape, int) else [int(size) for size in shape]
    if any(size < 0 for size in sizes):
        raise ValueError(f"alias_sample: shape must not be negative, got {sizes}")
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise TypeError(f"alias_sample: offset must be an int, got {type(offset).__name__}")
    if not 0 <= offset < 2**63:
        raise ValueError(f"alias_sample: offset must be in [0, 2^63), got {offset}")
    if dtype not in (torch.int32, torch.int64):
        raise TypeError(f"alias_sample: dtype must be torch.int32 or torch.int64, got {dtype}")
    return torch.ops.lexforge.alias_sample.default(
        table.contiguous(), math.prod(sizes), seed_from(seed), offset, dtype
    ).view(sizes)


def sample_noise(
    table: torch.Tensor,
    positives: torch.Tensor,
    offsets: torch.Tensor,
    negatives: int,
    *,
    seed: int | torch.Generator,
    epoch: int = 0,
    positions: torch.Tensor | int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw noise words that are none of their row's positives.

    Row r has the positives ``positives[offsets[r]:offsets[r + 1]]`` and gets ``negatives`` draws
    for each of them. A draw that hits a positive is repeated, up to 32 tries; then the next index,
    cyclically, that can be drawn and is no positive takes its place; where there is none (all words
    are positives), the draw stays. A draw depends on the seed, the epoch, and its row's positives
    and position alone.

    Args:
        table: int32 [V, 2] of :func:`build_alias`.
        positives: int32 or int64 [P], the rows' positives one after the other; may repeat.
        offsets: int64 [R + 1], ascending from 0 to P.
        negatives: K >= 0, draws per positive; a row may have up to 2^20 draws.
        seed: see :func:`seed_from`.
        epoch: 0 <= epoch < 2^32; another epoch gives other draws.
        positions: int64 [R], the positions that key the rows' draws; or an integer, the first of
            consecutive ones.

    Returns:
        ``(noise, noise_offsets)``: int32 [K P], and ``offsets * K``, so that row r's draws are
        ``noise[noise_offsets[r]:noise_offsets[r + 1]]``.

    Raises:
        TypeError: wrong type or dtype of an argument.
        ValueError: wrong shapes, devices or ranges, offsets that do not ascend from 0 to P.

    Notes:
        The values of ``offsets`` are looked at on the CPU only; on CUDA rows that reach beyond
        ``positives`` are cut off.
    """
    op = "sample_noise"
    _check_table(op, table)
    for name, tensor in (("positives", positives), ("offsets", offsets), ("positions", positions)):
        if name == "positions" and isinstance(tensor, int):
            continue
        if not isinstance(tensor, torch.Tensor) or tensor.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"{op}: {name} must be an integer tensor, got {_kind(tensor)}")
        if tensor.dim() != 1:
            raise ValueError(f"{op}: {name} must have 1 dimension, got {list(tensor.shape)}")
        if tensor.device != table.device:
            raise ValueError(f"{op}: {name} must be on {table.device}, got {tensor.device}")
    if len(offsets) == 0:
        raise ValueError(f"{op}: offsets must be [R + 1], got [0]")
    if not isinstance(positions, int) and len(positions) != len(offsets) - 1:
        raise ValueError(
            f"{op}: positions must be [R] = [{len(offsets) - 1}], got {list(positions.shape)}"
        )
    if not isinstance(negatives, int) or isinstance(negatives, bool):
        raise TypeError(f"{op}: negatives must be an int, got {type(negatives).__name__}")
    if not 0 <= negatives <= _MAX_NOISE_PER_ROW:
        raise ValueError(f"{op}: negatives must be in [0, 2^20], got {negatives}")
    if not 0 <= epoch < 2**32:
        raise ValueError(f"{op}: epoch must be in [0, 2^32), got {epoch}")
    offsets = offsets.to(torch.int64).contiguous()
    if offsets.device.type == "cpu":
        steps = offsets.diff()
        if int(offsets[0]) != 0 or int(offsets[-1]) != len(positives) or bool((steps < 0).any()):
            raise ValueError(f"{op}: offsets must ascend from 0 to P = {len(positives)}")
        if len(steps) and int(steps.max()) * negatives > _MAX_NOISE_PER_ROW:
            raise ValueError(
                f"{op}: a row must have at most 2^20 draws, got {int(steps.max()) * negatives}"
            )
    first, rows = (positions, None) if isinstance(positions, int) else (0, positions)
    noise = torch.ops.lexforge.sample_noise.default(
        table.contiguous(),
        positives.to(torch.int32).contiguous(),
        offsets,
        None if rows is None else rows.to(torch.int64).contiguous(),
        first,
        negatives,
        seed_from(seed),
        epoch,
    )
    return noise, offsets * negatives


def noise_weights(counts: torch.Tensor, power: float = 0.75) -> torch.Tensor:
    """Unnormalised noise distribution of negative sampling: ``counts ** power``.

    Mikolov et al. 2013, "Distributed representations of words and phrases", section 2.2.

    Args:
        counts: [V], integer, not negative.
        power: finite; 1 is the unigram distribution, 0 the uniform one. Negative powers prefer
            rare words.

    Returns:
        float64 [V]; 0 where the count is 0, for every power.

    Raises:
        TypeError: ``counts`` is not an integer tensor.
        ValueError: ``counts`` is not [V] or has a negative element, or ``power`` is not finite.
    """
    counts = _checked_counts("noise_weights", counts)
    if not math.isfinite(power):
        raise ValueError(f"noise_weights: power must be finite, got {power}")
    return torch.where(counts > 0, counts.to(torch.float64).clamp(min=1) ** power, 0.0)


def keep_probability(
    counts: torch.Tensor, threshold: float, rule: str = "word2vec"
) -> torch.Tensor:
    """Probability that sub-sampling keeps an occurrence of each word.

    With f the word's share of all counts and t the threshold, ``rule="sqrt"`` gives
    ``sqrt(t / f)`` (Mikolov et al. 2013, "Distributed representations of words and phrases",
    eq. 5) and ``rule="word2vec"`` gives ``sqrt(t / f) + t / f``, what the original tool and gensim
    do; both are cut at 1.

    Args:
        counts: [V], integer, not negative.
        threshold: t >= 0; 0 keeps everything.
        rule: ``"word2vec"`` or ``"sqrt"``.

    Returns:
        float32 [V] in (0, 1]; 1 for words of count 0.

    Raises:
        TypeError: ``counts`` is not an integer tensor.
        ValueError: ``counts`` is not [V] or has a negative element, ``threshold`` is negative or
            NaN, or ``rule`` is unknown.
    """
    counts = _checked_counts("keep_probability", counts)
    if not threshold >= 0:
        raise ValueError(f"keep_probability: threshold must be at least 0, got {threshold}")
    if rule not in ("sqrt", "word2vec"):
        raise ValueError(f"keep_probability: rule must be 'sqrt' or 'word2vec', got {rule!r}")
    if threshold == 0:
        return torch.ones_like(counts, dtype=torch.float32)
    ratio = threshold * counts.sum() / counts.to(torch.float64).clamp(min=1)
    keep = ratio.sqrt() if rule == "sqrt" else ratio.sqrt() + ratio
    return torch.where(counts > 0, keep.clamp(max=1.0), 1.0).to(torch.float32)


def _kind(x: object) -> str:
    return f"{x.dtype} tensor" if isinstance(x, torch.Tensor) else type(x).__name__


def _check_table(op: str, table: torch.Tensor) -> None:
    if not isinstance(table, torch.Tensor) or table.dtype != torch.int32:
        raise TypeError(f"{op}: table must be an int32 tensor, got {_kind(table)}")
    if table.dim() != 2 or table.shape[1] != 2 or not 1 <= table.shape[0] < 2**31:
        raise ValueError(f"{op}: table must be [V, 2] with 1 <= V < 2^31, got {list(table.shape)}")


def _checked_counts(op: str, counts: torch.Tensor) -> torch.Tensor:
    if (
        not isinstance(counts, torch.Tensor)
        or counts.dtype.is_floating_point
        or counts.dtype in (torch.bool, torch.complex64, torch.complex128)
    ):
        raise TypeError(f"{op}: counts must be an integer tensor, got {_kind(counts)}")
    if counts.dim() != 1:
        raise ValueError(f"{op}: counts must be [V], got {list(counts.shape)}")
    if len(counts) and int(counts.min()) < 0:
        raise ValueError(f"{op}: counts must not be negative, got {int(counts.min())}")
    return counts


@torch.library.register_fake("lexforge::build_alias")
def _(weights):
    return weights.new_empty((weights.shape[0], 2), dtype=torch.int32)


@torch.library.register_fake("lexforge::alias_sample")
def _(table, count, seed, offset, dtype):
    return table.new_empty(count, dtype=dtype)


@torch.library.register_fake("lexforge::sample_noise")
def _(table, positives, offsets, positions, first_position, negatives, seed, epoch):
    return positives.new_empty(negatives * positives.shape[0])
