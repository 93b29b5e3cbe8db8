"""Bidirectional encoder representations from transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import _IncompatibleKeys

from lexforge import bert
from lexforge.layers.block import TransformerBlock
from lexforge.layers.initial import initialise
from lexforge.layers.packing import pack_padded
from lexforge.models.bert.files import ARCHIVE, Differences, fill
from lexforge.models.bert.model import named_tensors

_MOST_POSITIONS = 2**24  # of a block by itself, which has no table of them


def get_tokens_and_segments(
    tokens_a: Sequence[str], tokens_b: Sequence[str] | None = None
) -> tuple[list[str], list[int]]:
    """``<cls> a <sep>`` or ``<cls> a <sep> b <sep>``, and the segment, 0 or 1, of each token."""
    tokens = ["<cls>", *tokens_a, "<sep>"]
    segments = [0] * len(tokens)
    if tokens_b is not None:
        tokens += [*tokens_b, "<sep>"]
        segments += [1] * (len(tokens_b) + 1)
    return tokens, segments


def masked_softmax(X: Tensor, valid_lens: Tensor | None) -> Tensor:
    """Softmax over the last axis of the first ``valid_lens`` entries of each row; zeros elsewhere.

    Args:
        X: [B, Q, K], left as it is.
        valid_lens: [B] or [B, Q]; rows of length 0 become zeros. None: softmax of everything.
    """
    if valid_lens is None:
        return functional.softmax(X, dim=-1)
    if X.dim() != 3 or tuple(valid_lens.shape) not in {tuple(X.shape[:1]), tuple(X.shape[:2])}:
        raise ValueError(
            "masked_softmax: X and valid_lens must be [B, Q, K] and [B] or [B, Q], "
            f"got {tuple(X.shape)} and {tuple(valid_lens.shape)}"
        )
    lens = valid_lens.reshape(len(X), -1, 1)
    masked = torch.arange(X.shape[2], device=X.device) >= lens
    scores = X.masked_fill(masked, torch.finfo(X.dtype).min)
    return functional.softmax(scores, dim=-1).masked_fill(masked, 0)


class TransformerEncoderBlock(nn.Module):
    """The text's block: self-attention and ReLU layers, each added to its input and normalised.

    Padding is never computed; what stands there in the result is zero.

    Args:
        num_hiddens: H. ffn_num_hiddens: width between the two layers. num_heads: of attention.
        dropout: share dropped. use_bias: of attention's projections; those of the text's BERT
            have it. Without it their biases are zero and stay so.
    """

    def __init__(
        self,
        num_hiddens: int,
        ffn_num_hiddens: int,
        num_heads: int,
        dropout: float,
        use_bias: bool = False,
    ):
        super().__init__()
        # One block of a model whose only token and positions are never looked at.
        config = bert.BertConfig.reference(
            1, num_hiddens, ffn_num_hiddens, num_heads, 1, dropout, max_len=_MOST_POSITIONS
        )
        self.block = TransformerBlock(config)
        initialise(self.block, config, None)
        if not use_bias:
            for layer in (self.block.qkv, self.block.projection):
                nn.init.zeros_(layer.bias).requires_grad_(False)

    def forward(self, X: Tensor, valid_lens: Tensor | None = None) -> Tensor:
        """[B, S, H] to [B, S, H]; valid_lens [B]."""
        name = type(self).__name__
        if X.dim() != 3 or not X.numel():
            raise ValueError(f"{name}: X must be [B, S, H] with B, S >= 1, got {tuple(X.shape)}")
        slots = torch.zeros(X.shape[:2], dtype=torch.int64, device=X.device)
        packed = pack_padded(name, _MOST_POSITIONS, slots, None, whole_lens(valid_lens))
        rows = X.flatten(0, 1)
        rows = rows if packed.place is None else rows[packed.place]
        return packed.unpack(self.block(rows, packed.cu_seqlens, X.shape[1], (None,) * 3))


class BERTEncoder(bert.BertEncoder):
    """The text's encoder: (tokens [B, S], segments, valid_lens) to [B, S, num_hiddens].

    Padding is never computed; what stands there in the result is zero.
    """

    def __init__(
        self,
        vocab_size: int,
        num_hiddens: int,
        ffn_num_hiddens: int,
        num_heads: int,
        num_blks: int,
        dropout: float,
        max_len: int = 1000,
    ):
        super().__init__(
            bert.BertConfig.reference(
                vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len
            )
        )

    def forward(  # type: ignore[override]  # the text's
        self, tokens: Tensor, segments: Tensor, valid_lens: Tensor | None
    ) -> Tensor:
        return super().forward(tokens, segments, whole_lens(valid_lens))


class MaskLM(bert.MaskLM):
    """The text's masked-LM head: (X [B, S, H], pred_positions [B, P]) to logits [B, P, V]."""

    def __init__(self, vocab_size: int, num_hiddens: int):
        # The head needs no more of a configuration than these two; heads of one dimension suit all.
        super().__init__(
            bert.BertConfig.reference(vocab_size, num_hiddens, num_heads=num_hiddens, num_blks=0)
        )

    def forward(  # type: ignore[override]  # the text's
        self, X: Tensor, pred_positions: Tensor
    ) -> Tensor:
        index = pred_positions.unsqueeze(-1).expand(-1, -1, X.shape[-1])
        rows = X.gather(1, index)
        return super().forward(rows.flatten(0, 1)).unflatten(0, pred_positions.shape)


class NextSentencePred(nn.Module):
    """The text's next-sentence head: one linear layer to two logits.

    Args:
        num_inputs: width of what it is given; by default the first input tells.
    """

    def __init__(self, num_inputs: int | None = None):
        super().__init__()
        self.output = nn.LazyLinear(2) if num_inputs is None else nn.Linear(num_inputs, 2)

    def forward(self, X: Tensor) -> Tensor:
        """[B, num_inputs] to [B, 2]."""
        return self.output(X)


class BERTModel(bert.BertModel):
    """The text's model: encoder, ``hidden``, ``mlm`` and ``nsp``; see :meth:`forward`.

    ``load_state_dict`` takes the names in the text's archives too.
    """

    def __init__(
        self,
        vocab_size: int,
        num_hiddens: int,
        ffn_num_hiddens: int,
        num_heads: int,
        num_blks: int,
        dropout: float,
        max_len: int = 1000,
    ):
        super().__init__(
            bert.BertConfig.reference(
                vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len
            )
        )

    def forward(  # type: ignore[override]  # the text's
        self,
        tokens: Tensor,
        segments: Tensor,
        valid_lens: Tensor | None = None,
        pred_positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """(encoded [B, S, H], masked-LM logits [B, P, V] or None, next-sentence logits [B, 2])."""
        encoded, mlm, nsp = super().forward(
            tokens, segments, whole_lens(valid_lens), pred_positions
        )
        assert nsp is not None  # it has all its parts
        return encoded, mlm, nsp

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As torch's, also of parameters that have the names of the text's archives.

        Raises:
            RuntimeError: some are missing, unexpected or of another shape, all listed.
        """
        if ARCHIVE.position not in state_dict:
            return super().load_state_dict(state_dict, strict, assign)
        own = named_tensors(self, ARCHIVE)
        differences = Differences.between(own, state_dict)
        if differences.unsuitable or (strict and any(differences)):
            raise RuntimeError(differences.describe("state_dict"))
        with torch.no_grad():
            fill(own, state_dict)
        return _IncompatibleKeys(differences.missing, differences.unexpected)


def whole_lens(valid_lens: Tensor | None) -> Tensor | None:
    """The text keeps lengths as floating-point numbers."""
    if valid_lens is None or not valid_lens.is_floating_point():
        return valid_lens
    return valid_lens.long()
