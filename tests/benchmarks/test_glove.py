"""The parts of benchmarks/glove.py that need neither the original tool nor its data."""

from __future__ import annotations

import importlib.util
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "glove.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("glove_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_passes_are_timed_from_the_end_of_the_first(bench):
    lines = [
        bench.Line(1.0, 0.5, "TRAINING MODEL"),
        bench.Line(2.0, 1.0, "11/20/26 - 10:20.08AM, iter: 001, cost: 0.019621"),
        bench.Line(5.0, 3.0, "11/20/26 - 10:20.11AM, iter: 002, cost: 0.013227"),
        bench.Line(9.0, 6.0, "11/20/26 - 10:20.15AM, iter: 003, cost: 0.0121"),
    ]
    assert bench.each_pass(lines) == {
        "costs": [0.019621, 0.013227, 0.0121],
        "pass_seconds": [3.0, 4.0],
        "pass_cpu_seconds": [2.0, 3.0],
    }


def test_a_process_is_measured(bench, tmp_path):
    (tmp_path / "in").write_text("word\n")
    program = "import sys, time; print(input().upper()); print('told', file=sys.stderr)"
    work = "; t = time.process_time(); [0 for _ in iter(lambda: time.process_time() < t + .3, 0)]"
    done = bench.run([sys.executable, "-c", program + work], tmp_path, "in", "out")
    assert (tmp_path / "out").read_text() == "WORD\n"
    assert [line.text for line in done["lines"]] == ["told"]
    assert 0.3 <= done["cpu_seconds"] <= done["seconds"] + 0.1
    assert done["lines"][0].cpu_seconds <= done["cpu_seconds"] + 0.02
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert 5 < done["peak_mib"] < 1000 + own  # a process begins as a copy of its parent
    with pytest.raises(SystemExit, match="failed with 3:\nreason"):
        bench.run([sys.executable, "-c", "print('reason'); raise SystemExit(3)"], tmp_path)


@pytest.fixture
def counts():
    return SimpleNamespace(
        rows=torch.tensor([0, 0, 1], dtype=torch.int32),
        cols=torch.tensor([1, 2, 0], dtype=torch.int32),
        values=torch.tensor([1 / 3, 250.5, 1e6 + 1 / 7], dtype=torch.float64),
    )


def write(path, counts, **changes):
    """The original's file of these counts, with other numbers in some places."""
    record = np.dtype([("row", "<i4"), ("col", "<i4"), ("value", "<f8")])
    records = np.empty(3, record)
    records["row"], records["col"] = counts.rows.numpy() + 1, counts.cols.numpy() + 1
    records["value"] = counts.values.numpy()
    for name, (at, value) in changes.items():
        records[name][at] = value
    records.tofile(path)


def test_rounding_and_a_doubled_first_record_are_no_difference(bench, counts, tmp_path):
    write(tmp_path / "theirs", counts, value=(2, 1e6 + 1 / 7 + 1e-7))
    found = bench.difference(tmp_path / "theirs", counts)
    assert found["largest_relative_difference"] == pytest.approx(1e-13, rel=0.01)
    assert not found["first_record_doubled"]
    write(tmp_path / "theirs", counts, value=(0, 2 / 3))
    assert bench.difference(tmp_path / "theirs", counts)["first_record_doubled"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": (1, 250.5 + 1 / 2520)}, "1 counts differ by a unit or more"),
        ({"value": (2, 2 * (1e6 + 1 / 7))}, "1 counts differ"),  # only the first may be double
        ({"value": (1, 250.5 + 1e-6)}, "0 counts differ by a unit or more, one by 4.0e-09"),
        ({"col": (1, 4)}, "different pairs"),
        ({"row": (0, 2)}, "different pairs"),
    ],
)
def test_differences_end_the_run(bench, counts, tmp_path, changes, message):
    write(tmp_path / "theirs", counts, **changes)
    with pytest.raises(SystemExit, match=message):
        bench.difference(tmp_path / "theirs", counts)


def test_missing_pairs_end_the_run(bench, counts, tmp_path):
    write(tmp_path / "theirs", counts)
    path = tmp_path / "theirs"
    path.write_bytes(path.read_bytes()[:32])
    with pytest.raises(SystemExit, match="the original has 2 pairs, lexforge 3"):
        bench.difference(path, counts)


def test_tables_compare_with_the_original_at_the_same_number_of_threads(bench):
    def case(trainer, threads, speed):
        figures = {"per_second": speed * 1e6, "per_cpu_second": speed * 1e6 / threads}
        return {"part": "train", "trainer": trainer, "threads": threads, **figures}

    cases = [case("original", 1, 2), case("lexforge", 1, 20), case("lexforge", 1, 30)]
    cases += [case("original", 2, 5), case("lexforge", 2, 40), case("lexforge", 1, 10)]
    assert bench.markdown(cases).splitlines()[2:] == [
        "| original | 1 | 2.00 M | 2.00 M | 1.0 x | 2.00 M | 1.0 x |",
        "| lexforge | 1 | 20.00 M | 30.00 M | 10.0 x | 20.00 M | 10.0 x |",
        "| original | 2 | 5.00 M | 5.00 M | 1.0 x | 2.50 M | 1.0 x |",
        "| lexforge | 2 | 40.00 M | 40.00 M | 8.0 x | 20.00 M | 8.0 x |",
    ]
    alone = bench.markdown([case("lexforge", 2, 40)]).splitlines()[2]
    assert alone == "| lexforge | 2 | 40.00 M | 40.00 M | - | 20.00 M | - |"
