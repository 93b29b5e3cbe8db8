"""Word2vec: its losses, their minibatches and steps, and training over a stream of text."""
