"""Training loops, progress, checkpoints and signals: everything around a kernel call."""
