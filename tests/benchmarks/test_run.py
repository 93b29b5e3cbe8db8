"""Results and what they measure."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


harness, run = load("harness"), load("run")
EPYC = "vendor_id\t: AuthenticAMD\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: AMD EPYC\n\nmore"


@pytest.mark.parametrize(
    ("family", "model", "zen"),
    [
        (25, 1, "Zen 3"),
        (25, 17, "Zen 4"),
        (25, 0x50, "Zen 3"),
        (25, 0x61, "Zen 4"),
        (26, 2, "Zen 5"),
    ],
)
def test_generations_of_processors(tmp_path, family, model, zen):
    (tmp_path / "cpuinfo").write_text(EPYC.format(family, model))
    assert harness.processor(tmp_path / "cpuinfo") == f"AMD EPYC ({zen})"


def test_other_processors(tmp_path):
    (tmp_path / "cpuinfo").write_text(
        "vendor_id\t: GenuineIntel\nmodel name\t: Some Xeon @ 2.0 GHz\n"
    )
    assert harness.processor(tmp_path / "cpuinfo") == "Some Xeon @ 2.0 GHz"


def test_results_that_are_older_than_their_code(tmp_path):
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def commit(file: str) -> str:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
        git("add", file)
        git("commit", "-qm", file)
        return git("rev-parse", "HEAD")

    git("init", "-q")
    first = commit("csrc/glove/glove.h")
    result = tmp_path / "glove_loss.json"
    environment = {"commit": first, "date": "2026-01-02", "cpu": "AMD EPYC (Zen 5)", "cores": 2}
    result.write_text(json.dumps({"environment": environment}))
    assert run.origin(result) == f"AMD EPYC (Zen 5), 2 cores; commit {first[:7]}; 2026-01-02"
    commit("csrc/attention/attention.h")
    assert run.changes_since(result, tmp_path) == ""
    commit("csrc/common/simd.h")
    commit("benchmarks/glove_loss.py")
    assert "older than its code: 2 commits, the last 20" in run.changes_since(result, tmp_path)
    environment["commit"] = "0" * 40
    result.write_text(json.dumps({"environment": environment}))
    assert run.changes_since(result, tmp_path) == "its commit is not in this repository"


def test_every_result_has_its_origin():
    for result in (run.HERE / "results").glob("*.json"):
        assert set(run.MEASURED) >= {result.stem}
        origin = run.origin(result)
        assert ("Zen" in origin or "model" in origin) and "no date" not in origin
