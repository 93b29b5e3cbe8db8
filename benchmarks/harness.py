"""What the benchmark scripts share: timing, the environment header, the JSON report."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils import benchmark

import lexforge
from lexforge._files import replacing

CALLS = 5  # of one work between two events of a GPU


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


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Seconds of one call; on a GPU of the kernels alone, where they outlast their launches."""
    if device != "cuda":
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(CALLS):
        work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / CALLS


def alternate(
    works: dict[str, Callable[[], object]],
    repeats: int,
    device: str,
    most_seconds: float = math.inf,
) -> dict[str, list[float]]:
    """Seconds of every call, one of each work in turn, after a round that is not counted.

    Three rounds at least; fewer than `repeats` where they take more than `most_seconds`.
    What that first round shows to be impossible here (a backend of torch without such a mask or
    dtype) is left out.
    """
    times: dict[str, list[float]] = {}
    for name, work in works.items():
        try:
            seconds_of(work, device)
        except (RuntimeError, ValueError) as reason:
            if name == "lexforge":
                raise
            print(f"  {name}: {str(reason).splitlines()[0][:90]}", flush=True)
        else:
            times[name] = []
    end = time.perf_counter() + most_seconds
    for number in range(repeats):
        if number >= 3 and time.perf_counter() > end:
            break
        for name, measured in times.items():
            measured.append(seconds_of(works[name], device))
    return times


def process_bytes(field: str) -> int:
    """A figure of this process's /proc status, such as VmRSS."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def write_report(path: Path, device: str, cases: list[dict]) -> None:
    """The JSON file of one script: the environment and one record per case."""
    report = {"environment": environment(device), "cases": cases}
    with replacing(path) as file:
        file.write(json.dumps(report, indent=2).encode() + b"\n")
