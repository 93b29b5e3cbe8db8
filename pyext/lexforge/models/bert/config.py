"""The shape of a BERT model, and how transformers writes it down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from lexforge._arguments import real, whole
from lexforge.layers.activation import ACTIVATIONS, HUGGING_FACE_ACTIVATIONS, own_activation
from lexforge.layers.block import BLOCK_BYTES, check_heads
from lexforge.training.memory import check_free

# What transformers calls the fields of a configuration.
_HUGGING_FACE_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "activation": "hidden_act",
    "tied_head": "tie_word_embeddings",
    "norm_eps": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "initializer_range": "initializer_range",
    "pad_token_id": "pad_token_id",
}
# Keys of other architectures, with the value that leaves BERT as it is, and what helps.
_FIXED_KEYS = {
    "position_embedding_type": ("absolute", "take a model of absolute positions"),
    "is_decoder": (False, "set it to false to read the weights as those of an encoder"),
    "add_cross_attention": (False, "take a model without a decoder"),
}
# Models that transformers cannot express have this model_type, the additional keys
# "embedding_norm" and "head_activation", names of their own for what transformers would take
# otherwise, and as "hidden_act" one that makes it stop and show it: an unknown model_type may not.
OWN_TYPE = "lexforge_bert"
_OWN_ACTIVATION = "lexforge_bert is read by lexforge only"
_OWN_KEYS = {
    **_HUGGING_FACE_KEYS,
    "activation": "activation",
    "embedding_norm": "embedding_norm",
    "head_activation": "head_activation",
    "initializer_range": "initial_deviation",  # may be null
}


@dataclass(frozen=True)
class BertConfig:
    """The shape of a model.

    :meth:`standard` is published BERT (Devlin et al. 2019), :meth:`reference` the text's blocks.

    Attributes:
        vocab_size: V, rows of the token table.
        hidden_size: H, a multiple of ``num_heads``.
        num_layers: blocks; 0 is possible.
        num_heads: heads of at most 256 dimensions each.
        intermediate_size: F, of the feed-forward layers.
        max_positions: longest sequence.
        type_vocab_size: segments.
        activation: of the feed-forward layers: ``"gelu"`` (by the error function), ``"relu"``,
            ``"gelu_tanh"`` (GELU by its approximation with tanh) or ``"silu"``.
        embedding_norm: normalise the sum of the embeddings, and apply dropout to it.
        tied_head: the masked-LM head's output weight is the token table.
        norm_eps: added to variances.
        dropout: share dropped of the outputs of attention and feed-forward layers.
        attention_dropout: share dropped of the attention probabilities.
        head_activation: of the masked-LM head.
        initializer_range: standard deviation of all weights at first, with zero biases; None for
            torch's defaults: uniform linear layers, standard normal tables.
        pad_token_id: kept for other libraries; padding never enters the model.

    Raises:
        TypeError, ValueError: a number of the wrong kind or out of range.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    max_positions: int
    type_vocab_size: int = 2
    activation: str = "gelu"
    embedding_norm: bool = True
    tied_head: bool = True
    norm_eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    head_activation: str = "gelu"
    initializer_range: float | None = 0.02
    pad_token_id: int | None = 0

    def __post_init__(self):
        check = partial(whole, "BertConfig")
        sizes = "vocab_size hidden_size num_heads intermediate_size max_positions type_vocab_size"
        for name in sizes.split():
            self._set(name, check(name, getattr(self, name)))
        self._set("num_layers", check("num_layers", self.num_layers, 0))
        if self.pad_token_id is not None:
            self._set("pad_token_id", check("pad_token_id", self.pad_token_id, 0))
        check_heads("BertConfig", ("hidden_size", self.hidden_size), ("num_heads", self.num_heads))
        for name in ("activation", "head_activation"):
            if getattr(self, name) not in ACTIVATIONS:
                raise ValueError(
                    f"BertConfig: {name} must be one of {', '.join(ACTIVATIONS)}, "
                    f"got {getattr(self, name)!r}"
                )
        for name in ("embedding_norm", "tied_head"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"BertConfig: {name} must be a bool, got {getattr(self, name)!r}")
        for name in ("dropout", "attention_dropout", "norm_eps"):
            self._set(name, real("BertConfig", name, getattr(self, name), high=1))
        if self.initializer_range is not None:
            deviation = real("BertConfig", "initializer_range", self.initializer_range)
            self._set("initializer_range", deviation)

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    @classmethod
    def reference(
        cls,
        vocab_size: int,
        num_hiddens: int = 128,
        ffn_num_hiddens: int = 256,
        num_heads: int = 2,
        num_blks: int = 2,
        dropout: float = 0.2,
        max_len: int = 1000,
    ) -> BertConfig:
        """The text's blocks: ReLU, no norm of the embeddings, untied head, torch's first values."""
        return cls(
            vocab_size,
            num_hiddens,
            num_blks,
            num_heads,
            ffn_num_hiddens,
            max_len,
            activation="relu",
            embedding_norm=False,
            tied_head=False,
            norm_eps=1e-5,
            dropout=dropout,
            attention_dropout=dropout,
            head_activation="relu",
            initializer_range=None,
        )

    @classmethod
    def standard(
        cls,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        intermediate_size: int = 3072,
        max_positions: int = 512,
        **others,
    ) -> BertConfig:
        """Published BERT, of base size unless told otherwise."""
        return cls(
            vocab_size,
            hidden_size,
            num_layers,
            num_heads,
            intermediate_size,
            max_positions,
            **others,
        )

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any]) -> BertConfig:
        """From the content of a ``config.json``.

        Args:
            config: of transformers' BERT, or written by :meth:`BertModel.save_pretrained`. Absent
                keys have transformers' defaults, except that sizes must be there.

        Raises:
            TypeError, ValueError: another kind of model; keys that are missing or out of range.
        """
        kind = config.get("model_type", "bert")
        if kind not in ("bert", OWN_TYPE):
            raise ValueError(
                f"BertConfig: model_type must be bert or {OWN_TYPE}, got {kind!r}: take a model of "
                "that type, other layouts are not read"
            )
        keys = _HUGGING_FACE_KEYS if kind == "bert" else _OWN_KEYS
        needed = [keys[name] for name in _SIZES if keys[name] not in config]
        if needed:
            raise ValueError(
                f"BertConfig: {', '.join(needed)} must be given: add what transformers leaves out, "
                f"such as {', '.join(f'{key} {_DEFAULT_SIZES[key]}' for key in needed)}"
            )
        for key, (value, help) in _FIXED_KEYS.items():
            if config.get(key, value) != value:
                raise ValueError(
                    f"BertConfig: {key} must be {value!r}, got {config[key]!r}: {help}"
                )
        values = {name: config[key] for name, key in keys.items() if key in config}
        if kind == "bert" and "activation" in values:
            values["activation"] = own_activation(values["activation"])
            values["head_activation"] = values["activation"]
        return cls(**values)

    @property
    def published(self) -> bool:
        """Whether it has the parts of published BERT, so that transformers can express it."""
        return self.embedding_norm and self.head_activation == self.activation

    @property
    def follows(self) -> int:
        """The next-sentence class that says that the second text follows the first.

        0 in published BERT, so also where transformers reads the model; 1 in the text's.
        """
        return 0 if self.published else 1

    @property
    def num_parameters(self) -> int:
        """Of a :class:`BertModel` of this shape."""
        width, inner = self.hidden_size, self.intermediate_size
        tables = self.vocab_size + self.type_vocab_size + self.max_positions
        block = 4 * width * (width + 1) + 2 * width * inner + inner + width + 4 * width
        heads = 2 * width * (width + 1) + 2 * width + 2 * (width + 1) + self.vocab_size
        untied = 0 if self.tied_head else self.vocab_size * width
        norm = 2 * width if self.embedding_norm else 0
        return tables * width + norm + self.num_layers * block + heads + untied

    def check_memory(self, copies: int = 1) -> None:
        """Refuse what cannot be made here, before anything is allocated.

        Args:
            copies: of each parameter, 4 bytes each: 4 in training, with gradients and two moments.

        Raises:
            MemoryError: with what is needed, what is free, and the sizes.
        """
        needed = 4 * copies * self.num_parameters + BLOCK_BYTES * self.num_layers
        check_free("BertConfig", needed, {name: getattr(self, name) for name in _SIZES})

    def to_huggingface(self) -> dict[str, Any]:
        """The content of a ``config.json``.

        Its ``model_type`` is ``"bert"`` if transformers can express the model, else
        ``"lexforge_bert"``, which transformers refuses.
        """
        if self.published:
            config = {"model_type": "bert", "architectures": ["BertForPreTraining"]}
            config |= {key: getattr(self, name) for name, key in _HUGGING_FACE_KEYS.items()}
            config["hidden_act"] = HUGGING_FACE_ACTIVATIONS[self.activation][0]
            if self.initializer_range is None:
                del config["initializer_range"]
            return config
        config = {"model_type": OWN_TYPE, "hidden_act": _OWN_ACTIVATION}
        return config | {key: getattr(self, name) for name, key in _OWN_KEYS.items()}


_SIZES = [field.name for field in fields(BertConfig)[:6]]
_DEFAULT_SIZES = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}
