"""The section of diagnostics: why do some networks learn and others not, and what became of the runs?"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import aligned
from pima_hp.analysis.labels import GRADIENTS, LABELS, by_setting, labels_of, norm_columns
from pima_hp.analysis.selection import Runs, conclusive, varying_settings
from pima_hp.formatting import counted, label, listed, value_text
from pima_hp.ledger.ledger import quantiles
from pima_hp.report.charts import Figure, lines, looks_of
from pima_hp.report.comparable import comparable
from pima_hp.report.figures import points_of
from pima_hp.report.study import Section, Study
from pima_hp.report.words import words
from pima_hp.run import DIAGNOSTICS

# The settings that decide how large gradients are, and whether small ones matter.
RESCUES = ("activation", "model.initialization", "data.scaling", "optimizer")
# The gradient of the first layer vanishes where it is below this part of the last layer's. Percentages differ by more.
VANISHES, DIFFERS = 0.1, 10
MAX_PANELS, MOST_NAMED, LEAST_NORM = 8, 5, 1e-8


def diagnosis_section(study: Study) -> Section | None:
    """Return the section, without figures where no run has recorded gradients; None where no run has ended."""
    varying = varying_settings(study.frame)
    found = [key for key in RESCUES if key in varying]
    keys = ["activation", *found] if found == ["optimizer"] else found or study.factors[:2] or ["activation"]
    if conclusive(study.frame).empty or conclusive((compared := comparable(study.frame, keys)).runs).empty:
        return None
    table = by_setting({values: compared.runs.iloc[rows] for values, rows in compared.places.items()}, keys)
    optimizers = table.get("optimizer", compared.runs["optimizer"].iloc[0])
    known = table.assign(percent=100 * table["share_that_learns"], optimizer=optimizers)
    counts = Counter(labels_of(Runs(study.frame).frame).tolist())
    text = words(
        "why", context=compared.context, n=len(compared.runs), n_runs=counts.total(), **who_learns(known, keys),
        gradients=mechanism(known, keys) if table.get("over_last", pd.Series(dtype=float)).notna().any() else {},
        labels=[f"{n:,} {name}{' in training loss' * (name == LABELS[-2])}" for name, n in counts.most_common()],
    )  # fmt: skip
    figures = gradients(conclusive(compared.runs), keys)
    if keys[-1] == "optimizer":  # the gradients of a cell are those of each of its optimizers
        shares = table.pivot_table("share_that_learns", cells := keys[:-1], "optimizer").add_prefix("learn_with_")
        kept = {key: "first" if key in GRADIENTS else "sum" for key in (*GRADIENTS, *LABELS) if key in table}
        table = shares.join(table.groupby(cells).agg(kept)).reset_index()
    return Section("why", figures=figures, table=table, **text)


def who_learns(table: pd.DataFrame, keys: Sequence[str]) -> dict[str, Any]:
    """Return in which settings most runs learn or hardly any does, and which of the factors decides most, if any."""
    percent = table["percent"]
    means = {key: percent.groupby(table[key]).mean().dropna().sort_values() for key in keys}
    most, of = max(means.items(), key=lambda found: float(np.ptp(found[1])))
    decides = np.ptp(of) > DIFFERS and len(table) == np.prod([*map(len, means.values())])
    return {
        "percents": [*percent], "n_high": (percent >= 80).sum(),
        "low": [named(keys, row) for row in table.loc[percent <= 20, [*keys]].to_numpy()],
        "decisive": label(most) if decides else "", "means": [*of.items()],
    }  # fmt: skip


def mechanism(table: pd.DataFrame, keys: Sequence[str]) -> dict[str, Any]:
    """Return where the gradient vanishes, and with which optimizers fewer runs learn where it is small."""
    table = table.dropna(subset="over_last")  # not where no run has recorded gradients
    cells = [key for key in keys if key != "optimizer"]
    least = table.groupby(cells[0])["over_last"].min().nsmallest(MOST_NAMED)
    smallest = table[cells].iloc[int(table["over_last"].argmin())]
    there = table[(table[cells] == smallest).all(axis=1)]
    learn = there.groupby(there["percent"].round())["optimizer"]
    small: dict[str, list[str]] = {"lower": [], "about the same or higher": []}
    for name, of in table.groupby("optimizer"):
        is_small = of["first_gradient"].rank(pct=True) <= 0.5
        low, high = of.loc[is_small, "percent"].mean(), of.loc[~is_small, "percent"].mean()
        if of["percent"].count() >= 3 and np.isfinite(high - low):
            how = "lower" if high - low > DIFFERS else "about the same or higher"
            small[how].append(f"{name} ({low:.0f} against {high:.0f} %)")
    return {
        "ratios": [f"{ratio:.2g} with {name}" for name, ratio in least.items()],
        "vanishing": [*least.index[least < VANISHES]],
        "smallest": named(cells, smallest),
        "learn": [f"{share:.0f} % with {listed(of)}" for share, of in learn],
        "small": {how: names for how, names in small.items() if names},
    }


def named(keys: Sequence[str], values: Iterable[str]) -> str:
    """Return the values of settings, with the name of the setting where a value is a number or none."""
    found = zip(map(label, keys), values, strict=True)
    return ", ".join(of if of.isidentifier() and of != "none" else f"{key} {of}" for key, of in found)


def gradients(runs: pd.DataFrame, keys: Sequence[str]) -> dict[str, Figure]:
    """Return the figures of gradient norms, a line for each value of the first key, a chart for those of the others."""
    norms, curve = norm_columns(runs), f"{DIAGNOSTICS}gradient_norm/layer1"
    if not norms:
        return {}
    runs, cells = runs.assign(layers=[*runs[norms].to_numpy(float)]), [key for key in keys if key != "optimizer"]
    by_layer = "by layer, before the first update", f"layer ({len(norms)}: the logit)"
    figures = {"why_layers": _figure(runs, cells, "layers", *by_layer)}
    if curve in runs:
        figures["why_epochs"] = _figure(runs, keys, curve, "of the first layer, after each epoch", "epoch")
    return figures


def _figure(runs: pd.DataFrame, keys: Sequence[str], column: str, title: str, x_title: str) -> Figure:
    """Draw a column of gradient norms against the places in it."""
    parts = []
    for values, some in runs.groupby([*keys], sort=False, dropna=False):
        logs, (line, *rest) = np.log10(np.maximum(aligned(some[column]), LEAST_NORM)), map(value_text, values)
        medians = points_of(logs, line, lambda norms: quantiles(norms, (0.5,))[0])
        parts.append(medians.assign(panel=named(keys[1:], rest)))
    points = pd.concat(parts)
    ends = np.floor(points["low"].min()), np.ceil(points["high"].max())
    axes = {x_title: (1.0, max(2.0, points["x"].max())), "gradient norm (nats)": ends}
    panels, looks = points["panel"].unique(), looks_of(sorted(points["line"].unique()))
    charts = [
        lines(points[points["panel"] == panel], looks, axes, title=panel, size=(215, 190), decades=True)
        for panel in panels[:MAX_PANELS]
    ]
    left_out = f"; {len(charts)} of {len(panels)} charts" if len(panels) > len(charts) else ""
    caption = (
        "Lines: median over runs; bands: 5-95 % of single runs; less than 1e-8 is drawn there. Gradient: of the "
        f"mean loss of all training rows by a layer's weights. {counted(len(runs), 'run')}{left_out}."
    )
    return Figure(f"Gradient norm {title}", caption, charts)
