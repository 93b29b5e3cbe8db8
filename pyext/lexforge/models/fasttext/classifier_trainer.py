"""Training of a classifier over lines in numbers, and what the lines of a text are to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from lexforge import _text
from lexforge._arguments import MAX_THREADS
from lexforge._text import WordBytes
from lexforge.models.fasttext.classifier_settings import ClassifierSettings
from lexforge.models.fasttext.prediction import Predictor
from lexforge.ops._tables import padded_table
from lexforge.ops.sampling.sampling import build_alias, noise_weights
from lexforge.ops.subword.classify_train import classify_train_
from lexforge.ops.word2vec.word2vec_train import HuffmanPaths
from lexforge.text.huffman import HuffmanTree, huffman_tree
from lexforge.text.labelled import LabelledCorpus
from lexforge.text.subwords import SubwordIndex, pruned_rows
from lexforge.training.stream_job import Steps, StreamState
from lexforge.vectors.quantised import QuantizedMatrix, native_rows

_ROWS = 1 << 12  # that one generator draws
_NOISE_POWER = 0.5  # of the counts of labels, as fastText draws them


@dataclass(eq=False)
class ClassifierParts:
    """What a trained classifier consists of.

    Attributes:
        words, word_counts: V words as bytes, int64 [V].
        labels, label_counts: L labels with their prefix, int64 [L].
        tokens: words and labels of the text that they were counted in.
        input: float32 [R, stride]: rows of words, then of buckets; or a QuantizedMatrix [R, D].
        output: float32 [L, stride].
        pruneidx: None, or int32 [n, 2] of a model whose n-grams were pruned: buckets and rows.
    """

    settings: ClassifierSettings
    words: WordBytes
    word_counts: np.ndarray
    labels: WordBytes
    label_counts: np.ndarray
    tokens: int
    input: torch.Tensor | QuantizedMatrix
    output: torch.Tensor
    pruneidx: np.ndarray | None = None

    @cached_property
    def subwords(self) -> SubwordIndex:
        """Where the character n-grams of words lie, behind the rows of words."""
        s = self.settings
        if s.maxn == 0:
            return SubwordIndex.every(0, 0, 0)
        if self.pruneidx is None:
            return SubwordIndex.every(s.minn, s.maxn, s.bucket)
        return SubwordIndex.pruned(s.minn, s.maxn, s.bucket, self.pruneidx)

    @cached_property
    def bucket_rows(self) -> np.ndarray | None:
        """Of a pruned model int32 [bucket]: the row of each bucket behind those of words, or -1.

        For training, which such models come to from memory alone: no file tells this size.
        """
        if self.pruneidx is None or not self.settings.has_ngrams:
            return None
        rows = np.full(self.settings.bucket, -1, np.int32)
        rows[self.pruneidx[:, 0]] = self.pruneidx[:, 1]
        return rows

    @cached_property
    def composer(self) -> _text.WordComposer:
        """Makes the vectors of words, of the input as it is."""
        table = self.input
        rows = native_rows(
            table[:, : self.settings.dim].numpy() if isinstance(table, torch.Tensor) else table
        )
        index = _text.WordIndex(self.words)
        return _text.WordComposer(index, self.subwords.native, rows, rows, first=len(self.words))

    @cached_property
    def word_texts(self) -> list[str]:
        """Bytes that are no UTF-8 stand as ``surrogateescape`` writes them."""
        return [word or "" for word in self.words.decoded("utf-8", "surrogateescape")]

    @cached_property
    def label_texts(self) -> list[str]:
        """Likewise."""
        return [label or "" for label in self.labels.decoded("utf-8", "surrogateescape")]

    @cached_property
    def features(self) -> _text.LineFeatures:
        """Finds the rows of a text's lines."""
        s = self.settings
        return _text.LineFeatures(
            self.words,
            self.labels,
            s.label.encode(errors="surrogateescape"),
            min_n=s.minn,
            max_n=s.maxn,
            word_ngrams=s.word_ngrams,
            buckets=s.buckets,
            pruned=None if self.pruneidx is None else pruned_rows(s.bucket, self.pruneidx),
        )

    def predictor(self, threads: int) -> Predictor:
        """Predicts from the tables as they are, also while they are trained."""
        table, dim = self.input, self.settings.dim
        return Predictor(
            self.features,
            table[:, :dim].numpy() if isinstance(table, torch.Tensor) else table,
            self.output[:, :dim].numpy(),
            self.settings.loss,
            self.tree,
            exact=True,
            threads=threads,
            table=table if isinstance(table, torch.Tensor) else None,
        )

    @cached_property
    def tree(self) -> HuffmanTree | None:
        """Over the labels, for hierarchical softmax."""
        return huffman_tree(self.label_counts) if self.settings.loss == "hs" else None


def new_parts(text: LabelledCorpus, settings: ClassifierSettings, threads: int) -> ClassifierParts:
    """Tables as fastText begins: vectors uniform in +-1 / dim, and zeros for labels.

    The same for any number of threads. A number has 16 random bits.
    """
    rows = len(text.words) + settings.buckets
    if rows >= 2**31:
        raise ValueError(f"train: {rows} rows, of words and buckets, must be below 2^31")
    table = padded_table(max(rows, 1), settings.dim)
    parts = [np.random.SFC64([settings.seed % 2**64, part]) for part in range(-(-rows // _ROWS))]
    states = np.array([part.state["state"]["state"] for part in parts], np.uint64).reshape(-1, 4)
    values = table.numpy()[:rows, : settings.dim]
    _text.draw_rows(values, states, _ROWS, 2.0**-15 / settings.dim, min(threads, MAX_THREADS))
    return ClassifierParts(
        settings,
        text.words,
        text.word_counts,
        text.labels,
        text.label_counts,
        text.read,
        table,
        padded_table(len(text.labels), settings.dim),
    )


def classifier_steps(
    text: LabelledCorpus, parts: ClassifierParts, state: StreamState, *, threads: int | None
) -> Steps:
    """SGD over lines, which are the positions of a run; its units are words.

    Args:
        text: Its first types are the words of `parts`.
        parts: Whose tables are trained, in place.
    """
    settings, vocabulary = parts.settings, len(parts.words)
    table = parts.input
    assert isinstance(table, torch.Tensor)
    known_ends, known = parts.subwords.bags(parts.words, threads)
    more_ends, more = parts.subwords.many_ngram_rows(text.unknown, threads)
    bag_offsets = torch.from_numpy(np.concatenate([known_ends, known_ends[-1] + more_ends[1:]]))
    bag_rows = torch.from_numpy(np.concatenate([known, more + np.int32(vocabulary)]))
    noise = paths = None
    if settings.loss == "ns":
        counts = torch.from_numpy(np.ascontiguousarray(parts.label_counts))
        noise = build_alias(noise_weights(counts, _NOISE_POWER))
    if parts.tree is not None:
        begins, nodes = (torch.from_numpy(each) for each in (parts.tree.offsets, parts.tree.nodes))
        paths = HuffmanPaths(begins, nodes, parts.tree.longest)
    bucket_rows = parts.bucket_rows
    mapped = None if bucket_rows is None else torch.from_numpy(bucket_rows)
    arrays = (text.tokens, text.offsets, text.label_ids, text.label_offsets)
    tokens, offsets, label_ids, label_offsets = map(torch.from_numpy, arrays)
    hashes, stats = torch.from_numpy(text.hashes), torch.zeros(2, dtype=torch.float64)

    def step(epoch: int, first: int, last: int) -> None:
        classify_train_(
            table,
            parts.output,
            stats,
            tokens,
            offsets,
            label_ids,
            label_offsets,
            bag_offsets,
            bag_rows,
            hashes,
            words=vocabulary,
            buckets=settings.buckets,
            bucket_rows=mapped,
            word_ngrams=settings.word_ngrams,
            loss=settings.loss,
            noise=noise,
            negatives=settings.neg,
            tree=paths,
            first_line=first,
            last_line=last,
            alpha=state.alpha,
            min_alpha=state.min_alpha,
            tokens_before=epoch * len(tokens),
            total_tokens=state.total,
            seed=settings.seed,
            epoch=state.first_epoch + epoch,
            threads=threads,
        )

    return Steps(lambda epoch: offsets, step, stats, lambda: None, lambda: None)
