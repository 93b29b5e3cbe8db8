"""Counting which words occur near each other."""
