"""Helpers of text at the place where gensim has them; see `lexforge.text.preprocess`."""

from lexforge.text.preprocess import deaccent, simple_preprocess, to_unicode, tokenize
from lexforge.text.vocabulary import RULE_DEFAULT, RULE_DISCARD, RULE_KEEP

__all__ = [
    "RULE_DEFAULT",
    "RULE_DISCARD",
    "RULE_KEEP",
    "deaccent",
    "simple_preprocess",
    "to_unicode",
    "tokenize",
]
