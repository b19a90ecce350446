"""What is shown of verdicts: for a terminal, for a spreadsheet, for a page; and two studies side by side."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pima_hp.analysis.claims import Claim
from pima_hp.analysis.measuring import Measured
from pima_hp.analysis.multiverse import Robustness
from pima_hp.analysis.rules import Rule
from pima_hp.analysis.verdicts import Verdict, Word
from pima_hp.report.panels import interval_text
from pima_hp.report.results import Results

TERMINAL = {"claim": 44, "verdict": 20, "estimate": 24, "n": 6}
"""Widths of the columns of `verdict_table`."""

NOTHING = "\N{EN DASH}"
SYMBOLS = {Word.SUPPORTED: "✓", Word.REFUTED: "✗", Word.UNDECIDED: "?", Word.UNTESTABLE: NOTHING}


def estimate_text(part: Measured) -> str:
    """`0.96 [0.90, 0.98]`; a dash without an estimate."""
    return interval_text(part.estimate.estimate, *part.estimate.interval()) if part.estimate else NOTHING


def verdict_table(results: Results) -> pd.DataFrame:
    """One row a claim, with its decisive part: fits a terminal."""
    rows = []
    for verdict, robust in zip(results.verdicts, results.robustness, strict=True):
        part = verdict.headline
        rows.append(
            {
                "claim": f"{verdict.claim.id}: {verdict.claim.sentence}",
                "verdict": ", ".join(filter(None, [verdict.word, robust.suffix])),
                "estimate": f"{part.name} {estimate_text(part)}" if part.estimate else NOTHING,
                "n": part.n_replicates,
            }
        )
    return pd.DataFrame(rows, columns=["claim", "verdict", "estimate", "n"])


def parts_table(results: Results) -> pd.DataFrame:
    """One row a part of a claim: everything that a check of the number needs."""
    rows = []
    for verdict in results.verdicts:
        about = {"claim": verdict.claim.id, "sentence": verdict.claim.sentence, "verdict": str(verdict.word)}
        for part in verdict.parts:
            low, high = part.estimate.interval() if part.estimate else (math.nan, math.nan)
            numbers = {"estimate": part.estimate.estimate if part.estimate else math.nan, "lower": low, "upper": high}
            told = {key: value for key, value in vars(part).items() if key not in ("estimate", "effect", "config_ids")}
            rows.append({**about, **told, **numbers, "config_ids": " ".join(part.config_ids)})
    return pd.DataFrame(rows)


def verdict_view(verdict: Verdict, robust: Robustness) -> dict[str, Any]:
    """What a page shows of a verdict."""
    parts = [{"of": part, "text": estimate_text(part), "lost": _lost(part)} for part in verdict.parts]
    needed, more = verdict.replicates_needed, ""
    if needed is not None:
        number = f"{needed:,.0f} replicates" if math.isfinite(needed) else "no number"
        more = f"{number} would do, if the estimates stayed"
    told: dict[str, str] = {
        "Why": verdict.reason,
        "Supported when": _rule(verdict.claim, verdict.claim.supported),
        "Refuted when": _rule(verdict.claim, verdict.claim.refuted),
        "Replicates needed": more,
        "Effect": "; ".join(filter(None, map(_effect, verdict.parts))),
        "Other choices": robust.sentence,
        "Many claims": _family(verdict),
        "Settings apart from the baseline": ", ".join(f"{key}={value}" for key, value in verdict.differing.items()),
        "Source": verdict.claim.source,
    }
    return {"id": verdict.claim.id, "sentence": verdict.claim.sentence, "word": str(verdict.word),
            "symbol": SYMBOLS[verdict.word], "suffix": robust.suffix, "parts": parts,
            "told": {key: text for key, text in told.items() if text}}  # fmt: skip


def side_by_side(first: Results, second: Results) -> pd.DataFrame:
    """The parts of claims that both studies can tell of, with their differences (second minus first).

    The interval of a difference is that of Zou and Donner (2008): d minus and plus the root of the summed
    squares of the distances to the facing bounds. It takes the studies as independent; where they share
    seeds it is too wide rather than too narrow.
    """
    rows = []
    for one, other in zip(first.verdicts, second.verdicts, strict=True):
        for part, twin in zip(one.parts, other.parts, strict=True):
            a, b = part.estimate, twin.estimate
            if a is None or b is None:
                continue
            (low_a, high_a), (low_b, high_b) = a.interval(), b.interval()
            d = b.estimate - a.estimate
            lower = d - math.hypot(b.estimate - low_b, high_a - a.estimate)
            upper = d + math.hypot(high_b - b.estimate, a.estimate - low_a)
            rows.append(
                {"claim": f"{one.claim.id} {part.name}",
                 f"1: {first.name}": f"{one.word} {estimate_text(part)}",
                 f"2: {second.name}": f"{other.word} {estimate_text(twin)}",
                 "2 minus 1": interval_text(d, lower, upper)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def counted(verdicts: Sequence[Verdict]) -> str:
    """`4 supported, 5 refuted, 2 untestable`."""
    words = [verdict.word for verdict in verdicts]
    return ", ".join(f"{words.count(word)} {word}" for word in Word if word in words)


def _effect(part: Measured) -> str:
    if part.effect is None:
        return ""
    text = interval_text(part.effect.probability, part.effect.lower, part.effect.upper)
    return f"P({part.effect.of}) = {text}, {part.effect.reading}"


def _lost(part: Measured) -> str:
    counts = {"diverged": part.n_diverged, "failed": part.n_failed}
    return ", ".join(f"{n} {word}" for word, n in counts.items() if n)


def _rule(claim: Claim, rule: Rule) -> str:
    return claim.numbered(", ".join(f"{target}: {condition}" for target, condition in rule.items()))


def _family(verdict: Verdict) -> str:
    if verdict.p_adjusted is None:
        return ""
    method = "Holm" if verdict.claim.family == "primary" else "Benjamini-Hochberg"
    stands = "" if verdict.survives is None else f"; the word {'stands' if verdict.survives else 'does not stand'}"
    return f"{verdict.claim.family} claim, p = {verdict.p_adjusted:.2g} after {method}{stands}"
