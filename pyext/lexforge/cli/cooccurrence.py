"""``lexforge cooccurrence``: how often words stand near each other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexforge.cli._folders import check_folder

if TYPE_CHECKING:
    from lexforge.models.cooccurrence import Cooccurrence
    from lexforge.training.progress import Progress

corpus_option, count_option, run_option, output_option = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Corpus and vocabulary", "Counting", "Resources", "Output")
)


def cooccurrence(
    corpus: Annotated[
        str,
        typer.Argument(
            help="Text file (.gz, .xz and .bz2 too), folder of such files, or data set name. "
            "One sentence a line, words between spaces.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        output_option("--out", help="Folder for counts and vocabulary.", show_default=False),
    ],
    stanford: Annotated[
        Path | None,
        output_option(
            "--stanford",
            metavar="FILE",
            help="Also write the counts as cooccurrence.bin of Stanford's GloVe.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, output_option("--overwrite", help="Replace the counts in --out.")
    ] = False,
    quiet: Annotated[bool, output_option("--quiet", "-q", help="Print nothing.")] = False,
    window: Annotated[
        int,
        count_option("--window", "-window-size", min=1, help="Largest distance, in words."),
    ] = 10,
    symmetric: Annotated[
        int,
        count_option(
            "--symmetric", "-symmetric", min=0, max=1, help="1: both directions; 0: to the right."
        ),
    ] = 1,
    distance_weighting: Annotated[
        int,
        count_option(
            "--distance-weighting",
            "-distance-weighting",
            min=0,
            max=1,
            help="1: a neighbour counts 1/distance; 0: it counts 1.",
        ),
    ] = 1,
    cross_sentences: Annotated[
        bool, count_option("--cross-sentences", help="Windows reach over the ends of lines.")
    ] = False,
    min_count: Annotated[
        int, corpus_option("--min-count", "-min-count", min=1, help="Leave out rarer words.")
    ] = 5,
    max_vocab_size: Annotated[
        int | None,
        corpus_option("--max-vocab-size", "-max-vocab", min=1, help="Keep so many frequent words."),
    ] = None,
    vocab_file: Annotated[
        Path | None,
        corpus_option(
            "--vocab-file", "-vocab-file", help="Use the words of this vocab.txt instead."
        ),
    ] = None,
    max_sentence_length: Annotated[
        int, corpus_option(min=1, help="Split longer sentences.")
    ] = 10_000,
    lowercase: Annotated[
        bool, corpus_option("--lowercase", help="Turn words to lower case.")
    ] = False,
    memory: Annotated[
        str, run_option("--memory", help="Cap for counting: 512MB, 2GB; more goes to the disk.")
    ] = "2GB",
    workers: Annotated[
        int | None,
        run_option("--workers", "-threads", min=1, help="Threads; all cores by default."),
    ] = None,
    device: Annotated[str, run_option(help="auto, cpu or cuda.")] = "auto",
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

    check_folder("--out", out)
    if stanford is not None and not stanford.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {stanford.parent} for {stanford.name}")
    if stanford is not None and stanford.is_dir():
        raise typer.BadParameter(f"--stanford must be a file, and {stanford} is a folder")
    if (out / "meta.json").exists() and not overwrite:
        raise typer.BadParameter(f"{out} holds counts: give another folder, or --overwrite them")

    with Progress(not quiet) as progress:
        from lexforge.models.cooccurrence import cooccurrence as count_cooccurrences
        from lexforge.text import Vocabulary

        start = time.perf_counter()
        try:
            counts = count_cooccurrences(
                corpus,
                window=window,
                symmetric=bool(symmetric),
                distance_weighting=bool(distance_weighting),
                min_count=min_count,
                max_vocab_size=max_vocab_size,
                vocabulary=None if vocab_file is None else Vocabulary.load(vocab_file),
                memory=memory,
                cross_sentences=cross_sentences,
                max_sentence_length=max_sentence_length,
                lowercase=lowercase,
                threads=workers,
                device=device,
                folder=out,
                progress=progress,
            )
        except (KeyboardInterrupt, SystemExit):
            progress.say("give the same command again to go on from here")
            raise
        if stanford is not None:
            counts.save_stanford(stanford)
        _summarise(counts, out, stanford, time.perf_counter() - start, progress)


def _summarise(
    counts: Cooccurrence, out: Path, stanford: Path | None, seconds: float, progress: Progress
) -> None:
    from lexforge.training.progress import clock, count

    words = counts.corpus["tokens"]
    progress.say(
        f"done in {clock(seconds)}: {counts.nnz:,} entries for {len(counts.vocab):,} words, from "
        f"{count(words)} words of text ({count(words / seconds)} words/s in all)"
    )
    for place in filter(None, (out, stanford)):
        progress.say(f"  {place}")
    words = [word for word in counts.vocab.words if word.isalpha()] or counts.vocab.words
    common = words[len(words) // 50 :]  # neither the first (the, of, is) nor rare ones
    if len(common) >= 4:
        progress.say(f"try: lexforge ratios {out} {' '.join(common[:4])}")
