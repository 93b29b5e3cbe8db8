"""LSTM over packed texts, beside torch's."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from lexforge.nn import LSTM

LENGTHS = [4, 7, 1, 3]


def packed(lengths, device, size=6):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(sum(lengths), size, generator=generator).to(device)
    bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)
    return x, bounds


def pair(device, *sizes, **options):
    """Ours and torch's with the same parameters, of which each drew its own."""
    torch.manual_seed(0)
    ours = LSTM(*sizes, **options).to(device)
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(*sizes, **options).to(device)
    return ours, theirs


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_as_torch(layers, bidirectional, device):
    """Results, final states and gradients, of torch's for a PackedSequence."""
    ours, theirs = pair(device, 6, 5, layers, bidirectional=bidirectional)
    x, bounds = packed(LENGTHS, device)
    x.requires_grad_()
    out, (h_n, c_n) = ours(x, bounds)
    rows = pack_sequence(x.split(LENGTHS), enforce_sorted=False)
    expected, (their_h, their_c) = theirs(rows)
    expected = torch.cat(unpack_sequence(expected))
    for a, b in ((out, expected), (h_n, their_h), (c_n, their_c)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    weights = torch.randn_like(out), torch.randn_like(h_n), torch.randn_like(c_n)

    def grads(net, *results):
        loss = sum((a * b).sum() for a, b in zip(results, weights, strict=True))
        return torch.autograd.grad(loss, [x, *net.parameters()])

    found = grads(ours, out, h_n, c_n)
    for a, b in zip(found, grads(theirs, expected, their_h, their_c), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)


def test_parameters_are_torchs():
    """Names, order, shapes, first values; and a state dict loads both ways."""
    ours, theirs = pair(torch.device("cpu"), 6, 5, 2, bidirectional=True)
    for (name, a), (other, b) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == other and torch.equal(a, b)
    for a, b in ((ours, theirs), (theirs, ours)):
        a.reset_parameters()
        assert not torch.equal(a.weight_ih_l0, b.weight_ih_l0)
        b.load_state_dict(a.state_dict())
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_index(device):
    """Distinct inputs with an index: the results and the gradients of all inputs."""
    net, _ = pair(device, 6, 5, 2, bidirectional=True)
    rows, bounds = packed([4], device)[0], packed(LENGTHS, device)[1]
    index = torch.arange(sum(LENGTHS), device=device) * 3 % 4
    gradients = []
    for x, given in ((rows.requires_grad_(), index), (rows[index], None)):
        out, (h_n, c_n) = net(x, bounds, given)
        leaves = [rows, *net.parameters()]
        loss = out.sin().sum() + (h_n * c_n).sum()
        gradients.append([out.detach(), *torch.autograd.grad(loss, leaves, retain_graph=True)])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)


def test_empty_texts_and_batches(device):
    net, _ = pair(device, 6, 5, 2, bidirectional=True)
    x, bounds = packed([0, 3, 0], device)
    out, (h_n, c_n) = net(x, bounds)
    alone, (h_1, _) = net(*packed([3], device))
    assert torch.equal(out, alone) and torch.equal(h_n[:, 1], h_1[:, 0])
    assert not h_n[:, [0, 2]].any() and not c_n[:, [0, 2]].any()
    out, (h_n, _) = net(x[:0], bounds[:1])
    assert out.shape == (0, 10) and h_n.shape == (4, 0, 5)
    out.sum().backward()


def test_dropout(device):
    """Between layers and in training alone."""
    net, _ = pair(device, 6, 5, 2, dropout=0.5)
    x, bounds = packed(LENGTHS, device)
    torch.manual_seed(0)
    first = net(x, bounds)[0]
    assert not torch.equal(net(x, bounds)[0], first)
    torch.manual_seed(0)
    assert torch.equal(net(x, bounds)[0], first)
    net.eval()
    assert torch.equal(net(x, bounds)[0], net(x, bounds)[0])
    net.train().dropout = 1.0
    assert torch.equal(net(x, bounds)[1][0][0], net.eval()(x, bounds)[1][0][0])


def test_autocast(device):
    """Products with the inputs in bfloat16, the recurrence in float32."""
    net, _ = pair(device, 6, 5, 2, bidirectional=True)
    x, bounds = packed(LENGTHS, device)
    with torch.autocast(device.type, torch.bfloat16):
        out, _ = net(x, bounds)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, net(x, bounds)[0], rtol=0, atol=0.03)
    out.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters())


def test_copies_and_words():
    net = LSTM(6, 5, 2, bidirectional=True, dropout=0.25, dtype=torch.float64)
    assert repr(net) == "LSTM(6, 5, num_layers=2, bidirectional=True, dropout=0.25)"
    x, bounds = packed(LENGTHS, "cpu")
    x = x.double()
    net.eval()
    assert torch.equal(copy.deepcopy(net)(x, bounds)[0], net(x, bounds)[0])


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ((0, 5), ValueError, r"input_size must be in \[1, 2\^31 - 1\], got 0"),
        ((6, 1025), ValueError, r"hidden_size must be in \[1, 1024\], got 1025"),
        ((6, 5, 0), ValueError, r"num_layers must be in \[1, "),
        ((6, 2.5), TypeError, "hidden_size must be an int, got float"),
        ((6, 5, 1, False, 1.5), ValueError, r"dropout must be in \[0, 1\], got 1.5"),
        ((6, 5, 1, False, -0.5), ValueError, "dropout must be"),
    ],
)
def test_errors(sizes, error, message):
    with pytest.raises(error, match="^LSTM: " + message):
        LSTM(*sizes)


def test_errors_of_inputs():
    net = LSTM(6, 5)
    x, bounds = packed(LENGTHS, "cpu")
    with pytest.raises(ValueError, match=r"^LSTM: x must be \[T, 6\], got \[15, 5\]"):
        net(x[:, :5], bounds)
    with pytest.raises(ValueError, match=r"^LSTM: x must be \[R, 6\], got \[6\]"):
        net(x[0], bounds, torch.zeros(15).int())
    with pytest.raises(TypeError, match=r"x|weight"):
        net(x.double(), bounds)
