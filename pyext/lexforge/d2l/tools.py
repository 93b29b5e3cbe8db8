"""The text's helpers: timing, devices, data."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class Timer:
    """A stop-watch that keeps all its times, in seconds."""

    def __init__(self):
        self.times: list[float] = []
        self.start()

    def start(self) -> None:
        """Start a new lap."""
        self._started = time.perf_counter()

    def stop(self) -> float:
        """End the lap, keep its time and return it."""
        self.times.append(time.perf_counter() - self._started)
        return self.times[-1]

    def avg(self) -> float:
        """Mean lap; 0 before the first."""
        return self.sum() / max(len(self.times), 1)

    def sum(self) -> float:
        """Sum of all laps."""
        return sum(self.times)

    def cumsum(self) -> list[float]:
        """Running sums of the laps."""
        return np.cumsum(self.times).tolist()


class Accumulator:
    """`n` running sums."""

    def __init__(self, n: int):
        self.data = [0.0] * n

    def add(self, *args: float) -> None:
        """Add one number to each sum."""
        if len(args) != len(self.data):
            raise ValueError(f"add: must be {len(self.data)} numbers, got {len(args)}")
        self.data = [total + float(value) for total, value in zip(self.data, args, strict=True)]

    def reset(self) -> None:
        """All sums back to zero."""
        self.data = [0.0] * len(self.data)

    def __getitem__(self, index: int) -> float:
        return self.data[index]


def try_gpu(i: int = 0) -> torch.device:
    """GPU `i`, or the CPU where there is no such GPU."""
    return torch.device(f"cuda:{i}" if i < torch.cuda.device_count() else "cpu")


def try_all_gpus() -> list[torch.device]:
    """All GPUs, or the CPU alone."""
    gpus = [torch.device(f"cuda:{i}") for i in range(torch.cuda.device_count())]
    return gpus or [torch.device("cpu")]


def get_dataloader_workers() -> int:
    """Loader processes: one per core but one, at most 4."""
    return min(4, max((os.cpu_count() or 1) - 1, 0))


def load_array(data_arrays: Sequence[Tensor], batch_size: int, is_train: bool = True):
    """A loader of minibatches of tensors, shuffled when training."""
    dataset = torch.utils.data.TensorDataset(*data_arrays)
    return torch.utils.data.DataLoader(dataset, batch_size, shuffle=is_train)


def accuracy(y_hat: Tensor, y: Tensor) -> float:
    """The number of correct predictions: by argmax over classes, or of labels as they are."""
    if y_hat.dim() > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(dim=1)
    return float((y_hat.to(y.dtype) == y).sum())


def evaluate_accuracy_gpu(net: nn.Module, data_iter, device: torch.device | None = None) -> float:
    """Accuracy on a data set, in eval mode (in which the net is left, as in the text)."""
    net.eval()
    if device is None and (parameter := next(net.parameters(), None)) is not None:
        device = parameter.device
    metric = Accumulator(2)
    with torch.no_grad():
        for X, y in data_iter:
            X = [x.to(device) for x in X] if isinstance(X, (list, tuple)) else X.to(device)
            y = y.to(device)
            metric.add(accuracy(net(X), y), y.numel())
    return metric[0] / max(metric[1], 1)
