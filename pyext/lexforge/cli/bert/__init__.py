"""Pretrain BERT on a text corpus, fine-tune it on texts with classes, and encode text with it."""
