"""Pictures of vectors, losses and attention: PNG, SVG, PDF (needs matplotlib)."""
