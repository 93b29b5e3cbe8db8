"""Soft alignment."""
