"""The text's training loop of classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lexforge._display import html_table
from lexforge.d2l.plots import Animator
from lexforge.d2l.tools import Timer, accuracy, evaluate_accuracy_gpu, try_all_gpus
from lexforge.training.network_job import Minibatch, NetworkJob, NetworkState, minibatches
from lexforge.training.progress import Progress
from lexforge.training.run import run

POINTS = 5  # of the curves in an epoch


def train_batch_ch13(
    net: nn.Module,
    X: Tensor | Sequence[Tensor],
    y: Tensor,
    loss: nn.Module,
    trainer: torch.optim.Optimizer,
    devices: Sequence[torch.device],
) -> tuple[Tensor, float]:
    """One step on a minibatch: the sum of its losses, and how many of it were told right.

    Args:
        net: in training mode afterwards.
        X: the input, or a list of several, as `net` takes it.
        loss: with ``reduction="none"``: it gives each example's.
        devices: the first one is trained on.
    """
    device = devices[0]
    inputs = X.to(device) if isinstance(X, Tensor) else [x.to(device) for x in X]
    y = y.to(device)
    net.train()
    trainer.zero_grad()
    predicted = net(inputs)
    total = loss(predicted, y).sum()
    total.backward()
    trainer.step()
    return total.detach(), accuracy(predicted.detach(), y)


@dataclass
class Ch13Result:
    """What :func:`train_ch13` measured; losses and accuracies are those of the last epoch."""

    loss: float  # mean per example
    train_accuracy: float
    test_accuracy: float
    examples_per_second: float
    animator: Animator

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [
            ("loss", self.loss),
            ("accuracy, training", f"{self.train_accuracy:.1%}"),
            ("accuracy, test", f"{self.test_accuracy:.1%}"),
            ("examples/s", f"{self.examples_per_second:,.1f}"),
        ]
        return html_table(rows, caption="trained")


def train_ch13(
    net: nn.Module,
    train_iter: Any,
    test_iter: Any,
    loss: nn.Module,
    trainer: torch.optim.Optimizer,
    num_epochs: int,
    devices: Sequence[torch.device] | None = None,
) -> Ch13Result:
    """Train a classifier, and print loss, accuracies and speed in the text's form.

    Args:
        net: the network, also wrapped for data parallelism.
        train_iter: minibatches (X, y), with a length. test_iter: those of the test after an epoch.
        loss: with ``reduction="none"``.
        trainer: an optimiser of the network's parameters.
        devices: the first one is trained on; by default a GPU where there is one.

    Raises:
        ValueError: ``num_epochs`` is below 1, or ``train_iter`` is empty.
    """
    if num_epochs < 1:
        raise ValueError(f"train_ch13: num_epochs must be >= 1, got {num_epochs}")
    if not len(train_iter):
        raise ValueError("train_ch13: train_iter must have minibatches, got none")
    devices = try_all_gpus() if devices is None else devices
    net = (net.module if isinstance(net, nn.DataParallel) else net).to(devices[0])
    animator = Animator(
        xlabel="epoch",
        xlim=[1, num_epochs],
        ylim=[0, 1],
        legend=["train loss", "train acc", "test acc"],
    )
    curves = _Curves(animator, len(train_iter))
    sums = torch.zeros(3, dtype=torch.float64)
    timer = Timer()

    def step(batch: Minibatch, rate: float) -> None:
        timer.start()
        X, y = batch.data
        total, hits = train_batch_ch13(net, X, y, loss, trainer, devices)
        sums.add_(torch.tensor([float(total), hits, len(y)], dtype=torch.float64))
        timer.stop()

    def tell(event: str) -> None:
        if event == "on_epoch_end":
            curves.end_epoch(state, evaluate_accuracy_gpu(net, test_iter, devices[0]))

    state = NetworkState(total=num_epochs * len(train_iter))
    steps = minibatches(lambda epoch: train_iter, lambda data: {}, what="train_ch13: train_iter")
    names = ("loss", "hits", "examples")
    job = NetworkJob(state, steps, step, names, sums, lambda step: 0.0, patience=0.0, tell=tell)
    run(job, progress=curves)
    examples = state.sums["examples"]
    result = Ch13Result(*curves.last, examples / timer.sum(), animator)
    print(
        f"loss {result.loss:.3f}, train acc {result.train_accuracy:.3f}, "
        f"test acc {result.test_accuracy:.3f}"
    )
    print(f"{result.examples_per_second:.1f} examples/sec on {[str(device) for device in devices]}")
    return result


class _Curves(Progress):
    """Mean loss and accuracy of an epoch so far, some points in each; and test accuracies."""

    def __init__(self, animator: Animator, batches: int) -> None:
        super().__init__()
        self._animator, self._batches = animator, batches
        self._before = {"loss": 0.0, "hits": 0.0, "examples": 0.0}  # at the epoch's beginning
        self.last = (0.0, 0.0, 0.0)

    def update(self, state: Any) -> None:
        """Perhaps one more point."""
        done = (state.done - 1) % self._batches + 1
        if done % max(1, self._batches // POINTS) == 0 and done < self._batches:
            self._animator.add(state.done / self._batches, (*self._means(state), None))
        super().update(state)

    def end_epoch(self, state: Any, test_accuracy: float) -> None:
        """The epoch's last point, and its test."""
        means = self._means(state)
        self._animator.add(state.done / self._batches, (*means, test_accuracy))
        self._before = {name: state.sums[name] for name in self._before}
        self.last = (*means, test_accuracy)

    def _means(self, state: Any) -> tuple[float, float]:
        since = {name: state.sums[name] - value for name, value in self._before.items()}
        return since["loss"] / since["examples"], since["hits"] / since["examples"]
