"""Skip-gram with negative sampling: the loss, its steps, and training over a stream of text."""
