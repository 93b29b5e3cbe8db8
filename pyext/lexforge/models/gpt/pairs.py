"""Prompts with their answers, as batches that teach to answer."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from lexforge.models.gpt.data import encode_text, end_id
from lexforge.models.gpt.model import IGNORED
from lexforge.models.gpt.steps import Part, StepData
from lexforge.text.lines import read_lines
from lexforge.training.stepper import step_seed

if TYPE_CHECKING:
    from lexforge.models.gpt.settings import GPTSettings
    from lexforge.models.gpt.template import Template
    from lexforge.text.tokenizers.base import Tokenizer
    from lexforge.training.network_job import NetworkState


class Pair(NamedTuple):
    """A prompt and its answer."""

    prompt: str
    answer: str


def read_pairs(source: Any) -> list[Pair]:
    """The pairs of JSON lines, or of dicts.

    Args:
        source: the path of a file with an object of ``prompt`` and ``answer`` on each line; or an
            iterable of such mappings. Other keys are left alone.

    Raises:
        FileNotFoundError: there is no such file. ValueError: a line is no pair, or there is none.
    """
    pairs = []
    is_file = isinstance(source, (str, os.PathLike))
    name = os.fspath(source) if is_file else "pairs"
    for number, found in enumerate(read_lines(source) if is_file else source, 1):
        if isinstance(found, str):
            if not found.strip():
                continue
            try:
                found = json.loads(found)
            except json.JSONDecodeError as error:
                raise ValueError(f"{name}: line {number} must be JSON: {error}") from None
        told = [found.get(key) if isinstance(found, Mapping) else None for key in Pair._fields]
        prompt, answer = told
        if not isinstance(prompt, str) or not isinstance(answer, str):
            raise ValueError(
                f"{name}: line {number} must be an object with the texts prompt and answer, "
                f"got {found!s:.80}"
            )
        pairs.append(Pair(prompt, answer))
    if not pairs:
        raise ValueError(f"{name} must hold pairs of prompt and answer, got none")
    return pairs


class Pairs:
    """Pairs as tokens, one after the other.

    Attributes:
        tokens, labels: int64 [T]; what belongs to a prompt has the label -100.
        offsets: int64 [N + 1].
        notes: what there is to say of them.
    """

    def __init__(
        self, tokens: np.ndarray, labels: np.ndarray, offsets: np.ndarray, notes: list[str]
    ) -> None:
        self.tokens, self.labels, self.offsets, self.notes = tokens, labels, offsets, notes

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def encode(
        cls, pairs: Sequence[Pair], *, tokenizer: Tokenizer, template: Template, longest: int
    ) -> Pairs:
        """Number the tokens of pairs.

        Args:
            longest: those of more tokens are left out.

        Raises:
            ValueError: none is left; characters that the tokenizer does not know.
        """
        end = end_id(tokenizer)
        tokens, labels, lengths = [], [], []
        for number, pair in enumerate(pairs, 1):
            try:
                asked = encode_text(tokenizer, template.system + template.question(pair.prompt))
                said = encode_text(
                    tokenizer, template.answer(pair.answer) + (template.end if end is None else "")
                )
            except ValueError as error:
                raise ValueError(f"finetune: pair {number}: {error}") from None
            if end is not None:
                said = np.append(said, end)
            if len(asked) + len(said) - 1 > longest or not len(asked):
                continue
            row = np.concatenate((asked, said))
            tokens.append(row[:-1])
            labels.append(np.concatenate((np.full(len(asked) - 1, IGNORED), said)))
            lengths.append(len(row) - 1)
        if not lengths:
            raise ValueError(
                f"finetune: pairs must have at most block_size = {longest} tokens, and none has"
            )
        left = len(pairs) - len(lengths)
        notes = [f"{left:,} of {len(pairs):,} pairs have more than {longest} tokens: left out"]
        return cls(
            np.concatenate(tokens).astype(np.int64),
            np.concatenate(labels).astype(np.int64),
            np.concatenate(([0], np.cumsum(lengths))),
            notes if left else [],
        )

    def identity(self) -> dict[str, Any]:
        """Their size, and a hash of all."""
        digest = hashlib.sha1(usedforsecurity=False)
        for each in (self.tokens, self.labels, self.offsets):
            digest.update(np.ascontiguousarray(each).data)
        return {"tokens": len(self.tokens), "pairs": len(self), "sha1": digest.hexdigest()}

    def part(self, chosen: np.ndarray) -> Part:
        """A batch of these pairs, without padding."""
        lengths = np.diff(self.offsets)[chosen]
        bounds = np.concatenate(([0], np.cumsum(lengths)))
        within = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths)
        index = np.repeat(self.offsets[chosen], lengths) + within
        return Part(
            torch.from_numpy(self.tokens[index]),
            torch.from_numpy(self.labels[index]),
            torch.from_numpy(within.astype(np.int32)),
            torch.from_numpy(bounds.astype(np.int32)),
            int(lengths.max()),
        )

    def steps(
        self, settings: GPTSettings, dropout: float, state: NetworkState
    ) -> Generator[StepData, None, None]:
        """The data of one step after another, without an end, from where the state stands: epochs
        in orders that are functions of the seed and their number."""
        step, epoch, batch = state.done, state.epoch, state.position
        size = settings.batch_size * settings.gradient_accumulation_steps
        steps = -(-len(self) // size)
        while True:
            if batch >= steps:
                epoch, batch = epoch + 1, 0
            order = np.random.default_rng([settings.seed % 2**64, epoch]).permutation(len(self))
            for number in range(batch, steps):
                chosen = order[number * size : (number + 1) * size]
                cut = range(0, len(chosen), settings.batch_size)
                parts = [self.part(chosen[begin : begin + settings.batch_size]) for begin in cut]
                counts = [int((part.labels != IGNORED).sum()) for part in parts]
                yield StepData(
                    [
                        part._replace(
                            seed=step_seed(settings.seed, step, place) if dropout else None,
                            share=counts[place] / sum(counts),
                        )
                        for place, part in enumerate(parts)
                    ],
                    {"tokens": sum(len(part.tokens) for part in parts)},
                    epoch,
                    number + 1,
                    number + 1 == steps,
                )
                step += 1
            epoch, batch = epoch + 1, 0

    def evaluation(self, size: int) -> Iterator[Part]:
        """All of them, so many at a time."""
        numbers = np.arange(len(self))
        return (self.part(numbers[i : i + size]) for i in range(0, len(self), size))
