"""`hydra/launcher=stacked`: all jobs are trained together, then each finds its runs, in this process."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

log = logging.getLogger(__name__)

MOST_FOLDERS = 200
"""Jobs of a sweep up to which each gets its folder with `.hydra`, which takes 40 ms."""


@dataclass
class StackedConf:
    """Settings of the launcher: none."""

    _target_: str = "hydra_plugins.pima_hp_stacked.StackedLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="stacked", node=StackedConf, provider="pima_hp")


class StackedLauncher(Launcher):
    """Let the application train all jobs together, then run each one's task in this process.

    A Hydra callback that has a method `on_launch_start(configs)` is given the composed jobs before the first one runs.
    """

    composed: Any = None  # set by the grids sweeper: the jobs that it has composed already
    config: DictConfig
    hydra_context: HydraContext
    task_function: TaskFunction

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.config, self.hydra_context, self.task_function = config, hydra_context, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return what each one returned, in order."""
        from pima_hp.commands.compose import ComposedJobs

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        hooks = [each for each in self.hydra_context.callbacks.callbacks if hasattr(each, "on_launch_start")]
        composed = self.composed or ComposedJobs(self.hydra_context.config_loader, self.config, checked=bool(hooks))
        configs = composed.get_all(job_overrides)
        for callback in hooks:
            callback.on_launch_start(configs)
        returns = []
        for number, (overrides, config) in enumerate(zip(job_overrides, configs, strict=True), initial_job_idx):
            log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            if hooks and len(job_overrides) > MOST_FOLDERS:
                returns.append(JobReturn(overrides=overrides, cfg=config, status=JobStatus.COMPLETED))
                returns[-1].return_value = self.task_function(config)
                continue
            job = run_job(
                hydra_context=self.hydra_context,
                task_function=self.task_function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            returns.append(job)
            composed.known.pop(tuple(overrides), None)
            configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return returns
