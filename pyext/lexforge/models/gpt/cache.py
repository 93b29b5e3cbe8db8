"""Keys and values of the tokens that a GPT has seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional

from lexforge.layers.block import Heads
from lexforge.models.gpt.config import GPTConfig
from lexforge.ops.attention.attention import varlen_attention

# What GPT.encode takes: of a block's number, its queries, keys and values, and a seed: [T, C].
Attend = Callable[[int, Heads, Tensor | None], Tensor]


class PackedPrompts:
    """Sequences of tokens that lie one after another, as :meth:`GPT.encode` takes them.

    Attributes:
        tokens, positions: int64 [T].
        cu_seqlens: int32 [B + 1].
        rows: int64 [T], the sequence of each token.
        longest: the largest length.
        last: int64 [B], where the last token of each sequence is.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], device: torch.device) -> None:
        lengths = [len(sequence) for sequence in sequences]
        bounds = torch.tensor([0, *accumulate(lengths)])
        flat = [token for sequence in sequences for token in sequence]
        rows = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        self.tokens = torch.tensor(flat).to(device)
        self.positions = (torch.arange(len(flat)) - bounds[rows]).to(device)
        self.cu_seqlens = bounds.int().to(device)
        self.rows = rows.to(device)
        self.longest = max(lengths)
        self.last = (bounds[1:] - 1).to(device)


class KVCache:
    """The keys and values of every block, for sequences of their own lengths.

    A block has [B, H, C, D] of each: what one head of one sequence has seen is a single stream
    (csrc/attention/decode_attention.h). All of it is allocated at once; most systems give memory
    that nobody has written to yet for nothing.

    Args:
        config: the shape of the model.
        sequences: B.
        capacity: C, the most tokens of a sequence.
        dtype, device: of the model's activations.

    Attributes:
        lengths: int32 [B], the tokens that each sequence has.
    """

    def __init__(
        self,
        config: GPTConfig,
        sequences: int,
        capacity: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (sequences, config.n_head, capacity, config.n_embd // config.n_head)
        self.keys, self.values = (
            [torch.empty(shape, dtype=dtype, device=device) for _ in range(config.n_layer)]
            for _ in range(2)
        )
        self.lengths = torch.zeros(sequences, dtype=torch.int32, device=device)
        self._scale = 1.0 / math.sqrt(shape[-1])
        self._growth = torch.ones_like(self.lengths)

    def fill(self, prompts: PackedPrompts) -> Attend:
        """The attention of the first tokens of every sequence, which keeps their keys and values.

        :meth:`GPT.encode` is called with it once, with the prompts' tokens and positions.
        """
        self.lengths.copy_(prompts.cu_seqlens.diff())
        rows, positions = prompts.rows, prompts.positions

        def attend(block: int, heads: Heads, _seed: Tensor | None) -> Tensor:
            self.keys[block][rows, :, positions] = heads.k
            self.values[block][rows, :, positions] = heads.v
            return varlen_attention(
                *heads, prompts.cu_seqlens, prompts.longest, causal=True
            ).flatten(1)

        return attend

    def extend(self, first: int, count: int) -> Attend:
        """The attention of further tokens of the only sequence, which keeps their keys and values.

        :meth:`GPT.encode` is called with it once, with these tokens; then :meth:`set_length`.

        Args:
            first, count: the position of the first of them, and how many there are. What the cache
                has from there on is forgotten.
        """
        self.set_length(first)
        places = slice(first, first + count)
        seen = torch.ones(count, first + count, dtype=torch.bool, device=self.lengths.device)
        seen = seen.tril(first)

        def attend(block: int, heads: Heads, _seed: Tensor | None) -> Tensor:
            q, k, v = (x.transpose(0, 1) for x in heads)  # [H, T, D]
            keys, values = self.keys[block], self.values[block]
            keys[0, :, places], values[0, :, places] = k, v
            keys, values = keys[:, :, : first + count], values[:, :, : first + count]
            attended = functional.scaled_dot_product_attention(
                q[None], keys, values, attn_mask=seen, scale=self._scale
            )
            return attended[0].transpose(0, 1).flatten(1)

        return attend

    def set_length(self, length: int) -> None:
        """So many tokens are in every sequence's cache."""
        self.lengths.fill_(length)

    def step(self, block: int, heads: Heads, _seed: Tensor | None) -> Tensor:
        """The attention of one new token of every sequence, which keeps its key and value.

        Once a step for every block, then :meth:`advance`.
        """
        q, k, v = heads
        keys, values = self.keys[block], self.values[block]
        # Without the checks of lexforge.ops.decode_attention_, which take as long as a short step.
        step = torch.ops.lexforge.decode_attention_.default
        return step(q, k, v, keys, values, self.lengths, self._scale).flatten(1)

    def advance(self) -> None:
        """The tokens of the step have been seen by all blocks."""
        self.lengths += self._growth

    def retire(self, row: int) -> None:
        """A sequence has come to its end: its row stays, and has one token from here on."""
        self.lengths[row] = self._growth[row] = 0

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all sequences but those of these rows."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.lengths.device)
        for caches in (self.keys, self.values):
            for block, cache in enumerate(caches):
                caches[block] = cache[index]
        self.lengths, self._growth = self.lengths[index], self._growth[index]


class Kept:
    """The cache of one sequence, for those that begin as it does: the turns of a conversation.

    Its room is that of the model's block.
    """

    def __init__(self) -> None:
        self.cache: KVCache | None = None
        self._tokens: Sequence[int] = ()  # the cache is of the first of them

    def shared(self, tokens: Sequence[int]) -> int:
        """How many of these, but for the last, the cache begins with; without any, it is dropped.

        From here on it is of this sequence, which may grow.
        """
        known = [] if self.cache is None else self._tokens[: int(self.cache.lengths[0])]
        pairs = zip(known, tokens[:-1], strict=False)
        most = min(len(known), len(tokens) - 1)
        count = next((n for n, (a, b) in enumerate(pairs) if a != b), most)
        self._tokens = tokens
        if count == 0:
            self.cache = None
        return count
