"""Recurrent layers over packed texts."""
