"""GloVe on English Wikipedia beside the original tool: counts, training, the way from text to file.

    LEXFORGE_DATA=FOLDER LEXFORGE_GLOVE=BUILD python benchmarks/glove.py
        [--only count train whole memory] [--threads 1 2] [--seeds 1 2 3] [--passes 25] [--json F]

BUILD holds the original's vocab_count, cooccur, shuffle and glove; give the fastest build there is
(with -Ofast -march=native its trainer is twice as fast as with the -O3 of its Makefile). Without
LEXFORGE_GLOVE only lexforge runs. Both read the same lower-cased text, one paragraph a line, with
the same settings: min_count 5, window 10 to both sides, 1/distance, size 100, x_max 100, alpha
0.75, learning rate 0.05. Contestants take turns, each run in a process of its own.

count   Words per second: tokens of the vocabulary over the time from text to sorted triplets, the
        vocabulary given. The original counts on one thread. The run fails unless both files hold
        the same pairs with the same counts: to the last unit of 1/2520 = 1/lcm(1..10), in which
        every count is a whole number, and within 1e-9 of each other as doubles. The original's
        first record is left out when it is double ours (it is when all pairs fit the dense part).
train   Entries per second of one pass over the same counts; the median over all timed passes.
        lexforge deals the entries into tiles once, the original shuffles its file once: both are
        given beside it, and are part of "whole".
whole   From text to vectors on disk, a run for each seed with the largest number of threads:
        vocab_count, cooccur, shuffle, glove against `lexforge glove`; cost (mean over entries of
        h e^2 / 2, summed while training) of the last pass; Spearman correlation on WordSim-353 and
        SimLex-999, accuracy on the Google analogies, of the sums of both tables.
memory  Peak memory of counting under a cap, the whole process: torch's import, mapped files too.

CPU seconds are those of the whole process, its start included.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WINDOW, SIZE, X_MAX, ALPHA, RATE, MIN_COUNT = 10, 100, 100, 0.75, 0.05, 5
UNIT = 2520  # lcm(1..WINDOW)
CAPS = ("256MB", "512MB", "1GB", "2GB")


def corpus(path: Path, data: Path) -> None:
    """The slice as plain text, one paragraph a line, lower-cased."""
    packed = data / "corpora" / "enwiki_articles.txt.xz"
    with (
        lzma.open(packed, "rt", encoding="utf-8") as lines,
        path.open("w", encoding="utf-8") as out,
    ):
        out.writelines(line.lower() for line in lines)


# -- processes ---------------------------------------------------------------------------------


def run(command: list[str], folder: Path, source: str = "", target: str = "") -> dict:
    """Runs a command in `folder`, with files as its input and output.

    Returns its seconds, CPU seconds, peak memory, and the lines of its stderr (and of its stdout,
    when there is no `target`) with the second at which each came.
    """
    begin = time.perf_counter()
    with (
        open(folder / source if source else os.devnull, "rb") as stdin,
        open(folder / target if target else os.devnull, "wb") as stdout,
        subprocess.Popen(
            command,
            cwd=folder,
            stdin=stdin,
            stdout=stdout if target else subprocess.PIPE,
            stderr=subprocess.PIPE if target else subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        pipe = process.stderr if target else process.stdout
        lines = [(time.perf_counter() - begin, line.rstrip("\n")) for line in pipe]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        output = "\n".join(line for _, line in lines[-20:])
        raise SystemExit(f"{command[0]} failed with {process.returncode}:\n{output}")
    return {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "lines": lines,
    }


class Original:
    """The original tool's four programs, which read and write files of one folder."""

    def __init__(self, build: Path, folder: Path):
        self.build, self.folder = build, folder
        self.version = run([str(build / "glove")], folder)["lines"][0][1]

    def _run(self, program: str, options: dict, source: str = "", target: str = "") -> dict:
        words = [str(word) for name, value in options.items() for word in (f"-{name}", value)]
        return run([str(self.build / program), *words], self.folder, source, target)

    def vocabulary(self) -> dict:
        return self._run(
            "vocab_count", {"min-count": MIN_COUNT, "verbose": 0}, "enwiki.txt", "vocab.txt"
        )

    def count(self, memory_gb: float = 4.0) -> dict:
        options = {"memory": memory_gb, "vocab-file": "vocab.txt", "verbose": 0}
        options |= {"window-size": WINDOW, "symmetric": 1, "distance-weighting": 1}
        return self._run("cooccur", options, "enwiki.txt", "cooccurrence.bin")

    def shuffle(self, seed: int) -> dict:
        options = {"memory": 4.0, "verbose": 0, "seed": seed}
        return self._run("shuffle", options, "cooccurrence.bin", "cooccurrence.shuf.bin")

    def train(self, threads: int, seed: int, passes: int) -> dict:
        """Also the seconds and the cost of each pass."""
        options = {"threads": threads, "seed": seed, "iter": passes, "vector-size": SIZE}
        options |= {"x-max": X_MAX, "alpha": ALPHA, "eta": RATE, "model": 2, "verbose": 1}
        options |= {"input-file": "cooccurrence.shuf.bin", "vocab-file": "vocab.txt"}
        done = self._run("glove", {**options, "save-file": "vectors"})
        # It prints its settings, the last of them alpha, just before the first pass.
        begin = next(second for second, line in done["lines"] if line.startswith("alpha"))
        ends, costs = [], []
        for second, line in done["lines"]:
            if found := re.search(r"iter: \d+, cost: (\S+)", line):
                ends.append(second)
                costs.append(float(found[1]))
        starts = [begin, *ends[:-1]]
        passed = [end - start for start, end in zip(starts, ends, strict=True)]
        return {**done, "pass_seconds": passed, "costs": costs}


def apart(job: str, folder: Path, **arguments) -> dict:
    """A job of this script in a process of its own; its result with what the process took.

    Heavy imports and large arrays stay in such processes: the peak memory that the kernel reports
    for a process begins with that of its parent.
    """
    command = [sys.executable, __file__, "--job", job, str(folder), json.dumps(arguments)]
    done = run(command, folder)
    return {**done, **json.loads(done["lines"][-1][1])}


# -- jobs, each in a process of its own --------------------------------------------------------


def count_job(folder: Path, threads: int, memory: str, compare: bool) -> dict:
    """Counts with lexforge; on demand compares with the original's file, entry by entry."""
    import torch

    torch.set_num_threads(threads)
    import lexforge
    from lexforge.text.vocabulary import Vocabulary

    vocabulary = Vocabulary.load(folder / "vocab.txt")
    into = Path(tempfile.mkdtemp(dir=folder))
    begin = time.perf_counter()
    counts = lexforge.cooccurrence(
        folder / "enwiki.txt",
        window=WINDOW,
        vocabulary=vocabulary,
        memory=memory,
        threads=threads,
        folder=into,
    )
    result = {"count_seconds": time.perf_counter() - begin, "nnz": counts.nnz}
    if compare:
        result |= difference(folder / "cooccurrence.bin", counts)
    shutil.rmtree(into)
    return result


def difference(path: Path, counts) -> dict:
    """What the original's file and our counts differ in; ends the run when that is too much."""
    import numpy as np

    record = np.dtype([("row", "<i4"), ("col", "<i4"), ("value", "<f8")])
    theirs = np.memmap(path, record, "r")
    rows, cols, ours = counts.rows.numpy(), counts.cols.numpy(), counts.values.numpy()
    if len(theirs) != len(ours):
        raise SystemExit(f"the original has {len(theirs)} pairs, lexforge {len(ours)}")
    if (theirs["row"] - 1 != rows).any() or (theirs["col"] - 1 != cols).any():
        raise SystemExit("the original and lexforge have different pairs")
    values = theirs["value"].copy()
    doubled = bool(abs(values[0] - 2 * ours[0]) <= 1e-9 * values[0])
    if doubled:
        values[0] = ours[0]
    units = np.rint(values * UNIT) != np.rint(ours * UNIT)
    relative = float((np.abs(values - ours) / ours).max())
    if units.any() or relative > 1e-9:
        raise SystemExit(f"{units.sum()} counts differ by a unit or more, one by {relative:.1e}")
    return {"largest_relative_difference": relative, "first_record_doubled": doubled}


def train_job(folder: Path, threads: int, seed: int, passes: int) -> dict:
    """Trains on the original's counts."""
    import torch

    torch.set_num_threads(threads)
    raise NotImplementedError


def score_job(folder: Path, vectors: str) -> dict:
    """Quality of a file or folder of vectors."""
    from lexforge import load_vectors

    loaded = load_vectors(folder / vectors)
    data = Path(os.environ["LEXFORGE_DATA"])
    pairs = data / "similarity"
    return {
        "wordsim353": loaded.evaluate_word_pairs(pairs / "EN-WS-353-ALL.txt")[1][0],
        "simlex999": loaded.evaluate_word_pairs(pairs / "EN-SIMLEX-999.txt")[1][0],
        "analogy": loaded.evaluate_word_analogies(data / "analogy" / "questions-words.txt")[0],
    }
