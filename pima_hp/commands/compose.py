"""What is composed: the jobs of a sweep, each once; and what files may set of Hydra's own settings. No torch."""

import functools
import itertools
import json
import math
import pickle
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra._internal.config_loader_impl import get_overrides_dirname  # no public way to name a job's folder
from hydra._internal.grammar.functions import Functions
from hydra._internal.utils import get_args_parser  # Hydra has no public way to read its own flags
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser import overrides_parser
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import ChoiceSweep, Override, OverrideType, RangeSweep
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pima_hp.commands.exits import each_of
from pima_hp.config.options import CONF, flattened, options, read_yaml
from pima_hp.config.problems import not_an_option
from pima_hp.errors import ConfigurationError

Overrides = tuple[str, ...]

# What may differ: what composition leaves there, and what files may set; besides the launcher.
_FREE = ("mode", "overrides.", "job.override_dirname", "runtime.", "searchpath", "sweeper.")

_INSTALLED = ("hydra_plugins.", "hydra._internal.core_plugins.")

# Of `logspace` and `linspace`: as many as a sweep may have jobs.
MOST_VALUES = 10_000


class ComposedJobs:
    """Configurations of jobs by their overrides, so that none is composed twice between sweeper and launcher.

    Hydra takes about 65 ms to compose a job (`scripts/benchmark sweep`), nearly all of it for the choice of options.
    Jobs that choose the same options share that: a copy of it gets the values that are the job's own. The copy is made
    by pickle, which takes a sixth of the time of `copy.deepcopy`.

    Args:
        config_loader: of Hydra.
        master: the configuration of the sweep; the options chosen must leave Hydra's own settings as they are.
    """

    def __init__(self, config_loader: ConfigLoader, master: DictConfig) -> None:
        self.config_loader, self.master = config_loader, master
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
        return each_of(map(tuple, jobs), self._get)

    def load_sweep_config(self, _: DictConfig, overrides: list[str]) -> DictConfig:
        """Return the configuration of a job, and forget it: what Hydra's own launcher calls."""
        (config,) = self.get_all([overrides])
        self._known.pop(tuple(overrides))
        return config

    def _get(self, overrides: Overrides) -> DictConfig:
        if overrides not in self._known:
            self._known[overrides] = self._composed(overrides)
        return self._known[overrides]

    def _composed(self, overrides: Overrides) -> DictConfig:
        parsed = [self._parsed(text) for text in overrides]
        values = [one for one in parsed if self._is_value(one)]
        chosen = tuple(str(one.input_line) for one in parsed if one not in values)
        if chosen not in self._chosen:
            by_hydra = self.config_loader.load_sweep_config(self.master, list(chosen))
            check_hydra_settings(by_hydra.hydra, self.master.hydra)
            if by_hydra.hydra.sweeper != self.master.hydra.sweeper:  # grids that are not expanded
                raise ConfigurationError("hydra.sweeper: grids must be of one experiment; found those of several")
            self._chosen[chosen] = pickle.dumps(by_hydra, pickle.HIGHEST_PROTOCOL)
        config: DictConfig = pickle.loads(self._chosen[chosen])  # noqa: S301 -- our own bytes, of a moment ago
        try:
            for one in values:
                OmegaConf.update(config, one.key_or_group, one.value(), merge=True)
        except OmegaConfBaseException:  # Hydra says better what is wrong, or knows another way
            return self.config_loader.load_sweep_config(self.master, list(overrides))
        config.hydra.overrides.task = list(overrides)
        config.hydra.job.override_dirname = get_overrides_dirname(parsed, **config.hydra.job.config.override_dirname)
        return config

    def _is_value(self, one: Override) -> bool:
        """Whether an override gives a setting a value: no option of a group, nothing added or deleted."""
        is_setting = not (one.package or one.is_hydra_override() or self._is_group(one.key_or_group))
        return is_setting and one.type is OverrideType.CHANGE


def swept_keys(jobs: Sequence[Overrides]) -> list[str]:
    """Return the settings that jobs name and do not share; all that are named where there is one job."""
    shared = set[str]().union(*jobs).intersection(*jobs) if len(jobs) > 1 else set()
    own = [override for each in jobs for override in each if override not in shared]
    return list(dict.fromkeys(override.partition("=")[0].lstrip("+") for override in own))


def _spaced(name: str, *given: Any) -> ChoiceSweep:
    """Return the values of `logspace(first,last,n)` or `linspace(first,last,n)`: n values, both ends among them.

    Values between the ends have six digits, so that round ones stay round, and equal ones of two grids are equal.

    >>> _spaced("logspace", 1e-4, 1, 5).list
    [0.0001, 0.001, 0.01, 0.1, 1]

    Raises:
        ConfigurationError: the ends or the number of values are wrong.
    """
    is_log = name == "logspace"
    with suppress(ValueError, TypeError):
        first, last, n = given
        has_ends = math.isfinite(last - first) and (min(first, last) > 0 or not is_log)
        if has_ends and type(n) is int and 2 <= n <= MOST_VALUES:
            between = (np.geomspace if is_log else np.linspace)(first, last, n)[1:-1]
            values = [float(first), *(float(f"{value:.6g}") for value in between), float(last)]
            if len({*values}) == n:
                return ChoiceSweep(list=[int(value) if value.is_integer() else value for value in values])
    ends = "positive numbers" if is_log else "numbers"
    rule = f"{name}(first,last,n), two different {ends} and how many values, a whole number from 2 to {MOST_VALUES:,}"
    raise ConfigurationError(f"{name}: must be {rule}; found {name}({','.join(map(str, given))})"[:300])


def _functions() -> Functions:
    """Return the functions of Hydra's grammar, such as `range`, and two of our own."""
    functions = create_functions()
    for name in ("logspace", "linspace"):
        functions.register(name, functools.partial(_spaced, name))
    return functions


# Hydra makes its parsers by this function, and has no public way to add to its grammar.
overrides_parser.create_functions = _functions


def expand(
    arguments: Sequence[str], grids: Sequence[Mapping[str, Any]], config_loader: ConfigLoader, limit: int
) -> list[Overrides]:
    """Return the jobs of the union of grids, each crossed with the command line's own sweeps, without duplicates.

    A key on the command line replaces the same key of every grid. The values of a key in a grid are a list,
    or a sweep in Hydra's grammar (`1,2,3`, `range(0,5)`, `choice(a,b)`, `glob(*)`), or `logspace(1e-4,1,9)`.
    Several keys with commas between them vary together: `batch.size, optimizer.lr: [[5, 0.0005], [10, 0.001]]`.

    Args:
        arguments: overrides from the command line, swept or fixed.
        grids: of the experiment; none is one empty grid.
        config_loader: knows the option groups that `glob` looks in.
        limit: the most jobs that a sweep may have.

    Raises:
        ConfigurationError: no jobs, or more than the limit.
    """
    parser = OverridesParser.create(config_loader=config_loader)
    own = {one.get_key_element(): _alternatives(one) for one in parser.parse_overrides([*arguments])}
    jobs: dict[Overrides, None] = {}
    plain: Any = OmegaConf.to_container(OmegaConf.create([*grids] or [{}]))
    for grid in plain:
        axes: list[list[Overrides]] = [[(text,) for text in texts] for texts in own.values()]
        axes += [_axis(parser, str(names), values, without=own) for names, values in grid.items()]
        n_jobs = math.prod(map(len, axes))
        if not 0 < n_jobs <= limit - len(jobs):
            raise ConfigurationError(f"hydra.sweeper.limit: a sweep must have 1 to {limit:,} jobs; found {n_jobs:,}")
        jobs |= dict.fromkeys(tuple(itertools.chain(*choices)) for choices in itertools.product(*axes))
    return list(jobs)


def _axis(parser: OverridesParser, names: str, values: Any, without: Collection[str]) -> list[Overrides]:
    """Return the choices that an entry of a grid gives a job: the overrides of its keys, but for some keys."""
    keys = [key.strip() for key in names.split(",")]
    rows = values if isinstance(values, list) else [values]
    if len(keys) == 1:
        rows = [[",".join(map(_text, rows))]]
    elif not all(isinstance(row, list) and len(row) == len(keys) for row in rows):
        rule = f"{names!r} must be a list of rows of {len(keys)} values each"
        raise ConfigurationError(f"hydra.sweeper.grids: {rule}; found {json.dumps(values):.60}")
    axis: list[Overrides] = []
    for row in rows:
        parsed = parser.parse_overrides([f"{key}={_text(value)}" for key, value in zip(keys, row, strict=True)])
        if any(one.is_hydra_override() for one in parsed):
            raise ConfigurationError(f"hydra.sweeper.grids: must not set Hydra's own settings; found {names}")
        axis += itertools.product(*(_alternatives(one) for one in parsed if one.get_key_element() not in without))
    return list(dict.fromkeys(axis))


def _alternatives(override: Override) -> list[str]:
    """Return an override for each value that it sweeps over, also for those of functions between commas."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if isinstance(sweep := override.value(), ChoiceSweep):
        of = [each.range() if isinstance(each, RangeSweep) else getattr(each, "list", [each]) for each in sweep.list]
        sweep.list = [*itertools.chain(*of)]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _text(value: Any) -> str:
    """Return a value in a grid as Hydra's grammar has it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


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
    for one in overrides:
        if (names := options(one.key_or_group)) and isinstance(one.value(), int | None):
            raise ConfigurationError(not_an_option(one.key_or_group, one.value(), names))
    places = [asked.config_dir or []] + [one.value() for one in overrides if one.key_or_group == "hydra.searchpath"]
    paths = itertools.chain(*(each if isinstance(each, list) else [each] for each in places))
    folders = [Path(str(path).removeprefix("file://")).absolute() for path in paths]
    if not folders:
        return
    if asked.config_dir and not folders[0].is_dir():
        raise ConfigurationError(f"--config-dir: must be a folder; found {asked.config_dir!r}")
    for folder in folders:
        for path in folder.rglob("*.y*ml"):
            read_yaml(path)
    search = f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"
    given = [one for one in overrides if not one.is_sweep_override() and one.key_or_group != "hydra.searchpath"]
    of_hydra = [one for one in given if one.is_hydra_override()]
    with_files, allowed = (composed([search, *(str(one.input_line) for one in some)]) for some in (given, of_hydra))
    check_hydra_settings(with_files.hydra, allowed.hydra)
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
