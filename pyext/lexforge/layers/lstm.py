"""The LSTM layer over packed texts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from lexforge.ops import _checks
from lexforge.ops.recurrent.lstm import MAX_HIDDEN, lstm
from lexforge.ops.transformer.linear import linear


class LSTM(nn.Module):
    """What :class:`torch.nn.LSTM` computes, over texts packed one after another.

    Parameters have torch's names, shapes, order and first values: a ``state_dict`` of either loads
    in the other, and results are those of torch for a ``PackedSequence`` of the same texts. Their
    order is free and empty ones are fine. The recurrence is :func:`lexforge.ops.lstm`.

    Args:
        input_size: numbers of an input.
        hidden_size: numbers of h and of c in one direction, at most 1024.
        num_layers: layers, each of which reads the outputs of the one before.
        bidirectional: whether each reads texts from their end, too.
        dropout: share of the outputs of every layer but the last that is dropped in training.

    Raises:
        TypeError, ValueError: sizes or a share that do not fit.

    Example:
        >>> net = LSTM(8, 5, num_layers=2, bidirectional=True)
        >>> bounds = torch.tensor([0, 3, 7], dtype=torch.int32)
        >>> out, (h_n, c_n) = net(torch.randn(7, 8), bounds)
        >>> out.shape, h_n.shape
        (torch.Size([7, 10]), torch.Size([4, 2, 5]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _checks.whole("LSTM", "input_size", input_size, 1, 2**31 - 1)
        _checks.whole("LSTM", "hidden_size", hidden_size, 1, MAX_HIDDEN)
        _checks.whole("LSTM", "num_layers", num_layers, 1, 2**31 - 1)
        _checks.number("LSTM", "dropout", dropout)
        if dropout > 1:
            raise ValueError(f"LSTM: dropout must be in [0, 1], got {dropout}")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.num_layers, self.bidirectional = num_layers, bidirectional
        self.dropout = dropout
        width = 4 * hidden_size
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else self.directions * hidden_size
            shapes = {
                "weight_ih": (width, inputs),
                "weight_hh": (width, hidden_size),
                "bias_ih": (width,),
                "bias_hh": (width,),
            }
            for direction in range(self.directions):
                for name, shape in shapes.items():
                    parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    self.register_parameter(_name(name, layer, direction), parameter)
        self.reset_parameters()

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def reset_parameters(self) -> None:
        """Draw all parameters anew, as torch does: uniform within 1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self, x: Tensor, cu_seqlens: Tensor, index: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read the texts of a packed batch.

        Args:
            x: [T, input_size], of the dtype of the parameters.
            cu_seqlens: int32 [B + 1]: text b is tokens ``cu_seqlens[b]`` to ``cu_seqlens[b + 1]``.
            index: int32 or int64 [T], with ``x`` [R, input_size]: the row of ``x`` that each token
                has for its input. Of frozen embeddings, the rows of the batch's distinct words are
                enough, and are multiplied with the weights once.

        Returns:
            ``(out [T, D * hidden_size], (h_n, c_n))``, D directions beside each other; ``h_n`` and
            ``c_n`` are [num_layers * D, B, hidden_size], layer by layer, as torch has them.

        Raises:
            TypeError, IndexError, ValueError: as of :func:`lexforge.ops.lstm`.
        """
        _checks.tensor("LSTM", "x", x, shape=("T" if index is None else "R", self.input_size))
        h_n: list[Tensor] = []
        c_n: list[Tensor] = []
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout > 0 and self.training:
                x = functional.dropout(x, self.dropout)
            weight, bias, w_hh = self._of_layer(layer)
            gates = linear(x, weight, bias).to(w_hh.dtype)  # autocast's are narrower
            x, *ends = lstm(gates, w_hh, cu_seqlens, index if layer == 0 else None)
            for kept, end in zip((h_n, c_n), ends, strict=True):
                kept.append(end.unflatten(1, (self.directions, -1)).transpose(0, 1))
        return x, (torch.cat(h_n), torch.cat(c_n))

    def _of_layer(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """weight_ih and both biases of all directions one below the other, and weight_hh."""

        def each(name: str) -> list[Tensor]:
            names = (_name(name, layer, direction) for direction in range(self.directions))
            return [self.get_parameter(name) for name in names]

        biases = [a + b for a, b in zip(each("bias_ih"), each("bias_hh"), strict=True)]
        return torch.cat(each("weight_ih")), torch.cat(biases), torch.stack(each("weight_hh"))

    def extra_repr(self) -> str:
        options = [f"{self.input_size}, {self.hidden_size}"]
        if self.num_layers != 1:
            options.append(f"num_layers={self.num_layers}")
        if self.bidirectional:
            options.append("bidirectional=True")
        if self.dropout:
            options.append(f"dropout={self.dropout}")
        return ", ".join(options)


def _name(name: str, layer: int, direction: int) -> str:
    return f"{name}_l{layer}{'_reverse' * direction}"
