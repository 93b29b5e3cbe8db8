"""The reference text's names and argument order, over lexforge's own parts.

A module for each page of the text. Where it has a slip, the right behaviour is the default;
docstrings say how to get the text's.
"""

from lexforge.d2l.bert import (
    BERTEncoder,
    BERTModel,
    MaskLM,
    NextSentencePred,
    TransformerEncoderBlock,
    get_tokens_and_segments,
    masked_softmax,
)
from lexforge.d2l.bert_dataset import (
    WikiData,
    _get_mlm_data_from_tokens,
    _get_next_sentence,
    _get_nsp_data_from_paragraph,
    _pad_bert_inputs,
    _read_wiki,
    _replace_mlm_tokens,
    _WikiTextDataset,
    load_data_wiki,
)
from lexforge.d2l.bert_pretraining import (
    BertTrainResult,
    _get_batch_loss_bert,
    get_bert_encoding,
    train_bert,
)
from lexforge.d2l.hub import DATA_HUB, DATA_URL, download, download_extract
from lexforge.d2l.natural_language_inference_and_dataset import (
    SNLIDataset,
    load_data_snli,
    read_snli,
)
from lexforge.d2l.natural_language_inference_attention import (
    Aggregate,
    Attend,
    Compare,
    DecomposableAttention,
    mlp,
    predict_snli,
)
from lexforge.d2l.natural_language_inference_bert import (
    BERTClassifier,
    SNLIBERTDataset,
    load_pretrained_model,
    predict_snli_bert,
)
from lexforge.d2l.plots import (
    Animator,
    plot,
    set_axes,
    set_figsize,
    show_heatmaps,
    show_list_len_pair_hist,
    use_svg_display,
)
from lexforge.d2l.sentiment_analysis_and_dataset import load_data_imdb, read_imdb
from lexforge.d2l.sentiment_analysis_cnn import TextCNN
from lexforge.d2l.sentiment_analysis_rnn import BiRNN, predict_sentiment
from lexforge.d2l.similarity_analogy import TokenEmbedding, get_analogy, get_similar_tokens, knn
from lexforge.d2l.subword_embedding import (
    get_max_freq_pair,
    get_subwords,
    merge_symbols,
    segment_BPE,
)
from lexforge.d2l.text import Vocab, tokenize, truncate_pad
from lexforge.d2l.tools import (
    Accumulator,
    Timer,
    accuracy,
    evaluate_accuracy_gpu,
    get_dataloader_workers,
    load_array,
    try_all_gpus,
    try_gpu,
)
from lexforge.d2l.training import Ch13Result, train_batch_ch13, train_ch13
from lexforge.d2l.word2vec_pretraining import SigmoidBCELoss, TrainResult, skip_gram, train
from lexforge.d2l.word_embedding_dataset import (
    RandomGenerator,
    batchify,
    get_centers_and_contexts,
    get_negatives,
    load_data_ptb,
    read_ptb,
    subsample,
)

__all__ = [
    "DATA_HUB",
    "DATA_URL",
    "Accumulator",
    "Aggregate",
    "Animator",
    "Attend",
    "BERTClassifier",
    "BERTEncoder",
    "BERTModel",
    "BertTrainResult",
    "BiRNN",
    "Ch13Result",
    "Compare",
    "DecomposableAttention",
    "MaskLM",
    "NextSentencePred",
    "RandomGenerator",
    "SNLIBERTDataset",
    "SNLIDataset",
    "SigmoidBCELoss",
    "TextCNN",
    "Timer",
    "TokenEmbedding",
    "TrainResult",
    "TransformerEncoderBlock",
    "Vocab",
    "WikiData",
    "_WikiTextDataset",
    "_get_batch_loss_bert",
    "_get_mlm_data_from_tokens",
    "_get_next_sentence",
    "_get_nsp_data_from_paragraph",
    "_pad_bert_inputs",
    "_read_wiki",
    "_replace_mlm_tokens",
    "accuracy",
    "batchify",
    "download",
    "download_extract",
    "evaluate_accuracy_gpu",
    "get_analogy",
    "get_bert_encoding",
    "get_centers_and_contexts",
    "get_dataloader_workers",
    "get_max_freq_pair",
    "get_negatives",
    "get_similar_tokens",
    "get_subwords",
    "get_tokens_and_segments",
    "knn",
    "load_array",
    "load_data_imdb",
    "load_data_ptb",
    "load_data_snli",
    "load_data_wiki",
    "load_pretrained_model",
    "masked_softmax",
    "merge_symbols",
    "mlp",
    "plot",
    "predict_sentiment",
    "predict_snli",
    "predict_snli_bert",
    "read_imdb",
    "read_ptb",
    "read_snli",
    "segment_BPE",
    "set_axes",
    "set_figsize",
    "show_heatmaps",
    "show_list_len_pair_hist",
    "skip_gram",
    "subsample",
    "tokenize",
    "train",
    "train_batch_ch13",
    "train_bert",
    "train_ch13",
    "truncate_pad",
    "try_all_gpus",
    "try_gpu",
    "use_svg_display",
]


def __getattr__(name: str):
    """``plt`` is matplotlib's pyplot: imported when it is wanted, since it may be missing."""
    if name == "plt":
        from lexforge import _plot

        return _plot.pyplot()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
