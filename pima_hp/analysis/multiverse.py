"""Would another reasonable choice have given another verdict? Every claim in every completion of a study.

A *completion* is a combination of the settings that a claim does not name; a *reading* is a way to read the
curves: a threshold shifted, another window, running or end-of-epoch scores, any epoch or several in a row.
"""

import itertools
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from pima_hp.analysis.bootstrap import Draw
from pima_hp.analysis.claims import Claim
from pima_hp.analysis.functionals import Functional
from pima_hp.analysis.measuring import estimates
from pima_hp.analysis.rules import Word, word_of
from pima_hp.analysis.selection import Context, Runs, named, varying

ROBUST_SHARE = 0.90
READINGS: dict[str, tuple[Any, ...]] = {
    "threshold": (None, -0.02, +0.02),  # None: as the claim states it
    "window": (None, 10, 30),
    "training scores": (None, True),  # True: running scores for those at the end of the epoch, or the reverse
    "duration": (None, 3),
}
"""Choices that need no new runs. Columns of a table of choices, beside those of settings."""

_ARGUMENTS = {"window": "window_epochs", "duration": "sustained_epochs"}
_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def choices(claim: Claim, runs: Runs, found: Sequence[Context], primary: Word, draw: Draw) -> pd.DataFrame:
    """The word in every completion and reading: one row each, the first that of the verdict itself.

    Args:
        claim: as its file states it.
        runs: of the study.
        found: the contexts of the claim, that of the verdict first. Those that lack more configurations are left out.
        primary: the word of the verdict.
        draw: the same resamples that the verdict rests on.

    Returns:
        A column of text for each setting that varies and each reading that concerns the claim, and `word`;
        no rows where the claim is untestable. Combinations that are untestable are left out.
    """
    if primary == Word.UNTESTABLE:
        return pd.DataFrame()
    whole = [context for context in found if context.n_lacking == found[0].n_lacking]
    factors = varying({key: [context.settings[key] for context in whole] for key in whole[0].settings})
    rows: list[dict[str, str]] = []
    for context, (levels, variant) in itertools.product(whole, list(_read_in_each_way(claim))):
        word = word_of(claim.supported, claim.refuted, estimates(variant, runs, context, draw)) if rows else primary
        texts = {key: named({key: context.settings[key]}).partition("=")[2] for key in factors}
        rows.append({**texts, **levels, "word": str(word)})
    return pd.DataFrame([row for row in rows if row["word"] != Word.UNTESTABLE])


def robustness(claim_id: str, table: pd.DataFrame) -> tuple[str, str]:
    """What is said beside the word, and why, from its table of choices.

    `robust`: at least 90 % of all combinations give the same word, where completions were trained; where there is
    one completion, `robust to how curves are read`. Else the choice is named that, all else equal, most often
    changes the word. Nothing where there was no choice.
    """
    factors = [key for key in table.columns if key != "word" and len(set(table[key])) > 1]
    if not factors:
        return "", ""
    primary = str(table["word"].iloc[0])
    share = float((table["word"] == primary).mean())
    begin = f"{claim_id} is {primary} in {share:.0%} of {_counted(table)}"
    if share >= ROBUST_SHARE:
        return ("robust to how curves are read" if set(factors) <= set(READINGS) else "robust"), f"{begin}."
    flips = {factor: _flips(table, factor) for factor in factors}
    worst = max(factors, key=lambda factor: flips[factor])
    name = f"the {worst}" if worst in READINGS else worst
    levels = "; ".join(
        f"{level}: {words.mode().iloc[0]} in {(words == words.mode().iloc[0]).mean():.0%}"
        for level, words in table.groupby(worst, sort=False)["word"]
    )
    changes = f"{name} changes it most often, in {flips[worst]:.0%} of the pairs that differ in nothing else"
    return f"depends on {name}", f"{begin}; {changes} ({levels})."


def holding_together(tables: Mapping[str, pd.DataFrame]) -> str:
    """Whether any combination of choices makes all claims true, in a sentence.

    Combinations in which some claim has no runs are left out.

    Args:
        tables: claim -> its table of choices; those without rows are left out.
    """
    tables = {claim_id: table for claim_id, table in tables.items() if len(table)}
    if not tables:
        return "No claim can be tested in this study."
    joined = pd.DataFrame({"all": [""]})
    for claim_id, found in tables.items():
        other = found.rename(columns={"word": claim_id}).assign(all="")
        joined = joined.merge(other, on=[key for key in joined.columns if key in other.columns])
    joined = joined.drop(columns="all")
    ids = list(tables)
    every = "both" if len(ids) == 2 else f"all {_in_words(len(ids))}"
    them = f"{every} claims ({_listed(ids)})" if len(ids) > 1 else ids[0]
    if joined.empty:
        return f"No combination of choices has the runs of {them}."
    n_true = (joined[ids] == Word.SUPPORTED).sum(axis=1)
    best, made = int(n_true.max()), joined.drop(columns=ids).to_dict("records")
    best_row = joined.iloc[int(n_true.argmax())]
    where = _described(made[int(n_true.argmax())], made[0])
    together = f"{them} true{' together' if len(ids) > 1 else ''}"
    among = _counted(joined.drop(columns=ids))
    if best == len(ids):
        n_whole = int((n_true == best).sum())
        return f"{n_whole:,} of {among} {'makes' if n_whole == 1 else 'make'} {together}, for example {where}."
    false = _listed([claim_id for claim_id in ids if best_row[claim_id] != Word.SUPPORTED])
    hold = f"at most {_in_words(best)} {'holds' if best == 1 else 'hold'}, for example {where} (all but {false})"
    most = hold if best else "not one holds in any"
    return f"None of {among} makes {together}; {most}."


def _read_in_each_way(claim: Claim) -> Iterator[tuple[dict[str, str], Claim]]:
    """The claim in every reading that concerns it, as stated first, with the level of each choice in words."""
    parts = [part for part in claim.parts if not part.beside]
    functionals = [part.functional for part in parts if part.functional]
    concern = {key: next((of for of in functionals if _takes(of, key)), None) for key in READINGS}
    ways = {key: {_level(of, key, value): value for value in READINGS[key]} for key, of in concern.items() if of}
    for key in ways:
        ways[key][next(iter(ways[key]))] = None  # the claim's own level, where a value above has the same name
    for levels in itertools.product(*ways.values()):
        chosen = {key: ways[key][level] for key, level in zip(ways, levels, strict=True)}
        changed = [
            part.model_copy(update={"functional": part.functional and _read(part.functional, chosen)}) for part in parts
        ]
        yield dict(zip(ways, levels, strict=True)), claim.model_copy(update={"parts": changed})


def _takes(functional: Functional, key: str) -> bool:
    if key == "training scores":
        return functional.curve.startswith("train/")
    return _ARGUMENTS.get(key, key) in functional.parameters


def _level(functional: Functional, key: str, value: Any) -> str:
    """The choice in words, by its value and not by whether it is the claim's own: claims differ in what they state."""
    if key == "threshold":
        return "as stated" if value is None else f"{abs(value):g} {'lower' if value < 0 else 'higher'}"
    if key == "training scores":
        return "running" if functional.curve.endswith("_end") == bool(value) else "end of epoch"
    argument = _ARGUMENTS[key]
    n_epochs = functional.value(argument) if value is None else value
    if key == "window":
        return f"{n_epochs} epochs"
    return "any epoch" if n_epochs == 1 else f"{n_epochs} epochs in a row"


def _read(functional: Functional, chosen: Mapping[str, Any]) -> Functional:
    content = {"name": functional.name, "curve": functional.curve, **functional.arguments}
    for key, value in chosen.items():
        if value is None or not _takes(functional, key):
            continue
        if key == "training scores":
            curve = functional.curve
            content["curve"] = curve.removesuffix("_end") if curve.endswith("_end") else f"{curve}_end"
        else:
            content[_ARGUMENTS.get(key, key)] = round(content[key] + value, 9) if key == "threshold" else value
    return Functional.model_validate(content)


def _flips(table: pd.DataFrame, factor: str) -> float:
    """Share of the pairs of rows that differ in this factor alone whose words differ."""
    others = [key for key in table.columns if key not in (factor, "word")]
    equal, alike = (table.assign(all="").groupby(["all", *keys]).size() for keys in (others, [*others, "word"]))
    n_pairs = (equal * (equal - 1)).sum()
    return float(1 - (alike * (alike - 1)).sum() / n_pairs) if n_pairs else 0.0


def _counted(table: pd.DataFrame) -> str:
    """`36 ways of reading the curves`, `4 completions`, `48 combinations (4 completions, 12 ways of reading ...)`."""
    settings = [key for key in table.columns if key not in (*READINGS, "word")]
    readings = [key for key in table.columns if key in READINGS]
    n_completions, n_readings = (len(table[keys].drop_duplicates()) if keys else 1 for keys in (settings, readings))
    read = f"{n_readings:,} way{'s' if n_readings > 1 else ''} of reading the curves"
    if n_completions == 1:
        return read
    if n_readings == 1:
        return f"{n_completions:,} completions"
    return f"{len(table):,} combinations ({n_completions:,} completions, {read})"


def _described(row: Mapping[Hashable, str], stated: Mapping[Hashable, str]) -> str:
    """Choices as a sentence has them, those that are as stated left out: `with the threshold 0.02 lower`."""
    scores = {"running": "running training scores", "end of epoch": "training scores from the end of each epoch"}
    phrases = {"threshold": "the threshold {}", "window": "a window of {}", "duration": "{} at the threshold"}
    texts = [
        scores[level] if key == "training scores" else phrases.get(str(key), f"{key}={{}}").format(level)
        for key, level in row.items()
        if level != stated[key] or key == "training scores"
    ]
    return f"with {_listed(texts)}" if texts else "as they are stated"


def _in_words(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
