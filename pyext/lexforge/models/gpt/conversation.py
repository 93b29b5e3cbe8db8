"""Text as it comes: tokens to characters, and conversations with a model."""

from __future__ import annotations

import codecs
from collections.abc import Generator as Pieces
from collections.abc import Iterator, Sequence
from typing import Any

from lexforge._arguments import whole
from lexforge.models.gpt.cache import Kept
from lexforge.models.gpt.data import encode_text, end_id
from lexforge.models.gpt.generation import Generator
from lexforge.models.gpt.template import Template

_UNFINISHED = "\ufffd"  # what decoders give for a part of a character


class TextStream:
    """The text of tokens that come one by one, as soon as it is certain.

    Of a character whose bytes are spread over tokens nothing is given before its last one.

    Args:
        tokenizer: of the tokens.
        stop: a text that ends it, and is not given; nor is what may be its beginning before it is
            certain that it is none.

    Attributes:
        stopped: whether `stop` has come.
    """

    def __init__(self, tokenizer: Any, stop: str = "") -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self._bytes = None
        if hasattr(tokenizer, "decode_bytes"):
            self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")
        # Of other tokenizers a token's text may depend on its neighbours: those from `_begin` on
        # are decoded together, of which the first `_given` have been given.
        self._tokens: list[int] = []
        self._begin = self._given = 0
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """What a further token adds."""
        if self._bytes is not None:
            return self._released(self._bytes.decode(self._tokenizer.decode_bytes([token])))
        self._tokens.append(token)
        return self._released(self._news(final=False))

    def finish(self) -> str:
        """What is left when no token follows."""
        rest = self._news(final=True) if self._bytes is None else self._bytes.decode(b"", True)
        text = self._released(rest) + ("" if self.stopped else self._held)
        self._held = ""
        return text

    def _news(self, *, final: bool) -> str:
        before = self._tokenizer.decode(self._tokens[self._begin : self._given])
        text = self._tokenizer.decode(self._tokens[self._begin :])
        if not final and (text.endswith(_UNFINISHED) or len(text) <= len(before)):
            return ""
        self._begin, self._given = self._given, len(self._tokens)
        return text[len(before) :]

    def _released(self, text: str) -> str:
        """The part of what is there that cannot belong to `stop`."""
        if self.stopped or not self._stop:
            return "" if self.stopped else text
        held = self._held + text
        place = held.find(self._stop)
        if place >= 0:
            self.stopped, self._held = True, ""
            return held[:place]
        keep = min(len(held), len(self._stop) - 1)
        while keep and not self._stop.startswith(held[len(held) - keep :]):
            keep -= 1
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]


class Conversation:
    """Prompts and answers in turn, of which a model sees as many of the last as its block holds.

    Of what it has seen nothing is computed again, as long as the block holds it all.

    Args:
        generator: with a tokenizer.
        template: the text around them.
        max_new_tokens: most tokens of an answer. It is also cut where the block ends.
        seed: of the draws; an answer's are told by it and the number of answers before.
        options: of :func:`~lexforge.models.gpt.generation.generate`: temperature, top_k, top_p.

    Attributes:
        turns: prompts and answers so far.
        dropped: how many of the first of them the model no longer sees.

    Raises:
        ValueError: a model without a tokenizer, or whose tokenizer does not know characters of the
        template. TypeError: a wrong argument.
    """

    def __init__(
        self,
        generator: Generator,
        template: Template | None = None,
        *,
        max_new_tokens: int = 200,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if generator.model.tokenizer is None:
            raise ValueError("Conversation: the model must have a tokenizer, and has none")
        self._generator, self._tokenizer = generator, generator.model.tokenizer
        self._template = Template() if template is None else template
        self._most = whole("Conversation", "max_new_tokens", max_new_tokens)
        self._options = options
        self._end = end_id(self._tokenizer)
        try:
            self._turn("", "")
        except ValueError as error:
            raise ValueError(
                f"Conversation: the template does not go with the model: {error}"
            ) from None
        self._answers = 0
        self._kept = Kept()
        self.seed = seed
        self.turns: list[tuple[str, str]] = []
        self.dropped = 0

    def reset(self, seed: int | None = None) -> None:
        """Forget all turns, and begin the draws again, by another seed if there is one."""
        self.turns, self.dropped = [], 0
        self.reseed(self.seed if seed is None else seed)

    def reseed(self, seed: int) -> None:
        """Begin the draws again by a seed.

        Raises:
            TypeError, ValueError: it is none.
        """
        self.seed = whole("Conversation", "seed", seed, -(2**63), 2**64 - 1)
        self._answers = 0

    def answer(self, prompt: str) -> Pieces[str, None, None]:
        """The answer to a prompt, in pieces as they are certain.

        Whoever leaves the loop ends the answer; what there is of it then becomes a turn.

        Raises:
            ValueError: a prompt that alone fills the block, or has characters that the tokenizer
            does not know. It does not become a turn.
        """
        tokens = self._tokens(prompt)
        room = self._generator.model.config.block_size - len(tokens)
        steps = self._generator.steps(
            [tokens],
            min(self._most, room),
            seed=[(self.seed + self._answers) % 2**64],
            stop=[] if self._end is None else [self._end],
            kept=self._kept,
            **self._options,
        )
        return self._answer(prompt, steps)

    def _answer(
        self, prompt: str, steps: Iterator[Sequence[tuple[int, int]]]
    ) -> Pieces[str, None, None]:
        stream = TextStream(self._tokenizer, self._template.end if self._end is None else "")
        # The space that a template puts before an answer (Template.answer) is no part of it.
        said, space = "", self._template.answer("")
        self._answers += 1
        try:
            for ((_, token),) in steps:
                if token == self._end:
                    break
                piece = stream.push(token)
                if piece and not said:
                    piece = piece.removeprefix(space)
                    space = ""
                said += piece
                if piece:
                    yield piece
                if stream.stopped:
                    break
            if rest := stream.finish():
                said += rest
                yield rest
        finally:
            self.turns.append((prompt, said))

    def _tokens(self, prompt: str) -> list[int]:
        """Of the last turns that leave room for an answer, and the prompt."""
        block = self._generator.model.config.block_size
        room = min(self._most, max(1, block // 4))
        asked = self._encoded(self._template.question(prompt))
        system = self._encoded(self._template.system)
        if len(system) + len(asked) >= block:
            raise ValueError(
                f"the message must have fewer than the {block} tokens of the model's block, with "
                f"what stands around it, got {len(system) + len(asked)}"
            )
        history = [self._turn(*turn) for turn in self.turns[self.dropped :]]
        while history and len(system) + sum(map(len, history)) + len(asked) + room > block:
            del history[0]
            self.dropped += 1
        return [*system, *(token for turn in history for token in turn), *asked]

    def _turn(self, prompt: str, answer: str) -> list[int]:
        said = self._template.answer(answer)
        if self._end is None:
            said += self._template.end
        tokens = [*self._encoded(self._template.question(prompt)), *self._encoded(said)]
        return tokens if self._end is None else [*tokens, self._end]

    def _encoded(self, text: str) -> list[int]:
        return [int(token) for token in encode_text(self._tokenizer, text)] if text else []
