"""The section of diagnostics: why do some networks learn and others not, and what became of the runs?"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from altair.utils.schemapi import debug_mode

from pima_hp.analysis.curves import aligned
from pima_hp.analysis.labels import NORM, by_setting, labels_of
from pima_hp.analysis.selection import Runs, Settings, conclusive, differing
from pima_hp.formatting import counted, label, listed, value_text
from pima_hp.ledger import mean, quantiles
from pima_hp.report.charts import Figure, lines, looks_of
from pima_hp.report.comparable import Comparison, comparable, evenly_spaced
from pima_hp.report.figures import MAX_EPOCHS
from pima_hp.report.sections import Section
from pima_hp.report.study import Study
from pima_hp.run import DIAGNOSTICS, Array

RESCUES = ("activation", "model.initialization", "data.scaling", "optimizer")
"""The settings that decide how large gradients are, and whether small ones matter."""

VANISHES = 0.1
"""The gradient of the first layer vanishes where it is below this part of the last layer's."""

MAX_PANELS = 8
NOTE = (
    "Learns: mean training loss over the last 20 epochs more than 0.02 nats below the entropy of the labels; plateau: "
    "first epoch with a loss below that. Gradient: Frobenius norm of the gradient of the mean training loss by the "
    "weights of the first layer before the first update, geometric mean over runs (Glorot, Bengio 2010); over last: as "
    "a ratio to the last layer's; over relu: to that of ReLU under the same other settings. Labels, the first that "
    "applies: diverged; dead (all units of a ReLU layer are 0 on all rows); saturated (does not learn, more than half "
    "of the outputs of a layer near their ends); collapsed to the majority (does not learn, and the accuracy of the "
    "last 20 epochs is the majority's); still improving (the fall of the last 20 losses exceeds twice their scatter, "
    "and 0.001 nats); settled. Dead and saturated need diagnostics=epochs."
)


def diagnosis(study: Study) -> Section | None:
    """Return the section, without figures where no run has recorded gradients; None where no run has ended."""
    keys = [key for key in RESCUES if key in study.factors] or study.factors[:2] or ["activation"]
    if conclusive(study.frame).empty or conclusive((compared := comparable(study.frame, keys)).runs).empty:
        return None
    table = by_setting(compared.by_values, keys)
    counts = Counter(labels_of(Runs(study.frame).frame).tolist())
    question = "Why?" if "over_last" in table else "What became of the runs?"
    return Section("why", question, in_words(table, keys, counts), gradients(compared), table, NOTE)


def in_words(table: pd.DataFrame, keys: Sequence[str], counts: Counter[str]) -> str:
    """Return where the gradient vanishes, which settings learn, and what became of the runs."""
    sentences, share, first = [], table["share_that_learns"], keys[0]
    names = [named(dict(zip(keys[1:], cell, strict=True))) for cell in table[keys[1:]].to_numpy()]
    if "over_last" in table:
        n_differing = [len(differing(dict(zip(keys[1:], cell, strict=True)))) for cell in table[keys[1:]].to_numpy()]
        where = names[int(np.argmin(n_differing))]
        rows = table[[name == where for name in names]].set_index(first)
        ratios = listed(f"{ratio:.2g} with {name}" for name, ratio in rows["over_last"].items())
        vanishing = listed(rows.index[rows["over_last"] < VANISHES])
        sentences.append(
            f"Before the first update, the gradient of the first layer relative to the last is {ratios}: it "
            f"{f'vanishes with {vanishing}' if vanishing else 'does not vanish'}{f' ({where})' if where else ''}."
        )
        if "over_relu" in rows and len(others := rows["over_relu"].drop("relu", errors="ignore")):
            of_relu = listed(f"{ratio:.2g} times with {name}" for name, ratio in others.items())
            sentences.append(f"Relative to that of relu it is {of_relu}.")
    low = [", ".join(row) for row in table.loc[share <= 0.2, keys].to_numpy()]
    few = f"; at most 20 % learn in {len(low)}, such as {low[0]}" if low else ""
    learned = f"in {(share >= 0.8).sum()} of {counted(len(table), 'setting')}"
    sentences.append(f"At least 80 % of the runs learn {learned}{few}.")
    means = {key: table.groupby(key, sort=False)["share_that_learns"].mean() for key in keys}
    most = max(means, key=lambda key: float(np.ptp(means[key])))
    if np.ptp(means[most]) > VANISHES:
        found = listed(f"{100 * of:.0f} % with {name}" for name, of in means[most].items())
        sentences.append(f"The {label(most)} decides most: {found} learn.")
    became = listed(f"{n:,} {name}" for name, n in counts.most_common())
    return " ".join([*sentences, f"Labels of {counted(sum(counts.values()), 'run')}: {became}."])


def named(cell: Settings) -> str:
    """Return settings as a reader would say them: `glorot_uniform, scaling none`."""
    plain = ("activation", "model.initialization", "optimizer")
    return ", ".join(f"{'' if key in plain else f'{label(key)} '}{value}" for key, value in cell.items())


@debug_mode(False)
def gradients(compared: Comparison) -> dict[str, Figure]:
    """Return the figures of gradient norms: by layer before the first update, and of the first layer by epoch."""
    runs, (line, *others), figures = conclusive(compared.runs), compared.factors, dict[str, Figure]()
    norms = [key for layer in range(1, 18) if (key := f"{NORM}{layer}") in runs]
    if norms:
        rest, x_title = [key for key in others if key != "optimizer"], f"layer ({len(norms)}: the logit)"
        title = "Gradient norm by layer, before the first update"
        figures["why_layers"] = _figure(title, x_title, runs, line, rest, lambda some: some[norms].to_numpy(float))
    if (curve := f"{DIAGNOSTICS}gradient_norm/layer1") in runs:
        title = "Gradient norm of the first layer, after each epoch"
        figures["why_epochs"] = _figure(title, "epoch", runs, line, others, lambda some: aligned(some[curve]))
    return figures


def _figure(
    title: str, x_title: str, runs: pd.DataFrame, line: str, others: Sequence[str], of: Callable[[pd.DataFrame], Array]
) -> Figure:
    """Draw the logarithms of numbers (R, X) of some runs: a line for each value of a factor, a chart for the others."""
    parts = []
    for (name, *rest), some in runs.groupby([line, *others], sort=False, dropna=False):
        logs = np.log10(np.maximum(of(some), np.finfo(float).tiny))
        drawn = evenly_spaced(logs.shape[1], MAX_EPOCHS)
        low, high = quantiles(logs[:, drawn])
        panel = named(dict(zip(others, map(value_text, rest), strict=True)))
        numbers = {"x": drawn + 1, "mean": mean(logs[:, drawn]), "low": low, "high": high}
        parts.append(pd.DataFrame({"line": value_text(name), "panel": panel, **numbers}).dropna())
    points, panels = pd.concat(parts), list(dict.fromkeys(part["panel"].iloc[0] for part in parts if len(part)))
    axes = {
        x_title: (1.0, max(2.0, points["x"].max())),
        "gradient norm (nats)": (np.floor(points["low"].min()), np.ceil(points["high"].max())),
    }
    looks = looks_of(sorted(set(points["line"])))
    charts = [
        lines(points[points["panel"] == panel], looks, axes, title=panel, size=(215, 190), decades=True)
        for panel in panels[:MAX_PANELS]
    ]
    left_out = f" Drawn: {len(charts)} of {len(panels)} combinations." if len(panels) > len(charts) else ""
    caption = (
        f"Lines: geometric mean over runs; bands: 5-95 % of single runs; {counted(len(runs), 'run')}. The norm is that "
        f"of the gradient of the mean loss of all training rows by the weights of a layer.{left_out}"
    )
    return Figure(title, caption, charts)
