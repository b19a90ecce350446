"""What the kernel knows: one row for each class of `torch.nn` and of `torch.optim`, and what it is called with.

Without numba and without torch: a process whose kernel is in the cache needs no compiler.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WIDE, NARROW = 16, 8
"""Lanes of a block, and of a block of few members: many processors work through half a register twice as fast."""

SCORED_ROWS = 16  # rows scored at a time: their hidden units stay in the first-level cache
N_SCORES = (
    6  # sums an epoch: correct rows and loss while it ran, of the training rows at its end, of the validation rows
)
N_STATES, N_RUNNING, N_HYPERPARAMETERS = 3, 4, 8  # of any optimizer; see `optimizers`

RELU, LEAKY_RELU, IDENTITY, SIGMOID, TANH, ELU, GELU, SILU, SOFTPLUS = range(9)
SGD, RMSPROP, ADAGRAD, ADAM, ADAMW, ADAMAX, NADAM = range(7)

NUMBERS = (
    *("training", "scoring"),  # whether to train, whether to score the weights that were kept
    *("n_layers", "n_units", "n_parameters", "activation"),  # the network, see `kernel`
    *("rule", "flag"),  # the optimizer, see `optimizers.update`
    *("n_train", "n_val", "shuffled"),  # rows; whether training rows come in the order of `order`
    *("n_epochs", "size", "step"),  # epochs of this call; rows of a batch; optimizer steps made before
)
REALS = (  # in the precision of the run
    *("weights", "state", "argument"),  # (N, ...), see `optimizers`; argument: the activation's
    *("x", "y", "val_x", "val_y"),  # (N, D * n) and (N, n)
    "kept",  # (N, epochs * P) weights after each epoch
    *("pre", "post", "delta", "batch", "gradients"),  # memory of a worker, all overwritten
)
DOUBLES = (
    *("running", "hyperparameters"),  # (N, ...), see `optimizers`
    *("rates", "out"),  # (N, epochs) learning rates; (N, epochs * N_SCORES), zero at first
)
INTEGERS = ("order", "widths")  # (N, n) rows in the order of the epoch; widths with input and logit
ARGUMENTS = (*NUMBERS, *REALS, *DOUBLES, *INTEGERS)
"""What `kernel.run_block` is called with: numbers, and arrays whose last axis is the lanes."""


@dataclass(frozen=True)
class Row:
    """How the kernel computes a class of torch.

    Attributes:
        code: chooses the branch of the kernel; of a schedule, its function.
        names: arguments that may differ between members, in the order in which they are read.
        flag: argument that changes the formula, equal for all members.
        fixed: other arguments that must not have torch's default.
    """

    code: Any
    names: tuple[str, ...] = ()
    flag: str = ""
    fixed: Mapping[str, object] = field(default_factory=dict)


ACTIVATIONS: dict[str | None, Row] = {
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
OPTIMIZERS: dict[str | None, Row] = {
    "torch.optim.SGD": Row(SGD, ("lr", "weight_decay", "momentum", "dampening"), "nesterov"),
    "torch.optim.RMSprop": Row(RMSPROP, ("lr", "weight_decay", "alpha", "eps", "momentum"), "centered"),
    "torch.optim.Adagrad": Row(ADAGRAD, ("lr", "weight_decay", "eps", "lr_decay", "initial_accumulator_value")),
    "torch.optim.Adam": Row(ADAM, _MOMENTS),
    "torch.optim.AdamW": Row(ADAMW, _MOMENTS),
    "torch.optim.Adamax": Row(ADAMAX, _MOMENTS),
    "torch.optim.NAdam": Row(NADAM, (*_MOMENTS, "momentum_decay")),
}
