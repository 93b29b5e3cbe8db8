"""Corpora, data sets and vocabularies."""

from lexforge.text.corpus import Corpus, resolve_corpus
from lexforge.text.datasets import dataset_path
from lexforge.text.encoded import EncodedCorpus, encode_corpus
from lexforge.text.vocabulary import Vocabulary, build_vocabulary

__all__ = [
    "Corpus",
    "EncodedCorpus",
    "Vocabulary",
    "build_vocabulary",
    "dataset_path",
    "encode_corpus",
    "resolve_corpus",
]
