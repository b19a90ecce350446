"""Learning rates of M members, from torch's own schedulers: those that change the rate alone, once an epoch."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pima_hp.config import Config
from pima_hp.config.build import build
from pima_hp.run import Array


class _Rates(Optimizer):
    """A learning rate in each parameter group and nothing to update.

    `Optimizer` itself would add hooks to each object, which take longer than the scheduler.
    """

    def __init__(self, rates: Sequence[float]) -> None:
        self.param_groups, self.defaults = [{"lr": rate} for rate in rates], {}

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing: schedulers warn when they are stepped first."""


def scheduler_of(config: Config, rates: Sequence[float]) -> LRScheduler:
    """Return the scheduler of a configuration for members with these initial learning rates.

    Raises:
        ConfigurationError: it needs more than learning rates.
    """
    return build(config.scheduler.node, LRScheduler, _Rates(rates))


def planned(configs: Sequence[Config], n_epochs: int) -> tuple[Array, list[LRScheduler]]:
    """Return the learning rates of each member and epoch, (M, E), with schedulers of one class or none.

    Rates that depend on scores stay as they are: the second value is the scheduler of each member, to be stepped.
    """
    rates = np.repeat([[config.optimizer.lr] for config in configs], n_epochs, axis=1)
    target = configs[0].scheduler.target
    if target is None:
        return rates, []
    if target.endswith(f".{ReduceLROnPlateau.__name__}"):
        return rates, [scheduler_of(config, [config.optimizer.lr]) for config in configs]
    members = defaultdict(list)
    for member, config in enumerate(configs):
        members[repr(config.scheduler.node)].append(member)
    for of_node in members.values():
        scheduler = scheduler_of(configs[of_node[0]], rates[of_node, 0].tolist())
        for epoch in range(n_epochs):
            rates[of_node, epoch] = scheduler.get_last_lr()
            scheduler.optimizer.step()
            scheduler.step()
    return rates, []
