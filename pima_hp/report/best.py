"""The section "Which settings are best?": the best one, those that may be the best as well, the worst."""

from typing import Any

import pandas as pd

from pima_hp.analysis.best import rank
from pima_hp.analysis.curves import FINAL_VALIDATION, MARGIN
from pima_hp.analysis.selection import default_settings
from pima_hp.formatting import interval_text, label, value_text
from pima_hp.report.comparable import comparable
from pima_hp.report.study import Section, Study
from pima_hp.report.words import words

# Factors of a setting that is named with all its values; of more, those that differ from `conf/config.yaml`.
MOST_NAMED = 5
# What helps where no run learns: the first that a study has not tried. Networks of one's own may not have it.
REMEDIES = {"model.initialization": "glorot_uniform", "data.scaling": "standard"}


def best_section(study: Study) -> Section | None:
    """Return which settings are best; None for one configuration, for several tables, and without any score."""
    ranking = rank(study.frame, FINAL_VALIDATION) if len(study.digests) == 1 else None
    if ranking is None or len(ranking.table) < 2:
        return None
    table, factors, runs = ranking.table, ranking.factors, study.frame
    is_long, whole, rows = len(factors) > MOST_NAMED, table.dropna(subset="mean"), comparable(runs, []).validation_rows
    usual = default_settings() if is_long else {}

    def named(row: "pd.Series[Any]") -> str:
        """Return the settings of a row; None stands for what its other settings do not have."""
        kept = [key for key in factors if row[key] not in (None, usual.get(key))]
        return ", ".join(f"{label(key)} {value_text(row[key])}" for key in kept) or "the default"

    untried = [f"{key}={value}" for key, value in REMEDIES.items() if key in runs and value not in set(runs[key])]
    text = words(
        "best", n=len(table), n_seeds=ranking.n_seeds, rows=rows, margin=MARGIN, is_long=is_long,
        best=named(whole.iloc[0]), number=interval_text(*whole[["mean", "lower", "upper"]].iloc[0]),
        worst=named(whole.iloc[-1]), lowest=whole["mean"].iloc[-1], by_halves=ranking.by_halves,
        rivals=[named(row) for _, row in ranking.rivals.iterrows()], n_lost=len(table) - len(whole),
        n_stuck=int((table["share_off_majority"] == 0).sum()), remedy=[*untried, "a larger optimizer.lr"][0],
    )  # fmt: skip
    texts = {key: table[key].map(value_text) for key in factors}
    score = f"final_{rows}_accuracy".replace(" ", "_")
    columns = [*factors, "mean", "sd", "lower", "upper", "behind", "p"]
    table = table.assign(**texts)[[*columns, *table.columns.difference(columns, sort=False)]].reset_index()
    table = table.rename(columns={"mean": f"{score}_mean", "sd": f"{score}_sd"})
    return Section("best_settings", table=table, **text)
