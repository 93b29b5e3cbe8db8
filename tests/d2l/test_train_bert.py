"""The text's BERT training, with the loss that its formula means."""

import logging
import re

import pytest
import torch
from torch import nn

from lexforge import d2l
from lexforge.models.bert.examples import BertExamples, padded, tokenize_paragraphs
from lexforge.text.tokenizers.words import WordTokenizer
from planted_paragraphs import planted_paragraphs


class Minibatches:
    """The seven arrays of a planted corpus, an epoch per iteration."""

    def __init__(self):
        paragraphs = planted_paragraphs(topics=4, paragraphs=60)
        tokenizer = WordTokenizer.build(paragraphs, min_freq=1)
        numbers = tokenize_paragraphs(paragraphs, tokenizer)
        self.examples = BertExamples(numbers, tokenizer, max_len=24)
        self.vocab_size, self.epoch = len(tokenizer), 0

    def __iter__(self):
        self.epoch += 1
        for batch in self.examples.batches(self.epoch - 1, 32):
            yield padded(batch, 24)


@pytest.fixture
def data():
    return Minibatches()


@pytest.fixture
def net(data):
    torch.manual_seed(0)
    return d2l.BERTModel(data.vocab_size, 32, 64, 2, 2, 0.0, max_len=32)


def test_weights_count():
    """Six slots of weights 1 1 0 1 0 0: the loss is that of an explicit loop over the three."""
    torch.manual_seed(1)
    logits, nsp = torch.randn(2, 3, 7), torch.randn(2, 2)
    labels = torch.tensor([[3, 1, 0], [6, 0, 0]])
    weights = torch.tensor([[1.0, 1, 0], [1, 0, 0]])
    nsp_y = torch.tensor([1, 0])

    class Net(nn.Module):
        def forward(self, *inputs):
            return None, logits, nsp

    inputs = [torch.zeros(2, 5), torch.zeros(2, 5), torch.ones(2), torch.zeros(2, 3)]
    total = sum(
        -torch.log_softmax(logits[b, p], 0)[labels[b, p]] for b, p in ((0, 0), (0, 1), (1, 0))
    )
    every = nn.functional.cross_entropy(logits.reshape(6, 7), labels.reshape(6))
    for loss in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="none")):
        arguments = (Net(), loss, 7, *inputs, weights, labels, nsp_y)
        mlm_l, nsp_l, l = d2l._get_batch_loss_bert(*arguments)
        torch.testing.assert_close(mlm_l, total / 3)
        torch.testing.assert_close(nsp_l, nn.functional.cross_entropy(nsp, nsp_y))
        torch.testing.assert_close(l, mlm_l + nsp_l)
        compat = d2l._get_batch_loss_bert(*arguments, compat=True)[0]
        torch.testing.assert_close(compat, every)
        assert abs(float(compat - mlm_l)) > 0.01
    nothing = d2l._get_batch_loss_bert(
        Net(), nn.CrossEntropyLoss(), 7, *inputs, torch.zeros(2, 3), labels, nsp_y
    )
    assert float(nothing[0]) == 0.0


def test_packed_and_padded_are_the_same(data, net):
    """The model's own losses, without padding, are those of its logits on padded batches."""

    class Padded(nn.Module):
        def forward(self, *inputs):
            return net(*inputs)

    for number, batch in zip(range(3), data, strict=False):
        packed = d2l._get_batch_loss_bert(net, nn.CrossEntropyLoss(), data.vocab_size, *batch)
        logits = d2l._get_batch_loss_bert(Padded(), nn.CrossEntropyLoss(), data.vocab_size, *batch)
        for ours, theirs in zip(packed, logits, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5, msg=str(number))
    batch[4][0, 0] = 0.5  # a weight that only the formula knows
    halves = [
        d2l._get_batch_loss_bert(model, nn.CrossEntropyLoss(), data.vocab_size, *batch)[0]
        for model in (net, Padded())
    ]
    torch.testing.assert_close(*halves)


def test_training(data, net, capsys, caplog):
    devices = d2l.try_all_gpus()
    with caplog.at_level(logging.INFO, "lexforge"):
        result = d2l.train_bert(data, net, nn.CrossEntropyLoss(), data.vocab_size, devices, 30)
    assert caplog.messages[-1].startswith("step 30/30  100%  mlm ")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"MLM loss {result.mlm_loss:.3f}, NSP loss {result.nsp_loss:.3f}"
    assert re.fullmatch(r"\d+\.\d sentence pairs/sec on \['(cpu|cuda:0.*)'.*\]", printed[1])
    assert data.epoch > 1  # more steps than minibatches: iterated again
    (steps, _), (mlm, nsp) = result.animator.X, result.animator.Y
    assert steps == list(range(1, 31)) and result.animator.legend == ["mlm", "nsp"]
    assert (mlm[-1], nsp[-1]) == (result.mlm_loss, result.nsp_loss)
    assert 3 < mlm[0] < 5 and mlm[-1] < mlm[0] and 0.4 < nsp[-1] < 1.5
    assert result.pairs_per_second > 0 and result.seconds > 0


def test_wrapped_and_in_evaluation_mode(data, net):
    wrapped = nn.DataParallel(net.eval())
    device = d2l.try_gpu()
    d2l.train_bert(data, wrapped, nn.CrossEntropyLoss(), data.vocab_size, [device], 1)
    assert net.training


def test_refusals(data, net):
    loss, device = nn.CrossEntropyLoss(), torch.device("cpu")
    with pytest.raises(ValueError, match="num_steps must be >= 1, got 0"):
        d2l.train_bert(data, net, loss, data.vocab_size, [device], 0)
    with pytest.raises(ValueError, match="train_iter must have minibatches, got none"):
        d2l.train_bert([], net, loss, data.vocab_size, [device], 1)


@pytest.mark.real_data
@pytest.mark.slow
def test_figures_of_the_text(capsys):
    """The text prints MLM 5.389 and NSP 0.773 by its own loss; three of ten slots are empty."""
    data, vocab = d2l.load_data_wiki(512, 64)
    net = d2l.BERTModel(len(vocab), 128, 256, 2, 2, 0.2)
    result = d2l.train_bert(
        data, net, nn.CrossEntropyLoss(), len(vocab), d2l.try_all_gpus(), 50, compat=True
    )
    assert 5.2 < result.mlm_loss < 6.2 and 0.68 < result.nsp_loss < 0.85
