"""lexforge analogy: A is to B as C is to what?"""

from __future__ import annotations

from typing import Annotated

import typer

from lexforge.cli import _vectors


def analogy(
    vectors: _vectors.Source,
    a: Annotated[str, typer.Argument(help="A is to ...")],
    b: Annotated[str, typer.Argument(help="... B as ...")],
    c: Annotated[str, typer.Argument(help="... C is to the answer.")],
    topn: Annotated[int, typer.Option(min=1, help="How many answers.")] = 5,
    restrict_vocab: _vectors.RestrictVocab = None,
    multiply: Annotated[
        bool, typer.Option("--multiply", help="Multiply similarities (3CosMul) instead of adding.")
    ] = False,
    encoding: _vectors.Encoding = "utf-8",
    as_json: _vectors.AsJson = False,
) -> None:
    """Answer "A is to B as C is to ...": the words nearest to B - A + C.

    The three words themselves are never answers.

    Examples:

    - `lexforge analogy vectors.bin man woman king`
    - `lexforge analogy vectors.bin france paris japan --topn 3`
    - `lexforge analogy vectors.bin bad worst big --multiply`

    In a pipe the output is WORD, SCORE, separated by a tab.
    """
    kv = _vectors.load(vectors, encoding=encoding)
    _vectors.check_known(kv, [a, b, c])
    solve = kv.most_similar_cosmul if multiply else kv.most_similar
    answer = solve([b, c], [a], topn=topn, restrict_vocab=restrict_vocab)
    if as_json:
        _vectors.print_json([{"word": word, "score": score} for word, score in answer])
    else:
        _vectors.print_table(f"{a} is to {b} as {c} is to", ["word", "score"], answer)
