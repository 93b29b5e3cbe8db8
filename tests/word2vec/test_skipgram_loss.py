"""skipgram_loss: values, gradients, determinism, errors."""

from __future__ import annotations

import math

import pytest
import torch

from common.rounding import assert_sums_as_good
from lexforge.ops.word2vec.skipgram_loss import skipgram_loss
from lexforge.reference.word2vec.skipgram_loss import skipgram_loss as reference


def minibatch(batch, length, rows_v, rows_u, dim, device, *, dtype=torch.float32, seed=0):
    """Ragged examples (row 1, if there is one, fully masked) and two tables."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, length + 1, (batch, 1), generator=generator)
    if batch > 1:
        lengths[1] = 0
    return (
        torch.randint(0, rows_v, (batch,), generator=generator).to(device),
        torch.randint(0, rows_u, (batch, length), generator=generator).to(device),
        (torch.arange(length) < lengths).to(torch.int64).to(device),
        torch.randint(0, 2, (batch, length), generator=generator).to(device),
        torch.randn(rows_v, dim, generator=generator, dtype=torch.float64).to(device, dtype) / 3,
        torch.randn(rows_u, dim, generator=generator, dtype=torch.float64).to(device, dtype) / 3,
    )


def gradients(loss_function, batch, **options):
    *ids, v, u = batch
    v, u = v.clone().requires_grad_(), u.clone().requires_grad_()
    loss = loss_function(*ids, v, u, **options)
    weights = torch.linspace(0.5, 2, loss.numel(), device=loss.device, dtype=loss.dtype)
    (loss * weights).sum().backward()
    return loss.detach(), v.grad, u.grad


SIZES = [
    (1, 1, 1, 1, 1),
    (3, 5, 4, 4, 3),
    (7, 16, 2, 3, 16),
    (33, 60, 97, 59, 100),
    (64, 17, 257, 257, 112),
    (5, 40, 11, 11, 300),
    (300, 40, 2, 3, 33),  # rows that occur more than a thousand times
    (0, 4, 3, 3, 8),
    (4, 0, 3, 3, 8),
]


@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients(size, device):
    """No further from a float64 oracle than twice plain torch is."""
    batch = minibatch(*size, device)
    exact = gradients(reference, [*batch[:4], batch[4].double(), batch[5].double()])
    plain = gradients(reference, batch)
    ours = gradients(skipgram_loss, batch)
    assert_sums_as_good(ours, plain, exact, batch[1].numel())


@pytest.mark.parametrize("size", SIZES)
def test_sparse_gradients(size, device):
    """Row-sparse gradients hold each row once, ascending, and equal the dense ones."""
    batch = minibatch(*size, device)
    _, dense_v, dense_u = gradients(skipgram_loss, batch)
    _, sparse_v, sparse_u = gradients(skipgram_loss, batch, sparse=True)
    for sparse, dense in ((sparse_v, dense_v), (sparse_u, dense_u)):
        rows = sparse._indices()[0]  # autograd forgets that the gradient came coalesced
        assert torch.equal(rows, rows.unique())
        assert torch.equal(sparse.to_dense(), dense)


def test_sparse_gradients_feed_sparse_adam(device):
    *ids, v, u = minibatch(9, 12, 30, 30, 8, device)
    tables = [torch.nn.Parameter(v), torch.nn.Parameter(u)]
    optimizer = torch.optim.SparseAdam(tables, lr=0.1)
    before = skipgram_loss(*ids, *tables).sum()
    for _ in range(5):
        optimizer.zero_grad()
        skipgram_loss(*ids, *tables, sparse=True).sum().backward()
        optimizer.step()
    assert skipgram_loss(*ids, *tables).sum() < before


def test_gradcheck(device):
    *ids, v, u = minibatch(6, 9, 5, 7, 5, device, dtype=torch.float64)
    v.requires_grad_()
    u.requires_grad_()
    assert torch.autograd.gradcheck(lambda v, u: skipgram_loss(*ids, v, u), (v, u))


def test_differentiates_once(device):
    *ids, v, u = minibatch(3, 4, 5, 6, 4, device)
    tables = [v.requires_grad_(), u.requires_grad_()]
    loss = skipgram_loss(*ids, *tables).sum()
    (gradient,) = torch.autograd.grad(loss, tables[0], create_graph=True)
    with pytest.raises(RuntimeError, match="skipgram_loss: differentiable once"):
        gradient.sum().backward()


def test_opcheck(device):
    center, target, mask, label, v, u = minibatch(6, 9, 5, 7, 5, device)
    arguments = (center.int(), target.int(), mask.float(), label.float(), v, u)
    grad_arguments = (*arguments[:4], v.clone().requires_grad_(), u.clone().requires_grad_())
    torch.library.opcheck(torch.ops.lexforge.skipgram_loss.default, grad_arguments)
    loss, error = torch.ops.lexforge.skipgram_loss.default(*arguments)
    backward = (loss, error, *arguments[:2], v, u)
    torch.library.opcheck(torch.ops.lexforge.skipgram_loss_backward.default, backward)
    torch.library.opcheck(torch.ops.lexforge.skipgram_loss_backward_rows.default, backward)


@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.int32, torch.bool, torch.uint8, torch.float32]
)
def test_mask_and_label_dtypes(dtype, device):
    center, target, mask, label, v, u = minibatch(6, 9, 5, 7, 5, device)
    expected = reference(center, target, mask, label, v, u)
    ours = skipgram_loss(center[:, None], target.int(), mask.to(dtype), label.to(dtype), v, u)
    torch.testing.assert_close(ours, expected)


def test_weighted_mask_and_soft_labels(device):
    """Masks are weights and labels are targets of the cross-entropy, not only 0 and 1."""
    center, target, _, _, v, u = minibatch(6, 9, 5, 7, 5, device, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    mask, label = torch.rand(2, 6, 9, generator=generator, dtype=torch.float64).to(device)
    batch = (center, target, mask, label, v, u)
    for x, y in zip(gradients(skipgram_loss, batch), gradients(reference, batch), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


def test_extreme_scores_stay_finite(device):
    """Scores of +-1000 neither overflow nor lose the loss of a wrong certain answer."""
    v = torch.tensor([[1000.0], [-1000.0]], device=device)
    u = torch.ones(1, 1, device=device)
    center = torch.tensor([0, 0, 1, 1], device=device)
    target = torch.zeros(4, 1, dtype=torch.int64, device=device)
    label = torch.tensor([[1], [0], [1], [0]], device=device)
    loss = skipgram_loss(center, target, torch.ones_like(target), label, v, u)
    torch.testing.assert_close(loss.cpu(), torch.tensor([0.0, 1000.0, 1000.0, 0.0]))


def test_reference_text_figures(device):
    """Scores [1.1, -2.2, 3.3, -4.4] with masks 1111 and 1100: 0.9352 and 1.8462."""
    v = torch.tensor([[1.0]], device=device)
    u = torch.tensor([[1.1], [-2.2], [3.3], [-4.4]], device=device)
    center = torch.zeros(2, 1, dtype=torch.int64, device=device)
    target = torch.arange(4, device=device).repeat(2, 1)
    label = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0]], device=device)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], device=device)
    loss = skipgram_loss(center, target, mask, label, v, u)
    torch.testing.assert_close(loss.cpu(), torch.tensor([0.9352, 1.8462]), rtol=0, atol=1e-4)
    half = torch.full_like(u, 0.5)
    label = torch.tensor([[1, 0, 1, 0]] * 2, device=device)
    loss = skipgram_loss(center, target, mask, label, v, half)
    torch.testing.assert_close(loss.cpu(), torch.full((2,), 0.724077), rtol=0, atol=1e-5)


@pytest.mark.parametrize("sparse", [False, True])
def test_bit_identical_for_any_threads(sparse, device):
    batch = minibatch(200, 40, 50, 50, 100, device)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append([x.to_dense() for x in gradients(skipgram_loss, batch, sparse=sparse)])
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


def test_non_contiguous_inputs(device):
    center, target, mask, label, v, u = minibatch(6, 9, 5, 7, 5, device)
    strided = [x.t().contiguous().t() for x in (target, mask, label, v, u)]
    torch.testing.assert_close(
        skipgram_loss(center, *strided), reference(center, target, mask, label, v, u)
    )


def change(batch, **changes):
    names = ("center", "contexts_and_negatives", "mask", "label", "embed_v", "embed_u")
    arguments = dict(zip(names, batch, strict=True))
    return {name: changes[name](x) if name in changes else x for name, x in arguments.items()}


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "center must be int32 or int64", {"center": torch.Tensor.float}),
        (
            TypeError,
            "contexts_and_negatives must be",
            {"contexts_and_negatives": torch.Tensor.half},
        ),
        (ValueError, r"must be \[B, L\]", {"contexts_and_negatives": torch.Tensor.flatten}),
        (ValueError, r"center must be \[6\]", {"center": lambda x: x[:5]}),
        (ValueError, r"mask must be \[6, 9\]", {"mask": lambda x: x[:, :8]}),
        (TypeError, "label must be", {"label": lambda x: x.to(torch.complex64)}),
        (TypeError, "embed_v must be float32", {"embed_v": torch.Tensor.half}),
        (TypeError, "embed_u must be float32", {"embed_u": torch.Tensor.double}),
        (ValueError, r"embed_u must be \[V, 5\]", {"embed_u": torch.Tensor.flatten}),
        (ValueError, "embed_u must be .*, 5", {"embed_u": lambda x: x[:, :4]}),
        (IndexError, r"center must be in \[0, 5\), got 5", {"center": lambda x: x * 0 + 5}),
        (IndexError, "got -1", {"contexts_and_negatives": lambda x: x * 0 - 1}),
        (IndexError, "got 4294967296", {"center": lambda x: x * 0 + 2**32}),
    ],
)
def test_errors(error, match, changes, device):
    batch = minibatch(6, 9, 5, 7, 5, device)
    with pytest.raises(error, match=match):
        skipgram_loss(**change(batch, **changes))


def test_op_itself_refuses_rows_out_of_range():
    """Callers of torch.ops directly get an error on the CPU too, not a wild read."""
    center, target, mask, label, v, u = minibatch(6, 9, 5, 7, 5, "cpu")
    arguments = (center.int(), target.int() + 7, mask.float(), label.float(), v, u)
    with pytest.raises(RuntimeError, match="contexts_and_negatives must be in"):
        torch.ops.lexforge.skipgram_loss.default(*arguments)


def test_mean_of_random_scores(device):
    """With tables of zeros every score is 0 and every loss log 2, whatever the labels."""
    center, target, mask, label, v, u = minibatch(8, 9, 5, 7, 5, device)
    loss = skipgram_loss(center, target, torch.ones_like(mask), label, v * 0, u * 0)
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(2)))
