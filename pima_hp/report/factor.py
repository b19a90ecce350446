"""The figures of one factor of a study: which there are, what they draw, what their captions say of claims."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pima_hp.analysis import curves
from pima_hp.analysis.claims import Claim
from pima_hp.analysis.measuring import Measured
from pima_hp.analysis.rules import Word
from pima_hp.analysis.verdicts import Verdict
from pima_hp.report.chart import Figure
from pima_hp.report.figures import learning_curves, waiting_times
from pima_hp.report.panels import interval_texts
from pima_hp.report.results import Results
from pima_hp.report.rows import NOTHING
from pima_hp.report.settings import comparable, in_words, value_text, watched_rows
from pima_hp.report.spreads import Contrast, Quantity, spreads
from pima_hp.report.tables import REACH


def figures_of(results: Results, factor: str) -> dict[str, Figure]:
    """The article's figure of a factor, then those that its claims are about; by name.

    Their captions say what came of the claims.
    """
    frame, claims = results.frame, [item.claim for item in results.verdicts if factor in _varied(item.claim)]
    asked = [(claim.id, part.functional) for claim in claims for part in claim.parts if part.functional]

    def about(*names: str) -> list[str]:
        return list(dict.fromkeys(claim_id for claim_id, functional in asked if functional.name in names))

    comparison = comparable(frame, [factor])
    known = comparison.frame[["n_train", "positive_rate"]].dropna().astype(float)
    positive = float(known["positive_rate"].mean()) if len(known) else None
    majority = None if positive is None else max(positive, 1 - positive)
    figures = {"curves": learning_curves(frame, factor, majority=majority)}
    timed = ("exceeds", "never_exceeds", "reaches", "restricted_epochs")
    times = list({of.name: of for _, of in asked if of.name in timed and of.curve == "train/accuracy"}.values())
    if times or not claims:
        threshold = times[0].arguments["threshold"] if times else REACH
        strictly = bool(times) and "exceeds" in times[0].name
        figures["waiting"] = waiting_times(frame, factor, threshold, strictly=strictly)
    if about("learns") and positive is not None:
        level = float(curves.entropy(positive)) - 0.02
        loss = Quantity("final training loss", "nats", "train/loss", curves.final_score, level,
                        f"learns below {level:.3f}", below="learn")  # fmt: skip
        told = [f"A run learns when its mean loss over the last 20 epochs is below {level:.3f}: 0.02 nats less "
                "than always predicting the share of positive rows."]  # fmt: skip
        figures["learns"] = spreads(frame, factor, [loss], "Who learns: final training loss", told)
    if (volatile := about("log_volatility", "volatility")) and len(known):
        n_train = int(known["n_train"].iloc[0])
        moving = partial(curves.log_volatility, n_train=n_train)
        compared = _contrasts(results, factor, volatile, set(comparison.frame["config_id"]))
        volatility = Quantity("volatility of training accuracy", "fraction of rows", "train/accuracy", moving,
                              log=True, contrasts=compared)  # fmt: skip
        told = ["Volatility: standard deviation of the last 20 epochs about their own line; so that a curve that "
                f"stands still has a logarithm, a tenth of a row (0.1/{n_train}) is added."]  # fmt: skip
        figures["volatility"] = spreads(frame, factor, [volatility], "Volatility", told)
    watched = watched_rows(comparison)
    finals = [("training", "train/accuracy_end"), (watched, "val/accuracy")]
    above = "" if majority is None else f"majority class {majority:.3f}"
    scores = [
        Quantity(f"final {rows} accuracy", "fraction of rows", column, curves.final_score, majority, above)
        for rows, column in finals
    ]
    told = ["Final: mean over the last 20 epochs, each measured at its end."]
    figures["final"] = spreads(frame, factor, scores, "Final accuracy", told)
    of = {"waiting": about(*timed), "learns": about("learns"), "volatility": volatile,
          "final": about("final_score", "maximum")}  # fmt: skip
    told_of = {verdict.claim.id: _told(verdict) for verdict in results.verdicts}
    lines = {kind: [told_of[claim_id] for claim_id in ids] for kind, ids in of.items()}
    if claims:
        lines["curves"] = [f"Claims: {', '.join(claim.id for claim in claims)}."]
    return {kind: replace(drawn, caption=[*drawn.caption, *lines.get(kind, [])]) for kind, drawn in figures.items()}


def _told(verdict: Verdict) -> str:
    """Say what came of a claim: `Claim H4, supported: small over large 1.40 [1.33, 1.48] (ratio).`."""
    parts = [part for part in verdict.parts if part.estimate and not part.beside]
    if verdict.word == Word.UNTESTABLE or not parts:
        return f"Claim {verdict.claim.id}, {verdict.word}."
    numbers = ", ".join(f"{part.name} {text}" for part, text in zip(parts, estimate_texts(parts), strict=True))
    units = ", ".join(dict.fromkeys(in_words(part.unit) for part in parts))
    return f"Claim {verdict.claim.id}, {verdict.word}: {numbers} ({units})."


def estimate_texts(parts: Sequence[Measured]) -> list[str]:
    """Estimates with intervals: those of one unit have the same decimals."""
    units = {part.unit: [other for other in parts if other.unit == part.unit and other.estimate] for part in parts}
    texts = {
        unit: interval_texts([(part.estimate.estimate, *part.estimate.interval()) for part in same if part.estimate])
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
        for part, measured in zip(verdict.claim.parts, verdict.parts, strict=True)
    ]
    found: dict[str, Contrast] = {}
    for claim_id, part, measured in pairs:
        if measured.estimate and drawn.issuperset(measured.config_ids) and part.contrast in ("ratio", "difference"):
            where, over = (tuple(value_text(arm[factor]) for arm in arms) for arms in (part.where, part.over))
            found.setdefault(claim_id, Contrast(claim_id, where, over, measured.estimate))
    return tuple(found.values())


def _varied(claim: Claim) -> set[str]:
    """Settings that a claim is about: those that tell its configurations apart."""
    arms = [arm for part in claim.parts for arm in [*part.where, *part.over]]
    return {key for arm in arms for key in arm} - set(claim.where)
