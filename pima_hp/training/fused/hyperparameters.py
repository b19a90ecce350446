"""All arguments of an optimizer, torch's defaults filled in, and which of them members of a stack share."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from pima_hp.config import OptimizerSection
from pima_hp.training.fused.tables import RULES


def arguments_of(section: OptimizerSection) -> dict[str, Any] | None:
    """Return the numbers and switches of an optimizer by torch's names; None when no row of the kernel equals it.

    `betas` come as `beta1` and `beta2`, `momentum_decay` as `schedule_decay`, the factor of one step.
    """
    rule = RULES.get(section.target)
    if rule is None:
        return None
    defaults = _defaults(section.target)
    arguments = {**defaults, **section.arguments}
    for name, value in arguments.items():
        if isinstance(value, bool) and name != rule.flag and value != defaults.get(name):
            return None  # a variant of the formula that the row does not know, such as amsgrad
    if "betas" in arguments:
        arguments["beta1"], arguments["beta2"] = arguments.pop("betas")
    if "momentum_decay" in arguments:
        arguments["schedule_decay"] = 0.96 ** arguments["momentum_decay"]
    if "dampening" in arguments and not arguments["momentum"]:
        arguments["dampening"] = 0.0  # torch ignores it without momentum
    return {name: value for name, value in arguments.items() if isinstance(value, bool | float | int)}


def flag_of(section: OptimizerSection) -> bool:
    """Return the switch that changes the formula: SGD's `nesterov`, RMSprop's `centered`."""
    rule = RULES[section.target]
    return bool(rule.flag and section.arguments.get(rule.flag, False))


@cache
def _defaults(target: str) -> Mapping[str, Any]:
    signature = inspect.signature(getattr(torch.optim, target.rpartition(".")[2]))
    return {name: parameter.default for name, parameter in signature.parameters.items() if name != "params"}
