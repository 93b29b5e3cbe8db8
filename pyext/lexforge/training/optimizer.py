"""The optimiser of a network: which parameters decay, clipping, and state that can be saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from lexforge import _library
from lexforge.training.row_optimizers import Adam as RowAdam

OPTIMIZERS = ("adam", "adamw")
_MOMENTS = ("exp_avg", "exp_avg_sq")
_HAS_KERNEL = not _library.emulated()  # csrc/optimizer/adam_step.h


def _has_kernel(parameter: Tensor) -> bool:
    """Whether that kernel takes it and its gradient."""
    gradient = parameter.grad
    return (
        _HAS_KERNEL
        and parameter.device.type == "cpu"
        and gradient is not None
        and gradient.layout is torch.strided
        and gradient.dtype == parameter.dtype == torch.float32
        and parameter.is_contiguous()
        and gradient.is_contiguous()
    )


class NetworkOptimizer:
    """Adam or AdamW over the parameters of a network, one fused kernel a step: on the CPU our own,
    with the clipping (csrc/optimizer/adam_step.h), on a GPU torch's.

    Tables of embeddings whose gradients are sparse (``sparse=True``) are updated row by row, with
    the same numbers (:class:`lexforge.optim.Adam`); they do not decay. Nothing here waits for the
    device. On CUDA the learning rate is a tensor and the step can be captured in a graph, unless
    there are such tables.

    Args:
        network: Its parameters that require gradients, float32; one at least.
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
        self._clip, self._decoupled = clip, kind == "adamw"
        modules = [module for module in network.modules() if getattr(module, "sparse", False)]
        sparse = {id(m.weight) for m in modules if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
        everything = list(self.parameters.values())
        tables = [p for p in everything if id(p) in sparse]
        dense = [p for p in everything if id(p) not in sparse]
        on_cuda = everything[0].device.type == "cuda"
        build = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
        self._optimizers: list[torch.optim.Optimizer] = []
        if dense:
            optimizer = build(
                [
                    {"params": [p for p in dense if p.dim() > 1], "weight_decay": weight_decay},
                    {"params": [p for p in dense if p.dim() <= 1], "weight_decay": 0.0},
                ],
                lr=torch.zeros((), device=dense[0].device) if on_cuda else 0.0,
                betas=betas,
                eps=epsilon,
                fused=True,
                capturable=on_cuda,
            )
            self._optimizers.append(optimizer)
        if tables:
            self._optimizers.append(RowAdam(tables, lr=0.0, betas=betas, eps=epsilon))
        # Made at once rather than by the first step: it can be loaded and captured before that.
        self._state: dict[Tensor, dict[str, Tensor]] = {}
        for each in self._optimizers:
            for parameter in (p for group in each.param_groups for p in group["params"]):
                device = None if id(parameter) in sparse else parameter.device
                each.state[parameter] = {
                    "step": torch.zeros((), device=device),
                    **{moment: torch.zeros_like(parameter) for moment in _MOMENTS},
                }
                self._state[parameter] = each.state[parameter]

    def set_learning_rate(self, rate: float) -> None:
        """Of the steps from here on."""
        for group in (group for each in self._optimizers for group in each.param_groups):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def zero_grad(self) -> None:
        """Forget the gradients; the next backward writes instead of adding."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def step(self) -> None:
        """Clip, and change the parameters."""
        groups = self._optimizers[0].param_groups
        if len(self._optimizers) == 1 and all(map(_has_kernel, self._moved(groups))):
            self._step_at_once(groups)
            return
        if self._clip:
            self._clip_gradients()
        for optimizer in self._optimizers:
            optimizer.step()

    @staticmethod
    def _moved(groups: list[dict]) -> Iterator[Tensor]:
        """The parameters that have a gradient."""
        return (p for group in groups for p in group["params"] if p.grad is not None)

    @torch.no_grad()
    def _step_at_once(self, groups: list[dict]) -> None:
        parameters = list(self._moved(groups))
        if not parameters:  # a list of the op has a tensor at least
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        states = [self._state[p] for p in parameters]
        first, second, steps = ([each[name] for each in states] for name in (*_MOMENTS, "step"))
        decays = [group["weight_decay"] for group in groups for _ in self._moved([group])]
        torch.ops.lexforge.adam_step_.default(
            *(parameters, gradients, first, second, steps, decays, groups[0]["lr"]),
            *(*groups[0]["betas"], groups[0]["eps"], self._clip, self._decoupled),
        )
        changed = [*parameters, *gradients, *first, *second, *steps]
        torch.autograd.graph.increment_version(changed)

    def _clip_gradients(self) -> None:
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        if not any(gradient.is_sparse for gradient in gradients):
            nn.utils.clip_grad_norm_(self.parameters.values(), self._clip)
            return
        # The entries of a sparse gradient may be of one row: its norm is that of their sum.
        norms = [(g.coalesce().values() if g.is_sparse else g).norm() for g in gradients]
        scale = (self._clip / (torch.stack(norms).norm() + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            (gradient._values() if gradient.is_sparse else gradient).mul_(scale)

    def tensors(self) -> dict[str, Tensor]:
        """A copy of the steps (one per parameter: none passes without a gradient), and the moments.

        Returns:
            ``step`` [parameters], ``exp_avg.<parameter>`` and ``exp_avg_sq.<parameter>``.
        """
        moments = {
            f"{moment}.{name}": self._state[parameter][moment]
            for moment in _MOMENTS
            for name, parameter in self.parameters.items()
        }
        steps = [self._state[parameter]["step"] for parameter in self.parameters.values()]
        return {"step": torch.stack([step.to(steps[0].device) for step in steps]), **moments}

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
            state = self._state[parameter]
            state.pop("touched", None)  # of a table: made anew from the moments
            state["step"].copy_(tensors["step"][index])
            for moment in _MOMENTS:
                state[moment].copy_(tensors[f"{moment}.{name}"])

    def all_tensors(self) -> Iterable[Tensor]:
        """Everything that a step changes."""
        for parameter in self.parameters.values():
            yield parameter.detach()
            yield from self._state[parameter].values()
