"""What the kernel knows: one row for each class of `torch.nn` and of `torch.optim`, and the sizes of its arrays.

Without numba and without torch: a process whose kernel is in the cache needs neither the compiler nor its types.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pima_hp.config import ActivationSection

WIDE, NARROW = 16, 8
"""Lanes of a block, and of a block of few members: many processors work through half a register twice as fast."""

SCORED_ROWS = 16  # rows scored at a time: their hidden units stay in the first-level cache
N_SCORES = 6  # sums an epoch: correct rows and loss while it ran, of the training rows at its end, of the watched rows
N_SLOTS, N_RUNNING, N_HYPERPARAMETERS = 3, 4, 8  # of any optimizer; see `rules`

RELU, LEAKY_RELU, IDENTITY, SIGMOID, TANH, ELU, GELU, SILU, SOFTPLUS = range(9)
SGD, RMSPROP, ADAGRAD, ADAM, ADAMW, ADAMAX, NADAM = range(7)


@dataclass(frozen=True)
class Activation:
    """The kernel's entry for an activation.

    Attributes:
        code: chooses the branch in `activations.activate` and `activations.times_slope`.
        argument: name of the number that may differ between members, or empty.
        fixed: other arguments, with the only value that the branch implements.
    """

    code: int
    argument: str = ""
    fixed: Mapping[str, object] | None = None


ACTIVATIONS: dict[str, Activation] = {
    "torch.nn.ReLU": Activation(RELU),
    "torch.nn.LeakyReLU": Activation(LEAKY_RELU, "negative_slope"),
    "torch.nn.Identity": Activation(IDENTITY),
    "torch.nn.Sigmoid": Activation(SIGMOID),
    "torch.nn.Tanh": Activation(TANH),
    "torch.nn.ELU": Activation(ELU, "alpha"),
    "torch.nn.GELU": Activation(GELU, fixed={"approximate": "none"}),
    "torch.nn.SiLU": Activation(SILU),
    "torch.nn.Softplus": Activation(SOFTPLUS, "beta", fixed={"threshold": 20.0}),
}


@dataclass(frozen=True)
class Rule:
    """The kernel's entry for an update rule.

    Attributes:
        code: chooses the branch in `rules.update`.
        names: the order of its hyperparameters.
        flag: name of the switch that changes the formula, or empty.
    """

    code: int
    names: tuple[str, ...]
    flag: str = ""


_MOMENTS = ("lr", "weight_decay", "beta1", "beta2", "eps")
RULES: dict[str, Rule] = {
    "torch.optim.SGD": Rule(SGD, ("lr", "weight_decay", "momentum", "dampening"), "nesterov"),
    "torch.optim.RMSprop": Rule(RMSPROP, ("lr", "weight_decay", "alpha", "eps", "momentum"), "centered"),
    "torch.optim.Adagrad": Rule(ADAGRAD, ("lr", "weight_decay", "eps", "lr_decay", "initial_accumulator_value")),
    "torch.optim.Adam": Rule(ADAM, _MOMENTS),
    "torch.optim.AdamW": Rule(ADAMW, _MOMENTS),
    "torch.optim.Adamax": Rule(ADAMAX, _MOMENTS),
    "torch.optim.NAdam": Rule(NADAM, (*_MOMENTS, "schedule_decay")),
}


def activation_row(section: ActivationSection) -> Activation | None:
    """Return the row that equals an activation, with all its arguments; None when there is none."""
    row = ACTIVATIONS.get(str(section.target))
    if row is None:
        return None
    fixed = row.fixed or {}
    known = all(name == row.argument or fixed.get(name) == value for name, value in section.arguments.items())
    return row if known and (not row.argument or row.argument in section.arguments) else None
