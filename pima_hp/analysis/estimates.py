"""Estimate the parts of a claim from the runs of a study."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pima_hp.analysis.claims import Contrast, Part
from pima_hp.analysis.curves import slope_on_log2
from pima_hp.analysis.intervals import Effect, Inference, Resample, Share, win_probability
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
    problem: str  # why there is no estimate; empty where there is one
    inference: Inference | None = None
    value: float | None = None
    lower: float | None = None  # bound of the 95 % interval
    upper: float | None = None
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
    def row(self) -> dict[str, Any]:
        """Return what files and pages show of it."""
        inner = ("contrast", "inference", "seeds", "numbers")
        columns = {key: item for key, item in vars(self).items() if key not in inner}
        effect = self.effect and asdict(self.effect) | {"conclusion": self.effect.conclusion}
        return columns | {"n_replicates": len(self.seeds), "effect": effect}


def infer(
    part: Part, runs: Runs, arms: Arms, resample: Resample
) -> tuple[str, Inference | None, Sequence[Seeds], Array]:
    """Return why a part has no estimate, the estimate, R replicates, and values (R, K) of K configurations.

    Parts with as many replicates share their resamples.
    """
    nothing = None, (), np.empty((0, 1))
    if part.statistic is None or part.requires is not None:
        return f"{part.name} requires {part.requires}", *nothing
    ids = [arms.get(named(arm), ()) for arm in part.arms]
    for name, config_ids in zip(map(named, part.arms), ids, strict=True):
        if len(config_ids) != 1:
            return f"{len(config_ids) or 'no'} configurations with {name}; one is needed", *nothing
    columns, problems = zip(*(runs.values(config_id, part.statistic) for (config_id,) in ids), strict=True)
    seeds, table = matched(columns)
    few = f"at least {FEWEST_REPLICATES} distinct replicates are needed; found {len(seeds)}"
    if problem := next(filter(None, problems), few if len(seeds) < FEWEST_REPLICATES else ""):
        return f"{part.name}: {problem}", None, seeds, table
    numbers = _numbers(part, table)
    if part.contrast == "share":
        return "", Share(float(numbers.sum()), len(numbers)), seeds, table
    if part.contrast == "order":
        return "", win_probability(numbers, resample), seeds, table
    mean = resample(numbers)
    return "", mean.mapped(np.exp) if part.contrast == "ratio" else mean, seeds, table


def estimate(part: Part, runs: Runs, arms: Arms, resample: Resample, other_table: str) -> Estimate:
    """Estimate a part, and record what the estimate rests on; nothing where the runs are of another table."""
    problem, inference, seeds, table = infer(part, runs, arms, resample)
    if other_table or part.statistic is None or part.requires is not None:
        return Estimate(part.name, part.contrast, part.descriptive, other_table or problem)
    config_ids = tuple(dict.fromkeys(config_id for arm in part.arms for config_id in arms.get(named(arm), ())))
    rows = [row for config_id in config_ids for row in runs.rows[config_id]]
    run_ids = "\n".join(sorted(runs.frame["run_id"].iloc[rows]))
    lower, upper = inference.interval() if inference else (None, None)
    per = f" per doubling of {part.along}" if part.contrast == "slope" else ""
    return Estimate(
        part.name, part.contrast, part.descriptive, problem, inference,
        value=inference.estimate if inference else None,
        lower=lower,
        upper=upper,
        unit={"order": "probability", "ratio": "ratio"}.get(part.contrast or "", part.statistic.unit + per),
        seeds=seeds,
        numbers=_numbers(part, table) if inference else np.empty(0),
        effect=_effect(part, table, resample) if inference else None,
        n_diverged=runs.count(rows, RunStatus.DIVERGED),
        n_stopped=runs.count(rows, RunStatus.STOPPED),
        n_failed=runs.count(rows, RunStatus.FAILED),
        n_runs=len(rows),
        runs_digest=hashlib.sha256(run_ids.encode()).hexdigest()[:16],
        config_ids=config_ids,
    )  # fmt: skip


def _numbers(part: Part, table: Array) -> Array:
    """Return the number of each replicate, (R,), from those of its configurations, (R, K)."""
    if part.contrast == "slope":
        return slope_on_log2(table, np.array([arm[part.along or ""] for arm in part.where], float))
    n_where = len(part.where)
    numbers = table[:, :n_where].mean(axis=1) - (table[:, n_where:].mean(axis=1) if part.over else 0)
    return np.asarray(np.heaviside(numbers, 0.5) if part.contrast == "order" else numbers)


def _effect(part: Part, table: Array, resample: Resample) -> Effect | None:
    """Return how often `where` is above `over`, or the first of `where` above the last for a slope."""
    if part.contrast in ("share", "mean"):
        return None
    is_slope = part.contrast == "slope"
    difference = table[:, 0] - table[:, -1] if is_slope else _numbers(part, table)
    won = win_probability(difference if part.contrast == "order" else np.heaviside(difference, 0.5), resample)
    sides = (part.where[:1], part.where[-1:]) if is_slope else (part.where, part.over)
    first, *others = [arm for side in sides for arm in side]
    keys = [key for key in first if any(arm.get(key) != first[key] for arm in others)]
    names = (" and ".join(named({key: arm[key] for key in keys if key in arm}) for arm in side) for side in sides)
    return Effect(" over ".join(names), won.estimate, *won.interval())
