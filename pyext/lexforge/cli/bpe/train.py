"""``lexforge bpe train``: tokens learned from a text."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from lexforge._display import shell_command
from lexforge.cli._corpus import reading
from lexforge.cli._options import Corpus, check_folder, options, output, quietly, threads
from lexforge.models import settings as common
from lexforge.training.settings import setting

TIES = ("smallest_ids", "first", "lexical", "lexical_last")
TIES_HELP = "Of pairs as frequent as another: by ids (Hugging Face), place in the words, letters."
learning = partial(setting, panel="Tokens", names="-- -")


@dataclass(frozen=True)
class TokenOptions:
    """What tokens are."""

    vocab_size: int = learning(30_000, "Tokens wanted.", low=1)
    mode: str = learning(
        "bytes", "bytes: as GPT-2; words: characters between spaces.", choices=("bytes", "words")
    )
    min_frequency: int = learning(0, "Rarer pairs are not merged.", low=0, names="-- - --min-count")
    special_tokens: str = learning("", "The first tokens: <pad>,<unk>,...", metavar="TOKENS")
    unk_token: str | None = learning(None, "words: for characters without a token.")
    end_of_word: str = learning("", "words: ends each word, as </w>.")
    max_token_length: int | None = learning(None, "Tokens are shorter, in characters.", low=1)
    limit_alphabet: int | None = learning(None, "At most so many characters are tokens.", low=1)
    tie_break: str = learning("smallest_ids", TIES_HELP, choices=TIES)


@dataclass(frozen=True)
class PlaceOptions:
    """Where the result goes, and with what it is made."""

    out: Path | None = output(None, "Folder for tokenizer.json, and for bytes GPT-2's files.")
    overwrite: bool = output(False, "Replace the tokenizer there.")
    quiet: bool = quietly()
    workers: int | None = threads()


@dataclass(frozen=True)
class TextOptions:
    """How the text is read."""

    encoding: str = common.encoding()
    errors: str | None = common.errors()


@options
def train(
    tokens: TokenOptions,
    text: TextOptions,
    place: PlaceOptions,
    corpus: Corpus = None,
) -> None:
    """Learn tokens from a text: what is most often side by side becomes one.

    Each line of the text counts by itself. The result is read by `lexforge bpe encode`, by
    `lexforge.BPETokenizer.load`, and by the library tokenizers.

    Examples:

    - `lexforge bpe train corpus.txt --out tokens --vocab-size 32000`
    - `lexforge bpe train corpus.txt --out tokens --mode words --end-of-word "</w>"`
    - `cat corpus.txt | lexforge bpe train - --out tokens --special-tokens "<pad>,<s>"`
    """
    from lexforge.text.corpus import resolve_corpus
    from lexforge.text.tokenizers.bpe import BPETokenizer
    from lexforge.training.progress import Progress, clock

    if corpus is None:
        raise typer.BadParameter("give a CORPUS: a text file, a folder, or a data set name")
    if place.out is None:
        raise typer.BadParameter("say where the tokens go: --out FOLDER")
    check_folder("--out", place.out)
    if (place.out / "tokenizer.json").exists() and not place.overwrite:
        raise typer.BadParameter(f"{place.out} holds a tokenizer: --overwrite it")
    settings = {**vars(tokens), "special_tokens": [*filter(None, tokens.special_tokens.split(","))]}
    start = time.perf_counter()
    with (
        Progress(not place.quiet) as progress,
        reading(corpus, (place.out,), progress.say) as source,
    ):
        made = BPETokenizer.train(
            resolve_corpus(source, **vars(text)),
            workers=place.workers,
            progress=progress.phase,
            **settings,
        )
        made.save(place.out)
        if made.mode == "bytes":
            made.save_gpt2(place.out)
        progress.say(
            f"{len(made):,} tokens of {len(made.merges):,} merges "
            f"in {clock(time.perf_counter() - start)}"
        )
        progress.say(f"  {place.out}")
        again = shell_command("lexforge", "bpe", "encode", place.out, corpus)
        progress.say(f"try: {again}")
