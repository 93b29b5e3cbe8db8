"""Optimisers of embedding tables whose gradients are sparse, each step one fused pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.weak import WeakTensorKeyDictionary

from lexforge.ops import _checks
from lexforge.ops.embedding.row_update import row_update_

# Of tables that are updated in the backward.
_HOOKS = WeakTensorKeyDictionary()


class RowOptimizer(Optimizer):
    """What the optimisers of this module share: torch.optim's interface over `row_update_`.

    Parameters are tables [V, D], float32, float64 or bfloat16, contiguous, whose gradients are
    sparse and need not be coalesced: ``torch.nn.Embedding(..., sparse=True)`` makes such. State is
    float32, float64 with float64 tables, of the names and shapes of torch.optim's, whose state
    dicts can be loaded. Results are the same bits for any number of threads.

    With ``in_backward=True`` every backward updates the parameters as their gradients come, with
    the learning rate of that time, and drops the gradients: there is never more than one of them in
    memory. :meth:`step` is then left to what counts steps, the schedulers of learning rates; every
    backward is a step of its own, gradients are neither accumulated nor clipped, and a
    ``GradScaler`` has nothing to look at.
    """

    _in_backward = False  # as of one that was pickled, which has no hooks

    def __init__(
        self, params: Iterable[Any], defaults: dict[str, Any], in_backward: bool = False
    ) -> None:
        self._in_backward = in_backward
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take over further parameters, with settings of their own.

        Raises:
            TypeError, ValueError: settings out of range, parameters that are no tables, or, with
            ``in_backward``, that are frozen. None of the group is taken over then.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._check_settings(group)
            for p in group["params"]:
                _checks.tensor(
                    self._op, self._name(p), p, _checks.FLOATS, ("V", "D"), contiguous=True
                )
                if self._in_backward and not p.requires_grad:
                    raise ValueError(
                        f"{self._op}: {self._name(p)} is frozen, and has no backward to be "
                        "updated in: leave it out"
                    )
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise
        if self._in_backward:
            for p in group["params"]:
                # A newer optimiser takes the place of an older one: both would step.
                if (before := _HOOKS.get(p)) is not None:
                    before.remove()
                _HOOKS[p] = p.register_post_accumulate_grad_hook(self._step_in_backward)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient: none, once ``in_backward`` has done so.

        Args:
            closure: Computes the loss and its gradients once more.

        Returns:
            What the closure returned.

        Raises:
            TypeError: A gradient that is not sparse; nothing has been changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._update([(group, p) for group in self.param_groups for p in group["params"]])
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of an optimiser of the same kind, also one of torch.optim's.

        Args:
            state_dict: From ``state_dict()``; it is copied.

        Raises:
            ValueError: Of an optimiser of torch's that goes another way: ``amsgrad`` and others.
        """
        before = self.param_groups
        for group in state_dict["param_groups"]:
            for name in ("amsgrad", "maximize", "decoupled_weight_decay"):
                if group.get(name):
                    raise ValueError(f"{self._op}: {name} is not supported, and the state has it")
        super().load_state_dict(state_dict)
        for group, old in zip(self.param_groups, before, strict=True):
            for name, value in old.items():  # torch.optim's have no `lazy`
                group.setdefault(name, value)
        # Once more: torch's has turned all state to the dtype of the parameters.
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        own = [p for group in self.param_groups for p in group["params"]]
        for index, p in zip(saved, own, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if not isinstance(value, Tensor) or name == "step":
                    continue
                value = value.to_dense() if value.is_sparse else value
                dtype = _checks.stat_dtype(p) if value.is_floating_point() else value.dtype
                self.state[p][name] = value.to(p.device, dtype, copy=True).contiguous()

    # ---- What the optimisers are made of --------------------------------------------------------

    def _check_settings(self, group: dict[str, Any]) -> None:
        """Refuse settings of a group that are out of range: ValueError."""
        _checks.number(self._op, "lr", group["lr"])
        _checks.number(self._op, "weight_decay", group["weight_decay"])

    def _step_table(self, group: dict[str, Any], p: Tensor, ids: Tensor, values: Tensor) -> None:
        """One step of one parameter."""
        raise NotImplementedError

    @property
    def _op(self) -> str:
        return type(self).__name__

    def _name(self, p: Tensor) -> str:
        for number, group in enumerate(self.param_groups):
            for index, one in enumerate(group["params"]):
                if one is p:
                    named = group.get("param_names")
                    return named[index] if named else f"parameter {index} of group {number}"
        return "the parameter"

    def _update(self, tables: Iterable[tuple[dict[str, Any], Tensor]]) -> None:
        given = [(group, p, p.grad) for group, p in tables if p.grad is not None]
        for _, p, grad in given:
            if grad.layout is not torch.sparse_coo or grad.sparse_dim() != 1:
                got = "a dense one" if grad.layout is torch.strided else f"one of {grad.layout}"
                if grad.layout is torch.sparse_coo:
                    got = f"one with {grad.sparse_dim()} sparse dimensions"
                raise TypeError(
                    f"{self._op}: the gradient of {self._name(p)} must be sparse in its rows, as "
                    f"nn.Embedding(sparse=True) makes it, got {got}"
                )
        with torch.no_grad():
            for group, p, grad in given:
                self._check_settings(group)
                self._step_table(group, p, grad._indices()[0], grad._values())

    def _step_in_backward(self, p: Tensor) -> None:
        group = next(g for g in self.param_groups if any(one is p for one in g["params"]))
        self._update([(group, p)])
        p.grad = None

    def _next_step(self, p: Tensor) -> int:
        return int(self.state[p].get("step", 0)) + 1

    def _state_of(self, p: Tensor, name: str, shape: Sequence[int], start: float = 0.0) -> Tensor:
        """A tensor of the state, or what it starts as; nothing is kept before a step is done."""
        held = self.state[p].get(name)
        if held is not None:
            return held
        # Written now, not at the first step of each row, which would wait for its page.
        return torch.full(shape, start, dtype=_checks.stat_dtype(p), device=p.device)

    def _flags(
        self, group: dict[str, Any], p: Tensor, moments: dict[str, Tensor], momentum: bool
    ) -> dict[str, Tensor]:
        """The flags `touched` of a step that moves rows without a gradient; else nothing.

        Where there are none yet, they are made of the moments.
        """
        state = self.state[p]
        if group["lazy"] or not (momentum or group["weight_decay"]):
            state.pop("touched", None)  # they would not learn of this step
            return {}
        flags = state.get("touched")
        if flags is None:
            some = torch.zeros(p.shape[0], dtype=torch.bool, device=p.device)
            for name in moments.keys() & state.keys():
                some |= (moments[name] != 0).flatten(1).any(1)
            flags = some.to(torch.uint8)
        return {"touched": flags}


class SGD(RowOptimizer):
    """Stochastic gradient descent with momentum: torch.optim.SGD's numbers, on sparse gradients.

    Args:
        params: Tables, named ones too, or groups of them with settings of their own.
        lr: Learning rate, >= 0.
        momentum: >= 0. dampening: 0 to 1, of what the gradient adds to the momentum, but in the
            first step. nesterov: Nesterov's momentum; wants momentum, and no dampening.
        weight_decay: Added to the gradient, times the row; >= 0.
        lazy: Rows without a gradient stand still. By default they decay and go on along their
            momentum, as if the gradient were dense; without momentum and weight decay that is the
            same.
        in_backward: See :class:`RowOptimizer`.

    Raises:
        TypeError, ValueError: Settings out of range, or parameters that are no tables.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        lazy: bool = False,
        in_backward: bool = False,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "nesterov": nesterov}
        super().__init__(
            params, {**settings, "weight_decay": weight_decay, "lazy": lazy}, in_backward
        )

    def _check_settings(self, group: dict[str, Any]) -> None:
        super()._check_settings(group)
        _checks.number(self._op, "momentum", group["momentum"])
        if not 0 <= group["dampening"] <= 1:
            raise ValueError(f"SGD: dampening must be in [0, 1], got {group['dampening']}")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov wants momentum above 0 and no dampening")

    def _step_table(self, group: dict[str, Any], p: Tensor, ids: Tensor, values: Tensor) -> None:
        momentum = float(group["momentum"])
        moments, rule = {}, "sgd"
        if momentum != 0:
            rule = "nesterov" if group["nesterov"] else "momentum"
            moments["momentum_buffer"] = self._state_of(p, "momentum_buffer", p.shape)
        first = self.state[p].get("momentum_buffer") is None
        flags = self._flags(group, p, moments, momentum != 0)
        row_update_(
            p,
            ids,
            values,
            rule,
            lr=float(group["lr"]),
            first=moments.get("momentum_buffer"),
            touched=flags.get("touched"),
            weight_decay=float(group["weight_decay"]),
            decay=(momentum, 0.0),
            fresh=(1.0 if first else 1.0 - float(group["dampening"]), 1.0),
        )
        self.state[p].update(moments | flags)


class Adagrad(RowOptimizer):
    """AdaGrad (Duchi et al. 2011): torch.optim.Adagrad's numbers, on sparse gradients.

    Args:
        params: Tables, named ones too, or groups of them with settings of their own.
        lr: Learning rate, >= 0; lr_decay: step t has lr / (1 + (t - 1) lr_decay), >= 0.
        weight_decay: Added to the gradient, times the row; >= 0.
        initial_accumulator_value: Where the sums of squares start, >= 0. eps: > 0.
        lazy: With weight decay, rows without a gradient stand still; by default they decay, as if
            the gradient were dense.
        in_backward: See :class:`RowOptimizer`.

    Raises:
        TypeError, ValueError: Settings out of range, or parameters that are no tables.
    """

    _rule = "adagrad"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        lazy: bool = False,
        in_backward: bool = False,
    ) -> None:
        settings = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        settings["initial_accumulator_value"] = initial_accumulator_value
        super().__init__(params, {**settings, "lazy": lazy}, in_backward)

    def _check_settings(self, group: dict[str, Any]) -> None:
        super()._check_settings(group)
        for name in ("lr_decay", "initial_accumulator_value"):
            _checks.number(self._op, name, group[name])
        _checks.number(self._op, "eps", group["eps"], above=0)

    def _sums(self, p: Tensor) -> tuple[int, ...]:
        return tuple(p.shape)

    def _step_table(self, group: dict[str, Any], p: Tensor, ids: Tensor, values: Tensor) -> None:
        sums = self._state_of(p, "sum", self._sums(p), float(group["initial_accumulator_value"]))
        step = self._next_step(p)
        flags = self._flags(group, p, {}, False)
        row_update_(
            p,
            ids,
            values,
            self._rule,
            lr=float(group["lr"]) / (1 + (step - 1) * float(group["lr_decay"])),
            first=sums,
            touched=flags.get("touched"),
            weight_decay=float(group["weight_decay"]),
            eps=float(group["eps"]),
        )
        self.state[p].update({"step": torch.tensor(float(step)), "sum": sums, **flags})


class RowwiseAdagrad(Adagrad):
    """AdaGrad with one sum for a row, of the mean of its squared gradients: a D-th of the state.

    That of recommendation models (Naumov et al. 2019, arXiv:1906.00091; FBGEMM's
    ``EXACT_ROWWISE_ADAGRAD``). Arguments as of :class:`Adagrad`.
    """

    _rule = "rowwise_adagrad"

    def _sums(self, p: Tensor) -> tuple[int, ...]:
        return (p.shape[0],)


class Adam(RowOptimizer):
    """Adam (Kingma and Ba 2015) on sparse gradients, exact or lazy.

    Args:
        params: Tables, named ones too, or groups of them with settings of their own.
        lr: Learning rate, >= 0.
        betas: Decay of the moments, each in [0, 1). eps: > 0.
        weight_decay: Added to the gradient, times the row; >= 0.
        lazy: False: torch.optim.Adam's numbers with the dense gradient. A row goes on moving along
            its first moment after its gradients, so that a step reads all rows that ever had one.
            True: torch.optim.SparseAdam's. Rows without a gradient, and their moments, stand still,
            and a step costs what its gradient does.
        in_backward: See :class:`RowOptimizer`.

    Raises:
        TypeError, ValueError: Settings out of range, or parameters that are no tables.

    >>> embedding = torch.nn.Embedding(1000, 16, sparse=True)
    >>> optimizer = Adam(embedding.parameters(), lr=0.01)
    >>> embedding(torch.tensor([3, 5, 3])).sum().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        lazy: bool = False,
        in_backward: bool = False,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "lazy": lazy}, in_backward)

    def _check_settings(self, group: dict[str, Any]) -> None:
        super()._check_settings(group)
        if not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"Adam: betas must be in [0, 1), got {group['betas']}")
        _checks.number(self._op, "eps", group["eps"], above=0)

    def _step_table(self, group: dict[str, Any], p: Tensor, ids: Tensor, values: Tensor) -> None:
        names = ("exp_avg", "exp_avg_sq")
        moments = {name: self._state_of(p, name, p.shape) for name in names}
        flags = self._flags(group, p, moments, True)
        step = self._next_step(p)
        beta1, beta2 = (float(beta) for beta in group["betas"])
        root = math.sqrt(1 - beta2**step)
        row_update_(
            p,
            ids,
            values,
            "adam",
            lr=float(group["lr"]) * root / (1 - beta1**step),
            first=moments["exp_avg"],
            second=moments["exp_avg_sq"],
            touched=flags.get("touched"),
            weight_decay=float(group["weight_decay"]),
            decay=(beta1, beta2),
            fresh=(1 - beta1, 1 - beta2),
            eps=float(group["eps"]) * (1.0 if group["lazy"] else root),
        )
        self.state[p].update({"step": torch.tensor(float(step)), **moments, **flags})
