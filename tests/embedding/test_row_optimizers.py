"""lexforge.optim beside torch.optim, on sparse gradients with repeats, and as an Optimizer."""

from __future__ import annotations

import copy
import math
import warnings
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexforge import nn, optim

ROWS, DIM = 30, 7
KINDS = {
    "SGD": lambda p, **more: optim.SGD(p, 0.1, momentum=0.9, **more),
    "Adagrad": lambda p, **more: optim.Adagrad(p, 0.1, **more),
    "RowwiseAdagrad": lambda p, **more: optim.RowwiseAdagrad(p, 0.1, **more),
    "Adam": lambda p, **more: optim.Adam(p, 0.1, **more),
    "lazy Adam": lambda p, **more: optim.Adam(p, 0.1, lazy=True, **more),
}


def pair(name, **options):
    """The optimiser of that name, ours and torch's."""
    return [partial(getattr(of, name), **options) for of in (optim, torch.optim)]


def parameter(dtype=torch.float64, device="cpu", seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(ROWS, DIM, generator=generator, dtype=torch.float64)
    return torch.nn.Parameter(rows.to(device, dtype))


def gradient(step, p, count=None):
    """Of another batch at every step, also of none; rows come and go."""
    generator = torch.Generator().manual_seed(100 + step)
    count = (5, 0, 60, 1)[step % 4] if count is None else count
    ids = torch.randint(0, ROWS // (1 + step % 3), (1, count), generator=generator)
    values = torch.randn(count, DIM, generator=generator, dtype=torch.float64)
    sizes = (ROWS, DIM)
    return torch.sparse_coo_tensor(ids, values.to(p.dtype), sizes, check_invariants=True).to(
        p.device
    )


def steps(optimizer, p, first, last, dense=False):
    for step in range(first, last):
        p.grad = gradient(step, p).to_dense() if dense else gradient(step, p)
        optimizer.step()
    return p.detach().clone()


def beside(ours, theirs, dense=True, dtype=torch.float64, device="cpu", count=9):
    """The largest difference after some steps from the same numbers."""
    mine, other = parameter(dtype, device), parameter(dtype, device)
    return (
        (steps(ours([mine]), mine, 0, count) - steps(theirs([other]), other, 0, count, dense))
        .abs()
        .max()
        .item()
    )


rates = st.floats(0, 0.5)
decays = st.sampled_from([0.0, 0.01, 0.3])
epsilons = st.floats(1e-10, 0.1)
betas = st.tuples(st.floats(0, 0.99), st.floats(0.5, 0.9999))
few = settings(max_examples=25, deadline=None)


@few
@given(rates, st.sampled_from([0.0, 0.5, 0.95]), st.sampled_from([0.0, 0.25]), decays)
def test_sgd_is_torchs(lr, momentum, dampening, weight_decay):
    for nesterov in {False, momentum > 0 and dampening == 0}:
        settings = {"momentum": momentum, "dampening": dampening, "nesterov": nesterov}
        settings["weight_decay"] = weight_decay
        ours, theirs = pair("SGD", lr=lr, **settings)
        assert beside(ours, theirs) < 1e-11
        if weight_decay == 0:  # torch's, with the sparse gradient itself
            assert beside(ours, theirs, dense=False) < 1e-11


@few
@given(rates, st.sampled_from([0.0, 0.1]), decays, st.sampled_from([0.0, 0.2]), epsilons)
def test_adagrad_is_torchs(lr, lr_decay, weight_decay, initial, eps):
    settings = {"lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
    settings["initial_accumulator_value"] = initial
    ours, theirs = pair("Adagrad", lr=lr, **settings)
    assert beside(ours, theirs) < 1e-10
    if weight_decay == 0:
        assert beside(ours, theirs, dense=False) < 1e-10


@few
@given(rates, betas, epsilons, decays)
def test_exact_adam_is_torchs_with_the_dense_gradient(lr, betas, eps, weight_decay):
    settings = {"betas": betas, "eps": eps, "weight_decay": weight_decay}
    ours, theirs = pair("Adam", lr=lr, **settings)
    assert beside(ours, theirs) < 1e-9


@few
@given(rates, betas, epsilons)
def test_lazy_adam_is_torchs_sparse_adam(lr, betas, eps):
    def ours(p):
        return optim.Adam(p, lr, betas=betas, eps=eps, lazy=True)

    def theirs(p):
        return torch.optim.SparseAdam(p, lr or 1e-300, betas=betas, eps=eps)  # it wants > 0

    assert beside(ours, theirs, dense=False) < 1e-9


@few
@given(rates, st.sampled_from([0.0, 0.1]), decays, st.sampled_from([0.0, 0.2]), epsilons)
def test_rowwise_adagrad(lr, lr_decay, weight_decay, initial, eps):
    """The rule written down again: an accumulator of the mean square for each row."""
    p, exact = parameter(), parameter().detach()
    sums = torch.full((ROWS,), initial, dtype=torch.float64)
    optimizer = optim.RowwiseAdagrad([p], lr, lr_decay, weight_decay, initial, eps)
    for step in range(5):
        p.grad = gradient(step, p)
        g = p.grad.to_dense() + weight_decay * exact
        sums = sums + g.square().mean(1)
        exact = exact - lr / (1 + step * lr_decay) * g / (sums.sqrt() + eps)[:, None]
        optimizer.step()
    assert (p - exact).abs().max() < 1e-10
    assert optimizer.state[p]["sum"].shape == (ROWS,)


@pytest.mark.parametrize("kind", ["SGD", "Adagrad", "Adam", "lazy Adam"])
def test_float32(kind, device):
    theirs = {
        "SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        "Adagrad": lambda p: torch.optim.Adagrad(p, 0.1),
        "Adam": lambda p: torch.optim.Adam(p, 0.1),
        "lazy Adam": lambda p: torch.optim.SparseAdam(p, 0.1),
    }[kind]
    error = beside(KINDS[kind], theirs, kind != "lazy Adam", torch.float32, device)
    assert error < 2e-6 * 9


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_tables_have_float32_state(kind):
    p, exact = parameter(torch.bfloat16), parameter()
    exact.data.copy_(p.data)
    optimizer = KINDS[kind]([p])
    rounding = 0.0
    for step in range(6):
        p.grad = gradient(step, p)
        optimizer.step()
        rounding += 2**-8 * p.abs().max().item()
    one = KINDS[kind]([exact])
    for step in range(6):
        exact.grad = gradient(step, p).to(torch.float64)
        one.step()
    assert (p - exact).abs().max() < 2 * rounding
    again = KINDS[kind]([parameter(torch.bfloat16)])
    again.load_state_dict(optimizer.state_dict())
    for o in (optimizer, again):
        state = next(iter(o.state.values()))
        floats = {t.dtype for name, t in state.items() if name not in ("step", "touched")}
        assert floats <= {torch.float32}
        assert "touched" not in state or state["touched"].dtype is torch.uint8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_saved_state_goes_on_with_the_same_bits(kind, dtype, tmp_path):
    p = parameter(dtype)
    optimizer = KINDS[kind]([p])
    steps(optimizer, p, 0, 5)
    saved = {"p": p.detach().clone(), "optimizer": optimizer.state_dict()}
    torch.save(saved, tmp_path / "state.pt")
    whole = steps(optimizer, p, 5, 9)
    loaded = torch.load(tmp_path / "state.pt")
    other = torch.nn.Parameter(loaded["p"])
    again = KINDS[kind]([other])
    again.load_state_dict(loaded["optimizer"])
    kept = copy.deepcopy(loaded["optimizer"]["state"])
    assert torch.equal(steps(again, other, 5, 9), whole)
    for name, value in loaded["optimizer"]["state"][0].items():  # it was copied
        assert torch.equal(value, kept[0][name])


@pytest.mark.parametrize("kind", ["SGD", "sparse SGD", "Adagrad", "Adam", "SparseAdam"])
def test_states_of_torch_are_loaded(kind):
    theirs = {
        "SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        "sparse SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        "Adagrad": lambda p: torch.optim.Adagrad(p, 0.1),
        "Adam": lambda p: torch.optim.Adam(p, 0.1),
        "SparseAdam": lambda p: torch.optim.SparseAdam(p, 0.1),
    }[kind]
    ours = {"sparse SGD": "SGD", "SparseAdam": "lazy Adam"}.get(kind, kind)
    p = parameter()
    torchs = theirs([p])
    dense = kind in ("SGD", "Adagrad", "Adam")
    steps(torchs, p, 0, 4, dense)
    other = torch.nn.Parameter(p.detach().clone())
    optimizer = KINDS[ours]([other])
    optimizer.load_state_dict(copy.deepcopy(torchs.state_dict()))
    assert (steps(optimizer, other, 4, 9) - steps(torchs, p, 4, 9, dense)).abs().max() < 1e-12


def test_lazy_may_change():
    """Flags that lazy steps have not set are made again."""
    p, exact = parameter(), parameter()
    optimizer, other = optim.Adam([p], 0.1), torch.optim.Adam([exact], 0.1)
    everything = torch.ones(ROWS, DIM, dtype=torch.float64)
    for step, lazy in enumerate([False, True, False, False]):
        optimizer.param_groups[0]["lazy"] = lazy
        if lazy:  # all rows have a gradient: lazy and exact differ in epsilon alone
            p.grad = torch.sparse_coo_tensor(
                torch.arange(ROWS)[None], everything, check_invariants=True
            )
            exact.grad = everything
        else:
            p.grad = gradient(step, p, 4)
            exact.grad = p.grad.to_dense()
        optimizer.step()
        other.step()
    assert (p - exact).abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_schedulers_and_groups(kind):
    """A group for each of two tables, with rates of their own that a scheduler changes."""
    tables = [parameter(), parameter(seed=1)]
    optimizer = KINDS[kind]([{"params": [tables[0]]}, {"params": [tables[1]], "lr": 0.02}])
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    alone = [parameter(), parameter(seed=1)]
    ones = [KINDS[kind]([p]) for p in alone]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(4):
            for p in (*tables, *alone):
                p.grad = gradient(step, p)
            for one, lr in zip(ones, (0.1, 0.02), strict=True):
                one.param_groups[0]["lr"] = lr * (1 / (1 + step))
                one.step()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    assert all(torch.equal(x, y) for x, y in zip(tables, alone, strict=True))
    assert all(p.grad is None for p in tables)


# ---- In the backward -----------------------------------------------------------------------------


def losses(embedding, step):
    """Two uses of one table, and repeats within each."""
    generator = torch.Generator().manual_seed(step)
    first, second = torch.randint(0, ROWS, (2, 12), generator=generator)
    return (embedding(first) * embedding(second)).sum()


def embedding_of(p, layer=torch.nn.Embedding):
    return layer.from_pretrained(p.detach().clone(), freeze=False, sparse=True, padding_idx=3)


@pytest.mark.parametrize("layer", [torch.nn.Embedding, nn.Embedding], ids=["torch", "lexforge"])
@pytest.mark.parametrize("kind", KINDS)
def test_in_backward_is_step(kind, layer):
    ordinary, fused = embedding_of(parameter(), layer), embedding_of(parameter(), layer)
    one = KINDS[kind](ordinary.parameters())
    other = KINDS[kind](fused.parameters(), in_backward=True)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(other, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a scheduler that saw no step
        for step in range(4):
            losses(ordinary, step).backward()
            one.step()
            one.zero_grad()
            one.param_groups[0]["lr"] *= 0.5
            losses(fused, step).backward()
            assert fused.weight.grad is None
            assert torch.equal(fused.weight, ordinary.weight)
            other.step()
            assert torch.equal(fused.weight, ordinary.weight)
            scheduler.step()


def test_in_backward_every_backward_is_a_step():
    """Two backwards before one step(): both are steps; state that is loaded is used."""
    ordinary, fused = embedding_of(parameter()), embedding_of(parameter())
    one = optim.Adam(ordinary.parameters(), 0.1)
    losses(ordinary, 0).backward()
    one.step()
    one.zero_grad()
    other = optim.Adam(fused.parameters(), 0.2, in_backward=True)
    fused.load_state_dict(ordinary.state_dict())
    other.load_state_dict(one.state_dict())
    assert other.param_groups[0]["lr"] == 0.1
    for step in (1, 2):
        losses(ordinary, step).backward()
        one.step()
        one.zero_grad()
        losses(fused, step).backward()
    assert other.step() is None and other.state[fused.weight]["step"] == 3
    assert torch.equal(fused.weight, ordinary.weight)


def test_closures():
    embedding = embedding_of(parameter())
    before = embedding.weight.detach().clone()
    for in_backward in (False, True):
        optimizer = optim.SGD(embedding.parameters(), 0.1, in_backward=in_backward)

        def closure(optimizer=optimizer):
            optimizer.zero_grad()
            loss = losses(embedding, 0)
            loss.backward()
            return loss

        assert optimizer.step(closure) is not None
        assert not torch.equal(embedding.weight, before)
        before = embedding.weight.detach().clone()


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_dense_gradients_are_refused_before_anything_changes(kind):
    sparse, dense = parameter(), parameter(seed=1)
    optimizer = KINDS[kind]([("words.weight", sparse), ("other.weight", dense)])
    sparse.grad, dense.grad = gradient(0, sparse), torch.ones(ROWS, DIM, dtype=torch.float64)
    before = sparse.detach().clone()
    with pytest.raises(TypeError, match=r"the gradient of other\.weight must be sparse .* dense"):
        optimizer.step()
    assert torch.equal(sparse, before) and not optimizer.state[sparse]
    optimizer = KINDS[kind]([sparse, dense])
    with pytest.raises(TypeError, match="the gradient of parameter 1 of group 0 must be sparse"):
        optimizer.step()
    dense.grad = gradient(0, dense).to_dense().to_sparse()  # in both dimensions
    with pytest.raises(TypeError, match="2 sparse dimensions"):
        optimizer.step()


def test_dense_gradients_are_refused_in_the_backward():
    embedding = torch.nn.Embedding(ROWS, DIM)
    optim.SGD(embedding.named_parameters(), in_backward=True)
    with pytest.raises(TypeError, match="SGD: the gradient of weight must be sparse"):
        losses(embedding, 0).backward()


def test_ids_out_of_range_leave_no_state():
    p = parameter()
    for kind in KINDS.values():
        optimizer = kind([p])
        ids, values = torch.tensor([[0, ROWS]]), torch.ones(2, DIM, dtype=torch.float64)
        p.grad = torch.sparse_coo_tensor(ids, values, (ROWS, DIM), check_invariants=False)
        with pytest.raises(IndexError, match=f"got {ROWS} at position 1"):
            optimizer.step()
        assert not optimizer.state[p]


@pytest.mark.parametrize(
    ("kind", "match", "wrong"),
    [
        ("SGD", "lr must be finite", {"lr": math.nan}),
        ("SGD", "weight_decay must be finite", {"weight_decay": -0.1}),
        ("SGD", "momentum must be finite", {"momentum": math.inf}),
        ("SGD", r"dampening must be in \[0, 1\]", {"dampening": 1.5}),
        ("SGD", "nesterov wants momentum", {"nesterov": True}),
        ("SGD", "nesterov wants", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        ("Adagrad", "lr_decay must be finite", {"lr_decay": math.nan}),
        ("Adagrad", "initial_accumulator_value", {"initial_accumulator_value": -1.0}),
        ("RowwiseAdagrad", "eps must be finite and > 0", {"eps": 0.0}),
        ("Adam", r"betas must be in \[0, 1\)", {"betas": (0.9, 1.0)}),
        ("Adam", r"betas must be in \[0, 1\)", {"betas": (math.nan, 0.9)}),
        ("Adam", "eps must be finite and > 0", {"eps": math.nan}),
        ("Adam", "lr must be finite", {"lr": -1.0}),
    ],
)
def test_settings_out_of_range(kind, match, wrong):
    p = parameter()
    with pytest.raises(ValueError, match=f"{kind}: {match}"):
        getattr(optim, kind)([p], **wrong)
    optimizer = getattr(optim, kind)([p])
    with pytest.raises(ValueError, match=match):
        optimizer.add_param_group({"params": [parameter()], **wrong})
    assert len(optimizer.param_groups) == 1
    optimizer.param_groups[0].update(wrong)  # as a scheduler might
    p.grad, before = gradient(0, p), p.detach().clone()
    with pytest.raises(ValueError, match=match):
        optimizer.step()
    assert torch.equal(p, before)


def test_parameters_that_are_no_tables():
    for wrong, match in (
        (torch.zeros(3), r"parameter 0 of group 0 must be \[V, D\], got \[3\]"),
        (torch.zeros(4, 3).t(), "parameter 0 of group 0 must be contiguous"),
    ):
        with pytest.raises(ValueError, match=f"Adam: {match}"):
            optim.Adam([torch.nn.Parameter(wrong)])
    with pytest.raises(TypeError, match="Adam: table must be float32, bfloat16 or float64"):
        optim.Adam([("table", torch.nn.Parameter(torch.zeros(4, 3).half()))])


def test_frozen_parameters():
    """Left alone, as torch.optim does; with a backward to wait for, refused."""
    frozen = torch.nn.Embedding.from_pretrained(torch.ones(ROWS, DIM), sparse=True)
    optimizer = optim.Adam(frozen.parameters())
    optimizer.step()
    assert (frozen.weight == 1).all() and not optimizer.state
    with pytest.raises(ValueError, match="SGD: weight is frozen"):
        optim.SGD(frozen.named_parameters(), in_backward=True)


def test_a_newer_optimizer_takes_the_place_in_the_backward():
    table = torch.nn.Embedding(4, 2, sparse=True)
    before = table.weight.detach().clone()
    optim.SGD(table.parameters(), lr=100.0, in_backward=True)
    optim.SGD(table.parameters(), lr=0.5, in_backward=True)
    table(torch.tensor([1])).sum().backward()
    assert torch.equal(table.weight[1], before[1] - 0.5)


@pytest.mark.parametrize("name", ["amsgrad", "maximize"])
def test_state_of_another_way_is_refused(name):
    table = torch.nn.Embedding(4, 2, sparse=True)
    state = torch.optim.Adam(table.parameters(), **{name: True}).state_dict()
    with pytest.raises(ValueError, match=f"Adam: {name} is not supported"):
        optim.Adam(table.parameters()).load_state_dict(state)
