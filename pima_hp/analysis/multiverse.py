"""Judge every claim in every specification: does another reasonable choice change the outcome?

A *specification* is one combination of data settings that a claim leaves open, as far as the study has runs of them,
and of analysis choices, which need no new runs. Sources: Steegen et al. (2016), Simonsohn et al. (2020).
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from pima_hp.analysis.claims import Claim, Part
from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.decisions import Outcome, outcome_of
from pima_hp.analysis.selection import Runs, Settings, differing, named
from pima_hp.formatting import counted, listed, plain, value_text
from pima_hp.ledger import follows, varying

ROBUST_SHARE = 0.90
CHOICES = {
    "threshold": "threshold", "window": "window_epochs", "training scores": "curve", "duration": "sustained_epochs",
}  # fmt: skip
"""Analysis choice -> the argument of a statistic that it changes."""

Arms = Mapping[str, Sequence[str]]
"""Selector, as `named` writes it -> the configurations that it means: one where the claim can be tested."""


def data_specifications(claim: Claim, runs: Runs) -> list[tuple[Settings, Arms]]:
    """Return every combination of settings that a claim leaves open, with the configurations of its arms under them.

    Only those under which the most arms have one configuration; that nearest `conf/config.yaml` comes first. Settings
    of a section that the claim varies go with it (`optimizer.betas` with `optimizer`) unless they vary within one of
    its values; a configuration without such a setting fits any value of it (`activation.negative_slope` with
    `activation: relu`).
    """
    selectors = {named(arm): arm for part in claim.parts for arm in part.arms}
    factors = {key for selector in selectors.values() for key in selector}
    about = {key: settings for key, settings in runs.settings.items() if claim.is_about(settings["data_digest"])}
    arms = {
        name: [key for key, of in about.items() if all(of.get(k) == plain(value) for k, value in selector.items())]
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
    best = (item for item, n in zip(found, n_testable, strict=True) if n == max(n_testable))
    return sorted(best, key=lambda item: len(differing(item[0])))


def levels_of(statistic: Statistic) -> dict[str, dict[str, Any]]:
    """Return analysis choice -> level -> value of its argument, as stated first, for the choices that it has."""
    found: dict[str, dict[str, Any]] = {}
    stated, running = statistic.arguments, statistic.curve.removesuffix("_end")
    if (threshold := stated.get("threshold")) is not None:
        shifts = {"as stated": 0.0, "0.02 lower": -0.02, "0.02 higher": 0.02}
        found["threshold"] = {level: round(threshold + shift, 9) for level, shift in shifts.items()}
    if "window_epochs" in stated:
        found["window"] = {f"{n} epochs": n for n in (stated["window_epochs"], 10, 30)}
    if "train/" in running:
        curves = {"running": running, "end of epoch": f"{running}_end"}
        found["training scores"] = dict(sorted(curves.items(), key=lambda item: item[1] != statistic.curve))
    if "sustained_epochs" in stated:
        lengths = stated["sustained_epochs"], 3
        found["duration"] = {"any epoch" if n == 1 else f"{n} epochs in a row": n for n in lengths}
    return found


def at_levels(part: Part, chosen: Mapping[str, str]) -> Part:
    """Return a part with these levels of the analysis choices; a choice that it does not have changes nothing."""
    if part.statistic is None:
        return part
    levels = {choice: own for choice, own in levels_of(part.statistic).items() if chosen[choice] in own}
    update = {CHOICES[choice]: own[chosen[choice]] for choice, own in levels.items()}
    return part.model_copy(update={"statistic": part.statistic.model_copy(update=update)})


def specifications(
    claim: Claim, data: Sequence[tuple[Settings, Arms]], judge: Callable[[Part, Arms], Outcome]
) -> pd.DataFrame:
    """Return the outcome in every specification, one row each, as stated first; untestable ones are left out.

    Args:
        claim: as its file states it.
        data: `data_specifications`.
        judge: returns the outcome of a part, with the same resamples that the verdict rests on.

    Returns:
        A column of text for each setting that varies and each analysis choice that applies to the claim, and `outcome`.
    """
    judged = [part for part in claim.parts if not part.descriptive]
    statistics = [part.statistic for part in reversed(judged) if part.statistic]
    levels = {choice: names for statistic in statistics for choice, names in levels_of(statistic).items()}
    choices = [dict(zip(levels, names, strict=True)) for names in itertools.product(*levels.values())]
    variants = [(chosen, [at_levels(part, chosen) for part in judged]) for chosen in choices]
    keys = varying({key: [settings[key] for settings, _ in data] for key in data[0][0]})
    rows = [
        {key: value_text(settings[key]) for key in keys}
        | chosen
        | {"outcome": str(outcome_of([judge(part, arms) for part in parts]))}
        for (settings, arms), (chosen, parts) in itertools.product(data, variants)
    ]
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
    joined = pd.DataFrame({"all": [""]})
    for claim_id in ids:
        joined = joined.merge(tables[claim_id].rename(columns={"outcome": claim_id}).assign(all=""))
    if joined.empty or not ids:
        return f"No specification has the runs of all claims ({listed(ids) or 'no claim can be tested'})."
    n_true = (joined[ids] == Outcome.SUPPORTED).sum(axis=1)
    together = f"of {counted(len(joined), 'specification')} make all {len(ids)} claims true ({listed(ids)})"
    return f"{(n_true == len(ids)).sum():,} {together}; at most {n_true.max()} hold together."
