"""Subwords and byte pair encoding, as the text has them.

`lexforge.BPETokenizer` does the same faster, and for any text.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Sequence

Pair = tuple[str, str]


def get_subwords(word: str, min_n: int = 3, max_n: int = 6) -> list[str]:
    """The subwords of a word: its n-grams between ``<`` and ``>``, shorter ones first, and it all.

    Example:
        >>> get_subwords("where", 3, 3)
        ['<wh', 'whe', 'her', 'ere', 're>', '<where>']
    """
    if not 1 <= min_n <= max_n:
        raise ValueError(f"get_subwords: must be 1 <= min_n <= max_n, got {min_n} and {max_n}")
    whole = f"<{word}>"
    grams = [whole[i : i + n] for n in range(min_n, max_n + 1) for i in range(len(whole) - n + 1)]
    return list(dict.fromkeys([*grams, whole]))


def get_max_freq_pair(token_freqs: dict[str, int]) -> Pair:
    """The most frequent pair of neighbouring symbols; of equals the one that is met first.

    Args:
        token_freqs: how often each token comes; its symbols have spaces between them.

    Raises:
        ValueError: no token has two symbols.
    """
    pairs: collections.Counter[Pair] = collections.Counter()
    for token, freq in token_freqs.items():
        symbols = token.split()
        for pair in itertools.pairwise(symbols):
            pairs[pair] += freq
    if not pairs:
        raise ValueError("get_max_freq_pair: no token has two symbols that could be merged")
    return max(pairs, key=pairs.__getitem__)


def merge_symbols(
    max_freq_pair: Pair, token_freqs: dict[str, int], symbols: list[str]
) -> dict[str, int]:
    """Appends the pair's symbol to `symbols`, and joins the pair wherever it is in the tokens.

    Only whole symbols are joined; the text's string replacement also joined the end of one with
    the beginning of another.

    Returns:
        The new `token_freqs`, in the same order.
    """
    left, right = max_freq_pair
    symbols.append(left + right)
    merged: dict[str, int] = {}
    for token, freq in token_freqs.items():
        before, after = token.split(), []
        while before:
            wide = before[:2] == [left, right]
            after.append(left + right if wide else before[0])
            del before[: 2 if wide else 1]
        merged[" ".join(after)] = freq
    return merged


def segment_BPE(tokens: Iterable[str], symbols: Sequence[str]) -> list[str]:  # noqa: N802
    """Each token as the longest symbols from the left, with spaces between.

    Where no symbol fits, the rest of the token is ``[UNK]``.
    """
    known = frozenset(symbols)
    longest = max(map(len, known), default=0)
    outputs = []
    for token in tokens:
        parts, start = [], 0
        while start < len(token):
            ends = range(min(len(token), start + longest), start, -1)
            end = next((end for end in ends if token[start:end] in known), None)
            if end is None:
                parts.append("[UNK]")
                break
            parts.append(token[start:end])
            start = end
        outputs.append(" ".join(parts))
    return outputs
