"""One step of pretraining: its data, drawn ahead, and what is done with them."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lexforge.models.bert.capacity import BatchCapacity
from lexforge.models.bert.examples import PackedBatch
from lexforge.models.bert.model import IGNORED, BertLosses, BertModel
from lexforge.training.optimizer import NetworkOptimizer
from lexforge.training.stepper import Graph, Stepper, step_seed

if TYPE_CHECKING:
    from lexforge.models.bert.examples import BertExamples


class Part(NamedTuple):
    """What goes through the model at once."""

    batch: PackedBatch
    seed: Tensor | None  # int64 [1], of the dropout; None without
    mlm_share: float = 1.0  # of the step's predicted words
    nsp_share: float = 1.0  # of its pairs


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
    seed = None if part.seed is None else part.seed.pin_memory()
    return part._replace(batch=part.batch.map(Tensor.pin_memory), seed=seed)


def make_stepper(
    model: BertModel,
    optimizer: NetworkOptimizer,
    precision: str,
    capacity: BatchCapacity | None = None,
) -> Stepper:
    """What does steps on the model's device; its sums are the sum of losses, number and hits of
    predicted words, and the same of pairs.

    Args:
        precision: ``"float32"`` or ``"bf16"``.
        capacity: batches of this size run as a CUDA graph; None for no graph.
    """
    device = next(model.parameters()).device

    def losses(part: Part) -> tuple[Tensor, Tensor]:
        batch, seed = part.batch, part.seed
        if device.type == "cpu":
            batch = BatchCapacity.around(batch).fill(batch)
        if seed is not None:
            seed = seed.to(device, non_blocking=True)
        found = model.losses(batch.to(device, non_blocking=True), seed=seed)
        return found.mlm_loss * part.mlm_share + found.nsp_loss * part.nsp_share, _sums(found)

    graph = None if capacity is None else _graph(capacity)
    return Stepper(model, optimizer, losses, 6, precision, graph)


def _graph(capacity: BatchCapacity) -> Graph:
    def inputs(data: StepData) -> dict[str, Tensor] | None:
        batch, seed, *_ = data.parts[0]
        sizes = (batch.num_sequences, len(batch.tokens), len(batch.labels), batch.max_seqlen)
        if sizes != capacity or seed is None:
            return None
        return {n: x for n, x in batch._asdict().items() if isinstance(x, Tensor)} | {"seed": seed}

    def part(tensors: Mapping[str, Tensor]) -> Part:
        batch = {name: x for name, x in tensors.items() if name != "seed"}
        return Part(PackedBatch(**batch, max_seqlen=capacity.max_len), tensors["seed"])

    return Graph(inputs, part)


def _sums(losses: BertLosses) -> Tensor:
    """float64 [6], as of :func:`make_stepper`."""
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
