"""What a network must be that tells the classes of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from lexforge.ops.sampling.sampling import seed_from
from lexforge.text.classification.encoded import EncodedTexts
from lexforge.training.checkpoint import CONFIG, TENSORS, check_finite, read_json, read_tensors
from lexforge.training.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Self

    from lexforge.text.classification.batches import RaggedTexts
    from lexforge.text.classification.texts import LabelledTexts
    from lexforge.text.tokenizers.base import Tokenizer


class Network(nn.Module):
    """A network that tells the classes of texts, or of pairs of texts.

    Texts come as they are, without padding. What a network draws while it trains comes from torch's
    generator, which whoever trains it seeds before every step.

    Attributes:
        KIND: its name, in files as ``model_type``.
        PAIRS: whether it is of pairs of texts; None: of either.
        names, tokenizer: of its classes and of its texts, where it knows them.
        most_tokens: the largest ``max_len``, where there is one.
    """

    KIND: ClassVar[str]
    PAIRS: ClassVar[bool | None]
    names: tuple[str, ...] | None = None
    tokenizer: Tokenizer | None = None
    most_tokens: int | None = None

    def forward(self, first: RaggedTexts, second: RaggedTexts | None = None) -> Tensor:
        """Logits [B, C] of B texts, or of B pairs of them."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        """C."""
        raise NotImplementedError

    def tables(self) -> list[tuple[nn.Embedding, bool]]:
        """What pretrained vectors fill, and whether it is trained where nothing else is said."""
        return []

    def encode(
        self, texts: LabelledTexts, tokenizer: Tokenizer, max_len: int | None
    ) -> EncodedTexts:
        """Texts as numbers, as the network takes them; of `max_len` tokens at most."""
        return EncodedTexts.of(texts, tokenizer, max_len)

    def contents(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What files hold: the content of config.json, and the tensors by name."""
        raise NotImplementedError

    @classmethod
    def read(cls, folder: Path, part: Callable[[str], Path]) -> Self:
        """The network of a folder in which :meth:`contents` are.

        Args:
            part: where a file of the folder is (:func:`lexforge.training.checkpoint.read_parts`).

        Raises:
            KeyError, TypeError, ValueError: fields or tensors are missing, or of another shape.
        """
        raise NotImplementedError


class WordNetwork(Network):
    """A network on a table of word vectors, made of a :class:`Settings`.

    Args:
        config: what it is made of.
        seed: of the first values, which are those of the reference text; by default they come from
            torch's generator.

    Attributes:
        XAVIER: whether weights begin uniform by Xavier's rule, or as torch makes them.
    """

    CONFIG: ClassVar[type[Settings]]
    XAVIER: ClassVar[bool] = False
    config: Any

    def __init__(self, config: Settings, *, seed: int | None = None):
        super().__init__()
        self.config = config
        with drawing(seed):
            self._build()
            if self.XAVIER:
                self.apply(_fill)

    def _build(self) -> None:
        """Make the layers."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        """C."""
        return self.config.num_classes

    def contents(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What files hold: the content of config.json, and the tensors by name."""
        return self.config.record(), {name: x.detach() for name, x in self.named_parameters()}

    @classmethod
    def read(cls, folder: Path, part: Callable[[str], Path]) -> Self:
        """See :meth:`Network.read`."""
        network = cls(cls.CONFIG.of(read_json(part(CONFIG))), seed=0)
        tensors, own = read_tensors(part(TENSORS)), dict(network.named_parameters())
        problems = [f"{name} is missing" for name in own.keys() - tensors.keys()]
        problems += [f"{name} is unexpected" for name in tensors.keys() - own.keys()]
        problems += [
            f"{name} must be {[*own[name].shape]}, got {[*tensors[name].shape]}"
            for name in own.keys() & tensors.keys()
            if own[name].shape != tensors[name].shape
        ]
        if problems:
            raise ValueError(f"{TENSORS}: {'; '.join(sorted(problems))}")
        check_finite(tensors, part(TENSORS))
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(tensors[name])
        return network


def _fill(layer: nn.Module) -> None:
    """Xavier's first values of weights; biases keep torch's."""
    if isinstance(layer, nn.Embedding):
        return
    for name, parameter in layer.named_parameters(recurse=False):
        if "weight" in name:
            nn.init.xavier_uniform_(parameter)


def distinct(texts: RaggedTexts) -> tuple[Tensor, Tensor | None]:
    """The tokens of a batch, each once, and for every place which of them is there.

    On CUDA, where telling them apart waits for the device: all as they stand, and None.
    """
    if texts.tokens.device.type == "cuda":
        return texts.tokens, None
    return texts.tokens.unique(return_inverse=True)


def no_pairs(owner: str, second: RaggedTexts | None) -> None:
    """ValueError if there is a second text."""
    if second is not None:
        raise ValueError(f"{owner}: second must be None: the network is of single texts")


@contextmanager
def drawing(seed: int | None, device: torch.device | None = None) -> Iterator[None]:
    """torch's generators of the CPU and of a device, seeded within the block.

    None: they are as they were, and go on.
    """
    if seed is None:
        yield
        return
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed_from(seed))
        yield
