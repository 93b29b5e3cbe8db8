"""Beside the programs of the original tool: the same steps, the same cost, files that gensim reads.

Needs LEXFORGE_GLOVE, the folder of its programs. What is counted, and runs that one tool begins and
the other continues, are tested in test_cooccurrence.py and test_glove.py.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from lexforge import Cooccurrence, GloVe, _library, cooccurrence, load_vectors
from lexforge.models.cooccurrence.triplets import TRIPLET
from lexforge.models.glove.files import read_tables
from lexforge.ops.glove.glove_tiles import glove_tiles
from lexforge.ops.glove.glove_train import glove_table, glove_train_
from lexforge.reference.glove.glove_train import in_order
from lexforge.text import Vocabulary
from planted import planted_corpus

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(_library.emulated(), reason="files and models need no emulated device"),
    pytest.mark.skipif(
        not os.environ.get("LEXFORGE_GLOVE"),
        reason="LEXFORGE_GLOVE, the folder of the original tool's programs, is not set",
    ),
]

DIM = 24


@pytest.fixture
def tool(tmp_path):
    """Runs a program of the original tool in a folder that holds corpus.txt; returns its stderr."""

    def run(program: str, source: str = "", target: str = "", **options) -> str:
        words = [str(w) for name, v in options.items() for w in (f"-{name.replace('_', '-')}", v)]
        with (
            open(tmp_path / source if source else os.devnull, "rb") as stdin,
            open(tmp_path / target if target else os.devnull, "wb") as stdout,
        ):
            done = subprocess.run(
                [Path(os.environ["LEXFORGE_GLOVE"]) / program, *words],
                cwd=tmp_path,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                check=True,
            )
        return done.stderr

    lines = (" ".join(sentence) for sentence in planted_corpus())
    (tmp_path / "corpus.txt").write_text("\n".join(lines) + "\n")
    run("vocab_count", "corpus.txt", "vocab.txt", min_count=3)
    return run


@pytest.fixture
def counts(tool, tmp_path):
    """Ours over the original's vocabulary; cooccurrence.shuf.bin holds them, shuffled by it."""
    vocabulary = Vocabulary.load(tmp_path / "vocab.txt")
    ours = cooccurrence(tmp_path / "corpus.txt", vocabulary=vocabulary, window=5)
    ours.save_stanford(tmp_path / "cooccurrence.bin")
    tool("shuffle", "cooccurrence.bin", "cooccurrence.shuf.bin", memory=0.1, seed=1)
    return ours


def costs(told: str) -> list[float]:
    return [float(cost) for cost in re.findall(r"cost: (\S+)", told)]


def test_counts_of_many_temporary_files(tool, tmp_path):
    """The way that large corpora take through the original: few dense pairs, many sorted runs."""
    tool(
        "cooccur", "corpus.txt", "theirs.bin", vocab_file="vocab.txt", window_size=7,
        max_product=20, overflow_length=2000,
    )  # fmt: skip
    theirs = Cooccurrence.load_stanford(tmp_path / "theirs.bin", tmp_path / "vocab.txt")
    ours = cooccurrence(tmp_path / "corpus.txt", vocabulary=theirs.vocab, window=7)
    assert torch.equal(ours.rows, theirs.rows) and torch.equal(ours.cols, theirs.cols)
    torch.testing.assert_close(theirs.values, ours.values, rtol=1e-12, atol=0)
    unit = 420  # lcm(1..7): all counts are whole numbers of it, equal ones
    assert torch.equal((theirs.values * unit).round(), (ours.values * unit).round())


def test_the_same_steps(tool, counts, tmp_path):
    """Entry by entry in one order, from the same first values.

    The original leaves the learning rate out of the bias's step: that is a rate of 20 times 0.05.
    """
    size = len(counts.vocab)
    part = torch.zeros(size, dtype=torch.int32)
    tiles = glove_tiles(counts.row_begin, counts.cols, counts.values, part, parts=1)
    records = np.empty(counts.nnz, TRIPLET)
    rows, cols = np.array([(i, j) for i, j, _ in in_order(tiles)]).T
    dense = counts.to_torch_sparse().to_dense().numpy()
    records["row"], records["col"], records["value"] = rows + 1, cols + 1, dense[rows, cols]
    records.tofile(tmp_path / "ordered.bin")
    passes = 5
    theirs = costs(
        tool(
            "glove", input_file="ordered.bin", vocab_file="vocab.txt", threads=1, eta=0.05,
            vector_size=DIM, x_max=10, iter=passes, binary=1, save_init_param=1, seed=1,
            save_file="theirs", gradsq_file="sums",
        )
    )  # fmt: skip

    def tables(vectors, sums=None):
        both = glove_table(size, DIM), glove_table(size, DIM)
        read_tables(vectors, *(table[:, 0, : DIM + 1] for table in both), least=-np.inf)
        if sums is not None:
            read_tables(sums, *(table[:, 1, : DIM + 1] for table in both), least=1.0)
        return both

    ours = tables(tmp_path / "theirs.000.bin")
    means = []
    for _ in range(passes):
        stats = torch.zeros(2, dtype=torch.float64)
        glove_train_(*ours, stats, tiles, dim=DIM, x_max=10.0, bias_rate=20.0)
        means.append(float(stats[0] / stats[1]))
    assert means == pytest.approx(theirs, rel=1e-4, abs=1e-6)  # they are told to six digits
    expected = tables(tmp_path / "theirs.bin", tmp_path / "sums.bin")
    for mine, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_cost_is_the_originals(tool, counts):
    """In another order, after 25 passes: within 3 %."""
    theirs = costs(
        tool(
            "glove", input_file="cooccurrence.shuf.bin", vocab_file="vocab.txt", threads=1,
            vector_size=DIM, x_max=10, iter=25, seed=1, save_file="theirs",
        )
    )  # fmt: skip
    ours = GloVe(counts, DIM, x_max=10, epochs=25).loss_history
    assert ours[-1] == pytest.approx(theirs[-1], rel=0.03)


@pytest.mark.parametrize("header", [False, True])
def test_gensim_reads_vectors_of_both(tool, counts, tmp_path, header):
    """vectors.txt of the original and ours: as many rows and numbers, the last row <unk>."""
    gensim = pytest.importorskip("gensim.models").KeyedVectors
    tool(
        "glove", input_file="cooccurrence.shuf.bin", vocab_file="vocab.txt", threads=1,
        vector_size=DIM, iter=1, seed=1, save_file="theirs", write_header=int(header),
    )  # fmt: skip
    model = GloVe(counts, DIM, epochs=1)
    model.save_stanford(tmp_path / "ours.txt", header=header)
    for name in ("theirs.txt", "ours.txt"):
        path = tmp_path / name
        read = gensim.load_word2vec_format(str(path), no_header=not header)
        words = counts.vocab.words
        # Its header does not count the row <unk>, and gensim believes it.
        last = [] if header and name == "theirs.txt" else ["<unk>"]
        assert read.index_to_key == [*words, *last]
        mine = load_vectors(path)
        assert mine.index_to_key[: len(read)] == read.index_to_key
        np.testing.assert_array_equal(mine.vectors[: len(read)], read.vectors)
    np.testing.assert_array_equal(read.vectors[: len(words)], model.wv.vectors)
