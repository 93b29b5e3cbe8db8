"""``lexforge glove``: word vectors from the co-occurrence counts of a corpus."""

from __future__ import annotations

import re
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lexforge._display import shell_command
from lexforge.cli._corpus import is_copied, reading, refuse_overwriting
from lexforge.cli._messages import tell, warn
from lexforge.cli._options import (
    Corpus,
    CountingOptions,
    Given,
    RunOptions,
    StartOptions,
    counting,
    options,
    output,
    tool,
)
from lexforge.cli._training import (
    FILE_NAMES,
    Format,
    leave_stopped,
    run_of,
    tell_results,
    trained,
    warn_of_bytes,
    write_vectors,
)
from lexforge.models.glove.settings import GloVeSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lexforge.models.cooccurrence.counts import Cooccurrence
    from lexforge.models.glove.model import GloVe
    from lexforge.training.progress import Progress

COUNTING = (
    "window",
    "symmetric",
    "distance_weighting",
    "min_count",
    "max_vocab_size",
    "lowercase",
    "encoding",
    "errors",
)
COUNTS_HELP = (
    "Train on counts: our folder, or cooccurrence.bin or .shuf.bin, which need --vocab-file."
)
PASSES_HELP = "Write -save-file each so many passes, with the number of the pass in its name."
ENDINGS = ("txt", "bin")  # of the original tool's files
COUNTS = "counts"  # folder of the counts in that of the run


@dataclass(frozen=True)
class FileOptions:
    """What is read and written beside the run's own folder."""

    cooccurrence: Path | None = counting(None, COUNTS_HELP, names="-- -input-file")
    format: Format | None = output(None, "Also write the vectors as a file for other programs.")
    save_file: Path | None = tool(None, "Write the vectors to this name and .txt or .bin.")
    binary: int = tool(0, "-save-file as 0 text, 1 binary, 2 both.", low=0, high=2)
    model: int = tool(2, "Its text: 0 everything, 1 word vectors, 2 word + context.", low=0, high=2)
    write_header: int = tool(0, "1: begin the text with its size.", low=0, high=1)
    save_gradsq: int = tool(0, "1: write gradient sums, with -binary.", low=0, high=1)
    gradsq_file: Path | None = tool(None, "Their name without .bin; gradsq beside -save-file.")
    init_param_file: Path | None = tool(None, "Start from this vectors.bin.")
    init_gradsq_file: Path | None = tool(None, "And from these gradient sums, its gradsq.bin.")
    checkpoint_passes: int = tool(0, PASSES_HELP, low=0, names="-checkpoint-every")
    load_init_param: int = tool(0, "Accepted; see -init-param-file.", low=0, hidden=True)
    load_init_gradsq: int = tool(0, "Accepted; see -init-gradsq-file.", low=0, hidden=True)

    def check(self, out: Path | None, vocab_file: Path | None, resume: bool) -> None:
        """BadParameter for what does not go together."""
        if self.init_param_file is not None and (resume or vocab_file is None):
            raise typer.BadParameter(
                "-init-param-file needs its words, --vocab-file, and no --resume"
            )
        if self.init_gradsq_file is not None and self.init_param_file is None:
            raise typer.BadParameter("-init-gradsq-file goes with -init-param-file")
        if self.wants_gradsq and not (self.save_file and self.binary):
            raise typer.BadParameter("gradient sums go with -save-file and -binary 1 or 2")
        if self.format is not None and out is None:
            raise typer.BadParameter("--format goes with --out")
        if self.checkpoint_passes and self.save_file is None:
            raise typer.BadParameter("-checkpoint-every PASSES goes with -save-file")

    @property
    def wants_gradsq(self) -> bool:
        """Whether gradient sums are to be written."""
        return bool(self.save_gradsq or self.gradsq_file)

    @property
    def outputs(self) -> list[Path]:
        """What was written under these names before."""
        stems = [stem for stem in (self.save_file, self.gradsq_file) if stem is not None]
        if self.save_file is not None:
            stems.append(self.save_file.with_name("gradsq"))
        files = [stem.with_name(f"{stem.name}.{ending}") for stem in stems for ending in ENDINGS]
        for stem in stems:  # of -checkpoint-every
            numbered = re.compile(rf"{re.escape(stem.name)}\.\d{{3,}}\.({'|'.join(ENDINGS)})")
            there = stem.parent.iterdir() if stem.parent.is_dir() else ()
            files += [path for path in there if numbered.fullmatch(path.name)]
        return files

    def write(self, model: GloVe, stem: Path, gradsq: Path | None = None) -> list[Path]:
        """STEM.txt and STEM.bin, as -binary says, and the gradient sums beside the latter."""
        written = []
        if self.binary != 1:
            written.append(stem.with_name(f"{stem.name}.txt"))
            model.save_stanford(written[-1], model=self.model, header=bool(self.write_header))
        if self.binary != 0:
            written.append(stem.with_name(f"{stem.name}.bin"))
            sums = None if gradsq is None else gradsq.with_name(f"{gradsq.name}.bin")
            model.save_stanford_binary(written[-1], sums)
            written += [] if sums is None else [sums]
        return written

    def on_epoch_end(self, model: GloVe) -> None:
        """The original tool's files after every so many passes, numbered by the pass."""
        done, stem = trained(model).state.epoch, self.save_file
        if stem is not None and self.checkpoint_passes and done % self.checkpoint_passes == 0:
            self.write(model, stem.with_name(f"{stem.name}.{done:03}"))


@options
def glove(
    given: Annotated[Given, GloVeSettings],
    counting: CountingOptions,
    run: RunOptions,
    start: StartOptions,
    files: FileOptions,
    corpus: Corpus = None,
) -> None:
    """Train word vectors (GloVe) on the co-occurrence counts of a text corpus.

    CORPUS is plain text with words between spaces; prepare it as you like it (lower case, without
    punctuation), the words are taken as they stand. It is read twice: for the words, and for how
    often two of them stand near each other. The counts are kept in --out and used again when files
    and settings are the same, so that another vector size or seed begins to train at once.

    Speed is shown in entries of the counts (nnz: pairs of words that meet) per second, loss as the
    mean of weighted squared errors, h(x) e^2 / 2: about 0.02 in the first pass (0.08 with --x-max
    10), it falls fast at first and slowly then, to a third or a quarter of that. A small corpus
    wants --x-max 10, and more passes (50). The result does not depend on --workers.

    --memory limits what counting and the order of training hold at a time; pages of files that the
    system may take back at any time are not counted. The model itself takes 16 bytes per word and
    number: 1.6 GB for a million words at --vector-size 100, half of that with --optimizer rowwise.

    Examples:

    - `lexforge glove corpus.txt --out vectors/`
    - `lexforge glove wiki/ --out glove-300/ --vector-size 300 --memory 8GB --format glove`
    - `lexforge glove wiki/ --out glove-300/ --resume`
    - `lexforge glove --cooccurrence cooccurrence.bin --vocab-file vocab.txt --out vectors/`
    - `lexforge glove -input-file cooccurrence.bin -vocab-file vocab.txt -save-file vectors`
    """
    from lexforge.training.checkpoint import is_checkpoint
    from lexforge.training.lock import folder_of_run
    from lexforge.training.progress import Progress

    out, cooccurrence, save_file = run.out, files.cooccurrence, files.save_file
    if corpus is not None and cooccurrence is not None:
        raise typer.BadParameter("give either a CORPUS to count or --cooccurrence")
    if out is None and save_file is None:
        raise typer.BadParameter("say where the result goes: --out FOLDER (or -save-file NAME)")
    stems = [stem for stem in (save_file, files.gradsq_file) if stem is not None]
    run.check(*(stem.with_name(f"{stem.name}.{ending}") for stem in stems for ending in ENDINGS))
    kept_counts = None if out is None else out / COUNTS
    # Before its first checkpoint a run is resumed by going on with the counts.
    has_counts = kept_counts is not None and kept_counts.is_dir()
    resume = run.resume and out is not None and (is_checkpoint(out) or not has_counts)
    if corpus is None and cooccurrence is None:
        if not (resume and has_counts):
            raise typer.BadParameter("give a CORPUS: a text file, a folder, or a data set name")
        cooccurrence = kept_counts
    if cooccurrence is not None:
        _check_counts(given, cooccurrence, counting.vocab_file, files.init_param_file, resume)
    files.check(out, counting.vocab_file, resume)
    start.check(run.resume)
    if start.init is not None and files.init_param_file is not None:
        raise typer.BadParameter("start from either --init or -init-param-file")
    machine: dict[str, Any] = {
        "memory": counting.cap,
        "workers": run.workers,
        "device": run.device,
        "counts_folder": None if cooccurrence is not None else kept_counts,
    }
    outputs = (*run.outputs, *files.outputs)
    refuse_overwriting(corpus, outputs)
    with (
        folder_of_run(out),
        Progress(not run.quiet, log_json=run.log_json, append=resume) as progress,
        nullcontext() if corpus is None else reading(corpus, outputs, progress.say) as source,
    ):
        from lexforge.models.glove.model import GloVe
        from lexforge.training.signals import StopRequest

        finished = False
        if resume and out is not None:
            model = GloVe.load(out, **machine)
            finished = run_of(model, out, given).finished
        elif files.init_param_file is not None and counting.vocab_file is not None:
            if files.init_gradsq_file is None:
                warn(
                    "without -init-gradsq-file gradient sums start afresh: the first steps are as "
                    "large as at the very beginning"
                )
            model = GloVe.load_stanford(
                files.init_param_file,
                counting.vocab_file,
                files.init_gradsq_file,
                **given,
                **machine,
            )
        else:
            model = GloVe(**given, **machine, init=start.init)
        if files.wants_gradsq and model.optimizer != "adagrad":
            raise ValueError("gradient sums are those of --optimizer adagrad")
        if finished:
            progress.say(f"the run in {out} is complete; there is nothing to resume")
        else:
            counts = _counts(
                model,
                source,
                cooccurrence,
                counting.vocab_file,
                kept_counts,
                progress,
                is_copied(corpus),
            )
            with StopRequest() as stop:
                model.train(
                    counts,
                    progress=progress,
                    checkpoint_folder=out,
                    checkpoint_every=run.checkpoint_every or None,
                    stop=stop,
                    resume=resume,
                    callbacks=[files] if files.checkpoint_passes else [],
                )
            if not trained(model).state.finished:
                source_words = _source_words(corpus, cooccurrence, out)
                leave_stopped(stop, out, "glove", *source_words, "--out", out, "--resume")
        written = []
        if save_file is not None:
            gradsq = save_file.with_name("gradsq") if files.save_gradsq else None
            written += files.write(model, save_file, files.gradsq_file or gradsq)
        if out is not None and files.format is not None:
            written.append(out / FILE_NAMES[files.format])
            write_vectors(trained(model).wv, written[-1], files.format)
        tell_results(model, out, written, progress)
        if kept_counts is not None and kept_counts.is_dir():
            progress.say(f"counts, for other runs: {shell_command('--cooccurrence', kept_counts)}")
            progress.say(_ratios_hint(model, kept_counts))


def _check_counts(
    given: Given,
    cooccurrence: Path,
    vocab_file: Path | None,
    init_param_file: Path | None,
    resume: bool,
) -> None:
    """BadParameter unless --cooccurrence is there and fits what else was given."""
    if not cooccurrence.exists():
        raise typer.BadParameter(f"--cooccurrence: there is no file or folder {cooccurrence}")
    if not cooccurrence.is_dir() and vocab_file is None:
        raise typer.BadParameter("--cooccurrence FILE needs its words: --vocab-file")
    if cooccurrence.is_dir() and vocab_file is not None and init_param_file is None:
        raise typer.BadParameter(f"--vocab-file: the counts in {cooccurrence} have their own words")
    for name in COUNTING:
        if name in given and not resume:
            option = name.replace("_", "-")
            raise typer.BadParameter(f"--{option} is for counting, and --cooccurrence is counted")


def _counts(
    model: GloVe,
    corpus: Any,
    cooccurrence: Path | None,
    vocab_file: Path | None,
    kept_counts: Path | None,
    progress: Progress,
    copied: bool,
) -> Cooccurrence:
    """What there is to train on, made or found."""
    from lexforge.models.cooccurrence.counts import Cooccurrence
    from lexforge.models.glove.model import COUNTS_REQUEST
    from lexforge.text import Vocabulary
    from lexforge.training.progress import count

    if cooccurrence is not None and cooccurrence.is_dir():
        counts = Cooccurrence.load(cooccurrence)
    elif cooccurrence is not None:
        # In the run's folder, so that a resume finds them; no longer those of a corpus.
        if kept_counts is not None:
            (kept_counts / COUNTS_REQUEST).unlink(missing_ok=True)
        words = model.vocabulary or vocab_file
        if words is None:
            raise typer.BadParameter("--cooccurrence FILE needs its words: --vocab-file")
        counts = Cooccurrence.load_stanford(
            cooccurrence,
            words,
            folder=kept_counts,
            memory=model.memory,
        )
    else:
        given = None if vocab_file is None else Vocabulary.load(vocab_file)
        kept = model.counts_folder is not None and not copied
        with _telling_to_repeat(kept):
            counts = model.count(corpus, vocabulary=given, progress=progress)
        warn_of_bytes(counts.vocab, corpus)
    window = "" if counts.window is None else f" within {counts.window} words"
    progress.say(
        f"{len(counts.vocab):,} words, {count(counts.nnz)} pairs of them meet{window} "
        f"({count(16 * counts.nnz)}B of counts)"
    )
    return counts


@contextmanager
def _telling_to_repeat(kept: bool) -> Iterator[None]:
    """A signal while counting: what is counted stays."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if kept:
            tell("stopped while counting; the same command goes on from here")
        raise


def _ratios_hint(model: GloVe, counts: Path) -> str:
    """Four words that are neither the first ones (the, of, is) nor rare."""
    known = trained(model).vocabulary.words
    words = [word for word in known if word.isalpha()] or known
    common = words[len(words) // 50 :][:4]
    return f"try: {shell_command('lexforge', 'ratios', counts, *common)}"


def _source_words(
    corpus: str | None, cooccurrence: Path | None, out: Path | None
) -> list[str | Path]:
    """What a command that goes on with the run says of its source."""
    kept = None if out is None else out / COUNTS
    if cooccurrence is not None and cooccurrence.is_dir() and cooccurrence != kept:
        return ["--cooccurrence", cooccurrence]
    return [corpus] if corpus else []
