"""The figures of one factor of a study: which there are, what they draw, what their captions say of claims."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from pima_hp.analysis import curves
from pima_hp.analysis.claims import Claim
from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.decisions import Outcome
from pima_hp.analysis.estimates import Estimate
from pima_hp.analysis.verdicts import Verdict
from pima_hp.report.chart import Figure
from pima_hp.report.figures import learning_curves, waiting_times
from pima_hp.report.panels import interval_texts
from pima_hp.report.results import Results
from pima_hp.report.rows import NOTHING
from pima_hp.report.settings import comparable, in_words, value_text, watched_rows
from pima_hp.report.spreads import Contrast, Quantity, spreads
from pima_hp.report.tables import majority_of, reach_of
from pima_hp.run import Array


def figures_of(results: Results, factor: str) -> dict[str, Figure]:
    """The article's figure of a factor, then those that its claims are about; by name.

    Their captions say what came of the claims. Claims about other tables are left out.
    """
    frame = results.frame
    comparison = comparable(frame, [factor])
    tables = set(comparison.frame["data_digest"])
    verdicts = [item for item in results.verdicts if factor in _varied(item.claim)]
    verdicts = [item for item in verdicts if all(map(item.claim.is_about, tables))]
    claims = [item.claim for item in verdicts]
    asked = [(claim.id, part.statistic) for claim in claims for part in claim.parts if part.statistic]

    def about(*names: str) -> tuple[list[str], list[Statistic]]:
        """The claims that name one of these statistics, and how they name it."""
        found = [(claim_id, statistic) for claim_id, statistic in asked if statistic.name in names]
        return list({claim_id: None for claim_id, _ in found}), list({repr(of): of for _, of in found}.values())

    majority, watched = majority_of(comparison.frame), watched_rows(comparison)
    figures = {"curves": learning_curves(frame, factor, majority=majority)}
    timed, times = about("exceeds", "never_exceeds", "reaches", "restricted_epochs")
    times = [of for of in times if of.curve == "train/accuracy"]
    threshold = times[0].arguments["threshold"] if times else reach_of(comparison.frame)
    if threshold is not None and (times or not claims):
        strictly = bool(times) and "exceeds" in times[0].name
        figures["waiting"] = waiting_times(frame, factor, threshold, strictly=strictly)
    learning, ways = about("learns")
    if learning and majority is not None:
        told = [f"A run learns when its mean loss over the last {of.value('window_epochs')} epochs is more than "
                f"{of.value('margin_nats'):g} nats below the entropy of its own training labels, the loss of always "
                "predicting their positive rate." for of in ways]  # fmt: skip
        losses = [_loss(of, watched) for of in ways]
        figures["learns"] = spreads(frame, factor, losses, "Who learns: final training loss", told)
    volatile, ways = about("log_volatility", "volatility")
    if volatile and comparison.frame["n_train"].notna().any():
        moving = Statistic.model_validate({"name": "log_volatility", "curve": ways[0].curve, **ways[0].arguments})
        compared = _contrasts(results, factor, volatile, set(comparison.frame["config_id"]))
        unit = "nats" if "loss" in moving.curve else "fraction of rows"
        volatility = Quantity(f"volatility of {_words(moving.curve, watched)}", unit, moving.of,
                              log=True, contrasts=compared)  # fmt: skip
        told = [f"Volatility: standard deviation of the last {moving.value('window_epochs')} epochs about their own "
                "line, plus a tenth of a training row, so that a curve that stands still has a logarithm."]  # fmt: skip
        figures["volatility"] = spreads(frame, factor, [volatility], "Volatility", told)
    above = "" if majority is None else f"majority class {majority:.3f}"
    scores = [
        Quantity(f"final {_words(curve, watched)}", "fraction of rows", partial(_final, curve), majority, above)
        for curve in ("train/accuracy_end", "val/accuracy")
    ]
    told = ["Final: mean over the last 20 epochs, each measured at its end."]
    figures["final"] = spreads(frame, factor, scores, "Final accuracy", told)
    of = {"waiting": timed, "learns": learning, "volatility": volatile, "final": about("final_score", "maximum")[0]}
    told_of = {verdict.claim.id: _told(verdict) for verdict in verdicts}
    lines = {kind: [told_of[claim_id] for claim_id in ids] for kind, ids in of.items()}
    if claims:
        lines["curves"] = [f"Claims: {', '.join(claim.id for claim in claims)}."]
    return {kind: replace(drawn, caption=[*drawn.caption, *lines.get(kind, [])]) for kind, drawn in figures.items()}


def _loss(learns: Statistic, watched: str) -> Quantity:
    """Loss of each run relative to its own level; those that learn are counted as the claim counts them."""
    margin, window = learns.value("margin_nats"), learns.value("window_epochs")

    def excess(runs: pd.DataFrame) -> Array:
        rates = runs["positive_rate"].to_numpy(float)
        return curves.excess_loss(curves.aligned(runs[learns.curve]), rates, window)

    name = f"final {_words(learns.curve, watched)} minus entropy of the labels"
    told = f"learns below \N{MINUS SIGN}{margin:g}"
    return Quantity(name, "nats", excess, -margin, told, learns.of, "learn")


def _final(curve: str, runs: pd.DataFrame) -> Array:
    return curves.final_score(curves.aligned(runs[curve]))


def _words(curve: str, watched: str) -> str:
    """`train/loss` -> `training loss`."""
    return f"{'training' if curve.startswith('train/') else watched} {'loss' if 'loss' in curve else 'accuracy'}"


def _told(verdict: Verdict) -> str:
    """Say what came of a claim: `Claim H4, supported: small over large 1.40 [1.33, 1.48] (ratio).`."""
    parts = [part for part in verdict.estimates if part.inference and not part.descriptive]
    if verdict.outcome == Outcome.UNTESTABLE or not parts:
        return f"Claim {verdict.claim.id}, {verdict.outcome}."
    numbers = ", ".join(f"{part.name} {text}" for part, text in zip(parts, estimate_texts(parts), strict=True))
    units = ", ".join(dict.fromkeys(in_words(part.unit) for part in parts))
    return f"Claim {verdict.claim.id}, {verdict.outcome}: {numbers} ({units})."


def estimate_texts(parts: Sequence[Estimate]) -> list[str]:
    """Estimates with intervals: those of one unit have the same decimals."""
    units = {part.unit: [other for other in parts if other.unit == part.unit and other.inference] for part in parts}
    texts = {
        unit: interval_texts([(part.inference.estimate, *part.inference.interval()) for part in same if part.inference])
        for unit, same in units.items()
    }
    found = {id(part): text for unit, same in units.items() for part, text in zip(same, texts[unit], strict=True)}
    return [found.get(id(part), NOTHING) for part in parts]


def _contrasts(results: Results, factor: str, claims: Sequence[str], drawn: set[str]) -> tuple[Contrast, ...]:
    """What claims compare among the runs of a figure."""
    pairs = [
        (verdict.claim.id, part, measured)
        for verdict in results.verdicts
        if verdict.claim.id in claims
        for part, measured in zip(verdict.claim.parts, verdict.estimates, strict=True)
    ]
    found: dict[str, Contrast] = {}
    for claim_id, part, measured in pairs:
        if measured.inference and drawn.issuperset(measured.config_ids) and part.contrast in ("ratio", "difference"):
            where, over = (tuple(value_text(arm[factor]) for arm in arms) for arms in (part.where, part.over))
            found.setdefault(claim_id, Contrast(claim_id, where, over, measured.inference))
    return tuple(found.values())


def _varied(claim: Claim) -> set[str]:
    """Settings that a claim is about: those that tell its configurations apart."""
    arms = [arm for part in claim.parts for arm in [*part.where, *part.over]]
    return {key for arm in arms for key in arm} - set(claim.where)
