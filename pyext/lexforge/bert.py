"""Everything of BERT under one name: ``import lexforge.bert``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.layers.heads import MaskLM, NextSentencePred
    from lexforge.models.bert.attention_maps import AttentionMaps, attention_maps, plot_attention
    from lexforge.models.bert.config import BertConfig
    from lexforge.models.bert.encoding import EncodingCounts, TokenVectors, encode
    from lexforge.models.bert.model import BertEncoder, BertLosses, BertModel
    from lexforge.models.bert.trainer import pretrain
    from lexforge.models.classification.bert import BertClassifier
    from lexforge.text.tokenizers.published import PublishedTokenizer, load_tokenizer

__all__ = [
    "AttentionMaps",
    "BertClassifier",
    "BertConfig",
    "BertEncoder",
    "BertLosses",
    "BertModel",
    "EncodingCounts",
    "MaskLM",
    "NextSentencePred",
    "PublishedTokenizer",
    "TokenVectors",
    "attention_maps",
    "encode",
    "load_tokenizer",
    "plot_attention",
    "pretrain",
]

# Where each public name lives; imported on first use.
_HOME = {
    "AttentionMaps": "lexforge.models.bert.attention_maps",
    "BertClassifier": "lexforge.models.classification.bert",
    "BertConfig": "lexforge.models.bert.config",
    "BertEncoder": "lexforge.models.bert.model",
    "BertLosses": "lexforge.models.bert.model",
    "BertModel": "lexforge.models.bert.model",
    "EncodingCounts": "lexforge.models.bert.encoding",
    "MaskLM": "lexforge.layers.heads",
    "NextSentencePred": "lexforge.layers.heads",
    "PublishedTokenizer": "lexforge.text.tokenizers.published",
    "TokenVectors": "lexforge.models.bert.encoding",
    "attention_maps": "lexforge.models.bert.attention_maps",
    "encode": "lexforge.models.bert.encoding",
    "load_tokenizer": "lexforge.text.tokenizers.published",
    "plot_attention": "lexforge.models.bert.attention_maps",
    "pretrain": "lexforge.models.bert.trainer",
}

__getattr__, __dir__ = attach(__name__, _HOME)
