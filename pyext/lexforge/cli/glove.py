"""``lexforge glove``: word vectors from the co-occurrence counts of a corpus."""

from __future__ import annotations

from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexforge.cli._folders import check_folder
from lexforge.cli._training import (
    FILE_NAMES,
    Format,
    check_files,
    folder_of_run,
    given,
    refuse_changes,
    tell_of_stop,
    tell_results,
    warn_of_bytes,
    write_vectors,
)
from lexforge.cli._vectors import warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lexforge.models.cooccurrence import Cooccurrence
    from lexforge.models.glove import GloVe
    from lexforge.training.progress import Progress

# Options by the panel of the help text that they stand in.
corpus_option, model_option, training_option, output_option, tool_option = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in (
        "Corpus and counts",
        "Model",
        "Training",
        "Output",
        "As in the original tool",
    )
)


class Vectors(str, Enum):
    """Which vectors are kept for a word."""

    SUM = "sum"
    WORD = "word"
    CONTEXT = "context"


class Optimizer(str, Enum):
    """How steps are sized."""

    ADAGRAD = "adagrad"
    ROWWISE = "rowwise"
    ADAM = "adam"


COUNTING = (
    "window",
    "symmetric",
    "distance_weighting",
    "min_count",
    "max_vocab_size",
    "lowercase",
)
COUNTS = "counts"  # folder of the counts in that of the run


def glove(
    ctx: typer.Context,
    corpus: Annotated[
        str | None,
        typer.Argument(
            help="Text file (.gz, .xz and .bz2 too), folder of such files, or data set name. "
            "One sentence a line, words between spaces.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        output_option("--out", help="Folder for the model: vectors, counts, checkpoint."),
    ] = None,
    vectors: Annotated[
        Vectors,
        output_option(help="A word's vector: as a word, as a context, or the sum of both."),
    ] = Vectors.SUM,
    format: Annotated[
        Format | None,
        output_option(help="Also write the vectors as a file for other programs."),
    ] = None,
    overwrite: Annotated[
        bool,
        output_option("--overwrite", help="Replace the run in --out; fitting counts stay."),
    ] = False,
    resume: Annotated[
        bool,
        output_option("--resume", help="Continue the interrupted run in --out."),
    ] = False,
    checkpoint_every: Annotated[
        float,
        output_option(
            "--checkpoint-every",
            min=0.0,
            metavar="MINUTES",
            help="Save that often; 0 only at the end.",
        ),
    ] = 10.0,
    log_json: Annotated[
        Path | None,
        output_option(help="Write speed and loss to this file, one JSON object per second."),
    ] = None,
    quiet: Annotated[bool, output_option("--quiet", "-q", help="Print nothing.")] = False,
    window: Annotated[
        int,
        corpus_option(
            "--window", "-window-size", min=1, help="Largest distance of context, in words."
        ),
    ] = 15,
    symmetric: Annotated[
        int,
        corpus_option(
            "--symmetric", "-symmetric", min=0, max=1, help="1: both directions; 0: to the right."
        ),
    ] = 1,
    distance_weighting: Annotated[
        int,
        corpus_option(
            "--distance-weighting",
            "-distance-weighting",
            min=0,
            max=1,
            help="1: a neighbour counts 1/distance; 0: it counts 1.",
        ),
    ] = 1,
    min_count: Annotated[
        int,
        corpus_option("--min-count", "-min-count", min=0, help="Leave out rarer words."),
    ] = 5,
    max_vocab_size: Annotated[
        int | None,
        corpus_option(
            "--max-vocab-size",
            "-max-vocab",
            min=1,
            help="Keep the most frequent so many words.",
        ),
    ] = None,
    lowercase: Annotated[
        bool,
        corpus_option("--lowercase", help="Turn words to lower case."),
    ] = False,
    vocab_file: Annotated[
        Path | None,
        corpus_option(
            "--vocab-file",
            "-vocab-file",
            help="Use these words: lines of word and count. Goes with a cooccurrence.bin, too.",
        ),
    ] = None,
    cooccurrence: Annotated[
        Path | None,
        corpus_option(
            "--cooccurrence",
            "-input-file",
            help="Train on these counts: a folder that holds ours, or a sorted cooccurrence.bin of "
            "the original tool, which needs --vocab-file.",
        ),
    ] = None,
    memory: Annotated[
        str,
        corpus_option(
            "--memory",
            "-memory",
            help="Cap for counting and for the order of training: 512MB, 4GB (a bare number is "
            "GB); more goes to the disk. The model itself comes on top.",
        ),
    ] = "2GB",
    vector_size: Annotated[
        int,
        model_option("--vector-size", "-vector-size", min=1, help="Numbers per word."),
    ] = 100,
    x_max: Annotated[
        float,
        model_option(
            "--x-max", "-x-max", min=0.0, help="Count from which on errors have full weight."
        ),
    ] = 100.0,
    alpha: Annotated[
        float,
        model_option("--alpha", "-alpha", min=0.0, help="Exponent of the weight below --x-max."),
    ] = 0.75,
    epochs: Annotated[
        int,
        training_option("--epochs", "-iter", min=1, help="Passes over the counts."),
    ] = 25,
    eta: Annotated[
        float,
        training_option("--eta", "-eta", min=0.0, help="Learning rate."),
    ] = 0.05,
    bias_rate: Annotated[
        float | None,
        training_option(
            min=0.0,
            help="Learning rate of the biases, in multiples of --eta; 20 with adagrad, else 1.",
            show_default=False,
        ),
    ] = None,
    optimizer: Annotated[
        Optimizer,
        training_option(
            help="AdaGrad as in the original; with one sum per row (half the memory); or Adam, "
            "which wants --eta 0.001 or so."
        ),
    ] = Optimizer.ADAGRAD,
    grad_clip: Annotated[
        float,
        training_option("--grad-clip", "-grad-clip", min=0.0, help="Limit of gradients."),
    ] = 100.0,
    workers: Annotated[
        int | None,
        training_option(
            "--workers",
            "-threads",
            min=1,
            help="Threads; all cores by default. The result does not depend on it.",
        ),
    ] = None,
    seed: Annotated[int, training_option("--seed", "-seed", help="Of all randomness.")] = 1,
    device: Annotated[str, training_option(help="auto, cpu or cuda.")] = "auto",
    save_file: Annotated[
        Path | None,
        tool_option("-save-file", help="Write the vectors to this name and .txt or .bin."),
    ] = None,
    binary: Annotated[
        int,
        tool_option("-binary", min=0, max=2, help="-save-file as 0 text, 1 binary, 2 both."),
    ] = 0,
    tool_model: Annotated[
        int,
        tool_option(
            "-model",
            min=0,
            max=2,
            help="Text of -save-file: 0 everything, 1 word vectors, 2 word + context.",
        ),
    ] = 2,
    write_header: Annotated[
        int,
        tool_option("-write-header", min=0, max=1, help="1: begin the text with its size."),
    ] = 0,
    save_gradsq: Annotated[
        int,
        tool_option("-save-gradsq", min=0, max=1, help="1: write gradient sums, with -binary."),
    ] = 0,
    gradsq_file: Annotated[
        Path | None,
        tool_option("-gradsq-file", help="Their name without .bin; gradsq beside -save-file."),
    ] = None,
    init_param_file: Annotated[
        Path | None,
        tool_option("-init-param-file", help="Start from this vectors.bin."),
    ] = None,
    init_gradsq_file: Annotated[
        Path | None,
        tool_option("-init-gradsq-file", help="And from these gradient sums, its gradsq.bin."),
    ] = None,
    checkpoint_passes: Annotated[
        int,
        tool_option(
            "-checkpoint-every",
            min=0,
            metavar="PASSES",
            help="Write -save-file that often, with the number of the pass in its name.",
        ),
    ] = 0,
    load_init_param: Annotated[int, typer.Option("-load-init-param", hidden=True)] = 0,
    load_init_gradsq: Annotated[int, typer.Option("-load-init-gradsq", hidden=True)] = 0,
    verbose: Annotated[int, typer.Option("-verbose", hidden=True)] = 2,
) -> None:
    """Train word vectors (GloVe) on the co-occurrence counts of a text corpus.

    CORPUS is plain text with words between spaces; prepare it as you like it (lower case, without
    punctuation), the words are taken as they stand. It is read twice: for the words, and for how
    often two of them stand near each other. The counts are kept in --out and used again when files
    and settings are the same, so that another vector size or seed begins to train at once.

    Speed is shown in entries of the counts (nnz: pairs of words that meet) per second, loss as the
    mean of weighted squared errors, h(x) e^2 / 2: about 0.02 in the first pass (0.08 with --x-max
    10), it falls fast at first and slowly then, to a third or a quarter of that. A small corpus
    wants --x-max 10, and more passes (50).

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
    from lexforge.training.progress import Progress

    if corpus is not None and cooccurrence is not None:
        raise typer.BadParameter("give either a CORPUS to count or --cooccurrence")
    if out is None and save_file is None:
        raise typer.BadParameter("say where the result goes: --out FOLDER (or -save-file NAME)")
    if resume and (out is None or overwrite):
        raise typer.BadParameter("--resume needs --out, and excludes --overwrite")
    kept_counts = None if out is None else out / COUNTS
    # Before its first checkpoint a run is resumed by going on with the counts.
    resume = resume and (is_checkpoint(out) or not kept_counts.is_dir())
    if corpus is None and cooccurrence is None:
        if not (resume and kept_counts.is_dir()):
            raise typer.BadParameter("give a CORPUS: a text file, a folder, or a data set name")
        cooccurrence = kept_counts
    if out is not None and is_checkpoint(out) and not (resume or overwrite):
        raise typer.BadParameter(f"{out} holds a run: continue it with --resume, or --overwrite it")
    if cooccurrence is not None:
        _check_counts(ctx, cooccurrence, vocab_file, init_param_file, resume)
    if init_param_file is not None and (resume or vocab_file is None):
        raise typer.BadParameter("-init-param-file needs its words, --vocab-file, and no --resume")
    if init_gradsq_file is not None and init_param_file is None:
        raise typer.BadParameter("-init-gradsq-file goes with -init-param-file")
    if (save_gradsq or gradsq_file) and not (save_file and binary):
        raise typer.BadParameter("gradient sums go with -save-file and -binary 1 or 2")
    if format is not None and out is None:
        raise typer.BadParameter("--format goes with --out")
    if checkpoint_passes and save_file is None:
        raise typer.BadParameter("-checkpoint-every PASSES goes with -save-file")
    check_files(log_json)
    for stem in filter(None, (save_file, gradsq_file)):
        check_files(*(stem.with_name(f"{stem.name}.{ending}") for ending in ("txt", "bin")))
    if out is not None:
        check_folder("--out", out)

    parameters = {
        "vector_size": vector_size,
        "window": window,
        "x_max": x_max,
        "alpha": alpha,
        "learning_rate": eta,
        "bias_rate": bias_rate,
        "epochs": epochs,
        "min_count": min_count,
        "max_vocab_size": max_vocab_size,
        "symmetric": bool(symmetric),
        "distance_weighting": bool(distance_weighting),
        "optimizer": optimizer.value,
        "grad_clip": grad_clip,
        "vectors": vectors.value,
        "seed": seed,
        "lowercase": lowercase,
    }
    machine = {
        "memory": f"{memory}GB" if memory[-1:].isdigit() else memory,
        "workers": workers,
        "device": device,
        "counts_folder": None if cooccurrence is not None else kept_counts,
    }
    with Progress(not quiet, log_json=log_json, append=resume) as progress:
        from lexforge.models.glove import GloVe
        from lexforge.training.signals import StopRequest

        if resume:
            model = GloVe.load(out, **machine)
            refuse_changes(
                model,
                {
                    name: value
                    for name, value in parameters.items()
                    if given(ctx, "eta" if name == "learning_rate" else name)
                },
            )
            if model.state is None:
                raise ValueError(f"{out} holds a model that was never trained: no run to resume")
        elif init_param_file is not None:
            if not given(ctx, "vector_size"):
                del parameters["vector_size"]
            if init_gradsq_file is None:
                warn(
                    "without -init-gradsq-file gradient sums start afresh: the first steps are as "
                    "large as at the very beginning"
                )
            model = GloVe.load_stanford(
                init_param_file, vocab_file, init_gradsq_file, **parameters, **machine
            )
        else:
            model = GloVe(**parameters, **machine)
        if (save_gradsq or gradsq_file) and model.optimizer != "adagrad":
            raise ValueError("gradient sums are those of --optimizer adagrad")
        if resume and model.state.finished:
            progress.say(f"the run in {out} is complete; there is nothing to resume")
        else:
            passes = _PassFiles(save_file, binary, tool_model, write_header, checkpoint_passes)
            with folder_of_run(out):
                counts = _counts(model, corpus, cooccurrence, vocab_file, kept_counts, progress)
                with StopRequest() as stop:
                    model.train(
                        counts,
                        progress=progress,
                        checkpoint_folder=out,
                        checkpoint_every=checkpoint_every or None,
                        stop=stop,
                        resume=resume,
                        callbacks=[passes] if checkpoint_passes else [],
                    )
            if not model.state.finished:
                tell_of_stop(_resume_command(corpus, cooccurrence, out) if out else None)
                raise typer.Exit(stop.exit_code)
        files = []
        if save_file is not None:
            gradsq = save_file.with_name("gradsq") if save_gradsq else None
            files += _write_stanford(
                model, save_file, binary, tool_model, write_header, gradsq_file or gradsq
            )
        if out is not None and format is not None:
            files.append(out / FILE_NAMES[format])
            write_vectors(model.wv, files[-1], format)
        tell_results(model, out, files, progress)
        if kept_counts is not None and kept_counts.is_dir():
            progress.say(f"counts, for other runs: --cooccurrence {kept_counts}")
            progress.say(_ratios_hint(model, kept_counts))


def _check_counts(
    ctx: typer.Context,
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
        if given(ctx, name) and not resume:
            option = name.replace("_", "-")
            raise typer.BadParameter(f"--{option} is for counting, and --cooccurrence is counted")


def _counts(
    model: GloVe,
    corpus: str | None,
    cooccurrence: Path | None,
    vocab_file: Path | None,
    kept_counts: Path | None,
    progress: Progress,
) -> Cooccurrence:
    """What there is to train on, made or found."""
    from lexforge.models.cooccurrence import Cooccurrence
    from lexforge.models.glove import COUNTS_REQUEST
    from lexforge.text import Vocabulary
    from lexforge.training.progress import count

    if cooccurrence is not None and cooccurrence.is_dir():
        counts = Cooccurrence.load(cooccurrence)
    elif cooccurrence is not None:
        # In the run's folder, so that a resume finds them; no longer those of a corpus.
        if kept_counts is not None:
            (kept_counts / COUNTS_REQUEST).unlink(missing_ok=True)
        counts = Cooccurrence.load_stanford(
            cooccurrence, model.vocabulary or vocab_file, folder=kept_counts
        )
    else:
        words = None if vocab_file is None else Vocabulary.load(vocab_file)
        with _telling_to_repeat(model.counts_folder is not None):
            counts = model.count(corpus, vocabulary=words, progress=progress)
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
            typer.echo("stopped while counting; the same command goes on from here", err=True)
        raise


def _ratios_hint(model: GloVe, counts: Path) -> str:
    """Four words that are neither the first ones (the, of, is) nor rare."""
    words = [word for word in model.vocabulary.words if word.isalpha()] or model.vocabulary.words
    return f"try: lexforge ratios {counts} {' '.join(words[len(words) // 50 :][:4])}"


def _resume_command(corpus: str | None, cooccurrence: Path | None, out: Path) -> str:
    import shlex

    source = [corpus] if corpus else []
    if cooccurrence is not None and cooccurrence.is_dir() and cooccurrence != out / COUNTS:
        source = ["--cooccurrence", cooccurrence]
    return shlex.join(map(str, ["lexforge", "glove", *source, "--out", out, "--resume"]))


class _PassFiles:
    """Writes the original tool's files after every so many passes, numbered by the pass."""

    def __init__(
        self, save_file: Path | None, binary: int, tool_model: int, header: int, every: int
    ) -> None:
        self._stem, self._every = save_file, every
        self._options = (binary, tool_model, header, None)

    def on_epoch_end(self, model: GloVe) -> None:
        done = model.state.epoch
        if done % self._every == 0:
            _write_stanford(
                model, self._stem.with_name(f"{self._stem.name}.{done:03}"), *self._options
            )


def _write_stanford(
    model: GloVe, stem: Path, binary: int, tool_model: int, header: int, gradsq: Path | None
) -> list[Path]:
    """STEM.txt and STEM.bin, as -binary says, and the gradient sums beside the latter."""
    files = []
    if binary != 1:
        files.append(stem.with_name(f"{stem.name}.txt"))
        model.save_stanford(files[-1], model=tool_model, header=bool(header))
    if binary != 0:
        files.append(stem.with_name(f"{stem.name}.bin"))
        sums = None if gradsq is None else gradsq.with_name(f"{gradsq.name}.bin")
        model.save_stanford_binary(files[-1], sums)
        files += [] if sums is None else [sums]
    return files
