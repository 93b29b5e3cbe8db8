"""benchmarks/embedding_bag.py on sizes of no interest: every case runs and is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "embedding_bag.py"


def test_script(tmp_path):
    report = tmp_path / "report.json"
    sizes = ["--vocab-size", "64", "--ids", "100", "--dim", "8", "--repeats", "1", "--threads", "1"]
    command = [sys.executable, str(SCRIPT), *sizes, "--dtype", "float32", "bfloat16"]
    done = subprocess.run(
        [*command, "--json", str(report)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    records = json.loads(report.read_text())["cases"]
    assert len(records) == 5 * 2 * 2 * 2
    assert {record["layer"] for record in records} == {"lexforge", "torch"}
    assert all(record["ids_per_s"] > 0 for record in records)
    assert all(len(line.split("|")) == 10 for line in done.stdout.splitlines())
