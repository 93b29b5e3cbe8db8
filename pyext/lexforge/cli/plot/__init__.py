"""Pictures of vectors, losses, classes and attention: PNG, SVG, PDF (needs matplotlib)."""
