"""The reference text's names and figures (word2vec, BERT)."""

from __future__ import annotations

import collections
import math
import re
import statistics

import numpy as np
import pytest
import torch
from torch import nn

from lexforge import d2l

SENTENCES = [
    "he is an old worker",
    "english is a useful tool",
    "the cinema is far away",
]


def test_vocab_order():
    """Descending frequency, ties by first appearance, after <unk> and the reserved tokens."""
    vocab = d2l.Vocab(d2l.tokenize(SENTENCES))
    words = [
        "is",
        "he",
        "an",
        "old",
        "worker",
        "english",
        "a",
        "useful",
        "tool",
        "the",
        "cinema",
        "far",
        "away",
    ]
    assert vocab.idx_to_token == ["<unk>", *words]
    encoded = [[i - 1 for i in vocab[line]] for line in d2l.tokenize(SENTENCES)]
    assert encoded == [[1, 0, 2, 3, 4], [5, 0, 6, 7, 8], [9, 10, 0, 11, 12]]
    assert vocab.unk == 0 and vocab["zebra"] == 0 and len(vocab) == 14
    assert vocab.to_tokens([1, 2]) == ["is", "he"] and vocab.to_tokens(3) == "an"
    assert vocab.token_freqs[0] == ("is", 3)
    reserved = d2l.Vocab(["b", "a", "b"], reserved_tokens=["<pad>"])
    assert reserved.idx_to_token == ["<unk>", "<pad>", "b", "a"]
    ordered = d2l.Vocab(["b", "a", "b", "c"], order=sorted("abc"))
    assert ordered.idx_to_token == ["<unk>", "a", "b", "c"]
    assert d2l.Vocab([["x", "y"], ["y"]], min_freq=2).idx_to_token == ["<unk>", "y"]
    assert len(d2l.Vocab()) == 1


def test_tokenize_and_truncate_pad():
    assert d2l.tokenize(["ab c"]) == [["ab", "c"]]
    assert d2l.tokenize(["ab c"], "char") == [["a", "b", " ", "c"]]
    with pytest.raises(ValueError, match="token must be"):
        d2l.tokenize([], "sentence")
    rows = [d2l.truncate_pad(list(range(n)), 5, 12) for n in (5, 3, 4)]
    assert torch.tensor(rows).shape == (3, 5) and rows[1] == [0, 1, 2, 12, 12]
    assert d2l.truncate_pad([1, 2, 3], 2, 0) == [1, 2]


def test_checksums():
    """The text's SHA-1 sums; one of its prints lacks a digit."""
    assert d2l.DATA_HUB["ptb"][1] == "319d85e578af0cdc590547f26231e4e31cdf1e42"
    assert d2l.DATA_HUB["glove.6b.50d"][1] == "0b8703943ccdb6eb788e6f091b8946e82231bc4d"
    assert d2l.DATA_HUB["glove.6b.100d"][1] == "cd43bfb07e44e6f27cbcc7bc9ae3d80284fdaf5a"
    assert d2l.DATA_HUB["glove.42b.300d"][1] == "b5116e234e9eb9076672cfeabf5469f3eec904fa"
    assert d2l.DATA_HUB["wiki.en"][1] == "c1816da3821ae9f43899be655002f6c723e91b88"
    assert all(len(sha1) == 40 for _, sha1 in d2l.DATA_HUB.values())
    with pytest.raises(KeyError, match="name must be one of"):
        d2l.download("ptbx")


def test_download_extract(tmp_path, monkeypatch):
    """Downloads are checked, kept and unpacked; a wrong sum leaves nothing behind."""
    import hashlib
    import zipfile

    archive = tmp_path / "there" / "tiny.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("tiny/vec.txt", "a 1 2\nb 3 4\n")
    sha1 = hashlib.sha1(archive.read_bytes()).hexdigest()
    monkeypatch.setenv("LEXFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(d2l.DATA_HUB, "tiny", (archive.as_uri(), sha1))
    assert (d2l.download_extract("tiny") / "vec.txt").read_text() == "a 1 2\nb 3 4\n"
    assert d2l.TokenEmbedding("tiny")["b"].tolist() == [[3, 4]]
    monkeypatch.setitem(d2l.DATA_HUB, "tiny", (archive.as_uri(), "0" * 40))
    (tmp_path / "cache" / "d2l" / "tiny.zip").unlink()
    with pytest.raises(ValueError, match="sha1 must be"):
        d2l.download("tiny")
    assert not list((tmp_path / "cache" / "d2l").glob("*.zip"))
    assert not list((tmp_path / "cache" / "d2l").glob(".*"))
    monkeypatch.setitem(d2l.DATA_HUB, "gone", ((tmp_path / "gone.zip").as_uri(), sha1))
    with pytest.raises(ConnectionError, match="by hand"):
        d2l.download("gone")


@pytest.fixture(scope="module")
def ptb():
    sentences = d2l.read_ptb()
    return sentences, d2l.Vocab(sentences, min_freq=10)


@pytest.mark.real_data
def test_ptb_and_subsampling(ptb):
    sentences, vocab = ptb
    assert len(sentences) == 42069 and sentences[-1] == []
    assert len(vocab) == 6719
    kept, counter = d2l.subsample(sentences, vocab, seed=0)
    total = counter.total() if hasattr(counter, "total") else sum(counter.values())
    after = collections.Counter(token for line in kept for token in line)
    assert counter["the"] == 50770 and counter["join"] == 45 and after["join"] == 45
    expected = math.sqrt(1e-4 * total * 50770)
    sigma = math.sqrt(expected * (1 - expected / 50770))
    assert abs(after["the"] - expected) <= 4 * sigma and abs(2052 - expected) <= 4 * sigma
    corpus = [vocab[line] for line in kept]
    assert corpus[0] == [] and len(corpus) == 42069
    centers, contexts = d2l.get_centers_and_contexts(corpus, 5, seed=0)
    assert len(centers) == len(contexts)
    assert sum(map(len, contexts)) == pytest.approx(1_502_675, rel=0.01)


def test_centers_and_contexts_of_the_toy_corpus():
    corpus = [list(range(7)), list(range(7, 10))]
    seen = collections.defaultdict(set)
    for seed in range(50):
        centers, contexts = d2l.get_centers_and_contexts(corpus, 2, seed=seed)
        assert centers == list(range(10))
        for center, context in zip(centers, contexts, strict=True):
            assert context and center not in context
            assert all(abs(x - center) <= 2 and (x < 7) == (center < 7) for x in context)
            seen[center].add(tuple(context))
    assert seen[9] == {(8,), (7, 8)} and seen[0] == {(1,), (1, 2)}
    assert d2l.get_centers_and_contexts([[3], []], 2) == ([], [])
    assert d2l.get_centers_and_contexts([[3, 3]], 1) == ([3, 3], [[3], [3]])


def test_random_generator():
    """Weights 2, 3, 4 give frequencies 2/9, 3/9, 4/9, over several refills."""
    generator = d2l.RandomGenerator([2, 3, 4], seed=1)
    draws = collections.Counter(generator.draw() for _ in range(45_000))
    assert set(draws) == {1, 2, 3}
    for number, weight in ((1, 2), (2, 3), (3, 4)):
        sigma = math.sqrt(45_000 * weight / 9 * (1 - weight / 9))
        assert abs(draws[number] - 5000 * weight) <= 4 * sigma
    again = d2l.RandomGenerator([2, 3, 4], seed=1)
    assert [again.draw() for _ in range(20)] != [again.draw() for _ in range(20)]


def test_noise_probabilities():
    """Counts 10, 5, 2, 1 to the power 0.75."""
    from lexforge.ops.sampling.sampling import noise_weights

    weights = noise_weights(torch.tensor([10, 5, 2, 1]))
    expected = [0.482742, 0.287040, 0.144373, 0.085845]
    assert (weights / weights.sum()).tolist() == pytest.approx(expected, abs=1e-6)


def test_get_negatives():
    vocab = d2l.Vocab(["a"] * 10 + ["b"] * 5 + ["c"] * 2 + ["d"])
    counter = collections.Counter(dict(vocab.token_freqs))
    contexts = [[1, 2], [3], []] * 2000
    negatives = d2l.get_negatives(contexts, vocab, counter, 3, seed=0)
    assert [len(x) for x in negatives] == [3 * len(x) for x in contexts]
    assert all(not set(n) & set(c) for n, c in zip(negatives, contexts, strict=True))
    drawn = collections.Counter(n for row in negatives[1::3] for n in row)
    weights = {1: 10**0.75, 2: 5**0.75, 4: 1.0}
    assert set(drawn) == set(weights)
    for word, weight in weights.items():
        p = weight / sum(weights.values())
        assert abs(drawn[word] - 6000 * p) <= 4 * math.sqrt(6000 * p * (1 - p))
    with pytest.raises(ValueError, match="leave a noise word"):
        d2l.get_negatives([[1, 2, 3, 4]], vocab, counter, 1)


def test_batchify():
    centers, targets, masks, labels = d2l.batchify(
        [(1, [2, 2], [3, 3, 3, 3]), (1, [2, 2, 2], [3, 3])]
    )
    assert centers.tolist() == [[1], [1]]
    assert targets.tolist() == [[2, 2, 3, 3, 3, 3], [2, 2, 2, 3, 3, 0]]
    assert masks.tolist() == [[1] * 6, [1] * 5 + [0]]
    assert labels.tolist() == [[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]
    assert all(x.dtype == torch.int64 for x in (centers, targets, masks, labels))


@pytest.mark.real_data
def test_load_data_ptb():
    data, vocab = d2l.load_data_ptb(512, 5, 5)
    assert len(vocab) == 6719
    center, targets, mask, label = next(iter(data))
    assert center.shape == (512, 1) and targets.shape == mask.shape == label.shape
    assert targets.shape[0] == 512 and targets.shape[1] <= 60
    assert all(x.dtype == torch.int64 for x in (center, targets, mask, label))
    assert (targets[mask == 0] == 0).all() and not label[mask == 0].any()
    assert torch.equal(mask.sum(1), 6 * label.sum(1))
    assert (center > 0).all() and (targets[mask == 1] > 0).all()
    pairs = sum(int(batch.label.sum()) for batch in data.minibatches(data.examples(0)))
    assert pairs == pytest.approx(1_502_675, rel=0.01)


def test_skip_gram_shapes():
    embed = nn.Embedding(20, 4)
    out = d2l.skip_gram(torch.ones((2, 1)).long(), torch.ones((2, 4)).long(), embed, embed)
    assert out.shape == (2, 1, 4)
    assert torch.bmm(torch.ones(2, 1, 4), torch.ones(2, 4, 6)).shape == (2, 1, 6)


def test_sigmoid_bce_loss():
    loss = d2l.SigmoidBCELoss()
    scores = torch.tensor([[1.1, -2.2, 3.3, -4.4]] * 2)
    label = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    raw = loss(scores, label, mask)
    assert raw.tolist() == pytest.approx([0.935210, 0.923105], abs=1e-5)
    normalised = raw * mask.shape[1] / mask.sum(1)
    assert normalised.tolist() == pytest.approx([0.9352, 1.8462], abs=1e-4)
    half = torch.full((2, 4), 0.5)
    raw = loss(half, torch.tensor([[1.0, 0, 1, 0]] * 2), mask)
    assert raw.tolist() == pytest.approx([0.724077, 0.362038], abs=1e-5)
    assert loss(half, torch.tensor([[1.0, 0, 1, 0]] * 2)).tolist() == pytest.approx([0.724077] * 2)


def test_negative_log_sigmoid_figures():
    values = torch.tensor([1.1, 2.2, -3.3, 4.4, -1.1, -2.2])
    expected = [0.287335, 0.105083, 3.336219, 0.012203, 1.387335, 2.305083]
    assert (-nn.functional.logsigmoid(values)).tolist() == pytest.approx(expected, abs=1e-5)
    pair = torch.tensor([0.5, 0.2, -0.3])  # u.v = 0.5 positive, -0.2 and 0.3 negative
    assert float(-nn.functional.logsigmoid(pair).sum()) == pytest.approx(1.926571, abs=1e-5)


def toy_batches():
    """Two groups of words that keep to themselves, as minibatches."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(40):
        group = torch.randint(0, 2, (32, 1), generator=generator)
        center = 10 * group + torch.randint(0, 10, (32, 1), generator=generator)
        context = 10 * group + torch.randint(0, 10, (32, 2), generator=generator)
        noise = 10 * (1 - group) + torch.randint(0, 10, (32, 4), generator=generator)
        targets = torch.cat((context, noise), 1)
        label = torch.tensor([1, 1, 0, 0, 0, 0]).repeat(32, 1)
        batches.append((center, targets, torch.ones_like(label), label))
    return batches


def test_train_on_any_minibatches(capsys):
    """Trains an nn.Sequential in place, prints the text's line, and separates the groups."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(20, 8), nn.Embedding(20, 8))
    weights = [embedding.weight for embedding in net]
    result = d2l.train(net, toy_batches(), 0.05, 4, "cpu")
    line = capsys.readouterr().out
    assert re.fullmatch(r"loss \d\.\d{3}, \d+\.\d tokens/sec on cpu\n", line)
    assert [embedding.weight for embedding in net] == weights  # the same parameters
    assert len(result.epoch_losses) == 4 and result.epoch_losses[3] < 0.1 < result.epoch_losses[0]
    assert result.loss == pytest.approx(statistics.mean(result.epoch_losses), rel=1e-6)
    assert result.tokens_per_second == pytest.approx(4 * 40 * 32 / result.seconds)
    assert result.pairs_per_second == pytest.approx(6 * result.tokens_per_second)
    assert len(result.animator.X[0]) == 4 * 5
    vectors = nn.functional.normalize(net[0].weight.detach(), dim=1)
    similarity = vectors @ vectors.T
    assert similarity[:10, :10].mean() > 0.5 > -0.2 > similarity[:10, 10:].mean()


def test_train_equals_plain_torch(capsys):
    """The same weights as the text's own loop with dense Adam, to rounding."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(20, 8), nn.Embedding(20, 8))
    torch.manual_seed(1)
    d2l.train(net, toy_batches()[:10], 0.01, 2, "cpu")
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Embedding(20, 8), nn.Embedding(20, 8))
    torch.manual_seed(1)
    for embedding in plain:
        nn.init.xavier_uniform_(embedding.weight)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    loss = d2l.SigmoidBCELoss()
    for _ in range(2):
        for center, targets, mask, label in toy_batches()[:10]:
            optimizer.zero_grad()
            scores = d2l.skip_gram(center, targets, plain[0], plain[1]).squeeze(1)
            (loss(scores, label, mask) / mask.sum(1) * mask.shape[1]).sum().backward()
            optimizer.step()
    for ours, theirs in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.fixture
def one_thread():
    """Thousands of short steps: on a busy machine threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.real_data
def test_ptb_run(one_thread):
    """Run A of the text: loss in its band, and neighbours of "chip"."""
    torch.manual_seed(0)
    data, vocab = d2l.load_data_ptb(512, 5, 5, static_samples=True)
    net = nn.Sequential(nn.Embedding(len(vocab), 100), nn.Embedding(len(vocab), 100))
    result = d2l.train(net, data, 0.002, 5)
    assert 0.40 <= result.loss <= 0.42
    found = [token for token, _ in d2l.get_similar_tokens("chip", 5, net[0], vocab)]
    assert {"intel", "microprocessor"} & set(found)


@pytest.fixture
def embedding(tmp_path):
    rows = {"man": [1, 0, 0], "woman": [1, 1, 0], "son": [0, 0, 1], "daughter": [0, 1, 1],
            "boy": [0, 0.1, 1], "zero": [0, 0, 0]}  # fmt: skip
    lines = "".join(f"{word} {' '.join(map(str, row))}\n" for word, row in rows.items())
    (tmp_path / "vec.txt").write_text("6 3\n" + lines)
    return d2l.TokenEmbedding(tmp_path)


def test_token_embedding(embedding):
    assert len(embedding) == 7 and embedding.idx_to_token[0] == "<unk>"
    assert embedding.token_to_idx["man"] == 1
    assert embedding[["woman", "nobody"]].tolist() == [[1, 1, 0], [0, 0, 0]]


@pytest.mark.real_data
def test_token_embedding_of_a_real_file(data_folder):
    embedding = d2l.TokenEmbedding(data_folder / "formats" / "glove.6B.50d.head.txt")
    assert embedding.idx_to_token[:3] == ["<unk>", "the", ","]
    assert embedding["the"][0, :2].tolist() == pytest.approx([0.418, 0.24968])
    assert embedding.idx_to_vec.shape[1] == 50


def test_get_similar_tokens(embedding, capsys):
    """Without the query; printed as the text prints it; unknown words are an error, not NaN."""
    found = d2l.get_similar_tokens("son", 2, embedding)
    assert [token for token, _ in found] == ["boy", "daughter"]
    assert capsys.readouterr().out.splitlines()[1] == "cosine sim=0.707: daughter"
    with pytest.raises(KeyError, match="nobody"):
        d2l.get_similar_tokens("nobody", 2, embedding)
    vocab = d2l.Vocab(["a", "b", "c"])
    net = nn.Embedding.from_pretrained(torch.tensor([[0.0, 0], [1, 0], [1, 0.1], [0, 1]]))
    assert d2l.get_similar_tokens("a", 1, net, vocab)[0][0] == "b"
    with pytest.raises(ValueError, match="vocab must be given"):
        d2l.get_similar_tokens("a", 1, net)


def test_get_analogy(embedding):
    assert d2l.get_analogy("man", "woman", "son", embedding) == "daughter"
    # b - a + c of three equal words is that word: excluded unless asked for.
    assert d2l.get_analogy("son", "son", "son", embedding) == "boy"
    assert d2l.get_analogy("son", "son", "son", embedding, exclude=False) == "son"
    with pytest.raises(KeyError, match="queen"):
        d2l.get_analogy("man", "queen", "son", embedding)


def test_knn_with_duplicates_and_zeros():
    """A row equal to an excluded one is found; zero rows have cosine 0, never NaN."""
    W = torch.tensor([[1.0, 0], [1, 0], [0, 0], [-1, 0]])
    rows, scores = d2l.knn(W, W[0], 3, exclude=[0])
    assert rows.tolist() == [1, 2, 3] and scores == pytest.approx([1, 0, -1])
    _, scores = d2l.knn(W, W[2], 4)
    assert scores == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_embeddings_of_two_bytes_are_searched(dtype, capsys):
    vocab = d2l.Vocab(["a", "b", "c", "d"])
    vectors = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1], [-1, 1]])
    net = nn.Embedding.from_pretrained(vectors).to(dtype)
    assert d2l.get_similar_tokens("b", 2, net, vocab) == [
        ("a", pytest.approx(0.5**0.5)),
        ("c", pytest.approx(0.5**0.5)),
    ]
    assert d2l.get_analogy("a", "b", "a", net, vocab) == "c"
    assert capsys.readouterr().out.count("0.707") == 2


def test_timer_and_accumulator():
    timer = d2l.Timer()
    assert timer.stop() >= 0 and timer.avg() == timer.sum() == timer.cumsum()[0]
    timer.start()
    timer.stop()
    assert len(timer.times) == 2 and timer.cumsum()[1] == pytest.approx(timer.sum())
    metric = d2l.Accumulator(2)
    metric.add(1, torch.tensor(2.5))
    metric.add(1, 1)
    assert metric.data == [2.0, 3.5] and metric[1] == 3.5
    metric.reset()
    assert metric.data == [0.0, 0.0]
    with pytest.raises(ValueError, match="must be 2 numbers"):
        metric.add(1)


def test_animator(tmp_path, capsys):
    animator = d2l.Animator(xlabel="epoch", legend=["loss", "acc"], verbose=True)
    animator.add(1, (0.5, None))
    animator.add(2, (0.25, 0.75))
    assert animator.X == [[1.0, 2.0], [2.0]] and animator.Y == [[0.5, 0.25], [0.75]]
    assert (
        capsys.readouterr().out == "epoch 1.00: loss 0.5000\nepoch 2.00: loss 0.2500, acc 0.7500\n"
    )
    with pytest.raises(ValueError, match="file must be a path"):
        animator.save()
    pytest.importorskip("matplotlib")
    animator.save(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 1000


def test_devices_and_workers():
    assert d2l.try_gpu(1000) == torch.device("cpu")
    assert d2l.try_all_gpus()  # never empty
    assert 0 <= d2l.get_dataloader_workers() <= 4


def test_load_array_and_accuracy():
    X, y = torch.randn(10, 3), torch.arange(10) % 3
    batches = list(d2l.load_array((X, y), 4, is_train=False))
    assert [len(a) for a, _ in batches] == [4, 4, 2] and torch.equal(batches[0][0], X[:4])
    y_hat = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert d2l.accuracy(y_hat, torch.tensor([1, 1, 1])) == 2
    net = nn.Sequential(nn.Dropout(0.9), nn.Linear(3, 3, bias=False))
    net[1].weight.data.copy_(torch.eye(3))
    eye = torch.eye(3).repeat(4, 1)
    value = d2l.evaluate_accuracy_gpu(net, d2l.load_array((eye, torch.arange(12) % 3), 5))
    assert value == 1.0 and not net.training


def test_length_histogram():
    first, second, edges = d2l.show_list_len_pair_hist(
        ["a", "b"], "tokens", "count", [[1], [1, 2]], [[1] * 11]
    )
    assert first.sum() == 2 and second.sum() == 1
    assert edges[0] == 1 and edges[-1] == 11 and len(edges) == 11
    assert np.argmax(second) == 9


def test_get_tokens_and_segments():
    tokens, segments = d2l.get_tokens_and_segments(["a", "crane", "is", "flying"])
    assert tokens == ["<cls>", "a", "crane", "is", "flying", "<sep>"] and segments == [0] * 6
    tokens, segments = d2l.get_tokens_and_segments(
        ["a", "crane", "driver", "came"], ["he", "just", "left"]
    )
    assert len(tokens) == 10 and tokens[6:] == ["he", "just", "left", "<sep>"]
    assert segments == [0] * 6 + [1] * 4


def test_masked_softmax():
    scores = torch.arange(4.0).repeat(2, 1, 1)
    kept = scores.clone()
    probabilities = d2l.masked_softmax(scores, torch.tensor([2, 3]))
    expected = [[0.268941, 0.731059, 0, 0], [0.090031, 0.244728, 0.665241, 0]]
    assert torch.allclose(probabilities, torch.tensor(expected)[:, None], atol=1e-6)
    assert torch.equal(scores, kept)
    by_query = d2l.masked_softmax(scores.expand(2, 2, 4), torch.tensor([[2, 3], [0, 4]]))
    assert torch.allclose(by_query[0], torch.tensor(expected), atol=1e-6)
    assert not by_query[1, 0].any()
    assert torch.allclose(by_query[1, 1], scores[0, 0].softmax(0))
    assert torch.isfinite(d2l.masked_softmax(scores.half(), torch.tensor([1, 4]))).all()
    assert torch.equal(d2l.masked_softmax(scores, None), scores.softmax(-1))
    with pytest.raises(ValueError, match=r"must be \[B, Q, K\] and \[B\] or \[B, Q\], got"):
        d2l.masked_softmax(scores, torch.tensor([1, 2, 3]))


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_bert_encoder_shape_and_parameters():
    encoder = d2l.BERTEncoder(10000, 768, 1024, 4, 2, 0.2)
    assert count(encoder) == 16_329_728
    tokens = torch.randint(10000, (2, 8))
    segments = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1]])
    encoded = encoder(tokens, segments, None)
    assert encoded.shape == (2, 8, 768)
    mlm = d2l.MaskLM(10000, 768)
    logits = mlm(encoded, torch.tensor([[1, 5, 2], [6, 1, 5]]))
    assert logits.shape == (2, 3, 10000)
    labels = torch.tensor([[7, 8, 9], [10, 20, 30]])
    loss = nn.CrossEntropyLoss(reduction="none")
    assert loss(logits.reshape(-1, 10000), labels.reshape(-1)).shape == (6,)
    # The rows of the logits are those of the positions, in their order.
    alone = mlm(encoded, torch.tensor([[2], [5]]))
    assert torch.allclose(alone[0, 0], logits[0, 2], atol=1e-5)
    assert torch.allclose(alone[1, 0], logits[1, 2], atol=1e-5)
    nsp = d2l.NextSentencePred()
    pairs = nsp(torch.flatten(encoded, start_dim=1))
    assert pairs.shape == (2, 2) and loss(pairs, torch.tensor([0, 1])).shape == (2,)
    assert d2l.NextSentencePred(16)(torch.zeros(3, 16)).shape == (3, 2)


def test_bert_model_parameters_and_padding():
    net = d2l.BERTModel(20256, 128, 256, 2, 2, 0.2)
    parts = [count(x) for x in (net.encoder, net.mlm, net.hidden, net.nsp)]
    assert parts == [2_985_984, 2_629_792, 16_512, 258] and count(net) == 5_632_546
    net.eval()
    tokens = torch.randint(20256, (2, 8))
    segments = torch.zeros_like(tokens)
    encoded, mlm, nsp = net(tokens, segments, torch.tensor([8.0, 5.0]), torch.tensor([[1], [4]]))
    assert encoded.shape == (2, 8, 128) and mlm.shape == (2, 1, 20256) and nsp.shape == (2, 2)
    alone = net(tokens[1:, :5], segments[1:, :5])
    assert alone[1] is None
    assert torch.allclose(encoded[1, :5], alone[0][0], atol=1e-5) and not encoded[1, 5:].any()
    assert torch.allclose(nsp[1], alone[2][0], atol=1e-5)


def test_messages_name_what_was_called():
    shape = {"num_hiddens": 8, "ffn_num_hiddens": 8, "num_heads": 2}
    encoder = d2l.BERTEncoder(10, **shape, num_blks=1, dropout=0.0, max_len=4)
    model = d2l.BERTModel(10, **shape, num_blks=1, dropout=0.0, max_len=4)
    block = d2l.TransformerEncoderBlock(**shape, dropout=0.0)
    tokens = torch.ones(2, 5, dtype=torch.int64)
    for net in (encoder, model):
        with pytest.raises(ValueError, match=f"{type(net).__name__}: S must be at most"):
            net(tokens, torch.zeros_like(tokens), None)
        with pytest.raises(TypeError, match=f"{type(net).__name__}: tokens must be int32"):
            net(tokens.float(), torch.zeros_like(tokens), None)
    with pytest.raises(IndexError, match=f"{type(model).__name__}: pred_positions must be 0 to 3"):
        model(tokens[:, :4], None, None, tokens + 3)
    for wrong in (torch.ones(5, 8), torch.ones(2, 0, 8)):
        with pytest.raises(ValueError, match=r"TransformerEncoderBlock: X must be \[B, S, H\]"):
            block(wrong)
    with pytest.raises(ValueError, match="TransformerEncoderBlock: valid_lens must be 1 to 5"):
        block(torch.ones(2, 5, 8), torch.tensor([5, 6]))
