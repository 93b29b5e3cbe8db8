"""One step of pretraining: its data, drawn ahead, and what is done with them."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lexforge.models.bert.capacity import BatchCapacity
from lexforge.models.bert.examples import PackedBatch
from lexforge.models.bert.model import IGNORED, BertLosses, BertModel
from lexforge.training.graphs import GraphedStep
from lexforge.training.memory import keep_freed_memory
from lexforge.training.network_job import evaluating
from lexforge.training.optimizer import NetworkOptimizer

if TYPE_CHECKING:
    from lexforge.models.bert.examples import BertExamples


class Part(NamedTuple):
    """What goes through the model at once."""

    batch: PackedBatch
    seed: Tensor  # int64 [1], of the dropout
    mlm_share: float  # of the step's predicted words
    nsp_share: float  # of its pairs


class StepData(NamedTuple):
    """What a step needs, and where the data go on after it."""

    parts: list[Part]
    sequences: int
    tokens: int
    epoch: int
    batch: int
    ends_epoch: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """What is known on the host and adds up."""
        return {"sequences": self.sequences, "tokens": self.tokens}


_EMPTY_EPOCHS = 100  # in a row, after which no more data are expected


def step_seed(seed: int, step: int, part: int) -> Tensor:
    """int64 [1]: the dropout's seed, a function of these three."""
    words = np.random.SeedSequence((seed % 2**64, step, part)).generate_state(1, np.uint64)
    return torch.from_numpy(words.view(np.int64))


def draw_steps(
    examples: BertExamples,
    *,
    batch_size: int,
    accumulation: int,
    seed: int,
    step: int,
    epoch: int,
    batch: int,
    follows: int = 1,
    capacity: BatchCapacity | None = None,
    on_cuda: bool = False,
) -> Generator[StepData, None, None]:
    """The data of one step after another, without an end.

    Args:
        examples: where they come from.
        batch_size, accumulation: pairs of a step, and in how many parts they come.
        seed: of the run.
        step, epoch, batch: number of the first step, and where its data are.
        follows: the class of pairs whose second text follows the first (`BertConfig.follows`).
        capacity: what a step's only part is filled up to, where it fits.
        on_cuda: they go to a GPU: pinned, and drawn by all threads, which have nothing else to do.

    Raises:
        ValueError: there are no data: all pairs of many epochs are too long.
    """
    empty = 0
    while empty < _EMPTY_EPOCHS:
        empty += batch == 0
        size = batch_size // accumulation
        # An epoch's last step may have fewer parts.
        parts_of_epoch = examples.num_batches(epoch, size)
        first = min(batch * accumulation, parts_of_epoch)
        drawn = examples.batches(
            epoch,
            size,
            first_batch=first,
            threads=None if on_cuda else 1,
            pin_memory=on_cuda and capacity is None,
        )
        while group := list(islice(drawn, accumulation)):
            empty = 0
            batch += 1
            sequences = sum(part.num_sequences for part in group)
            tokens = sum(len(part.tokens) for part in group)
            if follows == 0:
                group = [part._replace(next_labels=1 - part.next_labels) for part in group]
            predictions = [int((part.labels != IGNORED).sum()) for part in group]
            if capacity is not None and accumulation == 1 and capacity.fits(group[0]):
                group = [capacity.fill(group[0])]
            parts = [
                Part(
                    part,
                    step_seed(seed, step, number),
                    predictions[number] / max(sum(predictions), 1),
                    part.num_sequences / sequences if accumulation > 1 else 1.0,
                )
                for number, part in enumerate(group)
            ]
            yield StepData(
                [_pinned(part) for part in parts] if on_cuda else parts,
                sequences,
                tokens,
                epoch,
                batch,
                batch * accumulation >= parts_of_epoch,
            )
            step += 1
        epoch, batch = epoch + 1, 0
    raise ValueError("pretrain: corpus must have pairs of sentences that fit max_len, got none")


def _pinned(part: Part) -> Part:
    return part._replace(batch=part.batch.map(Tensor.pin_memory), seed=part.seed.pin_memory())


class Stepper:
    """Does steps on a device, and sums up losses and hits there; it never waits for a GPU.

    Args:
        model, optimizer: on the device.
        precision: ``"float32"`` or ``"bf16"``.
        capacity: batches of this size run as a CUDA graph; None for no graph.

    Attributes:
        sums: float64 [6]: sum of losses, number and hits of predicted words; the same of pairs.
    """

    def __init__(
        self,
        model: BertModel,
        optimizer: NetworkOptimizer,
        precision: str,
        capacity: BatchCapacity | None = None,
    ) -> None:
        self._model, self._optimizer = model, optimizer
        self._half = precision == "bf16"
        self._capacity = capacity
        self._device = next(model.parameters()).device
        if self._device.type == "cpu":
            keep_freed_memory()
        self.sums = torch.zeros(6, dtype=torch.float64, device=self._device)
        self._graph = None
        if capacity is not None:
            self._graph = GraphedStep(
                self._graphed, lambda: (*optimizer.all_tensors(), self.sums), optimizer.zero_grad
            )

    def __call__(self, data: StepData, learning_rate: float) -> None:
        """Change the parameters by one step."""
        self._optimizer.set_learning_rate(learning_rate)
        if self._graph is not None and self._fills(data):
            batch, seed, *_ = data.parts[0]
            inputs = {name: x for name, x in batch._asdict().items() if isinstance(x, Tensor)}
            self._graph({**inputs, "seed": seed})
            return
        self._optimizer.zero_grad()
        for batch, seed, mlm_share, nsp_share in data.parts:
            if self._device.type == "cpu":
                batch = BatchCapacity.around(batch).fill(batch)
            batch = batch.to(self._device, non_blocking=True)
            seed = seed.to(self._device, non_blocking=True)
            self._backward(batch, seed, mlm_share, nsp_share)
        self._optimizer.step()

    def _fills(self, data: StepData) -> bool:
        batch = data.parts[0].batch
        sizes = (batch.num_sequences, len(batch.tokens), len(batch.labels), batch.max_seqlen)
        return sizes == self._capacity

    def _graphed(self, seed: Tensor, **inputs: Tensor) -> None:
        assert self._capacity is not None  # graphs are made for batches of one size
        batch = PackedBatch(**inputs, max_seqlen=self._capacity.max_len)
        self._backward(batch, seed, 1.0, 1.0)
        self._optimizer.step()

    def _backward(
        self, batch: PackedBatch, seed: Tensor, mlm_share: float, nsp_share: float
    ) -> None:
        """Add the gradients of a part of the step's loss, and its losses to the sums."""
        losses = self._losses(batch, seed)
        (losses.mlm_loss * mlm_share + losses.nsp_loss * nsp_share).backward()
        self.sums += _sums(losses)

    def _losses(self, batch: PackedBatch, seed: Tensor | None) -> BertLosses:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            return self._model.losses(batch, seed=seed)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[PackedBatch]) -> list[float]:
        """The sums over batches that nothing is learned from, without dropout."""
        sums = torch.zeros_like(self.sums)
        with evaluating(self._model):
            for batch in batches:
                if self._device.type == "cpu":
                    batch = BatchCapacity.around(batch).fill(batch)
                sums += _sums(self._losses(batch.to(self._device, non_blocking=True), None))
        return sums.tolist()


def _sums(losses: BertLosses) -> Tensor:
    """float64 [6], as in :attr:`Stepper.sums`."""
    return torch.stack(
        [
            losses.mlm_loss.detach().double() * losses.mlm_count,
            losses.mlm_count.double(),
            losses.mlm_correct.double(),
            losses.nsp_loss.detach().double() * losses.nsp_count,
            losses.nsp_count.double(),
            losses.nsp_correct.double(),
        ]
    )
