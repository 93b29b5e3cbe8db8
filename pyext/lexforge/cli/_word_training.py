"""What the commands share that train word vectors on a text: word2vec and fasttext."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lexforge.cli._corpus import reading, refuse_overwriting
from lexforge.cli._options import Given, RunOptions, StartOptions
from lexforge.cli._training import leave_stopped, run_of, tell_results, trained, warn_of_bytes
from lexforge.training.settings import setting

if TYPE_CHECKING:
    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.training.progress import Progress


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


def train_words(
    kind: Callable[[], type[Word2Vec]],
    given: Given,
    run: RunOptions,
    start: StartFromOptions,
    *,
    corpus: str | None,
    cache: Path | None,
    save_vocab: Path | None,
    read_vocab: Path | None,
    files: tuple[Path | None, ...],
    write: Callable[[Any], list[Path]],
) -> None:
    """Train a model from the beginning or to the end, save it, and tell how it went.

    Args:
        kind: Imports the class of the model.
        given: Its settings, as far as they are given.
        cache: Where the encoded corpus is kept.
        save_vocab, read_vocab: Files of words and counts.
        files: What `write` writes outside of the run's folder.
        write: Writes the files that were asked for; tells which.
    """
    from lexforge.training.lock import folder_of_run
    from lexforge.training.progress import Progress

    if corpus is None:
        raise typer.BadParameter("give a CORPUS: a text file, a folder, or a data set name")
    if read_vocab is not None and not read_vocab.is_file():
        raise typer.BadParameter(f"-read-vocab: there is no file {read_vocab}")
    run.check(*files, save_vocab, folders={"--cache": cache})
    start.check(run.resume)
    machine: dict[str, Any] = {"workers": run.workers, "device": run.device}
    outputs = (*run.outputs, *files, save_vocab, cache)
    refuse_overwriting(corpus, outputs)
    with (
        folder_of_run(run.out),
        Progress(not run.quiet, log_json=run.log_json, append=run.resume) as progress,
        reading(corpus, outputs, progress.say) as source,
    ):
        finished = False
        if run.resume and run.out is not None:
            model = kind().load(run.out, **machine)
            finished = run_of(model, run.out, given).finished
        else:
            model = kind()(**given, **machine, init=start.init, init_lockf=start.init_lockf)
            _make_vocabulary(model, source, read_vocab, progress)
            if start.init is not None:
                progress.say(f"{model.initialised:,} words start from {start.init}")
            if (words := model.vocabulary) is not None:
                progress.say(
                    f"{len(words):,} words seen {model.min_count} times or more make up "
                    f"{words.total:,} of {model.corpus_total_words:,} words of the corpus"
                )
                warn_of_bytes(words, corpus)
        if save_vocab is not None and model.vocabulary is not None:
            model.vocabulary.save(save_vocab)
        if finished:
            progress.say(f"the run in {run.out} is complete; there is nothing to resume")
        else:
            _train(model, corpus, source, cache, run, progress)
        trained(model)
        tell_results(model, run.out, write(model), progress)


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
        leave_stopped(stop, run.out, model.KIND, corpus, "--out", run.out, "--resume")
