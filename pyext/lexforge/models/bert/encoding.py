"""Vectors of texts from a pretrained BERT: one per text, or one per token."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lexforge._arguments import whole
from lexforge.text.tokenizers.published import as_tokenizer, with_special_tokens
from lexforge.training.network_job import evaluating

if TYPE_CHECKING:
    from lexforge.models.bert.model import BertModel
    from lexforge.text.tokenizers.base import Encoder

KINDS = ("pooled", "cls", "mean", "tokens")
# Also, by the names that sentence-transformers has for them.
POOLINGS = ("max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
PRECISIONS = {"float32": None, "bf16": torch.bfloat16}
# Batches of about so many tokens are fastest: larger ones leave the caches of a CPU.
BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}
WINDOW_TOKENS = 65536  # texts of so many tokens are sorted by length, and results held, together

# What can be encoded: a string, a list of words or ids, or a pair of those.
Text = str | Sequence[str] | Sequence[int] | tuple[Any, Any]


class TokenVectors(NamedTuple):
    """Vectors of the tokens of N texts, one text after the other.

    Text i has the rows ``offsets[i]`` to ``offsets[i + 1]``, with ``<cls>`` and ``<sep>``.
    """

    vectors: np.ndarray  # float32 [T, H], or [T, L, H]
    offsets: np.ndarray  # int64 [N + 1]
    token_ids: np.ndarray  # int32 [T]


@dataclass
class EncodingCounts:
    """What went through :func:`encode`: texts, tokens, words that had to do without a vector."""

    texts: int = 0
    tokens: int = 0  # with <cls> and <sep>
    words: int = 0  # without them
    unknown: int = 0  # words that the vocabulary does not hold, encoded as <unk>
    truncated: int = 0  # texts that lost words to max_len

    @property
    def unknown_share(self) -> float:
        """Of the words, 0 to 1."""
        return self.unknown / max(self.words, 1)

    def add(self, other: EncodingCounts) -> None:
        """Add the counts of other texts."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class EncodedWindow(NamedTuple):
    """Some consecutive texts, encoded; see :func:`encode_stream`."""

    vectors: np.ndarray  # float32 [n, (L,) H]; for "tokens" [t, (L,) H]
    lengths: np.ndarray  # int64 [n], in tokens
    token_ids: np.ndarray  # int32 [t], t = sum of the lengths
    counts: EncodingCounts


def encode(
    model: BertModel,
    tokenizer: Encoder | None,
    texts: Iterable[Text],
    *,
    what: str | Sequence[str] = "pooled",
    layers: int | Sequence[int] = -1,
    batch_size: int | None = None,
    max_len: int | None = None,
    truncate: bool = False,
    precision: str = "float32",
    normalize: bool = False,
    counts: EncodingCounts | None = None,
) -> np.ndarray | TokenVectors:
    """Vectors of texts, in their order.

    The model computes in evaluation mode, without gradients, on the device it is on; its mode is
    what it was afterwards. Batches are packed: there is no padding, and the vectors of a text do
    not depend on what else is in its batch, up to rounding.

    Args:
        model: the encoder.
        tokenizer: of its vocabulary; a tokenizer of transformers or tokenizers too. None where
            there is none: texts are ids then, and have all their special tokens.
        texts: strings, lists of words, lists of ids, or pairs of any of these, which are tuples
            and never lists. A text becomes ``<cls> a <sep>``, a pair ``<cls> a <sep> b <sep>``. A
            text without words has a vector too.
        what: ``"pooled"``, the vector of ``<cls>`` through the pooler (dense and tanh), as next
            sentence prediction sees it; ``"cls"``, the vector of ``<cls>``; ``"mean"``, the mean
            of the vectors of all tokens, ``<cls>`` and ``<sep>`` included; ``"tokens"``, all. What
            sentence-transformers has too: ``"max"``, the largest number of each dimension;
            ``"mean_sqrt_len_tokens"``, the sum divided by the root of the number of tokens;
            ``"weightedmean"``, the mean in which the first token counts once, the second twice and
            so on; ``"lasttoken"``, the vector of the last ``<sep>``. Several, but ``"tokens"``, are
            laid end to end.
        layers: which layer's output: 0 is the embedding, -1 or ``num_layers`` the last. A sequence
            gives the results an axis of that length. ``"pooled"`` exists for the last layer.
        batch_size: most texts that are computed together; by default as many as have about 4096
            tokens, on a GPU 32768.
        max_len: most tokens of a text, ``<cls>`` and ``<sep>`` included; the number of the model's
            positions by default.
        truncate: cut longer texts at their end, pairs where they are longer; else they are errors.
        precision: ``"float32"``, or ``"bf16"``: faster where the device has it, to 2-3 digits.
        normalize: divide each vector by its Euclidean length, unless that is 0.
        counts: what is added to: texts, tokens, unknown words.

    Returns:
        float32 [N, H] for an integer in `layers`, [N, L, H] for a sequence; K times H for K kinds
        of vectors; for ``"tokens"`` :class:`TokenVectors`.

    Raises:
        ValueError, TypeError: arguments; texts, by their number: too long, ids outside the
        vocabulary, ids with ``<cls>`` (it is added).

    Example:
        >>> encode(model, tokenizer, ["a crane is flying", ("he came", "he left")]).shape
        (2, 128)
    """
    windows = list(
        encode_stream(
            model,
            tokenizer,
            texts,
            what=what,
            layers=layers,
            batch_size=batch_size,
            max_len=max_len,
            truncate=truncate,
            precision=precision,
            normalize=normalize,
        )
    )
    if counts is not None:
        for window in windows:
            counts.add(window.counts)
    vectors = np.concatenate([window.vectors for window in windows])
    if what != "tokens":
        return vectors
    lengths = np.concatenate([window.lengths for window in windows])
    return TokenVectors(
        vectors,
        bounds(lengths),
        np.concatenate([window.token_ids for window in windows]),
    )


def encode_stream(
    model: BertModel,
    tokenizer: Encoder | None,
    texts: Iterable[Text],
    *,
    what: str | Sequence[str] = "pooled",
    layers: int | Sequence[int] = -1,
    batch_size: int | None = None,
    max_len: int | None = None,
    truncate: bool = False,
    precision: str = "float32",
    normalize: bool = False,
    dense: nn.Sequential | None = None,
    name: Callable[[int], str] = "texts[{}]".format,
) -> Iterator[EncodedWindow]:
    """As :func:`encode`, texts of about 65,536 tokens at a time, which are read when needed.

    There is at least one window, if an empty one. `name` is what errors call text i. Through
    `dense`, of which the first is a linear layer, vectors go before they are normalized.
    """
    kinds = (what,) if isinstance(what, str) else tuple(what)
    if not kinds or any(kind not in (*KINDS, *POOLINGS) for kind in kinds):
        raise ValueError(
            f"encode: what must be one of {', '.join((*KINDS, *POOLINGS))}, got {what!r}"
        )
    if "tokens" in kinds and len(kinds) > 1:
        raise ValueError(f"encode: what must be tokens alone, or without it, got {what!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"encode: precision must be float32 or bf16, got {precision!r}")
    if "pooled" in kinds:
        model.check_pooler()
    width = len(kinds) * model.config.hidden_size
    if dense is not None:
        if dense[0].in_features != width:
            raise ValueError(
                f"encode: dense must take vectors of {width} numbers, got {dense[0].in_features}"
            )
        width = next(x.out_features for x in reversed(dense) if isinstance(x, nn.Linear))
        dense = dense.to(next(model.parameters()).device)
    limit = model.config.max_positions
    inputs = _Inputs(
        "encode",
        tokenizer,
        limit if max_len is None else whole("encode", "max_len", max_len, 3, limit),
        truncate,
        name,
        model.config.vocab_size,
    )
    encoder = _Encoder(
        model,
        kinds,
        width,
        dense,
        _layer_numbers(layers, model.config.num_layers, kinds),
        isinstance(layers, Sequence),
        PRECISIONS[precision],
        normalize,
        None if batch_size is None else whole("encode", "batch_size", batch_size),
    )
    if isinstance(texts, str):
        raise TypeError("encode: texts must be an iterable of texts, got one string")
    return _windows(encoder, inputs, iter(texts))


def _windows(encoder: _Encoder, inputs: _Inputs, texts: Iterator[Text]) -> Iterator[EncodedWindow]:
    first, window = 0, None
    while window is None or len(window.lengths):
        window = inputs.window(first, texts)
        first += len(window.lengths)
        if first == 0 or len(window.lengths):
            yield EncodedWindow(encoder(window), window.lengths, window.tokens, window.counts)


def _layer_numbers(layers: int | Sequence[int], num_layers: int, kinds: Sequence[str]) -> list[int]:
    """Indices into the list of the embedding's and the layers' outputs."""
    wanted = list(layers) if isinstance(layers, Sequence) else [layers]
    if not wanted:
        raise ValueError("encode: layers must name at least one layer, got none")
    numbers = [whole("encode", "layers", n, -num_layers - 1, num_layers) for n in wanted]
    numbers = [n % (num_layers + 1) for n in numbers]
    if "pooled" in kinds and set(numbers) != {num_layers}:
        raise ValueError(
            f"encode: layers must be -1 for pooled vectors (the pooler is trained on the last "
            f"layer), got {layers}"
        )
    return numbers


def prepare(
    op: str, tokenizer: Encoder | None, text: Text, max_len: int, vocab_size: int
) -> tuple[list, list]:
    """The ids of a text or pair with ``<cls>`` and ``<sep>``, and the segment of each.

    Raises:
        ValueError, TypeError: as :func:`encode`, in the name of `op`.
    """
    inputs = _Inputs(op, tokenizer, max_len, False, lambda _: "the text", vocab_size)
    window = inputs.window(0, [text])
    length, first = int(window.lengths[0]), int(window.first_lengths[0])
    return window.tokens.tolist(), [0] * first + [1] * (length - first)


class _Window(NamedTuple):
    """Prepared texts, one after the other."""

    tokens: np.ndarray  # int32 [t]
    lengths: np.ndarray  # int64 [n]
    first_lengths: np.ndarray  # int64 [n], tokens of segment 0
    counts: EncodingCounts


class _Inputs:
    """Turns texts into ids with ``<cls>`` and ``<sep>``."""

    def __init__(
        self,
        op: str,
        tokenizer: Encoder | None,
        max_len: int,
        truncate: bool,
        name: Callable[[int], str],
        vocab_size: int,
    ) -> None:
        found: Encoder | None = None
        if tokenizer is not None:
            found = with_special_tokens(as_tokenizer(tokenizer), ("cls", "sep"))
        self._tokenizer, self._max_len, self._truncate = found, max_len, truncate
        self._name = lambda number: f"{op}: {name(number)}"
        self._size = vocab_size if found is None else len(found)
        if self._size > vocab_size:
            raise ValueError(
                f"{op}: tokenizer must have at most the {vocab_size:,} tokens of the model, "
                f"got {self._size:,}"
            )
        # What stands before a text, and after each.
        self._cls, self._sep = ([], []) if found is None else ([found.cls_id], [found.sep_id])
        self._unknown = -1 if found is None else found.unk_id

    def window(self, first: int, texts: Iterable[Text]) -> _Window:
        """The next texts, of which the first has the number `first`."""
        cls, sep = self._cls, self._sep
        parts: list[Sequence[int]] = []
        first_list: list[int] = []
        second_list: list[int] = []
        truncated = total = 0
        for number, text in enumerate(texts, first):
            a, b = self._pair(number, text)
            special = len(cls) + len(sep) * (1 if b is None else 2)
            length = len(a) + len(b or ()) + special
            if not length:
                raise ValueError(f"{self._name(number)} must hold an id, got none")
            if length > self._max_len:
                if not self._truncate:
                    raise ValueError(
                        f"{self._name(number)} must be at most {self._max_len} tokens with "
                        f"<cls> and <sep>, got {length} (truncate to cut it)"
                    )
                a, b = _cut(a, b, self._max_len - special)
                truncated += 1
            parts += (cls, a, sep) if b is None else (cls, a, sep, b, sep)
            first_list.append(len(a) + len(cls) + len(sep))
            second_list.append(0 if b is None else len(b) + len(sep))
            total += first_list[-1] + second_list[-1]
            if total >= WINDOW_TOKENS:
                break
        first_lengths = np.array(first_list, np.int64)
        second_lengths = np.array(second_list, np.int64)
        lengths = first_lengths + second_lengths
        tokens = np.fromiter(itertools.chain.from_iterable(parts), np.int32, total)
        return _Window(
            tokens,
            lengths,
            first_lengths,
            EncodingCounts(
                texts=len(lengths),
                tokens=len(tokens),
                words=len(tokens)
                - len(cls + sep) * len(lengths)
                - len(sep) * np.count_nonzero(second_lengths),
                unknown=int(np.count_nonzero(tokens == self._unknown)),
                truncated=truncated,
            ),
        )

    def _pair(self, number: int, text: Text) -> tuple[Sequence[int], Sequence[int] | None]:
        if not isinstance(text, tuple):
            return self._ids(number, text), None
        if len(text) != 2:
            raise ValueError(
                f"{self._name(number)} must be a text or a pair, got {len(text)} texts"
            )
        return self._ids(number, text[0]), self._ids(number, text[1])

    def _ids(self, number: int, text: Any) -> Sequence[int]:
        if isinstance(text, str):
            return self._with_tokenizer(number).encode(text)
        if hasattr(text, "tolist"):  # an array or tensor
            text = text.tolist()
        if not isinstance(text, Sequence):
            raise TypeError(f"{self._name(number)} must be a string, words or ids, got {text!r}")
        words = [token for token in text if isinstance(token, str)]
        if len(words) == len(text) and (words or self._tokenizer is not None):
            ids: Sequence[int] = self._with_tokenizer(number).convert_tokens_to_ids(words)
            self._check_words(number, words, ids)
        else:
            ids = self._checked_ids(number, text)
        if ids and [ids[0]] == self._cls:
            raise ValueError(
                f"{self._name(number)} must come without <cls> and <sep>: they are added"
            )
        return ids

    def _with_tokenizer(self, number: int) -> Encoder:
        if self._tokenizer is None:
            raise ValueError(
                f"{self._name(number)} must be ids, since there is no tokenizer "
                f"(lexforge.bert.load_tokenizer reads that of a folder)"
            )
        return self._tokenizer

    def _check_words(self, number: int, words: list[str], ids: Sequence[int]) -> None:
        """White space in a word that the vocabulary does not hold: it must be a text."""
        for word, token in zip(words, ids, strict=True):
            if token == self._unknown and any(map(str.isspace, word)):
                raise ValueError(
                    f"{self._name(number)} must be a text (a string), a list of words without "
                    f"white space, or a pair of texts as a tuple (a, b); got a list with {word!r}"
                )

    def _checked_ids(self, number: int, ids: Sequence[int]) -> list[int]:
        size = self._size
        wrong = [token for token in ids if not hasattr(token, "__index__")]
        wrong = wrong or [token for token in ids if not 0 <= token < size]
        if wrong:
            raise ValueError(
                f"{self._name(number)} must hold ids from 0 to {size - 1}, got {wrong[0]!r}"
            )
        return list(ids)


def _cut(
    a: Sequence[int], b: Sequence[int] | None, room: int
) -> tuple[Sequence[int], Sequence[int] | None]:
    """Their first tokens, `room` in all; of a pair the longer one gives way."""
    if b is None:
        return a[:room], None
    kept = max(min(len(a), (room + 1) // 2), room - len(b))
    return a[:kept], b[: room - kept]


@dataclass
class _Encoder:
    """Computes the vectors of prepared texts."""

    model: BertModel
    kinds: tuple[str, ...]
    width: int  # of the vectors
    dense: nn.Sequential | None
    layers: list[int]
    layer_axis: bool
    autocast: torch.dtype | None
    normalize: bool
    batch_size: int | None

    def __call__(self, window: _Window) -> np.ndarray:
        """float32 [n, (L,) W]; for "tokens" [t, (L,) H]."""
        order = np.argsort(-window.lengths, kind="stable")
        lengths = window.lengths[order]
        ends = bounds(lengths)
        # Where the tokens of the sorted texts are in the window, and in their text.
        positions = np.arange(len(window.tokens)) - np.repeat(ends[:-1], lengths)
        rows = np.repeat(bounds(window.lengths)[order], lengths) + positions
        segments = positions >= np.repeat(window.first_lengths[order], lengths)
        device = next(self.model.parameters()).device
        tokens, segments, positions = (
            torch.from_numpy(array.astype(np.int32)).to(device)
            for array in (window.tokens[rows], segments, positions)
        )
        of_tokens = self.kinds == ("tokens",)
        places = rows if of_tokens else order  # of results, in the window
        result = np.empty((len(places), len(self.layers), self.width), np.float32)
        with torch.inference_mode(), evaluating(self.model), self._precision(device):
            for first, last in self._batches(ends, BATCH_TOKENS[device.type]):
                part = slice(ends[first], ends[last])
                cu_seqlens = torch.from_numpy(ends[first : last + 1] - ends[first])
                cu_seqlens = cu_seqlens.to(device, torch.int32)
                outputs = self._outputs(
                    tokens[part], segments[part], positions[part], cu_seqlens, int(lengths[first])
                )
                place = places[part if of_tokens else slice(first, last)]
                for number, output in enumerate(outputs):
                    parts = [self._reduce(kind, output, cu_seqlens) for kind in self.kinds]
                    vectors = torch.cat(parts, dim=-1)
                    if self.dense is not None:
                        vectors = self.dense(vectors).float()
                    if self.normalize:
                        vectors = functional.normalize(vectors, dim=-1)
                    result[place, number] = vectors.cpu().numpy()
        return result if self.layer_axis else result[:, 0]

    def _batches(self, ends: np.ndarray, tokens: int) -> Iterator[tuple[int, int]]:
        """Where batches begin and end among texts with these bounds."""
        first, count = 0, len(ends) - 1
        while first < count:
            if self.batch_size is None:
                fitting = int(np.searchsorted(ends, ends[first] + tokens, side="right")) - 1
                last = max(fitting, first + 1)
            else:
                last = min(first + self.batch_size, count)
            yield first, last
            first = last

    def _precision(self, device: torch.device) -> contextlib.AbstractContextManager:
        return torch.autocast(device.type, self.autocast, enabled=self.autocast is not None)

    def _outputs(self, *packed: Any) -> list[Tensor]:
        """Of the wanted layers, [T, H] each."""
        last = self.model.config.num_layers
        if set(self.layers) == {last}:
            return [self.model.encode_packed(*packed)] * len(self.layers)
        outputs = self.model.encode_packed(*packed, all_layers=True)
        return [outputs[layer] for layer in self.layers]

    def _reduce(self, kind: str, output: Tensor, cu_seqlens: Tensor) -> Tensor:
        """float32 [B, H], or [T, H]."""
        bounds, x = cu_seqlens.long(), output.float()
        reduced = partial(torch.segment_reduce, offsets=bounds)
        if kind == "tokens":
            return x
        if kind in ("mean", "max"):
            return reduced(x, kind)
        if kind == "mean_sqrt_len_tokens":
            return reduced(x, "sum") / bounds.diff().sqrt()[:, None]
        if kind == "weightedmean":
            lengths = bounds.diff()
            starts = torch.repeat_interleave(bounds[:-1], lengths, output_size=len(x))
            place = torch.arange(1, len(x) + 1, device=x.device) - starts
            return reduced(x * place[:, None], "sum") / (lengths * (lengths + 1) / 2)[:, None]
        if kind == "lasttoken":
            return x[bounds[1:] - 1]
        first = output[bounds[:-1]]
        return (first if kind == "cls" else self.model.pooled(first)).float()


def bounds(lengths: np.ndarray) -> np.ndarray:
    """0, and where each text ends."""
    return np.concatenate([[0], np.cumsum(lengths)])
