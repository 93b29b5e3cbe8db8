"""``lexforge gpt chat``: a conversation with a GPT in the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexforge._display import is_terminal, printable
from lexforge._files import replacing
from lexforge.cli._messages import tell, warn
from lexforge.cli._options import options
from lexforge.cli.gpt._models import Model, UseOptions, load, write
from lexforge.cli.gpt.finetune import TEMPLATE_HELP

if TYPE_CHECKING:
    from lexforge.models.gpt.conversation import Conversation

HELP = """\
/reset      forget the conversation
/seed N     draw answers by this seed from here on
/save FILE  write the conversation as JSON lines, which `lexforge gpt finetune` reads
/help       this list
/quit       end; so do Ctrl-D, and Ctrl-C twice. Ctrl-C once stops an answer."""


@options
def chat(
    use: UseOptions,
    model: Model,
    template: Annotated[
        Path | None,
        typer.Option("--template", help=f"{TEMPLATE_HELP} MODEL's own by default."),
    ] = None,
) -> None:
    """Talk to a model: a line is a message, and its answer comes as it is generated.

    The model sees as much of the conversation as its block holds; the oldest messages are left out
    first. Ctrl-C stops an answer. Lines that begin with / are commands: /help tells them.

    From a pipe every line is a message, and standard output holds the answers alone.

    Examples:

    - `lexforge gpt chat chat/`
    - `lexforge gpt chat chat/ --temperature 0.5 --template mine.toml`
    - `echo "How are you?" | lexforge gpt chat chat/ --seed 1`
    """
    use.check()

    from lexforge.models.gpt.conversation import Conversation
    from lexforge.models.gpt.template import Template

    own = model if model.is_dir() else model.parent
    written = Template.load(own if template is None else template)
    generator, _ = load(model, use)
    conversation = Conversation(
        generator,
        written,
        max_new_tokens=use.max_new_tokens,
        seed=use.seed,
        **use.draws,
    )
    _Chat(conversation).run()


class _Chat:
    """The terminal's side of a conversation, or a pipe's."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._at_terminal = is_terminal(sys.stdin)
        self._saved: set[Path] = set()  # by this conversation, so it may write there again

    def run(self) -> None:
        """Messages and commands until they end."""
        if self._at_terminal:
            _edit_lines()
            tell("a line is a message; /help tells the commands")
        while (line := self._line()) is not None:
            try:
                if line.startswith("/"):
                    if not self._command(line):
                        return
                elif line:
                    self._answer(line)
            except (ValueError, OSError) as error:
                if not self._at_terminal:
                    raise
                tell(f"error: {error}", "red")

    def _line(self) -> str | None:
        """The next line, without blanks around it; None where there is none."""
        stopped = False
        while True:
            try:
                line = input("> ") if self._at_terminal else sys.stdin.readline()
                return line.strip() if line or self._at_terminal else None
            except EOFError:
                tell("")
                return None
            except KeyboardInterrupt:
                if stopped or not self._at_terminal:
                    tell("")
                    return None
                stopped = True
                tell("\nCtrl-C once more, Ctrl-D or /quit ends the conversation")

    def _answer(self, message: str) -> None:
        before = self._conversation.dropped
        pieces = self._conversation.answer(message)
        if before == 0 and self._conversation.dropped:
            warn("the conversation is longer than the model's block: its beginning is left out")
        try:
            with contextlib.closing(pieces):
                for piece in pieces:
                    write(piece)
        except KeyboardInterrupt:
            if not self._at_terminal:
                raise
            tell(" (stopped)", "yellow")
        write("\n")

    def _command(self, line: str) -> bool:
        """Whether the conversation goes on."""
        name, _, value = line.partition(" ")
        value = value.strip()
        if name in ("/quit", "/exit"):
            return False
        if name == "/help":
            for each in HELP.splitlines():
                tell(each)
        elif name == "/reset":
            self._conversation.reset()
            tell("the conversation is forgotten")
        elif name == "/seed":
            try:
                self._conversation.reseed(int(value))
            except ValueError:
                raise ValueError(f"/seed must be a whole number, got {value!r}") from None
        elif name == "/save":
            self._save(value)
        else:
            raise ValueError(f"there is no command {printable(name)}: /help tells those there are")
        return True

    def _save(self, value: str) -> None:
        if not value:
            raise ValueError("/save must be followed by the name of a file")
        path = Path(value).expanduser()
        if path.exists() and path.resolve() not in self._saved:
            raise ValueError(f"/save: {path} exists: say another file")
        turns = self._conversation.turns
        with replacing(path) as file:
            for prompt, answer in turns:
                record = json.dumps({"prompt": prompt, "answer": answer}, ensure_ascii=False)
                file.write(record.encode() + b"\n")
        self._saved.add(path.resolve())
        tell(f"{path}: {len(turns)} message{'s' * (len(turns) != 1)} and their answers")


def _edit_lines() -> None:
    """Lines are edited, and earlier ones found, where Python has that."""
    try:
        import readline  # noqa: F401
    except ImportError:
        return
