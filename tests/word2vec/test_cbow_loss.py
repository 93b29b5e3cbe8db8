"""cbow_loss and context_mean: values, gradients, errors."""

from __future__ import annotations

import pytest
import torch

from common.rounding import assert_sums_as_good
from lexforge.ops.word2vec.cbow_loss import cbow_loss, context_mean
from lexforge.reference.word2vec import cbow_loss as reference

NAMES = ("contexts", "context_mask", "centers_and_negatives", "mask", "label")


def minibatch(batch, width, length, rows_v, rows_u, dim, device, *, dtype=torch.float32, seed=0):
    """Ragged windows and targets (row 1, if there is one, without either) and two tables."""
    generator = torch.Generator().manual_seed(seed)
    few = torch.randint(0, width + 1, (batch, 1), generator=generator)
    many = torch.randint(0, length + 1, (batch, 1), generator=generator)
    if batch > 1:
        few[1] = many[1] = 0
    return (
        torch.randint(0, rows_v, (batch, width), generator=generator).to(device),
        (torch.arange(width) < few).to(device),
        torch.randint(0, rows_u, (batch, length), generator=generator).to(device),
        (torch.arange(length) < many).to(device),
        torch.randint(0, 2, (batch, length), generator=generator).to(device),
        torch.randn(rows_v, dim, generator=generator, dtype=torch.float64).to(device, dtype) / 3,
        torch.randn(rows_u, dim, generator=generator, dtype=torch.float64).to(device, dtype) / 3,
    )


def gradients(loss_function, batch):
    *ids, v, u = batch
    v, u = v.clone().requires_grad_(), u.clone().requires_grad_()
    loss = loss_function(*ids, v, u)
    weights = torch.linspace(0.5, 2, loss.numel(), device=loss.device, dtype=loss.dtype)
    (loss * weights).sum().backward()
    return loss.detach(), v.grad, u.grad


@pytest.mark.parametrize(
    "size",
    [
        (1, 1, 1, 1, 1, 1),
        (3, 4, 5, 4, 4, 3),
        (33, 10, 6, 97, 59, 100),
        (300, 10, 6, 2, 3, 33),  # rows that occur a thousand times
        (0, 4, 4, 3, 3, 8),
        (4, 0, 4, 3, 3, 8),
        (4, 4, 0, 3, 3, 8),
    ],
)
def test_values_and_gradients(size, device):
    """No further from a float64 oracle than twice plain torch is."""
    batch = minibatch(*size, device)
    exact = gradients(reference.cbow_loss, [*batch[:5], batch[5].double(), batch[6].double()])
    plain = gradients(reference.cbow_loss, batch)
    ours = gradients(cbow_loss, batch)
    assert_sums_as_good(ours, plain, exact, max(batch[0].numel(), batch[2].numel()))


def test_gradcheck(device):
    *ids, v, u = minibatch(6, 4, 5, 5, 7, 5, device, dtype=torch.float64)
    tables = v.requires_grad_(), u.requires_grad_()
    assert torch.autograd.gradcheck(lambda v, u: cbow_loss(*ids, v, u), tables)
    assert torch.autograd.gradcheck(lambda v: context_mean(*ids[:2], v), tables[:1])


def test_a_context_has_the_gradient_of_the_mean_by_the_number_of_contexts(device):
    embed = torch.randn(5, 3, dtype=torch.float64, device=device, requires_grad=True)
    contexts = torch.tensor([[1, 2, 2, 4], [3, 0, 0, 0]], device=device)
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]], device=device)
    mean = context_mean(contexts, mask, embed)
    torch.testing.assert_close(mean[0], (embed[1] + 2 * embed[2] + embed[4]) / 4)
    torch.testing.assert_close(mean[1], embed[3])
    grad = torch.randn(2, 3, dtype=torch.float64, device=device)
    mean.backward(grad)
    expected = torch.stack([0 * grad[0], grad[0] / 4, grad[0] / 2, grad[1], grad[0] / 4])
    torch.testing.assert_close(embed.grad, expected)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.float32])
def test_mask_and_id_dtypes(dtype, device):
    batch = minibatch(6, 4, 5, 5, 7, 5, device)
    contexts, few, targets, many, label, v, u = batch
    ours = cbow_loss(contexts.int(), few.to(dtype), targets.int(), many.to(dtype), label, v, u)
    torch.testing.assert_close(ours, reference.cbow_loss(*batch))


def test_a_mask_may_weigh_and_tensors_be_strided(device):
    contexts, _, targets, many, label, v, u = minibatch(6, 4, 5, 5, 7, 5, device)
    weights = torch.rand(6, 4, device=device)
    batch = [x.t().contiguous().t() for x in (contexts, weights, targets, many, label, v, u)]
    for x, y in zip(
        gradients(cbow_loss, batch), gradients(reference.cbow_loss, batch), strict=True
    ):
        torch.testing.assert_close(x, y)


def test_bit_identical_for_any_threads(device):
    batch = minibatch(200, 10, 6, 50, 50, 100, device)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append(gradients(cbow_loss, batch))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (TypeError, "contexts must be int32 or int64", {"contexts": torch.Tensor.float}),
        (ValueError, r"contexts must be \[B, C\]", {"contexts": torch.Tensor.flatten}),
        (ValueError, r"context_mask must be \[6, 4\]", {"context_mask": lambda x: x[:, 1:]}),
        (
            TypeError,
            "context_mask must be boolean, integer or float, got complex64",
            {"context_mask": lambda x: x.to(torch.complex64)},
        ),
        (ValueError, r"negatives must be \[6, L\]", {"centers_and_negatives": lambda x: x[1:]}),
        (TypeError, "negatives must be int", {"centers_and_negatives": torch.Tensor.half}),
        (ValueError, r"mask must be \[6, 5\]", {"mask": lambda x: x[:, 1:]}),
        (TypeError, "label must be bool", {"label": lambda x: x.to(torch.complex64)}),
        (TypeError, "embed_v must be float32 or float64", {"embed_v": torch.Tensor.half}),
        (TypeError, "embed_u must be float32, got float64", {"embed_u": torch.Tensor.double}),
        (ValueError, r"embed_u must be \[V, 5\]", {"embed_u": lambda x: x[:, 1:]}),
        (IndexError, r"contexts must be in \[0, 5\), got 5", {"contexts": lambda x: x * 0 + 5}),
        (
            IndexError,
            "negatives must be in .* got -1",
            {"centers_and_negatives": lambda x: ~(x * 0)},
        ),
    ],
)
def test_errors(error, match, changes, device):
    batch = dict(zip((*NAMES, "embed_v", "embed_u"), minibatch(6, 4, 5, 5, 7, 5, device)))  # noqa: B905
    batch = {name: changes[name](x) if name in changes else x for name, x in batch.items()}
    with pytest.raises(error, match="cbow_loss: .*" + match):
        cbow_loss(**batch)


def test_errors_of_the_mean(device):
    contexts, mask, *_, v, _ = minibatch(6, 4, 5, 5, 7, 5, device)
    with pytest.raises(IndexError, match=r"context_mean: contexts must be in \[0, 5\), got 7"):
        context_mean(contexts * 0 + 7, mask, v)
    with pytest.raises(ValueError, match=r"context_mean: mask must be \[6, 4\], got \[6\]"):
        context_mean(contexts, mask[:, 0], v)
