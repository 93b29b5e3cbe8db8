"""Text as a stream of token numbers, mapped from files, and windows of it.

    train.bin, val.bin   numbers alone, uint16, or uint32 for more than 65,536 tokens
    meta.json            {"vocab_size", "dtype", "train_tokens", "val_tokens", "end_id"}
    and what the tokenizer saves itself as

Folders of nanoGPT have uint16 files without meta.json, which mean 50,257 tokens; a meta.pkl is
unpickled only where that is asked for, since pickles can run anything.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lexforge._arguments import real, whole
from lexforge._files import part
from lexforge.models.gpt.files import read_tokenizer, write_tokenizer
from lexforge.text.corpus import Corpus, resolve_corpus
from lexforge.text.files import open_text
from lexforge.text.lines import read_json
from lexforge.text.tokenizers.bpe import BPETokenizer
from lexforge.text.tokenizers.characters import CharacterTokenizer
from lexforge.text.tokenizers.published import as_tokenizer
from lexforge.training.checkpoint import replacing_parts, write_json

if TYPE_CHECKING:
    from lexforge.text.tokenizers.base import Tokenizer

TRAIN, HELD_OUT, META, PICKLED_META = "train.bin", "val.bin", "meta.json", "meta.pkl"
END = "<|endoftext|>"
CHARACTERS, BPE = "characters", "bpe"  # tokenizers that are made of the corpus
GPT2_TOKENS = 50_257
_NARROW = 2**16  # tokens that uint16 numbers
_PIECE = 1 << 22  # characters encoded at a time
_SAMPLE = 1 << 20  # numbers whose content identifies a stream


def end_id(tokenizer: Tokenizer) -> int | None:
    """The number of the token that ends a text, ``<|endoftext|>`` or ``</s>``; None without."""
    for token in (END, "</s>", "<eos>"):
        if token in tokenizer.tokens:
            return list(tokenizer.tokens).index(token)
    return None


def encode_text(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The numbers of a text, int32 [n], in which nothing is a special token.

    Raises:
        ValueError: it has characters that the tokenizer does not know, and no token for these.
    """
    if isinstance(tokenizer, BPETokenizer):
        return tokenizer.encode_array(text, special=False, workers=None)
    if isinstance(tokenizer, CharacterTokenizer):
        return tokenizer.encode_array(text)
    corpus = getattr(tokenizer, "encode_corpus", None)
    numbers = tokenizer.encode(text) if corpus is None else corpus([text])[0]
    return np.asarray(numbers, np.int32)


class Stream(NamedTuple):
    """Numbers of one text after another, mapped from a file."""

    tokens: np.ndarray  # uint16 or uint32 [n]
    path: Path
    vocab_size: int

    def __len__(self) -> int:
        return len(self.tokens)

    def check(self, block_size: int) -> None:
        """ValueError unless there is a window of so many tokens and one more."""
        if len(self.tokens) <= block_size:
            raise ValueError(
                f"{self.path} must hold more than block_size = {block_size} tokens, "
                f"got {len(self.tokens)}"
            )

    def windows(self, block_size: int, count: int, *place: int) -> np.ndarray:
        """Windows drawn at random, int64 [count, block_size + 1].

        Args:
            block_size: the last of the tokens follows so many.
            place: what they are a function of: seed, step, ...

        Raises:
            ValueError: a number that is not below the size of the vocabulary.
        """
        generator = np.random.default_rng([number % 2**64 for number in place])
        starts = generator.integers(0, len(self.tokens) - block_size, count)
        tokens = self.tokens.view(np.ndarray)  # a memmap's own indexing takes most of the time
        found = tokens[starts[:, None] + np.arange(block_size + 1)].astype(np.int64)
        if (largest := int(found.max(initial=0))) >= self.vocab_size:
            raise ValueError(
                f"{self.path} must hold numbers below vocab_size = {self.vocab_size}, got {largest}"
            )
        return found

    def identity(self) -> dict[str, Any]:
        """Its length, and a hash of its beginning and end."""
        ends = (self.tokens[:_SAMPLE], self.tokens[-_SAMPLE:])
        digest = hashlib.sha1(usedforsecurity=False)
        for each in ends:
            digest.update(each.astype(np.uint32).data)
        return {"tokens": len(self.tokens), "sha1": digest.hexdigest()}


@dataclass(frozen=True)
class GPTData:
    """What :func:`prepare` wrote.

    Attributes:
        folder: where it lies.
        vocab_size: V, numbers are below it.
        train, held_out: streams; the second may be empty.
        tokenizer: None where the folder has none.
    """

    folder: Path
    vocab_size: int
    train: Stream
    held_out: Stream
    tokenizer: Tokenizer | None

    @classmethod
    def open(cls, folder: str | os.PathLike, *, pickled_meta: bool = False) -> GPTData:
        """Map the files of a folder.

        Args:
            folder: written by :func:`prepare`, or by nanoGPT.
            pickled_meta: unpickle nanoGPT's meta.pkl for the characters; it can run anything, so
                only for files that one trusts.

        Raises:
            FileNotFoundError: there is no train.bin. ValueError: files that do not fit one
            another.
        """
        folder = Path(folder)
        if not part(folder, TRAIN).is_file():
            raise FileNotFoundError(f"{folder} must hold {TRAIN}: see lexforge gpt prepare")
        meta, tokenizer = _read_meta(folder, pickled_meta)
        dtype = np.dtype({"uint16": "<u2", "uint32": "<u4"}[meta["dtype"]])
        size = meta["vocab_size"]
        train = _map(part(folder, TRAIN), dtype, size, meta.get("train_tokens"))
        held_out = _map(part(folder, HELD_OUT), dtype, size, meta.get("val_tokens"))
        return cls(folder, size, train, held_out, tokenizer)

    def __repr__(self) -> str:
        return (
            f"GPTData({self.folder}, {self.vocab_size:,} tokens in the vocabulary, "
            f"{len(self.train):,} to train on, {len(self.held_out):,} held out)"
        )


def _read_meta(folder: Path, pickled_meta: bool) -> tuple[dict[str, Any], Tokenizer | None]:
    path = part(folder, META)
    if path.is_file():
        meta = read_json(path)
        if meta.get("dtype") not in ("uint16", "uint32"):
            raise ValueError(f"{path}: dtype must be uint16 or uint32, got {meta.get('dtype')!r}")
        for name, low in (("vocab_size", 1), ("train_tokens", 0), ("val_tokens", 0)):
            try:
                whole(f"{path}", name, meta.get(name), low)
            except TypeError as error:
                raise ValueError(str(error)) from None
        tokenizer = read_tokenizer(folder)
        if tokenizer is not None and len(tokenizer) > meta["vocab_size"]:
            raise ValueError(
                f"{path}: vocab_size must be at least {len(tokenizer)}, the tokens of the "
                f"tokenizer beside it, got {meta['vocab_size']}"
            )
        return meta, tokenizer
    meta = {"vocab_size": GPT2_TOKENS, "dtype": "uint16"}
    path = part(folder, PICKLED_META)
    if not path.is_file():
        return meta, read_tokenizer(folder)
    if not pickled_meta:
        raise ValueError(
            f"{path} is a pickle, which can run anything: say --pickled-meta if you trust it, or "
            "prepare the text anew"
        )
    with open(path, "rb") as file:
        found = pickle.load(file)
    try:
        characters = [found["itos"][number] for number in range(found["vocab_size"])]
        tokenizer = CharacterTokenizer(characters)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: must hold vocab_size and itos: {error!r}") from None
    return meta | {"vocab_size": len(tokenizer)}, tokenizer


def _map(path: Path, dtype: np.dtype, vocab_size: int, count: int | None) -> Stream:
    if not path.is_file() or not path.stat().st_size:
        tokens = np.empty(0, dtype)
    elif path.stat().st_size % dtype.itemsize:
        raise ValueError(f"{path} must hold whole {dtype.name} numbers: it is damaged")
    else:
        tokens = np.memmap(path, dtype, "r")
    if count is not None and len(tokens) != count:
        raise ValueError(f"{path} must hold {count} tokens, as {META} says, got {len(tokens)}")
    return Stream(tokens, path, vocab_size)


def prepare(
    corpus: Any,
    out: str | os.PathLike,
    *,
    tokenizer: Tokenizer | str | os.PathLike = CHARACTERS,
    vocab_size: int = 8000,
    eval_share: float = 0.1,
    separator: str | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    overwrite: bool = False,
) -> GPTData:
    """Number the tokens of a text, and keep them as a folder to train from.

    The last share of the text is held out. A file is a text of its own; where the tokenizer has an
    end token, it follows every text.

    Args:
        corpus: as in ``text.resolve_corpus``; files as they are, white space and all.
        out: the folder.
        tokenizer: ``"characters"``: those of the corpus, ascending; ``"bpe"``: byte pairs trained
            on the part that is trained on, with ``<|endoftext|>`` as 0; a folder with a
            tokenizer; or one, of transformers or tokenizers too.
        vocab_size: tokens of ``"bpe"``.
        eval_share: of the characters, 0 to 1.
        separator: texts of a file are told apart by it, such as ``"<|endoftext|>"``.
        encoding, errors: of the files, as in ``text.resolve_corpus``.
        overwrite: replace what `out` holds.

    Returns:
        The data, mapped.

    Raises:
        FileExistsError: `out` holds data, and `overwrite` is not set.
        FileNotFoundError: no such corpus. ValueError: it is empty; an argument out of range;
        characters that the tokenizer does not know.
    """
    out = Path(out)
    eval_share = real("prepare", "eval_share", eval_share, high=1)
    vocab_size = whole("prepare", "vocab_size", vocab_size)
    if separator is not None and not separator:
        raise ValueError("prepare: separator must not be empty")
    if part(out, TRAIN).exists() and not overwrite:
        raise FileExistsError(f"{out} holds data: overwrite it, or choose another folder")
    texts = read_texts(resolve_corpus(corpus, encoding=encoding, errors=errors), separator)
    train, held_out = split_texts(texts, eval_share)
    made = _tokenizer_for(tokenizer, train, held_out, vocab_size)
    end = end_id(made)
    narrow = len(made) <= _NARROW
    dtype = np.dtype("<u2" if narrow else "<u4")
    with replacing_parts(out) as folder:
        counts = {}
        for name, key, some in ((TRAIN, "train_tokens", train), (HELD_OUT, "val_tokens", held_out)):
            with open(folder / name, "wb") as file:
                counts[key] = sum(
                    file.write(numbers.astype(dtype).data) // dtype.itemsize
                    for numbers in _numbers(made, some, end)
                )
        about = {"format_version": 1, "vocab_size": len(made)}
        dtype_name = "uint16" if narrow else "uint32"
        write_json(folder / META, {**about, "dtype": dtype_name, **counts, "end_id": end})
        write_tokenizer(folder, made)
    return GPTData.open(out)


def read_texts(corpus: Corpus, separator: str | None = None) -> list[str]:
    """The texts of a corpus: its files, or their parts between separators; none is empty.

    Raises:
        ValueError: there is none; a file is no text; a corpus of sentences.
    """
    if corpus.sentences is not None:
        raise ValueError("prepare: corpus must be files, got sentences")
    texts = []
    for path in corpus.paths:
        with open_text(path, corpus.encoding, corpus.errors) as (file, _):
            content = file.read()
        try:
            text = content.decode(errors="strict" if corpus.errors == "strict" else "replace")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: invalid UTF-8 at byte {error.start}") from None
        pieces = [text] if separator is None else text.split(separator)
        texts += [piece for piece in pieces if piece]
    if not texts:
        raise ValueError(f"prepare: corpus must have text, got none in {corpus.name}")
    return texts


def split_texts(texts: Sequence[str], share: float) -> tuple[list[str], list[str]]:
    """Texts, and the last share of their characters; the one at the border is cut."""
    left = int(sum(map(len, texts)) * (1 - share))
    first: list[str] = []
    for number, text in enumerate(texts):
        if len(text) > left:
            return [*first, text[:left]] if left else first, [text[left:], *texts[number + 1 :]]
        first.append(text)
        left -= len(text)
    return first, []


def _tokenizer_for(
    tokenizer: Any, train: Sequence[str], held_out: Sequence[str], vocab_size: int
) -> Tokenizer:
    if isinstance(tokenizer, str) and tokenizer == CHARACTERS:
        characters: set[str] = set().union(*train, *held_out)
        return CharacterTokenizer(sorted(characters))
    if isinstance(tokenizer, str) and tokenizer == BPE:
        lines = (line for text in train for line in text.splitlines(keepends=True))
        return BPETokenizer.train_from_iterator(lines, vocab_size, special_tokens=[END])
    if isinstance(tokenizer, (str, os.PathLike)):
        if not Path(tokenizer).is_dir():
            raise ValueError(
                f"prepare: tokenizer must be {CHARACTERS!r}, {BPE!r}, a folder with one or a "
                f"tokenizer, got {os.fspath(tokenizer)!r}"
            )
        found = read_tokenizer(tokenizer)
        if found is None:
            raise FileNotFoundError(f"{os.fspath(tokenizer)}: holds no tokenizer")
        return found
    return as_tokenizer(tokenizer)


def _numbers(tokenizer: Tokenizer, texts: Iterable[str], end: int | None) -> Iterator[np.ndarray]:
    for text in texts:
        # Characters stand for themselves; other tokens may reach over any border.
        step = _PIECE if isinstance(tokenizer, CharacterTokenizer) else max(len(text), 1)
        for begin in range(0, len(text), step):
            yield encode_text(tokenizer, text[begin : begin + step])
        if end is not None:
            yield np.array([end], np.int32)
