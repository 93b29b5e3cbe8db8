"""What the items of the smoke program share: how they are listed, and how results are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

# Allowed beyond what plain torch's own error is: part of what rounding the result costs anyway in
# bfloat16; the approximate exp and rsqrt of the hardware in float32.
_ROUNDINGS = {torch.bfloat16: 0.25, torch.float32: 2.0, torch.float64: 16.0}


@dataclass(frozen=True)
class Item:
    """One way through some ops.

    Args:
        name: what is seen of it.
        ops: names of the ops whose CUDA kernels it runs.
        function: of the device; figures for the record. It raises where a result is wrong.
    """

    name: str
    ops: tuple[str, ...]
    function: Callable[[torch.device], dict[str, float]]


class Items(list[Item]):
    """The items of a module, in order."""

    def add(self, name: str, function: Callable, *ops: str, **options: object) -> None:
        """A function of the device and these options; it may return figures."""
        self.append(Item(name, ops, lambda device: function(device, **options) or {}))


def rms(x: Tensor) -> float:
    return x.double().square().mean().sqrt().item() if x.numel() else 0.0


def as_good_as_plain(
    ours: Iterable[Tensor],
    plain: Iterable[Tensor],
    exact: Iterable[Tensor],
    dtype: torch.dtype,
) -> dict[str, float]:
    """The worst error in terms of what is allowed: twice plain torch's, and part of a rounding.

    Args:
        ours, plain, exact: results and gradients of an op, of plain torch in the same precision,
            and in float64.
        dtype: whose rounding counts.

    Returns:
        "error", the root mean square of the worst one of them, and "allowed" for it.

    Raises:
        AssertionError: one is worse than allowed, or not finite.
    """
    worst, bound = 0.0, float("inf")
    for number, (x, y, z) in enumerate(zip(ours, plain, exact, strict=True)):
        assert x.shape == z.shape, f"result {number}: {tuple(x.shape)}, not {tuple(z.shape)}"
        # Plain torch's error of a few numbers may be small by luck; in float64 it is the oracle.
        share = _ROUNDINGS[dtype] if z.numel() > 256 else max(1.0, _ROUNDINGS[dtype])
        rounding = share * torch.finfo(dtype).eps * rms(z)
        error = rms(x.double() - z)
        allowed = 2 * rms(y.double() - z) + rounding
        assert error <= allowed, f"result {number}: error {error:.3g}, allowed {allowed:.3g}"
        if error * bound >= worst * allowed:
            worst, bound = error, allowed
    return {"error": worst, "allowed": bound}


def near(x: Tensor, exact: Tensor, allowed: float, what: str = "result") -> dict[str, float]:
    """The largest error of an element, which must not be larger than allowed."""
    exact = exact.to(x.device)
    error = (x.double() - exact.double()).abs().max().item() if x.numel() else 0.0
    assert error <= allowed, f"{what}: error {error:.3g}, allowed {allowed:.3g}"
    return {"error": error, "allowed": allowed}


def equal(x: Tensor, expected: Tensor, what: str = "result") -> None:
    """Bit for bit."""
    x = x.cpu()
    assert torch.equal(x, expected.to(x.dtype)), f"{what}: not what the reference gives"


def differentiate(
    function: Callable[..., Tensor], leaves: list[Tensor], grad: Tensor | None = None
) -> list[Tensor]:
    """The result of a function of the leaves, and its gradients."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    out = function(*leaves)
    weights = torch.ones_like(out) if grad is None else grad.to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, weights)]
