"""The shape of a GPT, and how transformers and nanoGPT write it down."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from lexforge._arguments import one_of, real, whole
from lexforge.layers.activation import ACTIVATIONS, HUGGING_FACE_ACTIVATIONS, own_activation
from lexforge.layers.block import BLOCK_BYTES, check_heads
from lexforge.training.memory import check_free

# What transformers calls the fields of a configuration.
_HUGGING_FACE_KEYS = {
    "block_size": "n_positions",
    "vocab_size": "vocab_size",
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_embd": "n_embd",
    "n_inner": "n_inner",
    "activation": "activation_function",
    "norm_eps": "layer_norm_epsilon",
    "initializer_range": "initializer_range",
}
_DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
# Keys of other architectures, with the value that leaves GPT-2 as it is.
_FIXED_KEYS = {
    "add_cross_attention": False,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "tie_word_embeddings": True,
}
# What transformers takes where a configuration does not say.
_HUGGING_FACE_DEFAULTS = {
    "n_positions": 1024,
    "vocab_size": 50257,
    "n_layer": 12,
    "n_head": 12,
    "n_embd": 768,
    "activation_function": "gelu_new",
    "resid_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "attn_pdrop": 0.1,
}
# transformers has no layers without biases: such a model's file says that they are not there, has
# this model_type, and as "activation_function" what makes transformers stop and show it.
_OWN_TYPE = "lexforge_gpt"
_OWN_ACTIVATION = "lexforge_gpt is read by lexforge only"


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model, in nanoGPT's names and with its defaults.

    Attributes:
        block_size: longest sequence, rows of the position table.
        vocab_size: V, rows of the token table, which is also the weight of the head.
        n_layer: blocks.
        n_head: heads of at most 256 dimensions each.
        n_embd: C, the width, a multiple of ``n_head``.
        dropout: share dropped of the embeddings, of the attention probabilities and of the outputs
            of attention and feed-forward layers.
        bias: whether linear layers and norms have biases, as in GPT-2.
        activation: of the feed-forward layers: ``"gelu"`` (by the error function, as nanoGPT),
            ``"gelu_tanh"`` (its approximation with tanh, as GPT-2), ``"relu"`` or ``"silu"``.
        n_inner: width of the feed-forward layers, ``4 n_embd`` by default.
        norm_eps: added to variances.
        initializer_range: standard deviation of all weights at first, for what is added to the
            residual stream divided by ``sqrt(2 n_layer)``; biases are 0.

    Raises:
        TypeError, ValueError: a number of the wrong kind or out of range.
    """

    block_size: int = 1024
    vocab_size: int = 50304
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    bias: bool = True
    activation: str = "gelu"
    n_inner: int | None = None
    norm_eps: float = 1e-5
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        check = partial(whole, "GPTConfig")
        for name in SIZES:
            self._set(name, check(name, getattr(self, name)))
        if self.n_inner is not None:
            self._set("n_inner", check("n_inner", self.n_inner))
        check_heads("GPTConfig", ("n_embd", self.n_embd), ("n_head", self.n_head))
        one_of("GPTConfig", "activation", self.activation, ACTIVATIONS)
        if not isinstance(self.bias, bool):
            raise TypeError(f"GPTConfig: bias must be a bool, got {self.bias!r}")
        for name in ("dropout", "norm_eps"):
            self._set(name, real("GPTConfig", name, getattr(self, name), high=1))
        deviation = real("GPTConfig", "initializer_range", self.initializer_range)
        self._set("initializer_range", deviation)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def gpt2(cls, **others: Any) -> GPTConfig:
        """The smallest GPT-2 (Radford et al. 2019), of 124,439,808 parameters, unless told
        otherwise."""
        return cls(**{"vocab_size": 50257, "dropout": 0.1, "activation": "gelu_tanh", **others})

    # What layers ask of a configuration (lexforge.layers).

    @property
    def hidden_size(self) -> int:
        """The width."""
        return self.n_embd

    @property
    def intermediate_size(self) -> int:
        """The width of the feed-forward layers."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner

    @property
    def num_heads(self) -> int:
        """Heads of attention."""
        return self.n_head

    @property
    def attention_dropout(self) -> float:
        """Share dropped of the attention probabilities."""
        return self.dropout

    @property
    def num_parameters(self) -> int:
        """Of a :class:`GPT` of this shape, position table included."""
        width, inner = self.n_embd, self.intermediate_size
        weights = 4 * width * width + 2 * width * inner + 2 * width
        biases = 4 * width + inner + width + 2 * width if self.bias else 0
        norm = 2 * width if self.bias else width
        tables = (self.vocab_size + self.block_size) * width
        return tables + self.n_layer * (weights + biases) + norm

    def check_memory(self, copies: int = 1) -> None:
        """Refuse what cannot be made here, before anything is allocated.

        Args:
            copies: of each parameter, 4 bytes each: 4 in training, with gradients and two moments.

        Raises:
            MemoryError: with what is needed, what is free, and the sizes.
        """
        needed = 4 * copies * self.num_parameters + BLOCK_BYTES * self.n_layer
        check_free("GPTConfig", needed, {name: getattr(self, name) for name in SIZES})

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any]) -> GPTConfig:
        """From the content of a ``config.json``.

        Args:
            config: of transformers' GPT-2, or written by :meth:`GPT.save_pretrained`. Absent keys
                have transformers' defaults. Of three dropouts that differ, that of the residual
                stream is taken, with a warning.

        Raises:
            TypeError, ValueError: another kind of model; values that are out of range.
        """
        kind = config.get("model_type", "gpt2")
        if kind not in ("gpt2", _OWN_TYPE):
            raise ValueError(f"GPTConfig: model_type must be gpt2 or {_OWN_TYPE}, got {kind!r}")
        for key, value in _FIXED_KEYS.items():
            if config.get(key, value) != value:
                raise ValueError(f"GPTConfig: {key} must be {value!r}, got {config[key]!r}")
        config = {**_HUGGING_FACE_DEFAULTS, **config}
        values = {name: config[key] for name, key in _HUGGING_FACE_KEYS.items() if key in config}
        if kind == _OWN_TYPE:
            values["bias"], values["activation"] = config.get("bias"), config.get("activation")
        else:
            values["activation"] = own_activation(values["activation"])
        dropouts = {name: config[name] for name in _DROPOUTS}
        if len({*dropouts.values()}) > 1:
            told = ", ".join(f"{name} {value}" for name, value in dropouts.items())
            warnings.warn(
                f"GPTConfig: one dropout is for all, {config[_DROPOUTS[0]]}: {told}", stacklevel=2
            )
        return cls(**values, dropout=config[_DROPOUTS[0]])

    def to_huggingface(self) -> dict[str, Any]:
        """The content of a ``config.json``.

        Its ``model_type`` is ``"gpt2"`` if transformers can express the model, else
        ``"lexforge_gpt"``, which transformers refuses.
        """
        config: dict[str, Any] = {
            key: getattr(self, name) for name, key in _HUGGING_FACE_KEYS.items()
        }
        config |= dict.fromkeys(_DROPOUTS, self.dropout)
        if not self.bias:
            return {
                "model_type": _OWN_TYPE,
                **config,
                "activation_function": _OWN_ACTIVATION,
                "activation": self.activation,
                "bias": False,
            }
        names = HUGGING_FACE_ACTIVATIONS[self.activation]
        config["activation_function"] = "gelu_new" if "gelu_new" in names else names[0]
        return {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], **config}

    @classmethod
    def from_nanogpt(cls, arguments: Mapping[str, Any]) -> GPTConfig:
        """From the ``model_args`` of nanoGPT's ``ckpt.pt``.

        Raises:
            TypeError, ValueError: arguments that are missing, unknown or out of range.
        """
        names = [field.name for field in fields(cls)[:7]]
        missing = [name for name in SIZES if name not in arguments]
        unknown = [str(name) for name in arguments if name not in names]
        if missing or unknown:
            problems = [f"{name} is missing" for name in missing]
            problems += [f"{name} is unknown" for name in unknown]
            raise ValueError(f"GPTConfig: model_args: {', '.join(problems)}")
        return cls(**arguments)


SIZES = [field.name for field in fields(GPTConfig)[:5]]
