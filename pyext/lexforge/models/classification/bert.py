"""BERT as a classifier: its encoder and pooling layer, and one new linear layer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lexforge._arguments import real, whole
from lexforge.layers.initial import UNSET, generator_of, initialise, unset
from lexforge.models.bert import files as bert_files
from lexforge.models.bert.model import BertModel, encoder_tensors
from lexforge.models.bert.sequences import Sequences, filled, joined
from lexforge.models.classification.labels import class_names, labels_record
from lexforge.models.classification.network import Network
from lexforge.ops.transformer.linear import linear
from lexforge.text.classification.encoded import EncodedTexts
from lexforge.text.tokenizers.published import as_tokenizer, tokenizer_of, with_special_tokens
from lexforge.training.checkpoint import CheckpointError

if TYPE_CHECKING:
    from lexforge.text.classification.batches import RaggedTexts
    from lexforge.text.classification.texts import LabelledTexts
    from lexforge.text.tokenizers.base import Tokenizer

_OWNER = "BertClassifier"
_PROBLEM, _SINGLE = "problem_type", "single_label_classification"  # of a config.json
_DROPOUT = "classifier_dropout"


class BertClassifier(Network):
    """Tells the class of a text, or of a pair of texts, by its encoded and pooled ``<cls>``.

    Args:
        bert: its encoder and pooling layer are taken, not copied, and learn further; its other
            heads are not used. A pooling layer that it lacks is made.
        names: of the classes in the order of their numbers, at least two.
        tokenizer: of the texts, whose ``<cls>`` and ``<sep>`` go around them; that of `bert` by
            default.
        dropout: share dropped of the pooled vectors while it trains; by default that of `bert`.
        seed: of the first values; by default they come from torch's generator.

    Attributes:
        config: the encoder's shape, a :class:`BertConfig`.
        encoder, hidden, output: the parts.
        names, tokenizer, dropout: as above.
        fresh: what has first values, in words.

    Raises:
        ValueError, TypeError: an argument that does not fit; a tokenizer of more tokens than the
        encoder has.

    Example:
        >>> bert = BertModel.from_pretrained("bert/")
        >>> classifier = BertClassifier(bert, ["negative", "positive"], seed=1)
        >>> classifier.save_pretrained("new/")
    """

    KIND: ClassVar[str] = "bert"
    PAIRS: ClassVar[bool | None] = None  # of either
    names: tuple[str, ...]

    def __init__(
        self,
        bert: BertModel,
        names: Sequence[str],
        *,
        tokenizer: Any = None,
        dropout: float | None = None,
        seed: int | torch.Generator | None = None,
    ):
        super().__init__()
        self.config = config = bert.config
        self.names, self.most_tokens = _checked_names(names), config.max_positions
        self.dropout = None if dropout is None else real(_OWNER, "dropout", dropout, 0, 1)
        self.vocabulary = bert.vocabulary
        self.tokenizer: Tokenizer | None = bert.tokenizer
        if tokenizer is not None:
            self.tokenizer = as_tokenizer(tokenizer)
        elif self.tokenizer is None and bert.vocabulary is not None:
            self.tokenizer = tokenizer_of(bert.vocabulary)
        if self.tokenizer is not None:
            self.tokenizer = with_special_tokens(self.tokenizer, ("cls", "sep"))
        if self.tokenizer is not None and len(self.tokenizer) > config.vocab_size:
            raise ValueError(
                f"{_OWNER}: tokenizer must have at most the {config.vocab_size:,} tokens of the "
                f"model, got {len(self.tokenizer):,}"
            )
        generator = generator_of(seed)
        table = bert.encoder.token_embedding.weight
        self.fresh = ["output layer"] if bert.hidden is not None else ["pooler", "output layer"]
        bert.add_pooler(seed=generator)
        assert bert.hidden is not None
        self.encoder, self.hidden = bert.encoder, bert.hidden
        with torch.device(table.device):
            self.output = unset(nn.Linear, config.hidden_size, len(self.names))
            initialise(self.output, config, generator)
        self.output.to(table.dtype)

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.names)

    @staticmethod
    def from_pretrained(
        folder: str | os.PathLike,
        names: Sequence[str] | None = None,
        *,
        tokenizer: Any = None,
        dropout: float | None = None,
        seed: int | torch.Generator | None = None,
    ) -> BertClassifier:
        """A saved classifier, or a new one on a pretrained encoder.

        Args:
            folder: transformers' ``BertForSequenceClassification``, what :meth:`save_pretrained`
                or a training run wrote, or any folder that :meth:`BertModel.from_pretrained`
                reads. Without a classifier of texts in it, the output layer gets first values, and
                the pooling layer where it is missing; a warning says so.
            names: of the classes. A saved classifier has its own, and must have the same ones; its
                order holds.
            tokenizer: by default that in the folder.
            dropout: as above; by default what a saved classifier has.
            seed: of first values.

        Returns:
            The classifier, float32 on the CPU, in evaluation mode.

        Raises:
            FileNotFoundError: there is no model. CheckpointError: a file is damaged or of another
            kind of model or task. ValueError, TypeError: other names than the saved ones; as above.
            MemoryError: it would exceed the free memory.
        """
        classifier = read_classifier(folder, names, tokenizer=tokenizer, dropout=dropout, seed=seed)
        if classifier.fresh:
            warnings.warn(f"{folder}: {first_values(classifier)}", stacklevel=2)
        return classifier

    @classmethod
    def read(cls, folder: Path, part: Callable[[str], Path]) -> BertClassifier:
        """A saved classifier, as :meth:`from_pretrained`; ``fresh`` is empty."""
        return read_classifier(folder)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write ``config.json``, ``model.safetensors``, and the tokenizer if there is one.

        transformers' ``AutoModelForSequenceClassification`` and ``AutoTokenizer`` read it, but for
        an encoder of the text's kind, which has no norm of its embeddings: there its tensors have
        the same names, and the configuration makes transformers refuse.

        Args:
            folder: created when absent; its files change together, those of other names stay.

        Raises:
            CheckpointError: the disk is full or refuses; what was there is intact.
        """
        tokenizer = self.tokenizer
        words = self.vocabulary if tokenizer is None else list(tokenizer.tokens)
        bert_files.write_folder(folder, *self.contents(), words, tokenizer)

    def contents(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What files hold: the content of config.json, and the tensors by transformers' names."""
        config = self.config.to_huggingface()
        if self.config.published:
            config["architectures"] = [bert_files.CLASSIFICATION]
        config |= labels_record(self.names) | {_PROBLEM: _SINGLE, _DROPOUT: self.dropout}
        tensors = encoder_tensors(self.encoder, self.hidden, bert_files.HUGGING_FACE)
        return config, tensors | self._output_tensors()

    def _output_tensors(self) -> dict[str, Tensor]:
        layer = bert_files.CLASSIFIER
        return {f"{layer}.{name}": x.detach() for name, x in self.output.named_parameters()}

    def encode(
        self, texts: LabelledTexts, tokenizer: Tokenizer, max_len: int | None
    ) -> EncodedTexts:
        """Texts as numbers, cut so that they fit with their special tokens.

        Args:
            max_len: longest sequence, its special tokens included; by default the longest that the
                encoder has positions for. Longer texts lose their end, of a pair the longer one.

        Raises:
            ValueError: `max_len` is above that, or leaves no room for a word of each text.
        """
        pairs = texts.second is not None
        special, most = 2 + pairs, self.config.max_positions
        if max_len is not None:
            most = whole(_OWNER, "max_len", max_len, 2 * special - 1, most)
        if pairs:
            return EncodedTexts.of(texts, tokenizer).cut_pairs(most - special)
        return EncodedTexts.of(texts, tokenizer, most - special)

    def forward(self, first: RaggedTexts, second: RaggedTexts | None = None) -> Tensor:
        """Logits [B, C] of B texts, or of B pairs.

        While it trains, dropout draws from torch's generator.

        Args:
            first, second: numbers of tokens without ``<cls>`` and ``<sep>``, which are added.

        Raises:
            ValueError: no tokenizer, no text, or not as many second texts as first ones.
            IndexError: an id outside its table, or more tokens than positions (on the CPU; on CUDA
            nobody looks).
        """
        tokenizer = self.tokenizer
        if tokenizer is None:
            raise ValueError(f"{_OWNER}: it has no tokenizer, whose <cls> and <sep> are added")
        return self.logits(joined(first, second, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id))

    def logits(self, packed: Sequences) -> Tensor:
        """Logits [B, C] of sequences that have their special tokens."""
        first = packed.cu_seqlens[:-1].long()
        if packed.tokens.device.type == "cpu" and not torch.compiler.is_compiling():
            packed = filled(packed)
        pooled = self.hidden(self.encoder.encode_packed(*packed, rows=first))
        share = self.config.dropout if self.dropout is None else self.dropout
        pooled = functional.dropout(pooled, share, self.training)
        return linear(pooled, self.output.weight, self.output.bias)


def read_classifier(
    folder: str | os.PathLike,
    names: Sequence[str] | None = None,
    *,
    tokenizer: Any = None,
    dropout: float | None = None,
    seed: int | torch.Generator | None = None,
) -> BertClassifier:
    """:meth:`BertClassifier.from_pretrained` without its warning: ``fresh`` tells."""
    config, found, words = bert_files.read_folder(folder)
    output = bert_files.classifier_tensors(config, found)
    saved: tuple[str, ...] = ()
    if output:
        count = len(output.get(f"{bert_files.CLASSIFIER}.weight", ()))
        kind = config.get(_PROBLEM)
        if kind not in (None, _SINGLE) or count < 2:
            raise CheckpointError(
                f"{folder} must tell one of two or more classes ({_SINGLE}), got {count} and "
                f"{_PROBLEM} {kind!r}"
            )
        try:
            saved = class_names(config, count)
            dropout = config.get(_DROPOUT) if dropout is None else dropout
            dropout = None if dropout is None else real(_OWNER, _DROPOUT, dropout, 0, 1)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{folder}: {error}") from error
        if names is not None and sorted(_checked_names(names)) != sorted(saved):
            raise ValueError(
                f"{_OWNER}: names must be those of the classifier in {folder}, "
                f"{', '.join(saved)}, got {', '.join(names)}"
            )
    elif names is None:
        kinds = ", ".join(map(str, config.get("architectures") or ["another model"]))
        raise CheckpointError(
            f"{folder} must hold a classifier of texts, and holds {kinds}: fine-tune it, which "
            f"makes one"
        )
    bert = BertModel.of_contents(folder, config, found, words, heads=False)
    classifier = BertClassifier(
        bert,
        saved or names or (),
        tokenizer=tokenizer,
        dropout=dropout,
        seed=UNSET if output else seed,
    )
    if output:
        expected = classifier._output_tensors()
        differences = bert_files.Differences.between(expected, output)
        if any(differences):
            raise CheckpointError(differences.describe(folder))
        bert_files.fill(expected, output)
        classifier.fresh = []
    return classifier.eval()


def first_values(classifier: BertClassifier) -> str:
    """What a new classifier does not have from its folder, in a line."""
    return f"no {' and no '.join(classifier.fresh)} of a classifier there: from first values"


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    found = () if isinstance(names, str) else tuple(names)
    if wrong := [name for name in found if not isinstance(name, str)]:
        raise TypeError(f"{_OWNER}: names must be texts, got {wrong[0]!r}")
    if len(found) < 2 or len(set(found)) < len(found):
        raise ValueError(f"{_OWNER}: names must be of two or more classes, got {names!r}")
    return found
