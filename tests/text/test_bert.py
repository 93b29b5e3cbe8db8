"""Paragraphs, the word tokenizer, and batches as the reference text pads them."""

from __future__ import annotations

import gzip
import json
import lzma

import numpy as np
import pytest
import torch

from lexforge import d2l
from lexforge.models.bert.examples import (
    BertExamples,
    PackedBatch,
    TokenizedParagraphs,
    padded,
    prediction_count,
    read_paragraphs,
    tokenize_paragraphs,
)
from lexforge.text.tokenizers.words import WordTokenizer

TEXT = """
 = A Title =
 The first sentence , it is short . A second one . Σίσυφος and ÉTÉ .
 only one sentence .
 One that ends in a space . \n
 x . y"""
PARAGRAPHS = [
    ["the first sentence , it is short", "a second one", "σίσυφος and été ."],
    ["one that ends in a space ."],
    ["x", "y"],
]


# Paragraphs


def test_paragraphs_are_lines_of_two_sentences(tmp_path):
    path = tmp_path / "text"
    path.write_text(TEXT, encoding="utf-8")
    assert read_paragraphs(path) == PARAGRAPHS
    assert read_paragraphs(path, lowercase=False)[0][2] == "Σίσυφος and ÉTÉ ."


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_compressed_files(tmp_path, suffix, opener):
    path = tmp_path / f"text{suffix}"
    with opener(path, "wb") as file:
        file.write(b"\xef\xbb\xbf" + TEXT.encode().lstrip())
    assert read_paragraphs(str(path)) == PARAGRAPHS
    assert read_paragraphs([path, path]) == PARAGRAPHS * 2
    assert read_paragraphs(tmp_path) == PARAGRAPHS


def test_windows_line_ends_and_bad_utf8(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"A b . c \xff d\r\n\r\ne . F\r\n")
    assert read_paragraphs(path) == [["a b", "c \ufffd d"], ["e", "f"]]


def test_paragraphs_of_an_iterable():
    paragraphs = [["He is here", ["She", "is", "there"]], ("Alone",)]
    assert read_paragraphs(paragraphs) == [["he is here", "she is there"], ["alone"]]
    with pytest.raises(TypeError, match="more than once, got a generator"):
        read_paragraphs(p for p in paragraphs)
    with pytest.raises(TypeError, match="a paragraph must be a list of sentences, got int"):
        read_paragraphs([3])
    with pytest.raises(TypeError, match=r"must be a str or a list of str, got one of \[\[3, 4\]\]"):
        read_paragraphs([[[3, 4]]])


PROSE = """Mr. J. Smith came (by train). "He left!" she said. 10 more stayed.
A heading
One sentence of e.g. prose only.
Was it so? \u201cIt was.\u201d So it was ... or not\u2026 Éven now.
\u4eca\u65e5\u306f\u3002\u660e\u65e5\u306f\uff01
"""


def test_prose(tmp_path):
    path = tmp_path / "text"
    path.write_text(PROSE, encoding="utf-8")
    expected = [
        ["Mr. J. Smith came (by train).", '"He left!" she said.', "10 more stayed."],
        ["Was it so?", "\u201cIt was.\u201d", "So it was ... or not\u2026", "Éven now."],
        ["\u4eca\u65e5\u306f\u3002", "\u660e\u65e5\u306f\uff01"],
    ]
    assert read_paragraphs(path, lowercase=False) == expected
    assert read_paragraphs(path, sentences="prose")[0][1] == '"he left!" she said.'
    with pytest.raises(ValueError, match="got none"):
        read_paragraphs(path, sentences="spaced")
    # As many lines of either kind are lines of WikiText, whose others are left out.
    path.write_text("One. Two.\nOne . Two .\n")
    assert read_paragraphs(path) == [["one", "two ."]]
    assert read_paragraphs(path, sentences="prose") == [["one.", "two."], ["one .", "two ."]]
    with pytest.raises(ValueError, match="sentences must be one of auto, spaced, prose, got 'x'"):
        read_paragraphs(path, sentences="x")


def test_a_corpus_without_pairs(tmp_path):
    path = tmp_path / "text"
    for text in ("", "one line\nanother .\n", "it ends in a space . \n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"must have a paragraph of two sentences.*got none"):
            read_paragraphs(path)
    with pytest.raises(ValueError, match="sentences must have a paragraph of two sentences"):
        read_paragraphs([["one"], ["two"]])
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        read_paragraphs(tmp_path / "nothing")


def test_tokenized_paragraphs_leave_out_what_is_empty():
    arrays = TokenizedParagraphs.from_lists([[[1, 2], [], [3]], [[]], [], [[4]]])
    assert arrays.tokens.tolist() == [1, 2, 3, 4]
    assert arrays.sentences.tolist() == [0, 2, 3, 4]
    assert arrays.paragraphs.tolist() == [0, 2, 3]
    assert [a.dtype for a in arrays] == [np.int32, np.int64, np.int64]
    same = TokenizedParagraphs.from_lists([[np.array([1, 2]), torch.tensor([3])], [(4,)]])
    assert all(map(np.array_equal, arrays, same))
    with pytest.raises(TypeError, match="float"):
        TokenizedParagraphs.from_lists([[[1.5]]])
    with pytest.raises(ValueError, match="tokens must fit 32 bits"):
        TokenizedParagraphs.from_lists([[[2**31]]])


# Tokenizer


def test_vocabulary_order():
    """<unk>, the reserved tokens, then falling counts, ties by first appearance."""
    tokenizer = WordTokenizer.build([["b a", "a c b <unk> <pad>"], ["C d"]], min_freq=1)
    assert tokenizer.tokens == [*WordTokenizer.SPECIAL_TOKENS, "b", "a", "c", "d"]
    assert tokenizer.tokens[:5] == ["<unk>", "<pad>", "<mask>", "<cls>", "<sep>"]
    assert (tokenizer.unk_id, tokenizer.pad_id, tokenizer.mask_id) == (0, 1, 2)
    assert (tokenizer.cls_id, tokenizer.sep_id, len(tokenizer)) == (3, 4, 9)
    assert tokenizer.ordinary_ids.tolist() == [5, 6, 7, 8]
    assert tokenizer.ordinary_ids.dtype == np.int32
    assert WordTokenizer.build([["b a", "a c b"], ["C d"]], min_freq=2).tokens[5:] == [*"bac"]


def test_vocabulary_is_that_of_the_text():
    paragraphs = [["the cat sat", "the dog sat on a mat"], ["a b c the <unk>", "b b"]]
    words = [sentence.split() for paragraph in paragraphs for sentence in paragraph]
    for min_freq in (1, 2, 3):
        vocab = d2l.Vocab(words, min_freq, ["<pad>", "<mask>", "<cls>", "<sep>"])
        tokenizer = WordTokenizer.build(paragraphs, min_freq=min_freq)
        assert tokenizer.tokens == vocab.idx_to_token


def test_encode_and_convert():
    tokenizer = WordTokenizer.build([["he is here", "she is there"]], min_freq=1)
    ids = tokenizer.encode(" She\tIS  not <cls> here <unk>\n")
    assert tokenizer.convert_ids_to_tokens(ids) == ["she", "is", "<unk>", "<unk>", "here", "<unk>"]
    assert tokenizer.encode("") == []
    assert tokenizer.tokenize("She is not") == ["she", "is", "not"]
    # Asked for by name, special tokens have their numbers.
    assert tokenizer.convert_tokens_to_ids(["<cls>", "he", "nobody"]) == [
        3,
        tokenizer.index["he"],
        0,
    ]
    assert tokenizer.convert_ids_to_tokens(torch.tensor([3, 4])) == ["<cls>", "<sep>"]
    for bad in (-1, len(tokenizer)):
        with pytest.raises(IndexError, match=rf"ids must be in 0\.\.9?\d, got {bad}"):
            tokenizer.convert_ids_to_tokens([bad])


@pytest.mark.parametrize("lowercase", [True, False])
def test_save_and_load(tmp_path, lowercase):
    tokenizer = WordTokenizer.build([["Été is 中", 'x y \\ "']], min_freq=1, lowercase=lowercase)
    tokenizer.save(tmp_path / "a" / "b")
    folder = tmp_path / "a" / "b"
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    assert lines == [*tokenizer.tokens, ""]
    assert json.loads((folder / "vocab.json").read_bytes()) == tokenizer.tokens
    assert sorted(p.name for p in folder.iterdir()) == [
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    ]
    for gone in (None, "vocab.txt"):
        if gone:
            (folder / gone).unlink()
        loaded = WordTokenizer.load(folder)
        assert (loaded.tokens, loaded.lowercase) == (tokenizer.tokens, lowercase)
        assert loaded.encode("Été") == tokenizer.encode("Été")


def test_load_refuses_what_is_not_a_word_vocabulary(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds neither vocab\.txt nor vocab\.json"):
        WordTokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"vocab\.json .* must be a JSON array, got dict"):
        WordTokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text('["a", 1]')
    with pytest.raises(ValueError, match=r"vocab\.json: must be an array of strings"):
        WordTokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\nthe\n")
    with pytest.raises(ValueError, match=r"vocab\.txt: WordTokenizer: tokens must include <unk>"):
        WordTokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match=r"vocab\.txt: line 1 must be text in UTF-8"):
        WordTokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(ValueError, match="must be WordTokenizer, got 'BertTokenizer'"):
        WordTokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json is .* must be JSON"):
        WordTokenizer.load(tmp_path)


def test_bad_vocabularies(tmp_path):
    special = WordTokenizer.SPECIAL_TOKENS
    with pytest.raises(ValueError, match="tokens must be distinct, got 'a' twice"):
        WordTokenizer([*special, "a", "b", "a"])
    with pytest.raises(ValueError, match="got none of <mask> <sep>"):
        WordTokenizer(["<unk>", "<pad>", "<cls>", "a"])
    with pytest.raises(ValueError, match="min_freq must be >= 1, got 0"):
        WordTokenizer.build([["a", "b"]], min_freq=0)
    with pytest.raises(
        ValueError, match=r"no word has min_freq=5 occurrences.* largest count is 2"
    ):
        WordTokenizer.build([["a a", "b"]])
    for token in ("two words", "", "line\n"):
        with pytest.raises(ValueError, match="tokens must be words without white space"):
            WordTokenizer([*special, token]).save(tmp_path / "none")
    assert not (tmp_path / "none").exists()


# Batches


def batch_of_three() -> PackedBatch:
    return PackedBatch(
        tokens=torch.tensor([3, 7, 4, 2, 4, 3, 2, 9, 2, 4, 8, 4, 3, 5, 4, 6, 4]).int(),
        segments=torch.tensor([0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1]).int(),
        positions=torch.tensor([*range(5), *range(7), *range(5)]).int(),
        cu_seqlens=torch.tensor([0, 5, 12, 17]).int(),
        max_seqlen=7,
        prediction_index=torch.tensor([3, 6, 8, 13]),
        labels=torch.tensor([5, 6, 7, -100]),
        next_labels=torch.tensor([1, 0, 1]),
    )


def test_padded_by_hand():
    tokens, segments, lens, positions, weights, labels, is_next = padded(batch_of_three(), 10)
    assert tokens.tolist() == [
        [3, 7, 4, 2, 4, 1, 1, 1, 1, 1],
        [3, 2, 9, 2, 4, 8, 4, 1, 1, 1],
        [3, 5, 4, 6, 4, 1, 1, 1, 1, 1],
    ]
    assert segments.tolist() == [
        [0, 0, 0, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 1, 0, 0, 0, 0, 0],
    ]
    assert lens.tolist() == [5, 7, 5]
    assert positions.tolist() == [[3, 0], [1, 3], [1, 0]]
    assert weights.tolist() == [[1, 0], [1, 1], [0, 0]]  # -100 is nothing to be predicted
    assert labels.tolist() == [[5, 0], [6, 7], [0, 0]]
    assert is_next.tolist() == [1, 0, 1]
    assert padded(batch_of_three(), 10, pad_id=0)[0][0].tolist() == [3, 7, 4, 2, 4, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="padded: max_len must be >= 7, got 6"):
        padded(batch_of_three(), 6)


def test_batches_move(device):
    batch = batch_of_three()
    moved = batch.to(device)
    assert moved.num_sequences == 3 and moved.max_seqlen == 7
    for before, after in zip(batch, moved, strict=True):
        if torch.is_tensor(before):
            assert after.device.type == device.type and torch.equal(before, after.cpu())
    assert torch.equal(padded(moved, 10)[0].cpu(), padded(batch, 10)[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pinned_batches():
    paragraphs = [["a b", "c d"], ["e", "f"]]
    tokenizer = WordTokenizer.build(paragraphs, min_freq=1)
    examples = BertExamples(tokenize_paragraphs(paragraphs, tokenizer), tokenizer)
    for batch in examples.batches(0, 1, pin_memory=True):
        assert all(part.is_pinned() for part in batch if torch.is_tensor(part))
        assert torch.equal(batch.to("cuda", non_blocking=True).tokens.cpu(), batch.tokens)


def test_padded_equals_a_loop():
    words = [f"w{i}" for i in range(40)]
    generator = np.random.default_rng(0)
    paragraphs = [
        [" ".join(generator.choice(words, generator.integers(1, 20))) for _ in range(4)]
        for _ in range(30)
    ]
    tokenizer = WordTokenizer.build(paragraphs, min_freq=1)
    examples = BertExamples(tokenize_paragraphs(paragraphs, tokenizer), tokenizer, max_len=32)
    batch = examples.batch(0, 50, 0)
    rows = padded(batch, 32)
    predictions = 0
    for b in range(50):
        begin, end = batch.cu_seqlens[b : b + 2].tolist()
        tokens, segments, length, positions, weights, labels, _ = (row[b] for row in rows)
        assert length == end - begin
        assert tokens[:length].tolist() == batch.tokens[begin:end].tolist()
        assert (tokens[length:] == tokenizer.pad_id).all() and (segments[length:] == 0).all()
        assert segments[:length].tolist() == batch.segments[begin:end].tolist()
        count = prediction_count(int(length))
        chosen = slice(predictions, predictions + count)
        assert (positions[:count] + begin).tolist() == batch.prediction_index[chosen].tolist()
        assert labels[:count].tolist() == batch.labels[chosen].tolist()
        assert weights.tolist() == [1] * count + [0] * (len(weights) - count)
        assert not positions[count:].any() and not labels[count:].any()
        predictions += count
    assert predictions == len(batch.labels)


# The reference text's loader


@pytest.mark.real_data
def test_load_data_wiki():
    data, vocab = d2l.load_data_wiki(512, 64)
    assert len(vocab) == 20_256
    assert vocab["<unk>"] == 0 and vocab.to_tokens([1, 2, 3, 4]) == [
        "<pad>",
        "<mask>",
        "<cls>",
        "<sep>",
    ]
    batches = list(data)
    shapes = [(512, 64), (512, 64), (512,), (512, 10), (512, 10), (512, 10), (512,)]
    assert [tuple(part.shape) for part in batches[0]] == shapes
    dtypes = [part.dtype for part in batches[0]]
    assert dtypes == [torch.int64] * 4 + [torch.float32] + [torch.int64] * 2
    assert len(batches) == -(-sum(len(batch[0]) for batch in batches) // 512)
    for tokens, _, lens, positions, weights, labels, _ in batches:
        assert (tokens[:, 0] == vocab["<cls>"]).all()
        last = tokens.gather(1, lens[:, None] - 1)
        assert (last == vocab["<sep>"]).all()
        assert (positions[weights > 0] > 0).all() and (labels[weights == 0] == 0).all()
        assert weights.sum(1).long().tolist() == [prediction_count(n) for n in lens.tolist()]


@pytest.mark.real_data
def test_load_data_wiki_static_masks():
    static, _ = d2l.load_data_wiki(4096, 32, static_masks=True)
    dynamic, _ = d2l.load_data_wiki(4096, 32)

    def epoch(data):
        rows = [torch.cat([*map(torch.Tensor.double, b[:2]), b[3], b[5]], 1) for b in data]
        return sorted(map(tuple, torch.cat(rows).tolist()))

    first = epoch(static)
    assert first == epoch(static)
    assert first == epoch(dynamic) != epoch(dynamic)
