"""`hydra/sweeper=grids`: a union of grids, checked as a whole before the first job runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class GridsConf:
    """Settings of the sweeper.

    Attributes:
        grids: each maps keys to lists of values; the sweep is the union of their products.
        params: one more grid, under the name that Hydra's basic sweeper uses.
        max_batch_size: jobs given to the launcher at once; null: all.
        limit: the most jobs that a sweep may have.
    """

    _target_: str = "hydra_plugins.pima_hp_grids.GridsSweeper"
    _recursive_: bool = False  # grids are data: Hydra would call a class that is named among them
    grids: list[Any] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    max_batch_size: int | None = None
    limit: int = 10_000


ConfigStore.instance().store(group="hydra/sweeper", name="grids", node=GridsConf, provider="pima_hp")


class GridsSweeper(Sweeper):
    """Sweep over the union of grids; `pima_hp.commands.compose` expands and composes it.

    A Hydra callback that has a method `on_sweep_start(jobs, swept)` is given all composed jobs and returns the
    positions of those to launch.
    """

    def __init__(self, grids: list[Any], params: dict[str, Any], max_batch_size: int | None, limit: int) -> None:
        self.grids = [*grids, *([params] if params else [])]
        self.max_batch_size, self.limit = max_batch_size, limit
        self.config: DictConfig
        self.launcher: Launcher
        self.hydra_context: HydraContext

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives, and make the launcher."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run the sweep and return what each job returned, batch by batch."""
        from pima_hp.commands.compose import ComposedJobs, expand
        from pima_hp.errors import ConfigurationError

        if min(self.max_batch_size or 1, self.limit) < 1:
            raise ConfigurationError("hydra.sweeper: max_batch_size and limit must be at least 1")
        loader = self.hydra_context.config_loader
        jobs, swept = expand(arguments, self.grids, loader, self.limit)
        hooks = [each for each in self.hydra_context.callbacks.callbacks if hasattr(each, "on_sweep_start")]
        composed = ComposedJobs(loader, self.config, checked=bool(hooks))
        if hasattr(self.launcher, "composed"):
            self.launcher.composed = composed
        configs = composed.get_all(jobs)
        for callback in hooks:
            jobs = [jobs[position] for position in callback.on_sweep_start(configs, swept)]
        if jobs:
            path = Path(self.config.hydra.sweep.dir) / "multirun.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self.config, path)
        size = self.max_batch_size or max(len(jobs), 1)
        returns = []
        for start in range(0, len(jobs), size):
            returns.append(self.launcher.launch([list(job) for job in jobs[start : start + size]], start))
            for result in returns[-1]:
                _ = result.return_value  # raises the error of a job that failed
        return returns
