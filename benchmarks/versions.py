"""One benchmark of two versions of the project, in turns: is anything slower?

    python benchmarks/versions.py FOLDER word2vec_train -- --threads 1 --seconds 0.5
    python benchmarks/versions.py FOLDER skipgram_stream:word2vec_train --rounds 7 -- --dim 100

FOLDER is another checkout with its libraries built in place. Each runs its own script of that name
(of the first name there, of the second here) in a process of its own, with the arguments after
``--``; which of the two goes first alternates from round to round. Of each case that both have:
medians over the rounds, and the median of the rounds' ratios. Close other programs first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def run(folder: Path, script: str, arguments: list[str]) -> dict[tuple, float]:
    """Seconds of each case, by what it is: the fields before the first that was measured."""
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.json"
        command = [sys.executable, str(folder / "benchmarks" / f"{script}.py")]
        subprocess.run(
            [*command, "--json", str(report), *arguments],
            env={**os.environ, "PYTHONPATH": str(folder / "pyext")},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        cases = json.loads(report.read_text())["cases"]
    seconds = {}
    for case in cases:
        names = list(case)
        first = next(i for i, name in enumerate(names) if name.endswith("_s"))
        time = case.get("lexforge_s") or case.get("median_s") or 1 / case["pairs_per_s"]
        seconds[tuple(str(case[name]) for name in names[:first])] = time
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("script", help="its name, or NAME_THERE:NAME_HERE")
    parser.add_argument("--rounds", type=int, default=5)
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, arguments = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    there, _, here = options.script.partition(":")
    sides = [(options.before.resolve(), there), (HERE, here or there)]
    times: list[list[dict[tuple, float]]] = [[], []]
    for number in range(options.rounds):
        for side in (0, 1) if number % 2 else (1, 0):
            times[side].append(run(*sides[side], arguments))
    print("| case | before | now | now / before, median (least, most) |")
    print("|---|---|---|---|")
    for case in times[0][0]:
        if case not in times[1][0]:
            continue
        before, now = ([found[case] for found in side] for side in times)
        ratios = [b / a for a, b in zip(before, now, strict=True)]
        milliseconds = (1e3 * statistics.median(side) for side in (before, now))
        cells = " | ".join(f"{each:.2f} ms" for each in milliseconds)
        told = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}, {max(ratios):.3f})"
        print(f"| {', '.join(case)} | {cells} | {told} |")


if __name__ == "__main__":
    main()
