"""Learning-rate schedules with a member axis: one row for each class of `torch.optim.lr_scheduler`.

A row is made from the members' initial rates and arguments, and returns their rates after each epoch.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pima_hp.config import SchedulerSection

Rates = NDArray[np.float64]


class Schedule(Protocol):
    """Learning rates (M,) for the epoch after `n_epochs` finished ones, given the monitored loss (M,).

    Asked once after each epoch, in order.
    """

    def __call__(self, n_epochs: int, monitored: Rates) -> Rates:  # noqa: D102 -- said by the class
        ...


def _constant(initial: Rates, _arguments: dict[str, Rates]) -> Schedule:
    return lambda n_epochs, monitored: initial  # noqa: ARG005


def _step(initial: Rates, arguments: dict[str, Rates]) -> Schedule:
    rates, (gamma, step_size) = initial, (arguments["gamma"], arguments["step_size"])

    def after_epoch(n_epochs: int, monitored: Rates) -> Rates:  # noqa: ARG001
        nonlocal rates
        rates = np.where(n_epochs % step_size == 0, rates * gamma, rates)
        return rates

    return after_epoch


def _cosine(initial: Rates, arguments: dict[str, Rates]) -> Schedule:
    # torch's own recursion, by Python's cosine: bit for bit its rates, which are not quite those of the closed form.
    rates, (lowest, period) = initial, (arguments["eta_min"], arguments["T_max"])

    def one_plus_cosine(n_epochs: int) -> Rates:
        return np.array([1 + math.cos(math.pi * n_epochs / one) for one in period.tolist()])

    rise = (initial - lowest) * np.array([1 - math.cos(math.pi / one) for one in period.tolist()]) / 2

    def after_epoch(n_epochs: int, monitored: Rates) -> Rates:  # noqa: ARG001
        nonlocal rates
        rises = (n_epochs - 1 - period) % (2 * period) == 0  # the epoch before was at the lowest rate
        before = np.where(rises, 1.0, one_plus_cosine(n_epochs - 1))
        falling = one_plus_cosine(n_epochs) / before * (rates - lowest) + lowest
        rates = np.where(rises, rates + rise, falling)
        return rates

    return after_epoch


def _plateau(initial: Rates, arguments: dict[str, Rates]) -> Schedule:
    rates, best = initial.copy(), np.full_like(initial, np.inf)
    waited, cooling = np.zeros_like(initial), np.zeros_like(initial)

    def after_epoch(n_epochs: int, monitored: Rates) -> Rates:  # noqa: ARG001
        nonlocal rates, best, waited, cooling
        better = monitored < best - arguments["threshold"]
        best = np.where(better, monitored, best)
        waited = np.where(better, 0, waited + 1)
        waited, cooling = np.where(cooling > 0, 0, waited), np.maximum(cooling - 1, 0)
        stagnates = waited > arguments["patience"]
        lower = np.maximum(rates * arguments["factor"], arguments["min_lr"])
        rates = np.where(stagnates & (rates - lower > arguments["eps"]), lower, rates)
        waited, cooling = np.where(stagnates, 0, waited), np.where(stagnates, arguments["cooldown"], cooling)
        return rates

    return after_epoch


SCHEDULES: dict[str | None, Callable[[Rates, dict[str, Rates]], Schedule]] = {
    None: _constant,
    "torch.optim.lr_scheduler.StepLR": _step,
    "torch.optim.lr_scheduler.CosineAnnealingLR": _cosine,
    "torch.optim.lr_scheduler.ReduceLROnPlateau": _plateau,
}
_WORDS = {"mode": "min", "threshold_mode": "abs"}  # the variant that the plateau row knows


def schedule_arguments(section: SchedulerSection) -> dict[str, Any] | None:
    """Return all arguments of a schedule with torch's defaults filled in; None when no row equals it."""
    if section.target not in SCHEDULES:
        return None
    if section.target is None:
        return {}
    signature = inspect.signature(getattr(torch.optim.lr_scheduler, section.target.rpartition(".")[2]))
    defaults = {name: parameter.default for name, parameter in signature.parameters.items() if name != "optimizer"}
    arguments = {**defaults, **section.arguments}
    if any(arguments[name] != word for name, word in _WORDS.items() if name in arguments):
        return None
    if arguments.pop("last_epoch", -1) != -1:
        return None
    return {name: value for name, value in arguments.items() if isinstance(value, int | float)}


def schedule_of(initial: Rates, sections: Sequence[SchedulerSection], of_member: Sequence[int]) -> Schedule:
    """Return the schedule of a stack.

    Args:
        initial: rates (M,).
        sections: all of one class.
        of_member: which of them is that of each member, (M,).
    """
    arguments = [schedule_arguments(section) or {} for section in sections]
    columns = {name: np.array([float(each[name]) for each in arguments])[of_member] for name in arguments[0]}
    return SCHEDULES[sections[0].target](initial, columns)
