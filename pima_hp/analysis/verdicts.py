"""Judge claims by the runs of a study: supported, refuted, undecided or untestable."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from pydantic_core import to_json

from pima_hp.analysis.claims import Claim, Part
from pima_hp.analysis.curves import slope_on_log2
from pima_hp.analysis.decisions import FAMILIES, Limits, Outcome, needed, outcome_of, p_value
from pima_hp.analysis.intervals import Inference, Resample, Resamples, Share, bootstrap, conclusion, win_probability
from pima_hp.analysis.multiverse import Arms, data_specifications, headline_of, specifications
from pima_hp.analysis.selection import ByReplicate, Runs, Seeds, Settings, differing, matched, named
from pima_hp.formatting import listed
from pima_hp.run import Array, RunStatus

FEWEST_REPLICATES = 10  # distinct ones


@dataclass(frozen=True)
class Estimate:
    """The estimate of one part of a claim, and the runs behind it.

    Attributes:
        part: of the claim.
        outcome: of this part alone.
        row: columns for files and pages: `name`, `value`, `lower` and `upper` (of the 95 % interval), `unit`,
            `problem` (why there is no estimate), counts of replicates and runs, `effect` of paired contrasts,
            `runs_digest` (SHA-256 of the sorted run ids, 16 digits) and `config_ids`.
        inference: None where there is no estimate.
        numbers: of each replicate; the estimate is their mean (of a ratio: its exp).
    """

    part: Part
    outcome: Outcome
    row: Mapping[str, Any]
    inference: Inference | None = None
    numbers: ByReplicate = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """A claim, the outcome, and what it rests on."""

    claim: Claim
    outcome: Outcome
    estimates: Sequence[Estimate]  # of each part
    reason: str
    decisive: Estimate  # the first with the outcome of the claim, for summaries
    specifications: pd.DataFrame  # the outcome in each, this verdict's first; no rows where it is untestable
    headline: str  # robust, or what the outcome depends on
    explanation: str  # of the headline
    differing: Settings = field(default_factory=dict)  # settings of the runs other than the defaults
    replicates_needed: float | None = None  # when undecided; infinite when the estimate would have to move
    p: float | None = None  # smallest alpha at which intervals at 1 - alpha still decide; None when untestable
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
        columns = ("outcome", "headline", "explanation", "qualifiers", "reason", "replicates_needed")
        return {key: getattr(self, key) for key in (*columns, "p", "p_adjusted", "survives")}


def judge(
    claims: Sequence[Claim], frame: pd.DataFrame, rng: np.random.Generator, n_resamples: int = 10_000
) -> list[Verdict]:
    """Judge claims by the runs of a study: each in the specification nearest the article's, then in every other.

    The limits are applied to 95 % intervals. Many claims: a claim's p value is the smallest alpha at which its
    outcome still holds with intervals at level 1 - alpha (k parts, of which one refutes a claim, share alpha), so
    that "Holm's adjusted p is at most 0.05" means that the outcome stands with intervals widened as in Holm (1979).
    Claims that are untestable stay in the family with p = 1. Exploratory claims: Benjamini-Hochberg at 0.10. Each
    folder of claims has families of its own.

    One number is drawn from `rng` and seeds all resamples: they do not depend on which other claims are judged.
    """
    seed, runs = int(rng.integers(2**62)), Runs(frame)

    def resample(values: Array) -> Resamples:
        return bootstrap(values, np.random.default_rng(seed), n_resamples)

    verdicts = [_judge(claim, runs, resample) for claim in claims]
    for folder, family in {(claim.folder, claim.family) for claim in claims}:
        members = [n for n, claim in enumerate(claims) if (claim.folder, claim.family) == (folder, family)]
        p_values = [1.0 if (p := verdicts[n].p) is None else p for n in members]
        for n, p in zip(members, FAMILIES[family][0](p_values).tolist(), strict=True):
            verdicts[n] = replace(verdicts[n], p_adjusted=None if verdicts[n].p is None else p)
    return verdicts


def _judge(claim: Claim, runs: Runs, resample: Resample) -> Verdict:
    data = data_specifications(claim, runs)
    settings, arms = data[0] if data else ({}, {})
    estimates = [estimate(part, runs, arms, resample) for part in claim.parts]
    judged = [of for of in estimates if not of.part.descriptive]
    outcome = outcome_of([of.outcome for of in judged])
    decisive = [of for of in judged if of.outcome == outcome]
    if outcome == Outcome.UNTESTABLE:
        reason = _why_untestable(claim, runs, decisive)
        return Verdict(claim, outcome, estimates, reason, decisive[0], pd.DataFrame(), "", "", differing(settings))

    def outcome_under(part: Part, arms: Arms) -> Outcome:
        problem, _, table = table_of(part, runs, arms)
        return Outcome.UNTESTABLE if problem else part.outcome(infer(part, table, resample))

    limits = {key: getattr(decisive[0].part, key) for key in ("supported", "refuted")}
    texts = [f"{key} {side} {bound:g}" for key, of in limits.items() for side, bound in (of or {}).items()]
    numbers = ("{name} {value:.3g} [{lower:.3g}, {upper:.3g}]".format(**of.row) for of in decisive)
    known = [(of.part, of.inference) for of in judged if of.inference]

    def both(of: Callable[[Limits | None, Inference], float]) -> tuple[float, float]:
        """Return a number for all parts together that support the claim, and for the one that refutes it first."""
        return max(of(part.supported, found) for part, found in known), min(
            of(part.refuted, found) for part, found in known
        )

    n_refuting = sum(of.part.refuted is not None for of in judged)
    to_support, to_refute = both(p_value)
    p = {Outcome.SUPPORTED: to_support, Outcome.REFUTED: min(1.0, n_refuting * to_refute)}
    table = specifications(claim, data, outcome_under)
    return Verdict(
        claim, outcome, estimates, f"{'; '.join(numbers)} ({', '.join(texts)})", decisive[0], table,
        *headline_of(table),
        differing=differing(settings),
        replicates_needed=min(both(needed)) if outcome == Outcome.UNDECIDED else None,
        p=p.get(outcome, min(p.values())),
    )  # fmt: skip


def _why_untestable(claim: Claim, runs: Runs, lacking: Sequence[Estimate]) -> str:
    digests = sorted({str(settings["data_digest"]) for settings in runs.settings.values()})
    if digests and not any(map(claim.is_about, digests)):
        return f"{claim.id} is about another table (data: {claim.data}); these runs use SHA-256 {listed(digests)}"
    problems = dict.fromkeys(of.row["problem"] for of in lacking)
    can_be_made = claim.command and any(of.part.requires is None for of in lacking)
    return "; ".join([*problems, *([f"to make runs: {claim.command}"] if can_be_made else [])])


def table_of(part: Part, runs: Runs, arms: Arms) -> tuple[str, list[Seeds], Array]:
    """Return why a part has no estimate (empty where it has one), R replicates, and values (R, K) of K arms."""
    if part.statistic is None or part.requires is not None:
        return f"{part.name} requires {part.requires}", [], np.empty((0, 1))
    ids = {named(arm): arms.get(named(arm), ()) for arm in part.arms}
    for name, config_ids in ids.items():
        if len(config_ids) != 1:
            return f"{len(config_ids) or 'no'} configurations with {name}; one is needed", [], np.empty((0, 1))
    columns, problems = zip(*(runs.values(config_id, part.statistic) for (config_id,) in ids.values()), strict=True)
    replicates, table = matched(columns)
    few = f"at least {FEWEST_REPLICATES} distinct replicates are needed; found {len(replicates)}"
    problem = next(filter(None, problems), few if len(replicates) < FEWEST_REPLICATES else "")
    return f"{part.name}: {problem}" if problem else "", replicates, table


def infer(part: Part, table: Array, resample: Resample) -> Inference:
    """Estimate a part from the values (R, K) of its arms; parts with as many replicates share their resamples."""
    numbers = _numbers(part, table)
    if part.contrast == "share":
        return Share(float(numbers.sum()), len(numbers))
    if part.contrast == "order":
        return win_probability(numbers, resample)
    mean = resample(numbers)
    is_ratio = part.contrast == "ratio"
    return replace(mean, estimate=float(np.exp(mean.estimate)), values=np.exp(mean.values)) if is_ratio else mean


def estimate(part: Part, runs: Runs, arms: Arms, resample: Resample) -> Estimate:
    """Estimate a part, and record what the estimate rests on."""
    problem, replicates, table = table_of(part, runs, arms)
    config_ids = list(dict.fromkeys(config_id for arm in part.arms for config_id in arms.get(named(arm), ())))
    behind = runs.frame[["run_id", "status"]].iloc[[row for config_id in config_ids for row in runs.rows[config_id]]]
    counts = behind["status"].value_counts()
    row: dict[str, Any] = {
        **part.model_dump(include={"name", "descriptive", "supported", "refuted"}),
        **dict.fromkeys(("value", "lower", "upper", "unit", "effect")),
        "problem": problem,
        "n_replicates": len(replicates),
        "n_runs": len(behind),
        "n_diverged": int(counts.get(RunStatus.DIVERGED, 0)),
        "n_stopped": int(counts.get(RunStatus.STOPPED, 0)),  # early: they have no value
        "n_failed": int(counts.get(RunStatus.FAILED, 0)),  # left out
        "runs_digest": hashlib.sha256("\n".join(sorted(behind["run_id"])).encode()).hexdigest()[:16],
        "config_ids": config_ids,
    }
    if problem or part.statistic is None:
        return Estimate(part, Outcome.UNTESTABLE, row)
    inference = infer(part, table, resample)
    per = f" per doubling of {part.along}" if part.contrast == "slope" else ""
    row["unit"] = {"order": "probability", "ratio": "ratio"}.get(part.contrast or "", part.statistic.unit + per)
    row |= _with_interval("value", inference) | {"effect": _effect(part, table, resample)}
    numbers = dict(zip(replicates, _numbers(part, table).tolist(), strict=True))
    return Estimate(part, part.outcome(inference), row, inference, numbers)


def _with_interval(name: str, inference: Inference) -> dict[str, float]:
    return dict(zip((name, "lower", "upper"), (inference.estimate, *inference.interval()), strict=True))


def _difference(part: Part, table: Array) -> Array:
    n_where = len(part.where)
    return np.asarray(table[:, :n_where].mean(axis=1) - (table[:, n_where:].mean(axis=1) if part.over else 0))


def _numbers(part: Part, table: Array) -> Array:
    """Return the number of each replicate, (R,), from those of its configurations, (R, K)."""
    if part.contrast == "slope":
        return slope_on_log2(table, np.array([arm[part.along or ""] for arm in part.where], float))
    difference = _difference(part, table)
    return np.asarray(np.heaviside(difference, 0.5) if part.contrast == "order" else difference)


def _effect(part: Part, table: Array, resample: Resample) -> dict[str, Any] | None:
    """Return how often `where` is above `over`, or the first of `where` above the last for a slope."""
    if part.contrast in ("share", "mean"):
        return None
    first, last = (arm.get(part.along or "") for arm in (part.where[0], part.where[-1]))
    difference = _difference(part, table) if part.over else table[:, 0] - table[:, -1]
    found = _with_interval("probability", win_probability(np.heaviside(difference, 0.5), resample))
    of = part.name if part.over else f"{part.along} {first} over {last}"
    return {"of": of, **found, "conclusion": conclusion(found["lower"], found["upper"])}


def verdicts_json(verdicts: Sequence[Verdict]) -> bytes:
    """Return verdicts as JSON, the same bytes for the same verdicts; infinite and missing numbers are null."""
    rows = [
        verdict.claim.model_dump(include={"id", "sentence", "source", "data", "family", "command"})
        | {**verdict.row, "n_specifications": len(verdict.specifications), "differing": verdict.differing}
        | {"decisive": verdict.decisive.row["name"], "estimates": [of.row for of in verdict.estimates]}
        for verdict in verdicts
    ]
    return to_json(rows, indent=1, inf_nan_mode="null") + b"\n"
