"""Data sets: what there is, where it lies, download and removal.

Corpora can be given by name wherever a command takes a corpus, evaluation sets to `lexforge
evaluate`, vectors to the commands that read vectors. What is not in the folder LEXFORGE_DATA is
downloaded once, into the folder LEXFORGE_CACHE (`~/.cache/lexforge` by default).
"""
