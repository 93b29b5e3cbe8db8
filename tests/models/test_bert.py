"""BertModel: values, gradients, dropout, packing, precision, and what is refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch

import lexforge
from lexforge.bert import BertConfig, BertModel, MaskLM
from lexforge.models.bert import files as bert_files
from lexforge.models.bert.model import named_tensors
from lexforge.reference import bert as reference
from models.bert_batches import padded_batch

# hidden, inner, heads, blocks: odd heads, one head, many, none
SIZES = [(16, 24, 2, 2), (21, 17, 3, 1), (12, 8, 1, 2), (32, 16, 8, 1), (8, 8, 2, 0)]
LENGTHS = [5, 1, 9, 9, 3]


def reference_config(size=SIZES[0], dropout=0.0, vocab=31, max_len=12):
    hidden, inner, heads, blocks = size
    return BertConfig.reference(vocab, hidden, inner, heads, blocks, dropout, max_len)


def standard_config(dropout=0.0, **changes):
    options = {"type_vocab_size": 2, "dropout": dropout, "attention_dropout": dropout} | changes
    return BertConfig.standard(31, 24, 2, 3, 40, 12, **options)


def plain_twin(model):
    """The text's model in plain torch, with the weights of ours."""
    config = model.config
    twin = reference.BertModel(
        config.vocab_size,
        config.hidden_size,
        config.intermediate_size,
        config.num_heads,
        config.num_layers,
        config.dropout,
        config.max_positions,
    )
    dtype = model.hidden.weight.dtype
    twin.to(model.hidden.weight.device, dtype)
    twin.load_state_dict(named_tensors(model, bert_files.ARCHIVE))
    return twin.train(model.training)


def gradients(model, losses, names=bert_files.ARCHIVE):
    """Gradients of the sum of two losses by the names of an archive, zeros where there are none."""
    model.zero_grad()
    (losses[0] + losses[1]).backward()
    if not isinstance(model, BertModel):
        return {name: parameter.grad for name, parameter in model.named_parameters()}
    parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():  # so that the parts of joint tensors are told apart
        for parameter in model.parameters():
            parameter.copy_(
                torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            )
        found = {k: v.clone() for k, v in named_tensors(model, names).items()}
        for name, parameter in model.named_parameters():
            parameter.copy_(parameters[name])
    return found


@pytest.mark.parametrize("size", SIZES)
def test_reference_model_equals_the_text(size, device):
    """Values of the padded form, both losses and all gradients, in float64."""
    model = BertModel(reference_config(size), seed=1).double().to(device)
    twin = plain_twin(model)
    batch = padded_batch(model.config, LENGTHS).to(device)
    inputs = batch[:4]
    encoded, mlm, nsp = model(*inputs)
    expected = twin(*inputs)
    close = {"rtol": 1e-9, "atol": 1e-11}
    torch.testing.assert_close(encoded[batch.mask], expected[0][batch.mask], **close)
    assert not encoded[~batch.mask].any()
    torch.testing.assert_close(mlm, expected[1], **close)
    torch.testing.assert_close(nsp, expected[2], **close)

    losses = model.losses(batch.packed())
    theirs = reference.losses(twin, *batch)
    torch.testing.assert_close(torch.stack(losses[:2]), torch.stack(theirs), **close)
    ours, theirs = gradients(model, losses), gradients(twin, theirs)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        other = theirs[name]
        torch.testing.assert_close(gradient, torch.zeros_like(gradient) if other is None else other)


def test_padded_form_has_the_same_gradients(device):
    """Losses written down from the logits of forward() lead to the gradients of losses()."""
    model = BertModel(standard_config(), seed=1).double().to(device)
    batch = padded_batch(model.config, LENGTHS).to(device)
    ours = gradients(model, model.losses(batch.packed()), bert_files.HUGGING_FACE)
    padded = gradients(model, reference.losses(model, *batch), bert_files.HUGGING_FACE)
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, padded[name])


def test_counts_of_losses(device):
    """Labels of -100 take no part; correct and count are those of the rest."""
    model = BertModel(standard_config(), seed=1).to(device).eval()
    batch = padded_batch(model.config, LENGTHS).to(device).packed()
    _, _, nsp = model(*padded_batch(model.config, LENGTHS).to(device)[:3])
    full = model.losses(batch)
    assert full.mlm_count == len(batch.labels) and full.nsp_count == len(LENGTHS)
    assert full.nsp_correct == (nsp.argmax(1) == batch.next_labels).sum()
    labels, next_labels = batch.labels.clone(), batch.next_labels.clone()
    labels[1:], next_labels[1:] = -100, -100
    one = model.losses(batch._replace(labels=labels, next_labels=next_labels))
    assert one.mlm_count == 1 and one.nsp_count == 1
    alone = batch._replace(
        prediction_index=batch.prediction_index[:1], labels=labels[:1], next_labels=next_labels
    )
    torch.testing.assert_close(model.losses(alone).mlm_loss, one.mlm_loss)
    expected = torch.nn.functional.cross_entropy(nsp[:1], batch.next_labels[:1])
    torch.testing.assert_close(one.nsp_loss, expected)
    none = model.losses(
        batch._replace(
            prediction_index=batch.prediction_index[:0],
            labels=labels[:0],
            next_labels=torch.full_like(next_labels, -100),
        )
    )
    assert [x.item() for x in none] == [0.0] * 6
    (none.mlm_loss + none.nsp_loss).backward()


def test_empty_sequences_may_fill_up_a_batch(device):
    model = BertModel(standard_config(), seed=1).to(device)
    batch = padded_batch(model.config, LENGTHS).to(device).packed()
    filled = batch._replace(
        cu_seqlens=torch.cat([batch.cu_seqlens, batch.cu_seqlens[-1:].expand(3)]),
        prediction_index=torch.cat([batch.prediction_index, batch.prediction_index.new_zeros(2)]),
        labels=torch.cat([batch.labels, batch.labels.new_full((2,), -100)]),
        next_labels=torch.cat([batch.next_labels, batch.next_labels.new_full((3,), -100)]),
    )
    for x, y in zip(model.losses(filled, seed=1), model.losses(batch, seed=1), strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("config", [reference_config(dropout=0.3), standard_config(0.3)])
def test_a_seed_determines_a_step(config, device):
    model = BertModel(config, seed=1).to(device).train()
    batch = padded_batch(config, LENGTHS).to(device).packed()
    seed = torch.tensor([7], device=device)
    first = model.losses(batch, seed=seed)
    grads = gradients(model, first)
    again = model.losses(batch, seed=seed)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    for name, gradient in gradients(model, again).items():
        assert torch.equal(gradient, grads[name]), name
    assert torch.equal(model.losses(batch, seed=7).mlm_loss, first.mlm_loss)
    assert model.losses(batch, seed=8).mlm_loss != first.mlm_loss
    torch.manual_seed(3)
    drawn = model.losses(batch).mlm_loss
    assert model.losses(batch).mlm_loss != drawn
    torch.manual_seed(3)
    assert torch.equal(model.losses(batch).mlm_loss, drawn)
    model.eval()
    assert torch.equal(model.losses(batch, seed=8).mlm_loss, model.losses(batch).mlm_loss)


def test_every_dropout_has_a_seed_of_its_own():
    """Neither two dropouts of a step nor those of neighbouring steps share one."""
    encoder = BertModel(standard_config(), seed=1).encoder
    steps = [(step + encoder.seed_offsets).tolist() for step in range(100)]
    assert len({seed for step in steps for seed in step}) == 100 * (1 + 3 * 2)


def test_dropout_keeps_the_mean():
    """The loss's mean over many seeds is near, and its values around, that without dropout."""
    model = BertModel(standard_config(0.1), seed=1).double()
    batch = padded_batch(model.config, LENGTHS).packed()
    with torch.no_grad():
        losses = torch.stack([model.losses(batch, seed=seed).mlm_loss for seed in range(50)])
        exact = model.eval().losses(batch).mlm_loss
    assert losses.min() < exact < losses.max()
    assert abs(losses.mean() - exact) < 0.1


@pytest.mark.parametrize("config", [reference_config(), standard_config()])
def test_autocast(config, device):
    """The residual stream is bfloat16, parameters and gradients float32, the losses near."""
    model = BertModel(config, seed=1).to(device)
    batch = padded_batch(config, LENGTHS).to(device).packed()
    exact = model.losses(batch)
    with torch.autocast(device.type, torch.bfloat16):
        layers = model.encode_packed(*batch[:5], all_layers=True)
        losses = model.losses(batch)
    assert all(layer.dtype == torch.bfloat16 for layer in layers)
    for x, y in zip(losses[:2], exact[:2], strict=True):
        assert x.dtype == torch.float32 and abs(x - y) < 0.05
    (losses.mlm_loss + losses.nsp_loss).backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


def test_all_layers(device):
    model = BertModel(standard_config(), seed=1).to(device).eval()
    batch = padded_batch(model.config, LENGTHS).to(device).packed()
    layers = model.encode_packed(*batch[:5], all_layers=True)
    assert len(layers) == 3
    assert torch.equal(layers[-1], model.encode_packed(*batch[:5]))
    x = layers[0]
    for block, after in zip(model.encoder.blocks, layers[1:], strict=True):
        x = block(x, batch.cu_seqlens, batch.max_seqlen, (None,) * 3)
        assert torch.equal(x, after)
    without = model.encode_packed(batch.tokens, None, *batch[2:5])
    zeros = model.encode_packed(batch.tokens, torch.zeros_like(batch.tokens), *batch[2:5])
    assert torch.equal(without, zeros)


def test_padded_form_without_lengths(device):
    """All tokens valid: as with lengths that say so; segments default to 0."""
    model = BertModel(standard_config(), seed=1).to(device).eval()
    batch = padded_batch(model.config, [9, 9]).to(device)
    length = batch.tokens.shape[1]
    lengths = torch.full((2,), length, device=device)
    zeros = torch.zeros_like(batch.tokens)
    plain = model(batch.tokens, pred_positions=batch.positions)
    told = model(batch.tokens.int(), zeros.int(), lengths.int(), batch.positions.int())
    assert all(torch.equal(x, y) for x, y in zip(plain, told, strict=True))
    assert torch.equal(model.encoder(batch.tokens), plain[0])
    assert model(batch.tokens)[1] is None
    assert model(batch.tokens, pred_positions=batch.positions[:, :0])[1].shape == (2, 0, 31)


def test_compiles_without_graph_breaks():
    model = BertModel(standard_config(0.1), seed=1)
    batch = padded_batch(model.config, LENGTHS).packed()
    seed = torch.tensor([3])
    compiled = torch.compile(model.losses, fullgraph=True, backend="aot_eager")
    ours, plain = compiled(batch, seed=seed), model.losses(batch, seed=seed)
    for x, y in zip(ours, plain, strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.skipif(not lexforge.cuda_usable, reason="needs a GPU")
def test_a_step_is_one_cuda_graph():
    """Nothing waits for the device, and a captured step follows its inputs."""
    device = torch.device("cuda")
    model = BertModel(standard_config(0.1), seed=1).to(device)
    batch = padded_batch(model.config, LENGTHS).to(device).packed()
    other = padded_batch(model.config, LENGTHS, seed=1).to(device).packed()
    seed = torch.tensor([3], device=device)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda.set_sync_debug_mode("error")
        try:
            sum(model.losses(batch, seed=seed)[:2]).backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = model.losses(batch, seed=seed)
    batch.tokens.copy_(other.tokens)
    seed.fill_(9)
    graph.replay()
    expected = model.losses(batch, seed=9)
    for x, y in zip(captured, expected, strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("config", [reference_config(), standard_config()])
def test_learns_a_batch_by_heart(config):
    model = BertModel(config, seed=1)
    batch = padded_batch(config, [9, 7, 11, 12]).packed()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(40):
        losses = model.losses(batch)
        optimizer.zero_grad()
        (losses.mlm_loss + losses.nsp_loss).backward()
        optimizer.step()
    final = model.eval().losses(batch)
    assert final.mlm_loss < 0.3 and final.nsp_loss < 0.2
    assert final.mlm_correct == final.mlm_count and final.nsp_correct == final.nsp_count


def test_first_values():
    """The same for the same seed; as transformers or torch draw them."""
    for config in (standard_config(), reference_config()):
        one, two = BertModel(config, seed=5), BertModel(config, seed=5)
        state = torch.get_rng_state()
        BertModel(config, seed=6)
        assert torch.equal(torch.get_rng_state(), state)
        for x, y in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
            assert torch.equal(x, y)
        other = BertModel(config, seed=6)
        assert not torch.equal(other.hidden.weight, one.hidden.weight)
        assert not torch.equal(one.hidden.weight, one.mlm.dense.weight)
    wide = BertModel(BertConfig.standard(500, 128, 1, 2, 256, 64), seed=1)
    for weight in (wide.hidden.weight, wide.encoder.token_embedding.weight):
        assert abs(weight.std() - 0.02) < 0.001 and abs(weight.mean()) < 0.001
    assert not wide.encoder.blocks[0].qkv.bias.any() and not wide.mlm.bias.any()
    wide = BertModel(BertConfig.reference(500, max_len=64), seed=1)
    for table in (wide.encoder.token_embedding.weight, wide.encoder.position_embedding.weight):
        assert abs(table.std() - 1) < 0.05
    block = wide.encoder.blocks[0]
    for layer in (block.qkv, block.contraction, wide.mlm, wide.nsp.output):
        bound = layer.weight.shape[1] ** -0.5
        for values in (layer.weight, layer.bias):
            least = bound * 1e-6 ** (1 / values.numel())  # all are below once in a million draws
            assert least < values.abs().max() <= bound
    assert torch.equal(block.output_norm.weight, torch.ones(128))


def test_parameter_counts():
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    model = BertModel(BertConfig.reference(20256), seed=1)
    parts = [count(part) for part in (model.encoder, model.mlm, model.hidden, model.nsp)]
    assert parts == [2_985_984, 2_629_792, 16_512, 258] and count(model) == 5_632_546
    with torch.device("meta"):
        model = BertModel(BertConfig.standard(), seed=1)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert count(model) == 110_106_428
    assert count(model.encoder) + count(model.hidden) == 109_482_240


CONFIG_ERRORS = [
    ({"vocab_size": 0}, ValueError, "BertConfig: vocab_size must be >= 1, got 0"),
    ({"hidden_size": 2.5}, TypeError, "hidden_size must be an integer, got 2.5"),
    ({"num_layers": -1}, ValueError, "num_layers must be >= 0, got -1"),
    ({"num_heads": 5}, ValueError, "num_heads must divide hidden_size 24, got 5"),
    ({"hidden_size": 257, "num_heads": 1}, ValueError, "must be at most 256, got 257"),
    (
        {"activation": "swish"},
        ValueError,
        "activation must be one of gelu, relu, gelu_tanh, silu, got 'swish'",
    ),
    (
        {"head_activation": 3},
        ValueError,
        "head_activation must be one of gelu, relu, gelu_tanh, silu, got 3",
    ),
    ({"tied_head": 1}, TypeError, "tied_head must be a bool, got 1"),
    ({"dropout": 1.5}, ValueError, "dropout must be 0 to 1, got 1.5"),
    ({"attention_dropout": -0.1}, ValueError, "attention_dropout must be finite and >= 0"),
    ({"norm_eps": "x"}, TypeError, "norm_eps must be a number, got 'x'"),
    ({"initializer_range": float("nan")}, ValueError, "initializer_range must be finite"),
    ({"pad_token_id": -1}, ValueError, "pad_token_id must be >= 0, got -1"),
]


@pytest.mark.parametrize("changes, error, message", CONFIG_ERRORS)
def test_bad_configurations(changes, error, message):
    with pytest.raises(error, match=message):
        dataclasses.replace(standard_config(), **changes)


def cases():
    ids = torch.ones(2, 5, dtype=torch.int64)
    lens = torch.tensor([5, 3])
    positions = torch.tensor([[1], [2]])
    return {
        "dimensions": ((ids[0],), ValueError, r"tokens must be \[B, S\] with B, S >= 1, got \(5,"),
        "empty": ((ids[:0],), ValueError, r"B, S >= 1, got \(0, 5\)"),
        "no tokens": ((ids[:, :0],), ValueError, r"B, S >= 1, got \(2, 0\)"),
        "float": ((ids.float(),), TypeError, "tokens must be int32 or int64, got torch.float32"),
        "long": ((ids.repeat(1, 3),), ValueError, "S must be at most max_positions = 12, got 15"),
        "id": ((ids + 30,), IndexError, "tokens must be"),
        "segment": ((ids, ids + 1), IndexError, "segments must be"),
        "segments": ((ids, ids[:, :4]), ValueError, r"segments must be \(2, 5\) like tokens, got"),
        "lens shape": ((ids, ids, lens[:1]), ValueError, r"valid_lens must be \[2\], got \(1,\)"),
        "lens 0": ((ids, ids, lens - 3), ValueError, "valid_lens must be 1 to 5, got 0"),
        "lens high": ((ids, ids, lens + 1), ValueError, "valid_lens must be 1 to 5, got 6"),
        "lens type": ((ids, ids, lens / 2), TypeError, "valid_lens must be int32 or int64, got"),
        "positions": (
            (ids, ids, lens, positions[:1]),
            ValueError,
            r"pred_positions must be \[2, P\], got \(1, 1\)",
        ),
        "position": (
            (ids, ids, lens, positions + 1),
            IndexError,
            "pred_positions must be 0 to 2 for sequence 1, got 3",
        ),
        "negative": (
            (ids, ids, None, positions - 2),
            IndexError,
            "pred_positions must be 0 to 4 for sequence 0, got -1",
        ),
    }


@pytest.mark.parametrize("case", cases())
def test_bad_batches(case):
    arguments, error, message = cases()[case]
    with pytest.raises(error, match=message):
        BertModel(standard_config(), seed=1)(*arguments)


def test_bad_packed_batches():
    model = BertModel(standard_config(), seed=1)
    batch = padded_batch(model.config, LENGTHS).packed()
    with pytest.raises(ValueError, match=r"tokens must be \[T\] with T >= 1, got \(0,\)"):
        model.encode_packed(batch.tokens[:0], *batch[1:5])
    with pytest.raises(ValueError, match=r"seed must be one int64 on cpu, got torch.int32 \(1,\)"):
        BertModel(standard_config(0.1), seed=1).losses(batch, seed=torch.ones(1).int())
    with pytest.raises(IndexError, match="positions must be"):
        model.encode_packed(*batch[:2], batch.positions + 8, *batch[3:5])
    with pytest.raises(ValueError, match="max_seqlen must be at least 9"):
        model.encode_packed(*batch[:4], 8)
    with pytest.raises(ValueError, match="cu_seqlens must end at T"):
        model.losses(batch._replace(cu_seqlens=batch.cu_seqlens[:-1]))
    with pytest.raises(IndexError, match="prediction_index must be 0 to 26, got 27"):
        model.losses(batch._replace(prediction_index=batch.prediction_index * 0 + 27))
    with pytest.raises(ValueError, match="labels must be"):
        model.losses(batch._replace(labels=batch.labels[:-1]))
    with pytest.raises(ValueError, match="next_labels must be"):
        model.losses(batch._replace(next_labels=batch.next_labels[:-1]))
    with pytest.raises(ValueError, match="token_table must be given for a tied head, got None"):
        MaskLM(standard_config())(torch.zeros(2, 24))


def test_facade():
    """lexforge.bert names everything, and does not wait for torch until something is used."""
    script = "import sys, lexforge.bert as b; assert 'torch' not in sys.modules; print(*dir(b))"
    names = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"BertConfig", "BertModel", "BertEncoder", "MaskLM", "NextSentencePred"} <= set(names)
    for name in lexforge.bert.__all__:
        assert getattr(lexforge.bert, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Bert'"):
        _ = lexforge.bert.Bert
