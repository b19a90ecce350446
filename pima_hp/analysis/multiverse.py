"""Would another reasonable choice have given another verdict? Every claim in every completion of the study."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.claims import Claim
from pima_hp.analysis.functionals import Functional, TableFacts
from pima_hp.analysis.measuring import measure
from pima_hp.analysis.selection import Runs, contexts, named, varying
from pima_hp.analysis.verdicts import Word, word_of

ROBUST_SHARE = 0.90
STATED = "as stated"
CHOICES: dict[str, tuple[Any, ...]] = {
    "threshold": (STATED, -0.02, +0.02),
    "window_epochs": (STATED, 10, 30),
    "train scores": (STATED, "switched"),
    "sustained_epochs": (STATED, 3),
}
"""Choices that need no new runs: threshold shifted, window, running scores for those at the end of the epoch
or the reverse, any epoch or three in a row."""


@dataclass(frozen=True)
class Robustness:
    """How a claim's word fares: `robust`, `depends on <factor>` or nothing; why; one row a completion.

    The table has the primary completion first, a column of text for each factor, and `word`.
    """

    claim_id: str
    suffix: str
    sentence: str
    table: pd.DataFrame


def multiverse(
    claims: Sequence[Claim],
    frame: pd.DataFrame,
    rng: np.random.Generator,
    n_resamples: int = 1_000,
    table: TableFacts | None = None,
) -> list[Robustness]:
    """Judge claims in all completions present in a study, crossed with the analysis choices that concern them.

    `robust`: at least 90 % of the completions give the word of the primary one (the context nearest the
    baseline, everything as stated). Else the factor is named whose switch, all else equal, most often
    changes the word. All completions of a claim use the same resamples.
    """
    seed, runs = int(rng.integers(2**62)), Runs(frame, table)
    return [_robustness(claim, _words(claim, runs, seed, n_resamples)) for claim in claims]


def holding_together(robustness: Sequence[Robustness], claims: Sequence[Claim]) -> str:
    """Whether any completion makes all primary claims true, in a sentence.

    Completions in which some claim has no runs are left out, as are claims untestable in all of them.
    """
    primary = {claim.id for claim in claims if claim.family == "primary"}
    tables = {item.claim_id: item.table for item in robustness if item.claim_id in primary and len(item.table)}
    if not tables:
        return "No claim can be tested in this study."
    joined = pd.DataFrame({"all": [""]})
    for claim_id, found in tables.items():
        other = found.rename(columns={"word": claim_id}).assign(all="")
        joined = joined.merge(other, on=[key for key in joined.columns if key in other.columns])
    names = ", ".join(tables)
    if joined.empty:
        return f"No completion has the runs of all of {names}."
    n_true = (joined[list(tables)] == Word.SUPPORTED).sum(axis=1)
    best, best_row = int(n_true.max()), joined.iloc[int(n_true.argmax())]
    where = ", ".join(f"{key} {best_row[key]}" for key in joined.columns if key not in [*tables, "all"])
    if best == len(tables):
        return f"{sum(n_true == best)} of {len(joined)} completions make {names} true together, such as {where}."
    false = ", ".join(claim_id for claim_id in tables if best_row[claim_id] != Word.SUPPORTED)
    most = f"at most {best} of {len(tables)} hold, such as with {where} (all but {false})"
    return f"None of {len(joined)} completions makes {names} true together; {most}."


def _words(claim: Claim, runs: Runs, seed: int, n_resamples: int) -> pd.DataFrame:
    """One row a completion; none when the claim is untestable in the primary one."""
    whole = [context for context in contexts(claim, runs) if not context.n_lacking]
    settings = whole[0].settings if whole else {}
    factors = varying({key: [context.settings[key] for context in whole] for key in settings})
    rows = []
    for context, (choices, variant) in itertools.product(whole, list(_variants(claim))):
        word = word_of(variant, measure(variant, runs, context, seed, n_resamples))
        texts = {key: named({key: context.settings[key]}).partition("=")[2] for key in factors}
        rows.append({**texts, **choices, "word": str(word)})
    testable = [row for row in rows if row["word"] != Word.UNTESTABLE]
    return pd.DataFrame(testable if testable and testable[0] is rows[0] else [])


def _variants(claim: Claim) -> Iterator[tuple[dict[str, str], Claim]]:
    """The claim under every combination of the choices that concern it, as stated first."""
    parts = [part for part in claim.parts if not part.beside]
    functionals = [part.functional for part in parts if part.functional]
    concern = [key for key in CHOICES if any(key in _taken(functional) for functional in functionals)]
    for values in itertools.product(*(CHOICES[key] for key in concern)):
        choices = dict(zip(concern, values, strict=True))
        variants = [part.functional and _changed(part.functional, choices) for part in parts]
        changed = [part.model_copy(update={"functional": new}) for part, new in zip(parts, variants, strict=True)]
        texts = {key: f"{value:+g}" if isinstance(value, float) else str(value) for key, value in choices.items()}
        yield texts, claim.model_copy(update={"parts": changed})


def _taken(functional: Functional) -> set[str]:
    return set(functional.parameters) | ({"train scores"} if functional.curve.startswith("train/") else set())


def _changed(functional: Functional, choices: dict[str, Any]) -> Functional:
    content = {"name": functional.name, "curve": functional.curve, **functional.arguments}
    for key, value in choices.items():
        if value == STATED or key not in _taken(functional):
            continue
        if key == "train scores":
            curve = functional.curve
            content["curve"] = curve.removesuffix("_end") if curve.endswith("_end") else f"{curve}_end"
        else:
            content[key] = round(content[key] + value, 9) if key == "threshold" else value
    return Functional.model_validate(content)


def _robustness(claim: Claim, table: pd.DataFrame) -> Robustness:
    if table.empty:
        return Robustness(claim.id, "", f"{claim.id} cannot be tested in any completion of this study.", table)
    primary = str(table["word"].iloc[0])
    share = float((table["word"] == primary).mean())
    begin = f"{claim.id} is {primary} in {share:.0%} of {len(table)} completions"
    factors = [key for key in table.columns if key != "word" and len(set(table[key])) > 1]
    if not factors or share >= ROBUST_SHARE:
        return Robustness(claim.id, "robust" if factors else "", f"{begin}.", table)
    flips = {factor: _flips(table, factor) for factor in factors}
    worst = max(factors, key=lambda factor: flips[factor])
    levels = "; ".join(
        f"{level}: {words.mode().iloc[0]} in {(words == words.mode().iloc[0]).mean():.0%}"
        for level, words in table.groupby(worst, sort=False)["word"]
    )
    sentence = f"{begin}; switching {worst} changes the word most often, in {flips[worst]:.0%} of cases ({levels})."
    return Robustness(claim.id, f"depends on {worst}", sentence, table)


def _flips(table: pd.DataFrame, factor: str) -> float:
    """Share of the pairs of completions that differ in this factor alone whose words differ."""
    others = [key for key in table.columns if key not in (factor, "word")]
    equal, alike = (table.assign(all="").groupby(["all", *keys]).size() for keys in (others, [*others, "word"]))
    n_pairs = (equal * (equal - 1)).sum()
    return float(1 - (alike * (alike - 1)).sum() / n_pairs) if n_pairs else 0.0
