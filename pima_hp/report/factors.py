"""The section of a factor: what does it do to the final score?"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import FINAL_VALIDATION
from pima_hp.analysis.selection import conclusive
from pima_hp.analysis.verdicts import Verdict
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.formatting import interval_text, label
from pima_hp.report.comparable import Comparison, comparable
from pima_hp.report.figures import figures_of, learning_curves
from pima_hp.report.numeric import number_answer
from pima_hp.report.sections import Section
from pima_hp.report.study import Study
from pima_hp.report.tables import mean_interval, summary

# Values that come first in a table of more than twice as many; the worst follow.
MOST_BEST = 6
NOTE = (
    "Final: mean over the last 20 epochs, each measured at its end; ±: standard deviation over runs; "
    "epochs are those of the running training accuracy."
)


def factor_section(study: Study, verdicts: Sequence[Verdict], factor: str, taken: Sequence[str]) -> Section:
    """Return the section of a factor of a study; `taken` are the names of other sections."""
    name = re.sub("[^a-z0-9]+", "_", label(factor).lower())[:60]
    name = f"{name}_{len(taken)}" if name in taken else name
    compared = comparable(study.frame, [factor])
    if compared.is_axis:
        answer, figures = number_answer(study.frame, factor, study.factors)
    else:
        answer, figures = effect_in_words(compared), figures_of(study.frame, verdicts, factor)
    figures = {f"{name}_{kind}": figure for kind, figure in figures.items()}
    question = f"What {'do' if label(factor) == 'epochs' else 'does'} the {label(factor)} do?"
    table, note = summary(study.frame, [factor]), NOTE
    if len(table) > 2 * MOST_BEST:
        ranked = table.sort_values(f"final_{compared.validation_rows}_accuracy_mean".replace(" ", "_"), ascending=False)
        table = pd.concat([ranked[:MOST_BEST], ranked[MOST_BEST:][::-1]])
        note = f"The {MOST_BEST} best values, then the others from the worst to the best. {NOTE}"
    return Section(name, question, answer, figures, table, note, shared=compared.caption)


def effect_in_words(compared: Comparison) -> str:
    """Return which value has the best mean final score, which the worst, and their paired difference.

    Best and worst are chosen among k values, so the interval is at level 1 - 0.05/(k (k - 1)/2) (Bonferroni): it holds
    for all pairs at once.
    """
    factor, rows = label(compared.factors[0]), compared.validation_rows
    scores = compared.scores(FINAL_VALIDATION)
    means = scores.mean(axis=1).dropna()
    if len(means) < 2:
        return f"Not known yet: finished runs of two values of the {factor} are needed."
    best, worst = str(means.idxmax()), str(means.idxmin())
    found = (
        f"{compared.context} final {rows} accuracy is highest with {factor} {best} ({means[best]:.3f}) "
        f"and lowest with {worst} ({means[worst]:.3f})"
    )
    gains = np.asarray(100 * (scores.loc[best] - scores.loc[worst]).dropna(), float)
    if len(gains) < 2:
        return f"{found}; whether that is more than chance takes more replicates."
    n_pairs = math.comb(len(means), 2)
    gain, lower, upper = mean_interval(gains, 1 - 0.05 / n_pairs)
    who = "patients" if set(compared.runs["data_digest"]) == {SHIPPED_SHA256} else "rows"
    kind = f"95 % interval over seeds, paired{f', for all {n_pairs} pairs at once' if n_pairs > 1 else ''}"
    chance = "" if lower > 0 else " That may be chance."
    number = f"{gain:.1f} [{lower:.1f}, {upper:.1f}]".replace("-", "\N{MINUS SIGN}")
    return f"{found}: {number} more of 100 {who} are classified correctly ({kind}).{chance}"


def single_section(study: Study) -> Section | None:
    """Return how well the one configuration of a study learns; None where there are several or no runs."""
    if study.factors or study.frame.empty:
        return None
    compared = comparable(study.frame, ["activation"])
    scores = FINAL_VALIDATION.of(conclusive(compared.runs))
    known, figure = scores[np.isfinite(scores)], learning_curves(compared, [])
    if not len(known):
        return None
    kind = " (95 % interval over seeds)" if len(known) > 1 else "; one run says nothing about chance"
    level = "" if compared.majority is None else f" Always predicting the majority class has {compared.majority:.3f}."
    answer = f"Its final {compared.validation_rows} accuracy is {interval_text(*mean_interval(known))}{kind}.{level}"
    figure = replace(figure, caption=f"{figure.caption} {compared.caption}")
    table, figures = summary(study.frame, []), {"learning_curves": figure}
    return Section("learning", "How well does it learn?", answer, figures, table, NOTE, shared=compared.caption)
