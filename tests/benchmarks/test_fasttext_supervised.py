"""benchmarks/fasttext_supervised.py: single calls on small models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fasttext_supervised.py"


def test_single_calls(tmp_path):
    (tmp_path / "t").write_text("__label__a one two three\n__label__b four five six\n" * 20)
    given = [*("--train", tmp_path / "t", "--test", tmp_path / "t"), "--json", tmp_path / "r.json"]
    command = [sys.executable, SCRIPT, "--calls", "--repeats", "1", "--dim", "4", *given]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cases = [
        case
        for case in json.loads((tmp_path / "r.json").read_text())["cases"]
        if case["program"] == "lexforge"
    ]
    calls = {(case["model"], case["case"]) for case in cases}
    assert len(calls) == len(cases) == 18 and ("classifier", "predict") in calls
    assert all(0 < case["best_us"] < 1e6 for case in cases)
