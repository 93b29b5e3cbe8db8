"""GPT: its shape, the network, what nanoGPT's model has."""

from __future__ import annotations

import math

import pytest
import torch

from lexforge.gpt import GPT, GPTConfig
from lexforge.layers.block import CausalBlock
from lexforge.models.gpt.files import named_tensors
from lexforge.models.gpt.settings import RECIPES
from lexforge.ops import seed_from
from lexforge.reference.gpt import NanoGPT

TINY = GPTConfig(block_size=16, vocab_size=30, n_layer=2, n_head=2, n_embd=32, bias=False)


def packed(lengths, vocabulary=30):
    """Tokens, positions, bounds and the longest of sequences of these lengths."""
    tokens = torch.randint(vocabulary, (sum(lengths),))
    positions = torch.cat([torch.arange(n, dtype=torch.int32) for n in lengths])
    bounds = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    return tokens, positions, bounds, max(lengths)


def twin(model):
    """nanoGPT's model with the same parameters."""
    config = model.config
    shape = {
        name: getattr(config, name)
        for name in ("block_size", "vocab_size", "n_layer", "n_head", "n_embd", "bias")
    }
    theirs = NanoGPT(**shape)
    tensors = named_tensors(model, conv1d=False)
    missing, unexpected = theirs.load_state_dict(tensors, strict=False)
    assert not unexpected and missing == ["lm_head.weight"]
    return theirs


# ---- Shape ---------------------------------------------------------------------------------------


def test_published_counts_of_parameters():
    char = {name: RECIPES["char"][name] for name in ("n_layer", "n_head", "n_embd", "block_size")}
    model = GPT(GPTConfig(vocab_size=65, bias=False, **char), seed=1)
    assert model.get_num_params() == 10_646_784
    assert model.get_num_params(non_embedding=False) == 10_646_784 + 256 * 384
    assert GPTConfig.gpt2().num_parameters == 124_439_808


@pytest.mark.parametrize("bias", [False, True])
def test_the_count_is_that_of_the_parameters(bias):
    config = GPTConfig(
        block_size=9, vocab_size=11, n_layer=3, n_head=2, n_embd=6, bias=bias, n_inner=10
    )
    assert config.num_parameters == GPT(config, seed=1).get_num_params(non_embedding=False)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"n_head": 5}, ValueError, "n_head must divide n_embd 768, got 5"),
        ({"n_head": 1}, ValueError, "n_embd / n_head must be at most 256"),
        ({"n_layer": 0}, ValueError, "n_layer must be >= 1, got 0"),
        ({"dropout": 2}, ValueError, "dropout must be 0 to 1"),
        ({"activation": "swish"}, ValueError, "activation must be one of gelu"),
        ({"bias": 1}, TypeError, "bias must be a bool"),
        ({"vocab_size": 1.5}, TypeError, "vocab_size must be an integer"),
    ],
)
def test_wrong_shapes(changes, error, text):
    with pytest.raises(error, match=text):
        GPTConfig(**changes)


def test_a_model_larger_than_memory_is_refused():
    with pytest.raises(MemoryError, match="n_embd=1048576 need"):
        GPT(GPTConfig(n_embd=2**20, n_head=2**13))


def test_dropouts_that_differ_are_told():
    with pytest.warns(UserWarning, match=r"one dropout is for all, 0.2: .*attn_pdrop 0.1"):
        config = GPTConfig.from_huggingface({"model_type": "gpt2", "resid_pdrop": 0.2})
    assert config.dropout == 0.2
    with pytest.raises(ValueError, match="scale_attn_weights must be True"):
        GPTConfig.from_huggingface({"scale_attn_weights": False})


# ---- The network ---------------------------------------------------------------------------------


def test_first_values_are_nanogpts():
    config = GPTConfig(block_size=64, vocab_size=500, n_layer=8, n_head=4, n_embd=128)
    model, again = GPT(config, seed=3), GPT(config, seed=3)
    for (name, x), y in zip(model.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(x, y)
        if name.endswith("bias"):
            assert not x.any()
        elif x.dim() == 1:
            assert (x == 1).all()
        else:
            residual = name.endswith(("projection.weight", "contraction.weight"))
            expected = 0.02 / math.sqrt(16) if residual else 0.02
            assert abs(x.std() / expected - 1) < 0.05, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", [TINY, GPTConfig(16, 30, 2, 2, 32)])
def test_loss_and_gradients_are_those_of_plain_torch(config, dtype):
    ours = GPT(config, seed=1)
    theirs = twin(ours)
    tokens = torch.randint(30, (3, 17))
    x, y = tokens[:, :-1], tokens[:, 1:]
    bounds = torch.arange(4, dtype=torch.int32) * 16
    positions = torch.arange(16, dtype=torch.int32).repeat(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss, correct = ours.loss(x.flatten(), y.flatten(), positions, bounds, 16)
        expected = theirs(x, y)
    loss.backward()
    expected.backward()
    close = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 0.05, "atol": 2e-3}
    torch.testing.assert_close(loss, expected, **close)
    if dtype == torch.float32:
        assert correct == (theirs(x).argmax(-1) == y).sum()
    gradients = named_tensors_of_gradients(ours)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, **close, msg=name)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("width", [32, 64])  # of which tiles take the latter by rows
def test_the_loss_of_one_node_is_that_of_its_ops(width, dropout, monkeypatch):
    """It can be scaled, and asked for its gradients twice."""
    model = GPT(GPTConfig(16, 30, 2, 2, width, dropout=dropout), seed=1)
    batch = packed([16, 3, 9, 16])
    labels = torch.randint(30, (44,))
    results = []
    for fused in (True, False):
        monkeypatch.setattr(CausalBlock, "is_fused", fused)
        model.zero_grad()
        loss, correct = model.loss(batch[0], labels, *batch[1:], seed=5)
        for share in (1.0, 0.5):
            (loss * share).backward(retain_graph=True)
        results.append([loss, correct, *(p.grad for p in model.parameters())])
        with torch.no_grad():
            assert torch.equal(model.loss(batch[0], labels, *batch[1:], seed=5).loss, loss)
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def named_tensors_of_gradients(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    return named_tensors(model, conv1d=False)


def test_packed_sequences_do_not_see_each_other():
    model = GPT(TINY, seed=1).eval()
    tokens, positions, bounds, longest = packed([5, 16, 1, 9])
    together = model.logits(model.encode_packed(tokens, positions, bounds, longest))
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        alone = model(tokens[None, first:last])[0]
        torch.testing.assert_close(together[first:last], alone, rtol=1e-4, atol=1e-5)
    padded = torch.zeros(2, 16, dtype=torch.int64)
    padded[0, :5], padded[1] = tokens[:5], tokens[5:21]
    logits = model(padded, torch.tensor([5, 16]))
    torch.testing.assert_close(logits[0, :5], together[:5], rtol=1e-4, atol=1e-5)
    assert not logits[0, 5:].any()


def test_later_tokens_change_nothing_before_them():
    model = GPT(TINY, seed=1).eval()
    tokens = torch.randint(30, (1, 16))
    other = tokens.clone()
    other[0, 9] = (other[0, 9] + 1) % 30
    before, after = model(tokens), model(other)
    torch.testing.assert_close(before[0, :9], after[0, :9], rtol=1e-5, atol=1e-6)
    assert (before[0, 9:] - after[0, 9:]).abs().amax(-1).min() > 1e-5


def test_dropout_is_a_function_of_its_seed():
    model = GPT(GPTConfig(16, 30, 2, 2, 32, dropout=0.3), seed=1)
    batch = packed([7, 16])
    labels = torch.randint(30, (23,))

    def gradients(seed):
        model.zero_grad()
        model.loss(batch[0], labels, *batch[1:], seed=seed).loss.backward()
        return [p.grad for p in model.parameters()]

    first, tensor = gradients(5), gradients(torch.tensor([seed_from(5)]))
    assert all(torch.equal(x, y) for x, y in zip(first, tensor, strict=True))
    assert not torch.equal(gradients(6)[0], first[0])
    model.eval()
    assert torch.equal(gradients(5)[0], gradients(6)[0])


def test_labels_that_do_not_count():
    model = GPT(TINY, seed=1)
    tokens, positions, bounds, longest = packed([6, 4])
    labels = torch.randint(30, (10,))
    half = labels.clone()
    half[:6] = -100
    found = model.loss(tokens, half, positions, bounds, longest).loss
    alone = model.loss(
        tokens[6:], labels[6:], positions[6:], torch.tensor([0, 4], dtype=torch.int32), 4
    ).loss
    torch.testing.assert_close(found, alone)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m: m(torch.zeros(1, 17, dtype=torch.int64)), ValueError, "block_size = 16, got 17"),
        (lambda m: m(torch.zeros(1, 0, dtype=torch.int64)), ValueError, "B, S >= 1"),
        (lambda m: m(torch.full((1, 2), 30)), IndexError, "30"),
        (lambda m: m(torch.zeros(1, 2)), TypeError, "tokens must be int32 or int64"),
        (lambda m: m.crop_block_size(17), ValueError, "block_size must be 1 to 16, got 17"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call(GPT(TINY, seed=1))


# ---- What nanoGPT's model has --------------------------------------------------------------------


def test_crop_block_size():
    model = GPT(TINY, seed=1).eval()
    tokens = torch.randint(30, (2, 8))
    before = model(tokens)
    model.crop_block_size(8)
    assert model.config.block_size == 8 and torch.equal(model(tokens), before)
    assert model.get_num_params(False) == model.config.num_parameters
    with pytest.raises(ValueError, match="block_size = 8, got 9"):
        model(torch.zeros(1, 9, dtype=torch.int64))


def test_configure_optimizers():
    model = GPT(GPTConfig(16, 30, 2, 2, 32), seed=1)
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
    decaying, others = optimizer.param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert {p.dim() for p in decaying["params"]} == {2} and {p.dim() for p in others["params"]} == {
        1
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(
        [*model.parameters()]
    )


def test_estimate_mfu():
    model = GPT(TINY, seed=1)
    per_token = 6 * model.get_num_params() + 12 * 2 * 32 * 16
    assert model.estimate_mfu(4, 0.5) == pytest.approx(per_token * 16 * 4 / 0.5 / 312e12)
    assert model.estimate_mfu(4, 0.5, 1e9) == pytest.approx(per_token * 16 * 4 / 0.5 / 1e9)
