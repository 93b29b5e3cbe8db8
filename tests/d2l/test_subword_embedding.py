"""Subwords and byte pair encoding with the text's figures."""

from __future__ import annotations

import string

import pytest

from lexforge import BPETokenizer, d2l

TOKENS = {"fast_": 4, "faster_": 3, "tall_": 5, "taller_": 4}
MERGES = ["t a", "ta l", "tal l", "f a", "fa s", "fas t", "e r", "er _", "tall _", "fast _"]
COUNTS = [9, 9, 9, 7, 7, 7, 7, 7, 5, 4]


def learn() -> tuple[dict[str, int], list[str], list[str]]:
    symbols = [*string.ascii_lowercase, "_", "[UNK]"]
    token_freqs = {" ".join(token): freq for token, freq in TOKENS.items()}
    merges = []
    for _ in range(10):
        pair = d2l.get_max_freq_pair(token_freqs)
        merges.append(" ".join(pair))
        token_freqs = d2l.merge_symbols(pair, token_freqs, symbols)
    return token_freqs, symbols, merges


def test_subwords():
    assert d2l.get_subwords("where", 3, 3) == ["<wh", "whe", "her", "ere", "re>", "<where>"]
    assert d2l.get_subwords("ab") == ["<ab", "ab>", "<ab>"]
    with pytest.raises(ValueError, match="min_n"):
        d2l.get_subwords("ab", 3, 2)


def test_merges_of_the_text():
    token_freqs, symbols, merges = learn()
    assert merges == MERGES
    assert list(token_freqs) == ["fast_", "fast er_", "tall_", "tall er_"]
    assert len(symbols) == 38 and symbols[28:] == [pair.replace(" ", "") for pair in MERGES]
    parts = d2l.segment_BPE(["tallest_", "fatter_", "ta-ll_"], symbols)
    assert parts == ["tall e s t _", "fa t t er_", "ta [UNK]"]


def test_only_whole_symbols_are_merged():
    symbols: list[str] = []
    assert d2l.merge_symbols(("a", "b"), {"xa b a b": 1}, symbols) == {"xa b ab": 1}
    assert symbols == ["ab"]
    with pytest.raises(ValueError, match="no token"):
        d2l.get_max_freq_pair({"a": 3})


@pytest.mark.parametrize("algorithm", ["merges", "greedy"])
def test_the_tokenizer_learns_the_same(algorithm):
    words = {token[:-1]: freq for token, freq in TOKENS.items()}
    tokenizer = BPETokenizer.train_from_counts(
        words,
        vocab_size=38,
        mode="words",
        tie_break="first",
        unk_token="[UNK]",
        end_of_word="_",
        separate_end=True,
        initial_alphabet=string.ascii_lowercase,
        algorithm=algorithm,
    )
    assert [" ".join(pair) for pair in tokenizer.merges] == MERGES
    assert tokenizer.merge_counts.tolist() == COUNTS
    assert " ".join(tokenizer.tokenize("tallest fatter")) == "tall e s t _ fa t t er_"
    assert tokenizer.decode(tokenizer.encode("fast  taller\n")) == "fast taller"
    if algorithm == "greedy":
        assert tokenizer.convert_ids_to_tokens(tokenizer.encode("ta-ll")) == ["ta", "[UNK]"]
    else:
        assert tokenizer.tokenize("ta-ll") == ["ta", "-", "l", "l", "_"]
