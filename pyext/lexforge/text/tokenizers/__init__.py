"""Tokenizers: text as token numbers."""
