"""Word vectors and small language models, trained by hand-written C++ and CUDA kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach
from lexforge._version import __version__

if TYPE_CHECKING:
    from lexforge._library import build_info, cpu_capability, cuda_usable
    from lexforge.models.cooccurrence.count import cooccurrence
    from lexforge.models.cooccurrence.counts import Cooccurrence
    from lexforge.models.fasttext.model import FastText
    from lexforge.models.glove.model import GloVe
    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.text.phrases import ENGLISH_CONNECTOR_WORDS, FrozenPhrases, Phraser, Phrases
    from lexforge.text.preprocess import simple_preprocess
    from lexforge.text.sentences import LineSentence, PathLineSentences, Text8Corpus
    from lexforge.text.tokenizers.bpe import BPETokenizer
    from lexforge.text.vocabulary import RULE_DEFAULT, RULE_DISCARD, RULE_KEEP
    from lexforge.training.events import CallbackAny2Vec
    from lexforge.vectors import KeyedVectors, load_vectors

__all__ = [
    "ENGLISH_CONNECTOR_WORDS",
    "RULE_DEFAULT",
    "RULE_DISCARD",
    "RULE_KEEP",
    "BPETokenizer",
    "CallbackAny2Vec",
    "Cooccurrence",
    "FastText",
    "FrozenPhrases",
    "GloVe",
    "KeyedVectors",
    "LineSentence",
    "PathLineSentences",
    "Phraser",
    "Phrases",
    "Text8Corpus",
    "Word2Vec",
    "__version__",
    "build_info",
    "cooccurrence",
    "cpu_capability",
    "cuda_usable",
    "load_vectors",
    "simple_preprocess",
]

# Where each public name lives. They are imported on first use, so that `import lexforge` and
# `lexforge --help` do not wait for torch.
_HOME = {
    "BPETokenizer": "lexforge.text.tokenizers.bpe",
    "CallbackAny2Vec": "lexforge.training.events",
    "Cooccurrence": "lexforge.models.cooccurrence.counts",
    "ENGLISH_CONNECTOR_WORDS": "lexforge.text.phrases",
    "FastText": "lexforge.models.fasttext.model",
    "FrozenPhrases": "lexforge.text.phrases",
    "GloVe": "lexforge.models.glove.model",
    "KeyedVectors": "lexforge.vectors",
    "LineSentence": "lexforge.text.sentences",
    "PathLineSentences": "lexforge.text.sentences",
    "RULE_DEFAULT": "lexforge.text.vocabulary",
    "RULE_DISCARD": "lexforge.text.vocabulary",
    "RULE_KEEP": "lexforge.text.vocabulary",
    "Text8Corpus": "lexforge.text.sentences",
    "Phraser": "lexforge.text.phrases",
    "Phrases": "lexforge.text.phrases",
    "Word2Vec": "lexforge.models.word2vec.model",
    "build_info": "lexforge._library",
    "cooccurrence": "lexforge.models.cooccurrence.count",  # the function, not the module
    "cpu_capability": "lexforge._library",
    "cuda_usable": "lexforge._library",
    "load_vectors": "lexforge.vectors",
    "simple_preprocess": "lexforge.text.preprocess",
}

__getattr__, __dir__ = attach(
    __name__,
    _HOME,
    (
        "bert",
        "classification",
        "d2l",
        "fasttext",
        "gpt",
        "models",
        "nn",
        "ops",
        "optim",
        "reference",
        "text",
        "utils",
        "vectors",
    ),
)
