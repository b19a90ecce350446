"""What a sweep is: the union of grids as jobs. No torch."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from pima_hp.errors import ConfigurationError
from pima_hp.jobs import Overrides


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
