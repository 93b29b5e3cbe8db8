"""A tokenizer that knows whole words."""

from __future__ import annotations

import collections
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lexforge._files import part, replacing
from lexforge.text.lines import numbered_words, read_json, read_lines

# Of tokenizer_config.json, in which "tokenizer_class" is transformers'.
CLASS_KEY = "lexforge_tokenizer"
FAST = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
}


class WordTokenizer:
    """Words separated by white space.

    Args:
        tokens: distinct tokens, in the order of their numbers, among them the special ones
            ``<unk>``, ``<pad>``, ``<mask>``, ``<cls>`` and ``<sep>``.
        lowercase: turn text to lower case first.

    Attributes:
        index: dict from token to number.
        lowercase: as above.
        tokens, unk_id, pad_id, mask_id, cls_id, sep_id, ordinary_ids: see `Tokenizer`.

    Raises:
        ValueError: a token comes twice, or a special one is missing.

    Example:
        >>> tokenizer = WordTokenizer.build([["this movie is great", "i like it"]], min_freq=1)
        >>> tokenizer.convert_ids_to_tokens(tokenizer.encode("I like this film"))
        ['i', 'like', 'this', '<unk>']
    """

    SPECIAL_TOKENS = ("<unk>", "<pad>", "<mask>", "<cls>", "<sep>")

    def __init__(self, tokens: Iterable[str], *, lowercase: bool = True):
        self.tokens = list(tokens)
        self.lowercase = lowercase
        self.index = {token: number for number, token in enumerate(self.tokens)}
        if len(self.index) != len(self.tokens):
            twice = next(t for i, t in enumerate(self.tokens) if self.index[t] != i)
            raise ValueError(f"WordTokenizer: tokens must be distinct, got {twice!r} twice")
        missing = [token for token in self.SPECIAL_TOKENS if token not in self.index]
        if missing:
            raise ValueError(
                f"WordTokenizer: tokens must include {' '.join(self.SPECIAL_TOKENS)}, "
                f"got none of {' '.join(missing)}"
            )
        special = [self.index[token] for token in self.SPECIAL_TOKENS]
        self.unk_id, self.pad_id, self.mask_id, self.cls_id, self.sep_id = special
        self.ordinary_ids = np.delete(np.arange(len(self.tokens), dtype=np.int32), special)
        # Words of a text that are spelled like special tokens are not special.
        self._words = {token: self.index[token] for token in self.tokens}
        for token in self.SPECIAL_TOKENS:
            del self._words[token]

    @classmethod
    def build(
        cls, paragraphs: Iterable[Sequence[str]], *, min_freq: int = 5, lowercase: bool = True
    ) -> WordTokenizer:
        """Counts the words of paragraphs, each a list of sentences.

        ``<unk>`` is 0, then come ``<pad> <mask> <cls> <sep>``, then the words of at least
        `min_freq` occurrences by falling count, ties by first appearance.

        Raises:
            ValueError: `min_freq` below 1, or no word is left.
        """
        if min_freq < 1:
            raise ValueError(f"WordTokenizer.build: min_freq must be >= 1, got {min_freq}")
        counter: collections.Counter[str] = collections.Counter()
        for paragraph in paragraphs:
            for sentence in paragraph:
                counter.update((sentence.lower() if lowercase else sentence).split())
        for token in cls.SPECIAL_TOKENS:
            counter.pop(token, None)
        # most_common sorts stably, and a Counter keeps the order of first appearance.
        words = [word for word, count in counter.most_common() if count >= min_freq]
        if not words:
            raise ValueError(
                f"WordTokenizer.build: no word has min_freq={min_freq} occurrences; the largest "
                f"count is {max(counter.values(), default=0)}"
            )
        return cls([*cls.SPECIAL_TOKENS, *words], lowercase=lowercase)

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"WordTokenizer({len(self):,} tokens)"

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return (text.lower() if self.lowercase else text).split()

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's words; that of ``<unk>`` for unknown ones."""
        get, unknown = self._words.get, self.unk_id
        return [get(word, unknown) for word in self.tokenize(text)]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """The numbers of tokens, special ones included; that of ``<unk>`` for unknown ones."""
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

    def save(self, folder: str | os.PathLike) -> None:
        """Writes vocab.txt, one token per line; vocab.json, an array; and tokenizer_config.json.

        The last one names the class, so that no other tokenizer takes vocab.txt for its own.
        tokenizer.json is the same vocabulary for ``AutoTokenizer`` of transformers, whose ids are
        those of :meth:`encode` but where a text spells a special token, which is that token there,
        and for capitals that Python and the tokenizers library turn to lower case differently (a
        sigma at the end of a word).

        Raises:
            ValueError: a token is empty or holds white space and could not be read back.
        """
        for token in self.tokens:
            if token.split() != [token]:
                raise ValueError(f"save: tokens must be words without white space, got {token!r}")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = dict(zip(("unk", "pad", "mask", "cls", "sep"), self.SPECIAL_TOKENS, strict=True))
        config = {
            CLASS_KEY: "WordTokenizer",
            **FAST,
            "do_lower_case": self.lowercase,
            **{f"{name}_token": token for name, token in names.items()},
        }
        with replacing(folder / "vocab.txt") as file:
            file.writelines(f"{token}\n".encode() for token in self.tokens)
        with replacing(folder / "vocab.json") as file:
            file.write(json.dumps(self.tokens, ensure_ascii=False).encode())
        with replacing(folder / "tokenizer.json") as file:
            file.write(self._word_level().encode())
        with replacing(folder / "tokenizer_config.json") as file:
            file.write(json.dumps(config, indent=2).encode() + b"\n")

    def _word_level(self) -> str:
        """The content of a tokenizer.json."""
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

        unknown, _, _, cls_token, sep_token = self.SPECIAL_TOKENS
        tokenizer = Tokenizer(models.WordLevel(self.index, unk_token=unknown))
        if self.lowercase:
            tokenizer.normalizer = normalizers.Lowercase()
        # What str.split takes for white space, which is a little more than Unicode does.
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\x1c-\x1f]+"), "removed")
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{cls_token} $A {sep_token}",
            pair=f"{cls_token} $A {sep_token} $B:1 {sep_token}:1",
            special_tokens=[(cls_token, self.cls_id), (sep_token, self.sep_id)],
        )
        tokenizer.add_special_tokens(list(self.SPECIAL_TOKENS))
        return tokenizer.to_str()

    @classmethod
    def load(cls, folder: str | os.PathLike) -> WordTokenizer:
        """Reads what `save` wrote, or a vocab.txt or vocab.json alone.

        Raises:
            FileNotFoundError: the folder has neither.
            ValueError: damaged, or a vocabulary of another tokenizer.
        """
        folder = Path(folder)
        lowercase = True
        if (config_path := part(folder, "tokenizer_config.json")).exists():
            config = read_json(config_path)
            made_by = config.get(CLASS_KEY, config.get("tokenizer_class", "WordTokenizer"))
            if made_by != "WordTokenizer":
                raise ValueError(
                    f"{config_path}: tokenizer_class must be WordTokenizer, got {made_by!r}"
                )
            lowercase = bool(config.get("do_lower_case", True))
        if (path := part(folder, "vocab.txt")).exists():
            tokens = read_lines(path)
        elif (path := part(folder, "vocab.json")).exists():
            tokens = numbered_words(read_json(path, list), path)
        else:
            raise FileNotFoundError(f"{folder}: holds neither vocab.txt nor vocab.json")
        try:
            return cls(tokens, lowercase=lowercase)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
