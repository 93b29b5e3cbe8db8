"""benchmarks/conv_max_pool.py on sizes of no interest: every case runs and is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "conv_max_pool.py"


def test_script(tmp_path):
    report = tmp_path / "report.json"
    sizes = ["--texts", "3", "--length", "20", "--vocab-size", "64", "--dim", "8"]
    sizes += ["--channels", "4", "--repeats", "1", "--threads", "1"]
    command = [sys.executable, str(SCRIPT), *sizes, "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = json.loads(report.read_text())["cases"]
    assert len(records) == 2 * 2 * 2
    assert {record["layer"] for record in records} == {"lexforge", "torch"}
    assert all(record["texts_per_s"] > 0 for record in records)
