"""`hydra/launcher=stacked`: all jobs are trained together, then each finds its runs, in this process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins import basic_launcher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext

# Jobs of a sweep up to which each gets its folder with `.hydra`, which takes 40 ms.
MOST_FOLDERS = 200


@dataclass
class StackedConf:
    """Settings of the launcher: none."""

    _target_: str = "hydra_plugins.pima_hp_stacked.StackedLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="stacked", node=StackedConf, provider="pima_hp")


class StackedLauncher(basic_launcher.BasicLauncher):
    """Let the application train all jobs together, then run each one's task in this process.

    A Hydra callback that has a method `on_launch_start(configs)` is given the composed jobs before the first one runs.
    """

    config: Any
    hydra_context: Any
    task_function: Any
    composed: Any = None  # set by the grids sweeper: the jobs that it has composed already

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return what each one returned, in order."""
        from pima_hp.commands.compose import ComposedJobs

        loader, callbacks = self.hydra_context.config_loader, self.hydra_context.callbacks
        hooks = [each for each in callbacks.callbacks if hasattr(each, "on_launch_start")]
        self.composed = self.composed or ComposedJobs(loader, self.config)
        configs = self.composed.get_all(job_overrides)
        for callback in hooks:
            callback.on_launch_start(configs)
        if hooks and len(configs) > MOST_FOLDERS:
            results = map(self.task_function, configs)
            return [JobReturn(status=JobStatus.COMPLETED, _return_value=result) for result in results]
        self.hydra_context = HydraContext(config_loader=self.composed, callbacks=callbacks)
        return super().launch(job_overrides, initial_job_idx)
