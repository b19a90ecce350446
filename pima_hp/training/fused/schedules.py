"""Learning-rate schedules of M members: a generator for each class of `torch.optim.lr_scheduler`.

It yields the rates (M,) of an epoch, and is sent the monitored loss (M,) of that epoch.
"""

import math
from collections.abc import Generator
from itertools import count

import numpy as np
from numpy.typing import NDArray

from pima_hp.training.fused.tables import Row

Numbers = NDArray[np.float64]
Schedule = Generator[Numbers, Numbers, None]


def _constant(rates: Numbers) -> Schedule:
    while True:
        yield rates


def _step(rates: Numbers, step_size: Numbers, gamma: Numbers) -> Schedule:
    for n_epochs in count(1):
        yield rates
        rates = np.where(n_epochs % step_size == 0, rates * gamma, rates)


def _cosine(rates: Numbers, period: Numbers, lowest: Numbers) -> Schedule:
    # torch's own recursion, by Python's cosine: bit for bit its rates, which are not quite those of the closed form.
    def cosine(n_epochs: int) -> Numbers:
        return np.array([math.cos(math.pi * n_epochs / one) for one in period.tolist()])

    rise = (rates - lowest) * (1 - cosine(1)) / 2
    for n_epochs in count(1):
        yield rates
        rises = (n_epochs - 1 - period) % (2 * period) == 0  # the epoch before was at the lowest rate
        before = np.where(rises, 1.0, 1 + cosine(n_epochs - 1))
        rates = np.where(rises, rates + rise, (1 + cosine(n_epochs)) / before * (rates - lowest) + lowest)


def _plateau(
    rates: Numbers,
    factor: Numbers,
    patience: Numbers,
    threshold: Numbers,
    cooldown: Numbers,
    min_lr: Numbers,
    eps: Numbers,
) -> Schedule:
    best, waited, cooling = np.full_like(rates, np.inf), np.zeros_like(rates), np.zeros_like(rates)
    while True:
        monitored = yield rates
        better = monitored < best - threshold
        best = np.where(better, monitored, best)
        waited = np.where(better | (cooling > 0), 0, waited + 1)
        cooling = np.maximum(cooling - 1, 0)
        stagnates = waited > patience
        lower = np.maximum(rates * factor, min_lr)
        rates = np.where(stagnates & (rates - lower > eps), lower, rates)
        waited, cooling = np.where(stagnates, 0, waited), np.where(stagnates, cooldown, cooling)


SCHEDULES: dict[str | None, Row] = {
    None: Row(_constant),
    "torch.optim.lr_scheduler.StepLR": Row(_step, ("step_size", "gamma")),
    "torch.optim.lr_scheduler.CosineAnnealingLR": Row(_cosine, ("T_max", "eta_min")),
    "torch.optim.lr_scheduler.ReduceLROnPlateau": Row(
        _plateau,
        ("factor", "patience", "threshold", "cooldown", "min_lr", "eps"),
        fixed={"threshold_mode": "abs"},  # Keras's; torch's default is relative
    ),
}
