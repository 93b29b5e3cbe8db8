"""Fused steps against torch.optim on dense gradients, and their state."""

from __future__ import annotations

import pytest
import torch

from lexforge.ops.word2vec.skipgram_step import (
    MAX_PENDING,
    SkipgramState,
    skipgram_step_,
    skipgram_sync_,
)
from lexforge.reference.word2vec.skipgram_loss import skipgram_loss as reference

LR = 0.01
TORCH = {
    "adam": lambda tables: torch.optim.Adam(tables, lr=LR),
    "lazy_adam": lambda tables: torch.optim.SparseAdam(tables, lr=LR),
    "sgd": lambda tables: torch.optim.SGD(tables, lr=LR),
    "adagrad": lambda tables: torch.optim.Adagrad(tables, lr=LR),
}


@pytest.fixture(autouse=True)
def one_thread():
    """Hundreds of tiny steps are faster on one thread, and much faster on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tables(rows, dim, device, seed=0):
    generator = torch.Generator().manual_seed(seed)
    stride = -(-dim // 16) * 16
    result = torch.zeros(2, rows, stride)
    result[:, :, :dim] = torch.empty(2, rows, dim).uniform_(-0.1, 0.1, generator=generator)
    return [table.clone().to(device) for table in result]


def minibatch(generator, rows, batch, length, device, first_row=0):
    """Zipfian rows, ragged masks, empty examples among them."""
    weights = 1 / torch.arange(1, rows - first_row + 1).float()
    center = torch.multinomial(weights, batch, True, generator=generator) + first_row
    target = torch.multinomial(weights, batch * length, True, generator=generator) + first_row
    mask = torch.arange(length) < torch.randint(0, length + 1, (batch, 1), generator=generator)
    label = torch.randint(0, 2, (batch, length), generator=generator)
    return [x.to(device) for x in (center, target.view(batch, length), mask, label)]


def plain_step(optimizer, parameters, batch):
    optimizer.zero_grad()
    loss = reference(*batch, *parameters)
    loss.sum().backward()
    if isinstance(optimizer, torch.optim.SparseAdam):
        for parameter in parameters:
            parameter.grad = parameter.grad.to_sparse(1)
    optimizer.step()
    return loss.detach()


def distance(state, exact, dim):
    return max(
        (table[:, :dim].double() - parameter).abs().max().item()
        for table, parameter in zip((state.in_table, state.out_table), exact, strict=True)
    )


@pytest.mark.parametrize("optimizer", list(TORCH))
@pytest.mark.parametrize(("dim", "steps"), [(20, 120), (100, 40), (16, 1), (300, 3)])
def test_equals_torch_optim(optimizer, dim, steps, device):
    """As close to float64 torch.optim as float32 torch.optim is, at any time it is looked at."""
    rows = 80
    in_table, out_table = tables(rows, dim, device)
    state = SkipgramState.create(in_table, out_table, optimizer)
    runs = []
    for dtype in (torch.float64, torch.float32):
        parameters = [
            torch.nn.Parameter(table[:, :dim].to(dtype).clone()) for table in (in_table, out_table)
        ]
        runs.append((TORCH[optimizer](parameters), parameters))
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        batch = minibatch(generator, rows, 8, 12, device)
        loss = skipgram_step_(state, *batch, lr=LR)
        exact, plain = (plain_step(*run, batch) for run in runs)
        assert (loss - exact).abs().max() <= 4 * (plain - exact).abs().max() + 1e-4
        if step in (0, 7, 100, steps - 1):
            skipgram_sync_(state)
            plain_error = max(
                (x.double() - y).abs().max().item()
                for x, y in zip(runs[1][1], runs[0][1], strict=True)
            )
            # Rounding is amplified by training itself: hence the factor.
            assert distance(state, runs[0][1], dim) <= 10 * plain_error + 1e-6
    assert state.step == steps
    assert (state.in_table[:, dim:] == 0).all() and (state.out_table[:, dim:] == 0).all()


@pytest.mark.parametrize("optimizer", list(TORCH))
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_rows_that_occur_often(optimizer, rows, device):
    """Sums of up to thousands of occurrences, which CUDA splits between warps."""
    in_table, out_table = tables(rows, 20, device)
    state = SkipgramState.create(in_table, out_table, optimizer)
    runs = []
    for dtype in (torch.float64, torch.float32):
        parameters = [
            torch.nn.Parameter(t[:, :20].to(dtype).clone()) for t in (in_table, out_table)
        ]
        runs.append((TORCH[optimizer](parameters), parameters))
    generator = torch.Generator().manual_seed(7)
    for batch, length in ((1, 40), (32, 1), (33, 3), (200, 30)):
        given = minibatch(generator, rows, batch, length, device)
        skipgram_step_(state, *given, lr=LR)
        for run in runs:
            plain_step(*run, given)
    skipgram_sync_(state)
    (_, exact), (_, plain) = runs
    plain_error = max(
        (x.double() - y).abs().max().item() for x, y in zip(plain, exact, strict=True)
    )
    assert distance(state, exact, 20) <= max(2e-5, 4 * plain_error)


@pytest.mark.parametrize("early", [1, 40])
@pytest.mark.parametrize(
    "wait", [1, 3, 100, MAX_PENDING - 1, MAX_PENDING + 1, 2 * MAX_PENDING + 50]
)
def test_pending_steps_of_adam(early, wait, device):
    """Rows untouched for long move as dense Adam moves them: no more than rounding apart."""
    rows, dim, quiet = 60, 16, 20  # rows below `quiet` are touched in the early steps alone
    in_table, out_table = tables(rows, dim, device)
    state = SkipgramState.create(in_table, out_table, "adam")
    exact = [torch.nn.Parameter(t.double().clone()) for t in (in_table, out_table)]
    optimizer = torch.optim.Adam(exact, lr=LR)
    generator = torch.Generator().manual_seed(2)
    for step in range(early + wait):
        batch = minibatch(generator, rows, 16, 24, device, 0 if step < early else quiet)
        skipgram_step_(state, *batch, lr=LR)
        plain_step(optimizer, exact, batch)
    skipgram_sync_(state)
    assert (state.in_last == state.step).all() and (state.out_last == state.step).all()
    for table, parameter in zip((state.in_table, state.out_table), exact, strict=True):
        error = (table.double() - parameter)[:quiet].abs().max().item()
        assert error <= 2e-6 * max(1, early), error


def test_adam_with_tiny_gradients(device):
    """Second moments around eps^2, where the closed form is not exact: taken step by step."""
    rows, dim = 20, 16
    in_table, out_table = (table * 1e-6 for table in tables(rows, dim, device))
    state = SkipgramState.create(in_table, out_table, "adam")
    exact = [torch.nn.Parameter(t.double().clone()) for t in (in_table, out_table)]
    optimizer = torch.optim.Adam(exact, lr=1e-7)
    generator = torch.Generator().manual_seed(3)
    for step in range(60):
        batch = minibatch(generator, rows, 4, 3, device, 0 if step < 1 else 10)
        skipgram_step_(state, *batch, lr=1e-7)
        plain_step(optimizer, exact, batch)
    skipgram_sync_(state)
    assert distance(state, exact, dim) <= 1e-4 * exact[0].abs().max()


def test_learning_rate_and_settings_may_change(device):
    """Pending steps use the learning rates of their own time."""
    rows, dim = 60, 16
    in_table, out_table = tables(rows, dim, device)
    state = SkipgramState.create(in_table, out_table, "adam", betas=(0.8, 0.99), eps=1e-6)
    exact = [torch.nn.Parameter(t.double().clone()) for t in (in_table, out_table)]
    optimizer = torch.optim.Adam(exact, lr=LR, betas=(0.8, 0.99), eps=1e-6)
    generator = torch.Generator().manual_seed(4)
    for step in range(80):
        lr = LR * (1 - step / 100) * (step % 7 != 3)
        optimizer.param_groups[0]["lr"] = lr
        batch = minibatch(generator, rows, 4, 6, device)
        skipgram_step_(state, *batch, lr=lr)
        plain_step(optimizer, exact, batch)
    skipgram_sync_(state)
    assert distance(state, exact, dim) <= 1e-4


@pytest.mark.parametrize("optimizer", list(TORCH))
def test_bit_identical_for_any_threads(optimizer, device):
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            state = SkipgramState.create(*tables(200, 100, device), optimizer)
            generator = torch.Generator().manual_seed(5)
            for _ in range(6):
                skipgram_step_(state, *minibatch(generator, 200, 128, 40, device), lr=LR)
            skipgram_sync_(state)
            results.append([tensor.clone() for tensor in state.tensors()])
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


def test_gradient_of_sgd_step(device):
    """With lr 1, before - after is the gradient of the summed loss."""
    in_table, out_table = tables(9, 16, device)
    batch = minibatch(torch.Generator().manual_seed(6), 9, 5, 7, device)
    exact = [t.double().requires_grad_() for t in (in_table, out_table)]
    reference(*batch, *exact).sum().backward()
    before = [in_table.clone(), out_table.clone()]
    skipgram_step_(SkipgramState.create(in_table, out_table, "sgd"), *batch, lr=1.0)
    for old, new, parameter in zip(before, (in_table, out_table), exact, strict=True):
        torch.testing.assert_close((old - new).double(), parameter.grad, rtol=1e-5, atol=1e-6)


def test_empty_batches_change_nothing_but_time(device):
    in_table, out_table = tables(9, 16, device)
    before = in_table.clone()
    state = SkipgramState.create(in_table, out_table, "adam")
    empty = torch.zeros(0, 4, dtype=torch.int64, device=device)
    loss = skipgram_step_(state, empty[:, 0], empty, empty, empty, lr=LR)
    assert loss.shape == (0,) and state.step == 1
    masked = torch.zeros(3, 4, dtype=torch.int64, device=device)
    loss = skipgram_step_(state, masked[:, 0], masked, masked, masked, lr=LR)
    assert (loss == 0).all() and torch.equal(in_table, before)


def test_versions_and_grad(device):
    """In-place updates are seen by autograd, and tables that require grad are refused."""
    in_table, out_table = tables(9, 16, device)
    state = SkipgramState.create(in_table, out_table, "adam")
    versions = [tensor._version for tensor in state.tensors()]
    batch = minibatch(torch.Generator().manual_seed(6), 9, 5, 7, device)
    skipgram_step_(state, *batch, lr=LR)
    assert all(t._version > v for t, v in zip(state.tensors(), versions, strict=True))
    in_table.requires_grad_()
    with pytest.raises(ValueError, match="in_table requires grad"):
        skipgram_step_(state, *batch, lr=LR)
    with torch.no_grad():
        skipgram_step_(state, *batch, lr=LR)


def test_index_errors_leave_everything_alone(device):
    in_table, out_table = tables(9, 16, device)
    state = SkipgramState.create(in_table, out_table, "adam")
    center, target, mask, label = minibatch(torch.Generator().manual_seed(6), 9, 5, 7, device)
    before = [tensor.clone() for tensor in state.tensors()]
    with pytest.raises(IndexError, match=r"contexts_and_negatives must be in \[0, 9\), got 9"):
        skipgram_step_(state, center, target * 0 + 9, mask, label, lr=LR)
    with pytest.raises(IndexError, match=r"center must be in \[0, 9\), got -1"):
        skipgram_step_(state, center * 0 - 1, target, mask, label, lr=LR)
    assert state.step == 0
    assert all(torch.equal(x, y) for x, y in zip(state.tensors(), before, strict=True))


def test_opcheck(device):
    state = SkipgramState.create(*tables(9, 16, device), "adam")
    center, target, mask, label = minibatch(torch.Generator().manual_seed(6), 9, 5, 7, device)
    size = torch.ops.lexforge.skipgram_step_workspace.default(5, 35, 9, 9, 16)
    settings = ("adam", 1, LR, *state.betas, state.eps)
    arguments = (
        *state.tensors(),
        torch.zeros(size, dtype=torch.uint8, device=device),
        torch.zeros(5, device=device),
        *(center.int(), target.int(), mask.float(), label.float()),
        *settings,
    )
    kinds = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.lexforge.skipgram_step_.default, arguments, test_utils=kinds)
    torch.library.opcheck(
        torch.ops.lexforge.skipgram_sync_.default, (*state.tensors(), *settings), test_utils=kinds
    )


@pytest.mark.parametrize(
    ("error", "match", "arguments", "options"),
    [
        (ValueError, "optimizer must be one of", [(9, 16), (9, 16)], {"optimizer": "adamw"}),
        (ValueError, "betas must be", [(9, 16), (9, 16)], {"betas": (1.0, 0.9)}),
        (ValueError, "eps must be", [(9, 16), (9, 16)], {"eps": 0.0}),
        (ValueError, "a multiple of 16", [(9, 20), (9, 20)], {}),
        (ValueError, "out_table must be .*, 16.*got", [(9, 16), (9, 32)], {}),
        (
            ValueError,
            "initial_accumulator_value",
            [(9, 16), (9, 16)],
            {"optimizer": "adagrad", "initial_accumulator_value": -1.0},
        ),
    ],
)
def test_state_errors(error, match, arguments, options, device):
    with pytest.raises(error, match=match):
        SkipgramState.create(*(torch.zeros(shape, device=device) for shape in arguments), **options)


def test_state_refuses_other_tables(device):
    table = torch.zeros(9, 16, device=device)
    with pytest.raises(TypeError, match="in_table must be float32"):
        SkipgramState.create(table.double(), table)
    with pytest.raises(ValueError, match="another tensor"):
        SkipgramState.create(table, table)
    with pytest.raises(ValueError, match="contiguous"):
        SkipgramState.create(torch.zeros(16, 16, device=device).t(), table)
    state = SkipgramState.create(table, table.clone())
    ids = torch.zeros(1, 1, dtype=torch.int64, device=device)
    with pytest.raises(ValueError, match="lr must be finite"):
        skipgram_step_(state, ids, ids, ids, ids, lr=float("nan"))
