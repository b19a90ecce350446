"""What figures are made of, in Vega-Lite: a panel of curves, of waiting times, of single runs by value.

Layers whose name begins with `hover` are for the page: `still` takes them out of a chart for paper.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pima_hp.record import Array
from pima_hp.report import style

MAX_DOTS = 200
"""Single runs drawn of a value; of more, so many evenly spaced order statistics."""

ROW_HEIGHT = 46
Spec = dict[str, Any]
Ends = tuple[float, float]


@dataclass(frozen=True)
class Row:
    """Single runs of one value, their mean and its interval, in a panel of strips."""

    name: str
    slot: style.Slot
    values: Array
    mean: float
    lower: float
    upper: float


def curves_panel(
    points: list[Spec], colours: Mapping[str, str], ends: Ends, n_epochs: int, level: float | None, y_title: str | None
) -> Spec:
    """Bands below, then the dashed level of the majority class, then mean lines.

    Points have `line`, `epoch`, `mean` and, where there is a band, `low` and `high`; the ends are those of the y axis.
    """
    x, y = _epochs(n_epochs), _position("mean", y_title, ends, digits=".2f")
    layers: list[Spec] = []
    if any("low" in point for point in points):
        # One area a line with a colour of its own: sharing the lines' scale would put areas into the legend.
        layers += [
            {"transform": [{"filter": {"field": "line", "equal": name}}],
             "mark": {"type": "area", "opacity": 1, "fillOpacity": style.BAND_OPACITY, "color": colour, "clip": True},
             "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}}
            for name, colour in colours.items()
        ]  # fmt: skip
    if level is not None:
        layers.append(_rule("y", level))
    domain = {"domain": list(colours), "range": list(colours.values())}
    legend = {"title": None, "orient": "top", "direction": "horizontal"}
    colour = {"field": "line", "type": "nominal", "scale": domain, "legend": legend}
    spread = [_told("low", "5 % of runs below"), _told("high", "95 % below")] if len(layers) > 1 else []
    told = [{"field": "line", "title": "rows"}, {"field": "epoch"}, _told("mean", "mean accuracy"), *spread]
    encoding = {"x": x, "y": y, "color": colour}
    layers.append({"mark": {"type": "line", "strokeWidth": style.LINE_WIDTH, "clip": True}, "encoding": encoding})
    layers.append(_hover(x, y, told))
    if len({point["epoch"] for point in points}) == 1:  # a line through one point is invisible
        layers.append({"mark": {"type": "circle", "size": 45, "opacity": 1}, "encoding": encoding})
    return {"data": {"values": points}, "layer": layers}


def waiting_panel(points: list[Spec], slots: Mapping[str, style.Slot], n_epochs: int, y_title: str) -> Spec:
    """Share of runs still waiting against epoch, a step line a value, named at its end where there is room."""
    x, y = _epochs(n_epochs, first=0), _position("share", y_title, (0, 1), digits=".1f")
    colours = {"domain": list(slots), "range": [colour for colour, _ in slots.values()]}
    dashes = {"domain": list(slots), "range": [list(dash) for _, dash in slots.values()]}
    direct = len(slots) <= 8
    legend = None if direct else {"title": None, "orient": "right"}
    colour = {"field": "line", "type": "nominal", "scale": colours, "legend": legend}
    dash = {"field": "line", "type": "nominal", "scale": dashes, "legend": legend}
    lit = {"opacity": {"condition": {"param": "lit", "value": 1}, "value": 0.15}}
    line = {"type": "line", "interpolate": "step-after", "strokeWidth": style.LINE_WIDTH + 0.4}
    area = {"type": "area", "interpolate": "step-after", "opacity": 1, "fillOpacity": 0.12}
    told = [{"field": "line", "title": "value"}, {"field": "epoch"}, _told("share", "share still below"),
            _told("low", "interval from"), _told("high", "to")]  # fmt: skip
    layers = [
        {"mark": area, "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour}},
        {"mark": line, "encoding": {"x": x, "y": y, "color": colour, "strokeDash": dash, **lit}},
        _hover(x, y, told)
        | {"params": [{"name": "lit", "select": {"type": "point", "fields": ["line"], "on": "pointerover"}}]},
    ]
    if direct:
        last = {point["line"]: point for point in points}  # points are in the order of epochs
        heights = apart({name: point["share"] for name, point in last.items()}, 0.055)
        labels = [{"line": name, "epoch": last[name]["epoch"], "share": at} for name, at in heights.items()]
        mark = {"type": "text", "align": "left", "dx": 5, "fontWeight": "bold"}
        encoding = {"x": x, "y": y, "text": {"field": "line"}, "color": colour}
        layers.append({"data": {"values": labels}, "mark": mark, "encoding": encoding})
    return {"data": {"values": points}, "layer": layers}


def strips_panel(rows: Sequence[Row], x_title: str, *, level: float | None = None, log: bool = False) -> Spec:
    """Single runs as dots, a row a value, with their mean and its interval; the numbers stand above the dots."""
    names = [row.name for row in rows]
    drawn = {row.name: _order_statistics(row.values) for row in rows}
    dots = [
        {"row": name, "value": _rounded(value), "place": _halton(number)}
        for name, values in drawn.items()
        for number, value in enumerate(values.tolist())
    ]
    means = [
        {"row": row.name, "mean": _rounded(row.mean), "lower": _rounded(row.lower), "upper": _rounded(row.upper),
         "text": interval_text(row.mean, row.lower, row.upper)}
        for row in rows if math.isfinite(row.mean)
    ]  # fmt: skip
    held = [value for values in drawn.values() for value in values.tolist()]
    held += [value for row in rows for value in (row.lower, row.upper)]
    x = _position("value", x_title, _ends([*held, *([] if level is None else [level])], log), ticks=4, log=log)
    y = {"field": "row", "type": "nominal", "title": None, "scale": {"domain": names},
         "axis": {"domain": False, "ticks": False, "labelLimit": 96, "offset": 2}}  # fmt: skip
    place = {"scale": {"domain": [0, 1], "range": [18, ROW_HEIGHT - 4]}, "type": "quantitative"}
    slots = {"domain": names, "range": [row.slot[0] for row in rows]}
    colour = {"field": "row", "type": "nominal", "scale": slots, "legend": None}
    centre = {"datum": 0.5, **place}
    told = [{"field": "row", "title": "value"}, _told("value", "one run")]
    bar = {"x": {**x, "field": "lower"}, "x2": {"field": "upper"}, "y": y, "yOffset": centre}
    mean_told = [{"field": "row", "title": "value"}, {"field": "text", "title": "mean and its interval"}]
    layers: list[Spec] = [] if level is None else [_rule("x", level)]
    layers += [
        {"data": {"values": dots},
         "mark": {"type": "circle", "size": 11, "opacity": 1, "fillOpacity": 0.55, "aria": False},
         "encoding": {"x": x, "y": y, "yOffset": {"field": "place", **place}, "color": colour, "tooltip": told}},
        {"data": {"values": means}, "mark": {"type": "rule", "strokeWidth": 2.5, "color": style.INK}, "encoding": bar},
        {"data": {"values": means}, "mark": {"type": "circle", "size": 50, "opacity": 1, "color": style.INK},
         "encoding": {"x": {**x, "field": "mean"}, "y": y, "yOffset": centre, "tooltip": mean_told}},
        {"data": {"values": means}, "mark": {"type": "text", "align": "left", "fontSize": 11},
         "encoding": {"x": {"value": 0}, "y": y, "yOffset": {"datum": -0.28, **place}, "text": {"field": "text"}}},
    ]  # fmt: skip
    return {"height": ROW_HEIGHT * max(1, len(rows)), "layer": layers}


def interval_text(mean: float, lower: float, upper: float) -> str:
    """As many digits as the interval bears: `0.742 [0.731, 0.752]`; three where it is a point."""
    half = (upper - lower) / 2
    decimals = min(5, max(0, math.ceil(0.3 - math.log10(half)))) if half > 0 and math.isfinite(half) else 3
    return f"{mean:.{decimals}f} [{lower:.{decimals}f}, {upper:.{decimals}f}]".replace("-", "\N{MINUS SIGN}")


def still(spec: Any) -> Any:
    """The chart without what answers a pointer."""
    if isinstance(spec, list):
        kept = [item for item in spec if not (isinstance(item, dict) and str(item.get("name", "")).startswith("hover"))]
        return [still(item) for item in kept]
    if not isinstance(spec, dict):
        return spec
    pairs = [(key, item) for key, item in spec.items() if not (isinstance(item, dict) and "condition" in item)]
    return {key: item if key == "values" else still(item) for key, item in pairs}


def apart(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Heights moved as little as need be for labels to stand at least a gap apart, from the lowest up."""
    placed: dict[str, float] = {}
    lowest = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        lowest = placed[name] = max(height, lowest + gap)
    excess = max(0.0, max(placed.values(), default=0.0) - max(1.0, max(heights.values(), default=1.0)))
    return {name: height - excess for name, height in placed.items()}


def _hover(x: Spec, y: Spec, told: list[Spec]) -> Spec:
    mark = {"type": "circle", "size": 90, "opacity": 0}
    return {"name": "hover", "mark": mark, "encoding": {"x": x, "y": y, "tooltip": told}}


def _rule(channel: str, level: float) -> Spec:
    mark = {"type": "rule", "strokeDash": [4, 4], "strokeWidth": 1.4, "color": style.SOFT}
    encoding = {channel: {"field": "level", "type": "quantitative"}}
    return {"data": {"values": [{"level": level}]}, "mark": mark, "encoding": encoding}


def _told(field: str, title: str) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "format": ".4~g"}


def _position(
    field: str, title: str | None, ends: Ends, *, digits: str = "~g", ticks: int = 5, log: bool = False
) -> Spec:
    scale = {"type": "log" if log else "linear", "domain": list(ends), "nice": False} | ({} if log else {"zero": False})
    axis = {"format": digits, "tickCount": ticks, "labelOverlap": True}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _epochs(n_epochs: int, first: int = 1) -> Spec:
    """The first epoch and about five round ones."""
    magnitude = 10 ** max(0, len(str(n_epochs)) - 2)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if n_epochs <= 5 * step * magnitude) * magnitude
    axis = {"grid": False, "format": "d", "values": sorted({first, *range(step, n_epochs + 1, step)})}
    return {**_position("epoch", "epoch", (first, max(n_epochs, first + 1))), "axis": axis}


def _ends(values: Sequence[float], log: bool) -> Ends:
    """Least and greatest value and a little air."""
    some = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    low, high = min(some, default=1.0), max(some, default=2.0)
    if log:
        return low / 1.15, high * 1.15
    air = 0.04 * (high - low) or 0.05 * max(abs(high), 1e-3)
    return low - air, high + air


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
