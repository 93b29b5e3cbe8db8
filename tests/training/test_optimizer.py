"""The optimiser of networks: equal to torch's, decays what should decay, can be saved."""

import pytest
import torch
from torch import nn

import lexforge
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


def _step(threads=1, clip=0.5):
    generator = torch.Generator().manual_seed(3)
    sizes = [(300, 70), (5,), (0,), (8200,)]
    lists = [[torch.randn(size, generator=generator) for size in sizes] for _ in range(3)]
    lists.append([each.square() for each in lists[2]])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        torch.ops.lexforge.adam_step_.default(
            *lists, [torch.tensor(4.0) for _ in sizes], [0.1, 0.0, 0.0, 0.0], 1e-2, 0.9, 0.99, 1e-8,
            clip, True,
        )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    return [each for some in lists for each in some]


def test_bits_are_those_of_any_threads():
    assert all(map(torch.equal, _step(1), _step(3)))


def test_the_op_refuses():
    op = torch.ops.lexforge.adam_step_.default
    x, step = torch.ones(3), torch.zeros(())
    numbers = [1e-2, 0.9, 0.99, 1e-8, 0.0, True]
    for lists, message in (
        (([x], [], [x], [x], [step], [0.0]), "each list must have 1 entries, got 0"),
        (([x], [x[:2]], [x], [x], [step], [0.0]), "gradients must have the shape of parameters"),
        (([x.double()], [x], [x], [x], [step], [0.0]), "parameters has the wrong dtype"),
        (([x], [x], [x], [x], [x], [0.0]), "steps must have one number, got 3"),
    ):
        with pytest.raises(RuntimeError, match=message):
            op(*lists, *numbers)
