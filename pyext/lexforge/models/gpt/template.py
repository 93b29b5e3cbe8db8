"""How a conversation is written as text: what fine-tuning teaches, and what a chat writes."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lexforge._files import part
from lexforge.text.lines import read_json
from lexforge.text.toml import read_toml

TEMPLATE = "template.json"  # in the folder of a model that was fine-tuned


@dataclass(frozen=True)
class Template:
    r"""The text around prompts and answers.

    A conversation is ``system``, and for each turn ``user`` (with the prompt in place of
    ``{text}``), ``assistant``, the answer and ``end``. Where the tokenizer has an end token
    (``<|endoftext|>``), that token stands for ``end``.

    Attributes:
        user: around a prompt; holds ``{text}`` once.
        assistant: what an answer follows.
        end: what follows an answer, and so ends one; not empty.
        system: what a conversation begins with.

    Raises:
        TypeError, ValueError: a part that is no text, or without what it must hold.

    Example:
        >>> Template().prompt([("Hello", "Hi.")], "How are you?")
        'User: Hello\nAssistant: Hi.\n\nUser: How are you?\nAssistant:'
    """

    user: str = "User: {text}\n"
    assistant: str = "Assistant:"
    end: str = "\n\n"
    system: str = ""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, str):
                raise TypeError(f"Template: {name} must be a text, got {value!r}")
        if self.user.count("{text}") != 1:
            raise ValueError(f"Template: user must hold {{text}} once, got {self.user!r}")
        if not self.end:
            raise ValueError("Template: end must not be empty")

    def question(self, prompt: str) -> str:
        """One prompt, up to where its answer begins."""
        return self.user.replace("{text}", prompt) + self.assistant

    def answer(self, text: str) -> str:
        """An answer as it follows a question, without its end: a space goes before it, unless
        ``assistant`` ends in white space."""
        spaced = not self.assistant or self.assistant[-1:].isspace()
        return text if spaced else f" {text}"

    def prompt(self, turns: Sequence[tuple[str, str]], prompt: str, end: str | None = None) -> str:
        """A conversation up to where the next answer begins.

        Args:
            turns: prompts and answers so far.
            prompt: the next one.
            end: what stands after answers; by default :attr:`end`.
        """
        end = self.end if end is None else end
        told = (f"{self.question(asked)}{self.answer(said)}{end}" for asked, said in turns)
        return self.system + "".join(told) + self.question(prompt)

    def record(self) -> dict[str, str]:
        """The parts by name, as a file has them."""
        return asdict(self)

    @classmethod
    def of(cls, found: Mapping[str, Any], source: object) -> Template:
        """From the parts of a file.

        Raises:
            ValueError: a key that is none, or a wrong value; names the source.
        """
        known = [field.name for field in fields(cls)]
        for name in found:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else f" ({', '.join(known)})"
                raise ValueError(f"{source}: there is no {name!r} in a template{hint}")
        try:
            return cls(**found)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{source}: {error}") from None

    @classmethod
    def load(cls, path: str | os.PathLike) -> Template:
        """Of a TOML or JSON file with any of the parts; or of a model's folder, where a model
        without one has the usual parts.

        Raises:
            FileNotFoundError: there is no such file. ValueError: it is damaged, or holds other
            things.
        """
        path = Path(path)
        if path.is_dir():
            path = part(path, TEMPLATE)
            if not path.is_file():
                return cls()
        if path.suffix == ".json":
            return cls.of(read_json(path), path)
        return cls.of(read_toml(path), path)
