"""Files of GPT: transformers' folders both ways, nanoGPT's checkpoints, tokenizers beside them."""

from __future__ import annotations

import json
import logging

import pytest
import torch

from lexforge.gpt import GPT, GPTConfig
from lexforge.reference.gpt import NanoGPT
from lexforge.text.tokenizers.bpe import BPETokenizer
from lexforge.text.tokenizers.characters import CharacterTokenizer
from lexforge.text.tokenizers.published import load_tokenizer
from lexforge.training.checkpoint import CheckpointError

TINY = GPTConfig(
    block_size=24, vocab_size=99, n_layer=3, n_head=4, n_embd=48, activation="gelu_tanh"
)


@pytest.fixture(scope="module")
def transformers():
    module = pytest.importorskip("transformers")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return module


def their_model(transformers, **changes):
    shape = {"vocab_size": 99, "n_positions": 24, "n_embd": 48, "n_layer": 3, "n_head": 4}
    config = transformers.GPT2Config(**{**shape, "bos_token_id": 0, "eos_token_id": 0, **changes})
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    return model


def tokens_of(vocabulary, *shape):
    return torch.randint(vocabulary, shape)


@pytest.mark.parametrize("changes", [{}, {"activation_function": "gelu"}, {"n_inner": 32}])
def test_reads_what_transformers_writes(changes, transformers, tmp_path):
    theirs = their_model(transformers, **changes)
    theirs.save_pretrained(tmp_path)
    ours = GPT.from_pretrained(tmp_path)
    tokens = tokens_of(99, 3, 20)
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, rtol=0, atol=1e-5)
    assert not ours.training


def test_transformers_reads_what_is_written(transformers, tmp_path):
    ours = GPT(TINY, seed=3).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(0, 0.2)
    ours.save_pretrained(tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    tokens = tokens_of(99, 2, 24)
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, rtol=0, atol=1e-5)
        exact = ours(tokens)
        with torch.autocast("cpu", torch.bfloat16):
            off = (ours(tokens).float() - exact).abs().mean()
            assert off <= 1.5 * (theirs(tokens).logits.float() - exact).abs().mean()


@pytest.mark.slow
def test_gpt2_size_has_the_logits_of_transformers(transformers, tmp_path):
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval()
    theirs.save_pretrained(tmp_path)
    ours = GPT.from_pretrained(tmp_path)
    assert ours.get_num_params(non_embedding=False) == 124_439_808
    tokens = tokens_of(50257, 1, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, rtol=0, atol=1e-5)


def test_reads_the_trunk_alone_buffers_shards_and_pickles(transformers, tmp_path):
    theirs = their_model(transformers)
    expected = theirs(tokens := tokens_of(99, 1, 9)).logits
    theirs.transformer.save_pretrained(tmp_path / "trunk")
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    theirs.config.save_pretrained(tmp_path / "pickle")
    state = dict(theirs.state_dict())
    state["transformer.h.0.attn.bias"] = torch.ones(1, 1, 24, 24)
    state["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(state, tmp_path / "pickle" / "pytorch_model.bin")
    for name in ("trunk", "shards", "pickle"):
        with torch.no_grad():
            ours = GPT.from_pretrained(tmp_path / name)(tokens)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_a_head_of_its_own_is_refused(transformers, tmp_path):
    theirs = their_model(transformers)
    state = dict(theirs.state_dict()) | {"lm_head.weight": torch.zeros(99, 48)}
    theirs.config.save_pretrained(tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs from transformer\.wte"):
        GPT.from_pretrained(tmp_path)


def test_without_biases_it_comes_back_and_transformers_refuses(transformers, tmp_path):
    config = GPTConfig(block_size=8, vocab_size=20, n_layer=2, n_head=2, n_embd=16, bias=False)
    ours = GPT(config, seed=1).eval()
    ours.save_pretrained(tmp_path)
    again = GPT.from_pretrained(tmp_path)
    assert again.config == config
    tokens = tokens_of(20, 2, 8)
    assert torch.equal(ours(tokens), again(tokens))
    with pytest.raises((ValueError, KeyError)):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path)


def damaged(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_a_checkpoint_of_another_shape_lists_its_tensors(tmp_path):
    GPT(TINY, seed=1).save_pretrained(tmp_path)
    damaged(tmp_path / "config.json", n_embd=64, n_layer=2)
    with pytest.raises(CheckpointError) as caught:
        GPT.from_pretrained(tmp_path)
    text = str(caught.value)
    assert "unexpected: transformer.h.2.attn.c_attn.weight" in text
    assert "unsuitable: transformer.wte.weight must be [99, 64], got [99, 48]" in text
    damaged(tmp_path / "config.json", n_embd=48, n_layer=10**6)
    with pytest.raises(CheckpointError, match="n_layer must be at most 3"):
        GPT.from_pretrained(tmp_path)
    damaged(tmp_path / "config.json", n_layer=3, model_type="bert")
    with pytest.raises(CheckpointError, match="model_type must be gpt2"):
        GPT.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError):
        GPT.from_pretrained(tmp_path / "nothing")


# ---- nanoGPT -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@pytest.mark.parametrize("bias", [False, True])
def test_reads_nanogpt(bias, prefix, tmp_path):
    torch.manual_seed(1)
    theirs = NanoGPT(block_size=16, vocab_size=30, n_layer=2, n_head=2, n_embd=32, bias=bias)
    arguments = {
        **{"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 16, "bias": bias},
        **{"vocab_size": 30, "dropout": 0.1},
    }
    checkpoint = {
        "model": {prefix + name: tensor for name, tensor in theirs.state_dict().items()},
        "optimizer": {"state": {}, "param_groups": []},
        "model_args": arguments,
        "iter_num": 7,
        "best_val_loss": torch.tensor(1.5),
        "config": {"dataset": "shakespeare_char"},
    }
    torch.save(checkpoint, tmp_path / "ckpt.pt")
    tokens = tokens_of(30, 3, 16)
    for path in (tmp_path, tmp_path / "ckpt.pt"):
        ours = GPT.from_pretrained(path)
        assert ours.config == GPTConfig(**arguments)
        with torch.no_grad():
            torch.testing.assert_close(ours(tokens), theirs.eval()(tokens), rtol=0, atol=1e-5)
    del arguments["n_head"]
    torch.save(checkpoint, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match="model_args: n_head is missing"):
        GPT.from_pretrained(tmp_path)


class Harmful:
    def __reduce__(self):
        return print, ("harm",)


def test_nothing_but_tensors_is_unpickled(tmp_path, capsys):
    torch.save({"model": {}, "model_args": {}, "config": Harmful()}, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError):
        GPT.from_pretrained(tmp_path)
    assert "harm" not in capsys.readouterr().out


# ---- Tokenizers ----------------------------------------------------------------------------------


def test_tokenizers_are_saved_beside_the_model(transformers, tmp_path):
    texts = ["To be, or not to be: that is the question."] * 5
    bpe = BPETokenizer.train_from_iterator(texts, 280, special_tokens=["<|endoftext|>"])
    model = GPT(GPTConfig(block_size=8, vocab_size=280, n_layer=1, n_head=1, n_embd=8), seed=1)
    for tokenizer in (CharacterTokenizer.build(texts[0]), bpe):
        model.tokenizer = tokenizer
        model.save_pretrained(tmp_path)  # one takes the place of the other
        found = GPT.from_pretrained(tmp_path).tokenizer
        assert type(found) is type(tokenizer)
        assert found.tokens == tokenizer.tokens
        assert found.encode(texts[0]) == tokenizer.encode(texts[0])
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert dict(theirs(texts[0])) == {
        "input_ids": bpe.encode(texts[0]),
        "attention_mask": [1] * len(bpe.encode(texts[0])),
    }
    model.tokenizer = CharacterTokenizer(map(chr, range(300)))
    model.save_pretrained(tmp_path / "large")
    with pytest.raises(CheckpointError, match="at most 280 tokens, got 300"):
        GPT.from_pretrained(tmp_path / "large")


def test_the_two_files_of_gpt2_are_a_tokenizer(tmp_path):
    texts = ["low lower lowest"] * 5
    bpe = BPETokenizer.train_from_iterator(texts, 270, special_tokens=["<|endoftext|>"])
    bpe.save_gpt2(tmp_path)
    found = load_tokenizer(tmp_path)
    assert found.tokens == bpe.tokens
    assert found.encode(texts[0]) == bpe.encode(texts[0])
