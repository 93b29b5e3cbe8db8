"""Vectors of texts: values, order, shapes, what is refused."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from lexforge.bert import BertConfig, BertModel, EncodingCounts, encode
from lexforge.models.bert import encoding as bert_encoding
from lexforge.models.bert.encoding import KINDS, _cut, encode_stream
from lexforge.text.tokenizers.published import PublishedTokenizer, load_tokenizer
from lexforge.text.tokenizers.words import WordTokenizer

WORDS = [f"w{i}" for i in range(60)]
SHAPE = {"num_hiddens": 32, "ffn_num_hiddens": 48, "num_blks": 3, "max_len": 40}


@pytest.fixture(scope="module")
def tokenizer():
    return WordTokenizer([*WordTokenizer.SPECIAL_TOKENS, *WORDS])


@pytest.fixture
def model(tokenizer, device):
    return BertModel(BertConfig.reference(len(tokenizer), **SHAPE), seed=3).to(device)


def some_texts(count: int) -> list:
    """Strings and pairs of many lengths, one empty, with unknown words."""
    rng = np.random.default_rng(5)

    def words(most):
        return " ".join(rng.choice([*WORDS, "unheard"], rng.integers(0, most)))

    return [
        "",
        *(words(30) if rng.random() < 0.6 else (words(15), words(15)) for _ in range(count)),
    ]


def one_by_one(model, tokenizer, texts) -> list[list[torch.Tensor]]:
    """All layers [S, H] of each text, from batches of one."""
    results = []
    model.eval()
    for text in texts:
        a, b = text if isinstance(text, tuple) else (text, None)
        ids = [tokenizer.cls_id, *tokenizer.encode(a), tokenizer.sep_id]
        segments = [0] * len(ids)
        if b is not None:
            ids += [*tokenizer.encode(b), tokenizer.sep_id]
            segments += [1] * (len(ids) - len(segments))
        device = next(model.parameters()).device
        inputs = [
            torch.tensor(x, dtype=torch.int32, device=device)
            for x in (ids, segments, range(len(ids)), [0, len(ids)])
        ]
        with torch.no_grad():
            results.append(model.encode_packed(*inputs, len(ids), all_layers=True))
    return results


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("batches", [{}, {"batch_size": 3}])
def test_values_are_those_of_texts_alone(model, tokenizer, monkeypatch, batches):
    """In the order of the texts, in more than one window, whatever is asked for."""
    monkeypatch.setattr(bert_encoding, "WINDOW_TOKENS", 600)
    monkeypatch.setattr(bert_encoding, "BATCH_TOKENS", {"cpu": 90, "cuda": 90})
    texts = some_texts(100)
    alone = one_by_one(model, tokenizer, texts)
    layers = (0, -2, 3)
    assert len(list(encode_stream(model, tokenizer, texts, **batches))) > 2
    with torch.no_grad():
        pooled = [model.pooled(x[-1][:1])[0].cpu() for x in alone]
    close(encode(model, tokenizer, texts, **batches), torch.stack(pooled))
    for what, row in (("cls", lambda x: x[0]), ("mean", lambda x: x.mean(0))):
        expected = torch.stack([torch.stack([row(x[i]) for i in layers]) for x in alone]).cpu()
        close(encode(model, tokenizer, texts, what=what, layers=layers, **batches), expected)
        close(encode(model, tokenizer, texts, what=what, layers=-2, **batches), expected[:, 1])
    found = encode(model, tokenizer, texts, what="tokens", layers=layers, **batches)
    assert found.offsets.dtype == np.int64 and found.token_ids.dtype == np.int32
    assert found.offsets.tolist() == [0, *itertools.accumulate(len(x[0]) for x in alone)]
    for x, first, last in zip(alone, found.offsets, found.offsets[1:], strict=False):
        close(found.vectors[first:last], torch.stack([x[i] for i in layers], 1).cpu())


def test_token_ids_tell_the_tokens(model, tokenizer):
    found = encode(model, tokenizer, ["w3 unheard", ("w1", "w2")], what="tokens")
    assert tokenizer.convert_ids_to_tokens(found.token_ids) == [
        "<cls>", "w3", "<unk>", "<sep>", "<cls>", "w1", "<sep>", "w2", "<sep>"
    ]  # fmt: skip


@pytest.mark.parametrize("what", KINDS)
def test_batches_do_not_matter(model, tokenizer, what):
    texts = some_texts(60)
    first = encode(model, tokenizer, texts, what=what)
    for batch_size in (1, 7, 1000):
        other = encode(model, tokenizer, texts, what=what, batch_size=batch_size)
        if what == "tokens":
            close(other.vectors, first.vectors)
            np.testing.assert_array_equal(other.offsets, first.offsets)
        else:
            close(other, first)


def test_repeats_are_bit_identical(model, tokenizer):
    texts, before = some_texts(60), torch.get_num_threads()
    model.train()
    results = []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            results.append(encode(model, tokenizer, texts, what="mean", layers=[0, 1, 2, 3]))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(results[1], results[2])
    # The embedding and the mean are the library's own; the products in between are torch's.
    np.testing.assert_array_equal(results[0][:, 0], results[1][:, 0])


def test_words_and_ids_are_texts_too(model, tokenizer):
    text, other = "w1 w2 unheard", "w9"
    expected = encode(model, tokenizer, [text, (text, other)])
    words, ids = text.split(), tokenizer.encode(text)
    for same in (words, ids, np.array(ids), torch.tensor(ids), list(np.array(ids))):
        np.testing.assert_array_equal(
            encode(model, tokenizer, [same, (same, other.split())]), expected
        )


def test_no_texts(model, tokenizer):
    assert encode(model, tokenizer, []).shape == (0, 32)
    assert encode(model, tokenizer, iter([]), what="cls", layers=[0, 1]).shape == (0, 2, 32)
    found = encode(model, tokenizer, [], what="tokens")
    assert found.vectors.shape == (0, 32) and found.offsets.tolist() == [0]


def test_texts_are_read_as_they_are_needed(model, tokenizer, monkeypatch):
    monkeypatch.setattr(bert_encoding, "WINDOW_TOKENS", 60)
    read = []

    def texts():
        for text in ["w1", "w1 w2", "w1 w2 w3"] * 30:  # 12 tokens
            read.append(text)
            yield text

    windows = encode_stream(model, tokenizer, texts())
    assert read == []
    assert len(next(windows).vectors) == len(read) == 15
    assert [len(window.vectors) for window in windows] == [15] * 5


def test_texts_longer_than_a_batch(model, tokenizer, monkeypatch):
    monkeypatch.setattr(bert_encoding, "BATCH_TOKENS", {"cpu": 10, "cuda": 10})
    texts = ["w1", "w2 " * 30, "w3 " * 8, "w4 " * 9, ""]
    close(encode(model, tokenizer, texts), encode(model, tokenizer, texts, batch_size=1))


def test_modes_are_restored(model, tokenizer):
    model.train()
    model.encoder.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    encode(model, tokenizer, ["w1"])
    with pytest.raises(ValueError, match="at most 40 tokens"):
        encode(model, tokenizer, ["w1", "w2 " * 60])
    stream = encode_stream(model, tokenizer, ["w1", "w2", "w3"], batch_size=1)
    next(stream)
    assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_counts(model, tokenizer):
    counts = EncodingCounts()
    texts = ["w1 unheard", ("w2", "so w3"), "", "w4 " * 50]
    encode(model, tokenizer, texts, counts=counts, truncate=True, max_len=10)
    assert counts == EncodingCounts(
        texts=4, tokens=4 + 6 + 2 + 10, words=13, unknown=2, truncated=1
    )
    assert counts.unknown_share == 2 / 13
    encode(model, tokenizer, texts[:1], counts=counts)
    assert (counts.texts, counts.unknown) == (5, 3)


def test_truncation(model, tokenizer):
    long, short = " ".join(WORDS), "w7 w8"
    options = {"truncate": True, "max_len": 13}
    found = encode(model, tokenizer, [long, (long, short), (short, long), (long, long)], **options)
    cut = [" ".join(WORDS[:n]) for n in range(14)]
    same = [cut[11], (cut[8], short), (short, cut[8]), (cut[5], cut[5])]
    np.testing.assert_array_equal(found, encode(model, tokenizer, same))


def test_of_a_pair_the_longer_gives_way():
    """The same as taking one after another off the longer, as the published recipe does."""
    for left, right, room in itertools.product(range(9), range(9), range(12)):
        a, b = list(range(left)), list(range(right))
        lengths = [left, right]
        while sum(lengths) > room:
            lengths[0 if lengths[0] > lengths[1] else 1] -= 1
        assert _cut(a, b, room) == (a[: lengths[0]], b[: lengths[1]])


def test_bf16(model, tokenizer):
    texts = some_texts(30)
    exact = encode(model, tokenizer, texts, what="mean", layers=[0, -1])
    found = encode(model, tokenizer, texts, what="mean", layers=[0, -1], precision="bf16")
    assert found.dtype == np.float32 and not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, atol=0.05)


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        (["w1", "w1 " * 39], {}, ValueError, r"texts\[1\] must be at most 40 tokens .* got 41"),
        ([("w1 " * 4, "w2 " * 4)], {"max_len": 10}, ValueError, "at most 10 tokens .* got 11"),
        ([[1, 65]], {}, ValueError, r"texts\[0\] must hold ids from 0 to 64, got 65"),
        ([[1, -1]], {}, ValueError, "ids from 0 to 64, got -1"),
        ([[1, "w1"]], {}, ValueError, "ids from 0 to 64, got 'w1'"),
        ([[1, 2.0]], {}, ValueError, "ids from 0 to 64, got 2.0"),
        ([[3, 10, 4]], {}, ValueError, "without <cls> and <sep>: they are added"),
        ([["<cls>", "w1"]], {}, ValueError, "without <cls> and <sep>: they are added"),
        ([("a", "b", "c")], {}, ValueError, "a text or a pair, got 3 texts"),
        (["w1", ["w1 w2", "w3"]], {}, ValueError, r"texts\[1\] must be .* got a list with 'w1 w2'"),
        ([("w1", ["w1", "w2\tw3"])], {}, ValueError, r"a pair of texts as a tuple \(a, b\)"),
        (["w1", None], {}, TypeError, r"texts\[1\] must be a string, words or ids, got None"),
        ("w1", {}, TypeError, "an iterable of texts, got one string"),
        (["w1"], {"what": "middle"}, ValueError, "what must be one of pooled, cls"),
        (["w1"], {"what": []}, ValueError, r"what must be one of pooled, cls.* got \[\]"),
        (["w1"], {"what": ["tokens", "cls"]}, ValueError, "what must be tokens alone"),
        (["w1"], {"layers": 4}, ValueError, "layers must be -4 to 3, got 4"),
        (["w1"], {"layers": [-5], "what": "cls"}, ValueError, "layers must be -4 to 3, got -5"),
        (["w1"], {"layers": []}, ValueError, "at least one layer"),
        (["w1"], {"layers": 1.0}, TypeError, "layers must be an integer"),
        (["w1"], {"layers": (-1, -2)}, ValueError, "layers must be -1 for pooled"),
        (["w1"], {"batch_size": 0}, ValueError, "batch_size must be >= 1"),
        (["w1"], {"max_len": 41}, ValueError, "max_len must be 3 to 40"),
        (["w1"], {"max_len": 2}, ValueError, "max_len must be 3 to 40"),
        (["w1"], {"precision": "fp8"}, ValueError, "precision must be float32 or bf16"),
    ],
)
def test_what_is_refused(model, tokenizer, texts, options, error, message):
    with pytest.raises(error, match=f"^encode: .*{message}"):
        encode(model, tokenizer, texts, **options)


def test_words_with_white_space_that_the_vocabulary_holds(model):
    spaced = WordTokenizer([*WordTokenizer.SPECIAL_TOKENS, "New York"])
    counts = EncodingCounts()
    encode(model, spaced, [["New York", "York"]], counts=counts)
    assert (counts.words, counts.unknown) == (2, 1)


def test_tokenizer_of_another_model(model, tokenizer):
    larger = WordTokenizer([*tokenizer.tokens, "more"])
    with pytest.raises(ValueError, match="at most the 65 tokens of the model, got 66"):
        encode(model, larger, ["w1"])


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "run", "##ning", "\u2028"]


def test_word_pieces(tmp_path, device):
    """Texts, pieces and numbers are the same; so are the vectors."""
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES))
    pieces = load_tokenizer(tmp_path)
    assert isinstance(pieces, PublishedTokenizer) and pieces.tokens == PIECES
    model = BertModel(BertConfig.reference(8, **SHAPE), seed=1).to(device)
    texts = ["Running", [5, 6], ["run", "##ning"]]
    found = encode(model, pieces, texts, what="tokens")
    assert pieces.convert_ids_to_tokens(found.token_ids[:4]) == ["[CLS]", "run", "##ning", "[SEP]"]
    np.testing.assert_array_equal(found.vectors[:4], found.vectors[4:8])
    np.testing.assert_array_equal(found.vectors[:4], found.vectors[8:])


def test_ids_without_a_tokenizer(model, tokenizer):
    """They have all their special tokens; nothing is added."""
    expected = encode(model, tokenizer, ["w1 w2", ("w1", "w3")])
    ids = [tokenizer.convert_tokens_to_ids(["<cls>", *words.split(), "<sep>"]) for words in
           ("w1 w2", "w1")]  # fmt: skip
    second = tokenizer.convert_tokens_to_ids(["w3", "<sep>"])
    found = encode(model, None, [ids[0], (ids[1], second)])
    np.testing.assert_array_equal(found, expected)
    for texts, message in (
        (["w1"], "must be ids, since there is no tokenizer"),
        ([["w1"]], "must be ids"),
        ([[]], "must hold an id"),
        ([[65]], "must hold ids from 0 to 64, got 65"),
    ):
        with pytest.raises(ValueError, match=rf"texts\[0\] {message}"):
            encode(model, None, texts)


def test_lengths_of_one(model, tokenizer):
    texts = ["w1 w2", "w3"]
    plain = encode(model, tokenizer, texts, what="mean", layers=[0, -1])
    found = encode(model, tokenizer, texts, what="mean", layers=[0, -1], normalize=True)
    lengths = np.linalg.norm(plain, axis=-1, keepdims=True)
    np.testing.assert_allclose(found, plain / lengths, atol=1e-6)


@pytest.mark.interop
def test_text_with_a_published_tokenizer(tmp_path):
    """Raw text gives what transformers gives, with the same folder."""
    transformers = pytest.importorskip("transformers")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"theran,.",
        "##he",
        "##an",
        "##r",
        "cafe",
    ]
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=20,
    )  # fmt: skip
    other = transformers.BertModel(config).eval()
    other.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path)
    model = BertModel.from_pretrained(tmp_path, heads=False)
    texts = ["The, ran.", "Café", "the [MASK] ran", "", ("a the", "ran zebra"), "naïve \u6771"]
    found = encode(model, theirs, texts, what="tokens")
    again = encode(model, load_tokenizer(tmp_path), texts, what="tokens")
    np.testing.assert_array_equal(found.vectors, again.vectors)
    for number, text in enumerate(texts):
        pair = text if isinstance(text, tuple) else (text,)
        inputs = theirs(*pair, return_tensors="pt")
        expected = other(**inputs).last_hidden_state[0].detach()
        rows = slice(*found.offsets[number : number + 2])
        assert found.token_ids[rows].tolist() == inputs["input_ids"][0].tolist()
        np.testing.assert_allclose(found.vectors[rows], expected, atol=1e-5)


def test_vocabulary_in_a_tokenizer_file(tmp_path):
    vocab = {piece: number for number, piece in reversed(list(enumerate(PIECES)))}
    content = {"model": {"type": "WordPiece", "vocab": vocab}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert load_tokenizer(tmp_path).tokens == PIECES
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer.json is truncated or damaged"):
        load_tokenizer(tmp_path)


def test_vocabulary_without_special_tokens(tmp_path):
    (tmp_path / "vocab.txt").write_text("[CLS]\nrun\n##ning\n")
    with pytest.raises(ValueError, match=r"must hold .* lacks \['\[UNK\]', '\[SEP\]'\]"):
        load_tokenizer(tmp_path)


def test_word_tokenizers_load_as_such(tmp_path, tokenizer):
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).tokens == tokenizer.tokens


@pytest.mark.interop
def test_transformers_agrees(tmp_path, tokenizer):
    """The same weights in transformers give the same vectors: all layers, pooled, padded there."""
    transformers = pytest.importorskip("transformers")
    config = BertConfig.standard(
        len(tokenizer), hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64,
        max_positions=40,
    )  # fmt: skip
    model = BertModel(config, seed=7)
    model.save_pretrained(tmp_path)
    other = transformers.BertModel.from_pretrained(tmp_path).eval()
    texts = some_texts(20)
    found = encode(model, tokenizer, texts, what="tokens", layers=[0, 1, 2])
    pooled = encode(model, tokenizer, texts)
    for i, (first, last) in enumerate(itertools.pairwise(found.offsets)):
        ids = found.token_ids[first:last].tolist()
        after = ids.index(tokenizer.sep_id) + 1
        padding = [tokenizer.pad_id] * (40 - len(ids))
        with torch.no_grad():
            expected = other(
                torch.tensor([ids + padding]),
                attention_mask=torch.tensor([[1] * len(ids) + [0] * len(padding)]),
                token_type_ids=torch.tensor([[0] * after + [1] * (40 - after)]),
                output_hidden_states=True,
            )
        hidden = torch.stack(expected.hidden_states, 2)[0, : len(ids)]
        np.testing.assert_allclose(found.vectors[first:last], hidden, atol=1e-5)
        np.testing.assert_allclose(pooled[i], expected.pooler_output[0], atol=1e-5)
