"""lexforge.nn.Embedding and EmbeddingBag: equal to torch's in every documented case."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import lexforge
from lexforge import _library
from lexforge.ops import embedding, embedding_bag

pytestmark = pytest.mark.skipif(_library.emulated(), reason="of the layers, not of the kernels")

# ---- The reference text's table ------------------------------------------------------------------


def test_a_table_of_twenty_rows(device):
    layer = lexforge.nn.Embedding(20, 4, device=device)
    assert layer.weight.shape == (20, 4) and layer.weight.dtype == torch.float32
    ids = torch.tensor([[1, 2, 3], [4, 2, 1]], device=device)
    out = layer(ids)
    assert out.shape == (2, 3, 4)
    assert torch.equal(out[0, 1], out[1, 1]) and torch.equal(out[0, 0], out[1, 2])


def test_first_values():
    torch.manual_seed(0)
    layer = lexforge.nn.Embedding(12, 3)
    expected = torch.tensor([[-1.1258, -1.1524, -0.2506], [0.0845, -1.2001, -0.0048]])
    torch.testing.assert_close(layer.weight[[0, 11]].detach(), expected, rtol=0, atol=5e-5)
    ids = torch.tensor([1, 0, 2, 3, 4])
    assert torch.equal(layer(ids), layer.weight[ids])


def test_a_linear_layer_on_one_hot(device):
    torch.manual_seed(0)
    weights = torch.randn(4, 3)
    layer = lexforge.nn.Embedding.from_pretrained(weights.to(device))
    out = layer(torch.tensor([2], device=device)).cpu()
    torch.testing.assert_close(out, torch.tensor([[0.4033, 0.8380, -0.7193]]), rtol=0, atol=5e-5)
    one_hot = nn.functional.one_hot(torch.tensor([2]), 4).float()
    assert torch.equal(out, nn.functional.linear(one_hot, weights.t()))


@pytest.mark.parametrize("padding_idx", [12, -1])
def test_the_padding_row(padding_idx, device):
    layer = lexforge.nn.Embedding(13, 3, padding_idx=padding_idx, device=device)
    assert layer.padding_idx == 12
    assert not layer.weight[12].any() and layer.weight[:12].all()
    layer(torch.tensor([12, 1, 12], device=device)).sum().backward()
    assert layer.weight.grad.any(1).nonzero().flatten().tolist() == [1]
    table = torch.ones(13, 3, device=device)
    given = lexforge.nn.Embedding.from_pretrained(table, padding_idx=padding_idx)
    assert given.weight[12].all()


def test_max_norm_changes_rows_in_place(device):
    """In a frozen table too, as torch does: the reference text's example is one."""
    table = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.3, 0.4]], device=device)
    for freeze in (True, False):
        given = table.clone()
        layer = lexforge.nn.Embedding.from_pretrained(given, freeze=freeze, max_norm=5)
        out = layer(torch.tensor([1, 2], device=device))
        expected = torch.tensor([[3.0, 4.0], [0.3, 0.4]], device=device)
        torch.testing.assert_close(out.detach(), expected)
        torch.testing.assert_close(layer.weight[1].detach(), expected[0])
        assert torch.equal(given[[0, 2]], table[[0, 2]])
    layer = lexforge.nn.Embedding.from_pretrained(table.clone(), max_norm=7, norm_type=1)
    out = layer(torch.tensor([0, 1], device=device))
    torch.testing.assert_close(out.cpu(), torch.tensor([[3.0, 4.0], [3.0, 4.0]]))


def test_scale_grad_by_freq_counts_in_the_minibatch(device):
    layer = lexforge.nn.Embedding(3, 2, scale_grad_by_freq=True, device=device)
    layer(torch.tensor([0, 0, 0, 1], device=device)).sum().backward()
    assert layer.weight.grad.tolist() == [[1, 1], [1, 1], [0, 0]]


def test_a_sparse_gradient_has_an_entry_for_each_id(device):
    layer = lexforge.nn.Embedding(3, 2, sparse=True, device=device)
    layer(torch.tensor([0, 0, 2], device=device)).sum().backward()
    grad = layer.weight.grad
    assert grad.is_sparse and not grad.is_coalesced() and grad._nnz() == 3
    assert grad._indices().tolist() == [[0, 0, 2]]


@pytest.mark.parametrize(
    ("optimizer", "options", "refuses"),
    [
        ("SGD", {"lr": 0.1}, False),
        ("SGD", {"lr": 0.1, "momentum": 0.9}, False),
        ("SGD", {"lr": 0.1, "weight_decay": 0.1}, True),
        ("Adagrad", {}, False),
        ("SparseAdam", {}, False),
        ("Adam", {}, True),
        ("AdamW", {}, True),
        ("RMSprop", {}, True),
    ],
)
def test_optimizers_of_sparse_gradients(optimizer, options, refuses):
    torch.manual_seed(3)
    ours = lexforge.nn.Embedding(5, 3, sparse=True)
    plain = nn.Embedding.from_pretrained(ours.weight.detach().clone(), freeze=False, sparse=True)
    for layer in (ours, plain):
        steps = getattr(torch.optim, optimizer)(layer.parameters(), **options)
        for ids in ([0, 0, 2], [2, 4, 1]):
            steps.zero_grad()
            layer(torch.tensor(ids)).square().sum().backward()
            if refuses:
                with pytest.raises(RuntimeError, match="sparse"):
                    steps.step()
            else:
                steps.step()
    assert torch.equal(ours.weight, plain.weight)


def test_from_pretrained_is_frozen():
    for layer in (lexforge.nn.Embedding, lexforge.nn.EmbeddingBag):
        table = torch.randn(4, 3)
        assert not layer.from_pretrained(table).weight.requires_grad
        assert layer.from_pretrained(table, freeze=False).weight.requires_grad
        assert type(layer.from_pretrained(table)) is layer
        assert layer.from_pretrained(table).weight.data_ptr() == table.data_ptr()


def test_a_number_without_a_row_is_an_error(device):
    for bad in (5, -1):
        layer = lexforge.nn.Embedding(5, 3, max_norm=0.1, device=device)
        before = layer.weight.detach().clone()
        with pytest.raises(IndexError, match=rf"ids must be in \[0, 5\), got {bad} at position 1"):
            layer(torch.tensor([1, bad], device=device))
        assert torch.equal(layer.weight, before)
        bag = lexforge.nn.EmbeddingBag(5, 3, device=device)
        with pytest.raises(IndexError, match=rf"got {bad} at position 1"):
            bag(torch.tensor([[1, bad]], device=device))


# ---- Torch as the oracle -------------------------------------------------------------------------

BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}
DTYPES = st.sampled_from(list(BOUNDS))


def compare(ours, plain, arguments, weights=None, counts=None):
    """Results, gradients and what the forward made of the table.

    With `counts` torch's dense gradient is divided by them: that of torch 2.13's bags on the CPU
    divides by those of other rows.
    """
    found = []
    for layer in (ours, plain):
        given = None if weights is None else weights.clone().requires_grad_()
        out = layer(*arguments) if given is None else layer(*arguments, per_sample_weights=given)
        if out.requires_grad:
            generator = torch.Generator().manual_seed(7)
            out.backward(torch.randn(out.shape, generator=generator).to(out.dtype))
        found.append((out, layer.weight, layer.weight.grad, None if given is None else given.grad))
    if counts is not None and plain.weight.grad is not None:
        plain.weight.grad /= counts.clamp(min=1)[:, None]
    bound = BOUNDS[ours.weight.dtype]
    for x, y in zip(*found, strict=True):
        assert (x is None) == (y is None)
        if x is None:
            continue
        assert x.dtype == y.dtype and x.layout == y.layout and x.shape == y.shape
        if x.is_sparse:
            assert x.is_coalesced() == y.is_coalesced()
            assert torch.equal(x._indices(), y._indices())
            x, y = x._values(), y._values()
        torch.testing.assert_close(x.double(), y.double(), rtol=bound, atol=bound)


@st.composite
def layers(draw, kind):
    """One of ours and torch's with the same arguments and values, and the rows V."""
    rows, dim = draw(st.integers(1, 12)), draw(st.integers(1, 20))
    options = {
        "padding_idx": draw(st.none() | st.integers(-rows, rows - 1)),
        "max_norm": draw(st.none() | st.floats(0.25, 4)),
        "norm_type": draw(st.sampled_from([1.0, 2.0, 3.0, math.inf])),
        "scale_grad_by_freq": draw(st.booleans()),
    }
    options["sparse"] = not options["scale_grad_by_freq"] and draw(st.booleans())
    if kind == "EmbeddingBag":
        options["mode"] = draw(st.sampled_from(["sum", "mean", "max"]))
        options["include_last_offset"] = draw(st.booleans())
        if options["mode"] == "max":
            options |= {"sparse": False, "scale_grad_by_freq": False}
    dtype = draw(DTYPES)
    seed = draw(st.integers(0, 2**31))
    made = []
    for home in (lexforge.nn, nn):
        torch.manual_seed(seed)
        made.append(getattr(home, kind)(rows, dim, **options, dtype=dtype))
    assert torch.equal(made[0].weight, made[1].weight)
    frozen = draw(st.integers(0, 4)) == 0
    for layer in made:
        layer.weight.requires_grad_(not frozen)
    return *made, rows


def numbers(draw, shape, rows):
    dtype = draw(st.sampled_from([torch.int32, torch.int64]))
    values = draw(
        st.lists(st.integers(0, rows - 1), min_size=math.prod(shape), max_size=math.prod(shape))
    )
    return torch.tensor(values, dtype=dtype).view(shape)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_embedding_as_torch(data):
    ours, plain, rows = data.draw(layers("Embedding"))
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=3)))
    if ours.sparse and ours.padding_idx is not None:  # torch 2.13 fails there on a single number
        shape = shape or (1,)
    compare(ours, plain, (numbers(data.draw, shape, rows),))


def test_sparse_gradient_of_a_single_number():
    for row, entries in ((0, 1), (2, 0)):
        layer = lexforge.nn.Embedding(3, 4, padding_idx=2, sparse=True)
        layer(torch.tensor(row)).sum().backward()
        expected = torch.zeros(3, 4)
        expected[row] = entries
        assert layer.weight.grad._nnz() == entries
        assert torch.equal(layer.weight.grad.to_dense(), expected)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_embedding_bag_as_torch(data):
    ours, plain, rows = data.draw(layers("EmbeddingBag"))
    if data.draw(st.booleans()):
        shape = data.draw(st.tuples(st.integers(0, 5), st.integers(1, 4)))
        arguments = [numbers(data.draw, shape, rows)]
        count = math.prod(shape)
    else:
        count, bags = data.draw(st.integers(0, 15)), data.draw(st.integers(1, 6))
        ids = numbers(data.draw, (count,), rows)
        inner = data.draw(
            st.lists(st.integers(0, count), min_size=bags - 1, max_size=bags - 1).map(sorted)
        )
        ends = [count] if ours.include_last_offset else []
        arguments = [ids, torch.tensor([0, *inner, *ends], dtype=ids.dtype)]
    weights = None
    # torch 2.13's weights in a sum of bfloat16 are rounded at every step.
    if ours.mode == "sum" and ours.weight.dtype != torch.bfloat16 and data.draw(st.booleans()):
        weights = torch.randn(count, dtype=ours.weight.dtype).view(arguments[0].shape)
    counts = None
    if ours.scale_grad_by_freq:
        plain.scale_grad_by_freq = False
        counts = torch.bincount(arguments[0].flatten(), minlength=rows)
    compare(ours, plain, arguments, weights, counts)


# ---- A drop-in -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Embedding", "EmbeddingBag"])
def test_state_copies_and_words(kind):
    ours, plain = (getattr(home, kind)(5, 3, padding_idx=1) for home in (lexforge.nn, nn))
    assert isinstance(ours, getattr(nn, kind))
    assert repr(ours) == repr(plain)
    plain.load_state_dict(ours.state_dict())
    assert torch.equal(plain.weight, ours.weight)
    ours.load_state_dict(plain.state_dict())
    again = copy.deepcopy(ours)
    assert type(again) is type(ours) and torch.equal(again.weight, ours.weight)
    file = io.BytesIO()
    torch.save(ours, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    ids = torch.tensor([[4, 1, 0]])
    assert torch.equal(loaded(ids), ours(ids))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("max_norm", [None, 0.5])
@pytest.mark.parametrize("kind", ["Embedding", "EmbeddingBag"])
def test_compiles_without_graph_breaks(kind, max_norm, sparse, device):
    torch.compiler.reset()  # forgets the settings of other tests, of which it keeps eight
    layer = getattr(lexforge.nn, kind)(9, 4, max_norm=max_norm, sparse=sparse, device=device)
    plain = copy.deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for ids in ([[1, 2, 2]], [[0, 8, 3], [4, 4, 4]]):
        ids = torch.tensor(ids, device=device)
        for one in (compiled, plain):
            one.zero_grad()
            one(ids).sin().sum().backward()
        assert torch.equal(layer.weight, plain.weight)
        assert torch.equal(layer.weight.grad.to_dense(), plain.weight.grad.to_dense())


def test_bags_of_a_batch_compile(device):
    torch.compiler.reset()
    layer = lexforge.nn.EmbeddingBag(9, 4, mode="sum", include_last_offset=True, device=device)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    weights = torch.rand(5, device=device).requires_grad_()
    arguments = torch.arange(5, device=device), torch.tensor([0, 2, 5], device=device), weights
    compiled(*arguments).sum().backward()
    grads = layer.weight.grad.clone(), weights.grad.clone()
    layer.zero_grad()
    weights.grad = None
    layer(*arguments).sum().backward()
    assert torch.equal(layer.weight.grad, grads[0]) and torch.equal(weights.grad, grads[1])


def test_autocast_as_torch(device):
    ids = torch.tensor([[1, 2]], device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        for kind in ("Embedding", "EmbeddingBag"):
            ours, plain = (getattr(home, kind)(5, 3, device=device) for home in (lexforge.nn, nn))
            assert ours(ids).dtype == plain(ids).dtype == torch.float32


def test_tables_that_the_kernels_do_not_take_are_torchs():
    for kind in ("Embedding", "EmbeddingBag"):
        layer = getattr(lexforge.nn, kind)(5, 3, dtype=torch.float16)
        assert layer(torch.tensor([[1, 2]])).dtype == torch.float16
    bag = lexforge.nn.EmbeddingBag(5, 3)
    nested = torch.nested.nested_tensor(
        [torch.tensor([1, 2]), torch.tensor([3])], layout=torch.jagged
    )
    assert bag(nested).shape == (2, 3)


def test_transforms_of_functions_are_torchs():
    layer = lexforge.nn.Embedding(5, 3)
    ids = torch.tensor([[1, 2], [4, 1]])
    assert torch.equal(torch.vmap(layer)(ids), layer(ids))
    gradient = torch.func.grad(
        lambda table: torch.func.functional_call(layer, {"weight": table}, (ids,)).sum()
    )
    assert gradient(layer.weight.detach())[:, 0].tolist() == [0, 2, 1, 0, 1]


def test_the_meta_device():
    layer = lexforge.nn.Embedding(5, 3, device="meta")
    assert layer(torch.zeros(2, 4, dtype=torch.int64, device="meta")).shape == (2, 4, 3)


def test_training_as_torch():
    """A few steps of Adam on both: the same losses."""
    torch.manual_seed(1)
    ours = nn.Sequential(lexforge.nn.EmbeddingBag(50, 8, padding_idx=0), nn.Linear(8, 2))
    plain = nn.Sequential(nn.EmbeddingBag(50, 8, padding_idx=0), nn.Linear(8, 2))
    plain.load_state_dict(ours.state_dict())
    ids, labels = torch.randint(0, 50, (40, 6)), torch.randint(0, 2, (40,))
    losses = []
    for net in (ours, plain):
        steps = torch.optim.Adam(net.parameters(), lr=0.1)
        for _ in range(10):
            steps.zero_grad()
            loss = nn.functional.cross_entropy(net(ids), labels)
            loss.backward()
            steps.step()
        losses.append(loss.detach())
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)
    assert losses[0] < 0.1


def test_the_functions_take_torchs_arguments_in_torchs_order():
    table, ids = torch.randn(5, 3), torch.tensor([1, 4])
    options = (2, 1.5, 1.0, False, False)
    plain = nn.functional.embedding(ids, table.clone(), *options)
    torch.testing.assert_close(embedding(ids, table.clone(), *options), plain)
    bags = (torch.tensor([0, 1]), None, 2.0, False, "sum", False, torch.rand(2), False, 4)
    torch.testing.assert_close(
        embedding_bag(ids, table, *bags), nn.functional.embedding_bag(ids, table, *bags)
    )
