"""Everything of BERT under one name: ``import lexforge.bert``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.models.bert import (
        BertConfig,
        BertEncoder,
        BertLosses,
        BertModel,
        MaskLM,
        NextSentencePred,
    )
    from lexforge.models.bert_attention import AttentionMaps, attention_maps, plot_attention
    from lexforge.models.bert_encoding import EncodingCounts, TokenVectors, encode
    from lexforge.models.bert_pretraining import pretrain
    from lexforge.text.piece_vocabulary import load_tokenizer

__all__ = [
    "AttentionMaps",
    "BertConfig",
    "BertEncoder",
    "BertLosses",
    "BertModel",
    "EncodingCounts",
    "MaskLM",
    "NextSentencePred",
    "TokenVectors",
    "attention_maps",
    "encode",
    "load_tokenizer",
    "plot_attention",
    "pretrain",
]

# Where each public name lives; imported on first use.
_HOME = {
    "AttentionMaps": "lexforge.models.bert_attention",
    "BertConfig": "lexforge.models.bert",
    "BertEncoder": "lexforge.models.bert",
    "BertLosses": "lexforge.models.bert",
    "BertModel": "lexforge.models.bert",
    "EncodingCounts": "lexforge.models.bert_encoding",
    "MaskLM": "lexforge.models.bert",
    "NextSentencePred": "lexforge.models.bert",
    "TokenVectors": "lexforge.models.bert_encoding",
    "attention_maps": "lexforge.models.bert_attention",
    "encode": "lexforge.models.bert_encoding",
    "load_tokenizer": "lexforge.text.piece_vocabulary",
    "plot_attention": "lexforge.models.bert_attention",
    "pretrain": "lexforge.models.bert_pretraining",
}

__getattr__, __dir__ = attach(__name__, _HOME)
