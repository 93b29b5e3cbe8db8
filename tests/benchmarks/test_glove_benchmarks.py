"""The GloVe benchmark scripts on sizes of no interest: every case runs and is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SIZES = ["--vocab-size", "64", "--entries", "500", "--dim", "8", "--seconds", "0.01"]


@pytest.mark.parametrize(
    ("script", "options", "cases"),
    [
        ("glove_loss", [], {"lexforge", "torch, index", "torch, embedding"}),
        (
            "glove_train",
            ["--optimizer", "adagrad", "adam", "--parts", "3"],
            {"lexforge adagrad", "lexforge adam", "torch, 16384 entries a batch"},
        ),
    ],
)
def test_script(script, options, cases, tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *SIZES, "--threads", "1", *options]
    done = subprocess.run(
        [*command, "--json", str(report)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    records = json.loads(report.read_text())["cases"]
    assert {record["case"] for record in records} == cases
    assert all(record["entries_per_s"] > 0 for record in records)
    assert all(len(line.split("|")) == 8 for line in done.stdout.splitlines())
