"""Training of word2vec over a corpus in numbers."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lexforge import _library
from lexforge.models.word2vec.settings import Word2VecSettings
from lexforge.ops._tables import to_huge_pages
from lexforge.ops.sampling.sampling import build_alias, keep_probability, noise_weights
from lexforge.ops.word2vec.word2vec_train import (
    SENTENCES_TOGETHER,
    Bags,
    HuffmanPaths,
    shard_rows,
    word2vec_train_,
)
from lexforge.text import Corpus, EncodedCorpus, Vocabulary, encode_corpus
from lexforge.text.huffman import HuffmanTree
from lexforge.training.memory import available_memory
from lexforge.training.progress import Progress
from lexforge.training.stream_job import Steps, StreamState, on_device

SHARDS = 2  # of a round


def rounds_of(settings: Word2VecSettings, num_tokens: int) -> dict[str, int]:
    """The rounds of training whose result threads must not change, of a corpus of so many tokens.

    A run keeps its numbers. On the CPU shards of a round do not see each other's changes, so that a
    corpus has 64 rounds or more; long ones are faster. On a GPU rounds are of so many windows or of
    what suits it; a tree's root meets every input, and its errors must not go stale.
    """
    together = 32 if not settings.hs else 2 if settings.sg else 4
    tokens = min(max(num_tokens // (64 * SHARDS), 64), 65536)
    return {"windows_together": together, "shards": SHARDS, "shard_tokens": tokens}


@contextmanager
def encoded(
    corpus: Corpus,
    vocabulary: Vocabulary,
    settings: Word2VecSettings,
    folder: str | os.PathLike | None,
    *,
    threads: int | None,
    progress: Progress,
) -> Iterator[EncodedCorpus]:
    """The corpus in numbers, in a folder that is given or in one that goes away again."""
    with tempfile.TemporaryDirectory(prefix="lexforge-") as temporary:
        place = Path(folder or temporary)
        yield _encoded_before(corpus, vocabulary, settings, place) or encode_corpus(
            corpus,
            vocabulary,
            place,
            max_sentence_length=settings.max_sentence_length,
            threads=threads,
            progress=progress.phase("encoding"),
        )


def _encoded_before(
    corpus: Corpus, vocabulary: Vocabulary, settings: Word2VecSettings, folder: Path
) -> EncodedCorpus | None:
    """What the folder holds, when it is this corpus under this vocabulary and settings."""
    try:
        found = EncodedCorpus.open(folder)
    except (FileNotFoundError, ValueError):
        return None
    expected = {
        "vocabulary_sha1": vocabulary.sha1(),
        "max_sentence_length": settings.max_sentence_length,
        "lowercase": settings.lowercase,
        "encoding": corpus.encoding,
        "errors": corpus.errors or "replace",
        "sources": corpus.sources(),
    }
    same = all(found.meta.get(name) == value for name, value in expected.items())
    return found if same and corpus.paths else None


def word2vec_steps(
    corpus: EncodedCorpus,
    vocabulary: Vocabulary,
    settings: Word2VecSettings,
    state: StreamState,
    tables: Mapping[str, torch.Tensor],
    tree: HuffmanTree | None,
    lockf: Callable[[], np.ndarray],
    bags: Bags | None = None,
    *,
    device: torch.device,
    threads: int | None,
    refresh: Callable[[], None],
) -> Steps:
    """Skip-gram or CBOW, by negative sampling, hierarchical softmax, or both.

    Positions are sentences, or where threads must not change the result rounds of them, at whose
    ends runs can be cut without a trace.

    Args:
        state: Its ``corpus`` may name the numbers of :func:`rounds_of`.
        tables: The model's, float32 [V, stride] on the CPU: ``input``, of words as contexts, which
            are the vectors to keep, or [rows, stride] with bags; ``output``, of words as centres
            and noise, for negative sampling; ``tree``, [V - 1, stride] of inner nodes, for
            hierarchical softmax.
        tree: Over the vocabulary, with the table of that name.
        lockf: Tells float32 [rows] or [1], what steps of the rows of ``input`` are multiplied by;
            it is asked again whenever the model may have been changed.
        bags: The rows of each word, on the CPU.
        refresh: Called when the tables have changed.
    """
    corpus = corpus.held((available_memory() or 0) // 4)
    counts = torch.from_numpy(np.ascontiguousarray(vocabulary.counts, dtype=np.int64))
    share = sample_share(settings.sample, vocabulary.total)
    keep = keep_probability(counts, share, rule="word2vec").to(device)
    noise = paths = None
    if "output" in tables:
        noise = build_alias(noise_weights(counts, settings.ns_exponent)).to(device)
    if tree is not None:
        begins, nodes = (torch.from_numpy(each).to(device) for each in (tree.offsets, tree.nodes))
        paths = HuffmanPaths(begins, nodes, tree.longest)
    stats = torch.zeros(3, dtype=torch.float64, device=device)
    rounds: dict[str, Any] = {}
    if "windows_together" in state.corpus:
        on_gpu = device.type != "cpu" or _library.emulated()
        names = ("windows_together",) if on_gpu else ("shards", "shard_tokens")
        if not state.corpus.keys() >= set(names):
            raise ValueError(
                "train: cannot resume: the interrupted run is deterministic as an earlier version "
                "was, without shards"
            )
        rounds = {name: state.corpus[name] for name in names}
    if bags is not None:
        offsets_of, rows_of = bags.offsets.to(device), bags.rows.to(device)
        bags = bags._replace(offsets=offsets_of, rows=rows_of)
    if device.type == "cpu":  # read in no order
        lists = [keep, noise, *(paths or ())[:2], *(bags or ())[:2]]
        for each in filter(torch.is_tensor, lists):
            to_huge_pages(each)
    dtype = None if settings.precision == "float32" else torch.bfloat16
    # What follows from the model and is made anew where that was changed.
    derived: dict[str, Any] = {}

    def locked(name: str) -> torch.Tensor | None:
        scale = derived["in_scale"]
        return scale == 0 if name == "input" and scale is not None else None

    placed, fetch, send_tables = on_device(tables, device, refresh, dtype, locked)
    if dtype is not None:
        for each in placed.values():
            to_huge_pages(each)
    _check_memory(placed, rounds.get("shards", 0), settings.OWNER)

    def send() -> None:
        send_tables()
        if "shards" in rounds:
            others = placed.get("output"), placed.get("tree")
            derived["shard_rows"] = shard_rows(rounds["shards"], placed["input"], *others)
        factors = np.float32(lockf())
        derived["in_scale"] = None
        if (factors != 1).any():
            of_rows = np.broadcast_to(factors, len(tables["input"])).copy()
            derived["in_scale"] = torch.from_numpy(of_rows).to(device)

    send()
    tokens, offsets = corpus.tokens.to(device), corpus.offsets.to(device)
    # The sentences at which a call may begin.
    begins = torch.arange(corpus.num_sentences + 1)
    if "windows_together" in rounds:
        begins = torch.cat([begins[:-1:SENTENCES_TOGETHER], begins[-1:]])
    elif rounds:
        size = rounds["shards"] * rounds["shard_tokens"]
        first = torch.searchsorted(corpus.offsets, torch.arange(0, corpus.num_tokens, size))
        begins = torch.cat([first, begins[-1:]]).unique()

    positions = corpus.offsets[begins]

    def step(epoch: int, first: int, last: int) -> None:
        corpus.refuse_cut()
        word2vec_train_(
            placed["input"],
            placed.get("output"),
            placed.get("tree"),
            stats,
            tokens,
            offsets,
            keep,
            noise,
            paths,
            bags=bags,
            **derived,
            model="skipgram" if settings.sg else "cbow",
            first_sentence=int(begins[first]),
            last_sentence=int(begins[last]),
            window=settings.window,
            negatives=settings.negative,
            dynamic_window=settings.shrink_windows,
            negative_sharing=settings.negative_sharing,
            cbow_mean=bool(settings.cbow_mean),
            **rounds,
            alpha=state.alpha,
            min_alpha=state.min_alpha,
            tokens_before=epoch * corpus.num_tokens,
            total_tokens=state.total,
            seed=settings.seed,
            epoch=state.first_epoch + epoch,
            threads=threads,
        )

    return Steps(lambda epoch: positions, step, stats, fetch, send)


def _check_memory(tables: Mapping[str, torch.Tensor], copies: int, owner: str) -> None:
    """Refuse copies of the tables that do not fit: the system would grant them all the same."""
    needed = copies * sum(table.nbytes for table in tables.values())
    free = available_memory()
    if free is not None and needed > free:
        raise MemoryError(
            f"{owner}: deterministic needs up to {copies} copies of the tables, "
            f"{needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free: lower vector_size, or "
            "raise min_count"
        )


def sample_share(sample: float, total: int) -> float:
    """The sub-sampling threshold as a share of all words."""
    if sample < 1:
        return sample
    # gensim's shorthand: words that occur more often than this are sampled down.
    return int(sample * (3 + math.sqrt(5)) / 2) / max(total, 1)
