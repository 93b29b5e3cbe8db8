"""From text to words, as simply as gensim's helpers of these names do it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_LETTERS = re.compile(r"[^\W\d]+")


def to_unicode(text: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The text itself, or bytes decoded.

    Raises:
        TypeError: It is neither. UnicodeDecodeError: Bytes that are not in the encoding.
    """
    if isinstance(text, str):
        return text
    if not isinstance(text, (bytes, bytearray, memoryview)):
        raise TypeError(f"text must be str or bytes, got {type(text).__name__}")
    return str(text, encoding, errors)


def deaccent(text: str | bytes) -> str:
    """Text without accents: Šéf becomes Sef. Bytes are UTF-8."""
    apart = unicodedata.normalize("NFD", to_unicode(text))
    letters = "".join(letter for letter in apart if unicodedata.category(letter) != "Mn")
    return unicodedata.normalize("NFC", letters)


def tokenize(
    text: str | bytes,
    lowercase: bool = False,
    deacc: bool = False,
    encoding: str = "utf-8",
    errors: str = "strict",
    to_lower: bool = False,
    lower: bool = False,
) -> Iterator[str]:
    """Runs of letters and underscores, without digits.

    Args:
        text: the text; bytes are decoded by `encoding` and `errors`.
        lowercase, to_lower, lower: turn it to lower case first; one of them is enough.
        deacc: remove accents.
    """
    text = to_unicode(text, encoding, errors)
    if lowercase or to_lower or lower:
        text = text.lower()
    if deacc:
        text = deaccent(text)
    return (found.group() for found in _LETTERS.finditer(text))


def simple_preprocess(
    doc: str | bytes, deacc: bool = False, min_len: int = 2, max_len: int = 15
) -> list[str]:
    """The words of a text in lower case, those of min_len to max_len characters.

    Words are runs of letters; those that begin with an underscore are left out. Bytes that are not
    UTF-8 are dropped.

    Args:
        doc: the text.
        deacc: remove accents.

    Example:
        >>> simple_preprocess("The Šéf of 2 cafés, at 10 o'clock", deacc=True)
        ['the', 'sef', 'of', 'cafes', 'at', 'clock']
    """
    words = tokenize(doc, deacc=deacc, errors="ignore", lower=True)
    return [word for word in words if min_len <= len(word) <= max_len and word[0] != "_"]
