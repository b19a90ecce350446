"""What is composed: the jobs of a sweep, each once; and what files may set of Hydra's own settings. No torch."""

import functools
import itertools
import json
import math
import pickle
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra._internal.config_loader_impl import get_overrides_dirname  # no public way to name a job's folder
from hydra._internal.utils import get_args_parser  # Hydra has no public way to read its own flags
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pima_hp.commands.exits import known_error
from pima_hp.config.options import CONF, flattened, options, read_yaml
from pima_hp.config.problems import nearest
from pima_hp.errors import ConfigurationError, InputError

Overrides = tuple[str, ...]

# What may differ: what composition leaves there, and what files may set; besides the launcher.
_FREE = ("mode", "overrides.", "job.override_dirname", "runtime.", "searchpath", "sweeper.")

_INSTALLED = ("hydra_plugins.", "hydra._internal.core_plugins.")

# Of `logspace` and `linspace`: as many as a sweep may have jobs.
MOST_VALUES = 10_000

_SPACED = re.compile(r"\b(logspace|linspace)\s*\(([^()]*)\)")


class ComposedJobs:
    """Configurations of jobs by their overrides, so that none is composed twice between sweeper and launcher.

    Hydra takes about 65 ms to compose a job (`scripts/benchmark sweep`), nearly all of it for the choice of options.
    Jobs that choose the same options share that: a copy of it gets the values that are the job's own. The copy is made
    by pickle, which takes a sixth of the time of `copy.deepcopy`.

    Args:
        config_loader: of Hydra.
        master: the configuration of the sweep.
        checked: whether the options chosen must leave Hydra's own settings as they are.
    """

    def __init__(self, config_loader: ConfigLoader, master: DictConfig, *, checked: bool = False) -> None:
        self.config_loader, self.master, self.checked = config_loader, master, checked
        self._known: dict[Overrides, DictConfig] = {}
        self._chosen: dict[Overrides, bytes] = {}
        parser = OverridesParser.create(config_loader=config_loader)
        self._parsed: Callable[[str], Override] = functools.cache(lambda text: parser.parse_overrides([text])[0])
        self._is_group = functools.cache(lambda key: bool(config_loader.get_group_options(key, ObjectType.CONFIG)))

    def get_all(self, jobs: Sequence[Sequence[str]]) -> list[DictConfig]:
        """Compose jobs, or return what was composed before.

        Raises:
            ConfigurationError: Hydra refuses some of them; one line for each problem.
        """
        problems: dict[str, None] = {}
        for overrides in map(tuple, jobs):
            try:
                if overrides not in self._known:
                    self._known[overrides] = self._composed(overrides)
            except Exception as error:
                if not isinstance(known := known_error(error), InputError):
                    raise
                problems |= dict.fromkeys(known.problems)
        if problems:
            raise ConfigurationError(list(problems))
        return [self._known[tuple(overrides)] for overrides in jobs]

    def load_sweep_config(self, _: DictConfig, overrides: list[str]) -> DictConfig:
        """Return the configuration of a job, and forget it: what Hydra's own launcher calls."""
        (config,) = self.get_all([overrides])
        self._known.pop(tuple(overrides))
        return config

    def _composed(self, overrides: Overrides) -> DictConfig:
        parsed = [self._parsed(text) for text in overrides]
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

    def _is_value(self, one: Override) -> bool:
        """Whether an override gives a setting a value: no option of a group, nothing added or deleted."""
        changes = str(one.input_line).startswith(("+", "~")) or one.package or one.is_hydra_override()
        return not changes and not self._is_group(one.key_or_group)


def swept_keys(jobs: Sequence[Overrides]) -> list[str]:
    """Return the settings that jobs name and do not share; all that are named where there is one job."""
    shared = set[str]().union(*jobs).intersection(*jobs) if len(jobs) > 1 else set()
    own = [override for each in jobs for override in each if override not in shared]
    return list(dict.fromkeys(override.partition("=")[0].lstrip("+") for override in own))


def spaced(override: str) -> str:
    """Write out `logspace(first,last,n)` and `linspace(first,last,n)` in an override: n values, both ends among them.

    Values between the ends have six digits, so that round ones stay round, and equal ones of two grids are equal.
    What stands in quotes, brackets or braces is left as it is.

    >>> spaced("optimizer.lr=logspace(1e-4,1,5)"), spaced("batch.size=linspace(8,32,4),64")
    ('optimizer.lr=0.0001,0.001,0.01,0.1,1', 'batch.size=8,16,24,32,64')

    Raises:
        ConfigurationError: the ends or the number of values are wrong.
    """
    return override if re.search(r"['\"[{]", override) else _SPACED.sub(_written_out, override)


def _written_out(found: re.Match[str]) -> str:
    name, is_log = found[1], found[1] == "logspace"
    with suppress(ValueError):
        first, last, n = (read(text) for read, text in zip((float, float, int), found[2].split(","), strict=True))
        if 2 <= n <= MOST_VALUES and math.isfinite(last - first) and (not is_log or min(first, last) > 0):
            between = (np.geomspace if is_log else np.linspace)(first, last, n)[1:-1]
            values = [f"{first:.15g}", *(f"{value:.6g}" for value in between), f"{last:.15g}"]
            if len({*values}) == n:
                return ",".join(values)
    ends = "positive numbers" if is_log else "numbers"
    rule = f"{name}(first,last,n), two different {ends} and how many values, a whole number from 2 to {MOST_VALUES:,}"
    raise ConfigurationError(f"{name}: must be {rule}; found {found[0]:.60}")


def expand(
    arguments: Sequence[str], grids: Sequence[Mapping[str, Any]], config_loader: ConfigLoader, limit: int
) -> tuple[list[Overrides], list[str]]:
    """Return the jobs of the union of grids, each crossed with the command line's own sweeps, and what is swept.

    A key on the command line replaces the same key of every grid. The values of a key in a grid are a list,
    or a sweep in Hydra's grammar (`1,2,3`, `range(0,5)`, `choice(a,b)`, `glob(*)`), or `logspace(1e-4,1,9)`.
    Several keys with commas between them vary together: `batch.size, optimizer.lr: [[5, 0.0005], [10, 0.001]]`.

    Args:
        arguments: overrides from the command line, swept or fixed.
        grids: of the experiment; none is one empty grid.
        config_loader: knows the option groups that `glob` looks in.
        limit: the most jobs that a sweep may have.

    Returns:
        The overrides of each job, duplicates removed; the keys that have several values, or stand in a grid.

    Raises:
        ConfigurationError: no jobs, or more than the limit.
    """
    parser = OverridesParser.create(config_loader=config_loader)
    own = _axes(parser.parse_overrides(list(arguments)))
    swept = {key: None for key, values in own.items() if len(values) > 1}
    jobs: dict[Overrides, None] = {}
    plain: Any = OmegaConf.to_container(OmegaConf.create([*grids] or [{}]))
    for grid in plain:
        columns, names_of = _columns(grid)
        overrides = parser.parse_overrides([spaced(f"{key}={_listed(values)}") for key, values in columns.items()])
        if any(one.is_hydra_override() for one in overrides):
            raise ConfigurationError(f"hydra.sweeper.grids: must not set Hydra's own settings; found {', '.join(grid)}")
        axes = _axes(overrides)
        swept |= dict.fromkeys(key for key in axes if key not in own)
        together = defaultdict(list)
        for key, values in (own | axes | own).items():
            together[key if key in own else names_of.get(key, key)].append(values)
        for names in (names for names, axis in together.items() if len(set(map(len, axis))) > 1):
            raise ConfigurationError(f"hydra.sweeper.grids: {names!r} must have as many values of each; found others")
        choices = [[*zip(*axis, strict=True)] for axis in together.values()]
        n_jobs = math.prod(map(len, choices))
        if not 0 < n_jobs <= limit - len(jobs):
            raise ConfigurationError(f"hydra.sweeper.limit: a sweep must have 1 to {limit:,} jobs; found {n_jobs:,}")
        jobs.update(dict.fromkeys(tuple(itertools.chain(*job)) for job in itertools.product(*choices)))
    return list(jobs), [key.lstrip("+") for key in swept]


def _columns(grid: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of each key of a grid, and for keys that vary together the names that join them."""
    columns: dict[str, Any] = {}
    names_of: dict[str, str] = {}
    for names, values in grid.items():
        keys = [key.strip() for key in str(names).split(",")]
        rows = values if isinstance(values, list) else [values]
        if len(keys) == 1:
            columns[names] = values
        elif all(isinstance(row, list) and len(row) == len(keys) for row in rows):
            columns |= dict(zip(keys, map(list, zip(*rows, strict=True)), strict=True))
            names_of |= dict.fromkeys(keys, names)
        else:
            rule = f"{names!r} must be a list of rows of {len(keys)} values each"
            raise ConfigurationError(f"hydra.sweeper.grids: {rule}; found {json.dumps(values):.60}")
    return columns, names_of


def _axes(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """Return the override strings of each key, one per value; a later override of a key replaces an earlier."""
    axes: dict[str, list[str]] = {}
    for one in overrides:
        key = one.get_key_element()
        swept = one.is_sweep_override()
        axes[key] = [f"{key}={value}" for value in one.sweep_string_iterator()] if swept else [str(one.input_line)]
    return axes


def _listed(values: Any) -> str:
    """Return the values of a key in a grid as Hydra's grammar has them."""
    values = values if isinstance(values, list) else [values]
    return ",".join(value if isinstance(value, str) else json.dumps(value) for value in values)


def check_arguments(arguments: Sequence[str]) -> None:
    """Check flags and the files of `--config-dir` before Hydra runs; on the command line, Hydra's settings are free.

    Raises:
        ConfigurationError: a flag would execute or replace code, or a file sets what it must not.
    """
    asked = get_args_parser().parse_args(list(arguments))
    if asked.experimental_rerun or asked.config_path or asked.config_name:
        raise ConfigurationError(
            "--experimental-rerun, --config-path, --config-name: must not be given; --config-dir adds your own options"
        )
    overrides = OverridesParser.create().parse_overrides(asked.overrides)
    for key, value in ((one.key_or_group, one.value()) for one in overrides):
        if (allowed := options(key)) and isinstance(value, int | None):
            found = f"{value}{nearest(str(value), allowed)}"
            raise ConfigurationError(f"{key}: must be one of {', '.join(allowed)}; found {found}")
    search = [one.value() for one in overrides if one.key_or_group == "hydra.searchpath"]
    places = [asked.config_dir, *(place for each in search for place in (each if isinstance(each, list) else [each]))]
    folders = [Path(str(place).removeprefix("file://")).absolute() for place in places if place]
    if not folders:
        return
    if asked.config_dir and not folders[0].is_dir():
        raise ConfigurationError(f"--config-dir: must be a folder; found {asked.config_dir!r}")
    for path in (path for folder in folders for path in folder.rglob("*.y*ml")):
        read_yaml(path)
    lines = [one for one in overrides if not one.is_sweep_override() and one.key_or_group != "hydra.searchpath"]
    own = [str(one.input_line) for one in lines if one.is_hydra_override()]
    own.append(f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]")
    with_files = composed([*own, *(str(one.input_line) for one in lines if not one.is_hydra_override())])
    check_hydra_settings(with_files.hydra, composed(own).hydra)
    if not with_files.hydra.sweeper._target_.endswith(".GridsSweeper"):  # it checks what each job composes
        raise ConfigurationError("hydra/sweeper: must be grids where files of your own are read")


def check_hydra_settings(found: DictConfig, allowed: DictConfig) -> None:
    """Check that files set nothing of Hydra's but the mode, an installed launcher, and parameters of the plugins.

    Raises:
        ConfigurationError: the first setting that differs from what the project and the command line say.
    """
    flat, own = (flattened(OmegaConf.to_container(node)) for node in (found, allowed))  # type: ignore[arg-type]
    for key in sorted(key for key in {*flat, *own} if flat.get(key) != own.get(key)):
        value, names_a_class = str(flat.get(key)), key.rpartition(".")[2].startswith("_")
        if key == "launcher._target_":
            free = value.startswith(_INSTALLED)
        elif key.startswith("launcher."):  # Hydra builds classes named at any depth, and follows interpolations to them
            free = not names_a_class and not re.search(r"_target_|\$\{(?!hydra\.)", value)
        else:
            free = key.startswith(_FREE) and not names_a_class
        if not free:
            raise ConfigurationError(f"hydra.{key}: must not be set by a file; found {value!r:.99}")


def composed(overrides: Sequence[str]) -> DictConfig:
    """Compose through Hydra's public API, with the node `hydra`, interpolations as they are written."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", overrides=list(overrides), return_hydra_config=True)
