"""References of ops/subword."""
