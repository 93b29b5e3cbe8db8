"""BERT with the text's blocks, in plain torch: padded batches, scores in memory, masked softmax.

Its state dict has the names of the text's archives (lexforge.models.bert.files.ARCHIVE).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class MultiHeadAttention(nn.Module):
    def __init__(self, num_hiddens: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.W_q = nn.Linear(num_hiddens, num_hiddens)
        self.W_k = nn.Linear(num_hiddens, num_hiddens)
        self.W_v = nn.Linear(num_hiddens, num_hiddens)
        self.W_o = nn.Linear(num_hiddens, num_hiddens)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid_lens: Tensor | None) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.W_q, self.W_k, self.W_v)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if valid_lens is not None:
            masked = torch.arange(x.shape[1], device=x.device) >= valid_lens[:, None]
            scores = scores.masked_fill(masked[:, None, None], -1e6)
        weights = self.dropout(functional.softmax(scores, dim=-1))
        return self.W_o((weights @ v).transpose(1, 2).flatten(2))


class AddNorm(nn.Module):
    def __init__(self, num_hiddens: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.ln = nn.LayerNorm(num_hiddens)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.ln(self.dropout(y) + x)


class PositionWiseFFN(nn.Module):
    def __init__(self, num_hiddens: int, ffn_num_hiddens: int):
        super().__init__()
        self.dense1 = nn.Linear(num_hiddens, ffn_num_hiddens)
        self.dense2 = nn.Linear(ffn_num_hiddens, num_hiddens)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense2(functional.relu(self.dense1(x)))


class TransformerEncoderBlock(nn.Module):
    def __init__(self, num_hiddens: int, ffn_num_hiddens: int, num_heads: int, dropout: float):
        super().__init__()
        self.attention = MultiHeadAttention(num_hiddens, num_heads, dropout)
        self.addnorm1 = AddNorm(num_hiddens, dropout)
        self.ffn = PositionWiseFFN(num_hiddens, ffn_num_hiddens)
        self.addnorm2 = AddNorm(num_hiddens, dropout)

    def forward(self, x: Tensor, valid_lens: Tensor | None) -> Tensor:
        x = self.addnorm1(x, self.attention(x, valid_lens))
        return self.addnorm2(x, self.ffn(x))


class BertEncoder(nn.Module):
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
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, num_hiddens)
        self.segment_embedding = nn.Embedding(2, num_hiddens)
        self.pos_embedding = nn.Parameter(torch.randn(1, max_len, num_hiddens))
        self.blks = nn.ModuleList(
            TransformerEncoderBlock(num_hiddens, ffn_num_hiddens, num_heads, dropout)
            for _ in range(num_blks)
        )

    def forward(self, tokens: Tensor, segments: Tensor, valid_lens: Tensor | None) -> Tensor:
        x = self.token_embedding(tokens) + self.segment_embedding(segments)
        x = x + self.pos_embedding[:, : x.shape[1]]
        for block in self.blks:
            x = block(x, valid_lens)
        return x


class MaskLM(nn.Module):
    def __init__(self, vocab_size: int, num_hiddens: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(num_hiddens, num_hiddens),
            nn.ReLU(),
            nn.LayerNorm(num_hiddens),
            nn.Linear(num_hiddens, vocab_size),
        )

    def forward(self, x: Tensor, pred_positions: Tensor) -> Tensor:
        batch = torch.arange(len(x), device=x.device)[:, None]
        return self.mlp(x[batch, pred_positions])


class NextSentencePred(nn.Module):
    def __init__(self, num_inputs: int):
        super().__init__()
        self.output = nn.Linear(num_inputs, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(x)


class BertModel(nn.Module):
    """Arguments and results as in :class:`lexforge.d2l.BERTModel`; padding is computed as well."""

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
        super().__init__()
        self.encoder = BertEncoder(
            vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len
        )
        self.hidden = nn.Sequential(nn.Linear(num_hiddens, num_hiddens), nn.Tanh())
        self.mlm = MaskLM(vocab_size, num_hiddens)
        self.nsp = NextSentencePred(num_hiddens)

    def forward(
        self,
        tokens: Tensor,
        segments: Tensor,
        valid_lens: Tensor | None = None,
        pred_positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        encoded = self.encoder(tokens, segments, valid_lens)
        mlm = None if pred_positions is None else self.mlm(encoded, pred_positions)
        return encoded, mlm, self.nsp(self.hidden(encoded[:, 0]))


def losses(
    model: BertModel,
    tokens: Tensor,
    segments: Tensor,
    valid_lens: Tensor | None,
    pred_positions: Tensor,
    mlm_weights: Tensor,
    mlm_labels: Tensor,
    next_labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """Masked-LM and next-sentence loss of a padded batch.

    Args:
        mlm_weights: [B, P], 1 where there is something to predict, else 0. mlm_labels: [B, P].
        next_labels: [B].
    """
    _, mlm, nsp = model(tokens, segments, valid_lens, pred_positions)
    each = functional.cross_entropy(mlm.flatten(0, 1), mlm_labels.flatten(), reduction="none")
    weights = mlm_weights.flatten().to(each.dtype)
    mlm_loss = (each * weights).sum() / weights.sum().clamp(min=1e-8)
    return mlm_loss, functional.cross_entropy(nsp, next_labels)
