"""The data set for pretraining word embeddings."""

from __future__ import annotations

import collections
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from lexforge.d2l.text import Vocab, truncate_pad
from lexforge.models.word2vec.textbook import SkipgramData
from lexforge.ops.sampling.sampling import alias_sample, build_alias, seed_from
from lexforge.text.datasets import dataset_path


def read_ptb() -> list[list[str]]:
    """The training split of the Penn Treebank, one list of words per line.

    Found through LEXFORGE_DATA, in the cache, or by download (lexforge.text.datasets).
    """
    raw_text = dataset_path("ptb").read_text(encoding="utf-8")
    return [line.split() for line in raw_text.split("\n")]


def subsample(
    sentences: list[list[str]], vocab: Vocab, *, threshold: float = 1e-4, seed: int | None = None
) -> tuple[list[list[str]], collections.Counter]:
    """Drop unknown tokens, then each token with probability max(1 - sqrt(t / f(token)), 0).

    Returns:
        The shortened sentences, and the counts before the second step, on which f is based.
    """
    known = [[token for token in line if vocab[token] != vocab.unk] for line in sentences]
    counter = collections.Counter(token for line in known for token in line)
    total = sum(counter.values())
    keep = {token: (threshold * total / count) ** 0.5 for token, count in counter.items()}
    draw = random.Random(seed).random
    return [[token for token in line if draw() < keep[token]] for line in known], counter


def get_centers_and_contexts(
    corpus: list[list[int]], max_window_size: int, *, seed: int | None = None
) -> tuple[list[int], list[list[int]]]:
    """Centres and their contexts: the window is drawn from 1..max_window_size per centre.

    Sentences of fewer than two tokens are skipped; the centre's own position is no context.
    """
    generator = random.Random(seed)
    centers, contexts = [], []
    for line in corpus:
        if len(line) < 2:
            continue
        centers += line
        for i in range(len(line)):
            window = generator.randint(1, max_window_size)
            contexts.append(line[max(0, i - window) : i] + line[i + 1 : i + 1 + window])
    return centers, contexts


class RandomGenerator:
    """Draws 1..n in proportion to n weights, 10,000 at a time from an alias table."""

    def __init__(self, sampling_weights: Sequence[float], *, seed: int | None = None):
        self._table = build_alias(torch.as_tensor(sampling_weights, dtype=torch.float64))
        self._seed = random.getrandbits(63) if seed is None else seed_from(seed)
        self._offset = 0
        self._drawn: list[int] = []

    def draw(self) -> int:
        """The next number."""
        if not self._drawn:
            drawn = alias_sample(self._table, (10_000,), seed=self._seed, offset=self._offset)
            self._offset += len(drawn)
            self._drawn = (drawn.flip(0) + 1).tolist()
        return self._drawn.pop()


def get_negatives(
    all_contexts: list[list[int]],
    vocab: Vocab,
    counter: collections.Counter,
    K: int,
    *,
    seed: int | None = None,
) -> list[list[int]]:
    """K noise words per context word, P(w) in proportion to count^0.75, none of them a context.

    Index 0 (``<unk>``) is never drawn. A centre whose contexts are all words there are cannot have
    noise words: ValueError.
    """
    weights = [counter[vocab.to_tokens(i)] ** 0.75 for i in range(1, len(vocab))]
    possible = {i for i, weight in enumerate(weights, 1) if weight > 0}
    generator = RandomGenerator(weights, seed=seed)
    all_negatives = []
    for contexts in all_contexts:
        avoided = set(contexts)
        if K > 0 and contexts and possible <= avoided:
            raise ValueError(f"get_negatives: contexts must leave a noise word, got {contexts}")
        negatives: list[int] = []
        while len(negatives) < len(contexts) * K:
            negative = generator.draw()
            if negative not in avoided:
                negatives.append(negative)
        all_negatives.append(negatives)
    return all_negatives


def batchify(data: Sequence[tuple[int, list[int], list[int]]]) -> tuple[Tensor, ...]:
    """Examples (centre, contexts, negatives) as a minibatch, padded with zeros to the longest.

    Returns:
        int64 centers [B, 1], contexts_negatives [B, L], masks [B, L] and labels [B, L].
    """
    length = max(len(contexts) + len(negatives) for _, contexts, negatives in data)
    centers, targets, masks, labels = [], [], [], []
    for center, contexts, negatives in data:
        used = len(contexts) + len(negatives)
        centers.append([center])
        targets.append(truncate_pad([*contexts, *negatives], length, 0))
        masks.append([1] * used + [0] * (length - used))
        labels.append([1] * len(contexts) + [0] * (length - len(contexts)))
    return tuple(torch.tensor(rows) for rows in (centers, targets, masks, labels))


def load_data_ptb(
    batch_size: int,
    max_window_size: int,
    num_noise_words: int,
    *,
    seed: int = 1,
    static_samples: bool = False,
) -> tuple[SkipgramData, Vocab]:
    """The Penn Treebank as minibatches, and its vocabulary.

    Returns:
        An iterator over (centers, contexts_negatives, masks, labels) and the vocabulary of words
        with at least 10 occurrences. Windows, sub-sampling and noise words are drawn afresh in
        every epoch; ``static_samples=True`` draws them once, as the text does.
    """
    sentences = read_ptb()
    vocab = Vocab(sentences, min_freq=10)
    index, unk = vocab.token_to_idx, vocab.unk
    encoded = [[i for word in line if (i := index.get(word, unk)) != unk] for line in sentences]
    tokens = torch.tensor([i for line in encoded for i in line], dtype=torch.int32)
    lengths = torch.tensor([0] + [len(line) for line in encoded])
    counts = torch.bincount(tokens.long(), minlength=len(vocab))
    data = SkipgramData(
        tokens,
        lengths.cumsum(0),
        counts,
        batch_size=batch_size,
        window=max_window_size,
        negatives=num_noise_words,
        static_samples=static_samples,
        seed=seed,
    )
    return data, vocab
