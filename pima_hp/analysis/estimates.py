"""Estimate the parts of a claim from the runs of a study: values, intervals, effects, counts."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pima_hp.analysis.claims import SHARES, Part
from pima_hp.analysis.curves import slopes
from pima_hp.analysis.decisions import Outcome
from pima_hp.analysis.intervals import Inference, Resample, Share, conclusion, win_probability
from pima_hp.analysis.multiverse import Arms
from pima_hp.analysis.selection import ByReplicate, Runs, Seeds, are_crossed, matched, named
from pima_hp.run import Array, RunStatus

FEWEST_REPLICATES = 10  # distinct ones
WON = ("slope", "difference", "ratio", "order")  # contrasts that have an effect
SAME = 1e-9  # log volatilities that differ by less are of curves that do not move


@dataclass(frozen=True)
class Estimate:
    """The estimate of one part of a claim, and the runs behind it."""

    part: Part
    outcome: Outcome  # of this part alone
    problem: str  # why there is no estimate; empty where there is one
    config_ids: Sequence[str]
    n_replicates: int  # with a value in every configuration of the part
    n_runs: int  # of the configurations, each counted once, those that follow included
    n_diverged: int
    n_stopped: int  # stopped early: they have no value
    n_failed: int  # left out
    value: float | None = None
    lower: float | None = None  # bound of the 95 % interval
    upper: float | None = None
    unit: str = ""
    # Of paired contrasts: P(X > Y) + P(X = Y)/2 over pairs of one seed, its 95 % interval, and what X and Y are.
    effect: Mapping[str, Any] | None = None
    inference: Inference | None = None
    numbers: ByReplicate = field(default_factory=dict)  # whose mean (of a ratio: its exp) is the value

    @property
    def row(self) -> dict[str, Any]:
        """Return the columns for files."""
        inner = ("part", "outcome", "inference", "numbers")
        of_part = self.part.model_dump(include={"name", "descriptive", "supported", "refuted"})
        return of_part | {key: value for key, value in vars(self).items() if key not in inner}


def table_of(part: Part, runs: Runs, arms: Arms) -> tuple[str, list[Seeds], Array]:
    """Return why a part has no estimate (empty where it has one), R replicates, and values (R, K) of K arms."""
    for name in map(named, part.arms):
        if (n_found := len(arms.get(name, ()))) != 1:
            return f"{n_found or 'no'} configurations with {name}; one is needed", [], np.empty((0, 1))
    found = [runs.values(arms[named(arm)][0], part.statistic) for arm in part.arms if part.statistic]
    replicates, table = matched([values for values, _ in found])
    problems = [problem for _, problem in found]
    if len(replicates) < FEWEST_REPLICATES:
        problems.append(f"at least {FEWEST_REPLICATES} distinct replicates are needed; found {len(replicates)}")
    elif are_crossed(replicates):
        problems.append("replicates must be independent; found crossed streams")
    elif part.contrast == "ratio":
        n_still = int((np.ptp(table, axis=1) < SAME).sum())  # where no curve moves, the volatilities are equal
        if 2 * n_still > len(table):
            problems.append(f"in {n_still} of {len(table)} replicates there is no variation to compare: flat curves")
    elif part.contrast == "removed":
        whole = difference_of(part, np.hsplit(table, 2)[1])
        if abs(whole.mean()) <= 3 * whole.std() / math.sqrt(len(whole)):
            problems.append(f"there is no clear difference under {named(part.instead)} that could be removed")
    problem = next(filter(None, problems), "")
    return f"{part.name}: {problem}" if problem else "", replicates, table


def numbers_of(part: Part, table: Array) -> Array:
    """Return the number of each replicate, (R,), from the values of its arms, (R, K).

    For `removed`, 1 - ratio of two means: that of its linear approximation, which has the same mean.
    """
    if part.contrast == "slope":
        return slopes(table, np.log2([arm[part.along or ""] for arm in part.where]))  # per doubling
    if part.contrast == "removed":
        own, whole = (difference_of(part, half) for half in np.hsplit(table, 2))
        ratio = own.mean() / whole.mean()
        return np.asarray(1 - ratio - (own - ratio * whole) / whole.mean())
    difference = difference_of(part, table)
    if part.contrast == "earlier":
        return np.asarray(difference < 0, float)  # NaN, where neither comes at all, is not
    return np.asarray(np.heaviside(difference, 0.5) if part.contrast == "order" else difference)


def difference_of(part: Part, table: Array) -> Array:
    """Return `where` minus `over`, each averaged over its arms: (R, K) -> (R,)."""
    where, over = np.hsplit(table, [len(part.where)])
    with np.errstate(invalid="ignore"):  # of times that are infinite
        return np.asarray(where.mean(axis=1) - (over.mean(axis=1) if part.over else 0))


def infer(part: Part, numbers: Array, resample: Resample) -> Inference:
    """Estimate a part from the numbers of R replicates, (R,); parts with as many replicates share their resamples."""
    if part.contrast in SHARES:
        return Share(float(numbers.sum()), len(numbers))
    if part.contrast == "order":
        return win_probability(numbers, resample)
    mean = resample(numbers)
    if part.contrast != "ratio":
        return mean
    return replace(mean, estimate=float(np.exp(mean.estimate)), values=np.exp(mean.values))


def estimate(part: Part, runs: Runs, arms: Arms, resample: Resample) -> Estimate:
    """Estimate a part, and record what the estimate rests on."""
    problem, replicates, table = table_of(part, runs, arms)
    config_ids = list(dict.fromkeys(config_id for arm in part.arms for config_id in arms.get(named(arm), ())))
    n_with = Counter(runs.frame["status"].iloc[[row for config_id in config_ids for row in runs.rows[config_id]]])
    lost = n_with[RunStatus.DIVERGED], n_with[RunStatus.STOPPED], n_with[RunStatus.FAILED]
    of_runs = Estimate(part, Outcome.UNTESTABLE, problem, config_ids, len(replicates), n_with.total(), *lost)
    if problem or part.statistic is None:
        return of_runs
    numbers = numbers_of(part, table)
    inference = infer(part, numbers, resample)
    (lower, upper), effect = inference.interval(), None
    if part.contrast in WON:  # how often `where` is above `over`; the first arm above the last
        difference = {"slope": table[:, 0] - table[:, -1], "order": numbers - 0.5}.get(part.contrast or "", numbers)
        won = win_probability(np.heaviside(difference, 0.5), resample)
        of = part.name if part.over else " over ".join(str(part.where[place][part.along or ""]) for place in (0, -1))
        low, high = won.interval()
        effect = {"of": of, "probability": won.estimate, "lower": low, "upper": high}
        effect["conclusion"] = conclusion(low, high)
    per = f" per doubling of {part.along}" if part.contrast == "slope" else ""
    units = {"order": "probability", "ratio": "ratio", "earlier": "share of seeds", "removed": "share"}
    unit = units.get(part.contrast or "", part.statistic.unit + per)
    return replace(
        of_runs, outcome=part.outcome((lower, upper)), value=inference.estimate, lower=lower, upper=upper, unit=unit,
        effect=effect, inference=inference, numbers=dict(zip(replicates, numbers.tolist(), strict=True)),
    )  # fmt: skip
