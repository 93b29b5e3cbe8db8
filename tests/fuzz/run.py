"""Fuzz every reader, each in a process of its own, and print what became of the inputs.

    python tests/fuzz/run.py --seconds 120 [--target NAME] [--seed N]
    python tests/fuzz/run.py --target NAME --seed N --input I --keep FOLDER

The second form reads one input again, shows its traceback and leaves its files in a folder. Memory
is limited and time is watched; a reader that ends its process is started again after that input.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

MEMORY = 9 << 30  # bytes of address space
SECONDS = 20  # after which a read is ended
COLUMNS = "inputs", "accepted", "clear error", "other"


def child(name: str, folder: Path, seed: int, first: int, seconds: float) -> None:
    """Reads inputs, and prints a line before and after each."""
    import torch

    from fuzz.fuzzing import inputs, make
    from fuzz.targets import TARGETS

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    files = make(TARGETS[name], folder)
    ends = time.monotonic() + seconds
    faulthandler.dump_traceback_later(SECONDS + 20, exit=True)
    for number, outcome in inputs(TARGETS[name], name, files, folder, seed=seed, first=first):
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        print(json.dumps([number, *outcome]), flush=True)
        if time.monotonic() > ends:
            break
    faulthandler.cancel_dump_traceback_later()


def fuzz(name: str, seed: int, seconds: float) -> tuple[collections.Counter, list[str]]:
    """The outcomes by kind, and what the other ones were."""
    counts: collections.Counter[str] = collections.Counter()
    others: list[str] = []
    number, ends = 0, time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--child", f"{folder}/input", "--target", name]
            command += ["--seed", f"{seed}", "--input", f"{number}", "--seconds", f"{left}"]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        for line in done.stdout.splitlines():
            number, kind, detail = json.loads(line)
            counts[kind] += 1
            if kind == "other":
                others.append(f"{name} --input {number}: {detail}")
            number += 1
        if done.returncode:
            counts["other"] += 1
            said = done.stderr.strip().splitlines() or ["nothing was said"]
            native = [line for line in said if "Fatal Python error" in line or "Timeout" in line]
            why = next((line for line in said if native and "File" in line), said[-1])
            others.append(f"{name} --input {number}: ended with {done.returncode}: {why.strip()}")
            number += 1
    return counts, others


def again(name: str, seed: int, number: int, folder: Path) -> None:
    """One input, with the traceback of what it comes to."""
    from fuzz.fuzzing import damaged, make, write
    from fuzz.targets import TARGETS

    write(damaged(TARGETS[name], make(TARGETS[name], folder), f"{name} {seed} {number}"), folder)
    TARGETS[name].read(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=120, help="of each reader")
    parser.add_argument("--target", action="append", help="these readers alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=Path, help="read one input again, and keep it here")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.target[0], options.child, options.seed, options.input, options.seconds)
        return
    if options.keep:
        again(options.target[0], options.seed, options.input, options.keep)
        return
    from fuzz.targets import TARGETS

    print(f"| target | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}", flush=True)
    total: collections.Counter[str] = collections.Counter()
    for name in options.target or TARGETS:
        counts, others = fuzz(name, options.seed, options.seconds)
        print(row(name, counts), flush=True)
        print(*others, sep="\n", end="\n" * bool(others), file=sys.stderr, flush=True)
        total += counts
    print(row("in all", total))
    sys.exit(bool(total["other"]))


def row(name: str, counts: collections.Counter[str]) -> str:
    """Of the table."""
    cells = [sum(counts.values()), *(counts[kind] for kind in COLUMNS[1:])]
    return f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |"


if __name__ == "__main__":
    main()
