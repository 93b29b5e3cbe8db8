"""Word vectors: lookup, similarity, analogy, evaluation, and everybody's files."""

from lexforge.vectors.formats.files import FORMATS, save_vectors, sniff_format
from lexforge.vectors.keyed_vectors import KeyedVectors, load_vectors
from lexforge.vectors.similarity import knn
from lexforge.vectors.subword_vectors import SubwordVectors

__all__ = [
    "FORMATS",
    "KeyedVectors",
    "SubwordVectors",
    "knn",
    "load_vectors",
    "save_vectors",
    "sniff_format",
]
