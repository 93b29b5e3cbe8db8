"""Alias tables and the draws from them; noise weights and sub-sampling probabilities.

Every draw is a pure function of a seed and a position (csrc/sampling/sampling.h), so the results
are the same on CPU and GPU and for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from lexforge.ops import _checks

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
    return _checks.seed("seed_from", seed)


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
    _checks.tensor("build_alias", "weights", weights, _checks.WIDE, ("V",))
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
        RuntimeError: on the CPU, an alias outside [0, V).
    """
    _check_table("alias_sample", table)
    sizes = [shape] if isinstance(shape, int) else [int(size) for size in shape]
    if any(size < 0 for size in sizes):
        raise ValueError(f"alias_sample: shape must not be negative, got {sizes}")
    _checks.whole("alias_sample", "offset", offset, 0, 2**63 - 1)
    if dtype not in _checks.IDS:
        raise TypeError(f"alias_sample: dtype must be int32 or int64, got {dtype}")
    return torch.ops.lexforge.alias_sample.default(
        table.contiguous(), math.prod(sizes), _checks.seed("alias_sample", seed), offset, dtype
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
        RuntimeError: on the CPU, an alias outside [0, V).

    Notes:
        The values of ``offsets`` are looked at on the CPU only; on CUDA rows that reach beyond
        ``positives`` are cut off.
    """
    op = "sample_noise"
    _check_table(op, table)
    _checks.tensor(op, "positives", positives, _checks.IDS, ("P",), table)
    _checks.tensor(op, "offsets", offsets, _checks.IDS, ("R + 1",), table)
    if len(offsets) == 0:
        raise ValueError(f"{op}: offsets must be [R + 1], got [0]")
    if not isinstance(positions, int):
        _checks.tensor(op, "positions", positions, _checks.IDS, (len(offsets) - 1,), table)
    _checks.whole(op, "negatives", negatives, 0, _MAX_NOISE_PER_ROW)
    _checks.whole(op, "epoch", epoch, 0, 2**32 - 1)
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
        _checks.seed(op, seed),
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
        ValueError: ``counts`` is not [V], has a negative element or adds up to more than 2^63 - 1,
            or ``power`` is not finite.
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
        ValueError: ``counts`` is not [V], has a negative element or adds up to more than 2^63 - 1,
            ``threshold`` is negative or NaN, or ``rule`` is unknown.
    """
    counts = _checked_counts("keep_probability", counts)
    if not threshold >= 0:
        raise ValueError(f"keep_probability: threshold must be at least 0, got {threshold}")
    _checks.choice("keep_probability", "rule", rule, ("sqrt", "word2vec"))
    if threshold == 0:
        return torch.ones_like(counts, dtype=torch.float32)
    ratio = threshold * counts.sum() / counts.to(torch.float64).clamp(min=1)
    keep = ratio.sqrt() if rule == "sqrt" else ratio.sqrt() + ratio
    return torch.where(counts > 0, keep.clamp(max=1.0), 1.0).to(torch.float32)


def _check_table(op: str, table: torch.Tensor) -> None:
    _checks.tensor(op, "table", table, torch.int32, ("V", 2))
    if not 1 <= table.shape[0] < 2**31:
        raise ValueError(f"{op}: table must be [V, 2] with 1 <= V < 2^31, got {[*table.shape]}")


def _checked_counts(op: str, counts: torch.Tensor) -> torch.Tensor:
    _checks.tensor(op, "counts", counts, shape=("V",))
    if counts.dtype.is_floating_point or counts.dtype.is_complex or counts.dtype == torch.bool:
        got = _checks.spelt(counts.dtype)
        raise TypeError(f"{op}: counts must be an integer tensor, got {got}")
    if len(counts) and int(counts.min()) < 0:
        raise ValueError(f"{op}: counts must not be negative, got {int(counts.min())}")
    if float(total := counts.to(torch.float64).sum()) >= 2.0**63:
        raise ValueError(f"{op}: counts must add up to <= 2^63 - 1, got {float(total):.4g}")
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
