"""Judge claims by the runs of a study: supported, refuted, mixed, undecided or untestable.

An estimate is of one part of a claim: its value, interval, effect, and the runs behind it.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from pydantic_core import to_json

from pima_hp.analysis.claims import FAMILIES, SHARES, Claim, Outcome, Part, fewest, needed, outcome_of, p_value, within
from pima_hp.analysis.curves import slopes
from pima_hp.analysis.intervals import Inference, Resample, Resamples, Share, bootstrap, conclusion, win_probability
from pima_hp.analysis.multiverse import Arms, data_specifications, headline_of, specifications, without
from pima_hp.analysis.selection import ByReplicate, Runs, Seeds, Settings, are_crossed, differing, matched, named
from pima_hp.formatting import counted, listed
from pima_hp.run import Array, RunStatus

# Distinct ones.
FEWEST_REPLICATES = 10
# Contrasts that have an effect.
WON = ("slope", "difference", "ratio", "order")
# Log volatilities that differ by less are of curves that do not move.
SAME = 1e-9
# Contrasts whose numbers have another unit than the statistic.
UNITS = {"order": "probability", "ratio": "ratio", "earlier": "share of seeds", "removed": "share"}


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
        difference = {"slope": table[:, 0] - table[:, -1], "order": numbers - 0.5}.get(str(part.contrast), numbers)
        won = win_probability(np.heaviside(difference, 0.5), resample)
        of = part.name if part.over else " over ".join(str(part.where[place][part.along or ""]) for place in (0, -1))
        low, high = won.interval()
        said = conclusion(low, high)
        effect = {"of": of, "probability": won.estimate, "lower": low, "upper": high, "conclusion": said}
    per = f" per doubling of {part.along}" if part.contrast == "slope" else ""
    unit = UNITS.get(str(part.contrast), part.statistic.unit + per)
    return replace(
        of_runs, outcome=part.outcome((lower, upper)), value=inference.estimate, lower=lower, upper=upper, unit=unit,
        effect=effect, inference=inference, numbers=dict(zip(replicates, numbers.tolist(), strict=True)),
    )  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """A claim, the outcome, and what it rests on."""

    claim: Claim
    outcome: Outcome
    estimates: Sequence[Estimate]  # of each part
    decisive: Estimate  # the first with the outcome of the claim, for summaries
    reason: str
    differing: Settings  # settings of the runs other than the defaults
    specifications: pd.DataFrame = field(default_factory=pd.DataFrame)  # the outcome in each, this verdict's first
    headline: str = ""  # the outcome over all specifications: robust, with its share, or what it depends on
    explanation: str = ""  # of the headline
    replicates_needed: float | None = None  # when undecided; infinite when the estimate would have to move
    p: float | None = None  # smallest alpha at which intervals at 1 - alpha still decide; None if untestable or mixed
    p_adjusted: float | None = None  # within the family

    @property
    def survives(self) -> bool | None:
        """Return whether the outcome stands after its family's correction; None unless supported or refuted."""
        if self.p_adjusted is None or self.outcome not in (Outcome.SUPPORTED, Outcome.REFUTED):
            return None
        return self.p_adjusted <= FAMILIES[self.claim.family][1]

    @property
    def word(self) -> str:
        """Return the headline in one word: the outcome, or `depends` where most specifications have another one."""
        return "depends" if self.headline.startswith("depends") else str(self.outcome)

    @property
    def qualifiers(self) -> list[str]:
        """Return what must be said with the outcome: how the claim describes an estimate, and caveats."""
        found = [(of.part, of.inference) for of in self.estimates if of.inference and not of.part.descriptive]
        texts = [f"with {named(self.differing)}"] if self.differing else []
        for part, inference in found:
            described = (part.described_as or {}).items()
            fits = [text for text, limits in described if within(limits, inference.interval())]
            texts += [f"{part.name}: {text}" for text in fits[:1]]
        if self.outcome in (Outcome.MIXED, Outcome.UNDECIDED):
            least = max(fewest(part.supported, inference) for part, inference in found)
            texts += [f"to support it takes {least:.0f} replicates even if all agree"] if least else []
        if self.survives is False:
            texts.append(f"does not survive {FAMILIES[self.claim.family][2]} correction")
        return texts

    @property
    def row(self) -> dict[str, Any]:
        """Return the columns for files, without the estimates."""
        stated = self.claim.model_dump(include={"sentence", "source", "data", "family", "command"})
        columns = ("outcome", "headline", "explanation", "qualifiers", "reason", "replicates_needed", "p", "p_adjusted")
        found = {key: getattr(self, key) for key in (*columns, "survives")}
        of_runs = {"n_specifications": len(self.specifications), "decisive": self.decisive.part.name}
        return {"claim": self.claim.id} | stated | found | of_runs


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

    findings = {claim.id: claim.finding for claim in claims if claim.finding}
    verdicts = [_judge(claim, runs, resample, findings) for claim in claims]
    for family in {(claim.folder, claim.family) for claim in claims}:
        members = [n for n, claim in enumerate(claims) if (claim.folder, claim.family) == family]
        adjusted = FAMILIES[family[1]][0]([verdicts[n].p or 1.0 for n in members])
        for n, p in zip(members, adjusted.tolist(), strict=True):
            verdicts[n] = replace(verdicts[n], p_adjusted=verdicts[n].p and p)
    return verdicts


def _judge(claim: Claim, runs: Runs, resample: Resample, findings: Mapping[str, Settings]) -> Verdict:
    data = data_specifications(claim, runs)
    settings, arms = data[0] if data else ({}, {})
    estimates = [estimate(part, runs, arms, resample) for part in claim.parts]
    judged = [of for of in estimates if not of.part.descriptive]
    outcome = outcome_of([of.outcome for of in judged])
    decisive = [of for of in judged if of.outcome == outcome]
    verdict = Verdict(claim, outcome, estimates, decisive[0], _reason(claim, runs, decisive), differing(settings))
    if outcome == Outcome.UNTESTABLE:
        return verdict

    def interval_of(part: Part, arms: Arms) -> tuple[float, float] | None:
        problem, _, table = table_of(part, runs, arms)
        return None if problem else infer(part, numbers_of(part, table), resample).interval()

    def each(of: Callable[..., float], which: Outcome) -> list[float]:
        found = [(part.part.limits.get(which), part.inference) for part in judged]
        return [of(limits, inference) for limits, inference in found if limits and inference]

    n_refuting = sum(of.part.refuted is not None for of in judged)
    to_support = max(each(p_value, Outcome.SUPPORTED), default=1.0)
    to_refute = min(1.0, n_refuting * min(each(p_value, Outcome.REFUTED), default=1.0))
    if outcome == Outcome.UNDECIDED:
        n_all = max(each(needed, Outcome.SUPPORTED), default=math.inf)
        n_needed = min(n_all, *each(needed, Outcome.REFUTED), *each(needed, Outcome.MIXED))
        verdict = replace(verdict, p=min(to_support, to_refute), replicates_needed=n_needed)
    else:
        verdict = replace(verdict, p={Outcome.SUPPORTED: to_support, Outcome.REFUTED: to_refute}.get(outcome))
    table, n_untestable = specifications(claim, data, interval_of)
    headline, explanation = headline_of(table)
    notes = [explanation, *(without(table, settings, of) for other, of in findings.items() if other != claim.id)]
    notes += [f"{counted(n_untestable, 'other specification')} cannot be tested."] if n_untestable else []
    return replace(verdict, specifications=table, headline=headline, explanation=" ".join(filter(None, notes)))


def _reason(claim: Claim, runs: Runs, decisive: Sequence[Estimate]) -> str:
    """Return one sentence about the estimates that have the outcome of the claim."""
    part, digests = decisive[0].part, sorted({str(settings["data_digest"]) for settings in runs.settings.values()})
    if digests and not any(map(claim.is_about, digests)):
        return f"{claim.id} is about another table (data: {claim.data}); these runs use SHA-256 {listed(digests)}"
    if decisive[0].outcome == Outcome.UNTESTABLE:
        problems = [*dict.fromkeys(of.problem for of in decisive)]
        if claim.command and any(of.n_replicates < FEWEST_REPLICATES for of in decisive):  # else they do not help
            problems.append(f"to make runs: {claim.command}")
        return "; ".join(problems)
    texts = [f"{outcome} {side} {bound:g}" for outcome, of in part.limits.items() for side, bound in of.items()]
    numbers = (f"{of.part.name} {of.value:.3g} [{of.lower:.3g}, {of.upper:.3g}]" for of in decisive)
    return f"{'; '.join(numbers)} ({', '.join(texts)})"


def verdicts_json(verdicts: Sequence[Verdict]) -> bytes:
    """Return verdicts as JSON, the same bytes for the same verdicts; infinite and missing numbers are null."""
    rows = [{**verdict.row, "estimates": [of.row for of in verdict.estimates]} for verdict in verdicts]
    return to_json(rows, indent=1, inf_nan_mode="null") + b"\n"
