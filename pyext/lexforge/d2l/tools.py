"""The text's helpers: timing, plots, devices."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

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


class Animator:
    """Collects curves; prints a line per point where asked to, and saves a plot where asked to.

    Needs no display. The text's plot options are accepted.

    Args:
        xlabel, ylabel, legend, xlim, ylim, xscale, yscale: as in the text.
        file: where :meth:`save` draws to by default. verbose: print each point.
    """

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        legend: Sequence[str] = (),
        xlim=None,
        ylim=None,
        xscale: str = "linear",
        yscale: str = "linear",
        fmts: Sequence[str] = ("-", "m--", "g-.", "r:"),
        nrows: int = 1,
        ncols: int = 1,
        figsize: tuple[float, float] = (3.5, 2.5),
        *,
        file: str | os.PathLike | None = None,
        verbose: bool = False,
    ):
        self.xlabel, self.ylabel, self.legend = xlabel, ylabel, list(legend)
        self.xlim, self.ylim, self.xscale, self.yscale = xlim, ylim, xscale, yscale
        self.fmts, self.figsize = fmts, (figsize[0] * ncols, figsize[1] * nrows)
        self.file, self.verbose = file, verbose
        self.X: list[list[float]] = []
        self.Y: list[list[float]] = []

    def add(self, x: float | Sequence[float], y: float | Sequence[float | None]) -> None:
        """One more point per curve; None leaves a curve out."""
        ys = list(y) if hasattr(y, "__len__") else [y]
        xs = list(x) if hasattr(x, "__len__") else [x] * len(ys)
        while len(self.X) < len(ys):
            self.X.append([])
            self.Y.append([])
        for curve, (a, b) in enumerate(zip(xs, ys, strict=True)):
            if a is not None and b is not None:
                self.X[curve].append(float(a))
                self.Y[curve].append(float(b))
        if self.verbose:
            names = [*self.legend, *(self.ylabel or "y" for _ in ys[len(self.legend) :])]
            values = (f"{n} {v:.4f}" for n, v in zip(names, ys, strict=False) if v is not None)
            print(f"{self.xlabel or 'x'} {xs[0]:.2f}: " + ", ".join(values))

    def save(self, file: str | os.PathLike | None = None) -> None:
        """Draw the curves to a file (needs matplotlib, the extra `plot`)."""
        file = file or self.file
        if file is None:
            raise ValueError("save: file must be a path, got None")
        figure, axes = _figure(self.figsize)
        for curve, (xs, ys) in enumerate(zip(self.X, self.Y, strict=True)):
            axes.plot(xs, ys, self.fmts[curve % len(self.fmts)])
        axes.set(xlabel=self.xlabel, ylabel=self.ylabel, xscale=self.xscale, yscale=self.yscale)
        if self.xlim:
            axes.set_xlim(self.xlim)
        if self.ylim:
            axes.set_ylim(self.ylim)
        if self.legend:
            axes.legend(self.legend)
        axes.grid()
        _save_figure(figure, file)


def _figure(figsize: tuple[float, float]):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install lexforge[plot]") from error
    figure = Figure(figsize=figsize, layout="constrained")
    return figure, figure.add_subplot()


def _save_figure(figure, file: str | os.PathLike) -> None:
    path = Path(file)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    figure.savefig(partial, format=path.suffix.lstrip(".") or "png")
    partial.replace(path)


def show_list_len_pair_hist(
    legend: Sequence[str],
    xlabel: str,
    ylabel: str,
    xlist: Sequence[Sequence],
    ylist: Sequence[Sequence],
    *,
    file: str | os.PathLike | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Histogram of the list lengths of two series, over ten common bins.

    Returns:
        Counts of the first series [10], of the second [10], and the bin edges [11]. With `file`,
        the plot is saved there (needs matplotlib, the extra `plot`).
    """
    lengths = [[len(x) for x in xlist], [len(y) for y in ylist]]
    edges = np.histogram_bin_edges(lengths[0] + lengths[1], bins=10)
    first, second = (np.histogram(series, bins=edges)[0] for series in lengths)
    if file is not None:
        figure, axes = _figure((3.5, 2.5))
        axes.hist(lengths, bins=edges, label=list(legend))
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.legend()
        _save_figure(figure, file)
    return first, second, edges


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
