"""few_rows_linear: values, bits, errors."""

from __future__ import annotations

import pytest
import torch

from common.isa import ISAS, run_under
from lexforge.ops import _checks
from lexforge.ops.transformer.few_rows_linear import MOST_ROWS, few_rows_linear
from lexforge.reference.transformer.few_rows_linear import few_rows_linear as reference

DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def problem(rows, outputs, inputs, device, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((rows, inputs), (outputs, inputs), (outputs,))
    return [torch.randn(*s, generator=generator).to(device, dtype) for s in shapes]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "outputs", "inputs"),
    [
        (0, 3, 5),
        (1, 0, 5),
        (2, 3, 0),
        (1, 1, 1),
        (1, 8, 16),
        (2, 17, 33),
        (3, 59, 97),
        (7, 24, 64),
        (16, 130, 257),
        (16, 33, 31),
        (17, 70, 96),
        (30, 64, 600),
        (MOST_ROWS, 9, 40),
        (MOST_ROWS + 1, 9, 40),
    ],
)
def test_values(rows, outputs, inputs, dtype, bias, device):
    x, weight, vector = problem(rows, outputs, inputs, device, dtype)
    vector = vector if bias else None
    y = few_rows_linear(x, weight, vector)
    assert y.shape == (rows, outputs) and y.dtype == dtype
    exact = reference(x.double(), weight.double(), None if vector is None else vector.double())
    bound = torch.finfo(_checks.stat_dtype(x)).eps * max(1, inputs)
    torch.testing.assert_close(y.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=bound)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_bits_beside_any_others_and_for_any_threads(dtype):
    x, weight, bias = problem(MOST_ROWS, 203, 130, torch.device("cpu"), dtype)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = few_rows_linear(x, weight, bias)
        torch.set_num_threads(3)
        assert torch.equal(few_rows_linear(x, weight, bias), whole)
    finally:
        torch.set_num_threads(threads)
    for first, count in ((0, 1), (3, 2), (5, 3), (7, 16)):
        some = few_rows_linear(x[first : first + count], weight, bias)
        assert torch.equal(some, whole[first : first + count])


def test_layouts(device):
    x, weight, bias = problem(4, 20, 16, device)
    expected = few_rows_linear(x, weight, bias)
    columns = [y.t().contiguous().t() for y in (x, weight)]
    assert torch.equal(few_rows_linear(*columns, bias), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype):
    x, weight, bias = problem(2, 3, 4, torch.device("cpu"), dtype)
    for vector in (bias, None):
        torch.library.opcheck(torch.ops.lexforge.few_rows_linear.default, (x, weight, vector))


def test_compiles_without_graph_breaks(device):
    x, weight, bias = problem(2, 3, 4, device)
    compiled = torch.compile(few_rows_linear, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, weight, bias), few_rows_linear(x, weight, bias))


ISA_SCRIPT = """
import torch, lexforge
from lexforge.ops import _checks
from lexforge.ops.transformer.few_rows_linear import few_rows_linear
for dtype in (torch.float32, torch.bfloat16, torch.float64):
    for inputs in (1, 7, 33, 64, 100, 600):
        for rows in (1, 2, 3, 4, 8):
            x, weight, bias = (torch.randn(s).to(dtype) for s in ((rows, inputs), (21, inputs), 21))
            exact = x.double() @ weight.double().T + bias.double()
            y = few_rows_linear(x, weight, bias)
            bound = max(4, inputs**0.5) * torch.finfo(dtype).eps * exact.abs().max()
            assert (y.double() - exact).abs().max() <= bound, (dtype, inputs, rows)
            assert torch.equal(few_rows_linear(x[:1], weight, bias), y[:1])
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa):
    assert run_under(isa, ISA_SCRIPT).strip() == isa


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "x must be float32, bfloat16 or float64", {"x": torch.Tensor.half}),
        (ValueError, r"x must be \[M, in\]", {"x": lambda x: x[0]}),
        (TypeError, "weight must be float32, got float64", {"weight": torch.Tensor.double}),
        (ValueError, r"weight must be \[out, 4\], got \[3, 3\]", {"weight": lambda x: x[:, :3]}),
        (ValueError, r"bias must be \[3\], got \[2\]", {"bias": lambda x: x[:2]}),
        (ValueError, "weight requires grad", {"weight": lambda x: x.clone().requires_grad_()}),
    ],
)
def test_errors(error, match, changes, device):
    given = dict(zip(("x", "weight", "bias"), problem(2, 3, 4, device), strict=True))
    given |= {name: change(given[name]) for name, change in changes.items()}
    with pytest.raises(error, match=match):
        few_rows_linear(**given)
