"""What is shown of verdicts: for a terminal, for a spreadsheet, for a page."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pima_hp.analysis.decisions import FAMILIES, Outcome
from pima_hp.analysis.verdicts import Verdict
from pima_hp.report.panels import interval_text
from pima_hp.report.results import Results
from pima_hp.report.tables import COUNTED

TERMINAL = {"claim": 44, "verdict": 20, "estimate": 24, "n": 6}
"""Widths of the columns of `verdict_table`."""

NOTHING = "\N{EN DASH}"
SYMBOLS = {Outcome.SUPPORTED: "✓", Outcome.REFUTED: "✗", Outcome.UNDECIDED: "?", Outcome.UNTESTABLE: NOTHING}


def estimate_text(row: dict[str, Any]) -> str:
    """`0.96 [0.90, 0.98]` of a row of an estimate; a dash without an estimate."""
    return NOTHING if row["value"] is None else interval_text(row["value"], row["lower"], row["upper"])


def verdict_table(results: Results) -> pd.DataFrame:
    """One row per claim, with its decisive part: fits a terminal."""
    rows = []
    for verdict in results.verdicts:
        row = verdict.decisive.row
        rows.append(
            {
                "claim": f"{verdict.claim.id}: {verdict.claim.sentence}",
                "verdict": ", ".join(filter(None, [verdict.outcome, verdict.headline, *verdict.qualifiers])),
                "estimate": NOTHING if row["value"] is None else f"{row['name']} {estimate_text(row)}",
                "n": row["n_replicates"],
            }
        )
    return pd.DataFrame(rows, columns=["claim", "verdict", "estimate", "n"])


def parts_table(results: Results) -> pd.DataFrame:
    """One row per part of a claim: everything that a check of the number needs. A part beside the rules has no word."""
    rows = []
    for verdict in results.verdicts:
        for part in verdict.estimates:
            row = part.row
            effect = row.pop("effect") or {}
            of_claim = {} if part.descriptive else verdict.row | {"qualifiers": "; ".join(verdict.qualifiers)}
            rows.append(
                {"claim": verdict.claim.id, "sentence": verdict.claim.sentence, "verdict": of_claim.pop("outcome", ""),
                 **of_claim, **row, "config_ids": " ".join(part.config_ids),
                 **{f"effect_{key}": value for key, value in effect.items()}}
            )  # fmt: skip
    return pd.DataFrame(rows)


def verdict_view(verdict: Verdict) -> dict[str, Any]:
    """What a page shows of a verdict."""
    rows = [part.row for part in verdict.estimates]
    needed, more = verdict.replicates_needed, ""
    if needed is not None:
        number = f"{needed:,.0f} replicates" if math.isfinite(needed) else "no number"
        more = f"{number} would do, if the estimates stayed"
    told: dict[str, str] = {
        "Why": verdict.reason,
        "Supported when": str(verdict.claim.supported),
        "Refuted when": str(verdict.claim.refuted),
        "Replicates needed": more,
        "Effect": "; ".join(_effect(row["effect"]) for row in rows if row["effect"]),
        "Other choices": verdict.explanation,
        "Many claims": _family(verdict),
        "Settings apart from the baseline": ", ".join(f"{key}={value}" for key, value in verdict.differing.items()),
        "Source": verdict.claim.source,
    }
    return {"id": verdict.claim.id, "sentence": verdict.claim.sentence, "word": str(verdict.outcome),
            "symbol": SYMBOLS[verdict.outcome],
            "suffix": "; ".join(filter(None, [verdict.headline, *verdict.qualifiers])),
            "parts": [{"of": row, "text": estimate_text(row), "lost": _lost(row)} for row in rows],
            "told": {key: text for key, text in told.items() if text}}  # fmt: skip


def floor_rows(results: Results) -> list[dict[str, Any]]:
    """For a page: the network nearest the baseline in each kind of split, then each rule and how far it is behind."""
    rows: list[dict[str, Any]] = []
    if results.baselines_table.empty:
        return rows
    for splits, of in results.baselines_table[results.baselines_table["nearest"]].groupby("splits", sort=False):
        first = of.iloc[0]
        name = f"the network, {first['differing']}" if first["differing"] else "the network, baseline settings"
        rows.append(_floor(name, str(splits), first, "network", ""))
        for _, row in of.iterrows():
            minus = _interval(row, "difference", "+.3f")
            rows.append(_floor(str(row["baseline"]), str(splits), row, "baseline_accuracy", minus))
    return rows


def counted(verdicts: Sequence[Verdict]) -> str:
    """`4 supported, 5 refuted, 2 untestable`."""
    words = [verdict.outcome for verdict in verdicts]
    return ", ".join(f"{words.count(word)} {word}" for word in Outcome if word in words)


def _floor(name: str, splits: str, row: Any, key: str, minus: str) -> dict[str, Any]:
    return {"name": name, "splits": splits, "accuracy": _interval(row, key, ".3f"), "minus": minus,
            "n_splits": row["n_splits"]}  # fmt: skip


def _interval(row: Any, key: str, form: str) -> str:
    mean, lower, upper = (float(row[name]) for name in (key, f"{key}_lower", f"{key}_upper"))
    if math.isnan(mean):
        return NOTHING
    return f"{mean:{form}} " + (
        "(one split: no interval)" if math.isnan(lower) else f"[{lower:{form}}, {upper:{form}}]"
    )


def _effect(effect: dict[str, Any]) -> str:
    text = interval_text(effect["probability"], effect["lower"], effect["upper"])
    return f"P({effect['of']}) = {text}, {effect['conclusion']}"


def _lost(row: dict[str, Any]) -> str:
    return ", ".join(f"{row[name]} {status}" for name, status in COUNTED.items() if row[name])


def _family(verdict: Verdict) -> str:
    if verdict.p_adjusted is None:
        return ""
    stands = "" if verdict.survives is None else f"; the word {'stands' if verdict.survives else 'does not stand'}"
    sign = "≤" if verdict.p_is_bound and verdict.p_adjusted < 1 else "="
    correction = FAMILIES[verdict.claim.family][2]
    return f"{verdict.claim.family} claim, p {sign} {verdict.p_adjusted:.2g} after {correction} correction{stands}"
