"""Every op in Python says which argument is no tensor, or a sparse one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lexforge.ops.alignment.soft_align import soft_align
from lexforge.ops.attention.attention import attention, varlen_attention
from lexforge.ops.convolution.conv_max_pool import conv_max_pool
from lexforge.ops.cooccurrence.cooccurrence import (
    CountedRows,
    cooccurrence_index,
    cooccurrence_merge,
    cooccurrence_rows,
)
from lexforge.ops.embedding.embedding_bag import embedding, embedding_bag, embedding_renorm_
from lexforge.ops.embedding.row_update import row_update_
from lexforge.ops.glove.glove_loss import glove_loss
from lexforge.ops.glove.glove_tiles import GloveTiles, glove_deal_parts, glove_tiles
from lexforge.ops.glove.glove_train import glove_train_
from lexforge.ops.sampling.sampling import (
    alias_sample,
    build_alias,
    keep_probability,
    noise_weights,
    sample_noise,
)
from lexforge.ops.similarity.cosine_top_k import cosine_top_k
from lexforge.ops.subword.classify_train import classify_train_
from lexforge.ops.transformer.add_layer_norm import add_layer_norm
from lexforge.ops.transformer.bias_activation import bias_activation
from lexforge.ops.transformer.embedding_sum import embedding_sum
from lexforge.ops.transformer.linear import linear
from lexforge.ops.transformer.linear_cross_entropy import linear_cross_entropy
from lexforge.ops.word2vec.skipgram_batch import (
    Examples,
    Windows,
    skipgram_batch,
    skipgram_epoch_,
    skipgram_windows,
)
from lexforge.ops.word2vec.skipgram_loss import skipgram_loss
from lexforge.ops.word2vec.skipgram_step import SkipgramState, skipgram_step_
from lexforge.ops.word2vec.word2vec_train import Bags, HuffmanPaths, word2vec_train_

f, i, n = torch.ones, lambda *x: torch.tensor(x, dtype=torch.int32), lambda *x: torch.tensor(x)
stats = torch.zeros(3, dtype=torch.float64)
noise = build_alias(f(2))
corpus = (i(0, 1, 0), n(0, 3), f(2))
index = cooccurrence_index(i(0, 1), n(0, 2), vocab_size=2, window=1)
rows = cooccurrence_rows(index, window=1)
part = (n(0, 1, 2), i(1, 0), f(2, dtype=torch.float64), i(0, 0))
tiles = glove_tiles(*part, parts=1)
windows = skipgram_windows(*corpus, window=1)
minibatch = (i(0, 1), torch.zeros(2, 3, dtype=torch.int32), f(2, 3), f(2, 3))


def examples(order, noise, *of_windows) -> Examples:
    return Examples(Windows(*of_windows), order, noise, 1, 1, 1, 0)


def state() -> SkipgramState:
    return SkipgramState.create(f(2, 16), f(2, 16))


INDEX = [name for name, value in index._asdict().items() if isinstance(value, torch.Tensor)]
heads = [f(2, 3, 1, 4)] * 3
CALLS: list[tuple[str, Callable, tuple]] = [
    ("add_layer_norm", add_layer_norm, (f(2, 4), f(2, 4), f(4), f(4))),
    ("attention", attention, (*heads, i(3, 2))),
    ("varlen_attention", lambda q, k, v, cu: varlen_attention(q, k, v, cu, 3),
     (*[f(3, 1, 4)] * 3, i(0, 3))),
    ("bias_activation", bias_activation, (f(2, 4), f(4))),
    ("classify_train_", lambda *t: classify_train_(
        *t[:10], words=2, buckets=2, word_ngrams=2, bucket_rows=t[10], loss="ns", noise=t[11]),
     (f(4, 16), f(2, 16), stats[:2].clone(), i(0, 1), n(0, 2), i(1), n(0, 1), n(0, 1, 2), i(0, 1),
      i(5, 7), i(1, 0), noise)),
    ("conv_max_pool", conv_max_pool, (f(2, 4), n(0, 2, 3), f(3, 4, 2), f(3), i(1, 0, 1))),
    ("cooccurrence_index", lambda tokens, offsets: cooccurrence_index(
        tokens, offsets, vocab_size=2, window=1), (i(0, 1), n(0, 2))),
    ("cooccurrence_rows", lambda *given: cooccurrence_rows(
        index._replace(**dict(zip(INDEX, given, strict=True))), window=1),
     tuple(getattr(index, name) for name in INDEX)),
    ("cooccurrence_merge", lambda *given: cooccurrence_merge(
        [CountedRows(*given)], vocab_size=2), tuple(rows)),
    ("cosine_top_k", lambda *given: cosine_top_k(
        *given[:2], 1, norms=given[2], excluded=given[3]),
     (f(2, 4), f(2, 4), f(2), n(0, 1)[:, None])),
    ("embedding", embedding, (i(0, 1), f(2, 4))),
    ("embedding_bag", embedding_bag, (n(0, 1), f(2, 4), n(0, 1))),
    ("embedding_renorm_", lambda *given: embedding_renorm_(*given, 1.0), (f(2, 4), n(0, 1))),
    ("embedding_sum", embedding_sum, (*[i(0, 1)] * 3, *[f(2, 4)] * 3)),
    ("glove_loss", glove_loss, (f(2, 4), f(2, 4), f(2), f(2), i(0, 1), i(0, 0), f(2))),
    ("glove_deal_parts", lambda sizes: glove_deal_parts(sizes, 1), (n(1, 1),)),
    ("glove_tiles", lambda *given: glove_tiles(*given, parts=1), part),
    ("glove_train_", lambda word, context, stats, *given: glove_train_(
        word, context, stats, GloveTiles(1, *given), dim=2),
     (f(2, 2, 16), f(2, 2, 16), stats[:2].clone(), *tiles[1:])),
    ("linear", linear, (f(2, 4), f(3, 4), f(3))),
    ("linear_cross_entropy", linear_cross_entropy, (f(2, 4), f(3, 4), f(3), n(0, 1))),
    ("row_update_", lambda weight, ids, gradients, first, second, touched: row_update_(
        weight, ids, gradients, "adam", lr=0.1, first=first, second=second, touched=touched,
        eps=1.0),
     (f(2, 4), i(0, 1), f(2, 4), f(2, 4), f(2, 4), torch.ones(2, dtype=torch.uint8))),
    ("alias_sample", lambda table: alias_sample(table, 3, seed=1), (noise,)),
    ("build_alias", build_alias, (f(2),)),
    ("keep_probability", lambda counts: keep_probability(counts, 0.1), (n(1, 2),)),
    ("noise_weights", noise_weights, (n(1, 2),)),
    ("sample_noise", lambda table, positives, offsets: sample_noise(
        table, positives, offsets, 1, seed=1), (noise, i(0, 1), n(0, 2))),
    ("soft_align", lambda *given: soft_align(*given, 3, 2),
     (f(3, 4), f(2, 4), f(3, 5), f(2, 5), i(0, 3), i(0, 2))),
    ("skipgram_windows", skipgram_windows, corpus),
    ("skipgram_batch", lambda *given: skipgram_batch(examples(*given), 0, 1),
     (n(0), noise, *windows)),
    ("skipgram_epoch_", lambda stats, *given: skipgram_epoch_(
        state(), stats, examples(*given), batch_size=1, lr=0.1),
     (stats.clone(), n(0), noise, *windows)),
    ("skipgram_loss", skipgram_loss, (*minibatch, f(2, 16), f(2, 16))),
    ("skipgram_step_", lambda *given: skipgram_step_(state(), *given, lr=0.1), minibatch),
    ("SkipgramState", SkipgramState.create, (f(2, 16), f(2, 16))),
    ("word2vec_train_",
     lambda *t: word2vec_train_(
         *t[:8], HuffmanPaths(*t[8:10], 1), in_scale=t[10], bags=Bags(*t[11:], 1)),
     (f(2, 16), f(2, 16), f(1, 16), stats.clone(), *corpus, noise, n(0, 1, 2), i(0, 1), f(2),
      n(0, 1, 2), i(0, 1))),
]  # fmt: skip
# Where None stands for nothing.
OPTIONAL = {
    ("add_layer_norm", 1),
    ("attention", 3),
    ("bias_activation", 1),
    ("classify_train_", 10),
    ("classify_train_", 11),
    ("conv_max_pool", 3),
    ("conv_max_pool", 4),
    ("cosine_top_k", 2),
    ("cosine_top_k", 3),
    ("embedding_bag", 2),
    ("embedding_sum", 1),
    ("embedding_sum", 4),
    ("linear", 2),
    ("linear_cross_entropy", 2),
    ("row_update_", 3),
    ("row_update_", 4),
    ("row_update_", 5),
    ("word2vec_train_", 1),
    ("word2vec_train_", 2),
    ("word2vec_train_", 7),
    ("word2vec_train_", 10),
}


@pytest.mark.parametrize(("op", "call", "arguments"), CALLS, ids=[op for op, *_ in CALLS])
def test_what_is_no_tensor_is_named(op, call, arguments):
    for place, right in enumerate(arguments):
        for wrong in (None, [1.0, 2.0], right.to_sparse()):
            if wrong is None and (op, place) in OPTIONAL:
                continue
            given = [wrong if k == place else t for k, t in enumerate(arguments)]
            with pytest.raises(TypeError, match=rf"{op}: [\w.]+ must be a (dense )?tensor, got"):
                call(*given)
