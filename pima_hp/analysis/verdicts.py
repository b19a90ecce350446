"""Judge claims by the runs of a study: supported, refuted, undecided or untestable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from pydantic_core import to_json

from pima_hp.analysis.claims import Claim
from pima_hp.analysis.decisions import FAMILIES, Outcome, outcome_of
from pima_hp.analysis.estimates import Estimate, estimate
from pima_hp.analysis.intervals import Resample, Resamples, bootstrap
from pima_hp.analysis.multiverse import data_specifications, headline_of, specifications
from pima_hp.analysis.selection import Runs, Settings, differing, named
from pima_hp.run import Array


@dataclass(frozen=True)
class Verdict:
    """A claim, the outcome, and what it rests on."""

    claim: Claim
    outcome: Outcome
    estimates: Sequence[Estimate]  # of each part
    reason: str
    decisive: Estimate  # that the reason is about, to show where there is room for one
    specifications: pd.DataFrame  # the outcome in each, this verdict's first
    headline: str  # robust, or what the outcome depends on
    explanation: str  # of the headline
    differing: Settings = field(default_factory=dict)  # settings of the runs that are not those of `conf/config.yaml`
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
        """Return what a reader must know with the outcome: settings that are unusual, a failed correction."""
        settings = f"with {named(self.differing)}" if self.differing else ""
        lost = f"does not survive {FAMILIES[self.claim.family][2]} correction" if self.survives is False else ""
        return list(filter(None, [settings, lost]))

    @property
    def row(self) -> dict[str, Any]:
        """Return what files show of the verdict as a whole."""
        columns = ("outcome", "headline", "explanation", "qualifiers", "reason", "replicates_needed", "p", "p_is_bound")
        return {key: getattr(self, key) for key in (*columns, "p_adjusted", "survives")}


def judge(
    claims: Sequence[Claim], frame: pd.DataFrame, rng: np.random.Generator, n_resamples: int = 10_000
) -> list[Verdict]:
    """Judge claims by the runs of a study: each in the specification nearest the article's, then in every other.

    The outcome is that of the rules at 95 %. Many claims: a claim's p value is the smallest alpha at which its
    rule still decides with intervals at level 1 - alpha (k of them sharing alpha for `any` of k parts), so that
    "Holm's adjusted p is at most 0.05" says that the outcome stands with the intervals widened as Holm (1979) asks.
    Claims that are untestable stay in the family with p = 1. Exploratory claims: Benjamini-Hochberg at 0.10. A
    family is that of one folder of claims.

    One number is drawn from `rng`, and makes all resamples: they do not depend on what else is judged.
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
    table = specifications(claim, runs, data, outcome, resample)
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
