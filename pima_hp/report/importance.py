"""The section "What matters?": shares of variance as bars and a table, and the largest interactions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import FINAL_TRAINING, FINAL_VALIDATION, Statistic
from pima_hp.analysis.importance import FEWEST_SEEDS, JOINT, REST, Importance, importance
from pima_hp.formatting import MISSING, label, listed, value_text
from pima_hp.report.charts import Chart, Figure, bars, lines, looks_of
from pima_hp.report.comparable import comparable
from pima_hp.report.study import Section, Study
from pima_hp.report.tables import SEED
from pima_hp.report.words import words

MOST_EFFECTS, MOST_INTERACTIONS, MOST_BARS = 8, 4, 30
SIGN = " \N{MULTIPLICATION SIGN} "


def importance_section(study: Study) -> Section | None:
    """Return what matters most in a study; None where no two settings are crossed, or of several tables."""
    if len(study.factors) < 2 or len(study.digests) != 1:
        return None
    compared = comparable(study.frame, [])
    score, reach = f"final {compared.validation_rows} accuracy", compared.reach
    loss = Statistic(name="final_score", curve="train/loss_end")
    targets = {score: FINAL_VALIDATION, "final training accuracy": FINAL_TRAINING, "final training log loss": loss}
    if reach is not None:
        waiting = Statistic(name="restricted_epochs", curve="train/accuracy", threshold=reach)
        targets[f"epochs to training accuracy {reach:.2f}"] = waiting
    found = importance(study.frame, targets, np.random.default_rng(SEED))
    if found is None or not (found.shares["target"] == score).any():
        return None
    texts = [_percent(*row) for row in found.shares[["share", "lower", "upper"]].to_numpy().tolist()]
    names = [SIGN.join(map(label, effect.split(JOINT))) for effect in found.shares["effect"]]
    shares = found.shares.assign(name=names, text=texts)
    of_score = shares[shares["target"] == score]
    every, learning = (of_score[of_score["levels"] == levels] for levels in ("all", "learning"))
    (n, n_study), n_seeds = found.n_cells, int(found.shares["n_replicates"].min())
    n_runs = n_seeds * math.prod(map(len, found.levels.values()))
    text = words(
        "what_matters", score=score, every=ranked(every), learning=ranked(learning), n_cells=found.n_cells,
        dropped=[f"with {label(key)} {listed(map(value_text, of))}" for key, of in found.dropped.items()],
        size=SIGN.join(f"{label(key)} ({len(of)})" for key, of in found.levels.items()),
        n_seeds=n_seeds, fewest_seeds=FEWEST_SEEDS, is_filled=(found.shares["method"] == "random forest").any(),
        n_runs=n_runs, n_missing=n_runs - min(int(of.count().sum()) for of in found.scores.values()),
    )  # fmt: skip
    figures = {"what_matters_shares": _bars(shares)} if shares["share"].notna().any() else {}
    pairs = [effect.split(JOINT) for effect in every.loc[every["share"] >= 0.01, "effect"] if JOINT in effect]
    drawn = [interaction(found, score, pair, compared.majority) for pair in pairs]
    if charts := [chart for chart in drawn if chart][:MOST_INTERACTIONS]:
        caption = (
            f"Mean {score} over all other settings and seeds. Bands and intervals: 95 %, t over seeds, without each "
            "seed's mean over all settings. Lines that are not parallel are an interaction."
        )
        caption += " Dashed: majority class." * any(map(is_numeric, found.levels.values()))
        figures["what_matters_interactions"] = Figure("The largest interactions", caption, charts)
    table = shares.pivot_table("text", ["levels", "name"], "target", aggfunc="first", sort=False)[[*targets]]
    table = table.reset_index(names=["levels", "effect"])
    return Section("what_matters", figures=figures, table=table, leads=n == n_study, **text)


def ranked(rows: pd.DataFrame) -> dict[str, Any]:
    """Return what explains most of a target, and what follows; those within the interval of the largest lead with it.

    Nothing for no rows, and no names where no difference is larger than what seeds alone make.
    """
    rows = rows[rows["effect"] != REST]
    if rows.empty or math.isnan(rows["share"].iloc[0]):
        return {} if rows.empty else {"names": []}
    names = [f"the {'interaction of ' * (SIGN in name)}{name.replace(SIGN, ' and ')}" for name in rows["name"]]
    n = min(3, max(1, int((rows["share"] >= rows["lower"].iloc[0]).sum())))
    more = range(n, min(n + 2, int((rows["share"] >= 0.005).sum())))
    following = [f"{names[place]}, {rows['text'].iloc[place]}" for place in more]
    is_plural = n > 1 or names[0].endswith("s")
    return {"names": names[:n], "shares": rows["text"].tolist()[:n], "is_plural": is_plural, "following": following}


def interaction(found: Importance, target: str, pair: Sequence[str], majority: float | None) -> Chart | None:
    """Draw the means of a pair: lines over a number, bars without one; None for more bars than one can read."""
    numeric = {key for key in pair if is_numeric(found.levels[key])}
    across, line = sorted(pair, key=lambda key: (key not in numeric, -len(found.levels[key])))
    means, title = found.means(target, pair), f"{label(across)} and {label(line)}"
    points = means[["mean", "low", "high"]].assign(line=means[line].map(value_text), x=means[across])
    if numeric:
        axes, looks = {label(across): None, target: None}, looks_of(map(value_text, found.levels[line]))
        points = points.astype({"x": float}).sort_values("x")
        return lines(points, looks, axes, majority=majority, title=title, size=(300, 220))
    if len(points) > MOST_BARS:
        return None
    points[["value", "low", "high"]] = 100 * (points[["mean", "low", "high"]] - points["mean"].mean())
    table = points.assign(name=points["x"].map(value_text))
    return bars(table, f"{target}, points above the mean of all settings", title=title)


def is_numeric(levels: Sequence[Any]) -> bool:
    """Return whether all levels of a factor are numbers."""
    return all(type(value) in (int, float) for value in levels)


def _bars(shares: pd.DataFrame) -> Figure:
    """Draw the largest effects on each target, with all levels and without those that do not learn."""
    rows = shares.dropna(subset="share").rename(columns={"levels": "line"})
    rows[["value", "low", "high"]] = 100 * rows[["share", "lower", "upper"]]
    largest = rows.groupby("name")["share"].mean().nlargest(MOST_EFFECTS).index
    rows = rows.set_index("name").loc[[name for name in rows["name"].unique() if name in largest]].reset_index()
    charts = [bars(of, "% of the variance", title=str(target)) for target, of in rows.groupby("target", sort=False)]
    caption = "Bars: share of the variance between settings that an effect explains; lines: 95 % interval over seeds."
    if (rows["line"] == "learning").any():
        caption += " learning: without the levels at which fewer than one run in four learns."
    return Figure("What explains the differences between settings", caption, charts)


def _percent(share: float, lower: float, upper: float) -> str:
    """Return a share in percent with its interval: `24 % [21, 27]`."""
    interval = "" if math.isnan(lower) else f" [{100 * lower:.0f}, {100 * upper:.0f}]"
    return MISSING if math.isnan(share) else f"{100 * share:.0f} %{interval}"
