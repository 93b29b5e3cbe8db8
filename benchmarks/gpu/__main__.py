"""Everything that needs a GPU, in the few minutes that one may be had for: `make gpu`.

    python benchmarks/gpu --output FOLDER [--seconds 520] [--libraries FOLDER] [--only CASE ...]

Takes native libraries that were built elsewhere (`make gpu-libraries`), builds those that do not
load here (but for --skip-build), and goes through the cases of course.py in order of value:
ceilings, every kernel once against the reference, the op tests, short benchmarks, sanitizers,
training quality, profiles. The results are in FOLDER/<gpu>.json after every step, whatever ends the
program; what is printed is in FOLDER/log.txt, and a line for each kernel and test in smoke.jsonl
and tests.jsonl. Another call with the same folder goes on: what has passed is not done again; a
case that --only names is, but not the kernels and tests in it that have passed (for those, take
another folder). Exits with 1 when something failed, or when there is no GPU.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import table
from course import COURSE, ENOUGH, Case
from libraries import ROOT
from processes import Clock
from record import Record
from session import Session

BEGIN = time.monotonic()
STAND_IN = "stand-in"


def gpu_name() -> str | None:
    """Of the first GPU, by nvidia-smi; None where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except subprocess.CalledProcessError:
        return None
    except (OSError, subprocess.TimeoutExpired):
        return "gpu"  # it cannot say; the check of the libraries will tell
    return done.stdout.strip().split("\n")[0] or None


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [case.name for case in COURSE]
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "gpu-results")
    parser.add_argument("--seconds", type=float, default=520, help="for everything, from the start")
    parser.add_argument("--libraries", type=Path, help="folder of prebuilt libraries")
    parser.add_argument("--skip-build", action="store_true", help="use only what loads")
    parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="CASE",
                        help=f"these, also where they are done: {', '.join(names)}")  # fmt: skip
    parser.add_argument(
        "--stand-in",
        action="store_true",
        help="go through everything without a GPU, on the CPU and at sizes of no interest; with "
        "the CUDA kernels where LEXFORGE_OPS_LIBRARY names a library that executes them",
    )
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "gpu",
                        help="folder for the package under test")  # fmt: skip
    parser.add_argument("--tests", type=Path, default=ROOT / "tests", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ("output", "work", "tests"):
        setattr(options, name, getattr(options, name).resolve())
    if options.libraries is None:
        options.libraries = ROOT / "pyext" / "lexforge"
    return options


def do(case: Case, session: Session) -> dict:
    """Does a case; what it lets escape is its failure, and not that of the cases after it."""
    mark = session.clocks.mark()
    try:
        result = case.work(session, session.clock.left(case.seconds))
    except Exception as error:
        return {"outcome": "failed", "output": f"{type(error).__name__}: {error}"}
    clocks = session.clocks.since(mark)
    return result | ({"clocks": clocks} if clocks else {})


def go_through(session: Session) -> None:
    record, only = session.record, session.options.only
    for case in COURSE:
        if case.name not in only and not case.always and (only or record.passed(case.name)):
            continue
        if session.clock.left() < ENOUGH:
            record.say(f"out of time before {case.name}")
            return
        begin = time.monotonic()
        result = do(case, session)
        record.put(case.name, result)
        record.say(f"{result['outcome']:12} {case.name} ({time.monotonic() - begin:.0f} s)")
        if result["outcome"] == "failed":
            print(f"  {str(result.get('output', ''))[-1500:]}", flush=True)  # the log has it all
            if case.name == "environment":
                return  # no kernel runs here


def stopped(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, stopped)
    gpu = STAND_IN if options.stand_in else gpu_name()
    if gpu is None:
        print("make gpu: there is no GPU here (nvidia-smi); nothing was run", file=sys.stderr)
        return 1
    record = Record(options.output, gpu)
    with tempfile.TemporaryDirectory() as scratch:
        clock = Clock(options.seconds, BEGIN)
        session = Session(options, record, clock, Path(scratch))
        try:
            go_through(session)
        except KeyboardInterrupt:
            record.say("stopped")
        finally:
            session.close()
            record.call["seconds"] = round(time.monotonic() - BEGIN, 1)
            record.save()
    record.say(table.of(record.data))
    failed = [name for name, case in record.cases.items() if case["outcome"] == "failed"]
    if failed:
        print(f"make gpu: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
