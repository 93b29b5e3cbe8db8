"""The loop around a streaming kernel: call sizes, accounting, stopping, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import torch

from lexforge.training.progress import Meter, Progress
from lexforge.training.signals import StopRequest

if TYPE_CHECKING:
    from lexforge.text import EncodedCorpus

CALL_SECONDS = 0.4  # of work per kernel call: long enough to cost nothing, short enough to stop
FIRST_CALL_TOKENS = 20_000
LARGEST_GROWTH = 4.0  # of the call size from one call to the next
HISTORY_POINTS = 200  # of the loss curve kept in a checkpoint


class TrainingDivergedError(RuntimeError):
    """The loss is no longer a finite number."""


@dataclass
class TrainerState:
    """Where a run stands; together with the tables, all that a resume needs.

    Every random decision of the kernels is keyed by (seed, epoch, position in the corpus) and the
    learning rate depends on the position, so no generator state is kept.
    """

    epochs: int
    total_tokens: int  # of all epochs
    alpha: float
    min_alpha: float
    first_epoch: int = 0  # key of this run's first epoch: the epochs of earlier runs come before
    epoch: int = 0
    sentence: int = 0  # next one to train in this epoch
    tokens_done: int = 0
    seconds: float = 0.0  # in training, without preparation and saving
    loss_sum: float = 0.0
    pairs: int = 0
    centers: int = 0
    corpus: dict[str, Any] = field(default_factory=dict)  # what identifies the encoded corpus
    loss_history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.epochs

    @property
    def learning_rate(self) -> float:
        """At the position reached."""
        share = self.tokens_done / max(self.total_tokens, 1)
        return self.alpha + (self.min_alpha - self.alpha) * share

    @property
    def mean_loss(self) -> float:
        """Per pair over the whole run; nan before the first pair."""
        return self.loss_sum / self.pairs if self.pairs else math.nan

    @property
    def recent_loss(self) -> float:
        """Per pair over the latest stretch of the loss history that had pairs; nan before."""
        losses = (point["loss"] for point in reversed(self.loss_history))
        return next((loss for loss in losses if loss is not None), math.nan)

    @property
    def words_per_second(self) -> float:
        """Tokens before sub-sampling per second of training, over the whole run."""
        return self.tokens_done / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> TrainerState:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: A field is missing.
        """
        if missing := [f.name for f in fields(cls) if f.name not in content]:
            raise ValueError(f"trainer state must have {', '.join(missing)}")
        return cls(**{f.name: content[f.name] for f in fields(cls)})


def train_stream(
    state: TrainerState,
    corpus: EncodedCorpus,
    step: Callable[[int, int, int], None],
    stats: torch.Tensor,
    *,
    progress: Progress,
    stop: StopRequest | None = None,
    save: Callable[[], None] | None = None,
    save_every: float | None = None,
    on_epoch_begin: Callable[[], None] | None = None,
    on_epoch_end: Callable[[], None] | None = None,
) -> None:
    """Train from where ``state`` stands to the end of its last epoch, or until asked to stop.

    Args:
        state: Advanced in place after every call.
        corpus: S sentences; only offsets are read here.
        step: ``step(epoch, first, last)`` trains sentences [first, last) of epoch
            ``state.first_epoch + epoch`` and adds to ``stats``.
        stats: float64 [3]: sums of loss, pairs and centres over this run. Overwritten with the
            state's own sums first.
        progress: Told of every call.
        stop: Looked at after every call; when requested the loop saves and returns.
        save: Writes a checkpoint of the present state.
        save_every: Seconds between checkpoints; None saves only when stopped.
        on_epoch_begin: Called before the first sentence of an epoch.
        on_epoch_end: Called after the last one.

    Raises:
        TrainingDivergedError: The loss became infinite or not a number. Nothing is saved.
    """
    stats.copy_(torch.tensor([state.loss_sum, state.pairs, state.centers], dtype=torch.float64))
    history = Meter(state)
    history_tokens = max(state.total_tokens // HISTORY_POINTS, 1)
    call_tokens = float(FIRST_CALL_TOKENS)
    progress.begin(state)
    saved_at = tick = time.perf_counter()
    try:
        while not state.finished:
            if state.sentence == 0 and on_epoch_begin is not None:
                on_epoch_begin()
            while state.sentence < corpus.num_sentences:
                first = state.sentence
                last, tokens = _cut(corpus.offsets, first, int(call_tokens))
                step(state.epoch, first, last)
                loss_sum, pairs, centers = stats.tolist()  # waits for the device
                now = time.perf_counter()
                call_seconds, tick = now - tick, now
                if not math.isfinite(loss_sum):
                    raise TrainingDivergedError(
                        f"the loss became {loss_sum} in epoch {state.epoch + 1}, after "
                        f"{state.tokens_done:,} tokens at learning rate "
                        f"{state.learning_rate:.4g}: try a smaller alpha"
                    )
                points_before = state.tokens_done // history_tokens
                state.sentence = last
                state.tokens_done += tokens
                state.seconds += call_seconds
                state.loss_sum, state.pairs, state.centers = loss_sum, int(pairs), int(centers)
                if state.tokens_done // history_tokens > points_before:
                    state.loss_history.append(vars(history.read(state)))
                progress.update(state)
                if 2 * tokens >= call_tokens:  # not cut short by the end of the epoch
                    wanted = tokens * CALL_SECONDS / max(call_seconds, 1e-6)
                    call_tokens = min(wanted, tokens * LARGEST_GROWTH)
                stopping = stop is not None and stop.requested
                due = save_every is not None and now - saved_at >= save_every
                if save is not None and (stopping or due):
                    save()
                    saved_at = tick = time.perf_counter()
                if stopping:
                    return
            state.epoch += 1
            state.sentence = 0
            if on_epoch_end is not None:
                on_epoch_end()
            tick = time.perf_counter()
    finally:
        progress.end(state)


def _cut(offsets: torch.Tensor, first: int, tokens: int) -> tuple[int, int]:
    """Where to end a run of whole sentences, one at least, with about that many tokens.

    Returns:
        The sentence after the last one, and the number of tokens in the run.
    """
    start = int(offsets[first])
    last = int(torch.searchsorted(offsets, start + tokens, right=True)) - 1
    last = min(max(last, first + 1), offsets.numel() - 1)
    return last, int(offsets[last]) - start
