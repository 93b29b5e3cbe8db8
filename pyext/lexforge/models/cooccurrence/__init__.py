"""Co-occurrence counts."""
