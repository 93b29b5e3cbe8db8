"""First values of parameters, from a seed, the same on every device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from lexforge.ops.sampling.sampling import seed_from

_Layer = TypeVar("_Layer", bound=nn.Module)


class InitialConfig(Protocol):
    """What first values ask of a model's configuration."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def initializer_range(self) -> float | None: ...


# As a seed: leave the parameters as they are, for one who sets them all.
UNSET = torch.Generator()


def generator_of(seed: int | torch.Generator | None) -> torch.Generator | None:
    if seed is None or isinstance(seed, torch.Generator):
        return seed
    return torch.Generator().manual_seed(seed_from(seed))


def unset(layer: type[_Layer], *arguments) -> _Layer:
    """A layer on the default device whose parameters are not filled.

    torch's own ``skip_init`` goes by way of the meta device, and imports a compiler for it.
    """
    silent = type(layer.__name__, (layer,), {"reset_parameters": lambda self: None})
    made = silent(*arguments, device=torch.get_default_device())
    made.__class__ = layer
    return made


@torch.no_grad()
def initialise(
    module: nn.Module, config: InitialConfig, seed: int | torch.Generator | None
) -> None:
    """Give all parameters their first values, as ``config.initializer_range`` tells."""
    if seed is UNSET:
        return
    generator = generator_of(seed)
    deviation = config.initializer_range

    def draw(parameter: Tensor, fill: Callable, *numbers: float) -> None:
        if parameter.is_meta:
            return
        # On the CPU, so that a seed means the same for every device.
        values = torch.empty_like(parameter, device="cpu")
        parameter.copy_(fill(values, *numbers, generator=generator))

    for layer in module.modules():
        if isinstance(layer, nn.LayerNorm):
            nn.init.ones_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding):
            draw(layer.weight, nn.init.normal_, 0.0, 1.0 if deviation is None else deviation)
        elif isinstance(layer, nn.Linear) or isinstance(getattr(layer, "bias", None), nn.Parameter):
            tensors = [layer.get_parameter(name) for name in _filled(layer)]
            inputs = tensors[0].shape[1] if tensors[0].dim() == 2 else config.hidden_size
            bound = 1 / math.sqrt(inputs)  # as nn.Linear has it
            for parameter in tensors:
                if deviation is None:
                    draw(parameter, nn.init.uniform_, -bound, bound)
                elif parameter.dim() == 1:
                    nn.init.zeros_(parameter)
                else:
                    draw(parameter, nn.init.normal_, 0.0, deviation)


def _filled(layer: nn.Module) -> list[str]:
    """The parameters of a layer; a tied one has no weight of its own, and some have no bias."""
    return [name for name in ("weight", "bias") if getattr(layer, name) is not None]
