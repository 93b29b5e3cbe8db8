"""The benchmark script on a size of no interest: every case runs and is recorded."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "cosine_top_k.py"
SIZES = ["--rows", "300", "--dim", "8", "--queries", "1", "5", "--threads", "1", "--repeats", "1"]


def test_script(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, str(SCRIPT), *SIZES, "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = json.loads(report.read_text())["cases"]
    found = {(record["case"], record["dtype"], record["queries"]) for record in records}
    programs = {("lexforge", "float32"), ("lexforge", "bfloat16")}
    programs |= {("torch", "float32"), ("torch", "bfloat16")}
    if importlib.util.find_spec("gensim"):
        programs.add(("gensim", "float32"))
    assert found == {(*program, count) for program in programs for count in (1, 5)}
    assert all(record["queries_per_s"] > 0 for record in records)
