"""get_bert_encoding: the text's shapes, and a word whose vector depends on its neighbours."""

from __future__ import annotations

import pytest
import torch

import lexforge.bert
from lexforge import d2l

FLYING = ["a", "crane", "is", "flying"]
DRIVER, LEFT = ["a", "crane", "driver", "came"], ["he", "just", "left"]
RESERVED = ["<pad>", "<mask>", "<cls>", "<sep>"]


@pytest.fixture
def vocab():
    return d2l.Vocab([*FLYING, *DRIVER, *LEFT], reserved_tokens=RESERVED)


@pytest.fixture
def net(vocab, device):
    torch.manual_seed(4)
    return d2l.BERTModel(len(vocab), 32, 48, 2, 2, 0.2, max_len=12).to(device)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small model after a few steps on a small text, as it is read from its folder."""
    folder = tmp_path_factory.mktemp("crane")
    lines = [
        "a crane is flying over the lake . it is a white bird . the bird is far away",
        "a crane driver came to the house . he just left . the driver is an old worker",
        "the house is old . a bird is in the lake . he is a worker",
    ]
    (folder / "text.txt").write_text("\n".join(lines * 20) + "\n")
    lexforge.bert.pretrain(
        str(folder / "text.txt"),
        out=folder / "model",
        steps=20,
        batch_size=16,
        min_count=1,
        learning_rate=1e-3,
    )
    return lexforge.bert.BertModel.from_pretrained(folder / "model")


def test_crane(trained):
    single = d2l.get_bert_encoding(trained, FLYING)
    pair = d2l.get_bert_encoding(trained, DRIVER, LEFT)
    assert single.shape == (1, 6, 128) and single[:, 0].shape == (1, 128)
    assert pair.shape == (1, 10, 128)
    # <cls> a crane: the third token of both.
    flying, driver = single[0, 2], pair[0, 2]
    assert (flying - driver).abs().max() > 1e-2


def test_values_are_those_of_the_net(net, vocab, device):
    """In evaluation mode; the mode is restored; no gradients."""
    net.train()
    found = d2l.get_bert_encoding(net, DRIVER, LEFT, vocab=vocab)
    assert net.training and not found.requires_grad and found.device.type == device.type
    tokens, segments = d2l.get_tokens_and_segments(DRIVER, LEFT)
    net.eval()
    expected, _, _ = net(
        torch.tensor(vocab[tokens], device=device)[None],
        torch.tensor(segments, device=device)[None],
        torch.tensor([len(tokens)], device=device),
    )
    torch.testing.assert_close(found, expected)


def test_vocabulary_of_the_net(net, vocab):
    with pytest.raises(ValueError, match="vocab must be given for a net without vocabulary"):
        d2l.get_bert_encoding(net, FLYING)
    net.vocabulary = vocab.idx_to_token
    words = [*FLYING, "unheard"]
    found = d2l.get_bert_encoding(net, words)
    torch.testing.assert_close(found, d2l.get_bert_encoding(net, words, vocab=vocab))
    torch.testing.assert_close(found, d2l.get_bert_encoding(net, [*FLYING, "<unk>"]))


def test_what_is_refused(net, vocab):
    with pytest.raises(TypeError, match="must be lists of words, got a string"):
        d2l.get_bert_encoding(net, "a crane", vocab=vocab)
    with pytest.raises(TypeError, match="must be lists of words, got a string"):
        d2l.get_bert_encoding(net, FLYING, "a crane", vocab=vocab)
    with pytest.raises(ValueError, match=f"the {len(vocab)} tokens of the net, got 5"):
        d2l.get_bert_encoding(net, FLYING, vocab=d2l.Vocab([], reserved_tokens=RESERVED))
    with pytest.raises(ValueError, match="max_positions = 12, got 14"):
        d2l.get_bert_encoding(net, FLYING * 3, vocab=vocab)


@pytest.mark.real_data
@pytest.mark.slow
def test_crane_in_wikitext():
    """A short training on WikiText-2 leaves a net that knows its vocabulary, as the text has it."""
    train_iter, vocab = d2l.load_data_wiki(64, 64)
    net = d2l.BERTModel(len(vocab), 128, 256, 2, 2, 0.2)
    d2l.train_bert(train_iter, net, torch.nn.CrossEntropyLoss(), len(vocab), ["cpu"], 10)
    flying = d2l.get_bert_encoding(net, FLYING)
    driver = d2l.get_bert_encoding(net, DRIVER, LEFT)
    assert flying.shape == (1, 6, 128) and driver.shape == (1, 10, 128)
    assert (flying[0, 2] - driver[0, 2]).abs().max() > 1e-3
    torch.testing.assert_close(flying, d2l.get_bert_encoding(net, FLYING, vocab=vocab))
