"""How sentence-transformers makes one vector of a text: what its folders say of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from lexforge.text.lines import read_json

MODULES = "modules.json"
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class Pooling(NamedTuple):
    """What a folder asks of :func:`lexforge.bert.encode`."""

    folder: Path  # of the encoder
    what: str  # "cls" or "mean"
    normalize: bool
    max_len: int | None  # most tokens, <cls> and <sep> included


def read_pooling(folder: str | os.PathLike) -> Pooling | None:
    """What modules.json of a folder and the configurations that it names say; None without one.

    Raises:
        ValueError: a file is damaged, or asks for what there is not: another kind of module, or a
            pooling other than the vector of ``<cls>`` or the mean of all tokens.
    """
    folder = Path(folder)
    if not (path := folder / MODULES).is_file():
        return None
    encoder, what, normalize, max_len = folder, "mean", False, None
    for module in read_json(path, list):
        kind, where = _kind(path, module)
        if kind == "Transformer":
            encoder = where
            if (settings := where / "sentence_bert_config.json").is_file():
                max_len = read_json(settings).get("max_seq_length")
                if max_len is not None and type(max_len) is not int:
                    raise ValueError(
                        f"{settings}: max_seq_length must be a number, got {max_len!r}"
                    )
        elif kind == "Pooling":
            what = _mode(where / "config.json")
        elif kind == "Normalize":
            normalize = True
        else:
            raise ValueError(
                f"{path}: modules must be Transformer, Pooling and Normalize, got {kind}: "
                f"give what is wanted of the encoder alone (--what)"
            )
    return Pooling(encoder, what, normalize, max_len)


def _kind(path: Path, module: Any) -> tuple[str, Path]:
    """The class of a module, without the package's name, and its folder."""
    try:
        kind, where = module["type"].rsplit(".", 1)[-1], module["path"]
        inside = not Path(where).is_absolute() and ".." not in Path(where).parts
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: modules must have a type and a path, got {module!r}") from error
    if not inside:
        raise ValueError(f"{path}: modules must be folders inside of it, got {where!r}")
    return kind, path.parent / where


def _mode(path: Path) -> str:
    settings = read_json(path)
    modes = [mode for key, mode in _MODES.items() if settings.get(key) is True]
    if isinstance(settings.get("pooling_mode"), str):
        modes = [settings["pooling_mode"]]
    if modes not in (["cls"], ["mean"]):
        raise ValueError(
            f"{path}: the pooling must be cls or mean, got {' and '.join(modes) or 'none'}: "
            f"give another (--what)"
        )
    return modes[0]
