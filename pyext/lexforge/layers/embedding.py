"""Embedding layers: torch's own, with the kernels of ``csrc/embedding`` underneath."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lexforge.ops import _checks
from lexforge.ops.embedding.embedding_bag import embedding, embedding_bag


def _takes(table: Tensor) -> bool:
    """Whether the kernels do; what they do not is torch's: float16 tables, torch.func, vmap."""
    transformed = not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()
    on_device = table.device.type in ("cpu", "cuda", "meta")
    return table.dtype in _checks.FLOATS and on_device and not transformed


class Embedding(nn.Embedding):
    """:class:`torch.nn.Embedding`, everything but the speed: arguments, attributes, state, results.

    ``lexforge.nn.Embedding(V, D, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)``
    and ``from_pretrained(table, freeze=True)`` are torch's. Tables of float32, bfloat16 and float64
    on the CPU and on CUDA are looked up by :func:`lexforge.ops.embedding`; others, and those under
    ``torch.func`` and ``vmap``, by torch.

    ``max_norm`` changes the rows that are looked up in place, before the lookup. As in torch it
    does so in a frozen table too (``from_pretrained(table, max_norm=...)``, whose memory is that of
    ``table``): freezing keeps an optimiser away, not the norm. To keep a table as it is, leave
    ``max_norm`` out or hand over a copy.

    Attributes:
        check_indices: a number without a row is an IndexError. On CUDA that waits for the device;
            set it to False where numbers are known to be good: one without a row then gives NaN and
            no gradient. The CPU always checks.
    """

    check_indices: bool = True

    def forward(self, input: Tensor) -> Tensor:
        """The rows [*input.shape, D] of int32 or int64 numbers of any shape."""
        if not _takes(self.weight):
            return super().forward(input)
        return embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
            check_indices=self.check_indices,
        )


class EmbeddingBag(nn.EmbeddingBag):
    """:class:`torch.nn.EmbeddingBag`, everything but the speed; see :class:`Embedding`.

    The rows of a bag are reduced by :func:`lexforge.ops.embedding_bag`. Beyond torch's: ids after
    the last of ``include_last_offset``'s offsets are in no bag, in the backward too, and offsets
    that decrease are a ValueError that says where.

    Attributes:
        check_indices: as of :class:`Embedding`, and of offsets.
    """

    check_indices: bool = True

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """The reduced rows [B, D] of bags [N] with offsets [B], or [B, L]."""
        if not _takes(self.weight) or input.is_nested:
            return super().forward(input, offsets, per_sample_weights)
        return embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
            check_indices=self.check_indices,
        )
