"""``lexforge demo``: a first run, without downloads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexforge._arguments import MAX_THREADS
from lexforge._display import shell_command, shown
from lexforge.cli._options import check_folder
from lexforge.cli._training import trained

if TYPE_CHECKING:
    from lexforge.training.stream_job import StreamState
    from lexforge.vectors import KeyedVectors

SHOWN_WORDS = ("tensor", "string", "file", "array", "thread", "gradient", "integer", "socket")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the model, vectors and plot.")] = Path(
        "demo-out"
    ),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the corpus.")] = 30,
    workers: Annotated[
        int | None, typer.Option(min=1, max=MAX_THREADS, help="Threads; all cores.")
    ] = None,
) -> None:
    """Train word vectors on the documentation inside this Python, and look at them.

    The corpus is the docstrings of the standard library, numpy and torch; nothing is downloaded.
    It takes about a minute on two cores, and writes the model, a vector file that other programs
    read, and a plot (with matplotlib) into the folder given by --out.

    Examples:

    - `lexforge demo`
    - `lexforge demo --out first-run/ --epochs 5`
    """
    check_folder("--out", out)

    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.training.progress import Progress, clock, count

    with Progress(True) as progress:
        model = Word2Vec(
            sg=1,
            vector_size=100,
            window=5,
            sample=1e-4,
            min_count=5,
            epochs=epochs,
            workers=workers,
        )
        progress.say("corpus: docstrings of this Python, numpy and torch (data set 'pydocs')")
        progress.say("the first time they are collected, which takes half a minute")
        model.build_vocab(corpus_file="pydocs", progress=progress)
        if (words := model.vocabulary) is not None:
            progress.say(
                f"{len(words):,} words seen {model.min_count} times or more, "
                f"{words.total:,} words of text"
            )
        model.train(corpus_file="pydocs", progress=progress, checkpoint_folder=out)

    # First the files, then the words about them: whoever reads those may go at any time.
    vectors = out / "vectors.txt"
    state, _, wv = trained(model)
    wv.save_word2vec_format(vectors)
    try:
        picture = str(_plot(state, wv, out / "vectors.png"))
    except ImportError as error:
        picture = f"skipped: {error}"

    typer.echo(
        f"trained {count(state.done)} words in {clock(state.seconds)}: "
        f"{count(state.per_second)} words/s, {count(state.pairs / state.seconds)} pairs/s, "
        f"final loss {state.recent_loss:.3f}"
    )
    typer.echo("\nnearest neighbours")
    for word in SHOWN_WORDS:
        if word in wv:
            near = "  ".join(f"{w} {s:.2f}" for w, s in wv.most_similar(word, topn=5))
            typer.echo(f"  {word:<9} {shown(near)}")

    typer.echo(f"\nmodel    {shown(out)}\nvectors  {shown(vectors)}\nplot     {shown(picture)}")
    typer.echo(f"\ntry      {shell_command('lexforge', 'similar', out, 'exception')}")


def _plot(state: StreamState, wv: KeyedVectors, path: Path) -> Path:
    """Frequent words in the plane, and the loss curve."""
    from lexforge import _plot

    figure, (words, loss) = _plot.new_figure(18, 9, columns=(2, 1))
    _plot.draw_loss(loss, state.loss_history)
    _plot.draw_vectors(words, wv)
    _plot.save_figure(figure, path)
    return path
