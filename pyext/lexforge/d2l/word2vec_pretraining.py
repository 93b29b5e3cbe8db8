"""Pretraining word2vec."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lexforge._display import html_table
from lexforge.d2l.plots import Animator
from lexforge.d2l.tools import try_gpu
from lexforge.models.word2vec.textbook import SkipgramProgress, train_skipgram
from lexforge.training.progress import clock


def skip_gram(
    center: Tensor, contexts_and_negatives: Tensor, embed_v: nn.Module, embed_u: nn.Module
) -> Tensor:
    """Dot products of centres [B, 1] with their contexts and negatives [B, L]: [B, 1, L]."""
    v = embed_v(center)
    u = embed_u(contexts_and_negatives)
    return torch.bmm(v, u.permute(0, 2, 1))


class SigmoidBCELoss(nn.Module):
    """Binary cross-entropy with logits [B, L], weighted by a mask, mean over all L columns."""

    def forward(self, inputs: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Loss [B]; mask and target may be of any real dtype."""
        elements = functional.binary_cross_entropy_with_logits(
            inputs,
            target.to(inputs.dtype),
            weight=None if mask is None else mask.to(inputs.dtype),
            reduction="none",
        )
        return elements.mean(dim=1)


@dataclass
class TrainResult:
    """What :func:`train` measured."""

    loss: float  # mean over all examples of all epochs, as the text prints it
    epoch_losses: list[float]  # mean over the examples of each epoch
    tokens_per_second: float  # centres of all epochs over the training time
    pairs_per_second: float  # (centre, context or noise word) pairs
    seconds: float  # training time, drawing of minibatches included
    animator: Animator

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [
            ("loss", self.loss),
            ("of the epochs", ", ".join(f"{loss:.4f}" for loss in self.epoch_losses)),
            ("tokens/s", f"{self.tokens_per_second:,.0f}"),
            ("pairs/s", f"{self.pairs_per_second:,.0f}"),
            ("time", clock(self.seconds)),
        ]
        return html_table(rows, caption="word2vec, trained")


def train(
    net: nn.Sequential,
    data_iter,
    lr: float,
    num_epochs: int,
    device: torch.device | str | None = None,
    *,
    optimizer: str = "adam",
) -> TrainResult:
    """Train skip-gram with negative sampling, as the text does, by the fused kernels.

    Both embeddings are initialised anew (Xavier uniform) and trained in place with dense Adam on
    the sum over the minibatch of the normalised losses. Prints loss and speed in the text's form;
    the speed is that of all epochs over the time of all epochs (the text divides the examples of
    all epochs by the time of the last one).

    Args:
        net: ``nn.Sequential`` of the embeddings of centres and of contexts.
        data_iter: from :func:`load_data_ptb`, or any iterable over minibatches (centers,
            contexts_negatives, masks, labels).
        lr: learning rate. num_epochs: epochs. device: where to train, default :func:`try_gpu`.
        optimizer: as for :func:`lexforge.models.word2vec.textbook.train_skipgram`.
    """
    device = try_gpu() if device is None else torch.device(device)
    centers, contexts = net
    if not (isinstance(centers, nn.Embedding) and isinstance(contexts, nn.Embedding)):
        raise TypeError(f"train: net must be two nn.Embedding in sequence, got {net}")
    for embedding in (centers, contexts):
        nn.init.xavier_uniform_(embedding.weight)
    animator = Animator(xlabel="epoch", ylabel="loss", xlim=[1, num_epochs])

    def report(progress: SkipgramProgress) -> None:
        animator.add(progress.epoch + progress.fraction, (progress.loss,))

    progress = train_skipgram(
        centers,
        contexts,
        data_iter,
        lr=lr,
        epochs=num_epochs,
        optimizer=optimizer,
        device=device,
        report=report,
    )
    rate = progress.examples_per_second
    print(f"loss {progress.loss:.3f}, {rate:.1f} tokens/sec on {device!s}")
    return TrainResult(
        progress.loss,
        progress.epoch_losses,
        rate,
        progress.slots_per_second,
        progress.seconds,
        animator,
    )
