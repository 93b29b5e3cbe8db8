"""benchmarks/attention.py on tiny batches: rivals do the same work, and a report comes out."""

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
    name = "attention_benchmark"
    spec = importlib.util.spec_from_file_location(name, FOLDER / "attention.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(device):
    return argparse.Namespace(heads=2, dim=16, device=device.type, dropout=0.0)


@pytest.mark.parametrize("ragged", [False, True])
def test_rivals_do_the_same_work(script, ragged, device):
    case = script.Case(options(device), 3, 24, ragged, torch.bfloat16)
    ours = case.ours()
    flops = 4 * 16 * 2 * int(case.lengths.square().sum())
    assert case.works()["forward"][1:] == (flops, 4 * 2 * ours.numel())
    present = torch.arange(24) < case.lengths[:, None]
    with torch.no_grad():
        for x, view in zip(case.padded, case.packed, strict=True):
            x.transpose(1, 2)[present.to(x.device)] = view
    for name, (rival, leaves, grad) in case.peers().items():
        try:
            out = rival()
        except RuntimeError:
            assert device.type == "cuda", name  # a backend that has no such mask
            continue
        if out.dim() == 4:
            out = out.transpose(1, 2)[present.to(out.device)]
        torch.testing.assert_close(out, ours, rtol=2e-2, atol=2e-2)
        assert len(leaves) == 3
        assert grad.shape == rival().shape


def test_what_cannot_run_is_left_out(script, capsys):
    def fails():
        raise RuntimeError("No available kernel.\nSee above")

    times = script.alternate({"lexforge": lambda: None, "flash": fails}, 3, "cpu")
    assert list(times) == ["lexforge"]
    assert len(times["lexforge"]) == 3
    assert "flash: No available kernel." in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="No available kernel"):
        script.alternate({"lexforge": fails}, 3, "cpu")


def test_report(script, monkeypatch, tmp_path):
    report = tmp_path / "report.json"
    threads = torch.get_num_threads()
    arguments = "--batch 2 --heads 2 --dim 8 --lengths 24 --dtypes float32 --repeats 2 --threads 1"
    monkeypatch.setattr(sys, "argv", ["attention.py", *arguments.split(), "--json", str(report)])
    try:
        script.main()
    finally:
        torch.set_num_threads(threads)
    cases = json.loads(report.read_text())["cases"]
    assert [(x["case"], x["ragged"]) for x in cases] == [
        ("forward", False),
        ("forward+backward", False),
        ("forward", True),
        ("forward+backward", True),
    ]
    for case in cases:
        assert case["torch_backend"] == "torch"
        assert case["ratio"] == pytest.approx(case["torch_s"] / case["lexforge_s"])
        assert {len(x) for x in case["times_s"].values()} == {2}
