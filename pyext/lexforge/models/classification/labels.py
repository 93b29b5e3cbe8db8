"""The names of classes, as transformers writes them into a config.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lexforge._display import printable
from lexforge.training.checkpoint import CONFIG


def labels_record(names: Sequence[str]) -> dict[str, Any]:
    """What a config.json says of the classes: names by number, and numbers by name."""
    return {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }


def class_names(config: Mapping[str, Any], size: int) -> tuple[str, ...]:
    """The names of C classes, by number, of a config.json; LABEL_0, LABEL_1, ... where it has none.

    Raises:
        ValueError: there are not C, some are alike, or ``label2id`` says something else.
    """
    usual = {str(number): f"LABEL_{number}" for number in range(size)}
    found, numbers = config.get("id2label"), config.get("label2id")
    if found is None:
        if config.get("num_labels", size) != size:
            raise ValueError(f"{CONFIG}: num_labels must be {size}, got {config['num_labels']!r}")
        return tuple(usual.values())
    if (
        not isinstance(found, Mapping)
        or found.keys() != usual.keys()
        or len({name for name in found.values() if isinstance(name, str)}) != size
    ):
        raise ValueError(
            f"{CONFIG}: id2label must name {size} classes, 0 to {size - 1}, "
            f"got {printable(str(found)):.80}"
        )
    names = tuple(found[number] for number in usual)
    # Files whose classes were named later may still number the usual names.
    if numbers not in (None, labels_record(names)["label2id"], _turned(usual)):
        raise ValueError(
            f"{CONFIG}: label2id must be id2label turned round, got {printable(str(numbers)):.80}"
        )
    return names


def _turned(usual: Mapping[str, str]) -> dict[str, int]:
    return {name: int(number) for number, name in usual.items()}
