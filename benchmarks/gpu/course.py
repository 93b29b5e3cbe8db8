"""What is done, in order of value: each case is done in a moment, and can be the last one."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import libraries
from libraries import ROOT
from lines import Group, mend, read_lines, run_groups
from processes import Clock
from session import Session

ENOUGH = 10.0  # seconds that must be left for a case to begin


@dataclass(frozen=True)
class Case:
    """One entry of the record.

    Args:
        name: of the entry, and for --only.
        seconds: what it may take at most.
        work: what it does; a dict with "outcome".
        always: also where an earlier call did it.
    """

    name: str
    seconds: float
    work: Callable[[Session, float], dict]
    always: bool = False


# -- what it runs on -----------------------------------------------------------------------------


def environment(session: Session, seconds: float) -> dict:
    options = session.options
    found = libraries.prepare(
        session.package,
        options.libraries,
        session.run,
        session.scratch,
        may_build=not options.skip_build,
        needs_cuda=not session.stand_in,
    )
    session.record.call.update(commit=found.get("commit"), torch=found.get("torch"))
    return found


def ceilings(session: Session, seconds: float) -> dict:
    small = ("--device", "cpu", "--bytes", 1 << 20, "--size", 64) if session.stand_in else ()
    output = session.scratch / "ceilings.txt"
    result = session.run(session.script("ceilings.py", *small), seconds, output)
    if result["outcome"] == "passed":
        result |= json.loads(output.read_text().splitlines()[-1])
    return result


# -- correctness ---------------------------------------------------------------------------------


def groups_of(session: Session, groups: list[Group], name: str, workers: int, seconds: float):
    """Runs groups of items; their results so far are in the record all the while."""
    results: dict[str, dict] = {}
    clock = Clock(session.clock.left(seconds))

    def told(group: Group) -> None:
        results[group.name] = group.result()
        if group.output.exists():
            with session.record.log.open("ab") as log:
                log.write(f"--- {group.name}\n".encode() + group.output.read_bytes()[-20_000:])
        session.record.put(name, {"outcome": "unfinished", **summary(results)})

    run_groups(groups, workers, clock, told)
    outcomes = {result["outcome"] for result in results.values()}
    worst = next((x for x in ("failed", "out of time") if x in outcomes), "passed")
    return {"outcome": worst, **summary(results)}


def summary(results: dict[str, dict]) -> dict:
    """Counts over all groups, how many items there are, and the groups."""
    counts: dict[str, int] = {}
    for result in results.values():
        for outcome, count in result["counts"].items():
            counts[outcome] = counts.get(outcome, 0) + count
    total = sum(result["total"] or 0 for result in results.values())
    return {"counts": counts, "total": total, "groups": results}


def smoke(session: Session, seconds: float) -> dict:
    lines = session.record.folder / "smoke.jsonl"
    mend(lines)
    group = Group(
        "smoke",
        session.script("smoke.py", "--device", session.device),
        lines=lines,
        scratch=session.scratch,
        folder=ROOT,
        environment=session.environment(),
    )
    return groups_of(session, [group], "smoke", 1, seconds)


def test_files(root: Path) -> list[Path]:
    """Test files that have tests of a device: op families first, then the models over them."""
    families = sorted({path.parent.name for path in (ROOT / "csrc").glob("*/*_ops_cuda.cpp")})
    return [
        path
        for folder in (*families, "models", "training", "d2l")
        for path in sorted((root / folder).glob("test_*.py"))
        if re.search(r"\bdevice\b", path.read_text())
    ]


def tests(session: Session, seconds: float) -> dict:
    root = session.options.tests
    lines = session.record.folder / "tests.jsonl"
    mend(lines)
    files = test_files(root)
    workers = max(1, min(session.cores, len(files)))
    options = ["-q", "--tb=short", "-p", "device_tests", "-p", "no:cacheprovider"]
    devices = "cpu,cuda_emulated" if session.stand_in else "cuda"
    variables = session.environment(
        root,
        LEXFORGE_TEST_DEVICES=devices,
        OMP_NUM_THREADS=str(max(1, session.cores // workers)),
    )
    groups = [
        Group(
            str(path.relative_to(root).with_suffix("")),
            [sys.executable, "-m", "pytest", *options, str(path)],
            lines=lines,
            scratch=session.scratch,
            folder=root.parent,
            environment=variables,
        )
        for path in files
    ]
    return groups_of(session, groups, "tests", workers, seconds)


SANITIZER_ERROR = 86


def sanitizer(tool: str) -> Callable[[Session, float], dict]:
    """The smoke program under a tool of compute-sanitizer."""

    def work(session: Session, seconds: float) -> dict:
        program = shutil.which("compute-sanitizer")
        if program is None:
            return {"outcome": "missing", "output": "compute-sanitizer is not installed"}
        usage = session.scratch / "sanitizer-help.txt"
        session.run([program, "--help"], 10, usage)
        log = session.scratch / f"{tool}.txt"
        command = [program, f"--tool={tool}", f"--error-exitcode={SANITIZER_ERROR}"]
        command += ["--log-file", str(log)]
        if "--kernel-regex" in usage.read_text():  # torch's own kernels only take time
            command += ["--kernel-regex", "kns=lexforge"]
        command += session.script("smoke.py", "--device", session.device)
        # Without torch's cache every tensor is an allocation of its own, whose bounds, and whose
        # first contents, the tool knows.
        apart = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"} if tool in ("memcheck", "initcheck") else {}

        def told() -> dict:
            text = log.read_text(errors="replace") if log.exists() else ""
            found = {"found": text[-4000:]}
            if summaries := re.findall(r"SUMMARY: (.*)", text):
                found["summary"] = summaries[-1].strip()
            return found

        def each_turn() -> None:
            if (now := told()) != latest:
                latest.update(now)
                session.record.put(tool, {"outcome": "unfinished", **now})

        latest: dict = {}
        result = session.run(command, seconds, each_turn=each_turn, **apart)
        if result.get("status") == SANITIZER_ERROR:
            result["outcome"] = "failed"
        return result | told()

    return work


def quality(session: Session, seconds: float) -> dict:
    """A line for each model that was trained on both devices."""
    output = session.scratch / "quality.jsonl"
    small = ("--small",) if session.stand_in else ()
    command = session.script("quality.py", "--device", session.device, "--json", output, *small)

    def models() -> dict[str, dict]:
        return {line["model"]: line for line in read_lines(output)}

    def each_turn() -> None:
        if models() != latest:
            latest.update(models())
            session.record.put("quality", {"outcome": "unfinished", "models": latest})

    latest: dict = {}
    return session.run(command, seconds, each_turn=each_turn) | {"models": models()}


# -- speed ---------------------------------------------------------------------------------------


def benchmark(name: str, script: str, words: str, seconds: float, small: str | None = None) -> Case:
    """A case of a benchmark script.

    Args:
        name: of the case.
        script: file name.
        words: its options on a GPU.
        seconds: after which it begins no case of its own; it is stopped some seconds later.
        small: its options on a stand-in; None for a script that needs a GPU.
    """

    def work(session: Session, limit: float) -> dict:
        if session.stand_in and small is None:
            return {"outcome": "missing", "output": "it needs a GPU"}
        report = session.scratch / f"{name}.json"
        chosen = (small if session.stand_in else words).split()
        budget = min(seconds, session.clock.left() - SLACK)
        ends = ("--json", report, "--budget", budget)
        command = session.script(script, "--device", session.device, *chosen, *ends)
        earlier = session.record.cases.get(name, {}).get("results", {"cases": []})

        def results() -> dict:
            """Those of this call, or of an earlier one that came further."""
            found = json.loads(report.read_text()) if report.exists() else {"cases": []}
            return max(found, earlier, key=lambda x: len(x["cases"]))

        def each_turn() -> None:
            if (now := results()) != latest:
                latest.update(now)
                session.record.put(name, {"outcome": "unfinished", "results": now})

        latest: dict = {}
        result = session.run(command, limit, each_turn=each_turn)
        return result | {"results": results()}

    return Case(name, seconds + SLACK, work)


SLACK = 15.0  # seconds for the last case of a script, and for its start and end


def profile(session: Session, seconds: float) -> dict:
    """Six kernels at full size under Nsight Compute: what each is bound by."""
    program = shutil.which("ncu")
    if program is None:
        return {"outcome": "missing", "output": "ncu is not installed"}
    kernels = (
        "(skipgram_(pair|shared)|gathered)_kernel|glove_train_kernel|cooccurrence_entries_kernel"
        "|attention_(forward_mma|backward_keys)_kernel|bias_activation_kernel"
    )
    output = session.scratch / "ncu.txt"
    # The clocks stay as they are: this measures the card as it is found.
    command = [program, "--clock-control", "none", "--set", "basic", "--csv"]
    command += ["-k", f"regex:{kernels}", "-c", "13"]
    small = ("--small",) if session.stand_in else ()
    command += session.script("profiled.py", "--device", session.device, *small)
    result = session.run(command, seconds, output)
    with session.record.log.open("ab") as log:
        log.write(output.read_bytes())
    return result | {"kernels": profiled(output.read_text(errors="replace"))}


METRICS = {
    "Duration",
    "DRAM Throughput",
    "L2 Cache Throughput",
    "Compute (SM) Throughput",
    "Memory Throughput",
    "Achieved Occupancy",
    "Theoretical Occupancy",
    "Registers Per Thread",
}


def profiled(text: str) -> list[dict]:
    """The metrics that matter of each launch in ncu's table."""
    begin = text.find('"ID"')
    launches: dict[str, dict] = {}
    for row in csv.DictReader(text[begin:].splitlines() if begin >= 0 else []):
        if row.get("Metric Name") in METRICS:
            launch = launches.setdefault(row["ID"], {"kernel": row["Kernel Name"].split("<")[0]})
            launch[row["Metric Name"]] = f"{row['Metric Value']} {row['Metric Unit']}".strip()
    return list(launches.values())


# -- in order ------------------------------------------------------------------------------------

_SHORT = "--seconds 0.01 --threads 1"
_WORDS = "--vocab-size 500"

COURSE = [
    Case("environment", 300, environment, always=True),
    Case("ceilings", 30, ceilings),
    Case("smoke", 60, smoke),
    Case("tests", 110, tests),
    benchmark(
        "skipgram",
        "word2vec_train.py",
        "--dim 100 --threshold 1e-4 0 --seconds 0.3",
        20,
        f"--dim 8 --threshold 0 --tokens 20000 {_WORDS} {_SHORT}",
    ),
    benchmark(
        "word2vec-models",
        "word2vec_train.py",
        "--dim 100 --threshold 1e-4 --seconds 0.3 --models window tree cbow cbow-tree "
        "--shard-tokens 0 65536",
        25,
        "--dim 8 --threshold 0 --tokens 20000 --models tree cbow cbow-tree --shard-tokens 0 4096 "
        f"{_WORDS} {_SHORT}",
    ),
    benchmark(
        "subwords",
        "word2vec_train.py",
        "--dim 100 --threshold 1e-4 0 --seconds 0.3 --models pair window cbow --bags 20",
        25,
        "--dim 8 --threshold 0 --tokens 20000 --models pair cbow --bags 5 --grams 300 "
        f"{_WORDS} {_SHORT}",
    ),
    benchmark(
        "glove",
        "glove_train.py",
        "--dim 100 --seconds 0.3",
        25,
        f"--dim 8 --entries 500 {_WORDS} --parts 2 {_SHORT}",
    ),
    benchmark(
        "cooccurrence",
        "cooccurrence.py",
        "--tokens 8300000 --windows 10 --threads 1 --seconds 0.3",
        15,
        f"--tokens 2000 {_WORDS} --windows 3 {_SHORT}",
    ),
    benchmark(
        "attention",
        "attention.py",
        "--dtypes bfloat16 --lengths 512 128 64 256 --repeats 5",
        25,
        "--dtypes bfloat16 --lengths 24 --batch 2 --heads 1 --dim 16 --repeats 1 --threads 1",
    ),
    benchmark("bert", "bert.py", "--seconds 25", 25),
    benchmark(
        "transformer",
        "transformer.py",
        "--only activation norm embedding head --dtypes bfloat16 --repeats 5",
        25,
        "--only activation --dtypes bfloat16 --rows 128:8 768:4 --repeats 1 --threads 1",
    ),
    benchmark(
        "sampling",
        "sampling.py",
        "--vocab-size 71000 --draws 200000000 --threads 1 --seconds 0.2",
        10,
        f"--draws 4000 {_WORDS} {_SHORT}",
    ),
    Case("memcheck", 75, sanitizer("memcheck")),
    Case("racecheck", 75, sanitizer("racecheck")),
    Case("quality", 75, quality),
    Case("initcheck", 60, sanitizer("initcheck")),
    Case("synccheck", 60, sanitizer("synccheck")),
    Case("ncu", 60, profile),
    benchmark(
        "glove-loss",
        "glove_loss.py",
        "--dim 100 --seconds 0.2",
        10,
        f"--dim 8 --entries 200 {_WORDS} {_SHORT}",
    ),
    benchmark(
        "embedding-bag",
        "embedding_bag.py",
        "--dim 100 --seconds 1",
        15,
        f"--dim 8 --ids 200 --repeats 1 {_WORDS} {_SHORT}",
    ),
    benchmark(
        "conv-max-pool",
        "conv_max_pool.py",
        "--seconds 1",
        15,
        f"--texts 2 --length 20 --dim 8 --channels 4 --repeats 1 {_WORDS}",
    ),
    benchmark(
        "row-update",
        "row_update.py",
        "--repeats 5 --seconds 3",
        20,
        "--rows 50 --dim 8 --ids 90 --repeats 1 --threads 1",
    ),
    benchmark(
        "soft-align",
        "soft_align.py",
        "--repeats 5",
        10,
        "--pairs 3 --longest 9 --features 8 --dim 6 --repeats 1 --threads 1",
    ),
    benchmark(
        "lstm",
        "lstm.py",
        "--programs lexforge padded packed --repeats 5 --seconds 3",
        15,
        "--texts 3 --longest 6 --inputs 4 --hidden 5 --repeats 1 --threads 1",
    ),
    benchmark("attention-float32", "attention.py", "--dtypes float32 --lengths 128 512", 25),
    benchmark("skipgram-300", "word2vec_train.py", "--dim 300 --threshold 1e-4 --seconds 0.3", 20),
    benchmark("glove-300", "glove_train.py", "--dim 300 --seconds 0.3", 25),
    benchmark("attention-1024", "attention.py", "--dtypes bfloat16 --lengths 1024", 20),
    benchmark("transformer-float32", "transformer.py", "--dtypes float32 --repeats 5", 40),
]
