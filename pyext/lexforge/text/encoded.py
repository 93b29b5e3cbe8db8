"""A corpus as word numbers, on disk and in memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lexforge import _text
from lexforge._arguments import whole
from lexforge._files import map_file, read_into, replacement, replacing
from lexforge.text.corpus import Progress, reader_options, resolve_corpus
from lexforge.text.lines import read_json
from lexforge.text.vocabulary import Vocabulary

_FORMAT_VERSION = 1
_HASHED = 1 << 18  # elements at a time: they are on disk and may exceed memory


class EncodedCorpus:
    """A corpus as word numbers.

    Sentence s is tokens[offsets[s]:offsets[s + 1]], never empty.

    What is opened from a folder is mapped: its files must not be changed while it is used.

    Attributes:
        tokens: int32 [N]; memory-mapped when opened from a folder.
        offsets: int64 [S + 1], ascending, from 0 to N.
        num_tokens, num_sentences: N and S.
        meta: the contents of meta.json, empty when made in memory.
        folder: where it was opened, None when made in memory.
    """

    def __init__(
        self,
        tokens: torch.Tensor,
        offsets: torch.Tensor,
        meta: dict | None = None,
        folder: Path | None = None,
    ):
        self.tokens = tokens
        self.offsets = offsets
        self.num_tokens = tokens.numel()
        self.num_sentences = offsets.numel() - 1
        self.meta = meta or {}
        self.folder = folder

    def __repr__(self) -> str:
        return f"EncodedCorpus({self.num_tokens:,} tokens, {self.num_sentences:,} sentences)"

    @classmethod
    def open(cls, folder: str | os.PathLike) -> EncodedCorpus:
        """Maps what `encode_corpus` wrote; nothing is read before it is used.

        Raises:
            FileNotFoundError: the folder holds no encoded corpus.
            ValueError: it was written by another version, or its files are cut short.
        """
        folder = Path(folder)
        try:
            meta = read_json(folder / "meta.json")
            version = meta["format_version"]
            num_tokens, num_sentences = (
                whole("meta.json", name, meta[name], 0) for name in ("num_tokens", "num_sentences")
            )
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{folder}: no encoded corpus (meta.json is missing)"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder}: meta.json is damaged: encode the corpus again") from error
        if version != _FORMAT_VERSION:
            raise ValueError(
                f"{folder}: format version must be {_FORMAT_VERSION}, got {version}: "
                "encode the corpus again"
            )
        tokens = _map_file(folder / "tokens.bin", torch.int32, num_tokens)
        offsets = _map_file(folder / "offsets.bin", torch.int64, num_sentences + 1)
        if offsets[0] != 0 or offsets[-1] != num_tokens:
            raise ValueError(f"{folder}: offsets.bin does not fit tokens.bin: encode again")
        return cls(tokens, offsets, meta, folder)

    @classmethod
    def from_sentences(cls, sentences: Iterable[Iterable[int]]) -> EncodedCorpus:
        """Holds lists of word numbers in memory; empty ones leave no sentence."""
        arrays = [np.asarray(list(sentence), dtype=np.int32) for sentence in sentences]
        arrays = [array for array in arrays if array.size]
        offsets = np.cumsum([0, *(array.size for array in arrays)], dtype=np.int64)
        tokens = np.concatenate([np.empty(0, np.int32), *arrays])
        return cls(torch.from_numpy(tokens), torch.from_numpy(offsets))

    def read(self, name: str, first: int, last: int) -> torch.Tensor:
        """Elements [first, last) of "tokens" or "offsets", in memory of their own when on disk.

        The pages of a mapped file stay in memory once they were looked at; these go with the
        tensor.

        Raises:
            ValueError: the file was cut short since it was opened.
        """
        whole = getattr(self, name)
        if self.folder is None:
            return whole[first:last]
        piece = torch.empty(last - first, dtype=whole.dtype)
        with open(self.folder / f"{name}.bin", "rb", buffering=0) as file:
            file.seek(first * whole.itemsize)
            if not read_into(file, piece.numpy()):
                raise ValueError(f"{file.name} was cut short: encode the corpus again")
        return piece

    def held(self, memory: int) -> EncodedCorpus:
        """The same in memory of its own where it takes at most so many bytes, else as it is.

        A mapped file that is cut short while it is used ends the process with signal 7.

        Raises:
            ValueError: a file was cut short since it was opened.
        """
        self.refuse_cut()
        size = self.tokens.nbytes + self.offsets.nbytes
        if self.folder is None or size > memory:
            return self
        tokens = self.read("tokens", 0, self.num_tokens)
        return EncodedCorpus(tokens, self.read("offsets", 0, self.num_sentences + 1), self.meta)

    def refuse_cut(self) -> None:
        """ValueError if a file was cut short since it was opened; what is in memory is whole."""
        if self.folder is not None and self.folder.is_dir():
            for name in ("tokens", "offsets"):
                path = self.folder / f"{name}.bin"
                # One that was removed, or replaced by another, stays mapped.
                if path.exists() and path.stat().st_size < getattr(self, name).nbytes:
                    raise ValueError(f"{path} was cut short: encode the corpus again")

    def piece(self, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens [first, last) as a corpus of their own, read by `read`.

        Returns:
            int32 [last - first] tokens and int64 offsets of the sentences they are in, counted from
            `first`; a sentence that reaches beyond is cut there.
        """
        bounds = self.offsets.numpy()
        first_sentence = int(np.searchsorted(bounds, first, side="right")) - 1
        last_sentence = int(np.searchsorted(bounds, last, side="left"))
        offsets = self.read("offsets", first_sentence, last_sentence + 1).clone()
        return self.read("tokens", first, last), offsets.clamp_(first, last).sub_(first)

    def identity(self, vocabulary_sha1: str) -> dict[str, Any]:
        """What must be equal for two runs to see the same training stream.

        Args:
            vocabulary_sha1: of the vocabulary whose numbers these are.

        Returns:
            ``tokens``, ``sentences``, ``sha1`` of ids and sentence boundaries, ``vocabulary_sha1``.
        """
        digest = hashlib.sha1(usedforsecurity=False)
        for name, size in (("tokens", self.num_tokens), ("offsets", self.num_sentences + 1)):
            for first in range(0, size, _HASHED):
                digest.update(self.read(name, first, min(first + _HASHED, size)).numpy().data)
        return {
            "tokens": self.num_tokens,
            "sentences": self.num_sentences,
            "sha1": digest.hexdigest(),
            "vocabulary_sha1": vocabulary_sha1,
        }

    def check(self, vocab_size: int) -> None:
        """Reads everything and raises ValueError unless ids and offsets are in order.

        open() looks at sizes only; this finds damage inside the files.
        """
        if self.num_tokens and not (
            int(self.tokens.min()) >= 0 and int(self.tokens.max()) < vocab_size
        ):
            raise ValueError(f"check: tokens must be in 0..{vocab_size - 1}")
        if not bool((self.offsets[1:] > self.offsets[:-1]).all()):
            raise ValueError("check: offsets must ascend")


def _map_file(path: Path, dtype: torch.dtype, count: int) -> torch.Tensor:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: encode the corpus again") from error
    if size != count * dtype.itemsize:
        raise ValueError(
            f"{path} must hold {count * dtype.itemsize} bytes, got {size}: it was cut short or "
            "overwritten; encode the corpus again"
        )
    if count == 0:
        return torch.empty(0, dtype=dtype)  # nothing can be mapped
    return torch.frombuffer(map_file(path), dtype=dtype)


def encode_corpus(
    corpus,
    vocab: Vocabulary,
    folder: str | os.PathLike,
    *,
    max_sentence_length: int = 10_000,
    threads: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    progress: Progress | None = None,
) -> EncodedCorpus:
    """Writes a corpus as word numbers into a folder, replacing an earlier one.

    Words that are not in the vocabulary are dropped; longer lines are cut into sentences of
    `max_sentence_length` words; lines without known words leave no sentence. The result does not
    depend on the number of threads, and memory not on the size of the corpus. An interrupted or
    failed call leaves no new files.

    Files: tokens.bin (int32, little-endian), offsets.bin (int64) and meta.json: format version,
    vocabulary sha1 and size, what was asked for, counts, and the source files' sizes and times.

    Args:
        corpus, threads, encoding, errors, progress: as for `build_vocabulary`.
        vocab: the words to keep.
        folder: made when missing.
        max_sentence_length: in words.

    Raises:
        ValueError: bad UTF-8 under errors="strict", a damaged compressed file, a file that is no
            text.
        OSError: the disk is full, or a file cannot be read.
    """
    if max_sentence_length < 1:
        raise ValueError(
            f"encode_corpus: max_sentence_length must be >= 1, got {max_sentence_length}"
        )
    corpus = resolve_corpus(corpus, encoding=encoding, errors=errors)
    options = reader_options(corpus, threads)
    corpus.check()
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            replacement(folder / "tokens.bin", sync=False) as tokens_path,
            replacement(folder / "offsets.bin", sync=False) as offsets_path,
        ):
            encoder = _text.CorpusEncoder(
                words=vocab.words,
                max_sentence_length=max_sentence_length,
                tokens_path=os.fsencode(tokens_path),
                offsets_path=os.fsencode(offsets_path),
                **options,
            )
            corpus.feed(encoder, progress)
            # meta.json goes first and comes back last: a folder that has one is complete.
            (folder / "meta.json").unlink(missing_ok=True)
        meta = {
            "format_version": _FORMAT_VERSION,
            "vocabulary_sha1": vocab.sha1(),
            "vocabulary_size": len(vocab),
            "max_sentence_length": max_sentence_length,
            "lowercase": corpus.lowercase,
            "encoding": corpus.encoding,
            "errors": options["errors"],
            "num_tokens": encoder.tokens,
            "num_sentences": encoder.sentences,
            "num_unknown": encoder.unknown,
            "sources": corpus.sources(),
        }
        with replacing(folder / "meta.json", sync=False) as file:
            file.write(json.dumps(meta, indent=2).encode() + b"\n")
    except BaseException:
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()
        raise
    return EncodedCorpus.open(folder)
