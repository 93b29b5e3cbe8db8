"""``lexforge word2vec``: word vectors from a corpus."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from lexforge.models.word2vec import Word2Vec
    from lexforge.training.progress import Progress
    from lexforge.vectors import KeyedVectors

# Options by the panel of the help text that they stand in.
corpus_option, model_option, training_option, output_option, tool_option = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in (
        "Corpus and vocabulary",
        "Model",
        "Training",
        "Output",
        "As in the original tool",
    )
)


class Sharing(str, Enum):
    """How noise words are drawn."""

    PAIR = "pair"
    WINDOW = "window"


def word2vec(
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
        output_option("--out", help="Folder for the model: vectors, vocabulary, checkpoint."),
    ] = None,
    format: Annotated[
        Format | None,
        output_option(help="Also write the vectors as a file for other programs."),
    ] = None,
    overwrite: Annotated[
        bool,
        output_option("--overwrite", help="Replace the run in --out."),
    ] = False,
    resume: Annotated[
        bool,
        output_option("--resume", help="Continue the interrupted run in --out."),
    ] = False,
    checkpoint_every: Annotated[
        float,
        output_option(min=0.0, metavar="MINUTES", help="Save that often; 0 only at the end."),
    ] = 10.0,
    log_json: Annotated[
        Path | None,
        output_option(
            help="Write speed, loss and learning rate to this file, one JSON object per second."
        ),
    ] = None,
    quiet: Annotated[bool, output_option("--quiet", "-q", help="Print nothing.")] = False,
    vector_size: Annotated[
        int,
        model_option("--vector-size", "-size", min=1, help="Numbers per word."),
    ] = 100,
    window: Annotated[
        int,
        model_option("--window", "-window", min=1, help="Largest distance of context."),
    ] = 5,
    negative: Annotated[
        int,
        model_option("--negative", "-negative", min=1, help="Noise words per pair."),
    ] = 5,
    negative_sharing: Annotated[
        Sharing,
        model_option(help="Draw noise words per pair, or once per window (faster)."),
    ] = Sharing.PAIR,
    ns_exponent: Annotated[
        float,
        model_option(help="Noise words are drawn by count to this power."),
    ] = 0.75,
    min_count: Annotated[
        int,
        corpus_option("--min-count", "-min-count", min=0, help="Leave out rarer words."),
    ] = 5,
    max_final_vocab: Annotated[
        int | None,
        corpus_option(min=1, help="Raise the minimum count until at most so many are left."),
    ] = None,
    max_vocab_size: Annotated[
        int | None,
        corpus_option(min=1, help="Keep the most frequent so many words."),
    ] = None,
    max_sentence_length: Annotated[
        int, corpus_option(min=1, help="Split longer sentences.")
    ] = 10_000,
    lowercase: Annotated[
        bool,
        corpus_option("--lowercase", help="Turn words to lower case."),
    ] = False,
    cache: Annotated[
        Path | None,
        corpus_option(help="Keep the encoded corpus in this folder, for further runs."),
    ] = None,
    sample: Annotated[
        float,
        corpus_option(
            "--sample",
            "-sample",
            min=0.0,
            help="Thin out words above this share of the corpus; 0 for none.",
        ),
    ] = 1e-3,
    epochs: Annotated[
        int,
        training_option("--epochs", "-iter", min=1, help="Passes over the corpus."),
    ] = 5,
    alpha: Annotated[
        float,
        training_option("--alpha", "-alpha", min=0.0, help="First learning rate."),
    ] = 0.025,
    min_alpha: Annotated[float, training_option(min=0.0, help="Last learning rate.")] = 1e-4,
    workers: Annotated[
        int | None,
        training_option(
            "--workers",
            "-threads",
            min=1,
            help="Threads; all cores by default. One makes runs bit-identical.",
        ),
    ] = None,
    seed: Annotated[int, training_option(help="Of all randomness.")] = 1,
    device: Annotated[str, training_option(help="auto, cpu or cuda.")] = "auto",
    train: Annotated[str | None, tool_option("-train", help="Same as CORPUS.")] = None,
    output: Annotated[
        Path | None,
        tool_option("-output", help="Write the vectors to this file."),
    ] = None,
    binary: Annotated[int, tool_option("-binary", help="1: -output is a binary file.")] = 0,
    save_vocab: Annotated[
        Path | None,
        tool_option("-save-vocab", help="Write words and counts here."),
    ] = None,
    cbow: Annotated[int, tool_option("-cbow", help="0; CBOW does not exist yet.")] = 0,
    hs: Annotated[
        int,
        tool_option("-hs", help="0; hierarchical softmax does not exist yet."),
    ] = 0,
    debug: Annotated[int, typer.Option("-debug", hidden=True)] = 2,
) -> None:
    """Train word vectors (skip-gram with negative sampling) on a text corpus.

    CORPUS is plain text with words between spaces; prepare it as you like it (lower case, without
    punctuation), the words are taken as they stand. Speed is shown in corpus words per second, loss
    per pair of word and context, noise included: it starts near 4.2 with 5 noise words and falls.

    A small corpus wants more epochs (10 to 30), a large one can do with 3; for large ones 300 is a
    common vector size.

    Examples:

    - `lexforge word2vec corpus.txt --out vectors/`
    - `lexforge word2vec wiki/ --out wiki-300/ --vector-size 300 --window 8 --epochs 3`
    - `lexforge word2vec wiki/ --out wiki-300/ --resume`
    - `lexforge word2vec -train text8 -output vec.txt -size 200 -threads 2 -cbow 0`
    """
    from lexforge.training.checkpoint import is_checkpoint
    from lexforge.training.progress import Progress

    if corpus is not None and train is not None:
        raise typer.BadParameter("give the corpus once: as CORPUS or with -train")
    corpus = corpus or train
    if cbow or hs:
        wanted = "-cbow" if cbow else "-hs"
        raise typer.BadParameter(f"{wanted} 1: only skip-gram with negative sampling exists so far")
    if out is None and output is None:
        raise typer.BadParameter("say where the result goes: --out FOLDER (or -output FILE)")
    if corpus is None:
        raise typer.BadParameter("give a CORPUS: a text file, a folder, or a data set name")
    if resume and (out is None or overwrite):
        raise typer.BadParameter("--resume needs --out, and excludes --overwrite")
    if out is not None and is_checkpoint(out) and not (resume or overwrite):
        raise typer.BadParameter(f"{out} holds a run: continue it with --resume, or --overwrite it")
    check_files(output, save_vocab, log_json)
    for name, folder in (("--out", out), ("--cache", cache)):
        if folder is not None:
            check_folder(name, folder)

    parameters = {
        "vector_size": vector_size,
        "window": window,
        "negative": negative,
        "negative_sharing": negative_sharing.value,
        "ns_exponent": ns_exponent,
        "min_count": min_count,
        "max_final_vocab": max_final_vocab,
        "max_vocab_size": max_vocab_size,
        "max_sentence_length": max_sentence_length,
        "lowercase": lowercase,
        "sample": sample,
        "epochs": epochs,
        "alpha": alpha,
        "min_alpha": min_alpha,
        "seed": seed,
    }
    with Progress(not quiet, log_json=log_json, append=resume) as progress:
        from lexforge.models.word2vec import Word2Vec

        if resume:
            model = Word2Vec.load(out, workers=workers, device=device)
            refuse_changes(
                model, {name: parameters[name] for name in parameters if given(ctx, name)}
            )
            if model.state is None:
                raise ValueError(f"{out} holds a model that was never trained: no run to resume")
        else:
            model = Word2Vec(**parameters, workers=workers, device=device)
            model.build_vocab(corpus_file=corpus, progress=progress)
            progress.say(
                f"{len(model.vocabulary):,} words seen {min_count} times or more make up "
                f"{model.vocabulary.total:,} of {model.corpus_total_words:,} words of the corpus"
            )
            warn_of_bytes(model.vocabulary, corpus)
        if save_vocab is not None:
            model.vocabulary.save(save_vocab)
        if resume and model.state.finished:
            progress.say(f"the run in {out} is complete; there is nothing to resume")
        else:
            _train(model, corpus, out, cache, checkpoint_every, resume, progress)
        files = _write_files(model.wv, out, output, format, bool(binary))
        tell_results(model, out, files, progress)


def _train(
    model: Word2Vec,
    corpus: str,
    out: Path | None,
    cache: Path | None,
    checkpoint_every: float,
    resume: bool,
    progress: Progress,
) -> None:
    """Train to the end; a signal saves what there is and leaves by its exit code."""
    import shlex
    import shutil

    from lexforge.training.signals import StopRequest

    # Beside the model rather than in the system's temporary folder, which may be small.
    own_folder = out / ".encoded" if cache is None and out is not None else None
    model.encoded_folder = cache or own_folder
    with folder_of_run(out), StopRequest() as stop:
        try:
            model.train(
                corpus_file=corpus,
                progress=progress,
                checkpoint_folder=out,
                checkpoint_every=checkpoint_every or None,
                stop=stop,
                resume=resume,
            )
        finally:
            if own_folder is not None:
                shutil.rmtree(own_folder, ignore_errors=True)
    if not model.state.finished:
        again = f"lexforge word2vec {shlex.quote(corpus)} --out {shlex.quote(str(out))} --resume"
        tell_of_stop(again if out else None)
        raise typer.Exit(stop.exit_code)


def _write_files(
    vectors: KeyedVectors,
    out: Path | None,
    output: Path | None,
    format: Format | None,
    binary: bool,
) -> list[Path]:
    """The vector files that were asked for."""
    files = []
    if output is not None:
        write_vectors(vectors, output, Format.BINARY if binary else format or Format.TEXT)
        files.append(output)
    if out is not None and format is not None:
        files.append(out / FILE_NAMES[format])
        write_vectors(vectors, files[-1], format)
    return files
