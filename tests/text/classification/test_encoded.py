"""EncodedTexts: the tokens of texts one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from lexforge.text import Vocabulary
from lexforge.text.classification import EncodedTexts, LabelledTexts
from lexforge.text.classification import encoded as module
from lexforge.text.tokenizers.words import WordTokenizer

TOKENIZER = WordTokenizer([*WordTokenizer.SPECIAL_TOKENS, *"abcdefgh"])  # a is 5


def listed(texts):
    return [row.tolist() for row in np.split(texts.tokens, texts.offsets[1:-1])]


def test_tokens_and_offsets(monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 2)
    texts = LabelledTexts(
        ["a b C", "", "h zz", "d", " "], labels=np.arange(5) % 2, names=("x", "y")
    )
    found = EncodedTexts.of(texts, TOKENIZER)
    assert found.tokens.dtype == np.int32 and found.offsets.dtype == np.int64
    assert listed(found) == [[5, 6, 7], [], [12, 0], [8], []]
    assert found.lengths.tolist() == [3, 0, 2, 1, 0] and len(found) == 5 and found.cut == 0
    assert found.labels is texts.labels and found.names == ("x", "y") and found.second is None
    cut = EncodedTexts.of(texts, TOKENIZER, 2)
    assert listed(cut) == [[5, 6], [], [12, 0], [8], []] and cut.cut == 1
    assert repr(cut) == "EncodedTexts(5 texts, 5 tokens, 1 cut)"
    assert EncodedTexts.of(texts[:0], TOKENIZER).offsets.tolist() == [0]


def test_pairs():
    texts = LabelledTexts(["a b c", "d"], ["e", "f g h"])
    found = EncodedTexts.of(texts, TOKENIZER, 2)
    assert listed(found) == [[5, 6], [8]] and listed(found.second) == [[9], [10, 11]]
    assert found.lengths.tolist() == [3, 3] and found.cut == 2 and found.second.cut == 1
    assert repr(found) == "EncodedTexts(2 pairs, 6 tokens, 2 cut)"


def test_words_of_a_vocabulary():
    """Unknown ones are left out: it has no number for them."""
    vocabulary = Vocabulary(["the", "Cat"], [5, 2])
    texts = LabelledTexts(["The the Cat dog", "dog"])
    assert listed(EncodedTexts.of(texts, vocabulary)) == [[0, 1], []]
    assert listed(EncodedTexts.of(texts, vocabulary, lowercase=True)) == [[0, 0], []]


def test_pairs_are_cut_as_the_text_does():
    """From the longer side, token by token."""

    def popped(first, second, max_len):
        while len(first) + len(second) > max_len:
            (first if len(first) > len(second) else second).pop()
        return first, second

    sizes = [(a, b) for a in range(8) for b in range(8)]
    texts = LabelledTexts(["a " * a for a, _ in sizes], ["b " * b for _, b in sizes])
    encoded = EncodedTexts.of(texts, TOKENIZER)
    for max_len in range(12):
        cut = encoded.cut_pairs(max_len)
        expected = [popped([5] * a, [6] * b, max_len) for a, b in sizes]
        assert list(zip(listed(cut), listed(cut.second), strict=True)) == expected
        assert cut.cut == sum(a + b > max_len for a, b in sizes)
    with pytest.raises(ValueError, match="texts must be pairs"):
        EncodedTexts.of(LabelledTexts(["a"]), TOKENIZER).cut_pairs(3)


@pytest.mark.parametrize("max_len", [0, -1])
def test_max_len(max_len):
    with pytest.raises(ValueError, match="max_len must be >= 1"):
        EncodedTexts.of(LabelledTexts(["a"]), TOKENIZER, max_len)
