"""`hydra/launcher=stacked`: all jobs are trained together, then each is published as Hydra publishes any job."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


@dataclass
class StackedConf:
    """The launcher has no settings of its own: `trainer.stack_size` says how many runs share a stack."""

    _target_: str = "hydra_plugins.pima_hp_stacked.StackedLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="stacked", node=StackedConf, provider="pima_hp")


class StackedLauncher(Launcher):
    """Compose all jobs, let the application do their work together, then run each one's task in this process.

    An application without `sweep_hooks` on its task function has its jobs run one after the other.
    """

    def __init__(self) -> None:
        self.composed: Any = None  # set by the grids sweeper: the jobs that it has composed already
        self.config: DictConfig
        self.hydra_context: HydraContext
        self.task_function: TaskFunction

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self.config, self.hydra_context, self.task_function = config, hydra_context, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return what each one returned, in order."""
        import logging

        from pima_hp.jobs import ComposedJobs

        log = logging.getLogger(__name__)
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        composed = self.composed or ComposedJobs(self.hydra_context.config_loader, self.config)
        configs = composed.get_all(job_overrides)
        hooks = getattr(self.task_function, "sweep_hooks", None)
        if hooks:
            hooks.train_together(configs)
        returns = []
        for number, (overrides, config) in enumerate(zip(job_overrides, configs, strict=True), initial_job_idx):
            log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            returns.append(
                run_job(
                    hydra_context=self.hydra_context,
                    task_function=self.task_function,
                    config=config,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
            composed.known.pop(tuple(overrides), None)
            configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return returns
