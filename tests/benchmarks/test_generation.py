"""The benchmark scripts of generation on sizes of no interest: every case runs and is recorded."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def cases(tmp_path, script, *words):
    report = tmp_path / "report.json"
    command = [sys.executable, str(FOLDER / script), *words, "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(report.read_text())["cases"]


def test_decode_attention(tmp_path):
    sizes = ["--lengths", "20", "--outputs", "40", "--inputs", "16", "--threads", "1"]
    records = cases(tmp_path, "decode_attention.py", *sizes, "--repeats", "1", "--batch", "2")
    found = {(record["case"], record["what"], record["dtype"]) for record in records}
    assert found == {
        (name, what, dtype)
        for name in ("lexforge", "torch")
        for what in ("attention", "linear")
        for dtype in ("float32", "bfloat16")
    }
    assert all(record["bytes_per_s"] > 0 for record in records)


def test_gpt_generate(tmp_path):
    sizes = ["--size", "tiny", "--tokens", "9", "--repeats", "1", "--threads", "1", "--batch", "2"]
    records = cases(tmp_path, "gpt_generate.py", *sizes, "--dtype", "float32")
    programs = {"lexforge", "generate"}
    if importlib.util.find_spec("transformers"):
        programs.add("transformers")
    assert {record["case"] for record in records} == programs
    assert all(record["tokens_per_s"] > 0 and record["same_tokens"] for record in records)
