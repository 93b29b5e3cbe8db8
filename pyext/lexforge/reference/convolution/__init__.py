"""Oracles of the ops of the same name."""
