"""The loss of GloVe, and training on counts in the order of tiles."""
