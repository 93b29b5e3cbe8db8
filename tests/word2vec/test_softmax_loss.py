"""The losses of the theory: full softmax of skip-gram and CBOW, hierarchical softmax."""

from __future__ import annotations

import pytest
import torch

from common.rounding import assert_sums_as_good
from lexforge.ops.word2vec.softmax_loss import (
    cbow_softmax_loss,
    hierarchical_softmax_loss,
    skipgram_softmax_loss,
)
from lexforge.ops.word2vec.word2vec_train import HuffmanPaths
from lexforge.reference.text.huffman import huffman_paths
from lexforge.reference.word2vec import softmax_loss as reference
from lexforge.text.huffman import huffman_tree

SIZES = [
    (1, 1, 1, 1),
    (7, 59, 5, 3),
    (40, 97, 16, 10),
    (3, 257, 130, 1),
    (0, 5, 4, 2),
]  # B, V, D, C


def draw(batch, words, dim, width, device, *, dtype=torch.float32):
    """center, context, contexts, mask (row 1, if there is one, is empty), and two tables."""
    generator = torch.Generator().manual_seed(0)
    few = torch.randint(1, width + 1, (batch, 1), generator=generator)
    if batch > 1:
        few[1] = 0
    center, context = torch.randint(0, words, (2, batch), generator=generator)
    contexts = torch.randint(0, words, (batch, width), generator=generator)
    tables = torch.randn(2, words, dim, generator=generator, dtype=torch.float64) / 2
    mask = torch.arange(width) < few
    ids = [x.to(device) for x in (center, context, contexts, mask)]
    return [*ids, *tables.to(device, dtype)]


def run(function, *tables):
    """The loss, and the gradients of the tables of three times it."""
    leaves = [table.detach().clone().requires_grad_() for table in tables]
    loss = function(*leaves)
    (3 * loss).backward()
    return [loss.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients(size, reduction, device):
    center, context, contexts, mask, v, u = draw(*size, device)

    def reduced(losses, *tables):
        total = sum(losses, sum(table.sum() for table in tables) * 0)
        return total / (max(len(losses), 1) if reduction == "mean" else 1)

    for ours, oracle in (
        (
            lambda v, u: skipgram_softmax_loss(center, context, v, u, reduction=reduction),
            lambda v, u: reduced(reference.skipgram_softmax_losses(center, context, v, u), v, u),
        ),
        (
            lambda v, u: cbow_softmax_loss(contexts, mask, center, v, u, reduction=reduction),
            lambda v, u: reduced(reference.cbow_softmax_losses(contexts, mask, center, v, u), v, u),
        ),
    ):
        exact = run(oracle, v.double(), u.double())
        assert_sums_as_good(run(ours, v, u), run(oracle, v, u), exact)


def test_gradients_are_those_of_the_text(device):
    """d log P / d v_c = u_o - sum_j P(j) u_j; of a context, that over the number of contexts."""
    center, context, contexts, _, v, u = draw(1, 9, 4, 4, device, dtype=torch.float64)
    _, grad, _ = run(lambda v, u: skipgram_softmax_loss(center, context, v, u), v, u)
    expected = torch.zeros_like(v)
    expected[center[0]] = u[context[0]] - torch.softmax(u @ v[center[0]], 0) @ u
    torch.testing.assert_close(grad, -3 * expected)
    every = torch.ones_like(contexts)
    _, grad, _ = run(lambda v, u: cbow_softmax_loss(contexts, every, center, v, u), v, u)
    of_mean = u[center[0]] - torch.softmax(u @ v[contexts[0]].mean(0), 0) @ u
    expected = torch.zeros_like(v).index_add_(0, contexts[0], (of_mean / 4).expand(4, -1))
    torch.testing.assert_close(grad, -3 * expected)


def test_gradcheck(device):
    center, context, contexts, mask, v, u = draw(6, 11, 4, 3, device, dtype=torch.float64)
    tree, _ = tree_of(11, device)
    v, u, nodes = (x.requires_grad_() for x in (v, u, torch.randn_like(u[1:])))
    check = torch.autograd.gradcheck
    assert check(lambda v, u: skipgram_softmax_loss(center, context, v, u), (v, u))
    assert check(lambda v, u: cbow_softmax_loss(contexts, mask, center, v, u), (v, u))
    assert check(lambda v, n: hierarchical_softmax_loss(center, context, tree, v, n), (v, nodes))


def test_compiles_without_graph_breaks(device):
    center, context, contexts, mask, v, u = draw(6, 11, 4, 3, device)

    def both(v, u):
        of_cbow = cbow_softmax_loss(contexts, mask, center, v, u, reduction="sum")
        return skipgram_softmax_loss(center, context, v, u) + of_cbow

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    for x, y in zip(run(compiled, v, u), run(both, v, u), strict=True):
        torch.testing.assert_close(x, y)


def test_other_shapes_and_dtypes_of_ids(device):
    center, context, contexts, mask, v, u = draw(6, 11, 4, 3, device)
    tree, _ = tree_of(11, device)
    ours = skipgram_softmax_loss(center[:, None].int(), context[:, None].int(), v, u)
    assert torch.equal(ours, skipgram_softmax_loss(center, context, v, u))
    ours = cbow_softmax_loss(contexts.int(), mask.float(), center[:, None].int(), v, u)
    assert torch.equal(ours, cbow_softmax_loss(contexts, mask, center, v, u))
    ours = hierarchical_softmax_loss(center.int(), context.int()[:, None], tree, v, u[1:])
    assert torch.equal(ours, hierarchical_softmax_loss(center, context, tree, v, u[1:]))


def tree_of(words, device, counts=None):
    """The tree of Zipf's counts, and each word's path by the oracle."""
    counts = [1000 // (1 + word) for word in range(words)] if counts is None else counts
    offsets, nodes, longest = huffman_tree(counts)
    tensors = (torch.from_numpy(x).to(device) for x in (offsets, nodes))
    return HuffmanPaths(*tensors, longest), huffman_paths(counts)


def test_the_path_of_the_text(device):
    """Left, right, left with scores .3, -.4, .9: P = 0.244504; here as word 2 of a tree."""
    scores = torch.tensor([0.3, -0.4, 0.9], dtype=torch.float64, device=device)
    probability = reference.hierarchical_probability(scores, [0, 1, 0])
    assert probability == pytest.approx(0.244504, abs=5e-7)
    offsets = torch.tensor([0, 1, 3, 6, 9], device=device)
    paths = [5, 4, 2, 4, 3, 0, 4, 3, 1]  # words 1 and 2 change their sides in the text's own tree
    nodes = torch.tensor(paths, dtype=torch.int32, device=device)
    table = scores.flip(0)[:, None]  # the root is node 2
    loss = hierarchical_softmax_loss(
        torch.zeros(4, dtype=torch.int64, device=device),
        torch.arange(4, device=device),
        HuffmanPaths(offsets, nodes, 3),
        torch.ones(1, 1, dtype=torch.float64, device=device),
        table,
    )
    torch.testing.assert_close((-loss[2]).exp(), probability)
    torch.testing.assert_close((-loss).exp().sum(), torch.ones_like(probability))


@pytest.mark.parametrize("words", [2, 3, 59, 257])
def test_hierarchical_softmax(words, device):
    """P of every word is the oracle's, all of them add up to 1, and gradients are autograd's."""
    tree, paths = tree_of(words, device)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(3, 5, generator=generator, dtype=torch.float64).to(device)
    table = torch.randn(words - 1, 5, generator=generator, dtype=torch.float64).to(device)
    every = torch.arange(words, device=device)
    weights = torch.rand(words, generator=generator, dtype=torch.float64).to(device)

    def ours(v, table):
        return hierarchical_softmax_loss(torch.ones_like(every), every, tree, v, table) @ weights

    def oracle(v, table):
        return -reference.hierarchical_softmax(v[1], table, paths).log() @ weights

    for x, y in zip(run(ours, v, table), run(oracle, v, table), strict=True):
        torch.testing.assert_close(x, y)
    loss = hierarchical_softmax_loss(torch.ones_like(every), every, tree, v, table)
    assert (-loss).exp().sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("error", "match", "change"),
    [
        (TypeError, "center must be int32 or int64", {"center": torch.Tensor.float}),
        (ValueError, r"context must be \[6\] or \[6, 1\]", {"context": lambda x: x[1:]}),
        (ValueError, r"center must be \[B\] or \[B, 1\]", {"center": lambda x: x[None]}),
        (TypeError, "embed_v must be float32 or float64", {"embed_v": torch.Tensor.half}),
        (TypeError, "embed_u must be float32, got float64", {"embed_u": torch.Tensor.double}),
        (ValueError, r"embed_u must be \[V, 4\], got \[11, 3\]", {"embed_u": lambda x: x[:, 1:]}),
        (ValueError, "embed_u must have at least one row", {"embed_u": lambda x: x[:0]}),
        (IndexError, r"center must be in \[0, 11\), got 11", {"center": lambda x: x * 0 + 11}),
        (IndexError, r"context must be in \[0, 11\), got -1", {"context": lambda x: x * 0 - 1}),
        (ValueError, "reduction must be one of mean, sum", {"reduction": lambda _: "none"}),
    ],
)
def test_errors_of_skipgram(error, match, change, device):
    center, context, _, _, v, u = draw(6, 11, 4, 3, device)
    given = {"center": center, "context": context, "embed_v": v, "embed_u": u, "reduction": "sum"}
    given = {name: change[name](x) if name in change else x for name, x in given.items()}
    with pytest.raises(error, match="skipgram_softmax_loss: " + match):
        skipgram_softmax_loss(**given)


@pytest.mark.parametrize(
    ("error", "match", "change"),
    [
        (ValueError, r"contexts must be \[B, C\]", {"contexts": torch.Tensor.flatten}),
        (ValueError, r"mask must be \[6, 3\]", {"mask": lambda x: x[1:]}),
        (ValueError, r"center must be \[6\] or \[6, 1\], got \[5\]", {"center": lambda x: x[1:]}),
        (IndexError, r"contexts must be in \[0, 11\), got 11", {"contexts": lambda x: x * 0 + 11}),
        (IndexError, r"center must be in \[0, 11\), got -1", {"center": lambda x: x * 0 - 1}),
        (ValueError, "reduction must be one of mean, sum", {"reduction": lambda _: None}),
    ],
)
def test_errors_of_cbow(error, match, change, device):
    center, _, contexts, mask, v, u = draw(6, 11, 4, 3, device)
    names = ("contexts", "mask", "center", "embed_v", "embed_u", "reduction")
    given = dict(zip(names, (contexts, mask, center, v, u, "sum"), strict=True))
    given = {name: change[name](x) if name in change else x for name, x in given.items()}
    with pytest.raises(error, match="cbow_softmax_loss: " + match):
        cbow_softmax_loss(**given)


def test_errors_of_the_tree(device):
    center, context, _, _, v, u = draw(6, 11, 4, 3, device)
    tree, _ = tree_of(11, device)
    for given, error, message in (
        ((center, context, tree, v, u), ValueError, r"tree.offsets must be \[13\], got \[12\]"),
        ((center, context, tree, v, u[:0]), ValueError, "tree_table must have at least one row"),
        ((center, context + 11, tree, v, u[1:]), IndexError, r"context must be in \[0, 11\)"),
        (
            (center, context, tree._replace(nodes=tree.nodes.long()), v, u[1:]),
            TypeError,
            "tree.nodes must be int32, got int64",
        ),
    ):
        with pytest.raises(error, match="hierarchical_softmax_loss: " + message):
            hierarchical_softmax_loss(*given)
