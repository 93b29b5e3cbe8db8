"""The networks of the text in plain torch, one text at a time: what ours must compute."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lexforge.classification import BiRNN, DecomposableAttention, TextCNN


def birnn(network: BiRNN, text: Tensor) -> Tensor:
    """Logits [C] of tokens [T]."""
    config = network.config
    if not len(text):
        return network.decoder.bias
    outputs, _ = network.encoder(network.embedding(text))
    hidden = config.hidden_size
    states = {
        "final": torch.cat((outputs[-1, :hidden], outputs[0, hidden:])),
        "ends": torch.cat((outputs[0], outputs[-1])),
        "mean": outputs.mean(0),
        "max": outputs.amax(0),
    }
    return network.decoder(states[config.pool])


def textcnn(network: TextCNN, text: Tensor) -> Tensor:
    """The same; zeros follow a text that is shorter than a convolution."""
    words = network.embedding(text)
    if network.config.constant_table:
        words = torch.cat((words, network.constant_embedding(text)), 1)
    found = []
    for conv, width in zip(network.convs, network.config.widths, strict=True):
        columns = functional.pad(words.T, (0, max(width - len(text), 0)))
        places = conv(columns[None])[0]
        found.append(places.amax(1) if network.config.pool == "max" else places.mean(1))
    return network.decoder(functional.relu(torch.cat(found)))


def decomposable(network: DecomposableAttention, first: Tensor, second: Tensor) -> Tensor:
    """The same of a pair; a text without words has nothing to align with."""
    a, b = network.embedding(first), network.embedding(second)
    scores = network.attend.f(a) @ network.attend.f(b).T
    beta = scores.softmax(1) @ b if len(b) else torch.zeros_like(a)
    alpha = scores.T.softmax(1) @ a if len(a) else torch.zeros_like(b)
    sums = [network.compare.g(torch.cat(x, 1)).sum(0)[None] for x in ((a, beta), (b, alpha))]
    return network.aggregate(*sums)[0]
