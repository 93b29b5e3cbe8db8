"""Ops of models with sub-words and labels."""
