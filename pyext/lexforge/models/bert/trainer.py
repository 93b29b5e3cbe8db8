"""Pretraining of BERT: masked words and next sentences, on packed batches."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lexforge._arguments import either, encoding_name, whole
from lexforge._display import html_table
from lexforge._library import resolve_device
from lexforge.models.bert.capacity import BatchCapacity
from lexforge.models.bert.checkpoint import Pretrained, read_pretrained
from lexforge.models.bert.config import BertConfig
from lexforge.models.bert.examples import (
    BertExamples,
    TokenizedParagraphs,
    read_paragraphs,
    tokenize_paragraphs,
)
from lexforge.models.bert.model import BertModel
from lexforge.models.bert.settings import STANDARD, PretrainingSettings
from lexforge.models.bert.steps import Part, draw_steps, make_stepper
from lexforge.models.network_settings import EvaluationSettings
from lexforge.text.tokenizers.published import (
    PublishedTokenizer,
    as_tokenizer,
    load_tokenizer,
    with_special_tokens,
)
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.training.checkpoint import STATE
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
from lexforge.training.state import Amounts, Reading, check_value, require

if TYPE_CHECKING:
    from lexforge.text.tokenizers.base import Tokenizer
    from lexforge.training.signals import StopRequest
    from lexforge.training.stepper import Stepper

WORDS, WORDPIECE, BPE = MADE = "words", "wordpiece", "bpe"  # tokenizers made of the corpus
VOCAB_SIZE = 16_000  # of pieces
SAMPLE_BATCHES = 8  # that tell the size of a graph


class Sums(NamedTuple):
    """Over the predictions of some steps."""

    mlm_loss_sum: float
    mlm_count: float
    mlm_hits: float
    nsp_loss_sum: float
    nsp_count: float
    nsp_hits: float

    @classmethod
    def of(cls, sums: Mapping[str, float]) -> Sums:
        """Those of a state."""
        return cls(*(sums[name] for name in cls._fields))

    @property
    def mlm_loss(self) -> float:
        """Mean per predicted word; nan without any."""
        return self.mlm_loss_sum / self.mlm_count if self.mlm_count else math.nan

    @property
    def nsp_loss(self) -> float:
        """Mean per pair; nan without any."""
        return self.nsp_loss_sum / self.nsp_count if self.nsp_count else math.nan

    @property
    def mlm_accuracy(self) -> float:
        """Share of the predicted words that are right."""
        return self.mlm_hits / self.mlm_count if self.mlm_count else math.nan

    @property
    def nsp_accuracy(self) -> float:
        """Share of the pairs that are told right."""
        return self.nsp_hits / self.nsp_count if self.nsp_count else math.nan

    def record(self) -> dict[str, float]:
        """Losses and accuracies by name."""
        names = ("mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy")
        return {name: round(getattr(self, name), 6) for name in names}


@dataclass(kw_only=True)
class PretrainingState(NetworkState):
    """Where a run stands; with parameters and optimiser, all that a resume needs.

    A step is a function of these, the seed and the step's number, so no generator state is kept.
    """

    NAMES_IN_FILE: ClassVar[Mapping[str, str]] = {
        "total": "steps",
        "done": "step",
        "position": "batch",
        "noted": "history_sums",
    }
    OPTIONAL: ClassVar[frozenset[str]] = NetworkState.OPTIONAL | {"unit"}

    max_len: int
    sums: dict[str, float] = field(
        default_factory=lambda: {**dict.fromkeys(Sums._fields, 0.0), "sequences": 0, "tokens": 0}
    )
    noted: dict[str, float] = field(default_factory=lambda: dict.fromkeys(Sums._fields, 0.0))

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.total

    @property
    def step(self) -> int:
        """How many are done."""
        return self.done

    @property
    def batch(self) -> int:
        """Next one of the epoch."""
        return self.position

    @property
    def sequences(self) -> int:
        """Sentence pairs so far."""
        return int(self.sums["sequences"])

    @property
    def tokens(self) -> int:
        """Tokens so far, none of them padding."""
        return int(self.sums["tokens"])

    @property
    def totals(self) -> Sums:
        """Losses and hits of the whole run."""
        return Sums.of(self.sums)

    @property
    def sequences_per_second(self) -> float:
        """Sentence pairs per second of training."""
        return self.sequences / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens, none of them padding, per second of training."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def padding_saved(self) -> float:
        """Share of padding in batches that were padded to ``max_len``."""
        return self._padding_saved(self.sums)

    def _padding_saved(self, sums: Mapping[str, float]) -> float:
        slots = sums["sequences"] * self.max_len
        return 1 - sums["tokens"] / slots if slots else 0.0

    def measures(self, part: Amounts) -> dict[str, float]:
        """Losses and accuracies by name."""
        return Sums.of(part.sums).record()

    def reading(self, part: Amounts) -> Reading:
        """Losses, accuracies, speed, padding saved, learning rate."""
        v = {
            "time": round(self.seconds, 3),
            "step": self.step,
            "epoch": self.epoch + 1,
            **self.measures(part),
            "sequences": self.sequences,
            "tokens": self.tokens,
            "sequences_per_second": round(part.sums["sequences"] / part.seconds, 1),
            "tokens_per_second": round(part.sums["tokens"] / part.seconds, 1),
            "padding_saved": round(self._padding_saved(part.sums), 4),
            "lr": self.learning_rate,
        }
        speed = f"{count(v['sequences_per_second'])} pairs/s"
        more = [
            f"{count(v['tokens_per_second'])} tokens/s",
            f"padding saved {v['padding_saved']:.0%}",
            f"lr {v['lr']:.3g}",
        ]
        losses = [f"{name.upper()} {v[f'{name}_loss']:.3f}" for name in ("mlm", "nsp")]
        return Reading(
            f"step {self.step}/{self.steps}",
            "  ".join([describe(v), speed, *more]),
            v,
            [*losses, speed],
            [more[2], *more[:2]],
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        content = super().to_json()
        del content["unit"]
        sums = content["sums"]
        return {
            **content,
            "sums": [sums[name] for name in Sums._fields],
            "history_sums": [content["history_sums"][name] for name in Sums._fields],
            "sequences": sums["sequences"],
            "tokens": sums["tokens"],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PretrainingState:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: A field is missing or damaged.
        """
        require(content, ("sums", "history_sums", "sequences", "tokens"))
        for name in ("sums", "history_sums"):
            check_value(name, content[name], list[float])
            if len(content[name]) != len(Sums._fields):
                raise ValueError(f"{STATE}: {name} must be {len(Sums._fields)} numbers")
        noted = Sums(*content["history_sums"])._asdict()
        counts = {name: content[name] for name in ("sequences", "tokens")}
        sums = {**Sums(*content["sums"])._asdict(), **counts}
        return super().from_json({**content, "sums": sums, "history_sums": noted})


def describe(values: Mapping[str, float]) -> str:
    """Losses and accuracies in words."""
    return (
        f"MLM {values['mlm_loss']:.4f} ({values['mlm_accuracy']:.1%})  "
        f"NSP {values['nsp_loss']:.4f} ({values['nsp_accuracy']:.1%})"
    )


@dataclass
class PretrainingResult(NetworkResult):
    """What :func:`pretrain` returns; also that of a run that was stopped."""

    model: BertModel
    tokenizer: Tokenizer
    settings: PretrainingSettings
    state: PretrainingState

    def __repr__(self) -> str:
        state = self.state
        end = f"; {describe(state.history[-1])}" if state.history else ""
        return f"PretrainingResult(step {state.step}/{state.steps}{end})"

    def _repr_html_(self) -> str:
        """What a notebook shows: losses and accuracies at the end, over the run, and held out."""
        state = self.state
        found = {"at the end": state.history[-1:], "over the run": [state.totals.record()]}
        best = state.best_evaluation
        if best is not None:
            found[f"held out, step {best['step']}"] = [best]
        rows = [
            (name, *(float(record[key]) for key in ("mlm_loss", "nsp_loss")),
             *(f"{record[key]:.1%}" for key in ("mlm_accuracy", "nsp_accuracy")))
            for name, records in found.items()
            for record in records
        ]  # fmt: skip
        title = (
            f"BERT, step {state.step:,} of {state.steps:,}, {clock(state.seconds)}, "
            f"{state.sequences_per_second:,.0f} pairs/s"
        )
        return html_table(rows, ["", "MLM loss", "NSP loss", "MLM right", "NSP right"], title)


def pretrain(
    corpus: Any,
    *,
    config: str | os.PathLike | BertConfig | None = None,
    shape: Mapping[str, Any] | None = None,
    tokenizer: Tokenizer | str | os.PathLike | None = None,
    vocab_size: int | None = None,
    min_count: int = 5,
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    max_len: int | None = None,
    batch_size: int | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    warmup_steps: int | None = None,
    schedule: str | None = None,
    min_learning_rate: float | None = None,
    clip: float | None = None,
    accumulation: int | None = None,
    precision: str | None = None,
    static_masks: bool | None = None,
    whole_words: bool | None = None,
    sentences: str | None = None,
    seed: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    eval_file: Any = None,
    eval_share: float | None = None,
    eval_every: int | None = None,
    early_stopping: int | None = None,
    device: str | torch.device = "auto",
    workers: int | None = None,
    cuda_graphs: bool = True,
    checkpoint_every: float | None = None,
    keep: int = 0,
    progress: Progress | bool = False,
    stop: StopRequest | None = None,
    callbacks: Sequence[Any] = (),
    threads: int | None = None,
) -> PretrainingResult:
    """Pretrain BERT on masked words and next sentences (Devlin et al. 2019, section 3.1).

    With nothing but a corpus this is the reference text's run: its small model, 50 steps of Adam at
    0.01 on batches of 512 pairs of at most 64 tokens. Any other model gets the recipe of published
    BERT (:data:`STANDARD`; one epoch, of which a tenth is warm-up).

    The loss of a step is the mean over all its predicted words plus the mean over all its pairs,
    also where it is computed in several parts. Models that transformers can express learn its
    next-sentence classes (0: the second text follows), others the text's (1). On one machine and
    with one number of threads a run is a function of its arguments, bit for bit, however often it
    is stopped and resumed.

    Args:
        corpus: As in :func:`lexforge.models.bert.examples.read_paragraphs`.
        config: ``"reference"`` (the default), ``"standard"``, a :class:`BertConfig` whose
            ``vocab_size`` is the tokenizer's, or a folder with a model and its tokenizer to go on
            from, also of transformers. A head that it lacks gets first values.
        shape: Fields of :class:`BertConfig` that differ from the named config's, such as
            ``{"num_layers": 4}``.
        tokenizer: By default that in the folder, or ``"words"``: those of the corpus as they stand
            between spaces, in lower case. ``"wordpiece"``: pieces, trained on the corpus, of texts
            split and turned to lower case as published BERT's. ``"bpe"``: byte pairs, likewise, of
            texts split as GPT-2's. A folder with a tokenizer; or a tokenizer, of transformers or
            tokenizers too. Special tokens that one lacks are added, see
            :func:`lexforge.text.tokenizers.published.with_special_tokens`.
        vocab_size: Tokens of ``"wordpiece"`` or ``"bpe"``; 16,000 by default.
        min_count: Words seen less often are unknown.
        out: Folder of checkpoints: `checkpoint_every` so many minutes, when stopped, at the end.
        resume: Go on with the run in `out`. Settings that are not given are those of the run; of
            the others only `steps` may change, and only where the schedule is constant.
        overwrite: Begin a new run where `out` holds one.
        max_len: Longest sequence, with its special tokens; longer pairs are left out.
        batch_size: Pairs per step; the last step of an epoch has the rest.
        steps, epochs: Length of the run, one or the other.
        optimizer: ``"adam"`` or ``"adamw"``.
        learning_rate: At its highest.
        weight_decay: Of matrices; biases and norms do not decay.
        warmup_steps: Over which the learning rate rises.
        schedule: What it does then: ``"constant"``, or ``"linear"`` or ``"cosine"`` (half of one)
            down to `min_learning_rate`, 0 by default.
        clip: Largest norm of all gradients together; 0 for no limit.
        accumulation: Parts of a step, one after the other: less memory, and the same step up to
            rounding and the draws of dropout. It divides `batch_size`.
        precision: ``"float32"``, or ``"bf16"``: products and activations in bfloat16 (autocast),
            parameters and sums in float32. On the CPU only where it has the instructions.
        static_masks: Pairs and masks of the first epoch in all epochs, as in the text.
        whole_words: Predict all pieces of a word, or none.
        sentences: How lines of files are split, see
            :func:`lexforge.models.bert.examples.read_paragraphs`.
        seed: Of everything random.
        encoding, errors: Of files, `eval_file` too, as for ``text.resolve_corpus``.
        eval_file: Text that is not trained on, as `corpus`, whose losses are measured in between
            and at the end: on pairs and masks drawn once, without dropout. Training is the same
            without it. With `out`, the checkpoint of the lowest sum of both losses so far stays in
            ``out/best``. A run that is resumed needs it again.
        eval_share: Or the share of the paragraphs, the last ones, that is held out: at most 0.9,
            and 0 by default. A tokenizer that is made of the corpus does not see them.
        eval_every: Steps between evaluations; a tenth of the run by default.
        early_stopping: The run ends after so many evaluations in a row without a smaller loss; 0,
            the default, for never.
        device: ``"auto"`` (the GPU when it is usable), ``"cpu"`` or ``"cuda"``.
        workers: Threads of the CPU; torch's number by default.
        cuda_graphs: On a GPU run steps as CUDA graphs (with `accumulation` 1).
        checkpoint_every: Minutes; None for no checkpoints in between.
        keep: So many of the last checkpoints stay, besides `out` itself, in ``out/step-<n>``.
        progress: Where to show and log it; True for standard error.
        stop: Entered for the time of training; when it is requested, training saves and returns.
        callbacks: Objects with any of ``on_train_begin``, ``on_epoch_begin``, ``on_epoch_end``,
            ``on_train_end``, ``on_evaluate``, each called with the result so far.
        threads: Earlier name of `workers`.

    Returns:
        Model (in training mode, on the device), tokenizer, and how it went.

    Raises:
        ValueError, TypeError: An argument out of range or of the wrong kind; a corpus without two
            neighbouring sentences that fit; a resume with other settings or another corpus.
        FileExistsError: `out` (or ``out/best``, which an evaluated run fills) holds a run, and
            neither `resume` nor `overwrite` is set.
        FileNotFoundError: Nothing to resume, or no such corpus.
        TrainingDivergedError: A loss is no longer finite; no checkpoint was written since.
        CheckpointError: The last checkpoint could not be written, or the one to resume is damaged.
        FolderInUseError: Another process is training in `out`.
        MemoryError: The model would exceed the free memory.

    Example:
        >>> import lexforge.bert
        >>> result = lexforge.bert.pretrain("wikitext-2", out="bert/", progress=True)
        >>> result.model.save_pretrained("model/")
    """
    if steps is not None and epochs is not None:
        raise ValueError(f"pretrain: give steps or epochs, got {steps} and {epochs}")
    workers = either("pretrain", workers, threads=threads)
    arguments = RunArguments.of("pretrain", locals())
    min_count = whole("pretrain", "min_count", min_count)
    named = _named_tokenizer(tokenizer)
    if vocab_size is not None:
        vocab_size = whole("pretrain", "vocab_size", vocab_size)
        if named not in (WORDPIECE, BPE):
            raise ValueError('pretrain: vocab_size must come with tokenizer "wordpiece" or "bpe"')
    if epochs is not None:
        epochs = whole("pretrain", "epochs", epochs)
    settings: dict[str, Any] = {
        "max_len": max_len,
        "batch_size": batch_size,
        "steps": steps,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup_steps": warmup_steps,
        "schedule": schedule,
        "min_learning_rate": min_learning_rate,
        "clip": clip,
        "accumulation": accumulation,
        "precision": precision,
        "static_masks": static_masks,
        "whole_words": whole_words,
        "sentences": sentences,
        "seed": seed,
        "encoding": None if encoding is None else encoding_name("pretrain", "encoding", encoding),
        "errors": errors,
        "eval_share": eval_share,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    device = resolve_device("pretrain", device)
    both = {"eval_every": eval_every, "early_stopping": early_stopping}
    evaluation = {name: value for name, value in both.items() if value is not None}
    replace(EvaluationSettings(), **evaluation)
    if eval_file is not None and eval_share:
        raise ValueError("pretrain: give eval_file or eval_share, got both")
    with arguments.opened() as progress:
        pretraining = (
            _Run.new(config, shape, given, copies=4 if device.type == "cpu" else 1)
            if out is None or not resume
            else _Run.saved(out, named, config, shape, given)
        )
        shared = given.get("eval_share", pretraining.settings.eval_share)
        if evaluation and eval_file is None and not shared:
            raise ValueError(
                f"pretrain: {', '.join(evaluation)} must come with eval_file or eval_share"
            )
        check_precision("pretrain", given.get("precision", pretraining.settings.precision), device)
        pretraining.prepare(
            corpus,
            given,
            epochs,
            shape=shape,
            tokenizer=named,
            min_count=min_count,
            vocab_size=vocab_size,
            progress=progress,
        )
        pretraining.hold_out(eval_file, evaluation)
        for note in pretraining.notes:
            progress.say(note)
        progress.say(pretraining.describe())
        pretraining.fit(device, arguments, progress, graphs=cuda_graphs)
    return pretraining.result


class _Run:
    """A run: what it is made of, its data, its training.

    Model and tokenizer of a new one are made from the corpus, by :meth:`prepare`.
    """

    model: BertModel
    tokenizer: Tokenizer
    settings: PretrainingSettings
    state: PretrainingState
    examples: BertExamples
    held_out: BertExamples

    def __init__(self, settings: PretrainingSettings, saved: PretrainingState | None) -> None:
        self.settings, self._saved = settings, saved
        self._config: str | BertConfig | Path = "reference"
        self._optimizer: dict[str, Tensor] | None = None
        self._evaluated: dict[str, Any] | None = None  # how, and what identifies the data
        self._unseen: list[list[str]] | None = None  # of the corpus, held out
        self.notes: list[str] = []  # what there is to say of the model

    @property
    def result(self) -> PretrainingResult:
        """As far as it has come."""
        return PretrainingResult(self.model, self.tokenizer, self.settings, self.state)

    @classmethod
    def new(
        cls,
        config: str | os.PathLike | BertConfig | None,
        shape: Mapping[str, Any] | None,
        given: Mapping[str, Any],
        copies: int = 1,
    ) -> _Run:
        """A run by the recipe that goes with the model.

        Raises:
            ValueError: No such config, a wrong shape, or sequences that are too long for it.
            MemoryError: So many copies of its parameters exceed the free memory.
        """
        recipe = PretrainingSettings() if config in (None, "reference") else STANDARD
        run = cls(replace(recipe, **given), None)
        if isinstance(config, BertConfig) or config in ("reference", "standard"):
            run._config = config
        elif config is not None:
            if not isinstance(config, (str, os.PathLike)) or not Path(config).is_dir():
                raise ValueError(
                    "pretrain: config must be 'reference', 'standard', a BertConfig or a folder "
                    f"with a model, got {config!r}"
                )
            run._config = Path(config)
        if isinstance(run._config, Path):
            if shape:
                raise ValueError(
                    f"pretrain: shape must be that of the model in {config}, got {shape}"
                )
            run.model = BertModel.from_pretrained(run._config)
            if missing := run.model.missing_parts:
                run.model.add_heads(seed=run.settings.seed)
                run.notes.append(f"{config} has no {', '.join(missing)}: from first values")
            planned = run.model.config
        else:
            planned = _config(run._config, shape)
        planned.check_memory(copies)
        if run.settings.max_len > planned.max_positions:
            raise ValueError(
                f"pretrain: max_len must be at most max_positions = {planned.max_positions}, "
                f"got {run.settings.max_len}"
            )
        return run

    @classmethod
    def saved(
        cls,
        folder: str | os.PathLike,
        tokenizer: Tokenizer | str | None,
        config: str | os.PathLike | BertConfig | None,
        shape: Mapping[str, Any] | None,
        given: Mapping[str, Any],
    ) -> _Run:
        """The run of a checkpoint.

        Raises:
            ValueError: It has another tokenizer, config or settings than the given ones.
        """
        saved = read_run(folder, read_pretrained, PretrainingSettings, PretrainingState)
        run = cls(saved.settings, saved.state)
        (run.model, run.tokenizer), run._optimizer = saved.content, saved.optimizer
        run._evaluated = saved.evaluation
        if not _is_of_run(tokenizer, run.tokenizer):
            raise ValueError("pretrain: tokenizer must be that of the run to resume, got another")
        named = run.model.config
        if isinstance(config, BertConfig) or config in ("reference", "standard"):
            named = _config(config, shape, run.tokenizer)
        elif shape:
            named = _config(named, shape, run.tokenizer)
        if named != run.model.config:
            raise ValueError(
                f"pretrain: config must be that of the run to resume, {run.model.config}, "
                f"got {named}"
            )
        run.settings.refuse_changes(given, run.may_change)
        return run

    @property
    def may_change(self) -> tuple[str, ...]:
        """Settings that a resume may change."""
        return ("steps",) if self.settings.schedule == "constant" else ()

    def prepare(
        self,
        corpus: Any,
        given: Mapping[str, Any],
        epochs: int | None,
        *,
        shape: Mapping[str, Any] | None,
        tokenizer: Tokenizer | str | None,
        min_count: int,
        vocab_size: int | None,
        progress: Progress,
    ) -> None:
        """Read and number the corpus, and fix what depends on it.

        Raises:
            ValueError: The run to resume had another corpus or other settings.
        """
        # What decides how the corpus is read cannot wait for the rest.
        reading = {name: given[name] for name in ("sentences", "eval_share") if name in given}
        self.settings = replace(self.settings, **reading)
        paragraphs = self._read(corpus)
        if self.settings.eval_share:
            paragraphs, self._unseen = _divided(paragraphs, self.settings.eval_share)
        if self._saved is None:
            self._make_model(paragraphs, shape, tokenizer, min_count, vocab_size, progress)
        elif vocab_size is not None and len(self.tokenizer) > vocab_size:
            raise ValueError(
                f"cannot resume with other settings: vocab_size is {vocab_size}, and the run's "
                f"tokenizer has {len(self.tokenizer)} tokens"
            )
        numbers = tokenize_paragraphs(
            paragraphs, self.tokenizer, progress=progress.phase("tokens", "paragraphs")
        )
        identity = _identity(numbers, self.tokenizer)
        saved, settings, config = self._saved, self.settings, self.model.config
        if len(self.tokenizer) > config.vocab_size:
            raise ValueError(
                f"pretrain: vocab_size must be at least the {len(self.tokenizer)} tokens of the "
                f"tokenizer, got {config.vocab_size}"
            )
        if saved is not None and saved.corpus != identity:
            raise ValueError(
                f"cannot resume on another corpus: got {identity['sentences']:,} sentences of "
                f"{identity['tokens']:,} tokens, the run's has {saved.corpus.get('sentences')} of "
                f"{saved.corpus.get('tokens')}, or other words"
            )
        self.examples = BertExamples(
            numbers,
            self.tokenizer,
            max_len=settings.max_len,
            seed=settings.seed,
            static_masks=settings.static_masks,
            whole_words=settings.whole_words,
        )
        given = dict(given)
        if epochs is not None or settings.steps is None:
            given["steps"] = sum(
                self.examples.num_batches(epoch, settings.batch_size)
                for epoch in range(epochs or 1)
            )
        if saved is not None:
            settings.refuse_changes(given, self.may_change)
        settings = replace(settings, **given)
        if settings.warmup_steps is None:
            settings = replace(settings, warmup_steps=settings.length // 10)
        self.settings = settings
        self.state = saved or PretrainingState(
            total=settings.length, max_len=settings.max_len, corpus=identity
        )
        self.state.total = settings.length

    def hold_out(self, corpus: Any, given: Mapping[str, int]) -> None:
        """Read and number what the run is evaluated on, if anything.

        Raises:
            ValueError: The run to resume is evaluated on other text, in another way or not at all.
        """
        if corpus is not None and self._unseen is not None:
            raise ValueError("cannot resume with eval_file: the run has an eval_share")
        unseen = self._unseen if corpus is None else self._read(corpus)
        numbers = None if unseen is None else tokenize_paragraphs(unseen, self.tokenizer)
        settings = self.settings
        self._evaluated = evaluated_as(
            self._evaluated,
            self._saved is not None,
            given,
            settings.length,
            None if numbers is None else _identity(numbers, self.tokenizer),
        )
        if numbers is not None:
            self.held_out = BertExamples(
                numbers,
                self.tokenizer,
                max_len=settings.max_len,
                seed=settings.seed,
                static_masks=True,
                whole_words=settings.whole_words,
            )

    def _read(self, corpus: Any) -> list[list[str]]:
        settings = self.settings
        return read_paragraphs(
            corpus,
            lowercase=False,  # that is for the tokenizer to do
            encoding=settings.encoding,
            errors=settings.errors,
            sentences=settings.sentences,
        )

    def _make_model(
        self,
        paragraphs: list[list[str]],
        shape: Mapping[str, Any] | None,
        tokenizer: Tokenizer | str | None,
        min_count: int,
        vocab_size: int | None,
        progress: Progress,
    ) -> None:
        if isinstance(self._config, Path) and tokenizer is None:
            tokenizer = with_special_tokens(load_tokenizer(self._config))
        texts = _Sentences(paragraphs, progress.phase("vocabulary", "paragraphs"))
        size = vocab_size or VOCAB_SIZE
        if tokenizer == WORDPIECE:
            tokenizer = PublishedTokenizer.train_wordpiece(texts, vocab_size=size)
        elif tokenizer == BPE:
            tokenizer = PublishedTokenizer.train_byte_pairs(texts, vocab_size=size)
        elif tokenizer is None or isinstance(tokenizer, str):
            tokenizer = WordTokenizer.build(paragraphs, min_freq=min_count)
        self.tokenizer = tokenizer
        if not isinstance(self._config, Path):
            config = _config(self._config, shape, self.tokenizer)
            self.model = BertModel(config, seed=self.settings.seed)
        self.model.vocabulary = list(self.tokenizer.tokens)
        self.model.tokenizer = self.tokenizer

    def describe(self) -> str:
        """Sizes of the vocabulary, the data and the model."""
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"{len(self.tokenizer):,} words in the vocabulary, "
            f"{count(self.examples.count(self.state.epoch))} pairs in an epoch, "
            f"{count(parameters)} parameters, {self.settings.steps:,} steps"
        )

    def fit(
        self, device: torch.device, arguments: RunArguments, progress: Progress, *, graphs: bool
    ) -> None:
        """Train to the end, or until asked to stop; saves what is to be saved."""
        settings, state, model = self.settings, self.state, self.model
        capacity = None
        if graphs and device.type == "cuda" and settings.accumulation == 1:
            samples = islice(self.examples.batches(0, settings.batch_size), SAMPLE_BATCHES)
            capacity = BatchCapacity.of(samples, settings.batch_size, settings.max_len)
        steps = draw_steps(
            self.examples,
            batch_size=settings.batch_size,
            accumulation=settings.accumulation,
            seed=settings.seed,
            step=state.step,
            epoch=state.epoch,
            batch=state.batch,
            follows=model.config.follows,
            capacity=capacity,
            on_cuda=device.type == "cuda",
        )
        run = NetworkRun(
            model,
            settings,
            state,
            Pretrained(model, self.tokenizer).write,
            self._optimizer,
            self._evaluated,
        )
        run.fit(
            device,
            lambda optimizer: make_stepper(model, optimizer, settings.precision, capacity),
            Sums._fields,
            steps,
            measure=self._measure,
            describe=describe,
            arguments=arguments,
            progress=progress,
            subject=self.result,
        )

    def _measure(self, stepper: Stepper) -> dict[str, float]:
        """Losses and accuracies on what is held out."""
        batches = self.held_out.batches(0, self.settings.batch_size // self.settings.accumulation)
        if self.model.config.follows == 0:
            batches = (part._replace(next_labels=1 - part.next_labels) for part in batches)
        sums = Sums(*stepper.evaluate(Part(batch, None) for batch in batches))
        return {"loss": round(sums.mlm_loss + sums.nsp_loss, 6), **sums.record()}


class _Sentences:
    """All sentences of paragraphs, as often as wanted."""

    def __init__(
        self, paragraphs: list[list[str]], report: Callable[[int, int | None], None] | None
    ) -> None:
        self._paragraphs, self._report = paragraphs, report

    def __iter__(self) -> Iterator[str]:
        for number, paragraph in enumerate(self._paragraphs):
            if self._report:
                self._report(number, len(self._paragraphs))
            yield from paragraph


def _named_tokenizer(tokenizer: Any) -> Any:
    """A tokenizer, None, or the name of what is made of the corpus."""
    if tokenizer is None or (isinstance(tokenizer, str) and tokenizer in MADE):
        return tokenizer
    if isinstance(tokenizer, (str, os.PathLike)):
        if not Path(tokenizer).is_dir():
            raise ValueError(
                f"pretrain: tokenizer must be {', '.join(map(repr, MADE))}, a folder with one or a "
                f"tokenizer, got {os.fspath(tokenizer)!r}"
            )
        return with_special_tokens(load_tokenizer(tokenizer))
    return with_special_tokens(as_tokenizer(tokenizer))


def _divided(paragraphs: list[list[str]], share: float) -> tuple[list[list[str]], list[list[str]]]:
    """The paragraphs, and the last share of them.

    Raises:
        ValueError: One of both has none of two sentences.
    """
    first = len(paragraphs) - round(len(paragraphs) * share)
    parts = paragraphs[:first], paragraphs[first:]
    if not all(any(len(paragraph) >= 2 for paragraph in part) for part in parts):
        raise ValueError(
            "pretrain: eval_share must leave a paragraph of two sentences on either side, got "
            f"{share} of {len(paragraphs):,} paragraphs"
        )
    return parts


def _is_of_run(tokenizer: Tokenizer | str | None, saved: Tokenizer) -> bool:
    """Whether a run with this tokenizer may be that of the saved one."""
    if tokenizer is None:
        return True
    if isinstance(tokenizer, str):
        return getattr(saved, "kind", WORDS).lower() == tokenizer
    return list(tokenizer.tokens) == list(saved.tokens)


def _config(
    config: str | BertConfig, shape: Mapping[str, Any] | None, tokenizer: Tokenizer | None = None
) -> BertConfig:
    """What is meant; for no words yet without a tokenizer."""
    if isinstance(config, BertConfig):
        chosen = config
    else:
        chosen = getattr(BertConfig, config)(1 if tokenizer is None else len(tokenizer))
        chosen = replace(chosen, pad_token_id=0 if tokenizer is None else tokenizer.pad_id)
    try:
        return replace(chosen, **(shape or {}))
    except TypeError as error:
        known = ", ".join(f.name for f in fields(BertConfig))
        raise ValueError(f"pretrain: shape must have fields of {known}: {error}") from None


def _identity(numbers: TokenizedParagraphs, tokenizer: Tokenizer) -> dict[str, Any]:
    """What must be equal for two runs to see the same examples."""
    digest = hashlib.sha1(usedforsecurity=False)
    for array in numbers:
        digest.update(np.ascontiguousarray(array).data)
    words = hashlib.sha1("\n".join(tokenizer.tokens).encode(), usedforsecurity=False)
    return {
        "tokens": len(numbers.tokens),
        "sentences": len(numbers.sentences) - 1,
        "sha1": digest.hexdigest(),
        "tokenizer_sha1": words.hexdigest(),
    }
