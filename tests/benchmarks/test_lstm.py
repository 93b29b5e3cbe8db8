"""benchmarks/lstm.py on sizes of no interest: every program runs and is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "lstm.py"


def test_script(tmp_path):
    report = tmp_path / "report.json"
    sizes = ["--texts", "3", "--longest", "6", "--inputs", "4", "--hidden", "5"]
    command = [sys.executable, str(SCRIPT), *sizes, "--repeats", "1", "--threads", "1"]
    done = subprocess.run(
        [*command, "--json", str(report)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    records = json.loads(report.read_text())["cases"]
    assert [x["case"] for x in records] == ["lexforge", "tokens", "padded", "packed"]
    assert all(x["texts_per_s"] > 0 for x in records)
