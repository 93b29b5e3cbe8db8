"""Byte pair encoding: tokens learned from a text, texts as ids, and back."""
