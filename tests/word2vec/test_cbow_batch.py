"""CBOW's minibatches drawn from a corpus: rules, and training on them (CPU)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from lexforge import _library
from lexforge.models.word2vec.textbook import (
    CbowData,
    SkipgramData,
    train_cbow,
    train_skipgram,
)
from lexforge.ops.word2vec.cbow_batch import cbow_batch
from lexforge.ops.word2vec.skipgram_batch import Windows
from lexforge.vectors.keyed_vectors import KeyedVectors
from planted import planted_corpus, synonym_score
from word2vec.test_skipgram_batch import VOCABULARY, corpus, examples

pytestmark = pytest.mark.skipif(_library.emulated(), reason="minibatches are drawn on the CPU")


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors: others would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def data(kind=CbowData, **options):
    settings = {"batch_size": 64, "window": 3, "negatives": 4, "threshold": 0.01, **options}
    return kind(*corpus(), **settings)


def embeddings(rows=VOCABULARY, dim=20):
    torch.manual_seed(0)
    return [nn.Embedding(rows, dim) for _ in range(2)]


def test_minibatch_layout():
    """Contexts left to right without the centre; the centre, then K words that are not it."""
    source = examples(negatives=4)
    contexts, context_mask, targets, mask, label = cbow_batch(source, 10, 90)
    kept, _, centers = source.windows
    windows = [centers[e].tolist() for e in source.order[10:90].tolist()]
    assert contexts.shape == (80, max(last - first for _, first, last in windows) - 1)
    for i, (rank, first, last) in enumerate(windows):
        expected = [int(kept[j]) for j in range(first, last) if j != rank]
        padding = [0] * (contexts.shape[1] - len(expected))
        assert contexts[i].tolist() == expected + padding
        assert context_mask[i].tolist() == [1] * len(expected) + padding
        assert targets[i, 0] == kept[rank] and (targets[i, 1:] != kept[rank]).all()
    assert mask.all() and (label == torch.tensor([1, 0, 0, 0, 0])).all()
    assert [x.dtype for x in (contexts, context_mask, targets)] == [
        torch.int32,
        torch.uint8,
        torch.int32,
    ]


def test_draws_do_not_depend_on_the_cut():
    source = examples(negatives=4)
    whole = cbow_batch(source, 0, 100).centers_and_negatives
    parts = [cbow_batch(source, *part).centers_and_negatives for part in ((0, 33), (33, 100))]
    assert torch.equal(whole, torch.cat(parts))
    other = cbow_batch(replace(source, epoch=1), 0, 100).centers_and_negatives
    assert torch.equal(other[:, 0], whole[:, 0]) and not torch.equal(other, whole)


def test_edge_sizes():
    source = examples(negatives=0)
    assert [x.shape[0] for x in cbow_batch(source, 7, 7)] == [0] * 5
    assert cbow_batch(source, 7, 7).contexts.shape == (0, 0)
    assert cbow_batch(source, 7, 9).mask.shape == (2, 1)


def test_bad_sources_are_refused():
    source = examples()
    kept, positions, centers = source.windows
    for bad, message in (
        (replace(source, order=source.order + len(centers)), "order must be in"),
        (replace(source, order=source.order - len(centers)), "order must be in"),
        (replace(source, windows=Windows(kept, positions, centers + len(kept))), "centers must be"),
        (replace(source, windows=Windows(kept, positions, centers - len(kept))), "centers must be"),
        (
            replace(source, windows=Windows(kept, positions, centers.flip(1).contiguous())),
            "centers must be windows of",
        ),
        (replace(source, windows=Windows(kept + VOCABULARY, positions, centers)), "kept_tokens"),
        (replace(source, windows=Windows(kept - VOCABULARY, positions, centers)), "kept_tokens"),
    ):
        with pytest.raises(IndexError, match=f"^cbow_batch: {message}"):
            cbow_batch(bad, 0, len(bad))
    with pytest.raises(ValueError, match="cbow_batch: first and last must be a range"):
        cbow_batch(source, 5, 2)


def test_data_iterates_int64_minibatches():
    source = data()
    expected, batches = len(source), list(source)
    assert source.epoch == 1 and len(batches) == expected
    for contexts, context_mask, *targets in batches:
        assert contexts.shape == context_mask.shape
        assert all(x.shape == (len(contexts), 5) for x in targets)
        assert {x.dtype for x in (contexts, context_mask, *targets)} == {torch.int64}


@pytest.mark.parametrize(
    ("optimizer", "plain"),
    [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD), ("adagrad", torch.optim.Adagrad)],
)
def test_equals_plain_torch(optimizer, plain):
    """The masked mean, its scores and their mean cross-entropy, for the steps of an epoch."""
    ours, theirs = embeddings(), embeddings()
    progress = train_cbow(*ours, data(), lr=0.02, epochs=1, optimizer=optimizer)
    descent = plain([embedding.weight for embedding in theirs], lr=0.02)
    total, count = 0.0, 0
    for contexts, context_mask, targets, _, label in data():
        descent.zero_grad()
        rows = theirs[0](contexts) * context_mask[..., None]
        mean = rows.sum(1) / context_mask.sum(1, keepdim=True)
        scores = torch.einsum("bd,bld->bl", mean, theirs[1](targets))
        loss = functional.binary_cross_entropy_with_logits(
            scores, label.float(), reduction="none"
        ).mean(1)
        loss.sum().backward()
        descent.step()
        total, count = total + float(loss.detach().sum()), count + len(loss)
    assert progress.loss == pytest.approx(total / count, rel=1e-5)
    assert (progress.examples, progress.slots) == (count, 5 * count)
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.weight, y.weight, rtol=1e-4, atol=1e-5)


def test_own_data_and_a_list_of_minibatches_do_the_same():
    """Whatever the caller does with gradients: frozen embeddings, no_grad, reports."""
    source, results, reports = data(static_samples=True), [], []
    for own in (True, False):
        tables = embeddings()
        source.epoch = 0
        if own:
            progress = train_cbow(
                *tables,
                source,
                lr=0.02,
                epochs=2,
                report=lambda state: reports.append((state.epoch, state.fraction)),
            )
        else:
            epochs = [list(source), list(source)]
            for table in tables:
                table.requires_grad_(False)
            with torch.no_grad():
                progress = train_cbow(*tables, Epochs(epochs), lr=0.02, epochs=2)
        results.append((progress, *(table.weight for table in tables)))
        assert all(table.weight.grad is None for table in tables)
    (ours, *tables), (listed, *others) = results
    assert all(torch.equal(x, y) for x, y in zip(tables, others, strict=True))
    assert ours.epoch_losses == listed.epoch_losses and len(ours.epoch_losses) == 2
    assert ours.epoch_losses[1] < ours.epoch_losses[0]
    assert reports[-1] == (1, 1.0) and len(reports) >= 10


class Epochs:
    """Another list of minibatches each time."""

    def __init__(self, epochs):
        self.epochs = iter(epochs)

    def __iter__(self):
        return iter(next(self.epochs))


def test_learns_planted_synonyms():
    sentences = planted_corpus(pairs=8, sentences=600)
    words = sorted({word for sentence in sentences for word in sentence})
    number = {word: row for row, word in enumerate(words)}
    tokens = torch.tensor([number[word] for line in sentences for word in line], dtype=torch.int32)
    offsets = torch.tensor([0, *map(len, sentences)]).cumsum(0)
    counts = torch.bincount(tokens.long(), minlength=len(words))
    source = CbowData(tokens, offsets, counts, batch_size=256, window=4, threshold=0)
    contexts, centers = embeddings(len(words), 16)
    for embedding in (contexts, centers):
        nn.init.xavier_uniform_(embedding.weight)
    progress = train_cbow(contexts, centers, source, lr=0.05, epochs=8)
    assert progress.epoch_losses[-1] < 0.5 * progress.epoch_losses[0]
    vectors = KeyedVectors(words, contexts.weight.detach().numpy())
    assert synonym_score(vectors, pairs=8) >= 0.9


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (
            lambda e: train_cbow(*e, data(SkipgramData), lr=1, epochs=1),
            TypeError,
            "be CbowData, go",
        ),
        (
            lambda e: train_skipgram(*e, data(), lr=1, epochs=1),
            TypeError,
            "train_skipgram: data must be SkipgramData, got CbowData",
        ),
        (
            lambda e: train_cbow(*e, data(), lr=1, epochs=1, optimizer="lazy_adam"),
            ValueError,
            "train_cbow: optimizer must be one of adam, sgd, adagrad, got 'lazy_adam'",
        ),
        (lambda e: train_cbow(*e, data(), lr=-1, epochs=1), ValueError, "lr must be finite and >="),
        (
            lambda e: train_cbow(*e, data(), lr=1, epochs=-1),
            ValueError,
            "epochs must be >= 0",
        ),
        (lambda e: data(batch_size=0), ValueError, "CbowData: batch_size must be >= 1, got 0"),
        (lambda e: train_cbow(*e, [[]], lr=1, epochs=1), TypeError, "cbow_loss"),
    ],
)
def test_errors(use, error, message):
    with pytest.raises(error, match=message):
        use(embeddings())
