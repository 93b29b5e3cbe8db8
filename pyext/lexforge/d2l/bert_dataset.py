"""The data set for pretraining BERT."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from lexforge.d2l.text import Vocab
from lexforge.models.bert.examples import BertExamples, padded, read_paragraphs, tokenize_paragraphs
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
    return WikiData(examples, batch_size, tokenizer), vocab
