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
    headline: str = ""  # robust, or what the outcome depends on
    explanation: str = ""  # of the headline
    specifications: pd.DataFrame = field(default_factory=pd.DataFrame)  # the outcome in each, this verdict's first
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
        first = dict(list(self.differing.items())[:2])
        more = f", {len(self.differing) - 2} more" if len(self.differing) > 2 else ""
        settings = [f"with {named(first)}{more}"] if first else []
        correction = f"does not survive {FAMILIES[self.claim.family][2]} correction"
        return settings + ([correction] if self.survives is False else [])

    @property
    def row(self) -> dict[str, Any]:
        """Return what files show of the verdict as a whole."""
        columns = ("outcome", "headline", "qualifiers", "reason", "replicates_needed", "p", "p_is_bound", "p_adjusted",
                   "survives")  # fmt: skip
        return {key: getattr(self, key) for key in columns}


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
            if verdicts[n].p is not None:
                verdicts[n] = replace(verdicts[n], p_adjusted=p)
    return verdicts


def _judge(claim: Claim, runs: Runs, resample: Resample) -> Verdict:
    other_table = claim.other_table(settings["data_digest"] for settings in runs.settings.values())
    found = [] if other_table else data_specifications(claim, runs)
    settings, arms = found[0] if found else ({}, {})
    estimates = [estimate(part, runs, arms, resample) for part in claim.parts]
    if other_table:
        estimates = [replace(item, problem=other_table) for item in estimates]
    by_name = {item.name: item for item in estimates if not item.descriptive}
    inferences = {name: item.inference for name, item in by_name.items()}
    outcome = outcome_of(claim.supported, claim.refuted, inferences)
    reason, decisive = _reason(claim, outcome, by_name)
    table = specifications(claim, runs, found, outcome, resample)
    headline, explanation = headline_of(table)
    verdict = Verdict(claim, outcome, estimates, other_table or reason, decisive, headline, explanation, table,
                      differing(settings))  # fmt: skip
    if outcome == Outcome.UNTESTABLE:
        return verdict
    both = {Outcome.SUPPORTED: claim.supported, Outcome.REFUTED: claim.refuted}
    deciding = [both[outcome]] if outcome in both else list(both.values())
    p, p_is_bound = min(rule.p_value(inferences) for rule in deciding)
    needed = min(rule.needed(inferences) for rule in deciding) if outcome == Outcome.UNDECIDED else None
    return replace(verdict, p=p, p_is_bound=p_is_bound, replicates_needed=needed)


def _reason(claim: Claim, outcome: Outcome, estimates: Mapping[str, Estimate]) -> tuple[str, Estimate]:
    """Return one sentence, and the estimate that it is about."""
    inferences = {name: item.inference for name, item in estimates.items()}
    if outcome == Outcome.UNTESTABLE:
        lacking = [item for item in estimates.values() if item.problem]
        not_recorded = {part.name for part in claim.parts if part.requires}  # no command makes those
        command = (
            f"; to make runs: {claim.command}" if claim.command and {e.name for e in lacking} - not_recorded else ""
        )
        return "; ".join(dict.fromkeys(item.problem for item in lacking)) + command, lacking[0]
    if outcome == Outcome.UNDECIDED:
        supporting = claim.supported.meeting(inferences)
        names = [name for name in estimates if name not in supporting] or list(estimates)
        rule = f"neither {claim.supported} nor {claim.refuted}"
    else:
        deciding = claim.supported if outcome == Outcome.SUPPORTED else claim.refuted
        names, rule = deciding.meeting(inferences), str(deciding)
    return f"{rule}: {'; '.join(_numbers(estimates[name]) for name in names)}", estimates[names[0]]


def _numbers(item: Estimate) -> str:
    bounds = f" {item.value:.3g} [{item.lower:.3g}, {item.upper:.3g}]" if item.inference else " without runs"
    return item.name + bounds


def verdicts_json(verdicts: Sequence[Verdict]) -> bytes:
    """Return verdicts as JSON, the same bytes for the same verdicts; infinite and missing numbers are null."""
    rows = [
        verdict.claim.model_dump(include={"id", "sentence", "source", "data", "family", "margin", "command"})
        | {"supported": str(verdict.claim.supported), "refuted": str(verdict.claim.refuted)}
        | verdict.row
        | {"explanation": verdict.explanation, "n_specifications": len(verdict.specifications)}
        | {"differing": dict(verdict.differing), "decisive": verdict.decisive.name}
        | {"estimates": [item.row for item in verdict.estimates]}
        for verdict in verdicts
    ]
    return to_json(rows, indent=1, inf_nan_mode="null") + b"\n"
