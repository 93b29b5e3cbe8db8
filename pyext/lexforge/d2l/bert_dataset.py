"""The data set for pretraining BERT."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from lexforge.d2l.bert import get_tokens_and_segments
from lexforge.d2l.text import Vocab, truncate_pad
from lexforge.models.bert.examples import (
    BertExamples,
    padded,
    prediction_count,
    read_paragraphs,
    tokenize_paragraphs,
)
from lexforge.text.tokenizers.words import WordTokenizer


class WikiData:
    """Minibatches of sentence pairs, padded; every iteration is one epoch, beginning with epoch 0.

    Iterating gives (tokens, segments, valid_lens, pred_positions, mlm_weights, mlm_labels,
    nsp_labels), see :func:`lexforge.models.bert.examples.padded`.
    """

    def __init__(self, examples: BertExamples, batch_size: int, tokenizer: WordTokenizer):
        self.examples = examples
        self.batch_size = batch_size
        self.tokenizer = tokenizer
        self.epoch = 0  # the next one

    def __len__(self) -> int:
        """Minibatches of the next epoch."""
        return self.examples.num_batches(self.epoch, self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        batches = self.examples.batches(self.epoch, self.batch_size)
        self.epoch += 1
        for batch in batches:
            yield padded(batch, self.examples.max_len, pad_id=self.tokenizer.pad_id)


def load_data_wiki(
    batch_size: int, max_len: int, *, seed: int = 1, static_masks: bool = False
) -> tuple[WikiData, Vocab]:
    """The training split of WikiText-2 as minibatches of sentence pairs, and its vocabulary.

    Args:
        batch_size: pairs in a minibatch. max_len: tokens of the longest pair, which every row is
            padded to. seed: of all draws.
        static_masks: pairs and masks are drawn once, as the text does, and not in every epoch.

    Returns:
        An iterable over the seven arrays and the vocabulary of words with at least 5 occurrences.
        The random sentence of a pair is never the one that follows, and random words in place of
        masked ones are never special tokens; in the text both may be.
    """
    paragraphs = read_paragraphs("wikitext-2")
    examples, tokenizer, vocab = _examples(paragraphs, max_len, seed, static_masks)
    return WikiData(examples, batch_size, tokenizer), vocab


def _examples(
    paragraphs: Sequence[Sequence[str]], max_len: int, seed: int, static_masks: bool
) -> tuple[BertExamples, WordTokenizer, Vocab]:
    words = [sentence.split() for paragraph in paragraphs for sentence in paragraph]
    vocab = Vocab(words, min_freq=5, reserved_tokens=["<pad>", "<mask>", "<cls>", "<sep>"])
    tokenizer = WordTokenizer(vocab.idx_to_token)
    examples = BertExamples(
        tokenize_paragraphs(paragraphs, tokenizer),
        tokenizer,
        max_len=max_len,
        seed=seed,
        static_masks=static_masks,
    )
    return examples, tokenizer, vocab


# -- the text's steps, one by one -----------------------------------------------------------------
# load_data_wiki does not need them. They draw from Python's `random`, as the text's do.


def _read_wiki(data_dir: str | os.PathLike) -> list[list[str]]:
    """The paragraphs of ``wiki.train.tokens`` in a folder, each a list of sentences, shuffled."""
    paragraphs = read_paragraphs(Path(data_dir) / "wiki.train.tokens")
    random.shuffle(paragraphs)
    return paragraphs


def _get_next_sentence(sentence, next_sentence, paragraphs):
    """(sentence, the next one or a random one with equal chances, whether it is the next one).

    A random one is never the very one that follows.
    """
    if random.random() < 0.5:
        return sentence, next_sentence, True
    others = any(each is not next_sentence for paragraph in paragraphs for each in paragraph)
    drawn = next_sentence
    while drawn is next_sentence and others:
        drawn = random.choice(random.choice(paragraphs))
    return sentence, drawn, not others


def _get_nsp_data_from_paragraph(paragraph, paragraphs, vocab, max_len):
    """(tokens, segments, is_next) of each pair of the paragraph that fits `max_len`."""
    examples = []
    for sentence, following in pairwise(paragraph):
        tokens_a, tokens_b, is_next = _get_next_sentence(sentence, following, paragraphs)
        tokens, segments = get_tokens_and_segments(tokens_a, tokens_b)
        if len(tokens) <= max_len:
            examples.append((tokens, segments, is_next))
    return examples


def _replace_mlm_tokens(tokens, candidate_pred_positions, num_mlm_preds, vocab):
    """(tokens with some of them masked, the (position, token) that are to be predicted).

    Of these 80 % are replaced by ``<mask>``, 10 % by a random word, never a special token.
    """
    special = WordTokenizer.SPECIAL_TOKENS
    if all(token in special for token in vocab.idx_to_token):
        raise ValueError("_replace_mlm_tokens: vocab must have ordinary tokens, got none")
    masked, predicted = list(tokens), []
    number = min(num_mlm_preds, len(candidate_pred_positions))
    for position in random.sample(list(candidate_pred_positions), number):
        predicted.append((position, tokens[position]))
        chance = random.random()
        if chance < 0.8:
            masked[position] = "<mask>"
        elif chance < 0.9:
            word = special[0]
            while word in special:
                word = random.choice(vocab.idx_to_token)
            masked[position] = word
    return masked, predicted


def _get_mlm_data_from_tokens(tokens, vocab):
    """(ids of the tokens with 15 % of them masked, positions of these, ids of what stood there)."""
    candidates = [i for i, token in enumerate(tokens) if token not in ("<cls>", "<sep>")]
    masked, predicted = _replace_mlm_tokens(
        tokens, candidates, prediction_count(len(tokens)), vocab
    )
    predicted.sort(key=lambda pair: pair[0])
    labels = [token for _, token in predicted]
    return vocab[masked], [position for position, _ in predicted], vocab[labels]


def _pad_bert_inputs(examples, max_len, vocab):
    """The seven arrays of :class:`WikiData`, each as a list with a tensor per example.

    Args:
        examples: (token ids, predicted positions, their labels, segments, is_next).
    """
    slots, pad = prediction_count(max_len), vocab["<pad>"]
    padded_examples = []
    for tokens, positions, labels, segments, is_next in examples:
        padded_examples.append(
            (
                torch.tensor(truncate_pad(tokens, max_len, pad)),
                torch.tensor(truncate_pad(segments, max_len, 0)),
                torch.tensor(len(tokens)),
                torch.tensor(truncate_pad(positions, slots, 0)),
                torch.tensor(truncate_pad([1.0] * len(labels), slots, 0.0)),
                torch.tensor(truncate_pad(labels, slots, 0)),
                torch.tensor(int(is_next)),
            )
        )
    return tuple(list(column) for column in zip(*padded_examples, strict=True)) or ([],) * 7


class _WikiTextDataset(torch.utils.data.Dataset):
    """Sentence pairs drawn and masked once; an item is the seven arrays of one of them.

    Args:
        paragraphs: lists of sentences, as :func:`_read_wiki` gives. max_len: of a pair.
    """

    def __init__(self, paragraphs: Sequence[Sequence[str]], max_len: int):
        seed = random.getrandbits(63)
        examples, tokenizer, self.vocab = _examples(paragraphs, max_len, seed, True)
        pairs = examples.batch(0, examples.count(0), 0)
        (
            self.all_token_ids, self.all_segments, self.valid_lens, self.all_pred_positions,
            self.all_mlm_weights, self.all_mlm_labels, self.nsp_labels,
        ) = padded(pairs, max_len, pad_id=tokenizer.pad_id)  # fmt: skip

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return (
            self.all_token_ids[index], self.all_segments[index], self.valid_lens[index],
            self.all_pred_positions[index], self.all_mlm_weights[index],
            self.all_mlm_labels[index], self.nsp_labels[index],
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.all_token_ids)
