"""``lexforge word2vec``: word vectors from a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lexforge._display import shell_command
from lexforge.cli._corpus import reading, refuse_overwriting
from lexforge.cli._options import (
    Corpus,
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
    run_of,
    tell_of_stop,
    tell_results,
    trained,
    warn_of_bytes,
    write_vectors,
)
from lexforge.models.word2vec.settings import Word2VecSettings
from lexforge.training.settings import setting

if TYPE_CHECKING:
    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.training.progress import Progress
    from lexforge.vectors import KeyedVectors


@dataclass(frozen=True)
class FileOptions:
    """What is read and written beside the run's own folder."""

    format: Format | None = output(None, "Also write the vectors as a file for other programs.")
    cache: Path | None = counting(None, "Keep the encoded corpus in this folder, for further runs.")
    train: str | None = tool(None, "Same as CORPUS.")
    output: Path | None = tool(None, "Write the vectors to this file.")
    binary: int = tool(0, "1: -output is a binary file.", low=0, high=1)
    save_vocab: Path | None = tool(None, "Write words and counts here.")
    read_vocab: Path | None = tool(None, "Take words and counts from here.")
    cbow: int | None = tool(None, "1: CBOW; 0: skip-gram, as --sg 1.", low=0, high=1)
    classes: int = tool(0, "0; see scikit-learn's KMeans.", low=0, hidden=True)


@dataclass(frozen=True)
class StartFromOptions(StartOptions):
    """As others have, and how far to go from there."""

    init_lockf: float = setting(
        1.0,
        "How much of training the words of --init take part in; 0: none.",
        low=0,
        panel="Training",
    )

    def check(self, resume: bool) -> None:
        """BadParameter too for a part in training of vectors that are not given."""
        super().check(resume)
        if self.init is None and self.init_lockf != 1:
            raise typer.BadParameter("--init-lockf is of the vectors of --init: give them")


@options
def word2vec(
    given: Annotated[Given, Word2VecSettings],
    run: RunOptions,
    start: StartFromOptions,
    files: FileOptions,
    corpus: Corpus = None,
) -> None:
    """Train word vectors (CBOW or skip-gram) on a text corpus.

    CORPUS is plain text with words between spaces; prepare it as you like it (lower case, without
    punctuation), the words are taken as they stand. CBOW, the default, predicts a word from the
    words around it together; skip-gram (--sg 1) from each by itself, which is slower, and often
    better for rare words and small corpora. The prediction is tested against noise words
    (--negative) or goes through a tree of the vocabulary (--hs 1 --negative 0), or both.

    Speed is shown in corpus words per second, loss per word (of skip-gram per pair of word and
    context), noise included: it starts near 4.2 with 5 noise words and falls. With --workers 1 or
    --deterministic a run is the same to the last bit every time.

    A small corpus wants more epochs (10 to 30), a large one can do with 3; for large ones 300 is a
    common vector size.

    Examples:

    - `lexforge word2vec corpus.txt --out vectors/`
    - `lexforge word2vec wiki/ --out wiki-300/ --sg 1 --vector-size 300 --window 8 --epochs 3`
    - `lexforge word2vec wiki/ --out wiki-300/ --resume`
    - `lexforge word2vec -train text8 -output vec.txt -size 200 -threads 2 -cbow 0`
    """
    from lexforge.training.lock import folder_of_run
    from lexforge.training.progress import Progress

    if corpus is not None and files.train is not None:
        raise typer.BadParameter("give the corpus once: as CORPUS or with -train")
    corpus = corpus or files.train
    if files.cbow is not None and given.setdefault("sg", 1 - files.cbow) == files.cbow:
        raise typer.BadParameter(
            f"-cbow {files.cbow} and --sg {files.cbow} are two models: give one of them"
        )
    if files.classes:
        raise typer.BadParameter(
            "-classes: words are not put into classes here; cluster the vectors, with "
            "scikit-learn's KMeans for one"
        )
    if run.out is None and files.output is None:
        raise typer.BadParameter("say where the result goes: --out FOLDER (or -output FILE)")
    if corpus is None:
        raise typer.BadParameter("give a CORPUS: a text file, a folder, or a data set name")
    if files.read_vocab is not None and not files.read_vocab.is_file():
        raise typer.BadParameter(f"-read-vocab: there is no file {files.read_vocab}")
    run.check(files.output, files.save_vocab, folders={"--cache": files.cache})
    start.check(run.resume)
    machine: dict[str, Any] = {"workers": run.workers, "device": run.device}
    outputs = (*run.outputs, files.output, files.save_vocab, files.cache)
    refuse_overwriting(corpus, outputs)
    with (
        folder_of_run(run.out),
        Progress(not run.quiet, log_json=run.log_json, append=run.resume) as progress,
        reading(corpus, outputs, progress.say) as source,
    ):
        from lexforge.models.word2vec.model import Word2Vec

        finished = False
        if run.resume and run.out is not None:
            model = Word2Vec.load(run.out, **machine)
            finished = run_of(model, run.out, given).finished
        else:
            model = Word2Vec(**given, **machine, init=start.init, init_lockf=start.init_lockf)
            _make_vocabulary(model, source, files.read_vocab, progress)
            if start.init is not None:
                progress.say(f"{model.initialised:,} words start from {start.init}")
            if (words := model.vocabulary) is not None:
                progress.say(
                    f"{len(words):,} words seen {model.min_count} times or more make up "
                    f"{words.total:,} of {model.corpus_total_words:,} words of the corpus"
                )
                warn_of_bytes(words, corpus)
        if files.save_vocab is not None and model.vocabulary is not None:
            model.vocabulary.save(files.save_vocab)
        if finished:
            progress.say(f"the run in {run.out} is complete; there is nothing to resume")
        else:
            _train(model, corpus, source, files.cache, run, progress)
        written = _write_files(trained(model).wv, run.out, files)
        tell_results(model, run.out, written, progress)


def _make_vocabulary(
    model: Word2Vec, source: Any, read_vocab: Path | None, progress: Progress
) -> None:
    """The words of the corpus, or those of a file."""
    if read_vocab is None:
        model.build_vocab(corpus_file=source, progress=progress)
        return
    from lexforge.text import Vocabulary

    found = Vocabulary.load(read_vocab)
    found = found.trim(min_count=model.min_count, max_size=model.max_vocab_size)
    model.build_vocab_from_freq(dict(zip(found.words, found.counts.tolist(), strict=True)))


def _train(
    model: Word2Vec,
    corpus: str,
    source: Any,
    cache: Path | None,
    run: RunOptions,
    progress: Progress,
) -> None:
    """Train to the end; a signal saves what there is and leaves by its exit code."""
    import shutil

    from lexforge.training.signals import StopRequest

    # Beside the model rather than in the system's temporary folder, which may be small.
    own_folder = run.out / ".encoded" if cache is None and run.out is not None else None
    model.encoded_folder = cache or own_folder
    with StopRequest() as stop:
        try:
            model.train(
                corpus_file=source,
                progress=progress,
                checkpoint_folder=run.out,
                checkpoint_every=run.checkpoint_every or None,
                stop=stop,
                resume=run.resume,
            )
        finally:
            if own_folder is not None:
                shutil.rmtree(own_folder, ignore_errors=True)
    if not trained(model).state.finished:
        again = shell_command("lexforge", "word2vec", corpus, "--out", run.out, "--resume")
        tell_of_stop(again if run.out else None)
        raise typer.Exit(stop.exit_code)


def _write_files(vectors: KeyedVectors, out: Path | None, files: FileOptions) -> list[Path]:
    """The vector files that were asked for."""
    written = []
    if files.output is not None:
        format = Format.BINARY if files.binary else files.format or Format.TEXT
        write_vectors(vectors, files.output, format)
        written.append(files.output)
    if out is not None and files.format is not None:
        written.append(out / FILE_NAMES[files.format])
        write_vectors(vectors, written[-1], files.format)
    return written
