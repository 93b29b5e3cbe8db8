"""Text from a GPT, a token at a time."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lexforge._arguments import real, whole
from lexforge.models.gpt.cache import Kept, KVCache, PackedPrompts
from lexforge.models.gpt.data import encode_text
from lexforge.models.gpt.decoding import Decoder
from lexforge.models.gpt.model import GPT
from lexforge.ops._tables import own_pages, to_huge_pages
from lexforge.ops.transformer.few_rows_linear import product

_OP = "generate"
_DTYPES = (torch.float32, torch.bfloat16)
# Parameters that a cache of the processor may hold gain nothing from another place in memory.
_LEAST_MOVED = 16 << 20  # bytes
_APART = 64  # elements: every copy begins at a cache line

Prompt = str | Sequence[int] | Tensor
Stop = int | Sequence[int]


class Token(NamedTuple):
    """A token that was chosen."""

    sequence: int  # the number of its prompt
    token: int


def generate(
    model: GPT,
    prompts: Prompt | Sequence[Prompt],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | Sequence[int] = 0,
    stop: Stop | Sequence[Stop] = (),
    stream: Callable[[int, int], object] | None = None,
    dtype: torch.dtype | None = None,
) -> list[list[int]]:
    """Continue prompts by what a model finds likely.

    The prompts are computed at once, without padding; then all sequences go on by a token each,
    over the keys and values of those before. Sequences that have come to their end drop out.

    Args:
        model: is left as it is; it may be in training mode, whose dropout does not take part.
        prompts: texts, for a model with a tokenizer, or token numbers; of any lengths. Of one that
            is longer than the model's block the last ``block_size`` tokens are taken, with a
            warning. A single text, or tensor [T], is a batch of one.
        max_new_tokens: most tokens of each answer.
        temperature: scores are divided by it: below 1 likely tokens become likelier. 0 takes the
            likeliest token each time, and draws nothing.
        top_k: only the so many likeliest tokens are drawn from.
        top_p: only the fewest likeliest tokens whose probabilities, after ``top_k``, add up to this
            (Holtzman et al. 2020): above 0, up to 1.
        seed: of the draws. Every sequence has its own random numbers, by the seed and its place
            among the prompts; with a seed for each prompt, by that alone.
        stop: token numbers, or sequences of them, after which an answer is complete; they are its
            end. By default there are none.
        stream: called with the number of the sequence and the token, for each as it is chosen.
        dtype: of weights and activations, float32 or bfloat16, by default that of the model's
            weights. bfloat16 halves what is read from memory for each token.

    Returns:
        The new tokens of each prompt, without those of the prompt.

    Raises:
        TypeError, ValueError: arguments of the wrong kind, or out of range; a prompt without
        tokens, or with characters that the model's tokenizer does not know; text for a model
        without a tokenizer; scores that are NaN. IndexError: a number that is no token.

    Notes:
        A sequence that outgrows the block goes on as in nanoGPT: each next token follows from the
        last ``block_size`` tokens, whose positions begin at 0 again. Nothing that was kept holds
        then, and the whole window is computed for every token.

        On the CPU the weights of a model of more than 16 MB are put on huge pages, where the system
        has them: they are read twice as fast there. Linux does so from 6.1 on, in place; else, and
        for another dtype, they are copied for the length of a call. A :class:`Generator` keeps the
        copy.

    Example:
        >>> from lexforge.gpt import GPT, GPTConfig, generate
        >>> model = GPT(GPTConfig(8, 11, n_layer=1, n_head=1, n_embd=16), seed=0)
        >>> [len(tokens) for tokens in generate(model, [[1, 2], [3]], 4)]
        [4, 4]
    """
    return Generator(model, dtype=dtype).generate(
        prompts,
        max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        stop=stop,
        stream=stream,
    )


class Generator:
    """A model made ready to generate, for several calls: see :func:`generate`.

    Changes of the model's parameters after this may or may not be seen.

    Args:
        model, dtype: as of :func:`generate`.

    Attributes:
        model: what generates: in evaluation mode, its parameters those of the given model, or
            copies where they are read fastest.
    """

    def __init__(self, model: GPT, *, dtype: torch.dtype | None = None) -> None:
        if not isinstance(model, GPT):
            raise TypeError(f"{_OP}: model must be a GPT, got {type(model).__name__}")
        if dtype is not None and dtype not in _DTYPES:
            raise ValueError(f"{_OP}: dtype must be float32 or bfloat16, got {dtype}")
        self.model, self._head = _ready(model, dtype or model.token_embedding.weight.dtype)

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        max_new_tokens: int,
        *,
        stream: Callable[[int, int], object] | None = None,
        **options: Any,
    ) -> list[list[int]]:
        """The new tokens of each prompt; arguments as of :func:`generate`."""
        sequences = self._sequences(prompts)
        answers: list[list[int]] = [[] for _ in sequences]
        for step in self.steps(sequences, max_new_tokens, **options):
            for sequence, token in step:
                answers[sequence].append(token)
                if stream is not None:
                    stream(sequence, token)
        return answers

    def steps(
        self,
        prompts: Prompt | Sequence[Prompt],
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | Sequence[int] = 0,
        stop: Stop | Sequence[Stop] = (),
        kept: Kept | None = None,
    ) -> Iterator[list[Token]]:
        """The tokens of each step, as they are chosen; arguments as of :func:`generate`.

        One of every sequence that has not come to its end. Whoever has enough leaves the loop.

        Args:
            kept: of the only prompt: what it begins with, as far as an earlier call with it has
                computed that, is not computed again.
        """
        sequences = self._sequences(prompts)
        most = whole(_OP, "max_new_tokens", max_new_tokens, 0)
        temperature = real(_OP, "temperature", temperature)
        if top_k is not None:
            top_k = whole(_OP, "top_k", top_k)
        if top_p is not None:
            top_p = real(_OP, "top_p", top_p, high=1, above=0)
        if kept is not None and len(sequences) != 1:
            raise ValueError(f"{_OP}: with kept there must be one prompt, got {len(sequences)}")
        draws = _draws(seed, len(sequences)) if temperature else []
        ends = _ends(stop)
        longest = max((len(sequence) for sequence in sequences), default=0)
        if longest > self.model.config.block_size:
            warnings.warn(
                f"{_OP}: a prompt of {longest} tokens is longer than the model's block: its last "
                f"{self.model.config.block_size} are taken",
                stacklevel=2,
            )
        run = _Run(self.model, self._head, sequences, most, kept)
        return self._steps(run, sequences, most, ends, draws, (temperature, top_k, top_p))

    def _steps(
        self,
        run: _Run,
        sequences: list[list[int]],
        most: int,
        ends: list[tuple[int, ...]],
        draws: list[np.random.Generator],
        choice: tuple[float, int | None, float | None],
    ) -> Iterator[list[Token]]:
        lengths = [len(sequence) for sequence in sequences]
        alive = list(range(len(sequences)))
        for _ in range(most):
            if not alive:
                return
            uniforms = [draws[i].random() for i in alive] if draws else []
            tokens = choose(run.scores(alive), *choice, uniforms=uniforms)
            yield [Token(*each) for each in zip(alive, tokens, strict=True)]
            for i, token in zip(alive, tokens, strict=True):
                sequences[i].append(token)
            alive = [i for i in alive if not _ended(sequences[i], lengths[i], ends)]

    def _sequences(self, prompts: Prompt | Sequence[Prompt]) -> list[list[int]]:
        """The token numbers of each prompt, checked."""
        if isinstance(prompts, str) or (isinstance(prompts, Tensor) and prompts.dim() == 1):
            prompts = [prompts]
        elif not isinstance(prompts, Iterable):
            raise TypeError(
                f"{_OP}: prompts must be texts or token numbers, got {type(prompts).__name__}"
            )
        return [self._numbers(number, prompt) for number, prompt in enumerate(prompts)]

    def _numbers(self, number: int, prompt: Any) -> list[int]:
        if isinstance(prompt, str):
            if self.model.tokenizer is None:
                raise ValueError(
                    f"{_OP}: the model has no tokenizer: prompts must be token numbers, got text"
                )
            try:
                tokens = [int(token) for token in encode_text(self.model.tokenizer, prompt)]
            except ValueError as error:
                raise ValueError(f"{_OP}: prompt {number}: {error}") from None
        elif isinstance(prompt, Iterable):
            given = prompt.tolist() if isinstance(prompt, Tensor | np.ndarray) else prompt
            tokens = [whole(_OP, "a token", token, -(2**63)) for token in given]
        else:
            raise TypeError(
                f"{_OP}: prompt {number} must be a text or token numbers, "
                f"got {type(prompt).__name__}"
            )
        if not tokens:
            raise ValueError(f"{_OP}: prompt {number} has no tokens: there is nothing to continue")
        size = self.model.config.vocab_size
        for token in tokens:
            if not 0 <= token < size:
                raise IndexError(
                    f"{_OP}: tokens must be in 0..{size - 1}, got {token} in prompt {number}"
                )
        return tokens


class _Run:
    """The computations of one call: scores of the next token of sequences that grow."""

    def __init__(
        self,
        model: GPT,
        head: Tensor,
        sequences: list[list[int]],
        most: int,
        kept: Kept | None = None,
    ) -> None:
        self._model, self._head, self._kept = model, head, kept
        self._decoder = Decoder(model)
        self._sequences = sequences
        self._block = model.config.block_size
        self._device = head.device
        longest = max((len(sequence) for sequence in sequences), default=0)
        self._capacity = min(self._block, longest + most)
        self._cache: KVCache | None = None
        self._cached: list[int | None] = []  # the sequence of each row of the cache, while it grows

    @torch.inference_mode()
    def scores(self, alive: list[int]) -> Tensor:
        """[len(alive), V] for what follows each of these sequences."""
        if self._cache is None:
            return self._logits(self._begin(alive))
        inside = [i for i in alive if len(self._sequences[i]) <= self._block]
        outside = [i for i in alive if len(self._sequences[i]) > self._block]
        parts = []
        if inside:
            parts.append(self._step(inside))
        if outside:
            windows = [self._sequences[i][-self._block :] for i in outside]
            parts.append(self._whole(PackedPrompts(windows, self._device), None))
        encoded = parts[0]
        if len(parts) > 1:  # in the order of `alive`
            places = {i: row for row, i in enumerate([*inside, *outside])}
            encoded = torch.cat(parts)[[places[i] for i in alive]]
        return self._logits(encoded)

    def _begin(self, alive: list[int]) -> Tensor:
        """[B, C] of the last tokens of the prompts, whose keys and values are kept from here on."""
        self._cached = list(alive)
        prompts = [self._sequences[i][-self._block :] for i in alive]
        kept = self._kept if len(self._sequences[0]) <= self._block else None
        if kept is not None and (shared := kept.shared(self._sequences[0])):
            self._cache = kept.cache
            return self._more(prompts[0][shared:], shared)
        self._cache = KVCache(
            self._model.config,
            len(prompts),
            self._capacity if kept is None else self._block,
            dtype=self._head.dtype,
            device=self._device,
        )
        encoded = self._whole(PackedPrompts(prompts, self._device), self._cache)
        if kept is not None:
            kept.cache = self._cache
        return encoded

    def _more(self, tokens: list[int], first: int) -> Tensor:
        """[1, C] of the last of further tokens of the only sequence."""
        cache = self._cache
        assert cache is not None
        positions = torch.arange(first, first + len(tokens)).to(self._device)
        attend = cache.extend(first, len(tokens))
        encoded = self._model.encode(torch.tensor(tokens).to(self._device), positions, attend)
        cache.set_length(first + len(tokens))
        return encoded[-1:]

    def _whole(self, packed: PackedPrompts, cache: KVCache | None) -> Tensor:
        """[B, C] of the last tokens, from all of them."""
        if cache is None:
            encoded = self._model.encode_packed(
                packed.tokens, packed.positions, packed.cu_seqlens, packed.longest
            )
        else:
            encoded = self._model.encode(packed.tokens, packed.positions, cache.fill(packed))
        return encoded[packed.last]

    def _step(self, wanted: list[int]) -> Tensor:
        """[B, C] of the last tokens, from these and what was kept."""
        cache = self._cache
        assert cache is not None
        # The row of an ended sequence costs little beside the weights; to copy the others does.
        if 2 * len(wanted) <= len(self._cached):
            cache.keep([self._cached.index(i) for i in wanted])
            self._cached = list(wanted)
        for row, i in enumerate(self._cached):
            if i is not None and i not in wanted:
                cache.retire(row)
                self._cached[row] = None
        last = [0 if i is None else self._sequences[i][-1] for i in self._cached]
        tokens = torch.tensor(last).to(self._device)
        encoded = self._decoder.step(tokens, cache)
        if len(wanted) == len(self._cached):
            return encoded
        return encoded[[row for row, i in enumerate(self._cached) if i is not None]]

    def _logits(self, encoded: Tensor) -> Tensor:
        return product(encoded, self._head)


def choose(
    scores: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    *,
    uniforms: Sequence[float] = (),
) -> list[int]:
    """Draw a token of every row of scores [B, V]: see :func:`generate`.

    Args:
        uniforms: a random number of each row, at least 0 and below 1; none with temperature 0.

    Raises:
        ValueError: a row whose largest score is no finite number.
    """
    scores = scores.float()
    best, likeliest = scores.max(-1, keepdim=True)
    if not best.isfinite().all():
        raise ValueError(f"{_OP}: the model's scores are not finite: {float(best.sum())}")
    if temperature == 0:
        return likeliest[:, 0].tolist()
    scores = (scores - best) / temperature
    tokens = None
    if top_k is not None and top_k < scores.shape[1]:
        scores, tokens = scores.topk(top_k)
    elif top_p is not None and top_p < 1:
        scores, tokens = scores.sort(descending=True, stable=True)
    shares = scores.double().exp().cumsum(-1)
    total = shares[:, -1:].contiguous()
    if top_p is not None and top_p < 1:
        total = shares.gather(
            1, torch.searchsorted(shares, top_p * total).clamp(max=shares.shape[1] - 1)
        )
    drawn = torch.tensor(uniforms, dtype=torch.float64)[:, None].to(shares.device)
    # The first whose share lies above; by rounding there may be none before the last that counts.
    place = torch.searchsorted(shares, drawn * total, right=True)
    place = place.minimum(torch.searchsorted(shares, total))
    return (place if tokens is None else tokens.gather(1, place))[:, 0].tolist()


def _draws(seed: Any, count: int) -> list[np.random.Generator]:
    """The random numbers of each sequence."""
    if isinstance(seed, Iterable):
        keys = [(_seed(each), 0) for each in seed]
        if len(keys) != count:
            raise ValueError(
                f"{_OP}: seed must be one, or {count} for {count} prompts, got {len(keys)}"
            )
    else:
        keys = [(_seed(seed), number) for number in range(count)]
    return [np.random.Generator(np.random.Philox(key=np.array(key, np.uint64))) for key in keys]


def _seed(value: Any) -> int:
    return whole(_OP, "seed", value, -(2**63), 2**64 - 1) % 2**64


def _ends(stop: Any) -> list[tuple[int, ...]]:
    """Sequences of tokens after which an answer is complete."""
    if isinstance(stop, Iterable):
        ends = [
            tuple(
                whole(_OP, "stop", t, 0) for t in (each if isinstance(each, Iterable) else [each])
            )
            for each in stop
        ]
    else:
        ends = [(whole(_OP, "stop", stop, 0),)]
    if () in ends:
        raise ValueError(f"{_OP}: stop must be tokens or sequences of them, got an empty one")
    return ends


def _ended(tokens: list[int], begin: int, ends: list[tuple[int, ...]]) -> bool:
    """Whether what follows `begin` ends so."""
    return any(
        len(tokens) - begin >= len(end) and tuple(tokens[-len(end) :]) == end for end in ends
    )


def _ready(model: GPT, dtype: torch.dtype) -> tuple[GPT, Tensor]:
    """The model in evaluation mode, with its own parameters or copies; and the head."""
    table = model.token_embedding.weight
    # The other parameters are looked up, or added in float32.
    layers = [(b.qkv, b.projection, b.expansion, b.contraction) for b in model.blocks]
    read = [layer.weight for block in layers for layer in block] + [table]
    read += [block.qkv.bias for block in model.blocks if block.qkv.bias is not None]
    shared: dict[int, Any] = {id(x): x for x in (*model.parameters(), model.tokenizer)}
    size = sum(-(-x.numel() // _APART) * _APART for x in read)
    moved = table.device.type == "cpu" and size * dtype.itemsize > _LEAST_MOVED
    if moved and dtype == table.dtype and all([to_huge_pages(x.detach()) for x in read]):
        moved = False
    pages = own_pages(dtype, size) if moved else None
    head, used = table.detach(), 0
    for parameter in read:
        copied = parameter.detach().to(dtype)
        if pages is not None:
            place = pages[used : used + parameter.numel()].view(parameter.shape)
            copied, used = place.copy_(copied), used - (-parameter.numel() // _APART) * _APART
        if parameter is table:
            head = copied
            if dtype != table.dtype:
                continue  # rows are looked up in the table's own dtype
        if copied.data_ptr() != parameter.data_ptr():
            shared[id(parameter)] = nn.Parameter(copied, requires_grad=False)
    return copy.deepcopy(model, shared).eval(), head
