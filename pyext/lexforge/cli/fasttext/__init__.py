"""Train word vectors with sub-words (fastText) on a text corpus.

`lexforge fasttext corpus.txt --out vectors/` trains on a text; `lexforge fasttext train --help`
tells all about it.
"""

# What other words than those of the commands here are for.
USUAL = "train"
