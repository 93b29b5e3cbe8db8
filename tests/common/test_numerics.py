"""exp, sigmoid and log(sigmoid) of csrc/common/simd.h against double, on every instruction set."""

import numpy as np
import pytest
import torch

from .isa import ISAS, run_under

# Of exp relative and in ulp, of sigmoid and log(sigmoid) relative: the worst of every float from
# -87 to 88, rounded up. It is worse where a product is rounded before it is added to.
FUSED = 2.4e-7, 2.8, 3.3e-7, 4e-7
BOUNDS = {"baseline": (2.6e-7, 3.1, 3.4e-7, 4.3e-7), "avx2": FUSED, "avx512": FUSED}

SCRIPT = """
import sys, numpy, torch, lexforge, lexforge.ops
with numpy.load(sys.argv[1]) as points:
    results = {name: torch.ops.lexforge._numerics(torch.from_numpy(x)).numpy()
               for name, x in points.items()}
numpy.savez(sys.argv[2], **results)
print(lexforge.cpu_capability())
"""

LENGTHS = (1, 3, 8, 15, 17, 33, 67)
EDGES = np.array([-np.inf, -1e30, -200, 200, 1e30, np.inf, np.nan, 0.0, -0.0], np.float32)


def sample_points() -> np.ndarray:
    rng = np.random.default_rng(0)
    small = 10.0 ** rng.uniform(-30, 0, 100_000)
    parts = [
        np.linspace(-87, 88, 1_000_001),
        rng.uniform(-20, 20, 1_000_000),
        rng.uniform(-1, 1, 1_000_000),
        small,
        -small,
    ]
    return np.concatenate(parts).astype(np.float32)


RAMP = np.linspace(-3, 3, max(LENGTHS)).astype(np.float32)


@pytest.fixture(scope="module", params=ISAS)
def results(request, tmp_path_factory) -> dict[str, np.ndarray]:
    """What one process per instruction set computes for all points of this module: [4, n] each."""
    folder = tmp_path_factory.mktemp("numerics")
    points = {"sample": sample_points(), "edges": EDGES} | {str(n): RAMP[:n] for n in LENGTHS}
    np.savez(folder / "points.npz", **points)
    used = run_under(request.param, SCRIPT, str(folder / "points.npz"), str(folder / "results.npz"))
    assert used.strip() == request.param
    with np.load(folder / "results.npz") as results:
        return {**results, "bounds": np.array(BOUNDS[request.param])}


def expected(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = x.astype(np.float64)
    tail = np.exp(-np.abs(x))
    return (
        np.exp(x),
        np.where(x < 0, tail, 1.0) / (1.0 + tail),
        np.minimum(x, 0) - np.log1p(tail),
    )


def worst_relative(got: np.ndarray, want: np.ndarray) -> float:
    return float((np.abs(got.astype(np.float64) - want) / np.abs(want)).max())


def test_error_bounds(results):
    x = sample_points()
    exp, sigmoid, shared_sigmoid, log_sigmoid = results["sample"]
    exp_relative, exp_ulp, sigmoid_relative, log_sigmoid_relative = results["bounds"]
    want_exp, want_sigmoid, want_log = expected(x)
    assert worst_relative(exp, want_exp) <= exp_relative
    assert (np.abs(exp - want_exp) / np.spacing(want_exp.astype(np.float32))).max() <= exp_ulp
    unclamped = x <= 87
    assert worst_relative(sigmoid, want_sigmoid) <= sigmoid_relative
    assert worst_relative(log_sigmoid[unclamped], want_log[unclamped]) <= log_sigmoid_relative
    np.testing.assert_array_equal(sigmoid, shared_sigmoid)


def test_beyond_the_range(results):
    exp, sigmoid, _, log_sigmoid = results["edges"]
    assert np.isnan([exp[6], sigmoid[6], log_sigmoid[6]]).all()
    assert (exp[:3] < 2e-38).all() and (exp[:3] > 0).all()
    assert (exp[3:6] > 1e38).all() and np.isfinite(exp[3:6]).all()
    assert (sigmoid[:3] < 2e-38).all() and (sigmoid[3:6] == 1).all()
    assert log_sigmoid[:3].tolist() == EDGES[:3].tolist()
    assert (np.abs(log_sigmoid[3:6]) < 2e-38).all()
    assert exp[7:].tolist() == [1, 1] and sigmoid[7:].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("n", LENGTHS)
def test_every_tail_length(results, n):
    """A partly filled register computes what a full one does, and writes nothing beyond its end."""
    np.testing.assert_array_equal(results[str(n)], results[str(max(LENGTHS))][:, :n])


def test_double_uses_the_c_library():
    x = np.random.default_rng(1).uniform(-700, 700, 10_001)
    exp, sigmoid, _, log_sigmoid = torch.ops.lexforge._numerics(torch.from_numpy(x)).numpy()
    want_exp, want_sigmoid, want_log = expected(x)
    for got, want in ((exp, want_exp), (sigmoid, want_sigmoid), (log_sigmoid, want_log)):
        np.testing.assert_allclose(got, want, rtol=1e-15)
