"""Judge claims by the runs of a study: supported, refuted, undecided or untestable."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from pydantic_core import to_json

from pima_hp.analysis.claims import Claim, Contrast, Part
from pima_hp.analysis.curves import slope_on_log2
from pima_hp.analysis.decisions import FAMILIES, Outcome, outcome_of
from pima_hp.analysis.intervals import Effect, Inference, Resample, Resamples, Share, bootstrap, win_probability
from pima_hp.analysis.multiverse import Arms, data_specifications, headline_of, specifications
from pima_hp.analysis.selection import Runs, Seeds, Settings, differing, matched, named
from pima_hp.run import Array, RunStatus

FEWEST_REPLICATES = 10  # distinct ones


@dataclass(frozen=True)
class Estimate:
    """The estimate of one part of a claim, and the runs behind it."""

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
        """Return the columns for files and pages."""
        inner = ("contrast", "inference", "seeds", "numbers")
        columns = {key: item for key, item in vars(self).items() if key not in inner}
        effect = self.effect and asdict(self.effect) | {"conclusion": self.effect.conclusion}
        return columns | {"n_replicates": len(self.seeds), "effect": effect}


@dataclass(frozen=True)
class Verdict:
    """A claim, the outcome, and what it rests on."""

    claim: Claim
    outcome: Outcome
    estimates: Sequence[Estimate]  # of each part
    reason: str
    decisive: Estimate  # the estimate that the reason is about, for summaries
    specifications: pd.DataFrame  # the outcome in each, this verdict's first
    headline: str  # robust, or what the outcome depends on
    explanation: str  # of the headline
    differing: Settings = field(default_factory=dict)  # settings of the runs other than the defaults
    replicates_needed: float | None = None  # when undecided; infinite when the estimate would have to move
    p: float | None = None  # smallest alpha at which intervals at 1 - alpha still decide; None when untestable
    p_is_bound: bool = False  # whether p is as small as the resamples can tell, and may be smaller
    p_adjusted: float | None = None  # within the family

    @property
    def survives(self) -> bool | None:
        """Return whether the outcome stands after its family's correction; None unless supported or refuted."""
        if self.p_adjusted is None or self.outcome not in (Outcome.SUPPORTED, Outcome.REFUTED):
            return None
        return self.p_adjusted <= FAMILIES[self.claim.family][1]

    @property
    def qualifiers(self) -> list[str]:
        """Return caveats to the outcome: settings other than the defaults, a failed correction."""
        settings = f"with {named(self.differing)}" if self.differing else ""
        lost = f"does not survive {FAMILIES[self.claim.family][2]} correction" if self.survives is False else ""
        return list(filter(None, [settings, lost]))

    @property
    def row(self) -> dict[str, Any]:
        """Return the columns for files, without the estimates."""
        columns = ("outcome", "headline", "explanation", "qualifiers", "reason", "replicates_needed", "p", "p_is_bound")
        return {key: getattr(self, key) for key in (*columns, "p_adjusted", "survives")}


def judge(
    claims: Sequence[Claim], frame: pd.DataFrame, rng: np.random.Generator, n_resamples: int = 10_000
) -> list[Verdict]:
    """Judge claims by the runs of a study: each in the specification nearest the article's, then in every other.

    The rules are applied to 95 % intervals. Many claims: a claim's p value is the smallest alpha at which its
    rule still decides with intervals at level 1 - alpha (k of them sharing alpha for `any` of k parts), so that
    "Holm's adjusted p is at most 0.05" means that the outcome stands with intervals widened as in Holm (1979).
    Claims that are untestable stay in the family with p = 1. Exploratory claims: Benjamini-Hochberg at 0.10. Each
    folder of claims has families of its own.

    One number is drawn from `rng` and seeds all resamples: they do not depend on which other claims are judged.
    """
    seed, runs = int(rng.integers(2**62)), Runs(frame)

    def resample(values: Array) -> Resamples:
        return bootstrap(values, np.random.default_rng(seed), n_resamples)

    verdicts = [_judge(claim, runs, resample) for claim in claims]
    for folder, family in dict.fromkeys((claim.folder, claim.family) for claim in claims):
        members = [n for n, claim in enumerate(claims) if (claim.folder, claim.family) == (folder, family)]
        p_values = [1.0 if (p := verdicts[n].p) is None else p for n in members]
        for n, p in zip(members, FAMILIES[family][0](p_values).tolist(), strict=True):
            verdicts[n] = verdicts[n] if verdicts[n].p is None else replace(verdicts[n], p_adjusted=p)
    return verdicts


def _judge(claim: Claim, runs: Runs, resample: Resample) -> Verdict:
    other_table = claim.other_table(settings["data_digest"] for settings in runs.settings.values())
    data = [] if other_table else data_specifications(claim, runs)
    settings, arms = data[0] if data else ({}, {})
    estimates = [estimate(part, runs, arms, resample, other_table) for part in claim.parts]
    by_name = {item.name: item for item in estimates if not item.descriptive}
    found = {name: item.inference for name, item in by_name.items()}
    outcome = outcome_of(claim.supported, claim.refuted, found)
    table = specifications(claim, data, outcome, lambda part, arms: infer(part, runs, arms, resample)[1])
    reason, decisive = _reason(claim, outcome, by_name)
    reason = other_table or reason
    verdict = Verdict(claim, outcome, estimates, reason, decisive, table, *headline_of(table), differing(settings))
    if outcome == Outcome.UNTESTABLE:
        return verdict
    both = {Outcome.SUPPORTED: claim.supported, Outcome.REFUTED: claim.refuted}
    rules = [both[outcome]] if outcome in both else list(both.values())
    p, p_is_bound = min(rule.p_value(found) for rule in rules)
    needed = min(rule.needed(found) for rule in rules) if outcome == Outcome.UNDECIDED else None
    return replace(verdict, p=p, p_is_bound=p_is_bound, replicates_needed=needed)


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


def _reason(claim: Claim, outcome: Outcome, estimates: Mapping[str, Estimate]) -> tuple[str, Estimate]:
    """Return one sentence, and the estimate that it is about."""
    if outcome == Outcome.UNTESTABLE:
        lacking = [item for item in estimates.values() if item.problem]
        recorded = {part.name for part in claim.parts if not part.requires}  # no command makes the others
        command = f"to make runs: {claim.command}" if recorded & {item.name for item in lacking} else ""
        problems = dict.fromkeys(item.problem for item in lacking)
        return "; ".join(filter(None, [*problems, command if claim.command else ""])), lacking[0]
    found = {name: item.inference for name, item in estimates.items()}
    if outcome == Outcome.UNDECIDED:
        supporting = claim.supported.meeting(found)
        names = [name for name in estimates if name not in supporting] or list(estimates)
        rule = f"neither {claim.supported} nor {claim.refuted}"
    else:
        deciding = claim.supported if outcome == Outcome.SUPPORTED else claim.refuted
        names, rule = deciding.meeting(found), str(deciding)
    numbers = (
        f"{name} {item.value:.3g} [{item.lower:.3g}, {item.upper:.3g}]" if item.inference else f"{name} without runs"
        for name, item in estimates.items() if name in names
    )  # fmt: skip
    return f"{rule}: {'; '.join(numbers)}", estimates[names[0]]


def verdicts_json(verdicts: Sequence[Verdict]) -> bytes:
    """Return verdicts as JSON, the same bytes for the same verdicts; infinite and missing numbers are null."""
    of_claim = {"id", "sentence", "source", "data", "family", "margin", "command"}
    rows = [
        verdict.claim.model_dump(include=of_claim)
        | {"supported": str(verdict.claim.supported), "refuted": str(verdict.claim.refuted), **verdict.row}
        | {"n_specifications": len(verdict.specifications), "differing": verdict.differing}
        | {"decisive": verdict.decisive.name, "estimates": [item.row for item in verdict.estimates]}
        for verdict in verdicts
    ]
    return to_json(rows, indent=1, inf_nan_mode="null") + b"\n"
