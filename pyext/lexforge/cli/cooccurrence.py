"""``lexforge cooccurrence``: how often words stand near each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexforge._display import shell_command
from lexforge.cli._corpus import is_copied, reading, refuse_overwriting
from lexforge.cli._options import (
    Corpus,
    CountingOptions,
    Given,
    WorkOptions,
    options,
    output,
    tool,
)
from lexforge.models.cooccurrence.settings import CooccurrenceSettings

if TYPE_CHECKING:
    from lexforge.models.cooccurrence.counts import Cooccurrence
    from lexforge.training.progress import Progress

MANAGED = "Accepted; see --memory."  # how the original tools divide their memory


@dataclass(frozen=True)
class FileOptions:
    """What is written beside the counts' own folder."""

    stanford: Path | None = output(None, "Also write them as cooccurrence.bin of Stanford's GloVe.")
    save_vocab: Path | None = output(None, "Also write words and counts here.", names="-- -")
    max_product: int = tool(0, MANAGED, low=0, hidden=True)
    overflow_length: int = tool(0, MANAGED, low=0, hidden=True)
    overflow_file: str | None = tool(None, MANAGED, hidden=True)
    array_size: int = tool(0, MANAGED, low=0, hidden=True)
    temp_file: str | None = tool(None, MANAGED, hidden=True)
    seed: int = tool(0, "Accepted: training shuffles.", low=0, hidden=True)


@options
def cooccurrence(
    given: Annotated[Given, CooccurrenceSettings],
    counting: CountingOptions,
    work: WorkOptions,
    files: FileOptions,
    corpus: Corpus = None,
) -> None:
    """Count how often words of a corpus stand within a window of each other.

    Counts are exact: the same to the last bit for any --memory and number of threads. An
    interrupted count goes on where it was when the same command is given again.

    The folder gets triplets.bin (int32 row, int32 column, float64 value, words from 0), vocab.txt
    and meta.json; `lexforge ratios` and `lexforge.Cooccurrence.load` read it.

    Examples:

    - `lexforge cooccurrence corpus.txt --out counts/`
    - `lexforge cooccurrence wiki/ --out counts/ --window 15 --max-vocab-size 400000 --memory 8GB`
    - `lexforge cooccurrence corpus.txt --out counts/ --stanford cooccurrence.bin`
    """
    import time

    from lexforge.training.progress import Progress

    if corpus is None:
        raise typer.BadParameter("give a CORPUS: a text file, a folder, or a data set name")
    if work.out is None:
        raise typer.BadParameter("say where the counts go: --out FOLDER")
    work.check(files.stanford, files.save_vocab)
    if (work.out / "meta.json").exists() and not work.overwrite:
        raise typer.BadParameter(
            f"{work.out} holds counts: give another folder, or --overwrite them"
        )

    outputs = (*work.outputs, files.stanford, files.save_vocab)
    refuse_overwriting(corpus, outputs)
    with (
        Progress(not work.quiet) as progress,
        reading(corpus, outputs, progress.say) as source,
    ):
        from lexforge.models.cooccurrence.count import cooccurrence as count_cooccurrences
        from lexforge.text import Vocabulary

        words = None if counting.vocab_file is None else Vocabulary.load(counting.vocab_file)
        start = time.perf_counter()
        try:
            counts = count_cooccurrences(
                source,
                **given,
                vocabulary=words,
                memory=counting.cap,
                workers=work.workers,
                device=work.device,
                folder=work.out,
                progress=progress,
            )
        except (KeyboardInterrupt, SystemExit):
            if not is_copied(corpus):
                progress.say("give the same command again to go on from here")
            raise
        if files.stanford is not None:
            counts.save_stanford(files.stanford)
        if files.save_vocab is not None:
            counts.vocab.save(files.save_vocab)
        _summarise(counts, work.out, files.stanford, time.perf_counter() - start, progress)


def _summarise(
    counts: Cooccurrence, out: Path, stanford: Path | None, seconds: float, progress: Progress
) -> None:
    from lexforge.training.progress import clock, count

    tokens = (counts.corpus or {}).get("tokens", 0)
    progress.say(
        f"done in {clock(seconds)}: {counts.nnz:,} entries for {len(counts.vocab):,} words, from "
        f"{count(tokens)} words of text ({count(tokens / seconds)} words/s in all)"
    )
    for place in filter(None, (out, stanford)):
        progress.say(f"  {place}")
    words = [word for word in counts.vocab.words if word.isalpha()] or counts.vocab.words
    common = words[len(words) // 50 :]  # neither the first (the, of, is) nor rare ones
    if len(common) >= 4:
        again = shell_command("lexforge", "ratios", out, *common[:4])
    else:
        again = shell_command("lexforge", "glove", "--cooccurrence", out, "--out", "vectors")
    progress.say(f"try: {again}")
