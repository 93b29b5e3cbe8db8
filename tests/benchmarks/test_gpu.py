"""benchmarks/gpu without a GPU: it ends in time, loses nothing when killed, and goes on."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
PROGRAM = BENCHMARKS / "gpu"
MODULES = ("processes", "record", "lines", "libraries", "clocks", "session", "course", "table")


@contextlib.contextmanager
def modules(*names):
    """Modules of the program and its scripts, which are gone from this process afterwards."""
    # Folders of tests have some of their names.
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    before = set(sys.modules)
    sys.path[:0] = [str(PROGRAM), str(BENCHMARKS)]
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        del sys.path[:2]
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(str(BENCHMARKS)):
                del sys.modules[name]
        sys.modules.update(hidden)


@pytest.fixture(scope="module")
def gpu():
    with modules(*MODULES) as found:
        yield found


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


# -- programs and their time ---------------------------------------------------------------------


def run(gpu, tmp_path, code, seconds=60.0, **environment):
    output = tmp_path / "output.txt"
    child = gpu.processes.Child(python(code), seconds, output, tmp_path, environment)
    return gpu.processes.wait_for(child)


def test_a_program_passes_fails_or_runs_out_of_time(gpu, tmp_path):
    assert run(gpu, tmp_path, "print('hello')")["outcome"] == "passed"
    failed = run(gpu, tmp_path, "print('reason'); raise SystemExit(3)")
    assert (failed["outcome"], failed["status"], failed["output"]) == ("failed", 3, "reason\n")
    greets = "import os; assert os.environ['GREETING'] == 'yes'"
    assert run(gpu, tmp_path, greets, GREETING="yes")["outcome"] == "passed"
    late = run(gpu, tmp_path, "import time; print('begun'); time.sleep(60)", seconds=1)
    assert late["outcome"] == "out of time"
    assert late["output"].startswith("begun")
    assert late["seconds"] < 10


def test_a_program_is_asked_to_stop_first(gpu, tmp_path):
    code = """
import time
print("begun", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("saved")
"""
    late = run(gpu, tmp_path, code, seconds=1)
    assert (late["outcome"], late["output"]) == ("out of time", "begun\nsaved\n")
    stubborn = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    late = run(gpu, tmp_path, stubborn, seconds=1)
    assert (late["outcome"], late["status"]) == ("out of time", -signal.SIGKILL)
    assert late["seconds"] < 15


def ends(pid: int) -> bool:
    """Whether a process is gone within some seconds; a zombie is."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False


def test_a_program_out_of_time_takes_its_children_along(gpu, tmp_path):
    pid = tmp_path / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    run(gpu, tmp_path, f"import subprocess, sys; subprocess.run({python(child)!r})", seconds=3)
    assert ends(int(pid.read_text()))


def test_a_program_dies_with_the_one_that_started_it(tmp_path):
    """As at the end of a machine's time: nobody is asked."""
    pid = tmp_path / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(PROGRAM)!r})
from processes import Child, wait_for
folder = Path({str(tmp_path)!r})
wait_for(Child({python(child)!r}, 60, folder / "output.txt", folder, {{}}))
"""
    process = subprocess.Popen(python(parent))
    while not pid.exists() or not pid.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert ends(int(pid.read_text()))


def test_the_clock(gpu):
    clock = gpu.processes.Clock(100)
    assert clock.left(30) == 30
    assert 99 < clock.left() <= 100
    assert gpu.processes.Clock(100, time.monotonic() - 200).left(30) == 0


# -- the record ----------------------------------------------------------------------------------


def test_the_record_is_named_after_the_gpu_and_goes_on(gpu, tmp_path):
    assert gpu.record.short_name("NVIDIA H200") == "h200"
    assert gpu.record.short_name("NVIDIA GeForce RTX 4090 (Laptop)") == "geforce-rtx-4090-laptop"
    first = gpu.record.Record(tmp_path / "out", "NVIDIA H200")
    first.put("a", {"outcome": "passed", "figure": 1})
    second = gpu.record.Record(tmp_path / "out", "NVIDIA H200")
    assert second.passed("a") and not second.passed("b")
    second.put("b", {"outcome": "failed"})
    second.say("a line")
    data = json.loads((tmp_path / "out" / "h200.json").read_text())
    assert data == second.data
    assert data["cases"]["a"] == {"outcome": "passed", "figure": 1, "call": 1}
    assert data["cases"]["b"] == {"outcome": "failed", "call": 2}
    assert len(data["calls"]) == 2
    assert (tmp_path / "out" / "log.txt").read_text() == "a line\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"h200.json", "log.txt"}


# -- items: kernels and tests --------------------------------------------------------------------

CONFTEST = """
import pytest

@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    return request.param
"""
FAMILY = """
import os, signal, time
import pytest

def test_before(device):
    pass

def test_wrong(device):
    assert 1 + 1 == 3

def test_ruins_the_context(device):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")

def test_between(device):
    pytest.skip("not here")

def test_crashes(device):
    os.kill(os.getpid(), signal.SIGSEGV)

@pytest.mark.parametrize("seconds", [30])
def test_hangs(device, seconds):
    time.sleep(seconds)

def test_after(device):
    pass

def test_of_the_host():
    assert False, "this one has no device"
"""


def group(gpu, folder, name="family", stall=60.0, root=None):
    root = root or folder / "tests"
    options = ["-q", "-p", "device_tests", "-p", "no:cacheprovider", "-c", os.devnull]
    command = [sys.executable, "-m", "pytest", *options, f"--rootdir={root}", str(root)]
    environment = {"PYTHONPATH": str(PROGRAM), "LEXFORGE_TEST_DEVICES": "cuda"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # it starts sooner
    (folder / "scratch").mkdir(exist_ok=True)
    return gpu.lines.Group(
        name,
        command,
        lines=folder / "tests.jsonl",
        scratch=folder / "scratch",
        folder=folder,
        environment=environment,
        stall=stall,
    )


def outcomes(group) -> dict[str, str]:
    return {
        re.sub(r".*::test_|\[.*", "", item): line["outcome"]
        for item, line in group.items().items()
        if item is not None
    }


@pytest.fixture
def family(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "conftest.py").write_text(CONFTEST)
    (tmp_path / "tests" / "test_family.py").write_text(FAMILY)
    return tmp_path


def test_the_rest_of_a_ruined_family_runs_in_a_fresh_process(gpu, family):
    found = group(gpu, family, stall=6.0)
    gpu.lines.run_groups([found], 2, gpu.processes.Clock(90))
    assert outcomes(found) == {
        "before": "passed",
        "wrong": "failed",
        "ruins_the_context": "failed",
        "between": "skipped",
        "crashes": "crashed",
        "hangs": "hung",
        "after": "passed",
    }
    result = found.result()
    assert (result["outcome"], result["total"], result["starts"]) == ("failed", 7, 4)
    assert "1 + 1" in next(text for item, text in result["failed"].items() if "wrong" in item)
    assert "SIGSEGV" in next(text for item, text in result["failed"].items() if "crash" in item)
    # A later call does again what has not passed, and nothing else.
    text = FAMILY.replace("== 3", "== 2").replace("raise RuntimeError", "str")
    text = text.replace("os.kill(", "max(").replace("time.sleep(seconds)", "pass")
    text = text.replace("def test_before(device):\n    pass", "def test_before(device):\n    1 / 0")
    (family / "tests" / "test_family.py").write_text(text)
    again = group(gpu, family)
    gpu.lines.run_groups([again], 2, gpu.processes.Clock(90))
    result = again.result()
    assert (result["outcome"], result["starts"]) == ("passed", 1)
    assert result["counts"] == {"passed": 6, "skipped": 1}
    nothing = group(gpu, family)
    gpu.lines.run_groups([nothing], 2, gpu.processes.Clock(90))
    assert nothing.result() == {**result, "starts": 0}


def test_families_out_of_time_say_so(gpu, family):
    slow = "import time\ndef test_slow(device):\n    time.sleep(60)\n"
    (family / "tests" / "test_family.py").write_text(slow)
    found, never = group(gpu, family), group(gpu, family, "never")
    told = []
    begin = time.monotonic()
    gpu.lines.run_groups([found, never], 1, gpu.processes.Clock(8), told.append)
    assert time.monotonic() - begin < 20
    assert told == [found, never]
    assert [x.result()["outcome"] for x in told] == ["out of time"] * 2
    assert outcomes(found) in ({"slow": "out of time"}, {})
    assert outcomes(never) == {}


def test_a_family_that_always_ends_at_once_is_given_up(gpu, family):
    (family / "tests" / "conftest.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    found = group(gpu, family)
    gpu.lines.run_groups([found], 1, gpu.processes.Clock(60))
    result = found.result()
    assert (result["outcome"], result["starts"]) == ("failed", 1)
    assert "SIGKILL" in result["problem"]


def test_torn_lines_are_left_out(gpu, tmp_path):
    path = tmp_path / "lines.jsonl"
    gpu.lines.Writer(path, "g").write("a", "passed")
    with path.open("a") as file:
        file.write('{"group": "g", "it')
    gpu.lines.mend(path)
    gpu.lines.Writer(path, "g").write("b", "passed")
    gpu.lines.mend(path)
    assert [line["item"] for line in gpu.lines.read_lines(path)] == ["a", "b"]


def test_errors_that_ruin_a_context_are_known(gpu):
    for text in (
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: misaligned address",
        "lexforge: cudaErrorLaunchFailure: unspecified launch failure",
        "CUDA error: device-side assert triggered",
    ):
        assert gpu.lines.is_fault(text)
    for text in ("CUDA out of memory", "CUDA error: invalid configuration argument", "1 != 2"):
        assert not gpu.lines.is_fault(text)


def test_the_op_families_have_their_test_files(gpu):
    files = [str(path.relative_to(ROOT)) for path in gpu.course.test_files(ROOT / "tests")]
    assert "tests/word2vec/test_word2vec_train.py" in files
    assert "tests/models/test_glove_device.py" in files
    first, later = "tests/attention/test_attention.py", "tests/models/test_bert.py"
    assert files.index(first) < files.index(later)
    assert "tests/word2vec/test_skipgram_batch.py" not in files


# -- the smoke program ---------------------------------------------------------------------------


def test_smoke_names_every_op_with_a_cuda_kernel():
    registered = set()
    for path in (ROOT / "csrc").glob("*/*_ops_cuda.cpp"):
        registered |= set(re.findall(r'm\.impl\("(\w+)"', path.read_text()))
    with modules("smoke") as found:
        items = found.smoke.ITEMS
    assert {op for item in items for op in item.ops} == registered
    assert len({item.name for item in items}) == len(items)


def test_smoke_finds_what_is_wrong(monkeypatch, capsys):
    """Items judge their op: a result that is a little off fails."""
    import torch

    from lexforge.ops.transformer import bias_activation

    with modules("smoke") as found:
        monkeypatch.setattr(sys, "argv", ["smoke.py", "--device", "cpu", "--only", "bfloat16, 97"])
        assert found.smoke.main() == 0
        assert "6 items, 0 failed" in capsys.readouterr().out
        op = bias_activation.bias_activation

        def off(*arguments, **options):
            return op(*arguments, **options) * 1.01

        monkeypatch.setattr(sys.modules["smoke_transformer"], "bias_activation", off)
        words = ["--only", "bias_activation, gelu, bfloat16", "philox"]
        monkeypatch.setattr(sys, "argv", ["smoke.py", "--device", "cpu", *words])
        assert found.smoke.main() == 1
        told = capsys.readouterr().out
        assert "4 items, 2 failed" in told
        assert "passed philox, counters" in told

        def faulty(device):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        item = found.smoke.Item("x", (), faulty)
        outcome, figures = found.smoke.run(item, torch.device("cpu"))
        assert (outcome, figures["fault"]) == ("failed", True)


# -- libraries -----------------------------------------------------------------------------------


def test_a_library_that_does_not_load_is_built(gpu, tmp_path, monkeypatch):
    """Here the build is a stub, which finds what is built already."""
    monkeypatch.delenv("LEXFORGE_OPS_LIBRARY", raising=False)
    built = [
        path
        for path in (ROOT / "pyext" / "lexforge").glob("*.so")
        if not path.name.startswith("_ops_cuda")  # whether that loads is no matter of this test
    ]
    given, scratch = tmp_path / "given", tmp_path / "scratch"
    given.mkdir()
    scratch.mkdir()
    for path in built:
        bad = path.name.startswith("_ops_cpu")
        (given / path.name).write_bytes(b"no library" if bad else path.read_bytes())
    package = gpu.libraries.Package(tmp_path / "work")
    commands = []

    def program(command, seconds, output, **environment):
        commands.append(Path(command[1]).name)
        if commands[-1] == "build.py":
            for path in built:
                if path.name.startswith(tuple(command[3:])):
                    shutil.copy(path, tmp_path / "work" / "lexforge")
            return {"outcome": "passed"}
        environment["PYTHONPATH"] = str(tmp_path / "work")
        child = gpu.processes.Child(command, seconds, output, tmp_path, environment)
        return gpu.processes.wait_for(child)

    def prepare(may_build):
        options = {"needs_cuda": False, "may_build": may_build}
        return gpu.libraries.prepare(package, given, program, scratch, **options)

    found = prepare(may_build=False)
    assert found["outcome"] == "failed"
    assert "_ops_cpu" in found["problems"]["_ops_cpu"]
    found = prepare(may_build=True)
    assert found["outcome"] == "passed", found
    assert found["built"]["names"] == ["_ops_cpu"]
    assert "_ops_cpu" in found["built"]["because"]["_ops_cpu"]
    assert found["problems"]["_ops_cpu"] is found["problems"]["_text_native"] is None
    assert commands == ["environment.py", "environment.py", "build.py", "environment.py"]


# -- the course ----------------------------------------------------------------------------------

# Programs that only pretend: a benchmark of eight cases, a test family of eight tests, and others.
DRIVER = f"""
import importlib.util, sys
sys.path[:0] = [{str(PROGRAM)!r}]
import course
from lines import Group

spec = importlib.util.spec_from_file_location("gpu_main", {str(PROGRAM / "__main__.py")!r})
main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(main)

BENCHMARK = '''
import json, os, sys, time
report, cases = sys.argv[sys.argv.index("--json") + 1], []
for number in range(8):
    time.sleep(0.1)
    cases.append(number)
    with open(report + ".new", "w") as file:
        json.dump({{"cases": cases}}, file)
    os.replace(report + ".new", report)
'''
FAMILY = '''
import time
from lines import Writer, left_out
writer, done = Writer.of_environment(), left_out()
writer.write(None, "collected", total=8)
for number in range(8):
    if str(number) not in done:
        writer.write(str(number), "started")
        time.sleep(0.1)
        writer.write(str(number), "passed")
'''

def environment(session, seconds):
    return {{"outcome": "passed"}}

def tests(session, seconds):
    groups = [
        Group(
            name,
            [sys.executable, "-c", FAMILY],
            lines=session.record.folder / "tests.jsonl",
            scratch=session.scratch,
            folder=session.scratch,
            environment=session.environment(),
        )
        for name in ("one", "two")
    ]
    return course.groups_of(session, groups, "tests", 2, seconds)

def script(session, name, *arguments):
    return [sys.executable, "-c", BENCHMARK, *map(str, arguments)]

main.Session.script = script
course.COURSE[:] = [
    course.Case("environment", 10, environment, always=True),
    course.Case("tests", 30, tests),
    course.benchmark("first", "x.py", "", 20, ""),
    course.benchmark("second", "x.py", "", 20, ""),
]
sys.exit(main.main())
"""


@pytest.fixture
def pretended(tmp_path):
    """The command of a course that only pretends, and its output folder."""
    driver, folder = tmp_path / "driver.py", tmp_path / "out"
    driver.write_text(DRIVER)
    folder.mkdir()
    (folder / "tests.jsonl").touch()
    command = [sys.executable, str(driver), "--stand-in", "--output", str(folder)]
    return [*command, "--work", str(tmp_path / "work"), "--seconds", "60"], folder


def done(folder: Path) -> set[tuple]:
    """What the output folder knows; it can be read at any time."""
    record = folder / "stand-in.json"
    known = set()
    if record.exists():
        for name, case in json.loads(record.read_text())["cases"].items():
            if case["outcome"] == "passed":
                known.add((name, "passed"))
            known |= {(name, number) for number in case.get("results", {}).get("cases", [])}
    for line in (folder / "tests.jsonl").read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            line = json.loads(line)
            if line["outcome"] == "passed":
                known.add((line["group"], line["item"]))
    return known


def test_killed_at_random_it_loses_nothing_and_goes_on(pretended):
    command, folder = pretended
    known: set[tuple] = set()
    for _ in range(5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0.3, 2.0))
        process.kill()
        process.wait()
        now = done(folder)
        assert known <= now
        known = now
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    everything = {(name, "passed") for name in ("environment", "tests", "first", "second")}
    everything |= {(name, number) for name in ("first", "second") for number in range(8)}
    everything |= {(name, str(number)) for name in ("one", "two") for number in range(8)}
    assert done(folder) == everything
    # What has passed was not run again.
    lines = [json.loads(line) for line in (folder / "tests.jsonl").read_text().splitlines() if line]
    passed = [(line["group"], line["item"]) for line in lines if line["outcome"] == "passed"]
    assert len(passed) == len(set(passed)) == 16
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert again.stdout.splitlines()[0].split()[:2] == ["passed", "environment"]
    assert again.stdout.splitlines()[1].startswith("stand-in")  # the table, with nothing between


def test_a_stopped_call_says_so_and_goes_on_with_what_is_named(pretended):
    command, folder = pretended
    command += ["--only", "first"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not any(name == "first" for name, _ in done(folder)):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=30)
    assert "stopped" in told
    case = json.loads((folder / "stand-in.json").read_text())["cases"]["first"]
    assert case["outcome"] == "unfinished"
    assert case["results"]["cases"]
    # Ten seconds must be left for a case to begin.
    late = subprocess.run([*command, "--seconds", "9"], capture_output=True, text=True, check=False)
    assert "out of time before environment" in late.stdout
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    cases = json.loads((folder / "stand-in.json").read_text())["cases"]
    assert (cases["first"]["outcome"], cases["first"]["call"]) == ("passed", 3)
    assert set(cases) == {"environment", "first"}


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine may have a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    command = [sys.executable, str(PROGRAM), "--output", str(tmp_path / "out")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert "nothing was run" in finished.stderr
    assert not (tmp_path / "out").exists()


SMI = """#!/bin/sh
while true; do echo "1980, 3201, 512.5, 41"; echo "345, 3201, [N/A], 40"; sleep 0.1; done
"""
TOOL = """#!/bin/sh
echo "$0 $*" >>{log}
while [ $# -gt 0 ]; do
  if [ "$1" = --help ]; then echo "--kernel-regex"; exit 0; fi
  if [ "$1" = --log-file ]; then file=$2; fi
  shift
done
if [ -n "$file" ]; then
  echo "========= Invalid __global__ write" >"$file"
  echo "========= ERROR SUMMARY: 1 error" >>"$file"
  exit 86
fi
echo '==PROF== noise'
echo '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"'
echo '"0","skipgram_pair_kernel<1, 8>(P)","Duration","ms","41.5"'
echo '"0","skipgram_pair_kernel<1, 8>(P)","DRAM Throughput","%","12.3"'
echo '"0","skipgram_pair_kernel<1, 8>(P)","Elapsed Cycles","cycle","1"'
"""


def stand_in(tmp_path, *only, path=os.environ["PATH"]):
    """Runs the real program without a GPU; what it did, and the cases of its record."""
    command = [sys.executable, str(PROGRAM), "--stand-in", "--output", str(tmp_path / "out")]
    command += ["--work", str(tmp_path / "work"), "--skip-build", "--seconds", "900"]
    command += ["--only", *only] if only else ["--tests", str(tmp_path / "tests")]
    variables = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    record = json.loads((tmp_path / "out" / "stand-in.json").read_text())
    return finished, record["cases"]


def test_tools_and_a_benchmark_on_the_stand_in(tmp_path):
    """The real program and scripts; the tools only pretend."""
    log = tmp_path / "tools.log"
    (tmp_path / "bin").mkdir()
    for name, text in {"compute-sanitizer": TOOL, "ncu": TOOL, "nvidia-smi": SMI}.items():
        tool = tmp_path / "bin" / name
        tool.write_text(text.replace("{log}", str(log)))
        tool.chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    finished, cases = stand_in(tmp_path, "memcheck", "ncu", "sampling", path=path)
    assert finished.returncode == 1
    assert finished.stderr == "make gpu: failed: memcheck\n"
    assert list(cases) == ["environment", "sampling", "memcheck", "ncu"]
    assert cases["sampling"]["outcome"] == "passed"
    assert cases["sampling"]["results"]["complete"] is True
    assert len(cases["sampling"]["results"]["cases"]) == 6
    assert cases["sampling"]["clocks"]["sm_mhz"] == [1980, 1980, 1980]
    memcheck = cases["memcheck"]
    assert (memcheck["outcome"], memcheck["summary"]) == ("failed", "1 error")
    assert "Invalid __global__ write" in memcheck["found"]
    figures = {"Duration": "41.5 ms", "DRAM Throughput": "12.3 %"}
    assert cases["ncu"]["kernels"] == [{"kernel": "skipgram_pair_kernel", **figures}]
    calls = log.read_text()
    assert "--tool=memcheck --error-exitcode=86 --log-file" in calls
    assert "--kernel-regex kns=lexforge" in calls
    assert "--clock-control none --set basic" in calls
    assert re.search(r"memcheck +0 errors +1 error +no", finished.stdout)


@pytest.mark.slow
def test_the_whole_course_on_the_stand_in(tmp_path):
    family = tmp_path / "tests" / "probe"
    family.mkdir(parents=True)
    (family / "conftest.py").write_text(CONFTEST)
    (family / "test_one.py").write_text("def test_one(device):\n    pass\n")
    finished, cases = stand_in(tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    with modules("course") as found:
        assert list(cases) == [case.name for case in found.course.COURSE]
    outcomes = {name: case["outcome"] for name, case in cases.items()}
    needs_a_gpu = {case for case, outcome in outcomes.items() if outcome == "missing"}
    assert needs_a_gpu > {"bert", "attention-float32"}
    assert outcomes["smoke"] in ("passed", "out of time")  # on a busy machine
    rest = set(outcomes) - needs_a_gpu - {"smoke"}
    assert all(outcomes[name] == "passed" for name in rest), outcomes


# -- benchmark scripts ---------------------------------------------------------------------------


class ParsedError(Exception):
    """Ends a script when it has read its options."""


def test_scripts_know_the_options_they_are_given(gpu, monkeypatch):
    """A word that argparse refuses would cost the first minute on a GPU."""
    parse = argparse.ArgumentParser.parse_args
    seen = []

    def stop(self, *arguments):
        seen.append(parse(self, *arguments))
        raise ParsedError

    def script(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with modules(name.removesuffix(".py")) as found, pytest.raises(ParsedError):
            getattr(found, name.removesuffix(".py")).main()
        return [name]

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    session = SimpleNamespace(
        stand_in=False,
        device="cuda",
        scratch=Path("nowhere"),
        clock=gpu.processes.Clock(100),
        record=SimpleNamespace(cases={}, put=lambda *x: None),
        run=lambda *x, **y: {"outcome": "passed"},
        script=script,
    )
    cases = [case for case in gpu.course.COURSE if "benchmark." in case.work.__qualname__]
    for case in cases:
        case.work(session, 1.0)
    assert len(seen) == len(cases) >= 12
    assert {options.device for options in seen} == {"cuda"}


def test_a_script_out_of_its_budget_ends_as_a_success(tmp_path):
    report = tmp_path / "report.json"
    words = ["--threads", "1", "--draws", "1000", "--vocab-size", "50", "--seconds", "0.01"]
    words += ["--budget", "0"]
    command = [sys.executable, str(BENCHMARKS / "sampling.py"), *words, "--json", str(report)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "out of time after 1 cases" in finished.stdout
    found = json.loads(report.read_text())
    assert found["complete"] is False
    assert [case["case"] for case in found["cases"]] == ["alias_sample int32"]


# -- the table -----------------------------------------------------------------------------------


def test_the_table_shows_what_was_expected_and_what_came(gpu):
    def results(*cases):
        return {"outcome": "passed", "results": {"cases": list(cases)}}

    attention = {"length": 512, "ragged": False, "dtype": "bfloat16", "ratio": 1.2}
    forward = {"case": "forward", "flops_per_s": 4e14, "lexforge_s": 1e-3}
    both = {"case": "forward+backward", "flops_per_s": 3.5e14, "lexforge_s": 4e-3}
    stream = {"case": "lexforge, noise per window", "dim": 100, "threshold": 1e-4}
    data = {
        "gpu": "NVIDIA H200",
        "calls": [{"commit": "abc", "torch": "2.11"}],
        "cases": {
            "ceilings": {"copy_bytes_per_s": 4.25e12, "product_flops_per_s": 7.8e14},
            "tests": {"outcome": "failed", "counts": {"passed": 1999, "failed": 1}, "total": 2001},
            "memcheck": {"outcome": "passed", "summary": "0 errors"},
            "quality": {"outcome": "passed", "models": {"a": {"difference": 1.0, "allowed": 2.0}}},
            "skipgram": results({**stream, "tokens_per_s": 3.3e8}),
            "attention": results({**attention, **forward}, {**attention, **both}),
        },
    }
    text = gpu.table.of(data)
    rows = {re.split("  +", line)[0]: re.split("  +", line)[1:] for line in text.splitlines()}
    assert text.startswith("NVIDIA H200, commit abc, torch 2.11\n")
    assert rows["copy, TB/s"] == ["4.3", "4.25"]
    assert rows["tests"] == ["all passed", "1999 passed, 1 failed of 2001", "no"]
    assert rows["memcheck"] == ["0 errors", "0 errors", "yes"]
    assert rows["skip-gram, noise per window, M words/s"] == [">= 300", "330", "yes"]
    assert rows["skip-gram, noise per pair, M words/s"] == [">= 100"]
    # (3.5e14 x 4e-3 - 4e14 x 1e-3) flops in 3e-3 s
    assert rows["attention 512, backward alone, TFLOP/s"] == [">= 270", "333.3", "yes"]
    assert rows["training, GPU loss = CPU loss"][1] == "1 models, worst at 50% of its bound"
    assert len(rows) <= 27
