"""Published tokenizers: BERT's pieces, any tokenizer.json, vocabularies of one's own texts."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from lexforge.text.tokenizers.bpe import BPETokenizer
from lexforge.text.tokenizers.bpe_files import tokenizer_json
from lexforge.text.tokenizers.characters import CharacterTokenizer
from lexforge.text.tokenizers.published import (
    PublishedTokenizer,
    as_tokenizer,
    load_tokenizer,
    tokenizer_of,
    with_special_tokens,
)
from lexforge.text.tokenizers.words import WordTokenizer

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*SPECIAL, "the", "run", "##ning", "##s", "cafe", ",", "a", "[unused]"]
TEXTS = ["The café, running!", "a\x00 [MASK] runs", "", "東 the", "unknown"]


def pieces(**options):
    return PublishedTokenizer.from_pieces(PIECES, **options)


def byte_level():
    """GPT-2's kind: no unknown token, no special ones but an end."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=270, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"],
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(["the cat and the dog"] * 5, trainer)
    return tokenizer


def test_pieces():
    tokenizer = pieces()
    assert tokenizer.tokenize("The café, running!") == [
        "the",
        "cafe",
        ",",
        "run",
        "##ning",
        "[UNK]",
    ]
    assert tokenizer.encode("the runs") == [5, 6, 8]
    assert tokenizer.special_tokens == dict(
        zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True)
    )
    ids = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id)
    assert (*ids, tokenizer.mask_id) == (0, 1, 2, 3, 4)
    assert tokenizer.ordinary_ids.tolist() == list(range(5, 13))
    assert tokenizer.ordinary_ids.dtype == np.int32
    assert np.flatnonzero(tokenizer.continuing).tolist() == [7, 8]
    assert tokenizer.decode([2, 5, 6, 7, 3]) == "the running"
    assert tokenizer.decode([2, 5], skip_special_tokens=False) == "[CLS] the"
    ids, offsets = tokenizer.encode_with_offsets("Café runs")
    assert ids == [9, 6, 8] and offsets.tolist() == [[0, 4], [5, 8], [8, 9]]
    assert tokenizer.convert_tokens_to_ids(["[CLS]", "the", "no"]) == [2, 5, 1]
    assert len(tokenizer) == 13 and "WordPiece, 13 tokens" in repr(tokenizer)
    for ids in ([13], [-1]):
        with pytest.raises(IndexError, match=rf"ids must be in 0..12, got {ids[0]}"):
            tokenizer.convert_ids_to_tokens(ids)
        with pytest.raises(IndexError, match="ids must be"):
            tokenizer.decode(ids)
    with pytest.raises(ValueError, match="with half a character"):
        tokenizer.encode("\ud800")


def test_special_tokens_of_a_corpus_are_text():
    """As in transformers [MASK] is the mask, but not in what is trained on."""
    tokenizer = pieces()
    assert tokenizer.encode("the [MASK]") == [5, 4]
    assert tokenizer.encode_corpus(["the [MASK]", "runs"]) == [[5, 1, 1, 1], [6, 8]]
    assert tokenizer.encode("the [MASK]") == [5, 4]


def test_cased():
    assert pieces(lowercase=False).encode("The the") == [1, 5]
    assert pieces(settings={"do_lower_case": False}).encode("The the") == [1, 5]


@pytest.mark.parametrize("make", [pieces, lambda: PublishedTokenizer(byte_level())])
def test_save_and_load(make, tmp_path):
    tokenizer = make()
    tokenizer.save(tmp_path)
    for again in (load_tokenizer(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert isinstance(again, PublishedTokenizer) and again.tokens == tokenizer.tokens
        assert again.special_tokens == tokenizer.special_tokens
        assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(t) for t in TEXTS]
        np.testing.assert_array_equal(again.ordinary_ids, tokenizer.ordinary_ids)


def test_byte_level():
    tokenizer = as_tokenizer(byte_level())
    assert tokenizer.unk_id == -1 and tokenizer.special_tokens == {"cls": "<s>", "sep": "</s>"}
    assert tokenizer.decode(tokenizer.encode("naïve 東 the")) == "naïve 東 the"
    words = [t for t, on in zip(tokenizer.tokens, tokenizer.continuing, strict=True) if not on]
    assert all(token.startswith("Ġ") or token in ("<s>", "</s>") for token in words)
    with pytest.raises(ValueError, match=r"must hold a mask token such as \[MASK\]"):
        _ = tokenizer.mask_id
    with pytest.raises(ValueError, match="must hold '東', and has no unknown token"):
        tokenizer.convert_tokens_to_ids(["東"])


def test_special_tokens_that_are_lacking():
    """They are added behind the others, and stand around texts; what is there stays as it is."""
    complete = pieces()
    assert with_special_tokens(complete) is complete
    own = BPETokenizer.train_from_iterator(["the cat and the dog"] * 5, 270)
    text = "the dog, naïve 東"
    for given in (
        own,
        PublishedTokenizer(tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(own)))),
    ):
        made = with_special_tokens(given)
        assert made.tokens == [*given.tokens, "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
        assert made.encode(text) == own.encode(text) and made.unk_id == -1
        assert made.encode("the [MASK]")[-1] == made.mask_id == len(own) + 3
        assert made.encode_corpus(["the [MASK]"])[0] == own.encode("the [MASK]")
        assert made.decode(made.encode(text)) == text
        assert made.pad_id == len(own) and with_special_tokens(made) is made
        begins = [t for t, on in zip(made.tokens, made.continuing, strict=True) if not on]
        assert all(token[0] in "Ġ[" for token in begins)
        both = made._tokenizer.encode(text, "the")
        assert both.ids == [
            len(own) + 1,
            *own.encode(text),
            len(own) + 2,
            *own.encode("the"),
            len(own) + 2,
        ]
    named = with_special_tokens(PublishedTokenizer(byte_level()))
    assert named.special_tokens == {"pad": "[PAD]", "mask": "[MASK]", "cls": "<s>", "sep": "</s>"}
    assert len(named) == len(byte_level().get_vocab()) + 2
    unmasked = PublishedTokenizer.from_pieces(["[UNK]", "[CLS]", "[SEP]", "a"])
    assert with_special_tokens(unmasked, ("cls", "sep")) is unmasked
    assert with_special_tokens(unmasked).tokens == [*unmasked.tokens, "[PAD]", "[MASK]"]
    words = WordTokenizer([*WordTokenizer.SPECIAL_TOKENS, "a"])
    assert with_special_tokens(words) is words
    spaced = BPETokenizer.train_from_iterator(["the cat"] * 5, 20, mode="words", end_of_word="</w>")
    with pytest.raises(ValueError, match="whole words need tokens that show where a word begins"):
        _ = with_special_tokens(spaced).continuing
    greedy = BPETokenizer(own.tokens, own.merges, algorithm="greedy")
    dropping = BPETokenizer(own.tokens, own.merges, dropout=0.1)
    for wrong, message in (
        (greedy, "has no place for algorithm='greedy'"),
        (dropping, "must be without dropout, got 0.1"),
        (PublishedTokenizer(tokenizers.Tokenizer(models.BPE(dropout=0.5))), "dropout, got 0.5"),
        (CharacterTokenizer(["a"]), "must have cls and sep tokens, and CharacterTokenizer has"),
        (
            PublishedTokenizer(tokenizers.Tokenizer(models.WordLevel({"a": 1}, unk_token="a"))),
            "must be 0 to 1 for",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            with_special_tokens(wrong)


def test_byte_pairs_of_own_texts():
    texts = ["the running runner runs", "she ran, he runs 東京"] * 20
    made = PublishedTokenizer.train_byte_pairs(texts, vocab_size=270)
    assert made.kind == "BPE" and len(made) == 270 and made.unk_id == -1
    assert made.special_tokens == {
        "pad": "[PAD]", "mask": "[MASK]", "cls": "[CLS]", "sep": "[SEP]"
    }  # fmt: skip
    assert made.tokens[:4] == ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    assert made.decode(made.encode("ünseen 京")) == "ünseen 京"
    again = PublishedTokenizer.train_byte_pairs(texts, vocab_size=270)
    assert again.tokens == made.tokens
    with pytest.raises(ValueError, match="vocab_size"):
        PublishedTokenizer.train_byte_pairs(texts, vocab_size=100)


def test_special_tokens_by_their_places():
    """What a tokenizer puts around texts, truncation and padding that nobody asked for."""
    own = byte_level()
    own.post_processor = processors.TemplateProcessing(
        single="</s> $A <s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    own.enable_truncation(3)
    own.enable_padding()
    tokenizer = PublishedTokenizer(own)
    assert tokenizer.special_tokens == {"cls": "</s>", "sep": "<s>"}
    assert len(tokenizer.encode("xyzxyz")) == 6
    assert own.truncation is not None
    named = PublishedTokenizer(own, special_tokens={"mask": "a"})
    assert named.mask_id == own.token_to_id("a")
    for special, message in (({"mask": "xx"}, r"lacks \['xx'\]"), ({"bos": "a"}, r"got \['bos'\]")):
        with pytest.raises(ValueError, match=message):
            PublishedTokenizer(own, special_tokens=special)


def test_numbers_without_tokens(tmp_path):
    """Of a vocab.txt with a token twice the last line counts, as in transformers."""
    (tmp_path / "vocab.txt").write_text("\n".join([*PIECES, "the", ""]))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("the") == [13] and tokenizer.tokens[5] == ""
    assert 5 not in tokenizer.ordinary_ids


def test_components_that_are_not_known_are_named(tmp_path):
    pieces().save(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    for key in ("normalizer", "pre_tokenizer", "model"):
        changed = content | {key: {"type": "Nonsense"}}
        path.write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=rf"tokenizer\.json: .* its {key} 'Nonsense' is none"):
            load_tokenizer(tmp_path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="must have a model"):
        load_tokenizer(tmp_path)


def test_a_template_that_names_other_tokens(tmp_path, capfd):
    """The library panics over it, where the first text is split."""
    pieces().save(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    del content["post_processor"]["special_tokens"]["[CLS]"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"must be a tokenizer that tokenizers .* knows"):
        load_tokenizer(tmp_path)


def test_wordpiece_vocabularies_of_own_texts():
    texts = ["the running runner runs", "she ran, he runs 東京"] * 20
    tokenizer = PublishedTokenizer.train_wordpiece(texts, vocab_size=40)
    assert tokenizer.tokens[:5] == SPECIAL and len(tokenizer) == 40
    assert "runn" in tokenizer.tokens or "run" in tokenizer.tokens
    assert tokenizer.unk_id not in tokenizer.encode("The ran, 京")
    assert PublishedTokenizer.train_wordpiece(texts, vocab_size=40).tokens == tokenizer.tokens
    assert "##," not in tokenizer.tokens and "##東" not in tokenizer.tokens
    for options, message in (
        ({"vocab_size": 10}, r"vocab_size must be at least \d+, the special tokens and the char"),
        ({"vocab_size": 0}, "vocab_size must be >= 1"),
        ({"texts": []}, "texts must have characters"),
    ):
        with pytest.raises(ValueError, match=message):
            PublishedTokenizer.train_wordpiece(**{"texts": texts, **options})


def test_words_of_own_texts(tmp_path):
    """Whole words and marks, by falling count; saved and read as any other."""
    texts = ["The café, so good!", "the film: so-so.", "THE end. [SEP]"]
    tokenizer = PublishedTokenizer.train_words(texts, min_freq=1)
    expected = ["so", "the", ".", *"!,-:[]", "café", "end", "film", "good", "sep"]
    assert tokenizer.tokens == [*SPECIAL, *expected]
    assert tokenizer.tokenize("So good, Café!") == ["so", "good", ",", "café", "!"]
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("the dog")) == ["the", "[UNK]"]
    assert tokenizer.ordinary_ids.tolist() == list(range(5, len(tokenizer)))
    assert (tokenizer.pad_id, tokenizer.unk_id) == (SPECIAL.index("[PAD]"), SPECIAL.index("[UNK]"))
    assert tokenizer.decode(tokenizer.encode("So good!")) == "so good !"
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert isinstance(again, PublishedTokenizer) and again.tokens == tokenizer.tokens
    assert again.encode("The Café") == tokenizer.encode("The Café")
    assert PublishedTokenizer.train_words(texts, min_freq=2).tokens == [*SPECIAL, *expected[:3]]
    cased = PublishedTokenizer.train_words(texts, min_freq=1, lowercase=False)
    assert {"The", "the", "THE"} <= set(cased.tokens)
    with pytest.raises(ValueError, match="no word of the texts has min_freq=9"):
        PublishedTokenizer.train_words(texts, min_freq=9)
    with pytest.raises(ValueError, match="min_freq must be >= 1"):
        PublishedTokenizer.train_words(texts, min_freq=0)


def test_vocabularies_by_their_special_tokens():
    assert isinstance(tokenizer_of(PIECES), PublishedTokenizer)
    words = [*WordTokenizer.SPECIAL_TOKENS, "a"]
    assert isinstance(tokenizer_of(words), WordTokenizer)
    assert tokenizer_of(["a", "b"]) is None and tokenizer_of([*words, "a b"]) is None


def test_what_is_no_tokenizer():
    with pytest.raises(TypeError, match="got int without tokens"):
        as_tokenizer(3)
    words = WordTokenizer([*WordTokenizer.SPECIAL_TOKENS, "a"])
    assert as_tokenizer(words) is words


@pytest.mark.interop
def test_transformers_loads_what_is_saved(tmp_path):
    transformers = pytest.importorskip("transformers")
    words = WordTokenizer.build([["He likes\u2028tea \x1fnow", "İX \x85 é"]], min_freq=1)
    for name, tokenizer in (("pieces", pieces()), ("words", words)):
        tokenizer.save(tmp_path / name)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / name)
        cls, sep = tokenizer.cls_id, tokenizer.sep_id
        for text in ("He\x1elikes \u3000 the Café, runs", "İx É", "now\ttea <b> [x]"):
            first, second = tokenizer.encode(text), tokenizer.encode("the")
            assert theirs(text)["input_ids"] == [cls, *first, sep]
            pair = theirs(text, "the")
            assert pair["input_ids"] == [cls, *first, sep, *second, sep]
            assert sum(pair["token_type_ids"]) == len(second) + 1
        assert theirs.mask_token_id == tokenizer.mask_id and len(theirs) == len(tokenizer)
        assert theirs.pad_token_id == tokenizer.pad_id
        given = as_tokenizer(theirs)
        assert given.tokens == tokenizer.tokens and given.encode("the now") == tokenizer.encode(
            "the now"
        )
    assert isinstance(load_tokenizer(tmp_path / "words"), WordTokenizer)


@pytest.mark.real_data
@pytest.mark.interop
def test_the_published_vocabulary(data_folder, tmp_path):
    """bert-base-uncased's ids of a novel, equal to those of transformers."""
    transformers = pytest.importorskip("transformers")
    vocabulary = data_folder / "tokenizers" / "bert-base-uncased-vocab.txt"
    (tmp_path / "vocab.txt").write_bytes(vocabulary.read_bytes())
    ours = load_tokenizer(tmp_path)
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path)
    lines = (data_folder / "corpora" / "timemachine.txt").read_text().splitlines()[:1500]
    assert ours.encode_corpus(lines) == theirs(lines, add_special_tokens=False)["input_ids"]
    assert (ours.cls_id, ours.mask_id, len(ours)) == (101, 103, 30522)
