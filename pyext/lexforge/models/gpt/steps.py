"""One step of training a GPT: its data, drawn ahead, and what is done with them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lexforge.models.gpt.data import Stream
from lexforge.models.gpt.model import GPT
from lexforge.training.stepper import Graph, Stepper, step_seed

if TYPE_CHECKING:
    from lexforge.models.gpt.settings import GPTSettings
    from lexforge.training.optimizer import NetworkOptimizer

NAMES = ("loss_sum", "count", "hits")  # of the sums: of losses, of predictions, of right ones
# Steps drawn one after another, which takes a tenth of the time that it takes between steps.
_AHEAD, _TOKENS_AHEAD = 32, 2**16
_HELD_OUT = 0x68656C64  # what tells the windows of an evaluation from those of steps


class Part(NamedTuple):
    """What goes through the model at once; see :meth:`GPT.loss`."""

    tokens: Tensor
    labels: Tensor
    positions: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    seed: Tensor | None = None  # int64 [1], of the dropout; None without
    share: float = 1.0  # of the step's predictions

    def to(self, device: torch.device) -> Part:
        """There, without waiting."""
        tokens, labels, positions, bounds = (x.to(device, non_blocking=True) for x in self[:4])
        seed = None if self.seed is None else self.seed.to(device, non_blocking=True)
        return Part(tokens, labels, positions, bounds, self.max_seqlen, seed, self.share)


class StepData(NamedTuple):
    """What a step needs, and where the data go on after it."""

    parts: list[Part]
    counts: dict[str, int]
    epoch: int
    batch: int
    ends_epoch: bool = False


class Windows:
    """Batches of windows of a stream, all of one size.

    Args:
        stream: longer than a window.
        block_size, batch_size: of the windows, and how many there are.
        seed: of the run.
        device: where they go; on a GPU tensors are pinned, and the bounds lie there.
    """

    def __init__(
        self, stream: Stream, block_size: int, batch_size: int, seed: int, device: torch.device
    ) -> None:
        self._stream, self._block_size, self._batch_size = stream, block_size, batch_size
        self._seed, self._pinned = seed, device.type == "cuda"
        positions = torch.arange(block_size, dtype=torch.int32).repeat(batch_size)
        bounds = torch.arange(batch_size + 1, dtype=torch.int32) * block_size
        self.positions, self.bounds = positions.to(device), bounds.to(device)
        self.tokens = batch_size * block_size

    def part(self, *place: int, seed: Tensor | None = None, share: float = 1.0) -> Part:
        """The windows that are drawn for a place in the run: a step and a part of it."""
        found = torch.from_numpy(
            self._stream.windows(self._block_size, self._batch_size, self._seed, *place)
        )
        tokens, labels = (x.reshape(-1) for x in (found[:, :-1], found[:, 1:]))
        if self._pinned:
            tokens, labels = tokens.pin_memory(), labels.pin_memory()
            seed = None if seed is None else seed.pin_memory()
        return Part(tokens, labels, self.positions, self.bounds, self._block_size, seed, share)

    def steps(
        self, settings: GPTSettings, dropout: float, step: int
    ) -> Generator[StepData, None, None]:
        """The data of one step after another, without an end, from this one on."""
        parts = settings.gradient_accumulation_steps
        ahead = max(1, min(_AHEAD, _TOKENS_AHEAD // (parts * self.tokens)))
        while True:
            drawn: list[StepData] = []
            try:
                for each in range(step, step + ahead):
                    drawn.append(self._step(settings, dropout, each))
            except ValueError:
                if not drawn:  # else this is said when that step comes
                    raise
            yield from drawn
            step += len(drawn)

    def _step(self, settings: GPTSettings, dropout: float, step: int) -> StepData:
        parts = settings.gradient_accumulation_steps
        return StepData(
            [
                self.part(
                    step,
                    number,
                    seed=step_seed(settings.seed, step, number) if dropout else None,
                    share=1 / parts,
                )
                for number in range(parts)
            ],
            {"tokens": parts * self.tokens},
            0,
            step + 1,
        )

    def evaluation(self, batches: int) -> Iterator[Part]:
        """The same ones every time."""
        return (self.part(_HELD_OUT, number) for number in range(batches))


def make_stepper(
    model: GPT, optimizer: NetworkOptimizer, precision: str, *, graph: bool = False
) -> Stepper:
    """What does steps on the model's device.

    Args:
        graph: steps of one part, which are all of one size, run as a CUDA graph.
    """
    device = next(model.parameters()).device
    on_host = device.type == "cpu"

    def losses(part: Part) -> tuple[Tensor, Tensor]:
        tokens, labels, positions, bounds, longest, seed, share = (
            part if on_host else part.to(device)
        )
        loss, correct = model.loss(tokens, labels, positions, bounds, longest, seed=seed)
        sums = _sums(loss, correct, labels)
        return loss if share == 1.0 else loss * share, sums

    return Stepper(model, optimizer, losses, len(NAMES), precision, _graph() if graph else None)


def _sums(loss: Tensor, correct: Tensor, labels: Tensor) -> Tensor:
    """float64 [3]: :data:`NAMES`."""
    found = (labels >= 0).sum()
    return torch.stack([loss.detach().double() * found, found.double(), correct.double()])


def _graph() -> Graph:
    longest = 0

    def inputs(data: StepData) -> dict[str, Tensor] | None:
        nonlocal longest
        if len(data.parts) != 1:
            return None
        part = data.parts[0]
        longest = part.max_seqlen
        return {name: x for name, x in part._asdict().items() if isinstance(x, Tensor)}

    def part(tensors: Mapping[str, Tensor]) -> Part:
        seed = tensors.get("seed")
        tokens, labels, positions, bounds = (tensors[name] for name in Part._fields[:4])
        return Part(tokens, labels, positions, bounds, longest, seed)

    return Graph(inputs, part)
