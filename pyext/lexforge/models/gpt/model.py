"""GPT: a transformer that predicts the next token."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from lexforge._arguments import whole
from lexforge.layers.block import CausalBlock, Heads
from lexforge.layers.causal_loss import Batch, Weights, causal_loss
from lexforge.layers.initial import UNSET, generator_of, initialise, unset
from lexforge.layers.packing import compute_dtype, pack_padded
from lexforge.layers.seeds import layer_seeds, seed_offsets
from lexforge.models.gpt import files as gpt_files
from lexforge.models.gpt.config import GPTConfig
from lexforge.models.weights import Differences, fill
from lexforge.ops.attention.attention import check_bounds
from lexforge.ops.transformer.add_layer_norm import add_layer_norm
from lexforge.ops.transformer.embedding_sum import embedding_sum
from lexforge.ops.transformer.linear import linear
from lexforge.ops.transformer.linear_cross_entropy import linear_cross_entropy
from lexforge.training.checkpoint import CheckpointError, is_checkpoint, replacing_parts

if TYPE_CHECKING:
    from lexforge.text.tokenizers.base import Tokenizer

IGNORED = -100  # a label that takes no part in a loss
A100_BF16_FLOPS = 312e12  # nanoGPT's measure


class GPTLoss(NamedTuple):
    """What a batch costs; tensors of no dimension."""

    loss: Tensor  # mean over the tokens with a label; differentiable
    correct: Tensor  # int64: of them, those whose likeliest next token is the label


class GPT(nn.Module):
    """Token and position embeddings, blocks, a norm, and the token table once more as the head.

    Args:
        config: the shape.
        seed: of the first values; by default they come from torch's generator.

    Attributes:
        tokenizer: of the vocabulary, if the model was read with one, or it was set; saved with it.

    Raises:
        MemoryError: the parameters would exceed the free memory; nothing is allocated.

    Example:
        >>> config = GPTConfig(block_size=16, vocab_size=65, n_layer=2, n_head=2, n_embd=32)
        >>> model = GPT(config, seed=1).eval()
        >>> model(torch.randint(65, (2, 8))).shape
        torch.Size([2, 8, 65])
    """

    blocks: Sequence[CausalBlock]
    seed_offsets: Tensor  # int64 [1 + 3 n_layer]

    def __init__(self, config: GPTConfig, *, seed: int | torch.Generator | None = None):
        super().__init__()
        if torch.get_default_device().type != "meta":
            config.check_memory()
        self.config = config
        self.tokenizer: Tokenizer | None = None
        self.token_embedding = unset(nn.Embedding, config.vocab_size, config.n_embd)
        self.position_embedding = unset(nn.Embedding, config.block_size, config.n_embd)
        blocks = nn.ModuleList(CausalBlock(config, config.bias) for _ in range(config.n_layer))
        self.blocks = blocks  # type: ignore[assignment]  # torch does not say what it is a list of
        self.final_norm = unset(nn.LayerNorm, config.n_embd, config.norm_eps, True, config.bias)
        self.register_buffer("seed_offsets", seed_offsets(1 + 3 * config.n_layer), persistent=False)
        if seed is not UNSET:
            self._initialise(generator_of(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator | None) -> None:
        initialise(self, self.config, generator)
        for block in self.blocks:
            for layer in (block.projection, block.contraction):
                layer.weight /= math.sqrt(2 * self.config.n_layer)

    @staticmethod
    def from_pretrained(folder: str | os.PathLike) -> GPT:
        """Read a model: a folder of transformers' GPT-2 or written by :meth:`save_pretrained`; or
        nanoGPT's ``ckpt.pt``, by its path or that of its folder.

        Args:
            folder: with ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``, or the
                shards of either and their index; with its tokenizer, if there is one. Of a pickled
                file nothing but tensors and plain values is taken.

        Returns:
            The model, float32 on the CPU, in evaluation mode.

        Raises:
            FileNotFoundError: there is no model. CheckpointError: a file is damaged or of another
            kind of model; tensors that are missing, unexpected or of another shape, all listed.
            MemoryError: it would exceed the free memory.
        """
        path = Path(folder)
        pickled = path / gpt_files.CHECKPOINT if path.is_dir() else path
        nanogpt = pickled.is_file() and not is_checkpoint(path)
        config, found = (
            gpt_files.read_nanogpt(pickled) if nanogpt else gpt_files.read_folder(folder)
        )
        config.check_memory()
        with torch.device("meta"):
            outline = GPT(config, seed=UNSET)
        expected = gpt_files.named_tensors(outline, conv1d=not nanogpt)
        differences = Differences.between(expected, found)
        if any(differences):
            raise CheckpointError(differences.describe(folder))
        model = GPT(config, seed=UNSET)
        fill(gpt_files.named_tensors(model, conv1d=not nanogpt), found)
        model.tokenizer = gpt_files.read_tokenizer(pickled.parent if nanogpt else folder)
        if model.tokenizer is not None and len(model.tokenizer) > config.vocab_size:
            raise CheckpointError(
                f"{folder}: its tokenizer must have at most {config.vocab_size} tokens, "
                f"got {len(model.tokenizer)}"
            )
        return model.eval()

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write ``config.json``, ``model.safetensors`` and the :attr:`tokenizer`.

        transformers reads all but models without biases, which it has no place for; their
        configuration makes it refuse.

        Args:
            folder: created when absent; its files change together, those of other names stay.

        Raises:
            CheckpointError: the disk is full or refuses; what was there is intact.
        """
        with replacing_parts(folder) as partial_folder:
            gpt_files.write_parts(partial_folder, self)

    def encode_packed(
        self,
        tokens: Tensor,
        positions: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        *,
        seed: int | Tensor | None = None,
    ) -> Tensor:
        """What the head sees of sequences that lie one after another, without padding.

        Args:
            tokens, positions: int32 or int64 [T].
            cu_seqlens: int32 [B + 1], sequence b is tokens ``cu_seqlens[b]`` to
                ``cu_seqlens[b + 1]``. Tokens see those before them in their sequence, and
                themselves.
            max_seqlen: a bound of the lengths.
            seed: of the dropout while training: an integer, or int64 [1] on the device of the
                tokens; by default one is drawn there.

        Returns:
            [T, C], of the parameters' dtype, or that of autocast.

        Raises:
            TypeError, ValueError: shapes, dtypes or devices that do not fit; an empty batch.
            IndexError: an id outside its table (on the CPU; on CUDA nobody looks).
        """
        x, normed, norms, seeds = self._embed(tokens, positions, seed)
        check_bounds("GPT", cu_seqlens, max_seqlen, tokens)
        for i, (block, following) in enumerate(zip(self.blocks, norms, strict=True)):
            of_block = seeds[3 * i + 1 : 3 * i + 4]
            x, normed = block.step(x, normed, cu_seqlens, max_seqlen, of_block, following)
        return normed

    def encode(
        self,
        tokens: Tensor,
        positions: Tensor,
        attend: Callable[[int, Heads, Tensor | None], Tensor],
        *,
        seed: int | Tensor | None = None,
    ) -> Tensor:
        """The same with attention of one's own, such as over keys and values that were kept.

        Args:
            attend: of a block's number, its queries, keys and values [T, heads, dimensions] and the
                seed of its dropout (None without one): [T, C].
        """
        x, normed, norms, seeds = self._embed(tokens, positions, seed)
        for i, (block, following) in enumerate(zip(self.blocks, norms, strict=True)):
            of_block = seeds[3 * i + 1 : 3 * i + 4]
            x, normed = block(x, normed, partial(attend, i), of_block, following)
        return normed

    def _embed(
        self, tokens: Tensor, positions: Tensor, seed: int | Tensor | None
    ) -> tuple[Tensor, Tensor, list[nn.LayerNorm], Sequence[Tensor | None]]:
        """What enters the first block, its norm, the norms after each block, and all seeds."""
        seeds = self._seeds(tokens, seed)
        table = self.token_embedding.weight
        x = embedding_sum(
            tokens,
            None,
            positions,
            table,
            None,
            self.position_embedding.weight,
            dropout_p=self.config.dropout if self.training else 0.0,
            seed=seeds[0],
            dtype=compute_dtype(self.blocks[0].qkv.weight),
        )
        first, *following = self._norms()
        normed = add_layer_norm(x, None, first.weight, first.bias, eps=first.eps)
        return x, normed, following, seeds

    def _norms(self) -> list[nn.LayerNorm]:
        """Before each block, and after the last."""
        return [*(block.attention_norm for block in self.blocks), self.final_norm]

    def _seeds(self, tokens: Tensor, seed: int | Tensor | None) -> Sequence[Tensor | None]:
        """Of all dropouts; ValueError without tokens."""
        if tokens.dim() != 1 or not len(tokens):
            raise ValueError(f"GPT: tokens must be [T] with T >= 1, got {tuple(tokens.shape)}")
        if self.training and self.config.dropout > 0:
            return layer_seeds("GPT", seed, self.seed_offsets)
        return (None,) * len(self.seed_offsets)

    def logits(self, encoded: Tensor) -> Tensor:
        """[..., V] of what :meth:`encode_packed` gave, [..., C]."""
        return linear(encoded, self.token_embedding.weight)

    def loss(
        self,
        tokens: Tensor,
        labels: Tensor,
        positions: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        *,
        seed: int | Tensor | None = None,
    ) -> GPTLoss:
        """What predicting each label from its token and those before it costs.

        The logits are never in memory as a whole (:func:`lexforge.ops.linear_cross_entropy`).

        Args:
            labels: int64 [T]: the tokens that follow; -100 for those that do not count.
            tokens, positions, cu_seqlens, max_seqlen, seed: as in :meth:`encode_packed`.

        Raises:
            TypeError, ValueError, IndexError: as there.
        """
        if self.blocks[0].is_fused:
            return self._loss_at_once(tokens, labels, positions, cu_seqlens, max_seqlen, seed)
        encoded = self.encode_packed(tokens, positions, cu_seqlens, max_seqlen, seed=seed)
        return GPTLoss(
            *linear_cross_entropy(
                encoded, self.token_embedding.weight, None, labels, ignore_index=IGNORED
            )
        )

    def _loss_at_once(
        self,
        tokens: Tensor,
        labels: Tensor,
        positions: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        seed: int | Tensor | None,
    ) -> GPTLoss:
        """The same as one node of the graph of gradients."""
        seeds = self._seeds(tokens, seed)
        check_bounds("GPT", cu_seqlens, max_seqlen, tokens)
        first, *following = self._norms()
        fused = [
            block.fused(max_seqlen, norm)
            for block, norm in zip(self.blocks, following, strict=True)
        ]
        return GPTLoss(
            *causal_loss(
                Batch(tokens, labels, positions, cu_seqlens, max_seqlen, IGNORED),
                seeds,
                [numbers for numbers, _ in fused],
                first.eps,
                compute_dtype(self.blocks[0].qkv.weight),
                Weights(
                    self.token_embedding.weight,
                    self.position_embedding.weight,
                    first.weight,
                    first.bias,
                    [each for _, parameters in fused for each in parameters],
                ),
            )
        )

    def forward(
        self,
        tokens: Tensor,
        valid_lens: Tensor | None = None,
        *,
        seed: int | Tensor | None = None,
    ) -> Tensor:
        """The logits of every position of a padded batch.

        Args:
            tokens: int32 or int64 [B, S].
            valid_lens: int32 or int64 [B], 1 to S: tokens from there on are padding, which is
                never looked at; by default there is none. Otherwise a GPU is waited for.
            seed: see :meth:`encode_packed`.

        Returns:
            [B, S, V], zeros where there is padding.

        Raises:
            TypeError, ValueError: shapes, dtypes or lengths that do not fit; an empty batch.
            IndexError: an id outside its table.
        """
        packed = pack_padded("GPT", self.config.block_size, tokens, None, valid_lens, "block_size")
        ids, _, positions, bounds, longest = packed.inputs
        encoded = self.encode_packed(ids, positions, bounds, longest, seed=seed)
        return packed.unpack(self.logits(encoded))

    # ---- What nanoGPT's model has ---------------------------------------------------------------

    def get_num_params(self, non_embedding: bool = True) -> int:
        """How many parameters there are; the position table is left out by default."""
        total = sum(parameter.numel() for parameter in self.parameters())
        return total - self.position_embedding.weight.numel() * non_embedding

    def crop_block_size(self, block_size: int) -> None:
        """Make the longest sequence shorter, by leaving out the positions beyond it.

        Raises:
            TypeError, ValueError: not 1 to the present one.
        """
        block_size = whole("crop_block_size", "block_size", block_size, 1, self.config.block_size)
        self._reshape(replace(self.config, block_size=block_size))
        table = self.position_embedding
        table.weight = nn.Parameter(table.weight.detach()[:block_size].clone())
        table.num_embeddings = block_size

    def set_dropout(self, dropout: float) -> None:
        """Of training from here on.

        Raises:
            TypeError, ValueError: not 0 to 1.
        """
        self._reshape(replace(self.config, dropout=dropout))

    def _reshape(self, config: GPTConfig) -> None:
        self.config = config
        for block in self.blocks:
            block.config = config

    def configure_optimizers(
        self,
        weight_decay: float,
        learning_rate: float,
        betas: tuple[float, float],
        device_type: str | None = None,
    ) -> torch.optim.AdamW:
        """AdamW, of which matrices decay, and biases and norms do not.

        Args:
            device_type: not needed; where nanoGPT has it.
        """
        parameters = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)

    def flops_per_token(self) -> float:
        """Of a training step at full length (Chowdhery et al. 2022, appendix B)."""
        config = self.config
        attention = 12 * config.n_layer * config.n_embd * config.block_size
        return 6 * self.get_num_params() + attention

    def estimate_mfu(
        self, fwdbwd_per_iter: float, dt: float, peak_flops: float = A100_BF16_FLOPS
    ) -> float:
        """Model FLOPS utilisation: the share of a device's peak that training makes use of.

        Args:
            fwdbwd_per_iter: sequences of ``block_size`` tokens in a step.
            dt: seconds that it took.
            peak_flops: of the device; by default an A100's in bfloat16, as in nanoGPT.
        """
        per_iter = self.flops_per_token() * self.config.block_size * fwdbwd_per_iter
        return per_iter / dt / peak_flops
