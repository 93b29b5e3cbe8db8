"""glove_loss: the text's figures, values, gradients, determinism, errors."""

from __future__ import annotations

import math

import pytest
import torch

from common.rounding import assert_sums_as_good
from lexforge import _library
from lexforge.ops.glove.glove_loss import glove_loss
from lexforge.reference.glove.glove_loss import glove_loss as reference
from lexforge.reference.glove.glove_loss import glove_weight

NAMES = ("word", "context", "word_bias", "context_bias", "rows", "cols", "counts")


def entries(number, vocab_size, dim, device, *, dtype=torch.float32, seed=0):
    """Tables, biases and entries; a third of these in the first row, as a frequent word has it."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        values = torch.randn(*shape, generator=generator, dtype=torch.float64) / 3
        return values.to(device, dtype)

    rows, cols = torch.randint(0, vocab_size, (2, number), generator=generator)
    rows[torch.rand(number, generator=generator) < 1 / 3] = 0
    counts = torch.exp(6 * torch.rand(number, generator=generator, dtype=torch.float64) - 1)
    return (
        *(normal(vocab_size, dim) for _ in range(2)),
        *(normal(vocab_size) for _ in range(2)),
        rows.to(device),
        cols.to(device),
        counts.to(device, dtype),
    )


def gradients(loss_function, arguments, **options):
    """The loss and the gradients of its weighted sum by both tables and both biases."""
    tables = [x.clone().requires_grad_() for x in arguments[:4]]
    loss = loss_function(*tables, *arguments[4:], **options)
    weights = torch.linspace(0.5, 2, loss.numel(), device=loss.device, dtype=loss.dtype)
    (loss * weights).sum().backward()
    return [loss.detach(), *(x.grad for x in tables)]


def test_weights_of_the_text(device):
    """h(x) by a score of log x + 1, whose squared error is 1."""
    counts = torch.tensor([1.0, 10.0, 50.0, 99.0, 100.0, 101.0, 1e6], device=device)
    expected = torch.tensor([0.031623, 0.177828, 0.594604, 0.992491, 1, 1, 1], device=device)
    zero, zeros = torch.zeros(7, 1, device=device), torch.zeros(7, device=device)
    rows = torch.arange(7, device=device)
    loss = glove_loss(zero, zero, counts.log() + 1, zeros, rows, rows, counts)
    torch.testing.assert_close(loss, expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(glove_weight(counts), expected, rtol=0, atol=5e-7)


def test_loss_by_hand(device):
    """The corpus "a b c", window 2, counts 1 / distance: a-b 1, b-c 1, a-c 1/2, symmetric."""
    word = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], device=device)
    context = torch.tensor([[0.5, 0.5], [1.0, -1.0], [0.0, 2.0]], device=device)
    word_bias = torch.tensor([0.1, 0.2, 0.3], device=device)
    context_bias = torch.tensor([0.0, -0.5, 0.25], device=device)
    rows = torch.tensor([0, 0, 1, 1, 2, 2], device=device)
    cols = torch.tensor([1, 2, 0, 2, 0, 1], device=device)
    counts = torch.tensor([1.0, 0.5, 1.0, 1.0, 0.5, 1.0], device=device)
    # dot + biases - log x, entry by entry, by pencil; log 0.5 = -0.693147
    errors = [
        1 + 0.1 - 0.5,
        0 + 0.1 + 0.25 + 0.693147,
        0.5 + 0.2 + 0,
        2 + 0.2 + 0.25,
        1 + 0.3 + 0 + 0.693147,
        0 + 0.3 - 0.5,
    ]
    weights = [0.0316228, 0.0188030, 0.0316228, 0.0316228, 0.0188030, 0.0316228]
    loss = glove_loss(word, context, word_bias, context_bias, rows, cols, counts)
    expected = torch.tensor([h * e * e for h, e in zip(weights, errors, strict=True)])
    torch.testing.assert_close(loss.cpu(), expected, rtol=1e-5, atol=1e-7)


SIZES = [
    (0, 3, 4),
    (1, 1, 1),
    (5, 1, 3),
    (40, 1, 16),
    (3, 9, 0),
    (64, 2, 97),
    (65, 7, 59),
    (300, 11, 100),
    (1000, 257, 112),
    (200, 5, 300),
]


@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients(size, device):
    """No further from a float64 oracle than twice plain torch is."""
    arguments = entries(*size, device)
    exact = gradients(reference, [x.double() if x.is_floating_point() else x for x in arguments])
    plain = gradients(reference, arguments)
    ours = gradients(glove_loss, arguments)
    assert_sums_as_good(ours, plain, exact, size[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("x_max", "alpha"), [(10.0, 0.75), (1e-3, 0.5), (1e6, 1.0), (7.0, 0.0)])
def test_weight_options(x_max, alpha, dtype, device):
    arguments = entries(50, 6, 5, device, dtype=dtype)
    options = {"x_max": x_max, "alpha": alpha}
    for x, y in zip(
        gradients(glove_loss, arguments, **options),
        gradients(reference, arguments, **options),
        strict=True,
    ):
        torch.testing.assert_close(x, y, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-6)


def test_gradcheck(device):
    *tables, rows, cols, counts = entries(40, 7, 5, device, dtype=torch.float64)
    tables = [x.requires_grad_() for x in tables]
    assert torch.autograd.gradcheck(lambda *x: glove_loss(*x, rows, cols, counts), tables)


def test_opcheck(device):
    *tables, rows, cols, counts = entries(40, 7, 5, device)
    rest = (rows.int(), cols.int(), counts)
    forward = (*(x.clone().requires_grad_() for x in tables), *rest, 100.0, 0.75)
    torch.library.opcheck(torch.ops.lexforge.glove_loss.default, forward)
    loss, slope = torch.ops.lexforge.glove_loss.default(*tables, *rest, 100.0, 0.75)
    backward = (loss, slope, *tables[:2], *rest[:2])
    torch.library.opcheck(torch.ops.lexforge.glove_loss_backward.default, backward)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_into_one_graph(dynamic, device):
    """fullgraph=True makes a graph break an error."""
    arguments = entries(30, 7, 5, device)
    compiled = torch.compile(glove_loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for x, y in zip(gradients(compiled, arguments), gradients(glove_loss, arguments), strict=True):
        assert torch.equal(x, y)


def test_differentiates_once(device):
    *tables, rows, cols, counts = entries(9, 4, 3, device)
    tables = [x.requires_grad_() for x in tables]
    loss = glove_loss(*tables, rows, cols, counts).sum()
    (gradient,) = torch.autograd.grad(loss, tables[0], create_graph=True)
    with pytest.raises(RuntimeError, match="glove_loss: differentiable once"):
        gradient.sum().backward()


def test_counts_get_no_gradient(device):
    *tables, rows, cols, counts = entries(9, 4, 3, device)
    counts.requires_grad_()
    assert not glove_loss(*tables, rows, cols, counts).requires_grad
    glove_loss(tables[0].requires_grad_(), *tables[1:], rows, cols, counts).sum().backward()
    assert counts.grad is None


@pytest.mark.parametrize(("number", "vocab_size"), [(2000, 1), (3000, 40), (63, 2), (128, 2)])
def test_bit_identical_for_any_threads(number, vocab_size, device):
    """From run to run too; some of the runs of equal rows end where a chunk of 64 does."""
    arguments = entries(number, vocab_size, 33, device)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append(gradients(glove_loss, arguments))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


@pytest.mark.parametrize("length", [1, 63, 64, 65, 128, 129, 200])
def test_runs_and_chunks(length, device):
    """Runs of one length, wherever they begin and end against the chunks of the sorted entries."""
    rows = torch.arange(6, device=device).repeat_interleave(length)
    *tables, _, cols, counts = entries(len(rows), 6, 3, device, dtype=torch.float64)
    arguments = (*tables, rows, cols, counts)
    for x, y in zip(gradients(glove_loss, arguments), gradients(reference, arguments), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


def test_one_table_for_both_sides(device):
    """A symmetric model: the gradients of both uses add up."""
    word, _, bias, _, *rest = entries(40, 7, 5, device, dtype=torch.float64)
    results = []
    for function in (glove_loss, reference):
        w, b = word.clone().requires_grad_(), bias.clone().requires_grad_()
        function(w, w, b, b, *rest).sum().backward()
        results.append((w.grad, b.grad))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_non_contiguous_inputs(device):
    arguments = entries(40, 7, 5, device)
    strided = [
        x.t().contiguous().t() if x.dim() == 2 else x.repeat_interleave(2)[::2] for x in arguments
    ]
    assert not any(x.is_contiguous() for x in strided)
    for x, y in zip(gradients(glove_loss, strided), gradients(glove_loss, arguments), strict=True):
        assert torch.equal(x, y)


def test_index_and_count_dtypes(device):
    *tables, rows, cols, counts = entries(40, 7, 5, device)
    expected = glove_loss(*tables, rows, cols, counts)
    assert torch.equal(glove_loss(*tables, rows.int(), cols.int(), counts.double()), expected)


def test_learns_a_factorisation(device):
    """Gradient descent on the loss fits a matrix of counts of rank 2."""
    generator = torch.Generator().manual_seed(3)
    u, v = torch.randn(2, 8, 2, generator=generator)
    rows, cols = (
        x.flatten().to(device) for x in torch.meshgrid(*2 * [torch.arange(8)], indexing="ij")
    )
    counts = torch.exp(u @ v.T).flatten().to(device)
    tables = [0.5 * torch.randn(8, 3, generator=generator) for _ in range(2)]
    tables = [x.to(device).requires_grad_() for x in (*tables, torch.zeros(8), torch.zeros(8))]
    optimizer = torch.optim.Adam(tables, lr=0.05)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = glove_loss(*tables, rows, cols, counts, x_max=1.0).mean()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.01 * losses[0]


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "word must be float32 or float64, got", {"word": torch.Tensor.half}),
        (TypeError, "context must be float32", {"context": torch.Tensor.double}),
        (TypeError, "word_bias must be float32", {"word_bias": torch.Tensor.double}),
        (TypeError, "context_bias must be float32", {"context_bias": torch.Tensor.half}),
        (TypeError, "rows must be int32 or int64", {"rows": torch.Tensor.float}),
        (TypeError, "cols must be int32 or int64", {"cols": torch.Tensor.short}),
        (TypeError, "counts must be float32 or float64", {"counts": torch.Tensor.int}),
        (ValueError, r"word must be \[V, D\]", {"word": torch.Tensor.flatten}),
        (ValueError, r"context must be \[7, 5\], got \[7, 4\]", {"context": lambda x: x[:, :4]}),
        (ValueError, r"context must be \[7, 5\], got \[6, 5\]", {"context": lambda x: x[:6]}),
        (ValueError, r"word_bias must be \[7\]", {"word_bias": lambda x: x[:, None]}),
        (ValueError, r"context_bias must be \[7\]", {"context_bias": lambda x: x[:6]}),
        (ValueError, r"rows must be \[N\]", {"rows": lambda x: x[:, None]}),
        (ValueError, r"cols must be \[40\], got \[39\]", {"cols": lambda x: x[:39]}),
        (ValueError, r"counts must be \[40\]", {"counts": lambda x: x[:39]}),
        (ValueError, "rows must be on", {"rows": lambda x: x.to("meta")}),
        (IndexError, r"rows must be in \[0, 7\), got 7", {"rows": lambda x: x * 0 + 7}),
        (IndexError, "cols must be in .*, got -1", {"cols": lambda x: x * 0 - 1}),
        (IndexError, "got 4294967296", {"cols": lambda x: x * 0 + 2**32}),
        (ValueError, "counts must be finite and > 0, got 0.0", {"counts": lambda x: x * 0}),
        (ValueError, "finite and > 0, got -", {"counts": torch.Tensor.neg}),
        (ValueError, "got nan", {"counts": lambda x: x.index_fill(0, x.argmin(), math.nan)}),
        (ValueError, "got inf", {"counts": lambda x: x.index_fill(0, x.argmin(), math.inf)}),
        (ValueError, "got 0.0", {"counts": lambda x: x.double() * 1e-60}),
    ],
)
def test_errors(error, match, changes, device):
    arguments = dict(zip(NAMES, entries(40, 7, 5, device), strict=True))
    arguments |= {name: change(arguments[name]) for name, change in changes.items()}
    with pytest.raises(error, match=match):
        glove_loss(**arguments)


@pytest.mark.parametrize(
    ("match", "options"),
    [
        ("x_max must be finite and > 0, got 0", {"x_max": 0}),
        ("x_max must be finite and > 0, got nan", {"x_max": math.nan}),
        ("alpha must be finite and >= 0, got -1", {"alpha": -1}),
        ("alpha must be finite and >= 0, got nan", {"alpha": math.nan}),
    ],
)
def test_option_errors(match, options, device):
    with pytest.raises(ValueError, match=match):
        glove_loss(*entries(4, 7, 5, device), **options)


@pytest.mark.parametrize("count", [0.0, -1.0, math.nan])
def test_bad_counts_without_the_check_show_in_the_loss(count, device):
    *tables, rows, cols, counts = entries(20, 7, 5, device)
    counts[3] = count
    loss, _ = torch.ops.lexforge.glove_loss.default(
        *tables, rows.int(), cols.int(), counts, 100.0, 0.75
    )
    assert loss.isfinite().logical_not().nonzero().tolist() == [[3]]


def test_op_itself_on_the_cpu_refuses_rows_out_of_range():
    *tables, rows, cols, counts = entries(20, 7, 5, "cpu")
    with pytest.raises(RuntimeError, match="cols must be in"):
        torch.ops.lexforge.glove_loss.default(
            *tables, rows.int(), cols.int() + 7, counts, 100.0, 0.75
        )


def test_unchecked_rows_out_of_range_read_nothing(device):
    """On CUDA such an entry has the loss NaN, and so has the gradient of the row that it has."""
    if device.type == "cpu" and not _library.emulated():
        pytest.skip("the CPU always checks")
    *tables, rows, cols, counts = entries(300, 7, 5, device)
    rows[:], cols[:] = 1, 2
    rows[5], cols[6], rows[7] = 7, -1, 1 << 30
    arguments = [*(x.requires_grad_() for x in tables), rows.int(), cols.int(), counts]
    loss, _ = torch.ops.lexforge.glove_loss.default(*arguments, 100.0, 0.75)
    assert loss.isnan().nonzero().flatten().tolist() == [5, 6, 7]
    loss.sum().backward()
    assert tables[0].grad.isnan().any(1).nonzero().flatten().tolist() == [1]
    assert tables[1].grad.isnan().any(1).nonzero().flatten().tolist() == [2]
