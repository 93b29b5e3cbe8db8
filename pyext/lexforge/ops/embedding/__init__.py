"""Tables of embeddings: looking rows up, and updating those that were."""
