"""Word pairs and analogies: correlations, questions, and agreement with gensim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lexforge.text import datasets
from lexforge.vectors import KeyedVectors, load_vectors
from lexforge.vectors.correlation import average_ranks, pearson, spearman
from lexforge.vectors.evaluation import (
    _Cases,
    score_analogies,
    score_pairs,
)


@pytest.mark.interop
@pytest.mark.parametrize("n", [3, 4, 10, 59, 353, 3000])
@pytest.mark.parametrize("slope", [0.0, 0.3, -2.0, 30.0])
def test_correlations_equal_scipy(n, slope):
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(n)
    x = np.round(generator.standard_normal(n), 1)  # rounded: ties
    y = np.round(slope * x + generator.standard_normal(n), 1)
    for ours, theirs in ((pearson, stats.pearsonr), (spearman, stats.spearmanr)):
        np.testing.assert_allclose(ours(x, y).statistic, theirs(x, y).statistic, atol=1e-12)
        np.testing.assert_allclose(ours(x, y).pvalue, theirs(x, y).pvalue, rtol=1e-6, atol=1e-60)
    np.testing.assert_array_equal(average_ranks(x), stats.rankdata(x))


def test_correlation_of_special_cases():
    assert pearson([1, 2, 3, 4], [2, 4, 6, 8]) == (1.0, 0.0)
    assert pearson([1, 2], [5, 3]) == (-1.0, 1.0)
    assert math.isnan(pearson([1, 1, 1], [1, 2, 3]).statistic)
    assert math.isnan(spearman([1], [1]).statistic)
    with pytest.raises(ValueError, match=r"x and y must be \[N\] and \[N\]"):
        pearson([1, 2], [1, 2, 3])


@pytest.fixture
def cased() -> KeyedVectors:
    """Words with several spellings, and analogies that hold: X1 - X0 is the same for all X."""
    generator = np.random.default_rng(5)
    words, rows = [], []
    step = generator.standard_normal(16)
    for i in range(60):
        base = generator.standard_normal(16)
        noise = generator.standard_normal((2, 16)) * 0.35
        words += [f"base{i}", f"Other{i}"]
        rows += [base + noise[0], base + step + noise[1]]
    for i in range(0, 60, 3):  # later, rarer spellings
        words += [f"Base{i}", f"OTHER{i}"]
        rows += [rows[2 * i] + 0.01, rows[2 * i + 1] - 0.01]
    return KeyedVectors(words, np.array(rows))


@pytest.fixture
def questions(tmp_path):
    lines = []
    for i in range(58):
        if i % 20 == 0:
            lines.append(f": {'gram' if i else 'family'}-{i}")
        lines.append(f"base{i} Other{i} base{i + 1} Other{i + 1}")
        lines.append(f"BASE{i} other{i} Base{(i * 7) % 60} OTHER{(i * 7) % 60}")
        lines.append(f"base{i} other{i} missing other{i}")
    lines += ["base1 other1 base2", "", "base1 other1 base1 other1", "base1 other1 base2 base2"]
    path = tmp_path / "questions.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.interop
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"case_insensitive": False},
        {"dummy4unknown": True},
        {"restrict_vocab": 70},
        {"restrict_vocab": 70, "case_insensitive": False, "dummy4unknown": True},
    ],
)
def test_analogies_equal_gensim(cased, questions, options):
    pytest.importorskip("gensim")
    score, sections = cased.evaluate_word_analogies(questions, **options)
    expected_score, expected = cased.to_gensim().evaluate_word_analogies(str(questions), **options)
    assert 0.1 < score < 0.99
    assert score == expected_score
    assert sections == expected


def test_analogies_by_products(cased, questions):
    """Right where the best of `most_similar_cosmul` is the expected word, in any spelling."""
    name = "most_similar_cosmul"
    score, sections = cased.evaluate_word_analogies(questions, similarity_function=name)
    right = sections[-1]["correct"]
    assert 0.1 < score < 0.99
    assert right != cased.evaluate_word_analogies(questions)[1][-1]["correct"]
    first = {}
    for row, word in enumerate(cased.index_to_key):
        first.setdefault(word.upper(), row)
    for question in [*right, *sections[-1]["incorrect"]]:
        a, b, c, expected = (first[word] for word in question)
        found = cased.most_similar_cosmul([b, c], [a], topn=20)
        best = next(word for word, _ in found if word.upper() not in question[:3])
        assert (best.upper() == cased.index_to_key[expected].upper()) == (question in right)
    with pytest.raises(ValueError, match="similarity_function must be one of most_similar, most_s"):
        cased.evaluate_word_analogies(questions, similarity_function="cosine")


def test_analogies_in_blocks(cased, questions, monkeypatch):
    """Block sizes change memory, not results."""
    whole = cased.evaluate_word_analogies(questions)
    monkeypatch.setattr("lexforge.vectors.evaluation._QUESTION_BLOCK", 7)
    monkeypatch.setattr("lexforge.vectors.evaluation._VOCABULARY_BLOCK", 11)
    assert cased.evaluate_word_analogies(questions) == whole


def test_analogy_sections(cased, questions, tmp_path):
    sections = score_analogies(cased, questions)
    assert [s.name for s in sections] == ["family-0", "gram-20", "gram-40"]
    assert [s.syntactic for s in sections] == [False, True, True]
    assert [s.unknown for s in sections] == [20, 20, 18]
    assert [s.answered for s in sections] == [40, 40, 38]
    headless = tmp_path / "headless.txt"
    headless.write_text("a b c d\n: late\n")
    with pytest.raises(ValueError, match="line 1 comes before any"):
        score_analogies(cased, headless)
    empty = tmp_path / "empty.txt"
    empty.write_text(": none\nx y z u\n")
    assert cased.evaluate_word_analogies(empty)[0] == 0.0


def test_all_spellings_of_a_word():
    kv = KeyedVectors(["a", "B", "A", "c", "b"], np.eye(5))
    cases = _Cases(kv, None, case_insensitive=True)
    assert cases.first_row == {"A": 0, "B": 1, "C": 3}
    question, row = cases.rows(np.array([[0, 3], [1, 1]]))
    assert list(zip(question.tolist(), row.tolist(), strict=True)) == [
        (0, 0), (0, 2), (0, 3), (1, 1), (1, 4), (1, 1), (1, 4),
    ]  # fmt: skip


@pytest.mark.interop
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"case_insensitive": False},
        {"dummy4unknown": True},
        {"restrict_vocab": 70},
        {"delimiter": "\t"},
    ],
)
def test_pairs_equal_gensim(cased, tmp_path, options):
    pytest.importorskip("gensim")
    path = tmp_path / "pairs.tsv"
    rows = [f"base{i}\tOther{(i * 3) % 60}\t{(i * 37) % 11}" for i in range(50)]
    path.write_text("# a comment\nword1\tword2\tscore\nnone\tbase1\t3\n" + "\n".join(rows))
    ours = cased.evaluate_word_pairs(path, **options)
    theirs = cased.to_gensim().evaluate_word_pairs(str(path), **options)
    for mine, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, np.asarray(their), atol=1e-6)


def test_pairs_with_mixed_separators(cased, tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("base1 base2 3.5\nbase3\tbase4\t1\nbase5   base6 2\nnew york\tbase7\t4\n")
    scores = score_pairs(cased, path)
    assert (scores.pairs, scores.unknown, scores.used) == (4, 1, 3)
    assert scores.coverage == 0.75
    path.write_text("x y 1\n")
    with pytest.raises(ValueError, match="1 pairs found, 1 with unknown words"):
        score_pairs(cased, path)


@pytest.mark.real_data
@pytest.mark.parametrize("name", sorted(datasets.names("similarity")))
def test_every_similarity_set_is_read(data_folder, name):
    pairs = {
        "wordsim353": 353,
        "wordsim353-sim": 203,
        "wordsim353-rel": 252,
        "simlex999": 999,
        "men": 3000,
        "mturk287": 287,
        "rg65": 65,
        "mc30": 30,
    }
    kv = load_vectors(data_folder / "formats/glove.6B.50d.head.txt")
    assert score_pairs(kv, datasets.dataset_path(name)).pairs == pairs[name]


@pytest.mark.real_data
@pytest.mark.interop
def test_real_sets_equal_gensim(data_folder):
    pytest.importorskip("gensim")
    kv = load_vectors(data_folder / "formats/glove.6B.50d.head.txt")
    oracle = kv.to_gensim()
    google = datasets.dataset_path("google")
    assert kv.evaluate_word_analogies(google) == oracle.evaluate_word_analogies(str(google))
    men = datasets.dataset_path("men")
    for ours, theirs in zip(
        kv.evaluate_word_pairs(men), oracle.evaluate_word_pairs(str(men)), strict=True
    ):
        np.testing.assert_allclose(ours, np.asarray(theirs), atol=1e-6)


@pytest.mark.slow
def test_many_questions_on_a_large_vocabulary(random_vectors, tmp_path):
    """Planted analogies are found among 70,000 words."""
    kv = random_vectors(70_000, 100)
    kv.vectors[1:2000:2] = kv.vectors[0:2000:2] + kv.vectors[5000]
    kv.fill_norms(force=True)
    lines = [": planted"] + [
        f"w{i} w{i + 1} w{j} w{j + 1}" for i in range(0, 200, 2) for j in range(200, 400, 2)
    ]
    path = tmp_path / "questions.txt"
    path.write_text("\n".join(lines))
    assert kv.evaluate_word_analogies(path)[0] == 1.0


def test_files_of_other_editors(cased, tmp_path):
    """A byte order mark, Windows line ends, columns; and what is no text at all."""
    words = cased.index_to_key
    lines = [f"{words[i]}  {words[i + 1]} \t {i}" for i in range(4)]
    plain, odd = tmp_path / "plain.txt", tmp_path / "odd.txt"
    plain.write_text("".join(f"{' '.join(line.split())}\n" for line in lines))
    odd.write_bytes(b"\xef\xbb\xbf" + "".join(f"{line}\r\n" for line in lines).encode())
    odd.write_bytes(odd.read_bytes().replace(b"  ", b"\t\t"))
    assert score_pairs(cased, odd) == score_pairs(cased, plain)
    question = f": all\n{' '.join(words[:4])}\n"
    plain.write_text(question)
    odd.write_bytes(b"\xef\xbb\xbf" + question.replace("\n", "\r\n").encode())
    assert score_analogies(cased, odd) == score_analogies(cased, plain)
    odd.write_bytes(b": all\nthe\xff 1\n")
    for score in (score_pairs, score_analogies):
        with pytest.raises(ValueError, match=r"odd\.txt: line 2 must be text in UTF-8"):
            score(cased, odd)


def test_questions_in_another_unicode_form(tmp_path):
    words = ["caf\xe9", "b", "c", "d"]
    kv = KeyedVectors(words, np.eye(4, dtype=np.float32))
    path = tmp_path / "questions.txt"
    path.write_text(": all\ncafe\u0301 b c d\ncafe b c d\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="1 questions count as unknown"):
        assert score_analogies(kv, path)[0].unknown == 2
