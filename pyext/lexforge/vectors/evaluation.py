"""Scores word vectors on human similarity judgements and on analogy questions."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import numpy as np
import torch

from lexforge._arguments import one_of
from lexforge._display import html_table
from lexforge.text.lines import read_lines
from lexforge.vectors.correlation import Correlation, pearson, spearman
from lexforge.vectors.similarity import EPSILON, other_form
from lexforge.vectors.word_vectors import WordVectors

_QUESTION_BLOCK = 1024
_VOCABULARY_BLOCK = 8192
_Score: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]


@dataclass
class PairScores:
    """Agreement with human judgements on a set of word pairs."""

    pearson: Correlation
    spearman: Correlation
    pairs: int  # in the file
    unknown: int  # of these, pairs with a word that has no vector
    used: int  # pairs in the correlations

    @property
    def coverage(self) -> float:
        """The share of pairs with both words known, 0..1."""
        return 1 - self.unknown / self.pairs

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [
            ("Spearman", self.spearman.statistic, f"{self.spearman.pvalue:.2g}"),
            ("Pearson", self.pearson.statistic, f"{self.pearson.pvalue:.2g}"),
        ]
        title = f"{self.used:,} of {self.pairs:,} pairs, coverage {self.coverage:.1%}"
        return html_table(rows, ["", "correlation", "p-value"], title)


@dataclass
class AnalogySection:
    """The questions of one section, as (a, b, c, expected), by outcome."""

    name: str
    correct: list[tuple[str, str, str, str]] = field(default_factory=list)
    incorrect: list[tuple[str, str, str, str]] = field(default_factory=list)
    unknown: int = 0  # questions with a word that has no vector
    questions: int = 0  # in the file

    def __repr__(self) -> str:
        return (
            f"AnalogySection({self.name!r}, {len(self.correct)} of {self.answered} right, "
            f"{self.unknown} of {self.questions} questions with unknown words)"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        columns = ["section", "right", "answered", "accuracy", "questions", "unknown"]
        accuracy = f"{self.accuracy:.1%}"
        row = (self.name, len(self.correct), self.answered, accuracy, self.questions, self.unknown)
        return html_table([row], columns)

    @property
    def answered(self) -> int:
        """Correct and incorrect ones; unknown ones only where they count as incorrect."""
        return len(self.correct) + len(self.incorrect)

    @property
    def accuracy(self) -> float:
        """Correct over answered questions, 0..1; 0 when none was answered."""
        return len(self.correct) / self.answered if self.answered else 0.0

    @property
    def syntactic(self) -> bool:
        """The convention of the Google set: sections about grammar are named ``gram...``."""
        return self.name.startswith("gram")


class _Cases:
    """Words of the first `restrict_vocab` rows, where spellings that differ in case are one.

    A folded word stands for its first row, the most frequent spelling in a sorted vocabulary.
    """

    def __init__(self, kv: WordVectors, restrict_vocab: int | None, case_insensitive: bool):
        self.kv = kv
        words = kv.index_to_key[:restrict_vocab]
        self.fold = str.upper if case_insensitive else str
        self.first_row: dict[str, int] = {}
        group_of_row = np.empty(len(words), dtype=np.int64)  # rows of one spelling share a group
        for row, word in enumerate(words):
            group_of_row[row] = self.first_row.setdefault(self.fold(word), row)
        self.rows_by_group = np.argsort(group_of_row, kind="stable")
        self.groups = group_of_row[self.rows_by_group]

    def __contains__(self, folded: object) -> bool:
        return folded in self.first_row

    def key_of(self, word: str, infer: bool) -> str | int | None:
        """Its row; itself, where it has a vector by its n-grams and `infer` says so; or None."""
        row = self.first_row.get(self.fold(word))
        if row is None and infer and word not in self.kv.key_to_index and word in self.kv:
            return word
        return row

    def in_other_form(self, folded: Iterable[str]) -> bool:
        """Whether all would be here if each were in the right Unicode normal form."""
        return all(w in self or other_form(w, self) is not None for w in folded)

    def rows(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All rows of the groups [Q, N]: (question of each row, row)."""
        first = np.searchsorted(self.groups, groups, side="left")
        count = np.searchsorted(self.groups, groups, side="right") - first
        questions = np.repeat(np.repeat(np.arange(len(groups)), groups.shape[1]), count.ravel())
        starts = np.repeat(first.ravel() - np.cumsum(count.ravel()) + count.ravel(), count.ravel())
        return questions, self.rows_by_group[starts + np.arange(len(starts))]


def score_pairs(
    kv: WordVectors,
    pairs: str | os.PathLike,
    *,
    delimiter: str | None = None,
    encoding: str = "utf8",
    restrict_vocab: int | None = 300_000,
    case_insensitive: bool = True,
    dummy4unknown: bool = False,
    infer_unknown: bool = False,
) -> PairScores:
    """Correlate cosines with the judgements in a file of ``word1 word2 score`` lines.

    See :meth:`KeyedVectors.evaluate_word_pairs` for the arguments.
    """
    cases = _Cases(kv, restrict_vocab, case_insensitive)
    gold: list[float] = []
    model: list[float] = []
    total = unknown = 0
    other_forms = 0
    for line in read_lines(pairs, encoding=encoding):
        if line.startswith("#"):
            continue
        fields = line.split(delimiter or ("\t" if "\t" in line else None))
        try:
            first, second, score_text = (field.strip() for field in fields if field.strip())
            score = float(score_text)
        except ValueError:
            continue  # headings and remarks
        total += 1
        keys = [cases.key_of(word, infer_unknown) for word in (first, second)]
        if None not in keys:
            model.append(kv.similarity(*cast(list[str | int], keys)))
        else:
            unknown += 1
            other_forms += cases.in_other_form(map(cases.fold, (first, second)))
            if not dummy4unknown:
                continue
            model.append(0.0)
        gold.append(score)
    _warn_of_forms(pairs, other_forms, "pairs")
    if not gold:
        raise ValueError(
            f"{pairs}: no pair could be used: {total} pairs found, {unknown} with unknown words; "
            "lines must be WORD WORD SCORE"
        )
    return PairScores(pearson(gold, model), spearman(gold, model), total, unknown, len(gold))


def score_analogies(
    kv: WordVectors,
    analogies: str | os.PathLike,
    *,
    restrict_vocab: int | None = 300_000,
    case_insensitive: bool = True,
    dummy4unknown: bool = False,
    similarity_function: str = "most_similar",
) -> list[AnalogySection]:
    """Answer the questions of a file of ``a b c expected`` lines below ``: section`` headings.

    See :meth:`KeyedVectors.evaluate_word_analogies` for the arguments and the rule.
    """
    one_of("evaluate_word_analogies", "similarity_function", similarity_function, list(_SCORES))
    cases = _Cases(kv, restrict_vocab, case_insensitive)
    sections: list[AnalogySection] = []
    other_forms = 0
    questions: list[tuple[AnalogySection, tuple[str, str, str, str], bool]] = []
    for number, line in enumerate(read_lines(analogies), 1):
        if line.startswith(":"):
            sections.append(AnalogySection(line.lstrip(": ").strip()))
            continue
        fields = [cases.fold(word) for word in line.split()]
        if len(fields) != 4:
            continue
        a, b, c, expected = fields
        question = (a, b, c, expected)
        if not sections:
            raise ValueError(f"{analogies}: line {number} comes before any ': section' heading")
        known = all(word in cases for word in question)
        sections[-1].questions += 1
        sections[-1].unknown += not known
        other_forms += not known and cases.in_other_form(question)
        if known or dummy4unknown:
            questions.append((sections[-1], question, known))
    _warn_of_forms(analogies, other_forms, "questions")
    rows = [[cases.first_row[w] for w in question] for _, question, known in questions if known]
    asked = np.array(rows, dtype=np.int64).reshape(-1, 4)
    answers = iter(_answers(kv, asked, cases, _SCORES[similarity_function]))
    for section, question, known in questions:
        right = known and next(answers)
        (section.correct if right else section.incorrect).append(question)
    return sections


def _warn_of_forms(path: str | os.PathLike, number: int, what: str) -> None:
    if number:
        warnings.warn(
            f"{os.fspath(path)}: {number} {what} count as unknown whose words have vectors, but in "
            "another Unicode normal form (see unicodedata.normalize)",
            stacklevel=4,
        )


def _sums(units: torch.Tensor, candidates: torch.Tensor, out: torch.Tensor) -> None:
    """3CosAdd: products of b - a + c with the candidates.

    Args:
        units: of a, b, c and the expected word, [Q, 4, D].
        candidates: unit vectors [V, D].
        out: [Q, V].
    """
    torch.mm(units[:, 1] - units[:, 0] + units[:, 2], candidates.T, out=out)


def _products(units: torch.Tensor, candidates: torch.Tensor, out: torch.Tensor) -> None:
    """3CosMul: cosines to b and c, over that to a, each shifted to 0..1; arguments as `_sums`."""
    torch.mm(units[:, 1], candidates.T, out=out).add_(1).div_(2)
    out.mul_((units[:, 2] @ candidates.T).add_(1).div_(2))
    out.div_((units[:, 0] @ candidates.T).add_(1).div_(2).add_(1e-6))


_SCORES: dict[str, _Score] = {"most_similar": _sums, "most_similar_cosmul": _products}


def _answers(kv: WordVectors, rows: np.ndarray, cases: _Cases, score: _Score) -> np.ndarray:
    """Whether each question of `rows` [Q, 4] = (a, b, c, expected) is answered right, bool [Q].

    The answer is the row with the largest score, spellings of a, b and c left out. It is right when
    it is a spelling of the expected word, that is when no row of another word beats the best
    spelling of the expected one; so no index of a maximum is needed, and a block of scores never
    exceeds `_QUESTION_BLOCK` x `_VOCABULARY_BLOCK`.
    """
    norms = np.maximum(kv.norms, EPSILON)
    right = np.empty(len(rows), dtype=bool)
    vocabulary = len(cases.groups)
    scores_memory = torch.empty(_QUESTION_BLOCK * min(_VOCABULARY_BLOCK, vocabulary))
    for start in range(0, len(rows), _QUESTION_BLOCK):
        block = rows[start : start + _QUESTION_BLOCK]
        units = kv.vectors[block].astype(np.float32, copy=False) / norms[block][..., None]
        targets = torch.from_numpy(units)
        # Rows out of the race for the best other word: spellings of all four words.
        question, row = cases.rows(block)
        by_row = np.argsort(row, kind="stable")
        question, row = question[by_row], row[by_row]
        expected_question, expected_row = cases.rows(block[:, 3:])
        is_expected = np.isin(
            question * vocabulary + row, expected_question * vocabulary + expected_row
        )
        best_other = torch.full((len(block),), -torch.inf)
        best_expected = np.full(len(block), -np.inf, dtype=np.float32)
        for first in range(0, vocabulary, _VOCABULARY_BLOCK):
            last = min(first + _VOCABULARY_BLOCK, vocabulary)
            rows_here = kv.vectors[first:last].astype(np.float32, copy=False)
            candidates = torch.from_numpy(rows_here / norms[first:last, None])
            scores = scores_memory[: len(block) * (last - first)].view(len(block), -1)
            score(targets, candidates, scores)
            inside = slice(*np.searchsorted(row, (first, last)))
            q, r = torch.from_numpy(question[inside]), torch.from_numpy(row[inside] - first)
            found = scores[q, r].numpy()
            wanted = is_expected[inside]
            np.maximum.at(best_expected, question[inside][wanted], found[wanted])
            scores[q, r] = -torch.inf
            torch.maximum(best_other, scores.amax(dim=1), out=best_other)
        # An expected word that is one of the inputs is never given as the answer.
        repeated = (block[:, :3] == block[:, 3:]).any(axis=1)
        right[start : start + len(block)] = (best_expected > best_other.numpy()) & ~repeated
    return right
