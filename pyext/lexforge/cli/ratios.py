"""``lexforge ratios``: which words tell two words apart."""

from __future__ import annotations

from typing import Annotated

import typer

from lexforge.cli import _vectors


def ratios(
    counts: Annotated[
        str, typer.Argument(metavar="DIR", help="Folder of `lexforge cooccurrence`.")
    ],
    a: Annotated[str, typer.Argument(metavar="A", help="Word.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Word to compare it with.")],
    probes: Annotated[list[str], typer.Argument(metavar="PROBE...", help="Words to look for.")],
    as_json: _vectors.AsJson = False,
) -> None:
    """Compare how probable words are near A and near B.

    P(k | A) is the share of A's co-occurrence counts that fall to k. A large ratio marks a word
    that goes with A, a small one a word that goes with B; near 1 it goes with both or neither.
    GloVe vectors are trained on this (Pennington et al. 2014, table 1).

    Examples:

    - `lexforge ratios counts/ ice steam solid gas water fashion`
    """
    from lexforge.models.cooccurrence.counts import Cooccurrence

    table = Cooccurrence.load(counts).ratio_table((a, b), probes)
    if as_json:
        _vectors.print_json(table.to_dict())
    else:
        typer.echo(table)
