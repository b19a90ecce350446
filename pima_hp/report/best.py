"""The section "Which settings are best?": the best one, those that may be the best as well, the worst."""

import math
from typing import Any

import pandas as pd

from pima_hp.analysis.best import Ranking, rank
from pima_hp.analysis.curves import FINAL_VALIDATION, MARGIN
from pima_hp.analysis.selection import default_settings
from pima_hp.formatting import counted, interval_text, label, value_text
from pima_hp.report.comparable import Comparison, comparable
from pima_hp.report.study import Section, Study

# Factors of a setting that is named with all its values; of more, those that differ from `conf/config.yaml`.
MOST_NAMED = 5
NOTE = (
    "Final: mean over the last 20 epochs; ±: standard deviation over seeds; lower, upper: 95 % t interval over seeds. "
    "behind: mean difference to the best under the same seed; p: its t test, adjusted (Holm). Those above 0.05 and "
    "the best are a 95 % confidence set for the best setting; this is no test of each pair. "
    "Share off majority: runs whose final training accuracy is more than 0.02 above that of always predicting the "
    "majority class. A setting with a run that has no final score has no mean."
)


def best_section(study: Study) -> Section | None:
    """Return which settings are best; None for one configuration, for several tables, and without any score."""
    is_one_table = len(set(study.frame["data_digest"])) == 1
    ranking = rank(study.frame, FINAL_VALIDATION) if is_one_table else None
    if ranking is None or len(ranking.table) < 2:
        return None
    compared, table = comparable(study.frame, []), ranking.table
    score = f"final_{compared.validation_rows}_accuracy".replace(" ", "_")
    table = table.assign(**{key: table[key].map(value_text) for key in ranking.factors}).reset_index()
    table = table.rename(columns={"mean": f"{score}_mean", "sd": f"{score}_sd"})
    return Section("best_settings", "Which settings are best?", answer(ranking, compared), table=table, note=NOTE)


def answer(ranking: Ranking, compared: Comparison) -> str:
    """Return in words the best setting, those that may be the best as well, the worst, those without a mean."""
    table, rivals, rows = ranking.table, ranking.rivals, compared.validation_rows
    n, whole, is_short = len(table), table.dropna(subset="mean"), len(ranking.factors) <= MOST_NAMED
    usual = {} if is_short else default_settings()

    def named(row: "pd.Series[Any]") -> str:
        """Return the settings of a row, in which None stands for one that another setting does not have."""
        kept = [key for key in ranking.factors if row[key] not in (None, usual.get(key))]
        return ", ".join(f"{label(key)} {value_text(row[key])}" for key in kept) or "the default"

    how_named = "" if is_short else " (named by what is not the default)"
    number = interval_text(*whole.iloc[0][["mean", "lower", "upper"]])
    about = f"95 % interval over {ranking.n_seeds} seeds" if ranking.n_seeds > 1 else "one run: no interval"
    text = (
        f"Of {n:,} settings{how_named} the best by final {rows} accuracy is {named(whole.iloc[0])}: {number} ({about})."
    )
    if ranking.n_seeds > 1:
        nearest = f", the first with {named(rivals.iloc[0])}" if len(rivals) else ""
        few = "; more seeds would exclude more" if len(rivals) > n / 2 else ""
        how = f"95 % confidence set: paired t tests against the best, Holm{few}"
        text += f" {len(rivals) or 'None'} of the others may be the best as well{nearest} ({how})."
    text += f" The worst is {named(whole.iloc[-1])}: {whole['mean'].iloc[-1]:.3f}."
    if lost := n - len(whole):
        text += f" {counted(lost, 'setting')} with diverged, stopped, failed or missing runs: no mean."
    if stuck := int((table["share_off_majority"] == 0).sum()):
        above = f"training accuracy at least {MARGIN} above always predicting the majority class"
        text += f" In {counted(stuck, 'setting')} no run ends with {above}."
    if stuck == n:
        helping = [("model.initialization", "glorot_uniform"), ("data.scaling", "standard")]
        new = [f"{key}={value}" for key, value in helping if value not in set(compared.runs[key])]
        text += f" Try {[*new, 'a larger optimizer.lr'][0]}."
    if not math.isnan(ranking.by_halves):
        text += " The choice flatters the best of many: chosen by one half of the seeds, it has "
        text += f"{ranking.by_halves:.3f} in the other half."
    if rows == "test":
        text += " The test rows chose it; data.val_fraction=0.2 sets rows aside for the choice."
    return text
