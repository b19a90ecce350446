"""Judge every claim in every specification: does another reasonable choice change the outcome?

A *specification* is one combination of data settings that a claim leaves open, as far as the study has runs of them,
and of analysis choices, which need no new runs. Sources: Steegen et al. (2016), Simonsohn et al. (2020).
"""

import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from pima_hp.analysis.claims import SHARES, Claim, Outcome, Part, outcome_of
from pima_hp.analysis.intervals import Interval
from pima_hp.analysis.selection import Runs, Settings, differing, named
from pima_hp.formatting import counted, listed, plain, value_text
from pima_hp.ledger.plan import follows, varying

ROBUST_SHARE = 0.90
# The analysis choices.
CHOICES = ("threshold", "window", "training scores", "duration", "much before", "learning by",
           "supported limit", "margin")  # fmt: skip

# Selector, as `named` writes it -> the configurations that it means: one where the claim can be tested.
Arms = Mapping[str, Sequence[str]]


def data_specifications(claim: Claim, runs: Runs) -> list[tuple[Settings, Arms]]:
    """Return every combination of settings that a claim leaves open, with the configurations of its arms under them.

    Only those under which the most judged arms have one configuration; that nearest `conf/config.yaml` comes first.
    Settings of a section that the claim varies go with it (`optimizer.betas` with `optimizer`) unless they vary within
    one of its values; a configuration without such a setting fits any value of it (`activation.negative_slope` with
    `activation: relu`).
    """
    selectors = {named(arm): {key: plain(of) for key, of in arm.items()} for part in claim.parts for arm in part.arms}
    factors = {key for selector in selectors.values() for key in selector}
    about = {key: settings for key, settings in runs.settings.items() if claim.is_about(settings["data_digest"])}
    arms = {name: [key for key in about if arm.items() <= about[key].items()] for name, arm in selectors.items()}
    chosen = {key: about[key] for config_ids in arms.values() for key in config_ids}
    columns = {key: [settings[key] for settings in chosen.values()] for key in next(iter(chosen.values()), {})}
    loose = {key for key in columns if key.partition(".")[0] in factors}
    fixed = factors | {key for key in loose if follows(columns[key], columns[key.partition(".")[0]])}
    rest = {key: {name: value for name, value in of.items() if name not in fixed} for key, of in chosen.items()}
    # In a large study, few configurations have to be compared one by one.
    strict = {key: tuple(value for name, value in of.items() if name not in loose) for key, of in rest.items()}
    alike: dict[tuple[str, Any], list[str]] = defaultdict(list)
    for name, config_id in ((name, config_id) for name, config_ids in arms.items() for config_id in config_ids):
        alike[name, strict[config_id]].append(config_id)
    found = list[tuple[Settings, Arms]]()
    for key, settings in {repr(settings): (key, settings) for key, settings in rest.items()}.values():
        fitting = settings.items() | {(name, None) for name in loose}
        own = {name: [of for of in alike[name, strict[key]] if rest[of].items() <= fitting] for name in arms}
        found.append((settings, own))
    judged = {named(arm) for part in claim.parts if not part.descriptive for arm in part.arms}
    n_testable = [sum(len(ids) == 1 for name, ids in of.items() if name in judged) for _, of in found]
    most = max(n_testable, default=0)
    best = (item for item, n in zip(found, n_testable, strict=True) if n == most)
    return sorted(best, key=lambda item: len(differing(item[0])))


def levels_of(part: Part) -> dict[str, dict[str, Part]]:
    """Return analysis choice -> level -> the part at this level, as stated first, for the choices that a part has.

    A level changes arguments of the statistic, or limits. The limit of *mixed* is that of *supported* and goes with it.
    A margin is the distance of a limit from no effect, 0 or the ratio 1; of a ratio, that of its logarithm.
    """
    if (statistic := part.statistic) is None:
        return {}
    found, stated, curve = dict[str, dict[str, Part]](), statistic.arguments, statistic.curve

    def at(**arguments: Any) -> Part:
        return part.model_copy(update={"statistic": statistic.model_copy(update=arguments)})

    if (threshold := stated.get("threshold")) is not None:
        shifts = {"as stated": 0.0, "0.02 lower": -0.02, "0.02 higher": 0.02}
        found["threshold"] = {level: at(threshold=round(threshold + shift, 9)) for level, shift in shifts.items()}
    if window := stated.get("window_epochs"):
        found["window"] = {f"{n} epochs": at(window_epochs=n) for n in (window, 10, 20, 30)}
    if "train/" in curve:
        curves = [("running", curve.removesuffix("_end")), ("end of epoch", f"{curve.removesuffix('_end')}_end")]
        found["training scores"] = {level: at(curve=of) for level, of in sorted(curves, key=lambda of: of[1] != curve)}
    if length := stated.get("sustained_epochs"):
        names = {n: "any epoch" if n == 1 else f"{n} epochs in a row" for n in (length, 3)}
        found["duration"] = {name: at(sustained_epochs=n) for n, name in names.items()}
    if latest := stated.get("by_epoch"):
        epochs = (latest, round(2 * latest / 3), round(1.2 * latest))
        found["much before"] = {f"by epoch {n}": at(by_epoch=n) for n in epochs}
    if "by_accuracy" in stated:
        own, other = ("accuracy", "loss") if stated["by_accuracy"] else ("loss", "accuracy")
        found["learning by"] = {own: part, other: at(curve=curve.replace(own, other))}
    limits = {key: getattr(part, key) for key in ("supported", "refuted", "mixed") if getattr(part, key)}
    above = limits.get("supported", {}).get("above")
    if part.contrast in SHARES and above is not None:
        bounds = [round(above + shift, 9) for shift in (0, -0.1, 0.1) if 0 < above + shift < 1]
        moved = {of: {"supported": {"above": of}, "mixed": part.mixed and {"below": of}} for of in bounds}
        found["supported limit"] = {f"above {of:.2f}": part.model_copy(update=both) for of, both in moved.items()}
    if part.contrast in ("slope", "difference", "ratio"):
        move, found["margin"] = operator.pow if part.contrast == "ratio" else operator.mul, {}
        for level, factor in {"as stated": 1.0, "half": 0.5, "twice": 2.0}.items():
            own_limits = {key: {side: move(bound, factor) for side, bound in of.items()} for key, of in limits.items()}
            found["margin"][level] = part.model_copy(update=own_limits)
    return found


def specifications(
    claim: Claim, data: Sequence[tuple[Settings, Arms]], infer: Callable[[Part, Arms], Interval | None]
) -> tuple[pd.DataFrame, int]:
    """Return the outcome in every specification, one row each, as stated first, and how many are untestable.

    Args:
        claim: as its file states it.
        data: `data_specifications`.
        infer: returns the 95 % interval of a part, with the same resamples that the verdict rests on; None where it
            has none. Called once for the specifications that differ in limits alone.

    Returns:
        A column of text for each setting that varies and each analysis choice that applies to the claim, and `outcome`;
        without the rows that are untestable.
    """
    judged = [part for part in claim.parts if not part.descriptive]
    chosen_parts: list[tuple[dict[str, str], list[Part]]] = [({}, judged)]
    for choice in CHOICES:
        names = dict.fromkeys(name for part in judged for name in levels_of(part).get(choice, ()))
        # Where no part has the choice, nothing changes.
        chosen_parts = [
            (chosen | {choice: name}, [levels_of(part).get(choice, {}).get(name, part) for part in parts])
            for chosen, parts in chosen_parts for name in names
        ] or chosen_parts  # fmt: skip
    variants = [(chosen, {(n, repr(of.statistic)): of for n, of in enumerate(parts)}) for chosen, parts in chosen_parts]
    estimated = {key: of for _, parts in variants for key, of in parts.items()}  # one of those that differ in limits
    keys = varying({key: [settings[key] for settings, _ in data] for key in data[0][0]})
    rows = []
    for settings, arms in data:
        texts = {key: value_text(settings[key]) for key in keys}
        intervals = {key: infer(part, arms) for key, part in estimated.items()}
        for chosen, parts in variants:
            outcome = outcome_of([part.outcome(intervals[key]) for key, part in parts.items()])
            rows.append(texts | chosen | {"outcome": str(outcome)})
    testable = [row for row in rows if row["outcome"] != Outcome.UNTESTABLE]
    return pd.DataFrame(testable), len(rows) - len(testable)


def headline_of(table: pd.DataFrame) -> tuple[str, str]:
    """Return the outcome over all specifications in a few words, and a sentence that explains it.

    `robust`: at least 90 % of them have the primary outcome; where no data setting varies, `robust to analysis
    choices`. Else X is the choice that, all else equal, most often changes the outcome: `depends on X` where another
    outcome is as frequent as the primary one, and otherwise the primary outcome, its share and X.

    Args:
        table: `specifications`, the primary one first.
    """
    factors = [key for key in table.columns if key != "outcome" and len(set(table[key])) > 1]
    primary, shares = str(table["outcome"].iloc[0]), _shares(table)
    if not factors:
        return primary, ""
    if shares[primary] >= ROBUST_SHARE:
        kind = "robust to analysis choices" if set(factors) <= set(CHOICES) else "robust"
        return f"{primary}, {kind}", f"{_shares_text(table)}."
    flips = {factor: _flips(table, factor) for factor in factors}
    worst = max(factors, key=lambda factor: flips[factor])
    name = f"the {worst}" if worst in CHOICES else worst
    often = f"{name} changes it most often, in {flips[worst]:.0%} of pairs that differ in nothing else."
    most = [outcome for outcome, share in shares.items() if share == max(shares.values())]
    frequent = f"{listed(most)} in {shares[most[0]]:.0%}{' each' if len(most) > 1 else ''} of specifications"
    if most == [primary]:
        headline = f"{frequent}, most changed by {name}"
    else:
        headline = f"depends on {name}: {frequent}, {primary} in the primary one"
    return headline, f"{_shares_text(table)}; {often}"


def without(table: pd.DataFrame, settings: Settings, finding: Settings) -> str:
    """Return the outcomes without the data settings of another claim's finding; empty where that changes nothing.

    Args:
        table: `specifications`.
        settings: of the primary one.
        finding: such as `{optimizer: sgd, optimizer.lr: 0.001}`.
    """
    keys = [key for key in finding if key in table]
    if not keys or any(settings.get(key) != plain(value) for key, value in finding.items() if key not in table):
        return ""
    is_finding = (table[keys] == [value_text(finding[key]) for key in keys]).all(axis=1)
    if is_finding.all() or not is_finding.any():
        return ""
    return f"Without {named({key: finding[key] for key in keys})}: {_shares_text(table[~is_finding])}."


def _shares(table: pd.DataFrame) -> dict[str, float]:
    """Return the share of the specifications with each outcome, the most frequent first."""
    return {outcome: n / len(table) for outcome, n in Counter(map(str, table["outcome"])).most_common()}


def _shares_text(table: pd.DataFrame) -> str:
    shares = _shares(table).items()
    texts = [f"{outcome} in {f'{share:.0%}' if share >= 0.005 else 'less than 1%'}" for outcome, share in shares]
    return f"{', '.join(texts)} of {counted(len(table), 'specification')}"


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
