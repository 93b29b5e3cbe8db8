"""Telling one encoded corpus, or one set of counts, from another."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lexforge.models.cooccurrence import Cooccurrence
    from lexforge.text import EncodedCorpus, Vocabulary

_CHUNK = 1 << 18  # elements hashed at a time: both are on disk and may exceed memory


def corpus_identity(corpus: EncodedCorpus, vocabulary: Vocabulary) -> dict[str, Any]:
    """What must be equal for two runs to see the same training stream.

    Returns:
        ``tokens``, ``sentences``, ``sha1`` of ids and sentence boundaries, ``vocabulary_sha1``.
    """
    digest = hashlib.sha1(usedforsecurity=False)
    for name, size in (("tokens", corpus.num_tokens), ("offsets", corpus.num_sentences + 1)):
        for first in range(0, size, _CHUNK):
            digest.update(corpus.read(name, first, min(first + _CHUNK, size)).numpy().data)
    return {
        "tokens": corpus.num_tokens,
        "sentences": corpus.num_sentences,
        "sha1": digest.hexdigest(),
        "vocabulary_sha1": vocabulary.sha1(),
    }


def counts_identity(counts: Cooccurrence) -> dict[str, Any]:
    """What must be equal for two runs to train on the same entries.

    Returns:
        ``entries``, ``sha1`` of rows, columns and values, ``vocabulary_sha1``.
    """
    digest = hashlib.sha1(usedforsecurity=False)
    for pieces in zip(
        *(tensor.split(_CHUNK) for tensor in (counts.rows, counts.cols, counts.values)), strict=True
    ):
        for piece in pieces:
            digest.update(memoryview(piece.contiguous().numpy()))
    return {
        "entries": counts.nnz,
        "sha1": digest.hexdigest(),
        "vocabulary_sha1": counts.vocab.sha1(),
    }
