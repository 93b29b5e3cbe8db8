"""How sentence-transformers makes one vector of a text: what its folders say of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from lexforge._arguments import whole
from lexforge.models.weights import read_weights
from lexforge.text.lines import read_json
from lexforge.training.checkpoint import CheckpointError

MODULES = "modules.json"
# In the order in which sentence-transformers lays the vectors of several end to end.
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# Of Dense layers, by the names of torch's classes.
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.Sigmoid, nn.SiLU)
}
_ONE_TEXT = "sentence_embedding"  # what a Dense layer takes and gives
_HELP = "give what is wanted of the encoder alone (--what)"


class Pooling(NamedTuple):
    """What a folder asks of :func:`lexforge.bert.encode`."""

    folder: Path  # of the encoder
    what: tuple[str, ...]  # vectors that are laid end to end
    dense: nn.Sequential | None  # layers that they go through then
    normalize: bool
    max_len: int | None  # most tokens, <cls> and <sep> included
    lowercase: bool  # the text first, whatever the tokenizer does


def read_pooling(folder: str | os.PathLike) -> Pooling | None:
    """What modules.json of a folder and the configurations that it names say; None without one.

    Raises:
        ValueError, CheckpointError: a file is damaged, or asks for what there is not: another kind
            of module, another order, another pooling or activation, a prompt before each text.
    """
    folder = Path(folder)
    if not (path := folder / MODULES).is_file():
        return None
    pooling = Pooling(folder, ("mean",), None, False, None, False)
    dense: list[nn.Module] = []
    for module in read_json(path, list):
        kind, where = _kind(path, module)
        if pooling.normalize:
            raise ValueError(f"{path}: nothing may follow Normalize, got {kind}: {_HELP}")
        if kind == "Transformer":
            pooling = pooling._replace(folder=where)
            if (settings := where / "sentence_bert_config.json").is_file():
                pooling = pooling._replace(**_of_transformer(settings))
        elif kind == "Pooling":
            pooling = pooling._replace(what=_modes(where / "config.json"))
        elif kind == "Dense":
            dense += _dense(where)
        elif kind == "Normalize":
            pooling = pooling._replace(normalize=True)
        else:
            raise ValueError(
                f"{path}: modules must be Transformer, Pooling, Dense and Normalize, got {kind}: "
                f"{_HELP}"
            )
    settings = folder / "config_sentence_transformers.json"
    if settings.is_file() and (prompt := read_json(settings).get("default_prompt_name")):
        raise ValueError(
            f"{settings}: default_prompt_name must be null, got {prompt!r}: write the prompt "
            f"before each text, and {_HELP}"
        )
    return pooling._replace(dense=nn.Sequential(*dense) if dense else None)


def _of_transformer(path: Path) -> dict[str, Any]:
    settings = read_json(path)
    most = settings.get("max_seq_length")
    if most is not None and type(most) is not int:
        raise ValueError(f"{path}: max_seq_length must be a number, got {most!r}")
    return {"max_len": most, "lowercase": bool(settings.get("do_lower_case", False))}


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


def _modes(path: Path) -> tuple[str, ...]:
    settings = read_json(path)
    modes = tuple(mode for key, mode in _MODES.items() if settings.get(key) is True)
    if (named := settings.get("pooling_mode")) is not None:
        modes = (named,) if named in _MODES.values() else ()
    if not modes:
        got = "none" if named is None else repr(named)
        raise ValueError(
            f"{path}: pooling_mode must be one of {', '.join(_MODES.values())}, got {got}: {_HELP}"
        )
    return modes


def _dense(folder: Path) -> list[nn.Module]:
    """A linear layer and its activation."""
    path = folder / "config.json"
    settings = read_json(path)
    for key in ("module_input_name", "module_output_name"):
        if (name := settings.get(key) or _ONE_TEXT) != _ONE_TEXT:
            raise ValueError(f"{path}: {key} must be {_ONE_TEXT}, got {name!r}: {_HELP}")
    named = str(settings.get("activation_function", "Tanh"))
    if (activation := _ACTIVATIONS.get(named.rsplit(".", 1)[-1])) is None:
        known = ", ".join(_ACTIVATIONS)
        raise ValueError(
            f"{path}: activation_function must be one of {known}, got {named!r}: {_HELP}"
        )
    size = {
        key: whole(str(path), key, settings.get(key)) for key in ("in_features", "out_features")
    }
    with torch.device("meta"):
        layer = nn.Linear(**size, bias=bool(settings.get("bias", True)))
    found = read_weights(folder, lambda name: folder / name)
    try:
        layer.load_state_dict(
            {name.removeprefix("linear."): tensor.float() for name, tensor in found.items()},
            assign=True,
        )
    except RuntimeError as error:
        found_instead = " ".join(str(error).split())
        raise CheckpointError(
            f"{folder} does not hold the layer of its configuration: {found_instead}"
        ) from error
    return [layer, activation()]
