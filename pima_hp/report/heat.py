"""A heat map of a number over two numeric axes, with contour lines."""

from functools import partial

import altair as alt
import numpy as np
import pandas as pd

from pima_hp.report.charts import Chart, axis_of, chart_of, is_log
from pima_hp.run import Array

# Round distances of contour levels.
STEPS = [factor * 10.0**power for power in range(-5, 5) for factor in (1, 2, 5)]


def heat(means: pd.DataFrame, titles: tuple[str, str]) -> Chart:
    """Draw a number over two numeric axes: a cell a pair of values, labelled contour lines, a ring at the highest.

    Args:
        means: (Y, X), with the values of the axes as index and columns; where it is NaN, the cell is left blank.
        titles: of the x axis and the y axis.
    """
    cells = means.rename_axis(index="y", columns="x").melt(ignore_index=False).dropna().reset_index()
    lines, axes = contours(means.to_numpy(float)), []
    for name, title, channel, numbers in zip("xy", titles, (alt.X, alt.Y), means.axes[::-1], strict=True):
        log = is_log(numbers.to_numpy(float))
        to, back = (np.log, np.exp) if log else (np.array, np.array)
        at = to(numbers.to_numpy(float))
        at = np.concatenate([[2 * at[0] - at[1]], at, [2 * at[-1] - at[-2]]])  # one step more at either end
        place = partial(np.interp, xp=np.arange(-1, len(at) - 1), fp=at)  # steps of the grid -> on the axis
        number = cells[name].rank(method="dense") - 1
        cells[f"{name}_low"], cells[f"{name}_high"] = back(place(number - 0.5)), back(place(number + 0.5))
        lines[[name, f"{name}2"]] = back(place(lines[[name, f"{name}2"]]))
        low, high = back(place([-0.5, len(numbers) - 0.5])).tolist()
        axes.append(axis_of(channel, title, (low, high), log, grid=False, labelOverlap=True))
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


def contours(values: Array) -> pd.DataFrame:
    """Return the contour lines of values (Y, X) at about eight round levels, a row a segment from (x, y) to (x2, y2).

    Coordinates are columns and rows. Each square of four neighbors is two triangles; within a triangle the values are
    a plane, and a level crosses two of its sides or none. A triangle that lacks a value has no lines.
    """
    y, x = np.indices(values.shape)
    points = np.stack([x, y, values], axis=-1)  # (Y, X, 3)
    left, right = points[:, :-1], points[:, 1:]
    halves = (left[:-1], right[:-1], left[1:]), (right[1:], right[:-1], left[1:])
    corners = np.concatenate([np.stack(half, axis=2).reshape(-1, 3, 3) for half in halves])  # (T, corner, 3)
    starts = corners[np.isfinite(corners).all(axis=(1, 2))]
    ends = np.roll(starts, 1, axis=1)  # of the three sides
    bottom, top = np.nanmin(values), np.nanmax(values)
    step = next(step for step in STEPS if step >= (top - bottom) / 10)
    levels = step * np.arange(np.floor(bottom / step) + 1, top / step)
    is_above = starts[..., 2] >= levels[:, None, None]  # (L, T, corner)
    level, triangle, side = np.nonzero(is_above != np.roll(is_above, 1, axis=2))
    start, end = starts[triangle, side], ends[triangle, side]
    share = (levels[level] - start[:, 2]) / (end - start)[:, 2]
    crossings = (start + share[:, None] * (end - start))[:, :2]
    table = pd.DataFrame(crossings.reshape(-1, 4), columns=["x", "y", "x2", "y2"])
    return table.assign(level=[f"{levels[number]:.4g}" for number in level[::2]])
