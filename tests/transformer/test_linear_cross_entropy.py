"""linear_cross_entropy: values, gradients, ignored rows, memory, errors."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops.transformer.linear_cross_entropy import linear_cross_entropy
from lexforge.reference.transformer import linear_cross_entropy as reference

module = sys.modules["lexforge.ops.transformer.linear_cross_entropy"]
DTYPES = (torch.float32, torch.bfloat16)
SIZES = [(1, 1, 1), (7, 59, 5), (33, 97, 16), (64, 1000, 64), (5, 257, 130)]  # P, V, H


def plain(hidden, weight, bias, labels, *, weights=None, ignore_index=-100):
    """As one writes it in torch."""
    logits = functional.linear(
        hidden, weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
    )
    stat = torch.promote_types(logits.dtype, torch.float32)
    losses = functional.cross_entropy(
        logits.to(stat), labels, reduction="none", ignore_index=ignore_index
    )
    shares = (labels != ignore_index).to(stat)
    if weights is not None:
        shares = shares * weights
    loss = (losses * shares).sum() / shares.sum().clamp(min=torch.finfo(stat).tiny)
    return loss, ((logits.argmax(1) == labels) & (shares > 0)).sum()


def problem(positions, classes, width, device, *, dtype=torch.float32, seed=0):
    """hidden, weight, bias, labels (a fifth ignored, a third right), weights (some 0)."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(positions, width, generator=generator).to(dtype)
    weight = (torch.randn(classes, width, generator=generator) * 0.5).to(dtype)
    bias = torch.randn(classes, generator=generator).to(dtype)
    labels = torch.randint(0, classes, (positions,), generator=generator)
    right = (hidden.double() @ weight.double().t() + bias.double()).argmax(1)
    labels[1::3] = right[1::3]
    labels[2::5] = -100
    weights = torch.rand(positions, generator=generator)
    weights[3::7] = 0
    return [x.to(device) for x in (hidden, weight, bias, labels, weights)]


def run(function, hidden, weight, bias, labels, *, factor=1.0, **options):
    """loss, correct and the gradients of hidden, weight and bias."""
    leaves = [None if x is None else x.detach().clone() for x in (hidden, weight, bias)]
    for leaf in leaves:
        if leaf is not None:
            leaf.requires_grad_()
    loss, correct = function(*leaves, labels, **options)
    (loss * factor).backward()
    return [loss.detach(), correct, *(x.grad for x in leaves if x is not None)]


def rms(x):
    return x.double().square().mean().sqrt() if x.numel() else torch.zeros(()).double()


def assert_as_good_as_plain(ours, plain, exact):
    """No further from the float64 oracle than twice plain torch of the same precision is."""
    for name, x, y, z in zip(
        ("loss", "correct", "hidden", "weight", "bias"), ours, plain, exact, strict=False
    ):
        assert x.shape == z.shape, name
        if name == "correct":
            continue
        # Plain torch's loss, a single number, may be right by luck: two roundings of the logits.
        eps = torch.finfo(ours[2].dtype if name == "loss" else x.dtype).eps
        rounding = (2 if name == "loss" else 1) * eps * (z.abs().max().item() if z.numel() else 0)
        assert rms(x - z) <= 2 * rms(y - z) + rounding, name


@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients(size, dtype, with_bias, with_weights, device, monkeypatch):
    monkeypatch.setattr(module, "_chunk_rows", lambda hidden, classes: 24)
    hidden, weight, bias, labels, weights = problem(*size, device, dtype=dtype)
    bias = bias if with_bias else None
    options = {"weights": weights if with_weights else None, "factor": 3.0}
    wide = [None if x is None else x.double() for x in (hidden, weight, bias)]
    exact = run(reference.linear_cross_entropy, *wide, labels, **options)
    ours = run(linear_cross_entropy, hidden, weight, bias, labels, **options)
    peer = run(plain, hidden, weight, bias, labels, **options)
    assert ours[0].dtype == torch.float32 and ours[2].dtype == dtype
    assert_as_good_as_plain(ours, peer, exact)
    if dtype == torch.float32:
        assert ours[1] == exact[1]
    assert abs(int(ours[1]) - int(exact[1])) <= 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_large(dtype, device):
    """Sizes at which the library's products and several chunks come into play."""
    if _library.emulated():
        pytest.skip("minutes on the emulated device")
    hidden, weight, bias, labels, _ = problem(700, 20257, 64, device, dtype=dtype)
    exact = run(plain, hidden.double(), weight.double(), bias.double(), labels)
    ours = run(linear_cross_entropy, hidden, weight, bias, labels)
    assert_as_good_as_plain(ours, run(plain, hidden, weight, bias, labels), exact)
    assert abs(int(ours[1]) - int(exact[1])) <= (0 if dtype == torch.float32 else 20)


def test_reference_against_torch(device):
    """The oracle is torch's own cross-entropy with the text's weighted mean (12.7)."""
    hidden, weight, bias, labels, weights = problem(20, 30, 8, device, dtype=torch.float64)
    for options in ({}, {"weights": weights.double()}, {"ignore_index": int(labels[0])}):
        keep = labels if "ignore_index" not in options else labels.clamp(min=0)
        for x, y in zip(
            run(reference.linear_cross_entropy, hidden, weight, bias, keep, **options),
            run(plain, hidden, weight, bias, keep, **options),
            strict=True,
        ):
            torch.testing.assert_close(x, y)
    six = torch.tensor([1.0, 1, 0, 1, 0, 0], dtype=torch.float64, device=device)
    labels = labels[:6].clamp(min=0)
    loss, _ = linear_cross_entropy(hidden[:6], weight, bias, labels, weights=six)
    losses = functional.cross_entropy(hidden[:6] @ weight.t() + bias, labels, reduction="none")
    torch.testing.assert_close(loss, losses[six > 0].mean())
    assert abs(loss - losses.mean()) > 1e-3


def test_gradcheck(device):
    hidden, weight, bias, labels, weights = problem(9, 11, 4, device, dtype=torch.float64)
    leaves = [x.requires_grad_() for x in (hidden, weight, bias)]
    assert torch.autograd.gradcheck(
        lambda *x: linear_cross_entropy(*x, labels, weights=weights)[0], leaves
    )


@pytest.mark.parametrize("hidden_dtype", DTYPES)
def test_autocast(hidden_dtype, device):
    """Products in bfloat16, everything that sums in float32; hidden may be bfloat16 already."""
    hidden, weight, bias, labels, weights = problem(300, 1000, 64, device)
    hidden = hidden.to(hidden_dtype)
    exact = run(plain, hidden.double(), weight.double(), bias.double(), labels, weights=weights)
    with torch.autocast(device.type, torch.bfloat16):
        ours = run(linear_cross_entropy, hidden, weight, bias, labels, weights=weights)
        peer = run(plain, hidden, weight, bias, labels, weights=weights)
    assert [x.dtype for x in ours[2:]] == [hidden_dtype, torch.float32, torch.float32]
    # Torch sums the gradients in float32 too where it rounds the logits to bfloat16.
    for x, y, z in zip((ours[0], *ours[2:]), (peer[0], *peer[2:]), (exact[0], *exact[2:])):  # noqa: B905
        assert rms(x - z) <= 2 * rms(y - z) + 2**-9 * rms(z)
    alone = run(linear_cross_entropy, hidden.bfloat16(), weight, bias, labels, weights=weights)
    assert torch.equal(alone[0], ours[0]) and torch.equal(alone[3], ours[3])


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
def test_nothing_to_predict(dtype, device):
    hidden, weight, bias, labels, _ = problem(6, 40, 8, device, dtype=dtype)
    none = torch.full_like(labels, -100)
    no_weight = {"weights": torch.zeros(6, device=device)}
    for rows, which, options in ((0, labels, {}), (6, none, {}), (6, labels, no_weight)):
        results = run(linear_cross_entropy, hidden[:rows], weight, bias, which[:rows], **options)
        assert [x.shape for x in results[2:]] == [hidden[:rows].shape, weight.shape, bias.shape]
        assert all(torch.equal(x, torch.zeros_like(x)) for x in results)


def test_ignored_rows_may_hold_anything(device):
    hidden, weight, bias, labels, _ = problem(20, 40, 8, device)
    kept = labels != -100
    expected = run(linear_cross_entropy, hidden[kept], weight, bias, labels[kept])
    ours = run(linear_cross_entropy, hidden, weight, bias, labels)
    for x, y in zip(ours, (*expected[:2], None, *expected[3:]), strict=True):
        if y is not None:
            torch.testing.assert_close(x, y)
    torch.testing.assert_close(ours[2][kept], expected[2])
    assert torch.equal(ours[2][~kept], torch.zeros_like(ours[2][~kept]))
    other = torch.where(kept, labels, 7)
    with_seven = linear_cross_entropy(hidden, weight, bias, other, ignore_index=7)
    also = torch.where(other == 7, -100, other)
    torch.testing.assert_close(with_seven, linear_cross_entropy(hidden, weight, bias, also))


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
def test_extreme_logits(dtype, device):
    """Logits of +-10^4 neither overflow nor vanish; minus infinity is a class that cannot be."""
    hidden = torch.eye(3, device=device, dtype=dtype)
    weight = torch.tensor([[1e4, -1e4, 0.0]] * 2 + [[-1e4, 1e4, 0.0]], device=device).to(dtype)
    labels = torch.tensor([0, 0, 1], device=device)
    bias = torch.tensor([0.0, 0.0, -torch.inf], device=device).to(dtype)
    stat = torch.promote_types(dtype, torch.float32)
    size = float(weight[0, 0])
    loss, correct = linear_cross_entropy(hidden, weight, None, labels)
    half = torch.log(torch.tensor(2.0, dtype=stat, device=device))
    third = torch.log(torch.tensor(3.0, dtype=stat, device=device))
    torch.testing.assert_close(loss, (half + 2 * size + third) / 3)
    assert correct == 1
    results = run(linear_cross_entropy, hidden, weight, bias, labels)
    torch.testing.assert_close(results[0], half)
    assert all(x.isfinite().all() for x in results)
    assert results[1] == 2


def test_not_a_number(device):
    hidden, weight, bias, labels, _ = problem(4, 40, 8, device)
    labels[:] = 5
    hidden[1, 0] = torch.nan
    loss, correct, grad_hidden, *_ = run(linear_cross_entropy, hidden, weight, bias, labels)
    assert loss.isnan() and correct <= 3
    assert grad_hidden[1].isnan().all() and grad_hidden[0].isfinite().all()


def test_ties_are_the_first(device):
    """As argmax has it: of equal largest logits the first counts."""
    hidden = torch.ones(3, 16, device=device)
    weight = torch.zeros(50, 16, device=device)
    weight[[11, 33]] = 1
    labels = torch.tensor([11, 33, 4], device=device)
    assert linear_cross_entropy(hidden, weight, None, labels)[1] == 1


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
@pytest.mark.parametrize("classes", [8, 37])
def test_the_first_of_the_largest_is_right(classes, dtype, device):
    """Every label of rows with many ties, wherever rows begin among the octets of the kernel."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 3, (4, classes), generator=generator)
    logits = rows.repeat_interleave(classes, 0).to(device, dtype)
    labels = torch.arange(classes).repeat(4).to(device)
    scale = torch.ones(4 * classes, device=device, dtype=torch.promote_types(dtype, torch.float32))
    first = (logits == logits.amax(1, keepdim=True)).long().argmax(1)
    op = torch.ops.lexforge.softmax_cross_entropy_.default
    _, correct = op(logits, None, labels, scale, False)
    assert torch.equal(correct, (first == labels).long()) and correct.sum() == 4


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_far_from_zero(dtype, with_bias, device):
    """Differences count, to their own precision; p below e^-60 of the largest is 0 in float32."""
    differences = torch.tensor([0, -1, -59, -61, -80, -90, -1e4], dtype=torch.float64)
    for largest in (0.0, 1024.0, -1024.0, 1e6):
        for label in range(3):
            logits = (largest + differences).to(device, dtype).repeat(2, 1)
            wide = logits[0].double().requires_grad_()
            bias = torch.zeros(7, device=device, dtype=dtype) if with_bias else None
            labels = torch.tensor([label, 0], device=device)
            exact = functional.cross_entropy(wide, labels[0])
            exact.backward()
            scale = torch.ones(2, device=device, dtype=dtype)
            op = torch.ops.lexforge.softmax_cross_entropy_.default
            loss, _ = op(logits, bias, labels, scale, True)
            tight = {"rtol": 1e-6, "atol": 1e-7}
            torch.testing.assert_close(loss[0].double(), exact.detach(), **tight)
            torch.testing.assert_close(logits[0].double(), wide.grad, **tight)
            if dtype == torch.float32:
                assert (logits[0] != 0).tolist() == [True, True, True, False, False, False, False]


def test_only_the_gradients_that_are_wanted(device):
    hidden, weight, bias, labels, _ = problem(20, 40, 8, device)
    expected = run(linear_cross_entropy, hidden, weight, bias, labels)
    for which in range(3):
        leaves = [x.clone() for x in (hidden, weight, bias)]
        leaves[which].requires_grad_()
        linear_cross_entropy(*leaves, labels)[0].backward()
        torch.testing.assert_close(leaves[which].grad, expected[2 + which])
    with torch.no_grad():
        loss, correct = linear_cross_entropy(*leaves, labels)
    assert not loss.requires_grad and torch.equal(loss, expected[0]) and correct == expected[1]


def test_backward_more_than_once(device):
    """With a kept graph gradients add up; without one, a second call is refused."""
    hidden, weight, bias, labels, _ = problem(20, 40, 8, device)
    leaf = weight.clone().requires_grad_()
    loss, _ = linear_cross_entropy(hidden, leaf, bias, labels)
    loss.backward(retain_graph=True)
    first = leaf.grad.clone()
    for _ in range(2):
        loss.backward(retain_graph=True)
    torch.testing.assert_close(leaf.grad, 3 * first)
    loss.backward()
    torch.testing.assert_close(leaf.grad, 4 * first)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    loss, _ = linear_cross_entropy(hidden, leaf, bias, labels)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(torch.autograd.grad(loss, leaf, create_graph=True)[0].sum(), leaf)


def test_compiles_without_graph_breaks(device):
    hidden, weight, bias, labels, weights = problem(20, 40, 8, device)

    def step(*given, **options):
        loss, correct = linear_cross_entropy(*given, **options)
        return loss * 2, correct + 0

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for x, y in zip(
        run(compiled, hidden, weight, bias, labels, weights=weights),
        run(step, hidden, weight, bias, labels, weights=weights),
        strict=True,
    ):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype, device):
    hidden, weight, bias, labels, weights = problem(6, 19, 8, device, dtype=dtype)
    scale = torch.full((6,), 0.25, device=device)
    logits, wide = torch.randn(6, 19, device=device).to(dtype), bias.float()
    torch.library.opcheck(
        torch.ops.lexforge.softmax_cross_entropy_.default,
        (logits, wide, labels.clamp(min=0), scale, True),
    )
    leaves = [x.requires_grad_() for x in (hidden, weight, bias)]
    for some in (bias, None):
        torch.library.opcheck(
            torch.ops.lexforge.linear_cross_entropy.default,
            (*leaves[:2], some, labels, weights, -100, True, True, some is not None),
        )


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
def test_softmax_is_bit_identical_for_any_threads(dtype, device):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 5003, generator=generator).to(device, dtype)
    stat = torch.promote_types(dtype, torch.float32)
    bias = torch.randn(5003, generator=generator).to(device, stat)
    labels = torch.randint(0, 5003, (40,), generator=generator).to(device)
    scale = torch.full((40,), 1 / 40, device=device, dtype=stat)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            chunk = logits.clone()
            op = torch.ops.lexforge.softmax_cross_entropy_.default
            results.append((chunk, *op(chunk, bias, labels, scale, True)))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


def test_bad_labels(device):
    hidden, weight, bias, labels, _ = problem(6, 19, 8, device)
    for bad in (19, -1, -99):
        labels[4] = bad
        if device.type == "cpu":
            with pytest.raises(
                IndexError, match=rf"labels must be in \[0, 19\) .* got {bad} in row 4"
            ):
                linear_cross_entropy(hidden, weight, bias, labels)
        else:
            assert linear_cross_entropy(hidden, weight, bias, labels)[0].isnan()
        arguments = (torch.randn(6, 19, device=device), None, labels.abs() * labels.sign())
        arguments[2][labels == -100] = 0
        scale = torch.ones(6, device=device)
        op = torch.ops.lexforge.softmax_cross_entropy_.default
        if device.type == "cpu" and not _library.emulated():
            with pytest.raises(RuntimeError, match=f"got {bad} in row 4"):
                op(*arguments, scale, True)
        else:
            loss, correct = op(*arguments, scale, True)
            assert loss.isnan().tolist() == [False] * 4 + [True, False]
            assert arguments[0][4].isnan().all() and correct[4] == 0


def test_errors(device):
    hidden, weight, bias, labels, weights = problem(6, 19, 8, device)
    good = {"hidden": hidden, "weight": weight, "bias": bias, "labels": labels}
    for change, error, message in (
        ({"hidden": hidden.half()}, TypeError, "hidden must be float32, bfloat16 or float64"),
        ({"hidden": hidden[0]}, ValueError, r"hidden must be \[P, H\], got \[8\]"),
        ({"weight": weight[:, 1:]}, ValueError, r"weight must be \[V, 8\], got \[19, 7\]"),
        ({"weight": weight[0]}, ValueError, r"weight must be \[V, 8\], got \[8\]"),
        (
            {"weight": weight[:0], "bias": None},
            ValueError,
            r"weight must be \[V, 8\], V at least 1, got \[0, 8\]",
        ),
        ({"weight": weight.double()}, TypeError, "weight must be float32, got float64"),
        ({"bias": bias[1:]}, ValueError, r"bias must be \[19\], got \[18\]"),
        ({"bias": bias.bfloat16()}, TypeError, "bias must be float32, got bfloat16"),
        ({"labels": labels.int()}, TypeError, "labels must be int64, got int32"),
        ({"labels": labels[1:]}, ValueError, r"labels must be \[6\], got \[5\]"),
        ({"weights": weights[1:]}, ValueError, r"weights must be \[6\], got \[5\]"),
        ({"weights": labels}, TypeError, "weights must be floating, got int64"),
        ({"weight": weight.to("meta")}, ValueError, "weight must be on"),
        ({"weights": weights.to("meta")}, ValueError, "weights must be on"),
    ):
        with pytest.raises(error, match="linear_cross_entropy: " + message):
            linear_cross_entropy(**{**good, **change})


def test_the_kernel_refuses(device):
    logits, labels = (
        torch.zeros(3, 5, device=device),
        torch.zeros(3, dtype=torch.int64, device=device),
    )
    bias, scale = torch.zeros(5, device=device), torch.ones(3, device=device)
    for arguments, message in (
        ((logits.half(), bias, labels, scale), "logits must be float32"),
        ((logits.t(), bias, labels, scale), "logits must be contiguous"),
        ((logits, bias[1:], labels, scale), r"bias must be \[5\], got \[4\]"),
        ((logits, bias.double(), labels, scale), "bias has the wrong dtype"),
        ((logits, bias, labels[1:], scale), r"labels must be \[3\], got \[2\]"),
        ((logits, bias, labels.int(), scale), "labels has the wrong dtype"),
        ((logits.bfloat16(), bias, labels, scale.bfloat16()), "scale has the wrong dtype"),
    ):
        with pytest.raises(RuntimeError, match=message):
            torch.ops.lexforge.softmax_cross_entropy_.default(*arguments, True)


ISA_SCRIPT = """
import sys, torch, lexforge
sys.path.insert(0, sys.argv[1])
from transformer.test_linear_cross_entropy import *
for dtype in DTYPES:
    for classes in (1, 3, 17, 64, 515):
        drawn = problem(9, classes, 12, "cpu", dtype=dtype, seed=torch.initial_seed())[:4]
        exact = run(reference.linear_cross_entropy, *(x.double() for x in drawn[:3]), drawn[3])
        assert_as_good_as_plain(run(linear_cross_entropy, *drawn), run(plain, *drawn), exact)
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set(isa, request):
    tests = str(request.config.rootpath / "tests")
    assert run_under(isa, ISA_SCRIPT, tests).strip() == isa


MEMORY_SCRIPT = """
import sys, torch
from pathlib import Path
from torch.nn import functional
from lexforge.ops.transformer.linear_cross_entropy import linear_cross_entropy
torch.set_num_threads(2)
torch.manual_seed(0)
hidden, weight, bias = torch.randn(2048, 16), torch.randn(20000, 16), torch.zeros(20000)
labels = torch.randint(0, 20000, (2048,))

def step(kind, count):
    leaves = [x.detach().requires_grad_() for x in (hidden[:count], weight, bias)]
    with torch.autocast("cpu", torch.bfloat16, enabled=sys.argv[1] == "bfloat16"):
        if kind == "plain":
            loss = functional.cross_entropy(functional.linear(*leaves), labels[:count])
        else:
            loss, _ = linear_cross_entropy(*leaves, labels[:count])
    loss.backward()

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

for kind in ("ours", "plain"):
    step(kind, 16)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is there now
    before = peak()
    step(kind, 2048)
    print(peak() - before)
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_peak_memory(dtype):
    """At most a quarter of what plain torch takes."""
    if _library.emulated():
        pytest.skip("a matter of the CPU")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, dtype],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    growth = [int(line) for line in done.stdout.split()]
    assert growth[1] > 100_000  # kB: plain torch shows
    assert growth[0] <= growth[1] / 4
