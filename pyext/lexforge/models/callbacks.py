"""Callbacks of a training run, at the place where gensim has them."""

from lexforge.training.events import CallbackAny2Vec

__all__ = ["CallbackAny2Vec"]
