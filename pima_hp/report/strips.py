"""A panel of single runs by value, with means and intervals, in Vega-Lite."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pima_hp.report import style
from pima_hp.report.panels import Ends, Spec, interval_texts, position, rule
from pima_hp.run import Array

MAX_DOTS = 200
"""Single runs drawn of a value; of more, so many evenly spaced order statistics."""

ROW_HEIGHT = 36


@dataclass(frozen=True)
class Row:
    """Single runs of one value, their mean and its interval (NaN where there is none), in a panel of strips."""

    name: str
    slot: style.Slot
    values: Array
    mean: float
    lower: float
    upper: float
    note: str = ""  # below the numbers


def strips_panel(
    rows: Sequence[Row], x_title: str, ends: Ends, *, level: float | None = None, told: str = "", log: bool = False
) -> Spec:
    """Single runs as dots, a row a value, with their mean and its interval; the numbers stand in a column beside.

    Args:
        rows: from the top.
        x_title: with its unit.
        ends: of the axis; runs beyond them are left out.
        level: where a dashed line is.
        told: what stands above that line.
        log: whether the axis is logarithmic.
    """
    names = [row.name for row in rows]
    drawn = {row.name: _order_statistics(row.values) for row in rows}
    dots = [
        {"row": name, "value": _rounded(value), "place": _halton(number)}
        for name, values in drawn.items()
        for number, value in enumerate(values.tolist())
        if ends[0] <= value <= ends[1]
    ]
    texts = interval_texts([(row.mean, row.lower, row.upper) for row in rows])
    means = [
        {"row": row.name, "text": text, "texts": [text, row.note] if row.note else text}
        | {key: _rounded(getattr(row, key)) for key in ("mean", "lower", "upper") if math.isfinite(getattr(row, key))}
        for row, text in zip(rows, texts, strict=True)
    ]
    x = position("value", x_title, ends, log=log)
    y = {"field": "row", "type": "nominal", "title": None, "scale": {"domain": names, "padding": 0},
         "axis": {"domain": False, "ticks": False, "labelLimit": 110, "offset": 2}}  # fmt: skip
    place = {"scale": {"domain": [0, 1], "range": [6, ROW_HEIGHT - 6]}, "type": "quantitative"}
    slots = {"domain": names, "range": [row.slot[0] for row in rows]}
    colour = {"field": "row", "type": "nominal", "scale": slots, "legend": None}
    centre = {"datum": 0.5, **place}
    one = [
        {"field": "row", "title": "value"},
        {"type": "quantitative", "field": "value", "title": "one run", "format": ".4~g"},
    ]
    whole = [{"field": "row", "title": "value"}, {"field": "text", "title": "mean and its interval"}]
    bar = {"x": {**x, "field": "lower"}, "x2": {"field": "upper"}, "y": y, "yOffset": centre}
    column = {"type": "text", "align": "left", "dx": 8, "fontSize": 11}
    known = any(math.isfinite(row.upper) for row in rows)
    heading = f"{'geometric ' if log else ''}mean [95 % interval]" if known else "one run each"
    layers: list[Spec] = []
    if level is not None:
        right = _share_of(level, ends, log) > 0.5
        text = {"type": "text", "align": "right" if right else "left", "fontSize": 10.5, "color": style.SOFT}
        layers.append(rule("x", level))
        layers.append({"data": {"values": [{"level": level, "text": told}]}, "mark": text,
                       "encoding": {"x": {**x, "field": "level"}, "y": {"value": -7},
                                    "text": {"field": "text"}}})  # fmt: skip
    layers += [
        {"data": {"values": dots},
         "mark": {"type": "circle", "size": 11, "opacity": 1, "fillOpacity": style.DOT_OPACITY, "aria": False},
         "encoding": {"x": x, "y": y, "yOffset": {"field": "place", **place}, "color": colour, "tooltip": one}},
        {"data": {"values": means}, "mark": {"type": "rule", "strokeWidth": 2.5, "color": style.INK}, "encoding": bar},
        {"data": {"values": means}, "mark": {"type": "circle", "size": 50, "opacity": 1, "color": style.INK},
         "encoding": {"x": {**x, "field": "mean"}, "y": y, "yOffset": centre, "tooltip": whole}},
        {"data": {"values": means}, "mark": {**column, "dy": -6 if any(row.note for row in rows) else 0},
         "encoding": {"x": {"value": "width"}, "y": y, "yOffset": centre, "text": {"field": "texts"}}},
        {"data": {"values": [{"text": heading}]}, "mark": {**column, "fontSize": 10.5, "color": style.SOFT},
         "encoding": {"x": {"value": "width"}, "y": {"value": -7}, "text": {"field": "text"}}},
    ]  # fmt: skip
    aside = 6 * max(map(len, [*texts, heading, *(row.note for row in rows)])) + 8 + min(110, 7 * max(map(len, names)))
    return {"height": ROW_HEIGHT * max(1, len(rows)), "layer": layers, "usermeta": {"aside": 14 + aside}}


def strip_ends(values: Iterable[float], rows: Sequence[Row], *, log: bool = False) -> tuple[Ends, int]:
    """Ends of the axis of strips, and how many runs lie beyond them.

    A logarithmic axis ends three interquartile ranges beyond the quartiles of a row: one run that stands still
    would take half of it. `values` are those that the axis must reach.
    """
    held = [row.values[np.isfinite(row.values) & (row.values > (0 if log else -math.inf))] for row in rows]
    fences = [value for row in held if len(row) for value in (_fences(row) if log else (row.min(), row.max()))]
    low, high = min(fences, default=-math.inf), max(fences, default=math.inf)
    kept = [row[(row >= low) & (row <= high)] for row in held]
    shown = [*values, *(value for row in rows for value in (row.lower, row.upper))]
    shown += [value for row in kept if len(row) for value in (row.min(), row.max())]
    ends = _ends(shown, log)
    return ends, sum(int(((row < ends[0]) | (row > ends[1])).sum()) for row in held)


def _ends(values: Iterable[float], log: bool) -> Ends:
    """Least and greatest value and a little air."""
    some = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    low, high = min(some, default=1.0), max(some, default=2.0)
    if log:
        return low / 1.15, high * 1.15
    air = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return low - air, high + air


def _fences(values: Array) -> tuple[float, float]:
    first, third = np.quantile(np.log(values), [0.25, 0.75])
    reach = 3 * (third - first)
    return float(np.exp(first - reach)), float(np.exp(third + reach))


def _share_of(value: float, ends: Ends, log: bool) -> float:
    """Where a value is between the ends, 0 to 1."""
    value, low, high = (math.log(item) if log else item for item in (value, *ends))
    return (value - low) / (high - low)


def _order_statistics(values: Array) -> Array:
    ordered = np.sort(values[np.isfinite(values)])
    return np.asarray(ordered[style.evenly_spaced(len(ordered), MAX_DOTS)])


def _halton(number: int) -> float:
    """Places 1/2, 1/4, 3/4, 1/8, ...: neighbours stand apart, and the same in every report."""
    place, step, number = 0.0, 0.5, number + 1
    while number:
        number, bit = divmod(number, 2)
        place, step = place + bit * step, step / 2
    return round(place, 4)


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
