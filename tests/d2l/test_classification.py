"""The text's pages on sentiment and inference: their cells, printed figures, and slips."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from lexforge import d2l

WORDS = [f"w{i}" for i in range(12)]


@pytest.fixture
def vocab():
    return d2l.Vocab([[*WORDS, "great", "bad"]], reserved_tokens=["<pad>"])


def parameters(net, without=("embedding", "constant_embedding")):
    """How many, besides the tables'."""
    named = net.named_parameters()
    return sum(p.numel() for name, p in named if name.partition(".")[0] not in without)


def data(vocab, pairs=False, size=64, length=7):
    """Texts that are 1 where "great" is in them, else 0; padded."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (size,), generator=generator)
    lens = torch.randint(2, length + 1, (size, 1), generator=generator)
    X = torch.randint(2, 14, (size, length), generator=generator)
    X[:, 0] = torch.where(y == 1, vocab["great"], vocab["bad"])
    X = X.masked_fill(torch.arange(length) >= lens, vocab["<pad>"])
    return torch.utils.data.DataLoader(
        [([x, x] if pairs else x, label) for x, label in zip(X, y, strict=True)], 16
    )


def init_weights(module):
    """The text's, of all its networks."""
    if type(module) in (nn.Linear, nn.Conv1d):
        nn.init.xavier_uniform_(module.weight)
    if type(module) is nn.LSTM:
        for param in module._flat_weights_names:
            if "weight" in param:
                nn.init.xavier_uniform_(module._parameters[param])


def test_birnn_cells_run_and_parameters_are_as_printed(vocab, capsys):
    net = d2l.BiRNN(len(vocab), 100, 100, 2)
    assert parameters(net, ("embedding", "decoder")) == 403_200
    assert sum(p.numel() for p in net.decoder.parameters()) == 802
    net = d2l.BiRNN(len(vocab), 8, 6, 2)
    net.apply(init_weights)
    net.embedding.weight.data.copy_(torch.randn(len(vocab), 8))
    net.embedding.weight.requires_grad = False
    trainer = torch.optim.Adam(net.parameters(), lr=0.01)
    loss = nn.CrossEntropyLoss(reduction="none")
    batches = data(vocab)
    found = d2l.train_ch13(net, batches, batches, loss, trainer, 6, d2l.try_all_gpus())
    assert found.test_accuracy > 0.9
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"loss {found.loss:.3f}, train acc {found.train_accuracy:.3f}, test a")
    assert "examples/sec on [" in second
    assert "examples/s" in found._repr_html_() and len(found.animator.Y[2]) == 6
    assert d2l.predict_sentiment(net, vocab, "great w3 w4") == "positive"
    assert d2l.predict_sentiment(net, vocab, "bad w3 w4") == "negative"
    with pytest.raises(ValueError, match="sequence must have words, got none"):
        d2l.predict_sentiment(net, vocab, " ")


def test_textcnn_cells_run_and_parameters_are_as_printed(vocab):
    net = d2l.TextCNN(len(vocab), 100, [3, 4, 5], [100, 100, 100])
    assert parameters(net, ("embedding", "constant_embedding", "decoder")) == 240_300
    assert sum(p.numel() for p in net.decoder.parameters()) == 602
    net = d2l.TextCNN(len(vocab), 8, [2, 3], [6, 6])
    net.apply(init_weights)
    embeds = torch.randn(len(vocab), 8)
    net.embedding.weight.data.copy_(embeds)
    net.constant_embedding.weight.data.copy_(embeds)
    net.constant_embedding.weight.requires_grad = False
    trainer = torch.optim.Adam(net.parameters(), lr=0.02)
    batches = data(vocab)
    loss = nn.CrossEntropyLoss(reduction="none")
    found = d2l.train_ch13(net, batches, batches, loss, trainer, 6, d2l.try_all_gpus())
    assert found.test_accuracy > 0.9
    assert torch.equal(net.constant_embedding.weight, embeds)
    assert net.training is False  # as evaluation leaves it
    net.train()
    assert {d2l.predict_sentiment(net, vocab, "great w1") for _ in range(20)} == {"positive"}
    assert net.training


def test_decomposable_attention_cells_run_and_parameters_are_as_printed(vocab):
    net = d2l.DecomposableAttention(vocab, 100, 200)
    parts = [sum(p.numel() for p in part.parameters()) for part in list(net.children())[1:]]
    assert parts == [60_400, 80_400, 121_003]
    net = d2l.DecomposableAttention(vocab, 8, 32, 8, 16, 64)
    net.embedding.weight.data.copy_(torch.randn(len(vocab), 8))
    trainer = torch.optim.Adam(net.parameters(), lr=0.01)
    batches = data(vocab, pairs=True)
    loss = nn.CrossEntropyLoss(reduction="none")
    found = d2l.train_ch13(net, batches, batches, loss, trainer, 12, d2l.try_all_gpus())
    assert found.test_accuracy > 0.9
    assert d2l.predict_snli(net, vocab, ["great", "w2"], ["w2", "great"]) == "contradiction"
    assert d2l.predict_snli(net, vocab, ["bad", "w2"], ["w2", "bad"]) == "entailment"
    with pytest.raises(TypeError, match="premise must be a list of words"):
        d2l.predict_snli(net, vocab, "great", ["great"])
    with pytest.raises(ValueError, match="hypothesis must have words"):
        d2l.predict_snli(net, vocab, ["great"], [])
    with pytest.raises(ValueError, match=r"must be \(8, 16, 20\)"):
        d2l.DecomposableAttention(vocab, 8, 10)


def longer(X, padding=1, by=3):
    return functional.pad(X, (0, by), value=padding)


@pytest.mark.parametrize("name", ["birnn", "textcnn", "decomposable"])
def test_padding_changes_nothing_unless_asked_for(name, vocab):
    def build(compat):
        torch.manual_seed(0)
        if name == "birnn":
            return d2l.BiRNN(len(vocab), 5, 4, 1, compat=compat).eval()
        if name == "textcnn":
            pool = "avg" if compat else "max"
            return d2l.TextCNN(len(vocab), 5, [2, 3], [3, 4], pool=pool).eval()
        return d2l.DecomposableAttention(vocab, 5, 4, 5, 10, 8, compat=compat).eval()

    X = torch.tensor([[3, 4, 5, 6, 1, 1], [7, 2, 1, 1, 1, 1], [2, 3, 4, 5, 6, 7]])
    Y = torch.tensor([[3, 1], [5, 6], [9, 1]])
    short, long = ([X, Y], [longer(X), longer(Y)]) if name == "decomposable" else (X, longer(X))
    torch.testing.assert_close(build(False)(short), build(False)(long))
    assert not torch.allclose(build(True)(short), build(True)(long))


def test_compat_is_what_the_text_computes(vocab):
    torch.manual_seed(0)
    X = torch.tensor([[3, 4, 5, 1, 1], [7, 2, 6, 8, 1]])
    net = d2l.BiRNN(len(vocab), 5, 4, 2, compat=True)
    outputs, _ = net.encoder(net.embedding(X.T))
    expected = net.decoder(torch.cat((outputs[0], outputs[-1]), dim=1))
    torch.testing.assert_close(net(X), expected)

    net = d2l.TextCNN(len(vocab), 5, [2, 3], [3, 4], pool="avg").eval()
    embeddings = torch.cat((net.embedding(X), net.constant_embedding(X)), dim=2).permute(0, 2, 1)
    pooled = [functional.relu(conv(embeddings).mean(dim=2)) for conv in net.convs]
    torch.testing.assert_close(net(X), net.decoder(torch.cat(pooled, dim=1)))

    net = d2l.DecomposableAttention(vocab, 5, 4, 5, 10, 8, compat=True).eval()
    Y = torch.tensor([[3, 1], [5, 6]])
    attend, compare, aggregate = d2l.Attend(5, 4), d2l.Compare(10, 4), d2l.Aggregate(8, 4, 3)
    for part, own in ((attend, net.attend), (compare, net.compare), (aggregate, net.aggregate)):
        part.load_state_dict(own.state_dict())
        part.eval()
    A, B = net.embedding(X), net.embedding(Y)
    beta, alpha = attend(A, B)
    assert beta.shape == A.shape and alpha.shape == B.shape
    torch.testing.assert_close(net([X, Y]), aggregate(*compare(A, B, beta, alpha)))


def test_mlp_is_the_texts():
    layers = [type(layer).__name__ for layer in d2l.mlp(4, 3, flatten=True)]
    assert layers == ["Dropout", "Linear", "ReLU", "Flatten"] * 2
    assert [type(layer).__name__ for layer in d2l.mlp(4, 3, False)] == layers[:3] * 2
    assert d2l.mlp(4, 3, True)(torch.ones(2, 4)).shape == (2, 3)


def test_train_ch13_says_what_it_needs(vocab):
    net = d2l.BiRNN(len(vocab), 5, 4, 1)
    trainer = torch.optim.Adam(net.parameters())
    loss = nn.CrossEntropyLoss(reduction="none")
    with pytest.raises(ValueError, match="num_epochs must be >= 1, got 0"):
        d2l.train_ch13(net, data(vocab), data(vocab), loss, trainer, 0)
    with pytest.raises(ValueError, match="train_iter must have minibatches, got none"):
        d2l.train_ch13(net, [], [], loss, trainer, 1)
    X, y = next(iter(data(vocab)))
    total, hits = d2l.train_batch_ch13(net, X, y, loss, trainer, d2l.try_all_gpus())
    assert total.shape == () and hits == int(hits)
    with pytest.raises(ValueError, match=r"tokens must be \[B, S\], got \(7,\)"):
        net(X[0])
    with pytest.raises(TypeError, match="tokens must be int32 or int64"):
        net(X.float())
