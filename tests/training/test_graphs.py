"""Recorded steps: with stand-ins for what only a GPU has, and on a GPU as they are."""

import contextlib
from itertools import islice

import pytest
import torch

import lexforge
from lexforge.training.graphs import WARMUP_CALLS, GraphedStep

needs_gpu = pytest.mark.skipif(not lexforge.cuda_usable, reason="needs a GPU")


@pytest.fixture
def recorded(monkeypatch):
    """A stand-in for graphs on the CPU: what is called while one is recorded is replayed."""
    recording = []

    class Graph:
        def replay(self):
            for call in recording:
                call()

    @contextlib.contextmanager
    def record(graph, capture_error_mode):
        yield

    class Stream:
        def wait_stream(self, other):
            pass

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    return recording


def test_recording_changes_nothing(recorded, monkeypatch):
    """The calls before and while recording are undone; every step then counts once."""
    empty = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda x, **_: empty(x))
    total, calls = torch.zeros(3), []

    def step(x, scale):
        calls.append("step")
        total.add_(x * scale)
        if len(calls) == 2 * WARMUP_CALLS + 2:  # this one is recorded
            recorded.append(lambda: total.add_(x * scale))

    graphed = GraphedStep(step, lambda: [total], lambda: calls.append("before"))
    expected = torch.zeros(3)
    for number in range(4):
        x, scale = torch.arange(3.0) + number, torch.tensor(2.0)
        graphed({"x": x, "scale": scale})
        expected += x * scale
        assert torch.equal(total, expected)
    assert calls == ["before", "step"] * (WARMUP_CALLS + 1)
    for inputs, message in (
        ({"x": torch.zeros(3)}, r"inputs must be \['x', 'scale'\], got \['x'\]"),
        ({"x": torch.zeros(4), "scale": torch.tensor(1.0)}, r"x must be torch.float32 \(3,\)"),
        ({"x": torch.zeros(3).int(), "scale": torch.tensor(1.0)}, "x must be torch.float32"),
    ):
        with pytest.raises(ValueError, match=message):
            graphed(inputs)


@needs_gpu
def test_a_graph_on_a_gpu():
    total = torch.zeros(3, device="cuda")
    graphed = GraphedStep(lambda x: total.add_(x * 2) and None, lambda: [total])
    for number in range(5):
        graphed({"x": torch.full((3,), float(number)).pin_memory()})
    assert total.tolist() == [20.0] * 3


@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_pretraining_by_graphs_is_that_without(precision):
    """Graphed steps do what the same kernels do one by one; batches that do not fit run those."""
    from lexforge.models.bert.capacity import BatchCapacity
    from lexforge.models.bert.config import BertConfig
    from lexforge.models.bert.examples import BertExamples, tokenize_paragraphs
    from lexforge.models.bert.model import BertModel
    from lexforge.models.bert.steps import draw_steps, make_stepper
    from lexforge.text.tokenizers.words import WordTokenizer
    from lexforge.training.optimizer import NetworkOptimizer
    from planted_paragraphs import planted_paragraphs

    paragraphs = planted_paragraphs(topics=6)
    tokenizer = WordTokenizer.build(paragraphs, min_freq=1)
    examples = BertExamples(tokenize_paragraphs(paragraphs, tokenizer), tokenizer, max_len=16)
    capacity = BatchCapacity.of(islice(examples.batches(0, 32), 4), 32, 16)
    results = []
    for graphs in (None, capacity):
        config = BertConfig.reference(len(tokenizer), 32, 64, 2, 2, max_len=20)
        model = BertModel(config, seed=1).cuda()
        optimizer = NetworkOptimizer(model, "adamw", weight_decay=0.01, clip=1.0)
        stepper = make_stepper(model, optimizer, precision, graphs)
        steps = draw_steps(
            examples,
            batch_size=32,
            accumulation=1,
            seed=1,
            step=0,
            epoch=0,
            batch=0,
            capacity=capacity,
            on_cuda=True,
        )
        for step, data in enumerate(islice(steps, 30)):
            stepper(data, 0.01 / (1 + step))
        results.append((stepper.sums.tolist(), [p.detach() for p in model.parameters()]))
    (plain_sums, plain), (graph_sums, graphed) = results
    assert graph_sums == pytest.approx(plain_sums, rel=1e-3)
    for ours, theirs in zip(graphed, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3)
