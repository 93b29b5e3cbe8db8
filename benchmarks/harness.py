"""What the benchmark scripts share: timing, the environment header, the JSON report."""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch.utils import benchmark

import lexforge
from lexforge._files import replacing

CALLS = 5  # of one work between two events of a GPU
BEGIN = time.perf_counter()


def processor(cpu_info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor and its generation or model: virtual machines have one name for several."""
    lines = cpu_info.read_text().partition("\n\n")[0].splitlines() if cpu_info.exists() else []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = told.get("model name") or platform.processor()
    if "cpu family" not in told:
        return name
    family, model = int(told["cpu family"]), int(told["model"])
    if told.get("vendor_id") != "AuthenticAMD":
        return f"{name} (family {family}, model {model})"
    third = model < 0x10 or 0x20 <= model < 0x60
    zen = {23: "Zen 2 or before", 25: "Zen 3" if third else "Zen 4", 26: "Zen 5"}.get(family)
    return f"{name} ({zen or f'family {family}'})"


@functools.cache
def environment(device: str = "cpu") -> dict[str, object]:
    """Where and with what a benchmark runs."""
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    cuda = device == "cuda"
    return {
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "compiler": lexforge.build_info().get("compiler"),
        "cpu": processor(),
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


class TurnTaker(Protocol):
    """A side that does its steps in turns."""

    rates: list[float]

    def turn(self, count: int) -> None:
        """So many steps, whose rate is noted."""

    def record(self) -> dict:
        """What is known of it so far."""


class Contestant:
    """A side in a process of its own, which waits for its turns and sees no other's memory.

    Args:
        command: of the process, which calls :func:`take_turns`.
    """

    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request: int) -> dict:
        """A turn of so many steps: the side's record so far."""
        self.process.stdin.write(f"{request}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"a side ended early, with status {self.process.wait()}")
        return json.loads(answer)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def take_turns(side: TurnTaker) -> None:
    """Turns of as many steps as standard input says; the first one is not counted."""
    for number, line in enumerate(sys.stdin):
        side.turn(int(line))
        print(json.dumps(side.record()), flush=True)
        if number == 0:
            side.rates.clear()


def write_report(path: Path, device: str, cases: list[dict], complete: bool = True) -> None:
    """The JSON file of one script: the environment and one record per case."""
    report = {"environment": environment(device), "complete": complete, "cases": cases}
    with replacing(path) as file:
        file.write(json.dumps(report, indent=2).encode() + b"\n")


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """``--json`` and ``--budget``, which `Report` takes."""
    parser.add_argument("--json", type=Path, help="file for the figures, whole after every case")
    parser.add_argument(
        "--budget",
        type=float,
        default=math.inf,
        metavar="SECONDS",
        help="begin no case later than this after the start",
    )


class Report:
    """The cases of one script, on disk after each of them, as far as the time goes.

    Args:
        options: with ``json`` and ``budget`` (`add_report_options`).
        device: of the environment.
    """

    def __init__(self, options: argparse.Namespace, device: str):
        self.cases: list[dict] = []
        self._options, self._device = options, device

    def add(self, *cases: dict) -> None:
        """Writes the cases down; ends the script, as a success, where its time is over."""
        self.cases += cases
        self._write(complete=False)
        if time.perf_counter() - BEGIN > self._options.budget:
            print(f"out of time after {len(self.cases)} cases", flush=True)
            raise SystemExit(0)

    def close(self) -> None:
        """After the last case."""
        self._write(complete=True)

    def _write(self, complete: bool) -> None:
        if self._options.json:
            write_report(self._options.json, self._device, self.cases, complete)
