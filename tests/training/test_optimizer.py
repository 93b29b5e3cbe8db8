"""The optimiser of networks: equal to torch's, decays what should decay, can be saved."""

import pytest
import torch
from torch import nn

import lexforge
from common.isa import ISAS, run_under
from lexforge.training.optimizer import NetworkOptimizer

DEVICES = ["cpu", *(["cuda"] if lexforge.cuda_usable else [])]


def network(device="cpu"):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3)).to(device)


def backward(model, step):
    x = torch.arange(10.0).reshape(2, 5).to(next(model.parameters()).device)
    (model(x + step) ** 2).sum().backward()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_steps_are_those_of_torch(device, kind):
    ours, theirs = network(device), network(device)
    optimizer = NetworkOptimizer(ours, kind, weight_decay=0.1, clip=2.0)
    matrices = [p for p in theirs.parameters() if p.dim() > 1]
    vectors = [p for p in theirs.parameters() if p.dim() == 1]
    expected = (torch.optim.AdamW if kind == "adamw" else torch.optim.Adam)(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    )
    for step, rate in enumerate((0.1, 0.01, 0.02)):
        optimizer.set_learning_rate(rate)
        optimizer.zero_grad()
        backward(ours, step)
        optimizer.step()
        for group in expected.param_groups:
            group["lr"] = rate
        expected.zero_grad()
        backward(theirs, step)
        nn.utils.clip_grad_norm_(theirs.parameters(), 2.0)
        expected.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_biases_and_norms_do_not_decay():
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = NetworkOptimizer(model, "adamw", weight_decay=0.5)
    optimizer.set_learning_rate(0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        share = 0.95 if parameter.dim() > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), share * before[name], msg=name)


def test_clipping():
    """Gradients of a norm above the limit are scaled to it; others stay as they are."""
    norms = []
    for clip in (0.0, 1e-3, 1e9):
        model = network()
        optimizer = NetworkOptimizer(model, "adam", clip=clip)
        backward(model, 0)
        optimizer.step()
        norms.append(float(torch.stack([p.grad.norm() for p in model.parameters()]).norm()))
    assert norms[0] > 1 and norms[1] == pytest.approx(1e-3, rel=1e-3)
    assert norms[2] == norms[0]


def run(optimizer, model, steps):
    for step in steps:
        optimizer.set_learning_rate(0.05)
        optimizer.zero_grad()
        backward(model, step)
        optimizer.step()


@pytest.mark.parametrize("device", DEVICES)
def test_state_can_be_saved(device):
    whole, model = network(device), network(device)
    run(NetworkOptimizer(whole, "adamw", weight_decay=0.1), whole, range(6))
    first = NetworkOptimizer(model, "adamw", weight_decay=0.1)
    assert all(not tensor.any() for tensor in first.tensors().values())
    run(first, model, range(3))
    saved = {name: tensor.clone().cpu() for name, tensor in first.tensors().items()}
    assert saved["step"].tolist() == [3.0] * 6 and len(saved) == 13
    second = NetworkOptimizer(model, "adamw", weight_decay=0.1)
    second.load_tensors(saved)
    run(second, model, range(3, 6))
    assert all(map(torch.equal, model.parameters(), whole.parameters()))


def test_parameters_without_gradient_keep_their_step():
    """Of a step that a parameter takes no part in; its own number of steps is saved."""
    model = network()
    optimizer = NetworkOptimizer(model, "adam")
    run(optimizer, model, range(2))
    optimizer.zero_grad()
    model[2].bias.grad = torch.ones(3)
    optimizer.step()
    steps = optimizer.tensors()["step"].tolist()
    assert sorted(steps) == [2.0] * 5 + [3.0] and len(list(optimizer.all_tensors())) == 24


def test_foreign_state():
    optimizer = NetworkOptimizer(network(), "adam")
    state = optimizer.tensors()
    state["exp_avg.9.weight"] = state.pop("exp_avg.0.weight")
    state["exp_avg_sq.2.bias"] = torch.zeros(4)
    with pytest.raises(ValueError) as caught:
        optimizer.load_tensors(state)
    assert str(caught.value) == (
        "optimizer state: exp_avg.0.weight is missing; exp_avg.9.weight is unexpected; "
        "exp_avg_sq.2.bias must be (3,), got (4,)"
    )


def test_unknown_kind():
    with pytest.raises(ValueError, match="kind must be one of adam, adamw, got 'sgd'"):
        NetworkOptimizer(network(), "sgd")


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_tables_with_sparse_gradients_get_the_same_numbers(clip):
    """Words come and go; a run that is loaded in between goes on the same."""
    results = []
    for sparse, reload in ((False, False), (True, False), (True, True)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(6, 4, sparse=sparse), nn.Linear(4, 2))
        optimizer = NetworkOptimizer(model, "adam", clip=clip)
        for step, words in enumerate(([1, 2, 1], [3, 3], [1, 4], [0])):
            if reload and step == 2:
                tensors = {name: x.clone() for name, x in optimizer.tensors().items()}
                optimizer = NetworkOptimizer(model, "adam", clip=clip)
                optimizer.load_tensors(tensors)
            optimizer.set_learning_rate(0.1 / (step + 1))
            optimizer.zero_grad()
            (model(torch.tensor(words)) ** 2).sum().backward()
            optimizer.step()
        results.append([*model.parameters(), *optimizer.tensors().values()])
    for sparse, again, dense in zip(results[1], results[2], results[0], strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-5, atol=1e-7)
        assert torch.equal(sparse, again)


def test_nothing_but_a_table():
    model = nn.Embedding(6, 4, sparse=True)
    optimizer = NetworkOptimizer(model, "adamw")
    optimizer.set_learning_rate(0.1)
    before = model.weight.detach().clone()
    model(torch.tensor([1])).sum().backward()
    optimizer.step()
    assert (model.weight != before).any(1).tolist() == [False, True, False, False, False, False]


def test_a_step_without_gradients_changes_nothing():
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = NetworkOptimizer(model, "adam", weight_decay=0.1, clip=1.0)
    optimizer.set_learning_rate(0.1)
    optimizer.step()
    assert all(map(torch.equal, model.parameters(), before))
    assert not optimizer.tensors()["step"].any()


def test_a_backward_of_before_the_step_is_refused():
    model = network()
    optimizer = NetworkOptimizer(model, "adam")
    loss = (model(torch.ones(2, 5)) ** 2).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


SIZES = [(300, 70), (5,), (0,), (8200,)]  # of which threads share 6 parts


def lists(sizes):
    """Parameters, gradients, moments and steps of adam_step_, after 4 steps."""
    generator = torch.Generator().manual_seed(3)
    own = [[torch.randn(size, generator=generator) for size in sizes] for _ in range(4)]
    return [*own[:3], [each.square() for each in own[3]], [torch.tensor(4.0) for _ in sizes]]


def adam_step(given, *, clip=0.5, epsilon=1e-8, betas=(0.9, 0.99)):
    decays = [0.1] + [0.0] * (len(given[0]) - 1)
    torch.ops.lexforge.adam_step_.default(*given, decays, 1e-2, *betas, epsilon, clip, True)
    return [each for some in given for each in some]


def test_bits_are_those_of_any_threads():
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(adam_step(lists(SIZES)))
    finally:
        torch.set_num_threads(before)
    for others in results[1:]:
        assert all(map(torch.equal, results[0], others))


ISA_SCRIPT = """
import torch, lexforge.training.optimizer
from torch import nn
generator = torch.Generator().manual_seed(0)
sizes, decays = (1, 15, 16, 17, 8192, 8203), [0.0, 0.1, 0.2, 0.1, 0.0, 0.3]
for decoupled, clip in ((False, 0.0), (False, 2.0), (True, 0.0), (True, 1e9)):
    # One number past where registers are aligned.
    ours = [torch.randn(1 + size, generator=generator)[1:] for size in sizes]
    first, second = ([torch.zeros_like(each) for each in ours] for _ in range(2))
    steps = [torch.zeros(()) for _ in sizes]
    exact = [nn.Parameter(each.double()) for each in ours]
    optimizer = (torch.optim.AdamW if decoupled else torch.optim.Adam)(
        [{"params": [p], "weight_decay": decay} for p, decay in zip(exact, decays)],
        lr=0.01, betas=(0.8, 0.95), eps=1e-6,
    )
    for _ in range(3):
        gradients = [torch.randn(size, generator=generator) for size in sizes]
        for p, gradient in zip(exact, gradients):
            p.grad = gradient.double()
        if clip:
            nn.utils.clip_grad_norm_(exact, clip)
        optimizer.step()
        torch.ops.lexforge.adam_step_.default(
            ours, gradients, first, second, steps, decays, 0.01, 0.8, 0.95, 1e-6, clip, decoupled
        )
    for p, own, gradient, m, v, step in zip(exact, ours, gradients, first, second, steps):
        state = optimizer.state[p]
        close = {"rtol": 2e-6, "atol": 1e-6}
        torch.testing.assert_close(own.double(), p.data, **close)
        torch.testing.assert_close(gradient.double(), p.grad, **close)
        torch.testing.assert_close(m.double(), state["exp_avg"], **close)
        torch.testing.assert_close(v.double(), state["exp_avg_sq"], **close)
        assert step == 3
print(lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_the_op_has_the_numbers_of_torch_in_float64(isa):
    assert run_under(isa, ISA_SCRIPT).strip() == isa


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_a_gradient_that_is_no_number(clip):
    """It reaches its own parameter, and by the norm all of them."""
    given = lists([(20,), (3,)])
    given[1][0][17] = torch.nan
    adam_step(given, clip=clip)
    expected = torch.arange(20) == 17 if clip == 0 else torch.ones(20, dtype=torch.bool)
    for own, other in given[:4]:
        assert torch.equal(own.isnan(), expected)
        assert torch.equal(other.isnan(), torch.full((3,), clip > 0))


def test_opcheck():
    arguments = (*lists([(5, 2), (3,), (0,)]), [0.1, 0.0, 0.0], 1e-2, 0.9, 0.99, 1e-8, 0.5, True)
    kinds = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.lexforge.adam_step_.default, arguments, test_utils=kinds)


@pytest.mark.parametrize(
    ("place", "wrong", "message"),
    [
        (1, [], "each list must have 1 entries, got 0"),
        (0, [], "parameters must have at least 1 entry, got 0"),
        (1, [torch.ones(2)], r"gradients must have the shape of parameters, \[3\], got \[2\]"),
        (
            0,
            [torch.ones(3).double()],
            "parameters has the wrong dtype: must be float32",
        ),
        (2, [torch.ones(3).half()], "first has the wrong dtype: must be float32, got float16"),
        (0, [torch.ones(6)[::2]], "parameters must be contiguous"),
        (3, [torch.ones(6)[::2]], "second must be contiguous"),
        (4, [torch.ones(3)], "steps must have one number, got 3"),
        (4, [torch.tensor(1)], "steps has the wrong dtype: must be float32, got int64"),
    ],
)
def test_the_op_refuses_tensors(place, wrong, message):
    given = lists([(3,)])
    given[place] = wrong
    before = [each.clone() for some in given for each in some]
    with pytest.raises(RuntimeError, match=f"adam_step_: {message}"):
        torch.ops.lexforge.adam_step_.default(*given, [0.0], 1e-2, 0.9, 0.99, 1e-8, 0.0, True)
    assert all(map(torch.equal, (each for some in given for each in some), before))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epsilon": -1e-8}, r"epsilon must be finite and >= 0, got -1e-08"),
        ({"epsilon": float("nan")}, r"epsilon must be finite and >= 0, got nan"),
        ({"clip": -1.0}, "clip must be >= 0, got -1"),
        ({"clip": float("nan")}, "clip must be >= 0, got nan"),
        ({"betas": (0.9, 1.0)}, r"betas must be in \[0, 1\), got 1"),
        ({"betas": (-0.1, 0.9)}, r"betas must be in \[0, 1\), got -0.1"),
    ],
)
def test_the_op_refuses_numbers(wrong, message):
    with pytest.raises(RuntimeError, match=f"adam_step_: {message}"):
        adam_step(lists([(3,)]), **wrong)


def test_the_op_refuses_what_shares_memory():
    whole = torch.ones(10)
    for lower, upper in ((0, 0), (0, 1), (2, 4)):
        given = lists([(3,), (3,)])
        given[lower][0] = whole[3:6]
        given[upper][1] = whole[5:8] if upper < 4 else whole[4:5]
        with pytest.raises(RuntimeError, match=r"adam_step_: parameters.* must not share"):
            adam_step(given)
    given = lists([(3,), (3,)])
    given[0] = [whole[:3], whole[3:6]]  # neighbours
    adam_step(given)
