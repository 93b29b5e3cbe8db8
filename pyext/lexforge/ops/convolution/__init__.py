"""Convolutions over the tokens of texts."""
