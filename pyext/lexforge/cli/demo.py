"""``lexforge demo``: a first run, without downloads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexforge.cli._options import check_folder

if TYPE_CHECKING:
    from lexforge.models.word2vec import Word2Vec

SHOWN_WORDS = ("tensor", "string", "file", "array", "thread", "gradient", "integer", "socket")
PLOTTED_WORDS = 300
PLOT_SKIPS = 100  # the most frequent words (the, of, is) have no neighbourhood worth a look


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the model, vectors and plot.")] = Path(
        "demo-out"
    ),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the corpus.")] = 30,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; all cores.")] = None,
) -> None:
    """Train word vectors on the documentation inside this Python, and look at them.

    The corpus is the docstrings of the standard library, numpy and torch; nothing is downloaded.
    It takes about a minute on two cores, and writes the model, a vector file that other programs
    read, and a plot (with matplotlib) into the folder given by --out.
    """
    check_folder("--out", out)

    from lexforge.models.word2vec import Word2Vec
    from lexforge.training.progress import Progress, clock, count

    with Progress(True) as progress:
        model = Word2Vec(
            vector_size=100, window=5, sample=1e-4, min_count=5, epochs=epochs, workers=workers
        )
        progress.say("corpus: docstrings of this Python, numpy and torch (data set 'pydocs')")
        progress.say("the first time they are collected, which takes half a minute")
        model.build_vocab(corpus_file="pydocs", progress=progress)
        progress.say(
            f"{len(model.vocabulary):,} words seen {model.min_count} times or more, "
            f"{model.vocabulary.total:,} words of text"
        )
        model.train(corpus_file="pydocs", progress=progress, checkpoint_folder=out)

    state = model.state
    typer.echo(
        f"trained {count(state.done)} words in {clock(state.seconds)}: "
        f"{count(state.per_second)} words/s, {count(state.pairs / state.seconds)} pairs/s, "
        f"final loss {state.recent_loss:.3f}"
    )
    typer.echo("\nnearest neighbours")
    for word in SHOWN_WORDS:
        if word in model.wv:
            near = "  ".join(f"{w} {s:.2f}" for w, s in model.wv.most_similar(word, topn=5))
            typer.echo(f"  {word:<9} {near}")

    vectors = out / "vectors.txt"
    model.wv.save_word2vec_format(vectors)
    typer.echo(f"\nmodel    {out}\nvectors  {vectors}")
    try:
        picture = _plot(model, out / "vectors.png")
    except ImportError:
        typer.echo("plot     skipped: matplotlib is not installed (pip install matplotlib)")
    else:
        typer.echo(f"plot     {picture}")
    typer.echo(f"\ntry      lexforge similar {out} exception")


def _plot(model: Word2Vec, path: Path) -> Path:
    """Frequent words in the plane of their two main directions, and the loss curve."""
    import matplotlib

    matplotlib.use("agg")
    import numpy as np
    from matplotlib import pyplot

    last = min(PLOT_SKIPS + PLOTTED_WORDS, len(model.wv))
    first = min(PLOT_SKIPS, last // 4)
    rows = model.wv.vectors[first:last].astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    rows -= rows.mean(axis=0)
    _, _, directions = np.linalg.svd(rows, full_matrices=False)
    x, y = directions[:2] @ rows.T

    figure, (words, loss) = pyplot.subplots(1, 2, figsize=(18, 9), width_ratios=(2, 1))
    words.scatter(x, y, s=4, color="0.8")
    for word, left, up in zip(model.wv.index_to_key[first:last], x, y, strict=True):
        words.text(left, up, word, fontsize=7, ha="center", va="center")
    words.set(title="frequent words, first two principal components", xticks=[], yticks=[])
    history = model.state.loss_history
    loss.plot([point["words"] / 1e6 for point in history], [point["loss"] for point in history])
    loss.set(title="training", xlabel="million words", ylabel="loss per pair")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path
