"""Published tokenizers: vocabularies of word pieces, and any tokenizer.json.

The tokenizers library splits the texts; its ids are the definition of right.
"""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from lexforge._arguments import whole
from lexforge._files import part, replacing
from lexforge.text.lines import numbered_words, parse_json, read_json, read_lines
from lexforge.text.tokenizers.base import Tokenizer
from lexforge.text.tokenizers.bpe import MERGES, BPETokenizer
from lexforge.text.tokenizers.bpe_files import tokenizer_json
from lexforge.text.tokenizers.characters import CharacterTokenizer
from lexforge.text.tokenizers.words import CLASS_KEY, FAST, WordTokenizer

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
# What the special tokens are usually called, the likelier name first.
_USUAL = {
    "unk": ("[UNK]", "<unk>"),
    "pad": ("[PAD]", "<pad>"),
    "mask": ("[MASK]", "<mask>"),
    "cls": ("[CLS]", "<cls>", "<s>"),
    "sep": ("[SEP]", "<sep>", "</s>"),
}
_ROLES = tuple(_USUAL)
_NEEDED = ("pad", "cls", "sep", "mask")  # by a BERT, in the order in which they are added
_BERT = {role: names[0] for role, names in _USUAL.items()}
# Keys that other libraries may leave out of a tokenizer.json.
_ABSENT: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
}
_PIECES = {
    "unk_token": "[UNK]",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 100,
}
_BATCH = 4096  # texts that are split together
_MOST_WORDS = 2**31 - 1  # of a vocabulary: numbers of words are int32
_LIMIT = 1000  # different characters of a trained vocabulary; those seen less often are unknown


class PublishedTokenizer:
    """A tokenizer of the tokenizers library, as models and training ask for one.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``. Its truncation and padding are not used.
        special_tokens: tokens by what they are for: ``"unk"``, ``"pad"``, ``"mask"``, ``"cls"``,
            ``"sep"``. Those that are not given are taken from what the tokenizer puts around a
            text, or are those with a usual name, such as ``[MASK]`` or ``<mask>``.
        settings: the content of a ``tokenizer_config.json`` to be saved with it.
        source: where it is from, for messages.

    Attributes:
        special_tokens: dict as above, of those that there are.
        tokens: list of str [V] by number; "" for a number without a token.
        unk_id: number of the unknown token; -1 where every text has tokens, as in byte-level BPE.
        pad_id, mask_id, cls_id, sep_id: numbers of the other special tokens; ValueError where there
            is none.
        ordinary_ids: int32 [n], ascending; all but special tokens.
        continuing: bool [V], whether a token goes on with the word before it; ValueError where
            tokens do not show it.

    Raises:
        ValueError: a special token is not in the vocabulary.

    Example:
        >>> texts = ["he likes tea", "she likes coffee"] * 9
        >>> tokenizer = PublishedTokenizer.train_wordpiece(texts, vocab_size=40)
        >>> tokenizer.decode(tokenizer.encode("She likes coffee"))
        'she likes coffee'
    """

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        *,
        special_tokens: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        source: str | os.PathLike = "the tokenizer",
    ):
        # A copy: what is switched off here stays on for whoever has the other one.
        self._json = tokenizer.to_str()
        self._tokenizer = tokenizers.Tokenizer.from_str(self._json)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._plain: tokenizers.Tokenizer | None = None  # to which special tokens are text
        self._settings, self.source = dict(settings or {}), source
        numbers = self._tokenizer.get_vocab(with_added_tokens=True)
        self.tokens = [""] * (max(numbers.values(), default=-1) + 1)
        for token, number in numbers.items():
            self.tokens[number] = token
        self.special_tokens = self._special(special_tokens or {})
        self._ids = {role: numbers[token] for role, token in self.special_tokens.items()}
        self.unk_id = self._ids.get("unk", -1)
        added = self._tokenizer.get_added_tokens_decoder()
        special = {number for number, token in added.items() if token.special}
        ordinary = np.zeros(len(self.tokens), bool)
        ordinary[list(numbers.values())] = True
        ordinary[[*special, *self._ids.values()]] = False
        self.ordinary_ids = np.flatnonzero(ordinary).astype(np.int32)

    def _special(self, given: Mapping[str, str]) -> dict[str, str]:
        unknown = sorted(given.keys() - set(_ROLES))
        if unknown:
            raise ValueError(f"special_tokens must be of {', '.join(_ROLES)}, got {unknown}")
        known = self._tokenizer.token_to_id
        if missing := [token for token in given.values() if known(token) is None]:
            raise ValueError(
                f"{self.source} must hold {', '.join(given.values())}, lacks {missing}"
            )
        found = dict(given)
        around = self._tokenizer.encode("").ids
        if len(around) == 2:
            found = dict(zip(("cls", "sep"), (self.tokens[i] for i in around), strict=True)) | found
        if (unk := getattr(self._tokenizer.model, "unk_token", None)) and known(unk) is not None:
            found = {"unk": unk} | found
        for role, names in _USUAL.items():
            usual = [name for name in names if known(name) is not None]
            if role not in found and usual:
                found[role] = usual[0]
        return {role: found[role] for role in _ROLES if role in found}

    @functools.cached_property
    def continuing(self) -> np.ndarray:
        """Pieces say that they go on with a word, or all others that they begin one."""
        model, tokens = self._tokenizer.model, [self.tokens[i] for i in self.ordinary_ids]
        prefix = getattr(model, "continuing_subword_prefix", None)
        if prefix:
            found = [token.startswith(prefix) for token in tokens]
        elif isinstance(model, (models.BPE, models.Unigram)):
            found = [not token.startswith(("Ġ", "▁")) for token in tokens]
            if all(found):
                raise ValueError(
                    f"whole words need tokens that show where a word begins (Ġ, ▁) or goes on (##),"
                    f" and those of {self.source} do not"
                )
        else:
            found = [False] * len(tokens)
        continuing = np.zeros(len(self.tokens), bool)
        continuing[self.ordinary_ids] = found
        return continuing

    @classmethod
    def load(cls, folder: str | os.PathLike) -> PublishedTokenizer:
        """Reads tokenizer.json, or a vocab.txt of word pieces where there is none.

        Of tokenizer_config.json it takes the special tokens and, for vocab.txt, ``do_lower_case``,
        ``strip_accents`` and ``tokenize_chinese_chars``.

        Raises:
            FileNotFoundError: the folder has neither.
            ValueError: damaged; a component that the library does not have, named.
        """
        folder = Path(folder)
        path = part(folder, TOKENIZER_CONFIG)
        settings = read_json(path) if path.is_file() else {}
        special = {role: name for role in _ROLES if (name := _token(settings.get(f"{role}_token")))}
        if (path := part(folder, TOKENIZER)).is_file():
            tokenizer = _of_json(path)
        elif (path := part(folder, "vocab.txt")).is_file():
            return cls.from_pieces(read_lines(path), settings=settings, source=path)
        else:
            raise FileNotFoundError(f"{folder}: holds neither {TOKENIZER} nor vocab.txt")
        # Published files name special tokens that their vocabularies do not hold.
        held = {role: t for role, t in special.items() if tokenizer.token_to_id(t) is not None}
        return cls(tokenizer, special_tokens=held, settings=settings, source=path)

    @classmethod
    def from_pieces(
        cls,
        tokens: Iterable[str],
        *,
        lowercase: bool | None = None,
        settings: Mapping[str, Any] | None = None,
        source: str | os.PathLike = "the vocabulary",
    ) -> PublishedTokenizer:
        """BERT's tokenizer, of the pieces of its vocabulary in the order of their numbers.

        Args:
            lowercase: turn text to lower case and strip accents; as the settings say by default,
                and true without.
            settings, source: as above.

        Raises:
            ValueError: ``[UNK]``, ``[CLS]`` or ``[SEP]`` is missing.
        """
        settings = dict(settings or {})
        if lowercase is None:
            lowercase = bool(settings.get("do_lower_case", True))
        numbers = {token: number for number, token in enumerate(tokens)}
        needed = [_token(settings.get(f"{r}_token")) or _BERT[r] for r in ("unk", "cls", "sep")]
        if missing := [token for token in needed if token not in numbers]:
            raise ValueError(f"{source} must hold {', '.join(needed)}, and lacks {missing}")
        special = {role: _token(settings.get(f"{role}_token")) or _BERT[role] for role in _ROLES}
        special = {role: token for role, token in special.items() if token in numbers}
        tokenizer = _bert_tokenizer(
            models.WordPiece(numbers, unk_token=special["unk"], max_input_chars_per_word=100),
            lowercase=lowercase,
            strip_accents=settings.get("strip_accents"),
            chinese=bool(settings.get("tokenize_chinese_chars", True)),
        )
        _add_special(tokenizer, special)
        settings["do_lower_case"] = lowercase
        return cls(tokenizer, special_tokens=special, settings=settings, source=source)

    @classmethod
    def train_wordpiece(
        cls,
        texts: Iterable[str],
        *,
        vocab_size: int = 16_000,
        min_freq: int = 2,
        lowercase: bool = True,
    ) -> PublishedTokenizer:
        """A WordPiece vocabulary for texts, split as BERT's are.

        ``[PAD] [UNK] [CLS] [SEP] [MASK]`` are 0 to 4; then come the 1,000 commonest characters,
        alone and inside of words, and the pieces in the order in which they were merged. The same
        texts give the same vocabulary.

        Args:
            texts: read twice, so an iterable that begins anew.
            vocab_size: V, special tokens and characters included; smaller where nothing is left to
                merge.
            min_freq: pairs of pieces seen less often are not merged.
            lowercase: of the texts now and later; accents are stripped then.

        Raises:
            ValueError: an argument out of range; `vocab_size` below the alphabet; no text.
        """
        vocab_size = whole("train_wordpiece", "vocab_size", vocab_size)
        min_freq = whole("train_wordpiece", "min_freq", min_freq)
        tokenizer = _bert_tokenizer(models.WordPiece(unk_token="[UNK]"), lowercase=lowercase)
        first, inside = _alphabet(tokenizer, texts)
        special = list(dict.fromkeys(_BERT[role] for role in ("pad", "unk", "cls", "sep", "mask")))
        fixed = [*special, *first, *(f"##{letter}" for letter in inside)]
        if not first or vocab_size < len(fixed):
            raise ValueError(
                f"train_wordpiece: vocab_size must be at least {len(fixed)}, the special tokens "
                f"and the characters of the texts, got {vocab_size}"
                if first
                else "train_wordpiece: texts must have characters, got none"
            )
        # The library numbers characters in an order that changes from run to run, and breaks ties
        # by number: as tokens that are given, they have fixed numbers.
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            min_frequency=min_freq,
            special_tokens=fixed,
            initial_alphabet=first,
            limit_alphabet=len(first),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        numbers = tokenizer.get_vocab(with_added_tokens=True)
        return cls.from_pieces(
            sorted(numbers, key=numbers.__getitem__), lowercase=lowercase, source="the texts"
        )

    @classmethod
    def train_words(
        cls, texts: Iterable[str], *, min_freq: int = 5, lowercase: bool = True
    ) -> PublishedTokenizer:
        """A vocabulary of whole words, from which marks are set apart: "so good!" is so, good, !.

        ``[PAD] [UNK] [CLS] [SEP] [MASK]`` are 0 to 4; then come the words, and the marks, of at
        least `min_freq` occurrences by falling count, ties in the order of their letters. The same
        texts give the same vocabulary.

        Args:
            texts: read once.
            lowercase: of the texts now and later; accents stay.

        Raises:
            ValueError: `min_freq` below 1, or no word is left.
        """
        min_freq = whole("train_words", "min_freq", min_freq)
        tokenizer = _bert_tokenizer(
            models.WordLevel({}, unk_token=_BERT["unk"]), lowercase=lowercase, strip_accents=False
        )
        tokenizer.decoder = None
        special = [_BERT[role] for role in ("pad", "unk", "cls", "sep", "mask")]
        trainer = trainers.WordLevelTrainer(
            vocab_size=_MOST_WORDS,
            min_frequency=min_freq,
            special_tokens=special,
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        if tokenizer.get_vocab_size() == len(special):
            raise ValueError(f"train_words: no word of the texts has min_freq={min_freq}")
        _add_special(tokenizer, _BERT)
        settings = {"do_lower_case": lowercase}
        return cls(tokenizer, special_tokens=_BERT, settings=settings, source="the texts")

    @classmethod
    def train_byte_pairs(
        cls, texts: Iterable[str], *, vocab_size: int = 16_000, min_freq: int = 2
    ) -> PublishedTokenizer:
        """A vocabulary of byte pairs for texts, split as GPT-2's are; it has no unknown token.

        ``[PAD] [CLS] [SEP] [MASK]`` are 0 to 3; then come the 256 bytes, and the tokens in the
        order in which they were merged.

        Args:
            texts: read once.
            vocab_size: V, special tokens and bytes included; smaller where nothing is left to
                merge.
            min_freq: pairs of tokens seen less often are not merged.

        Raises:
            ValueError: an argument out of range; `vocab_size` below the alphabet; no text.
        """
        special = [_BERT[role] for role in _NEEDED]
        made = BPETokenizer.train_from_iterator(
            texts,
            whole("train_byte_pairs", "vocab_size", vocab_size),
            min_frequency=whole("train_byte_pairs", "min_freq", min_freq),
            special_tokens=special,
        )
        return with_special_tokens(made)

    @classmethod
    def from_transformers(cls, tokenizer: Any) -> PublishedTokenizer:
        """That of a tokenizer object of transformers, its special tokens included.

        Raises:
            TypeError: one that does without the tokenizers library.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, tokenizers.Tokenizer):
            raise TypeError(
                "tokenizer must be one of the tokenizers library or of transformers on top of it, "
                f"got {type(tokenizer).__name__}"
            )
        names = {role: getattr(tokenizer, f"{role}_token", None) for role in _ROLES}
        special = {role: str(name) for role, name in names.items() if name is not None}
        held = {role: t for role, t in special.items() if backend.token_to_id(t) is not None}
        return cls(backend, special_tokens=held, source=f"the {type(tokenizer).__name__}")

    def completed(self) -> PublishedTokenizer:
        """The same with the special tokens that it lacks, see :func:`with_special_tokens`.

        Raises:
            ValueError: a token of the vocabulary has the number that one of them gets.
        """
        special = {role: _BERT[role] for role in _NEEDED} | self.special_tokens
        around = [self.tokens[number] for number in self._tokenizer.encode("").ids]
        if special == self.special_tokens and around == [special["cls"], special["sep"]]:
            return self
        tokenizer = tokenizers.Tokenizer.from_str(self._json)
        tokenizer.add_special_tokens([special[role] for role in _NEEDED])
        numbers = tokenizer.get_vocab(with_added_tokens=True)
        if len(set(numbers.values())) < len(numbers):
            raise ValueError(
                f"{self.source}: its numbers must be 0 to {len(self.tokens) - 1} for special "
                "tokens to be added, and some are left out"
            )
        before = tokenizer.post_processor
        _stand_around(tokenizer, special)
        if isinstance(before, processors.ByteLevel):  # which tells the offsets
            tokenizer.post_processor = processors.Sequence([before, tokenizer.post_processor])
        return PublishedTokenizer(
            tokenizer, special_tokens=special, settings=self._settings, source=self.source
        )

    def _id(self, role: str) -> int:
        if role not in self._ids:
            raise ValueError(
                f"{self.source} must hold a {role} token such as {_USUAL[role][0]}, and names none"
            )
        return self._ids[role]

    @property
    def pad_id(self) -> int:
        """Number of the padding."""
        return self._id("pad")

    @property
    def mask_id(self) -> int:
        """Number of what stands for a token to be predicted."""
        return self._id("mask")

    @property
    def cls_id(self) -> int:
        """Number of what begins a text."""
        return self._id("cls")

    @property
    def sep_id(self) -> int:
        """Number of what ends a text."""
        return self._id("sep")

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"PublishedTokenizer({self.kind}, {len(self):,} tokens)"

    @property
    def kind(self) -> str:
        """What finds the tokens of a word: WordPiece, BPE, Unigram or WordLevel."""
        return type(self._tokenizer.model).__name__

    def _encoding(self, text: str) -> tokenizers.Encoding:
        try:
            return self._tokenizer.encode(text, add_special_tokens=False)
        except TypeError:
            _check_text(text)
            raise

    def tokenize(self, text: str) -> list[str]:
        """The pieces of a text."""
        return self._encoding(text).tokens

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's pieces; ``[MASK]`` in it is that token, as in transformers."""
        return self._encoding(text).ids

    def encode_with_offsets(self, text: str) -> tuple[list[int], np.ndarray]:
        """The same, and int64 [n, 2]: the characters from which to which each piece is."""
        found = self._encoding(text)
        return found.ids, np.array(found.offsets, np.int64).reshape(-1, 2)

    def encode_corpus(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers of many texts, in which nothing is a special token; on all cores."""
        if self._plain is None:
            self._plain = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
            self._plain.encode_special_tokens = True
        numbers: list[list[int]] = []
        for begin in range(0, len(texts), _BATCH):
            batch = list(texts[begin : begin + _BATCH])
            try:
                found = self._plain.encode_batch_fast(batch, add_special_tokens=False)
            except TypeError:
                for text in batch:
                    _check_text(text)
                raise
            numbers += [encoding.ids for encoding in found]
        return numbers

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """The text of numbers.

        Raises:
            IndexError: a number is not in 0..V-1.
        """
        return self._tokenizer.decode(self._checked(ids), skip_special_tokens=skip_special_tokens)

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The numbers of tokens, special ones included; that of the unknown token for others.

        Raises:
            ValueError: the vocabulary holds neither a token nor one for the unknown.
        """
        numbers = []
        for token in tokens:
            number = self._tokenizer.token_to_id(token)
            if number is None and self.unk_id < 0:
                raise ValueError(f"{self.source} must hold {token!r}, and has no unknown token")
            numbers.append(self.unk_id if number is None else number)
        return numbers

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of numbers.

        Raises:
            IndexError: a number is not in 0..V-1.
        """
        return [self.tokens[number] for number in self._checked(ids)]

    def _checked(self, ids: Iterable[int]) -> list[int]:
        ids = [int(number) for number in ids]
        for number in ids:
            if not 0 <= number < len(self):
                raise IndexError(f"ids must be in 0..{len(self) - 1}, got {number}")
        return ids

    def save(self, folder: str | os.PathLike) -> None:
        """Writes tokenizer.json and tokenizer_config.json, which ``AutoTokenizer`` loads."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {**FAST, **self._settings}
        settings |= {f"{role}_token": token for role, token in self.special_tokens.items()}
        with replacing(folder / TOKENIZER) as file:
            file.write(self._json.encode())
        with replacing(folder / TOKENIZER_CONFIG) as file:
            file.write(json.dumps(settings, indent=2, ensure_ascii=False).encode() + b"\n")


def load_tokenizer(folder: str | os.PathLike) -> Tokenizer:
    """The tokenizer of a model's folder.

    Returns:
        :class:`lexforge.text.tokenizers.words.WordTokenizer` or
        :class:`lexforge.text.tokenizers.characters.CharacterTokenizer` if tokenizer_config.json
        says so; :class:`PublishedTokenizer` of a tokenizer.json, or of a vocab.txt of word pieces;
        :class:`lexforge.text.tokenizers.bpe.BPETokenizer` of GPT-2's vocab.json and merges.txt;
        of another vocab.txt or vocab.json a WordTokenizer.

    Raises:
        FileNotFoundError: there is no vocabulary. ValueError: it is damaged, or has a component
        that the tokenizers library does not know.
    """
    folder = Path(folder)
    path = part(folder, TOKENIZER_CONFIG)
    settings = read_json(path) if path.is_file() else {}
    if "WordTokenizer" in (settings.get(CLASS_KEY), settings.get("tokenizer_class")):
        return WordTokenizer.load(folder)
    if settings.get(CLASS_KEY) == "CharacterTokenizer":
        return CharacterTokenizer.load(folder)
    if part(folder, TOKENIZER).is_file():
        return PublishedTokenizer.load(folder)
    if (path := part(folder, "vocab.txt")).is_file() and holds_pieces(read_lines(path)):
        return PublishedTokenizer.load(folder)
    if part(folder, MERGES).is_file():
        return BPETokenizer.load(folder)
    return WordTokenizer.load(folder)


def tokenizer_of(tokens: Sequence[str]) -> Tokenizer | None:
    """The tokenizer of a vocabulary, told by its special tokens; None for one without them."""
    if holds_pieces(tokens) and {"[UNK]", "[CLS]", "[SEP]"} <= set(tokens):
        return PublishedTokenizer.from_pieces(tokens)
    words = len(set(tokens)) == len(tokens) and all(t.split() == [t] for t in tokens)
    if words and set(WordTokenizer.SPECIAL_TOKENS) <= set(tokens):
        return WordTokenizer(tokens)
    return None


def as_tokenizer(tokenizer: Any) -> Any:
    """What may be passed as a tokenizer, as one: also an object of transformers or tokenizers.

    Raises:
        TypeError: it is none.
    """
    if isinstance(tokenizer, tokenizers.Tokenizer):
        return PublishedTokenizer(tokenizer)
    if hasattr(tokenizer, "backend_tokenizer"):
        return PublishedTokenizer.from_transformers(tokenizer)
    wanted = ("tokens", "encode", "convert_tokens_to_ids", "convert_ids_to_tokens")
    if lacking := [name for name in wanted if not hasattr(tokenizer, name)]:
        raise TypeError(
            "tokenizer must be one of lexforge (lexforge.bert.load_tokenizer), tokenizers or "
            f"transformers, got {type(tokenizer).__name__} without {lacking[0]}"
        )
    return tokenizer


def with_special_tokens(tokenizer: Any, asked: Sequence[str] = _NEEDED) -> Any:
    """The tokenizer as a BERT takes it, with ``<pad>``, ``<cls>``, ``<sep>`` and ``<mask>``.

    Those that it lacks, as GPT-2's does, are added behind its tokens, in the order ``[PAD] [CLS]
    [SEP] [MASK]``; a text stands between ``[CLS]`` and ``[SEP]`` then. A tokenizer of byte pairs
    becomes one of the tokenizers library, which has the same numbers.

    Args:
        asked: what it must have: ``("cls", "sep")`` where nothing is masked. None are added to a
            tokenizer that has these.

    Raises:
        ValueError: byte pairs that the library does not have: a greedy algorithm, an end of words
            as a symbol; dropout; a tokenizer of another kind without such tokens.
    """
    if isinstance(tokenizer, BPETokenizer):
        content = json.dumps(tokenizer_json(tokenizer))
        tokenizer = PublishedTokenizer(tokenizers.Tokenizer.from_str(content))
    if isinstance(tokenizer, PublishedTokenizer):
        if dropout := getattr(tokenizer._tokenizer.model, "dropout", None):
            raise ValueError(f"a BERT's tokenizer must be without dropout, got {dropout:.6g}")
        enough = asked != _NEEDED and all(role in tokenizer.special_tokens for role in asked)
        return tokenizer if enough else tokenizer.completed()
    if min(tokenizer.cls_id, tokenizer.sep_id) < 0:
        kind = type(tokenizer).__name__
        raise ValueError(f"a BERT's tokenizer must have cls and sep tokens, and {kind} has none")
    return tokenizer


def holds_pieces(tokens: Sequence[str]) -> bool:
    """Whether a vocabulary is of word pieces."""
    return "[CLS]" in tokens or any(token.startswith("##") for token in tokens)


def _check_text(text: Any) -> None:
    """TypeError or ValueError unless it is Unicode; the library says less."""
    if not isinstance(text, str):
        raise TypeError(f"a text must be a string, got {type(text).__name__}")
    if half := next((c for c in text if "\ud800" <= c <= "\udfff"), None):
        raise ValueError(f"a text must be Unicode, got one with half a character, {half!r}")


def _token(found: Any) -> str | None:
    """A token as tokenizer_config.json has it: a string, or an object of its properties."""
    if isinstance(found, Mapping):
        found = found.get("content")
    return found if isinstance(found, str) and found else None


def _bert_tokenizer(
    model: Any, *, lowercase: bool, strip_accents: bool | None = None, chinese: bool = True
) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=chinese,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece("##")
    return tokenizer


def _add_special(tokenizer: tokenizers.Tokenizer, special: Mapping[str, str]) -> None:
    """The special tokens, two of which stand around a text, or a pair, as BERT has it."""
    _stand_around(tokenizer, special)
    tokenizer.add_special_tokens(list(special.values()))


def _stand_around(tokenizer: tokenizers.Tokenizer, special: Mapping[str, str]) -> None:
    cls_token, sep_token = special["cls"], special["sep"]
    numbers = [(token, tokenizer.token_to_id(token)) for token in (cls_token, sep_token)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls_token} $A {sep_token}",
        pair=f"{cls_token} $A {sep_token} $B:1 {sep_token}:1",
        special_tokens=numbers,
    )


def _alphabet(tokenizer: tokenizers.Tokenizer, texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """The commonest characters of texts, ascending, and those of them that may be inside a word."""
    written: Counter[str] = Counter()
    for text in texts:
        written.update(text)
    join, split = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
    counts: Counter[str] = Counter()
    for letter, count in written.items():
        _check_text(letter)
        for normal in join(letter):  # each letter for itself
            counts[normal] += count
    letters = [letter for letter in counts if split(letter)]  # not white space
    first = sorted(sorted(letters, key=lambda x: (-counts[x], x))[:_LIMIT])
    return first, [x for x in first if len(split(join(f"{x}{x}"))) == 1]


def _of_json(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a tokenizer.json, whose absent parts have their usual values."""
    content = _ABSENT | parse_json(path.read_bytes(), path)
    model = content.get("model")
    if not isinstance(model, dict):
        raise ValueError(f"{path}: is truncated or damaged: it must have a model")
    if model.get("type", "WordPiece") == "WordPiece":
        model = content["model"] = _PIECES | model
        numbered_words(model.get("vocab"), path)
    try:
        return _from_str(content)
    except ValueError as error:
        wrong = _wrong_component(content)
        raise ValueError(
            f"{path}: must be a tokenizer that tokenizers {tokenizers.__version__} knows"
            + (f", and its {wrong} is none" if wrong else "")
            + f": {error}"
        ) from error


def _from_str(content: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """ValueError if the library does not take it, or panics, which is no Exception."""
    try:
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
        tokenizer.encode("")  # what stands around a text may name tokens that are not there
        return tokenizer
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise ValueError(str(error)) from error


def _wrong_component(content: Mapping[str, Any]) -> str | None:
    """The first part of a tokenizer.json that the library does not take, with its type."""
    empty = _ABSENT | {"model": {"type": "WordLevel", "vocab": {}, "unk_token": ""}}
    for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder", "model"):
        try:
            _from_str(empty | {name: content.get(name)})
        except ValueError:
            kind = content[name].get("type") if isinstance(content[name], dict) else None
            return f"{name} {kind!r}"
    return None
