"""The text side, without torch: corpora, vocabularies, trees, BERT's examples, vector files.

The work is done by a library with a plain C interface (csrc/text), which holds no symbol of Python:
one build serves every version. ctypes lets other threads run during a call, and no call lasts
longer than a few chunks of text take, so that Ctrl-C is answered at once.

A module for each family of calls, with their signatures; `library` loads, and raises what went
wrong there.
"""

from lexforge._text.bert_examples import BertEpoch, BertExamples, prediction_count
from lexforge._text.byte_pairs import BpeEncoder, BpeTrainer, PartCounter
from lexforge._text.labelled import LabelledEncoder, LineFeatures, Lines
from lexforge._text.phrases import PhraseCounter, PhraseJoiner, PhraseTable, Scoring
from lexforge._text.prediction import (
    LinePredictor,
    MatrixRows,
    WordComposer,
    WordIndex,
    read_entries,
)
from lexforge._text.readers import CorpusEncoder, WordCounter
from lexforge._text.subwords import (
    SUBWORD_KINDS,
    SubwordRows,
    ngram_hash,
    ngrams,
    word_hashes,
)
from lexforge._text.trees import huffman_tree
from lexforge._text.uniform_rows import draw_rows
from lexforge._text.vector_rows import (
    VectorRows,
    count_numbers,
    ends_in_number,
    format_binary_rows,
    format_text_rows,
)
from lexforge._text.words import WordBytes, word_lists

__all__ = [
    "SUBWORD_KINDS",
    "BertEpoch",
    "BertExamples",
    "BpeEncoder",
    "BpeTrainer",
    "CorpusEncoder",
    "LabelledEncoder",
    "LineFeatures",
    "LinePredictor",
    "Lines",
    "MatrixRows",
    "PartCounter",
    "PhraseCounter",
    "PhraseJoiner",
    "PhraseTable",
    "Scoring",
    "SubwordRows",
    "VectorRows",
    "WordBytes",
    "WordComposer",
    "WordCounter",
    "WordIndex",
    "count_numbers",
    "draw_rows",
    "ends_in_number",
    "format_binary_rows",
    "format_text_rows",
    "huffman_tree",
    "ngram_hash",
    "ngrams",
    "prediction_count",
    "read_entries",
    "word_hashes",
    "word_lists",
]
