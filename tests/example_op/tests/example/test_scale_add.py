"""scale_add_: values, instruction sets, errors."""

from __future__ import annotations

import pytest
import torch

from common.isa import ISAS, run_under
from lexforge.ops import scale_add_
from lexforge.reference.example.scale_add import scale_add as reference


def problem(count, device):
    generator = torch.Generator().manual_seed(count)
    return (torch.randn(count, generator=generator).to(device) for _ in range(2))


@pytest.mark.parametrize("count", [0, 1, 7, 16, 33, 20_001])
def test_values(count, device):
    y, x = problem(count, device)
    expected = reference(y, x, 0.3)
    # Two roundings, that of the product and that of the sum, and that of the factor.
    bound = 1.001 * 2**-24 * (2 * (0.3 * x.double()).abs() + expected.abs())
    version = y._version
    assert scale_add_(y, x, 0.3) is None
    assert y._version == version + 1
    assert ((y - expected).abs() <= bound).all()


def test_opcheck(device):
    y, x = problem(33, device)
    torch.library.opcheck(torch.ops.lexforge.scale_add_.default, (y, x, 0.5))


SCRIPT = """
import lexforge, torch
from lexforge.ops import scale_add_
y, x = torch.randn(2, 4099)
expected = y.double() + 0.5 * x.double()
scale_add_(y, x, 0.5)
assert torch.equal(y, expected.float())  # half of a float is one: there is one rounding
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set(isa):
    assert run_under(isa, SCRIPT).strip() == isa


def test_errors(device):
    y, x = problem(5, device)
    with pytest.raises(TypeError, match="scale_add_: x must be float32, got float64"):
        scale_add_(y, x.double(), 1)
    with pytest.raises(ValueError, match=r"scale_add_: x must be \[5\], got \[4\]"):
        scale_add_(y, x[:4], 1)
    with pytest.raises(ValueError, match="scale_add_: y must be contiguous"):
        scale_add_(torch.zeros(10, device=device)[::2], x, 1)
    with pytest.raises(ValueError, match="scale_add_: a must be finite and >= 0, got nan"):
        scale_add_(y, x, float("nan"))
    memory = torch.zeros(9, device=device)
    for other in (y, memory[4:]):  # the same, and a part
        with pytest.raises(ValueError, match="scale_add_: x must be another tensor than y"):
            scale_add_(y if other is y else memory[:5], other, 1)
    with pytest.raises(ValueError, match="scale_add_: y"):
        scale_add_(y.requires_grad_(), x, 1)


def test_errors_of_the_op_itself(device):
    y, x = problem(5, device)
    with pytest.raises(RuntimeError, match=r"scale_add_: x must have the shape of y, \[5\], got"):
        torch.ops.lexforge.scale_add_.default(y, x[:4], 1.0)
