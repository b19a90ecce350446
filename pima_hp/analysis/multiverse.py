"""Would another reasonable choice have given another outcome? Every claim in every specification.

A *specification* is one combination of data settings that a claim leaves open, as far as the study has runs of them,
and of analysis choices, which need no new runs. Sources: Steegen et al. (2016), Simonsohn et al. (2020).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from pima_hp.analysis.claims import Claim, Selector
from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.decisions import Outcome, outcome_of
from pima_hp.analysis.estimates import inferences
from pima_hp.analysis.intervals import Resample
from pima_hp.analysis.selection import Runs, Settings, differing, equal, follows, named, varying
from pima_hp.config.flat import Setting
from pima_hp.formatting import counted, listed, value_text

ROBUST_SHARE = 0.90


@dataclass(frozen=True)
class DataSpecification:
    """Settings that a claim leaves open, and the configurations of its arms under them."""

    settings: Settings
    found: Mapping[str, Sequence[str]]  # arm, as `named` writes it -> config ids: one where the claim can be tested

    def __call__(self, arm: Selector) -> Sequence[str]:
        """Return the configurations of an arm."""
        return self.found.get(named(arm), ())

    @property
    def n_lacking(self) -> int:
        """Return the number of arms with no configuration or with several."""
        return sum(len(config_ids) != 1 for config_ids in self.found.values())


def data_specifications(claim: Claim, runs: Runs) -> list[DataSpecification]:
    """Return every combination of settings under which some arm of the claim has runs.

    Those with the most arms come first, then those nearest `conf/config.yaml`. Settings of a section that the claim
    varies go with it (`optimizer.betas` with `optimizer`) unless they vary within one of its values; a configuration
    without such a setting fits any value of it (`activation.negative_slope` with `activation: relu`).
    """
    arms = {named(arm): arm for part in claim.parts if part.requires is None for arm in part.arms}
    factors = {key for arm in arms.values() for key in arm}
    found = {
        name: [
            config_id for config_id, settings in runs.settings.items()
            if claim.is_about(settings["data_digest"])
            and all(equal(settings.get(key), value) for key, value in arm.items())
        ]
        for name, arm in arms.items()
    }  # fmt: skip
    chosen = {config_id: runs.settings[config_id] for config_ids in found.values() for config_id in config_ids}
    sections = {key: key.partition(".")[0] for settings in chosen.values() for key in settings}
    loose = {key for key, section in sections.items() if section in factors}

    def column(key: str) -> list[Setting]:
        return [settings[key] for settings in chosen.values()]

    fixed = factors | {key for key in loose if follows(column(key), column(sections[key]))}
    open_ = {config_id: {key: value for key, value in settings.items() if key not in fixed}
             for config_id, settings in chosen.items()}  # fmt: skip

    def fits(config_id: str, settings: Settings) -> bool:
        own = open_[config_id]
        return all(own[key] == value or (key in loose and own[key] is None) for key, value in settings.items())

    combinations = {repr(settings): settings for settings in open_.values()}.values()
    specifications = [
        DataSpecification(settings, {name: [key for key in ids if fits(key, settings)] for name, ids in found.items()})
        for settings in combinations
    ]
    return sorted(specifications, key=lambda item: (item.n_lacking, len(differing(item.settings))))


def _thresholds(statistic: Statistic) -> dict[str, Statistic]:
    if statistic.threshold is None:
        return {}
    shifted = {"0.02 lower": -0.02, "0.02 higher": 0.02}
    changed = {name: round(statistic.threshold + shift, 9) for name, shift in shifted.items()}
    return {"as stated": statistic} | {name: _with(statistic, threshold=value) for name, value in changed.items()}


def _windows(statistic: Statistic) -> dict[str, Statistic]:
    if "window_epochs" not in statistic.parameters:
        return {}
    lengths = dict.fromkeys([statistic.value("window_epochs"), 10, 30])
    return {f"{length} epochs": _with(statistic, window_epochs=length) for length in lengths}


def _training_scores(statistic: Statistic) -> dict[str, Statistic]:
    if not statistic.curve.startswith("train/"):
        return {}
    running = statistic.curve.removesuffix("_end")
    curves = {"running": running, "end of epoch": f"{running}_end"}
    stated_first = sorted(curves, key=lambda name: curves[name] != statistic.curve)
    return {name: _with(statistic, curve=curves[name]) for name in stated_first}


def _durations(statistic: Statistic) -> dict[str, Statistic]:
    if "sustained_epochs" not in statistic.parameters:
        return {}
    lengths = dict.fromkeys([statistic.value("sustained_epochs"), 3])
    return {
        "any epoch" if length == 1 else f"{length} epochs in a row": _with(statistic, sustained_epochs=length)
        for length in lengths
    }


def _with(statistic: Statistic, **changes: object) -> Statistic:
    return statistic.model_copy(update=changes)


def _of_parts(levels: Callable[[Statistic], dict[str, Statistic]], claim: Claim) -> dict[str, Claim]:
    """Return the claim at each level of a choice about statistics, as stated first; "" where it has no such choice.

    A part whose statistic does not have a level keeps its own.
    """
    of_parts = [levels(part.statistic) if part.statistic else {} for part in claim.parts]
    stated, *others = next(filter(None, of_parts), {}) or [""]

    def at(name: str) -> Claim:
        statistics = [of.get(name, part.statistic) for part, of in zip(claim.parts, of_parts, strict=True)]
        parts = [part.model_copy(update={"statistic": of}) for part, of in zip(claim.parts, statistics, strict=True)]
        return claim.model_copy(update={"parts": parts})

    return {stated: claim} | {name: at(name) for name in others}


CHOICES: dict[str, Callable[[Claim], dict[str, Claim]]] = {
    "threshold": partial(_of_parts, _thresholds),
    "window": partial(_of_parts, _windows),
    "training scores": partial(_of_parts, _training_scores),
    "duration": partial(_of_parts, _durations),
}
"""Analysis choices: the claim at each level, by the level's name, as stated first; "" where it has no such choice."""


def specifications(
    claim: Claim, runs: Runs, found: Sequence[DataSpecification], primary: Outcome, resample: Resample
) -> pd.DataFrame:
    """Return the outcome in every specification: one row each, the first that of the verdict itself.

    Args:
        claim: as its file states it.
        runs: of the study.
        found: `data_specifications`, that of the verdict first. Those that lack more configurations are left out.
        primary: the outcome of the verdict.
        resample: the same resamples that the verdict rests on.

    Returns:
        A column of text for each setting that varies and each analysis choice that concerns the claim, and `outcome`;
        no rows where the claim is untestable. Specifications that are untestable are left out.
    """
    if primary == Outcome.UNTESTABLE:
        return pd.DataFrame()
    variants: list[tuple[dict[str, str], Claim]] = [({}, claim)]
    for choice, levels_of in CHOICES.items():
        variants = [
            (levels | ({choice: name} if name else {}), changed)
            for levels, variant in variants
            for name, changed in levels_of(variant).items()
        ]
    complete = [item for item in found if item.n_lacking == found[0].n_lacking]
    keys = varying({key: [item.settings[key] for item in complete] for key in complete[0].settings})
    rows: list[dict[str, str]] = []
    for item in complete:
        settings = {key: value_text(item.settings[key]) for key in keys}
        for levels, variant in variants:
            estimates = inferences(variant, runs, item, resample) if rows else {}
            outcome = outcome_of(claim.supported, claim.refuted, estimates) if rows else primary
            rows.append({**settings, **levels, "outcome": str(outcome)})
    return pd.DataFrame([row for row in rows if row["outcome"] != Outcome.UNTESTABLE])


def headline_of(table: pd.DataFrame) -> tuple[str, str]:
    """Return what the specifications make of the primary outcome, and a sentence that explains it.

    `robust`: at least 90 % of all specifications give the same outcome, where the study has other data settings; where
    it has none, `robust to analysis choices`. Else the choice that, all else equal, most often changes the outcome.
    Both are empty where there was no choice.
    """
    factors = [key for key in table.columns if key != "outcome" and len(set(table[key])) > 1]
    if not factors:
        return "", ""
    primary = str(table["outcome"].iloc[0])
    share = float((table["outcome"] == primary).mean())
    sentence = f"{primary} in {share:.0%} of {counted(len(table), 'specification')}"
    if share >= ROBUST_SHARE:
        return ("robust to analysis choices" if set(factors) <= set(CHOICES) else "robust"), f"{sentence}."
    flips = {factor: _flips(table, factor) for factor in factors}
    worst = max(factors, key=lambda factor: flips[factor])
    name = f"the {worst}" if worst in CHOICES else worst
    levels = listed(
        f"{level}: {outcomes.mode().iloc[0]} in {(outcomes == outcomes.mode().iloc[0]).mean():.0%}"
        for level, outcomes in table.groupby(worst, sort=False)["outcome"]
    )
    often = f"{name} changes it most often, in {flips[worst]:.0%} of pairs that differ in nothing else"
    return f"depends on {name}", f"{sentence}; {often} ({levels})."


def holding_together(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return whether any specification makes all claims true, in a sentence.

    Specifications in which some claim has no runs are left out.

    Args:
        tables: claim id -> its specifications; claims without any are left out.
    """
    tables = {claim_id: table for claim_id, table in tables.items() if len(table)}
    if not tables:
        return "No claim can be tested in this study."
    ids = list(tables)
    joined = pd.DataFrame({"all": [""]})
    for claim_id, table in tables.items():
        joined = joined.merge(table.rename(columns={"outcome": claim_id}).assign(all=""))
    if joined.empty:
        return f"No specification has the runs of all claims ({listed(ids)})."
    n_true = (joined[ids] == Outcome.SUPPORTED).sum(axis=1)
    best = joined.iloc[int(n_true.argmax())]
    changed = [f"{key}={best[key]}" for key in joined.columns.drop(["all", *ids]) if best[key] != joined[key].iloc[0]]
    example = f"for example with {listed(changed)}" if changed else "for example as they are stated"
    n_all = int((n_true == len(ids)).sum())
    of_all = f"of {counted(len(joined), 'specification')} make all {len(ids)} claims true ({listed(ids)})"
    if n_all:
        return f"{n_all:,} {of_all}, {example}."
    false = listed(claim_id for claim_id in ids if best[claim_id] != Outcome.SUPPORTED)
    return f"None {of_all}; at most {n_true.max()} hold together, {example} (all but {false})."


def _flips(table: pd.DataFrame, factor: str) -> float:
    """Return the share of the pairs of rows that differ in this factor alone whose outcomes differ."""
    others: list[Hashable] = [key for key in table.columns if key not in (factor, "outcome")]
    same, alike = (table.assign(all="").groupby(["all", *keys]).size() for keys in (others, [*others, "outcome"]))
    n_pairs = (same * (same - 1)).sum()
    return float(1 - (alike * (alike - 1)).sum() / n_pairs) if n_pairs else 0.0
