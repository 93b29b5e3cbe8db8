"""Pretraining BERT, and encoding with it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lexforge import bert
from lexforge._display import html_table
from lexforge.d2l.bert import get_tokens_and_segments, whole_lens
from lexforge.d2l.bert_dataset import WikiData
from lexforge.d2l.plots import Animator
from lexforge.d2l.text import Vocab
from lexforge.layers.packing import pack_padded
from lexforge.models.bert.examples import PackedBatch
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.training.network_job import (
    Minibatch,
    NetworkJob,
    NetworkState,
    evaluating,
    minibatches,
)
from lexforge.training.progress import Progress, clock
from lexforge.training.run import run


def _get_batch_loss_bert(
    net: nn.Module,
    loss: nn.Module,
    vocab_size: int,
    tokens_X: Tensor,
    segments_X: Tensor,
    valid_lens_x: Tensor,
    pred_positions_X: Tensor,
    mlm_weights_X: Tensor,
    mlm_Y: Tensor,
    nsp_y: Tensor,
    *,
    compat: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Masked-LM loss, next-sentence loss and their sum, of a minibatch of the seven arrays.

    The masked-LM loss is sum(w l) / sum(w) over the slots for predictions; with ``compat`` it is
    the plain mean over all slots, as in the text, where the weights cancel out and an empty slot
    asks for class 0 of position 0.
    """
    plain = type(loss) is nn.CrossEntropyLoss and loss.weight is None and not loss.label_smoothing
    if isinstance(net, bert.BertModel) and plain and not compat:
        name, lens = type(net).__name__, whole_lens(valid_lens_x)
        packed = pack_padded(name, net.config.max_positions, tokens_X, segments_X, lens)
        wanted = mlm_weights_X.flatten() != 0
        if bool((mlm_weights_X.flatten()[wanted] == 1).all()):
            index = packed.index_of(pred_positions_X)
            assert index is not None  # there are positions
            labels = mlm_Y.flatten()[wanted]
            losses = net.losses(PackedBatch(*packed.inputs, index[wanted], labels, nsp_y))
            return losses.mlm_loss, losses.nsp_loss, losses.mlm_loss + losses.nsp_loss
    if getattr(loss, "reduction", "none") != "none":
        loss = copy.copy(loss)
        loss.reduction = "none"  # type: ignore[assignment]  # a module may have one
    _, mlm_Y_hat, nsp_Y_hat = net(tokens_X, segments_X, valid_lens_x.reshape(-1), pred_positions_X)
    elements = loss(mlm_Y_hat.reshape(-1, vocab_size), mlm_Y.reshape(-1))
    weights = torch.ones_like(elements) if compat else mlm_weights_X.flatten().to(elements.dtype)
    mlm_l = (weights * elements).sum() / weights.sum().clamp(min=1e-8)
    nsp_l = loss(nsp_Y_hat, nsp_y).mean()
    return mlm_l, nsp_l, mlm_l + nsp_l


@dataclass
class BertTrainResult:
    """What :func:`train_bert` measured."""

    mlm_loss: float  # mean over the steps, as the text prints it
    nsp_loss: float
    pairs_per_second: float
    seconds: float  # training time, drawing of minibatches included
    animator: Animator

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [
            ("masked-LM loss", self.mlm_loss),
            ("next-sentence loss", self.nsp_loss),
            ("pairs/s", f"{self.pairs_per_second:,.1f}"),
            ("time", clock(self.seconds)),
        ]
        return html_table(rows, caption="BERT, pretrained")


def train_bert(
    train_iter,
    net: nn.Module,
    loss: nn.Module,
    vocab_size: int,
    devices: Sequence[torch.device],
    num_steps: int,
    *,
    lr: float = 0.01,
    compat: bool = False,
) -> BertTrainResult:
    """Pretrain BERT by Adam for some steps, and print losses and speed in the text's form.

    A :class:`BERTModel` is trained without computing its padding. The text's masked-LM loss counts
    empty slots for predictions as class 0, which is easily learned and makes the printed figure too
    small by their share (5.6 for 7.3); here they do not count, unless ``compat`` is set.

    Args:
        train_iter: from :func:`load_data_wiki`, or any iterable over its seven arrays; it is
            iterated again until all steps are done.
        net: the model, also wrapped for data parallelism. It keeps the vocabulary of
            :func:`load_data_wiki`, for :func:`get_bert_encoding`.
        loss: ``nn.CrossEntropyLoss()``, or another loss of logits and labels.
        vocab_size: V. devices: the first one is trained on. num_steps: optimiser steps.
        lr: learning rate. compat: train on the text's loss.

    Raises:
        ValueError: ``num_steps`` is below 1, or ``train_iter`` is empty.
    """
    if num_steps < 1:
        raise ValueError(f"train_bert: num_steps must be >= 1, got {num_steps}")
    device = torch.device(devices[0])
    net = (net.module if isinstance(net, nn.DataParallel) else net).to(device).train()
    if isinstance(train_iter, WikiData):
        net.vocabulary = train_iter.tokenizer.tokens
    trainer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    animator = Animator(xlabel="step", ylabel="loss", xlim=[1, num_steps], legend=["mlm", "nsp"])
    sums = torch.zeros(2, dtype=torch.float64, device=device)

    def step(batch: Minibatch, rate: float) -> None:
        arrays = [x.to(device) for x in batch.data]
        trainer.zero_grad()
        mlm_l, nsp_l, l = _get_batch_loss_bert(net, loss, vocab_size, *arrays, compat=compat)
        l.backward()
        trainer.step()
        sums.add_(torch.stack((mlm_l.detach(), nsp_l.detach())))

    state = NetworkState(total=num_steps)
    steps = minibatches(
        lambda epoch: train_iter,
        lambda arrays: {"pairs": len(arrays[0])},
        what="train_bert: train_iter",
    )
    job = NetworkJob(state, steps, step, ("mlm", "nsp"), sums, lambda step: lr, patience=0.0)
    run(job, progress=_Curves(animator))
    mlm, nsp = state.sums["mlm"] / num_steps, state.sums["nsp"] / num_steps
    rate = state.sums["pairs"] / state.seconds
    print(f"MLM loss {mlm:.3f}, NSP loss {nsp:.3f}")
    print(f"{rate:.1f} sentence pairs/sec on {[str(device) for device in devices]}")
    return BertTrainResult(mlm, nsp, rate, state.seconds, animator)


class _Curves(Progress):
    """Mean losses over all steps so far, after every step."""

    def __init__(self, animator: Animator) -> None:
        super().__init__()
        self._animator = animator

    def update(self, state: Any) -> None:
        """One more point."""
        means = state.sums["mlm"] / state.done, state.sums["nsp"] / state.done
        self._animator.add(state.done, means)
        super().update(state)


def get_bert_encoding(
    net: bert.BertModel,
    tokens_a: Sequence[str],
    tokens_b: Sequence[str] | None = None,
    *,
    vocab: Vocab | None = None,
) -> Tensor:
    """The vectors of ``<cls> a <sep>`` or ``<cls> a <sep> b <sep>``, [1, S, num_hiddens].

    They are computed in evaluation mode and without gradients, on the device of `net`, whose mode
    is what it was afterwards; the text leaves dropout on.

    Args:
        net: the model. tokens_a, tokens_b: words; unknown ones become ``<unk>``.
        vocab: of the model, a global variable in the text; by default ``net.vocabulary``.

    Raises:
        TypeError: a text instead of its words. ValueError: no vocabulary, or one of another size;
        more words than the model has positions.
    """
    if isinstance(tokens_a, str) or isinstance(tokens_b, str):
        raise TypeError("get_bert_encoding: tokens must be lists of words, got a string")
    known = net.vocabulary if vocab is None else vocab
    if known is None:
        raise ValueError("get_bert_encoding: vocab must be given for a net without vocabulary")
    size = len(known)
    if size != net.config.vocab_size:
        raise ValueError(
            f"get_bert_encoding: vocab must have the {net.config.vocab_size} tokens of the net, "
            f"got {size}"
        )
    tokens, segments = get_tokens_and_segments(tokens_a, tokens_b)
    if isinstance(known, Vocab):
        ids = known[tokens]
    else:
        ids = WordTokenizer(known).convert_tokens_to_ids(tokens)
    device = next(net.parameters()).device
    with torch.no_grad(), evaluating(net):
        encoded, _, _ = net(
            torch.tensor([ids], device=device), torch.tensor([segments], device=device)
        )
    return encoded
