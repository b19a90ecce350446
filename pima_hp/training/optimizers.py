"""Update rules with a member axis: one row for each class of `torch.optim`, equal to it member by member.

A rule sees all parameters of a stack as one matrix (M, P). A hyperparameter is a float when all members
share it, else a float64 array (M, 1); what is derived from it (1 - beta, bias corrections) is computed in
double precision and rounded once, as torch does with its Python floats.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pima_hp.config import OptimizerSection

Value = float | NDArray[np.float64]
Slots = dict[str, Tensor]


@dataclass
class Hyperparameters:
    """The numbers of a rule, by torch's argument names; `betas` come as `beta1` and `beta2`."""

    values: dict[str, Value]
    flags: dict[str, bool]

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def used(self, name: str) -> bool:
        """Whether any member has a value other than zero."""
        return bool(np.any(self.values[name]))


def _operand(value: Value, like: Tensor) -> float | Tensor:
    """Return a value as torch takes it beside a (M, P) tensor."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value).to(like)
    return float(value)


# Whether a value is a float or a column must not show in the result, or a run would depend on its neighbours:
# only products, quotients, sums and roots are made of it, each rounded once: never torch's addcmul, addcdiv or lerp
# with a hyperparameter as an operand,
# nor its quotient by a number, which is a product on CUDA; never a power, which numpy and Python round differently.


def _add_product(target: Tensor, left: Tensor, right: Tensor, scale: Value) -> None:
    """Add scale * left * right to target."""
    target.add_(left.mul(right).mul_(_operand(scale, target)))


def _add_quotient(target: Tensor, above: Tensor, below: Tensor, scale: Value) -> None:
    """Add scale * above / below to target."""
    target.add_(above.div(below).mul_(_operand(scale, target)))


def _approach(target: Tensor, goal: Tensor, share: Value) -> Tensor:
    """Move target by a share of its distance from the goal, starting from the nearer of the two, as torch's lerp does.

    From the farther one, a small goal would keep no correct digit: 1e16 + (1 - 1e16) is 0.
    """
    distance, near = goal.sub(target), np.asarray(share) < 0.5
    if near.all():
        return target.add_(distance.mul_(_operand(share, target)))
    from_goal = goal.sub(distance.mul(_operand(1 - share, target)))
    if not near.any():
        return target.copy_(from_goal)
    from_target = target.add(distance.mul_(_operand(share, target)))
    return target.copy_(torch.where(torch.from_numpy(near).to(target.device), from_target, from_goal))


def _power(h: Hyperparameters, name: str) -> Value:
    """Return a hyperparameter to the power of the step, by one product a step."""
    power = h.values[f"{name}^step"] = h.values.get(f"{name}^step", 1.0) * h[name]
    return power


def _with_weight_decay(weights: Tensor, gradient: Tensor, h: Hyperparameters) -> Tensor:
    return gradient + weights * _operand(h["weight_decay"], weights) if h.used("weight_decay") else gradient


def _sgd(weights: Tensor, gradient: Tensor, slots: Slots, h: Hyperparameters, step: int) -> None:
    gradient = _with_weight_decay(weights, gradient, h)
    if h.used("momentum"):
        buffer, momentum = slots["momentum_buffer"], _operand(h["momentum"], weights)
        if step == 1:
            buffer.copy_(gradient)
        else:
            buffer.mul_(momentum).add_(gradient * _operand(1 - h["dampening"], weights))
        gradient = gradient + buffer * momentum if h.flags["nesterov"] else buffer
    weights.sub_(gradient * _operand(h["lr"], weights))


def _rmsprop(weights: Tensor, gradient: Tensor, slots: Slots, h: Hyperparameters, step: int) -> None:  # noqa: ARG001
    gradient = _with_weight_decay(weights, gradient, h)
    square = slots["square_avg"].mul_(_operand(h["alpha"], weights))
    _add_product(square, gradient, gradient, 1 - h["alpha"])
    if h.flags["centered"]:
        mean = _approach(slots["grad_avg"], gradient, 1 - h["alpha"])
        square = square.addcmul(mean, mean, value=-1)
    below = square.sqrt().add_(_operand(h["eps"], weights))
    if h.used("momentum"):
        buffer = slots["momentum_buffer"].mul_(_operand(h["momentum"], weights)).addcdiv_(gradient, below)
        weights.sub_(buffer * _operand(h["lr"], weights))
    else:
        _add_quotient(weights, gradient, below, -h["lr"])


def _adagrad(weights: Tensor, gradient: Tensor, slots: Slots, h: Hyperparameters, step: int) -> None:
    if step == 1:
        slots["sum"].add_(_operand(h["initial_accumulator_value"], weights))
    gradient = _with_weight_decay(weights, gradient, h)
    below = slots["sum"].addcmul_(gradient, gradient).sqrt().add_(_operand(h["eps"], weights))
    _add_quotient(weights, gradient, below, -h["lr"] / (1 + (step - 1) * h["lr_decay"]))


def _adam_moments(gradient: Tensor, slots: Slots, h: Hyperparameters) -> tuple[Tensor, Tensor]:
    mean = _approach(slots["exp_avg"], gradient, 1 - h["beta1"])
    square = slots["exp_avg_sq"].mul_(_operand(h["beta2"], gradient))
    _add_product(square, gradient, gradient, 1 - h["beta2"])
    return mean, square


def _adam_step(weights: Tensor, mean: Tensor, square: Tensor, h: Hyperparameters) -> None:
    root = _operand(1 / np.sqrt(1 - _power(h, "beta2")), weights)
    below = square.sqrt().mul_(root).add_(_operand(h["eps"], weights))
    _add_quotient(weights, mean, below, -h["lr"] / (1 - _power(h, "beta1")))


def _adam(weights: Tensor, gradient: Tensor, slots: Slots, h: Hyperparameters, step: int) -> None:  # noqa: ARG001
    mean, square = _adam_moments(_with_weight_decay(weights, gradient, h), slots, h)
    _adam_step(weights, mean, square, h)


def _adamw(weights: Tensor, gradient: Tensor, slots: Slots, h: Hyperparameters, step: int) -> None:  # noqa: ARG001
    weights.mul_(_operand(1 - h["lr"] * h["weight_decay"], weights))
    mean, square = _adam_moments(gradient, slots, h)
    _adam_step(weights, mean, square, h)


def _adamax(weights: Tensor, gradient: Tensor, slots: Slots, h: Hyperparameters, step: int) -> None:  # noqa: ARG001
    gradient = _with_weight_decay(weights, gradient, h)
    mean = _approach(slots["exp_avg"], gradient, 1 - h["beta1"])
    largest = slots["exp_inf"].mul_(_operand(h["beta2"], weights))
    torch.maximum(largest, gradient.abs().add_(_operand(h["eps"], weights)), out=largest)
    _add_quotient(weights, mean, largest, -h["lr"] / (1 - _power(h, "beta1")))


def _nadam(weights: Tensor, gradient: Tensor, slots: Slots, h: Hyperparameters, step: int) -> None:  # noqa: ARG001
    # The momentum schedule is kept in double precision: one number a member, not a parameter.
    schedule = _power(h, "schedule_decay")
    momentum = h["beta1"] * (1.0 - 0.5 * schedule)
    following = h["beta1"] * (1.0 - 0.5 * (schedule * h["schedule_decay"]))
    product = h.values["momentum_product"] = h.values.get("momentum_product", 1.0) * momentum
    gradient = _with_weight_decay(weights, gradient, h)
    mean, square = _adam_moments(gradient, slots, h)
    below = square.mul(_operand(1 / (1 - _power(h, "beta2")), weights)).sqrt_().add_(_operand(h["eps"], weights))
    _add_quotient(weights, gradient, below, -h["lr"] * (1.0 - momentum) / (1.0 - product))
    _add_quotient(weights, mean, below, -h["lr"] * following / (1.0 - product * following))


@dataclass(frozen=True)
class UpdateRule:
    """One optimizer.

    Attributes:
        update: changes weights (M, P) in place from gradients (M, P), slots and the step, counted from 1.
        slots: names of its states, each (M, P), zero at first.
        flags: arguments that change the formula; members of a stack share them.
    """

    update: Callable[[Tensor, Tensor, Slots, Hyperparameters, int], None]
    slots: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


UPDATE_RULES: dict[str, UpdateRule] = {
    "torch.optim.SGD": UpdateRule(_sgd, ("momentum_buffer",), ("nesterov",)),
    "torch.optim.RMSprop": UpdateRule(_rmsprop, ("square_avg", "grad_avg", "momentum_buffer"), ("centered",)),
    "torch.optim.Adagrad": UpdateRule(_adagrad, ("sum",)),
    "torch.optim.Adam": UpdateRule(_adam, ("exp_avg", "exp_avg_sq")),
    "torch.optim.AdamW": UpdateRule(_adamw, ("exp_avg", "exp_avg_sq")),
    "torch.optim.Adamax": UpdateRule(_adamax, ("exp_avg", "exp_inf")),
    "torch.optim.NAdam": UpdateRule(_nadam, ("exp_avg", "exp_avg_sq")),
}


def rule_arguments(section: OptimizerSection) -> dict[str, Any] | None:
    """Return all arguments of an optimizer with torch's defaults filled in; None when no rule equals it."""
    rule = UPDATE_RULES.get(str(section.target))
    if rule is None:
        return None
    defaults = _defaults(str(section.target))
    arguments = {**defaults, **section.arguments}
    for name, value in arguments.items():
        if isinstance(value, bool) and name not in rule.flags and value != defaults.get(name):
            return None  # a variant of the formula that the row does not know, such as amsgrad
    if "betas" in arguments:
        arguments["beta1"], arguments["beta2"] = arguments.pop("betas")
    if "momentum_decay" in arguments:
        arguments["schedule_decay"] = 0.96 ** arguments["momentum_decay"]
    return {name: value for name, value in arguments.items() if isinstance(value, bool | float | int)}


@cache
def _defaults(target: str) -> Mapping[str, Any]:
    signature = inspect.signature(getattr(torch.optim, target.rpartition(".")[2]))
    return {name: parameter.default for name, parameter in signature.parameters.items() if name != "params"}


@dataclass
class StackedOptimizer:
    """An update rule with the states and hyperparameters of M members."""

    rule: UpdateRule
    weights: Tensor
    hyperparameters: Hyperparameters
    step: int = 0
    slots: Slots = field(init=False)

    def __post_init__(self) -> None:
        self.slots = {name: torch.zeros_like(self.weights) for name in self.rule.slots}

    @classmethod
    def of(cls, weights: Tensor, sections: Sequence[OptimizerSection]) -> "StackedOptimizer":
        """Return the optimizer of a stack: weights (M, P), one section a member, all of one class."""
        rule = UPDATE_RULES[str(sections[0].target)]
        arguments = [rule_arguments(section) or {} for section in sections]
        flags = {name: bool(arguments[0][name]) for name in rule.flags}
        numbers = [name for name, value in arguments[0].items() if not isinstance(value, bool)]
        values = {name: per_member([float(each[name]) for each in arguments]) for name in numbers}
        return cls(rule, weights, Hyperparameters(values, flags))

    @torch.no_grad()
    def update(self, gradient: Tensor) -> None:
        """Make one step of all members from their gradients (M, P)."""
        self.step += 1
        self.rule.update(self.weights, gradient, self.slots, self.hyperparameters, self.step)

    def set_lr(self, lr: Value) -> None:
        """Set the learning rate of the next epoch."""
        self.hyperparameters.values["lr"] = lr


def per_member(values: Sequence[float]) -> Value:
    """Return the one value that all members share, or a column (M, 1) of them."""
    return values[0] if len(set(values)) == 1 else np.array(values, dtype=np.float64)[:, None]
