"""The optimiser of a network: which parameters decay, clipping, and state that can be saved."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

OPTIMIZERS = ("adam", "adamw")
_MOMENTS = ("exp_avg", "exp_avg_sq")


class NetworkOptimizer:
    """Adam or AdamW over the parameters of a network, one fused kernel a step.

    Nothing here waits for the device. On CUDA the learning rate is a tensor and the step can be
    captured in a graph.

    Args:
        network: Its parameters that require gradients, float32.
        kind: ``"adam"`` (Kingma and Ba 2015; weight decay adds to the gradient) or ``"adamw"``
            (Loshchilov and Hutter 2019; it shrinks the weight).
        weight_decay: Of matrices. Vectors (biases, the scales of norms) do not decay.
        betas, epsilon: As in the papers.
        clip: Largest norm of all gradients together; larger ones are scaled down to it. 0 for no
            limit.

    Attributes:
        parameters: By name.
    """

    def __init__(
        self,
        network: nn.Module,
        kind: str,
        *,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        clip: float = 0.0,
    ) -> None:
        if kind not in OPTIMIZERS:
            raise ValueError(
                f"NetworkOptimizer: kind must be one of {', '.join(OPTIMIZERS)}, got {kind!r}"
            )
        self.parameters = {
            name: parameter
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
        }
        self._clip = clip
        everything = list(self.parameters.values())
        on_cuda = everything[0].device.type == "cuda"
        build = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
        self._optimizer = build(
            [
                {"params": [p for p in everything if p.dim() > 1], "weight_decay": weight_decay},
                {"params": [p for p in everything if p.dim() <= 1], "weight_decay": 0.0},
            ],
            lr=torch.zeros((), device=everything[0].device) if on_cuda else 0.0,
            betas=betas,
            eps=epsilon,
            fused=True,
            capturable=on_cuda,
        )
        # Made at once rather than by the first step: it can be loaded and captured before that.
        for parameter in everything:
            self._optimizer.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                **{moment: torch.zeros_like(parameter) for moment in _MOMENTS},
            }

    def set_learning_rate(self, rate: float) -> None:
        """Of the steps from here on."""
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def zero_grad(self) -> None:
        """Forget the gradients; the next backward writes instead of adding."""
        self._optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Clip, and change the parameters."""
        if self._clip:
            nn.utils.clip_grad_norm_(self.parameters.values(), self._clip)
        self._optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """A copy of the steps (one per parameter: none passes without a gradient), and the moments.

        Returns:
            ``step`` [parameters], ``exp_avg.<parameter>`` and ``exp_avg_sq.<parameter>``.
        """
        state = self._optimizer.state
        moments = {
            f"{moment}.{name}": state[parameter][moment]
            for moment in _MOMENTS
            for name, parameter in self.parameters.items()
        }
        steps = torch.stack([state[parameter]["step"] for parameter in self.parameters.values()])
        return {"step": steps, **moments}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`tensors`.

        Raises:
            ValueError: Listing what is missing, unexpected or of another shape.
        """
        own = self.tensors()
        problems = [f"{name} is missing" for name in own.keys() - tensors.keys()]
        problems += [f"{name} is unexpected" for name in tensors.keys() - own.keys()]
        problems += [
            f"{name} must be {tuple(own[name].shape)}, got {tuple(tensors[name].shape)}"
            for name in own.keys() & tensors.keys()
            if own[name].shape != tensors[name].shape
        ]
        if problems:
            raise ValueError(f"optimizer state: {'; '.join(sorted(problems))}")
        for index, (name, parameter) in enumerate(self.parameters.items()):
            state = self._optimizer.state[parameter]
            state["step"].copy_(tensors["step"][index])
            for moment in _MOMENTS:
                state[moment].copy_(tensors[f"{moment}.{name}"])

    def all_tensors(self) -> Iterable[Tensor]:
        """Everything that a step changes."""
        for parameter in self.parameters.values():
            yield parameter.detach()
            yield from self._optimizer.state[parameter].values()
