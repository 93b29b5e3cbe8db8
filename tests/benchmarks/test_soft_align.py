"""benchmarks/soft_align.py on tiny batches: rivals do the same work, and a report comes out."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("soft_align_benchmark", FOLDER / "soft_align.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rivals_do_the_same_work(script, device):
    options = argparse.Namespace(pairs=3, longest=20, features=16, dim=6, device=device.type)
    case = script.Case(options, torch.float32)
    works, flops = case.works()["forward"]
    assert flops == int((case.lengths[0] * case.lengths[1]).sum()) * (2 * 16 + 4 * 6)
    expected = works["lexforge"]()
    for x, y, outside in zip(works["masked"](), expected, case.outside, strict=True):
        torch.testing.assert_close(x[~outside], y)
    # Where nothing is padding, the textbook's code gives the same.
    case.padded = [x[:1, : int(case.lengths[i % 2][0])] for i, x in enumerate(case.padded)]
    for x, y in zip(case.rivals()["padded"][0](), expected, strict=True):
        torch.testing.assert_close(x[0], y[: x.shape[1]])


def test_report(script, monkeypatch, tmp_path):
    report = tmp_path / "report.json"
    threads = torch.get_num_threads()
    arguments = "--pairs 2 --features 4 --dim 3 --dtypes float32 --repeats 2 --threads 1 --json"
    monkeypatch.setattr(sys, "argv", ["soft_align.py", *arguments.split(), str(report)])
    try:
        script.main()
    finally:
        torch.set_num_threads(threads)
    cases = json.loads(report.read_text())["cases"]
    assert [x["case"] for x in cases] == ["forward", "forward+backward"]
    for case in cases:
        assert case["ratio"] == pytest.approx(case["padded_s"] / case["lexforge_s"])
        assert {len(x) for x in case["times_s"].values()} == {2}
