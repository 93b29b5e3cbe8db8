"""benchmarks/transformer.py at tiny sizes: both sides compute the same, and a report comes out."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
ROWS = {128: 33, 768: 9}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    name = "transformer_benchmark"
    spec = importlib.util.spec_from_file_location(name, FOLDER / "transformer.py")
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks up its annotations there.
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def cases(script, device, dtype):
    draw = script.Draw(device.type)
    for op in script.OPS.values():
        yield from op(draw, ROWS, dtype)
    yield script.head_case(draw, dtype, 100, 24, 17)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_sides_compute_the_same(script, device, dtype):
    """Each within rounding of the same float64 result: its value and all its gradients."""
    seen = set()
    for case in cases(script, device, dtype):
        errors = case.errors()["lexforge"]
        seen.add(case.op.partition(",")[0])
        tolerance = 3e-6 if dtype == torch.float32 else 2e-2
        assert max(errors.values()) < tolerance, (case.op, case.shape, errors)
        for direction in ("forward", "forward+backward"):
            for work in case.works(direction).values():
                work()
    blocks = {"add_layer_norm", "bias_activation", "dropout", "embedding_sum", "linear"}
    assert seen == {*blocks, "head"}


def test_errors_are_those_of_the_worst_gradient(script):
    draw = script.Draw("cpu")
    leaves = [draw.normal(5, dtype=torch.float64) for _ in range(2)]
    case = script.Case(
        "product",
        "5",
        torch.float64,
        lambda a, b, dropout: a * b.detach() + 0.75 * (b - b.detach()) * a.detach(),
        lambda a, b, dropout: a * b,
        leaves,
        0,
        0,
    )
    errors = case.errors()
    assert errors["lexforge"] == pytest.approx({"forward": 0, "forward+backward": 0.25})
    assert errors["torch"] == {"forward": 0, "forward+backward": 0}


def test_ids_are_skewed_and_in_range(script):
    ids = script.Draw("cpu").ids(10_000, 1000)
    assert int(ids.min()) >= 0 and int(ids.max()) < 1000
    assert 0.45 < float((ids < 100).double().mean()) < 0.55


def test_report(script, monkeypatch, tmp_path):
    report = tmp_path / "report.json"
    threads = torch.get_num_threads()
    arguments = "--rows 128:33 768:9 --predictions 300 --repeats 2 --threads 1"
    arguments += " --only norm head --dtypes float32"
    monkeypatch.setattr(sys, "argv", ["x", *arguments.split(), "--json", str(report)])
    monkeypatch.setattr(script, "HEADS", [(20_000, 128)])
    try:
        script.main()
    finally:
        torch.set_num_threads(threads)
    cases = json.loads(report.read_text())["cases"]
    *timed, memory = cases
    assert {x["case"] for x in timed} == {"add_layer_norm", "add_layer_norm, dropout 0.2", "head"}
    for case in timed:
        assert case["ratio"] == pytest.approx(case["torch_s"] / case["lexforge_s"])
        assert len(case["times_s"]["torch"]) == 2
        assert 0 < case["lexforge_error"] < 1e-5
    assert memory["shape"] == "300 x 128 to 20000"
    logits = 4 * 300 * 20_000
    assert memory["torch_bytes"] > 2 * logits
    assert 0 < memory["share"] < 1
