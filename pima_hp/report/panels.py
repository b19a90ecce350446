"""What figures are made of: points of curves, one panel, panels together under a title and a caption."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from pima_hp.analysis import curves
from pima_hp.report import style
from pima_hp.report.settings import literal

MAX_POINTS = 250
"""Epochs drawn of a curve; a longer one is drawn at so many evenly spaced epochs (pixels are 180 to 640)."""

MAX_ROWS = 5000
"""Altair refuses a larger table of points in one panel."""

Point = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """What the panels of a figure share.

    Attributes:
        lines: name in the legend -> colour and dash.
        n_epochs: end of the epoch axis.
        accuracy_range: ends of the accuracy axis.
        majority: accuracy of always predicting the more frequent class; None for no line.
        legend_title: above the names, at the right; without one the legend is a row on top.
    """

    lines: Mapping[str, style.Slot]
    n_epochs: int
    accuracy_range: tuple[float, float]
    majority: float | None
    legend_title: str | None = None

    @property
    def slots(self) -> dict[str, style.Slot]:
        """Colour and dash of every line, that of the majority class included."""
        if self.majority is None:
            return dict(self.lines)
        return {**self.lines, majority_name(self.majority): (style.MAJORITY_COLOUR, style.MAJORITY_DASH)}


def majority_name(majority: float) -> str:
    """The line's name in the legend."""
    return f"always the majority class ({majority:.3f})"


def points(runs: pd.DataFrame, names: Mapping[str, str], *, band: bool, max_points: int = MAX_POINTS) -> list[Point]:
    """What is drawn of some runs: one point for each curve (column -> name) and epoch that has a value."""
    drawn_points = []
    for column, name in names.items():
        table = curves.aligned(runs[column])  # (R, E)
        n_epochs = table.shape[1]
        drawn = np.unique(np.linspace(0, n_epochs - 1, min(n_epochs, max_points)).round().astype(int))
        table = table[:, drawn]
        low, high = curves.quantile_band(table)
        for epoch, *values in zip(drawn + 1, curves.mean(table), low, high, strict=True):
            if math.isfinite(values[0]):
                # a page holds thousands of these numbers; one row of 768 is 0.0013
                mean, bottom, top = (round(float(value), 6) for value in values)
                spread = {"low": bottom, "high": top} if band and len(runs) > 1 else {}
                drawn_points.append({"line": name, "epoch": int(epoch), "mean": mean, **spread})
    return drawn_points


def accuracy_range(all_points: Sequence[Point], majority: float | None) -> tuple[float, float]:
    """Ends of an axis that holds all points and the majority line: whole twentieths, within 0 and 1."""
    heights = [point[key] for point in all_points for key in ("mean", "low", "high") if key in point]
    heights += [] if majority is None else [majority]
    low, high = min(heights, default=0.0), max(heights, default=1.0)
    return max(0.0, math.floor(low * 20 - 0.2) / 20), min(1.0, math.ceil(high * 20 + 0.2) / 20)


def panel(shown: list[Point], scene: Scene, title: alt.TitleParams, *, y_title: bool) -> alt.LayerChart:
    """Bands below, then the majority line, then mean lines."""
    slots = scene.slots
    domain = list(slots)
    colours = alt.Scale(domain=domain, range=[colour for colour, _ in slots.values()])
    dashes = alt.Scale(domain=domain, range=[list(dash) for _, dash in slots.values()])
    legend = (
        alt.Legend(title=scene.legend_title, orient="right")
        if scene.legend_title
        else alt.Legend(title=None, orient="top", direction="horizontal")
    )
    colour = alt.Color("line:N", scale=colours, legend=legend)
    dash = alt.StrokeDash("line:N", scale=dashes, legend=legend)

    def y(field: str) -> alt.Y:
        axis_title = "accuracy (fraction of rows)" if y_title else None
        axis = alt.Axis(format=".2f", tickCount=6)
        return alt.Y(
            f"{field}:Q",
            title=axis_title,
            axis=axis,
            scale=alt.Scale(domain=scene.accuracy_range, nice=False),
        )

    x = alt.X(
        "epoch:Q",
        title="epoch",
        axis=alt.Axis(grid=False, values=_epoch_ticks(scene.n_epochs), format="d"),
        scale=alt.Scale(domain=[1, max(scene.n_epochs, 2)], nice=False),
    )
    base = alt.Chart(pd.DataFrame(shown))
    layers: list[alt.Chart] = []
    # Bands and dots of one line each: sharing the lines' colour scale would put areas into the legend.
    apart = [
        (base.transform_filter(alt.FieldEqualPredicate(field="line", equal=name)), own_colour)
        for name, (own_colour, _) in scene.lines.items()
    ]
    has_band = any("low" in point for point in shown)
    if has_band:
        for one, own_colour in apart:
            area = one.mark_area(opacity=style.BAND_OPACITY, color=own_colour)
            layers.append(area.encode(x, y("low"), alt.Y2("high")))
    if scene.majority is not None:
        level = alt.Chart(pd.DataFrame([{"line": majority_name(scene.majority), "mean": scene.majority}]))
        layers.append(level.mark_rule(strokeWidth=1.4).encode(y("mean"), colour, dash))
    if shown:
        tooltip = ["line:N", "epoch:Q", "mean:Q", *(["low:Q", "high:Q"] if has_band else [])]
        line = base.mark_line(strokeWidth=style.LINE_WIDTH)
        layers.append(line.encode(x, y("mean"), colour, dash, tooltip=tooltip))
        if len({point["epoch"] for point in shown}) == 1:  # a line through one point is invisible
            for one, own_colour in apart:
                layers.append(one.mark_circle(size=45, opacity=1, color=own_colour).encode(x, y("mean")))
    else:
        middle = {"epoch": scene.n_epochs / 2, "mean": sum(scene.accuracy_range) / 2}
        note = alt.Chart(pd.DataFrame([middle])).mark_text(color=style.GREY, baseline="bottom", dy=-3)
        layers.append(note.encode(x, y("mean"), text=alt.value("no run has a value")))
    layered: alt.LayerChart = alt.layer(*layers).properties(title=title)  # type: ignore[assignment]
    return layered


def figure(panels: Sequence[alt.LayerChart], n_columns: int, title: str, caption: Sequence[str]) -> alt.ConcatChart:
    """Panels in rows under the title and the caption, which is wrapped to the figure's width."""
    width, height = style.panel_size(n_columns)
    lines = [line for text in caption if text for line in textwrap.wrap(text, style.CAPTION_CHARACTERS)]
    sized = [single.properties(width=width, height=height) for single in panels]
    chart = alt.concat(*sized, columns=n_columns).resolve_scale(color="shared", strokeDash="shared")
    heading = alt.TitleParams(literal(title, 100), subtitle=lines)
    complete: alt.ConcatChart = chart.properties(title=heading).configure(**style.CONFIG)
    return complete


def _epoch_ticks(n_epochs: int) -> list[int]:
    """The first epoch and about five round ones."""
    magnitude = 10 ** max(0, len(str(n_epochs)) - 2)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if n_epochs <= 5 * step * magnitude) * magnitude
    return sorted({1, *range(step, n_epochs + 1, step)})
