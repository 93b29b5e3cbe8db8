"""A trained classifier: its network, its tokenizer and its classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lexforge._arguments import whole
from lexforge._library import resolve_device
from lexforge.models.classification.files import Contents, of_best, read_contents
from lexforge.text.classification.batches import batches, length_buckets
from lexforge.text.classification.texts import LabelledTexts
from lexforge.training.checkpoint import replacing_parts
from lexforge.training.metrics import ClassScores
from lexforge.training.network_job import evaluating
from lexforge.training.network_run import check_precision

if TYPE_CHECKING:
    from lexforge.models.classification.network import Network
    from lexforge.text.classification.encoded import EncodedTexts
    from lexforge.text.tokenizers.base import Tokenizer

Text = str | tuple[str, str]  # or a pair of texts
BATCH = 64  # texts that are classified together
_WINDOW = 8192  # texts that are encoded together


class Predictions(NamedTuple):
    """What :meth:`TextClassifier.predict` finds of N texts.

    Attributes:
        probabilities: float32 [N, C].
        labels: the name of the likeliest class of each.
    """

    probabilities: np.ndarray
    labels: list[str]


class TextClassifier:
    """A network that tells classes, the tokenizer of its texts, and the names of the classes.

    Args:
        network: of single texts or of pairs (``network.PAIRS``).
        tokenizer: whose numbers it knows.
        names: of its C classes.
        max_len: most tokens of a text; the rest is cut off. None for no limit.

    Raises:
        ValueError: there are not C names, or they are not distinct.

    Example:
        >>> classifier = TextClassifier.load("sentiment/")
        >>> classifier.predict(["a film without a plot"]).labels
        ['negative']
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        names: Sequence[str],
        max_len: int | None = None,
    ):
        self.network, self.tokenizer = network, tokenizer
        self.names = tuple(names)
        self.max_len = None if max_len is None else whole("TextClassifier", "max_len", max_len)
        if len(set(self.names)) != network.num_classes or len(self.names) != network.num_classes:
            raise ValueError(
                f"TextClassifier: names must be {network.num_classes} different ones, as the "
                f"network has classes, got {list(self.names)}"
            )

    def __repr__(self) -> str:
        kind = "pairs" if self.network.PAIRS else "texts"
        return f"TextClassifier({self.network.KIND} of {kind}: {', '.join(self.names)})"

    @classmethod
    def load(cls, folder: str | os.PathLike, device: str | torch.device = "auto") -> TextClassifier:
        """Read what :meth:`save` wrote; of a training run the best network so far.

        Args:
            folder: also one that ``lexforge sentiment train`` or ``nli train`` made.
            device: ``"auto"`` (the GPU when it is usable), ``"cpu"`` or ``"cuda"``.

        Raises:
            FileNotFoundError: there is nothing. ValueError: there is another kind of model.
            CheckpointError: a part is missing or damaged.
        """
        classifier = cls(*read_contents(of_best(folder)))
        classifier.network.to(resolve_device("TextClassifier.load", device)).eval()
        return classifier

    def save(self, folder: str | os.PathLike) -> None:
        """Write config.json, model.safetensors and the tokenizer's files, all or none.

        Raises:
            CheckpointError: the disk is full or refuses; what was there is intact.
        """
        contents = Contents(self.network, self.tokenizer, self.names, self.max_len)
        with replacing_parts(folder) as partial:
            contents.write(partial)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def predict(
        self,
        texts: Iterable[Text] | LabelledTexts,
        *,
        batch_size: int = BATCH,
        precision: str = "float32",
    ) -> Predictions:
        """The probabilities of the classes, and the likeliest class, of each text.

        Args:
            texts: texts, or pairs of them, as the network is made for.
            batch_size: texts that are classified together.
            precision: ``"float32"``, or ``"bf16"``, which is faster where the device has it.

        Raises:
            TypeError, ValueError: a text without tokens, or no text at all in its place, by its
            number; single texts instead of pairs, or pairs instead of single texts.
        """
        windows = list(self.predict_stream(texts, batch_size=batch_size, precision=precision))
        probabilities = [np.empty((0, len(self.names)), np.float32)]
        probabilities += [window.probabilities for window in windows]
        labels = [label for window in windows for label in window.labels]
        return Predictions(np.concatenate(probabilities), labels)

    def predict_stream(
        self,
        texts: Iterable[Text] | LabelledTexts,
        *,
        batch_size: int = BATCH,
        precision: str = "float32",
        window: int = _WINDOW,
        name: Callable[[int], str] = "texts[{}]".format,
    ) -> Iterator[Predictions]:
        """As :meth:`predict`, `window` texts at a time, which are read when they are needed.

        `name` is what errors call text i.
        """
        batch_size = whole("predict", "batch_size", batch_size)
        check_precision("predict", precision, self.device)
        if isinstance(texts, str):
            raise TypeError("predict: texts must be texts, or pairs of texts, got one text")
        if isinstance(texts, LabelledTexts):
            first, second = texts.first, texts.second
            texts = first if second is None else zip(first, second, strict=True)
        remaining, done = iter(texts), 0
        while some := list(islice(remaining, whole("predict", "window", window))):
            encoded = self._encoded(_as_texts(some, name, done), name, done)
            logits = self._logits(encoded, batch_size, precision)
            probabilities = torch.from_numpy(logits).softmax(1).numpy()
            labels = [self.names[number] for number in logits.argmax(1)]
            yield Predictions(probabilities, labels)
            done += len(some)

    def evaluate(
        self, data: LabelledTexts, *, batch_size: int = BATCH, precision: str = "float32"
    ) -> ClassScores:
        """How right the network is on texts whose classes are known.

        Raises:
            ValueError: there are no texts, no labels, or such as the classifier does not know; and
            as :meth:`predict`.
        """
        data = with_names(data, self.names, "evaluate: data")
        data.require("evaluate: data")
        check_precision("evaluate", precision, self.device)
        encoded = self._encoded(data, "data[{}]".format)
        logits = self._logits(encoded, batch_size, precision)
        return ClassScores.of(data.labels, logits.argmax(1), self.names)

    def _encoded(
        self, texts: LabelledTexts, name: Callable[[int], str], first: int = 0
    ) -> EncodedTexts:
        return encoded_texts(self.network, self.tokenizer, self.max_len, texts, name, first)

    @torch.no_grad()
    def _logits(self, texts: EncodedTexts, batch_size: int, precision: str) -> np.ndarray:
        """float32 [N, C]; batches are of texts of like lengths."""
        device, on_cuda = self.device, self.device.type == "cuda"
        found = np.empty((len(texts), len(self.names)), np.float32)
        outputs: list[tuple[np.ndarray, Tensor]] = []
        rows = length_buckets(texts.lengths, batch_size)
        with (
            evaluating(self.network),
            torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
        ):
            for batch in batches(texts, rows, pin=on_cuda):
                moved = batch.to(device)
                outputs.append((batch.rows, self.network(moved.first, moved.second).float()))
        for numbers, logits in outputs:  # at the end: each waits for the device
            found[numbers] = logits.cpu().numpy()
        return found


def _as_texts(texts: Sequence[Text], name: Callable[[int], str], first: int) -> LabelledTexts:
    """Single texts or pairs.

    Raises:
        TypeError: one is neither; names it by its number.
    """
    pairs = isinstance(texts[0], (tuple, list))
    for number, text in enumerate(texts, first):
        parts = text if pairs else (text,)
        good = isinstance(parts, (tuple, list)) and len(parts) == 1 + pairs
        if not (good and all(isinstance(part, str) for part in parts)):
            kind = "a pair of texts" if pairs else "a text"
            raise TypeError(f"{name(number)} must be {kind} like the first, got {text!r:.80}")
    if pairs:
        return LabelledTexts([text[0] for text in texts], [text[1] for text in texts])
    return LabelledTexts(list(texts))  # type: ignore[arg-type]


def encoded_texts(
    network: Network,
    tokenizer: Tokenizer,
    max_len: int | None,
    texts: LabelledTexts,
    name: Callable[[int], str],
    first: int = 0,
) -> EncodedTexts:
    """Texts as a network takes them.

    Args:
        name, first: what errors call text i, and the number of the first.

    Raises:
        ValueError: a text without tokens; single texts instead of pairs, or the other way round.
    """
    pairs = texts.second is not None
    if network.PAIRS is not None and pairs != network.PAIRS:
        wanted, got = ("single texts", "pairs")[:: -1 if network.PAIRS else 1]
        raise ValueError(f"{name(first)} must be of {wanted} for {network.KIND}, got {got}")
    encoded = network.encode(texts, tokenizer, max_len)
    for side in (encoded, *([] if encoded.second is None else [encoded.second])):
        empty = np.flatnonzero(np.diff(side.offsets) == 0)
        if len(empty):
            number = int(empty[0])
            kind = "a pair of texts" if pairs else "a text"
            raise ValueError(f"{name(number + first)} must be {kind} with words, and has none")
    return encoded


def with_names(data: LabelledTexts, names: Sequence[str], argument: str) -> LabelledTexts:
    """The same, with the classes' numbers being those of `names`.

    Raises:
        ValueError: there are texts of another class.
    """
    if data.labels is None or data.names == tuple(names):
        return data
    number = {name: row for row, name in enumerate(names)}
    present = [data.names[row] for row in np.flatnonzero(data.counts)]
    if unknown := [name for name in present if name not in number]:
        raise ValueError(
            f"{argument} must have labels of {', '.join(names)}, got {', '.join(unknown)}"
        )
    moved = np.array([number.get(name, 0) for name in data.names], np.int64)
    return replace(data, labels=moved[data.labels], names=tuple(names))
