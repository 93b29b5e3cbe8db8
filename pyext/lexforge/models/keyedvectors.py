"""KeyedVectors at the place where gensim has them; see `lexforge.vectors`."""

from lexforge.vectors import KeyedVectors

__all__ = ["KeyedVectors"]
