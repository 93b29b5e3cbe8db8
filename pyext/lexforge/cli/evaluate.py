"""lexforge evaluate: agreement with human judgements, and analogy questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lexforge.cli import _vectors
from lexforge.cli._messages import tell, warn
from lexforge.cli._options import check_files


def evaluate(
    vectors: _vectors.Source,
    similarity: Annotated[
        list[str] | None,
        typer.Option(help="File of WORD WORD SCORE lines, a set name, or all. Repeatable."),
    ] = None,
    analogy: Annotated[
        list[str] | None,
        typer.Option(help="File of A B C D lines below ': section' lines, a set name, or all."),
    ] = None,
    restrict_vocab: Annotated[
        int, typer.Option(min=1, help="Use the first (most frequent) words only.")
    ] = 300_000,
    match_case: Annotated[
        bool, typer.Option("--match-case", help="Tell Paris from paris; default does not.")
    ] = False,
    unknown_as_zero: Annotated[
        bool,
        typer.Option("--unknown-as-zero", help="Count unknown words as failures, not skip them."),
    ] = False,
    encoding: _vectors.Encoding = "utf-8",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this JSON file.")
    ] = None,
) -> None:
    """Score word vectors on word similarity and on analogies.

    Similarity sets hold pairs of words with a score people gave; Spearman's rank correlation (x100)
    tells how well cosines order the pairs alike. Analogy questions count as right when the nearest
    word to B - A + C is the expected one. Coverage is the share of pairs or questions whose words
    all have vectors: compare figures of different vectors only when it is alike. For pairs, a
    fastText model has vectors of all words.

    Set names: wordsim353, wordsim353-sim, wordsim353-rel, simlex999, men, mturk287, rg65, mc30;
    google, google-phrases. They are looked for in the folder LEXFORGE_DATA, then downloaded:
    `lexforge data list` shows what is here.

    Examples:

    - `lexforge evaluate vectors.bin --similarity wordsim353 --similarity simlex999`
    - `lexforge evaluate vectors.bin --similarity all --analogy google --json scores.json`
    - `lexforge evaluate vectors.bin --analogy my-questions.txt --restrict-vocab 30000`
    """
    from lexforge._files import replacing
    from lexforge.vectors import evaluation

    check_files(json_file)
    if not similarity and not analogy:
        raise ValueError("give at least one --similarity or --analogy, for example wordsim353")
    options: dict[str, Any] = {
        "restrict_vocab": restrict_vocab,
        "case_insensitive": not match_case,
        "dummy4unknown": unknown_as_zero,
    }
    pair_files = _files(similarity, "similarity")
    question_files = _files(analogy, "analogy")
    kv = _vectors.load(vectors, encoding=encoding)
    report: dict = {
        "vectors": vectors,
        "words": len(kv),
        "dimensions": kv.vector_size,
        "restrict_vocab": restrict_vocab,
        "similarity": {},
        "analogy": {},
    }
    for name, path in pair_files.items():
        try:
            with _vectors.short_warnings():
                scores = evaluation.score_pairs(kv, path, infer_unknown=True, **options)
        except ValueError as error:  # a set without known words must not stop the others
            warn(error)
            continue
        report["similarity"][name] = {
            "spearman": scores.spearman.statistic,
            "pearson": scores.pearson.statistic,
            "pvalue": scores.spearman.pvalue,
            "coverage": scores.coverage,
            "pairs": scores.pairs,
            "used": scores.used,
        }
    for name, path in question_files.items():
        with _vectors.short_warnings():
            sections = evaluation.score_analogies(kv, path, **options)
        if any(section.questions for section in sections):
            report["analogy"][name] = _with_totals(sections)
        else:
            warn(f"{path}: no question found; lines must be A B C D, as in --help")
    _print(report)
    if json_file is not None:
        with replacing(json_file) as file:
            file.write((json.dumps(report, indent=2, allow_nan=True) + "\n").encode())
        tell(f"{json_file}: the same figures")
    if not report["similarity"] and not report["analogy"]:
        raise ValueError("none of the sets could be used")


def _files(names: list[str] | None, kind: str) -> dict[str, Path]:
    from lexforge.text import datasets

    sets = datasets.names(kind)
    found = {}
    for name in (n for given in names or [] for n in (sets if given == "all" else [given])):
        found[name] = datasets.dataset_path(name) if name in sets else Path(name)
        if not found[name].exists():
            raise FileNotFoundError(
                f"{name}: no such file, and not a set name ({', '.join(sets)}, all)"
            )
    return found


def _with_totals(sections) -> dict[str, dict]:
    """Figures of each section, then semantic, syntactic (if there are both) and total."""
    syntactic = [section for section in sections if section.syntactic]
    semantic = [section for section in sections if not section.syntactic]
    groups = {section.name: [section] for section in sections}
    if syntactic and semantic:
        groups |= {"semantic total": semantic, "syntactic total": syntactic}
    groups["total"] = sections
    figures = {}
    for name, members in groups.items():
        correct = sum(len(section.correct) for section in members)
        used = sum(section.answered for section in members)
        unknown = sum(section.unknown for section in members)
        questions = sum(section.questions for section in members)
        figures[name] = {
            "accuracy": correct / used if used else 0.0,
            "correct": correct,
            "used": used,
            "questions": questions,
            "coverage": 1 - unknown / questions if questions else 0.0,
        }
    return figures


def _print(report: dict) -> None:
    if report["similarity"]:
        rows = [
            (
                name,
                *_percent(f, "spearman", "pearson"),
                f["used"],
                f["pairs"],
                *_percent(f, "coverage"),
            )
            for name, f in report["similarity"].items()
        ]
        _vectors.print_table(
            "Similarity (correlations x100)",
            ["set", "Spearman", "Pearson", "used", "pairs", "coverage %"],
            rows,
        )
    for name, sections in report["analogy"].items():
        rows = [
            (
                section,
                *_percent(f, "accuracy"),
                f["correct"],
                f["used"],
                f["questions"],
                *_percent(f, "coverage"),
            )
            for section, f in sections.items()
        ]
        _vectors.print_table(
            f"Analogy: {name}",
            ["section", "accuracy %", "correct", "used", "questions", "coverage %"],
            rows,
        )


def _percent(figures: dict, *names: str) -> list[str]:
    return [f"{100 * figures[name]:.1f}" for name in names]
