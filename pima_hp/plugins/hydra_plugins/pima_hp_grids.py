"""`hydra/sweeper=grids`: a union of grids, checked as a whole before the first job runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins import basic_sweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf


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


class GridsSweeper(basic_sweeper.BasicSweeper):
    """Sweep over the union of grids; `pima_hp.commands.compose` expands and composes it.

    A Hydra callback that has a method `on_sweep_start(jobs, swept)` is given all composed jobs and returns the
    positions of those to launch.
    """

    config: Any
    launcher: Any
    hydra_context: Any

    def __init__(self, grids: list[Any], params: dict[str, Any], max_batch_size: int | None, limit: int) -> None:
        super().__init__(max_batch_size, params)
        self.grids, self.limit = [*grids, *([params] if params else [])], limit

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run the sweep and return what each job returned, batch by batch."""
        from pima_hp.commands.compose import ComposedJobs, expand

        loader = self.hydra_context.config_loader
        found, swept = expand(arguments, self.grids, loader, self.limit)
        jobs = [list(job) for job in found]
        hooks = [each for each in self.hydra_context.callbacks.callbacks if hasattr(each, "on_sweep_start")]
        composed = ComposedJobs(loader, self.config, checked=bool(hooks))
        if hasattr(self.launcher, "composed"):
            self.launcher.composed = composed
        configs = composed.get_all(jobs)
        for callback in hooks:
            jobs = [jobs[position] for position in callback.on_sweep_start(configs, swept)]
        if not jobs:
            return []
        path = Path(self.config.hydra.sweep.dir) / "multirun.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, path)
        returns: list[Sequence[JobReturn]] = []
        for batch in self.split_overrides_to_chunks(jobs, self.max_batch_size or None):
            returns.append(self.launcher.launch(batch, initial_job_idx=sum(map(len, returns))))
            for result in returns[-1]:
                _ = result.return_value  # raises the error of a job that failed
        return returns
