"""``lexforge phrases``: words that belong together become one."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from lexforge._display import shell_command
from lexforge.cli._corpus import reading, refuse_overwriting
from lexforge.cli._options import (
    Corpus,
    check_files,
    options,
    output,
    quietly,
    threads,
    tool,
)
from lexforge.models import settings as common
from lexforge.training.settings import setting

if TYPE_CHECKING:
    from lexforge.training.progress import Progress

STANDARD_OUTPUT = "-"
THRESHOLDS = {"default": 10.0, "npmi": 0.5}
CONNECTORS_HELP = (
    "Words that may stand inside a phrase, as in state_of_the_art: english, or of,the,..."
)
PASSES_HELP = "Times to join: 2 makes phrases of up to four words. Each pass reads the text again."
SAVE_HELP = "Also keep the phrases here, for --model; NAME.1.json, NAME.2.json with --passes 2."
phrasing = partial(setting, panel="Phrases")


@dataclass(frozen=True)
class PhraseOptions:
    """What a phrase is."""

    min_count: int = phrasing(5, "Rarer words and phrases are none.", low=1, names="-- -")
    threshold: float | None = phrasing(
        None, "Score above which words are a phrase; 10 by default, 0.5 with npmi.", names="-- -"
    )
    scoring: str = phrasing(
        "default",
        "default: the paper's, towards rare words; npmi: -1 to 1.",
        choices=("default", "npmi"),
    )
    delimiter: str = phrasing("_", "Stands between the words of a phrase.")
    connector_words: str | None = phrasing(None, CONNECTORS_HELP, metavar="WORDS")
    passes: int = phrasing(1, PASSES_HELP, low=1, high=10)
    model: Path | None = phrasing(None, "Join the phrases of this file of --save; nothing counted.")
    max_vocab_size: int = phrasing(
        40_000_000, "Beyond so many words and pairs the rarest are forgotten.", low=1
    )


@dataclass(frozen=True)
class TextOptions:
    """How the text is read."""

    lowercase: bool = common.lowercase()
    encoding: str = common.encoding()
    errors: str | None = common.errors()


@dataclass(frozen=True)
class FileOptions:
    """What is written, and with what."""

    out: Path | None = output(
        None, "File for the text, compressed if it ends in .gz, .bz2 or .xz; - for standard output."
    )
    save: Path | None = output(None, SAVE_HELP)
    quiet: bool = quietly()
    workers: int | None = threads()
    train: str | None = tool(None, "Same as CORPUS.")
    output: Path | None = tool(None, "Same as --out.")
    debug: int = tool(2, "Accepted; see --quiet.", low=0, hidden=True)


@options
def phrases(
    what: PhraseOptions,
    text: TextOptions,
    files: FileOptions,
    corpus: Corpus = None,
) -> None:
    """Join words that belong together, as in new_york, in a text.

    Words that follow each other more often than their counts lead to expect become one; train
    vectors on the result, and phrases get vectors of their own. The text is read twice, once to
    count and once to join; each line of it becomes a line of the result.

    The score is (count(a b) - min_count) / (count(a) count(b)) times the number of distinct words
    and pairs (Mikolov et al. 2013); a higher --threshold means fewer phrases. That of npmi does not
    depend on the size of the text.

    Examples:

    - `lexforge phrases corpus.txt --out joined.txt`
    - `lexforge phrases corpus.txt --out joined.txt --passes 2 --connector-words english`
    - `lexforge phrases corpus.txt --out joined.txt --scoring npmi --save phrases.json`
    - `lexforge phrases other.txt --out other-joined.txt --model phrases.json`
    - `cat corpus.txt | lexforge phrases - --out - | gzip > joined.txt.gz`
    """
    from lexforge.text.corpus import resolve_corpus
    from lexforge.training.progress import Progress, clock, count

    corpus, out = _once("CORPUS", corpus, files.train), _once("--out", files.out, files.output)
    if corpus is None:
        raise typer.BadParameter("give a CORPUS: a text file, a folder, or a data set name")
    if out is None:
        raise typer.BadParameter("say where the text goes: --out FILE, or --out -")
    if what.model is not None:
        if files.save is not None or replace(what, model=None) != PhraseOptions():
            raise typer.BadParameter(
                "--model: leave out --save and --passes, and how to find phrases"
            )
        if out.exists() and what.model.exists() and out.samefile(what.model):
            raise typer.BadParameter(f"--out would take the place of --model {what.model}")
    if not what.delimiter or any(letter.isspace() for letter in what.delimiter):
        raise typer.BadParameter("--delimiter must not be empty, nor hold white space")
    file = None if str(out) == STANDARD_OUTPUT else out
    saved = _places(files.save, what.passes)
    check_files(file, *saved)
    refuse_overwriting(corpus, (file, *saved))

    start = time.perf_counter()
    with (
        Progress(not files.quiet) as progress,
        reading(corpus, (file, *saved), progress.say) as source,
        _folder(file) as folder,
    ):
        read: Any = resolve_corpus(source, **vars(text))
        last = what.passes
        for number in range(1, last + 1):
            found = _phrases(read, what, files.workers, progress)
            target: Any = folder / str(number) if number < last else file or _standard_output()
            done = found.transform_file(
                read, target, workers=files.workers, progress=progress.phase("joining")
            )
            if saved:
                kept = found.freeze()
                kept.phrasegrams = {text: score for text, (score, _) in done.phrases.items()}
                kept.save(saved[number - 1])
            known = f"{len(done.phrases):,} phrases, joined {done.times:,} times"
            progress.say(f"pass {number}: {known} in {count(done.words)} words")
            often = sorted(done.phrases, key=lambda text: -done.phrases[text][1])[:5]
            if often:
                progress.say(f"  most often: {' '.join(often)}")
            read = target
        progress.say(f"done in {clock(time.perf_counter() - start)}")
        for place in filter(None, (file, *saved)):
            progress.say(f"  {place}")
        if not done.phrases:
            progress.say("no words are a phrase: lower --threshold or --min-count")
        elif file is not None:
            again = shell_command("lexforge", "word2vec", file, "--out", "vectors")
            progress.say(f"try: {again}")


def _phrases(corpus: Any, what: PhraseOptions, workers: int | None, progress: Progress) -> Any:
    """What knows those of a file, or those that the corpus has."""
    from lexforge.text.phrases import ENGLISH_CONNECTOR_WORDS, Phrases

    if what.model is not None:
        return Phrases.load(what.model)
    connectors = ENGLISH_CONNECTOR_WORDS
    if what.connector_words != "english":
        connectors = frozenset((what.connector_words or "").split(",")) - {""}
    threshold = THRESHOLDS[what.scoring] if what.threshold is None else what.threshold
    counted = Phrases(
        min_count=what.min_count,
        threshold=threshold,
        max_vocab_size=what.max_vocab_size,
        delimiter=what.delimiter,
        scoring=what.scoring,
        connector_words=connectors,
    )
    counted.add_vocab(corpus_file=corpus, workers=workers, progress=progress.phase("counting"))
    progress.say(f"{len(counted.vocab):,} distinct words and pairs")
    return counted


def _once(name: str, first: Any, second: Any) -> Any:
    """What one of two spellings of an argument says."""
    if first is not None and second is not None:
        raise typer.BadParameter(f"{name} is given twice, also by its name in the original tool")
    return second if first is None else first


def _places(save: Path | None, passes: int) -> list[Path]:
    """Files for the phrases of each pass."""
    if save is None:
        return []
    if passes == 1:
        return [save]
    return [save.with_suffix(f".{number}{save.suffix}") for number in range(1, passes + 1)]


@contextlib.contextmanager
def _folder(file: Path | None) -> Iterator[Path]:
    """A hidden one beside the result, where there is room for what one pass hands the next."""
    beside = file.parent if file is not None and file.parent.is_dir() else None
    with tempfile.TemporaryDirectory(prefix=".lexforge-", dir=beside) as folder:
        yield Path(folder)


def _standard_output() -> BinaryIO:
    sys.stdout.flush()
    return sys.stdout.buffer
