"""The parts of benchmarks/gpu.py that need no GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so():
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "make gpu: " in done.stderr
    assert "nothing was run" in done.stderr


def test_missing_packages_are_named(gpu, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        gpu.importlib.util, "find_spec", lambda name: None if name == "pybind11" else find(name)
    )
    assert gpu.missing().endswith(" lacks pybind11")


def test_a_command_passes_fails_or_runs_out_of_time(gpu):
    passed = gpu.run([sys.executable, "-c", "print('hello')"], 60)
    assert passed["outcome"] == "passed"
    assert "output" not in passed
    failed = gpu.run([sys.executable, "-c", "print('reason'); raise SystemExit(3)"], 60)
    assert failed["outcome"] == "failed"
    assert "reason" in failed["output"]
    environment = gpu.run(
        [sys.executable, "-c", "import os; assert os.environ['GREETING'] == 'yes'"],
        60,
        GREETING="yes",
    )
    assert environment["outcome"] == "passed"


def test_a_stage_out_of_time_takes_its_children_along(gpu, tmp_path):
    """A grandchild left alive would keep the pipe open and the clock running."""
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    start = time.monotonic()
    result = gpu.run([sys.executable, "-c", parent], 3)
    assert result["outcome"] == "out of time"
    assert time.monotonic() - start < 30
    pid = int(pid_file.read_text())
    for _ in range(100):
        try:
            # A killed process that nobody has waited for yet is still there, as a zombie.
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return
            os.kill(pid, 0)
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.1)
    pytest.fail("the grandchild is still running")


def test_the_clock_gives_shares_of_what_is_left(gpu):
    clock = gpu.Clock(100)
    assert 29 < clock.left(0.3) <= 30
    assert 99 < clock.left() <= 100
    clock.end = time.monotonic() + 5
    assert 4 < clock.left(0.3) <= 5
    clock.end = time.monotonic() - 5
    assert clock.left() == 1


def test_results_are_named_after_the_gpu_and_replaced_whole(gpu, tmp_path):
    assert gpu.slug("NVIDIA H200") == "nvidia-h200"
    assert gpu.slug("NVIDIA GeForce RTX 4090 (Laptop)") == "nvidia-geforce-rtx-4090-laptop"
    record = {"environment": {"gpu": "NVIDIA H200"}, "build": {"outcome": "passed"}}
    for date in (1, 2):
        record["environment"]["date"] = date
        path = gpu.write(record, tmp_path / "results")
        assert json.loads(path.read_text()) == record
    assert [entry.name for entry in path.parent.iterdir()] == ["nvidia-h200.json"]


@pytest.mark.parametrize("broken", [None, "build_ext", "pytest", "--device"])
def test_every_stage_is_recorded(gpu, monkeypatch, tmp_path, broken):
    """The whole course with commands that only pretend."""
    commands = []

    def pretend(command, seconds, **environment):
        commands.append(command)
        assert 1 <= seconds <= 600
        if "--json" in command:
            Path(command[command.index("--json") + 1]).write_text('{"cases": []}')
        return {"outcome": "failed" if broken in command else "passed", "seconds": 0.0}

    monkeypatch.setattr(gpu, "run", pretend)
    monkeypatch.setattr(gpu, "missing", lambda: None)
    monkeypatch.setattr(gpu, "environment", lambda: {"gpu": "NVIDIA Test"})
    monkeypatch.setattr(gpu.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(tmp_path)])
    assert gpu.main() == (0 if broken is None else 1)
    record = json.loads((tmp_path / "nvidia-test.json").read_text())
    assert record["build"]["outcome"] == ("failed" if broken == "build_ext" else "passed")
    if broken == "build_ext":
        assert len(commands) == 1
        return
    assert list(record["sanitizer"]) == ["memcheck", "racecheck"]
    assert set(record["benchmarks"]) == {path.stem for path in gpu.benchmark_scripts()}
    assert {"cooccurrence", "sampling", "skipgram_stream"} <= set(record["benchmarks"])
    assert all(result["results"] == {"cases": []} for result in record["benchmarks"].values())


def test_failures_are_named(gpu):
    record = {
        "build": {"outcome": "passed"},
        "tests": {"outcome": "failed"},
        "sanitizer": {"memcheck": {"outcome": "compute-sanitizer is not installed"}},
        "benchmarks": {"skipgram": {"outcome": "failed"}, "sampling": {"outcome": "out of time"}},
    }
    assert gpu.failed(record) == ["tests", "skipgram"]
    assert gpu.failed({"build": {"outcome": "failed"}}) == ["build"]


def test_test_counts_are_read(gpu, tmp_path):
    assert gpu.test_counts(tmp_path / "none.xml") == {}
    (tmp_path / "test_one.py").write_text("def test_a(): pass\ndef test_b(): assert False\n")
    report = tmp_path / "report.xml"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", "-c", os.devnull, "."],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert gpu.test_counts(report) == {"tests": 2, "failures": 1, "errors": 0, "skipped": 0}


def test_the_op_families_and_scripts_are_found(gpu):
    assert str(SCRIPT.parents[1] / "tests" / "word2vec") in gpu.op_test_folders()
    assert all('"--device"' in script.read_text() for script in gpu.benchmark_scripts())
    assert SCRIPT not in gpu.benchmark_scripts()
