"""Which runs of a study a claim is about: configurations that differ in what it names and in nothing else."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from pima_hp.analysis.claims import Claim, Selector
from pima_hp.analysis.curves import aligned
from pima_hp.analysis.functionals import FUNCTIONALS, PIMA, Functional, TableFacts
from pima_hp.composition import CONF
from pima_hp.configuration import Configuration
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.settings import NAMED_SECTIONS, Setting, columns_of

SEEDS = ["seed", "init_seed", "split_seed", "order_seed"]
_NOT_A_SETTING = {"data.path", "trainer.accelerator", "trainer.engine", "trainer.stack_size"}
Settings = dict[str, Setting]


class Runs:
    """The runs of a study by configuration; values of functionals are computed once.

    Args:
        frame: of `pima_hp.ledger.read_study`.
        table: what functionals need to know of the table; known for the one that ships with the package.
    """

    def __init__(self, frame: pd.DataFrame, table: TableFacts | None = None) -> None:
        self._table = table
        self.of: dict[str, pd.DataFrame] = {str(key): runs for key, runs in frame.groupby("config_id", sort=False)}
        keys = [key for key in map(str, frame.columns) if key.split(".")[0] in Configuration.model_fields]
        self.settings: dict[str, Settings] = {
            config_id: {key: _plain(runs[key].iloc[0]) for key in keys if key not in _NOT_A_SETTING}
            for config_id, runs in self.of.items()
        }
        self._values: dict[tuple[str, str], dict[tuple[int, ...], float]] = {}

    def facts(self, config_id: str) -> dict[str, float] | None:
        """Training rows and positive rate of a configuration's table; None when they are not known."""
        settings = self.settings[config_id]
        table = self._table or (PIMA if settings.get("data_digest") == SHIPPED_SHA256 else None)
        if table is None:
            return None
        fractions = [float(settings.get(f"data.{part}_fraction") or 0) for part in ("test", "val")]  # type: ignore[arg-type]
        n_held_back = sum(math.ceil(round(fraction * table.n_rows, 9)) for fraction in fractions)
        return {"n_train": table.n_rows - n_held_back, "positive_rate": table.positive_rate}

    def values(self, config_id: str, functional: Functional) -> dict[tuple[int, ...], float]:
        """Seeds -> value of the functional, for all runs but failed ones."""
        key = (config_id, repr(functional))
        if key not in self._values:
            runs = self.of[config_id]
            runs = runs[runs["status"] != "failed"]
            facts = {name: (self.facts(config_id) or {})[name] for name in functional.facts}
            numbers = FUNCTIONALS[functional.name](aligned(runs[functional.curve]), **functional.arguments, **facts)
            seeds = map(tuple, runs[SEEDS].to_numpy().tolist())
            self._values[key] = dict(zip(seeds, np.asarray(numbers, float).tolist(), strict=True))
        return self._values[key]


@dataclass(frozen=True)
class Context:
    """Settings that all configurations of a claim share, and the configurations by the claim's selectors.

    Attributes:
        settings: what the claim does not name.
        configurations: `named(selector)` -> config_id.
        problems: one line a selector with no configuration or with several.
        n_baseline: how many of the settings are those of `conf/config.yaml`.
    """

    settings: Settings
    configurations: Mapping[str, str]
    problems: tuple[str, ...]
    n_baseline: int


def named(selector: Selector) -> str:
    """`batch.size=5, activation=relu`."""
    return ", ".join(
        f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in selector.items()
    )


def contexts(claim: Claim, runs: Runs) -> list[Context]:
    """Every context in which some configuration of the claim exists: whole ones, then nearest the baseline, first.

    Settings of a section that the claim varies go with it (`optimizer.betas` with `optimizer`) unless they
    vary within one of its values; a configuration without such a setting fits any value of it
    (`activation.negative_slope` with `activation: relu`).
    """
    arms = {named(arm): arm for part in claim.parts if part.awaits is None for arm in [*part.where, *part.over]}
    factors = {key for arm in arms.values() for key in arm}
    matching = {
        name: [config_id for config_id, settings in runs.settings.items() if _matches(settings, arm)]
        for name, arm in arms.items()
    }
    chosen = list(dict.fromkeys(config_id for found in matching.values() for config_id in found))
    loose = {
        key
        for config_id in chosen
        for key in runs.settings[config_id]
        if key.partition(".")[0] in factors and key.partition(".")[0] in NAMED_SECTIONS
    }
    dropped = {key for key in loose if _follows(key, [runs.settings[config_id] for config_id in chosen])}
    of = {
        config_id: {key: item for key, item in runs.settings[config_id].items() if key not in factors | dropped}
        for config_id in chosen
    }
    found = []
    for context in {repr(settings): settings for settings in of.values()}.values():
        fitting = {
            name: [config_id for config_id in ids if _fits(of[config_id], context, loose)]
            for name, ids in matching.items()
        }
        problems = [f"{name}: no runs" for name, ids in fitting.items() if not ids]
        problems += [
            f"{name}: {len(ids)} configurations; name what they differ in under where"
            for name, ids in fitting.items()
            if len(ids) > 1
        ]
        n_baseline = sum(equal(context[key], value) for key, value in baseline().items() if key in context)
        found.append(
            Context(context, {name: ids[0] for name, ids in fitting.items() if ids}, tuple(problems), n_baseline)
        )
    return sorted(found, key=lambda context: (len(context.problems), -context.n_baseline))


@lru_cache(maxsize=1)
def baseline() -> Settings:
    """The settings of `conf/config.yaml` without anything on the command line: the article's primary completion."""
    options = [entry for entry in OmegaConf.load(CONF / "config.yaml").defaults if not isinstance(entry, str)]
    chosen = {str(key): name for entry in options for key, name in entry.items() if key in Configuration.model_fields}
    return columns_of({group: _option(group, name) for group, name in chosen.items()})


def _option(group: str, name: str) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    parents = [parent for parent in content.pop("defaults", []) if parent != "_self_"]
    inherited: dict[str, Any] = {}
    for parent in parents:
        inherited |= _option(group, parent)
    return inherited | content


def equal(first: Any, second: Any) -> bool:
    """Whether two values of a setting are the same: 0.2 and 0.2000000001 are, 1 and true are not."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-6)
    return bool(_plain(first) == _plain(second))


def _matches(settings: Settings, arm: Selector) -> bool:
    return all(key in settings and equal(settings[key], value) for key, value in arm.items())


def _fits(settings: Settings, context: Settings, loose: set[str]) -> bool:
    return all(settings[key] == value or (key in loose and settings[key] is None) for key, value in context.items())


def _follows(key: str, settings: list[Settings]) -> bool:
    """Whether a setting has one value for each value of its section."""
    values: dict[Setting, set[Setting]] = {}
    for item in settings:
        values.setdefault(item[key.partition(".")[0]], set()).add(item[key])
    return all(len(found) == 1 for found in values.values())


def _plain(value: Any) -> Setting:
    """A cell of the frame as YAML would give it; missing is None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return None if value is pd.NA or (isinstance(value, float) and math.isnan(value)) else value
