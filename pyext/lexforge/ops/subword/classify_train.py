"""Training of a classifier of lines of text (csrc/subword/classify_train.h)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops._tables import ROW_MULTIPLE
from lexforge.ops.word2vec.word2vec_train import HuffmanPaths

LOSSES = ("softmax", "ova", "ns", "hs")  # by the numbers of ClassifyLoss
_OP = "classify_train_"


def classify_train_(
    in_table: Tensor,
    out_table: Tensor,
    stats: Tensor,
    tokens: Tensor,
    offsets: Tensor,
    label_ids: Tensor,
    label_offsets: Tensor,
    bag_offsets: Tensor,
    bag_rows: Tensor,
    hashes: Tensor,
    *,
    words: int,
    buckets: int = 0,
    bucket_rows: Tensor | None = None,
    word_ngrams: int = 1,
    loss: str = "softmax",
    noise: Tensor | None = None,
    negatives: int = 5,
    tree: HuffmanPaths | None = None,
    first_line: int = 0,
    last_line: int | None = None,
    alpha: float = 0.1,
    min_alpha: float = 0.0,
    tokens_before: int = 0,
    total_tokens: int | None = None,
    seed: int = 1,
    epoch: int = 0,
    threads: int | None = None,
) -> None:
    """Train a linear classifier of lines and the vectors of their features, in place, by SGD.

    A line is the mean of the rows of its words, their n-grams of characters, and its n-grams of
    words (Joulin et al. 2017; the exact rule is in classify_train.h). Word n-grams are hashed on
    the way, nothing is materialised. Labels are drawn as a function of (seed, epoch, line), so the
    same ones for any number of threads and however the lines are cut into calls.

    Args:
        in_table: float32 [R, stride] vectors of features, updated. stride is a multiple of 16
            (``padded_table``); columns past the vector size must be zero and stay zero. float64 is
            accepted for gradient checks.
        out_table: [L, stride] of labels, same dtype, updated; with "hs" its first L - 1 rows are
            inner nodes.
        stats: float64 [2], to which (sum of losses, lines trained) of this call are added.
        tokens: int32 [N] types of words, 0 <= t < T.
        offsets: int64 [S + 1]; line s is ``tokens[offsets[s]:offsets[s + 1]]``.
        label_ids: int32 [M], 0 <= id < L. label_offsets: int64 [S + 1]; its labels. A line without
            labels, or without features, trains nothing.
        bag_offsets: int64 [T + 1]. bag_rows: int32, rows of ``in_table``; those of type t are
            ``bag_rows[bag_offsets[t]:bag_offsets[t + 1]]``, which may be none.
        hashes: int32 [T], of the types.
        words: the row of ``in_table`` from which on the buckets of word n-grams lie.
        buckets: how many there are, at least 1 with ``word_ngrams`` above 1.
        bucket_rows: int32 [buckets], the row of each, counted from ``words``; -1 for none, and then
            the n-gram is none. None for all in order.
        word_ngrams: longest n-gram of words, 1 to 1000; 1 for words alone.
        loss: "softmax"; "ova", a logistic regression for each label; "ns", negative sampling; or
            "hs", hierarchical softmax. "ova" trains all labels of a line, the others one of them.
        noise: int32 [L, 2] alias table (``ops.build_alias``); with "ns". negatives: noise labels of
            a line, 0 to 1000.
        tree: paths of the labels; with "hs".
        first_line, last_line: the range of lines; the last one is exclusive and defaults to S.
        alpha, min_alpha: learning rate at the first and past the last of ``total_tokens``.
        tokens_before: tokens of earlier epochs; ``total_tokens``: of all epochs, default N.
        seed: any integer of 64 bits. epoch: 0 to 2^32 - 1.
        threads: CPU threads, default ``torch.get_num_threads()``.

    Raises:
        TypeError: a tensor of the wrong dtype.
        ValueError: a wrong shape, device or range; a table that requires grad or is not aligned to
            64 bytes; arguments that do not belong to the loss.
        RuntimeError: ids or rows out of range, offsets that do not rise.

    Notes:
        One thread gives a bitwise reproducible result, also for lines cut into calls; with more,
        rows are updated without locks and rounding varies (Recht et al. 2011). On the CPU only.
    """
    _checks.choice(_OP, "loss", loss, LOSSES)
    _checks.tensor(_OP, "in_table", in_table, _checks.WIDE, ("R", "stride"), contiguous=True)
    rows, stride = in_table.shape
    if rows < 1 or stride < 1 or stride % ROW_MULTIPLE:
        raise ValueError(
            f"{_OP}: in_table must be [R >= 1, a multiple of {ROW_MULTIPLE}], "
            f"got {[*in_table.shape]}"
        )
    _checks.tensor(
        _OP, "out_table", out_table, in_table.dtype, ("L", stride), in_table, contiguous=True
    )
    _checks.tensor(_OP, "offsets", offsets, torch.int64, ("S + 1",), in_table, contiguous=True)
    _checks.tensor(_OP, "hashes", hashes, torch.int32, ("T",), in_table, contiguous=True)
    labels, lines = len(out_table), len(offsets) - 1
    if lines < 0:
        raise ValueError(f"{_OP}: offsets must be [S + 1], got [0]")
    if labels < 1:
        raise ValueError(f"{_OP}: out_table must be [L >= 1, {stride}], got {[*out_table.shape]}")
    expected: list[tuple[str, Tensor, torch.dtype, Sequence[int | str]]] = [
        ("stats", stats, torch.float64, (2,)),
        ("tokens", tokens, torch.int32, ("N",)),
        ("label_ids", label_ids, torch.int32, ("M",)),
        ("label_offsets", label_offsets, torch.int64, (lines + 1,)),
        ("bag_offsets", bag_offsets, torch.int64, (len(hashes) + 1,)),
        ("bag_rows", bag_rows, torch.int32, ("B",)),
    ]
    if bucket_rows is not None:
        expected.append(("bucket_rows", bucket_rows, torch.int32, (buckets,)))
    if (noise is not None) != (loss == "ns"):
        raise ValueError(f"{_OP}: noise must be given with loss 'ns', and only then")
    if (tree is not None) != (loss == "hs"):
        raise ValueError(f"{_OP}: tree must be given with loss 'hs', and only then")
    if noise is not None:
        expected.append(("noise", noise, torch.int32, (labels, 2)))
    if tree is not None:
        if labels < 2:
            raise ValueError(f"{_OP}: a tree needs two labels or more, got {labels}")
        expected.append(("tree.offsets", tree.offsets, torch.int64, (labels + 1,)))
        expected.append(("tree.nodes", tree.nodes, torch.int32, ("P",)))
    for name, t, dtype, shape in expected:
        _checks.tensor(_OP, name, t, dtype, shape, in_table, contiguous=True)
    for name, table in (("in_table", in_table), ("out_table", out_table)):
        _checks.updated(_OP, name, table)
    _checks.apart(_OP, in_table=in_table, out_table=out_table)
    last_line = lines if last_line is None else last_line
    _checks.span(_OP, "first_line and last_line", first_line, last_line, lines)
    total_tokens = max(1, len(tokens)) if total_tokens is None else total_tokens
    _checks.whole(_OP, "word_ngrams", word_ngrams, 1, 1000)
    _checks.whole(_OP, "words", words, 0, rows)
    _checks.whole(_OP, "buckets", buckets, int(word_ngrams > 1), 2**31 - 1)
    if word_ngrams > 1 and bucket_rows is None and words + buckets > rows:
        raise ValueError(
            f"{_OP}: in_table must have {words + buckets} rows, of words and buckets, got {rows}"
        )
    _checks.whole(_OP, "negatives", negatives, 0, 1000)
    _checks.whole(_OP, "tokens_before", tokens_before, 0, 2**62)
    _checks.whole(_OP, "total_tokens", total_tokens, 1, 2**62)
    _checks.whole(_OP, "epoch", epoch, 0, 2**32 - 1)
    _checks.number(_OP, "alpha", alpha)
    _checks.number(_OP, "min_alpha", min_alpha)
    if in_table.device.type != "cpu":
        raise ValueError(f"{_OP}: in_table must be on the CPU, got {in_table.device}")
    torch.ops.lexforge.classify_train_.default(
        in_table,
        out_table,
        stats,
        tokens,
        offsets,
        label_ids,
        label_offsets,
        bag_offsets,
        bag_rows,
        hashes,
        tokens[:0] if bucket_rows is None else bucket_rows,
        tokens[:0] if noise is None else noise,
        offsets[:0] if tree is None else tree.offsets,
        tokens[:0] if tree is None else tree.nodes,
        first_line,
        last_line,
        words,
        buckets,
        word_ngrams,
        LOSSES.index(loss),
        negatives,
        alpha,
        min_alpha,
        tokens_before,
        total_tokens,
        _checks.seed(_OP, seed),
        epoch,
        _checks.threads(_OP, threads),
    )
    torch.autograd.graph.increment_version([in_table, out_table, stats])


@torch.library.register_fake("lexforge::classify_train_")
def _(*arguments) -> None:
    return None
