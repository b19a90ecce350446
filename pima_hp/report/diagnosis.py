"""The section of diagnostics: why do some networks learn and others not, and what became of the runs?"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from altair.utils.schemapi import debug_mode

from pima_hp.analysis.curves import aligned
from pima_hp.analysis.labels import GRADIENTS, LABELS, by_setting, labels_of, norm_columns
from pima_hp.analysis.selection import Runs, conclusive
from pima_hp.formatting import counted, label, listed, value_text
from pima_hp.ledger import mean, quantiles
from pima_hp.report.charts import Figure, lines, looks_of
from pima_hp.report.comparable import comparable, evenly_spaced
from pima_hp.report.figures import MAX_EPOCHS
from pima_hp.report.sections import Section
from pima_hp.report.study import Study
from pima_hp.run import DIAGNOSTICS

RESCUES = ("activation", "model.initialization", "data.scaling", "optimizer")
"""The settings that decide how large gradients are, and whether small ones matter."""

VANISHES = 0.1
"""The gradient of the first layer vanishes where it is below this part of the last layer's."""

MAX_PANELS, MOST_NAMED = 8, 5
NOTE = (
    "Learns: mean loss of the last 20 epochs more than 0.02 nats below the entropy of the labels; plateau: first epoch "
    "with such a loss. Gradient: Frobenius norm by the first layer's weights before the first update, geometric mean "
    "over runs; over last, over relu: as a ratio to the last layer's, to ReLU's. Label: the first that applies of "
    "diverged, dead (each unit of a ReLU layer is 0 on all rows), saturated (does not learn, most outputs of a layer "
    "near their ends), collapsed (does not learn, its accuracy is the majority's), still improving (its loss falls "
    "beyond its noise in the last 20 epochs), settled. Dead and saturated need diagnostics=epochs."
)


def diagnosis_section(study: Study) -> Section | None:
    """Return the section, without figures where no run has recorded gradients; None where no run has ended."""
    keys = [key for key in RESCUES if key in study.factors] or study.factors[:2] or ["activation"]
    if conclusive(study.frame).empty or conclusive((compared := comparable(study.frame, keys)).runs).empty:
        return None
    table = by_setting(compared.by_values, keys)
    counts = Counter(labels_of(Runs(study.frame).frame).tolist())
    question = "Why?" if "over_last" in table else "What became of the runs?"
    answer, figures = in_words(table, keys, counts), gradients(conclusive(compared.runs), keys)
    if (cells := keys[:-1]) and keys[-1] == "optimizer":  # the gradients of a cell are those of each of its optimizers
        shares = table.pivot_table("share_that_learns", cells, "optimizer").add_prefix("learn_with_")
        kept = {key: "first" if key in GRADIENTS else "sum" for key in (*GRADIENTS, *LABELS) if key in table}
        table = shares.join(table.groupby(cells).agg(kept)).reset_index()
    return Section("why", question, answer, figures, table, NOTE)


def in_words(table: pd.DataFrame, keys: Sequence[str], counts: Counter[str]) -> str:
    """Return where the gradient vanishes, which settings learn, and what became of the runs."""
    share, sentences = table["share_that_learns"], list[str]()
    if "over_last" in table:
        least = table.groupby(keys[0])["over_last"].min().nsmallest(MOST_NAMED)
        ratios = listed(f"{ratio:.2g} with {name}" for name, ratio in least.items())
        vanishing = listed(least.index[least < VANISHES])
        sentences.append(
            "Before the first update, the gradient of the first layer relative to the last is, where it is smallest, "
            f"{ratios}: it {f'vanishes with {vanishing}' if vanishing else 'does not vanish'}."
        )
    low = [", ".join(row) for row in table.loc[share <= 0.2, keys].to_numpy()]
    few = f"; at most 20 % learn in {len(low)}, such as {low[0]}" if low else ""
    learned = f"At least 80 % of the runs learn in {(share >= 0.8).sum()} of {len(table)} settings{few}."
    sentences.append(learned if len(table) > 1 else f"{100 * share[0]:.0f} % of the runs learn.")
    means = {key: table.groupby(key)["share_that_learns"].mean().dropna().sort_values() for key in keys}
    most = max(keys, key=lambda key: float(np.ptp(means[key])))
    if np.ptp(means[most]) > VANISHES and len(table) == np.prod([len(found) for found in means.values()]):
        (low_name, least_share), *_, (name, most_share) = means[most].items()
        learn = f"from {100 * least_share:.0f} % ({low_name}) to {100 * most_share:.0f} % ({name}) learn"
        sentences.append(f"The {label(most)} decides most: {learn}.")
    became = listed(f"{n:,} {name}" for name, n in counts.most_common())
    return " ".join([*sentences, f"Labels of {counted(sum(counts.values()), 'run')}: {became}."])


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
            logs = np.log10(np.maximum(aligned(some[column]), np.finfo(float).tiny))
            x, (line, *rest) = evenly_spaced(logs.shape[1], MAX_EPOCHS), map(value_text, values)
            low, high = quantiles(logs[:, x])
            named = zip(map(label, cells[1:]), rest, strict=False)
            panel = ", ".join(of if of.isidentifier() and of != "none" else f"{key} {of}" for key, of in named)
            numbers = {"x": x + 1, "mean": mean(logs[:, x]), "low": low, "high": high}
            parts.append(pd.DataFrame({"line": line, "panel": panel, **numbers}).dropna())
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
            "Lines: geometric mean over runs; bands: 5-95 % of single runs. Gradient: of the mean loss of all training "
            f"rows by a layer's weights. {counted(len(runs), 'run')}{left_out}."
        )
        figures[f"why_{kind}"] = Figure(f"Gradient norm {title}", caption, charts)
    return figures
