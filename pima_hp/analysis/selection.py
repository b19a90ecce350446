"""Which runs of a study a claim is about: configurations that differ in what it names and in nothing else."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.claims import Claim, Selector
from pima_hp.analysis.curves import aligned
from pima_hp.analysis.functionals import FUNCTIONALS, Functional
from pima_hp.config import Config
from pima_hp.config.flat import NAMED_SECTIONS, NOT_A_SETTING, Setting, columns_of
from pima_hp.config.options import CONF, option_content, option_name, read_yaml
from pima_hp.ledger.frame import distinct, replicates_of, setting_columns
from pima_hp.run import Array, RunStatus

Seeds = tuple[int, ...]
"""The seeds that matter of a run: `pima_hp.run.replicate_of`."""

Settings = dict[str, Setting]


class Runs:
    """The runs of a study by configuration, each counted once; values of functionals are computed once.

    Args:
        frame: of `pima_hp.ledger.read_study`.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        groups = distinct(frame).groupby("config_id", sort=False)
        self.of: dict[str, pd.DataFrame] = {str(key): runs for key, runs in groups}
        keys = deciding(frame)
        self.settings: dict[str, Settings] = {
            config_id: {key: plain(runs[key].iloc[0]) for key in sorted(keys)} for config_id, runs in self.of.items()
        }
        self._values: dict[tuple[str, str], dict[Seeds, float]] = {}

    def paired(self, config_ids: Sequence[str], functional: Functional) -> tuple[list[Seeds], Array]:
        """The replicates that all K configurations have a value of, and the values (R, K): see `matched`."""
        return matched([self._of(config_id, functional) for config_id in config_ids])

    def count(self, config_id: str, *statuses: str) -> int:
        """Runs of a configuration that ended so."""
        return int(self.of[config_id]["status"].isin(statuses).sum())

    def lacks(self, config_id: str, functional: Functional) -> list[str]:
        """What the functional needs and some of these runs do not record: its curve, facts."""
        runs = trained(self.of[config_id])
        facts = [name for name in sorted(functional.facts) if runs[name].isna().any()]
        return facts if functional.curve in runs else [f"the curve {functional.curve}", *facts]

    def _of(self, config_id: str, functional: Functional) -> dict[Seeds, float]:
        key = (config_id, repr(functional))
        if key not in self._values:
            self._values[key] = by_seeds(self.of[config_id], partial(values_of, functional))
        return self._values[key]


def trained(runs: pd.DataFrame) -> pd.DataFrame:
    """All runs but failed ones."""
    return runs[runs["status"] != RunStatus.FAILED]


def conclusive(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that have statistics: not those that failed, nor those stopped early, which lack their last epochs."""
    return runs[~runs["status"].isin([RunStatus.FAILED, RunStatus.STOPPED])]


def copies_in_words(frame: pd.DataFrame) -> str:
    """Return how many runs are copies of others, in words; empty where none is."""
    n_copies = len(frame) - len(distinct(frame))
    told = "are copies of others (same initialization, split and row order) and are ignored"
    return f"{n_copies:,} of {len(frame):,} runs {told}" if n_copies else ""


def values_of(functional: Functional, runs: pd.DataFrame) -> Array:
    """What a functional, as a claim states it, says of each run, (R,)."""
    facts = {name: runs[name].to_numpy(float) for name in functional.facts}
    return FUNCTIONALS[functional.name](aligned(runs[functional.curve]), **functional.arguments, **facts)


def by_seeds(runs: pd.DataFrame, values: Callable[[pd.DataFrame], Array]) -> dict[Seeds, float]:
    """Seeds -> the value of each conclusive run, NaN where there is none."""
    kept = conclusive(runs)
    return dict(zip(replicates_of(kept), np.asarray(values(kept), float).tolist(), strict=True))


def matched(columns: Sequence[Mapping[Seeds, float]]) -> tuple[list[Seeds], Array]:
    """The replicates that all of K columns have a value of, sorted, and the values (R, K).

    Where rows are shuffled in some columns and not in others, the order is no part of what they share: the runs of a
    shuffled column that differ in it alone are averaged, so that a run of the others is in one pair.
    """
    n_streams = min((len(seeds) for column in columns for seeds in islice(column, 1)), default=0)
    alike = [_averaged(column, n_streams) for column in columns]
    shared = sorted(set(alike[0]).intersection(*alike[1:]))
    table = np.array([[column[seeds] for column in alike] for seeds in shared]).reshape(-1, len(alike))
    whole = ~np.isnan(table).any(axis=1)
    return [seeds for seeds, kept in zip(shared, whole, strict=True) if kept], table[whole]


def _averaged(column: Mapping[Seeds, float], n_streams: int) -> Mapping[Seeds, float]:
    """Mean over the runs whose first so many seeds are equal."""
    if all(len(seeds) == n_streams for seeds in column):
        return column
    groups: dict[Seeds, list[float]] = {}
    for seeds, value in column.items():
        groups.setdefault(seeds[:n_streams], []).append(value)
    return {seeds: float(np.mean(values)) for seeds, values in groups.items()}


@dataclass(frozen=True)
class Context:
    """Settings that a claim does not name, and the configurations by `named(selector)`: one each when it is whole."""

    settings: Settings
    configurations: Mapping[str, Sequence[str]]

    @property
    def n_lacking(self) -> int:
        """Selectors with no configuration or with several."""
        return sum(len(found) != 1 for found in self.configurations.values())

    @property
    def differing(self) -> Settings:
        """Settings that are not those of `conf/config.yaml`."""
        known = baseline()
        return {key: value for key, value in self.settings.items() if key in known and not equal(value, known[key])}


def named(selector: Selector) -> str:
    """`batch.size=5, batch.shuffle=true`."""
    return ", ".join(
        f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in selector.items()
    )


def contexts(claim: Claim, runs: Runs) -> list[Context]:
    """Every context in which some configuration of the claim exists: whole ones, then nearest the baseline, first.

    Settings of a section that the claim varies go with it (`optimizer.betas` with `optimizer`) unless they
    vary within one of its values; a configuration without such a setting fits any value of it
    (`activation.negative_slope` with `activation: relu`).
    """
    about = {key: settings for key, settings in runs.settings.items() if claim.is_about(settings["data_digest"])}
    arms = {named(arm): arm for part in claim.parts if part.awaits is None for arm in [*part.where, *part.over]}
    factors = {key for arm in arms.values() for key in arm}
    matching = {
        name: [key for key, settings in about.items() if all(equal(settings.get(k), v) for k, v in arm.items())]
        for name, arm in arms.items()
    }
    chosen = {key: runs.settings[key] for found in matching.values() for key in found}
    loose = {key for settings in chosen.values() for key in settings if key.partition(".")[0] in factors}

    def column(key: str) -> list[Setting]:
        return [settings[key] for settings in chosen.values()]

    dropped = {key for key in loose if follows(column(key), column(key.partition(".")[0]))}
    rest = {
        config_id: {key: value for key, value in settings.items() if key not in factors | dropped}
        for config_id, settings in chosen.items()
    }

    def fits(settings: Settings, context: Settings) -> bool:
        return all(settings[key] == value or (key in loose and settings[key] is None) for key, value in context.items())

    found = [
        Context(context, {name: [key for key in ids if fits(rest[key], context)] for name, ids in matching.items()})
        for context in {repr(settings): settings for settings in rest.values()}.values()
    ]
    return sorted(found, key=lambda context: (context.n_lacking, len(context.differing)))


def deciding(frame: pd.DataFrame) -> list[str]:
    """The columns of a study's frame that are settings, without those that say where and how a run is made."""
    return [key for key in setting_columns(frame) if key not in NOT_A_SETTING]


def varying(columns: Mapping[str, Sequence[Setting]]) -> list[str]:
    """Settings with more than one value among configurations, without those that follow from their section's name.

    `optimizer.betas` follows from `optimizer` unless it differs among the configurations of one optimizer.
    """
    found = [key for key, values in columns.items() if len(set(values)) > 1]
    owners = {key: owner for key in found if (owner := key.rpartition(".")[0]) in found}
    return [key for key in found if key not in owners or not follows(columns[key], columns[owners[key]])]


def follows(values: Sequence[Setting], owner: Sequence[Setting]) -> bool:
    """Whether a setting has one value for each value of its owner, and so says nothing of its own."""
    return len(set(zip(values, owner, strict=True))) == len(set(owner))


@lru_cache(maxsize=1)
def baseline() -> Settings:
    """The settings of `conf/config.yaml` without anything on the command line: the article's primary completion."""
    entries = [entry for entry in read_yaml(CONF / "config.yaml")["defaults"] if not isinstance(entry, str)]
    chosen = {key: option for entry in entries for key, option in entry.items() if key in Config.model_fields}
    contents = {group: dict(option_content(group, option)) for group, option in chosen.items()}
    for section in NAMED_SECTIONS:
        contents[section]["name"] = option_name(section, contents[section])
    return columns_of(contents)


def equal(first: Any, second: Any) -> bool:
    """Whether two values of a setting are the same: 0.2 and 0.20000001 are, 1 and true are not."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-6)
    return bool(plain(first) == plain(second))


def plain(value: Any) -> Setting:
    """A cell of the frame as YAML would give it; missing is None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    return None if value is pd.NA or (isinstance(value, float) and math.isnan(value)) else value
