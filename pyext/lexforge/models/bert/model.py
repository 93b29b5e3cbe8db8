"""BERT: a bidirectional transformer encoder, its two pretraining heads, and the whole of both."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from lexforge.layers.block import TransformerBlock
from lexforge.layers.heads import MaskLM, NextSentencePred, Pooler
from lexforge.layers.initial import UNSET, generator_of, initialise, unset
from lexforge.layers.packing import compute_dtype, pack_padded, readable
from lexforge.layers.seeds import layer_seeds, seed_offsets
from lexforge.models.bert import files as bert_files
from lexforge.models.bert.config import BertConfig
from lexforge.ops.transformer.embedding_sum import embedding_sum
from lexforge.ops.transformer.linear_cross_entropy import linear_cross_entropy
from lexforge.text.tokenizers.published import tokenizer_of
from lexforge.training.checkpoint import CheckpointError

if TYPE_CHECKING:
    from lexforge.models.bert.examples import PackedBatch
    from lexforge.text.tokenizers.base import Tokenizer

_ADVICE = (
    "strict=False leaves out what is unexpected and gives first values to what is missing; "
    "heads=False reads the encoder alone"
)
IGNORED = -100  # a label that takes no part in a loss


class BertLosses(NamedTuple):
    """What a batch costs. All are tensors of no dimension; the losses are differentiable."""

    mlm_loss: Tensor  # mean over the predicted positions
    nsp_loss: Tensor  # mean over the sequences with a label
    mlm_correct: Tensor  # int64: predicted positions whose likeliest token is the label
    nsp_correct: Tensor
    mlm_count: Tensor  # int64: predicted positions
    nsp_count: Tensor


class BertEncoder(nn.Module):
    """Embeddings and blocks.

    Args:
        config: the shape.
        seed: of the first values; by default they come from torch's generator.
    """

    blocks: Sequence[TransformerBlock]
    seed_offsets: Tensor  # int64 [1 + 3 num_layers]

    def __init__(self, config: BertConfig, *, seed: int | torch.Generator | None = None):
        super().__init__()
        _check_memory(config)
        self.config = config
        width = config.hidden_size
        self.token_embedding = unset(nn.Embedding, config.vocab_size, width)
        self.segment_embedding = unset(nn.Embedding, config.type_vocab_size, width)
        self.position_embedding = unset(nn.Embedding, config.max_positions, width)
        self.embedding_norm = (
            unset(nn.LayerNorm, width, config.norm_eps) if config.embedding_norm else None
        )
        blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.num_layers))
        self.blocks = blocks  # type: ignore[assignment]  # torch does not say what it is a list of
        offsets = seed_offsets(1 + 3 * config.num_layers)
        self.register_buffer("seed_offsets", offsets, persistent=False)
        initialise(self, config, seed)

    @overload
    def encode_packed(
        self,
        tokens: Tensor,
        segments: Tensor | None,
        positions: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        *,
        seed: int | Tensor | None = None,
        all_layers: Literal[False] = False,
        rows: Tensor | None = None,
    ) -> Tensor: ...

    @overload
    def encode_packed(
        self,
        tokens: Tensor,
        segments: Tensor | None,
        positions: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        *,
        seed: int | Tensor | None = None,
        all_layers: Literal[True],
    ) -> list[Tensor]: ...

    def encode_packed(
        self,
        tokens: Tensor,
        segments: Tensor | None,
        positions: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        *,
        seed: int | Tensor | None = None,
        all_layers: bool = False,
        rows: Tensor | None = None,
    ) -> Tensor | list[Tensor]:
        """Encode sequences that lie one after another, without padding.

        Args:
            tokens, segments, positions: int32 or int64 [T]; segments are 0 if None.
            cu_seqlens: int32 [B + 1], sequence b is tokens ``cu_seqlens[b]`` to
                ``cu_seqlens[b + 1]``.
            max_seqlen: a bound of the lengths.
            seed: of the dropout while training: an integer, or int64 [1] on the device of the
                tokens; by default one is drawn there.
            all_layers: also return what enters each block.
            rows: int64 [P], the tokens whose results are wanted; by default all. It saves most of
                the last block. Not with ``all_layers``.

        Returns:
            [T, H] or [P, H]; with ``all_layers`` a list of ``num_layers + 1``, embeddings first.
            The dtype is the parameters', or that of autocast.

        Raises:
            TypeError, ValueError: shapes, dtypes or devices that do not fit; an empty batch.
            IndexError: an id outside its table (on the CPU; on CUDA nobody looks).
        """
        if tokens.dim() != 1 or not len(tokens):
            raise ValueError(
                f"BertEncoder: tokens must be [T] with T >= 1, got {tuple(tokens.shape)}"
            )
        if rows is not None and all_layers:
            raise ValueError("BertEncoder: rows must be None with all_layers")
        if segments is None:
            segments = torch.zeros_like(tokens)
        dropout = self.config.dropout if self.training else 0.0
        attention_dropout = self.config.attention_dropout if self.training else 0.0
        seeds: Sequence[Tensor | None] = (None,) * len(self.seed_offsets)
        if dropout > 0 or attention_dropout > 0:
            seeds = layer_seeds("BertEncoder", seed, self.seed_offsets)
        norm = self.embedding_norm
        x = embedding_sum(
            tokens,
            segments,
            positions,
            self.token_embedding.weight,
            self.segment_embedding.weight,
            self.position_embedding.weight,
            norm_weight=None if norm is None else norm.weight,
            norm_bias=None if norm is None else norm.bias,
            eps=self.config.norm_eps,
            dropout_p=0.0 if norm is None else dropout,
            seed=seeds[0],
            dtype=compute_dtype(self.token_embedding.weight),
        )
        layers = [x]
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            wanted = rows if i == last else None
            x = block(x, cu_seqlens, max_seqlen, seeds[3 * i + 1 : 3 * i + 4], wanted)
            if all_layers:
                layers.append(x)
        if all_layers:
            return layers
        return x if rows is None or last >= 0 else x.index_select(0, rows)

    def forward(
        self,
        tokens: Tensor,
        segments: Tensor | None = None,
        valid_lens: Tensor | None = None,
        *,
        seed: int | Tensor | None = None,
    ) -> Tensor:
        """Encode a padded batch [B, S]: [B, S, H], zeros where there is padding.

        Arguments and errors as in :meth:`BertModel.forward`.
        """
        name = type(self).__name__
        packed = pack_padded(name, self.config.max_positions, tokens, segments, valid_lens)
        return packed.unpack(self.encode_packed(*packed.inputs, seed=seed))


class BertModel(nn.Module):
    """Encoder, pooling layer and the two heads of pretraining.

    Args:
        config: the shape.
        seed: of the first values; by default they come from torch's generator.

    Attributes:
        vocabulary: the tokens by number, if the model was read with them, or they were set; saved
            with it.
        tokenizer: of the vocabulary, likewise.
        hidden, mlm, nsp: the pooling layer and the heads; None where a file without one was read.

    Raises:
        MemoryError: the parameters would exceed the free memory; nothing is allocated.

    Example:
        >>> model = BertModel(BertConfig.reference(1000, max_len=64), seed=1).eval()
        >>> tokens, predicted = torch.randint(1000, (2, 8)), torch.tensor([[1], [5]])
        >>> encoded, mlm, nsp = model(tokens, pred_positions=predicted)
        >>> encoded.shape, mlm.shape, nsp.shape
        (torch.Size([2, 8, 128]), torch.Size([2, 1, 1000]), torch.Size([2, 2]))
    """

    def __init__(self, config: BertConfig, *, seed: int | torch.Generator | None = None):
        super().__init__()
        _check_memory(config)
        self.config = config
        self.vocabulary: list[str] | None = None
        self.tokenizer: Tokenizer | None = None
        generator = generator_of(seed)
        self.encoder = BertEncoder(config, seed=generator)
        self.hidden: Pooler | None = unset(Pooler, config.hidden_size, config.hidden_size)
        initialise(self.hidden, config, generator)
        self.mlm: MaskLM | None = MaskLM(config, seed=generator)
        self.nsp: NextSentencePred | None = NextSentencePred(config, seed=generator)

    @staticmethod
    def from_pretrained(
        folder: str | os.PathLike, *, strict: bool = True, heads: bool | None = None
    ) -> BertModel:
        """Read a folder in Hugging Face's layout, or written by :meth:`save_pretrained`.

        transformers' ``BertForPreTraining`` has all parts; ``BertModel``, ``BertForMaskedLM``,
        ``BertForSequenceClassification``, ``BertForTokenClassification`` and
        ``BertForQuestionAnswering`` lack some, and :meth:`add_heads` makes what is missing.

        Args:
            folder: with ``config.json``, and ``model.safetensors`` or ``pytorch_model.bin``, or
                the shards of either and their index. ``vocab.txt`` becomes :attr:`vocabulary`,
                with what else there is :attr:`tokenizer`.
            strict: refuse a file in which tensors are missing, or which holds others. Without it
                the missing ones get first values from torch's generator, others are left out, and a
                warning names both.
            heads: by default the pooling layer and each pretraining head are read if the file has
                them, and are None else; what needs a missing one is an error. The heads of other
                tasks are left out, with a warning. True: all are asked for, and nothing else may
                be there. False: the encoder, and the pooling layer if there is one, of whatever the
                file holds; enough for encoding.

        Returns:
            The model, float32 on the CPU, in evaluation mode.

        Raises:
            FileNotFoundError: there is no model. CheckpointError: a file is damaged or of another
            kind of model; tensors that are missing, unexpected or of another shape, all listed.
            MemoryError: it would exceed the free memory. Nothing was allocated in either case.
        """
        return BertModel.of_contents(folder, *bert_files.read_folder(folder), strict, heads)

    @staticmethod
    def of_contents(
        folder: str | os.PathLike,
        written: Mapping[str, Any],
        found: dict[str, Tensor],
        words: list[str] | None,
        strict: bool = True,
        heads: bool | None = None,
    ) -> BertModel:
        """The model of what :func:`bert_files.read_folder` found; the rest as its reader has it."""
        try:
            config = BertConfig.from_huggingface(written)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{folder}: {bert_files.CONFIG}: {error}") from error
        if words is not None and len(words) > config.vocab_size:
            raise CheckpointError(
                f"{folder}: {bert_files.VOCABULARY} must have at most {config.vocab_size} tokens, "
                f"got {len(words)}"
            )
        found = bert_files.unite_head(found, tied=config.tied_head, source=folder)
        names, prefix = bert_files.HUGGING_FACE, "bert." if heads is False else ""
        tasks = [name for name in found if name.startswith(bert_files.TASK_HEADS)]
        if heads is None and strict:
            found = {name: tensor for name, tensor in found.items() if name not in tasks}
        if strict:
            bert_files.check_layers(config.num_layers, found, folder)
        else:
            config.check_memory()
        absent = _absent_parts(found, strict, heads)
        try:
            with torch.device("meta"):
                outline = BertModel(config, seed=UNSET)._without(absent)
        except RuntimeError:  # more numbers than torch can count
            config.check_memory()
            raise
        differences = outline._differences(names, found, folder, strict, prefix)
        config.check_memory()
        model = BertModel(config, seed=UNSET)._without(absent)
        model._fill(names, found, prefix, bool(differences.missing))
        if heads is None and strict and tasks:
            warnings.warn(
                f"{folder}: {', '.join(tasks)} of another task are left out", stacklevel=3
            )
        model.tokenizer = bert_files.read_tokenizer(folder)
        model.vocabulary = _agreed(words, model.tokenizer, folder)
        return model.eval()

    def _without(self, parts: Iterable[str]) -> BertModel:
        for part in parts:
            setattr(self, part, None)
        return self

    @property
    def missing_parts(self) -> list[str]:
        """What :meth:`add_heads` would make: pooler, masked-LM head, next-sentence head."""
        parts = bert_files.PARTS.items()
        return [name for part, (_, name) in parts if getattr(self, part) is None]

    def add_pooler(self, *, seed: int | torch.Generator | None = None) -> None:
        """Give first values to the pooling layer, if the model lacks one.

        Args:
            seed: of the values; by default they come from torch's generator.
        """
        table, width = self.encoder.token_embedding.weight, self.config.hidden_size
        if self.hidden is None:
            with torch.device(table.device):
                self.hidden = unset(Pooler, width, width)
                initialise(self.hidden, self.config, seed)
            self.hidden.to(table.dtype)

    def add_heads(self, *, seed: int | torch.Generator | None = None) -> None:
        """Give first values to the pooling layer and the heads that the model lacks.

        Args:
            seed: of the values; by default they come from torch's generator.
        """
        generator, config = generator_of(seed), self.config
        table = self.encoder.token_embedding.weight
        self.add_pooler(seed=generator)
        with torch.device(table.device):
            if self.mlm is None:
                self.mlm = MaskLM(config, seed=generator)
            if self.nsp is None:
                self.nsp = NextSentencePred(config, seed=generator)
        self.to(table.dtype)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write ``config.json``, ``model.safetensors`` and, if there is a :attr:`vocabulary`,
        ``vocab.txt``; with the :attr:`tokenizer` (one of the vocabulary, if none is set) also
        ``tokenizer.json`` and ``tokenizer_config.json``, which transformers' AutoTokenizer loads.

        transformers reads what it can express, which is what :meth:`BertConfig.standard` makes; for
        others the tensors have the same names, and the configuration makes transformers refuse.

        Args:
            folder: created when absent; its files change together, those of other names stay.

        Raises:
            CheckpointError: the disk is full or refuses; what was there is intact.
        """
        config, tensors, words = contents(self)
        tokenizer = self.tokenizer
        if words is not None and (tokenizer is None or list(tokenizer.tokens) != words):
            tokenizer = tokenizer_of(words)
        bert_files.write_folder(folder, config, tensors, words, tokenizer)

    @staticmethod
    def load_reference_archive(
        path: str | os.PathLike,
        *,
        num_heads: int,
        num_blks: int | None = None,
        dropout: float = 0.2,
    ) -> BertModel:
        """Read the text's archive of pretrained weights.

        Args:
            path: a zip of ``vocab.json`` and ``pretrained.params``, or the folder it unpacks to.
            num_heads: the file does not tell.
            num_blks: blocks; if given, the file must have as many.
            dropout: for further training.

        Returns:
            The model, in evaluation mode, with :attr:`vocabulary`.

        Raises:
            FileNotFoundError: there is nothing. CheckpointError: the archive is damaged, or does
            not fit. ValueError: num_heads does not divide the hidden size.
        """
        words, found = bert_files.read_archive(path)
        sizes = bert_files.archive_sizes(found, path)
        if num_blks is not None and num_blks != sizes["num_blks"]:
            raise CheckpointError(f"{path}: num_blks must be {sizes['num_blks']}, got {num_blks}")
        if len(words) != sizes["vocab_size"]:
            raise CheckpointError(
                f"{path}: its vocabulary must have {sizes['vocab_size']} tokens, "
                f"a row of the token table each, got {len(words)}"
            )
        config = BertConfig.reference(**sizes, num_heads=num_heads, dropout=dropout)
        model = BertModel(config, seed=UNSET)
        model._differences(bert_files.ARCHIVE, found, path, strict=True)
        model._fill(bert_files.ARCHIVE, found)
        model.vocabulary = words
        return model.eval()

    def save_reference_archive(
        self, path: str | os.PathLike, vocabulary: Sequence[str] | None = None
    ) -> None:
        """Write the text's archive, for models of :meth:`BertConfig.reference`.

        Args:
            path: the zip. vocabulary: V tokens, by default those of the model.

        Raises:
            ValueError: the archive cannot express the model, or the tokens do not fit.
        """
        words = self.vocabulary if vocabulary is None else list(vocabulary)
        config = self.config
        expressible = replace(
            config,
            type_vocab_size=2,
            activation="relu",
            embedding_norm=False,
            tied_head=False,
            norm_eps=1e-5,
            head_activation="relu",
        )
        if config != expressible:
            raise ValueError(
                "save_reference_archive: the model must have the parts of BertConfig.reference, "
                f"got {config}"
            )
        if words is None or len(words) != config.vocab_size:
            raise ValueError(
                f"save_reference_archive: vocabulary must be {config.vocab_size} tokens, "
                f"got {'none' if words is None else len(words)}"
            )
        tensors = named_tensors(self, bert_files.ARCHIVE)
        bert_files.write_archive(path, words, tensors)

    def _differences(
        self,
        names: bert_files.Names,
        found: Mapping[str, Tensor],
        source: str | os.PathLike,
        strict: bool,
        prefix: str = "",
    ) -> bert_files.Differences:
        """Between what is found and the model's tensors, of those whose names begin with `prefix`.

        Raises:
            CheckpointError: there are some, of the kinds that are not allowed; others are warned
            of.
        """
        differences = bert_files.Differences.between(
            _beginning(prefix, named_tensors(self, names)), _beginning(prefix, found)
        )
        if differences.unsuitable or (strict and any(differences)):
            advice = names is bert_files.HUGGING_FACE and (
                differences.missing or differences.unexpected
            )
            raise CheckpointError(
                differences.describe(source, _ADVICE if strict and advice else "")
            )
        if any(differences):
            warnings.warn(differences.describe(source), stacklevel=4)
        return differences

    def _fill(
        self,
        names: bert_files.Names,
        found: Mapping[str, Tensor],
        prefix: str = "",
        draw: bool = False,
    ) -> None:
        """Copy the tensors whose names begin with `prefix`, to first values if they are drawn."""
        if draw:
            initialise(self, self.config, None)
        bert_files.fill(named_tensors(self, names), _beginning(prefix, found))

    @property
    def encode_packed(self):
        """See :meth:`BertEncoder.encode_packed`."""
        return self.encoder.encode_packed

    def check_pooler(self) -> None:
        """ValueError if there is no pooling layer."""
        if self.hidden is None:
            raise ValueError(
                "pooled: the model has no pooler, its file lacks "
                f"{bert_files.HUGGING_FACE.hidden}; cls, mean and tokens do without"
            )

    def _check_parts(self, *parts: str) -> None:
        """ValueError if the model lacks one of them."""
        for part in parts:
            if getattr(self, part) is None:
                prefix, name = bert_files.PARTS[part]
                raise ValueError(
                    f"BertModel: the model has no {name}, its file lacks {prefix}*; "
                    f"add_heads() makes one"
                )

    def pooled(self, encoded_cls: Tensor) -> Tensor:
        """dense + tanh of the encoded first positions [B, H]: [B, H].

        Raises:
            ValueError: the model has no pooling layer, :attr:`hidden`.
        """
        self.check_pooler()
        assert self.hidden is not None
        return self.hidden(encoded_cls)

    def losses(self, batch: PackedBatch, *, seed: int | Tensor | None = None) -> BertLosses:
        """Both losses of a packed batch; with the parameters and a seed they determine a step.

        Raises:
            ValueError: shapes that do not fit; a model without a head or pooler.
        """
        self._check_parts("hidden", "mlm", "nsp")
        assert self.mlm is not None and self.nsp is not None
        encoded = self.encode_packed(*batch.inputs, seed=seed)
        _check_predictions(batch)
        # Sequences of no tokens may end a batch that is filled up; they are ignored.
        first = batch.cu_seqlens[:-1].clamp(max=len(encoded) - 1)
        rows = encoded.index_select(0, torch.cat((batch.prediction_index, first)))
        predicted, cls = rows.split((len(batch.prediction_index), len(first)))
        mlm_loss, mlm_correct = linear_cross_entropy(
            self.mlm.transform(predicted),
            self.mlm.output_weight(self.encoder.token_embedding.weight),
            self.mlm.bias,
            batch.labels,
            ignore_index=IGNORED,
        )
        nsp_loss, nsp_correct = linear_cross_entropy(
            self.pooled(cls),
            self.nsp.output.weight,
            self.nsp.output.bias,
            batch.next_labels,
            ignore_index=IGNORED,
        )
        mlm_count = (batch.labels != IGNORED).sum()
        nsp_count = (batch.next_labels != IGNORED).sum()
        return BertLosses(mlm_loss, nsp_loss, mlm_correct, nsp_correct, mlm_count, nsp_count)

    def forward(
        self,
        tokens: Tensor,
        segments: Tensor | None = None,
        valid_lens: Tensor | None = None,
        pred_positions: Tensor | None = None,
        *,
        seed: int | Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Encode a padded batch and apply both heads.

        Args:
            tokens: int32 or int64 [B, S].
            segments: [B, S] like tokens; zeros by default.
            valid_lens: int32 or int64 [B], 1 to S: tokens from there on are padding, which is
                never looked at; by default there is none. Otherwise a GPU is waited for.
            pred_positions: int32 or int64 [B, P], each below its sequence's valid length.
            seed: see :meth:`encode_packed`.

        Returns:
            Encoded [B, S, H] (zeros where there is padding), masked-LM logits [B, P, V] (None
            without ``pred_positions``) and next-sentence logits [B, 2] (None for a model without
            pooler or next-sentence head).

        Raises:
            TypeError, ValueError: shapes, dtypes or lengths that do not fit; an empty batch;
            ``pred_positions`` for a model without masked-LM head.
            IndexError: an id outside its table or a position outside its sequence.
        """
        name = type(self).__name__
        packed = pack_padded(name, self.config.max_positions, tokens, segments, valid_lens)
        first = packed.cu_seqlens[:-1]
        index = packed.index_of(pred_positions)
        encoded = self.encode_packed(*packed.inputs, seed=seed)
        nsp = mlm = None
        if self.nsp is not None and self.hidden is not None:
            nsp = self.nsp(self.pooled(encoded.index_select(0, first)))
        if pred_positions is not None and index is not None:
            self._check_parts("mlm")
            assert self.mlm is not None
            rows = encoded.index_select(0, index)
            mlm = self.mlm(rows, self.encoder.token_embedding.weight)
            mlm = mlm.unflatten(0, pred_positions.shape)
        return packed.unpack(encoded), mlm, nsp


def named_tensors(model: BertModel, names: bert_files.Names) -> dict[str, Tensor]:
    """A model's tensors by the names of a layout: views, to be written to files or filled."""
    tensors, head = encoder_tensors(model.encoder, model.hidden, names), model.mlm
    if head is not None:
        _add(tensors, names.head_dense, head.dense)
        _add(tensors, names.head_norm, head.norm)
        if head.weight is not None:
            tensors[names.head_weight] = head.weight.detach()
        tensors[names.head_bias] = head.bias.detach()
    if model.nsp is not None:
        _add(tensors, names.nsp, model.nsp.output)
    return tensors


def encoder_tensors(
    encoder: BertEncoder, pooler: nn.Linear | None, names: bert_files.Names
) -> dict[str, Tensor]:
    """Those of an encoder, and of a pooling layer if there is one, likewise."""
    positions = encoder.position_embedding.weight
    tensors = {
        names.token: encoder.token_embedding.weight,
        names.segment: encoder.segment_embedding.weight,
        names.position: positions[None] if names is bert_files.ARCHIVE else positions,
    }
    add = partial(_add, tensors)
    if encoder.embedding_norm is not None and names.embedding_norm is not None:
        add(names.embedding_norm, encoder.embedding_norm)
    for i, block in enumerate(encoder.blocks):
        prefix = names.block.format(i)
        for kind, joint in (("weight", block.qkv.weight), ("bias", block.qkv.bias)):
            parts = joint.chunk(3)
            for name, part in zip((names.query, names.key, names.value), parts, strict=True):
                tensors[f"{prefix}{name}.{kind}"] = part
        add(prefix + names.projection, block.projection)
        add(prefix + names.attention_norm, block.attention_norm)
        add(prefix + names.expansion, block.expansion)
        add(prefix + names.contraction, block.contraction)
        add(prefix + names.output_norm, block.output_norm)
    if pooler is not None:
        add(names.hidden, pooler)
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _add(tensors: dict[str, Tensor], name: str, layer: nn.Linear | nn.LayerNorm) -> None:
    tensors[f"{name}.weight"] = layer.weight.detach()
    tensors[f"{name}.bias"] = layer.bias.detach()


def contents(
    model: BertModel,
) -> tuple[dict[str, Any], dict[str, Tensor], list[str] | None]:
    """What a folder holds of a model: configuration, tensors and, if there are any, tokens."""
    names = bert_files.HUGGING_FACE
    tensors = named_tensors(model, names)
    if not model.config.tied_head and model.mlm is not None:
        tensors[bert_files.DECODER_BIAS] = tensors[names.head_bias]
    config = model.config.to_huggingface()
    if "architectures" in config:
        heads = tuple(part for part in ("mlm", "nsp") if getattr(model, part) is not None)
        config["architectures"] = [bert_files.ARCHITECTURES[heads]]
    return config, tensors, model.vocabulary


def _agreed(
    words: list[str] | None, tokenizer: Tokenizer | None, folder: str | os.PathLike
) -> list[str] | None:
    """The tokens of vocab.txt and those that its tokenizer has beside; a warning if they differ."""
    if words is None or tokenizer is None:
        return words
    tokens = list(tokenizer.tokens)
    differ = [i for i, pair in enumerate(zip(words, tokens, strict=False)) if len({"", *pair}) > 2]
    if differ or len(words) > len(tokens):
        number = differ[0] if differ else len(tokens)
        there = repr(tokens[number]) if differ else "nothing"
        warnings.warn(
            f"{folder}: {bert_files.VOCABULARY} has {words[number]!r} for {number}, the tokenizer "
            f"has {there}: the tokenizer counts",
            stacklevel=4,
        )
    return tokens


def _absent_parts(found: Mapping[str, Tensor], strict: bool, heads: bool | None) -> list[str]:
    """The parts that a model of these tensors does without, by the names of their attributes."""
    if heads or (heads is None and not strict):
        return []
    names = {
        part: any(name.startswith(prefix) for name in found)
        for part, (prefix, _) in bert_files.PARTS.items()
    }
    return [
        part for part, there in names.items() if not there or (part != "hidden" and heads is False)
    ]


def _beginning(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _check_memory(config: BertConfig) -> None:
    if torch.get_default_device().type != "meta":
        config.check_memory()


def _check_predictions(batch: PackedBatch) -> None:
    index, tokens = batch.prediction_index, len(batch.tokens)
    for name, shape in (("labels", index.shape), ("next_labels", (batch.num_sequences,))):
        found = getattr(batch, name)
        if found.shape != shape:
            raise ValueError(f"BertModel: {name} must be {list(shape)}, got {list(found.shape)}")
    if index.numel() and readable(index):
        low, high = (int(x) for x in torch.aminmax(index))
        if low < 0 or high >= tokens:
            raise IndexError(
                f"BertModel: prediction_index must be 0 to {tokens - 1}, "
                f"got {low if low < 0 else high}"
            )
