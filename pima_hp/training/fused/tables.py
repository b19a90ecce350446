"""What the kernel knows: one row for each class of `torch.nn` and of `torch.optim`, and what it is called with.

This imports neither numba nor torch: a process whose kernel is in the cache needs no compiler.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pkgutil import resolve_name
from typing import Any

from pima_hp.config import Component

# Lanes of a block, and of a block of few members: many processors work through half a register twice as fast.
WIDE, NARROW = 16, 8

SCORED_ROWS = 16  # rows scored at a time: their hidden units stay in the first-level cache
N_SCORES = 6  # sums an epoch: correct rows and loss while it ran, of the training rows at its end, of validation rows
N_STATES, N_RUNNING, N_HYPERPARAMETERS = 3, 4, 8  # of any optimizer; see `optimizers`

RELU, LEAKY_RELU, IDENTITY, SIGMOID, TANH, ELU, GELU, SILU, SOFTPLUS = range(9)
SGD, RMSPROP, ADAGRAD, ADAM, ADAMW, ADAMAX, NADAM = range(7)

NUMBERS = (
    *("n_layers", "n_units", "n_parameters", "activation"),  # the network, see `kernel`
    *("rule", "flag"),  # the optimizer, see `optimizers.update`
    *("n_train", "n_val", "shuffled"),  # rows; whether training rows come in the order of `order`
    *("n_epochs", "size", "step"),  # epochs of this call; rows of a batch; optimizer steps made before
)
MEMORY = ("pre", "post", "delta", "batch", "gradients")  # of a worker, all overwritten
REALS = (  # in the precision of the run
    *("weights", "state", "argument"),  # (N, ...), see `optimizers`; argument: the activation's
    *("x", "y", "val_x", "val_y"),  # (N, D * n) and (N, n)
    *MEMORY,
)
DOUBLES = (
    *("running", "hyperparameters"),  # (N, ...), see `optimizers`
    *("rates", "out"),  # (N, epochs) learning rates; (N, epochs * N_SCORES), zero at first
)
INTEGERS = ("order", "widths")  # (N, n) rows in the order of the epoch; widths with input and logit
# What `kernel.run_block` is called with: numbers, and arrays whose last axis is the lanes.
ARGUMENTS = (*NUMBERS, *REALS, *DOUBLES, *INTEGERS)


@dataclass(frozen=True)
class Row:
    """How the kernel computes a class of torch.

    Attributes:
        code: chooses the branch of the kernel.
        names: arguments that may differ between members, in the order in which they are read.
        flag: argument that changes the formula, equal for all members.
    """

    code: int
    names: tuple[str, ...] = ()
    flag: str = ""


ACTIVATIONS: dict[str, Row] = {
    "torch.nn.ReLU": Row(RELU),
    "torch.nn.LeakyReLU": Row(LEAKY_RELU, ("negative_slope",)),
    "torch.nn.Identity": Row(IDENTITY),
    "torch.nn.Sigmoid": Row(SIGMOID),
    "torch.nn.Tanh": Row(TANH),
    "torch.nn.ELU": Row(ELU, ("alpha",)),
    "torch.nn.GELU": Row(GELU),
    "torch.nn.SiLU": Row(SILU),
    "torch.nn.Softplus": Row(SOFTPLUS, ("beta",)),
}
_MOMENTS = ("lr", "weight_decay", "betas", "eps")
OPTIMIZERS: dict[str, Row] = {
    "torch.optim.SGD": Row(SGD, ("lr", "weight_decay", "momentum", "dampening"), "nesterov"),
    "torch.optim.RMSprop": Row(RMSPROP, ("lr", "weight_decay", "alpha", "eps", "momentum"), "centered"),
    "torch.optim.Adagrad": Row(ADAGRAD, ("lr", "weight_decay", "eps", "lr_decay", "initial_accumulator_value")),
    "torch.optim.Adam": Row(ADAM, _MOMENTS),
    "torch.optim.AdamW": Row(ADAMW, _MOMENTS),
    "torch.optim.Adamax": Row(ADAMAX, _MOMENTS),
    "torch.optim.NAdam": Row(NADAM, (*_MOMENTS, "momentum_decay")),
}


def numbers_of(component: Component, rows: Mapping[str, Row]) -> tuple[float, ...] | None:
    """Return the numbers that the row of a class names, torch's defaults filled in; None when there is no such row.

    `momentum_decay` comes as the factor of one step.
    """
    row = rows.get(component.target)
    if row is None:
        return None
    usual = _defaults(component.target)
    given = {**usual, **component.arguments}
    if any(given[name] != usual[name] for name in usual if name not in (*row.names, row.flag)):
        return None
    if not given.get("momentum"):
        given["dampening"] = 0.0  # torch ignores it without momentum
    if "momentum_decay" in given:
        given["momentum_decay"] = 0.96 ** given["momentum_decay"]
    numbers = [given[name] for name in row.names]
    return tuple(float(number) for each in numbers for number in (each if isinstance(each, list | tuple) else [each]))


@cache
def _defaults(target: str) -> dict[str, Any]:
    parameters = inspect.signature(resolve_name(target)).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name != "params"}
