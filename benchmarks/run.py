"""Runs the benchmarks of this machine: `make bench`.

    python benchmarks/run.py [--only wikipedia sampling ...] [--output benchmarks/results]

Each script of the folder that takes ``--json`` is run by itself, one after another, with
``OMP_NUM_THREADS`` at the number of cores; it writes ``<output>/<script>.json``, and the table that
it prints goes to ``<output>/<script>.md``. Scripts that need real data sets are left out, with a
line that says so, where LEXFORGE_DATA is not set. Close other programs first: timings of a busy
machine are worth nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_BENCHMARKS = {"run", "harness", "bert_reference"}
NEED_DATA = {"wikipedia", "ptb_reference", "glove", "bert"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_BENCHMARKS)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    environment = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), **os.environ}
    failed = []
    for name in options.only:
        if name in NEED_DATA and not os.environ.get("LEXFORGE_DATA"):
            print(f"{name}: left out, LEXFORGE_DATA is not set", flush=True)
            continue
        begin = time.monotonic()
        command = [sys.executable, str(HERE / f"{name}.py")]
        command += ["--json", str(options.output / f"{name}.json")]
        result = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
        print(result.stdout, flush=True)
        if result.returncode:
            failed.append(name)
        else:
            (options.output / f"{name}.md").write_text(result.stdout)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
