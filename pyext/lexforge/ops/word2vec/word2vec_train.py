"""Word2vec over an encoded corpus (csrc/word2vec/word2vec_train.h)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lexforge import _library
from lexforge.ops import _checks
from lexforge.ops._tables import ROW_MULTIPLE, own_pages

DTYPES = (torch.float32, torch.float64, torch.bfloat16)  # the last two on the CPU
MODELS = ("skipgram", "cbow")
SHARING = ("pair", "window")
LONGEST_PATH = 96  # kLongestPath
LONGEST_BAG = 2**20  # kLongestBag
SENTENCES_TOGETHER = 256  # kSentencesTogether
MOST_SHARDS = 64  # kMostShards


class HuffmanPaths(NamedTuple):
    """The paths of a vocabulary's words through a binary tree (:func:`huffman_paths`).

    Attributes:
        offsets: int64 [V + 1]; the path of word w is ``nodes[offsets[w]:offsets[w + 1]]``.
        nodes: int32 [P], from the root on, each twice an inner node, and one more where the path
            turns right.
        longest: length of the longest one, 1 to 96.
    """

    offsets: Tensor
    nodes: Tensor
    longest: int


class Bags(NamedTuple):
    """The rows of the input table that words' vectors are made of.

    Attributes:
        offsets: int64 [V + 1], which rise; the bag of word w is ``rows[offsets[w]:offsets[w + 1]]``
            and has one row or more. One that is there twice counts twice.
        rows: int32 [B] row numbers.
        longest: size of the longest one, 1 to 2^20.
        mean: whether a vector is the mean of its rows; otherwise it is their sum.
    """

    offsets: Tensor
    rows: Tensor
    longest: int
    mean: bool = True


def _check_in_table(
    op: str, in_table: Tensor, dtype: torch.dtype | tuple[torch.dtype, ...]
) -> None:
    """Refuse what is not [V >= 1, a multiple of ROW_MULTIPLE] of a dtype, contiguous."""
    _checks.tensor(op, "in_table", in_table, dtype, ("V", "stride"), contiguous=True)
    in_rows, stride = in_table.shape
    if in_rows < 1 or stride < 1 or stride % ROW_MULTIPLE:
        raise ValueError(
            f"{op}: in_table must be [V >= 1, a multiple of {ROW_MULTIPLE}], "
            f"got {[*in_table.shape]}"
        )


def shard_rows(
    shards: int,
    in_table: Tensor,
    out_table: Tensor | None = None,
    tree_table: Tensor | None = None,
) -> Tensor:
    """Memory that calls of :func:`word2vec_train_` with shards keep their copies in.

    Args:
        shards: of a round, 1 to 64.
        in_table, out_table, tree_table: float32 or bfloat16 on the CPU, as that takes them.

    Returns:
        uint8, all zeros. Whoever else changes a table fills it with zeros again.

    Raises:
        TypeError: shards is no int, or a table is of another dtype. ValueError: shards is out
            of range, or a table is of another shape or not on the CPU.
    """
    op = "shard_rows"
    _checks.whole(op, "shards", shards, 1, MOST_SHARDS)
    _check_in_table(op, in_table, (torch.float32, torch.bfloat16))
    if in_table.device.type != "cpu":
        raise ValueError(f"{op}: in_table must be on the CPU, got {in_table.device}")
    stride = in_table.shape[1]
    for name, table in (("out_table", out_table), ("tree_table", tree_table)):
        if table is not None:
            _checks.tensor(op, name, table, in_table.dtype, ("V", stride), in_table)
    rows = (0 if table is None else len(table) for table in (in_table, out_table, tree_table))
    halved = in_table.dtype == torch.bfloat16
    size = torch.ops.lexforge.word2vec_shard_bytes.default(*rows, stride, halved)
    return own_pages(torch.uint8, shards * size)


def word2vec_train_(
    in_table: Tensor,
    out_table: Tensor | None,
    tree_table: Tensor | None,
    stats: Tensor,
    tokens: Tensor,
    offsets: Tensor,
    keep: Tensor,
    noise: Tensor | None = None,
    tree: HuffmanPaths | None = None,
    *,
    bags: Bags | None = None,
    in_scale: Tensor | None = None,
    model: str = "skipgram",
    first_sentence: int = 0,
    last_sentence: int | None = None,
    window: int = 5,
    negatives: int = 5,
    dynamic_window: bool = True,
    negative_sharing: str = "pair",
    cbow_mean: bool = True,
    windows_together: int = 0,
    shards: int = 0,
    shard_tokens: int = 8192,
    shard_rows: Tensor | None = None,
    alpha: float = 0.025,
    min_alpha: float = 1e-4,
    tokens_before: int = 0,
    total_tokens: int | None = None,
    seed: int = 1,
    epoch: int = 0,
    threads: int | None = None,
) -> None:
    """Train word vectors on a range of sentences, in place, by SGD with linear decay.

    The contexts of a kept token predict it (Mikolov et al. 2013; the exact rule is in
    word2vec_train.h): each context's row of ``in_table`` by itself (skip-gram), or their mean
    (CBOW). What they meet is the centre's row of ``out_table`` and noise words (negative sampling),
    or the inner nodes of a binary tree on the centre's path, rows of ``tree_table`` (hierarchical
    softmax), or both, where both tables are given. Sub-sampling, windows, noise words, gradients
    and updates all happen inside; nothing is materialised. Every random decision is a function of
    (seed, epoch, position in the corpus), so the sampled stream is the same for any number of
    threads, on any device, and however the corpus is cut into calls.

    With ``bags`` the vector of a word is the mean or the sum of several rows of ``in_table``, its
    own and those of its n-grams (Bojanowski et al. 2017). Skip-gram then predicts the contexts from
    the centre's vector, all of them in one step, and CBOW the centre from the rows of all contexts'
    bags. Each row of the bags changes by the whole of what their mean or sum would change by, as in
    the original: with the mean, which the gradient would divide by the bag's size, that is a
    learning rate so many times as large.

    Args:
        in_table: float32 [V, stride] vectors of words as contexts, the ones to keep; updated. With
            ``bags`` [R >= V, stride].
            stride is a multiple of 16 (:func:`padded_table`); columns past the vector size must be
            zero and stay zero. On the CPU float64 is accepted, for gradient checks, and bfloat16:
            half of the bytes, computed with in float32, and rounded at random when written back.
        out_table: [V, stride] vectors of words as centres and noise (with ``bags`` as contexts and
            noise), same dtype, updated; None for no negative sampling.
        tree_table: vectors of the tree's inner nodes, [V - 1, stride], updated; None for no
            hierarchical softmax.
        stats: float64 [3], to which (sum of losses, inputs, centres) of this call are added. Inputs
            are (centre, context) pairs, of CBOW centres with a context, also with ``bags``. The
            mean loss of one, with its noise words, is ``stats[0] / stats[1]``.
        tokens: int32 [N] word ids, 0 <= id < V.
        offsets: int64 [S + 1]; sentence s is ``tokens[offsets[s]:offsets[s + 1]]``.
        keep: float32 [V] probability of keeping a token (``ops.keep_probability``).
        noise: int32 [V, 2] alias table (``ops.build_alias``); with ``out_table``.
        tree: paths of the words, on the device of the tables; with ``tree_table``.
        bags: of the words, on the device of the tables.
        in_scale: float32 [V], or [R] with ``bags``: how much of its changes each row of
            ``in_table`` makes: 0 keeps it as it is, and None is 1 for all.
        model: ``"skipgram"`` or ``"cbow"``.
        first_sentence, last_sentence: the range of sentences; the last one is exclusive and
            defaults to S.
        window: largest distance between centre and context, in kept tokens, 1 to 1000.
        negatives: noise words K per pair, 0 to 1000. One that equals the centre is left out.
        dynamic_window: draw the distance 1..window afresh for each centre.
        negative_sharing: ``"pair"`` draws K noise words for each (context, centre) pair, and each
            context sees the changes of those left of it in the window; ``"window"`` draws K for
            each centre, for all its contexts together (Ji et al. 2016), which is faster, and what
            CBOW does anyway. With ``bags``, where the pairs of a window have one input, each of
            these K counts as often as there are contexts that it differs from.
        cbow_mean: CBOW's input is the contexts' mean; otherwise their sum. ``bags.mean`` takes its
            place.
        windows_together: on a GPU: 0, or train in rounds of so many windows, 1 to 1000, which gives
            the same bits in every run. See the notes.
        shards: on the CPU: 0, or train in rounds of so many shards, 1 to 64, which gives the same
            bits for any number of threads. See the notes.
        shard_tokens: A shard is the sentences that begin within so many tokens, 1 to 2^32.
        shard_rows: Of :func:`shard_rows`: copies of rows that are kept from one call to the next,
            as long as only such calls change the tables. By default a call makes its own.
        alpha, min_alpha: learning rate at the first and past the last of ``total_tokens``.
        tokens_before: tokens of earlier epochs; ``total_tokens``: of all epochs, default N.
        seed: any integer of 64 bits. epoch: 0 to 2^32 - 1.
        threads: CPU threads, default ``torch.get_num_threads()``.

    Raises:
        TypeError: a tensor of the wrong dtype.
        ValueError: a wrong shape, device or range; a table that requires grad or is not aligned to
            64 bytes.
        RuntimeError: on the CPU, a token outside [0, V), offsets that do not rise, or a noise table
            whose aliases are outside [0, V), a path that is longer than said or has nodes outside
            [0, V - 1), a bag that is empty, longer than said or has rows outside [0, R); on CUDA,
            sizes beyond the limits below.

    Notes:
        CPU: one thread gives a bitwise reproducible result, also for a corpus cut into calls; with
        more, rows are updated without locks and rounding varies (Recht et al. 2011).

        CPU with ``shards``: the same bits for any number of threads, of which as many as shards
        have work. Shard k of the corpus is the sentences that begin at tokens k T to (k + 1) T - 1,
        T = ``shard_tokens``, and ``shards`` successive ones are a round. Each is trained window by
        window, from the tables as they are before the round; then what they changed is added to
        the tables: of a row that they train n times, 1024 / n of it where n > 1024, but no less
        than the mean of those that do. Calls must end with rounds to do what one call does. Each
        shard of a round has copies of the rows that it trains, at places of their own: of each
        table as many as it has rows.
        The offsets must rise.

        CUDA: many sentences are trained at the same time, fewer for a small vocabulary or corpus,
        and rows are updated by atomic additions, so rounding and the order of updates vary. Nothing
        waits for the GPU; hence a token outside [0, V), offsets that do not rise, a path or a bag
        that is not allowed do not raise: the sentence stops there, windows of the word train
        nothing, and ``stats[0]`` becomes NaN. The noise table is not checked. Rows have at most
        1024 floats and tables 2^34 elements. A window's lists must fit in 160 KiB of shared memory
        (word2vec_train_cuda.h): with ``"pair"`` that is about
        ``window * (1 + negatives) <= 10_000``, with ``"window"`` and more than 7 noise words (3
        from 257 floats a row on, 1 from 513) about
        ``(1 + negatives) * (stride + 2 * window) <= 40_000``, and skip-gram with a tree keeps
        ``tree.longest`` rows more, counted like ``1 + negatives``. CBOW keeps none,
        nor does skip-gram with bags: 8 bytes a target, so with ``"pair"`` about
        ``window * (1 + negatives + tree.longest) <= 8000``.

        CUDA with ``windows_together``: the same bits in every run. Training goes in rounds of so
        many successive tokens or of what suits a GPU, whichever is more: one token for every 32
        words and every 1024 tokens of the corpus, at most 2048. A round is a step of gradient
        descent: all that it changes comes from the tables as they are before it; of what a row
        that is drawn n times would change by, 64 / n is done where n > 64. Rounds begin
        anew at every 256th sentence, so calls must end at multiples of 256 sentences, or at the
        last one, to do what one call does; no round is longer for long sentences. The offsets are
        read back, which waits for the GPU, and must rise (RuntimeError). Scratch memory is twice
        that of the tables, and a bit for each token. A token outside [0, V) is left out. A change
        of one number by 256 or more is left out and makes ``stats[0]`` NaN.
    """
    op = "word2vec_train_"
    _checks.choice(op, "model", model, MODELS)
    _checks.choice(op, "negative_sharing", negative_sharing, SHARING)
    _check_in_table(op, in_table, DTYPES)
    in_rows, stride = in_table.shape
    vocab_size = in_rows
    if bags is not None:
        _checks.tensor(op, "bags.offsets", bags.offsets, torch.int64, ("V + 1",))
        vocab_size = bags.offsets.shape[0] - 1
        if not 1 <= vocab_size <= in_rows:
            raise ValueError(
                f"{op}: bags.offsets must be [V + 1], 1 <= V <= the {in_rows} rows of in_table, "
                f"got {[*bags.offsets.shape]}"
            )
    if out_table is None and tree_table is None:
        raise ValueError(f"{op}: out_table or tree_table must be given, or both")
    _checks.both_or_neither(op, out_table=out_table, noise=noise)
    _checks.both_or_neither(op, tree_table=tree_table, tree=tree)
    expected: list[tuple[str, Tensor, torch.dtype, Sequence[int | str]]] = [
        ("stats", stats, torch.float64, (3,)),
        ("tokens", tokens, torch.int32, ("N",)),
        ("offsets", offsets, torch.int64, ("S + 1",)),
        ("keep", keep, torch.float32, (vocab_size,)),
    ]
    if in_scale is not None:
        expected.append(("in_scale", in_scale, torch.float32, (in_rows,)))
    if bags is not None:
        expected += [
            ("bags.offsets", bags.offsets, torch.int64, (vocab_size + 1,)),
            ("bags.rows", bags.rows, torch.int32, ("B",)),
        ]
        _checks.whole(op, "bags.longest", bags.longest, 1, LONGEST_BAG)
    if out_table is not None and noise is not None:
        expected += [
            ("out_table", out_table, in_table.dtype, (vocab_size, stride)),
            ("noise", noise, torch.int32, (vocab_size, 2)),
        ]
    if tree_table is not None and tree is not None:
        if vocab_size < 2:
            raise ValueError(f"{op}: a tree needs two words or more, got {vocab_size}")
        expected += [
            ("tree_table", tree_table, in_table.dtype, (vocab_size - 1, stride)),
            ("tree.offsets", tree.offsets, torch.int64, (vocab_size + 1,)),
            ("tree.nodes", tree.nodes, torch.int32, ("P",)),
        ]
        _checks.whole(op, "tree.longest", tree.longest, 1, LONGEST_PATH)
    for name, t, dtype, shape in expected:
        _checks.tensor(op, name, t, dtype, shape, in_table, contiguous=True)
    tables = {"in_table": in_table, "out_table": out_table, "tree_table": tree_table}
    updated = {name: table for name, table in tables.items() if table is not None}
    for name, table in updated.items():
        _checks.updated(op, name, table)
    _checks.apart(op, **updated)
    paths = tree or HuffmanPaths(offsets[:0], tokens[:0], 0)
    bags = bags or Bags(offsets[:0], tokens[:0], 0)
    sentences = offsets.shape[0] - 1
    last_sentence = sentences if last_sentence is None else last_sentence
    _checks.span(op, "first_sentence and last_sentence", first_sentence, last_sentence, sentences)
    total_tokens = max(1, tokens.shape[0]) if total_tokens is None else total_tokens
    _checks.whole(op, "window", window, 1, 1000)
    _checks.whole(op, "negatives", negatives, 0, 1000)
    on_gpu = in_table.device.type != "cpu" or _library.emulated()
    _checks.whole(op, "windows_together", windows_together, 0, 1000)
    _checks.whole(op, "shards", shards, 0, MOST_SHARDS)
    _checks.whole(op, "shard_tokens", shard_tokens, 1, 2**32)
    if on_gpu and shards > 0:
        raise ValueError(f"{op}: shards must be 0 on a GPU (windows_together), got {shards}")
    if not on_gpu and windows_together > 0:
        raise ValueError(
            f"{op}: windows_together must be 0 on the CPU (shards), got {windows_together}"
        )
    _checks.whole(op, "tokens_before", tokens_before, 0, 2**62)
    _checks.whole(op, "total_tokens", total_tokens, 1, 2**62)
    _checks.whole(op, "epoch", epoch, 0, 2**32 - 1)
    _checks.number(op, "alpha", alpha)
    _checks.number(op, "min_alpha", min_alpha)
    if shard_rows is None:
        shard_rows = torch.empty(0, dtype=torch.uint8, device=in_table.device)
    _checks.tensor(op, "shard_rows", shard_rows, torch.uint8, ("B",), in_table, contiguous=True)
    none = in_table[:0]
    torch.ops.lexforge.word2vec_train_.default(
        in_table,
        none if out_table is None else out_table,
        none if tree_table is None else tree_table,
        stats,
        shard_rows,
        tokens,
        offsets,
        keep,
        keep[:0] if in_scale is None else in_scale,
        tokens[:0] if noise is None else noise,
        *paths,
        *bags[:3],
        bool(bags.mean),
        first_sentence,
        last_sentence,
        model == "cbow",
        cbow_mean,
        window,
        negatives,
        dynamic_window,
        negative_sharing == "window",
        windows_together,
        shards,
        shard_tokens,
        alpha,
        min_alpha,
        tokens_before,
        total_tokens,
        _checks.seed(op, seed),
        epoch,
        _checks.threads(op, threads),
    )
    torch.autograd.graph.increment_version([*updated.values(), stats])


@torch.library.register_fake("lexforge::word2vec_train_")
def _(*arguments) -> None:
    return None
