"""lexforge similar: the nearest neighbours of words."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from lexforge._display import is_terminal
from lexforge.cli import _vectors
from lexforge.cli._messages import tell


def similar(
    vectors: _vectors.Source,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORD...", help="Words to look up; without any, a prompt opens."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", help="Subtract this word from the query (implies --together)."),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="One query from the mean of all words.")
    ] = False,
    topn: Annotated[int, typer.Option(min=1, help="Neighbours per query.")] = 10,
    restrict_vocab: _vectors.RestrictVocab = None,
    encoding: _vectors.Encoding = "utf-8",
    as_json: _vectors.AsJson = False,
) -> None:
    """List the words whose vectors point in the most similar direction.

    Similarity is the cosine: 1 is the same direction, 0 unrelated. Rare words often have noisy
    vectors; --restrict-vocab 30000 keeps them out of the answers.

    Examples:

    - `lexforge similar vectors.bin cat`
    - `lexforge similar vectors.bin cat dog --topn 5`
    - `lexforge similar vectors.bin king woman --without man`
    - `lexforge similar vectors.bin`

    The last one asks for words; several on a line are combined, as by --together.
    In a pipe the output is WORD, NEIGHBOUR, COSINE, separated by tabs.
    """
    kv = _vectors.load(vectors, encoding=encoding)
    options: dict[str, Any] = {"topn": topn, "restrict_vocab": restrict_vocab}
    if not words:
        if as_json or without:
            raise ValueError("--json and --without need at least one WORD")
        _prompt(kv, options)
        return
    _vectors.check_known(kv, [*words, *(without or [])])
    if together or without:
        answers = {_name(words, without): kv.most_similar(words, without, **options)}
    else:
        answers = dict(zip(words, kv.most_similar_batch(words, **options), strict=True))
    if as_json:
        _vectors.print_json(
            {
                query: [{"word": word, "similarity": score} for word, score in answer]
                for query, answer in answers.items()
            }
        )
        return
    for query, answer in answers.items():
        _print(query, answer)


def _prompt(kv, options) -> None:
    terminal = sys.stdin.isatty()
    if terminal:
        tell(f"{len(kv):,} words, {kv.vector_size} dimensions. An empty line ends.")
    while True:
        if terminal:
            typer.echo("words> ", nl=False, err=True)
        words = sys.stdin.readline().split()
        if not words or words == ["EXIT"]:  # EXIT ends the original distance tool
            return
        if problem := _vectors.unknown_words(kv, words):
            tell(problem, "red")
        else:
            _print(_name(words, None), kv.most_similar(words, **options))


def _name(words, without) -> str:
    return " + ".join(words) + "".join(f" - {word}" for word in without or [])


def _print(query, answer) -> None:
    if is_terminal(sys.stdout):
        _vectors.print_table(f"Nearest to {query}", ["word", "cosine"], answer)
    else:
        _vectors.print_table(query, [], [(query, word, score) for word, score in answer])
