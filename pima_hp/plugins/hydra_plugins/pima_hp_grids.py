"""`hydra/sweeper=grids`: a union of grids, checked as a whole before the first job runs."""

from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins import basic_sweeper
from hydra.core.config_store import ConfigStore


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
    grids: list[dict[str, Any]] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    max_batch_size: int | None = None
    limit: int = 10_000


ConfigStore.instance().store(group="hydra/sweeper", name="grids", node=GridsConf, provider="pima_hp")


class GridsSweeper(basic_sweeper.BasicSweeper):
    """Sweep over the union of grids; `pima_hp.commands.compose` expands and composes it.

    A Hydra callback that has a method `on_sweep_start(configs)` is given all composed jobs and returns the positions of
    those to launch.
    """

    config: Any
    launcher: Any
    hydra_context: Any

    def __init__(self, grids: list[Any], params: dict[str, Any], max_batch_size: int | None, limit: int) -> None:
        super().__init__(max_batch_size or None)
        self.grids, self.limit = [*grids, *([params] if params else [])], limit
        self.jobs: list[list[str]] = []

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep and return what each job returned, batch by batch."""
        from pima_hp.commands.compose import ComposedJobs, expand

        loader = self.hydra_context.config_loader
        self.jobs = [list(job) for job in expand(arguments, self.grids, loader, self.limit)]
        composed = ComposedJobs(loader, self.config)
        if hasattr(self.launcher, "composed"):
            self.launcher.composed = composed
        configs = composed.get_all(self.jobs)
        for callback in self.hydra_context.callbacks.callbacks:
            if hasattr(callback, "on_sweep_start"):
                self.jobs = [self.jobs[position] for position in callback.on_sweep_start(configs)]
        return super().sweep([]) if self.jobs else []

    def split_arguments(self, _: object, max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        """Return the jobs of the sweep in batches."""
        return [*self.split_overrides_to_chunks(self.jobs, max_batch_size)]

    def validate_batch_is_legal(self, batch: object) -> None:
        """Do nothing: all jobs have been composed."""
