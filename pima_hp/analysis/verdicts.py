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
from pima_hp.analysis.selection import Runs, contexts
from pima_hp.settings import Setting

ALPHA = 0.05
_FAMILIES = {"primary": (holm, 0.05), "exploratory": (benjamini_hochberg, 0.10)}


class Word(StrEnum):
    """A verdict."""

    SUPPORTED = "supported"  # intervals lie where the claim says
    REFUTED = "refuted"  # they lie where they must not
    UNDECIDED = "undecided"  # one straddles a bound
    UNTESTABLE = "untestable"  # runs are missing, or fewer than 10 replicates are complete


_DECIDED = (Word.SUPPORTED, Word.REFUTED)


@dataclass(frozen=True)
class Verdict:
    """A claim, the word, and what it rests on."""

    claim: Claim
    word: Word
    reason: str
    headline: Measured  # the part that the reason is about, to show where there is room for one
    parts: tuple[Measured, ...]
    differing: Mapping[str, Setting]  # settings shared by the runs that are not those of `conf/config.yaml`
    n_contexts: int  # combinations of the remaining settings in which the claim could be judged
    replicates_needed: float | None = None  # when undecided; infinite when the estimate would have to move
    p_value: float | None = None  # smallest alpha at which intervals at 1 - alpha still decide; None when untestable
    p_adjusted: float | None = None  # within the family
    survives: bool | None = None  # whether the word stands after that; None unless supported or refuted


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

    One number is drawn from `rng`: a claim's resamples depend on it and on the claim's names alone. `table` is for
    a table of one's own.
    """
    seed, runs = int(rng.integers(2**62)), Runs(frame, table)
    verdicts = [_judge(claim, runs, seed, n_resamples) for claim in claims]
    for family, (adjusted, alpha) in _FAMILIES.items():
        places = [place for place, verdict in enumerate(verdicts) if verdict.claim.family == family]
        p_values = [1.0 if (p := verdicts[place].p_value) is None else p for place in places]
        for place, p in zip(places, adjusted(p_values).tolist(), strict=True):
            if (verdict := verdicts[place]).word != Word.UNTESTABLE:
                survives = p <= alpha if verdict.word in _DECIDED else None
                verdicts[place] = replace(verdict, p_adjusted=p, survives=survives)
    return verdicts


def word_of(claim: Claim, parts: Sequence[Measured], alpha: float = ALPHA) -> Word:
    """The word by the claim's rules with intervals at level 1 - alpha; parts without runs satisfy nothing."""
    estimates = _estimates(parts)
    supported = rules.holds(claim.supported, claim.margin, estimates, alpha)
    if supported != rules.holds(claim.refuted, claim.margin, estimates, alpha):
        return Word.SUPPORTED if supported else Word.REFUTED
    return Word.UNTESTABLE if None in estimates.values() else Word.UNDECIDED


def _estimates(parts: Sequence[Measured]) -> dict[str, Estimate | None]:
    return {part.name: part.estimate for part in parts if not part.beside}


def _judge(claim: Claim, runs: Runs, seed: int, n_resamples: int) -> Verdict:
    found = contexts(claim, runs)
    context = found[0] if found else None
    parts = measure(claim, runs, context, seed, n_resamples, effects=True)
    word = word_of(claim, parts)
    reason, headline = _reason(claim, word, parts)
    needed = [rules.needed(rule, claim.margin, _estimates(parts), ALPHA) for rule in (claim.supported, claim.refuted)]
    return Verdict(
        claim,
        word,
        reason,
        headline,
        parts,
        differing=context.differing if context else {},
        n_contexts=sum(not other.n_lacking for other in found),
        replicates_needed=min(needed) if word == Word.UNDECIDED else None,
        p_value=None if word == Word.UNTESTABLE else _p_value(claim, parts, 2 / n_resamples),
    )


def _p_value(claim: Claim, parts: Sequence[Measured], smallest: float) -> float:
    """Bisect for the smallest alpha at which the rules decide; 1 where none below 0.49 does."""
    low, high = math.log(smallest), math.log(0.49)  # an equivalence test at 0.5 has no interval left
    if word_of(claim, parts, math.exp(high)) not in _DECIDED:
        return 1.0
    if word_of(claim, parts, smallest) in _DECIDED:
        return smallest
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (low, middle) if word_of(claim, parts, math.exp(middle)) in _DECIDED else (middle, high)
    return math.exp(high)


def _reason(claim: Claim, word: Word, parts: Sequence[Measured]) -> tuple[str, Measured]:
    """One sentence, and the part that it is about."""
    by_name = {part.name: part for part in parts if not part.beside}
    supporting, refuting = (
        rules.meeting(rule, claim.margin, _estimates(parts), ALPHA) for rule in (claim.supported, claim.refuted)
    )
    if word == Word.UNTESTABLE:
        lacking = [part for part in by_name.values() if part.problem]
        make = f"; to make runs: {claim.command}" if claim.command else ""
        return "; ".join(dict.fromkeys(part.problem for part in lacking)) + make, lacking[0]
    if word == Word.UNDECIDED:
        names = [name for name in by_name if name not in supporting] or list(by_name)
        sentence = f"neither {_text(claim, claim.supported)} nor {_text(claim, claim.refuted)}"
    else:
        names = supporting if word == Word.SUPPORTED else refuting
        sentence = _text(claim, claim.supported if word == Word.SUPPORTED else claim.refuted)
    return f"{sentence}: {'; '.join(_numbers(by_name[name]) for name in names)}", by_name[names[0]]


def _text(claim: Claim, rule: rules.Rule) -> str:
    return claim.numbered(" and ".join(f"{condition} ({target})" for target, condition in rule.items()))


def _numbers(part: Measured) -> str:
    if part.estimate is None:
        return f"{part.name} without runs"
    lower, upper = part.estimate.interval()
    return f"{part.name} {part.estimate.estimate:.3g} [{lower:.3g}, {upper:.3g}]"


def verdicts_json(verdicts: Sequence[Verdict]) -> bytes:
    """Verdicts as JSON, the same bytes for the same verdicts; infinite and missing numbers are null."""
    told = {"id", "sentence", "source", "family", "margin", "supported", "refuted", "command"}
    rows = [
        verdict.claim.model_dump(include=told)
        | {key: value for key, value in vars(verdict).items() if key != "claim"}
        | {"headline": _part_json(verdict.headline), "parts": [_part_json(part) for part in verdict.parts]}
        for verdict in verdicts
    ]
    return json.dumps(finite(rows), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _part_json(part: Measured) -> dict[str, Any]:
    value = part.estimate.estimate if part.estimate else None
    lower, upper = part.estimate.interval() if part.estimate else (None, None)
    effect = asdict(part.effect) | {"reading": part.effect.reading} if part.effect else None
    return vars(part) | {"estimate": value, "lower": lower, "upper": upper, "effect": effect}


def finite(value: Any) -> Any:
    """The same for JSON: infinite and missing numbers are None, keys are text, tuples are lists."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
