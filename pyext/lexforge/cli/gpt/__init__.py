"""Train a GPT on a text, and talk to it."""
