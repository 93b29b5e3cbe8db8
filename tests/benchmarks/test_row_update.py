"""benchmarks/row_update.py on sizes of no interest: every case runs and is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "row_update.py"
SIZES = ["--rows", "50", "--dim", "8", "--ids", "90", "--repeats", "1", "--threads", "1"]


def test_script(tmp_path):
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *SIZES, "--json", str(report)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records = json.loads(report.read_text())["cases"]
    assert {(record["optimizer"], record["case"].split(",")[0]) for record in records} == {
        (optimizer, library)
        for optimizer in ("adam", "lazy_adam", "adagrad", "sgd")
        for library in ("lexforge", "torch")
    }
    assert all(record["median_s"] > 0 for record in records)
    assert all(len(line.split("|")) == 8 for line in done.stdout.splitlines())
