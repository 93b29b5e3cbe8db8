"""Training by the fasttext package's functions: its arguments, names, order and defaults."""

from __future__ import annotations

import functools
import inspect
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lexforge._arguments import MAX_THREADS, existing, one_of, whole
from lexforge.models.fasttext.original import LABEL, Model
from lexforge.training.checkpoint import (
    CONFIG,
    STATE,
    TENSORS,
    VOCABULARY,
    drop_checkpoint,
    is_checkpoint,
    read_json,
    write_json,
)
from lexforge.training.lock import folder_of_run
from lexforge.training.settings import changes, refuse

if TYPE_CHECKING:
    from lexforge.training.progress import Progress
    from lexforge.training.signals import StopRequest

_Trainer = TypeVar("_Trainer", bound=Callable[..., Model])
ARGUMENTS = "arguments.json"  # beside a checkpoint: those of the call, by the names here
# What a run that is resumed may have otherwise; the text is known by its content.
MAY_CHANGE = ("input", "thread", "verbose")
_OF_RUN = ("progress", "checkpoint_folder", "checkpoint_every", "stop", "resume")

THREADS = min(max(multiprocessing.cpu_count() - 1, 1), MAX_THREADS)
ALIASES = {
    "min_count": "minCount",
    "word_ngrams": "wordNgrams",
    "lr_update_rate": "lrUpdateRate",
    "label_prefix": "label",
    "pretrained_vectors": "pretrainedVectors",
}


def _with_aliases(train: _Trainer) -> _Trainer:
    """Takes some arguments by other names, too, as the package does."""

    @functools.wraps(train)
    def called(*given: Any, **named: Any) -> Model:
        places = list(inspect.signature(train).parameters)[: len(given)]
        for alias, name in ALIASES.items():
            if alias in named:
                if name in named or name in places:
                    raise TypeError(f"multiple values for argument '{name}'")
                named[name] = named.pop(alias)
        return train(*given, **named)

    return called  # type: ignore[return-value]


def run_arguments(folder: str | os.PathLike) -> dict[str, Any]:
    """Those of the call whose unfinished run a folder holds, but for :data:`MAY_CHANGE`.

    ``model`` is "skipgram", "cbow" or "supervised".

    Raises:
        FileNotFoundError: There is no run to resume. CheckpointError: The file is damaged.
    """
    if not is_checkpoint(folder):
        raise FileNotFoundError(f"{os.fspath(folder)} holds no checkpoint: no run to resume")
    return read_json(Path(folder, ARGUMENTS))


def drop_run(folder: str | os.PathLike) -> None:
    """Remove what a run has left in its folder, whose lock is held."""
    drop_checkpoint(folder, (CONFIG, VOCABULARY, TENSORS, "model.bin", STATE, ARGUMENTS))


@contextmanager
def _folder(
    function: str, given: Mapping[str, Any], folder: str | os.PathLike | None, resume: bool
) -> Iterator[None]:
    """The folder of a run, with the arguments of the call, where there is one.

    Args:
        given: All arguments of the call.

    Raises:
        ValueError: `resume` without a folder, or with other arguments than the run's.
    """
    if folder is None:
        if resume:
            raise ValueError(f"{function}: resume needs the checkpoint_folder of the run")
        yield
        return
    left_out = (*MAY_CHANGE, *_OF_RUN)
    plain = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in given.items()
        if name not in left_out
    }
    with folder_of_run(folder):
        if resume:
            refuse(changes({**plain, **run_arguments(folder)}, plain))
        else:
            drop_run(folder)
            write_json(Path(folder, ARGUMENTS), plain)
        try:
            yield
        finally:
            if not is_checkpoint(folder):
                drop_run(folder)


@_with_aliases
def train_unsupervised(
    input: str | os.PathLike,
    model: str = "skipgram",
    lr: float = 0.05,
    dim: int = 100,
    ws: int = 5,
    epoch: int = 5,
    minCount: int = 5,
    minCountLabel: int = 0,
    minn: int = 3,
    maxn: int = 6,
    neg: int = 5,
    wordNgrams: int = 1,
    loss: str = "ns",
    bucket: int = 2_000_000,
    thread: int = THREADS,
    lrUpdateRate: int = 100,
    t: float = 1e-4,
    label: str = LABEL,
    verbose: int = 2,
    pretrainedVectors: str | os.PathLike = "",
    seed: int = 0,
    *,
    progress: Progress | None = None,
    checkpoint_folder: str | os.PathLike | None = None,
    checkpoint_every: float | None = None,
    stop: StopRequest | None = None,
    resume: bool = False,
) -> Model:
    """Trains word vectors with sub-words on a text, as ``fasttext.train_unsupervised``.

    Args:
        input: a file of text in UTF-8, words between spaces. Words that begin with `label` are
            left out.
        model: "skipgram" or "cbow".
        lr: first learning rate; it falls to 0.
        dim: numbers in a vector.
        ws: largest distance of context.
        epoch: passes over the text.
        minCount: rarer words are left out.
        minn, maxn: characters of n-grams; 0 for `maxn`: none.
        neg: noise words, with the loss "ns".
        loss: "ns", noise words, or "hs", a tree.
        bucket: rows that n-grams share.
        thread: threads; with one, a run gives the same bits again.
        t: words above this share of the text are thinned out.
        label: see `input`.
        verbose: 0: show nothing.
        pretrainedVectors: a file of vectors that the words in it start from.
        seed: of all randomness.
        minCountLabel, wordNgrams, lrUpdateRate: accepted; they change nothing.
        progress: where to show and log it, instead of what `verbose` says.
        checkpoint_folder: save there every `checkpoint_every` minutes, and when stopped, so that
            the same call with `resume` goes on from there. It is not written to at the end.
        checkpoint_every: minutes; None for no checkpoints in between.
        stop: when it is requested, training saves and returns early: the model's ``state``
            (:class:`~lexforge.training.stream_job.StreamState`) is not ``finished``.
        resume: continue the unfinished run in `checkpoint_folder`, with the same arguments.

    Raises:
        FileNotFoundError: there is no such file. TypeError, ValueError: an argument of the wrong
            kind, or out of range; a resume with other arguments or another text.
    """
    given = dict(locals())
    from lexforge.models.fasttext.files import facebook_file
    from lexforge.models.fasttext.model import FastText
    from lexforge.text.vocabulary import RULE_DEFAULT, RULE_DISCARD

    path = _text_file("train_unsupervised", input)
    one_of("train_unsupervised", "model", model, ("skipgram", "cbow"))
    one_of("train_unsupervised", "loss", loss, ("ns", "hs"))
    wordNgrams = whole("train_unsupervised", "wordNgrams", wordNgrams)
    lrUpdateRate = whole("train_unsupervised", "lrUpdateRate", lrUpdateRate)

    def rule(word: str, count: int, least: int) -> int:
        return RULE_DISCARD if word.startswith(label) else RULE_DEFAULT

    shown = bool(verbose) if progress is None else progress
    with _folder("train_unsupervised", given, checkpoint_folder, resume):
        if resume and checkpoint_folder is not None:
            trained = FastText.load(checkpoint_folder, workers=thread)
        else:
            trained = FastText(
                vector_size=dim,
                sg=int(model == "skipgram"),
                hs=int(loss == "hs"),
                negative=0 if loss == "hs" else neg,
                alpha=lr,
                min_alpha=0,
                window=ws,
                epochs=epoch,
                min_count=minCount,
                min_n=max(minn, 1),
                max_n=maxn,
                bucket=bucket,
                sample=t,
                ns_exponent=0.5,
                seed=seed,
                workers=thread,
                init=pretrainedVectors or None,
            )
            trained.build_vocab(corpus_file=path, trim_rule=rule, progress=shown)
        trained.train(
            corpus_file=path,
            progress=shown,
            checkpoint_folder=checkpoint_folder,
            checkpoint_every=checkpoint_every,
            checkpoint_last=False,
            stop=stop,
            resume=resume,
        )
    file = facebook_file(trained, lr_update_rate=lrUpdateRate, word_ngrams=wordNgrams)
    file = replace(file, t=t, neg=neg)
    told = {"lr": lr, "minCountLabel": minCountLabel, "thread": thread, "verbose": verbose}
    return Model(file, label, pretrainedVectors=pretrainedVectors, state=trained.state, **told)


@_with_aliases
def train_supervised(
    input: str | os.PathLike,
    lr: float = 0.1,
    dim: int = 100,
    ws: int = 5,
    epoch: int = 5,
    minCount: int = 1,
    minCountLabel: int = 0,
    minn: int = 0,
    maxn: int = 0,
    neg: int = 5,
    wordNgrams: int = 1,
    loss: str = "softmax",
    bucket: int = 2_000_000,
    thread: int = THREADS,
    lrUpdateRate: int = 100,
    t: float = 1e-4,
    label: str = LABEL,
    verbose: int = 2,
    pretrainedVectors: str | os.PathLike = "",
    seed: int = 0,
    autotuneValidationFile: str = "",
    autotuneMetric: str = "f1",
    autotunePredictions: int = 1,
    autotuneDuration: int = 300,
    autotuneModelSize: str = "",
    *,
    progress: Progress | None = None,
    checkpoint_folder: str | os.PathLike | None = None,
    checkpoint_every: float | None = None,
    stop: StopRequest | None = None,
    resume: bool = False,
) -> Model:
    """Trains a classifier of lines on a text with labels, as ``fasttext.train_supervised``.

    Args:
        input: a file of text in UTF-8, a line for each example: words, and one or more labels,
            which begin with `label`.
        lr: first learning rate; it falls to 0.
        dim: numbers in a vector.
        epoch: passes over the text.
        minCount, minCountLabel: rarer words, and labels, are left out.
        minn, maxn: characters of n-grams; 0 for `maxn`: none.
        neg: noise labels, with the loss "ns".
        wordNgrams: longest sequence of words that is looked at together.
        loss: "softmax"; "ova", each label on its own; "ns", noise labels; "hs", a tree.
        bucket: rows that n-grams share, of characters and of words.
        thread: threads; with one, a run gives the same bits again.
        label: with which labels begin.
        verbose: 0: show nothing.
        pretrainedVectors: a file of vectors, of `dim` numbers, that words start from.
        seed: of all randomness.
        ws, lrUpdateRate, t: accepted, and kept in the model's file; they change nothing.
        autotuneValidationFile, autotuneMetric, ...: there is no autotuning here.
        progress: where to show and log it, instead of what `verbose` says.
        checkpoint_folder: save there every `checkpoint_every` minutes, and when stopped, so that
            the same call with `resume` goes on from there. It is not written to at the end.
        checkpoint_every: minutes; None for no checkpoints in between.
        stop: when it is requested, training saves and returns early: the model's ``state``
            (:class:`~lexforge.training.stream_job.StreamState`) is not ``finished``.
        resume: continue the unfinished run in `checkpoint_folder`, with the same arguments.

    Raises:
        FileNotFoundError: there is no such file. TypeError, ValueError: an argument of the wrong
            kind, or out of range; a text without labels; autotuning; a resume with other arguments
            or another text.
    """
    given = {"model": "supervised", **locals()}
    from lexforge.models.fasttext.classifier import FastTextClassifier

    tuning = autotuneMetric, autotunePredictions, autotuneDuration, autotuneModelSize
    if autotuneValidationFile or tuning != ("f1", 1, 300, ""):
        raise ValueError(
            "train_supervised: there is no autotuning here: leave out autotune..., and give lr, "
            "epoch, wordNgrams and the like themselves"
        )
    path = _text_file("train_supervised", input)
    ws = whole("train_supervised", "ws", ws)
    lrUpdateRate = whole("train_supervised", "lrUpdateRate", lrUpdateRate)
    with _folder("train_supervised", given, checkpoint_folder, resume):
        if resume and checkpoint_folder is not None:
            classifier = FastTextClassifier.load(checkpoint_folder, workers=thread)
        else:
            classifier = FastTextClassifier(
                lr=lr,
                dim=dim,
                epoch=epoch,
                min_count=minCount,
                min_count_label=minCountLabel,
                word_ngrams=wordNgrams,
                minn=minn,
                maxn=maxn,
                bucket=bucket,
                loss=loss,
                neg=neg,
                label=label,
                seed=seed,
                workers=thread,
            )
        classifier.train(
            path,
            pretrained_vectors=None if resume else pretrainedVectors or None,
            progress=bool(verbose) if progress is None else progress,
            checkpoint_folder=checkpoint_folder,
            checkpoint_every=checkpoint_every,
            checkpoint_last=False,
            stop=stop,
            resume=resume,
        )
    told = {"lr": lr, "minCountLabel": minCountLabel, "thread": thread, "verbose": verbose}
    file = replace(classifier._file(), ws=ws, lrUpdateRate=lrUpdateRate, t=float(t))
    return Model(file, label, pretrainedVectors=pretrainedVectors, state=classifier.state, **told)


def _text_file(function: str, path: Any) -> str:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{function}: input must be the path of a text file, got {path!r:.60}")
    if os.fspath(path) == "-":
        raise ValueError(f"{function}: input must be a file: it is read several times")
    return os.fspath(existing(f"{function}: input", path))
