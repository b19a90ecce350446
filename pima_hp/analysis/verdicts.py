"""What the runs of a study say about each claim: supported, refuted, undecided or untestable."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis import rules
from pima_hp.analysis.bootstrap import Estimate
from pima_hp.analysis.claims import Claim
from pima_hp.analysis.comparison import benjamini_hochberg, holm
from pima_hp.analysis.functionals import TableFacts
from pima_hp.analysis.measuring import Measured, measure
from pima_hp.analysis.selection import Runs, baseline, contexts, equal
from pima_hp.settings import Setting

ALPHA = 0.05
FAMILY_ALPHA = {"primary": 0.05, "exploratory": 0.10}


class Word(StrEnum):
    """A verdict; `sentence` is what a person reads."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    UNTESTABLE = "untestable"

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return {
            "supported": "the intervals lie where the claim says",
            "refuted": "the intervals lie where the claim says they do not",
            "undecided": "an interval straddles a bound of the rule",
            "untestable": "the study lacks the runs, or fewer than 10 replicates are complete",
        }[self]


@dataclass(frozen=True)
class Verdict:
    """A claim, the word, and what it rests on.

    Attributes:
        claim: what was judged.
        word: by intervals at 95 %.
        reason: one sentence.
        decisive: name of the part that the reason is about: the one to show where there is room for one.
        parts: all parts measured.
        differing: settings shared by the runs that are not those of `conf/config.yaml`.
        n_contexts: combinations of the remaining settings in which the claim could be judged.
        replicates_needed: when undecided; infinite when the estimate would have to move.
        p_value: smallest alpha at which intervals at 1 - alpha still decide; None when untestable.
        p_adjusted: within the family, by Holm or Benjamini-Hochberg.
        survives: whether the word stands after the correction; None unless supported or refuted.
    """

    claim: Claim
    word: Word
    reason: str
    decisive: str
    parts: tuple[Measured, ...]
    differing: Mapping[str, Setting]
    n_contexts: int
    replicates_needed: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    survives: bool | None = None

    @property
    def headline(self) -> Measured:
        """The decisive part."""
        return next(part for part in self.parts if part.name == self.decisive)


def judge(
    claims: Sequence[Claim],
    frame: pd.DataFrame,
    rng: np.random.Generator,
    n_resamples: int = 10_000,
    table: TableFacts | None = None,
) -> list[Verdict]:
    """Judge claims by the runs of a study, each in its context nearest the baseline of `conf/config.yaml`.

    The word is that of the rules at 95 %. Many claims: a claim's p value is the smallest alpha at which its
    rule still decides with intervals at level 1 - alpha (at least 2 / n_resamples), so that "Holm's adjusted
    p is at most 0.05" says that the word stands with the intervals widened as Holm (1979) asks. Claims that
    are untestable stay in the family with p = 1. Exploratory claims: Benjamini-Hochberg at 0.10.

    Args:
        claims: of `load_claims`.
        frame: of `pima_hp.ledger.read_study`.
        rng: one draw is taken; a claim's resamples depend on it and the claim's id alone.
        n_resamples: of the bootstrap.
        table: rows and positive rate of a table of one's own.
    """
    seed, runs = int(rng.integers(2**62)), Runs(frame, table)
    verdicts = [_judge(claim, runs, seed, n_resamples) for claim in claims]
    for family, adjust in [("primary", holm), ("exploratory", benjamini_hochberg)]:
        places = [place for place, verdict in enumerate(verdicts) if verdict.claim.family == family]
        p_values = [verdicts[place].p_value for place in places]
        for place, p in zip(places, adjust([1.0 if p is None else p for p in p_values]).tolist(), strict=True):
            if verdicts[place].p_value is not None:
                decided = verdicts[place].word in (Word.SUPPORTED, Word.REFUTED)
                survives = p <= FAMILY_ALPHA[family] if decided else None
                verdicts[place] = replace(verdicts[place], p_adjusted=p, survives=survives)
    return verdicts


def word_of(claim: Claim, parts: Sequence[Measured], alpha: float = ALPHA) -> Word:
    """The word by the claim's rules with intervals at level 1 - alpha; refuted needs only the parts that refute."""
    estimates = _estimates(parts)
    supported, refuted = (
        bool(rule) and rules.holds(rule, claim.margin, estimates, alpha) for rule in (claim.supported, claim.refuted)
    )
    if supported != refuted:
        return Word.SUPPORTED if supported else Word.REFUTED
    return Word.UNTESTABLE if any(estimate is None for estimate in estimates.values()) else Word.UNDECIDED


def _estimates(parts: Sequence[Measured]) -> dict[str, Estimate | None]:
    return {part.name: part.estimate for part in parts if not part.beside}


def _judge(claim: Claim, runs: Runs, seed: int, n_resamples: int) -> Verdict:
    found = contexts(claim, runs)
    context = found[0] if found else None
    parts = tuple(measure(claim, runs, context, seed, n_resamples, effects=True))
    word = word_of(claim, parts)
    estimates = _estimates(parts)
    reason, decisive = _reason(claim, word, parts)
    needed = None
    if word == Word.UNDECIDED:
        needed = min(rules.needed(rule, claim.margin, estimates, ALPHA) for rule in (claim.supported, claim.refuted))
    settings = context.settings if context else {}
    return Verdict(
        claim,
        word,
        reason,
        decisive,
        parts,
        {key: value for key, value in settings.items() if key in baseline() and not equal(value, baseline()[key])},
        sum(not other.problems for other in found),
        needed,
        None if word == Word.UNTESTABLE else _p_value(claim, parts, 2 / n_resamples),
    )


def _p_value(claim: Claim, parts: Sequence[Measured], smallest: float) -> float:
    """Bisect for the smallest alpha at which the rules decide."""
    decided = (Word.SUPPORTED, Word.REFUTED)
    low, high = math.log(smallest), math.log(0.49)  # an equivalence test at 0.5 has no interval left
    if word_of(claim, parts, math.exp(low)) in decided:
        return smallest
    if word_of(claim, parts, math.exp(high)) not in decided:
        return 1.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (low, middle) if word_of(claim, parts, math.exp(middle)) in decided else (middle, high)
    return math.exp(high)


def _reason(claim: Claim, word: Word, parts: Sequence[Measured]) -> tuple[str, str]:
    """One sentence, and the part that it is about."""
    estimates = _estimates(parts)
    first = parts[0].name
    if word == Word.UNTESTABLE:
        missing = [part for part in parts if part.estimate is None and not part.beside]
        command = f"; to make the runs: {claim.command}" if claim.command else ""
        return "; ".join(dict.fromkeys(part.problem for part in missing)) + command, missing[0].name
    if word == Word.SUPPORTED:
        return f"{_text(claim.supported)}: so it is", first
    if word == Word.REFUTED:
        names = rules.satisfying(claim.refuted, claim.margin, estimates, ALPHA)
        return f"{_text(claim.refuted)}: so it is for {', '.join(names)}", names[0]
    short = rules.failing(claim.supported, claim.margin, estimates, ALPHA)
    names = list(dict.fromkeys(name for found in short.values() for name in found))
    return f"{', '.join(names)}: neither {_text(claim.supported)} nor {_text(claim.refuted)}", names[0] if names else first


def _text(rule: rules.Rule) -> str:
    return ", ".join(f"{target}: {condition}" for target, condition in rule.items())


def verdicts_json(verdicts: Sequence[Verdict]) -> bytes:
    """Verdicts as JSON, the same bytes for the same verdicts; infinite and missing numbers are null."""
    rows = []
    for verdict in verdicts:
        parts = [_part_json(part) for part in verdict.parts]
        row = {key: value for key, value in verdict.__dict__.items() if key not in ("claim", "parts")}
        about = verdict.claim.model_dump(include={"id", "sentence", "source", "family", "margin", "supported", "refuted"})
        rows.append({**about, **row, "headline": _part_json(verdict.headline), "parts": parts})
    return json.dumps(_finite(rows), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _part_json(part: Measured) -> dict[str, Any]:
    lower, upper = part.estimate.interval() if part.estimate else (None, None)
    numbers = {"estimate": part.estimate.estimate if part.estimate else None, "lower": lower, "upper": upper}
    effect = {**asdict(part.effect), "reading": part.effect.reading} if part.effect else None
    return {**part.__dict__, **numbers, "effect": effect}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
