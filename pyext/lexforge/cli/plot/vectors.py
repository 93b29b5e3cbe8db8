"""``lexforge plot vectors``: a map of words."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from lexforge._display import shown
from lexforge.cli import _vectors
from lexforge.cli.plot._picture import Picture, check_picture


class Method(str, Enum):
    """From many dimensions to two."""

    PCA = "pca"
    TSNE = "tsne"
    UMAP = "umap"


def vectors(
    source: Annotated[
        str,
        typer.Argument(metavar="VECTORS", help="Vector file of any known format, or checkpoint."),
    ],
    out: Picture,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="Draw these; else frequent ones."),
    ] = None,
    topn: Annotated[int, typer.Option(min=3, help="How many words.")] = 300,
    skip: Annotated[
        int | None,
        typer.Option(
            min=0, help="Leave out the most frequent words (the, of, is): 100, or a quarter."
        ),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="tsne needs scikit-learn, umap needs umap-learn.")
    ] = Method.PCA,
    clusters: Annotated[int, typer.Option(min=1, help="Colours; 1 for none.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of clusters, t-SNE and UMAP.")] = 1,
) -> None:
    """Draw words as dots, similar ones near each other, and name them where there is room.

    Colours are clusters of the vectors' directions, large dots are frequent words.

    Examples:

    - `lexforge plot vectors vectors.bin --out words.png`
    - `lexforge plot vectors vectors/ --out words.svg --topn 1000 --method tsne`
    - `lexforge plot vectors vectors.bin king queen man woman boy girl --out people.svg`
    """
    check_picture(out)

    from lexforge._plot import plot_vectors

    kv = _vectors.load(source)
    if words:
        _vectors.check_known(kv, words)
        if any(word not in kv.key_to_index for word in words):  # of their n-grams
            kv = kv.vectors_for_all(words)
    plot_vectors(
        kv,
        words or None,
        path=out,
        topn=topn,
        skip=skip,
        method=method.value,
        clusters=clusters,
        seed=seed,
    )
    typer.echo(shown(out))
