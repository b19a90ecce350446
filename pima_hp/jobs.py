"""Compose the jobs of a sweep, each once, and as little of each as can be. No torch."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pima_hp.composition import check_choices, explain
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
        check_choices(parsed)
        values = [one for one in parsed if self._is_value(one)]
        chosen = tuple(str(one.input_line) for one in parsed if one not in values)
        if chosen not in self._chosen:
            by_hydra = self.config_loader.load_sweep_config(self.master, list(chosen))
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
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=[one for one in parsed if not one.is_hydra_override()],
            kv_sep=separators.kv_sep,
            item_sep=separators.item_sep,
            exclude_keys=separators.exclude_keys,
        )
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
