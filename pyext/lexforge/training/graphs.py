"""CUDA graphs: a step of fixed shapes recorded once and started again with one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

WARMUP_CALLS = 3  # what libraries set up at their first calls must not be recorded


class GraphedStep:
    """A function of tensors on a GPU, recorded as a CUDA graph at its first call.

    A small model's step is hundreds of short kernels, and starting them one by one takes longer
    than they run. The graph starts them all at once; it always reads and writes the same memory, so
    the inputs are copied into buffers first.

    Args:
        step: Called with the buffers by name. It may change tensors, must return None, and must
            neither wait for the device nor depend on values on the host.
        changed: All tensors outside that `step` changes; the recording needs some calls of `step`,
            and restores these afterwards.
        before: Called before every recorded call, e.g. to drop gradients: those that the recording
            makes stay in the graph's own memory.
    """

    def __init__(
        self,
        step: Callable[..., None],
        changed: Callable[[], Iterable[Tensor]],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._step, self._changed, self._before = step, changed, before
        self._graph: torch.cuda.CUDAGraph | None = None
        self._buffers: dict[str, Tensor] = {}

    def __call__(self, inputs: Mapping[str, Tensor]) -> None:
        """Run the step.

        Args:
            inputs: By name, of the shapes and dtypes of the first call; on any device, in pinned
                memory best.

        Raises:
            ValueError: Other names, shapes or dtypes than those of the first call.
        """
        if self._graph is None:
            self._buffers = {
                name: torch.empty_like(tensor, device="cuda", pin_memory=False)
                for name, tensor in inputs.items()
            }
            self._fill(inputs)
            self._graph = self._record()
        else:
            self._fill(inputs)
        self._graph.replay()

    def _fill(self, inputs: Mapping[str, Tensor]) -> None:
        if inputs.keys() != self._buffers.keys():
            raise ValueError(f"inputs must be {list(self._buffers)}, got {list(inputs)}")
        for name, buffer in self._buffers.items():
            given = inputs[name]
            if given.shape != buffer.shape or given.dtype != buffer.dtype:
                raise ValueError(
                    f"{name} must be {buffer.dtype} {tuple(buffer.shape)}, "
                    f"got {given.dtype} {tuple(given.shape)}"
                )
            buffer.copy_(given, non_blocking=True)

    def _record(self) -> torch.cuda.CUDAGraph:
        before = [tensor.clone() for tensor in self._changed()]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMUP_CALLS):
                self._before()
                self._step(**self._buffers)
        torch.cuda.current_stream().wait_stream(stream)
        self._before()
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on with what a recording forbids, such as pinning memory.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._step(**self._buffers)
        for tensor, content in zip(self._changed(), before, strict=True):
            tensor.copy_(content)
        return graph
