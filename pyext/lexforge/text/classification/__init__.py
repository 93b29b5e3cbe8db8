"""Labelled texts and pairs of texts: read, numbered and in batches."""

from lexforge.text.classification.batches import TextBatch, batches, length_buckets
from lexforge.text.classification.encoded import EncodedTexts
from lexforge.text.classification.readers import read_labelled, read_texts
from lexforge.text.classification.texts import LabelledTexts

__all__ = [
    "EncodedTexts",
    "LabelledTexts",
    "TextBatch",
    "batches",
    "length_buckets",
    "read_labelled",
    "read_texts",
]
