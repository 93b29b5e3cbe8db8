"""Every op, importable from here; the packages mirror ``csrc`` and are imported on first use.

Importing any of them loads the op library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge import _library as _library
from lexforge._lazy import attach

# At once: the function hides the package of its name, whoever imports that first.
from lexforge.ops.attention.attention import attention, varlen_attention
from lexforge.ops.embedding.embedding_bag import embedding, embedding_bag, embedding_renorm_

if TYPE_CHECKING:
    from lexforge.ops._tables import padded_table
    from lexforge.ops.alignment.soft_align import soft_align
    from lexforge.ops.attention.decode_attention import decode_attention_
    from lexforge.ops.convolution.conv_max_pool import conv_max_pool
    from lexforge.ops.cooccurrence.cooccurrence import (
        CooccurrenceIndex,
        CountedRows,
        cooccurrence_index,
        cooccurrence_merge,
        cooccurrence_rows,
        cooccurrence_unit,
    )
    from lexforge.ops.embedding.row_update import row_update_
    from lexforge.ops.glove.glove_loss import glove_loss
    from lexforge.ops.glove.glove_tiles import (
        GloveTiles,
        glove_deal_parts,
        glove_default_parts,
        glove_tiles,
    )
    from lexforge.ops.glove.glove_train import glove_table, glove_train_
    from lexforge.ops.recurrent.lstm import lstm
    from lexforge.ops.sampling.sampling import (
        alias_sample,
        build_alias,
        keep_probability,
        noise_weights,
        sample_noise,
        seed_from,
    )
    from lexforge.ops.similarity.cosine_top_k import cosine_top_k
    from lexforge.ops.subword.classify_train import classify_train_
    from lexforge.ops.transformer.add_layer_norm import add_layer_norm, add_layer_norm_sum
    from lexforge.ops.transformer.bias_activation import bias_activation
    from lexforge.ops.transformer.dropout import dropout
    from lexforge.ops.transformer.embedding_sum import embedding_sum
    from lexforge.ops.transformer.few_rows_linear import few_rows_linear
    from lexforge.ops.transformer.linear import linear
    from lexforge.ops.transformer.linear_cross_entropy import linear_cross_entropy
    from lexforge.ops.word2vec.cbow_batch import CbowMinibatch, cbow_batch
    from lexforge.ops.word2vec.cbow_loss import cbow_loss, context_mean
    from lexforge.ops.word2vec.skipgram_batch import (
        Examples,
        Minibatch,
        Windows,
        skipgram_batch,
        skipgram_epoch_,
        skipgram_windows,
    )
    from lexforge.ops.word2vec.skipgram_loss import skipgram_loss
    from lexforge.ops.word2vec.skipgram_step import (
        SkipgramState,
        skipgram_step_,
        skipgram_sync_,
    )
    from lexforge.ops.word2vec.softmax_loss import (
        cbow_softmax_loss,
        hierarchical_softmax_loss,
        skipgram_softmax_loss,
    )
    from lexforge.ops.word2vec.word2vec_train import Bags, HuffmanPaths, word2vec_train_

# Where each op lives, and the types of its arguments and results.
_NAMES = {
    "_tables": ("padded_table",),
    "alignment.soft_align": ("soft_align",),
    "convolution.conv_max_pool": ("conv_max_pool",),
    "attention.decode_attention": ("decode_attention_",),
    "cooccurrence.cooccurrence": (
        "CooccurrenceIndex",
        "CountedRows",
        "cooccurrence_index",
        "cooccurrence_merge",
        "cooccurrence_rows",
        "cooccurrence_unit",
    ),
    "embedding.row_update": ("row_update_",),
    "glove.glove_loss": ("glove_loss",),
    "glove.glove_tiles": ("GloveTiles", "glove_deal_parts", "glove_default_parts", "glove_tiles"),
    "glove.glove_train": ("glove_table", "glove_train_"),
    "recurrent.lstm": ("lstm",),
    "sampling.sampling": (
        "alias_sample",
        "build_alias",
        "keep_probability",
        "noise_weights",
        "sample_noise",
        "seed_from",
    ),
    "similarity.cosine_top_k": ("cosine_top_k",),
    "subword.classify_train": ("classify_train_",),
    "transformer.add_layer_norm": ("add_layer_norm", "add_layer_norm_sum"),
    "transformer.bias_activation": ("bias_activation",),
    "transformer.dropout": ("dropout",),
    "transformer.embedding_sum": ("embedding_sum",),
    "transformer.few_rows_linear": ("few_rows_linear",),
    "transformer.linear": ("linear",),
    "transformer.linear_cross_entropy": ("linear_cross_entropy",),
    "word2vec.cbow_batch": ("CbowMinibatch", "cbow_batch"),
    "word2vec.cbow_loss": ("cbow_loss", "context_mean"),
    "word2vec.skipgram_batch": (
        "Examples",
        "Minibatch",
        "Windows",
        "skipgram_batch",
        "skipgram_epoch_",
        "skipgram_windows",
    ),
    "word2vec.skipgram_loss": ("skipgram_loss",),
    "word2vec.skipgram_step": ("SkipgramState", "skipgram_step_", "skipgram_sync_"),
    "word2vec.softmax_loss": (
        "cbow_softmax_loss",
        "hierarchical_softmax_loss",
        "skipgram_softmax_loss",
    ),
    "word2vec.word2vec_train": ("Bags", "HuffmanPaths", "word2vec_train_"),
}

__all__ = [
    "attention",
    "varlen_attention",
    "embedding",
    "embedding_bag",
    "embedding_renorm_",
    *(name for names in _NAMES.values() for name in names),
]

__getattr__, __dir__ = attach(
    __name__,
    {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names},
)
