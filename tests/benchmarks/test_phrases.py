"""benchmarks/phrases.py on a text of no interest: every case runs and is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "phrases.py"


def test_script(tmp_path):
    text, report = tmp_path / "text.txt", tmp_path / "report.json"
    text.write_text("new york is big\n\nthe old new york\n" * 20)
    command = [sys.executable, str(SCRIPT), "--text", str(text), "--repeats", "1"]
    done = subprocess.run(
        [*command, "--threads", "1", "--json", str(report)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records = json.loads(report.read_text())["cases"]
    assert {record["case"] for record in records} == {
        f"{work}, {kind}" for work in ("count", "join") for kind in ("file", "lists")
    }
    assert all(record["words_per_s"] > 0 and record["words"] == 160 for record in records)
