"""A heat map of a number over two numeric axes, with contour lines."""

import altair as alt
import numpy as np
import pandas as pd

from pima_hp.report.charts import Chart, axis_of, chart_of
from pima_hp.run import Array

# Round distances of contour levels.
STEPS = [factor * 10.0**power for power in range(-5, 5) for factor in (1, 2, 5)]


def heat(table: pd.DataFrame, titles: tuple[str, str], *, log: tuple[bool, bool]) -> Chart:
    """Draw a number over two numeric axes: a cell a pair of values, labelled contour lines, a ring at the highest.

    Args:
        table: `x`, `y` and `value`, a row a cell; a cell without a value is left blank.
        titles: of the x axis and the y axis.
        log: which axes are logarithmic.
    """
    cells = table.dropna().sort_values(["y", "x"], ignore_index=True)
    grid = cells.pivot_table(index="y", columns="x", values="value")
    ways = [(np.log, np.exp) if is_log else (np.array, np.array) for is_log in log]
    places = [to(np.asarray(at, float)) for at, (to, _) in zip((grid.columns, grid.index), ways, strict=True)]
    lines, axes = contours(places[0], places[1], grid.to_numpy(float)), []
    for name, heading, at, (to, back), channel in zip("xy", titles, places, ways, (alt.X, alt.Y), strict=True):
        ends, number = edges(at), np.searchsorted(at, to(cells[name].to_numpy(float)) - 1e-9)
        cells[f"{name}_low"], cells[f"{name}_high"] = back(ends[number]), back(ends[number + 1])
        lines[[name, f"{name}2"]] = back(lines[[name, f"{name}2"]].to_numpy(float))
        extent = float(back(ends[0])), float(back(ends[-1]))
        axes.append(axis_of(channel, heading, extent, back is np.exp, grid=False, labelOverlap=True))
    x, y = axes
    color = alt.Color("value", type="quantitative", scale=alt.Scale(scheme="viridis"), legend=None)
    marks = lines.groupby("level").sample(1, random_state=0)
    names = chart_of(marks, x=x("x"), y=y("y"), text=alt.Text("level", type="nominal"))
    layers = (
        chart_of(cells, x=x("x_low"), x2=alt.X2("x_high"), y=y("y_low"), y2=alt.Y2("y_high"), color=color).mark_rect(),
        chart_of(lines, x=x("x"), x2=alt.X2("x2"), y=y("y"), y2=alt.Y2("y2")).mark_rule(color="#fff"),
        chart_of(cells.nlargest(1, "value"), x=x("x"), y=y("y")).mark_point(size=90, color="#d00", strokeWidth=2.5),
        names.mark_text(fontWeight="bold", color="#222", stroke="#222", strokeWidth=3),  # an outline
        names.mark_text(fontWeight="bold", color="#fff"),
    )
    return alt.layer(*layers, width=400, height=300)


def contours(x: Array, y: Array, values: Array) -> pd.DataFrame:
    """Return the contour lines of values (Y, X) at about eight round levels, a row a segment from (x, y) to (x2, y2).

    Each square of four neighbors is two triangles; within a triangle the values are a plane, and a level has one
    segment: from the side between its lowest and highest corner to one of the others. A triangle that lacks a value
    has none.
    """
    points = np.stack([*np.meshgrid(x, y), values], axis=-1)  # (Y, X, 3)
    left, right = points[:, :-1], points[:, 1:]
    halves = (left[:-1], right[:-1], left[1:]), (right[1:], right[:-1], left[1:])
    corners = np.concatenate([np.stack(half, axis=2).reshape(-1, 3, 3) for half in halves])  # (T, corner, 3)
    corners = corners[np.isfinite(corners).all(axis=(1, 2))]
    order = np.argsort(corners[:, :, 2], axis=1)
    low, mid, high = np.take_along_axis(corners, order[:, :, None], axis=1).transpose(1, 0, 2)
    bottom, top = (float(values[np.isfinite(values)].min()), float(np.nanmax(values))) if len(corners) else (0.0, 0.0)
    step = next((step for step in STEPS if step >= (top - bottom) / 10), STEPS[-1])
    found = []
    for level in step * np.arange(np.floor(bottom / step) + 1, top / step):
        is_crossed, is_upper = (low[:, 2] < level) & (level <= high[:, 2]), level > mid[:, 2]
        start, end = np.where(is_upper[:, None], mid, low), np.where(is_upper[:, None], high, mid)
        sides = [(one[is_crossed], other[is_crossed]) for one, other in ((low, high), (start, end))]
        ends = [one + ((level - one[:, 2]) / (other - one)[:, 2])[:, None] * (other - one) for one, other in sides]
        table = pd.DataFrame(np.hstack([at[:, :2] for at in ends]), columns=["x", "y", "x2", "y2"])
        found.append(table.assign(level=f"{level:.4g}"))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["x", "y", "x2", "y2", "level"])


def edges(places: Array) -> Array:
    """Return the edges of cells about places, halfway between neighbors: (N,) -> (N + 1,)."""
    middles = (places[1:] + places[:-1]) / 2
    return np.concatenate([[2 * places[0] - middles[0]], middles, [2 * places[-1] - middles[-1]]])
