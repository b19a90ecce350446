"""Panels in Altair, each rendered to a static SVG of its own, and a figure made of panels.

The page lays the panels out, so a figure fits a desktop, a phone and paper without a plotting library. Marks named
`hover` are invisible; their `aria-label` holds the text of the tooltip.
"""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from pima_hp.analysis.intervals import bootstrap
from pima_hp.formatting import interval_texts, shown
from pima_hp.report import style
from pima_hp.run import Array

Ends = tuple[float, float]
Points = Sequence[dict[str, Any]]
MAX_DOTS = 200
"""Single runs drawn of a value; of more, so many evenly spaced order statistics."""
ROW_HEIGHT = 36
INK = alt.Color("ink", type="nominal", scale=None)
TEXT = partial(alt.Text, type="nominal")
BAND: dict[str, Any] = {"fillOpacity": 0.13, "strokeOpacity": 0.6, "strokeWidth": 0.5, "aria": False}
DASHED: dict[str, Any] = {"strokeDash": [4, 4], "strokeWidth": 1.4, "opacity": 0.7}


@dataclass(frozen=True)
class Figure:
    """Panels as SVG, with a title and a caption."""

    title: str
    caption: str  # replicates, what marks mean, what is missing, fixed and left out
    panels: Sequence[str]

    def svg(self) -> str:
        """Return all panels on white, two in a row, under the title and above the caption: a picture of its own."""
        sizes = [
            [float(panel.split(f' {key}="')[1].split('"')[0]) for key in ("width", "height")] for panel in self.panels
        ]
        wide, high = np.max(sizes, axis=0)
        n_columns = min(2, len(sizes))
        width, bottom = max(560, wide * n_columns), 34 + high * math.ceil(len(sizes) / n_columns)
        parts = [f'<text x="8" y="24" font-size="16" font-weight="bold">{escape(shown(self.title, 70))}</text>']
        for place, panel in enumerate(self.panels):
            row, column = divmod(place, n_columns)
            parts.append(f'<svg x="{wide * column}" y="{34 + high * row}">{panel}</svg>')
        lines = textwrap.wrap(self.caption, int(width / 5.6))
        for row, line in enumerate(lines):
            parts.append(f'<text x="8" y="{bottom + 18 + 15 * row}" font-size="11.5">{escape(line)}</text>')
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom + 18 + 15 * len(lines)}" '
            f'font-family="{style.FONT}" color="#222222" fill="#222222">'
            f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
        )


def lines_panel(
    points: Points, y_title: str, ends: Ends, n_epochs: int, *,
    title: str = "", subtitle: str = "", majority: float | None = None, survival: bool = False,
) -> str:  # fmt: skip
    """Draw lines against the epoch with their bands, named at their ends.

    Args:
        points: `line`, `ink`, `dash`, `epoch`, `mean`, `low` and `high`.
        y_title: of the other axis.
        ends: of that axis.
        n_epochs: the end of the axis of epochs.
        title: of the panel.
        subtitle: how many runs are missing.
        majority: accuracy of the majority class, a dashed line.
        survival: whether the lines are steps from epoch 0, in a larger panel.
    """
    width, height = (400, 270) if survival else (165, 150)
    look = {"interpolate": "step-after" if survival else "linear"}
    first = 0 if survival else 1
    x = _axis(alt.X, "epoch", (first, max(n_epochs, first + 1)), grid=False, tickCount=5, tickMinStep=1)
    y = _axis(alt.Y, y_title, ends)
    marks = partial(_marks, points, x=x("epoch"), color=INK, detail=alt.Detail("line", type="nominal"))
    band = marks(y=y("low"), y2="high", stroke=alt.Stroke("ink", type="nominal", scale=None))
    line = marks(y=y("mean"), strokeDash=alt.StrokeDash("dash", type="nominal", scale=None))
    layers = [
        band.transform_filter("datum.mean < 1").mark_area(**BAND, **look),  # from the first run that leaves
        line.mark_line(strokeWidth=1.8, point=n_epochs == 1, **look),  # a line through one point is invisible
    ]
    last = {point["line"]: (point["epoch"], point["mean"], point["ink"]) for point in points}
    if majority is not None:
        layers.append(_marks([{"level": majority}], y=y("level")).mark_rule(**DASHED))
        last["majority"] = (n_epochs, majority, style.INK)
    chart = alt.layer(*layers, *_names(last, x, y, ends, 12 / height), _hover(points, x, width / n_epochs))
    heading = alt.Title(title, subtitle=subtitle, limit=250)
    return render(chart.properties(width=width, height=height, title=heading))


def strips_panel(
    values: Mapping[str, Array], colors: Sequence[str], x_title: str, level: float, level_name: str
) -> str:
    """Draw single runs as dots, a row a value, with their mean and its interval; the numbers stand in a column.

    Args:
        values: name of the row -> the number of each run.
        colors: of the rows.
        x_title: with its unit.
        level: where a dashed line is; NaN for none.
        level_name: what stands above that line.
    """
    dots: list[dict[str, Any]] = []
    means: list[dict[str, Any]] = []
    for (name, numbers), color in zip(values.items(), colors, strict=True):
        drawn = np.sort(numbers)[style.evenly_spaced(len(numbers), MAX_DOTS)]
        dots += [{"row": name, "value": x, "place": 0.618034 * n % 1, "ink": color} for n, x in enumerate(drawn)]
        mean, lower, upper = float(np.mean(numbers)) if len(numbers) else math.nan, math.nan, math.nan
        if len(numbers) > 1:
            lower, upper = bootstrap(numbers, np.random.default_rng(0), 2_000).interval()
        means.append({"row": name, "mean": mean, "lower": lower, "upper": upper})
    texts = interval_texts([(row["mean"], row["lower"], row["upper"]) for row in means])
    ends = [row[end] for row in means for end in ("lower", "upper")]
    reached = np.concatenate([[level], *values.values(), ends])
    low, high = float(np.nanmin(reached)), float(np.nanmax(reached))
    air = 0.04 * (high - low) or 0.05
    x = _axis(alt.X, x_title, (low - air, high + air), tickCount=5, labelOverlap=True, labelSeparation=6)
    scale, axis = alt.Scale(domain=list(values), padding=0), alt.Axis(domain=False, ticks=False, labelLimit=110)
    y = alt.Y("row", type="nominal", title=None, axis=axis, scale=scale)
    place: dict[str, Any] = {"type": "quantitative", "scale": alt.Scale(domain=[0, 1], range=[6, ROW_HEIGHT - 6])}
    rows = [row | {"text": text} for row, text in zip(means, texts, strict=True)]
    base = partial(_marks, rows, y=y, yOffset=alt.YOffsetDatum(0.5, **place))
    column: dict[str, Any] = {"align": "left", "dx": 8}
    right = alt.value("width")
    heading = "mean [95 % interval]" if np.isfinite(ends).any() else "one run each"
    layers = [
        _marks(dots, x=x("value"), y=y, yOffset=alt.YOffset("place", **place), color=INK).mark_circle(
            size=11, aria=False
        ),
        base(x=x("lower"), x2="upper").mark_rule(strokeWidth=2.5),
        base(x=x("mean")).mark_circle(size=50, opacity=1, color=style.INK),
        base(x=right, text=TEXT("text")).mark_text(**column),
        _note(heading, x=right).mark_text(**column),
    ]
    if math.isfinite(level):
        layers.append(_marks([{"level": level}], x=x("level")).mark_rule(**DASHED))
        align: Any = "right" if 2 * level > low + high else "left"
        layers.append(_note(level_name, x=alt.XDatum(level)).mark_text(align=align))
    return render(alt.layer(*layers).properties(width=250, height=ROW_HEIGHT * len(values)))


def render(chart: Any) -> str:
    """Return the chart as SVG, coordinates to a tenth of a pixel; validation by Altair would take twice as long."""
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict(validate=False), config=style.CONFIG)
    return re.sub(r' (?:transform|d|x2|y2)="[^"]*"', lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), svg)


def apart(heights: Mapping[str, float], gap: float, top: float = 1.0) -> dict[str, float]:
    """Return heights moved as little as labels need to stand at least a gap apart, from the lowest up."""
    placed: dict[str, float] = {}
    lowest = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        lowest = placed[name] = max(height, lowest + gap)
    excess = max(0.0, lowest - max([top, *heights.values()]))
    return {name: height - excess for name, height in placed.items()}


def _marks(rows: Points, **channels: Any) -> Any:
    """Begin a chart of some rows; they travel as one string, which Altair need not copy with every method."""
    text = pd.DataFrame(rows).to_json(orient="records", double_precision=7)
    return alt.Chart(alt.InlineData(values=text, format={"type": "json"})).encode(**channels)


def _axis(channel: Any, title: str, ends: Ends, **axis: Any) -> partial[Any]:
    """Return a channel without its field: all that is drawn on an axis has the same title and scale."""
    scale = alt.Scale(domain=ends, nice=False, zero=False)
    return partial(channel, type="quantitative", title=title, scale=scale, axis=alt.Axis(**axis))


def _note(text: str, x: Any) -> Any:
    """Place a few words above the panel."""
    return _marks([{"text": text}], x=x, y=alt.value(-7), text=TEXT("text"))


def _names(last: Mapping[str, tuple[float, float, str]], x: Any, y: Any, ends: Ends, gap: float) -> list[Any]:
    """Write names right of the ends of their lines (epoch, height, color), a thin line to each."""
    placed = apart({name: height for name, (_, height, _) in last.items()}, gap * (ends[1] - ends[0]), ends[1])
    rows = [
        {"name": name.partition(" (")[0], "epoch": epoch, "end": height, "at": round(placed[name], 4), "ink": color}
        for name, (epoch, height, color) in last.items()
    ]
    base = partial(_marks, rows, x=x("epoch"), color=INK)
    text = base(y=y("at"), text=TEXT("name"))
    return [
        base(x2="epoch", y=y("end"), y2="at").mark_rule(strokeWidth=0.8, x2Offset=13),
        text.mark_text(align="left", dx=15, fontWeight="bold"),
    ]


def _hover(points: Points, x: Any, width: float) -> Any:
    """Lay an invisible rule over each epoch that holds the numbers of all lines there."""
    texts: dict[int, list[str]] = {}
    for point in points:
        text = f"{point['line']}: {point['mean']:.3f} [{point['low']:.3f}, {point['high']:.3f}]"
        texts.setdefault(point["epoch"], []).append(text)
    rows = [{"epoch": epoch, "text": "; ".join([f"epoch {epoch}", *lines])} for epoch, lines in texts.items()]
    marks = _marks(rows, x=x("epoch"), description=alt.Description("text", type="nominal"))
    return marks.mark_rule(opacity=0, strokeWidth=width + 0.5).properties(name="hover")
