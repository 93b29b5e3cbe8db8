"""Byte pair encoding: tokens between characters and words, learned from a corpus.

Sennrich et al. 2016; on bytes as GPT-2 has it. The work is done in csrc/text.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lexforge import _text
from lexforge._arguments import LARGEST, one_of, real, whole
from lexforge._files import replacements, replacing
from lexforge.text.corpus import Corpus, reader_options, reader_threads, resolve_corpus
from lexforge.text.lines import numbered_words, read_json, read_lines
from lexforge.text.tokenizers.bpe_files import read_tokenizer_json, tokenizer_json

Progress = Callable[[int, "int | None"], None]

TIE_BREAKS = _text.BpeTrainer.TIES
_STEP = 500  # merges between two looks at the progress
_BATCH = 1000  # texts taken from an iterable at a time
_FILE_BYTES = 1 << 25  # of a text encoded at a time
MERGES = "merges.txt"  # what GPT-2 has beside its vocab.json
_CODES_END = "</w>"  # what subword-nmt puts at the end of a word


def _byte_characters() -> list[str]:
    """The character that stands for each byte in GPT-2's files."""
    itself = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = itertools.count(256)
    return [chr(byte if byte in itself else next(others)) for byte in range(256)]


BYTE_CHARACTERS = _byte_characters()
_TO_BYTE = {ord(character): chr(byte) for byte, character in enumerate(BYTE_CHARACTERS)}


class BPETokenizer:
    """Texts as tokens by byte pair encoding, and back.

    Made by `train`, `train_from_iterator`, or from files by `from_file` and `load`.

    Args:
        tokens: distinct tokens in the order of their numbers; with ``mode="bytes"`` in GPT-2's
            characters for bytes (a space is ``Ġ``).
        merges: pairs of tokens, the first to be made first; what they make is a token too.
        mode: "bytes": text falls apart by GPT-2's pattern into rows of bytes, and every text comes
            back from its ids; "words": into words between white space, rows of characters.
        special_tokens: tokens that are found in text as they are, and are part of no other.
        unk_token: the token for characters that have none; without it they are left out.
        end_of_word: "words": what ends each word, "" for nothing.
        separate_end: whether that is a symbol of its own, as in the reference text, or part of the
            last character, as in subword-nmt.
        continuing_prefix: "words": before all characters of a word but the first.
        algorithm: "merges", or "greedy": the longest token first (the text's ``segment_BPE``).
        dropout: probability with which a merge that is due is left out for once.
        add_prefix_space: "bytes": a text without a space in front gets one.
        fuse_unk: unknown characters in a row are one token.
        ignore_merges: a word that is a token stays whole, whatever the merges.

    Attributes:
        tokens, index, merges, special_tokens: as above; `index` is a dict from token to number.
        merge_counts: how often each merge was made in training, int64 [M]; None for read ones.
        unk_id, pad_id, mask_id, cls_id, sep_id: numbers of the special tokens called so
            (``<unk>`` or ``[UNK]``, ...), -1 where there is none.
        ordinary_ids: int32 [n], ascending; all but special tokens.

    Raises:
        ValueError: a token comes twice, a merge is of or makes what is no token, a special or the
            unknown token is none.

    Example:
        >>> tokenizer = BPETokenizer.train_from_iterator(["low lower lowest"] * 9, vocab_size=300)
        >>> tokenizer.decode(tokenizer.encode("slower"))
        'slower'
    """

    def __init__(
        self,
        tokens: Iterable[str],
        merges: Iterable[tuple[str, str]],
        *,
        mode: str = "bytes",
        special_tokens: Iterable[str] = (),
        unk_token: str | None = None,
        end_of_word: str = "",
        separate_end: bool = False,
        continuing_prefix: str = "",
        algorithm: str = "merges",
        dropout: float = 0.0,
        add_prefix_space: bool = False,
        fuse_unk: bool = False,
        ignore_merges: bool = False,
    ):
        name = "BPETokenizer"
        self.tokens = list(tokens)
        self.merges = [(left, right) for left, right in merges]
        self.mode = one_of(name, "mode", mode, ("bytes", "words"))
        self.algorithm = one_of(name, "algorithm", algorithm, ("merges", "greedy"))
        self.special_tokens = list(special_tokens)
        self.unk_token, self.end_of_word, self.separate_end = unk_token, end_of_word, separate_end
        self.continuing_prefix = continuing_prefix
        self.dropout = real(name, "dropout", dropout, high=1.0)
        self.add_prefix_space, self.fuse_unk = bool(add_prefix_space), bool(fuse_unk)
        self.ignore_merges = bool(ignore_merges)
        self.merge_counts: np.ndarray | None = None
        if mode == "bytes" and (end_of_word or continuing_prefix):
            raise ValueError(f"{name}: end_of_word and continuing_prefix are of mode='words'")
        self.index = {token: number for number, token in enumerate(self.tokens)}
        if len(self.index) != len(self.tokens):
            twice = next(t for i, t in enumerate(self.tokens) if self.index[t] != i)
            raise ValueError(f"{name}: tokens must be distinct, got {twice!r} twice")
        if len(set(self.special_tokens)) != len(self.special_tokens):
            raise ValueError(f"{name}: special_tokens must be distinct, got {self.special_tokens}")
        for token in [*self.special_tokens, *([] if unk_token is None else [unk_token])]:
            if token not in self.index:
                raise ValueError(f"{name}: special token {token!r} must be one of the tokens")
        self.unk_id = self._special_id("unk") if unk_token is None else self.index[unk_token]
        self.pad_id, self.mask_id = self._special_id("pad"), self._special_id("mask")
        self.cls_id, self.sep_id = self._special_id("cls"), self._special_id("sep")
        special = sorted({self.index[token] for token in self.special_tokens})
        self.ordinary_ids = np.delete(np.arange(len(self.tokens), dtype=np.int32), special)
        self._native = _text.BpeEncoder(
            flags=[
                mode == "bytes",
                algorithm == "greedy",
                self.ignore_merges,
                self.add_prefix_space,
                self.fuse_unk,
            ],
            unknown=-1 if unk_token is None else self.unk_id,
            marks=[part.encode() for part in self._marks()],
            tokens=self._token_bytes(set(special)),
            merges=self._merge_ids(),
            special=[self.index[token] for token in self.special_tokens],
        )

    def _marks(self) -> tuple[str, str, str]:
        end = ("", self.end_of_word) if self.separate_end else (self.end_of_word, "")
        return (self.continuing_prefix, *end)

    def _special_id(self, name: str) -> int:
        known = (f"<{name}>", f"[{name.upper()}]", f"<|{name}|>")
        return next((self.index[t] for t in known if t in self.special_tokens), -1)

    def _token_bytes(self, special: set[int]) -> list[bytes]:
        if self.mode == "words":
            return [token.encode() for token in self.tokens]
        parts = []
        for number, token in enumerate(self.tokens):
            if number in special:
                parts.append(token.encode())
                continue
            try:
                parts.append(token.translate(_TO_BYTE).encode("latin-1"))
            except UnicodeEncodeError:
                # Added in other tools, and part of no merge.
                parts.append(token.encode())
        return parts

    def _merge_ids(self) -> np.ndarray:
        index, prefix = self.index, self.continuing_prefix
        triples = np.empty((len(self.merges), 3), np.int32)
        for rank, (left, right) in enumerate(self.merges):
            made = left + (right.removeprefix(prefix) if prefix else right)
            try:
                triples[rank] = index[left], index[right], index[made]
            except KeyError as error:
                raise ValueError(
                    f"BPETokenizer: merge {rank + 1}, {left!r} {right!r}, needs the token "
                    f"{error.args[0]!r}, which is not in the vocabulary"
                ) from None
        return triples

    # -- training

    @classmethod
    def train(
        cls,
        corpus,
        vocab_size: int = 30_000,
        *,
        mode: str = "bytes",
        min_frequency: int = 0,
        special_tokens: Iterable[str] = (),
        initial_alphabet: Iterable[str] | None = None,
        limit_alphabet: int | None = None,
        max_token_length: int | None = None,
        tie_break: str = "smallest_ids",
        unk_token: str | None = None,
        end_of_word: str = "",
        separate_end: bool = False,
        continuing_prefix: str = "",
        workers: int | None = None,
        progress: Callable[[str], Progress | None] | None = None,
        **settings: Any,
    ) -> BPETokenizer:
        """Learns tokens from a corpus: text files, of which each line counts by itself.

        Args:
            corpus: see `lexforge.text.resolve_corpus`; sentences, lists of words, for
                ``mode="words"`` only.
            vocab_size: tokens wanted; fewer where no pair is left.
            min_frequency: rarer pairs are not merged.
            special_tokens: get the first numbers.
            initial_alphabet: characters that are tokens in any case; for bytes the GPT-2
                characters, by default all 256.
            limit_alphabet: at most so many characters are tokens, the most frequent ones.
            max_token_length: tokens are shorter than so many characters.
            tie_break: of pairs as frequent as another: "smallest_ids" (Hugging Face), "first" (in
                the words as they stand; the reference text), "lexical", "lexical_last"
                (subword-nmt).
            workers: threads.
            progress: called with the name of each step, gives a function of (done, total).

        Raises:
            ValueError: `vocab_size` is below the alphabet; the corpus is empty.
        """
        corpus = resolve_corpus(corpus)
        if mode == "bytes" and (corpus.sentences is not None or corpus.lowercase):
            raise ValueError(
                "BPETokenizer.train: mode='bytes' reads files as they are; take mode='words' for "
                "sentences, or train_from_iterator for texts"
            )
        kind = _text.PartCounter if mode == "bytes" else _text.WordCounter
        counter = kind(**reader_options(corpus, workers))
        corpus.feed(counter, progress and progress("counting"))
        return cls._learn(counter, locals(), progress, settings)

    @classmethod
    def train_from_iterator(
        cls,
        texts: Iterable[str],
        vocab_size: int = 30_000,
        *,
        mode: str = "bytes",
        min_frequency: int = 0,
        special_tokens: Iterable[str] = (),
        initial_alphabet: Iterable[str] | None = None,
        limit_alphabet: int | None = None,
        max_token_length: int | None = None,
        tie_break: str = "smallest_ids",
        unk_token: str | None = None,
        end_of_word: str = "",
        separate_end: bool = False,
        continuing_prefix: str = "",
        workers: int | None = None,
        progress: Callable[[str], Progress | None] | None = None,
        **settings: Any,
    ) -> BPETokenizer:
        """Learns tokens from texts, each of which falls apart by itself; see `train`."""
        if isinstance(texts, (str, bytes)):
            raise TypeError("train_from_iterator: texts must be an iterable of str, got one str")
        options = {**reader_options(Corpus("texts"), workers), "errors": "replace"}
        counter = (_text.PartCounter if mode == "bytes" else _text.WordCounter)(**options)
        told, done = progress and progress("counting"), 0
        counter.begin_document("texts", framed=mode == "bytes")
        source = iter(texts)
        while batch := list(itertools.islice(source, _BATCH)):
            for text in batch:
                if not isinstance(text, str):
                    kind = type(text).__name__
                    raise TypeError(f"train_from_iterator: texts must be str, got {kind}")
            if isinstance(counter, _text.PartCounter):
                counter.feed_texts(batch)
            else:
                counter.feed("".join(f"{text}\n" for text in batch).encode())
            done += len(batch)
            if told:
                told(done, None)
        counter.end_document()
        counter.finish()
        return cls._learn(counter, locals(), progress, settings)

    @classmethod
    def train_from_counts(
        cls, counts: Mapping[str, int], vocab_size: int = 30_000, **settings: Any
    ) -> BPETokenizer:
        """Learns tokens from words and how often they come, in the mapping's order; see `train`."""
        wanted = dict.fromkeys(
            ("min_frequency", "special_tokens", "initial_alphabet", "limit_alphabet")
        )
        wanted |= dict.fromkeys(("max_token_length", "unk_token", "end_of_word"))
        wanted |= {"separate_end": False, "continuing_prefix": "", "mode": "words"}
        wanted |= {"tie_break": "smallest_ids", "vocab_size": vocab_size}
        for name in set(wanted) & set(settings):
            wanted[name] = settings.pop(name)
        words = [word.encode() for word in counts], list(counts.values())
        return cls._learn(words, wanted, None, settings)

    @classmethod
    def _learn(cls, words: Any, given: Mapping[str, Any], progress, settings) -> BPETokenizer:
        name = "BPETokenizer.train"
        mode = one_of(name, "mode", given["mode"], ("bytes", "words"))
        special = list(given["special_tokens"] or ())
        unk_token, end = given["unk_token"], given["end_of_word"] or ""
        if unk_token is not None and unk_token not in special:
            special.insert(0, unk_token)
        if len(set(special)) != len(special):
            raise ValueError(f"{name}: special_tokens must be distinct, got {special}")
        alphabet = given["initial_alphabet"]
        if alphabet is None:
            alphabet = BYTE_CHARACTERS if mode == "bytes" else ()
        try:
            alphabet = [
                letter.translate(_TO_BYTE).encode("latin-1") if mode == "bytes" else letter.encode()
                for letter in (letter[0] for letter in alphabet)
            ]
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name}: initial_alphabet must be GPT-2's characters for bytes, got "
                f"{error.object!r}"
            ) from None
        separate = bool(given["separate_end"])
        marks = (given["continuing_prefix"], *(("", end) if separate else (end, "")))
        optional = lambda key: whole(name, key, given[key]) if given[key] else LARGEST  # noqa: E731
        trainer = _text.BpeTrainer(
            bytes=mode == "bytes",
            vocab_size=whole(name, "vocab_size", given["vocab_size"], high=2**31 - 1),
            max_merges=LARGEST,
            min_frequency=whole(name, "min_frequency", given["min_frequency"] or 0, low=0),
            ties=one_of(name, "tie_break", given["tie_break"], TIE_BREAKS),
            max_token_length=optional("max_token_length"),
            limit_alphabet=optional("limit_alphabet"),
            marks=[mark.encode() for mark in marks],
            special=[token.encode() for token in special],
            alphabet=alphabet,
            words=words,
        )
        if isinstance(words, _text.WordCounter):
            words.close()  # its memory is what merging takes
        told = progress and progress("merging")
        while trainer.step(_STEP):
            if told:
                told(trainer.size, given["vocab_size"])
        symbols, triples, counts = trainer.result()
        trainer.close()
        shown = [symbol.decode() for symbol in symbols[: len(special)]]
        for symbol in symbols[len(special) :]:
            if mode == "bytes":
                shown.append("".join([BYTE_CHARACTERS[byte] for byte in symbol]))
            else:
                shown.append(symbol.decode())
        made = cls(
            shown,
            [(shown[left], shown[right]) for left, right in triples[:, :2].tolist()],
            mode=mode,
            special_tokens=special,
            unk_token=unk_token,
            end_of_word=end,
            separate_end=separate,
            continuing_prefix=given["continuing_prefix"],
            **settings,
        )
        made.merge_counts = counts
        return made

    # -- texts and ids

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"BPETokenizer({len(self):,} tokens, {len(self.merges):,} merges, {self.mode})"

    def __reduce__(self):
        return _restored, (self._state(),)

    def _state(self) -> dict[str, Any]:
        """The arguments of a tokenizer that is the same."""
        names = (
            *("tokens", "merges", "mode", "special_tokens", "unk_token", "end_of_word"),
            *("separate_end", "continuing_prefix", "algorithm", "dropout", "add_prefix_space"),
            *("fuse_unk", "ignore_merges"),
        )
        return {name: getattr(self, name) for name in names}

    def encode_array(
        self, text: str | bytes, *, special: bool = True, workers: int | None = 1, seed: int = 0
    ) -> np.ndarray:
        """The ids of a text, int32 [n].

        Args:
            text: bytes need be no UTF-8 where the mode is "bytes".
            special: find special tokens in the text; else they are text as any other.
            workers: threads; a text of some megabytes is cut where that changes nothing. None: all.
            seed: of dropout.
        """
        return self._encode(text, None, special, workers, seed)[0]

    def _encode(self, data, offsets, special, workers, seed, spans=False):
        rules = self._rules(special, workers, seed)
        return self._native.encode(data, offsets, spans=spans, **rules)

    def _rules(self, special: bool, workers: int | None, seed: int) -> dict[str, Any]:
        threads = reader_threads("encode", workers)
        return {"threads": threads, "dropout": self.dropout, "seed": seed, "special": special}

    def encode(
        self, text: str | bytes, *, special: bool = True, workers: int | None = 1, seed: int = 0
    ) -> list[int]:
        """The ids of a text; options as of `encode_array`."""
        return self._native.encode_list(text, **self._rules(special, workers, seed))

    def encode_batch(
        self,
        texts: Sequence[str | bytes],
        *,
        special: bool = True,
        workers: int | None = None,
        seed: int = 0,
    ) -> list[np.ndarray]:
        """The ids of each text, int32 [n]: views of one array. Options as of `encode_array`.

        Raises:
            TypeError: `texts` is one text.
        """
        ids, ends = self.encode_flat(texts, special=special, workers=workers, seed=seed)
        return [ids[begin:end] for begin, end in itertools.pairwise(ends.tolist())]

    def encode_flat(
        self,
        texts: Sequence[str | bytes],
        *,
        special: bool = True,
        workers: int | None = None,
        seed: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts, int32 [n], and where each text's begin, int64 [texts + 1]."""
        if isinstance(texts, (str, bytes)):
            raise TypeError("encode_batch: texts must be a sequence of texts, got one")
        encoded = [text.encode() if isinstance(text, str) else text for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        ids, ends, _ = self._encode(b"".join(encoded), offsets, special, workers, seed)
        return ids, ends

    def encode_corpus(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of many texts, in which nothing is a special token; as of `encode_batch`."""
        return self.encode_batch(texts, special=False)

    def encode_with_offsets(
        self, text: str, *, special: bool = True, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids, int32 [n], and the characters of the text that each is for, int64 [n, 2].

        Where a character has several tokens, each of them is for the whole of it.
        """
        data = text.encode()
        offsets = np.array([0, len(data)], np.int64)
        ids, _, spans = self._encode(data, offsets, special, 1, seed, spans=True)
        if len(data) != len(text):
            leads = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
            before = np.concatenate([[0], np.cumsum(leads)])  # characters that begin before a byte
            inside = ~np.concatenate([leads, [True]])  # a byte within one
            begins, ends = spans[:, 0], spans[:, 1]
            spans = np.stack([before[begins] - inside[begins], before[ends]], axis=1)
        return ids, spans

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text; where it has none, the text itself."""
        if self.unk_token is None:
            return self.convert_ids_to_tokens(self.encode_array(text))
        ids, spans = self.encode_with_offsets(text)
        return [
            self.tokens[number] if number != self.unk_id else text[begin:end]
            for number, (begin, end) in zip(ids.tolist(), spans.tolist(), strict=True)
        ]

    def decode_bytes(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> bytes:
        """The text of ids.

        Raises:
            IndexError: an id is not in 0..V-1.
        """
        numbers = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise TypeError("decode: ids must be a list of whole numbers")
        if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(self):
            wrong = numbers[(numbers < 0) | (numbers >= len(self))][0]
            raise IndexError(f"decode: ids must be in 0..{len(self) - 1}, got {wrong}")
        return self._native.decode(np.ascontiguousarray(numbers, np.int32), skip_special_tokens)

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD.

        Raises:
            IndexError: an id is not in 0..V-1.
        """
        return self.decode_bytes(ids, skip_special_tokens=skip_special_tokens).decode(
            errors="replace"
        )

    def decode_batch(self, batch: Iterable[Iterable[int]], **options: Any) -> list[str]:
        """`decode` of each."""
        return [self.decode(ids, **options) for ids in batch]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The numbers of tokens; that of the unknown token, or -1, for unknown ones."""
        return [self.index.get(token, self.unk_id) for token in tokens]

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of numbers.

        Raises:
            IndexError: a number is not in 0..V-1.
        """
        ids = [int(number) for number in ids]
        for number in ids:
            if not 0 <= number < len(self):
                raise IndexError(
                    f"convert_ids_to_tokens: ids must be in 0..{len(self) - 1}, got {number}"
                )
        return [self.tokens[number] for number in ids]

    # -- files

    def save(self, path: str | os.PathLike, *, legacy_merges: bool = False) -> None:
        """Writes tokenizer.json, to a file of that ending or into a folder.

        Args:
            legacy_merges: merges as strings, for versions of tokenizers before 0.20.

        Raises:
            ValueError: a setting that the file has no place for.
        """
        path = Path(path)
        if path.suffix != ".json":
            path.mkdir(parents=True, exist_ok=True)
            path = path / "tokenizer.json"
        content = tokenizer_json(self, legacy_merges=legacy_merges)
        with replacing(path) as file:
            file.write(json.dumps(content, ensure_ascii=False, indent=2).encode())

    def save_gpt2(self, folder: str | os.PathLike) -> None:
        """Writes vocab.json and merges.txt.

        Raises:
            ValueError: a token of a merge holds white space.
        """
        for token in itertools.chain.from_iterable(self.merges):
            if token.split() != [token]:
                raise ValueError(f"save_gpt2: tokens must be without white space, got {token!r}")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["#version: 0.2", *(f"{left} {right}" for left, right in self.merges)]
        with replacements(folder / "vocab.json", folder / MERGES) as (vocab, merges):
            vocab.write_bytes(json.dumps(self.index, ensure_ascii=False).encode())
            merges.write_bytes("".join(f"{line}\n" for line in lines).encode())

    @classmethod
    def load(cls, path: str | os.PathLike, **settings: Any) -> BPETokenizer:
        """Reads what `save` or `save_gpt2` wrote: a folder, or a tokenizer.json.

        Args:
            settings: arguments of the class that take the place of the file's.

        Raises:
            FileNotFoundError: there is none. ValueError: damaged, or with a part, which is named,
                that is not known here.
        """
        path = Path(path)
        file = path / "tokenizer.json" if path.is_dir() else path
        if file.is_file() or not path.is_dir():
            content = read_json(file)
            try:
                tokens, merges, found = read_tokenizer_json(content)
                return cls(tokens, merges, **{**found, **settings})
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{file}: {error}") from error
        for vocab, codes in (("vocab.json", MERGES), ("encoder.json", "vocab.bpe")):
            if (path / vocab).is_file() and (path / codes).is_file():
                return cls.from_file(path / vocab, path / codes, **settings)
        raise FileNotFoundError(f"{path}: holds neither tokenizer.json nor vocab.json + merges.txt")

    from_pretrained = load

    @classmethod
    def from_file(
        cls, vocab: str | os.PathLike, merges: str | os.PathLike, **settings: Any
    ) -> BPETokenizer:
        """Reads GPT-2's vocab.json and merges.txt, whatever their names.

        ``<|endoftext|>`` is a special token where it is one of the tokens.

        Raises:
            ValueError: naming the file and what is wrong in it.
        """
        tokens = numbered_words(read_json(vocab), vocab)
        settings.setdefault("special_tokens", [t for t in ("<|endoftext|>",) if t in tokens])
        try:
            return cls(tokens, read_merges(merges), **settings)
        except ValueError as error:
            raise ValueError(f"{os.fspath(merges)}: {error}") from error

    @classmethod
    def from_subword_nmt(
        cls, codes: str | os.PathLike, characters: Iterable[str] = (), **settings: Any
    ) -> BPETokenizer:
        """Reads a file of codes of subword-nmt.

        It has no numbers: the unknown token ``<unk>`` is 0, then come the characters of merges and
        of `characters`, as they are and at the end of a word, then what merges make.

        Raises:
            ValueError: a line is no pair.
        """
        lines = read_lines(codes, kind="'<left> <right>'")
        old = not (lines and lines[0].startswith("#version"))  # the end was a symbol of its own
        merges = read_merges(codes)
        letters = dict.fromkeys(characters)
        for token in itertools.chain.from_iterable(merges):
            letters.update(dict.fromkeys(token.removesuffix(_CODES_END)))
        tokens = dict.fromkeys(
            ["<unk>", *letters, *(f"{letter}{_CODES_END}" for letter in letters)]
        )
        if old:
            tokens = dict.fromkeys(["<unk>", *letters, _CODES_END])
        tokens.update(dict.fromkeys(token for pair in merges for token in (*pair, "".join(pair))))
        settings = {"unk_token": "<unk>", "special_tokens": ["<unk>"], **settings}
        settings |= {"mode": "words", "end_of_word": _CODES_END, "separate_end": old}
        return cls(tokens, merges, **settings)

    # -- long texts

    def encode_file(
        self,
        source,
        target,
        *,
        special: bool = True,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> int:
        """The ids of a file of text as a file of npy, int32 [n], a part at a time.

        Args:
            source: path, or a binary file. target: path, or a binary file that can be sought.
            progress: called with (bytes read, None).

        Returns:
            n.
        """
        if not hasattr(source, "read"):
            with open(source, "rb") as file:
                return self.encode_file(
                    file, target, special=special, workers=workers, progress=progress
                )
        if not hasattr(target, "write"):
            with replacing(target) as file:
                return self.encode_file(
                    source, file, special=special, workers=workers, progress=progress
                )
        target.write(_npy_header(0))
        count = done = 0
        whole_text = special and any(len(token.split()) > 1 for token in self.special_tokens)
        left = b""
        while True:
            block = source.read(-1 if whole_text else _FILE_BYTES)
            text = left + block
            cut = _safe_cut(text) if block and not whole_text else len(text)
            left, text = text[cut:], text[:cut]
            if text:
                ids = self.encode_array(text, special=special, workers=workers)
                target.write(ids.data)
                count += len(ids)
            done += len(block)
            if progress:
                progress(done, None)
            if not block or (whole_text and not left):
                break
        target.seek(0)
        target.write(_npy_header(count))
        target.seek(0, os.SEEK_END)
        return count


def _restored(state: dict[str, Any]) -> BPETokenizer:
    return BPETokenizer(**state)


def read_merges(path: str | os.PathLike) -> list[tuple[str, str]]:
    """The pairs of merges.txt, or of subword-nmt's codes.

    Raises:
        ValueError: naming the file and the line that is no pair.
    """
    pairs = []
    for number, line in enumerate(read_lines(path, kind="'<left> <right>'"), 1):
        if number == 1 and line.startswith("#version"):
            continue
        left, _, right = line.strip(" ").partition(" ")
        if not left or not right or " " in right:
            if not line.strip():
                continue
            raise ValueError(
                f"{os.fspath(path)}: line {number} must be '<left> <right>', got {line[:80]!r}"
            )
        pairs.append((left, right))
    return pairs


def _safe_cut(text: bytes) -> int:
    """Where a text can be cut so that the ids of its parts are those of the whole; 0: nowhere."""
    cut = len(text)
    while (cut := max(text.rfind(b" ", 0, cut), text.rfind(b"\n", 0, cut))) > 0:
        if 0x20 < text[cut - 1] < 0x7F:
            return cut
    return 0


def _npy_header(count: int) -> bytes:
    """Of int32 [count], of a length that does not depend on it."""
    words = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({count},), }}"
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + f"{words:<117}\n".encode()
