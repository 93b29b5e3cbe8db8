"""Word2vec by the reference recipe: minibatches with negative samples, and a dense optimiser.

Of skip-gram by kernels that draw, step and update at once; of CBOW by its differentiable loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lexforge.ops import _checks
from lexforge.ops._tables import padded_table
from lexforge.ops.sampling.sampling import build_alias, keep_probability, noise_weights
from lexforge.ops.word2vec.cbow_batch import CbowMinibatch, cbow_batch
from lexforge.ops.word2vec.cbow_loss import cbow_loss
from lexforge.ops.word2vec.skipgram_batch import (
    Examples,
    Minibatch,
    skipgram_batch,
    skipgram_epoch_,
    skipgram_windows,
)
from lexforge.ops.word2vec.skipgram_step import SkipgramState, skipgram_step_, skipgram_sync_
from lexforge.training.progress import Progress
from lexforge.training.run import Watch, run
from lexforge.training.state import RunState

# The optimisers of CBOW.
_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "adagrad": torch.optim.Adagrad,
}


class WindowData:
    """An encoded corpus as shuffled minibatches, drawn afresh for every epoch.

    Iterating yields one epoch of int64 tensors, padded with zeros to the longest example of the
    minibatch; the next iteration yields the next epoch. Training takes the compact form instead.

    Args:
        tokens: int32 [N] word ids, 0 <= id < V.
        offsets: int64 [S + 1]; sentence s is ``tokens[offsets[s]:offsets[s + 1]]``.
        counts: int64 [V] word counts, for sub-sampling and noise words.
        batch_size: examples in a minibatch; the last one of an epoch may be smaller.
        window: largest distance between centre and context; drawn from 1..window per centre.
        negatives: noise words K for each word that an example predicts, never one of these.
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
            name = type(self).__name__
            raise ValueError(f"{name}: batch_size must be >= 1, got {batch_size}")
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

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for batch in self.minibatches(self.next_epoch()):
            yield tuple(tensor.long() for tensor in batch)

    def minibatches(self, examples: Examples) -> Iterator[tuple[Tensor, ...]]:
        """The padded minibatches of an epoch, in compact types."""
        for first in range(0, len(examples), self.batch_size):
            yield self._minibatch(examples, first, min(first + self.batch_size, len(examples)))

    def _minibatch(self, examples: Examples, first: int, last: int) -> tuple[Tensor, ...]:
        raise NotImplementedError


class SkipgramData(WindowData):
    """Of skip-gram: ``(centers [B, 1], contexts_negatives [B, L], masks [B, L], labels [B, L])``.

    The words that are predicted are the contexts. Everything else is as :class:`WindowData` says.
    """

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for center, *slots in super().__iter__():
            yield center[:, None], *slots

    def _minibatch(self, examples: Examples, first: int, last: int) -> Minibatch:
        return skipgram_batch(examples, first, last)


class CbowData(WindowData):
    """Of CBOW: ``(contexts [B, C], context_masks [B, C], centers_negatives [B, 1 + K], masks
    [B, 1 + K], labels [B, 1 + K])``.

    The word that is predicted is the centre. Everything else is as :class:`WindowData` says.
    """

    def _minibatch(self, examples: Examples, first: int, last: int) -> CbowMinibatch:
        return cbow_batch(examples, first, last)


@dataclass(kw_only=True)
class SkipgramProgress(RunState):
    """Where training stands. Losses are means over examples.

    ``epoch`` is that of the last report, from 0, and ``seconds`` are of training, drawing included.
    """

    unit: str = "epochs"
    fraction: float = 0.0  # of that epoch
    sums: dict[str, float] = field(
        default_factory=lambda: {"loss_sum": 0.0, "examples": 0, "slots": 0}
    )
    epoch_losses: list[float] = field(default_factory=list)

    @property
    def loss_sum(self) -> float:
        """Of all examples so far."""
        return self.sums["loss_sum"]

    @property
    def examples(self) -> int:
        """Centres so far, all epochs."""
        return int(self.sums["examples"])

    @property
    def slots(self) -> int:
        """Context and noise words so far."""
        return int(self.sums["slots"])

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
    op = "train_skipgram"
    device = _prepare(op, (embed_v, embed_u), data, SkipgramData, device, epochs, reports)
    tables = SkipgramState.create(
        padded_rows(embed_v.weight), padded_rows(embed_u.weight), optimizer
    )
    own = isinstance(data, SkipgramData)

    def step(*batch: Tensor) -> Tensor:
        return skipgram_step_(tables, *batch, lr=lr, check_indices=not own)

    def many(stats: Tensor, examples: Examples, size: int, first: int, last: int) -> None:
        skipgram_epoch_(tables, stats, examples, batch_size=size, lr=lr, first=first, last=last)

    fused = many if own and device.type == "cpu" else None
    job = _Job(data, device, step, fused, epochs=epochs, reports=reports, report=report)
    run(job, progress=Progress())
    watch = Watch(job.state)
    skipgram_sync_(tables)
    with torch.no_grad():
        embed_v.weight.copy_(tables.in_table[:, : embed_v.embedding_dim])
        embed_u.weight.copy_(tables.out_table[:, : embed_u.embedding_dim])
    watch.lap()
    return job.state


def train_cbow(
    embed_v: nn.Embedding,
    embed_u: nn.Embedding,
    data: CbowData | Iterable,
    *,
    lr: float,
    epochs: int,
    optimizer: str = "adam",
    device: torch.device | str | None = None,
    reports: int = 5,
    report: Callable[[SkipgramProgress], None] | None = None,
) -> SkipgramProgress:
    """Train two embeddings in place on CBOW minibatches.

    The loss is the mean over a centre and its noise words, summed over the minibatch
    (:func:`lexforge.ops.cbow_loss`). The vectors to keep are those of ``embed_v``.

    Args:
        embed_v, embed_u: embeddings of contexts and centres, float32, of one size D.
        data: :class:`CbowData`, or an iterable over minibatches (contexts, context_masks,
            centers_negatives, masks, labels) that can be iterated once per epoch.
        optimizer: ``"adam"``, ``"sgd"`` or ``"adagrad"``, torch's on dense gradients.
        lr, epochs, device, reports, report: as for :func:`train_skipgram`.

    Returns:
        The final progress: losses, and rates over the training time.
    """
    op = "train_cbow"
    _checks.choice(op, "optimizer", optimizer, tuple(_OPTIMIZERS))
    _checks.number(op, "lr", lr)
    device = _prepare(op, (embed_v, embed_u), data, CbowData, device, epochs, reports)
    # The same memory, whether the embeddings are frozen or have gradients of their own.
    tables = [embedding.weight.detach().requires_grad_() for embedding in (embed_v, embed_u)]
    descent = _OPTIMIZERS[optimizer](tables, lr=lr)
    own = isinstance(data, CbowData)

    def step(*batch: Tensor) -> Tensor:
        descent.zero_grad()
        with torch.enable_grad():
            loss = cbow_loss(*batch, *tables, check_indices=not own)
            loss.sum().backward()
        descent.step()
        return loss.detach()

    job = _Job(data, device, step, epochs=epochs, reports=reports, report=report)
    run(job, progress=Progress())
    return job.state


def _prepare(
    op: str,
    embeddings: Sequence[nn.Embedding],
    data: object,
    kind: type[WindowData],
    device: torch.device | str | None,
    epochs: int,
    reports: int,
) -> torch.device:
    """Check what all models have in common, and move the embeddings to where they are trained."""
    if epochs < 0 or reports < 1:
        raise ValueError(f"{op}: epochs must be >= 0 and reports >= 1, got {epochs} and {reports}")
    if isinstance(data, WindowData) and not isinstance(data, kind):
        raise TypeError(f"{op}: data must be {kind.__name__}, got {type(data).__name__}")
    if device is not None:
        for embedding in embeddings:
            embedding.to(device)
    return embeddings[0].weight.device


class _Job:
    """So many calls an epoch, each of which is reported.

    Args:
        data: minibatches, whose last tensor but one is the mask of what is predicted.
        step: trains on the tensors of a minibatch, and returns the losses of its examples.
        fused: trains on a range of an epoch's examples, in minibatches of a size, and adds to the
            statistics; instead of steps, where there is one.
    """

    patience = 0.0

    def __init__(
        self,
        data: WindowData | Iterable,
        device: torch.device,
        step: Callable[..., Tensor],
        fused: Callable[[Tensor, Examples, int, int, int], None] | None = None,
        *,
        epochs: int,
        reports: int,
        report: Callable[[SkipgramProgress], None] | None,
    ) -> None:
        self.state = SkipgramProgress(total=epochs)
        self._data, self._step, self._fused = data, step, fused
        self._reports, self._report = reports, report
        self._calls: Iterator[float] | None = None  # of the present epoch
        self._fraction: float | None = None  # of it that is done; None when no call was made
        self._stats = torch.zeros(3, dtype=torch.float64, device=device)
        self._before = (0.0, 0)  # losses and examples of earlier epochs

    def advance(self, watch: Watch) -> None:
        """One call; or, when the epoch is complete, its account."""
        state = self.state
        if self._calls is None:
            state.epoch = state.done
            self._calls = self._stepwise_epoch() if self._fused is None else self._fused_epoch()
        self._fraction = next(self._calls, None)
        if self._fraction is None:
            losses, examples = self._before
            self._before = state.loss_sum, state.examples
            state.epoch_losses.append((state.loss_sum - losses) / max(state.examples - examples, 1))
            state.done += 1
            self._calls = None

    def look(self, watch: Watch) -> None:
        """Account for the latest call, and report it."""
        state = self.state
        if self._fraction is None:
            return
        for name, number in zip(state.sums, self._stats.tolist(), strict=True):
            state.sums[name] += number
        self._stats.zero_()
        state.fraction = self._fraction
        with watch.paused():
            if self._report is not None:
                self._report(state)

    def _fused_epoch(self) -> Iterator[float]:
        """One epoch in `reports` calls; yields the fraction done after each."""
        assert isinstance(self._data, WindowData) and self._fused is not None
        size, examples = self._data.batch_size, self._data.next_epoch()
        batches = -(-len(examples) // size)
        stride = max(1, -(-batches // self._reports)) * size
        for first in range(0, len(examples), stride):
            last = min(first + stride, len(examples))
            self._fused(self._stats, examples, size, first, last)
            yield last / len(examples)

    def _stepwise_epoch(self) -> Iterator[float]:
        """One epoch a minibatch at a time; yields the fraction done `reports` times."""
        data, device = self._data, self._stats.device
        total = max(len(data) if isinstance(data, Sized) else 1, 1)
        every = max(1, total // self._reports)
        batches = data.minibatches(data.next_epoch()) if isinstance(data, WindowData) else data
        for number, batch in enumerate(batches, 1):
            tensors = [tensor.to(device) for tensor in batch]
            loss, mask = self._step(*tensors), tensors[-2]
            examples = loss.new_tensor(len(loss)).double()
            self._stats += torch.stack((loss.sum().double(), examples, (mask != 0).sum().double()))
            if number % every == 0 and number < total:
                yield number / total
        yield 1.0
