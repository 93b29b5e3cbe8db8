"""One step of a network's training: forward, backward, update, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lexforge.training.graphs import GraphedStep
from lexforge.training.memory import keep_freed_memory
from lexforge.training.network_job import evaluating
from lexforge.training.optimizer import NetworkOptimizer


def step_seed(seed: int, step: int, part: int) -> Tensor:
    """int64 [1]: the dropout's seed, a function of these three."""
    words = np.random.SeedSequence((seed % 2**64, step, part)).generate_state(1, np.uint64)
    return torch.from_numpy(words.view(np.int64))


class Parts(Protocol):
    """The data of a step: what goes through the network at once, one part after the other."""

    @property
    def parts(self) -> list[Any]: ...


class Graph(NamedTuple):
    """Which steps run as a CUDA graph, whose tensors have one size."""

    inputs: Callable[[Any], Mapping[str, Tensor] | None]  # of a step's data, or None: not this one
    part: Callable[[Mapping[str, Tensor]], Any]  # what `losses` takes, made of them


class Stepper:
    """Does steps on a device, and sums up losses and hits there; it never waits for a GPU.

    Args:
        network, optimizer: On the device.
        losses: ``losses(part)`` gives the share of the step's loss that a part has, to be
            differentiated, and what it adds to the sums: float64 [number of sums]. It brings the
            part to the device. Called in training mode and in evaluation mode.
        size: Number of sums.
        precision: ``"float32"``, or ``"bf16"``: under autocast.
        graph: Steps that run as a CUDA graph; None for none.

    Attributes:
        sums: float64 [size], on the device.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: NetworkOptimizer,
        losses: Callable[[Any], tuple[Tensor, Tensor]],
        size: int,
        precision: str = "float32",
        graph: Graph | None = None,
    ) -> None:
        self._network, self._optimizer, self._losses = network, optimizer, losses
        self._half = precision == "bf16"
        self.device = next(iter(optimizer.parameters.values())).device
        if self.device.type == "cpu":
            keep_freed_memory()
        self.sums = torch.zeros(size, dtype=torch.float64, device=self.device)
        self._graph = graph
        self._recorded = GraphedStep(
            self._graphed, lambda: (*optimizer.all_tensors(), self.sums), optimizer.zero_grad
        )

    def __call__(self, data: Parts, learning_rate: float) -> None:
        """Change the parameters by one step."""
        self._optimizer.set_learning_rate(learning_rate)
        inputs = None if self._graph is None else self._graph.inputs(data)
        if inputs is not None:
            self._recorded(inputs)
            return
        self._optimizer.zero_grad()
        for part in data.parts:
            self._backward(part)
        self._optimizer.step()

    def _graphed(self, **inputs: Tensor) -> None:
        assert self._graph is not None
        self._backward(self._graph.part(inputs))
        self._optimizer.step()

    def _backward(self, part: Any) -> None:
        """Add the gradients of a part of the step's loss, and its losses to the sums."""
        loss, sums = self._forward(part)
        loss.backward()
        self.sums += sums

    def _forward(self, part: Any) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            return self._losses(part)

    @torch.no_grad()
    def evaluate(self, parts: Iterable[Any]) -> list[float]:
        """The sums over parts that nothing is learned from, in evaluation mode."""
        sums = torch.zeros_like(self.sums)
        with evaluating(self._network):
            for part in parts:
                sums += self._forward(part)[1]
        return sums.tolist()
