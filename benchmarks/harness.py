"""What the benchmark scripts share: timing, the environment header, the JSON report."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils import benchmark

import lexforge
from lexforge._files import replacing


def environment(device: str = "cpu") -> dict[str, object]:
    """Where and with what a benchmark runs."""
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    cpu_info = Path("/proc/cpuinfo")
    models = [
        line.partition(": ")[2]
        for line in (cpu_info.read_text().splitlines() if cpu_info.exists() else [])
        if line.startswith("model name")
    ]
    cuda = device == "cuda"
    return {
        "commit": commit,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "compiler": lexforge.build_info().get("compiler"),
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu_capability": lexforge.cpu_capability(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
    }


def measure(work: Callable[[], object], threads: int, seconds: float = 1.0) -> dict[str, float]:
    """Median, inter-quartile range and best of a call, in seconds; waits for the GPU."""
    timer = benchmark.Timer("work()", globals={"work": work}, num_threads=threads)
    timing = timer.blocked_autorange(min_run_time=seconds)
    return {
        "median_s": timing.median,
        "iqr_s": timing.iqr,
        "best_s": min(timing.times),
        "repeats": len(timing.times),
    }


def write_report(path: Path, device: str, cases: list[dict]) -> None:
    """The JSON file of one script: the environment and one record per case."""
    report = {"environment": environment(device), "cases": cases}
    with replacing(path) as file:
        file.write(json.dumps(report, indent=2).encode() + b"\n")
