"""Skip-gram by the reference recipe: minibatches with negative samples, and a dense optimiser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lexforge.ops.sampling import build_alias, keep_probability, noise_weights
from lexforge.ops.skipgram_batch import (
    Examples,
    Minibatch,
    skipgram_batch,
    skipgram_epoch_,
    skipgram_windows,
)
from lexforge.ops.skipgram_step import SkipgramState, skipgram_step_, skipgram_sync_
from lexforge.ops.skipgram_stream import padded_table


class SkipgramData:
    """An encoded corpus as shuffled minibatches, drawn afresh for every epoch.

    Iterating yields one epoch of int64 tensors ``(centers [B, 1], contexts_negatives [B, L], masks
    [B, L], labels [B, L])``, padded with zeros to the longest example of the minibatch; the next
    iteration yields the next epoch. :func:`train_skipgram` takes the compact form instead.

    Args:
        tokens: int32 [N] word ids, 0 <= id < V.
        offsets: int64 [S + 1]; sentence s is ``tokens[offsets[s]:offsets[s + 1]]``.
        counts: int64 [V] word counts, for sub-sampling and noise words.
        batch_size: examples in a minibatch; the last one of an epoch may be smaller.
        window: largest distance between centre and context; drawn from 1..window per centre.
        negatives: noise words K per context word, never one of the centre's context words.
        threshold: sub-sampling t: a token of relative frequency f is kept with probability
            min(1, sqrt(t / f)); 0 keeps all.
        power: noise words are drawn in proportion to count^power.
        static_samples: keep the sub-sampling, windows and noise words of the first epoch, as the
            reference text does; only the order changes then.
        seed: any integer of 64 bits. Everything is a function of (seed, epoch).
    """

    def __init__(
        self,
        tokens: Tensor,
        offsets: Tensor,
        counts: Tensor,
        *,
        batch_size: int,
        window: int = 5,
        negatives: int = 5,
        threshold: float = 1e-4,
        power: float = 0.75,
        static_samples: bool = False,
        seed: int = 1,
    ):
        if batch_size < 1:
            raise ValueError(f"SkipgramData: batch_size must be >= 1, got {batch_size}")
        self.tokens = tokens
        self.offsets = offsets
        self.batch_size = batch_size
        self.window = window
        self.negatives = negatives
        self.static_samples = static_samples
        self.seed = seed
        self.epoch = 0  # the next one
        self._keep = keep_probability(counts, threshold, "sqrt")
        self._noise = build_alias(noise_weights(counts, power))
        self._examples: tuple[int, Examples] | None = None

    @property
    def vocab_size(self) -> int:
        """Words V: rows that both tables need."""
        return self._noise.shape[0]

    def examples(self, epoch: int) -> Examples:
        """The examples of one epoch, in their order."""
        if self._examples is not None and self._examples[0] == epoch:
            return self._examples[1]
        drawn = 0 if self.static_samples else epoch
        if self._examples is not None and self.static_samples:
            windows = self._examples[1].windows
        else:
            windows = skipgram_windows(
                self.tokens,
                self.offsets,
                self._keep,
                window=self.window,
                seed=self.seed,
                epoch=drawn,
            )
        shuffle = torch.Generator().manual_seed(self.seed % 2**32 * 2**31 + epoch)
        order = torch.randperm(windows.centers.shape[0], generator=shuffle)
        examples = Examples(
            windows, order, self._noise, self.window, self.negatives, self.seed, drawn
        )
        self._examples = (epoch, examples)
        return examples

    def next_epoch(self) -> Examples:
        """The examples of the next epoch, and on to the one after."""
        examples = self.examples(self.epoch)
        self.epoch += 1
        return examples

    def __len__(self) -> int:
        """Minibatches of the next epoch."""
        return -(-len(self.examples(self.epoch)) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        for batch in self.minibatches(self.next_epoch()):
            center, *slots = (tensor.long() for tensor in batch)
            yield (center[:, None], *slots)

    def minibatches(self, examples: Examples) -> Iterator[Minibatch]:
        """The padded minibatches of an epoch, in compact types."""
        for first in range(0, len(examples), self.batch_size):
            yield skipgram_batch(examples, first, min(first + self.batch_size, len(examples)))


@dataclass
class SkipgramProgress:
    """Where training stands. Losses are means over examples."""

    epoch: int = 0  # of the last report, from 0
    fraction: float = 0.0  # of that epoch
    seconds: float = 0.0  # of training, drawing included
    examples: int = 0  # centres so far, all epochs
    slots: int = 0  # context and noise words so far
    loss_sum: float = 0.0
    epoch_losses: list[float] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """Mean over all examples so far, all epochs."""
        return self.loss_sum / max(self.examples, 1)

    @property
    def examples_per_second(self) -> float:
        """Centres per second, over everything so far."""
        return self.examples / max(self.seconds, 1e-9)

    @property
    def slots_per_second(self) -> float:
        """Context and noise words per second."""
        return self.slots / max(self.seconds, 1e-9)


def padded_rows(weight: Tensor) -> Tensor:
    """A copy of a matrix [V, D] with rows lengthened by zeros to whole cache lines, float32."""
    rows, dim = weight.shape
    table = padded_table(rows, dim)
    table[:, :dim] = weight.detach()
    return table.to(weight.device)


def train_skipgram(
    embed_v: nn.Embedding,
    embed_u: nn.Embedding,
    data: SkipgramData | Iterable,
    *,
    lr: float,
    epochs: int,
    optimizer: str = "adam",
    device: torch.device | str | None = None,
    reports: int = 5,
    report: Callable[[SkipgramProgress], None] | None = None,
) -> SkipgramProgress:
    """Train two embeddings in place on skip-gram minibatches.

    The loss is the mean over an example's context and noise words, summed over the minibatch.

    Args:
        embed_v, embed_u: embeddings of centres and contexts, float32, of one size D.
        data: :class:`SkipgramData`, or an iterable over minibatches (centers, contexts_negatives,
            masks, labels) that can be iterated once per epoch.
        lr: learning rate. epochs: passes over the data.
        optimizer: ``"adam"`` (dense Adam, exactly), ``"lazy_adam"``, ``"sgd"`` or ``"adagrad"``.
        device: where to train; default where the embeddings are. The embeddings are moved there.
        reports: how often per epoch `report` is called.
        report: called with the progress so far.

    Returns:
        The final progress: losses, and rates over the training time.
    """
    if epochs < 0 or reports < 1:
        raise ValueError(
            f"train_skipgram: epochs must be >= 0 and reports >= 1, got {epochs} and {reports}"
        )
    if device is not None:
        embed_v.to(device)
        embed_u.to(device)
    state = SkipgramState.create(
        padded_rows(embed_v.weight), padded_rows(embed_u.weight), optimizer
    )
    fused = isinstance(data, SkipgramData) and state.in_table.device.type == "cpu"
    run = _fused_epoch if fused else _stepwise_epoch
    progress = SkipgramProgress()
    for epoch in range(epochs):
        progress.epoch = epoch
        losses, examples = progress.loss_sum, progress.examples
        start = time.perf_counter()
        for fraction in run(state, data, progress, lr=lr, reports=reports):
            progress.seconds += time.perf_counter() - start
            progress.fraction = fraction
            if report is not None:
                report(progress)
            start = time.perf_counter()
        progress.epoch_losses.append(
            (progress.loss_sum - losses) / max(progress.examples - examples, 1)
        )
    start = time.perf_counter()
    skipgram_sync_(state)
    with torch.no_grad():
        embed_v.weight.copy_(state.in_table[:, : embed_v.embedding_dim])
        embed_u.weight.copy_(state.out_table[:, : embed_u.embedding_dim])
    progress.seconds += time.perf_counter() - start
    return progress


def _fused_epoch(
    state: SkipgramState,
    data: SkipgramData,
    progress: SkipgramProgress,
    *,
    lr: float,
    reports: int,
) -> Iterator[float]:
    """One epoch in `reports` calls; yields the fraction done after each."""
    examples = data.next_epoch()
    batches = -(-len(examples) // data.batch_size)
    stride = max(1, -(-batches // reports)) * data.batch_size
    for first in range(0, len(examples), stride):
        last = min(first + stride, len(examples))
        stats = torch.zeros(3, dtype=torch.float64)
        skipgram_epoch_(
            state, stats, examples, batch_size=data.batch_size, lr=lr, first=first, last=last
        )
        _count(progress, stats)
        yield last / len(examples)


def _stepwise_epoch(
    state: SkipgramState, data: Iterable, progress: SkipgramProgress, *, lr: float, reports: int
) -> Iterator[float]:
    """One epoch a minibatch at a time; yields the fraction done `reports` times."""
    device = state.in_table.device
    own = isinstance(data, SkipgramData)
    total = max(len(data) if hasattr(data, "__len__") else 1, 1)
    every = max(1, total // reports)
    batches = data.minibatches(data.next_epoch()) if own else data
    stats = torch.zeros(3, dtype=torch.float64, device=device)
    number = 0
    for number, batch in enumerate(batches, 1):
        center, targets, mask, label = (tensor.to(device) for tensor in batch)
        loss = skipgram_step_(state, center, targets, mask, label, lr=lr, check_indices=not own)
        stats += torch.stack(
            (loss.sum().double(), loss.new_tensor(len(loss)).double(), (mask != 0).sum().double())
        )
        if number % every == 0 and number < total:
            _count(progress, stats)
            stats.zero_()
            yield number / total
    _count(progress, stats)
    yield 1.0


def _count(progress: SkipgramProgress, stats: Tensor) -> None:
    loss_sum, examples, slots = stats.tolist()
    progress.loss_sum += loss_sum
    progress.examples += int(examples)
    progress.slots += int(slots)
