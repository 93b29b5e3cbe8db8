"""Pretraining of BERT: masked words and next sentences, on packed batches."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lexforge._library import cpu_has_bf16, resolve_device
from lexforge.models._arguments import real, whole
from lexforge.models.bert import BertConfig, BertModel
from lexforge.models.bert_capacity import BatchCapacity
from lexforge.models.bert_checkpoint import load_run, save_run
from lexforge.models.bert_steps import Stepper, draw_steps
from lexforge.text.bert import (
    BertExamples,
    TokenizedParagraphs,
    WordTokenizer,
    read_paragraphs,
    tokenize_paragraphs,
)
from lexforge.training.checkpoint import CheckpointError, is_checkpoint
from lexforge.training.loop import HISTORY_POINTS, TrainingDivergedError
from lexforge.training.optimizer import OPTIMIZERS, NetworkOptimizer
from lexforge.training.progress import Progress, count
from lexforge.training.schedules import SCHEDULES, Schedule

if TYPE_CHECKING:
    from lexforge.text.bert import Tokenizer
    from lexforge.training.signals import StopRequest

_whole, _real = partial(whole, "pretrain"), partial(real, "pretrain")

PRECISIONS = ("float32", "bf16")
READ_SECONDS = 0.25  # between looks at the losses, for which a GPU is waited
SAMPLE_BATCHES = 8  # that tell the size of a graph


@dataclass(frozen=True)
class PretrainingSettings:
    """What a run's result depends on, beside model, tokenizer and corpus.

    The defaults are the reference text's; :data:`STANDARD` is what published BERT was trained with,
    for a run of moderate length. There ``steps`` is None until the corpus tells how many make an
    epoch, and ``warmup_steps`` until they are known: a tenth of them.

    Raises:
        TypeError, ValueError: a setting of the wrong kind or out of range.
    """

    max_len: int = 64
    batch_size: int = 512
    steps: int | None = 50
    optimizer: str = "adam"
    learning_rate: float = 0.01
    weight_decay: float = 0.0
    warmup_steps: int | None = 0
    schedule: str = "constant"
    clip: float = 0.0
    accumulation: int = 1
    precision: str = "float32"
    static_masks: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        smallest = {"max_len": 5, "batch_size": 1, "steps": 1, "warmup_steps": 0, "accumulation": 1}
        for name, low in smallest.items():
            if getattr(self, name) is not None:
                self._set(name, _whole(name, getattr(self, name), low=low))
        self._set("seed", _whole("seed", self.seed, low=-(2**63), high=2**64 - 1))
        for name in ("learning_rate", "weight_decay", "clip"):
            self._set(name, _real(name, getattr(self, name)))
        self._set("static_masks", bool(self.static_masks))
        for name, choices in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"pretrain: {name} must be one of {', '.join(choices)}, "
                    f"got {getattr(self, name)!r}"
                )
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"pretrain: accumulation must divide batch_size {self.batch_size}, "
                f"got {self.accumulation}"
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # plain numbers, which go into a checkpoint


STANDARD = PretrainingSettings(
    max_len=128,
    batch_size=256,
    steps=None,
    optimizer="adamw",
    learning_rate=1e-4,
    weight_decay=0.01,
    warmup_steps=None,
    schedule="linear",
    clip=1.0,
)


@dataclass
class PretrainingState:
    """Where a run stands; with parameters and optimiser, all that a resume needs.

    A step is a function of these, the seed and the step's number, so no generator state is kept.
    """

    steps: int
    max_len: int
    step: int = 0
    epoch: int = 0
    batch: int = 0  # next one of the epoch
    seconds: float = 0.0  # in training, without preparation and saving
    learning_rate: float = 0.0  # of the last step
    sequences: int = 0
    tokens: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * len(Sums._fields))
    corpus: dict[str, Any] = field(default_factory=dict)  # what identifies it
    history: list[dict[str, Any]] = field(default_factory=list)
    history_sums: list[float] = field(default_factory=lambda: [0.0] * len(Sums._fields))

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.steps

    @property
    def share(self) -> float:
        """Of the run that is done."""
        return self.step / self.steps

    @property
    def totals(self) -> Sums:
        """Losses and hits of the whole run."""
        return Sums(*self.sums)

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
        return 1 - self.tokens / (self.sequences * self.max_len) if self.sequences else 0.0

    def meter(self) -> Meter:
        """For intervals from here on."""
        return Meter(self)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PretrainingState:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: A field is missing.
        """
        if missing := [f.name for f in fields(cls) if f.name not in content]:
            raise ValueError(f"trainer state must have {', '.join(missing)}")
        return cls(**{f.name: content[f.name] for f in fields(cls)})


class Sums(NamedTuple):
    """Over the predictions of some steps."""

    mlm_loss_sum: float
    mlm_count: float
    mlm_hits: float
    nsp_loss_sum: float
    nsp_count: float
    nsp_hits: float

    def since(self, earlier: Sums) -> Sums:
        """Those of the steps after `earlier`."""
        return Sums(*(now - before for now, before in zip(self, earlier, strict=True)))

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


class Meter:
    """Turns the running totals of a :class:`PretrainingState` into readings per interval."""

    def __init__(self, state: PretrainingState) -> None:
        self._start(state)

    def _start(self, state: PretrainingState) -> None:
        self._seconds, self._totals = state.seconds, state.totals
        self._sequences, self._tokens = state.sequences, state.tokens

    def seconds(self, state: PretrainingState) -> float:
        """Training time since the last reading."""
        return state.seconds - self._seconds

    def read(self, state: PretrainingState) -> Reading:
        """The interval since the last reading; the next one starts here."""
        part = PretrainingState(
            state.steps,
            state.max_len,
            seconds=max(self.seconds(state), 1e-9),
            sequences=state.sequences - self._sequences,
            tokens=state.tokens - self._tokens,
        )
        sums = state.totals.since(self._totals)
        self._start(state)
        return Reading(
            f"step {state.step}/{state.steps}",
            {
                "time": round(state.seconds, 3),
                "step": state.step,
                "epoch": state.epoch + 1,
                **sums.record(),
                "sequences": state.sequences,
                "tokens": state.tokens,
                "sequences_per_second": round(part.sequences_per_second, 1),
                "tokens_per_second": round(part.tokens_per_second, 1),
                "padding_saved": round(part.padding_saved, 4),
                "lr": state.learning_rate,
            },
        )


@dataclass
class Reading:
    """One interval of training, as it is shown and logged."""

    title: str
    values: dict[str, Any]

    def describe(self) -> str:
        """Losses, accuracies, speed, padding saved, learning rate."""
        v = self.values
        return (
            f"MLM {v['mlm_loss']:.4f} ({v['mlm_accuracy']:.1%})  "
            f"NSP {v['nsp_loss']:.4f} ({v['nsp_accuracy']:.1%})  "
            f"{count(v['sequences_per_second'])} pairs/s  "
            f"{count(v['tokens_per_second'])} tokens/s  "
            f"padding saved {v['padding_saved']:.0%}  lr {v['lr']:.3g}"
        )

    def record(self) -> dict[str, Any]:
        """The values by name."""
        return self.values


@dataclass
class PretrainingResult:
    """What :func:`pretrain` returns; also that of a run that was stopped."""

    model: BertModel
    tokenizer: Tokenizer
    settings: PretrainingSettings
    state: PretrainingState

    @property
    def history(self) -> list[dict[str, Any]]:
        """Losses and accuracies over stretches of the run, by ``step`` at their ends."""
        return self.state.history


def pretrain(
    corpus: Any,
    *,
    config: str | os.PathLike | BertConfig | None = None,
    shape: Mapping[str, Any] | None = None,
    tokenizer: Tokenizer | None = None,
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
    clip: float | None = None,
    accumulation: int | None = None,
    precision: str | None = None,
    static_masks: bool | None = None,
    seed: int | None = None,
    device: str | torch.device = "auto",
    threads: int | None = None,
    cuda_graphs: bool = True,
    checkpoint_every: float | None = None,
    keep: int = 0,
    progress: Progress | bool = False,
    stop: StopRequest | None = None,
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
        corpus: As in :func:`lexforge.text.bert.read_paragraphs`.
        config: ``"reference"`` (the default), ``"standard"``, a :class:`BertConfig` whose
            ``vocab_size`` is the tokenizer's, or a folder with a model and its tokenizer to go on
            from.
        shape: Fields of :class:`BertConfig` that differ from the named config's, such as
            ``{"num_layers": 4}``.
        tokenizer: By default words of the corpus, or the tokenizer in the folder.
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
        schedule: What it does then: ``"constant"``, or ``"linear"`` to 0.
        clip: Largest norm of all gradients together; 0 for no limit.
        accumulation: Parts of a step, one after the other: less memory, and the same step up to
            rounding and the draws of dropout. It divides `batch_size`.
        precision: ``"float32"``, or ``"bf16"``: products and activations in bfloat16 (autocast),
            parameters and sums in float32. On the CPU only where it has the instructions.
        static_masks: Pairs and masks of the first epoch in all epochs, as in the text.
        seed: Of everything random.
        device: ``"auto"`` (the GPU when it is usable), ``"cpu"`` or ``"cuda"``.
        threads: Of the CPU; torch's number by default.
        cuda_graphs: On a GPU run steps as CUDA graphs (with `accumulation` 1).
        checkpoint_every: Minutes; None for no checkpoints in between.
        keep: So many of the last checkpoints stay, besides `out` itself, in ``out/step-<n>``.
        progress: Where to show and log it; True for standard error.
        stop: Entered for the time of training; when it is requested, training saves and returns.

    Returns:
        Model (in training mode, on the device), tokenizer, and how it went.

    Raises:
        ValueError, TypeError: An argument out of range or of the wrong kind; a corpus without two
            neighbouring sentences that fit; a resume with other settings or another corpus.
        FileExistsError: `out` holds a run, and neither `resume` nor `overwrite` is set.
        FileNotFoundError: Nothing to resume, or no such corpus.
        TrainingDivergedError: A loss is no longer finite; no checkpoint was written since.
        CheckpointError: A checkpoint could not be written, or is damaged.

    Example:
        >>> import lexforge.bert
        >>> result = lexforge.bert.pretrain("wikitext-2", out="bert/", progress=True)
        >>> result.model.save_pretrained("model/")
    """
    if steps is not None and epochs is not None:
        raise ValueError(f"pretrain: give steps or epochs, got {steps} and {epochs}")
    keep = _whole("keep", keep, low=0)
    if checkpoint_every is not None:
        checkpoint_every = 60 * _real("checkpoint_every", checkpoint_every)
    settings = {
        "max_len": max_len,
        "batch_size": batch_size,
        "steps": steps,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup_steps": warmup_steps,
        "schedule": schedule,
        "clip": clip,
        "accumulation": accumulation,
        "precision": precision,
        "static_masks": static_masks,
        "seed": seed,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    device = resolve_device("pretrain", device)
    if resume and out is None:
        raise ValueError("pretrain: out must be the folder of the run to resume, got None")
    if out is not None and not (resume or overwrite) and is_checkpoint(out):
        raise FileExistsError(f"{out} holds a run or a model: resume it, or overwrite it")
    with ExitStack() as stack:
        if not isinstance(progress, Progress):
            progress = stack.enter_context(Progress(bool(progress)))
        if threads is not None:
            stack.enter_context(_cpu_threads(_whole("threads", threads)))
        run = _Run.saved(out, tokenizer, config, shape) if resume else _Run.new(config, given)
        _check_precision(given.get("precision", run.settings.precision), device)
        run.prepare(
            corpus,
            given,
            None if epochs is None else _whole("epochs", epochs),
            shape=shape,
            tokenizer=tokenizer,
            min_count=_whole("min_count", min_count),
        )
        progress.say(run.describe())
        if stop is not None:
            stack.enter_context(stop)
        run.fit(
            device,
            graphs=cuda_graphs,
            progress=progress,
            out=out,
            checkpoint_every=checkpoint_every,
            keep=keep,
            stop=stop,
        )
    return PretrainingResult(run.model, run.tokenizer, run.settings, run.state)


@contextmanager
def _cpu_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Run:
    """A run: what it is made of, its data, its training.

    Model and tokenizer of a new one are made from the corpus, by :meth:`prepare`.
    """

    model: BertModel
    tokenizer: Tokenizer
    settings: PretrainingSettings
    state: PretrainingState
    examples: BertExamples

    def __init__(self, settings: PretrainingSettings, saved: PretrainingState | None) -> None:
        self.settings, self._saved = settings, saved
        self._config: str | BertConfig | Path = "reference"
        self._optimizer: dict[str, Tensor] | None = None

    @classmethod
    def new(cls, config: str | os.PathLike | BertConfig | None, given: Mapping[str, Any]) -> _Run:
        """A run by the recipe that goes with the model."""
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
        return run

    @classmethod
    def saved(
        cls,
        folder: str | os.PathLike,
        tokenizer: Tokenizer | None,
        config: str | os.PathLike | BertConfig | None,
        shape: Mapping[str, Any] | None,
    ) -> _Run:
        """The run of a checkpoint.

        Raises:
            ValueError: It has another tokenizer or another config than the given ones.
        """
        saved = load_run(folder)
        try:
            settings = PretrainingSettings(**saved.record["settings"])
            run = cls(settings, PretrainingState.from_json(saved.record["state"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the trainer state in {folder} is damaged: {error}") from error
        run.model, run.tokenizer, run._optimizer = saved.model, saved.tokenizer, saved.optimizer
        if tokenizer is not None and list(tokenizer.tokens) != list(run.tokenizer.tokens):
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
        return run

    def prepare(
        self,
        corpus: Any,
        given: Mapping[str, Any],
        epochs: int | None,
        *,
        shape: Mapping[str, Any] | None,
        tokenizer: Tokenizer | None,
        min_count: int,
    ) -> None:
        """Read and number the corpus, and fix what depends on it.

        Raises:
            ValueError: The run to resume had another corpus or other settings.
        """
        paragraphs = read_paragraphs(corpus)
        if self._saved is None:
            self._make_model(paragraphs, shape, tokenizer, min_count)
        numbers = tokenize_paragraphs(paragraphs, self.tokenizer)
        identity = _identity(numbers, self.tokenizer)
        saved, settings, config = self._saved, self.settings, self.model.config
        if len(self.tokenizer) > config.vocab_size:
            raise ValueError(
                f"pretrain: vocab_size must be at least the {len(self.tokenizer)} tokens of the "
                f"tokenizer, got {config.vocab_size}"
            )
        if settings.max_len > config.max_positions:
            raise ValueError(
                f"pretrain: max_len must be at most max_positions = {config.max_positions}, "
                f"got {settings.max_len}"
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
        )
        given = dict(given)
        if epochs is not None or settings.steps is None:
            given["steps"] = sum(
                self.examples.num_batches(epoch, settings.batch_size)
                for epoch in range(epochs or 1)
            )
        if saved is not None:
            _refuse_changes(settings, given)
        settings = replace(settings, **given)
        if settings.warmup_steps is None:
            settings = replace(settings, warmup_steps=settings.steps // 10)
        self.settings = settings
        self.state = saved or PretrainingState(settings.steps, settings.max_len, corpus=identity)
        self.state.steps = settings.steps

    def _make_model(
        self,
        paragraphs: list[list[str]],
        shape: Mapping[str, Any] | None,
        tokenizer: Tokenizer | None,
        min_count: int,
    ) -> None:
        if isinstance(self._config, Path):
            if shape:
                raise ValueError(
                    f"pretrain: shape must be that of the model in {self._config}, got {shape}"
                )
            self.model = BertModel.from_pretrained(self._config)
            self.tokenizer = tokenizer or WordTokenizer.load(self._config)
        else:
            self.tokenizer = tokenizer or WordTokenizer.build(paragraphs, min_freq=min_count)
            config = _config(self._config, shape, self.tokenizer)
            self.model = BertModel(config, seed=self.settings.seed)
        self.model.vocabulary = list(self.tokenizer.tokens)

    def describe(self) -> str:
        """Sizes of the vocabulary, the data and the model."""
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return (
            f"{len(self.tokenizer):,} words in the vocabulary, "
            f"{count(self.examples.count(self.state.epoch))} pairs in an epoch, "
            f"{count(parameters)} parameters, {self.settings.steps:,} steps"
        )

    def fit(
        self,
        device: torch.device,
        *,
        graphs: bool,
        progress: Progress,
        out: str | os.PathLike | None,
        checkpoint_every: float | None,
        keep: int,
        stop: StopRequest | None,
    ) -> None:
        """Train to the end, or until asked to stop; saves what is to be saved."""
        settings, state = self.settings, self.state
        model = self.model.to(device).train()
        optimizer = NetworkOptimizer(
            model, settings.optimizer, weight_decay=settings.weight_decay, clip=settings.clip
        )
        if self._optimizer is not None:
            optimizer.load_tensors(self._optimizer)
        capacity = None
        if graphs and device.type == "cuda" and settings.accumulation == 1:
            samples = islice(self.examples.batches(0, settings.batch_size), SAMPLE_BATCHES)
            capacity = BatchCapacity.of(samples, settings.batch_size, settings.max_len)
        stepper = Stepper(model, optimizer, settings.precision, capacity)
        stepper.sums.copy_(torch.tensor(state.sums, dtype=torch.float64))
        schedule = Schedule(
            settings.schedule, settings.learning_rate, settings.steps, settings.warmup_steps
        )
        history = _History(state, stepper.sums)

        def save() -> None:
            if out is not None:
                save_run(
                    out,
                    model=model,
                    tokenizer=self.tokenizer,
                    optimizer=optimizer.tensors(),
                    record={"settings": asdict(settings), "state": state.to_json()},
                    step=state.step,
                    keep=keep,
                )

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
        progress.begin(state)
        try:
            with closing(steps):
                read_at = saved_at = tick = time.perf_counter()
                while not state.finished:
                    data = next(steps)
                    state.learning_rate = schedule(state.step)
                    stepper(data, state.learning_rate)
                    state.step += 1
                    state.epoch, state.batch = data.epoch, data.batch
                    state.sequences += data.sequences
                    state.tokens += data.tokens
                    history.note()
                    now = time.perf_counter()
                    state.seconds, tick = state.seconds + now - tick, now
                    stopping = stop is not None and stop.requested
                    due = checkpoint_every is not None and now - saved_at >= checkpoint_every
                    if stopping or due or state.finished or now - read_at >= READ_SECONDS:
                        history.read()  # waits for the device
                        _check_finite(state)
                        now = time.perf_counter()
                        state.seconds, read_at, tick = state.seconds + now - tick, now, now
                        progress.update(state)
                    if stopping or due or state.finished:
                        save()
                        saved_at = tick = time.perf_counter()
                    if stopping:
                        return
        finally:
            progress.end(state)


class _History:
    """Keeps the sums on the device until they are wanted, those of the loss curve too."""

    def __init__(self, state: PretrainingState, sums: Tensor) -> None:
        self._state, self._sums = state, sums
        self._every = max(state.steps // HISTORY_POINTS, 1)
        self._points: list[tuple[dict[str, Any], Tensor]] = []

    def note(self) -> None:
        """After a step."""
        state = self._state
        if state.step % self._every == 0 or state.finished:
            about = {"step": state.step, "epoch": state.epoch + 1, "lr": state.learning_rate}
            self._points.append((about, self._sums.clone()))

    def read(self) -> None:
        """Bring the state's sums and history up to date."""
        state = self._state
        latest = torch.stack([*(sums for _, sums in self._points), self._sums]).tolist()
        for (about, _), sums in zip(self._points, latest[:-1], strict=True):
            since = Sums(*sums).since(Sums(*state.history_sums))
            state.history.append({**about, **since.record()})
            state.history_sums = sums
        self._points = []
        state.sums = latest[-1]


def _check_finite(state: PretrainingState) -> None:
    totals = state.totals
    if not math.isfinite(totals.mlm_loss_sum + totals.nsp_loss_sum):
        raise TrainingDivergedError(
            f"the loss became {totals.mlm_loss_sum + totals.nsp_loss_sum} by step {state.step}, "
            f"at learning rate {state.learning_rate:.4g}: try a smaller one, or --clip"
        )


def _check_precision(precision: str, device: torch.device) -> None:
    if precision != "bf16":
        return
    if device.type == "cpu" and not cpu_has_bf16():
        raise ValueError(
            "pretrain: precision must be float32 on a CPU without AVX512_BF16, got 'bf16'"
        )
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(
            f"pretrain: precision must be float32 on {torch.cuda.get_device_name(device)}, "
            "got 'bf16'"
        )


def _refuse_changes(settings: PretrainingSettings, given: Mapping[str, Any]) -> None:
    """ValueError naming the settings that a resumed run must not change."""
    changes = [
        f"{name} is {value}, {getattr(settings, name)} in the run"
        for name, value in given.items()
        if value != getattr(settings, name)
        and not (name == "steps" and settings.schedule == "constant")
    ]
    if changes:
        raise ValueError("cannot resume with other settings: " + "; ".join(changes))


def _config(
    config: str | BertConfig, shape: Mapping[str, Any] | None, tokenizer: Tokenizer
) -> BertConfig:
    if not isinstance(config, BertConfig):
        config = getattr(BertConfig, config)(len(tokenizer))
        config = replace(config, pad_token_id=tokenizer.pad_id)
    try:
        return replace(config, **(shape or {}))
    except TypeError as error:
        known = ", ".join(f.name for f in fields(BertConfig))
        raise ValueError(f"pretrain: shape must have fields of {known}: {error}") from None


def _identity(numbers: TokenizedParagraphs, tokenizer: Tokenizer) -> dict[str, Any]:
    """What must be equal for two runs to see the same examples."""
    digest = hashlib.sha1(usedforsecurity=False)
    for array in numbers:
        digest.update(np.ascontiguousarray(array))
    words = hashlib.sha1("\n".join(tokenizer.tokens).encode(), usedforsecurity=False)
    return {
        "tokens": len(numbers.tokens),
        "sentences": len(numbers.sentences) - 1,
        "sha1": digest.hexdigest(),
        "tokenizer_sha1": words.hexdigest(),
    }
