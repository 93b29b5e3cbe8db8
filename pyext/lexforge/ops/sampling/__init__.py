"""Drawing words: alias tables, noise, sub-sampling."""
