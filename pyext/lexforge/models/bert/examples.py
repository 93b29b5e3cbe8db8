"""Sentence pairs with masked words, as BERT is pretrained on."""

from __future__ import annotations

import itertools
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lexforge import _text
from lexforge.models.bert.settings import SPLITS
from lexforge.ops.sampling.sampling import seed_from
from lexforge.text.corpus import reader_threads, resolve_corpus
from lexforge.text.tokenizers.base import Tokenizer, encode_corpus
from lexforge.text.tokenizers.published import with_special_tokens
from lexforge.text.tokenizers.words import WordTokenizer

__all__ = [
    "BertExamples",
    "PackedBatch",
    "TokenizedParagraphs",
    "Tokenizer",
    "WordTokenizer",
    "padded",
    "prediction_count",
    "read_paragraphs",
    "split_sentences",
    "tokenize_paragraphs",
]


class PackedBatch(NamedTuple):
    """B sequences end to end, without padding: T tokens, P of them to be predicted.

    Attributes:
        tokens: int32 [T]; sequence b is tokens[cu_seqlens[b]:cu_seqlens[b + 1]], that is
            ``<cls> a <sep> b <sep>``, some of its words masked.
        segments: int32 [T]; 0 for ``<cls> a <sep>``, 1 for ``b <sep>``.
        positions: int32 [T]; 0, 1, ... within each sequence.
        cu_seqlens: int32 [B + 1]; ascending, from 0 to T.
        max_seqlen: length of the longest sequence.
        prediction_index: int64 [P]; the tokens to be predicted, ascending indices into `tokens`.
        labels: int64 [P]; what stood there, -100 where nothing is to be predicted.
        next_labels: int64 [B]; 1 where b follows a in the corpus, 0 where it was drawn at random,
            -100 where nothing is to be predicted.
    """

    tokens: Tensor
    segments: Tensor
    positions: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    prediction_index: Tensor
    labels: Tensor
    next_labels: Tensor

    @property
    def num_sequences(self) -> int:
        """B."""
        return self.cu_seqlens.numel() - 1

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        """What an encoder takes."""
        return self.tokens, self.segments, self.positions, self.cu_seqlens, self.max_seqlen

    def map(self, function: Callable[[Tensor], Tensor]) -> PackedBatch:
        """The same batch of other tensors."""
        parts = (function(part) if isinstance(part, Tensor) else part for part in self)
        return PackedBatch(*parts)  # type: ignore[arg-type]  # each part is of its field's type

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedBatch:
        """The same batch on another device."""
        return self.map(lambda part: part.to(device, non_blocking=non_blocking))


def read_paragraphs(
    corpus,
    *,
    lowercase: bool = True,
    encoding: str | None = None,
    errors: str | None = None,
    sentences: str = "auto",
) -> list[list[str]]:
    """The paragraphs of a corpus, each a list of sentences.

    In files a paragraph is a line of at least two sentences; other lines are left out.

    Args:
        corpus: a data set's name ("wikitext-2", "wikitext-2:valid"), a path, a list of paths, as
            for `resolve_corpus`; or an iterable of paragraphs, each a list of sentences, these
            being str or lists of str.
        lowercase: turn everything to lower case.
        encoding, errors: of files, as for `resolve_corpus`.
        sentences: how lines are split: ``"spaced"``, at each " . ", as in WikiText; ``"prose"``, as
            :func:`split_sentences` does; ``"auto"``, as prose if more lines without " . " have two
            sentences then than there are lines with it.

    Raises:
        ValueError: no paragraph has two sentences; a file is no text; unknown `sentences`.
        FileNotFoundError, TypeError: see `resolve_corpus`.
    """
    if sentences not in SPLITS:
        raise ValueError(
            f"read_paragraphs: sentences must be one of {', '.join(SPLITS)}, got {sentences!r}"
        )
    source = resolve_corpus(corpus, encoding=encoding, errors=errors)
    if source.sentences is None:
        paragraphs = _paragraphs_of_lines(source.lines(), sentences)
    else:
        paragraphs = [_checked_paragraph(paragraph) for paragraph in source.sentences]
    if lowercase:
        paragraphs = [[sentence.lower() for sentence in p] for p in paragraphs]
    if not any(len(paragraph) >= 2 for paragraph in paragraphs):
        raise ValueError(
            f"read_paragraphs: {source.name} must have a paragraph of two sentences, that is a "
            'line with " . " between them, or of prose with two sentences, got none'
        )
    return paragraphs


# Where a sentence of prose may end: closing quotes and brackets belong to it, opening ones to what
# follows, of which the first letter or digit is told.
_END = re.compile(
    r"""[.!?\u2026]+["'\u2019\u201d\u00bb)\]]*(\s+)(?=["'\u2018\u201c\u00ab(\[]*([^\W_]))"""
    r"""|[\u3002\uff01\uff1f]+[\u201d\u2019\u300d\u300f\uff09]*\s*"""
)
_ABBREVIATIONS = frozenset(
    {"mr", "mrs", "ms", "dr", "st", "no", "vs", "prof", "jr", "sr"}
    | {"gen", "col", "capt", "lt", "rev", "hon"}
)


def split_sentences(text: str) -> list[str]:
    """The sentences of a line of prose.

    One ends at ``.``, ``!``, ``?`` or an ellipsis, with the quotes and brackets that close behind
    it, where white space and then a capital, a digit or a letter without case follow, quotes and
    brackets that open in between or not; but not at a full stop behind a single letter, or behind
    Mr, Mrs, Ms, Dr, St, No, vs, Prof, Jr, Sr, Gen, Col, Capt, Lt, Rev, Hon. The full stops and
    marks of Chinese and Japanese end one anywhere.

    Example:
        >>> split_sentences("Mr. J. Smith came (by train). He left!")
        ['Mr. J. Smith came (by train).', 'He left!']
    """
    sentences, begin = [], 0
    for end in _END.finditer(text):
        if end[1] is not None:
            if end[2].islower():
                continue
            if end[0].startswith(". "):
                before = text[begin : end.start()].rsplit(None, 1)
                word = before[-1].strip("\"'([\u201c\u2018").lower() if before else ""
                if (len(word) == 1 and word.isalpha()) or word in _ABBREVIATIONS:
                    continue
        sentences.append(text[begin : end.end()].strip())
        begin = end.end()
    sentences.append(text[begin:].strip())
    return [sentence for sentence in sentences if sentence]


def _paragraphs_of_lines(lines: Iterable[str], sentences: str) -> list[list[str]]:
    if sentences != "spaced":
        lines = list(lines)
        split = ((line, split_sentences(line)) for line in lines)
        prose = [(line, paragraph) for line, paragraph in split if len(paragraph) >= 2]
        spaced = sum(" . " in line for line in lines)
        if sentences == "prose" or sum(" . " not in line for line, _ in prose) > spaced:
            return [paragraph for _, paragraph in prose]
    # Before stripping, as the reference text does: a line that ends in " . " counts.
    return [line.strip().split(" . ") for line in lines if " . " in line]


def _checked_paragraph(paragraph) -> list[str]:
    if isinstance(paragraph, str) or not isinstance(paragraph, Sequence):
        raise TypeError(
            "read_paragraphs: a paragraph must be a list of sentences, "
            f"got {type(paragraph).__name__}"
        )
    try:
        return [s if isinstance(s, str) else " ".join(s) for s in paragraph]
    except TypeError as error:
        raise TypeError(
            f"read_paragraphs: a sentence must be a str or a list of str, got one of {paragraph!r}"
        ) from error


class TokenizedParagraphs(NamedTuple):
    """Paragraphs of sentences as token numbers, end to end.

    Attributes:
        tokens: int32 [N].
        sentences: int64 [S + 1]; sentence s is tokens[sentences[s]:sentences[s + 1]].
        paragraphs: int64 [Q + 1]; paragraph q is sentences paragraphs[q] .. paragraphs[q + 1] - 1.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    paragraphs: np.ndarray

    @classmethod
    def from_lists(cls, paragraphs: Iterable[Iterable[Sequence[int]]]) -> TokenizedParagraphs:
        """From lists of lists of numbers; sentences and paragraphs without a token are left out.

        Raises:
            TypeError: a number is not an integer. ValueError: it has more than 32 bits.
        """
        tokens, sentences, starts = array("i"), array("q", [0]), array("q", [0])
        for paragraph in paragraphs:
            for sentence in paragraph:
                try:
                    tokens.extend(sentence)
                except OverflowError as error:
                    raise ValueError(
                        f"TokenizedParagraphs: tokens must fit 32 bits: {error}"
                    ) from error
                if len(tokens) > sentences[-1]:
                    sentences.append(len(tokens))
            if len(sentences) - 1 > starts[-1]:
                starts.append(len(sentences) - 1)
        return cls(
            np.array(tokens, np.int32), np.array(sentences, np.int64), np.array(starts, np.int64)
        )


def tokenize_paragraphs(
    paragraphs: Iterable[Iterable[str]],
    tokenizer: Tokenizer,
    *,
    progress: Callable[[int, int | None], None] | None = None,
) -> TokenizedParagraphs:
    """What `read_paragraphs` gave, as numbers; special tokens spelled in it are text.

    Args:
        progress: called with (paragraphs done, of how many, None for an unknown number).
    """
    return TokenizedParagraphs.from_lists(_encoded(paragraphs, tokenizer, progress))


def _encoded(
    paragraphs: Iterable[Iterable[str]],
    tokenizer: Tokenizer,
    progress: Callable[[int, int | None], None] | None,
) -> Iterator[list[Sequence[int]]]:
    remaining, done = iter(paragraphs), 0
    total = len(paragraphs) if isinstance(paragraphs, Sized) else None
    if progress:
        progress(done, total)
    while batch := [list(paragraph) for paragraph in itertools.islice(remaining, _PARAGRAPHS)]:
        numbers = iter(encode_corpus(tokenizer, [text for part in batch for text in part]))
        for part in batch:
            yield list(itertools.islice(numbers, len(part)))
        done += len(batch)
        if progress:
            progress(done, total)


_PARAGRAPHS = 1024  # that are encoded together


def prediction_count(tokens: int) -> int:
    """Predicted tokens of an example of so many: 15 %, rounded half to even, at least one."""
    return _text.prediction_count(tokens)


class BertExamples:
    """Examples for masked-word and next-sentence prediction (Devlin et al. 2019, section 3.1).

    In every epoch each sentence but the last of its paragraph is paired, with equal chances, with
    the one that follows it or with a random sentence of a random paragraph; pairs that do not fit
    `max_len` are dropped, the others shuffled. In each example 15 % of the words are to be
    predicted; of these 80 % are replaced by the mask, 10 % by a random ordinary token. The draws
    are fixed by seed, epoch and sentence (csrc/text/bert_examples.h): the number of threads changes
    nothing, and any batch can be had without those before it.

    Args:
        paragraphs: from `tokenize_paragraphs`; or lists of lists of lists of token numbers.
        tokenizer: what made the numbers, with the special tokens that
            :func:`~lexforge.text.tokenizers.published.with_special_tokens` gives it.
        max_len: tokens of the longest example, the three special ones included.
        seed: any 64-bit integer, or a generator, advanced by one draw.
        static_masks: pairs and masks are those of epoch 0 in every epoch, as the reference text
            has them; only the order changes.
        whole_words: predict all pieces of a word or none: words are drawn while they fit, those
            that the tokenizer's ``continuing`` (bool [V]) tells. Fewer than 15 % may be left.

    Raises:
        ValueError: no paragraph of two sentences; no two neighbours that fit `max_len`; a token
            that no text has (special, or not in the tokenizer); a mask that is another special
            token too; whole words of tokens that do not show them; bad `seed`.
        TypeError: an argument of the wrong type.

    Example:
        >>> paragraphs = [["he likes tea", "she likes coffee", "they drink"]] * 2
        >>> tokenizer = WordTokenizer.build(paragraphs, min_freq=1)
        >>> examples = BertExamples(tokenize_paragraphs(paragraphs, tokenizer), tokenizer)
        >>> [batch.num_sequences for batch in examples.batches(epoch=0, batch_size=3)]
        [3, 1]
    """

    def __init__(
        self,
        paragraphs: TokenizedParagraphs | Iterable[Iterable[Sequence[int]]],
        tokenizer: Tokenizer,
        *,
        max_len: int = 64,
        seed: int | torch.Generator = 1,
        static_masks: bool = False,
        whole_words: bool = False,
    ):
        if not isinstance(paragraphs, TokenizedParagraphs):
            paragraphs = TokenizedParagraphs.from_lists(paragraphs)
        tokenizer = with_special_tokens(tokenizer)
        _check_mask(tokenizer)
        _check_tokens(paragraphs.tokens, tokenizer)
        if len(tokenizer.ordinary_ids) == 0:
            raise ValueError("BertExamples: tokenizer must have ordinary tokens, got none")
        self.max_len = _whole("max_len", max_len, 1, 2**24)
        self.static_masks = static_masks
        self._examples = _text.BertExamples(
            tokens=np.ascontiguousarray(paragraphs.tokens, np.int32),
            sentences=np.ascontiguousarray(paragraphs.sentences, np.int64),
            paragraphs=np.ascontiguousarray(paragraphs.paragraphs, np.int64),
            ordinary=np.ascontiguousarray(tokenizer.ordinary_ids, np.int32),
            continues=_continues(tokenizer) if whole_words else np.empty(0, np.uint8),
            mask=tokenizer.mask_id,
            cls=tokenizer.cls_id,
            sep=tokenizer.sep_id,
            max_len=self.max_len,
            seed=seed_from(seed) % 2**64,
            static_masks=static_masks,
        )
        self._epochs: dict[int, _text.BertEpoch] = {}  # the last ones drawn
        if static_masks and self.count(0) == 0:
            raise ValueError(
                "BertExamples: static_masks needs an epoch 0 that is not empty; every pair it drew "
                f"is longer than max_len={max_len}; take another seed or a longer max_len"
            )

    def count(self, epoch: int) -> int:
        """Examples of an epoch, counted from 0; it differs, since random pairs may be too long."""
        return len(self._epoch(epoch))

    def num_batches(self, epoch: int, batch_size: int) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return -(-self.count(epoch) // _whole("batch_size", batch_size, 1))

    def batch(
        self,
        epoch: int,
        batch_size: int,
        index: int,
        *,
        threads: int | None = None,
        pin_memory: bool = False,
    ) -> PackedBatch:
        """Batch `index` of an epoch.

        Args:
            epoch: from 0 to 2^32 - 1. batch_size: examples in a batch. index: from 0.
            threads: at most so many are used; None is torch.get_num_threads().
            pin_memory: in memory that copies to a GPU need not wait for.

        Raises:
            ValueError: an argument below its smallest value. IndexError: no such batch.
        """
        batches = self.num_batches(epoch, batch_size)
        if not 0 <= index < batches:
            raise IndexError(f"BertExamples: batch must be in 0..{batches - 1}, got {index}")
        return self._assemble(self._epoch(epoch), batch_size, index, threads, pin_memory)

    def batches(
        self,
        epoch: int,
        batch_size: int,
        *,
        first_batch: int = 0,
        threads: int | None = None,
        pin_memory: bool = False,
    ) -> Iterator[PackedBatch]:
        """The batches of an epoch from `first_batch` (0 .. `num_batches`) on; else as `batch`.

        The next two batches are made in the background, and with the last ones the next epoch's
        order.
        """
        batches = self.num_batches(epoch, batch_size)
        _whole("first_batch", first_batch, 0, batches)
        threads = reader_threads("BertExamples", threads)
        drawn = self._epoch(epoch)

        def generate() -> Iterator[PackedBatch]:
            with ThreadPoolExecutor(1, "bert-examples") as background:

                def submit(index: int):
                    if index < batches:
                        return background.submit(
                            self._assemble, drawn, batch_size, index, threads, pin_memory
                        )
                    if index == batches and epoch < _LAST_EPOCH:
                        background.submit(self._epoch, epoch + 1)
                    return None

                ahead = [submit(first_batch), submit(first_batch + 1)]
                for index in range(first_batch, batches):
                    ready = ahead.pop(0)
                    ahead.append(submit(index + 2))
                    yield ready.result()

        return generate()

    def _epoch(self, epoch: int) -> _text.BertEpoch:
        _whole("epoch", epoch, 0, _LAST_EPOCH)
        epochs = self._epochs
        drawn = epochs.get(epoch)
        if drawn is None:
            drawn = self._examples.draw(epoch, threads=torch.get_num_threads())
            # One more than is in use, for the epoch that is made ahead.
            self._epochs = {**dict([*epochs.items()][-1:]), epoch: drawn}
        return drawn

    def _assemble(
        self, drawn: _text.BertEpoch, batch_size: int, index: int, threads, pin_memory: bool
    ) -> PackedBatch:
        first = index * batch_size
        last = min(first + batch_size, len(drawn))
        tokens, predictions, longest = drawn.measure(first, last)

        def empty(size: int, dtype: torch.dtype) -> Tensor:
            return torch.empty(size, dtype=dtype, pin_memory=pin_memory)

        batch = PackedBatch(
            tokens=empty(tokens, torch.int32),
            segments=empty(tokens, torch.int32),
            positions=empty(tokens, torch.int32),
            cu_seqlens=empty(last - first + 1, torch.int32),
            max_seqlen=longest,
            prediction_index=empty(predictions, torch.int64),
            labels=empty(predictions, torch.int64),
            next_labels=empty(last - first, torch.int64),
        )
        arrays = {
            name: part.numpy() for name, part in batch._asdict().items() if isinstance(part, Tensor)
        }
        drawn.fill(first, last, **arrays, threads=reader_threads("BertExamples", threads))
        return batch


_LAST_EPOCH = 2**32 - 1


def _whole(name: str, value: int, smallest: int, largest: int = 2**62) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"BertExamples: {name} must be an int, got {type(value).__name__}")
    if not smallest <= value <= largest:
        bound = f">= {smallest}" if value < smallest else f"<= {largest}"
        raise ValueError(f"BertExamples: {name} must be {bound}, got {value}")
    return int(value)


def _continues(tokenizer: Tokenizer) -> np.ndarray:
    """uint8 [V]; without pieces each token is a word."""
    continuing = getattr(tokenizer, "continuing", None)
    if continuing is None:
        return np.zeros(len(tokenizer), np.uint8)
    continuing = np.ascontiguousarray(continuing, np.uint8)
    if continuing.shape != (len(tokenizer),):
        raise ValueError(
            f"BertExamples: tokenizer.continuing must be [{len(tokenizer)}], "
            f"got {list(continuing.shape)}"
        )
    return continuing


def _check_mask(tokenizer: Tokenizer) -> None:
    """The mask stands for nothing else."""
    mask = tokenizer.mask_id
    others = {"cls": tokenizer.cls_id, "sep": tokenizer.sep_id, "unk": tokenizer.unk_id}
    if same := [name for name, number in others.items() if number == mask]:
        raise ValueError(
            "BertExamples: tokenizer must have a mask of its own, and its mask is its "
            f"{same[0]} token too, {tokenizer.tokens[mask]!r}"
        )


def _check_tokens(tokens: np.ndarray, tokenizer: Tokenizer) -> None:
    """Sentences hold ordinary tokens and unknown ones; others would be masked or predicted."""
    allowed = np.zeros(len(tokenizer) + 1, bool)
    allowed[tokenizer.ordinary_ids] = True
    if tokenizer.unk_id >= 0:
        allowed[tokenizer.unk_id] = True
    for begin in range(0, len(tokens), 1 << 22):  # the masks below stay small
        piece = tokens[begin : begin + (1 << 22)]
        # Everything out of range looks at the last entry, which is False.
        inside = np.where((piece >= 0) & (piece < len(tokenizer)), piece, len(tokenizer))
        bad = np.flatnonzero(~allowed[inside])
        if bad.size:
            raise ValueError(
                "BertExamples: paragraphs must hold ordinary tokens of the tokenizer, "
                f"0..{len(tokenizer) - 1} without special ones, "
                f"got {piece[bad[0]]} at token {begin + bad[0]}"
            )


def padded(
    batch: PackedBatch, max_len: int, *, pad_id: int = 1
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A batch as the reference text's seven arrays, padded at the right.

    Args:
        batch: B sequences. max_len: length S of the rows; P is the number of predictions of an
            example of that length. pad_id: token of the padding.

    Returns:
        tokens int64 [B, S], segments int64 [B, S], valid_lens int64 [B], pred_positions int64
        [B, P], mlm_weights float32 [B, P] (1, or 0 for padding), mlm_labels int64 [B, P],
        nsp_labels int64 [B]. Everything but tokens is padded with zeros.

    Raises:
        ValueError: `max_len` is shorter than the longest sequence.
    """
    if max_len < batch.max_seqlen:
        raise ValueError(f"padded: max_len must be >= {batch.max_seqlen}, got {max_len}")
    starts = batch.cu_seqlens.long()
    valid_lens = starts.diff()
    row = torch.repeat_interleave(valid_lens)
    column = batch.positions.long()
    shape = (batch.num_sequences, max_len)
    tokens = torch.full(shape, pad_id, device=starts.device)
    tokens[row, column] = batch.tokens.long()
    segments = torch.zeros(shape, dtype=torch.int64, device=starts.device)
    segments[row, column] = batch.segments.long()

    # Predictions ascend, so those of sequence b lie between two bounds.
    bounds = torch.searchsorted(batch.prediction_index, starts)
    mlm_row = row[batch.prediction_index]
    mlm_column = torch.arange(len(mlm_row), device=starts.device) - bounds[mlm_row]
    shape = (batch.num_sequences, prediction_count(max_len))
    positions, weights, labels = (
        torch.zeros(shape, dtype=dtype, device=starts.device)
        for dtype in (torch.int64, torch.float32, torch.int64)
    )
    positions[mlm_row, mlm_column] = column[batch.prediction_index]
    wanted = batch.labels != -100
    weights[mlm_row, mlm_column] = wanted.float()
    labels[mlm_row, mlm_column] = batch.labels.where(wanted, 0)
    return tokens, segments, valid_lens, positions, weights, labels, batch.next_labels
