"""The jobs of a sweep: the union of grids, each job composed once. No torch."""

import itertools
import json
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.config_loader_impl import get_overrides_dirname  # no public way to name a job's folder
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pima_hp.commands.explain import explain, is_of_hydra
from pima_hp.commands.files import check_hydra_settings
from pima_hp.errors import ConfigurationError

Overrides = tuple[str, ...]


@dataclass
class ComposedJobs:
    """Configurations of jobs by their overrides, so that none is composed twice between sweeper and launcher.

    Hydra takes about 65 ms to compose a job (`scripts/benchmark sweep`), nearly all of it for the choice of options.
    Jobs that choose the same options share that: a copy of it gets the values that are the job's own. The copy is made
    by pickle, which takes a quarter of the time of `copy.deepcopy`.
    """

    config_loader: ConfigLoader
    master: DictConfig
    checked: bool = False  # whether the options chosen must leave Hydra's own settings as they are
    known: dict[Overrides, DictConfig] = field(default_factory=dict)
    _chosen: dict[Overrides, bytes] = field(default_factory=dict)
    _groups: dict[str, bool] = field(default_factory=dict)

    def get_all(self, jobs: Sequence[Sequence[str]]) -> list[DictConfig]:
        """Compose jobs, or return what was composed before.

        Raises:
            ConfigurationError: Hydra refuses some of them; one line for each problem.
        """
        problems: dict[str, None] = {}
        for overrides in map(tuple, jobs):
            try:
                if overrides not in self.known:
                    self.known[overrides] = self._composed(overrides)
            except Exception as error:
                if not isinstance(error, ConfigurationError) and not is_of_hydra(error):
                    raise
                problems[str(error) if isinstance(error, ConfigurationError) else explain(error)] = None
        if problems:
            raise ConfigurationError(list(problems))
        return [self.known[tuple(overrides)] for overrides in jobs]

    def _composed(self, overrides: Overrides) -> DictConfig:
        parsed = OverridesParser.create(config_loader=self.config_loader).parse_overrides(list(overrides))
        values = [one for one in parsed if self._is_value(one)]
        chosen = tuple(str(one.input_line) for one in parsed if one not in values)
        if chosen not in self._chosen:
            by_hydra = self.config_loader.load_sweep_config(self.master, list(chosen))
            if self.checked:
                check_hydra_settings(by_hydra.hydra, self.master.hydra)
            self._chosen[chosen] = pickle.dumps(by_hydra, pickle.HIGHEST_PROTOCOL)
        config: DictConfig = pickle.loads(self._chosen[chosen])  # noqa: S301 -- our own bytes, of a moment ago
        try:
            for one in values:
                OmegaConf.update(config, one.key_or_group, one.value(), merge=True)
        except OmegaConfBaseException:  # Hydra says better what is wrong, or knows another way
            return self.config_loader.load_sweep_config(self.master, list(overrides))
        task = [one for one in parsed if not one.is_hydra_override()]
        config.hydra.overrides.task = [one.input_line for one in task]
        config.hydra.job.override_dirname = get_overrides_dirname(task, **config.hydra.job.config.override_dirname)
        return config

    def _is_value(self, override: Override) -> bool:
        """Whether an override gives a setting a value: no option of a group, nothing added or deleted."""
        key, line = override.key_or_group, str(override.input_line)
        if line.startswith(("+", "~")) or override.package or override.is_hydra_override():
            return False
        if key not in self._groups:
            self._groups[key] = bool(self.config_loader.get_group_options(key, ObjectType.CONFIG))
        return not self._groups[key]


def swept_keys(jobs: Sequence[Overrides]) -> list[str]:
    """Return the settings that jobs name and do not share; all that are named where there is one job."""
    shared = set[str]().union(*jobs).intersection(*jobs) if len(jobs) > 1 else set()
    own = [override for each in jobs for override in each if override not in shared]
    return list(dict.fromkeys(override.partition("=")[0].lstrip("+") for override in own))


def expand(
    arguments: Sequence[str], grids: Sequence[Mapping[str, Any]], config_loader: ConfigLoader, limit: int
) -> tuple[list[Overrides], list[str]]:
    """Return the jobs of the union of grids, each crossed with the command line's own sweeps, and what is swept.

    A key on the command line replaces the same key of every grid. The values of a key in a grid are a list,
    or a sweep in Hydra's grammar (`1,2,3`, `range(0,5)`, `choice(a,b)`, `glob(*)`).

    Args:
        arguments: overrides from the command line, swept or fixed.
        grids: of the experiment; none is one empty grid.
        config_loader: knows the option groups that `glob` looks in.
        limit: the most jobs that a sweep may have.

    Returns:
        The overrides of each job, duplicates removed; the keys that have several values, or stand in a grid.

    Raises:
        ConfigurationError: more jobs than the limit, or a sweep that Hydra cannot enumerate.
    """
    parser = OverridesParser.create(config_loader=config_loader)
    own = _axes(parser.parse_overrides(list(arguments)))
    swept = [key for key, values in own.items() if len(values) > 1]
    jobs: dict[Overrides, None] = {}
    for grid in grids or [{}]:
        axes = _axes(parser.parse_overrides([_as_override(key, values) for key, values in grid.items()]))
        if any(key.lstrip("+~").startswith(("hydra.", "hydra/")) for key in axes):
            raise ConfigurationError(f"hydra.sweeper.grids: must not set Hydra's own settings; found {', '.join(axes)}")
        swept += [key for key in axes if key not in own and key not in swept]
        axes = own | {key: values for key, values in axes.items() if key not in own}
        if empty := [key for key, values in axes.items() if not values]:
            raise ConfigurationError([f"{key}: must have a value to sweep over; found none" for key in empty])
        n_jobs = len(jobs) + math.prod(map(len, axes.values()))
        if n_jobs > limit:
            raise ConfigurationError(
                f"a sweep must have at most {limit:,} jobs (hydra.sweeper.limit); found {n_jobs:,}; "
                "seeds need no jobs: n_replicates=100"
            )
        jobs.update(dict.fromkeys(itertools.product(*axes.values())))
    return list(jobs), [key.lstrip("+") for key in swept]


def _axes(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """Return the override strings of each key, one per value; a later override of a key replaces an earlier."""
    axes: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise ConfigurationError(f"{key}: must be swept over a list of values; found an interval")
        values = override.sweep_string_iterator() if override.is_sweep_override() else None
        axes[key] = [str(override.input_line)] if values is None else [f"{key}={value}" for value in values]
    return axes


def _as_override(key: str, values: Any) -> str:
    values = OmegaConf.to_container(values) if OmegaConf.is_config(values) else values
    values = values if isinstance(values, list) else [values]
    if not values:
        raise ConfigurationError(f"{key}: must have a value to sweep over; found none")
    return f"{key}={','.join(value if isinstance(value, str) else json.dumps(value) for value in values)}"
