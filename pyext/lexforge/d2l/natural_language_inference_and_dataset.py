"""The pairs of sentences of SNLI."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from lexforge.d2l.text import Vocab, padded_numbers, tokenize
from lexforge.text import datasets
from lexforge.text.classification import read_labelled
from lexforge.text.classification.texts import INFERENCE

_PARSES = ("sentence1_binary_parse", "sentence2_binary_parse")
_MARKS = re.compile(r"""([!?;:"()]|[.,](?!\d)|'(?:s|re|ve|ll|d|m)\b|n't\b)""", re.IGNORECASE)

Pairs = tuple[Sequence[str], Sequence[str], Sequence[int]]


def read_snli(
    data_dir: str | os.PathLike, is_train: bool
) -> tuple[list[str], list[str], list[int]]:
    """Premises, hypotheses, and labels: 0 entailment, 1 contradiction, 2 neutral.

    Words and marks have spaces around them, as in the parses of the original files; pairs without a
    gold label are left out.

    Args:
        data_dir: folder with ``snli_1.0_train.txt`` and ``snli_1.0_test.txt``, as
            ``download_extract("SNLI")`` gives.
        is_train: the training split, else the test split.
    """
    split = "train" if is_train else "test"
    known = datasets.REGISTRY["snli"]
    names = [Path(name).name for name in (known.files[split], *known.instead[split])]
    there = [Path(data_dir, name) for name in names if Path(data_dir, name).is_file()]
    return _read(there[0] if there else Path(data_dir, names[0]))


def _read(path: Path) -> tuple[list[str], list[str], list[int]]:
    options: dict[str, Any] = {"names": INFERENCE, "empty": "keep"}
    with open(path, encoding="utf-8", errors="replace") as file:
        parsed = _PARSES[0] in file.readline()
    if parsed:
        options |= {"text": _PARSES[0], "second": _PARSES[1]}
    pairs = read_labelled(path, **options)
    assert pairs.second is not None and pairs.labels is not None
    sides = [list(side) if parsed else [*map(_apart, side)] for side in (pairs.first, pairs.second)]
    return sides[0], sides[1], pairs.labels.tolist()


def _apart(sentence: str) -> str:
    """A sentence with its marks apart from its words, as nearly as in a parse."""
    return " ".join(_MARKS.sub(r" \1 ", sentence).split())


class SNLIDataset(Dataset):
    """Pairs of sentences as numbers, cut or padded to `num_steps` words each.

    An item is ((premise, hypothesis), label); items may be taken by lists of indices too.

    Args:
        dataset: premises, hypotheses and labels, as of :func:`read_snli`.
        num_steps: words of a sentence.
        vocab: the vocabulary; by default that of words with at least 5 occurrences here, in which
            ``<pad>`` is reserved.

    Attributes:
        premises, hypotheses: int64 [N, num_steps].
        labels: int64 [N].
    """

    def __init__(self, dataset: Pairs, num_steps: int, vocab: Vocab | None = None):
        self.num_steps = num_steps
        if vocab is None:
            words = tokenize([*dataset[0], *dataset[1]])
            vocab = Vocab(words, min_freq=5, reserved_tokens=["<pad>"])
        self.vocab = vocab
        self.premises = self._pad(dataset[0])
        self.hypotheses = self._pad(dataset[1])
        self.labels = torch.tensor(dataset[2])
        print(f"read {len(self.premises)} examples")

    def _pad(self, lines: Sequence[str]) -> Tensor:
        return padded_numbers(lines, self.vocab, self.num_steps)

    def __getitem__(self, idx):
        return (self.premises[idx], self.hypotheses[idx]), self.labels[idx]

    def __len__(self) -> int:
        return len(self.premises)


def load_data_snli(batch_size: int, num_steps: int = 50):
    """Minibatches of pairs of sentences, and the vocabulary of the training split.

    The pairs are found through LEXFORGE_DATA, in the cache, or by download.

    Args:
        batch_size: pairs in a minibatch. num_steps: words of a sentence, cut or padded.

    Returns:
        Two iterables over ((premises, hypotheses), labels), int64 [B, num_steps] twice and [B]: the
        training split, shuffled, and the test split, which the text looks at after each epoch; and
        the vocabulary.
    """
    train, test = (_read(datasets.dataset_path("snli", split)) for split in ("train", "test"))
    train_set = SNLIDataset(train, num_steps)
    test_set = SNLIDataset(test, num_steps, train_set.vocab)
    # A minibatch is one look at the arrays: there is nothing for other processes to do.
    iters = [
        DataLoader(dataset, batch_size=None, sampler=BatchSampler(order, batch_size, False))
        for dataset, order in (
            (train_set, RandomSampler(train_set)),
            (test_set, SequentialSampler(test_set)),
        )
    ]
    return iters[0], iters[1], train_set.vocab
