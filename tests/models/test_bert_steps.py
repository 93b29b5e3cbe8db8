"""Steps of pretraining: accumulation, seeds, positions in the data, batches of a fixed size."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from lexforge._library import cpu_has_bf16
from lexforge.models.bert.capacity import BatchCapacity
from lexforge.models.bert.config import BertConfig
from lexforge.models.bert.examples import BertExamples, tokenize_paragraphs
from lexforge.models.bert.model import IGNORED, BertModel
from lexforge.models.bert.steps import StepData, draw_steps, make_stepper, step_seed
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.training.optimizer import NetworkOptimizer
from planted_paragraphs import planted_paragraphs

needs_bf16 = pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no AVX512_BF16")


@pytest.fixture(scope="module")
def examples():
    paragraphs = planted_paragraphs(topics=6)
    tokenizer = WordTokenizer.build(paragraphs, min_freq=1)
    return BertExamples(tokenize_paragraphs(paragraphs, tokenizer), tokenizer, max_len=16)


@pytest.fixture
def model():
    """Without dropout, which depends on where a token stands in the batch."""
    config = BertConfig.reference(41, 32, 48, 2, 2, dropout=0.0, max_len=20)
    return BertModel(config, seed=3)


def gradients(model, parts, precision="float32"):
    """Sums and gradients of a step over parts, without the update."""
    optimizer = NetworkOptimizer(model, "adam")
    stepper = make_stepper(model, optimizer, precision)
    optimizer.step = lambda: None
    stepper(StepData(parts, 0, 0, 0, 0), 0.01)
    return stepper.sums, {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulation_is_one_big_batch(examples, model, accumulation):
    """Means are over all words and pairs of the step, though parts have different numbers."""
    options = {"batch_size": 64, "seed": 1, "step": 0, "epoch": 0, "batch": 0}
    whole = next(draw_steps(examples, accumulation=1, **options))
    parts = next(draw_steps(examples, accumulation=accumulation, **options))
    assert len(parts.parts) == accumulation
    assert (whole.sequences, whole.tokens) == (parts.sequences, parts.tokens)
    assert len({part.mlm_share for part in parts.parts}) > 1
    sums, wanted = gradients(model, whole.parts)
    sums_of_parts, found = gradients(model, parts.parts)
    torch.testing.assert_close(sums_of_parts, sums, rtol=1e-6, atol=1e-6)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7, msg=name)


def test_accumulation_on_the_last_batch(examples):
    """An epoch's last batch may have fewer parts, one of them smaller."""
    half = (examples.count(0) - 20) // 2
    options = {"batch_size": 2 * half, "accumulation": 2, "seed": 1, "step": 1, "epoch": 0}
    rest = next(draw_steps(examples, batch=1, **options))
    (part,) = rest.parts
    assert part.mlm_share == part.nsp_share == 1.0
    assert part.batch.num_sequences == rest.sequences == examples.count(0) - 2 * half


def test_data_of_a_step_do_not_depend_on_the_start(examples):
    options = {"batch_size": 32, "accumulation": 2, "seed": 7}
    walk = islice(draw_steps(examples, step=0, epoch=0, batch=0, **options), 30)
    steps = list(walk)
    assert steps[-1].epoch > 1
    for number, before in enumerate(steps[:-1]):
        resumed = draw_steps(
            examples, step=number + 1, epoch=before.epoch, batch=before.batch, **options
        )
        again, expected = next(resumed), steps[number + 1]
        assert (again.epoch, again.batch) == (expected.epoch, expected.batch)
        for ours, theirs in zip(again.parts, expected.parts, strict=True):
            assert torch.equal(ours.seed, theirs.seed)
            assert torch.equal(ours.batch.tokens, theirs.batch.tokens)
            assert torch.equal(ours.batch.labels, theirs.batch.labels)


def test_classes_of_pairs(examples):
    """The text's class 1 is class 0 of models that transformers reads."""
    options = {"batch_size": 32, "accumulation": 2, "seed": 7, "step": 0, "epoch": 0, "batch": 0}
    text, published = (
        BertConfig.reference(41).follows,
        BertConfig.standard(41, 32, 1, 2, 48, 20).follows,
    )
    assert (text, published) == (1, 0)
    as_drawn = next(draw_steps(examples, follows=text, **options))
    changed = next(draw_steps(examples, follows=published, **options))
    for ours, theirs in zip(as_drawn.parts, changed.parts, strict=True):
        assert torch.equal(ours.batch.next_labels, 1 - theirs.batch.next_labels)
        assert torch.equal(ours.batch.tokens, theirs.batch.tokens)


def test_seeds_of_steps_differ():
    keys = [
        (seed, step, part) for seed in (-1, 0, 2**64 - 2) for step in range(9) for part in (0, 1)
    ]
    seeds = {int(step_seed(*key)) for key in keys}
    assert len(seeds) == len(keys)
    assert step_seed(1, 2, 3).dtype == torch.int64 and step_seed(1, 2, 3).shape == (1,)
    assert int(step_seed(-1, 0, 0)) == int(step_seed(2**64 - 1, 0, 0))


# -- batches of fixed size


@pytest.mark.parametrize("norm", [False, True])
def test_a_filled_batch_is_worth_the_same(examples, model, norm):
    """What fills a batch changes no loss, no hit and no gradient, up to the order of sums."""
    if norm:
        model = BertModel(replace(model.config, embedding_norm=True, tied_head=True), seed=3)
    model = model.double()
    steps = draw_steps(examples, batch_size=32, accumulation=1, seed=1, step=0, epoch=0, batch=0)
    capacity = BatchCapacity.of(islice(examples.batches(0, 32), 4), 32, 16)
    compared = 0
    for data in islice(steps, examples.num_batches(0, 32)):  # to the small last one of the epoch
        (part,) = data.parts
        if capacity.fits(part.batch):
            filled = part._replace(batch=capacity.fill(part.batch))
            sums, wanted = gradients(model, [part])
            sums_of_filled, found = gradients(model, [filled])
            torch.testing.assert_close(sums_of_filled, sums)
            for name, gradient in wanted.items():
                torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-14, msg=name)
            compared += 1
    assert compared > 5 and data.sequences < 32


@needs_bf16
def test_a_filled_batch_in_bf16(examples, model):
    (part,) = next(
        draw_steps(examples, batch_size=32, accumulation=1, seed=1, step=0, epoch=0, batch=0)
    ).parts
    size = (40, len(part.batch.tokens) + 50, len(part.batch.labels) + 9, 16)
    filled = part._replace(batch=BatchCapacity(*size).fill(part.batch))
    sums, wanted = gradients(model, [part], "bf16")
    sums_of_filled, found = gradients(model, [filled], "bf16")
    torch.testing.assert_close(sums_of_filled, sums, rtol=1e-3, atol=1e-3)
    for name, gradient in wanted.items():
        error = (found[name] - gradient).norm() / gradient.norm()
        assert error < 0.02, name


def test_filling(examples):
    samples = list(islice(examples.batches(0, 32), 4))
    capacity = BatchCapacity.of(samples, 32, 16)
    fitting = [batch for epoch in range(20) for batch in examples.batches(epoch, 32)]
    fits = [capacity.fits(batch) for batch in fitting]
    assert sum(fits) > 0.9 * len(fits)
    assert any(batch.num_sequences < 32 and capacity.fits(batch) for batch in fitting)
    for batch in (batch for batch, fit in zip(fitting, fits, strict=True) if fit):
        filled = capacity.fill(batch)
        sizes = filled.num_sequences, len(filled.tokens), len(filled.labels), filled.max_seqlen
        assert sizes == capacity
        lengths = filled.cu_seqlens.diff()
        assert int(lengths.max()) <= 16 and int(filled.cu_seqlens[-1]) == capacity.tokens
        full = int((lengths > 0).sum())
        assert (lengths[:full] > 0).all()  # empty ones are the last
        for name, ours in batch._asdict().items():
            if isinstance(ours, torch.Tensor):
                theirs = getattr(filled, name)
                assert torch.equal(theirs[: len(ours)], ours) and theirs.dtype == ours.dtype
        assert (filled.positions < 16).all() and (filled.prediction_index < capacity.tokens).all()
        assert (filled.next_labels[batch.num_sequences :] == IGNORED).all()
        assert (filled.labels[len(batch.labels) :] == IGNORED).all()


def test_rounding_up(examples):
    """Batches of as many sequences come in few sizes, at little cost, and all of them fit."""
    batches = [b for epoch in range(9) for b in examples.batches(epoch, 128)]
    full = [batch for batch in batches if batch.num_sequences == 128]
    assert len({len(batch.tokens) for batch in full}) > 9
    for batch in batches:
        capacity = BatchCapacity.around(batch)
        assert capacity.fits(batch)
        assert 0 <= capacity.tokens - len(batch.tokens) < 256
        assert 0 <= capacity.predictions - len(batch.labels) < 64
    sizes = {(c.sequences, c.tokens) for c in map(BatchCapacity.around, full)}
    assert len(sizes) <= 3


def test_what_does_not_fit(examples):
    batch = next(examples.batches(0, 32))
    size = (batch.num_sequences, len(batch.tokens), len(batch.labels), 16)
    assert BatchCapacity(*size).fits(batch)
    assert BatchCapacity(*size).fill(batch).tokens.equal(batch.tokens)
    for field, change in (("sequences", -1), ("tokens", -1), ("predictions", -1), ("tokens", 1)):
        capacity = BatchCapacity(*size)
        capacity = capacity._replace(**{field: getattr(capacity, field) + change})
        assert not capacity.fits(batch)
        with pytest.raises(ValueError, match="batch must fit"):
            capacity.fill(batch)
