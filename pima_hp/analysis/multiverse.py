"""Judge every claim in every specification: does another reasonable choice change the outcome?

A *specification* is one combination of data settings that a claim leaves open, as far as the study has runs of them,
and of analysis choices, which need no new runs. Sources: Steegen et al. (2016), Simonsohn et al. (2020).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd

from pima_hp.analysis.claims import Claim, Part
from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.decisions import Outcome, outcome_of
from pima_hp.analysis.intervals import Inference
from pima_hp.analysis.selection import Runs, Settings, differing, equal, named
from pima_hp.formatting import counted, listed, value_text
from pima_hp.ledger import follows, varying

ROBUST_SHARE = 0.90
Arms = Mapping[str, Sequence[str]]
"""Selector, as `named` writes it -> the configurations that it means: one where the claim can be tested."""

Changes = dict[str, dict[str, object]]
"""Level of an analysis choice -> what it changes in a statistic."""


def data_specifications(claim: Claim, runs: Runs) -> list[tuple[Settings, Arms]]:
    """Return every combination of settings that a claim leaves open, with the configurations of its arms under them.

    Only those under which the most arms have one configuration; that nearest `conf/config.yaml` comes first. Settings
    of a section that the claim varies go with it (`optimizer.betas` with `optimizer`) unless they vary within one of
    its values; a configuration without such a setting fits any value of it (`activation.negative_slope` with
    `activation: relu`).
    """
    selectors = {named(arm): arm for part in claim.parts if part.requires is None for arm in part.arms}
    factors = {key for selector in selectors.values() for key in selector}
    about = {key: settings for key, settings in runs.settings.items() if claim.is_about(settings["data_digest"])}
    arms = {
        name: [key for key, settings in about.items() if all(equal(settings.get(k), v) for k, v in selector.items())]
        for name, selector in selectors.items()
    }
    chosen = {key: about[key] for config_ids in arms.values() for key in config_ids}
    columns = {key: [settings[key] for settings in chosen.values()] for key in next(iter(chosen.values()), {})}
    loose = {key for key in columns if key.partition(".")[0] in factors}
    fixed = factors | {key for key in loose if follows(columns[key], columns[key.partition(".")[0]])}
    rest = {key: {name: value for name, value in of.items() if name not in fixed} for key, of in chosen.items()}

    def fits(own: Settings, settings: Settings) -> bool:
        return all(own[key] == value or (key in loose and own[key] is None) for key, value in settings.items())

    found = [
        (settings, {name: [key for key in ids if fits(rest[key], settings)] for name, ids in arms.items()})
        for settings in {repr(settings): settings for settings in rest.values()}.values()
    ]
    n_testable = [sum(len(ids) == 1 for ids in of.values()) for _, of in found]
    best = [item for item, n in zip(found, n_testable, strict=True) if n == max(n_testable)]
    return sorted(best, key=lambda item: len(differing(item[0])))


def _thresholds(statistic: Statistic) -> Changes:
    if (stated := statistic.threshold) is None:
        return {}
    shifts = {"0.02 lower": -0.02, "0.02 higher": 0.02}
    return {"as stated": {}} | {level: {"threshold": round(stated + shift, 9)} for level, shift in shifts.items()}


def _windows(statistic: Statistic) -> Changes:
    return {f"{n} epochs": {"window_epochs": n} for n in _lengths(statistic, "window_epochs", 10, 30)}


def _training_scores(statistic: Statistic) -> Changes:
    stated, running = statistic.curve, statistic.curve.removesuffix("_end")
    levels: Changes = {"running": {"curve": running}, "end of epoch": {"curve": f"{running}_end"}}
    return dict(sorted(levels.items(), key=lambda item: item[1]["curve"] != stated)) if "train/" in stated else {}


def _durations(statistic: Statistic) -> Changes:
    lengths = _lengths(statistic, "sustained_epochs", 3)
    return {"any epoch" if n == 1 else f"{n} epochs in a row": {"sustained_epochs": n} for n in lengths}


def _lengths(statistic: Statistic, argument: str, *others: int) -> list[int]:
    return list(dict.fromkeys([statistic.value(argument), *others])) if argument in statistic.parameters else []


def _of_statistics(levels_of: Callable[[Statistic], Changes], claim: Claim) -> dict[str, Claim]:
    """Return the claim at each level of a choice about statistics, as stated first; a part without a level stays."""
    of_parts = [levels_of(part.statistic) if part.statistic else {} for part in claim.parts]

    def at(level: str) -> Claim:
        changes = [{"statistic": part.statistic and part.statistic.model_copy(update=levels.get(level, {}))}
                   for part, levels in zip(claim.parts, of_parts, strict=True)]  # fmt: skip
        parts = [part.model_copy(update=change) for part, change in zip(claim.parts, changes, strict=True)]
        return claim.model_copy(update={"parts": parts})

    stated, *others = next(filter(None, of_parts), {}) or [""]
    return {stated: claim} | {level: at(level) for level in others}


CHOICES: dict[str, Callable[[Claim], dict[str, Claim]]] = {
    "threshold": partial(_of_statistics, _thresholds),
    "window": partial(_of_statistics, _windows),
    "training scores": partial(_of_statistics, _training_scores),
    "duration": partial(_of_statistics, _durations),
}
"""Analysis choices: the claim at each level, by the level's name, as stated first; "" where it has no such choice."""

Infer = Callable[[Part, Arms], Inference | None]


def specifications(claim: Claim, data: Sequence[tuple[Settings, Arms]], primary: Outcome, infer: Infer) -> pd.DataFrame:
    """Return the outcome in every specification: one row each, the verdict's own first.

    Args:
        claim: as its file states it.
        data: `data_specifications`, the verdict's own first.
        primary: the outcome of the verdict.
        infer: estimates a part, with the same resamples that the verdict rests on.

    Returns:
        A column of text for each setting that varies and each analysis choice that applies to the claim, and `outcome`;
        no rows where the claim is untestable. Specifications that are untestable are left out.
    """
    if primary == Outcome.UNTESTABLE:
        return pd.DataFrame()
    variants: list[tuple[dict[str, str], Claim]] = [({}, claim)]
    for choice, levels_of in CHOICES.items():
        variants = [
            (levels | ({choice: level} if level else {}), changed)
            for levels, variant in variants
            for level, changed in levels_of(variant).items()
        ]
    keys = varying({key: [settings[key] for settings, _ in data] for key in data[0][0]})
    rows: list[dict[str, str]] = []
    for settings, arms in data:
        texts = {key: value_text(settings[key]) for key in keys}
        for levels, variant in variants:
            parts = [part for part in variant.parts if rows and not part.descriptive]
            found = {part.name: infer(part, arms) for part in parts}
            outcome = outcome_of(variant.supported, variant.refuted, found) if rows else primary
            rows.append({**texts, **levels, "outcome": str(outcome)})
    return pd.DataFrame([row for row in rows if row["outcome"] != Outcome.UNTESTABLE])


def headline_of(table: pd.DataFrame) -> tuple[str, str]:
    """Return how robust the primary outcome is across specifications, and a sentence that explains it.

    `robust`: at least 90 % of all specifications give the same outcome, where the study has other data settings; where
    it has none, `robust to analysis choices`. Else the choice that, all else equal, most often changes the outcome.
    Both are empty where there was no choice.
    """
    factors = [key for key in table.columns if key != "outcome" and len(set(table[key])) > 1]
    if not factors:
        return "", ""
    primary = table["outcome"].iloc[0]
    share = (table["outcome"] == primary).mean()
    sentence = f"{primary} in {share:.0%} of {counted(len(table), 'specification')}"
    if share >= ROBUST_SHARE:
        return ("robust to analysis choices" if set(factors) <= set(CHOICES) else "robust"), f"{sentence}."
    flips = {factor: _flips(table, factor) for factor in factors}
    worst = max(factors, key=lambda factor: flips[factor])
    name = f"the {worst}" if worst in CHOICES else worst
    often = f"{name} changes it most often, in {flips[worst]:.0%} of pairs that differ in nothing else"
    return f"depends on {name}", f"{sentence}; {often}."


def _flips(table: pd.DataFrame, factor: str) -> float:
    """Return the share of the pairs of rows that differ in this factor alone whose outcomes differ."""
    others = [key for key in table.columns if key not in (factor, "outcome")]
    same, alike = (table.assign(all="").groupby(["all", *keys]).size() for keys in (others, [*others, "outcome"]))
    n_pairs = (same * (same - 1)).sum()
    return float(1 - (alike * (alike - 1)).sum() / n_pairs) if n_pairs else 0.0


def holding_together(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return whether any specification makes all claims true, in a sentence.

    Specifications in which some claim has no runs are left out.

    Args:
        tables: claim id -> its specifications; claims without any are left out.
    """
    ids = [claim_id for claim_id, table in tables.items() if len(table)]
    if not ids:
        return "No claim can be tested in this study."
    joined = pd.DataFrame({"all": [""]})
    for claim_id in ids:
        joined = joined.merge(tables[claim_id].rename(columns={"outcome": claim_id}).assign(all=""))
    if joined.empty:
        return f"No specification has the runs of all claims ({listed(ids)})."
    n_true = (joined[ids] == Outcome.SUPPORTED).sum(axis=1)
    n_all = int((n_true == len(ids)).sum())
    together = f"of {counted(len(joined), 'specification')} make all {len(ids)} claims true ({listed(ids)})"
    return f"{n_all:,} {together}." if n_all else f"None {together}; at most {n_true.max()} hold together."
