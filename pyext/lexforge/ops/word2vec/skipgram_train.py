"""Skip-gram with negative sampling over an encoded corpus (csrc/word2vec/skipgram_train.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops._tables import ROW_MULTIPLE

SHARING = ("pair", "window")


def skipgram_train_(
    in_table: Tensor,
    out_table: Tensor,
    stats: Tensor,
    tokens: Tensor,
    offsets: Tensor,
    keep: Tensor,
    noise: Tensor,
    *,
    first_sentence: int = 0,
    last_sentence: int | None = None,
    window: int = 5,
    negatives: int = 5,
    dynamic_window: bool = True,
    negative_sharing: str = "pair",
    alpha: float = 0.025,
    min_alpha: float = 1e-4,
    tokens_before: int = 0,
    total_tokens: int | None = None,
    seed: int = 1,
    epoch: int = 0,
    threads: int | None = None,
) -> None:
    """Train skip-gram vectors on a range of sentences, in place, by SGD with linear decay.

    The contexts of a kept token predict it: each context's row of ``in_table`` is trained against
    the centre's row of ``out_table`` and noise words (Mikolov et al. 2013, eq. 4; the exact rule is
    in skipgram_train.h). Sub-sampling, windows, noise words, gradients and updates all happen
    inside; nothing is materialised. Every random decision is a function of (seed, epoch, position
    in the corpus), so the sampled stream is the same for any number of threads, on any device, and
    however the corpus is cut into calls.

    Args:
        in_table: float32 [V, stride] vectors of words as contexts, the ones to keep; updated.
            stride is a multiple of 16 (:func:`padded_table`); columns past the vector size must be
            zero and stay zero. float64 is accepted on the CPU, for gradient checks.
        out_table: vectors of words as centres and noise, same shape and dtype, updated.
        stats: float64 [3], to which (sum of losses, pairs, centres) of this call are added. The
            mean loss of a pair, with its noise words, is ``stats[0] / stats[1]``.
        tokens: int32 [N] word ids, 0 <= id < V.
        offsets: int64 [S + 1]; sentence s is ``tokens[offsets[s]:offsets[s + 1]]``.
        keep: float32 [V] probability of keeping a token (``ops.keep_probability``).
        noise: int32 [V, 2] alias table (``ops.build_alias``).
        first_sentence, last_sentence: the range of sentences; the last one is exclusive and
            defaults to S.
        window: largest distance between centre and context, in kept tokens, 1 to 1000.
        negatives: noise words K per pair, 0 to 1000. One that equals the centre is left out.
        dynamic_window: draw the distance 1..window afresh for each centre.
        negative_sharing: ``"pair"`` draws K noise words for each (context, centre) pair, and each
            context sees the changes of those left of it in the window; ``"window"`` draws K for
            each centre, for all its contexts together (Ji et al. 2016), which is faster.
        alpha, min_alpha: learning rate at the first and past the last of ``total_tokens``.
        tokens_before: tokens of earlier epochs; ``total_tokens``: of all epochs, default N.
        seed: any integer of 64 bits. epoch: 0 to 2^32 - 1.
        threads: CPU threads, default ``torch.get_num_threads()``.

    Raises:
        TypeError: a tensor of the wrong dtype.
        ValueError: a wrong shape, device or range; a table that requires grad or is not aligned to
            64 bytes.
        RuntimeError: on the CPU, a token outside [0, V), offsets that do not rise, or a noise table
            whose aliases are outside [0, V); on CUDA, sizes beyond the limits below.

    Notes:
        CPU: one thread gives a bitwise reproducible result, also for a corpus cut into calls; with
        more, rows are updated without locks and rounding varies (Recht et al. 2011).

        CUDA: many sentences are trained at the same time, fewer for a small vocabulary or corpus,
        and rows are updated by atomic additions, so rounding and the order of updates vary. Nothing
        waits for the GPU; hence a token outside [0, V) or offsets that do not rise do not raise:
        their sentence stops there and ``stats[0]`` becomes NaN. The noise table is not checked.
        Rows have at most 1024 floats and tables 2^34 elements. A window's lists must fit in 160 KiB
        of shared memory (skipgram_train_cuda.h): with ``"pair"`` that is about
        ``window * (1 + negatives) <= 10_000``, with ``"window"`` and more than 7 noise words (3
        from 257 floats a row on, 1 from 513) about
        ``(1 + negatives) * (stride + 2 * window) <= 40_000``.
    """
    op = "skipgram_train_"
    _checks.choice(op, "negative_sharing", negative_sharing, SHARING)
    _checks.tensor(op, "in_table", in_table, _checks.WIDE, ("V", "stride"), contiguous=True)
    vocab_size, stride = in_table.shape
    if vocab_size < 1 or stride < 1 or stride % ROW_MULTIPLE:
        raise ValueError(
            f"{op}: in_table must be [V >= 1, a multiple of {ROW_MULTIPLE}], "
            f"got {[*in_table.shape]}"
        )
    for name, t, dtype, shape in (
        ("out_table", out_table, in_table.dtype, in_table.shape),
        ("stats", stats, torch.float64, (3,)),
        ("tokens", tokens, torch.int32, ("N",)),
        ("offsets", offsets, torch.int64, ("S + 1",)),
        ("keep", keep, torch.float32, (vocab_size,)),
        ("noise", noise, torch.int32, (vocab_size, 2)),
    ):
        _checks.tensor(op, name, t, dtype, shape, in_table, contiguous=True)
    _checks.updated(op, "in_table", in_table)
    _checks.updated(op, "out_table", out_table)
    _checks.apart(op, in_table=in_table, out_table=out_table)
    sentences = offsets.shape[0] - 1
    last_sentence = sentences if last_sentence is None else last_sentence
    _checks.span(op, "first_sentence and last_sentence", first_sentence, last_sentence, sentences)
    total_tokens = max(1, tokens.shape[0]) if total_tokens is None else total_tokens
    _checks.whole(op, "window", window, 1, 1000)
    _checks.whole(op, "negatives", negatives, 0, 1000)
    _checks.whole(op, "tokens_before", tokens_before, 0, 2**62)
    _checks.whole(op, "total_tokens", total_tokens, 1, 2**62)
    _checks.whole(op, "epoch", epoch, 0, 2**32 - 1)
    _checks.number(op, "alpha", alpha)
    _checks.number(op, "min_alpha", min_alpha)
    torch.ops.lexforge.skipgram_train_.default(
        in_table,
        out_table,
        stats,
        tokens,
        offsets,
        keep,
        noise,
        first_sentence,
        last_sentence,
        window,
        negatives,
        dynamic_window,
        negative_sharing == "window",
        alpha,
        min_alpha,
        tokens_before,
        total_tokens,
        _checks.seed(op, seed),
        epoch,
        _checks.threads(op, threads),
    )
    torch.autograd.graph.increment_version([in_table, out_table, stats])


@torch.library.register_fake("lexforge::skipgram_train_")
def _(*arguments) -> None:
    return None
