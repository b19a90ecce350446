"""The jobs of a sweep: the union of grids, each job composed once. No torch."""

import itertools
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pima_hp.commands.explain import check_overrides, explain
from pima_hp.commands.files import check_hydra_settings
from pima_hp.errors import ConfigurationError

Overrides = tuple[str, ...]


@dataclass
class ComposedJobs:
    """Configurations of jobs by their overrides, so that none is composed twice between sweeper and launcher.

    Hydra takes about 65 ms to compose a job (`scripts/benchmark sweep`), nearly all of it for the choice of options.
    Jobs that choose the same options share that: a copy of it gets the values that are the job's own. The copy is made
    by pickle, whose machine code takes a quarter of the time of `copy.deepcopy`.
    """

    config_loader: ConfigLoader
    master: DictConfig
    checked: bool = False  # whether the options chosen must leave Hydra's own settings as they are
    known: dict[Overrides, DictConfig] = field(default_factory=dict)
    _chosen: dict[Overrides, bytes] = field(default_factory=dict)
    _groups: dict[str, bool] = field(default_factory=dict)

    def get(self, overrides: Sequence[str]) -> DictConfig:
        """Compose a job, or return what was composed before.

        Raises:
            ConfigurationError: Hydra refuses the overrides.
        """
        key = tuple(overrides)
        if key not in self.known:
            try:
                self.known[key] = self._composed(key)
            except ConfigurationError:
                raise
            except Exception as error:
                raise ConfigurationError(explain(error)) from error
        return self.known[key]

    def get_all(self, jobs: Sequence[Sequence[str]]) -> list[DictConfig]:
        """Compose many jobs; all those that Hydra refuses are named in one error."""
        configs, problems = [], []
        for overrides in jobs:
            try:
                configs.append(self.get(overrides))
            except ConfigurationError as error:
                problems += [problem for problem in error.problems if problem not in problems]
        if problems:
            raise ConfigurationError(problems)
        return configs

    def _composed(self, overrides: Overrides) -> DictConfig:
        parsed = OverridesParser.create(config_loader=self.config_loader).parse_overrides(list(overrides))
        check_overrides(parsed)
        values = [one for one in parsed if self._is_value(one)]
        chosen = tuple(str(one.input_line) for one in parsed if one not in values)
        if chosen not in self._chosen:
            by_hydra = self.config_loader.load_sweep_config(self.master, list(chosen))
            if self.checked:
                check_hydra_settings(*(OmegaConf.to_container(one.hydra) for one in (by_hydra, self.master)))  # type: ignore[arg-type]
            self._chosen[chosen] = pickle.dumps(by_hydra, pickle.HIGHEST_PROTOCOL)
        config: DictConfig = pickle.loads(self._chosen[chosen])  # noqa: S301 -- our own bytes, of a moment ago
        if not values:
            return config
        try:
            for one in values:
                OmegaConf.update(config, one.key_or_group, one.value(), merge=True)
        except OmegaConfBaseException:  # Hydra says better what is wrong, or knows another way
            return self.config_loader.load_sweep_config(self.master, list(overrides))
        task = [text for text, one in zip(overrides, parsed, strict=True) if not one.is_hydra_override()]
        config.hydra.overrides.task = task
        separators = config.hydra.job.config.override_dirname
        named = [
            one for one in parsed if not one.is_hydra_override() and one.key_or_group not in separators.exclude_keys
        ]
        lines = sorted(str(one.input_line) for one in named)
        config.hydra.job.override_dirname = separators.item_sep.join(lines).replace("=", separators.kv_sep)
        return config

    def _is_value(self, override: Override) -> bool:
        """Whether an override gives a setting a value: no option of a group, nothing added or deleted."""
        plain = not (override.is_add() or override.is_force_add() or override.is_delete() or override.package)
        if not plain or override.is_hydra_override() or override.is_sweep_override():
            return False
        key = override.key_or_group
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
        if own_of_hydra := [key for key in axes if key.lstrip("+~").startswith(("hydra.", "hydra/"))]:
            raise ConfigurationError(
                f"{own_of_hydra[0]}: must not stand in a grid; Hydra's own settings are those of the whole sweep"
            )
        swept += [key for key in axes if key not in own and key not in swept]
        axes = {**own, **{key: values for key, values in axes.items() if key not in own}}
        if empty := [key for key, values in axes.items() if not values]:
            raise ConfigurationError([f"{key}: must have a value to sweep over; found none" for key in empty])
        n_jobs = math.prod(len(values) for values in axes.values())
        if len(jobs) + n_jobs > limit:
            raise ConfigurationError(
                f"a sweep must have at most {limit:,} jobs; found {len(jobs) + n_jobs:,}; "
                "seeds need no jobs (n_replicates=100), and hydra.sweeper.limit raises the limit"
            )
        jobs.update(dict.fromkeys(itertools.product(*axes.values())))
    return list(jobs), [key.lstrip("+") for key in swept]


def _axes(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """Return the override strings of each key, one per value; a later override of a key replaces an earlier."""
    axes: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            axes[key] = [override.input_line or f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            axes[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise ConfigurationError(f"{key}: must be swept over a list of values; found an interval")
    return axes


def _as_override(key: str, values: Any) -> str:
    values = OmegaConf.to_container(values) if OmegaConf.is_config(values) else values
    if values == []:
        raise ConfigurationError(f"{key}: must have a value to sweep over; found none")
    return f"{key}={','.join(map(_as_value, values if isinstance(values, list) else [values]))}"


def _as_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(_as_value(item) for item in value)}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
