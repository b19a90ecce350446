"""Judge claims by the runs of a study: supported, refuted, mixed, undecided or untestable."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from pydantic_core import to_json

from pima_hp.analysis.claims import Claim, Part
from pima_hp.analysis.decisions import FAMILIES, Limits, Outcome, fewest, needed, outcome_of, p_value, within
from pima_hp.analysis.estimates import FEWEST_REPLICATES, Estimate, estimate, infer, numbers_of, table_of
from pima_hp.analysis.intervals import Inference, Interval, Resample, Resamples, bootstrap
from pima_hp.analysis.multiverse import Arms, data_specifications, headline_of, specifications, without
from pima_hp.analysis.selection import Runs, Settings, differing, named
from pima_hp.formatting import counted, listed
from pima_hp.run import Array


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
        columns = ("outcome", "headline", "explanation", "qualifiers", "reason", "replicates_needed")
        return {
            "claim": self.claim.id,
            **self.claim.model_dump(include={"sentence", "source", "data", "family", "command"}),
            **{key: getattr(self, key) for key in (*columns, "p", "p_adjusted", "survives")},
            "n_specifications": len(self.specifications),
            "decisive": self.decisive.part.name,
        }


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

    def interval_of(part: Part, arms: Arms) -> Interval | None:
        problem, _, table = table_of(part, runs, arms)
        return None if problem else infer(part, numbers_of(part, table), resample).interval()

    def each(of: Callable[[Limits, Inference], float], which: Outcome) -> list[float]:
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
