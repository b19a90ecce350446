"""One function a figure: the runs of a study in, a Vega-Lite chart with its title and caption out."""

import json
import math
import re
import textwrap
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import vl_convert

from pima_hp.analysis import curves
from pima_hp.analysis.bootstrap import Share, bootstrap
from pima_hp.analysis.selection import SEEDS, baseline
from pima_hp.record import Array
from pima_hp.report import panels, style
from pima_hp.report.panels import Row, Spec
from pima_hp.report.settings import Comparison, comparable, display_names, fixed_sentence, label, literal, value_text, watched_rows

MAX_EPOCHS = 120
"""Epochs drawn of a curve; a longer one is drawn at so many evenly spaced ones."""


@dataclass(frozen=True)
class Figure:
    """A chart, and what stands above and below it.

    Attributes:
        title: what it shows, in a few words.
        caption: sentences: how many replicates, what the marks are, what is missing, fixed, left out.
        spec: the chart, Vega-Lite; with layers that answer a pointer.
    """

    title: str
    caption: list[str]
    spec: Spec

    def svg(self) -> str:
        """The chart alone, still; circles and numbers written shorter than Vega does."""
        text: str = vl_convert.vegalite_to_svg(panels.still(self.spec))
        text = re.sub(r' (?:transform|d)="[^"]*"', lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), text)
        return re.sub(r'<path (?:aria-hidden="true" )?transform="translate\(([-\d.]+),([-\d.]+)\)" d="M([\d.]+),0A[^"]*"',
                      r'<circle cx="\1" cy="\2" r="\3"', text)  # fmt: skip

    def framed(self, svg: str) -> str:
        """The chart under its title and above its caption, on white: a picture that stands alone."""
        width, height = (float(svg.split(f' {key}="')[1].split('"')[0]) for key in ("width", "height"))
        width = max(width, 560)
        sentences = textwrap.wrap(" ".join(self.caption), int(width / 5.6))
        lines = [f'<text x="8" y="{height + 52 + 15 * n}" font-size="11.5">{escape(line)}</text>' for n, line in enumerate(sentences)]
        whole = height + 52 + 15 * len(lines)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{whole}" viewBox="0 0 {width} {whole}" '
            f'font-family="{style.FONT}" fill="{style.INK}"><rect width="{width}" height="{whole}" fill="#ffffff"/>'
            f'<text x="8" y="24" font-size="16" font-weight="bold">{escape(literal(self.title, 70))}</text>'
            f'<svg x="4" y="34" width="{width}" height="{height}">{svg}</svg>{"".join(lines)}</svg>\n'
        )


@dataclass(frozen=True)
class Quantity:
    """A number of a run, for `spreads`.

    Attributes:
        name: with its unit, as an axis has it.
        column: the curve.
        functional: (R, E) -> (R,).
        level: a reference that runs are held against.
        told: what the level is.
        log: whether values are compared by their ratio.
    """

    name: str
    column: str
    functional: Callable[[Array], Array]
    level: float | None = None
    told: str = ""
    log: bool = False


def learning_curves(frame: pd.DataFrame, factor: str, *, majority: float | None = None) -> Figure:
    """Accuracy against epoch, a panel a value: training and watched rows, mean and 5-95 % band.

    Args:
        frame: one row a run; of the other settings one combination is drawn (see `comparable`).
        factor: the setting that differs between panels (`batch.size`).
        majority: accuracy of always predicting the more frequent class, a dashed line.
    """
    comparison = comparable(frame, [factor])
    levels = comparison.levels(factor)
    watched = watched_rows(comparison)
    names = {"train/accuracy": "training (running)", "val/accuracy": watched}
    colours = dict(zip(names.values(), (style.TRAINING_COLOUR, style.WATCHED_COLOUR), strict=True))
    shown = {value: [p for key, name in names.items() for p in _points(runs[key], name)] for value, runs in levels.items()}
    ends, cut = _ends([point for points in shown.values() for point in points], majority)
    n_columns, width, height = style.columns_and_size(len(levels))
    n_epochs = max(np.size(curve) for runs in levels.values() for key in names for curve in runs[key])
    parts = []
    for index, (value, name) in enumerate(display_names(levels).items()):
        some = {"data": {"values": shown[value]}} if shown[value] else {}
        title = {"text": f"{label(factor)} {name}", "limit": width}
        if missing := _missing(levels[value]) or ("no run has a value" if not some else ""):
            title["subtitle"] = missing
        panel = panels.curves_panel(shown[value], colours, ends, n_epochs, majority)
        if index % n_columns:
            _without_y_title(panel)
        parts.append({**panel, "width": width, "height": height, "title": title})
    sentence = "Lines: mean over replicates; bands: 5-95 % of single runs."
    single = "Lines: a single run each, so there is no band."
    several = max(map(len, levels.values())) > 1
    dashed = [] if majority is None else [f"Dashed: always predicting the majority class ({majority:.3f})."]
    thinned = [f"Drawn at {MAX_EPOCHS} evenly spaced epochs."] if n_epochs > MAX_EPOCHS else []
    thinned += [f"Not shown: values below {ends[0]:.2f} in the first epochs."] if cut else []
    caption = [*_counts(comparison, factor), sentence if several else single, *dashed, *thinned, *_context(comparison, factor)]
    return Figure(f"Accuracy on training and {watched} rows, by {label(factor)}", caption, _whole(parts, n_columns))


def waiting_times(frame: pd.DataFrame, factor: str, threshold: float, *, strictly: bool = False) -> Figure:
    """Share of runs whose training accuracy has not yet reached a threshold, against epoch: survival curves.

    Args:
        frame: one row a run, as in `learning_curves`.
        factor: a line a value.
        threshold: training accuracy (running).
        strictly: whether the threshold must be exceeded, not only reached.
    """
    comparison = comparable(frame, [factor])
    levels = comparison.levels(factor)
    names = display_names(levels)
    bound = float(np.nextafter(threshold, np.inf)) if strictly else threshold
    points, n_epochs = [], 1
    for value, runs in levels.items():
        trained = runs[runs["status"] != "failed"]
        table = curves.aligned(trained["train/accuracy"])  # (R, E)
        n_epochs = max(n_epochs, table.shape[1])
        first = curves.first_epoch_reaching(table, bound)
        for epoch in [0, *(_drawn(table.shape[1]) + 1).tolist()] if len(table) else []:
            waiting = Share(float((first > epoch).sum()), len(first))
            low, high = waiting.interval()
            shares = {"share": waiting.estimate, "low": low, "high": high}
            points.append({"line": names[value], "epoch": epoch, **{key: round(item, 4) for key, item in shares.items()}})
    slots = {names[value]: slot for value, slot in style.slots(levels).items()}
    drawn = {name: slots[name] for name in names.values()}
    verb = "exceeded" if strictly else "reached"
    panel = panels.waiting_panel(points, drawn, n_epochs, f"share of runs that have not {verb} {threshold:.2f}")
    _, width, height = style.columns_and_size(1)
    what = "Survival curves: a run leaves at the first epoch whose running training accuracy has "
    sentences = [f"{what}{verb} {threshold:.2f}; a run that diverged never does.", "Bands: 95 % intervals (Wilson)."]
    caption = [*_counts(comparison, factor), *sentences, *_context(comparison, factor)]
    return Figure(f"Epochs until training accuracy has {verb} {threshold:.2f}, by {label(factor)}", caption,
                  _whole([{**panel, "width": width, "height": height}], 1))  # fmt: skip


def spreads(frame: pd.DataFrame, factor: str, quantities: Sequence[Quantity], title: str) -> Figure:
    """Single runs by value, and beside them their paired differences from the baseline's value.

    Args:
        frame: one row a run, as in `learning_curves`.
        factor: a row a value.
        quantities: a row of panels each.
        title: what the quantities are.
    """
    comparison = comparable(frame, [factor])
    levels = comparison.levels(factor)
    names, slots = display_names(levels), style.slots(levels)
    usual = value_text(baseline().get(factor))
    reference = usual if usual in levels else next(iter(levels))
    _, width, _ = style.columns_and_size(2)
    parts = []
    for quantity in quantities:
        of = {value: _values(runs, quantity) for value, runs in levels.items()}
        inverse: Callable[[Any], Any] = np.exp if quantity.log else lambda item: item
        paired = {value: (found - of[reference]).dropna() for value, found in of.items() if value != reference}
        for shown, x_title, level in [
            (of, quantity.name, quantity.level),
            (paired, f"{'ratio' if quantity.log else 'difference'} to {names[reference]}, same seed", float(inverse(0.0))),
        ]:
            rows = [_row(names[value], slots[value], found.dropna(), inverse, f"{quantity.name}/{x_title}") for value, found in shown.items()]
            panel = panels.strips_panel(rows, x_title, level=level, log=quantity.log)
            if rows:
                parts.append({**panel, "width": width + 5})
    logs = any(item.log for item in quantities)
    caption = [*_counts(comparison, factor),
               f"Dots: single runs; bar: {'geometric ' if logs else ''}mean and its 95 % interval (bootstrap over seeds).",
               f"Right: the {'ratio to' if logs else 'difference from'} {label(factor)} {names[reference]} under the same seed.",
               *[f"Dashed on the left: {item.told or f'{item.level:.3f}'}." for item in quantities if item.level is not None],
               *_context(comparison, factor)]  # fmt: skip
    return Figure(f"{title}, by {label(factor)}", caption, _whole(parts, 2))


def _points(runs: "pd.Series[Any]", name: str) -> list[Spec]:
    """What is drawn of some curves: a point for each epoch that has a value."""
    table = curves.aligned(runs)  # (R, E)
    drawn = _drawn(table.shape[1])
    low, high = curves.quantile_band(table[:, drawn])
    points = []
    for epoch, *values in zip((drawn + 1).tolist(), curves.mean(table[:, drawn]), low, high, strict=True):
        if math.isfinite(values[0]):
            mean, bottom, top = (round(float(value), 4) for value in values)  # one row of 614 is 0.0016
            points.append({"line": name, "epoch": epoch, "mean": mean} | ({"low": bottom, "high": top} if len(runs) > 1 else {}))
    return points


def _ends(points: Sequence[Spec], majority: float | None) -> tuple[tuple[float, float], bool]:
    """Ends of the accuracy axis, whole twentieths; what only the first twentieth of epochs has may fall below."""
    last = max((point["epoch"] for point in points), default=1)
    heights = [(point["epoch"] > last / 20, point[key]) for point in points for key in ("mean", "low", "high") if key in point]
    heights += [] if majority is None else [(True, majority)]
    low, high = min((item for late, item in heights if late), default=0.0), max((item for _, item in heights), default=1.0)
    ends = max(0.0, math.floor(low * 20 - 0.2) / 20), min(1.0, math.ceil(high * 20 + 0.2) / 20)
    return ends, any(item < ends[0] for _, item in heights)


def _drawn(n_epochs: int) -> Any:
    return np.unique(np.linspace(0, max(0, n_epochs - 1), min(n_epochs, MAX_EPOCHS)).round().astype(int))


def _values(runs: pd.DataFrame, quantity: Quantity) -> "pd.Series[float]":
    """The number of each run by its seeds; NaN for one that diverged; none for one that failed."""
    trained = runs[runs["status"] != "failed"]
    numbers = quantity.functional(curves.aligned(trained[quantity.column])) if len(trained) else np.empty(0)
    return pd.Series(numbers, index=list(map(tuple, trained[SEEDS].to_numpy().tolist())), dtype=float)


def _row(name: str, slot: style.Slot, values: "pd.Series[float]", inverse: Callable[[Any], Any], what: str) -> Row:
    array = values.to_numpy()
    if len(array) < 2:
        mean = float(inverse(array[0])) if len(array) else math.nan
        return Row(name, slot, inverse(array), mean, mean, mean)
    found = bootstrap(array, np.random.default_rng(zlib.crc32(f"{name}/{what}".encode(errors="replace"))), 2_000)
    return Row(name, slot, inverse(array), *(float(inverse(item)) for item in (found.estimate, *found.interval())))


def _whole(parts: Sequence[Spec], n_columns: int) -> Spec:
    schema = "https://vega.github.io/schema/vega-lite/v6.json"
    apart = ["x", "y", "yOffset", *([] if "line" in str(parts[0]["layer"][-1]["encoding"]) else ["color"])]
    resolve = {"scale": dict.fromkeys(apart, "independent")}
    config = json.loads(json.dumps(style.CONFIG))
    return {"$schema": schema, "config": config, "columns": n_columns, "concat": list(parts), "resolve": resolve}


def _without_y_title(panel: Spec) -> None:
    for layer in panel["layer"]:
        if "title" in layer["encoding"].get("y", {}):
            layer["encoding"]["y"] = {**layer["encoding"]["y"], "title": None}


def _missing(runs: pd.DataFrame) -> str:
    """How many runs have no, or no whole, curve."""
    counts = {status: int((runs["status"] == status).sum()) for status in ("diverged", "failed")}
    return ", ".join(f"{n} of {len(runs)} {status}" for status, n in counts.items() if n)


def _counts(comparison: Comparison, factor: str) -> list[str]:
    sizes = [len(runs) for runs in comparison.levels(factor).values()]
    number = f"{max(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    missing = _missing(comparison.frame)
    told = [f"Missing: {missing}; a mean is over the runs that have a value."] if missing else []
    return [f"{number} replicate{'' if max(sizes) == 1 else 's'} a setting.", *told]


def _context(comparison: Comparison, factor: str) -> list[str]:
    """What is fixed and what is left out."""
    fixed = fixed_sentence(comparison, [factor])
    differing = ", ".join(label(key) for key in comparison.differing[:6])
    others = [f"Not drawn: {comparison.n_others} other combinations of {differing}."] if comparison.n_others else []
    return [*([f"Fixed: {fixed}."] if fixed else []), *others]

