"""What the runs of a study say about each claim: supported, refuted, undecided or untestable."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.bootstrap import Draw, Resamples, bootstrap
from pima_hp.analysis.claims import Claim
from pima_hp.analysis.comparison import benjamini_hochberg, holm
from pima_hp.analysis.measuring import Measured, measure
from pima_hp.analysis.multiverse import choices, robustness
from pima_hp.analysis.rules import Word, word_of
from pima_hp.analysis.selection import Runs, contexts
from pima_hp.config.flat import Setting
from pima_hp.run import Array

FAMILIES = {"primary": (holm, 0.05, "Holm's"), "exploratory": (benjamini_hochberg, 0.10, "Benjamini's and Hochberg's")}
"""Family -> how its p values are adjusted, what they must not exceed, whose correction it is."""


@dataclass(frozen=True)
class Verdict:
    """A claim, the word, and what it rests on."""

    claim: Claim
    word: Word
    reason: str
    headline: Measured  # the part that the reason is about, to show where there is room for one
    parts: tuple[Measured, ...]
    differing: Mapping[str, Setting]  # settings shared by the runs that are not those of `conf/config.yaml`
    choices: pd.DataFrame  # the word in every completion and reading, this verdict first; see `multiverse.choices`
    suffix: str = ""  # robust, or what the word depends on
    sentence: str = ""  # why
    replicates_needed: float | None = None  # when undecided; infinite when the estimate would have to move
    p_value: float | None = None  # smallest alpha at which intervals at 1 - alpha still decide; None when untestable
    p_at_most: bool = False  # whether p_value is as small as the resamples can tell, and may be smaller
    p_adjusted: float | None = None  # within the family
    survives: bool | None = None  # whether the word stands after that; None unless supported or refuted

    @property
    def beside(self) -> list[str]:
        """What a reader must know with the word: robustness, other settings than the baseline, a failed correction."""
        differing = [f"{key}={value}" for key, value in list(self.differing.items())[:2]]
        more = [f"{len(self.differing) - 2} more"] if len(self.differing) > 2 else []
        lost = f"does not survive {FAMILIES[self.claim.family][2]} correction"
        return [
            *([self.suffix] if self.suffix else []),
            *([f"with {', '.join([*differing, *more])}"] if differing else []),
            *([lost] if self.survives is False else []),
        ]


def judge(
    claims: Sequence[Claim], frame: pd.DataFrame, rng: np.random.Generator, n_resamples: int = 10_000
) -> list[Verdict]:
    """Judge claims by the runs of a study: each in its context nearest the baseline, then in every other choice.

    The word is that of the rules at 95 %. Many claims: a claim's p value is the smallest alpha at which its
    rule still decides with intervals at level 1 - alpha (k of them sharing alpha for `any` of k parts), so that
    "Holm's adjusted p is at most 0.05" says that the word stands with the intervals widened as Holm (1979) asks.
    Claims that are untestable stay in the family with p = 1. Exploratory claims: Benjamini-Hochberg at 0.10. A
    family is that of one folder of claims.

    One number is drawn from `rng`, and makes all resamples: they do not depend on what else is judged.
    """
    seed, runs = int(rng.integers(2**62)), Runs(frame)

    def draw(values: Array) -> Resamples:
        return bootstrap(values, np.random.default_rng(seed), n_resamples)

    verdicts = [_judge(claim, runs, draw) for claim in claims]
    for folder, family in dict.fromkeys((claim.folder, claim.family) for claim in claims):
        adjusted, alpha, _ = FAMILIES[family]
        places = [place for place, claim in enumerate(claims) if (claim.folder, claim.family) == (folder, family)]
        p_values = [1.0 if (p := verdicts[place].p_value) is None else p for place in places]
        for place, p in zip(places, adjusted(p_values).tolist(), strict=True):
            if (verdict := verdicts[place]).word != Word.UNTESTABLE:
                survives = p <= alpha if verdict.word in (Word.SUPPORTED, Word.REFUTED) else None
                verdicts[place] = replace(verdict, p_adjusted=p, survives=survives)
    return verdicts


def _judge(claim: Claim, runs: Runs, draw: Draw) -> Verdict:
    if other := claim.other_table(settings["data_digest"] for settings in runs.settings.values()):
        parts = tuple(Measured(part.name, part.contrast, other, beside=part.beside) for part in claim.parts)
        headline = next(part for part in parts if not part.beside)
        return Verdict(claim, Word.UNTESTABLE, other, headline, parts, {}, pd.DataFrame())
    found = contexts(claim, runs)
    context = found[0] if found else None
    parts = measure(claim, runs, context, draw)
    estimates = {part.name: part.estimate for part in parts if not part.beside}
    word = word_of(claim.supported, claim.refuted, estimates)
    table = choices(claim, runs, found, word, draw)
    suffix, sentence = robustness(claim.id, table)
    verdict = partial(Verdict, claim, word, *_reason(claim, word, parts), parts,
                      context.differing if context else {}, table, suffix, sentence)  # fmt: skip
    if word == Word.UNTESTABLE:
        return verdict()
    both = {Word.SUPPORTED: claim.supported, Word.REFUTED: claim.refuted}
    deciding = [both[word]] if word in both else list(both.values())
    p_value, at_most = min(rule.p_value(estimates) for rule in deciding)
    needed = min(rule.needed(estimates) for rule in deciding) if word == Word.UNDECIDED else None
    return verdict(needed, p_value, at_most)


def _reason(claim: Claim, word: Word, parts: Sequence[Measured]) -> tuple[str, Measured]:
    """One sentence, and the part that it is about."""
    by_name = {part.name: part for part in parts if not part.beside}
    estimates = {name: part.estimate for name, part in by_name.items()}
    if word == Word.UNTESTABLE:
        lacking = [part for part in by_name.values() if part.problem]
        awaited = {part.name for part in claim.parts if part.awaits}  # no command helps where no run records it
        make = f"; to make runs: {claim.command}" if claim.command and {p.name for p in lacking} - awaited else ""
        return "; ".join(dict.fromkeys(part.problem for part in lacking)) + make, lacking[0]
    if word == Word.UNDECIDED:
        supporting = claim.supported.meeting(estimates)
        names = [name for name in by_name if name not in supporting] or list(by_name)
        sentence = f"neither {claim.supported} nor {claim.refuted}"
    else:
        rule = claim.supported if word == Word.SUPPORTED else claim.refuted
        names, sentence = rule.meeting(estimates), str(rule)
    return f"{sentence}: {'; '.join(_numbers(by_name[name]) for name in names)}", by_name[names[0]]


def _numbers(part: Measured) -> str:
    if part.estimate is None:
        return f"{part.name} without runs"
    lower, upper = part.estimate.interval()
    return f"{part.name} {part.estimate.estimate:.3g} [{lower:.3g}, {upper:.3g}]"


def verdict_row(verdict: Verdict) -> dict[str, Any]:
    """What is told of a verdict as a whole, in files for programs."""
    told = ("word", "suffix", "reason", "replicates_needed", "p_value", "p_at_most", "p_adjusted", "survives")
    return {key: getattr(verdict, key) for key in told}


def part_row(part: Measured) -> dict[str, Any]:
    """What is told of a part: in the terminal, on the page and in files."""
    lower, upper = part.estimate.interval() if part.estimate else (None, None)
    effect = asdict(part.effect) | {"reading": part.effect.reading} if part.effect else None
    counts = ("n_diverged", "n_stopped", "n_failed", "n_runs")
    told = ("name", "problem", "unit", *counts, "runs_digest", "config_ids", "beside")
    return {
        **{key: getattr(part, key) for key in told},
        "estimate": part.estimate.estimate if part.estimate else None,
        "lower": lower,
        "upper": upper,
        "n_replicates": len(part.replicates.seeds),
        "effect": effect,
    }


def verdicts_json(verdicts: Sequence[Verdict]) -> bytes:
    """Verdicts as JSON, the same bytes for the same verdicts; infinite and missing numbers are null."""
    rows = [
        verdict.claim.model_dump(include={"id", "sentence", "source", "data", "family", "margin", "command"})
        | {"supported": str(verdict.claim.supported), "refuted": str(verdict.claim.refuted)}
        | verdict_row(verdict)
        | {"sentence_of_choices": verdict.sentence, "n_choices": len(verdict.choices), "differing": verdict.differing}
        | {"headline": part_row(verdict.headline), "parts": list(map(part_row, verdict.parts))}
        for verdict in verdicts
    ]
    return json.dumps(finite(rows), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def finite(value: Any) -> Any:
    """The same for JSON: infinite and missing numbers are None, keys are text, tuples are lists."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
