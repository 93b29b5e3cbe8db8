"""Settings that several families have: the same name, default, limits and spellings in each."""

from __future__ import annotations

from functools import partial

from lexforge._arguments import encoding_name
from lexforge.training.settings import setting

corpus, counts, model, training, output, evaluation = (
    partial(setting, panel=panel)
    for panel in ("Corpus and vocabulary", "Counts", "Model", "Training", "Output", "Evaluation")
)

min_count = partial(corpus, 5, help="Leave out rarer words.", low=0, names="-- -")
max_vocab_size = partial(corpus, None, "Keep so many frequent words.", low=1, names="-- -max-vocab")
max_sentence_length = partial(corpus, 10_000, "Split longer sentences.", low=1)
lowercase = partial(corpus, False, "Turn words to lower case.")
encoding = partial(corpus, "utf-8", "Of the text.", rule=encoding_name, later=True)
ERRORS_HELP = "Bytes that are not text: replace, or strict. Refused by default where they are many."
errors = partial(corpus, None, ERRORS_HELP, choices=("replace", "strict"), later=True)
distance = partial(setting, low=1, high=1000, names="-- - -window-size")
# The original tool's default; the paper's experiments have 10.
window = partial(distance, 15, "Largest distance in words; 42 weighted, else 1000.", panel="Counts")
symmetric = partial(counts, True, "1: both directions; 0: to the right.", names="-- -")
distance_weighting = partial(counts, True, "1: a neighbour counts 1/distance; 0: 1.", names="-- -")
vector_size = partial(model, 100, "Numbers per word.", low=1, high=2**24, names="-- - -size")
epochs = partial(training, low=1, high=2**31 - 1, names="-- -iter")
learning_rate = partial(training, low=0, names="-- --lr")
seed = partial(training, 1, "Of all randomness.", low=-(2**63), high=2**64 - 1, names="-- -")
