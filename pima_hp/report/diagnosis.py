"""The section of diagnostics: why do some networks learn and others not, and what became of the runs?"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from altair.utils.schemapi import debug_mode

from pima_hp.analysis.curves import aligned
from pima_hp.analysis.labels import GRADIENTS, LABELS, by_setting, labels_of, norm_columns
from pima_hp.analysis.selection import Runs, conclusive, varying_settings
from pima_hp.formatting import counted, label, listed, value_text
from pima_hp.ledger import quantiles
from pima_hp.ledger.ledger import BAND
from pima_hp.report.charts import Figure, lines, looks_of
from pima_hp.report.comparable import Comparison, comparable, evenly_spaced
from pima_hp.report.figures import MAX_EPOCHS
from pima_hp.report.study import Section, Study
from pima_hp.run import DIAGNOSTICS

# The settings that decide how large gradients are, and whether small ones matter.
RESCUES = ("activation", "model.initialization", "data.scaling", "optimizer")

# The gradient of the first layer vanishes where it is below this part of the last layer's; a difference of shares.
VANISHES = 0.1

MAX_PANELS, MOST_NAMED, LEAST_NORM = 8, 5, 1e-8
SMALL = (
    "Where the first layer's own gradient is below the median of the settings, compared with the others, the share of "
    "runs that learn is"
)
NOTE = (
    "Learns: mean loss of the last 20 epochs more than 0.02 nats below the entropy of the labels; plateau: first "
    "epoch with such a loss. Lower: by more than 10 points. Gradient: Frobenius norm by the first layer's weights "
    "before the first update, median over runs; over last, over relu: as a ratio to the last layer's, to ReLU's. "
    "Label: the first that applies of diverged, dead (each unit of a ReLU layer is 0 on all rows), saturated (does "
    "not learn, most outputs of a layer near their ends), collapsed (does not learn, its accuracy is the majority's), "
    "still improving (its training loss falls beyond its noise in the last 20 epochs; it need not learn, nor its "
    "validation loss fall), settled. Dead and saturated need diagnostics=epochs."
)


def diagnosis_section(study: Study) -> Section | None:
    """Return the section, without figures where no run has recorded gradients; None where no run has ended."""
    found = [key for key in RESCUES if key in varying_settings(study.frame)]
    keys = ["activation", *found] if found == ["optimizer"] else found or study.factors[:2] or ["activation"]
    if conclusive(study.frame).empty or conclusive((compared := comparable(study.frame, keys)).runs).empty:
        return None
    table = by_setting({values: compared.runs.iloc[rows] for values, rows in compared.places.items()}, keys)
    counts = Counter(labels_of(Runs(study.frame).frame).tolist())
    question = "Why?" if "over_last" in table else "What became of the runs?"
    answer, figures = in_words(compared, table, counts), gradients(conclusive(compared.runs), keys)
    if keys[-1] == "optimizer":  # the gradients of a cell are those of each of its optimizers
        shares = table.pivot_table("share_that_learns", cells := keys[:-1], "optimizer").add_prefix("learn_with_")
        kept = {key: "first" if key in GRADIENTS else "sum" for key in (*GRADIENTS, *LABELS) if key in table}
        table = shares.join(table.groupby(cells).agg(kept)).reset_index()
    return Section("why", question, answer, figures, table, NOTE)


def in_words(compared: Comparison, table: pd.DataFrame, counts: Counter[str]) -> str:
    """Return which settings learn, where the gradient vanishes, and what became of the runs."""
    keys, percent = compared.factors, 100 * table["share_that_learns"]
    names = [named(keys, row) for row in table[keys].to_numpy()]
    columns: dict[str, Any] = {"optimizer": compared.runs["optimizer"].iloc[0], **table}
    table = pd.DataFrame({**columns, "setting": names, "percent": percent})
    low = table.loc[percent <= 20, "setting"].tolist()
    few = f" and at most 20 % in {len(low)} ({'such as ' * (len(low) > 1)}{low[0]})" if low else ""
    high = f"at least 80 % in {(percent >= 80).sum()} of {len(table)} settings{few}"
    means = {key: table.groupby(key)["percent"].mean().dropna().sort_values() for key in keys}
    most = max(keys, key=lambda key: float(np.ptp(means[key])))
    if np.ptp(means[most]) > 100 * VANISHES and len(table) == np.prod([len(found) for found in means.values()]):
        (low_name, least), *_, (name, largest) = means[most].items()
        high += f"; the {label(most)} decides most: from {least:.0f} % ({low_name}) to {largest:.0f} % ({name})"
    n, n_runs = len(compared.runs), sum(counts.values())
    some = f" ({n:,} of {n_runs:,} runs)" if n < n_runs else ""
    learned = high if len(table) > 1 else f"{percent[0]:.0f} %"
    why = mechanism(table, [key for key in keys if key != "optimizer"]) if "over_last" in table else []
    became = listed(f"{n:,} {name}" for name, n in counts.most_common())
    became = became.replace(LABELS[-2], f"{LABELS[-2]} in training loss")
    sentences = (f"{compared.context} share of runs that learn{some} is {learned}.", *why)
    return " ".join([*sentences, f"Labels of all {counted(n_runs, 'run')}: {became}."])


def mechanism(table: pd.DataFrame, cells: Sequence[str]) -> list[str]:
    """Return in sentences where the gradient vanishes, and with which optimizers fewer runs learn where it is small."""
    table = table.dropna(subset="over_last")  # not where no run has recorded gradients
    least = table.groupby(cells[0])["over_last"].min().nsmallest(MOST_NAMED)
    ratios = listed(f"{ratio:.2g} with {name}" for name, ratio in least.items())
    vanishing = listed(least.index[least < VANISHES])
    settings = table[[*cells]]
    smallest = settings.iloc[int(table["over_last"].argmin())]
    there = table[(settings == smallest).all(axis=1)]
    learn = [f"{share:.0f} % with {listed(of)}" for share, of in there.groupby(there["percent"].round())["optimizer"]]
    by_optimizer = table.groupby("optimizer")
    table = table.assign(is_small=by_optimizer["first_gradient"].rank(pct=True) <= 0.5)
    shares = table[by_optimizer["percent"].transform("count") >= 3].pivot_table("percent", "optimizer", "is_small")
    shares = shares.reindex(columns=[False, True]).dropna()
    found: dict[str, list[str]] = {"lower": [], "about the same or higher": []}
    for name, large, small in shares.itertuples():
        found[[*found][large - small <= 100 * VANISHES]].append(f"{name} ({small:.0f} against {large:.0f} %)")
    parts = ", ".join(f"{how} with {listed(names)}" for how, names in found.items() if names)
    return [
        "Before the first update, the ratio of the first layer's gradient to the last layer's is at its smallest "
        f"{ratios}: it {f'vanishes with {vanishing}' if vanishing else 'does not vanish'}.",
        f"In the setting with the smallest ratio ({named(cells, smallest)}), the runs that learn are {listed(learn)}.",
        *([f"{SMALL} {parts}."] if parts else []),
    ]


def named(keys: Sequence[str], values: Iterable[str]) -> str:
    """Return the values of settings, with the name of the setting where a value is a number or none."""
    found = zip(map(label, keys), values, strict=True)
    return ", ".join(of if of.isidentifier() and of != "none" else f"{key} {of}" for key, of in found)


@debug_mode(False)
def gradients(runs: pd.DataFrame, keys: Sequence[str]) -> dict[str, Figure]:
    """Return the figures of gradient norms, a line for each value of the first key, a chart for those of the others."""
    norms, figures = norm_columns(runs), dict[str, Figure]()
    runs = runs.assign(layers=[*runs[norms].to_numpy(float)])
    curve, layer = f"{DIAGNOSTICS}gradient_norm/layer1", f"layer ({len(norms)}: the logit)"
    kinds = {
        "layers": ("by layer, before the first update", layer, "layers", [key for key in keys if key != "optimizer"]),
        "epochs": ("of the first layer, after each epoch", "epoch", curve, keys),
    }
    for kind, (title, x_title, column, cells) in kinds.items() if norms else ():
        if column not in runs:
            continue
        parts = []
        for values, some in runs.groupby([*(cells or keys)], sort=False, dropna=False):
            logs = np.log10(np.maximum(aligned(some[column]), LEAST_NORM))
            x, (line, *rest) = evenly_spaced(logs.shape[1], MAX_EPOCHS), map(value_text, values)
            low, middle, high = quantiles(logs[:, x], (BAND[0], 0.5, BAND[1]))
            numbers = {"x": x + 1, "mean": middle, "low": low, "high": high}
            parts.append(pd.DataFrame({"line": line, "panel": named(cells[1:], rest), **numbers}).dropna())
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
        figures[f"why_{kind}"] = Figure(f"Gradient norm {title}", caption, charts)
    return figures
