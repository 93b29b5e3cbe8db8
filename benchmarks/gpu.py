"""Everything that needs a GPU, in under ten minutes: `make gpu`.

    python benchmarks/gpu.py [--minutes 10] [--output benchmarks/results]

Builds the CUDA kernels in place, runs the tests that use them, runs compute-sanitizer (memcheck,
racecheck) over the op tests where the tool exists, runs every benchmark script that has a
``--device`` option, and writes ``<output>/<gpu name>.json``. Each stage gets what is left of the
time; a stage that runs out of it is recorded as such and the next one starts. Exits with 1 when
something failed, or when there is no GPU.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("memcheck", "racecheck")
# Shares of the whole time that the stages may take at most, in order.
BUILD, TESTS, SANITIZER = 0.3, 0.25, 0.15


class Clock:
    """What is left of the time."""

    def __init__(self, seconds: float):
        self.total = seconds
        self.end = time.monotonic() + seconds

    def left(self, share: float = 1.0) -> float:
        """Seconds that a stage may take: its share of the whole, or less if less is left."""
        return max(1.0, min(share * self.total, self.end - time.monotonic()))


def run(command: list[str], seconds: float, **environment: str) -> dict:
    """Runs a command in the repository; its outcome, duration and the end of its output."""
    start = time.monotonic()
    print("$", *command, flush=True)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "pyext"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        outcome = "passed" if process.returncode == 0 else "failed"
    except subprocess.TimeoutExpired:
        # Its children too: compute-sanitizer and pytest have some, which would keep the pipe open.
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        outcome = "out of time"
    result = {"outcome": outcome, "seconds": round(time.monotonic() - start, 1)}
    if outcome != "passed":
        result["output"] = output[-4000:]
        print(result["output"])
    print(f"  {outcome} in {result['seconds']} s", flush=True)
    return result


def first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip().split("\n")[0] or None


def environment() -> dict:
    """The header of the results: what was measured, on what, when."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": first_line("git", "rev-parse", "HEAD"),
        "uncommitted_changes": bool(first_line("git", "status", "--porcelain")),
        "gpu": torch.cuda.get_device_name(0),
        "capability": "{}.{}".format(*torch.cuda.get_device_capability(0)),
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "driver": first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
    }


def missing() -> str | None:
    """Why nothing can be run here, or None."""
    packages = ("torch", "numpy", "setuptools", "pybind11", "pytest")
    if absent := [name for name in packages if importlib.util.find_spec(name) is None]:
        return f"{sys.executable} lacks {', '.join(absent)}"
    import torch

    if not torch.version.cuda:
        return f"this torch ({torch.__version__}) has no CUDA"
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no GPU"
    return None


def slug(name: str) -> str:
    """A file name of the GPU's name: "NVIDIA H200" is nvidia-h200."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "gpu"


def test_counts(report: Path) -> dict:
    """The totals of a JUnit file; empty where there is none."""
    if not report.exists() or report.stat().st_size == 0:
        return {}
    suite = ElementTree.parse(report).getroot().find("testsuite")
    return {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}


def pytest_command(paths: list[str], *options: str) -> list[str]:
    # A module that needs a package which is not here must not keep the others from running.
    switches = ["-q", "-p", "only_cuda_tests", "--continue-on-collection-errors"]
    return [sys.executable, "-m", "pytest", *switches, *paths, *options]


def plugin_path() -> str:
    return os.pathsep.join([str(ROOT / "pyext"), str(ROOT / "tests" / "cuda_emulation")])


def run_tests(seconds: float, scratch: Path) -> dict:
    report = scratch / "tests.xml"
    command = pytest_command([str(ROOT / "tests")], f"--junitxml={report}")
    return run(command, seconds, PYTHONPATH=plugin_path()) | test_counts(report)


def op_test_folders() -> list[str]:
    """The test folders of the op families that have CUDA kernels."""
    families = sorted({path.parent.name for path in (ROOT / "csrc").glob("**/*_ops_cuda.cpp")})
    return [str(ROOT / "tests" / name) for name in families if (ROOT / "tests" / name).is_dir()]


def run_sanitizer(tool: str, seconds: float) -> dict:
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"outcome": "compute-sanitizer is not installed"}
    command = [program, f"--tool={tool}", "--error-exitcode=1", *pytest_command(op_test_folders())]
    # Without torch's cache every tensor is an allocation of its own, whose bounds the tool knows.
    return run(command, seconds, PYTHONPATH=plugin_path(), PYTORCH_NO_CUDA_MEMORY_CACHING="1")


def benchmark_scripts() -> list[Path]:
    """The benchmark scripts that can run on a GPU."""
    here = Path(__file__).resolve()
    return [
        path
        for path in sorted(here.parent.glob("*.py"))
        if path != here and '"--device"' in path.read_text()
    ]


def run_benchmark(script: Path, seconds: float, scratch: Path) -> dict:
    results = scratch / f"{script.stem}.json"
    command = [sys.executable, str(script), "--device", "cuda", "--json", str(results)]
    outcome = run(command, seconds)
    if results.exists():
        outcome["results"] = json.loads(results.read_text())
    return outcome


def write(record: dict, folder: Path) -> Path:
    """Writes the record under the GPU's name, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{slug(record['environment']['gpu'])}.json"
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    temporary.replace(target)
    return target


def failed(record: dict) -> list[str]:
    """The stages that failed; a missing tool or a lack of time is no failure."""
    stages = {"build": record["build"], "tests": record.get("tests", {})}
    stages |= record.get("sanitizer", {}) | record.get("benchmarks", {})
    return [name for name, result in stages.items() if result.get("outcome") == "failed"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="time for everything")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    if reason := missing():
        print(f"make gpu: {reason}; nothing was run", file=sys.stderr)
        return 1
    clock = Clock(60 * options.minutes)
    record = {"environment": environment()}
    setup = [sys.executable, "setup.py", "build_ext", "--inplace"]
    record["build"] = run(setup, clock.left(BUILD), LEXFORGE_CUDA="1")
    if record["build"]["outcome"] == "passed":
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            record["tests"] = run_tests(clock.left(TESTS), scratch)
            record["sanitizer"] = {
                tool: run_sanitizer(tool, clock.left(SANITIZER)) for tool in TOOLS
            }
            scripts = benchmark_scripts()
            record["benchmarks"] = {}
            for number, script in enumerate(scripts):
                share = (clock.end - time.monotonic()) / clock.total / (len(scripts) - number)
                record["benchmarks"][script.stem] = run_benchmark(
                    script, clock.left(share), scratch
                )
    print(f"written: {write(record, options.output)}")
    for name in failed(record):
        print(f"make gpu: {name} failed", file=sys.stderr)
    return 1 if failed(record) else 0


if __name__ == "__main__":
    raise SystemExit(main())
