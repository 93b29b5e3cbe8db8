"""Pretrain BERT on a text corpus, and encode text with it."""
