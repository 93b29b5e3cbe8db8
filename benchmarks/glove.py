"""GloVe on English Wikipedia beside the original tool: counts, training, the way from text to file.

    LEXFORGE_DATA=FOLDER LEXFORGE_GLOVE=BUILD python benchmarks/glove.py
        [--only count train whole memory] [--threads 1 2] [--seeds 1 2] [--passes 25] [--json F]

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
train   Entries per second of a pass over the same counts, the first of a run not timed. lexforge
        deals the entries into tiles before, the original shuffles its file: that is in "whole".
whole   From text to vectors on disk, a run for each seed with the largest number of threads:
        vocab_count, cooccur, shuffle, glove against `lexforge glove`; cost (mean over entries of
        h e^2 / 2, summed while training) of the last pass; Spearman correlation on WordSim-353 and
        SimLex-999, accuracy on the Google analogies, of the sums of both tables.
memory  Peak memory of counting under a cap, the whole process: torch's import, mapped files too.

Rates per CPU second, over all threads, hold on a busy machine too.
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
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

WINDOW, SIZE, X_MAX, ALPHA, RATE, MIN_COUNT = 10, 100, 100, 0.75, 0.05, 5
UNIT = 2520  # lcm(1..WINDOW)
CAPS = {"64MB": 0.064, "256MB": 0.256, "1GB": 1.0, "4GB": 4.0}  # for the original, in its GB


def corpus(path: Path, data: Path, most: int | None) -> None:
    """The slice, or its first lines, as plain text, one paragraph a line, lower-cased."""
    packed = data / "corpora" / "enwiki_articles.txt.xz"
    with (
        lzma.open(packed, "rt", encoding="utf-8") as lines,
        path.open("w", encoding="utf-8") as out,
    ):
        out.writelines(line.lower() for line in islice(lines, most))


PASS_ENDS = r"iter: \d+, cost: (\S+)"  # in a line of the original, and of ours


# -- processes ---------------------------------------------------------------------------------


class Line(NamedTuple):
    """What a process wrote, and when."""

    seconds: float  # since it began
    cpu_seconds: float  # that it had used
    text: str


def run(command: list[str], folder: Path, source: str = "", target: str = "") -> dict:
    """Runs a command in `folder`, with files as its input and output.

    Returns its seconds, CPU seconds and peak memory, and the lines of its stderr (and of its
    stdout, when there is no `target`). Peak memory is at least that of this process, as whose copy
    the other begins.
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
        lines = [
            Line(time.perf_counter() - begin, cpu_seconds(process.pid), text.rstrip("\n"))
            for text in (process.stderr if target else process.stdout)
        ]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        output = "\n".join(line.text for line in lines[-20:])
        raise SystemExit(f"{command[0]} failed with {process.returncode}:\n{output}")
    return {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
        "lines": lines,
    }


def cpu_seconds(pid: int) -> float:
    """That a process has used so far, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def each_pass(lines: list[Line]) -> dict:
    """Costs of passes, and what each pass but the first took, from lines that tell of their ends.

    The first pass is not timed: the file is new to the caches, and when it began is not told.
    """
    told = [(line, found[1]) for line in lines if (found := re.search(PASS_ENDS, line.text))]
    ends = [line for line, _ in told]
    return {
        "costs": [float(cost) for _, cost in told],
        "pass_seconds": [b.seconds - a.seconds for a, b in pairwise(ends)],
        "pass_cpu_seconds": [b.cpu_seconds - a.cpu_seconds for a, b in pairwise(ends)],
    }


class Original:
    """The original tool's four programs, which read and write files of one folder."""

    def __init__(self, build: Path, folder: Path):
        self.build, self.folder = build, folder
        self.version = run([str(build / "glove")], folder)["lines"][0].text

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
        options |= {"x-max": X_MAX, "alpha": ALPHA, "eta": RATE, "model": 2, "verbose": 0}
        options |= {"input-file": "cooccurrence.shuf.bin", "vocab-file": "vocab.txt"}
        options |= {"save-file": "vectors"}
        done = self._run("glove", options)
        return {**done, **each_pass(done["lines"])}


def apart(job: str, folder: Path, **arguments) -> dict:
    """A job of this script in a process of its own; its result with what the process took.

    Heavy imports and large arrays stay in such processes: the peak memory that the kernel reports
    for a process begins with that of its parent.
    """
    command = [sys.executable, __file__, "--job", job, str(folder), json.dumps(arguments)]
    done = run(command, folder)
    lines = done["lines"]
    result = json.loads(lines[-1].text)
    if job == "train":
        result |= each_pass(lines)
    marks = {line.text: line for line in lines}
    if "begin" in marks:  # the work proper, without the start of Python and what follows
        begin, end = marks["begin"], marks["end"]
        result["work_seconds"] = end.seconds - begin.seconds
        result["work_cpu_seconds"] = end.cpu_seconds - begin.cpu_seconds
    return {**done, **result}


# -- jobs, each in a process of its own --------------------------------------------------------


def count_job(folder: Path, threads: int, memory: str, compare: bool = False) -> dict:
    """Counts with lexforge; on demand compares with the original's file, entry by entry."""
    import torch

    torch.set_num_threads(threads)
    import lexforge
    from lexforge.text.vocabulary import Vocabulary

    vocabulary = Vocabulary.load(folder / "vocab.txt")
    into = Path(tempfile.mkdtemp(dir=folder))
    print("begin", flush=True)
    counts = lexforge.cooccurrence(
        folder / "enwiki.txt",
        window=WINDOW,
        vocabulary=vocabulary,
        memory=memory,
        threads=threads,
        folder=into,
    )
    print("end", flush=True)
    result = {"nnz": counts.nnz}
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
    """Trains on the original's counts and tells of each pass; also what came before the first."""
    import torch

    torch.set_num_threads(threads)
    from lexforge import Cooccurrence, GloVe

    counts = Cooccurrence.load_stanford(folder / "cooccurrence.bin", folder / "vocab.txt")
    model = GloVe(
        vector_size=SIZE,
        x_max=X_MAX,
        alpha=ALPHA,
        learning_rate=RATE,
        epochs=passes,
        seed=seed,
        workers=threads,
    )

    class Teller:
        def on_epoch_end(self, model: GloVe) -> None:
            losses = model.loss_history
            print(f"iter: {len(losses):03}, cost: {losses[-1]}", flush=True)

    begin = time.perf_counter()
    model.train(counts, callbacks=[Teller()])
    preparation = time.perf_counter() - begin - model.state.seconds
    return {"preparation_seconds": preparation, "nnz": counts.nnz}


def score_job(folder: Path, vectors: str) -> dict:
    """Quality of a file of vectors, or of a model, whose costs are given too."""
    from lexforge import GloVe, load_vectors

    path, costs = folder / vectors, {}
    if path.is_dir():
        model = GloVe.load(path)
        loaded, costs = model.wv, {"costs": model.loss_history}
    else:
        loaded = load_vectors(path)
    data = Path(os.environ["LEXFORGE_DATA"])
    pairs = data / "similarity"
    return {
        **costs,
        "wordsim353": loaded.evaluate_word_pairs(pairs / "EN-WS-353-ALL.txt")[1][0],
        "simlex999": loaded.evaluate_word_pairs(pairs / "EN-SIMLEX-999.txt")[1][0],
        "analogy": loaded.evaluate_word_analogies(data / "analogy" / "questions-words.txt")[0],
    }


def import_job(folder: Path) -> dict:
    """Nothing but the imports of counting, for its memory."""
    import torch

    import lexforge

    torch.set_num_threads(1)
    return {"name": lexforge.cooccurrence.__name__}


def prepare_job(folder: Path) -> dict:
    """The vocabulary and the counts that the original would have made."""
    import lexforge
    from lexforge.text import build_vocabulary

    vocabulary = build_vocabulary(folder / "enwiki.txt", min_count=MIN_COUNT)
    vocabulary.save(folder / "vocab.txt")
    counts = lexforge.cooccurrence(folder / "enwiki.txt", window=WINDOW, vocabulary=vocabulary)
    counts.save_stanford(folder / "cooccurrence.bin")
    return {"words": len(vocabulary), "nnz": counts.nnz}


JOBS = {
    "prepare": prepare_job,
    "count": count_job,
    "train": train_job,
    "score": score_job,
    "import": import_job,
}


# -- the four parts ----------------------------------------------------------------------------


class Bench:
    """What the parts share: the folder of files, the contestants, the records of the report."""

    def __init__(self, folder: Path, original: Original | None, options: argparse.Namespace):
        self.folder, self.original, self.options = folder, original, options
        self.cases: list[dict] = []
        self.words = sum(
            int(line.rsplit(" ", 1)[1])
            for line in (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        )

    def add(self, part: str, trainer: str, threads: int, taken: dict, **figures) -> None:
        """Keeps a run; its standing on stderr."""
        kept = {name: value for name, value in taken.items() if name != "lines"}
        self.cases.append({"part": part, "trainer": trainer, "threads": threads, **kept, **figures})
        print(json.dumps(self.cases[-1]), file=sys.stderr, flush=True)

    def count(self) -> None:
        def add(trainer: str, threads: int, done: dict, seconds: str) -> None:
            self.add(
                "count",
                trainer,
                threads,
                done,
                per_second=self.words / done[seconds],
                per_cpu_second=self.words / done[seconds.replace("seconds", "cpu_seconds")],
            )

        arguments = {"threads": max(self.options.threads), "memory": "2GB"}
        if self.original:
            done = apart("count", self.folder, **arguments, compare=True)
            self.add("equality", "lexforge", arguments["threads"], done)
        for _ in range(self.options.repeats):
            if self.original:
                add("original", 1, self.original.count(), "seconds")
            for threads in self.options.threads:
                arguments["threads"] = threads
                add("lexforge", threads, apart("count", self.folder, **arguments), "work_seconds")

    def train(self) -> None:
        nnz = (self.folder / "cooccurrence.bin").stat().st_size // 16
        passes = self.options.timed_passes + 1

        def add(trainer: str, threads: int, done: dict) -> None:
            self.add(
                "train",
                trainer,
                threads,
                done,
                per_second=nnz / statistics.median(done["pass_seconds"]),
                per_cpu_second=nnz / statistics.median(done["pass_cpu_seconds"]),
            )

        for _ in range(self.options.repeats):
            for threads in self.options.threads:
                if self.original:
                    add("original", threads, self.original.train(threads, 1, passes))
                arguments = {"threads": threads, "seed": 1, "passes": passes}
                add("lexforge", threads, apart("train", self.folder, **arguments))

    def whole(self) -> None:
        threads, passes = max(self.options.threads), self.options.passes
        for seed in self.options.seeds:
            if self.original:
                stages = {
                    "vocab_count": self.original.vocabulary(),
                    "cooccur": self.original.count(),
                    "shuffle": self.original.shuffle(seed),
                    "glove": self.original.train(threads, seed, passes),
                }
                taken = {
                    name: sum(stage[name] for stage in stages.values())
                    for name in ("seconds", "cpu_seconds")
                }
                taken["peak_mib"] = max(stage["peak_mib"] for stage in stages.values())
                taken["stage_seconds"] = {name: stage["seconds"] for name, stage in stages.items()}
                taken["costs"] = stages["glove"]["costs"]
                score = apart("score", self.folder, vectors="vectors.txt")
                self.add("whole", "original", threads, taken, seed=seed, **quality(score))
            shutil.rmtree(self.folder / "model", ignore_errors=True)
            command = [sys.executable, "-m", "lexforge.cli.main", "glove", "enwiki.txt"]
            command += ["--out", "model", "--window", str(WINDOW), "--min-count", str(MIN_COUNT)]
            command += ["--vector-size", str(SIZE), "--x-max", str(X_MAX), "--alpha", str(ALPHA)]
            command += ["--eta", str(RATE), "--epochs", str(passes), "--seed", str(seed)]
            command += ["--workers", str(threads), "--quiet"]
            taken = run(command, self.folder)
            score = apart("score", self.folder, vectors="model")
            taken["costs"] = score["costs"]
            self.add("whole", "lexforge", threads, taken, seed=seed, **quality(score))

    def memory(self) -> None:
        threads = max(self.options.threads)
        self.add("memory", "lexforge, imports alone", threads, apart("import", self.folder))
        for cap, gigabytes in CAPS.items():
            if self.original:
                done = self.original.count(gigabytes)
                self.add("memory", "original", 1, done, cap=cap)
            done = apart("count", self.folder, threads=threads, memory=cap)
            self.add("memory", "lexforge", threads, done, cap=cap)


def quality(score: dict) -> dict:
    return {name: score[name] for name in ("wordsim353", "simlex999", "analogy")}


# -- the report --------------------------------------------------------------------------------


def markdown(cases: list[dict]) -> str:
    """A table for each part; medians over repeats, for quality means with half their range."""
    tables = []
    for part, table in (("count", rates), ("train", rates), ("whole", wholes), ("memory", peaks)):
        if mine := [case for case in cases if case["part"] == part]:
            tables.append(table(mine))
    return "\n\n".join(tables)


def groups(cases: list[dict]) -> dict[tuple[str, int], list[dict]]:
    """Cases by contestant and threads, in their order."""
    found: dict[tuple[str, int], list[dict]] = {}
    for case in cases:
        found.setdefault((case["trainer"], case["threads"]), []).append(case)
    return found


def rates(cases: list[dict]) -> str:
    """Speed of counting or of training; the original counts on one thread only."""
    part = cases[0]["part"]
    unit = "words" if part == "count" else "entries"
    columns = f"{part} | threads | {unit}/s | best | ratio | {unit} per CPU second | ratio"
    lines = [f"| {columns} |", "|" + "---|" * 7]
    found = groups(cases)

    def median(name: str, trainer: str, threads: int) -> float | None:
        mine = found.get((trainer, threads))
        return statistics.median(case[name] for case in mine) if mine else None

    for trainer, threads in sorted(found, key=lambda key: key[1]):
        cells = []
        for name in ("per_second", "per_cpu_second"):
            speed = median(name, trainer, threads)
            base = median(name, "original", threads) or median(name, "original", 1)
            best = max(case[name] for case in found[trainer, threads])
            cells.append(f"{speed / 1e6:.2f} M")
            cells += [f"{best / 1e6:.2f} M"] if name == "per_second" else []
            cells.append(f"{speed / base:.1f} x" if base else "-")
        lines.append(f"| {trainer} | {threads} | {' | '.join(cells)} |")
    return "\n".join(lines)


def wholes(cases: list[dict]) -> str:
    columns = "whole | threads | passes | seconds | CPU s | last cost"
    lines = [f"| {columns} | WordSim-353 | SimLex-999 | analogy |", "|" + "---|" * 9]
    for (trainer, threads), mine in groups(cases).items():
        costs = [case["costs"] for case in mine]
        seconds = statistics.median(case["seconds"] for case in mine)
        cpu = statistics.median(case["cpu_seconds"] for case in mine)
        scores = " | ".join(
            spread([100 * case[name] for case in mine], 1)
            for name in ("wordsim353", "simlex999", "analogy")
        )
        last = spread([cost[-1] for cost in costs], 6)
        lines.append(
            f"| {trainer} | {threads} | {len(costs[0])} | {seconds:.0f} | {cpu:.0f} | {last} "
            f"| {scores} |"
        )
    return "\n".join(lines)


def spread(values: list[float], digits: int) -> str:
    half = (max(values) - min(values)) / 2
    return f"{statistics.mean(values):.{digits}f} ± {half:.{digits}f}"


def peaks(cases: list[dict]) -> str:
    lines = ["| counting | threads | cap | peak, MiB | seconds |", "|---|---|---|---|---|"]
    for case in cases:
        lines.append(
            f"| {case['trainer']} | {case['threads']} | {case.get('cap', '-')} "
            f"| {case['peak_mib']:.0f} | {case['seconds']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("count", "train", "whole", "memory")
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--passes", type=int, default=25, help="of the whole")
    parser.add_argument("--timed-passes", type=int, default=2, help="of a run of train")
    parser.add_argument("--repeats", type=int, default=3, help="turns of count and of train")
    parser.add_argument("--lines", type=int, help="of the text, to try the script")
    parser.add_argument("--json", type=Path, help="also write the runs to this file")
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        job, folder, arguments = options.job
        print(json.dumps(JOBS[job](Path(folder), **json.loads(arguments))))
        return
    data, build = os.environ.get("LEXFORGE_DATA"), os.environ.get("LEXFORGE_GLOVE")
    if not data:
        raise SystemExit("LEXFORGE_DATA must name the folder of real data sets")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus(folder / "enwiki.txt", Path(data), options.lines)
        original = Original(Path(build).resolve(), folder) if build else None
        if original:
            original.vocabulary()
            original.count()
            original.shuffle(1)
        else:
            print("LEXFORGE_GLOVE is not set: lexforge alone, nothing to compare with\n")
            apart("prepare", folder)
        bench = Bench(folder, original, options)
        for part in options.only:
            getattr(bench, part)()
        print(markdown(bench.cases))
        cases = bench.cases
        if original:
            cases = [{"original": original.version}, *cases]
    if options.json:
        from harness import write_report

        write_report(options.json, "cpu", cases)


if __name__ == "__main__":
    main()
