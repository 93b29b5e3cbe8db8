"""Training of classifiers: texts and their classes in, a :class:`TextClassifier` out."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lexforge._display import html_table
from lexforge._library import resolve_device
from lexforge.models.bert.steps import step_seed
from lexforge.models.classification.bert import BertClassifier, first_values, read_classifier
from lexforge.models.classification.classifier import (
    TextClassifier,
    encoded_texts,
    with_names,
)
from lexforge.models.classification.files import NETWORKS, Contents, read_contents
from lexforge.models.classification.network import Network, WordNetwork, drawing
from lexforge.models.classification.settings import (
    BALANCED,
    RECIPES,
    WORD_SIZE,
    EvaluationSettings,
    TrainingSettings,
)
from lexforge.models.classification.vectors import (
    fill_tables,
    read_word_vectors,
    train_word_vectors,
)
from lexforge.text.classification import LabelledTexts, read_labelled, read_texts
from lexforge.text.classification.batches import TextBatch, length_buckets, text_batch
from lexforge.text.classification.encoded import EncodedTexts
from lexforge.text.tokenizers.published import PublishedTokenizer, as_tokenizer, load_tokenizer
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.training.metrics import ClassScores
from lexforge.training.network_checkpoint import BEST
from lexforge.training.network_job import NetworkState
from lexforge.training.network_run import (
    NetworkResult,
    NetworkRun,
    RunArguments,
    check_precision,
    evaluated_as,
    read_run,
)
from lexforge.training.progress import Progress, clock, count
from lexforge.training.state import Amounts, Reading
from lexforge.training.stepper import Stepper

if TYPE_CHECKING:
    from lexforge.text.tokenizers.base import Tokenizer
    from lexforge.training.signals import StopRequest

OWNER = TrainingSettings.OWNER
# Tokenizers that are made of the texts.
WORDS, SPLIT, WORDPIECE = MADE = ("words", "split", "wordpiece")
VOCAB_SIZE = 16_000  # of word pieces
# What steps add up: losses by their weights, those weights, right texts, and all.
SUMS = ("loss_sum", "weight", "hits", "count")


@dataclass(kw_only=True)
class ClassifierState(NetworkState):
    """Where a run stands; with parameters and optimiser, all that a resume needs."""

    OPTIONAL: ClassVar[frozenset[str]] = NetworkState.OPTIONAL | {"confusions"}

    # Of each evaluation: texts by class, and by the class that they were taken for.
    confusions: list[list[list[int]]] = field(default_factory=list)

    @property
    def examples_per_second(self) -> float:
        """Texts, or pairs of them, per second of training."""
        return self.sums.get("examples", 0) / self.seconds if self.seconds else 0.0

    def measures(self, part: Amounts) -> dict[str, float]:
        """Loss and accuracy, while training."""
        sums = part.sums
        return {
            "loss": round(sums["loss_sum"] / max(sums["weight"], 1e-9), 6),
            "accuracy": round(sums["hits"] / max(sums["count"], 1), 6),
        }

    def reading(self, part: Amounts) -> Reading:
        """Loss, accuracy, speed, learning rate."""
        speeds = {
            f"{name}_per_second": round(part.sums.get(name, 0) / part.seconds, 1)
            for name in ("examples", "tokens")
        }
        values = {
            "time": round(self.seconds, 3),
            "step": self.done,
            "epoch": self.epoch + 1,
            **self.measures(part),
            **speeds,
            "lr": self.learning_rate,
        }
        loss = f"loss {values['loss']:.4f}"
        right = f"accuracy {values['accuracy']:.1%}"
        speed = f"{count(speeds['examples_per_second'])} examples/s"
        more = [f"{count(speeds['tokens_per_second'])} tokens/s", f"lr {self.learning_rate:.3g}"]
        return Reading(
            f"step {self.done}/{self.total}",
            "  ".join([loss, right, speed, *more]),
            values,
            [loss, right, speed],
            more[::-1],
        )


def describe(values: Mapping[str, Any]) -> str:
    """An evaluation in words."""
    return (
        f"loss {values['loss']:.4f}, accuracy {values['accuracy']:.1%}, "
        f"macro-F1 {values['macro_f1']:.3f}"
    )


@dataclass
class TrainingResult(NetworkResult):
    """What :func:`train_classifier` returns; also that of a run that was stopped.

    Attributes:
        classifier: with the network of the best evaluation, or the last one where nothing is held
            out.
        settings, state: how it was trained, and how it went.
    """

    classifier: TextClassifier
    settings: TrainingSettings
    state: ClassifierState

    def __repr__(self) -> str:
        best = self.state.best_evaluation
        end = "" if best is None else f"; {describe(best)} at step {best['step']}"
        return f"TrainingResult(step {self.state.done}/{self.state.total}{end})"

    def _repr_html_(self) -> str:
        """What a notebook shows: each evaluation."""
        state = self.state
        rows = [
            (each["step"], each["loss"], f"{each['accuracy']:.1%}", each["macro_f1"])
            for each in state.evaluations
        ]
        title = (
            f"{self.classifier.network.KIND}, step {state.done:,} of {state.total:,}, "
            f"{clock(state.seconds)}, {state.examples_per_second:,.0f} examples/s"
        )
        return html_table(rows, ["step", "loss", "accuracy", "macro-F1"], title)


def train_classifier(
    data: LabelledTexts | str | os.PathLike,
    *,
    model: str | os.PathLike | Network | None = None,
    dev: LabelledTexts | str | os.PathLike | None = None,
    tokenizer: Tokenizer | str | os.PathLike | None = None,
    vectors: Any = None,
    unlabelled: LabelledTexts | str | os.PathLike | None = None,
    shape: Mapping[str, Any] | None = None,
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    eval_every: int | None = None,
    early_stopping: int | None = None,
    device: str | torch.device = "auto",
    workers: int | None = None,
    checkpoint_every: float | None = None,
    keep: int = 0,
    progress: Progress | bool = False,
    stop: StopRequest | None = None,
    callbacks: Sequence[Any] = (),
    **settings: Any,
) -> TrainingResult:
    """Train a network to tell the classes of texts, or of pairs of texts.

    With nothing but texts this is the reference text's run of the network, with its rates, batches
    and passes. On one machine and with one number of threads a run is a function of its arguments,
    bit for bit, however often it is stopped and resumed.

    Args:
        data: texts and their classes, or what :func:`~lexforge.classification.read_labelled` reads.
        model: ``"textcnn"`` (the default) or ``"birnn"`` for single texts, ``"decomposable"`` for
            pairs; a folder with a pretrained or fine-tuned BERT, for either; or a network to go on
            from, with its `tokenizer`.
        dev: texts on which the network is evaluated after every epoch, by its mean loss, accuracy
            and macro-F1. By default ``dev_share`` of `data` is held out for that, unless there are
            too few. The best network is what the result has, and with `out` what ``out/best``
            holds.
        tokenizer: ``"words"``, those of the texts between spaces, in lower case (the default);
            ``"split"``, words and marks apart; ``"wordpiece"``, pieces that are trained on the
            texts; a folder with a tokenizer; or a tokenizer.
        vectors: pretrained word vectors: a :class:`KeyedVectors`, a model that has them, also
            fastText's, a vector file or the name of a data set. They are the first values of the
            network's table; tokens that have none get zeros.
        unlabelled: further texts like `data`, or what :func:`~lexforge.classification.read_texts`
            reads. On these and on those of `data` word vectors are trained first (word2vec,
            skip-gram), in place of `vectors`.
        shape: fields of the network's configuration, such as ``{"hidden_size": 200}``.
            ``embed_size`` is that of the vectors where nothing else is said.
        out, resume, overwrite: as for :func:`lexforge.bert.pretrain`. A run is resumed on the same
            texts; ``steps`` and ``epochs`` may change.
        eval_every: steps between evaluations; an epoch by default.
        early_stopping: the run ends after so many evaluations in a row without a smaller loss; 0,
            the default, for never.
        device, workers, checkpoint_every, keep, progress, stop, callbacks: as for
            :func:`lexforge.bert.pretrain`.
        settings: any of :class:`~lexforge.classification.TrainingSettings`, such as
            ``epochs=3, learning_rate=1e-3, batch_size=32, class_weights="balanced"``.

    Returns:
        The classifier, on the device, and how it went.

    Raises:
        ValueError, TypeError: an argument out of range or of the wrong kind; texts of one class
            only, without tokens, or of a class that `data` lacks; vectors of another size, with
            numbers that are not finite, or without a word of the texts; a resume with other
            settings or texts.
        The others as :func:`lexforge.bert.pretrain`.

    Example:
        >>> from lexforge.classification import LabelledTexts, train_classifier
        >>> texts = LabelledTexts.of(["so great", "so bad"] * 50, labels=["good", "bad"] * 50)
        >>> result = train_classifier(texts, model="textcnn", min_count=1)
        >>> result.classifier.predict(["great"]).labels
        ['good']
    """
    arguments = RunArguments.of(OWNER, locals())
    known = {each.name for each in fields(TrainingSettings)}
    if unknown := sorted(settings.keys() - known):
        raise TypeError(f"{OWNER}: there is no setting {', '.join(unknown)}")
    given = {name: value for name, value in settings.items() if value is not None}
    if "steps" in given and "epochs" in given:
        raise ValueError(
            f"{OWNER}: give steps or epochs, got {given['steps']} and {given['epochs']}"
        )
    if dev is not None and "dev_share" in given:
        raise ValueError(f"{OWNER}: give dev or dev_share, got both")
    if vectors is not None and unlabelled is not None:
        raise ValueError(f"{OWNER}: give vectors or unlabelled, got both")
    both = {"eval_every": eval_every, "early_stopping": early_stopping}
    evaluation = {name: value for name, value in both.items() if value is not None}
    replace(EvaluationSettings(), **evaluation)
    device = resolve_device(OWNER, device)
    with arguments.opened() as progress:
        if out is not None and resume:
            training = _Run.saved(out, model, tokenizer, shape)
        else:
            training = _Run(model, tokenizer, shape)
        training.prepare(data, dev, vectors, unlabelled, given, evaluation, progress)
        check_precision(OWNER, training.settings.precision, device)
        progress.say(training.describe())
        for note in training.notes:
            progress.say(note)
        training.fit(device, arguments, progress)
    return training.result


class _Part(NamedTuple):
    """What goes through the network at once."""

    batch: TextBatch
    scale: float = 1.0  # one over the weights of the step's texts
    seed: int | None = None  # of what the network draws; None: nothing is learned


class _StepData(NamedTuple):
    """What a step needs, and where the data go on after it."""

    parts: list[_Part]
    epoch: int
    batch: int
    ends_epoch: bool
    counts: dict[str, int]


def draw_steps(
    texts: EncodedTexts,
    settings: TrainingSettings,
    weights: np.ndarray,
    state: NetworkState,
    *,
    pin: bool = False,
) -> Generator[_StepData, None, None]:
    """The data of one step after another from where a state stands, without an end.

    Args:
        weights: [C], of the classes.
        pin: hold them in memory that a GPU copies from without waiting.
    """
    assert texts.labels is not None  # the texts have been asked for them
    step, batch = state.done, state.position
    for epoch in itertools.count(state.epoch):
        groups = length_buckets(
            texts.lengths, settings.batch_size, settings.seed, epoch, pool=settings.sort_batches
        )
        while batch < len(groups):
            rows = groups[batch]
            scale = 1 / float(weights[texts.labels[rows]].sum())
            pieces = np.array_split(rows, min(settings.accumulation, len(rows)))
            parts = [
                _Part(
                    text_batch(texts, piece, pin=pin),
                    scale,
                    int(step_seed(settings.seed, step, number)),
                )
                for number, piece in enumerate(pieces)
            ]
            step, batch = step + 1, batch + 1
            tokens = sum(part.batch.num_tokens for part in parts)
            counts = {"examples": len(rows), "tokens": tokens}
            yield _StepData(parts, epoch, batch, batch == len(groups), counts)
        batch = 0


class Losses:
    """What the stepper differentiates and adds up, of a part.

    Attributes:
        confusion: int64 [C, C] of the parts that nothing is learned from.
    """

    def __init__(self, network: Network, weights: np.ndarray, device: torch.device) -> None:
        self._network, self._device = network, device
        self._weights = torch.tensor(weights, dtype=torch.float32, device=device)
        size = network.num_classes
        self.confusion = torch.zeros(size, size, dtype=torch.int64, device=device)

    def __call__(self, part: _Part) -> tuple[Tensor, Tensor]:
        batch = part.batch.to(self._device)
        labels = batch.labels
        assert labels is not None  # the data have been asked for them
        with drawing(part.seed, self._device):
            logits = self._network(batch.first, batch.second).float()
        total = functional.cross_entropy(logits, labels, self._weights, reduction="sum")
        found = logits.detach().argmax(1)
        if part.seed is None:
            self.confusion.index_put_((labels, found), torch.ones_like(labels), accumulate=True)
        hits, weight = (found == labels).sum(), self._weights[labels].sum()
        size = torch.full_like(weight, len(labels))
        sums = torch.stack([total.detach(), weight, hits.float(), size]).double()
        return total * part.scale, sums


class _Run:
    """A run: what it is made of, its data, its training.

    Args:
        model, tokenizer, shape: see :func:`train_classifier`.
    """

    network: Network
    tokenizer: Tokenizer
    names: tuple[str, ...]
    settings: TrainingSettings
    state: ClassifierState
    texts: EncodedTexts

    def __init__(
        self,
        model: str | os.PathLike | Network | None,
        tokenizer: Any,
        shape: Mapping[str, Any] | None,
    ) -> None:
        if isinstance(model, (str, os.PathLike)) and model not in NETWORKS:
            if not Path(model).is_dir():
                raise ValueError(
                    f"{OWNER}: model must be one of {', '.join(NETWORKS)}, a folder with a BERT or "
                    f"a network, got {os.fspath(model)!r}"
                )
            model = Path(model)
        if isinstance(model, Network) and tokenizer is None:
            tokenizer = model.tokenizer
        if isinstance(model, Network) and (tokenizer is None or isinstance(tokenizer, str)):
            raise ValueError(f"{OWNER}: tokenizer must be that of the network, got {tokenizer!r}")
        if isinstance(model, (Network, Path)) and shape:
            raise ValueError(f"{OWNER}: shape must be that of the network, got {dict(shape)}")
        self._model, self._tokenizer, self._shape = model, _named(tokenizer), dict(shape or {})
        self._saved: ClassifierState | None = None
        self._optimizer: dict[str, Tensor] | None = None
        self._evaluated: dict[str, Any] | None = None  # how, and what identifies the texts
        self._best: dict[str, Tensor] | None = None  # parameters of the best evaluation
        self.held_out: EncodedTexts | None = None
        self.notes: list[str] = []  # what there is to say of the texts

    @property
    def result(self) -> TrainingResult:
        """As far as it has come."""
        contents = self._contents()
        return TrainingResult(TextClassifier(*contents), self.settings, self.state)

    def _contents(self) -> Contents:
        return Contents(self.network, self.tokenizer, self.names, self.settings.max_len)

    @classmethod
    def saved(
        cls,
        folder: str | os.PathLike,
        model: str | os.PathLike | Network | None,
        tokenizer: Any,
        shape: Mapping[str, Any] | None,
    ) -> _Run:
        """The run of a checkpoint.

        Raises:
            ValueError: It has another network, tokenizer or shape than the given ones.
        """
        run = cls(None if isinstance(model, Network) else model, None, shape)
        if isinstance(run._model, Path):
            model = BertClassifier.KIND  # of which it is, only the first run asks
        saved = read_run(folder, read_contents, TrainingSettings, ClassifierState)
        run.network, run.tokenizer, run.names, _ = saved.content
        run.settings, run._saved, run._optimizer = saved.settings, saved.state, saved.optimizer
        run._evaluated = saved.evaluation
        kind = model.KIND if isinstance(model, Network) else model
        if kind not in (None, run.network.KIND):
            raise ValueError(
                f"cannot resume with another model: got {kind}, {run.network.KIND} in the run"
            )
        given = _named(tokenizer)
        if not (given is None or isinstance(given, str)) and (
            list(given.tokens) != list(run.tokenizer.tokens)
        ):
            raise ValueError(f"{OWNER}: tokenizer must be that of the run to resume, got another")
        if isinstance(run.network, WordNetwork):
            run.network.config.refuse_changes(run._shape_of(type(run.network)))
        if saved.state.evaluations:
            best = Path(folder) / BEST
            run._best = _parameters(read_contents(best).network)
        return run

    def _shape_of(self, network: type[WordNetwork]) -> dict[str, Any]:
        """The fields that are given, which the network must have."""
        known = {each.name for each in fields(network.CONFIG)} - {"vocab_size", "num_classes"}
        if unknown := sorted(self._shape.keys() - known):
            raise ValueError(
                f"{OWNER}: shape must have fields of {network.KIND}, {', '.join(sorted(known))}; "
                f"got {', '.join(unknown)}"
            )
        return self._shape

    def prepare(
        self,
        data: Any,
        dev: Any,
        vectors: Any,
        unlabelled: Any,
        given: dict[str, Any],
        evaluation: Mapping[str, int],
        progress: Progress,
    ) -> None:
        """Read and number the texts, and fix what depends on them.

        Raises:
            ValueError: The run to resume had other texts or other settings.
        """
        texts = _texts(data, "data")
        pairs = texts.second is not None
        may_change = ("steps", "epochs")
        if self._saved is not None:
            self.settings.refuse_changes(given, may_change)
            texts = with_names(texts, self.names, f"{OWNER}: data")
        else:
            if self._model is None:
                self._model = "decomposable" if pairs else "textcnn"
            kind = self._model if isinstance(self._model, str) else BertClassifier.KIND
            if isinstance(self._model, Network):
                kind = self._model.KIND
            self.settings = replace(RECIPES[kind], **given)
            if isinstance(self._model, Path):
                self._model = self._opened(self._model, texts)
            if isinstance(self._model, Network):
                if self._model.names is not None:
                    texts = with_names(texts, self._model.names, f"{OWNER}: data")
                if self._model.most_tokens is not None and "max_len" not in given:
                    longest = min(self.settings.max_len, self._model.most_tokens)
                    self.settings = replace(self.settings, max_len=longest)
        texts.require(f"{OWNER}: data", classes=2)
        held_out = None
        if dev is not None:
            held_out = with_names(_texts(dev, "dev"), texts.names, f"{OWNER}: dev")
        elif self.settings.dev_share:
            texts, held_out = self._split(texts, told="dev_share" in given)
        if held_out is not None:
            held_out.require(f"{OWNER}: dev")
        if self._saved is None:
            self.names = texts.names
            self._make(texts, vectors, unlabelled, progress)
        elif vectors is not None or unlabelled is not None:
            raise ValueError("cannot resume with vectors: those of the run are in its network")
        self.texts = self._encoded(texts, "data")
        self._weights = _weights(self.settings.class_weights, texts)
        if self._saved is not None and self._saved.corpus != (found := _identity(self.texts)):
            raise ValueError(
                f"cannot resume on other texts: got {found['texts']:,} of {found['tokens']:,} "
                f"tokens, the run's are {self._saved.corpus.get('texts')} of "
                f"{self._saved.corpus.get('tokens')}, or others"
            )
        per_epoch = -(-len(self.texts) // self.settings.batch_size)
        self.settings = self._settled(given, per_epoch)
        length = self.settings.length
        self.state = self._saved or ClassifierState(total=length, corpus=_identity(self.texts))
        self.state.total = length
        if held_out is not None:
            self.held_out = self._encoded(held_out, "dev")
        self._evaluated = evaluated_as(
            self._evaluated,
            self._saved is not None,
            evaluation if self._saved else {"eval_every": per_epoch, **evaluation},
            length,
            None if self.held_out is None else _identity(self.held_out),
            "dev",
        )
        if self._evaluated is None and evaluation:
            raise ValueError(f"{OWNER}: {', '.join(evaluation)} must come with dev")

    def _split(
        self, texts: LabelledTexts, told: bool
    ) -> tuple[LabelledTexts, LabelledTexts | None]:
        """The texts without those that are held out, and these; none of few texts unless told."""
        try:
            rest, held_out = texts.split(self.settings.dev_share, self.settings.seed)
        except ValueError as error:
            if told or self._saved is not None:
                raise ValueError(
                    f"{OWNER}: dev_share must leave texts to train on and to evaluate on, got "
                    f"{self.settings.dev_share:g} of {len(texts):,} texts; 0 holds out none"
                ) from error
            self.settings = replace(self.settings, dev_share=0.0)
            self.notes.append(f"{len(texts):,} texts are too few to hold some out")
            return texts, None
        rest.require(f"{OWNER}: data without dev_share", classes=2)
        return rest, held_out

    def _opened(self, folder: Path, texts: LabelledTexts) -> BertClassifier:
        """The BERT of a folder, with the classes of the texts, or of its own."""
        texts.require(f"{OWNER}: data", classes=2)
        named = self._tokenizer
        if isinstance(named, str):
            raise ValueError(f"{OWNER}: tokenizer must be that of {folder}, got {named!r}")
        network = read_classifier(folder, texts.names, tokenizer=named, seed=self.settings.seed)
        if network.fresh:
            self.notes.append(f"{folder}: {first_values(network)}")
        if network.tokenizer is None:
            raise ValueError(f"{OWNER}: tokenizer must be given, {folder} has none")
        self._tokenizer = network.tokenizer
        return network

    def _settled(self, given: Mapping[str, Any], per_epoch: int) -> TrainingSettings:
        """The settings, with the steps that the run has."""
        settings = replace(self.settings, **given)
        if "steps" not in given and ("epochs" in given or settings.steps is None):
            settings = replace(settings, steps=settings.epochs * per_epoch)
        if settings.warmup_steps is None:
            settings = replace(settings, warmup_steps=settings.length // 10)
        return settings

    def _make(
        self, texts: LabelledTexts, vectors: Any, unlabelled: Any, progress: Progress
    ) -> None:
        """Tokenizer and network of a new run."""
        settings = self.settings
        self.tokenizer = _tokenizer(self._tokenizer, texts, settings.min_count)
        found = None if vectors is None else read_word_vectors(vectors)
        if unlabelled is not None:
            more = _texts(unlabelled, "unlabelled", read_texts)
            size = self._shape.get("embed_size", WORD_SIZE)
            found = train_word_vectors([texts, more], self.tokenizer, size, settings.seed, progress)
        if isinstance(self._model, Network):
            self.network = self._model
            if self.network.num_classes != len(self.names):
                raise ValueError(
                    f"{OWNER}: model must tell {len(self.names)} classes, as data has, "
                    f"got {self.network.num_classes}"
                )
        else:
            assert isinstance(self._model, str)
            kind = NETWORKS[self._model]
            if not issubclass(kind, WordNetwork):
                raise ValueError(f"{OWNER}: model must be a network, to go on from a {self._model}")
            shape = dict(self._shape_of(kind))
            if found is not None:
                shape = {"embed_size": found.vector_size, **shape}
            sizes = {"vocab_size": len(self.tokenizer), "num_classes": len(self.names)}
            self.network = kind(kind.CONFIG(**sizes, **shape), seed=settings.seed)
        tables = [table for table, _ in self.network.tables()]
        if found is not None:
            if not tables:
                raise ValueError(f"{OWNER}: vectors must be None for {self.network.KIND}")
            number = fill_tables(tables, self.tokenizer.tokens, found)
            self.notes.append(
                f"{number:,} of {len(self.tokenizer):,} tokens have vectors; the others begin "
                "with zeros"
            )
        if settings.tune is None:
            # A table of first values would tell nothing if it stayed as it is.
            usual = all(trained for _, trained in self.network.tables()[:1])
            self.settings = replace(settings, tune=usual or found is None)

    def _encoded(self, texts: LabelledTexts, name: str) -> EncodedTexts:
        encoded = encoded_texts(
            self.network,
            self.tokenizer,
            self.settings.max_len,
            texts,
            f"{OWNER}: {name}[{{}}]".format,
        )
        if encoded.cut:
            self.notes.append(
                f"{name}: {encoded.cut:,} texts have more than {self.settings.max_len} tokens, and "
                "are cut"
            )
        return encoded

    def describe(self) -> str:
        """Sizes of the vocabulary, the data and the network."""
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        held_out = "" if self.held_out is None else f", {len(self.held_out):,} held out"
        return (
            f"{self.network.KIND}: {len(self.tokenizer):,} tokens in the vocabulary, "
            f"{len(self.texts):,} texts of {', '.join(self.names)}{held_out}, "
            f"{count(parameters)} parameters, {self.settings.length:,} steps"
        )

    def fit(self, device: torch.device, arguments: RunArguments, progress: Progress) -> None:
        """Train to the end, or until asked to stop; saves what is to be saved."""
        settings, state, network = self.settings, self.state, self.network.to(device)
        self._set_tables()
        losses = Losses(network, self._weights, device)
        run = NetworkRun(
            network,
            settings,
            state,
            lambda folder: self._contents().write(folder),
            self._optimizer,
            self._evaluated,
        )
        run.fit(
            device,
            lambda optimizer: Stepper(network, optimizer, losses, len(SUMS), settings.precision),
            SUMS,
            draw_steps(self.texts, settings, self._weights, state, pin=device.type == "cuda"),
            measure=None if self.held_out is None else partial(self._measure, losses),
            describe=describe,
            arguments=arguments,
            progress=progress,
            subject=self.result,
        )
        network.eval()
        if self._best is not None:
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    parameter.copy_(self._best[name])

    def _set_tables(self) -> None:
        """Which tables are trained; their gradients are sparse where no weight decays."""
        for number, (table, trained) in enumerate(self.network.tables()):
            table.weight.requires_grad_(bool(self.settings.tune) and (trained or number == 0))
            table.sparse = self.settings.weight_decay == 0

    def _measure(self, losses: Losses, stepper: Stepper) -> dict[str, float]:
        """Loss, accuracy and macro-F1 on what is held out; the best network is kept."""
        assert self.held_out is not None
        rows = length_buckets(self.held_out.lengths, self.settings.batch_size)
        losses.confusion.zero_()
        sums = stepper.evaluate(_Part(text_batch(self.held_out, each)) for each in rows)
        loss, weight, *_ = sums
        confusion = losses.confusion.cpu().numpy()
        metrics = ClassScores(confusion, self.names)
        self.state.confusions.append(confusion.tolist())
        loss = round(loss / max(weight, 1e-9), 6)
        best = self.state.best_evaluation
        if best is None or loss < best["loss"]:
            self._best = _parameters(self.network)
        return {
            "loss": loss,
            "accuracy": round(metrics.accuracy, 6),
            "macro_f1": round(metrics.macro_f1, 6),
        }


def _parameters(network: Network) -> dict[str, Tensor]:
    """A copy of all, on the CPU."""
    return {name: x.detach().cpu().clone() for name, x in network.named_parameters()}


def _texts(data: Any, name: str, read: Callable[..., Any] = read_labelled) -> LabelledTexts:
    if isinstance(data, LabelledTexts):
        return data
    if isinstance(data, str | os.PathLike):
        return read(data)
    raise TypeError(
        f"{OWNER}: {name} must be LabelledTexts, a file, a folder or the name of a data set, "
        f"got {type(data).__name__}"
    )


def _named(tokenizer: Any) -> Any:
    """A tokenizer, None, or the name of what is made of the texts."""
    if tokenizer is None or (isinstance(tokenizer, str) and tokenizer in MADE):
        return tokenizer
    if isinstance(tokenizer, (str, os.PathLike)):
        if not Path(tokenizer).is_dir():
            raise ValueError(
                f"{OWNER}: tokenizer must be {', '.join(MADE)}, a folder with one or a tokenizer, "
                f"got {os.fspath(tokenizer)!r}"
            )
        return load_tokenizer(tokenizer)
    return as_tokenizer(tokenizer)


def _tokenizer(named: Any, texts: LabelledTexts, min_count: int) -> Tokenizer:
    """That which is named, made of the texts where it is a name."""
    if not (named is None or isinstance(named, str)):
        return named
    sides = [texts.first] if texts.second is None else [texts.first, texts.second]
    if named == WORDPIECE:
        return PublishedTokenizer.train_wordpiece(
            list(itertools.chain(*sides)), vocab_size=VOCAB_SIZE
        )
    try:
        if named == SPLIT:
            return PublishedTokenizer.train_words(itertools.chain(*sides), min_freq=min_count)
        return WordTokenizer.build(sides, min_freq=min_count)
    except ValueError as error:
        raise ValueError(f"{OWNER}: min_count {min_count}: {error}") from error


def _weights(wanted: str | None, texts: LabelledTexts) -> np.ndarray:
    """float64 [C], of the classes in the loss."""
    counts = texts.counts
    if wanted is None:
        return np.ones(len(counts))
    if wanted == BALANCED:
        return len(texts) / (len(counts) * np.maximum(counts, 1))
    weights = np.array([float(each) for each in wanted.split(",")])
    if len(weights) != len(counts):
        raise ValueError(
            f"{OWNER}: class_weights must be {len(counts)} numbers, for {', '.join(texts.names)}, "
            f"got {len(weights)}"
        )
    return weights


def _identity(texts: EncodedTexts) -> dict[str, Any]:
    """What must be equal for two runs to see the same texts."""
    digest = hashlib.sha1("\n".join(texts.names).encode(), usedforsecurity=False)
    sides = [texts] if texts.second is None else [texts, texts.second]
    for side in sides:
        for array in (side.tokens, side.offsets):
            digest.update(np.ascontiguousarray(array).data)
    if texts.labels is not None:
        digest.update(np.ascontiguousarray(texts.labels).data)
    tokens = sum(len(side.tokens) for side in sides)
    return {"texts": len(texts), "tokens": tokens, "sha1": digest.hexdigest()}
