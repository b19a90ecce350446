"""Estimate the parts of a claim from the runs of a study."""

import hashlib
from collections.abc import Mapping, Sequence
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
Arms = Mapping[str, Sequence[str]]
"""Selector, as `named` writes it -> the configurations that it means: one where the claim can be tested."""


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
        effect = self.effect and asdict(self.effect) | {"conclusion": self.effect.conclusion}
        return {key: getattr(self, key) for key in columns} | {"n_replicates": len(self.seeds), "effect": effect}


def inferences(claim: Claim, runs: Runs, arms: Arms, resample: Resample) -> Inferences:
    """Estimate the parts that the rules are about, without what the estimates rest on."""
    parts = [part for part in claim.parts if not part.descriptive]
    return {part.name: _estimated(part, runs, arms, resample)[0].inference for part in parts}


def estimate(part: Part, runs: Runs, arms: Arms, resample: Resample) -> Estimate:
    """Estimate a part, and record what the estimate rests on; parts with as many replicates share their resamples."""
    found, table = _estimated(part, runs, arms, resample)
    if part.statistic is None or part.requires is not None:
        return found
    config_ids = tuple(dict.fromkeys(config_id for arm in part.arms for config_id in arms.get(named(arm), ())))
    rows = [row for config_id in config_ids for row in runs.rows[config_id]]
    run_ids = "\n".join(sorted(runs.frame["run_id"].iloc[rows]))
    slope = f" per doubling of {part.along}" if part.contrast == "slope" else ""
    units = {"order": "probability", "ratio": "ratio"}
    return replace(
        found,
        unit=units.get(part.contrast or "", part.statistic.unit + slope),
        effect=_effect(part, table, resample) if found.inference else None,
        n_diverged=runs.count(rows, RunStatus.DIVERGED),
        n_stopped=runs.count(rows, RunStatus.STOPPED),
        n_failed=runs.count(rows, RunStatus.FAILED),
        n_runs=len(rows),
        runs_digest=hashlib.sha256(run_ids.encode()).hexdigest()[:16],
        config_ids=config_ids,
    )


def _estimated(part: Part, runs: Runs, arms: Arms, resample: Resample) -> tuple[Estimate, Array]:
    """Return the estimate, and the values (R, K) of the configurations that it is made from."""
    found, nothing = Estimate(part.name, part.contrast, part.descriptive), np.empty((0, len(part.arms)))
    if part.statistic is None or part.requires is not None:
        return replace(found, problem=f"{part.name} requires {part.requires}"), nothing
    ids = [arms.get(named(arm), ()) for arm in part.arms]
    for arm, of_arm in zip(part.arms, ids, strict=True):
        if len(of_arm) != 1:
            several = f"{len(of_arm)} configurations with {named(arm)}: name what they differ in under where"
            return replace(found, problem=several if of_arm else f"no runs with {named(arm)}"), nothing
    columns, problems = zip(*(runs.values(config_id, part.statistic) for (config_id,) in ids), strict=True)
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
        return slope_on_log2(table, np.array([arm[part.along or ""] for arm in part.where], float))
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
    sides = (part.where[:1], part.where[-1:]) if part.contrast == "slope" else (part.where, part.over)
    arms = [arm for side in sides for arm in side]
    keys = [key for key in arms[0] if any(arm.get(key) != arms[0][key] for arm in arms)]

    def side_name(side: Sequence[Selector]) -> str:
        return " and ".join(named({key: arm[key] for key in keys if key in arm}) for arm in side)

    return Effect(" over ".join(map(side_name, sides)), won.estimate, *won.interval())
