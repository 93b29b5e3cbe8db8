"""Word vectors with sub-words, and text classification: fastText's models and commands.

`lexforge fasttext corpus.txt --out vectors/` trains word vectors on a text, with checkpoints and
all that `lexforge fasttext train --help` tells. The other commands are those of fastText's own
program, with its options and its output, on its files:

- `lexforge fasttext skipgram -input corpus.txt -output model`
- `lexforge fasttext supervised -input train.txt -output model -wordNgrams 2`
- `lexforge fasttext predict-prob model.bin lines.txt 3`
"""

# What other words than those of the commands here are for.
USUAL = "train"
