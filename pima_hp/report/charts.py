"""Charts in Altair: lines with bands, single runs in rows, bars. A figure is a few of them, each a static SVG.

The page lays the charts of a figure out, so that it fits a desktop, a phone and paper without a plotting library.

One look for every figure. Colors are those of Okabe and Ito (2008), which are distinct in any color vision. Blue and
vermillion mean training and validation rows everywhere, so no value of a hyperparameter has them. Ink is the text
color of the page; `page.css` gives it to axes and titles too, so that figures follow its dark mode.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert
from scipy.optimize import isotonic_regression

from pima_hp.formatting import interval_texts
from pima_hp.report.comparable import evenly_spaced
from pima_hp.report.tables import mean_interval
from pima_hp.run import Array

Chart = alt.LayerChart | alt.FacetChart
Ends = tuple[float, float]
# Name of a line or row -> its color and dash.
Looks = Mapping[str, tuple[str, list[int]]]
# Single runs drawn of a value; of more, so many evenly spaced order statistics.
MAX_TICKS = 200
# Labels of an axis whose numbers are logarithms to base 10.
DECADES: dict[str, Any] = {"tickMinStep": 1, "labelExpr": "format(pow(10, datum.value), '~g')"}
# A rule with the text of a tooltip, one line after each semicolon, as Vega writes it.
RULE = re.compile(r'<line aria-label="([^"]*)"[^>]*( transform[^>]*)/>')
INK = "currentColor"
TRAINING, VALIDATION, DASHED = ("#0072B2", [1, 0]), ("#D55E00", [1, 0]), (INK, [4, 4])
COLORS = ("#009E73", "#E69F00", "#56B4E9", "#CC79A7", INK)
CONFIG: dict[str, Any] = {
    "font": "Liberation Sans, Arial, Helvetica, sans-serif",  # vl-convert ships the first; the others have its widths
    "background": None,
    "aria": False,
    "view": {"stroke": None},
    "title": {"anchor": "start", "frame": "group", "fontSize": 12.5, "offset": 6},
    "axis": {"labelFontSize": 11, "titleFontSize": 11.5, "titleFontWeight": "normal", "titlePadding": 6},
    "line": {"strokeWidth": 1.8},
    **{mark: {"color": INK} for mark in ("rule", "circle", "text")},
}


@dataclass(frozen=True)
class Figure:
    """Charts with a title and a caption."""

    title: str
    caption: str  # replicates, what marks mean, what is missing, fixed and left out
    charts: Sequence[Chart]

    @cached_property
    def panels(self) -> list[str]:
        """Return each chart as an SVG; a tooltip needs no script: `page.css` shows it where its rule is pointed at."""
        specs = [chart.to_dict(validate=False) for chart in self.charts]  # validation would take as long again
        return [RULE.sub(_with_tooltip, vl_convert.vegalite_to_svg(spec, config=CONFIG)) for spec in specs]

    @property
    def size(self) -> Array:
        """Return the width of the widest chart and the height of the highest."""
        found = [re.findall(r' (?:width|height)="([\d.]+)"', panel)[:2] for panel in self.panels]
        return np.asarray(np.array(found, float).max(axis=0))


def lines(
    points: pd.DataFrame, looks: Looks, axes: Mapping[str, Ends | None], *, majority: float | None = None,
    title: str = "", subtitle: str = "", size: tuple[int, int] = (400, 270), interpolate: Any = "linear",
    decades: bool = False,
) -> Chart:  # fmt: skip
    """Draw lines with their bands, named at their right ends; a tooltip has the numbers of all lines at a place.

    The x axis is logarithmic where the spacing of the points is.

    Args:
        points: `line`, `x`, `mean`, `low` and `high`, in the order of x; what lies outside the axis is left out.
        looks: of each line.
        axes: title of the x axis and its ends, then those of the y axis; None: those of the points.
        majority: where a dashed line is named so; None for none.
        title: of the chart.
        subtitle: how many runs are missing.
        size: width and height.
        interpolate: from point to point; `step-after` where a value holds until the next.
        decades: whether the numbers are logarithms to base 10; the axis and tooltips have the numbers themselves.
    """
    (x_title, x_ends), (y_title, y_ends) = axes.items()
    log = is_log(points["x"].to_numpy(float))
    x_ends = x_ends or (float(points["x"].min()), float(points["x"].max()))
    if majority is not None:
        points = pd.concat([points, pd.DataFrame({"line": "majority", "x": x_ends, "mean": majority})])
        looks = {**looks, "majority": DASHED}
    y_ends = y_ends or rounded(points[["low", "mean", "high"]])
    whole = {} if log or (points["x"] % 1).any() else {"tickMinStep": 1, "tickCount": min(5, x_ends[1] - x_ends[0])}
    x = axis_of(alt.X, x_title, x_ends, log, grid=False, **whole, labelOverlap=True)
    y = axis_of(alt.Y, y_title, y_ends, **(DECADES if decades else {}))
    points = points[points["mean"].between(*y_ends)]
    points = points.assign(**{end: points[end].clip(*y_ends) for end in ("low", "high")})
    names = points.drop_duplicates("line", keep="last")
    names = names.assign(at=apart(names["mean"].to_numpy(), 12 / size[1] * (y_ends[1] - y_ends[0]), y_ends[1]))
    is_point = len(set(points["x"])) == 1  # a line through one point is invisible
    color, dash = look_of(alt.Color, looks, 0), look_of(alt.StrokeDash, looks, 1)
    drawn, ends = (chart_of(table, x=x("x"), color=color) for table in (points, names))
    opacity = 0.15 if len(looks) <= 4 else 0.08
    layers = (
        drawn.encode(y=y("low"), y2=alt.Y2("high")).mark_area(opacity=opacity, interpolate=interpolate),
        drawn.encode(y=y("mean"), strokeDash=dash).mark_line(point=is_point, interpolate=interpolate),
        ends.encode(x2=alt.X2("x"), y=y("mean"), y2=alt.Y2("at")).mark_rule(strokeWidth=0.8, x2Offset=13),
        ends.encode(y=y("at"), text="line:N").mark_text(align="left", dx=15, fontWeight="bold"),
    )
    known = points.dropna()
    if decades:
        known = known.assign(mean=10 ** known["mean"], low=10 ** known["low"], high=10 ** known["high"])
    written = "{line}: {mean:.2g} [{low:.2g}, {high:.2g}]" if decades else "{line}: {mean:.3f} [{low:.3f}, {high:.3f}]"
    texts = known.assign(text=[written.format_map(row) for row in known.to_dict("records")]).groupby("x")["text"]
    tips = [(place, f"{x_title} {place:.4g}; {'; '.join(lines)}") for place, lines in texts]
    rules = chart_of(pd.DataFrame(tips, columns=["x", "text"]), x=x("x"), description="text:N")
    rules = rules.mark_rule(opacity=0, strokeWidth=size[0] / max(1, len(tips)) + 0.5, aria=True)
    heading = alt.Title(title, subtitle=subtitle, limit=250)
    return alt.layer(*layers, rules, width=size[0], height=size[1], title=heading)


def strips(rows: pd.DataFrame, looks: Looks, x_title: str, level: float | None) -> Chart:
    """Draw single runs as ticks, a row a value, with their mean and its interval: also as numbers, below its name.

    Args:
        rows: the numbers of the runs of each row, by its name; NaN is left out.
        looks: of each row.
        x_title: with its unit.
        level: where a dashed line is; None for none.
    """
    known = [of.dropna().to_numpy(float) for _, of in rows.iterrows()]
    means = [mean_interval(of, n_resamples=2_000) for of in known]
    labels = [f"{name}\n{text}" for name, text in zip(rows.index, interval_texts(means), strict=True)]
    table = pd.DataFrame(means, columns=["mean", "lower", "upper"]).assign(line=rows.index, row=labels)
    drawn: list[Any] = [np.sort(of)[evenly_spaced(len(of), MAX_TICKS)] for of in known]
    runs = table[["line", "row"]].assign(value=drawn).explode("value")
    x = axis_of(alt.X, x_title, None, tickCount=5, labelOverlap=True, labelSeparation=6)
    axis = alt.Axis(domain=False, ticks=False, labelLimit=200, labelOffset=-7, labelExpr="split(datum.label, '\\n')")
    y = alt.Y("row", type="nominal", title=None, axis=axis, scale=alt.Scale(domain=labels))
    single = chart_of(runs, x=x("value"), y=y, color=look_of(alt.Color, looks, 0))
    layers = [
        single.mark_tick(thickness=1.2, size=22, opacity=0.5),
        chart_of(table, x=x("lower"), x2=alt.X2("upper"), y=y).mark_rule(strokeWidth=2.5),
        chart_of(table, x=x("mean"), y=y).mark_circle(size=50, opacity=1),
    ]
    if level is not None:
        dashed = chart_of(pd.DataFrame({"level": [level]}), x=x("level"))
        layers.append(dashed.mark_rule(strokeDash=[4, 4], strokeWidth=1.4, opacity=0.7))
    return alt.layer(*layers, width=250, height=36 * len(rows))


def bars(table: pd.DataFrame, x_title: str, *, title: str = "") -> Chart:
    """Draw horizontal bars with their intervals and numbers, in the order of the table, those of one name together.

    Args:
        table: `name` of a group and `line` of a bar in it, `value`, `low` and `high` (NaN where there is no interval).
        x_title: with its unit.
        title: of the chart.
    """
    table = table.iloc[np.argsort(pd.factorize(table["name"])[0], kind="stable")]
    looks, numbers = looks_of(table["line"].unique()), table[["value", "low", "high"]].to_numpy(float)
    texts = interval_texts([tuple(row) for row in numbers.tolist()])
    named = [f"{line} {text}" if len(looks) > 1 else text for line, text in zip(table["line"], texts, strict=True)]
    names = table["name"].mask(table["name"].duplicated(), "")  # only the first bar of a group has its name
    rows = [f"{name}\n{n}" for n, name in enumerate(names)]  # a number keeps rows apart
    table = table.assign(row=rows, text=named, end=np.nanmax([*numbers.T, np.zeros(len(table))], axis=0))
    ends = min(0.0, float(np.nanmin(numbers))), float(table["end"].max()) or 1.0
    x = axis_of(alt.X, x_title, ends, tickCount=5, labelOverlap=True)
    axis = alt.Axis(domain=False, ticks=False, labelLimit=200, labelExpr="split(datum.label, '\\n')[0]")
    drawn = chart_of(table, y=alt.Y("row", type="nominal", title=None, axis=axis, scale=alt.Scale(domain=rows)))
    layers = (
        drawn.encode(x=x("value"), color=look_of(alt.Color, looks, 0)).mark_bar(opacity=0.75, height=13),
        drawn.encode(x=x("low"), x2=alt.X2("high")).mark_rule(strokeWidth=1.5),
        drawn.encode(x=x("end"), text="text:N").mark_text(align="left", dx=6),
    )
    return alt.layer(*layers, width=250, height=(17 if len(looks) > 1 else 22) * len(table), title=title)


def looks_of(names: Iterable[str]) -> Looks:
    """Return a look for each name, the same in every figure of the same names: five colors, then the same dashed."""
    slots = [(color, dash) for dash in ([1, 0], [6, 3], [2, 2]) for color in COLORS]
    return dict(zip(names, itertools.cycle(slots), strict=False))


def is_log(numbers: Array) -> bool:
    """Return whether the spacing of numbers is more even on a logarithmic axis."""
    known = np.unique(numbers)
    if len(known) < 3 or known[0] <= 0:
        return False
    linear, log = (float(gaps.std() / gaps.mean()) for gaps in (np.diff(known), np.diff(np.log(known))))
    return log < linear


def rounded(numbers: Any) -> Ends:
    """Return the ends of an axis for some numbers: multiples of 0.05; 0 and 1 for none."""
    known = np.asarray(numbers, float)[np.isfinite(numbers)]
    return (np.floor(20 * known.min()) / 20, np.ceil(20 * known.max()) / 20) if len(known) else (0.0, 1.0)


def apart(heights: Array, gap: float, top: float) -> Array:
    """Return heights moved as little as labels need to stand at least a gap apart, the highest at most at the top."""
    order, steps = np.argsort(heights), gap * np.arange(len(heights))
    placed = np.empty(len(heights))
    if len(heights):
        placed[order] = np.minimum(isotonic_regression(heights[order] - steps).x, top - steps[-1]) + steps
    return placed


def _with_tooltip(rule: re.Match[str]) -> str:
    """Return a rule of an SVG with its tooltip beside it, hidden."""
    lines = "".join(f'<tspan x="6" dy="13">{line}</tspan>' for line in rule[1].split("; "))
    return f'<g class="tip"><line{rule[2]}/><text font-size="11" opacity="0">{lines}</text></g>'


def chart_of(table: pd.DataFrame, **channels: Any) -> Any:
    """Begin a chart of some rows; they travel as one string, which Altair need not copy with every method."""
    rows = table.to_json(orient="records", double_precision=12)
    return alt.Chart(alt.InlineData(values=rows, format={"type": "json"})).encode(**channels)


def axis_of(channel: Any, title: str, ends: Ends | None, log: bool = False, **axis: Any) -> partial[Any]:
    """Return a channel without its field: all that is drawn on an axis has the same title and scale."""
    look: dict[str, Any] = {"domain": list(ends)} if ends else {"padding": 9}
    scale = alt.Scale(nice=False, **look, **({"type": "log"} if log else {"zero": False}))
    return partial(channel, type="quantitative", title=title, scale=scale, axis=alt.Axis(**axis))


def look_of(channel: Any, looks: Looks, part: int) -> Any:
    """Return the colors (part 0) or dashes (part 1) of lines as a channel."""
    scale = alt.Scale(domain=list(looks), range=[look[part] for look in looks.values()])
    return channel("line", type="nominal", scale=scale, legend=None)
