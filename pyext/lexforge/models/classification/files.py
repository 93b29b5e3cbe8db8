"""The folder of a classifier.

config.json           kind of network (``model_type``), its shape, ``id2label`` and ``label2id``,
                      and ``max_len``, the most tokens of a text
model.safetensors     its parameters
vocab.txt, ...        what the tokenizer saves itself as
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lexforge._version import __version__
from lexforge.models.bert.config import OWN_TYPE
from lexforge.models.classification.bert import BertClassifier
from lexforge.models.classification.birnn import BiRNN
from lexforge.models.classification.decomposable_attention import DecomposableAttention
from lexforge.models.classification.labels import class_names, labels_record
from lexforge.models.classification.network import Network
from lexforge.models.classification.textcnn import TextCNN
from lexforge.text.tokenizers.published import load_tokenizer
from lexforge.training.checkpoint import (
    CONFIG,
    FORMAT_VERSION,
    STATE,
    TENSORS,
    CheckpointError,
    read_json,
    read_parts,
    write_json,
    write_tensors,
)
from lexforge.training.network_checkpoint import BEST

if TYPE_CHECKING:
    from lexforge.text.tokenizers.base import Tokenizer

# Those that a classifier may be made of, by name.
NETWORKS: dict[str, type[Network]] = {
    network.KIND: network for network in (BiRNN, TextCNN, DecomposableAttention, BertClassifier)
}


class Contents(NamedTuple):
    """What a folder holds."""

    network: Network
    tokenizer: Tokenizer
    names: tuple[str, ...]  # of the classes
    max_len: int | None  # most tokens of a text

    def write(self, folder: Path) -> None:
        """The files, into a folder that is there."""
        config, tensors = self.network.contents()
        header = {"format_version": FORMAT_VERSION, "library_version": __version__}
        labels = labels_record(self.names)
        kind = {"model_type": self.network.KIND}
        write_json(folder / CONFIG, {**header, **kind, **config, **labels, "max_len": self.max_len})
        write_tensors(folder / TENSORS, tensors)
        self.tokenizer.save(folder)


def read_contents(folder: str | os.PathLike) -> Contents:
    """What :meth:`Contents.write` wrote.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: what is there is no classifier; says what it is.
        CheckpointError: a part is missing or damaged.
    """
    return read_parts(folder, [CONFIG], lambda part: _read(Path(folder), part))


def of_best(folder: str | os.PathLike) -> Path:
    """The folder, or that of the best network of the run that it holds."""
    folder = Path(folder)
    best = folder / BEST
    if (folder / STATE).is_file() and (best / CONFIG).is_file():
        state = read_json(folder / STATE).get("state")
        if isinstance(state, Mapping) and state.get("evaluations"):
            return best
    return folder


def _read(folder: Path, part: Callable[[str], Path]) -> Contents:
    config = read_json(part(CONFIG))
    kind = str(config.get("model_type"))
    network_type = NETWORKS.get(BertClassifier.KIND if kind == OWN_TYPE else kind)
    if network_type is None:
        raise ValueError(f"{folder} must hold a classifier, and holds {described(config)}")
    try:
        network, tokenizer = network_type.read(folder, part), load_tokenizer(folder)
        names = class_names(config, network.num_classes)
        max_len = config.get("max_len")
        if max_len is not None and not (type(max_len) is int and max_len > 0):
            raise ValueError(f"{CONFIG}: max_len must be a whole number above 0, got {max_len!r}")
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise CheckpointError(f"{folder} is damaged: {error}") from error
    return Contents(network, tokenizer, names, max_len)


def described(config: Mapping[str, Any]) -> str:
    """What a config.json is of, in words."""
    architectures: Sequence[Any] = config.get("architectures") or ()
    if architectures and isinstance(architectures, Sequence):
        return f"a {architectures[0]}"
    if kind := config.get("model"):
        return f"a model of {kind}"
    kind = config.get("model_type")
    return "another model" if kind is None else f"a model of type {kind!r}"
