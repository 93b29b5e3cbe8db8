"""Errors that are also of the kind which other libraries raise there."""

from __future__ import annotations


class NotReadyError(ValueError, RuntimeError):
    """What is asked for needs something that is not there: words, above all."""


class CutShortError(ValueError, EOFError):
    """A file ends before all that it promises."""


class NotInEncodingError(UnicodeDecodeError):
    """Bytes of a file are not text in the encoding that it should have; a ValueError.

    Args:
        message: What is said of it.
        encoding, data: The name, and the bytes.
    """

    def __init__(self, message: str, encoding: str, data: bytes):
        super().__init__(encoding, data, 0, len(data), message)

    def __str__(self) -> str:
        return self.reason

    def __reduce__(self):
        return type(self), (self.reason, self.encoding, self.object)


def prefixed(place: object, error: ValueError) -> ValueError:
    """An error of the same kind, whose message begins with the place where it was found."""
    message = f"{place}: {error}"
    if isinstance(error, UnicodeDecodeError):
        return NotInEncodingError(message, error.encoding, error.object)
    return CutShortError(message) if isinstance(error, CutShortError) else ValueError(message)
