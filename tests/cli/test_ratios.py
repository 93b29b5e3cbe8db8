"""``lexforge ratios``: the table, as text and as JSON."""

import json

import pytest

import lexforge


@pytest.fixture
def counts(tmp_path):
    sentences = (
        [["ice", "solid"]] * 8 + [["ice", "gas"]] + [["ice", "water"]] * 10 + [["ice", "fashion"]]
        + [["steam", "solid"]] + [["steam", "gas"]] * 8 + [["steam", "water"]] * 10
        + [["steam", "fashion"]]
    )  # fmt: skip
    lexforge.cooccurrence(sentences, min_count=1, folder=tmp_path / "counts")
    return tmp_path / "counts"


def test_table(invoke, counts):
    result = invoke("ratios", counts, "ice", "steam", "solid", "gas", "water", "fashion")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "k                          solid   gas  water  fashion",
        "P(k | ice)                   0.4  0.05    0.5     0.05",
        "P(k | steam)                0.05   0.4    0.5     0.05",
        "P(k | ice) / P(k | steam)      8  0.12      1        1",
    ]


def test_json(invoke, counts):
    result = invoke("ratios", counts, "ice", "steam", "solid", "steam", "--json")
    assert json.loads(result.stdout) == {
        "words": ["ice", "steam"],
        "probes": {
            "solid": {"probabilities": [0.4, 0.05], "ratio": 8.0},
            "steam": {"probabilities": [0.0, 0.0], "ratio": None},
        },
    }


def test_unknown_word(invoke, counts):
    result = invoke("ratios", counts, "ice", "stream", "solid")
    assert result.exit_code == 1
    assert "'stream' is not among the 6 words (did you mean steam?)" in result.stderr


def test_no_counts(invoke, tmp_path):
    result = invoke("ratios", tmp_path, "ice", "steam", "solid")
    assert result.exit_code == 1 and "holds no co-occurrence counts" in result.stderr
