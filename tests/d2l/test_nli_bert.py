"""The text's page on fine-tuning BERT: its cells, and its slips."""

from __future__ import annotations

import json
import re
import zipfile

import pytest
import torch
from torch import nn

from lexforge import d2l
from lexforge.training.checkpoint import CheckpointError

SPECIAL = ["<unk>", "<pad>", "<mask>", "<cls>", "<sep>"]
TOKENS = [*SPECIAL, "he", "she", "is", "good", "bad", "tall", "."]
SIZES = {"num_hiddens": 12, "ffn_num_hiddens": 20, "num_heads": 3, "num_blks": 1, "dropout": 0.3}
DEVICES = [torch.device("cpu")]
DATASET = (
    ["He is good .", "He is tall .", "She is bad ."] * 4,
    ["he is good .", "He is bad .", "she is tall ."] * 4,
    [0, 1, 2] * 4,
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A small archive of the text, in a folder of its zip."""
    path = tmp_path_factory.mktemp("archive") / "bert.tiny.torch.zip"
    model = d2l.BERTModel(len(TOKENS), 12, 20, 3, 1, 0.2, max_len=16)
    model.save_reference_archive(path, TOKENS)
    return path


@pytest.fixture
def loaded(archive):
    return d2l.load_pretrained_model(archive, **SIZES, max_len=16, devices=DEVICES)


def test_an_archive_is_loaded_as_it_was_asked_for(loaded, archive):
    """The text's own function has 4 heads, 2 blocks and a dropout of 0.2 whatever it is told."""
    bert, vocab = loaded
    assert isinstance(bert, d2l.BERTModel) and bert.training
    assert (bert.config.num_heads, bert.config.dropout) == (3, 0.3)
    assert vocab.idx_to_token == TOKENS and vocab["good"] == 8 and vocab["never"] == 0
    with zipfile.ZipFile(archive) as file, file.open("pretrained.params") as part:
        saved = torch.load(part)
    assert torch.equal(bert.encoder.position_embedding.weight, saved["encoder.pos_embedding"][0])
    unpacked = archive.with_suffix("")
    with zipfile.ZipFile(archive) as file:
        file.extractall(unpacked)
    again, _ = d2l.load_pretrained_model(unpacked, **SIZES, max_len=16, devices=DEVICES)
    for x, y in zip(bert.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hiddens": 256}, "num_hiddens must be 12, got 256"),
        ({"ffn_num_hiddens": 5}, "ffn_num_hiddens must be 20, got 5"),
        ({"num_blks": 2}, "num_blks must be 1, got 2"),
        ({"max_len": 512}, "max_len must be 16, got 512"),
        ({"num_heads": 5}, "num_heads must divide"),
    ],
)
def test_sizes_that_an_archive_does_not_have(changes, message, archive):
    sizes = {**SIZES, "max_len": 16, **changes}
    with pytest.raises(ValueError, match=message):
        d2l.load_pretrained_model(archive, **sizes, devices=DEVICES)


def test_archives_that_are_not_there(archive, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must be bert\.small, bert\.base"):
        d2l.load_pretrained_model("bert.tiny", **SIZES, max_len=16, devices=DEVICES)
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:300])
    with pytest.raises(CheckpointError):
        d2l.load_pretrained_model(tmp_path / "cut.zip", **SIZES, max_len=16, devices=DEVICES)


def test_a_named_archive_is_downloaded(archive, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "lexforge.d2l.natural_language_inference_bert.download",
        lambda name: asked.append(name) or archive,
    )
    d2l.load_pretrained_model("bert.small", **SIZES, max_len=16, devices=DEVICES)
    assert asked == ["bert.small"] and {"bert.small", "bert.base"} <= set(d2l.DATA_HUB)


def test_the_texts_own_way_of_loading(archive, tmp_path):
    """Its cell makes an empty vocabulary and a model, and fills both."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path)
    vocab = d2l.Vocab()
    vocab.idx_to_token = json.loads((tmp_path / "vocab.json").read_text())
    vocab.token_to_idx = {token: idx for idx, token in enumerate(vocab.idx_to_token)}
    bert = d2l.BERTModel(
        len(vocab), 12, ffn_num_hiddens=20, num_heads=3, num_blks=1, dropout=0.2, max_len=16
    )
    state = torch.load(tmp_path / "pretrained.params")
    assert str(bert.load_state_dict(state)) == "<All keys matched successfully>"
    expected, _ = d2l.load_pretrained_model(archive, **SIZES, max_len=16, devices=DEVICES)
    for x, y in zip(bert.state_dict().values(), expected.state_dict().values(), strict=True):
        assert torch.equal(x, y)
    bert.load_state_dict(expected.state_dict())  # by its own names as ever
    del state["nsp.output.bias"]
    with pytest.raises(RuntimeError, match=r"missing: nsp\.output\.bias"):
        bert.load_state_dict(state)
    assert bert.load_state_dict(state, strict=False).missing_keys == ["nsp.output.bias"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plain(premise, hypothesis, vocab, max_len):
    """The text's rows of one pair, step by step."""
    p, h = premise.lower().split(), hypothesis.lower().split()
    while len(p) + len(h) > max_len - 3:
        (p if len(p) > len(h) else h).pop()
    tokens, segments = d2l.get_tokens_and_segments(p, h)
    ids = d2l.truncate_pad(vocab[tokens], max_len, vocab["<pad>"])
    return ids, d2l.truncate_pad(segments, max_len, 0), len(tokens)


def test_dataset(loaded, capsys):
    _, vocab = loaded
    dataset = [list(DATASET[0]), list(DATASET[1]), DATASET[2]]
    dataset[0][0], dataset[1][1] = "he is " * 9, "good . " * 9
    dataset[0][2], dataset[1][2] = "he " * 9, "she is unknown " * 3
    found = d2l.SNLIBERTDataset(dataset, 12, vocab)
    assert capsys.readouterr().out == "read 12 examples\n" and len(found) == 12
    assert found.all_token_ids.dtype == found.all_segments.dtype == torch.int64
    for row, pair in enumerate(zip(*dataset[:2], strict=True)):
        (tokens, segments, length), label = found[row]
        assert (tokens.tolist(), segments.tolist(), int(length)) == plain(*pair, vocab, 12)
        assert label == dataset[2][row]
    with pytest.raises(ValueError, match="vocab must be that of the model"):
        d2l.SNLIBERTDataset(DATASET, 12)
    with pytest.raises(ValueError, match="max_len must be >= 5, got 4"):
        d2l.SNLIBERTDataset(DATASET, 4, vocab)
    with pytest.raises(ValueError, match="vocab must have <pad> <cls> <sep>, lacks <cls> <sep>"):
        d2l.SNLIBERTDataset(DATASET, 12, d2l.Vocab(["a"], reserved_tokens=["<pad>"]))


class TextsClassifier(nn.Module):
    """The text's cell."""

    def __init__(self, bert):
        super().__init__()
        self.encoder = bert.encoder
        self.hidden = bert.hidden
        self.output = nn.LazyLinear(3)

    def forward(self, inputs):
        tokens_X, segments_X, valid_lens_x = inputs
        encoded_X = self.encoder(tokens_X, segments_X, valid_lens_x)
        return self.output(self.hidden(encoded_X[:, 0, :]))


def test_both_classifiers_are_one(loaded):
    """`hidden` is dense and tanh, also for who calls it himself."""
    bert, vocab = loaded
    net, theirs = d2l.BERTClassifier(bert).eval(), TextsClassifier(bert).eval()
    (inputs, _) = next(
        iter(torch.utils.data.DataLoader(d2l.SNLIBERTDataset(DATASET, 16, vocab), 12))
    )
    theirs(inputs)
    theirs.output.load_state_dict(net.output.state_dict())
    torch.testing.assert_close(net(inputs), theirs(inputs))
    inputs[2] = inputs[2].float()  # as the text has lengths elsewhere
    torch.testing.assert_close(net(inputs), theirs([*inputs[:2], inputs[2].long()]))


@pytest.mark.parametrize("kind", [d2l.BERTClassifier, TextsClassifier])
def test_cells_run(kind, archive, capsys):
    bert, vocab = d2l.load_pretrained_model(
        archive, **{**SIZES, "dropout": 0}, max_len=16, devices=DEVICES
    )
    batch_size, max_len, num_workers = 12, 16, 0
    train_set = d2l.SNLIBERTDataset(DATASET, max_len, vocab)
    test_set = d2l.SNLIBERTDataset(DATASET, max_len, vocab)
    train_iter = torch.utils.data.DataLoader(
        train_set, batch_size, shuffle=True, num_workers=num_workers
    )
    test_iter = torch.utils.data.DataLoader(test_set, batch_size, num_workers=num_workers)
    net = kind(bert)
    lr, num_epochs = 1e-2, 30
    net(next(iter(train_iter))[0])
    trainer = torch.optim.Adam(net.parameters(), lr=lr)
    loss = nn.CrossEntropyLoss(reduction="none")
    d2l.train_ch13(net, train_iter, test_iter, loss, trainer, num_epochs, DEVICES)
    accuracy = re.search(r"test acc (\S+)", capsys.readouterr().out)
    assert accuracy is not None and float(accuracy[1]) > 0.6  # of three classes
    label, shares = d2l.predict_snli_bert(
        net, vocab, ["he", "is", "tall", "."], ["he", "is", "bad", "."]
    )
    assert label == max(shares, key=shares.get)
    assert list(shares) == ["entailment", "contradiction", "neutral"]
    assert sum(shares.values()) == pytest.approx(1)


def test_prediction_of_any_words(loaded):
    bert, vocab = loaded
    net = d2l.BERTClassifier(bert).train()
    words = ["never", "seen"] * 9
    label, shares = d2l.predict_snli_bert(net, vocab, words, ["he"], max_len=8)
    assert net.training and label in shares
    assert shares == d2l.predict_snli_bert(net, vocab, words[:4], ["he"])[1]
    with pytest.raises(TypeError, match="premise must be a list of words"):
        d2l.predict_snli_bert(net, vocab, "he is", ["he"])
    with pytest.raises(ValueError, match="hypothesis must have words"):
        d2l.predict_snli_bert(net, vocab, ["he"], [])
    with pytest.raises(ValueError, match="max_len must be >= 5"):
        d2l.predict_snli_bert(net, vocab, ["he"], ["he"], max_len=4)
