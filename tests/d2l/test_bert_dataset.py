"""The text's steps from paragraphs to minibatches, one by one."""

from __future__ import annotations

import collections
import random

import pytest
import torch
from torch import nn

from lexforge import d2l
from planted_paragraphs import planted_paragraphs

RESERVED = ["<pad>", "<mask>", "<cls>", "<sep>"]


@pytest.fixture(autouse=True)
def seeded():
    random.seed(0)


@pytest.fixture
def paragraphs():
    return [[["a", str(p), str(s)] for s in range(3)] for p in range(4)]


@pytest.fixture
def vocab(paragraphs):
    return d2l.Vocab([s for p in paragraphs for s in p], reserved_tokens=RESERVED)


def test_read_wiki(tmp_path):
    text = " = Title = \n A b . C d . \n one sentence \n E f . G \n"
    (tmp_path / "wiki.train.tokens").write_text(text)
    found = d2l._read_wiki(tmp_path)
    assert sorted(found) == [["a b", "c d ."], ["e f", "g"]]


def test_next_sentence(paragraphs):
    first, second = paragraphs[0][:2]
    drawn = [d2l._get_next_sentence(first, second, paragraphs) for _ in range(2000)]
    assert all(sentence is first for sentence, _, _ in drawn)
    assert all((follows is second) == is_next for _, follows, is_next in drawn)
    kept = sum(is_next for *_, is_next in drawn)
    assert abs(kept - 1000) <= 4 * 500**0.5
    others = collections.Counter(tuple(follows) for _, follows, is_next in drawn if not is_next)
    assert len(others) == 11 and max(others.values()) < 3 * min(others.values())
    assert d2l._get_next_sentence(first, second, [[second]]) == (first, second, True)


def test_pairs_of_a_paragraph(paragraphs, vocab):
    pairs = d2l._get_nsp_data_from_paragraph(paragraphs[0], paragraphs, vocab, 9)
    assert len(pairs) == 2
    for tokens, segments, is_next in pairs:
        assert tokens[0] == "<cls>" and tokens[4] == tokens[8] == "<sep>"
        assert segments == [0] * 5 + [1] * 4 and isinstance(is_next, bool)
    assert d2l._get_nsp_data_from_paragraph(paragraphs[0], paragraphs, vocab, 8) == []


def test_masks(vocab):
    tokens = ["<cls>", *["a", "0", "1", "2", "3"] * 100, "<sep>"]
    kept, outcomes = list(tokens), collections.Counter()
    for _ in range(20):
        masked, predicted = d2l._replace_mlm_tokens(tokens, range(1, 501), 75, vocab)
        assert tokens == kept and len(masked) == 502 and len(predicted) == 75
        assert len({position for position, _ in predicted}) == 75
        changed = {i for i, token in enumerate(masked) if token != tokens[i]}
        assert changed <= {position for position, _ in predicted}
        for position, token in predicted:
            assert token == tokens[position] and 1 <= position <= 500
            assert masked[position] == "<mask>" or masked[position] not in [*RESERVED, "<unk>"]
            outcomes["mask" if masked[position] == "<mask>" else masked[position] == token] += 1
    n = 20 * 75
    same = 0.1 + 0.1 / (len(vocab) - 5)
    for outcome, share in (("mask", 0.8), (True, same), (False, 0.2 - same)):
        assert abs(outcomes[outcome] - n * share) <= 4 * (n * share * (1 - share)) ** 0.5
    with pytest.raises(ValueError, match="ordinary tokens"):
        d2l._replace_mlm_tokens(tokens, [1], 1, d2l.Vocab([], reserved_tokens=RESERVED))


@pytest.mark.parametrize("length, predictions", [(6, 1), (10, 2), (64, 10), (128, 19)])
def test_masked_tokens_as_ids(vocab, length, predictions):
    tokens = ["<cls>", *["a"] * (length - 3), "<sep>", "<sep>"]
    ids, positions, labels = d2l._get_mlm_data_from_tokens(tokens, vocab)
    assert len(ids) == length and ids[0] == vocab["<cls>"] and ids[-2:] == [vocab["<sep>"]] * 2
    assert positions == sorted(set(positions)) and len(positions) == predictions
    assert labels == [vocab["a"]] * predictions and set(positions) <= set(range(1, length - 2))


def test_padding(vocab):
    examples = [([5, 6, 7], [1], [8], [0, 0, 1], True), ([5] * 10, [2, 4], [6, 7], [0] * 10, False)]
    arrays = d2l._pad_bert_inputs(examples, 10, vocab)
    tokens, segments, lens, positions, weights, labels, follows = map(torch.stack, arrays)
    pad = vocab["<pad>"]
    assert tokens.tolist() == [[5, 6, 7] + [pad] * 7, [5] * 10]
    assert segments.tolist() == [[0, 0, 1] + [0] * 7, [0] * 10] and lens.tolist() == [3, 10]
    assert positions.tolist() == [[1, 0], [2, 4]] and labels.tolist() == [[8, 0], [6, 7]]
    assert weights.tolist() == [[1, 0], [1, 1]] and weights.dtype == torch.float32
    assert follows.tolist() == [1, 0]
    assert d2l._pad_bert_inputs([], 10, vocab) == ([],) * 7


def test_dataset_and_the_texts_own_steps():
    """The data set has what the steps give, of these shapes, and a model trains on both."""
    paragraphs = planted_paragraphs()
    data = d2l._WikiTextDataset(paragraphs, 32)
    random.seed(0)
    assert torch.equal(data.all_token_ids, d2l._WikiTextDataset(paragraphs, 32).all_token_ids)
    loader = torch.utils.data.DataLoader(data, 16, shuffle=True)
    batch = next(iter(loader))
    shapes = [(16, 32), (16, 32), (16,), (16, 5), (16, 5), (16, 5), (16,)]
    assert [tuple(x.shape) for x in batch] == shapes
    split = [d2l.tokenize(p) for p in paragraphs]
    examples = [
        (*d2l._get_mlm_data_from_tokens(tokens, data.vocab), segments, is_next)
        for p in split[:40]
        for tokens, segments, is_next in d2l._get_nsp_data_from_paragraph(p, split, data.vocab, 32)
    ]
    steps = [torch.stack(x[:16]) for x in d2l._pad_bert_inputs(examples, 32, data.vocab)]
    assert [tuple(x.shape) for x in steps] == shapes
    assert [x.dtype for x in steps] == [x.dtype for x in batch]
    net = d2l.BERTModel(len(data.vocab), 16, 16, 2, 1, 0.0, max_len=32)
    for arrays in (batch, steps):
        *_, total = d2l._get_batch_loss_bert(net, nn.CrossEntropyLoss(), len(data.vocab), *arrays)
        assert torch.isfinite(total)


def test_transformer_encoder_block():
    """The plain formula, with and without biases; padding counts for nothing."""
    torch.manual_seed(0)
    X, lens = torch.randn(2, 5, 12), torch.tensor([3, 5])
    for use_bias in (True, False):
        block = d2l.TransformerEncoderBlock(12, 24, 3, 0.5, use_bias).eval()
        parts, trained = block.block, sum(p.numel() for p in block.parameters() if p.requires_grad)
        assert trained == 4 * 144 + 2 * 288 + 36 + 4 * 12 + (48 if use_bias else 0)
        q, k, v = (x.unflatten(-1, (3, 4)).transpose(1, 2) for x in parts.qkv(X).chunk(3, -1))
        weights = d2l.masked_softmax((q @ k.mT / 2).flatten(0, 1), lens.repeat_interleave(3))
        attended = (weights.unflatten(0, (2, 3)) @ v).transpose(1, 2).flatten(2)
        Y = parts.attention_norm(X + parts.projection(attended))
        Z = parts.output_norm(Y + parts.contraction(parts.expansion(Y).relu()))
        Z[0, 3:] = 0
        torch.testing.assert_close(block(X, lens), Z, rtol=1e-4, atol=1e-5)
        assert block(X).shape == X.shape
    assert not torch.equal(block.train()(X), block(X))  # dropout
