"""Counting a corpus: its words, its encoding and its co-occurrences, one after another."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from lexforge._arguments import LARGEST, MAX_THREADS, either, whole
from lexforge._files import replacing
from lexforge._library import kernel_threads, resolve_device
from lexforge.models.cooccurrence.counting import (
    CountSettings,
    count_corpus,
    plan_memory,
)
from lexforge.models.cooccurrence.counts import (
    TRIPLETS,
    UNFINISHED,
    VOCABULARY,
    Cooccurrence,
    publish,
    target_folder,
)
from lexforge.models.cooccurrence.runs import RunStore
from lexforge.models.cooccurrence.settings import CooccurrenceSettings
from lexforge.text import (
    Corpus,
    EncodedCorpus,
    Vocabulary,
    build_vocabulary,
    encode_corpus,
    resolve_corpus,
)
from lexforge.text.lines import read_json
from lexforge.training.disk import check_space
from lexforge.training.memory import parse_bytes
from lexforge.training.progress import Progress


def cooccurrence(
    corpus: Any,
    *,
    window: int = 15,
    symmetric: bool = True,
    distance_weighting: bool = True,
    min_count: int = 5,
    max_vocab_size: int | None = None,
    vocabulary: Vocabulary | None = None,
    memory: int | str = "2GB",
    cross_sentences: bool = False,
    max_sentence_length: int | None = None,
    lowercase: bool = False,
    encoding: str = "utf-8",
    errors: str | None = None,
    workers: int | None = None,
    device: str | torch.device = "auto",
    folder: str | os.PathLike | None = None,
    progress: Progress | bool | None = None,
    threads: int | None = None,
) -> Cooccurrence:
    """Count how often words stand within a window of each other (Pennington et al. 2014).

    X[i, j] is the sum, over all places where word j stands d = 1..window words to the right of
    word i (and, when symmetric, to the left), of 1/d, or of 1 without distance weighting. Words
    outside the vocabulary are dropped before, and do not count as distance.

    Counts are exact: sums of whole multiples of 1/lcm(1..window), divided once at the end. They are
    the same to the last bit for any number of threads, any memory, and on CPU and GPU.

    Args:
        corpus: Anything ``text.resolve_corpus`` takes: path, folder, name of a data set, sentences;
            or an :class:`~lexforge.text.EncodedCorpus` together with its ``vocabulary``.
        window: Largest distance, in words: 1 to 42 with distance weighting, else 1 to 1000.
        symmetric: Count in both directions; otherwise rows are left words and columns right words.
        distance_weighting: Add 1/distance instead of 1.
        min_count, max_vocab_size: Of the vocabulary, see ``text.build_vocabulary``.
        vocabulary: Use this one instead of building it.
        memory: What counting may take on top of the process and its vocabulary: bytes, or a text
            like "512MB" or "2GB". Larger counts go through the disk. On a GPU this is the host's
            side; the device's free memory is a further limit.
        cross_sentences: Windows reach over the ends of sentences.
        max_sentence_length: Longer lines are split there; by default none is, however long.
        lowercase: Turn words to lower case while reading.
        encoding, errors: Of files, as for ``text.resolve_corpus``.
        workers: CPU threads, ``torch.get_num_threads()`` by default.
        device: ``"auto"`` (the GPU when it is usable), ``"cpu"`` or ``"cuda"``.
        folder: Keep the result there (:meth:`Cooccurrence.load`). An interrupted call with the same
            arguments goes on where it was. By default the result is in a temporary file that goes
            with the object.
        progress: Where to show it; True shows it on standard error.
        threads: Earlier name of ``workers``.

    Returns:
        :class:`Cooccurrence`.

    Raises:
        ValueError: An argument out of range; ``memory`` below the minimum, which it tells; no word
            of the corpus in the vocabulary; no two words near each other.
        OverflowError: A count of 2^63 units.
        OSError: The disk is full; everything partial is removed.
        FolderInUseError: Another process is counting into the folder.

    Notes:
        Disk: 4 bytes a word for the encoded corpus, 16 an entry for the result, and where the
        memory does not hold the index of the whole corpus (about 12 bytes a word) 12 for each entry
        of each part, twice that while parts are merged.
    """
    checked = CooccurrenceSettings.of(locals())
    settings = CountSettings(
        checked.window, checked.symmetric, checked.distance_weighting, checked.cross_sentences
    )
    memory = parse_bytes("cooccurrence: memory", memory)
    workers = either("cooccurrence", workers, threads=threads)
    if workers is not None:
        workers = whole("cooccurrence", "workers", workers, high=MAX_THREADS)
    threads = kernel_threads(workers)
    device = resolve_device("cooccurrence", device)
    # More may be needed once the words are known; less never is.
    plan_memory(memory, vocab_size=0, window=settings.window, threads=threads)
    if not isinstance(corpus, EncodedCorpus):
        corpus = resolve_corpus(
            corpus,
            lowercase=checked.lowercase,
            encoding=checked.encoding,
            errors=checked.errors,
        )
        corpus.check()
    elif vocabulary is None:
        raise TypeError("cooccurrence: an EncodedCorpus needs its vocabulary")

    keep = folder is not None
    shown = progress if isinstance(progress, Progress) else Progress(bool(progress))
    with (
        nullcontext() if progress is shown else shown,
        target_folder(folder) as target,
        _unfinished(target) as work,
    ):
        preparation = _Preparation(
            work,
            corpus,
            {
                "min_count": max(checked.min_count, 1),
                "max_vocab_size": checked.max_vocab_size,
                "vocabulary_sha1": None if vocabulary is None else vocabulary.sha1(),
                "max_sentence_length": checked.max_sentence_length,
            },
        )
        vocab = preparation.vocabulary(threads, shown) if vocabulary is None else vocabulary
        # What these refuse is refused before the work of encoding.
        plan = plan_memory(memory, vocab_size=len(vocab), window=settings.window, threads=threads)
        if device.type == "cuda":
            plan = plan.on_device(torch.cuda.mem_get_info(device)[0], len(vocab))
        if keep:
            vocab.save(work / VOCABULARY)
        encoded = preparation.encoded(vocab, threads, shown)
        if encoded.num_tokens == 0:
            raise ValueError("cooccurrence: no word of the corpus is in the vocabulary")
        identity = encoded.identity(vocab.sha1())
        store = RunStore(work, len(vocab), {**asdict(settings), "corpus": identity}, sync=keep)
        if store.done:
            shown.say(
                f"going on after {store.done:,} of {encoded.num_tokens:,} words counted before"
            )
        row_begin = count_corpus(
            encoded,
            work / TRIPLETS,
            len(vocab),
            settings,
            plan,
            store,
            threads=threads,
            device=device,
            counting=shown.phase("counting", "words") or _silent,
            merging=shown.phase("merging", "entries") or _silent,
        )
        if row_begin[-1] == 0:
            raise ValueError(
                "cooccurrence: nothing to count: each of the "
                f"{encoded.num_sentences:,} sentences has one word of the vocabulary only "
                "(cross_sentences=True counts over their ends)"
            )
        result = Cooccurrence(
            work / TRIPLETS, vocab, row_begin, {**asdict(settings), "corpus": identity}
        )
        if keep:
            publish(work, target, result._meta())
    return result


def _silent(done: int, total: int) -> None:
    pass


class _Preparation:
    """Vocabulary and encoded corpus of a count, kept in its folder until it is complete.

    Args:
        work: Folder of what is unfinished.
        corpus: What is counted.
        options: What else vocabulary and encoding depend on.
    """

    def __init__(self, work: Path, corpus: Corpus | EncodedCorpus, options: dict[str, Any]) -> None:
        self._work, self._corpus, self._options = work, corpus, options
        self._record = work / "prepared.json"
        self._request, found = None, None
        # Sentences of Python have no sources that would tell whether they changed.
        if isinstance(corpus, Corpus) and corpus.paths:
            sources = corpus.sources()
            self._request = {**options, "sources": sources, **corpus.reading}
            with suppress(OSError, ValueError):
                found = read_json(self._record)
        self._found = found is not None and found == self._request
        if not self._found:
            self._record.unlink(missing_ok=True)

    def vocabulary(self, threads: int, progress: Progress) -> Vocabulary:
        """Built, or that of the interrupted call."""
        if self._found:
            return Vocabulary.load(self._work / VOCABULARY)
        vocab = build_vocabulary(
            self._corpus,
            min_count=self._options["min_count"],
            max_vocab_size=self._options["max_vocab_size"],
            threads=threads,
            progress=progress.phase("counting words"),
        )
        progress.say(
            f"{len(vocab):,} words seen {self._options['min_count']} times or more make up "
            f"{vocab.total:,} of {vocab.tokens_read:,} words of the corpus"
        )
        return vocab

    def encoded(self, vocab: Vocabulary, threads: int, progress: Progress) -> EncodedCorpus:
        """Encoded, or that of the interrupted call."""
        if isinstance(self._corpus, EncodedCorpus):
            return self._corpus
        folder = self._work / "encoded"
        if self._found:
            return EncodedCorpus.open(folder)
        check_space(self._work, 4 * vocab.total)
        encoded = encode_corpus(
            self._corpus,
            vocab,
            folder,
            max_sentence_length=self._options["max_sentence_length"] or LARGEST,
            threads=threads,
            progress=progress.phase("encoding"),
        )
        if self._request is not None:
            with replacing(self._record) as file:
                file.write(json.dumps(self._request).encode())
        return encoded


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """The folder for what is unfinished, which stays when the process is stopped or killed."""
    work = target / UNFINISHED
    made = not work.exists()
    work.mkdir(exist_ok=True)
    try:
        yield work
    except Exception as error:
        # A wrong argument is no reason to lose what an interrupted call has done.
        if made or isinstance(error, OSError):
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work)
