"""Estimate the parts of a claim from the runs of a study."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from pima_hp.analysis.claims import Claim, Contrast, Part, Selector
from pima_hp.analysis.curves import slope_on_log2
from pima_hp.analysis.decisions import Inferences
from pima_hp.analysis.intervals import Effect, Inference, Resample, Share, win_probability, wins
from pima_hp.analysis.selection import Runs, Seeds, matched, named
from pima_hp.run import Array, RunStatus

FEWEST_REPLICATES = 10  # distinct ones
Configurations = Callable[[Selector], Sequence[str]]
"""The configurations that a selector means, in one data specification: one where the claim can be tested."""


@dataclass(frozen=True)
class Estimate:
    """What the runs say of one part of a claim."""

    name: str
    contrast: Contrast | None
    descriptive: bool
    problem: str = ""  # why there is no estimate; empty where there is one
    inference: Inference | None = None
    unit: str = ""
    seeds: Sequence[Seeds] = ()  # replicates with a value in every configuration of the part
    numbers: Array = field(default_factory=lambda: np.empty(0))  # (R,), whose mean (of a ratio: its exp) is the value
    effect: Effect | None = None  # of paired contrasts
    n_diverged: int = 0
    n_stopped: int = 0  # stopped early: they have no value
    n_failed: int = 0  # left out
    n_runs: int = 0  # of the configurations, each counted once, those above included
    runs_digest: str = ""  # SHA-256 of their sorted run ids, 16 digits
    config_ids: Sequence[str] = ()

    @property
    def value(self) -> float | None:
        """Return the estimate itself."""
        return self.inference.estimate if self.inference else None

    @property
    def lower(self) -> float | None:
        """Return the lower bound of the 95 % interval."""
        return self.inference.interval()[0] if self.inference else None

    @property
    def upper(self) -> float | None:
        """Return the upper bound of the 95 % interval."""
        return self.inference.interval()[1] if self.inference else None

    @property
    def row(self) -> dict[str, Any]:
        """Return what files and pages show of it."""
        columns = ("name", "problem", "unit", "value", "lower", "upper", "n_diverged", "n_stopped", "n_failed",
                   "n_runs", "runs_digest", "config_ids", "descriptive")  # fmt: skip
        effect = asdict(self.effect) | {"conclusion": self.effect.conclusion} if self.effect else None
        return {key: getattr(self, key) for key in columns} | {"n_replicates": len(self.seeds), "effect": effect}


def estimate(part: Part, runs: Runs, configurations: Configurations, resample: Resample) -> Estimate:
    """Estimate a part, and record what the estimate rests on; parts with as many replicates share their resamples."""
    found, table = _estimated(part, runs, configurations, resample)
    config_ids = list(dict.fromkeys(key for arm in part.arms for key in configurations(arm)))
    if part.statistic is None or part.requires is not None or not config_ids:
        return found
    statuses = [status for key in config_ids for status in runs.of[key]["status"]]
    run_ids = sorted(run_id for key in config_ids for run_id in runs.of[key]["run_id"])
    return replace(
        found,
        unit=_unit(part),
        effect=_effect(part, table, resample) if found.inference else None,
        n_diverged=statuses.count(RunStatus.DIVERGED),
        n_stopped=statuses.count(RunStatus.STOPPED),
        n_failed=statuses.count(RunStatus.FAILED),
        n_runs=len(run_ids),
        runs_digest=hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:16],
        config_ids=tuple(config_ids),
    )


def inferences(claim: Claim, runs: Runs, configurations: Configurations, resample: Resample) -> Inferences:
    """Estimate the parts that the rules are about, without what the estimates rest on."""
    parts = [part for part in claim.parts if not part.descriptive]
    return {part.name: _estimated(part, runs, configurations, resample)[0].inference for part in parts}


def _estimated(part: Part, runs: Runs, configurations: Configurations, resample: Resample) -> tuple[Estimate, Array]:
    """Return the estimate, and the values (R, K) of its configurations that it is made from."""
    found, nothing = Estimate(part.name, part.contrast, part.descriptive), np.empty((0, len(part.arms)))
    if part.statistic is None or part.requires is not None:
        return replace(found, problem=f"{part.name} requires {part.requires}"), nothing
    ids = [configurations(arm) for arm in part.arms]
    for arm, of_arm in zip(part.arms, ids, strict=True):
        if len(of_arm) != 1:
            several = f"{len(of_arm)} configurations with {named(arm)}: name what they differ in under where"
            return replace(found, problem=several if of_arm else f"no runs with {named(arm)}"), nothing
    columns, problems = zip(*(runs.values(key, part.statistic) for (key,) in ids), strict=True)
    seeds, table = matched(columns)
    few = f"at least {FEWEST_REPLICATES} distinct replicates are needed; found {len(seeds)}"
    if problem := next(filter(None, problems), few if len(seeds) < FEWEST_REPLICATES else ""):
        return replace(found, seeds=seeds, problem=f"{part.name}: {problem}"), table
    numbers = _numbers(part, table)
    return replace(found, seeds=seeds, numbers=numbers, inference=_inference(part.contrast, numbers, resample)), table


def _numbers(part: Part, table: Array) -> Array:
    """Return the number of each replicate, (R,), from those of its configurations, (R, K)."""
    if part.contrast in ("share", "mean"):
        return np.asarray(table[:, 0])
    if part.contrast == "slope":
        return slope_on_log2(table, np.array([float(arm[part.along or ""]) for arm in part.where]))
    first, second = _sides(part, table)
    return wins(first, second) if part.contrast == "order" else first - second


def _sides(part: Part, table: Array) -> tuple[Array, Array]:
    """Return what is compared, (R,) and (R,): the ends of a slope, or the means of `where` and of `over`."""
    if part.contrast == "slope":
        return table[:, 0], table[:, -1]
    n_where = len(part.where)
    return table[:, :n_where].mean(axis=1), table[:, n_where:].mean(axis=1)


def _inference(contrast: Contrast | None, numbers: Array, resample: Resample) -> Inference:
    if contrast == "share":
        return Share(float(numbers.sum()), len(numbers))
    if contrast == "order":
        return win_probability(numbers, resample)
    return resample(numbers).mapped(np.exp) if contrast == "ratio" else resample(numbers)


def _effect(part: Part, table: Array, resample: Resample) -> Effect | None:
    """Return how often one side is larger, where there are two."""
    if part.contrast in ("share", "mean"):
        return None
    won = win_probability(wins(*_sides(part, table)), resample)
    first, second = (part.where[:1], part.where[-1:]) if part.contrast == "slope" else (part.where, part.over)
    keys = [key for key in first[0] if any(arm.get(key) != first[0][key] for arm in [*first, *second])]
    sides = (
        " and ".join(named({key: arm[key] for key in keys if key in arm}) for arm in side) for side in (first, second)
    )
    return Effect(" over ".join(sides), won.estimate, *won.interval())


def _unit(part: Part) -> str:
    if part.contrast in ("order", "ratio") or part.statistic is None:
        return "probability" if part.contrast == "order" else "ratio"
    return part.statistic.unit + (f" per doubling of {part.along}" if part.contrast == "slope" else "")
