"""Training of GPT: on windows of a stream of tokens, and on prompts with their answers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lexforge._arguments import real, whole
from lexforge._library import resolve_device
from lexforge.models.gpt.config import GPTConfig
from lexforge.models.gpt.data import GPTData
from lexforge.models.gpt.files import write_parts
from lexforge.models.gpt.model import GPT
from lexforge.models.gpt.pairs import Pairs, read_pairs
from lexforge.models.gpt.settings import (
    GPTEvaluation,
    GPTSettings,
    ShapeSettings,
    TuningSettings,
)
from lexforge.models.gpt.steps import NAMES, Part, StepData, Windows, make_stepper
from lexforge.models.gpt.template import TEMPLATE, Template
from lexforge.training.checkpoint import TENSORS, check_finite, write_json
from lexforge.training.network_job import NetworkState
from lexforge.training.network_run import (
    NetworkResult,
    NetworkRun,
    RunArguments,
    check_precision,
    evaluated_as,
    read_run,
)
from lexforge.training.peak import measured_peak
from lexforge.training.progress import Progress, count
from lexforge.training.state import Amounts, Reading

if TYPE_CHECKING:
    from lexforge.training.signals import StopRequest
    from lexforge.training.stepper import Stepper

SCRATCH, RESUME = "scratch", "resume"


@dataclass(kw_only=True)
class GPTState(NetworkState):
    """Where a run stands; with parameters and optimiser, all that a resume needs.

    The windows of a step are a function of the seed and its number, so no generator state is kept.
    """

    # Of a token, and of the device per second: known while a run goes on, and not kept.
    flops_per_token = 0.0
    peak_flops = 0.0

    @property
    def tokens(self) -> int:
        """Trained on so far."""
        return int(self.sums.get("tokens", 0))

    @property
    def tokens_per_second(self) -> float:
        """Over the whole run."""
        return self.tokens / self.seconds if self.seconds else 0.0

    def measures(self, part: Amounts) -> dict[str, float]:
        """The mean loss of a prediction, and the share of right ones."""
        number = part.sums.get("count", 0.0)
        if not number:
            return {"loss": math.nan, "accuracy": math.nan}
        sums = {"loss": part.sums["loss_sum"], "accuracy": part.sums["hits"]}
        return {name: round(value / number, 6) for name, value in sums.items()}

    def reading(self, part: Amounts) -> Reading:
        """Loss, tokens per second, the share of the device's peak, learning rate.

        Of the whole run where the stretch is empty: it was stopped right after the one before.
        """
        part = part if part.done else self.amounts()
        speed = part.sums.get("tokens", 0) / max(part.seconds, 1e-9)
        used = speed * self.flops_per_token / self.peak_flops if self.peak_flops else 0.0
        values = {
            "time": round(self.seconds, 3),
            "step": self.done,
            "epoch": self.epoch + 1,
            **self.measures(part),
            "tokens": self.tokens,
            "tokens_per_second": round(speed, 1),
            "mfu": round(used, 4),
            "lr": self.learning_rate,
        }
        words = [f"loss {values['loss']:.4f}", f"{count(speed)} tokens/s", f"MFU {used:.1%}"]
        rate = f"lr {self.learning_rate:.3g}"
        return Reading(
            f"step {self.done}/{self.total}", "  ".join([*words, rate]), values, words, [rate]
        )


@dataclass
class GPTResult(NetworkResult):
    """What :func:`train` and :func:`finetune` return; also that of a run that was stopped."""

    model: GPT
    settings: GPTSettings
    state: GPTState

    def __repr__(self) -> str:
        state = self.state
        end = f"; loss {state.history[-1]['loss']:.4f}" if state.history else ""
        best = state.best_evaluation
        held_out = f", {best['loss']:.4f} held out at step {best['step']}" if best else ""
        return f"GPTResult(step {state.done}/{state.total}{end}{held_out})"


def train(
    data: GPTData | str | os.PathLike,
    *,
    out: str | os.PathLike | None = None,
    init_from: str | os.PathLike | GPT = SCRATCH,
    overwrite: bool = False,
    shape: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    always_save_checkpoint: bool = False,
    pickled_meta: bool = False,
    device: str | torch.device = "auto",
    workers: int | None = None,
    cuda_graphs: bool = True,
    checkpoint_every: float | None = None,
    keep: int = 0,
    progress: Progress | bool = False,
    stop: StopRequest | None = None,
    callbacks: Sequence[Any] = (),
) -> GPTResult:
    """Train a GPT to predict the next token of a text (Radford et al. 2019), in nanoGPT's habits.

    Every step takes windows of the text, drawn at random; the loss is the mean over all their
    tokens. On one machine and with one number of threads a run is a function of its arguments, bit
    for bit, however often it is stopped and resumed.

    Args:
        data: From :func:`prepare`, or its folder, or one of nanoGPT's.
        out: As for :func:`lexforge.bert.pretrain`; with the model of the lowest loss on held-out
            text in ``out/best``.
        init_from: ``"scratch"``; ``"resume"``: go on with the run in `out`, whose settings those
            that are not given are; the folder of a model, also of transformers, or nanoGPT's
            ``ckpt.pt``; or a model.
        shape: Fields of :class:`ShapeSettings`: ``n_layer``, ``n_head``, ``n_embd``,
            ``block_size``, ``dropout``, ``bias``, ``activation``. Of a model that is given only
            ``dropout`` may differ, and ``block_size`` be smaller.
        settings: Fields of :class:`GPTSettings`: ``batch_size``, ``steps``, ``learning_rate``, ...
        evaluation: Fields of :class:`GPTEvaluation`: ``eval_every``, ``eval_iters``,
            ``early_stopping``.
        always_save_checkpoint: Save the run after each evaluation, better or not.
        pickled_meta: See :meth:`GPTData.open`.
        cuda_graphs: On a GPU run steps as CUDA graphs (without accumulation).
        overwrite, device, workers, checkpoint_every, keep, progress, stop, callbacks: As for
            :func:`lexforge.bert.pretrain`.

    Returns:
        Model (in training mode, on the device), settings, and how it went.

    Raises:
        ValueError, TypeError: An argument out of range or of the wrong kind; a text shorter than a
            window; a resume with other settings or other text.
        FileNotFoundError: Nothing to resume, no such data or model.
        The others as :func:`lexforge.bert.pretrain`.

    Example:
        >>> from lexforge.gpt import prepare, train
        >>> data = prepare("tinyshakespeare.txt", "data/")
        >>> result = train(data, out="model/", progress=True)
    """
    resume = isinstance(init_from, str) and init_from == RESUME
    run = _Run(GPTSettings, init_from, locals())
    if not isinstance(data, GPTData):
        data = GPTData.open(data, pickled_meta=pickled_meta)
    found = run.begin(shape, data.vocab_size, data.tokenizer, device)
    width, size = found.config.block_size, run.settings.batch_size
    data.train.check(width)
    held_out = len(data.held_out) > 0
    if held_out:
        data.held_out.check(width)
    run.identify(
        {**data.train.identity(), "vocab_size": data.vocab_size},
        data.held_out.identity() if held_out else None,
    )

    def steps() -> Generator[StepData, None, None]:
        windows = Windows(data.train, width, size, run.settings.seed, run.device)
        return windows.steps(run.settings, found.config.dropout, run.state.done)

    def unseen() -> Iterator[Part]:
        windows = Windows(data.held_out, width, size, run.settings.seed, run.device)
        return windows.evaluation(run.evaluated["eval_iters"])

    return run.fit(
        steps,
        unseen,
        graph=cuda_graphs and run.settings.gradient_accumulation_steps == 1,
        save_evaluated=always_save_checkpoint,
    )


def finetune(
    pairs: Any,
    *,
    model: GPT | str | os.PathLike,
    out: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    epochs: int = 3,
    template: Template | str | os.PathLike | None = None,
    eval_file: Any = None,
    eval_share: float = 0.0,
    shape: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    workers: int | None = None,
    checkpoint_every: float | None = None,
    keep: int = 0,
    progress: Progress | bool = False,
    stop: StopRequest | None = None,
    callbacks: Sequence[Any] = (),
) -> GPTResult:
    """Teach a GPT to answer: training on prompts with their answers, of which only these count.

    Pairs are packed without padding. What is longer than the model's block is left out, which is
    told.

    Args:
        pairs: JSON lines with ``prompt`` and ``answer``: a file, or an iterable of such dicts.
        model: A model with a tokenizer, or its folder.
        epochs: Passes over the pairs; or ``settings={"steps": ...}``.
        template: How a pair becomes text (:class:`Template`), or its file; saved beside the model.
        eval_file: Pairs that are not trained on. eval_share: or the share of `pairs` held out.
        settings: Fields of :class:`TuningSettings`.
        out, resume, overwrite, shape, evaluation, device, workers, checkpoint_every, keep,
            progress, stop, callbacks: As for :func:`train`; ``eval_iters`` does not count, since
            all held-out pairs are measured.

    Returns:
        As :func:`train`.

    Raises:
        ValueError, TypeError: As :func:`train`; a line that is no pair; no pair that fits; a model
            without a tokenizer. The others as there.

    Example:
        >>> from lexforge.gpt import finetune
        >>> finetune("pairs.jsonl", model="model/", out="chat/")
    """
    epochs = whole("finetune", "epochs", epochs)
    eval_share = real("finetune", "eval_share", eval_share, high=1)
    run = _Run(TuningSettings, model, locals())
    if not isinstance(template, Template):
        template = Template() if template is None else Template.load(template)
    found = run.begin(shape, None, None, device)
    if found.tokenizer is None:
        raise ValueError("finetune: model must have a tokenizer, and this one has none")
    told = read_pairs(pairs)
    unseen = [] if eval_file is None else read_pairs(eval_file)
    if not unseen and eval_share:
        told, unseen = _held_out(told, eval_share)
    encode = partial(
        Pairs.encode, tokenizer=found.tokenizer, template=template, longest=found.config.block_size
    )
    lessons, exam = encode(told), encode(unseen) if unseen else None
    run.template, run.notes = template, lessons.notes
    per_step = run.settings.batch_size * run.settings.gradient_accumulation_steps
    run.set_length(epochs * math.ceil(len(lessons) / per_step))
    run.identify(lessons.identity(), None if exam is None else exam.identity())

    def steps() -> Generator[StepData, None, None]:
        return lessons.steps(run.settings, found.config.dropout, run.state)

    def measured() -> Iterator[Part]:
        return iter(()) if exam is None else exam.evaluation(run.settings.batch_size)

    return run.fit(steps, measured)


def _held_out(pairs: list[Any], share: float) -> tuple[list[Any], list[Any]]:
    """Every so manieth pair, the first one not among them."""
    number = round(len(pairs) * share)
    chosen = {(i + 1) * len(pairs) // number - 1 for i in range(number)} if number else set()
    kept = [pair for i, pair in enumerate(pairs) if i not in chosen]
    return kept, [pairs[i] for i in sorted(chosen)]


class _Run:
    """A run from its arguments to its end; `begin`, `identify` and `fit` are called in order."""

    model: GPT
    settings: GPTSettings
    state: GPTState
    device: torch.device

    def __init__(
        self,
        kind: type[GPTSettings],
        init_from: str | os.PathLike | GPT,
        call: Mapping[str, Any],
    ) -> None:
        self._kind, self._owner = kind, kind.OWNER
        self._given, self._evaluation = dict(call["settings"] or {}), dict(call["evaluation"] or {})
        _check_names(self._owner, "settings", kind, self._given)
        _check_names(self._owner, "evaluation", GPTEvaluation, self._evaluation)
        replace(GPTEvaluation(), **self._evaluation)
        self._from, self._arguments = init_from, RunArguments.of(self._owner, call)
        self.resumed = self._arguments.resume
        self._optimizer: dict[str, Tensor] | None = None
        self._saved: GPTState | None = None
        self.evaluated: dict[str, Any] = {}
        self._held_out = False
        self.template: Template | None = None
        self.notes: list[str] = []

    def begin(
        self,
        shape: Mapping[str, Any] | None,
        vocab_size: int | None,
        tokenizer: Any,
        device: str | torch.device,
    ) -> GPT:
        """The model, and the settings.

        Raises:
            ValueError: Settings other than those of the run to resume, a model that does not fit.
        """
        self.device = resolve_device(self._owner, device)
        shape = dict(shape or {})
        _check_names(self._owner, "shape", ShapeSettings, shape)
        if self.resumed:
            assert self._arguments.out is not None
            saved = read_run(self._arguments.out, _read_model, self._kind, GPTState)
            self.model, self._saved, self._optimizer = saved.content, saved.state, saved.optimizer
            saved.settings.refuse_changes(self._given, saved.settings.may_change)
            self.settings = replace(saved.settings, **self._given)
            self.evaluated = saved.evaluation or {}
            own = ShapeSettings.of(self.model.config)
            own.refuse_changes(shape)
        else:
            self.settings = self._kind(**self._given)
            self.model = self._made(shape, vocab_size)
        check_precision(self._owner, self.settings.precision, self.device)
        config = self.model.config
        if vocab_size is not None and vocab_size > config.vocab_size:
            raise ValueError(
                f"{self._owner}: data must have at most {config.vocab_size} tokens in the "
                f"vocabulary, as the model, got {vocab_size}"
            )
        own_tokens = self.model.tokenizer and list(self.model.tokenizer.tokens)
        if own_tokens and tokenizer is not None and own_tokens != list(tokenizer.tokens):
            raise ValueError(
                f"{self._owner}: data must have the tokenizer of the model, got another"
            )
        self.model.tokenizer = self.model.tokenizer or tokenizer
        return self.model

    def _made(self, shape: dict[str, Any], vocab_size: int | None) -> GPT:
        """A model from scratch, or the one to start from."""
        if isinstance(self._from, str) and self._from == SCRATCH:
            assert vocab_size is not None
            named = ShapeSettings(**shape)
            config = GPTConfig(vocab_size=vocab_size, **named.record())
            config.check_memory(4 if self.device.type == "cpu" else 1)
            return GPT(config, seed=self.settings.seed)
        model = self._from if isinstance(self._from, GPT) else GPT.from_pretrained(self._from)
        block_size = shape.pop("block_size", None)
        dropout = shape.pop("dropout", None)
        own = ShapeSettings.of(model.config).record()
        if other := {name: value for name, value in shape.items() if own[name] != value}:
            told = ", ".join(f"{name} {own[name]}, got {value}" for name, value in other.items())
            raise ValueError(f"{self._owner}: shape must be that of the model: {told}")
        if block_size is not None:
            model.crop_block_size(block_size)
        if dropout is not None:
            model.set_dropout(dropout)
        return model

    def set_length(self, steps: int) -> None:
        """Of a run whose settings do not say it."""
        if self.settings.steps is None:
            self.settings = replace(self.settings, steps=steps)
        if self.settings.warmup_steps is None:
            self.settings = replace(self.settings, warmup_steps=self.settings.length // 20)

    def identify(self, data: dict[str, Any], held_out: dict[str, Any] | None) -> None:
        """Tell what the run trains on, and what it is measured on.

        Raises:
            ValueError: The run to resume had other data.
        """
        settings = self.settings
        if self._saved is not None and self._saved.corpus != data:
            raise ValueError(
                f"cannot resume on other data: got {data['tokens']:,} tokens, the run's has "
                f"{self._saved.corpus.get('tokens')}, or others"
            )
        self.state = self._saved or GPTState(total=settings.length, corpus=data)
        self.state.total = settings.length
        defaults = GPTEvaluation()
        given = {"eval_iters": defaults.eval_iters, **self._evaluation}
        if self.resumed:
            given = self._evaluation
        if held_out is None and self._evaluation:
            told = ", ".join(self._evaluation)
            raise ValueError(f"{self._owner}: {told} must come with held-out data, which are none")
        self._held_out = held_out is not None
        found = evaluated_as(
            self.evaluated or None, self.resumed, given, settings.length, held_out, "data"
        )
        self.evaluated = found or {}

    def describe(self) -> str:
        """Sizes of the model and the data."""
        config, settings = self.model.config, self.settings
        return (
            f"{count(self.model.get_num_params(non_embedding=False))} parameters: "
            f"{config.n_layer} blocks, {config.n_embd} wide, sequences of {config.block_size}; "
            f"{count(self.state.corpus['tokens'])} tokens to train on, {settings.length:,} steps"
        )

    def fit(
        self,
        steps: Callable[[], Generator[StepData, None, None]],
        unseen: Callable[[], Iterator[Part]],
        *,
        graph: bool = False,
        save_evaluated: bool = False,
    ) -> GPTResult:
        """Train to the end, or until asked to stop; saves what is to be saved."""
        model, state, settings = self.model, self.state, self.settings
        result = GPTResult(model, settings, state)

        def write(folder: Path) -> None:
            write_parts(folder, model)
            if self.template is not None:
                write_json(folder / TEMPLATE, self.template.record())

        def measure(stepper: Stepper) -> dict[str, float]:
            sums = dict(zip(NAMES, stepper.evaluate(unseen()), strict=True))
            return state.measures(Amounts(0.0, 1, sums))

        with self._arguments.opened() as progress:
            for note in (*self.notes, self.describe()):
                progress.say(note)
            state.flops_per_token = model.flops_per_token()
            state.peak_flops = measured_peak(self.device, settings.precision)
            NetworkRun(
                model,
                settings,
                state,
                write,
                self._optimizer,
                self.evaluated if self._held_out else None,
            ).fit(
                self.device,
                lambda optimizer: make_stepper(
                    model,
                    optimizer,
                    settings.precision,
                    graph=graph and self.device.type == "cuda",
                ),
                NAMES,
                steps(),
                measure=measure if self._held_out else None,
                describe=lambda values: (
                    f"loss {values['loss']:.4f}, {values['accuracy']:.1%} right"
                ),
                arguments=self._arguments,
                progress=progress,
                subject=result,
                save_evaluated=save_evaluated,
            )
        return result


def _read_model(folder: Path) -> GPT:
    model = GPT.from_pretrained(folder)
    check_finite(dict(model.named_parameters()), folder / TENSORS)
    return model


def _check_names(owner: str, what: str, kind: type, given: Mapping[str, Any]) -> None:
    from lexforge.training.settings import knobs

    known = [name for name, knob in knobs(kind).items() if knob.help]
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"{owner}: {what} must be of {', '.join(known)}, got {unknown[0]!r}")
